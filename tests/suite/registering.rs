//! Targets and people as they are registered: what is looked at first, what is refused, and what is left behind.
//!
//! Every refusal here must leave nothing: a target nobody can use, or a role that gives nothing, looks like success to
//! whoever made it.

use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::keeper;
use crate::sshd::{self, Sshd};
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// The fingerprint of a public key file, as `ssh-keygen -lf` prints it.
fn fingerprint(key: &std::path::Path) -> String {
    let said = run(Command::new("ssh-keygen").arg("-lf").arg(key));
    let word = said.out.split_whitespace().find(|word| word.starts_with("SHA256:"));
    word.unwrap_or_else(|| panic!("a fingerprint: {said:?}")).to_owned()
}

fn is_registered(world: &World, name: &str) -> bool {
    world.machine.list(&["targets", "list"]).iter().any(|row| row["name"] == name)
}

/// `targets test` as JSON: its steps by name and result, and the exit code.
fn tested(world: &World, target: &str) -> (i32, Value) {
    let said = world.machine.run(&["targets", "test", &World::address(target), "--json"]);
    let value = serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {said:?}"));
    (said.code, value)
}

#[test]
fn a_scan_that_fails_registers_nothing() {
    let world = World::shared();
    let nobody = format!("127.0.0.1:{}", sshd::free_port());
    let said = world.machine.refused(&["targets", "add", "scan-absent", &nobody, "--scan"]);
    assert!(said.contains("nothing was registered") && said.contains("--scan"), "{said}");
    assert!(!is_registered(world, "scan-absent"));

    let address = format!("127.0.0.1:{}", world.sshd.port);
    let wrong = fingerprint(&world.sshd.dir.join("other_ca.pub"));
    let said =
        world.machine.refused(&["targets", "add", "scan-wrong", &address, "--scan", "--fingerprint", &wrong]);
    assert!(said.contains("no host key with that fingerprint"), "{said}");
    // Without a terminal there is nobody to ask: a usage error that says what to give instead.
    let said = world.machine.run(&["targets", "add", "scan-wrong", &address, "--scan"]);
    assert!(said.code == 2 && said.err.contains("--fingerprint"), "{said:?}");
    assert!(!is_registered(world, "scan-wrong"));
}

#[test]
fn a_scan_pins_what_a_person_or_a_fingerprint_confirms() {
    let world = World::shared();
    let address = format!("127.0.0.1:{}", world.sshd.port);
    let right = fingerprint(&world.sshd.host_key());
    world.machine.ok(&["targets", "add", "scan-given", &address, "--scan", "--fingerprint", &right]);
    assert_eq!(tested(world, "scan-given").0, 0);
    for (answer, name, code) in [("n\n", "scan-no", 1), ("y\n", "scan-yes", 0)] {
        let command = world.machine.command(&["targets", "add", name, &address, "--scan"]);
        let mut terminal = Terminal::start(&command);
        terminal.see(&right);
        terminal.see("[y/N]");
        terminal.keys(answer);
        assert_eq!(terminal.end(wait::LONG), Some(code), "{name}");
        assert_eq!(is_registered(world, name), code == 0, "{name}");
    }
    assert_eq!(tested(world, "scan-yes").0, 0);
}

/// The user CA signs nothing that the ledger does not speak of, and for nobody who may not manage targets.
#[test]
fn testing_a_target_is_for_who_manages_it_and_is_in_the_ledger() {
    let world = World::shared();
    let target = world.target();
    world.hand("alice").refused(&["targets", "test", &World::address(&target)]);
    world.machine.ok(&["targets", "test", &World::address(&target)]);
    let tail = world.machine.ok(&["ledger", "tail", "-n", "50"]);
    let tested = |line: &&str| line.contains(&format!("{} to be tried", World::address(&target)));
    assert_eq!(tail.lines().filter(tested).count(), 1, "{tail}");
}

#[test]
fn testing_a_target_says_which_step_failed() {
    let world = World::shared();
    let (code, said) = tested(world, &world.target());
    let steps = said["steps"].as_array().unwrap();
    assert!(code == 0 && !steps.is_empty() && steps.iter().all(|step| step["ok"] == true), "{said}");

    let absent = "test-absent";
    world.add_target(absent, sshd::free_port());
    let (code, said) = tested(world, absent);
    assert!(code == 1 && said.to_string().contains("\"ok\":false"), "{said}");

    // Another server than the one whose key was pinned, and one that does not trust the bastion's CA.
    let dir = keeper::directory();
    let other = Sshd::start(&dir, "", "");
    let name = "test-other-key";
    world.add_target(name, other.port);
    let (code, said) = tested(world, name);
    assert!(code == 1 && said.to_string().contains("host key"), "{said}");
    let name = "test-no-trust";
    let (address, key) = (format!("127.0.0.1:{}", other.port), other.host_key());
    world.machine.ok(&["targets", "add", name, &address, "--host-key", &key.to_string_lossy()]);
    let (code, said) = tested(world, name);
    assert!(code == 1 && said.to_string().contains("TrustedUserCAKeys"), "it says what to look at: {said}");
    // Said to people, too.
    let said = world.machine.run(&["targets", "test", &World::address(name)]);
    assert!(said.code == 1 && said.out.contains("fail"), "{said:?}");
}

#[test]
fn a_target_is_unusable_until_its_keys_are_trusted() {
    let world = World::shared();
    let (name, address) = ("trust-later", format!("127.0.0.1:{}", world.sshd.port));
    let said = world.machine.ok(&["targets", "add", name, &address]);
    assert!(said.contains("not pinned") && said.contains("targets trust"), "{said}");
    assert_eq!(tested(world, name).0, 1);
    let wrong = fingerprint(&world.sshd.dir.join("other_ca.pub"));
    world.machine.refused(&["targets", "trust", name, "--fingerprint", &wrong]);
    assert_eq!(tested(world, name).0, 1, "a wrong fingerprint pins nothing");
    let right = fingerprint(&world.sshd.host_key());
    world.machine.ok(&["targets", "trust", name, "--fingerprint", &right]);
    assert_eq!(tested(world, name).0, 0);
    // Another key given by hand takes its place, and what was right before is refused.
    let other = world.sshd.dir.join("other_ca.pub");
    world.machine.ok(&["targets", "trust", name, "--host-key", &other.to_string_lossy()]);
    assert_eq!(tested(world, name).0, 1);
    world.machine.ok(&["targets", "trust", name, "--yes"]);
    assert_eq!(tested(world, name).0, 0);
}

#[test]
fn a_misspelt_role_is_refused_with_the_roles_there_are() {
    let world = World::shared();
    let key = world.dir.join("mallory");
    sshd::keygen(&key, "ed25519");
    let key = key.with_extension("pub");
    let key = key.to_string_lossy();
    let said = world.machine.refused(&["people", "add", "mallory", "--role", "operatr", "--key", &key]);
    assert!(said.contains("operatr") && said.contains("operator") && said.contains("reviewer"), "{said}");
    let said = world.machine.refused(&["people", "roles", "alice", "operator", "reviwer"]);
    assert!(said.contains("reviwer") && said.contains("approver"), "{said}");
    let people = world.machine.list(&["people", "list"]);
    assert!(people.iter().all(|row| row["name"] != "mallory"), "{people:?}");
    let alice = people.iter().find(|row| row["name"] == "alice").unwrap();
    assert_eq!(alice["roles"], serde_json::json!(["operator"]));
}

#[test]
fn a_login_to_another_server_than_expected_is_refused_and_keeps_nothing() {
    let world = World::shared();
    let stranger = world.hand("expects-another");
    std::fs::copy(world.hand("alice").key(), stranger.key()).unwrap();
    let server = format!("https://127.0.0.1:{}", world.api_port);
    let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let said = stranger.refused(&["login", &server, "--fingerprint", wrong]);
    let status: Value = serde_json::from_str(&world.machine.ok(&["status", "--json"])).unwrap();
    let right = status["api"]["fingerprint"].as_str().unwrap();
    assert!(said.contains(wrong) && said.contains(right) && said.contains("postern status"), "{said}");
    assert_eq!(stranger.run(&["whoami"]).code, 2, "nobody is logged in");
    // Asked on a terminal, a no keeps nothing either, and a yes signs in.
    for (answer, code) in [("n\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::start(&stranger.command(&["login", &server]));
        terminal.see(right);
        terminal.keys(answer);
        assert_eq!(terminal.end(wait::LONG), Some(code));
    }
    assert!(stranger.ok(&["whoami"]).contains("alice"));
    stranger.ok(&["logout"]);
    let said = stranger.run(&["whoami"]);
    assert!(said.code == 1 && said.err.contains("sign"), "signed out: {said:?}");
    assert_eq!(world.hand("alice").run(&["whoami"]).code, 0, "another login of the same person stays");
}
