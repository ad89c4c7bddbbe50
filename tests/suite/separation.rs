//! D-33 through the command line: nobody approves for themselves, in whatever guise, and what counted once counts only
//! while it still would.
//!
//! Persons are compared, not keys or names. The rules one by one, over every history, are tested in `access`; forged
//! approvals in `session`. Here people enrol, link and disable each other as administrators do.

use crate::postern::{Hand, id};
use crate::service;
use crate::ssh::ALL;
use crate::sshd;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// Enrols somebody with a key of their own, signed in and able to use SSH.
pub(crate) fn enrol(world: &World, name: &str, args: &[&str]) -> Hand {
    let hand = world.hand(name);
    sshd::keygen(&hand.key(), "ed25519");
    let key = format!("{}.pub", hand.key().display());
    world.machine.ok(&[&["people", "add", name, "--key", &key], args].concat());
    world.sign_in(&hand);
    world.client(name).write_config();
    hand
}

/// A key that belonged to one and then to the other: from now on the two are one human.
pub(crate) fn link(world: &World, one: &str, other: &str) {
    let key = world.dir.join(format!("{one}-{other}"));
    sshd::keygen(&key, "ed25519");
    let key = format!("{}.pub", key.display());
    world.machine.ok(&["people", "link", one, "--key", &key]);
    world.machine.ok(&["people", "unlink", one, "--key", &key]);
    world.machine.ok(&["people", "link", other, "--key", &key]);
}

/// A target with customers' data, which two must approve.
fn customer_data(world: &World) -> String {
    let (host_key, address) = (world.sshd.host_key(), format!("127.0.0.1:{}", world.sshd.port));
    let host_key = host_key.to_string_lossy();
    let add = ["targets", "add", "customers", &address, "--application-data", "--host-key", &host_key];
    world.machine.ok(&add);
    "customers".to_owned()
}

fn approve(request: &str) -> [&str; 3] {
    ["approve", request, "--yes"]
}

/// The grants of one request that are in force, as an approver sees them.
fn grants(world: &World, request: &str) -> usize {
    let rows = world.hand("bob").list(&["grants"]);
    rows.iter().filter(|row| row.to_string().contains(request)).count()
}

/// How a grant ended, or nothing.
fn how_it_ended(world: &World, grant: &str) -> String {
    let rows = world.hand("bob").list(&["grants", "--all"]);
    let row = rows.iter().find(|row| row["grant"]["grant"] == grant).expect("the grant is listed");
    row["ended"].as_str().unwrap_or_default().to_owned()
}

/// Alice is told at her terminal that the grant she used begins no more sessions, and why.
fn refused_as_unbacked(world: &World, target: &str) {
    // What the gate has to say before there is a session, OpenSSH shows at this level.
    let options = ["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-tt", "echo let in"];
    let mut command = world.client("alice").ssh(target, &options);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see("the grant's approvals no longer count");
    assert_ne!(terminal.end(wait::LONG), Some(0));
}

#[test]
fn two_of_two_are_two_people() {
    let world = World::fresh();
    let target = customer_data(&world);
    let (bob, alice) = (world.hand("bob"), world.client("alice"));
    let bobs_other_self = enrol(&world, "bob2", &["--role", "approver"]);
    let second = world.dir.join("bobs-second");
    sshd::keygen(&second, "ed25519");
    world.machine.ok(&["people", "link", "bob", "--key", &format!("{}.pub", second.display())]);
    link(&world, "bob", "bob2");

    let request = world.request("alice", &target, ALL, "30m");
    bob.ok(&approve(&request));
    assert_eq!(grants(&world, &request), 0, "one of two is not enough");
    let second = second.to_string_lossy();
    let said = bob.refused(&["approve", &request, "--yes", "--ssh-key", &second]);
    assert!(said.contains("approved this request already"), "with another key of his: {said}");
    let said = bobs_other_self.refused(&approve(&request));
    assert!(said.contains("somebody linked to you approved already"), "{said}");
    assert_ne!(alice.exec(&target, "true").code, 0, "and still there is no grant");
    world.hand("erin").ok(&approve(&request));
    assert_eq!(grants(&world, &request), 1);
    assert_eq!(alice.ok(&target, "echo two"), "two\n");
}

#[test]
fn a_linked_identity_approves_nothing_for_its_other_self() {
    let world = World::fresh();
    let target = world.target();
    let other_self = enrol(&world, "erin2", &["--role", "operator,approver"]);
    link(&world, "erin2", "erin");
    let request = world.request("erin", &target, ALL, "1h");
    let said = world.hand("erin").refused(&approve(&request));
    assert!(said.contains("nobody may approve their own request"), "{said}");
    let said = other_self.refused(&approve(&request));
    assert!(said.contains("are linked"), "{said}");
    let request_of_other = world.request("erin2", &target, ALL, "1h");
    let said = world.hand("erin").refused(&approve(&request_of_other));
    assert!(said.contains("are linked"), "{said}");
    assert_eq!(grants(&world, &request) + grants(&world, &request_of_other), 0);
    world.hand("bob").ok(&approve(&request));
    assert_eq!(world.client("erin").ok(&target, "echo in"), "in\n");
}

#[test]
fn a_workload_and_its_owner_approve_nothing_for_each_other() {
    let world = World::fresh();
    let target = world.target();
    let agent = enrol(&world, "agent-7", &["--role", "operator,approver", "--owner", "erin"]);
    let owners = world.request("erin", &target, ALL, "1h");
    let said = agent.refused(&approve(&owners));
    assert!(said.contains("only people may approve"), "{said}");
    let others = world.request("alice", &target, ALL, "1h");
    let said = agent.refused(&approve(&others));
    assert!(said.contains("only people may approve"), "not for anybody: {said}");
    let agents = world.request("agent-7", &target, ALL, "1h");
    let said = world.hand("erin").refused(&approve(&agents));
    assert!(said.contains("a workload they own"), "{said}");
    // Nor does another identity of the owner's.
    let other_self = enrol(&world, "erin2", &["--role", "approver"]);
    link(&world, "erin2", "erin");
    let said = other_self.refused(&approve(&agents));
    assert!(said.contains("a workload of yours"), "{said}");
    assert_ne!(world.client("agent-7").exec(&target, "true").code, 0);
    world.hand("bob").ok(&approve(&agents));
    assert_eq!(world.client("agent-7").ok(&target, "echo agent"), "agent\n");
}

/// Whoever turns out to be one human with the requester never was somebody else.
#[test]
fn linking_after_approval_voids_what_nobody_used() {
    let world = World::fresh();
    let (used, unused) = (world.target(), world.target());
    let approved_by_erin = |target: &str| {
        let request = world.request("alice", target, ALL, "1h");
        let said = world.hand("erin").ok(&approve(&request));
        id(&said, "grn_").expect("`approve` prints the grant")
    };
    let (used_grant, unused_grant) = (approved_by_erin(&used), approved_by_erin(&unused));
    let untouched = world.grant("alice", &world.target(), ALL);
    let mut live = world.client("alice").open(&used, &["cat"]);
    live.say("here\n").unwrap();
    live.hear("here");
    link(&world, "erin", "alice");
    assert_eq!(how_it_ended(&world, &unused_grant), "voided");
    assert_eq!(how_it_ended(&world, &used_grant), "");
    assert_eq!(how_it_ended(&world, &untouched), "");
    assert_ne!(world.client("alice").exec(&unused, "true").code, 0);
    refused_as_unbacked(&world, &used);
    live.say("still\n").unwrap();
    live.hear("still");
    drop(live.take_input());
    assert_eq!(live.end(wait::LONG).code, 0, "what ran went on");
}

/// An approver who parts from a key or is disabled made nothing that was forged; it opens nothing any more.
#[test]
fn what_a_former_approver_gave_opens_nothing_and_raises_no_alarm() {
    let world = World::fresh();
    let takes: [(&str, &[&str]); 3] = [
        ("key", &["people", "unlink", "former-key", "--key"]),
        ("disabled", &["people", "disable", "former-disabled", "--reason", "moved on"]),
        ("role", &["people", "roles", "former-role", "operator"]),
    ];
    for (what, take) in takes {
        let name = format!("former-{what}");
        let approver = enrol(&world, &name, &["--role", "approver"]);
        let granted = |target: &str| {
            let request = world.request("alice", target, ALL, "1h");
            id(&approver.ok(&approve(&request)), "grn_").expect("`approve` prints the grant")
        };
        let (used, unused) = (world.target(), world.target());
        let (used_grant, unused_grant) = (granted(&used), granted(&unused));
        assert_eq!(world.client("alice").ok(&used, "echo in"), "in\n");
        let key = format!("{}.pub", approver.key().display());
        let mut args = take.to_vec();
        if args.last() == Some(&"--key") {
            args.push(&key);
        }
        world.machine.ok(&args);
        assert_eq!(how_it_ended(&world, &unused_grant), "voided", "{what}");
        assert_ne!(world.client("alice").exec(&unused, "true").code, 0, "{what}");
        assert_eq!(how_it_ended(&world, &used_grant), "", "{what}");
        refused_as_unbacked(&world, &used);
        // Approved again by somebody else, it opens again.
        world.grant("alice", &used, ALL);
        assert_eq!(world.client("alice").ok(&used, "echo again"), "again\n", "{what}");
    }
    let metrics = service::get(&world, "/metrics");
    let alarms: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("postern_grants_forged")).collect();
    assert!(alarms.iter().all(|line| line.ends_with(" 0")), "{alarms:?}");
    assert!(!world.log().contains("does not verify"), "{}", world.log());
    world.machine.ok(&["ledger", "verify"]);
}
