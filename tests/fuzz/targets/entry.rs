//! A ledger entry's bytes, as a damaged or hostile database might hold them.
//!
//! What is taken for an entry is that entry's canonical bytes and nothing else: two byte strings never mean one entry.
//! Begin with one of each kind, as released.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::ledger::entry::Entry;

fuzz_target!(|bytes: &[u8]| {
    let seq = serde_json::from_slice::<serde_json::Value>(bytes).ok().and_then(|entry| entry["seq"].as_u64());
    let Ok(entry) = Entry::parse(seq.unwrap_or(0), bytes) else { return };
    assert_eq!(entry.canonical().unwrap(), bytes, "read, and not canonical");
    assert!(Entry::parse(entry.seq ^ 1, bytes).is_err(), "an entry has one place");
});
