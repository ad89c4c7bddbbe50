//! Crashes and damaged files.
//!
//! Whatever happens, nothing forwarded is missing from the recording, and the next start needs no hand. Each test has a
//! world of its own, because it breaks it. Crashes under all kinds of traffic
//! at once are in `killing`, full disks in `full_disk`. What tampering looks like to a reviewer is in `review`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Pipes;
use crate::postern::{Hand, end_reason, id, noise};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::wait;
use crate::world::{World, section};

/// How many random kills each of the two tests makes; `POSTERN_KILLS` asks for another number.
const KILLS: usize = 50;

/// D-36: `kill -9` at random moments under traffic. What the target got and what the operator saw is in the recording.
#[test]
fn a_killed_bastion_has_recorded_all_it_forwarded() {
    kill_at_random(0);
}

/// As before, beside it, with moments of its own.
#[test]
fn a_bastion_killed_again_and_again_has_recorded_all_it_forwarded() {
    kill_at_random(1);
}

fn kill_at_random(seed: u64) {
    let world = World::fresh();
    let kills = std::env::var("POSTERN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut seen = 0;
    for round in 0..kills {
        let talk = Talk::start(&world, &target, round);
        // Spread over the first second of traffic, so that every stage is hit in the long run.
        let pause = u64::from(noise((round as u64 + 1) << 1 | seed, 1)[0]) * 4 + 20;
        std::thread::sleep(Duration::from_millis(pause));
        world.kill();
        seen += talk.stop_and_compare(&world);
    }
    assert!(seen > kills, "the taps saw {seen} bytes in {kills} rounds: there was no traffic to lose");
    world.machine.ok(&["ledger", "verify"]);
    world.sign_in(&world.hand("carol"));
    world.hand("carol").ok(&["verify", "--all"]);
}

/// One session with traffic, and a tap at each side.
struct Talk {
    at_target: std::path::PathBuf,
    pipes: Pipes,
    is_over: Arc<AtomicBool>,
    writer: std::thread::JoinHandle<()>,
}

impl Talk {
    /// Typists, bulk in both directions, a flood of output, and a terminal, in turns.
    fn start(world: &World, target: &str, round: usize) -> Self {
        let at_target = world.dir.join(format!("tap-{round}"));
        let tap = at_target.display();
        let (options, command): (&[&str], _) = match round % 4 {
            0 | 1 => (&[], format!("tee {tap}")),
            2 => (&[], format!("echo begin; head -c 60000000 /dev/urandom & tee {tap} > /dev/null")),
            _ => (&["-tt"], format!("stty raw -echo; tee {tap}")),
        };
        let mut args = options.to_vec();
        args.push(&command);
        let mut pipes = world.client("alice").open(target, &args);
        pipes.say("begin\n").unwrap();
        pipes.hear("begin");
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let mut input = pipes.take_input();
        let writer = std::thread::spawn(move || {
            let mut line = 0_u64;
            let length = if round % 4 == 1 { 4000 } else { 0 };
            while !stop.load(Ordering::Relaxed) {
                let text = format!("{line:08}{}\n", ".".repeat(length));
                if input.write_all(text.as_bytes()).is_err() {
                    break;
                }
                line += 1;
                if length == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { at_target, pipes, is_over, writer }
    }

    /// After the kill: starts the bastion again and compares both taps with the recording. Gives the bytes they saw.
    fn stop_and_compare(mut self, world: &World) -> usize {
        self.pipes.end(wait::LONG);
        self.is_over.store(true, Ordering::Relaxed);
        self.writer.join().unwrap();
        // What sshd still had to hand to the target's process arrives within this.
        std::thread::sleep(Duration::from_millis(200));
        world.serve();
        let rows = world.machine.list(&["sessions"]);
        let row = rows.iter().max_by_key(|row| row["started"].to_string()).expect("a session").clone();
        assert_eq!(end_reason(&row), "crashed", "{row}");
        let session = id(&row.to_string(), "ses_").unwrap();
        world.sign_in(&world.hand("carol"));
        let events = world.events(&session);
        let (input, output) = (bytes(&events, "input"), bytes(&events, "output"));
        // Killed before `tee` began, the target got nothing.
        let got = fs::read(&self.at_target).unwrap_or_default();
        assert!(
            input.starts_with(&got),
            "the target got {} bytes, the recording holds {} of input",
            got.len(),
            input.len()
        );
        assert!(
            output.starts_with(&self.pipes.heard),
            "the operator saw {} bytes, the recording holds {} of output",
            self.pipes.heard.len(),
            output.len()
        );
        fs::remove_file(&self.at_target).ok();
        got.len() + self.pipes.heard.len()
    }
}

/// What was granted before a crash is still granted after it, and nothing was lost from the ledger.
#[test]
fn a_restart_keeps_everything() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let before = world.machine.ok(&["people", "list", "--json"]);
    world.kill();
    world.serve_again();
    assert_eq!(world.machine.ok(&["people", "list", "--json"]), before);
    assert_eq!(world.client("alice").ok(&target, "echo again"), "again\n");
    world.machine.ok(&["ledger", "verify"]);
}

/// `SIGTERM` ends sessions with that reason, finishes their recordings and exits with 0.
#[test]
fn a_stop_drains() {
    let world = World::with(|table| {
        section(table, "limits").insert("drain".into(), "2s".into());
    });
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut live = world.client("alice").open(&target, &["cat"]);
    live.say("here\n").unwrap();
    live.hear("here");
    world.signal("TERM");
    assert_ne!(live.end(wait::LONG).code, 0);
    assert_eq!(world.serve_ends(), 0, "{}", world.log());
    world.serve_again();
    assert_eq!(end_reason(&world.ended(&target)), "drained");
    world.hand("carol").ok(&["verify", "--all"]);
}

/// A second bastion on one directory is told so, and the first goes on.
#[test]
fn a_second_serve_is_refused() {
    let world = World::fresh();
    let said = world.machine.refused(&["serve"]);
    assert!(said.contains("already") || said.contains("in use") || said.contains("another"), "{said}");
    let target = world.target();
    world.grant("alice", &target, ALL);
    assert_eq!(world.client("alice").ok(&target, "echo on"), "on\n");
}

/// A damaged ledger is not started from: the error says what is wrong and what to do.
#[test]
fn a_damaged_ledger_is_refused() {
    let world = World::fresh();
    world.signal("TERM");
    world.serve_ends();
    let database =
        find(&world.state.join("ledger"), |name| name.ends_with(".db") || name.ends_with(".sqlite"));
    let whole = fs::read(&database).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    let end = (middle + 4096).min(damaged.len());
    damaged[middle..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    for (what, bytes) in
        [("damaged", &damaged[..]), ("cut short", &whole[..whole.len() / 3]), ("emptied", &[])]
    {
        fs::write(&database, bytes).unwrap();
        let said = world.machine.run(&["ledger", "verify"]);
        assert_eq!(said.code, 1, "{what}: {said:?}");
        assert!(!said.err.trim().is_empty() && !said.err.contains("panicked"), "{what}: {said:?}");
    }
    fs::write(&database, &whole).unwrap();
    world.machine.ok(&["ledger", "verify"]);
    world.serve_again();
}

/// A directory that `init` never saw.
#[test]
fn serving_an_empty_directory_says_what_to_do() {
    let dir = crate::keeper::directory();
    let hand = Hand::new("machine", &dir.join("home"), &["--dir", &dir.join("none").to_string_lossy()]);
    let said = hand.refused(&["serve"]);
    assert!(said.contains("init"), "{said}");
}

fn find(dir: &Path, wanted: impl Fn(&str) -> bool) -> std::path::PathBuf {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
        .into_iter()
        .find(|path| wanted(&path.file_name().unwrap().to_string_lossy()))
        .expect("the ledger's database is in the bastion's directory")
}
