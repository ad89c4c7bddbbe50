//! Asking and answering as people see it: what each side is told, when, and in which words.
//!
//! What requests and grants do to sessions is in `cli`, `grants` and `lifecycle`; here it is whether a person who reads
//! what is printed knows what happened and what to do.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::client::Pipes;
use crate::keeper;
use crate::postern::{Hand, Said, id};
use crate::ssh::ALL;
use crate::sshd;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// `postern request ADDRESS … --wait` at work, and the id of what it asked for.
fn waiting(hand: &Hand, target: &str, more: &[&str]) -> (Pipes, String) {
    let address = World::address(target);
    let mut args = vec!["request", &address, "--for", "1h", "--reason", "the suite waits", "--wait"];
    args.extend(more);
    let mut asked = Pipes::start(hand.command(&args));
    asked.hear("to answer");
    let request = id(&String::from_utf8_lossy(&asked.heard), "req_").expect("it prints the request's id");
    (asked, request)
}

fn end(mut asked: Pipes) -> Said {
    asked.end(wait::LONG)
}

/// A copy of the policies that come with Postern, with one change to a file.
pub(crate) fn policies(place: &Path, file: &str, change: impl Fn(&str) -> String) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    fs::create_dir_all(place).unwrap();
    for name in ["approvals.toml", "decisions.toml", "default.cedar"] {
        let text = fs::read_to_string(ours.join(name)).unwrap();
        let changed = if name == file { change(&text) } else { text.clone() };
        assert!(name != file || changed != text, "the change to {file} changes nothing");
        fs::write(place.join(name), changed).unwrap();
    }
}

#[test]
fn whoever_waits_learns_the_answer_and_the_words() {
    let world = World::shared();
    let (alice, bob) = (world.hand("alice"), world.hand("bob"));

    let (asked, request) = waiting(&alice, &world.target(), &[]);
    bob.ok(&["approve", &request, "--yes"]);
    let said = end(asked);
    assert!(said.code == 0 && said.out.contains("granted") && said.out.contains("ssh "), "{said:?}");

    let (asked, request) = waiting(&alice, &world.target(), &[]);
    bob.ok(&["deny", &request, "--reason", "not on a Friday"]);
    let said = end(asked);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("denied by bob: not on a Friday"), "{said:?}");
    let listed = alice.ok(&["requests", "--all"]);
    assert!(listed.contains("denied by bob: not on a Friday"), "{listed}");
    let row = alice.list(&["requests", "--all"]).into_iter().find(|row| row.to_string().contains(&request));
    assert_eq!(row.unwrap()["closed"]["reason"], "not on a Friday");

    let (asked, request) = waiting(&alice, &world.target(), &[]);
    alice.ok(&["withdraw", &request]);
    let said = end(asked);
    assert!(said.code == 1 && said.out.contains("withdrawn by alice"), "{said:?}");
}

#[test]
fn a_request_nobody_answers_lapses_and_says_so() {
    let rules = keeper::directory().join("rules");
    policies(&rules, "approvals.toml", |text| text.replace("lapses = \"24h\"", "lapses = \"5s\""));
    let world = World::with(|table| {
        let directory = toml::Value::from(rules.to_string_lossy().into_owned());
        table.insert("policy".into(), toml::Table::from_iter([("directory".into(), directory)]).into());
    });
    let (asked, _) = waiting(&world.hand("alice"), "web-1", &[]);
    let said = end(asked);
    assert!(said.code == 1 && said.out.contains("has lapsed"), "{said:?}");
}

#[test]
fn approvers_read_the_ticket_and_it_is_kept() {
    let world = World::shared();
    let address = World::address(&world.target());
    let asked = ["request", &address, "--for", "1h", "--reason", "r", "--ticket", "OPS-4711", "--json"];
    let asked: Value = serde_json::from_str(&world.hand("alice").ok(&asked)).unwrap();
    assert_eq!(asked["request"]["ticket"], "OPS-4711");
    let request = asked["request"]["request"].as_str().unwrap();
    let said = world.hand("bob").run(&["approve", request, "--yes"]);
    assert!(said.code == 0 && said.err.contains("OPS-4711"), "the approver reads it: {said:?}");
    let entries = world.hand("dave").ok(&["ledger", "tail", "-n", "1000", "--json"]);
    assert!(entries.lines().any(|line| line.contains("request_made") && line.contains("OPS-4711")));
}

#[test]
fn revoking_twice_says_when_and_by_whom_it_was_done() {
    let world = World::shared();
    let grant = world.grant("alice", &world.target(), ALL);
    world.hand("dave").ok(&["revoke", &grant, "--reason", "wrong server"]);
    let said = world.hand("dave").refused(&["revoke", &grant, "--reason", "again"]);
    assert!(said.contains("already revoked") && said.contains("by dave: wrong server"), "{said}");
    let listed = world.hand("alice").ok(&["grants", "--all"]);
    let row = listed.lines().find(|line| line.contains(&grant)).expect("the grant is listed");
    assert!(row.contains("revoked by dave: wrong server"), "{row}");
    // Who may not know of the grant learns nothing of its end.
    let said = world.hand("erin").run(&["revoke", &grant, "--reason", "mine?"]);
    let stranger = world.hand("erin").run(&["revoke", "grn_aaaaaaaaaaaaaaaa", "--reason", "mine?"]);
    let may_know = world.hand("erin").ok(&["grants", "--all"]).contains(&grant);
    assert!(may_know || said.err.replace(&grant, "") == stranger.err.replace("grn_aaaaaaaaaaaaaaaa", ""));
}

#[test]
fn a_grant_whose_clock_has_not_started_says_so() {
    let world = World::shared();
    let name = "first-use";
    let (address, host_key) = (format!("127.0.0.1:{}", world.sshd.port), world.sshd.host_key());
    world.machine.ok(&[
        "targets",
        "add",
        name,
        &address,
        "--application-data",
        "--login",
        &sshd::login(),
        "--host-key",
        &host_key.to_string_lossy(),
    ]);
    let asked = world.hand("alice").ok(&["request", &World::address(name), "--for", "20m", "--reason", "r"]);
    let request = id(&asked, "req_").unwrap();
    world.hand("bob").ok(&["approve", &request, "--yes"]);
    world.hand("erin").ok(&["approve", &request, "--yes"]);
    let row = || {
        let listed = world.hand("alice").ok(&["grants"]);
        listed.lines().find(|line| line.contains("@first-use")).expect("the grant is listed").to_owned()
    };
    let unused = row();
    assert!(unused.contains("starts at first use (within") && unused.contains("for 20m"), "{unused}");
    assert_eq!(world.client("alice").ok(name, "echo begun"), "begun\n");
    let used = row();
    assert!(!used.contains("first use") && used.contains("in 19m"), "{used}");
}

/// Who asked already is not asked for a reason again, and approvers see one request.
#[test]
fn the_terminal_dialogue_waits_for_what_was_asked_already_and_repeats_the_denial() {
    let world = World::shared();
    let target = world.target();
    let request = world.request("alice", &target, ALL, "1h");
    let mut command =
        world.client("alice").ssh(&target, &["-o", "BatchMode=no", "-o", "LogLevel=INFO", "-tt", "true"]);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see("You asked already");
    terminal.see(&request);
    let open = world.hand("bob").list(&["requests"]);
    let count = open.iter().filter(|row| row.to_string().contains(&format!("\"{target}\""))).count();
    assert_eq!(count, 1, "one request for {target}: {open:?}");
    world.hand("bob").ok(&["deny", &request, "--reason", "use the replica"]);
    terminal.see("denied: use the replica");
    assert_ne!(terminal.end(wait::LONG), Some(0));
}

/// A login that the target does not have cannot be granted, so nobody is asked why they want it.
#[test]
fn the_terminal_dialogue_does_not_ask_for_a_login_that_is_not_there() {
    let world = World::shared();
    let name = "one-login";
    let address = format!("127.0.0.1:{}", world.sshd.port);
    let host_key = world.sshd.host_key();
    let add = ["targets", "add", name, &address, "--login", &sshd::login(), "--host-key"];
    world.machine.ok(&[&add[..], &[&host_key.to_string_lossy()]].concat());
    let mut command = world.client("alice").tool("ssh");
    command.args([
        "-o",
        "BatchMode=no",
        "-o",
        "LogLevel=INFO",
        "-tt",
        &format!("nobody@{name}@gate"),
        "true",
    ]);
    command.env("SSH_ASKPASS_REQUIRE", "never");
    let mut terminal = Terminal::start(&command);
    terminal.see(&format!("nobody is not a login of {name}"));
    assert_ne!(terminal.end(wait::LONG), Some(0));
}

#[test]
fn ids_may_be_shortened_wherever_one_is_given() {
    let world = World::shared();
    let target = world.target();
    let (alice, bob, carol, dave) =
        (world.hand("alice"), world.hand("bob"), world.hand("carol"), world.hand("dave"));
    let short = |id: &str| id.get(..14).unwrap().to_owned();
    let denied = world.request("alice", &target, ALL, "1h");
    bob.ok(&["deny", &short(&denied), "--reason", "r"]);
    let withdrawn = world.request("alice", &target, ALL, "1h");
    alice.ok(&["withdraw", &short(&withdrawn)]);
    let grant = world.grant("alice", &target, ALL);
    let mut live = world.client("alice").open(&target, &["cat"]);
    live.say("first\n").unwrap();
    live.hear("first");
    let session = world.session(&target);
    dave.ok(&["terminate", &short(&session), "--reason", "r"]);
    world.ended(&target);
    dave.ok(&["receipt", &short(&session)]);
    dave.ok(&["revoke", &short(&grant), "--reason", "r"]);
    let key = world.reading_key();
    let session = short(&session);
    assert!(carol.ok(&["play", &session, "--identity", &key]).contains("first"));
    assert!(carol.ok(&["export", &session, "--format", "jsonl", "--identity", &key]).contains("output"));
    carol.ok(&["verify", &session, "--identity", &key]);
}
