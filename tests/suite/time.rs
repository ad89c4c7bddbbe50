//! Time that misbehaves: a bastion that is stopped and goes on, and a wall clock that jumps.
//!
//! Whatever happens to it, a window ends when it ends, nothing goes to the target after that, and nothing unrecorded
//! goes anywhere. Clocks that only tests can turn are in the unit tests; here it is the real program's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::campaign;
use crate::client::{Pipes, run};
use crate::postern::{end_reason, id};
use crate::review::bytes;
use crate::ssh::ALL;
use crate::wait;
use crate::world::{World, section};

/// A session whose target keeps what it gets.
struct Tapped {
    pipes: Pipes,
    tap: PathBuf,
}

impl Tapped {
    fn open(world: &World, target: &str) -> Self {
        let tap = world.dir.join(format!("tap-{target}"));
        let mut pipes = world.client("alice").open(target, &[&format!("tee {}", tap.display())]);
        pipes.say("begin\n").unwrap();
        pipes.hear("begin");
        Self { pipes, tap }
    }

    fn got(&self) -> Vec<u8> {
        fs::read(&self.tap).unwrap()
    }

    /// After its end: what came out at both sides is recorded. Gives the reason of the end.
    fn compare(&mut self, world: &World, target: &str) -> String {
        let row = world.ended(target);
        let events = world.events(&id(&row.to_string(), "ses_").unwrap());
        assert!(bytes(&events, "input").starts_with(&self.got()), "{row}");
        self.pipes.gather();
        assert!(bytes(&events, "output").starts_with(&self.pipes.heard), "{row}");
        end_reason(&row).to_owned()
    }
}

fn limits(table: &mut toml::Table, name: &str, value: &str) {
    section(table, "limits").insert(name.into(), value.into());
}

/// Stopped for less than the lease: everybody goes on, and what was said meanwhile arrives.
#[test]
fn a_bastion_that_stood_still_for_a_while_goes_on() {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut live = Tapped::open(&world, &target);
    for round in 0..campaign::rounds(1, 10) {
        world.signal("STOP");
        live.pipes.say(&format!("meanwhile {round}\n")).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert!(!crate::client::contains(&live.got(), format!("meanwhile {round}").as_bytes()));
        world.signal("CONT");
        live.pipes.hear(&format!("meanwhile {round}"));
    }
    drop(live.pipes.take_input());
    live.pipes.end(wait::LONG);
    assert_eq!(live.compare(&world, &target), "client_left");
    campaign::is_well(&world, &target);
}

/// Stopped for longer than the lease: it cannot know what it did not hear, and ends its sessions or has heard by then.
#[test]
fn a_bastion_that_stood_still_for_longer_than_its_lease_forwards_nothing_unheard() {
    let world = World::with(|table| limits(table, "lease", "2s"));
    let revoked = world.target();
    let grant = world.grant("alice", &revoked, ALL);
    for _ in 0..campaign::rounds(1, 10) {
        let target = world.target();
        world.grant("alice", &target, ALL);
        let mut live = Tapped::open(&world, &target);
        world.signal("STOP");
        live.pipes.say("too late\n").unwrap();
        std::thread::sleep(Duration::from_secs(4));
        world.signal("CONT");
        // Whether it goes on is a race between the beat and the fence; either is right, silence is not.
        wait::until(wait::LONG, "it goes on or is over", || {
            live.pipes.gather();
            let is_over = live.pipes.child.try_wait().unwrap().is_some();
            (is_over || crate::client::contains(&live.pipes.heard, b"too late")).then_some(())
        });
        drop(live.pipes.take_input());
        live.pipes.end(wait::LONG);
        let reason = live.compare(&world, &target);
        assert!(["client_left", "feed_stale"].contains(&reason.as_str()), "{reason}");
    }
    // It hears of revocations as before.
    let mut live = Tapped::open(&world, &revoked);
    world.hand("dave").ok(&["revoke", &grant, "--reason", "enough"]);
    live.pipes.end(wait::LONG);
    assert_eq!(live.compare(&world, &revoked), "grant_revoked");
    let target = world.target();
    world.grant("alice", &target, ALL);
    campaign::is_well(&world, &target);
}

/// A window that ends while the bastion stands still has ended when it goes on: what was typed after its end waits at
/// the door, and never passes.
#[test]
fn a_window_that_ended_while_the_bastion_stood_still_has_ended() {
    let world = World::fresh();
    let mut ends = Vec::new();
    for round in 0..campaign::rounds(2, 30) {
        let target = world.target();
        world.grant_for("alice", &target, ALL, "6s");
        let mut live = Tapped::open(&world, &target);
        // Some wait in the bastion's own pipes, some in the kernel's.
        live.pipes.say("in time\n").unwrap();
        live.pipes.hear("in time");
        world.signal("STOP");
        std::thread::sleep(Duration::from_secs(7));
        for line in 0..=round {
            live.pipes.say(&format!("after the end {line}\n")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
        world.signal("CONT");
        live.pipes.end(wait::LONG);
        let got = String::from_utf8(live.got()).unwrap();
        assert!(!got.contains("after"), "round {round}: it was let through after the window's end: {got:?}");
        ends.push(live.compare(&world, &target));
    }
    assert!(ends.iter().all(|end| end == "grant_expired"), "{ends:?}");
    let target = world.target();
    world.grant("alice", &target, ALL);
    campaign::is_well(&world, &target);
}

/// The wall clock is set back, and ahead, under live sessions: windows keep their ends, and the ledger its order.
#[test]
fn a_wall_clock_that_jumps_moves_no_window() {
    let world = World::fresh();
    let library = world.dir.join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/clock.c");
    let made =
        run(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]));
    assert_eq!(made.code, 0, "{made:?}");
    let clock = world.dir.join("clock");
    let set = |seconds: i64| {
        // As a whole, for who reads it at that moment.
        fs::write(world.dir.join("clock.new"), seconds.to_string()).unwrap();
        fs::rename(world.dir.join("clock.new"), &clock).unwrap();
    };
    set(0);
    world.kill();
    let mut command = world.machine.command(&["serve"]);
    command.env("LD_PRELOAD", &library).env("POSTERN_TEST_CLOCK", &clock);
    assert!(world.serve_by(command), "{}", world.log());
    ["alice", "bob", "carol", "dave"].iter().for_each(|name| world.sign_in(&world.hand(name)));

    let (short, long) = (world.target(), world.target());
    world.grant("alice", &long, ALL);
    let began = wait::now();
    world.grant_for("alice", &short, ALL, "10s");
    let (mut one, mut two) = (Tapped::open(&world, &short), Tapped::open(&world, &long));
    set(-3_600);
    one.pipes.say("an hour ago\n").unwrap();
    one.pipes.hear("an hour ago");
    one.pipes.end(wait::LONG);
    let took = began.elapsed();
    assert!(took.as_secs() >= 9, "ten seconds took {took:?}");
    assert_ne!(world.client("alice").exec(&short, "true").code, 0, "a clock set back opens nothing again");

    set(7_200);
    drop(two.pipes.say("in two hours\n"));
    std::thread::sleep(Duration::from_secs(2));
    assert_ne!(world.client("alice").exec(&long, "true").code, 0, "by the clock its window is over");
    set(0);
    drop(two.pipes.say("now\n"));
    drop(two.pipes.take_input());
    two.pipes.end(wait::LONG);
    let ends = [one.compare(&world, &short), two.compare(&world, &long)];
    assert_eq!(ends[0], "grant_expired");
    assert!(["client_left", "grant_expired"].contains(&ends[1].as_str()), "{ends:?}");
    world.machine.ok(&["ledger", "verify"]);
    assert!(!world.log().contains("panicked at"), "{}", world.log());
    world.hand("carol").ok(&["verify", "--all", "--identity", &world.reading_key()]);
}
