//! The twelve scenarios every protocol must pass, because there is one lifecycle for all of them.
//!
//! A protocol brings a `Driver`: how its own client opens a session, says something, hears it back and stops reading.
//! What must hold is written once, below, and knows no protocol. A new protocol adds one line to `protocols!`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::keeper::Process;
use crate::postern::{Said, end_reason, field};
use crate::review::bytes;
use crate::wait;
use crate::world::{World, section};

/// How a protocol's own client behaves.
pub(crate) trait Driver: Sync {
    /// Opens a session as `who` that echoes what is said; it may turn out to be refused.
    fn open(&self, world: &World, who: &str, target: &str) -> Box<dyn Live>;
    /// Opens one as `who` with evidence that is not theirs.
    fn open_as_stranger(&self, world: &World, target: &str) -> Box<dyn Live>;
    /// Opens one whose target sends as fast as it can.
    fn flood(&self, world: &World, who: &str, target: &str) -> Box<dyn Live>;
    /// How often the target let somebody in so far.
    fn logins(&self, world: &World) -> usize;
    /// How many sessions the target holds now.
    fn held(&self, world: &World) -> usize;
    /// Registers a target where nothing listens.
    fn absent_target(&self, world: &World) -> String;
    /// Registers a target that does not accept our credentials.
    fn distrusting_target(&self, world: &World) -> String;
    /// What to ask for, so that `open` may work.
    fn capability(&self) -> &'static str;
}

/// A client's end of a session.
pub(crate) trait Live {
    /// Says a line; whether it could.
    fn say(&mut self, line: &str) -> bool;
    /// Waits until a line comes back.
    fn hear(&mut self, line: &str);
    /// Leaves, as a client does when its user is done.
    fn leave(&mut self);
    /// Stops taking anything from the gate, without closing.
    fn freeze(&mut self);
    /// Waits until the session is over from the client's point of view; what it said.
    fn end(&mut self, bound: Duration) -> Said;
}

macro_rules! protocols {
    ($($name:ident => $driver:expr),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn denied() { super::denied(&$driver); }
            #[test]
            fn wrong_evidence() { super::wrong_evidence(&$driver); }
            #[test]
            fn target_down() { super::target_down(&$driver); }
            #[test]
            fn credential_refused() { super::credential_refused(&$driver); }
            #[test]
            fn recorder_fails_at_start() { super::recorder_fails_at_start(&$driver); }
            #[test]
            fn recorder_fails_midway() { super::recorder_fails_midway(&$driver); }
            #[test]
            fn revoked_while_busy() { super::revoked_while_busy(&$driver); }
            #[test]
            fn revoked_while_blocked() { super::revoked_while_blocked(&$driver); }
            #[test]
            fn change_feed_lost() { super::change_feed_lost(&$driver); }
            #[test]
            fn expired() { super::expired(&$driver); }
            #[test]
            fn idle() { super::idle(&$driver); }
            #[test]
            fn clean_end() { super::clean_end(&$driver); }
        }
    )+ };
}

protocols! { ssh => crate::ssh::Ssh }

/// No grant: refused, the target hears nothing, there is no session.
fn denied(driver: &dyn Driver) {
    let world = World::fresh();
    let target = world.target();
    let said = driver.open(&world, "alice", &target).end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(driver.logins(&world), 0, "the target was not touched: {}", world.sshd.log());
    assert!(world.sessions(&target).is_empty());
}

/// A key nobody enrolled: refused, and told no more than that.
fn wrong_evidence(driver: &dyn Driver) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let said = driver.open_as_stranger(world, &target).end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(!said.err.contains("alice"), "a stranger learns no names: {said:?}");
    assert!(world.sessions(&target).is_empty());
}

/// A target that cannot be reached: said so, ended with that reason, nothing left behind.
fn target_down(driver: &dyn Driver) {
    let world = World::shared();
    let target = driver.absent_target(world);
    world.grant("alice", &target, driver.capability());
    let said = driver.open(world, "alice", &target).end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(end_reason(&world.ended(&target)), "target_unreachable");
}

/// A target that does not accept the minted credential.
fn credential_refused(driver: &dyn Driver) {
    let world = World::shared();
    let target = driver.distrusting_target(world);
    world.grant("alice", &target, driver.capability());
    let said = driver.open(world, "alice", &target).end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(end_reason(&world.ended(&target)), "target_refused");
}

/// Every sync fails from before the session: no credential, no connection to the target.
fn recorder_fails_at_start(driver: &dyn Driver) {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let before = driver.logins(&world);
    let _fault = fail_syncs(&world, &[]);
    let said = driver.open(&world, "alice", &target).end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(driver.logins(&world), before, "the target was reached without a recorder");
}

/// Syncs of the journal begin to fail in the middle: the next line never reaches the target, both sides are cut, and
/// what was forwarded before verifies.
fn recorder_fails_midway(driver: &dyn Driver) {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let mut live = driver.open(&world, "alice", &target);
    assert!(live.say("before"));
    live.hear("before");
    let session = world.session(&target);
    let fault = fail_syncs(&world, &[&world.state.join("journal")]);
    live.say("after");
    let said = live.end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(!said.out.contains("after"), "a line came back that no recording holds: {said:?}");
    let row = world.ended(&target);
    assert_eq!(end_reason(&row), "recorder_failed", "{row}");
    receipt_holds(&world, &session);
    nothing_held(driver, &world);
    let refused = driver.open(&world, "alice", &target).end(wait::LONG);
    assert_ne!(refused.code, 0, "nothing begins unrecorded: {refused:?}");
    drop(fault);
    world.kill();
    world.serve_again();
    verified_up_to(&world, &session, "before", "after");
}

/// A revocation in the middle of traffic ends the session on both sides, with a receipt.
fn revoked_while_busy(driver: &dyn Driver) {
    let world = World::shared();
    let target = world.target();
    let grant = world.grant("alice", &target, driver.capability());
    let mut live = driver.flood(world, "alice", &target);
    let session = world.session(&target);
    world.hand("dave").ok(&["revoke", &grant, "--reason", "enough"]);
    let row = world.ended(&target);
    assert_eq!(end_reason(&row), "grant_revoked");
    assert_ne!(live.end(wait::SHORT).code, 0);
    receipt_holds(world, &session);
    let mut again = driver.open(world, "alice", &target);
    assert_ne!(again.end(wait::LONG).code, 0, "a revoked grant opens nothing");
}

/// The same when the client has stopped reading: ending waits for nobody.
fn revoked_while_blocked(driver: &dyn Driver) {
    let world = World::shared();
    let target = world.target();
    let grant = world.grant("alice", &target, driver.capability());
    let mut live = driver.flood(world, "alice", &target);
    let session = world.session(&target);
    live.freeze();
    // Long enough for every buffer between target and client to fill up.
    std::thread::sleep(Duration::from_secs(2));
    world.hand("dave").ok(&["revoke", &grant, "--reason", "enough"]);
    assert_eq!(end_reason(&world.ended(&target)), "grant_revoked");
    receipt_holds(world, &session);
}

/// When the ledger can no longer commit, revocations cannot be heard: sessions end, also those that send nothing.
fn change_feed_lost(driver: &dyn Driver) {
    let world = World::fresh();
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let mut live = driver.open(&world, "alice", &target);
    assert!(live.say("here"));
    live.hear("here");
    let session = world.session(&target);
    let fault = fail_syncs(&world, &[&world.state.join("ledger")]);
    // Something that has to be committed, so that the failure shows.
    world.hand("alice").refused(&["request", &World::address(&target), "--for", "1h", "--reason", "x"]);
    let said = live.end(wait::LONG);
    assert_ne!(said.code, 0, "{said:?}");
    nothing_held(driver, &world);
    let refused = driver.open(&world, "alice", &target).end(wait::LONG);
    assert_ne!(refused.code, 0, "nothing begins that the ledger cannot know: {refused:?}");
    drop(fault);
    world.kill();
    world.serve_again();
    // The ledger could not be told the reason; the recording was.
    assert_eq!(end_reason(&world.ended(&target)), "crashed");
    let events = verified_up_to(&world, &session, "here", "nothing");
    assert_eq!(events.last().unwrap()["reason"], "ledger_failed", "{:?}", events.last());
}

/// The window's end ends the session, although it is busy.
fn expired(driver: &dyn Driver) {
    let world = World::shared();
    let target = world.target();
    world.grant_for("alice", &target, driver.capability(), "4s");
    let mut live = driver.open(world, "alice", &target);
    assert!(live.say("here"));
    live.hear("here");
    assert_ne!(live.end(wait::LONG).code, 0);
    assert_eq!(end_reason(&world.ended(&target)), "grant_expired");
}

/// Nothing said for longer than the limit.
fn idle(driver: &dyn Driver) {
    let world = World::with(|table| {
        section(table, "limits").insert("idle".into(), "2s".into());
    });
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let mut live = driver.open(&world, "alice", &target);
    assert!(live.say("here"));
    live.hear("here");
    assert_ne!(live.end(wait::LONG).code, 0);
    assert_eq!(end_reason(&world.ended(&target)), "idle");
}

/// The client leaves: nothing is left running, and the recording is whole.
fn clean_end(driver: &dyn Driver) {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, driver.capability());
    let mut live = driver.open(world, "alice", &target);
    assert!(live.say("one line"));
    live.hear("one line");
    let session = world.session(&target);
    live.leave();
    assert_eq!(live.end(wait::LONG).code, 0);
    assert_eq!(end_reason(&world.ended(&target)), "client_left");
    world.hand("carol").ok(&["verify", &session]);
    let events = world.events(&session);
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"session_started"));
    assert_eq!(kinds.last(), Some(&"session_ended"));
}

/// The receipt says when it was decided and cut, in that order and with less than a second between.
fn receipt_holds(world: &World, session: &str) {
    let text = world.hand("dave").ok(&["receipt", session, "--json"]);
    let whole: Value = serde_json::from_str(&text).unwrap();
    let receipt = field(&whole, "receipt").unwrap_or(&whole);
    let microseconds = receipt["decided_to_cut_us"].as_u64().unwrap_or_else(|| panic!("{text}"));
    assert!(microseconds < 1_000_000, "the cut took {microseconds} us: {text}");
    assert!(receipt["decided"].as_str() <= receipt["cut"].as_str(), "{text}");
    assert!(receipt["credential_dead"].is_object(), "{text}");
}

/// Soon the target holds no session any more.
fn nothing_held(driver: &dyn Driver, world: &World) {
    wait::until(wait::SHORT, "the target's side is cut", || (driver.held(world) == 0).then_some(()));
}

/// The recording verifies and holds what was said before the fault; gives its events.
fn verified_up_to(world: &World, session: &str, said: &str, unsaid: &str) -> Vec<Value> {
    world.machine.ok(&["ledger", "verify"]);
    world.hand("carol").ok(&["verify", session, "--identity", &world.reading_key()]);
    let events = world.events(session);
    for kind in ["input", "output"] {
        let text = String::from_utf8_lossy(&bytes(&events, kind)).into_owned();
        assert!(text.contains(said), "{kind}: {text:?}");
        assert!(kind == "input" || !text.contains(unsaid), "{kind}: {text:?}");
    }
    events
}

/// From now on every sync of the bastion fails with EIO, as on a dying disk; only those of files in `directories`, when
/// there are any. Ends when dropped.
fn fail_syncs(world: &World, directories: &[&Path]) -> Process {
    let mut command = Command::new("strace");
    let log = world.dir.join("strace.log");
    command
        .args(["-f", "-e", "trace=fsync,fdatasync,sync_file_range"])
        .args(["-e", "inject=fsync,fdatasync,sync_file_range:error=EIO", "-p", &world.serve_id().to_string()])
        .stdin(Stdio::null());
    for directory in directories {
        for entry in fs::read_dir(directory).unwrap() {
            command.arg("-P").arg(entry.unwrap().path());
        }
    }
    let fault = Process::start(command, &log);
    wait::until(wait::LONG, "strace holds the bastion", || {
        fs::read_to_string(&log).unwrap_or_default().contains("attached").then_some(())
    });
    fault
}
