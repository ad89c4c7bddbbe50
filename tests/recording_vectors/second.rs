//! The reader in Rust beside the second one in Python, file by file: the same outcome, counter and events.
//!
//! Python and what it needs are put in place by `tests/run install`; without them these tests fail. Read next:
//! `second.py`, which asks the other side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern::recording::event::Event;
use postern::recording::{Outcome, RecordingError, ReviewerIdentity, verify_source};
use serde_json::Value;

use super::{directory, writer};

#[test]
fn both_readers_say_the_same_of_every_vector() {
    let lines = second(&["vectors", &directory().to_string_lossy()]);
    assert!(lines.len() >= 150, "only {} vectors", lines.len());
    let mut wrong = Vec::new();
    for line in lines {
        let theirs: Value = serde_json::from_str(&line).unwrap();
        let name = theirs["file"].as_str().unwrap();
        let bytes = fs::read(directory().join(name)).unwrap();
        let mut events = Vec::new();
        let identity = writer::identity_for(&directory(), name);
        let closed = said(&bytes, None, |_| {});
        let opened = said(&bytes, Some(&identity), |event| events.push(serde_json::to_value(event).unwrap()));
        let ours = serde_json::json!({
            "file": name, "without_key": closed, "with_key": opened, "events": events,
        });
        if ours != theirs {
            wrong.push(format!("{name}: here {ours:.400}, there {theirs:.400}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_readers_detect_every_flipped_bit_and_every_cut_and_call_it_the_same() {
    let identity = writer::identity(&directory());
    let path = directory().join("finished-small.pstn");
    let whole = fs::read(&path).unwrap();
    let flips = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit}"), bytes)
    });
    let cuts = (0..whole.len()).map(|length| (format!("cut at {length}"), whole[..length].to_vec()));
    let longer = (String::from("a byte more"), [whole.as_slice(), &[0]].concat());
    let changes: Vec<_> = flips.chain(cuts).chain([longer]).collect();
    let theirs = second(&["changes", &path.to_string_lossy()]);
    assert_eq!(theirs.len(), changes.len(), "one line for each change");
    let mut wrong = Vec::new();
    for ((what, bytes), theirs) in changes.iter().zip(theirs) {
        let ours = [said(bytes, None, |_| {}), said(bytes, Some(&identity), |_| {})];
        let is_detected = !ours.iter().any(|said| matches!(said.as_str(), "finished" | "cut" | "io"));
        if !is_detected || ours.join(" ") != theirs {
            wrong.push(format!("{what}: here {}, there {theirs}", ours.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), changes.len(), wrong.join("\n"));
}

/// The lines that the second reader prints.
fn second(args: &[&str]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recording_vectors/second.py");
    let output = Command::new(python()).arg(script).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Python in the environment that `tests/run` makes.
fn python() -> PathBuf {
    let root = std::env::var_os("POSTERN_CLIENTS").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
            target.join("clients")
        },
        PathBuf::from,
    );
    let path = root.join("bin/python3");
    assert!(path.exists(), "{} is missing: `tests/run install` puts it there", path.display());
    path
}

/// The outcome, or the error's name and the counter it carries.
fn said(bytes: &[u8], identity: Option<&ReviewerIdentity>, see: impl FnMut(&Event)) -> String {
    match verify_source(bytes, &[writer::public_key(writer::NODE_SEED)], identity, see) {
        Ok(verdict) => match verdict.outcome {
            Outcome::Cut => "cut".to_owned(),
            Outcome::Finished => "finished".to_owned(),
        },
        Err(error) => {
            counter(&error).map_or_else(|| error.name().to_owned(), |n| format!("{}:{n}", error.name()))
        }
    }
}

fn counter(error: &RecordingError) -> Option<u64> {
    match error {
        RecordingError::ChainBroken { counter }
        | RecordingError::CheckpointForged { counter }
        | RecordingError::Duplicate { counter }
        | RecordingError::EventMalformed { counter, .. }
        | RecordingError::FrameDamaged { counter, .. }
        | RecordingError::LimitExceeded { counter, .. }
        | RecordingError::Misplaced { counter }
        | RecordingError::Missing { counter }
        | RecordingError::OutOfOrder { counter }
        | RecordingError::TimeReversed { counter } => Some(*counter),
        RecordingError::Truncated { last_good } => *last_good,
        RecordingError::CommitmentMismatch
        | RecordingError::HeaderDamaged { .. }
        | RecordingError::Io(_)
        | RecordingError::KeyUnusable { .. }
        | RecordingError::NotARecording
        | RecordingError::RewrapDamaged
        | RecordingError::TrailingData
        | RecordingError::UnknownVersion { .. }
        | RecordingError::UntrustedSigner { .. }
        | RecordingError::WrongKey => None,
    }
}
