//! Ten thousand sessions that do nothing: what they hold, what they use, and how long it takes to cut them all.
//!
//! As many real SSH servers would measure themselves, so the target is a small one in this process: it lets the
//! session's certificate in and never says a word. Everything of the bastion is real.

use std::sync::Arc;
use std::time::Duration;

use postern::model::{Clock, Timestamp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use russh::keys::{Certificate, PrivateKey, load_secret_key};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session};
use russh::{Channel, ChannelId};

use crate::bed::{Bed, quantile};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::postern::field;

/// Descriptors for this process and, by inheritance, for the bastion: each session has two connections here, and two
/// sockets, a second handle on each and a recording there.
pub(crate) const DESCRIPTORS: u64 = 120_000;
/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(30);
/// How long the last client may take to see its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes the descriptors that are needed, where that is allowed.
pub(crate) fn take_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(DESCRIPTORS).max(DESCRIPTORS);
    let wanted = Rlimit { current: Some(most), maximum: Some(most) };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        println!("no more than {:?} descriptors ({error}): ask for fewer sessions", now.maximum);
    }
}

/// Opens, watches, revokes.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let port =
        runtime.block_on(serve(load_secret_key(bed.world.sshd.host_key().with_extension(""), None).unwrap()));
    let target = "many";
    bed.world.add_target(target, port);
    bed.world.grant("alice", target, "exec");
    let before = bed.memory().0;
    let began = Clock::system().now();
    let mut fleet = Fleet::open(bed, target, options.sessions, "nothing");
    let opening = Clock::system().now().duration_since(began).as_secs_f64();
    std::thread::sleep(Duration::from_secs(5));
    let (memory, cpu) = (bed.memory().0, bed.cpu_seconds());
    std::thread::sleep(IDLE);
    let used = (bed.cpu_seconds() - cpu) / IDLE.as_secs_f64() * 100.0;
    println!(
        "{} sessions opened in {opening:.0} s: {:.0} MiB with them, {:.1} KiB each, {used:.1} % of a core",
        options.sessions,
        memory as f64 / 1048576.0,
        memory.saturating_sub(before) as f64 / options.sessions as f64 / 1024.0,
    );
    revoke(bed, &mut fleet, target);
}

fn revoke(bed: &Bed, fleet: &mut Fleet, target: &str) {
    let (_, ends) = fleet.listen();
    let said = bed.world.hand("dave").ok(&["revoke", "--all", "--reason", "the benchmark is over", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let at: Timestamp = field(&said, "revoked_at").unwrap().as_str().unwrap().parse().unwrap();
    let since = |time: Timestamp| time.duration_since(at).as_secs_f64() * 1e3;
    let mut seen = Vec::new();
    while let Ok((_, end)) = ends.recv_timeout(Duration::from_secs(5)) {
        seen.push(since(end));
    }
    let rows = crate::wait::until(PATIENCE, "all receipts are there", || {
        let rows = bed.world.sessions(target);
        rows.iter().all(|row| row["ended"].is_object()).then_some(rows)
    });
    let times = |name: &str| -> Vec<f64> {
        let time = |row: &serde_json::Value| {
            field(&row["ended"], name).and_then(|time| time.as_str()?.parse().ok()).map(since)
        };
        rows.iter().filter_map(time).collect()
    };
    let of = [("known", times("decided")), ("cut on both sides", times("cut")), ("seen by its client", seen)];
    for (what, mut times) in of {
        println!(
            "everything revoked, {} sessions, {what}: p50 {:.0} ms, p99 {:.0} ms, last {:.0} ms",
            times.len(),
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.99),
            quantile(&mut times, 1.0)
        );
    }
}

/// Lets everybody in and never says anything.
struct Silent;

impl Handler for Silent {
    type Error = russh::Error;

    async fn auth_openssh_certificate(&mut self, _: &str, _: &Certificate) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)
    }
}

/// Serves on a port of its own for as long as the runtime lives.
async fn serve(host_key: PrivateKey) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(Config { keys: vec![host_key], inactivity_timeout: None, ..Config::default() });
    // The runtime owns both and ends them with itself.
    let runtime = tokio::runtime::Handle::current();
    runtime.clone().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let config = Arc::clone(&config);
            runtime.spawn(async move {
                if let Ok(session) = russh::server::run_stream(config, socket, Silent).await {
                    session.await.ok();
                }
            });
        }
    });
    port
}
