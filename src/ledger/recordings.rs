//! What entries say of a finished recording: where it was moved to, that it is deleted and why, and what is left of it.
//!
//! The same rules hold as for every entry: fields are never reordered or renamed. Read next: `entry.rs`.

use serde::{Deserialize, Serialize};

use super::entry::{EndFacts, SessionFacts};
use crate::model::{PersonId, SessionId, Timestamp};

/// Where a recording was moved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StoredFacts {
    /// The session.
    pub session: SessionId,
    /// Where: `s3://BUCKET/NAME` or `file:///PATH`.
    pub location: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
}

/// A recording's key, wrapped again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RewrapFacts {
    /// The session.
    pub session: SessionId,
    /// SHA-256 over the recipients, in their order, each with a line feed behind it; lower-case hex. They are those of the
    /// newest `reviewers_changed` before this.
    pub reviewers: String,
    /// The key as an age file (`FORMAT.md` part 3), in base64. That it is the right one, only who opens it can tell.
    pub wrapped: String,
}

/// A recording that is deleted: why, and what it was. The entry comes before the first byte goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DeletionFacts {
    /// The session.
    pub session: SessionId,
    /// Why. Whoever caused the entry confirmed what another person asked for.
    pub cause: DeletionCause,
    /// Hash of the recording's header, lower-case hex, as when the session started.
    pub recording: String,
    /// The recording's last frame.
    pub frames: u64,
    /// The recording's final chain digest, lower-case hex, as when the session ended.
    pub digest: String,
    /// The recording's size in bytes.
    pub bytes: u64,
    /// Where it was moved to, if it was.
    pub location: Option<String>,
}

impl DeletionFacts {
    /// What an ended session's recording was, as its entries say.
    #[must_use]
    pub fn of(start: &SessionFacts, end: &EndFacts, location: Option<String>, cause: DeletionCause) -> Self {
        Self {
            session: start.session.clone(),
            cause,
            recording: start.recording.clone(),
            frames: end.frames,
            digest: end.digest.clone(),
            bytes: end.bytes,
            location,
        }
    }
}

/// Why a recording is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletionCause {
    /// Somebody asked for it, and another person confirmed.
    Asked {
        /// Who asked.
        by: PersonId,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It was kept for as long as recordings of its target are.
    Retention {
        /// That time, in seconds from the end of the session.
        keep_s: u64,
    },
}

/// A copy of a deleted recording that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RemainsFacts {
    /// The session.
    pub session: SessionId,
    /// Where the copy is.
    pub location: String,
    /// What its store says.
    pub why: String,
    /// Until when the store keeps it, where that is known.
    pub until: Option<Timestamp>,
}
