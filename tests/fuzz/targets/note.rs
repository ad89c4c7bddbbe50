//! A signed note from anybody: a checkpoint from a copy of the ledger, a witness's answer; and keys as people paste them.
//!
//! What is read is what was written: two texts never mean one note or one key, and nobody has signed what they have
//! not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::ledger::{Checkpoint, Note, VerifierKey, WitnessKey};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(key) = text.parse::<WitnessKey>() {
        assert_eq!(key.to_string(), text);
    }
    let Ok(note) = text.parse::<Note>() else { return };
    assert_eq!(note.to_string(), text);
    // Nobody has this key's other half here.
    let stranger = VerifierKey::new("postern.example/ledger", [7; 32]).unwrap();
    assert!(note.verify(&stranger).is_err() && Checkpoint::open(text, &stranger).is_err());
    assert!(WitnessKey::new("witness.example", [7; 32]).unwrap().signed(&note).is_err());
});
