//! A reviewer's day: listing, playing, exporting, searching, verifying, watching.
//!
//! And what tampering looks like to them. Reading always happens on the reviewer's side with their own key; no test here
//! may read a recording any other way.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::clients::program;
use crate::ssh::ALL;
use crate::terminal::Terminal;
use crate::wait;
use crate::world::World;

/// The bytes of all events of a kind, `input` or `output`, put together.
pub(crate) fn bytes(events: &[Value], kind: &str) -> Vec<u8> {
    events
        .iter()
        .filter(|event| event["type"] == kind)
        .flat_map(|event| data_encoding::BASE64.decode(event["data"].as_str().unwrap().as_bytes()).unwrap())
        .collect()
}

/// A finished session of alice's in which `script` was run on a terminal.
pub(crate) fn recorded(world: &World, script: &str) -> String {
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut terminal = Terminal::start(&world.client("alice").ssh(&target, &["-tt", script]));
    terminal.end(wait::LONG);
    let session = world.session(&target);
    world.ended(&target);
    session
}

#[test]
fn reviewers_list_what_operators_cannot_read() {
    let world = World::shared();
    let session = recorded(world, "echo secret of the house");
    let rows = world.hand("carol").list(&["recordings"]);
    assert!(rows.iter().any(|row| row.to_string().contains(&session)), "{rows:?}");
    let file = fs::read(world.recording(&session)).unwrap();
    assert!(!crate::client::contains(&file, b"secret of the house"), "a recording holds nothing in clear");
    for who in ["dave", "alice"] {
        let key = world.reading_key();
        world.hand(who).refused(&["export", &session, "--format", "jsonl", "--identity", &key]);
    }
}

#[test]
fn an_asciicast_export_is_accepted_by_asciinema() {
    let world = World::shared();
    let session = recorded(world, "echo on the screen; tput -T xterm bold; echo done");
    let cast = world.dir.join(format!("{session}.cast"));
    world.hand("carol").ok(&[
        "export",
        &session,
        "--format",
        "asciicast",
        "--identity",
        &world.reading_key(),
        "--output",
        &cast.to_string_lossy(),
    ]);
    let mut command = Command::new(program("asciinema"));
    world.client("carol").environment(&mut command);
    let said = run(command.arg("cat").arg(&cast));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("on the screen") && said.out.contains("done"), "{said:?}");
}

#[test]
fn a_transcript_reads_as_a_log_and_stars_out_secrets_in_the_copy_alone() {
    let world = World::shared();
    let session =
        recorded(world, "printf 'tok\\033[1men=hun'; sleep 0.2; printf 'ter22\\n'; echo plain words");
    let carol = world.hand("carol");
    let key = world.reading_key();
    let export =
        |more: &[&str]| carol.ok(&[&["export", &session, "--identity", &key, "--format"], more].concat());
    let text = export(&["text"]);
    assert!(
        text.starts_with(&format!("# transcript of {session}: ")) && text.contains("secrets masked"),
        "{text}"
    );
    assert!(
        text.contains("  output     plain words") && text.contains("  output     token=********"),
        "{text}"
    );
    assert!(text.contains("  ended      ") && !text.contains("hunter22"), "{text}");
    assert!(export(&["text", "--no-mask"]).contains("token=hunter22"));
    let masked = export(&["asciicast", "--mask-pattern", "plain (w[a-z]+)"]);
    assert!(masked.contains("secrets masked") && masked.contains("plain *****"), "{masked}");
    assert!(!masked.contains("ter22") && export(&["asciicast"]).contains("ter22"), "{masked}");
    let raw = carol.run(&["export", &session, "--identity", &key, "--format", "raw", "--mask"]);
    assert!(raw.code == 2 && raw.out.is_empty(), "raw bytes are exact: {raw:?}");
    carol.ok(&["verify", &session, "--identity", &key]);
}

#[test]
fn playing_at_once_shows_the_session_and_leaves_a_trace() {
    let world = World::shared();
    let session = recorded(world, "echo played back");
    let carol = world.hand("carol");
    let shown = carol.ok(&["play", &session, "--identity", &world.reading_key()]);
    assert!(shown.contains("played back"), "{shown}");
    let entries = world.hand("dave").ok(&["ledger", "tail", "-n", "1000", "--json"]);
    assert!(
        entries.lines().any(|line| line.contains("recording_viewed") && line.contains(&session)),
        "viewing is a ledger entry: {entries}"
    );
}

#[test]
fn what_a_hostile_target_printed_cannot_reach_the_reviewers_terminal() {
    let world = World::shared();
    let attack = r"printf '\033]0;title\007\033]52;c;ZXZpbA==\007\033[6n\033[c\033P$qm\033\\\033]8;;http://evil\007link\033]8;;\007plain\n'";
    let session = recorded(world, attack);
    let carol = world.hand("carol");
    let shown = carol.ok(&["play", &session, "--identity", &world.reading_key()]);
    assert!(shown.contains("plain"), "{shown:?}");
    for forbidden in ["\u{1b}]", "\u{1b}P", "\u{1b}[6n", "\u{1b}[c", "\u{9b}", "\u{9d}"] {
        assert!(!shown.contains(forbidden), "{forbidden:?} reached the terminal: {shown:?}");
    }
}

#[test]
fn search_finds_text_input_and_commands() {
    let world = World::shared();
    let session = recorded(world, "printf '\\033[1mneed\\033[0mle in a haystack\\n'");
    let found =
        world.hand("carol").ok(&["search", "needle in a haystack", "--identity", &world.reading_key()]);
    assert!(found.contains(&session), "{found}");
    let nothing = world.hand("carol").run(&["search", "no such words", "--identity", &world.reading_key()]);
    assert!(!nothing.out.contains(&session), "{nothing:?}");
}

#[test]
fn verification_needs_no_key_and_finds_more_with_one() {
    let world = World::shared();
    let session = recorded(world, "echo verified");
    let carol = world.hand("carol");
    carol.ok(&["verify", &session]);
    carol.ok(&["verify", &session, "--identity", &world.reading_key()]);
    let wrong = world.dir.join(format!("{session}-wrong.key"));
    carol.ok(&["keygen", "--output", &wrong.to_string_lossy()]);
    carol.refused(&["verify", &session, "--identity", &wrong.to_string_lossy()]);
}

/// D-37: every way to change a recording is found, and said in its own words.
#[test]
fn tampering_is_found() {
    let world = World::fresh();
    let session = recorded(&world, "seq 1 5000");
    let path = world.recording(&session);
    let whole = fs::read(&path).unwrap();
    let carol = world.hand("carol");
    carol.ok(&["verify", &session]);
    // The verdict is one word after the recording's name, and then what was found.
    let check = |what: &str, bytes: &[u8], verdicts: &[&str]| {
        fs::write(&path, bytes).unwrap();
        let said = carol.refused(&["verify", &session, "--identity", &world.reading_key()]);
        let found =
            said.split_once(": ").and_then(|(_, said)| said.split_once(": ")).map_or("", |both| both.1);
        assert!(
            verdicts.iter().any(|verdict| found.starts_with(verdict)),
            "{what}, not {verdicts:?}: {said}"
        );
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    let header = frames(&whole)[0];
    check("the first bit flipped", &flipped(0), &["damaged: not_a_recording"]);
    check("the header's last bit flipped", &flipped(header - 1), &["swapped: another recording"]);
    for at in (header..whole.len()).step_by((whole.len() / 40).max(1)) {
        // A frame's first 13 bytes say how long it is, what it is and which: where it ends may be wrong then.
        let in_head = frames(&whole).iter().any(|start| (*start..start + 13).contains(&at));
        let body = ["damaged: frame_damaged: frame", "damaged: checkpoint_forged: frame"];
        let head = ["damaged: ", "shortened: it stops"];
        check(&format!("a bit flipped at {at}"), &flipped(at), if in_head { &head } else { &body });
    }
    check("emptied", &[], &["damaged: not_a_recording"]);
    check("cut inside the header", &whole[..40], &["damaged: header_damaged"]);
    check("nothing but the header", &whole[..header], &["shortened: it stops before its first signature"]);
    for keep in [whole.len() / 2, whole.len() - 1] {
        check(&format!("cut to {keep} bytes"), &whole[..keep], &["shortened: it stops after frame"]);
    }
    check("something appended", &[&whole[..], b"more"].concat(), &["damaged: trailing_data"]);
    let other = recorded(&world, "echo another session");
    let others = fs::read(world.recording(&other)).unwrap();
    let under_this_name = format!("swapped: under this name is the recording of {other}");
    check("another session's recording", &others, &[&under_this_name]);
    fs::remove_file(&path).unwrap();
    let said = carol.refused(&["verify", &session]);
    assert!(said.contains(&format!("{session}: missing: ")), "{said}");
    let said = carol.run(&["verify", "--all"]);
    assert_eq!(said.code, 1, "{said:?}");
    let named = said
        .out
        .lines()
        .chain(said.err.lines())
        .any(|line| line.contains(&session) && line.to_lowercase().contains("missing"));
    assert!(named, "the missing recording is named: {said:?}");
    fs::write(&path, &whole).unwrap();
    carol.ok(&["verify", "--all"]);
}

/// Where the frames of a recording begin.
fn frames(recording: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(recording[at..at + 4].try_into().unwrap()) as usize;
    let mut starts = Vec::new();
    let mut at = 14 + number(10);
    while at < recording.len() {
        starts.push(at);
        at += 13 + number(at);
    }
    starts
}

#[test]
fn a_recording_verifies_away_from_the_bastion() {
    let world = World::shared();
    let session = recorded(world, "echo elsewhere");
    let copy = world.dir.join(format!("{session}-copy.pstn"));
    fs::copy(world.recording(&session), &copy).unwrap();
    let nowhere = crate::postern::Hand::new("nobody", &world.dir.join("home/nobody"), &[]);
    let copy = copy.to_string_lossy();
    let shown = nowhere.ok(&["play", &copy, "--identity", &world.reading_key()]);
    assert!(shown.contains("elsewhere"), "{shown}");
    let said = nowhere.run(&["verify", &copy, "--identity", &world.reading_key()]);
    assert!(said.code == 0 || said.err.contains("key"), "it verifies, or asks which node to trust: {said:?}");
}

#[test]
fn watching_live_shows_what_happens_now() {
    let world = World::shared();
    let target = world.target();
    world.grant("alice", &target, ALL);
    let mut live = world.client("alice").open(&target, &["cat"]);
    live.say("first\n").unwrap();
    live.hear("first");
    let session = world.session(&target);
    let mut watcher = crate::client::Pipes::start(world.hand("carol").command(&["watch", &session]));
    std::thread::sleep(std::time::Duration::from_secs(1));
    live.say("seen live\n").unwrap();
    live.hear("seen live");
    watcher.hear("seen live");
    drop(live.take_input());
    live.end(wait::LONG);
    watcher.end(wait::LONG);
}

#[test]
fn the_ledger_verifies_and_proves() {
    let world = World::shared();
    let session = recorded(world, "true");
    world.machine.ok(&["ledger", "verify"]);
    let tail = world.machine.ok(&["ledger", "tail", "-n", "1000", "--json"]);
    assert!(tail.contains(&session), "{tail}");
    let out = world.dir.join(format!("{session}-ledger"));
    world.machine.ok(&["ledger", "export", &out.to_string_lossy()]);
    assert!(has_files(&out), "`ledger export` writes a checkpoint and tiles");
}

fn has_files(dir: &Path) -> bool {
    dir.join("checkpoint").exists()
        && fs::read_dir(dir.join("tile")).is_ok_and(|mut tiles| tiles.next().is_some())
}
