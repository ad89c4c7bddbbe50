//! Bad input at the command line, and the workflow of requests as people type it.
//!
//! Each mistake gets an error that says what happened and what to do, with its own exit code, and changes nothing.
//! How a refusal looks to SSH clients is here too; what sessions do is in `ssh` and `lifecycle`.

use std::fs;
use std::process::Command;

use crate::client::run;
use crate::postern::{BINARY, Hand};
use crate::ssh::ALL;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

#[test]
fn usage_errors_are_told_apart() {
    let world = World::shared();
    for args in
        [&["no-such-command"][..], &["request"], &["approve"], &["--no-such-flag"], &["targets", "add"]]
    {
        assert_eq!(world.machine.run(args).code, 2, "{args:?}");
    }
    let said = world.machine.run(&["--help"]);
    assert!(said.code == 0 && said.out.contains("request"), "{said:?}");
    let said = world.machine.run(&["--version"]);
    assert!(said.code == 0 && said.out.contains(env!("CARGO_PKG_VERSION")), "{said:?}");
}

#[test]
fn an_unreachable_bastion_is_its_own_exit_code() {
    let world = World::fresh();
    world.hand("alice").ok(&["whoami"]);
    world.kill();
    assert_eq!(world.hand("alice").run(&["whoami"]).code, 3);
    // What could not be looked at is not called damaged.
    let said = world.hand("carol").run(&["verify", "--all"]);
    assert!(said.code == 3 && !said.err.contains("does not hold"), "{said:?}");
}

#[test]
fn unknown_targets_and_bad_names_are_refused() {
    let world = World::shared();
    let alice = world.hand("alice");
    let said = alice.run(&["request", "root@no-such-target", "--for", "1h", "--reason", "r"]);
    assert!(said.code == 1 && said.err.contains("no-such-target"), "{said:?}");
    for address in ["web-1", "@web-1", "root@", "root@web 1", "ROOT@web-1", "root@web-1;id", "root@../x"] {
        let said = alice.run(&["request", address, "--for", "1h", "--reason", "r"]);
        assert!(said.code == 1 || said.code == 2, "{address:?}: {said:?}");
    }
    for length in ["0s", "-1h", "forever", "99999h"] {
        let said = alice.run(&["request", &World::address("web-1"), "--for", length, "--reason", "r"]);
        assert!(said.code == 1 || said.code == 2, "{length:?}: {said:?}");
    }
    let said =
        alice.run(&["request", &World::address("web-1"), "--for", "1h", "--reason", "a\u{1b}[31mb\nc"]);
    assert!(said.code != 0, "control characters in a reason: {said:?}");
    let said =
        alice.run(&["request", &World::address("web-1"), "--for", "1h", "--reason", &"x".repeat(100_000)]);
    assert!(said.code != 0, "a huge reason: {}", said.code);
}

#[test]
fn ssh_to_an_unknown_target_tells_a_stranger_nothing_more() {
    let world = World::shared();
    let known = world.target();
    let client = world.client("alice");
    let absent = client.exec("no-such-target", "true");
    let ungranted = client.exec(&known, "true");
    assert_ne!(absent.code, 0);
    assert_ne!(ungranted.code, 0);
    let scrub = |text: &str, name: &str| text.replace(name, "TARGET");
    assert_eq!(
        scrub(&absent.err, "no-such-target"),
        scrub(&ungranted.err, &known),
        "whether a target exists does not show"
    );
    let said = run(client.tool("ssh").arg("root@gate").arg("true"));
    assert_ne!(said.code, 0, "an address without a target: {said:?}");
}

#[test]
fn a_request_goes_through_its_states() {
    let world = World::shared();
    let target = world.target();
    let (alice, bob) = (world.hand("alice"), world.hand("bob"));
    let first = world.request("alice", &target, ALL, "1h");
    let second = world.request("alice", &target, "exec", "30m");
    bob.ok(&["deny", &first, "--reason", "not today"]);
    bob.refused(&["approve", &first, "--yes"]);
    bob.refused(&["withdraw", &second]);
    alice.ok(&["withdraw", &second]);
    bob.refused(&["approve", &second, "--yes"]);
    assert_ne!(world.client("alice").exec(&target, "true").code, 0);
    let third = world.request("alice", &target, ALL, "1h");
    bob.ok(&["approve", &third, "--for", "10m", "--yes"]);
    let grants = alice.list(&["grants"]);
    let grant = grants.iter().find(|row| row.to_string().contains(&third)).expect("the grant is listed");
    assert!(grant.to_string().contains("600"), "the approver's shorter window holds: {grant}");
    assert_eq!(world.client("alice").ok(&target, "echo in"), "in\n");
    bob.refused(&["approve", &third, "--yes"]);
}

#[test]
fn side_by_side_requests_do_not_disturb_each_other() {
    let world = World::shared();
    let (one, two) = (world.target(), world.target());
    let grant = world.grant("alice", &one, ALL);
    world.grant("alice", &two, ALL);
    world.grant("erin", &one, ALL);
    world.hand("dave").ok(&["revoke", &grant, "--reason", "r"]);
    assert_ne!(world.client("alice").exec(&one, "true").code, 0);
    assert_eq!(world.client("alice").ok(&two, "echo two"), "two\n");
    assert_eq!(world.client("erin").ok(&one, "echo erin"), "erin\n");
}

#[test]
fn people_may_do_what_their_roles_say() {
    let world = World::shared();
    let target = world.target();
    for who in ["bob", "carol", "dave"] {
        let address = World::address(&target);
        world.hand(who).refused(&["request", &address, "--for", "1h", "--reason", "r"]);
    }
    let request = world.request("alice", &target, ALL, "1h");
    world.hand("carol").refused(&["approve", &request, "--yes"]);
    let key = world.hand("alice").home.join("key.pub");
    let key = key.to_string_lossy();
    world.hand("carol").refused(&["people", "add", "mallory", "--role", "admin", "--key", &key]);
    world.hand("alice").refused(&["targets", "remove", &target, "--reason", "r"]);
    world.hand("dave").refused(&["people", "disable", "dave", "--reason", "the last admin stays"]);
    // Not even an administrator takes a key from somebody by giving it to somebody else.
    let said = world.hand("dave").refused(&["people", "add", "mallory", "--key", &key]);
    assert!(said.contains("alice"), "{said}");
    let said = world.hand("dave").refused(&["people", "link", "bob", "--key", &key]);
    assert!(said.contains("unlink"), "{said}");
    assert_eq!(
        world.client("alice").exec(&target, "true").code,
        255,
        "she has no grant, and is still somebody"
    );
}

/// With no grant, a person at a terminal may ask right there, and goes on when somebody approves.
#[test]
fn the_terminal_dialogue_asks_waits_and_goes_on() {
    let world = World::shared();
    let target = world.target();
    let mut command =
        world.client("alice").ssh(&target, &["-o", "BatchMode=no", "-tt", "echo granted after all"]);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see("Reason");
    terminal.keys("the disk is full\n");
    let row = wait::until(wait::LONG, "the request is listed", || {
        let rows = world.hand("bob").list(&["requests"]);
        rows.into_iter().find(|row| row.to_string().contains(&target))
    });
    assert!(row.to_string().contains("the disk is full"), "{row}");
    let request = crate::postern::id(&row.to_string(), "req_").unwrap();
    world.hand("bob").ok(&["approve", &request, "--yes"]);
    terminal.see("granted after all");
    terminal.end(wait::LONG);
}

#[test]
fn ids_may_be_shortened_as_long_as_they_are_unique() {
    let world = World::shared();
    let target = world.target();
    let request = world.request("alice", &target, ALL, "1h");
    world.hand("bob").ok(&["approve", request.get(..12).unwrap(), "--yes"]);
    world.hand("bob").refused(&["approve", "req_", "--yes"]);
}

#[test]
fn the_demo_checks_itself() {
    let dir = crate::keeper::directory();
    let hand = Hand::new("nobody", &dir, &[]);
    let said = hand.run(&["demo", "--check", "--json"]);
    let result: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|why| {
        panic!("`{BINARY} demo --check --json` prints one JSON object: {why}: {said:?}")
    });
    assert_eq!((said.code, &result["ok"]), (0, &serde_json::Value::Bool(true)), "{result:#}");
    assert_eq!(result["recording"]["verified"], true, "{result:#}");
    assert!(result["revoke_to_cut_ms"].is_number(), "{result:#}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let world = World::shared();
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.machine.ok(&["completions", shell]).contains("postern"), "{shell}");
    }
    // As bash uses them: the script is loaded, and asked what may follow.
    let script = world.dir.join("completions.bash");
    fs::write(&script, world.machine.ok(&["completions", "bash"])).unwrap();
    let ask = "source \"$0\"; COMP_WORDS=(postern targets t); COMP_CWORD=2; _postern postern t targets; echo \"${COMPREPLY[@]}\"";
    let said = run(Command::new("bash").arg("-c").arg(ask).arg(&script));
    assert_eq!((said.code, said.out.trim()), (0, "trust test"), "{said:?}");
    let doctor = world.machine.run(&["doctor"]);
    assert!(doctor.code <= 1 && !doctor.out.trim().is_empty(), "{doctor:?}");
}
