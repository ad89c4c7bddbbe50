//! Recordings made for earlier reviewers, made readable for those of today, without touching them.
//!
//! A reviewer who can read wraps the key again; the bastion, which cannot read, keeps it and hands it out.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::review::recorded;
use crate::world::World;

/// A new reviewer's identity, in carol's home, and its recipient.
fn identity(world: &World, name: &str, more: &[&str]) -> (PathBuf, String) {
    let path = world.dir.join("home/carol").join(name);
    let shown = path.to_string_lossy().into_owned();
    let made = world.hand("carol").ok(&[&["keygen", "--output", &shown, "--json"], more].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    (path, made["recipient"].as_str().unwrap().to_owned())
}

#[test]
fn old_recordings_open_for_new_reviewers_once_somebody_who_can_read_wraps_them_again() {
    let world = World::fresh();
    let old = world.reading_key();
    let carol = world.hand("carol");
    let sessions = [recorded(&world, "echo first words"), recorded(&world, "echo second words")];
    let sealed: Vec<Vec<u8>> =
        sessions.iter().map(|session| fs::read(world.recording(session)).unwrap()).collect();
    let (path, recipient) = identity(&world, "new.txt", &["--post-quantum"]);
    let new = path.to_string_lossy().into_owned();
    world.machine.ok(&["reviewers", "set", &recipient]);
    let play = |session: &str, key: &str| carol.run(&["play", session, "--print", "--identity", key]);
    assert!(play(&sessions[0], &new).err.contains("was not among its reviewers"));

    // Who cannot read cannot wrap, and is told which.
    let said = carol.run(&["recordings", "rewrap", "--all", "--identity", &new]);
    assert!(said.code != 0 && said.err.contains("closed to this identity"), "{said:?}");
    // Nor may somebody who may not read at all.
    let said = world.hand("alice").run(&["recordings", "rewrap", &sessions[0], "--identity", &old]);
    assert_ne!(said.code, 0, "{said:?}");

    let said = carol.ok(&["recordings", "rewrap", "--all", "--identity", &old]);
    assert!(said.starts_with("2 wrapped"), "{said}");
    let said = carol.ok(&["recordings", "rewrap", &sessions[1], "--identity", &old]);
    assert!(said.starts_with("0 wrapped") && said.contains("1 were already"), "{said}");
    for (session, words) in sessions.iter().zip(["first words", "second words"]) {
        for key in [&old, &new] {
            assert!(play(session, key).out.contains(words), "{session} with {key}");
        }
        let verified = carol.ok(&["verify", session, "--identity", &new]);
        assert!(verified.contains("events opened"), "{verified}");
    }
    let found = carol.ok(&["search", "words", "--identity", &new]);
    assert!(found.contains("first words") && found.contains("second words"), "{found}");
    for (session, before) in sessions.iter().zip(&sealed) {
        assert_eq!(&fs::read(world.recording(session)).unwrap(), before, "{session} was touched");
    }

    // Wrapped on by somebody who reads it only that way; a restart forgets nothing, nor does a rebuilt ledger.
    let (path, recipient) = identity(&world, "newest.txt", &[]);
    world.machine.ok(&["reviewers", "set", &recipient]);
    carol.ok(&["recordings", "rewrap", "--all", "--identity", &new]);
    world.stop();
    world.machine.ok(&["ledger", "rebuild"]);
    world.serve_again();
    let newest = path.to_string_lossy().into_owned();
    assert!(play(&sessions[0], &newest).out.contains("first words"));
    let copy = world.dir.join("ledger");
    world.machine.ok(&["ledger", "export", &copy.to_string_lossy()]);
    let entries = fs::read_to_string(copy.join("entries.jsonl")).unwrap();
    assert_eq!(entries.matches("\"recording_rewrapped\"").count(), 4, "{entries}");

    // Evidence has it, and both verifiers open it by that.
    let place = world.dir.join("evidence");
    carol.ok(&["export", &sessions[0], "--evidence", "--output", &place.to_string_lossy()]);
    let key = world.ledger_key();
    let checked = carol.ok(&["verify", &place.to_string_lossy(), "--key", &key, "--identity", &newest]);
    assert!(checked.contains("events opened"), "{checked}");
    let events = crate::second_reader::opened(&place.join("recording.pstn"), &newest);
    assert!(events.contains("session_ended"), "{events}");
    fs::write(place.join("recording.keys"), "nothing").unwrap();
    let said = carol.run(&[
        "play",
        &place.join("recording.pstn").to_string_lossy(),
        "--print",
        "--identity",
        &newest,
    ]);
    assert!(said.code != 0 && said.err.contains("wrapped again is damaged"), "{said:?}");
}
