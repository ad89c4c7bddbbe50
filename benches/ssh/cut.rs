//! From a revocation to the last byte a client sees: one session after the other, and then all that are left at once.
//!
//! Half of the sessions stream, and every tenth client has stopped reading. Times are from the ledger entry's own, which
//! is taken before the entry is synced, to the moment the client's process has seen the end of its connection; so the
//! commit and both processes' wake-ups are in them. The bastion's receipts say how long the cut itself took.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use postern::model::Timestamp;
use serde_json::Value;

use crate::bed::{Bed, quantile};
use crate::fleet::Fleet;
use crate::options::Options;
use crate::postern::{Hand, field, id};

/// Single revocations measured.
const SINGLE: usize = 100;
/// Longest wait for one end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Five lines a second, without a process for each pause.
const STREAM: &str = "exec 3<> <(:); while :; do echo streaming; read -t 0.2 -u 3; done";

/// Measures single revocations beside everything else that goes on, then a revocation of everything.
pub(crate) fn measure(bed: &Bed, options: &Options) {
    let target = bed.world.target();
    bed.world.grant("alice", &target, "exec");
    let half = options.sessions / 2;
    let mut idle = Fleet::open(bed, &target, half, "cat");
    let mut streaming = Fleet::open(bed, &target, options.sessions - half, STREAM);
    let (idle_ends, streaming_ends) = (idle.listen(), streaming.listen());
    let dave = bed.world.hand("dave");
    let rows = bed.world.sessions(&target);
    let by_client: BTreeMap<String, String> = rows
        .iter()
        .map(|row| {
            (
                field(row, "client").unwrap().as_str().unwrap().to_owned(),
                id(&row.to_string(), "ses_").unwrap(),
            )
        })
        .collect();
    // The openings' own work must not be measured.
    std::thread::sleep(Duration::from_secs(5));
    println!("{} sessions, half of them streaming, every tenth client not reading", rows.len());
    for (name, (read, ends)) in [("idle", &idle_ends), ("streaming", &streaming_ends)] {
        let mut cuts = Vec::new();
        for client in read.iter().take(SINGLE / 2) {
            let session = by_client.get(client).expect("the bastion lists the session");
            let said = dave.ok(&["terminate", session, "--reason", "the benchmark is over", "--json"]);
            cuts.push((session.clone(), revoked_at(&said), seen(ends, client)));
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut times: Vec<f64> = cuts.iter().map(|(_, at, seen)| milliseconds(*at, *seen)).collect();
        println!(
            "one {name:<9} session: entry to last byte p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms ({} measured)",
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.99),
            quantile(&mut times, 1.0),
            times.len()
        );
        explain_longest(bed, &target, &cuts);
    }
    let said = dave.ok(&["revoke", "--all", "--reason", "the benchmark is over", "--json"]);
    let at = revoked_at(&said);
    let mut times = Vec::new();
    for (_, ends) in [&idle_ends, &streaming_ends] {
        while let Ok((_, end)) = ends.recv_timeout(Duration::from_secs(3)) {
            times.push(end.duration_since(at).as_secs_f64() * 1e3);
        }
    }
    println!(
        "everything, {} sessions: entry to last byte p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms",
        times.len(),
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.99),
        quantile(&mut times, 1.0)
    );
    receipts(bed, &dave, &target);
}

/// Where the time of the longest went: the commit and its announcement, the cut, the client's own process.
fn explain_longest(bed: &Bed, target: &str, cuts: &[(String, Timestamp, Timestamp)]) {
    let longest = cuts.iter().max_by_key(|(_, at, seen)| seen.duration_since(*at));
    let (session, at, seen) = longest.expect("some were measured");
    let (decided, cut) = crate::wait::until(PATIENCE, "the receipt is there", || {
        let rows = bed.world.sessions(target);
        let row = rows.iter().find(|row| row.to_string().contains(session.as_str()))?;
        let time = |name| field(&row["ended"], name)?.as_str()?.parse::<Timestamp>().ok();
        Some((time("decided")?, time("cut")?))
    });
    println!(
        "    the longest: {:.1} ms until it was known, {:.1} ms until it was cut, {:.1} ms until the client saw it",
        milliseconds(*at, decided),
        milliseconds(decided, cut),
        milliseconds(cut, *seen)
    );
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

/// What the bastion's own receipts say of the cut itself.
fn receipts(bed: &Bed, dave: &Hand, target: &str) {
    let rows: Vec<Value> = crate::wait::until(PATIENCE, "all receipts are there", || {
        let rows = bed.world.sessions(target);
        rows.iter().all(|row| row["ended"].is_object()).then_some(rows)
    });
    assert!(dave.home.exists());
    let cuts =
        rows.iter().filter_map(|row| field(&row["ended"], "decided_to_cut_us").and_then(Value::as_f64));
    let mut cuts: Vec<f64> = cuts.map(|us| us / 1e3).collect();
    println!(
        "{} receipts, decided to cut: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        cuts.len(),
        quantile(&mut cuts, 0.5),
        quantile(&mut cuts, 0.99),
        quantile(&mut cuts, 1.0)
    );
}

fn revoked_at(said: &str) -> Timestamp {
    let said: Value = serde_json::from_str(said).unwrap();
    field(&said, "revoked_at").and_then(Value::as_str).expect("the answer says when").parse().unwrap()
}

/// When a client saw its end.
fn seen(ends: &Receiver<(String, Timestamp)>, client: &str) -> Timestamp {
    loop {
        let (address, at) = ends.recv_timeout(PATIENCE).expect("a session did not end");
        if address == client {
            return at;
        }
    }
}
