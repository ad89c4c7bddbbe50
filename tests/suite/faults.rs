//! The system fails the bastion, at every place in turn at which a short session, or a start after a crash, can meet it.
//!
//! The n-th write, sync, open or rename of each of its threads fails, for every n until a session no longer gets that
//! far; memory runs out. Each run ends or refuses the session, nothing forwarded is missing from what verifies, and the
//! next start needs no hand. What a disk that stays broken leads to is in `lifecycle`, crashes are in `killing`, full
//! disks in `full_disk`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::campaign;
use crate::client::run;
use crate::keeper::Process;
use crate::postern::{end_reason, id, noise};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// More runs than a session has such calls: reaching it means that the loop no longer sees its end.
const MOST: usize = 60;

/// What is written at a place of its own is on a disk; sockets and the log are not.
const WRITES: &str = "pwrite64,pwritev,pwritev2";
const SYNCS: &str = "fsync,fdatasync,syncfs,sync_file_range";
const OPENS: &str = "openat,open";
/// What changes names and lengths.
const NAMES: &str = "rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,mkdir";
const MEMORY: &str = "mmap,brk,mremap";

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
struct Fault {
    calls: &'static str,
    error: &'static str,
    /// Whether all later ones fail too.
    lasts: bool,
}

impl Fault {
    const fn once(calls: &'static str) -> Self {
        Self { calls, error: "EIO", lasts: false }
    }

    /// `strace`, so that the n-th of these calls in each thread fails; to be told which program, or which process.
    fn command(self, n: usize) -> Command {
        let Self { calls, error, lasts } = self;
        let mut command = Command::new("strace");
        let last = if lasts { "+" } else { "" };
        command.args(["-f", "-e", &format!("trace={calls}"), "-e"]);
        command.arg(format!("inject={calls}:error={error}:when={n}{last}")).stdin(Stdio::null());
        command
    }
}

#[test]
fn any_write_may_fail() {
    each_fails(Fault::once(WRITES), "refused");
}

#[test]
fn any_sync_may_fail() {
    each_fails(Fault::once(SYNCS), "recorder_failed");
}

#[test]
fn any_open_may_fail() {
    // The session may go on: its frames are in the journal, whether or not their own file can be opened.
    each_fails(Fault::once(OPENS), "client_left");
}

#[test]
fn any_rename_may_fail() {
    // The session is over by then, and its end is in the ledger; its recording gets its name at the next start.
    each_fails(Fault::once(NAMES), "client_left");
}

/// `felt` is how some of the sessions end.
fn each_fails(fault: Fault, felt: &str) {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut known = BTreeSet::new();
    let mut ends = BTreeSet::new();
    for n in 1.. {
        assert!(n < MOST, "a short session still meets the {n}th of {fault:?}");
        let (is_hit, how) = one_run(&world, &target, fault, n, &mut known);
        if !is_hit {
            assert_eq!(how, "client_left", "with nothing failing");
            break;
        }
        ends.insert(how);
    }
    let known = ["client_left", "crashed", "ledger_failed", "recorder_failed", "refused"];
    assert!(ends.iter().all(|end| known.contains(&end.as_str())), "{ends:?}");
    assert!(ends.contains(felt), "the faults were felt: {ends:?}");
    campaign::is_well(&world, &target);
}

/// Whether the fault was met, and how the session ended.
fn one_run(
    world: &World,
    target: &str,
    fault: Fault,
    n: usize,
    known: &mut BTreeSet<String>,
) -> (bool, String) {
    let (log, tap) = (world.dir.join("fault.log"), world.dir.join(format!("fault-{n}")));
    fs::remove_file(&log).ok();
    let strace = attach(world, fault, n, &log);
    let mut live = world.client("alice").open(target, &[&format!("tee {}", tap.display())]);
    for line in ["one\n", "two\n", "three\n"] {
        // Whatever fails, the client learns of it by its connection.
        if live.say(line).is_err() || !heard(&mut live, line) {
            break;
        }
    }
    drop(live.take_input());
    let said = live.end(wait::LONG);
    if !is_injected(&log) {
        // It can end undisturbed; a kill before that would be another test.
        let is_over = || world.machine.list(&["sessions"]).iter().all(|row| row["ended"].is_object());
        wait::until(wait::LONG, "the session ends", || (is_over() || is_injected(&log)).then_some(()));
    }
    let is_hit = is_injected(&log);
    drop(strace);
    world.kill();
    world.serve_again();
    let rows = world.sessions(target);
    let new: Vec<_> = rows.iter().filter(|row| known.insert(id(&row.to_string(), "ses_").unwrap())).collect();
    let Some(row) = new.first() else {
        assert!(said.code != 0 && !tap.exists(), "the {n}th of {fault:?}: refused and reached: {said:?}");
        return (is_hit, "refused".to_owned());
    };
    assert!(new.len() == 1 && row["ended"].is_object(), "the {n}th of {fault:?}: {new:?}");
    let session = id(&row.to_string(), "ses_").unwrap();
    world.hand("carol").ok(&["verify", &session, "--identity", &world.reading_key()]);
    world.machine.ok(&["ledger", "verify"]);
    let events = world.events(&session);
    let (input, output) = (bytes(&events, "input"), bytes(&events, "output"));
    let got = fs::read(&tap).unwrap_or_default();
    assert!(input.starts_with(&got), "the {n}th of {fault:?}: the target got {got:?}, recorded is {input:?}");
    assert!(output.starts_with(&live.heard), "the {n}th of {fault:?}: {said:?}, recorded is {output:?}");
    (is_hit, end_reason(row).to_owned())
}

/// Whether a call has failed.
fn is_injected(log: &Path) -> bool {
    fs::read_to_string(log).unwrap_or_default().contains("(INJECTED)")
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

/// Makes the calls fail from now until this is dropped.
fn attach(world: &World, fault: Fault, n: usize, log: &Path) -> Process {
    let mut command = fault.command(n);
    command.args(["-p", &world.serve_id().to_string()]);
    let strace = Process::start(command, log);
    wait::until(wait::LONG, "strace holds the bastion", || {
        fs::read_to_string(log).unwrap_or_default().contains("attached").then_some(())
    });
    strace
}

/// A start after a crash may be hit too: it serves or says why not, and the one after it finds everything.
#[test]
fn a_start_may_fail_anywhere() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut live = world.client("alice").open(&target, &["cat"]);
    for line in 0..20 {
        live.say(&format!("{line}\n")).unwrap();
    }
    live.hear("19\n");
    world.kill();
    live.end(wait::LONG);
    let crashed = world.dir.join("crashed");
    campaign::copy(&world.state, &crashed);
    let mut runs = 0;
    // One refusal of memory is often made up for elsewhere; when there is no more, the program must end as after a kill.
    let no_memory = Fault { calls: MEMORY, error: "ENOMEM", lasts: true };
    for fault in [Fault::once(WRITES), Fault::once(SYNCS), Fault::once(OPENS), Fault::once(NAMES), no_memory]
    {
        let before = runs;
        for n in (1..).step_by(campaign::rounds(if fault.lasts { 25 } else { 5 }, 1)) {
            fs::remove_dir_all(&world.state).unwrap();
            campaign::copy(&crashed, &world.state);
            let log = world.dir.join("fault.log");
            let mut command = fault.command(n);
            command.args(["-D", "-o", &log.to_string_lossy()]);
            let is_serving = world.serve_by(world.machine.command_under(&command, &["serve"]));
            if is_serving {
                world.kill();
            }
            campaign::start_again(&world);
            let new = campaign::new_sessions(&world, &target, &mut BTreeSet::new());
            let [(session, row)] = &new[..] else { panic!("{n}th of {fault:?}: {new:?}") };
            assert_eq!(end_reason(row), "crashed", "{n}th of {fault:?}");
            world.sign_in(&world.hand("carol"));
            let heard = bytes(&world.events(session), "output");
            assert!(heard.starts_with(&live.heard), "{n}th of {fault:?}: {} bytes", heard.len());
            world.kill();
            if !is_injected(&log) {
                break;
            }
            runs += 1;
        }
        assert!(runs > before, "no start was hit by {fault:?}");
    }
    println!("{runs} starts were hit");
    world.serve();
    campaign::is_well(&world, &target);
}

/// Memory runs out under traffic, after a little more of it or a lot: whether the program ends or goes on without, all
/// that was forwarded is there.
#[test]
fn memory_may_run_out_under_traffic() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut known = BTreeSet::new();
    let (mut crashes, mut felt) = (0, 0);
    let runs = campaign::rounds(4, 60);
    for run in 0..runs {
        let tap = world.dir.join(format!("memory-{run}"));
        let mut live = world.client("alice").open(&target, &[&format!("tee {}", tap.display())]);
        live.say("begin\n").unwrap();
        live.hear("begin\n");
        let more = 16_384 << (run * 2 % 11);
        limit_memory(world.serve_id(), more);
        // Through the bulk lanes both ways, until it is through or the bastion is gone.
        let mut input = live.take_input();
        let sent = noise(run as u64, 12 << 20);
        let writer = std::thread::spawn(move || drop(input.write_all(&sent)));
        // Another needs memory of its own.
        let other = world.client("alice").exec(&target, "true");
        live.end(wait::HUNG);
        writer.join().unwrap();
        felt += usize::from(other.code != 0 || world.log().contains("memory allocation"));
        world.kill();
        campaign::start_again(&world);
        world.sign_in(&world.hand("carol"));
        let new = campaign::new_sessions(&world, &target, &mut known);
        assert!((1..=2).contains(&new.len()), "run {run}: {new:?}, {other:?}");
        crashes += usize::from(new.iter().any(|(_, row)| end_reason(row) == "crashed"));
        let all: Vec<_> = new.iter().map(|(session, _)| world.events(session)).collect();
        let got = fs::read(&tap).unwrap();
        let is_there =
            |kind: &str, wanted: &[u8]| all.iter().any(|events| bytes(events, kind).starts_with(wanted));
        assert!(is_there("input", &got) && is_there("output", &live.heard), "run {run}: {} got", got.len());
    }
    println!("memory ran out {crashes} times in {runs}");
    assert!(felt > 0, "the limit was never felt");
    campaign::is_well(&world, &target);
}

/// Lets a process write to only so many more bytes of memory of its own.
fn limit_memory(process: u32, more: u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("its memory");
    let now: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = format!("--data={}", now * 1024 + more);
    let said = run(Command::new("prlimit").args(["--pid", &process.to_string(), &limit]));
    assert_eq!(said.code, 0, "{said:?}");
}
