//! What an evidence directory holds, and the index that says so.
//!
//! Entries lie there as the exact bytes that were hashed; the index names them with their proofs. Every file but
//! [`SUMS`] is listed in [`SUMS`].

use serde::{Deserialize, Serialize};

use crate::ledger::TreeHash;
use crate::model::{SessionId, Timestamp};
use crate::playback::Format;

/// What the index calls its own form.
pub(super) const FORM: &str = "postern-evidence/1";
pub(super) const INDEX: &str = "evidence.json";
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const PAGE: &str = "HOW-TO-CHECK.md";
pub(super) const RECORDING: &str = "recording.pstn";
/// The recording opened, where whoever wrote the directory could open it.
pub(super) const OPENED: [(&str, Format); 2] =
    [("opened.jsonl", Format::JsonLines), ("opened.cast", Format::Asciicast)];
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const COSIGNED: &str = "checkpoint.cosigned";
pub(super) const OLDER: &str = "checkpoint.older";

/// The index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    /// [`FORM`].
    pub(super) form: String,
    pub(super) session: SessionId,
    /// When the directory was written.
    pub(super) made: Timestamp,
    /// The ledger's key, as the ledger itself names it.
    pub(super) ledger_key: String,
    /// Every entry that concerns the session, oldest first.
    pub(super) entries: Vec<Proven>,
    /// Heads that the ledger of [`CHECKPOINT`] continues.
    pub(super) continues: Vec<Continued>,
}

/// An entry and the proof that it is in the ledger (RFC 6962 part 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proven {
    pub(super) seq: u64,
    /// The file with its bytes.
    pub(super) file: String,
    /// Lower-case hex, from the leaf up.
    pub(super) proof: Vec<String>,
}

/// An older head, and the proof that the ledger continues it (RFC 6962 part 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Continued {
    /// The file with the older checkpoint.
    pub(super) file: String,
    pub(super) proof: Vec<String>,
}

/// The file of an entry.
pub(super) fn entry_file(seq: u64) -> String {
    format!("entries/{seq:08}.json")
}

/// Hashes as the index has them.
pub(super) fn hex(hashes: &[TreeHash]) -> Vec<String> {
    hashes.iter().map(ToString::to_string).collect()
}
