//! What the bastion records, read by the second verifier: `recordings-schema/verifier`, written in Python from the format's
//! document alone. Verdicts, errors, events and what the ledger says must be the same on both sides.
//!
//! The format's own files are compared in `tests/recording_vectors/second.rs`; here they are real ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::run;
use crate::clients::{installed, program};
use crate::postern::Said;
use crate::review::recorded;
use crate::ssh::ALL;
use crate::wait;
use crate::world::World;

/// The second verifier about a file, trusting the key given.
pub(crate) fn second(file: &Path, key: &str, args: &[&str]) -> Said {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings-schema/verifier");
    let mut command = Command::new(program("python3"));
    command.env("PYTHONPATH", package).args(["-m", "postern_verify"]).arg(file);
    run(command.args(["--node-key", key]).args(args))
}

/// A recording's events as the second verifier opens them with the identity in a file.
pub(crate) fn opened(file: &Path, identity: &str) -> String {
    let said = second(file, &node_key(file), &["--events", "--identity", identity]);
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

/// The node key in a recording's header.
pub(crate) fn node_key(file: &Path) -> String {
    data_encoding::HEXLOWER.encode(&fs::read(file).unwrap()[14 + 44..14 + 76])
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("JSON: {said:?}"))
}

/// A session of alice's that ran a program, with typed input, standard error and more output than one frame takes.
fn eventful(world: &World) -> String {
    let target = world.target();
    world.grant("alice", &target, ALL);
    let client = world.client("alice");
    let mut live = client.open(&target, &["cat; echo failed >&2; seq 1 200000; exit 7"]);
    live.say("typed: \u{e4}\n").unwrap();
    live.hear("typed");
    let session = world.session(&target);
    drop(live.take_input());
    live.end(wait::LONG);
    world.ended(&target);
    session
}

/// A session in which a file went to the target and came back.
fn transferred(world: &World) -> String {
    let target = world.target();
    world.grant("alice", &target, ALL);
    let client = world.client("alice");
    let (here, there) = (world.dir.join(format!("{target}-here")), world.dir.join(format!("{target}-there")));
    fs::write(&here, "carried\n".repeat(1_000)).unwrap();
    let batch = world.dir.join(format!("{target}-batch"));
    let lines = format!(
        "put {} {}\nget {} {}-back\n",
        here.display(),
        there.display(),
        there.display(),
        here.display()
    );
    fs::write(&batch, lines).unwrap();
    let said =
        run(client.tool("sftp").arg("-b").arg(&batch).arg(format!("{}@gate", World::address(&target))));
    assert_eq!(said.code, 0, "{said:?}");
    let session = world.session(&target);
    world.ended(&target);
    session
}

#[test]
fn the_second_reader_opens_what_the_bastion_records() {
    let world = World::shared();
    let on_a_terminal = recorded(world, "tput -T xterm bold; echo on a terminal");
    for session in [eventful(world), on_a_terminal, transferred(world)] {
        let file = world.recording(&session);
        let key = node_key(&file);
        world.hand("carol").ok(&["verify", &file.to_string_lossy(), "--key", &key]);
        let closed = json(&second(&file, &key, &["--json"]));
        assert_eq!((&closed["outcome"], &closed["session"]), (&"finished".into(), &session.as_str().into()));
        let reading_key = world.reading_key();
        let events = second(&file, &key, &["--events", "--identity", &reading_key]);
        assert_eq!(events.code, 0, "{}", events.err);
        let theirs: Vec<Value> = events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ours = world.events(&session);
        assert_eq!(theirs.len(), ours.len());
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert_eq!(theirs, ours);
        }
        let opened = json(&second(&file, &key, &["--json", "--identity", &reading_key]));
        let verified = world.hand("carol").ok(&["verify", &session, "--identity", &reading_key, "--json"]);
        let verified: Value = serde_json::from_str(&verified).unwrap();
        let item = &verified["items"][0];
        for (theirs, ours) in [("events", "events"), ("last_frame", "frames"), ("size", "bytes")] {
            assert_eq!(opened[theirs], item[ours], "{ours}: {opened} and {item}");
        }
        let stranger = second(&file, &"ab".repeat(32), &[]);
        assert_eq!((stranger.code, stranger.err.trim()), (1, "untrusted_signer"), "{stranger:?}");
    }
}

/// Post-quantum reviewers: what is recorded for them is opened here, by the second verifier, and by age for TypeScript,
/// whose identities are as good as ours.
#[test]
fn what_is_sealed_to_post_quantum_keys_opens_in_three_implementations() {
    let world = World::fresh();
    let [ours, theirs] = ["ours.key", "theirs.key"].map(|name| world.dir.join("home/carol").join(name));
    let made =
        world.hand("carol").ok(&["keygen", "--post-quantum", "--output", &ours.to_string_lossy(), "--json"]);
    let recipient = serde_json::from_str::<Value>(&made).unwrap()["recipient"].as_str().unwrap().to_owned();
    let open = installed("age/open.mjs");
    let made = run(Command::new("node").arg(&open)).out;
    let other = made.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    fs::write(&theirs, &made).unwrap();
    fs::set_permissions(&theirs, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let classic = world.machine.ok(&["reviewers", "list", "--json"]);
    let classic =
        serde_json::from_str::<Value>(&classic).unwrap()["recipients"][0].as_str().unwrap().to_owned();
    let said = world.machine.run(&["reviewers", "set", &recipient, &classic]);
    assert!(said.code != 0 && said.err.contains("cannot be mixed"), "{said:?}");
    world.machine.ok(&["reviewers", "set", &recipient, &other]);

    let session = recorded(&world, "echo sealed to lattices");
    let file = world.recording(&session);
    let key = node_key(&file);
    let bytes = fs::read(&file).unwrap();
    let header = u32::from_be_bytes(bytes[10..14].try_into().unwrap()) as usize;
    let wrapped = world.dir.join("wrapped.age");
    // The wrapped key is the last field of the header, 112 bytes into it, before the signature of 64.
    fs::write(&wrapped, &bytes[14 + 112..14 + header - 64]).unwrap();
    for identity in [&ours, &theirs] {
        let identity = identity.to_string_lossy().into_owned();
        let verified = world.hand("carol").ok(&["verify", &session, "--identity", &identity]);
        assert!(verified.contains("events opened"), "{verified}");
        let events = second(&file, &key, &["--events", "--identity", &identity]);
        assert!(events.code == 0 && events.out.contains("session_ended"), "{events:?}");
        let plain = run(Command::new("node").arg(&open).arg(&wrapped).arg(&identity));
        assert_eq!(plain.out.trim().len(), 64, "a file key of 32 bytes: {plain:?}");
    }
    let closed = second(&file, &key, &["--identity", &world.reading_key()]);
    assert_eq!((closed.code, closed.err.trim()), (1, "wrong_key"), "{closed:?}");
}

#[test]
fn the_second_reader_finds_in_the_ledger_what_verify_finds() {
    let world = World::fresh();
    let place = world.dir.join("tampered");
    fs::create_dir_all(&place).unwrap();
    let put = |session: &str, bytes: &[u8]| fs::write(place.join(format!("{session}.pstn")), bytes).unwrap();
    let sessions: Vec<String> =
        (0..7).map(|n| recorded(&world, &format!("seq 1 {}", 900 * (n + 1)))).collect();
    let files: Vec<Vec<u8>> = sessions.iter().map(|s| fs::read(world.recording(s)).unwrap()).collect();
    let key = node_key(&world.recording(&sessions[0]));
    let cut = |index: usize, left: usize| files[index][..left].to_vec();
    let flipped = |index: usize, at: usize| {
        let mut bytes = files[index].clone();
        bytes[at] ^= 1;
        bytes
    };
    put(&sessions[0], &files[0]);
    put(&sessions[1], &cut(1, files[1].len() - 1));
    put(&sessions[2], &flipped(2, files[2].len() - 1));
    put(&sessions[3], &files[4]);
    put(&sessions[4], &[&files[4][..], b"more"].concat());
    put(&sessions[5], &flipped(5, 14 + 60));
    put(&sessions[6], &cut(6, 40));
    put("ses_aaaaaaaaaaaaaaaa", &files[0]);

    let ledger = world.dir.join("ledger");
    world.machine.ok(&["ledger", "export", &ledger.to_string_lossy()]);
    let entries = ledger.join("entries.jsonl").to_string_lossy().into_owned();
    let said =
        world.hand("carol").run(&["verify", "--all", "--recordings", &place.to_string_lossy(), "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let items = json(&said)["items"].as_array().unwrap().clone();
    let mut states = Vec::new();
    for path in fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What stands under another's name is listed by its own.
        let is_it = |item: &&Value| {
            let is_swapped = item["state"] == "swapped";
            let is_named = item["session"].as_str().unwrap().contains(&stem);
            if stem == sessions[3] { is_swapped } else { is_named && !is_swapped }
        };
        let ours = items.iter().find(is_it).unwrap_or_else(|| panic!("{stem} in {items:?}"));
        let theirs = json(&second(&path, &key, &["--json", "--ledger", &entries]));
        assert_eq!(theirs["state"], ours["state"], "{stem}: {theirs} and {ours}");
        states.push(theirs["state"].as_str().unwrap().to_owned());
    }
    states.sort();
    let expected =
        ["damaged", "damaged", "damaged", "foreign", "foreign", "shortened", "swapped", "verified"];
    assert_eq!(states, expected);
    check_start(&world.recording(&sessions[0]), &key);
}

/// The header hash alone, as the ledger has it, tells one recording from another.
fn check_start(file: &Path, key: &str) {
    let hash = json(&second(file, key, &["--json"]))["header_hash"].as_str().unwrap().to_owned();
    assert_eq!(second(file, key, &["--ledger-start", &hash]).code, 0);
    let other = second(file, key, &["--ledger-start", &"00".repeat(32)]);
    assert!(other.code == 1 && other.out.starts_with("swapped"), "{other:?}");
}
