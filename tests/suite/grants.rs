//! Grants over their lives: beside each other, after each other, and taken away one by one.
//!
//! How one is asked for and approved is in `cli`; what ends a session whatever the protocol is in `lifecycle`.

use crate::client::Pipes;
use crate::wait;
use crate::world::World;

/// Grants for one address stand side by side: each is used for what it allows, and ends what runs under it alone.
#[test]
fn grants_for_one_address_do_not_disturb_each_other() {
    let world = World::shared();
    let target = world.target();
    let alice = world.client("alice");
    let long = world.grant_for("alice", &target, "sftp", "2h");
    let short = world.grant_for("alice", &target, "exec", "1h");
    assert_eq!(alice.ok(&target, "echo used"), "used\n");
    let mut under_both = alice.open(&target, &["cat"]);
    under_both.say("both\n").unwrap();
    under_both.hear("both");
    let mut sftp = alice.tool("sftp");
    sftp.arg(format!("{}@gate", World::address(&target)));
    let mut under_one = Pipes::start(sftp);
    under_one.say("pwd\n").unwrap();
    under_one.hear("Remote working directory");
    world.hand("dave").ok(&["revoke", &short, "--reason", "only this one"]);
    assert_ne!(under_both.end(wait::LONG).code, 0);
    under_one.say("cd /tmp\npwd\n").unwrap();
    under_one.hear("Remote working directory: /tmp");
    assert_ne!(alice.exec(&target, "echo no").code, 0, "its grant is gone");
    world.hand("dave").ok(&["revoke", &long, "--reason", "and now the other"]);
    // It waits for its next command before it looks at the connection.
    under_one.say("ls /\n").unwrap();
    assert_ne!(under_one.end(wait::LONG).code, 0);
}

/// Who is cut is told why, in their own terminal: also inside a jump host, and by the clock as by a colleague.
#[test]
fn whoever_is_cut_hears_why() {
    let world = World::shared();
    let target = world.target();
    let alice = world.client("alice");
    let grant = world.grant("alice", &target, "exec");
    let mut direct = alice.open(&target, &["cat"]);
    let mut jump = Pipes::start(crate::ssh::jump(world, &alice, &target, &["cat"]));
    for session in [&mut direct, &mut jump] {
        session.say("here\n").unwrap();
        session.hear("here");
    }
    world.hand("dave").ok(&["revoke", &grant, "--reason", "the incident is over"]);
    for session in [&mut direct, &mut jump] {
        let said = session.end(wait::LONG);
        assert_ne!(said.code, 0);
        assert!(said.err.contains("postern: the session is over: the grant was revoked"), "{said:?}");
        assert!(!said.err.contains("target closed"), "it was not the target's doing: {said:?}");
        assert!(!said.err.contains("incident"), "the reason given is for the ledger: {said:?}");
    }
    world.grant_for("alice", &target, "exec", "2s");
    let said = alice.open(&target, &["cat"]).end(wait::LONG);
    assert!(said.err.contains("the grant's time is over"), "{said:?}");
}
