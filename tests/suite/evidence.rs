//! Evidence that leaves the building: one directory, checked without the bastion, and without Postern.
//!
//! The page in the directory is the test: every command on it is run as it stands, with the tools a stranger has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::postern::{Hand, Said};
use crate::world::World;
use crate::{campaign, ssh};

/// Length of a recording's last frame.
const END_FRAME: usize = 109;

/// A finished session on the world's target, and evidence of it that carol wrote.
fn evidence(world: &World, more: &[&str]) -> (String, PathBuf) {
    let target = world.target();
    world.grant("alice", &target, ssh::ALL);
    assert_eq!(world.client("alice").ok(&target, "echo before the court").trim(), "before the court");
    world.ended(&target);
    let session = world.session(&target);
    let place = world.dir.join(format!("evidence-of-{session}"));
    let reading_key = world.reading_key();
    let mut args = vec!["export", &session, "--evidence", "--identity", &reading_key];
    let shown = place.to_string_lossy().into_owned();
    args.extend(["--output", &shown]);
    args.extend(more);
    world.hand("carol").ok(&args);
    (session, place)
}

/// A reviewer's machine that never met a bastion.
fn stranger(world: &World) -> Hand {
    Hand::new("stranger", &world.dir.join("home/stranger"), &[])
}

/// The bastion's key, as an administrator would read it out: what follows the algorithm in the ledger's.
fn node_key(world: &World) -> String {
    let key = world.ledger_key();
    let bytes = data_encoding::BASE64.decode(key.splitn(3, '+').nth(2).unwrap().as_bytes()).unwrap();
    data_encoding::HEXLOWER.encode(&bytes[1..])
}

fn checked(world: &World, place: &Path, more: &[&str]) -> Said {
    let (shown, key) = (place.to_string_lossy().into_owned(), node_key(world));
    let mut args = vec!["verify", &shown, "--key", &key];
    args.extend(more);
    stranger(world).run(&args)
}

#[test]
fn evidence_is_checked_without_the_bastion_and_every_command_on_its_page_works() {
    let world = World::shared();
    let (session, place) = evidence(world, &["--open"]);
    let said = checked(world, &place, &[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for line in ["files", "ledger", "entries", "copies", "approvals", "recording"] {
        assert!(said.out.contains(&format!("ok    {line}")), "{line}: {}", said.out);
    }
    let reading_key = world.reading_key();
    let opened = checked(world, &place, &["--identity", &reading_key]);
    assert!(opened.out.contains("events opened") && opened.out.contains("ok    opened"), "{}", opened.out);
    assert!(said.out.contains("-     opened      not compared"), "{}", said.out);
    let lines = fs::read_to_string(place.join("opened.jsonl")).unwrap();
    assert!(lines.contains("YmVmb3JlIHRoZSBjb3VydAo="), "what was printed, in base64: {lines}");

    let page = fs::read_to_string(place.join("HOW-TO-CHECK.md")).unwrap();
    assert!(page.contains(&session));
    let commands: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```")).map(|(c, _)| c).collect();
    assert!(commands.len() >= 4, "{page}");
    for command in commands {
        let said = run(Command::new("bash").arg("-euc").arg(command).current_dir(&place));
        assert_eq!(said.code, 0, "{command}\n{}{}", said.out, said.err);
    }
    let hash = run(Command::new("sha256sum").arg(place.join("request.json"))).out;
    let message = fs::read_to_string(place.join("approvals/1/message")).unwrap();
    assert!(message.contains(hash.split(' ').next().unwrap()), "{message}");
}

/// A copy of evidence that somebody spoils, digests and all; gives what its check says.
fn spoiled(world: &World, place: &Path, what: &str, spoil: impl FnOnce(&Path)) -> String {
    let copy = place.with_extension(what);
    campaign::copy(place, &copy);
    spoil(&copy);
    let sums = "find . -type f ! -name SHA256SUMS -printf '%P\\n' | sort | xargs sha256sum > SHA256SUMS";
    assert_eq!(run(Command::new("bash").arg("-c").arg(sums).current_dir(&copy)).code, 0);
    let said = checked(world, &copy, &[]);
    assert_ne!(said.code, 0, "{what}: {}", said.out);
    said.out + &said.err
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}: {text}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

/// The file of the entry with a word in it, as the index names it.
fn entry_with(place: &Path, word: &str) -> String {
    let entries = fs::read_dir(place.join("entries")).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.into_iter().find(|path| fs::read_to_string(path).unwrap().contains(word)).unwrap();
    format!("entries/{}", found.file_name().unwrap().to_string_lossy())
}

fn entries_of(place: &Path) -> Vec<Value> {
    let index: Value =
        serde_json::from_str(&fs::read_to_string(place.join("evidence.json")).unwrap()).unwrap();
    index["entries"].as_array().unwrap().clone()
}

fn index(place: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    let path = place.join("evidence.json");
    let mut index: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(index["entries"].as_array_mut().unwrap());
    fs::write(&path, index.to_string()).unwrap();
}

/// What a session does may rest on a second grant, so that one's approvals are evidence too; one that was over before is not.
#[test]
fn evidence_holds_the_approvals_of_every_grant_the_session_could_use() {
    let world = World::shared();
    let target = world.target();
    let before = world.grant("alice", &target, "shell");
    world.hand("dave").ok(&["revoke", &before, "--reason", "not needed"]);
    let (one, two) = (world.grant("alice", &target, "exec"), world.grant("alice", &target, "shell"));
    world.client("alice").ok(&target, "true");
    world.ended(&target);
    let session = world.session(&target);
    let place = world.dir.join(format!("evidence-of-{session}"));
    world.hand("carol").ok(&["export", &session, "--evidence", "--output", &place.to_string_lossy()]);
    let said = checked(world, &place, &[]);
    assert!(said.code == 0 && said.out.contains("so is another grant"), "{said:?}");
    let page = fs::read_to_string(place.join("HOW-TO-CHECK.md")).unwrap();
    assert!(page.contains(&one) && page.contains(&two) && !page.contains(&before), "{page}");
    assert!(place.join("request.json").exists() && place.join("request-2.json").exists());
    let said = spoiled(world, &place, "second", |copy| {
        let approval = entries_of(copy)
            .iter()
            .rev()
            .map(|entry| entry["file"].as_str().unwrap().to_owned())
            .find(|name| fs::read_to_string(copy.join(name)).unwrap().contains("request_approved"))
            .unwrap();
        index(copy, |entries| entries.retain(|entry| entry["file"] != approval.as_str()));
    });
    assert!(said.contains("0 people approved"), "{said}");
}

#[test]
fn evidence_that_was_touched_does_not_hold_and_says_where() {
    let world = World::shared();
    let (_, place) = evidence(world, &[]);
    let said = spoiled(world, &place, "entry", |copy| {
        change(&copy.join(entry_with(copy, "session_ended")), "client_left", "grant_revoked");
    });
    assert!(said.contains("is not in the ledger"), "{said}");
    let said =
        spoiled(world, &place, "head", |copy| change(&copy.join("checkpoint"), "postern\n", "postern\n1"));
    assert!(said.contains("FAIL  ledger"), "{said}");
    let said = spoiled(world, &place, "recording", |copy| {
        let mut bytes = fs::read(copy.join("recording.pstn")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(copy.join("recording.pstn"), bytes).unwrap();
    });
    assert!(said.contains("FAIL  recording"), "{said}");
    let said = spoiled(world, &place, "page", |copy| {
        change(&copy.join("HOW-TO-CHECK.md"), "Evidence of", "Proof of");
    });
    assert!(said.contains("HOW-TO-CHECK.md does not say what the entries say"), "{said}");

    fs::write(place.join("note.txt"), "added").unwrap();
    assert!(checked(world, &place, &[]).out.contains("note.txt does not belong here"));
    let shown = place.to_string_lossy();
    let said = stranger(world).run(&["verify", &shown]);
    assert!(said.code == 2 && said.err.contains("--key"), "{said:?}");
    let said = stranger(world).refused(&["verify", &shown, "--key", &"ab".repeat(32)]);
    assert!(said.contains("none of the keys given"), "{said}");
}

/// Every entry shown is real; what is missing, in another place, or another session's is noticed all the same.
#[test]
fn evidence_that_leaves_out_or_mixes_up_does_not_hold() {
    let world = World::shared();
    let (_, place) = evidence(world, &[]);
    let without = |word: &'static str| {
        move |copy: &Path| {
            let name = entry_with(copy, word);
            index(copy, |entries| entries.retain(|entry| entry["file"] != name.as_str()));
        }
    };
    let said = spoiled(world, &place, "endless", |copy| {
        without("session_ended")(copy);
        let bytes = fs::read(copy.join("recording.pstn")).unwrap();
        fs::write(copy.join("recording.pstn"), &bytes[..bytes.len() - END_FRAME]).unwrap();
    });
    assert!(said.contains("lack the session's start or its end"), "{said}");
    let said = spoiled(world, &place, "approval", without("request_approved"));
    assert!(said.contains("0 people approved, and 1 had to"), "{said}");
    let said = spoiled(world, &place, "turned", |copy| index(copy, |entries| entries.reverse()));
    assert!(said.contains("out of its order"), "{said}");
    let said = spoiled(world, &place, "elsewhere", |copy| {
        index(copy, |entries| entries[0]["file"] = "/dev/zero".into())
    });
    assert!(said.contains("is no file of this directory"), "{said}");

    let (_, other) = evidence(world, &[]);
    let grant = "\"type\":\"grant_issued\"";
    let said = spoiled(world, &other, "grant", |copy| {
        // The other session's grant in the place of this one's; its proof leads to an older head.
        let (ours, theirs) = (entry_with(copy, grant), entry_with(&place, grant));
        fs::copy(place.join(&theirs), copy.join(&theirs)).unwrap();
        let proof = entries_of(&place).into_iter().find(|entry| entry["file"] == theirs.as_str()).unwrap();
        index(copy, |entries| {
            entries.retain(|entry| entry["file"] != ours.as_str());
            entries.push(proof);
            entries.sort_by_key(|entry| entry["seq"].as_u64());
        });
    });
    assert!(said.contains("FAIL  entries") || said.contains("its grant is missing"), "{said}");
    let said = spoiled(world, &other, "grantless", without(grant));
    assert!(said.contains("its grant is missing"), "{said}");
}
