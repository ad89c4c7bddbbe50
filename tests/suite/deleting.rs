//! Recordings go when their time is over or two people say so, and never while they are held; what went is told from
//! what is missing.
//!
//! The rules one by one are tested in `access`. Here people hold, ask and confirm through the command line, bastions are
//! killed in between, and a real store gives its copies up or keeps them (`keeping`, `store`).

use std::fs;

use serde_json::Value;

use crate::keeping::{moved, recorded, table, with, world};
use crate::second_reader::{node_key, second};
use crate::separation::{enrol, link};
use crate::ssh::ALL;
use crate::store::{State, Store};
use crate::wait;
use crate::world::World;

const ASK: [&str; 2] = ["--reason", "a customer's wish"];

fn delete<'a>(session: &'a str, how: &[&'a str]) -> Vec<&'a str> {
    [&["recordings", "delete", session], how].concat()
}

/// Dave asks, carol confirms.
fn deleted(world: &World, session: &str) {
    world.hand("dave").ok(&delete(session, &ASK));
    world.hand("carol").ok(&delete(session, &["--confirm"]));
}

/// The ledger's entries about one recording's end, by kind.
fn said(world: &World, session: &str) -> Vec<String> {
    let entries = world.hand("carol").list(&["ledger", "tail", "--lines", "500"]);
    let of = entries.iter().map(|entry| &entry["fact"]).filter(|fact| fact["session"] == session);
    let kinds = of.filter_map(|fact| fact["type"].as_str()).map(str::to_owned);
    kinds.filter(|kind| kind.starts_with("recording_") && kind != "recording_checkpoint").collect()
}

fn row(world: &World, session: &str) -> Value {
    let rows = world.hand("carol").list(&["recordings"]);
    rows.into_iter().find(|row| row["session"] == session).expect("the recording is listed")
}

/// Waits until the ledger says that nothing is left.
fn gone(world: &World, session: &str) {
    wait::until(wait::LONG, &format!("nothing is left of the recording of {session}"), || {
        (!row(world, session)["deleted"]["removed"].is_null()).then_some(())
    });
    assert!(!world.recording(session).exists());
}

/// What verifying everything says, and whether it is content.
fn verified(world: &World) -> (bool, String) {
    let said = world.hand("carol").run(&["verify", "--all", "--identity", &world.reading_key()]);
    (said.code == 0, said.out + &said.err)
}

#[test]
fn two_people_delete_a_recording_and_it_is_told_from_one_that_is_missing() {
    let world = World::fresh();
    let (session, other) = (recorded(&world, "echo forget me"), recorded(&world, "true"));
    let (carol, dave) = (world.hand("carol"), world.hand("dave"));
    let signer = node_key(&world.recording(&session));
    world.hand("bob").refused(&delete(&session, &ASK));
    world.machine.refused(&delete(&session, &ASK));
    assert!(carol.refused(&delete(&session, &["--confirm"])).contains("nobody asked"));
    assert!(dave.ok(&delete(&session, &ASK)).contains("another person confirms"));
    // Not by the same person, nor under another name.
    assert!(dave.refused(&delete(&session, &["--confirm"])).contains("nobody approves their own"));
    let other_self = enrol(&world, "dave2", &["--role", "reviewer"]);
    link(&world, "dave", "dave2");
    assert!(other_self.refused(&delete(&session, &["--confirm"])).contains("linked"));
    assert!(carol.ok(&["recordings"]).contains("asked to be deleted by dave"));
    carol.ok(&delete(&session, &["--withdraw"]));
    assert!(carol.refused(&delete(&session, &["--confirm"])).contains("nobody asked"));
    assert!(world.recording(&session).exists());

    deleted(&world, &session);
    gone(&world, &session);
    let kinds = ["asked", "withdrawn"].map(|kind| format!("recording_deletion_{kind}"));
    let rest = ["recording_deletion_asked", "recording_deleted", "recording_removed"].map(str::to_owned);
    assert_eq!(said(&world, &session), [&kinds[..], &rest[..]].concat());
    let key = world.reading_key();
    for command in [&["play"][..], &["export", "--format", "text"], &["verify"]] {
        let words = carol.refused(&[command, &[&session, "--identity", &key]].concat());
        assert!(words.contains("dave asked and carol confirmed: a customer's wish"), "{command:?}: {words}");
    }
    let (is_ok, words) = verified(&world);
    assert!(
        is_ok && words.contains("deleted") && words.contains("asked by dave, confirmed by carol"),
        "{words}"
    );
    let said = carol.run(&["search", "forget me", "--identity", &key]);
    assert!(!said.err.contains("not searched"), "what is deleted is not looked for: {}", said.err);
    let space: Value = serde_json::from_str(&carol.ok(&["recordings", "--space", "--json"])).unwrap();
    assert_eq!((&space["all"]["recordings"], &space["all"]["deleted"]), (&1.into(), &1.into()), "{space}");

    // A directory held against the ledger says the same, and one that is gone without a word is missing.
    let here = world.state.join("recordings").to_string_lossy().into_owned();
    world.machine.ok(&["verify", "--all", "--recordings", &here]);
    fs::remove_file(world.recording(&other)).unwrap();
    let (is_ok, words) = verified(&world);
    assert!(!is_ok && words.contains("missing") && words.contains("deleted"), "{words}");
    assert!(dave.refused(&delete(&other, &ASK)).contains("no finished recording"), "that would excuse it");
    // The ledger holds against itself after all of it, and another reader finds the same in it.
    world.machine.ok(&["ledger", "verify"]);
    let ledger = world.dir.join("ledger");
    world.machine.ok(&["ledger", "export", &ledger.to_string_lossy()]);
    let entries = ledger.join("entries.jsonl").to_string_lossy().into_owned();
    for (session, code, state) in [(&session, 0, "deleted"), (&other, 1, "missing")] {
        let said = second(&world.recording(session), &signer, &["--json", "--ledger", &entries]);
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((said.code, &answer["state"]), (code, &state.into()), "{said:?}");
    }
    believed_only_as_the_ledger_says(&world.recording(&session), &signer, &entries);
}

/// The other reader believes no deletion that the entries before it contradict.
fn believed_only_as_the_ledger_says(recording: &std::path::Path, signer: &str, entries: &str) {
    let session = recording.file_stem().unwrap().to_string_lossy().into_owned();
    let all: Vec<Value> = fs::read_to_string(entries)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| {
        let is_it = |entry: &Value| entry["fact"]["type"] == kind && entry["fact"]["session"] == session;
        all.iter().rposition(is_it).unwrap()
    };
    let (started, asked, deleted) =
        (of("session_started"), of("recording_deletion_asked"), of("recording_deleted"));
    let by = |at: usize| all[at]["by"]["person"]["person"].clone();
    let by_retention = |keep_s: u64| {
        let mut entry = all[deleted].clone();
        entry["by"] = "node".into();
        entry["fact"]["cause"] = serde_json::json!({ "retention": { "keep_s": keep_s } });
        entry
    };
    let with = |at: usize, path: &str, value: Value| {
        let mut changed = all.clone();
        *changed[at].pointer_mut(path).unwrap() = value;
        changed
    };
    let twice = [&with(started, "/fact/person", by(asked))[..], &[by_retention(0)]].concat();
    for (ledger, state) in [
        (with(started, "/fact/person", by(asked)), "missing"),
        (with(started, "/fact/person", by(deleted)), "missing"),
        (with(asked, "/fact/lapses", all[deleted]["at"].clone()), "missing"),
        (with(deleted, "", by_retention(0)), "deleted"),
        (with(deleted, "", by_retention(1_000_000)), "missing"),
        (twice, "missing"),
    ] {
        let lines: Vec<String> = ledger.iter().map(Value::to_string).collect();
        fs::write(entries, lines.join("\n")).unwrap();
        let said = second(recording, signer, &["--json", "--ledger", entries]);
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(answer["state"], state, "{said:?}");
    }
}

#[test]
fn whoever_was_recorded_has_no_say_under_any_name() {
    let world = World::fresh();
    let target = world.target();
    let rita = enrol(&world, "rita", &["--role", "operator", "--role", "reviewer"]);
    world.grant("rita", &target, ALL);
    world.client("rita").through(&target, "true", Vec::new());
    let session = world.session(&target);
    world.ended(&target);
    assert!(rita.refused(&delete(&session, &ASK)).contains("recordings of themselves"));
    let other_self = enrol(&world, "rita2", &["--role", "reviewer"]);
    world.hand("dave").ok(&delete(&session, &ASK));
    link(&world, "rita", "rita2");
    assert!(rita.refused(&delete(&session, &["--confirm"])).contains("recordings of themselves"));
    assert!(other_self.refused(&delete(&session, &["--confirm"])).contains("recordings of themselves"));
    world.machine.ok(&["recordings", "hold", &session, "--reason", "a matter"]);
    assert!(
        other_self.refused(&["recordings", "release", &session, "--reason", "mine"]).contains("themselves")
    );
    assert!(world.recording(&session).exists());
}

#[test]
fn what_is_held_stays_whatever_its_time_and_whoever_asks() {
    let kept = crate::keeper::directory().join("kept");
    fs::create_dir(&kept).unwrap();
    let world = World::with(|config| {
        let text = format!(
            "[store]\nurl = 'file://{}'\nkeep_local = '0s'\n\
             [retention]\nkeep = 'forever'\n[[retention.rule]]\nwhen = {{ target = ['t-0', 't-1'] }}\nkeep = '12s'\n",
            kept.display()
        );
        let recording = config.entry("recording").or_insert_with(|| toml::Table::new().into());
        recording.as_table_mut().unwrap().extend(text.parse::<toml::Table>().unwrap());
    });
    let (held, due) = (recorded(&world, "true"), recorded(&world, "true"));
    let for_ever = recorded(&world, "true");
    let (carol, dave) = (world.hand("carol"), world.hand("dave"));
    assert!(dave.ok(&["recordings", "hold", &held, "--reason", "a lawsuit"]).contains("held by dave"));
    gone(&world, &due);
    assert_eq!(said(&world, &due), ["recording_stored", "recording_deleted", "recording_removed"]);
    assert!(!kept.join(format!("{due}.pstn")).exists() && kept.join(format!("{held}.pstn")).exists());
    let key = world.reading_key();
    assert!(carol.refused(&["play", &due, "--identity", &key]).contains("by retention"));
    assert!(carol.ok(&["recordings"]).contains("held by dave: a lawsuit"));
    assert!(dave.refused(&delete(&held, &ASK)).contains("a lawsuit"));
    // Nor is it an administrator's to release.
    dave.refused(&["recordings", "release", &held, "--reason", "over"]);
    let (is_ok, words) = verified(&world);
    assert!(is_ok && words.contains("by retention, kept for 12s"), "{words}");
    carol.ok(&["recordings", "release", &held, "--reason", "settled"]);
    gone(&world, &held);
    assert!(row(&world, &for_ever)["deleted"].is_null(), "no rule is about that target");
}

#[test]
fn a_crash_after_the_entry_leaves_nothing_that_the_next_start_does_not_remove() {
    let store = Store::start();
    let world = world(&store, "168h");
    let session = recorded(&world, "true");
    moved(&world, &session);
    let bytes = fs::read(world.recording(&session)).unwrap();
    store.wire.is(State::Busy);
    deleted(&world, &session);
    world.kill();
    // As if it had been killed before the file went, too.
    fs::write(world.recording(&session), &bytes).unwrap();
    assert_eq!(store.objects().len(), 1);
    world.serve_again();
    wait::until(wait::LONG, "the file goes", || (!world.recording(&session).exists()).then_some(()));
    let (is_ok, words) = verified(&world);
    assert!(is_ok && words.contains("still to be removed"), "{words}");
    store.wire.is(State::Whole);
    gone(&world, &session);
    assert!(store.objects().is_empty());
    assert_eq!(said(&world, &session)[2..], ["recording_deleted", "recording_removed"]);
    // A backup that is put back brings it along.
    world.signal("TERM");
    world.serve_ends();
    fs::write(world.recording(&session), bytes).unwrap();
    let here = world.state.join("recordings").to_string_lossy().into_owned();
    assert!(world.machine.ok(&["verify", "--all", "--recordings", &here]).contains("a file of it is here"));
    world.serve_again();
    wait::until(wait::LONG, "it goes again", || (!world.recording(&session).exists()).then_some(()));
}

#[test]
fn what_the_store_does_not_give_up_is_said_and_tried_again_when_somebody_says_so() {
    let store = Store::start();
    let world = world(&store, "0s");
    let session = recorded(&world, "true");
    moved(&world, &session);
    store.wire.is(State::Keeping);
    deleted(&world, &session);
    wait::until(wait::LONG, "the copy is said to remain", || {
        row(&world, &session)["deleted"]["remains"]["why"].as_str().map(str::to_owned)
    });
    let (is_ok, words) = verified(&world);
    assert!(is_ok && words.contains("remains") && words.contains("AccessDenied"), "{words}");
    let status = world.machine.ok(&["status"]);
    assert!(status.contains("the store keeps its copy"), "{status}");
    // It keeps nothing else from being moved, and is not tried again by itself.
    store.wire.is(State::Whole);
    let other = recorded(&world, "true");
    moved(&world, &other);
    assert_eq!(store.objects().len(), 2);
    world.machine.ok(&["recordings", "upload"]);
    gone(&world, &session);
    assert_eq!(store.objects().len(), 1);
    assert_eq!(said(&world, &session).iter().filter(|kind| *kind == "recording_copy_remains").count(), 1);
}

#[test]
fn a_locked_copy_remains_until_its_lock_is_over() {
    let store = Store::start();
    store.locks();
    let mut config = table(&store, "0s");
    config.insert("lock".into(), "compliance".into());
    config.insert("lock_days".into(), 2.into());
    let world = with(config);
    let session = recorded(&world, "true");
    moved(&world, &session);
    deleted(&world, &session);
    let until = wait::until(wait::LONG, "the copy is said to remain", || {
        row(&world, &session)["deleted"]["remains"]["until"].as_str().map(str::to_owned)
    });
    assert_eq!(store.versions(&format!("{session}.pstn")), 1, "until {until}");
    let (is_ok, words) = verified(&world);
    assert!(is_ok && words.contains(&format!("remains until {until}")), "{words}");
    assert!(!world.machine.ok(&["status"]).contains("keeps its copy"), "that is nobody's to see to");
    // The lock is the store's: a file that comes back here goes.
    fs::write(world.recording(&session), "restored").unwrap();
    wait::until(wait::LONG, "it goes again", || (!world.recording(&session).exists()).then_some(()));
}

#[test]
fn of_a_bucket_with_versions_nothing_stays_behind() {
    let store = Store::start();
    store.locks();
    let world = world(&store, "0s");
    let session = recorded(&world, "true");
    moved(&world, &session);
    assert_eq!(store.versions(&format!("{session}.pstn")), 1);
    deleted(&world, &session);
    gone(&world, &session);
    assert_eq!(store.versions(&format!("{session}.pstn")), 0);
}

#[test]
fn a_target_that_is_registered_anew_as_something_else_takes_no_time_from_its_recordings() {
    let world = World::with(|config| {
        let text = "[retention]\nkeep = '10s'\n\
             [[retention.rule]]\nwhen = { environment = 'prod' }\nkeep = 'forever'\n";
        let recording = config.entry("recording").or_insert_with(|| toml::Table::new().into());
        recording.as_table_mut().unwrap().extend(text.parse::<toml::Table>().unwrap());
    });
    let in_environment = |target: &str, environment: &str| {
        let (address, login) = (format!("127.0.0.1:{}", world.sshd.port), crate::sshd::login());
        let host_key = world.sshd.host_key();
        let host_key = host_key.to_string_lossy();
        let named = ["targets", "add", target, &address, "--login", &login, "--host-key", &host_key];
        world.machine.ok(&[&named[..], &["--environment", environment]].concat());
    };
    let sessions = || -> Vec<String> {
        let rows = world.sessions("shop");
        rows.iter().map(|row| crate::postern::id(&row.to_string(), "ses_").unwrap()).collect()
    };
    let session = || {
        world.grant("alice", "shop", ALL);
        world.client("alice").through("shop", "true", Vec::new());
        world.ended("shop");
    };
    in_environment("shop", "prod");
    session();
    let before = sessions().remove(0);
    world.machine.ok(&["targets", "remove", "shop", "--reason", "it moved"]);
    in_environment("shop", "test");
    session();
    let after = sessions().into_iter().find(|session| *session != before).expect("another session");
    gone(&world, &after);
    assert!(row(&world, &before)["deleted"].is_null() && world.recording(&before).exists());
}

#[test]
fn a_deleted_file_that_cannot_be_removed_holds_up_nothing_else() {
    let store = Store::start();
    let world = world(&store, "168h");
    let session = recorded(&world, "true");
    moved(&world, &session);
    store.wire.is(State::Busy);
    deleted(&world, &session);
    world.kill();
    // A directory in its place cannot be removed as a file is.
    let path = world.recording(&session);
    fs::remove_file(&path).ok();
    fs::create_dir(&path).unwrap();
    store.wire.is(State::Whole);
    world.serve_again();
    wait::until(wait::LONG, "it is shown", || {
        world.machine.ok(&["status"]).contains("cannot remove").then_some(())
    });
    let other = recorded(&world, "true");
    moved(&world, &other);
    fs::remove_dir(&path).unwrap();
    wait::until(wait::LONG, "nothing is left of it", || {
        (!row(&world, &session)["deleted"]["removed"].is_null()).then_some(())
    });
    assert!(!world.machine.ok(&["status"]).contains("cannot remove"));
}

#[test]
fn what_is_lost_or_cut_short_is_not_passed_off_as_deleted() {
    let store = Store::start();
    let world = world(&store, "168h");
    let session = recorded(&world, "true");
    moved(&world, &session);
    let (carol, dave) = (world.hand("carol"), world.hand("dave"));
    let (path, object) = (world.recording(&session), format!("{session}.pstn"));
    let bytes = fs::read(&path).unwrap();
    dave.ok(&delete(&session, &ASK));
    let refused = |why: &str| {
        let words = carol.refused(&delete(&session, &["--confirm"]));
        assert!(words.contains(why), "{words}");
    };
    for shorter in [&bytes[..0], &bytes[..bytes.len() - 1]] {
        fs::write(&path, shorter).unwrap();
        refused("of another length");
    }
    fs::write(&path, &bytes).unwrap();
    store.wire.is(State::Cut);
    refused("nothing is deleted that may be lost");
    store.wire.is(State::Whole);
    store.lose(&format!("/buckets/recordings/{object}"));
    refused("is missing");
    store.put(&object, &bytes[1..]);
    refused("of another length");
    assert!(row(&world, &session)["deleted"].is_null());
    store.lose(&format!("/buckets/recordings/{object}"));
    store.put(&object, &bytes);
    carol.ok(&delete(&session, &["--confirm"]));
    gone(&world, &session);
}

#[test]
fn retention_leaves_what_is_cut_short_for_somebody_to_find() {
    let world = World::with(|config| {
        let text = "[retention]\nkeep = '10s'\n";
        let recording = config.entry("recording").or_insert_with(|| toml::Table::new().into());
        recording.as_table_mut().unwrap().extend(text.parse::<toml::Table>().unwrap());
    });
    let cut = recorded(&world, "true");
    fs::write(world.recording(&cut), "").unwrap();
    let whole = recorded(&world, "true");
    gone(&world, &whole);
    assert!(row(&world, &cut)["deleted"].is_null() && world.recording(&cut).exists());
    assert!(!verified(&world).0, "it is no deleted one");
}
