//! The disk fails once, at every place in turn at which a short session can meet it.
//!
//! The n-th write, sync or open of each of the bastion's threads gives EIO, for every n until a session no longer gets
//! that far. Each run ends or refuses the session, nothing forwarded is missing from what verifies, and the next start
//! needs no hand. What a lasting fault leads to is in `lifecycle`, crashes and full disks are in `recovery`.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use crate::keeper::Process;
use crate::postern::{end_reason, id};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// More runs than a session has such calls: reaching it means that the loop no longer sees its end.
const MOST: usize = 60;

#[test]
fn any_write_may_fail() {
    // What is written at a place of its own is on a disk; sockets and the log are not.
    each_fails_once("pwrite64,pwritev,pwritev2", "refused");
}

#[test]
fn any_sync_may_fail() {
    each_fails_once("fsync,fdatasync,syncfs,sync_file_range", "recorder_failed");
}

#[test]
fn any_open_may_fail() {
    // The session may go on: its frames are in the journal, whether or not their own file can be opened.
    each_fails_once("openat,open", "client_left");
}

/// `felt` is how some of the sessions end.
fn each_fails_once(calls: &str, felt: &str) {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut known = BTreeSet::new();
    let mut ends = BTreeSet::new();
    for n in 1.. {
        assert!(n < MOST, "a short session still meets the {n}th of {calls}");
        let (is_hit, how) = one_run(&world, &target, calls, n, &mut known);
        if !is_hit {
            assert_eq!(how, "client_left", "with nothing failing");
            break;
        }
        ends.insert(how);
    }
    let known = ["client_left", "crashed", "ledger_failed", "recorder_failed", "refused"];
    assert!(ends.iter().all(|end| known.contains(&end.as_str())), "{ends:?}");
    assert!(ends.contains(felt), "the faults were felt: {ends:?}");
}

/// Whether the fault was met, and how the session ended.
fn one_run(
    world: &World,
    target: &str,
    calls: &str,
    n: usize,
    known: &mut BTreeSet<String>,
) -> (bool, String) {
    let (log, tap) = (world.dir.join("fault.log"), world.dir.join(format!("fault-{n}")));
    fs::remove_file(&log).ok();
    let fault = fail_once(world, calls, n, &log);
    let mut live = world.client("alice").open(target, &[&format!("tee {}", tap.display())]);
    for line in ["one\n", "two\n", "three\n"] {
        // Whatever fails, the client learns of it by its connection.
        if live.say(line).is_err() || !heard(&mut live, line) {
            break;
        }
    }
    drop(live.take_input());
    let said = live.end(wait::LONG);
    let is_hit = fs::read_to_string(&log).unwrap_or_default().contains("(INJECTED)");
    drop(fault);
    world.kill();
    world.serve_again();
    let rows = world.sessions(target);
    let new: Vec<_> = rows.iter().filter(|row| known.insert(id(&row.to_string(), "ses_").unwrap())).collect();
    let Some(row) = new.first() else {
        assert!(said.code != 0 && !tap.exists(), "the {n}th of {calls}: refused and reached: {said:?}");
        return (is_hit, "refused".to_owned());
    };
    assert!(new.len() == 1 && row["ended"].is_object(), "the {n}th of {calls}: {new:?}");
    let session = id(&row.to_string(), "ses_").unwrap();
    world.hand("carol").ok(&["verify", &session, "--identity", &world.reading_key()]);
    world.machine.ok(&["ledger", "verify"]);
    let events = world.events(&session);
    let (input, output) = (bytes(&events, "input"), bytes(&events, "output"));
    let got = fs::read(&tap).unwrap_or_default();
    assert!(input.starts_with(&got), "the {n}th of {calls}: the target got {got:?}, recorded is {input:?}");
    assert!(output.starts_with(&live.heard), "the {n}th of {calls}: {said:?}, recorded is {output:?}");
    (is_hit, end_reason(row).to_owned())
}

/// Whether a line comes back before the client is gone.
fn heard(live: &mut crate::client::Pipes, line: &str) -> bool {
    wait::until(wait::LONG, "a line comes back or the client is gone", || {
        let is_over = live.child.try_wait().unwrap().is_some();
        live.gather();
        let is_heard = crate::client::contains(&live.heard, line.as_bytes());
        (is_heard || is_over).then_some(is_heard)
    })
}

/// The n-th of these calls in each thread of the bastion gives EIO, from now until this is dropped.
fn fail_once(world: &World, calls: &str, n: usize, log: &std::path::Path) -> Process {
    let mut command = Command::new("strace");
    command.args(["-f", "-e", &format!("trace={calls}"), "-e"]);
    command.arg(format!("inject={calls}:error=EIO:when={n}")).args(["-p", &world.serve_id().to_string()]);
    command.stdin(Stdio::null());
    let fault = Process::start(command, log);
    wait::until(wait::LONG, "strace holds the bastion", || {
        fs::read_to_string(log).unwrap_or_default().contains("attached").then_some(())
    });
    fault
}
