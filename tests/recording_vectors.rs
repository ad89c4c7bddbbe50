//! Every file in `recordings-schema/vectors`, with the outcome it must have with and without the reviewer's key.
//!
//! The writer in `recording_vectors/writer.rs` follows `FORMAT.md` and uses nothing of ours, so it is a second opinion on
//! the first one; so is the verifier in Python, which `second.rs` asks. A vector that is there is never changed:
//! `POSTERN_WRITE_VECTORS=1 cargo test --test recording_vectors the_files` writes only those that are missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use postern::recording::{Outcome, RecordingError, ReviewerIdentity, verify_source};

#[cfg(test)]
#[path = "recording_vectors/age.rs"]
mod age;
#[cfg(test)]
#[path = "recording_vectors/age_cases.rs"]
mod age_cases;
#[cfg(test)]
#[path = "recording_vectors/cases.rs"]
mod cases;
#[cfg(test)]
#[path = "recording_vectors/event_cases.rs"]
mod event_cases;
#[cfg(test)]
#[path = "recording_vectors/fixed.rs"]
mod fixed;
#[cfg(test)]
#[path = "recording_vectors/frame_cases.rs"]
mod frame_cases;
#[cfg(test)]
#[path = "recording_vectors/json_cases.rs"]
mod json_cases;
#[cfg(test)]
#[path = "recording_vectors/second.rs"]
mod second;
#[cfg(test)]
#[path = "recording_vectors/writer.rs"]
mod writer;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings-schema/vectors")
}

fn outcome(bytes: &[u8], identity: Option<&ReviewerIdentity>) -> String {
    match verify_source(bytes, &[writer::public_key(writer::NODE_SEED)], identity, |_| {}) {
        Ok(verdict) => match verdict.outcome {
            Outcome::Cut => "cut".to_owned(),
            Outcome::Finished => "finished".to_owned(),
        },
        Err(error) => error.name().to_owned(),
    }
}

#[test]
fn the_files_are_what_the_generator_makes() {
    let directory = directory();
    let writes = std::env::var_os("POSTERN_WRITE_VECTORS").is_some();
    if writes {
        writer::make_missing_keys(&directory);
    }
    let cases = cases::all(&writer::Keys::read(&directory));
    let list: Vec<_> = cases.iter().map(cases::Case::describe).collect();
    let list = serde_json::json!({
        "trusted_node_key": data_encoding::HEXLOWER.encode(&writer::public_key(writer::NODE_SEED)),
        "identity": "reviewer.identity",
        "vectors": list,
    });
    let list = format!("{}\n", serde_json::to_string_pretty(&list).unwrap());
    if writes {
        fixed::write_missing(&directory, &cases, &list);
    }
    for case in &cases {
        let file = fs::read(directory.join(format!("{}.pstn", case.name))).unwrap();
        assert!(file == case.bytes, "{}: the file is not what FORMAT.md's writer makes", case.name);
        let keys = fs::read(directory.join(format!("{}.keys", case.name))).ok();
        assert!(keys == case.keys, "{}: the key beside it is another", case.name);
    }
    assert_eq!(fs::read_to_string(directory.join("vectors.json")).unwrap(), list);
    let named: BTreeSet<String> = cases.iter().map(|case| format!("{}.pstn", case.name)).collect();
    let files =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = files.filter(|name| name.ends_with(".pstn")).collect();
    assert_eq!(named.len(), cases.len(), "no two vectors have the same name");
    assert_eq!(found, named, "every vector file is listed, and every listed one is there");
}

#[test]
fn every_vector_has_exactly_its_outcome() {
    let text = fs::read_to_string(directory().join("vectors.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let vectors = list["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 150, "only {} vectors", vectors.len());
    let mut wrong = Vec::new();
    for vector in vectors {
        let name = vector["file"].as_str().unwrap();
        let bytes = fs::read(directory().join(name)).unwrap();
        let identity = writer::identity_for(&directory(), name);
        let got = (outcome(&bytes, None), outcome(&bytes, Some(&identity)));
        let expected = (vector["without_key"].as_str().unwrap(), vector["with_key"].as_str().unwrap());
        if (got.0.as_str(), got.1.as_str()) != expected {
            wrong.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_error_of_the_format_has_a_vector() {
    let text = fs::read_to_string(directory().join("vectors.json")).unwrap();
    let format = fs::read_to_string(directory().join("../FORMAT.md")).unwrap();
    let mut names = 0;
    for line in format.lines().filter(|line| line.starts_with("| `") && line.ends_with('|')) {
        let name = line.trim_start_matches("| `").split('`').next().unwrap();
        assert!(text.contains(&format!("\"{name}\"")), "no vector for {name}");
        names += 1;
    }
    assert!(names >= 18, "FORMAT.md part 7 lists {names} errors");
}

#[test]
fn every_cut_is_detected() {
    let whole = fs::read(directory().join("finished-small.pstn")).unwrap();
    for length in 0..whole.len() {
        let error = verify_source(&whole[..length], &[writer::public_key(writer::NODE_SEED)], None, |_| {});
        let error = error.map(|_| ()).unwrap_err();
        let expected = matches!(
            error,
            RecordingError::NotARecording
                | RecordingError::HeaderDamaged { .. }
                | RecordingError::Truncated { .. }
        );
        assert!(expected, "cut at {length}: {error}");
    }
}
