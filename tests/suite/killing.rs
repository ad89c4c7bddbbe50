//! `kill -9` at any moment, with every kind of traffic at once and a tap at each of its ends.
//!
//! A terminal, typing, long lines, a flood of output, an upload, scp and sftp in both directions and a forward, each a
//! session of its own. After every kill the bastion is started again, and what each target or operator got must be in a
//! recording that verifies. What scp and sftp carry is taken out of the recorded streams by a reading of our own, in
//! `image`. Kills of one session at a time are in `recovery`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::campaign;
use crate::client::Pipes;
use crate::image;
use crate::postern::{end_reason, noise};
use crate::review::bytes;
use crate::wait;
use crate::world::World;

/// What is copied up and down.
const SOURCE: usize = 8 << 20;
/// The longest traffic goes on before a kill.
const LONGEST: u64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flood,
    Forward,
    Lines,
    ScpDown,
    ScpUp,
    SftpDown,
    SftpUp,
    Stream,
    Terminal,
    Typing,
}

const KINDS: [Kind; 10] = [
    Kind::Terminal,
    Kind::Typing,
    Kind::Lines,
    Kind::Flood,
    Kind::Stream,
    Kind::ScpUp,
    Kind::ScpDown,
    Kind::SftpUp,
    Kind::SftpDown,
    Kind::Forward,
];

#[test]
fn killed_under_all_kinds_of_traffic_it_has_recorded_all_it_forwarded() {
    let world = World::fresh();
    let sink = Sink::start();
    let source = world.dir.join("source");
    fs::write(&source, noise(23, SOURCE)).unwrap();
    let can = format!("shell,exec,sftp,forward=127.0.0.1:{}", sink.port);
    let targets = KINDS.map(|_| world.target());
    targets.iter().for_each(|target| drop(world.grant("alice", target, &can)));
    let (mut known, mut compared, mut slowest) = (BTreeSet::new(), [0; KINDS.len()], Duration::ZERO);
    let kills = campaign::rounds(4, 150);
    for round in 0..kills {
        sink.got.lock().unwrap().clear();
        let loads: Vec<Load> = KINDS
            .into_iter()
            .zip(&targets)
            .map(|(kind, target)| Load::start(&world, kind, target, &sink, &source))
            .collect();
        let moment = noise(round as u64 * 7 + 3, 2);
        let moment = u64::from(u16::from_le_bytes([moment[0], moment[1]])) % LONGEST;
        std::thread::sleep(Duration::from_millis(moment));
        world.kill();
        let ended: Vec<Load> = loads.into_iter().map(Load::end).collect();
        // What sshd still had to hand to the target's processes arrives within this.
        std::thread::sleep(Duration::from_millis(200));
        slowest = slowest.max(campaign::start_again(&world));
        world.sign_in(&world.hand("carol"));
        for (load, count) in ended.iter().zip(&mut compared) {
            *count += load.compare(&world, &sink, &mut known);
        }
    }
    println!("{kills} kills, the slowest start took {slowest:?}; bytes compared {compared:?}");
    for (kind, bytes) in KINDS.iter().zip(compared) {
        assert!(bytes > 0, "in {kills} rounds {kind:?} moved nothing");
    }
    campaign::is_well(&world, &targets[0]);
}

/// One session with its traffic.
struct Load {
    kind: Kind,
    target: String,
    /// The file at the end that bytes go to, where there is one.
    tap: PathBuf,
    pipes: Pipes,
    writer: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Load {
    fn start(world: &World, kind: Kind, target: &str, sink: &Sink, source: &std::path::Path) -> Self {
        let tap = world.dir.join(format!("tap-{target}"));
        fs::remove_file(&tap).ok();
        let mut pipes = Pipes::start(command(world, kind, target, sink, source, &tap));
        let every = match kind {
            Kind::Flood | Kind::ScpDown | Kind::ScpUp | Kind::SftpDown | Kind::SftpUp => None,
            Kind::Forward | Kind::Terminal | Kind::Typing => Some((2, 9)),
            Kind::Lines => Some((10, 4_000)),
            Kind::Stream => Some((40, 60_000)),
        };
        let writer = every.map(|(pause, length)| {
            let (is_over, mut input) = (Arc::new(AtomicBool::new(false)), pipes.take_input());
            let stop = Arc::clone(&is_over);
            let writer = std::thread::spawn(move || {
                for line in 0.. {
                    // Readable, so that a terminal passes it on, and never the same twice.
                    let text = data_encoding::BASE32_NOPAD.encode(&noise(line, length * 5 / 8));
                    let is_gone = input.write_all(format!("{line:08}{text}\n").as_bytes()).is_err();
                    if is_gone || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(pause));
                }
            });
            (is_over, writer)
        });
        Self { kind, target: target.to_owned(), tap, pipes, writer }
    }

    fn end(mut self) -> Self {
        self.pipes.end(wait::LONG);
        if let Some((is_over, writer)) = self.writer.take() {
            is_over.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        }
        self
    }

    /// Compares both ends with the recording; gives how many bytes that were.
    fn compare(&self, world: &World, sink: &Sink, known: &mut BTreeSet<String>) -> usize {
        let at_file = fs::read(&self.tap).unwrap_or_default();
        let sunk = sink.got.lock().unwrap().clone();
        let heard = &self.pipes.heard;
        let new = campaign::new_sessions(world, &self.target, known);
        let Some((session, row)) = new.first() else {
            let is_file = !matches!(self.kind, Kind::Forward | Kind::SftpDown | Kind::ScpDown);
            assert!(!is_file || at_file.is_empty(), "{:?}: no session, and the target got bytes", self.kind);
            return 0;
        };
        assert!(new.len() == 1 && end_reason(row) == "crashed", "{:?}: {new:?}", self.kind);
        let events = world.events(session);
        let (input, output) = (bytes(&events, "input"), bytes(&events, "output"));
        let about = format!(
            "{:?} in {session}: file {}, heard {}, sunk {}, recorded {} in and {} out",
            self.kind,
            at_file.len(),
            heard.len(),
            sunk.len(),
            input.len(),
            output.len()
        );
        match self.kind {
            Kind::ScpUp => assert!(image::of_scp(&input).starts_with(&at_file), "{about}"),
            Kind::ScpDown => assert!(image::of_scp(&output).starts_with(&at_file), "{about}"),
            Kind::SftpUp => assert!(image::Image::uploaded(&input).covers(&at_file), "{about}"),
            Kind::SftpDown => assert!(image::Image::downloaded(&input, &output).covers(&at_file), "{about}"),
            Kind::Forward => {
                let is_opened = events.iter().any(|event| event["type"] == "forward");
                assert!(is_opened || sunk.is_empty(), "{about}");
                assert!(input.starts_with(&sunk) && output.starts_with(heard), "{about}");
                return sunk.len() + heard.len();
            }
            Kind::Flood | Kind::Lines | Kind::Stream | Kind::Terminal | Kind::Typing => {
                assert!(input.starts_with(&at_file) && output.starts_with(heard), "{about}");
            }
        }
        at_file.len() + heard.len()
    }
}

fn command(
    world: &World,
    kind: Kind,
    target: &str,
    sink: &Sink,
    source: &std::path::Path,
    tap: &std::path::Path,
) -> Command {
    let client = world.client("alice");
    let there = tap.display();
    let remote = |path: &std::path::Path| format!("{}@gate:{}", World::address(target), path.display());
    // At about 1 MB/s, so that a kill finds them under way.
    let copy = |tool: &str, mode: &[&str], from: &str, to: &str| {
        let mut command = client.tool(tool);
        command.args(mode).args(["-q", "-l", "8000"]).args([from, to]);
        command
    };
    let here = |path: &std::path::Path| path.to_string_lossy().into_owned();
    match kind {
        Kind::Flood => {
            // It ends when nobody listens, and after half a minute at the latest.
            let script = "for n in $(seq 700); do head -c 60000 /dev/urandom || exit; sleep 0.04; done";
            client.ssh(target, &[script])
        }
        Kind::Forward => client.ssh(target, &["-W", &format!("127.0.0.1:{}", sink.port)]),
        Kind::Lines | Kind::Typing => client.ssh(target, &[&format!("tee {there}")]),
        Kind::ScpDown => copy("scp", &["-O"], &remote(source), &here(tap)),
        Kind::ScpUp => copy("scp", &["-O"], &here(source), &remote(tap)),
        // By its newer mode, which is the sftp protocol.
        Kind::SftpDown => copy("scp", &["-s"], &remote(source), &here(tap)),
        Kind::SftpUp => copy("scp", &["-s"], &here(source), &remote(tap)),
        Kind::Stream => client.ssh(target, &[&format!("cat > {there}")]),
        Kind::Terminal => client.ssh(target, &["-tt", &format!("stty raw -echo; tee {there}")]),
    }
}

/// Where the forward leads: keeps what it gets, and answers with it.
struct Sink {
    port: u16,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut buffer) = (stream.unwrap(), [0; 4096]);
                while let Ok(count) = stream.read(&mut buffer) {
                    keep.lock().unwrap().extend(&buffer[..count]);
                    if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            }
        });
        Self { port, got }
    }
}
