//! What can go wrong while recording, and while opening the journal. Errors of reading are in `error.rs`.
//!
//! Every one of them ends or refuses a session; none is only logged. Which end reason each becomes is the session's
//! business.

use std::io;
use std::path::{Path, PathBuf};

use super::key::KeyError;
use super::seal::SealError;
use crate::model::{SessionId, SignError};

/// Why something is not, or no longer, being recorded. Each ends or refuses the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecorderError {
    /// There is already a recording of this session.
    #[error("there is already a recording of session {0}")]
    AlreadyExists(SessionId),
    /// The disk is so full that live sessions must end.
    #[error("the disk that holds recordings is full: free some space, or move finished recordings away")]
    DiskFull,
    /// The recording is already finished.
    #[error("the recording is already finished")]
    Ended,
    /// The recording's own file cannot be written. What was acknowledged is safe in the journal.
    #[error(
        "the recording's file cannot be written: {0}; what was recorded is safe and recovered at the next start"
    )]
    FileFailed(String),
    /// The journal was closed.
    #[error("the bastion is stopping and records nothing more")]
    JournalClosed,
    /// The journal could not be written or synced. Never retried: the node records nothing more until restarted.
    #[error("the journal failed: {0}; check the disk and restart the bastion")]
    JournalFailed(String),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is too little space to begin another session.
    #[error("too little space to record another session: {free} bytes free, {floor} wanted")]
    NoRoom {
        /// Bytes free.
        free: u64,
        /// Bytes wanted.
        floor: u64,
    },
    /// More was submitted than the disk keeps up with, past the limit the relay should have observed.
    #[error("the disk does not keep up with what this session sends")]
    Overrun,
    /// A frame could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl RecorderError {
    /// Whether even the end can no longer be recorded. A full disk, a flood or an event that could not be sealed ends
    /// the session, and its recording can still say so.
    pub(super) const fn prevents_the_end(&self) -> bool {
        match self {
            Self::FileFailed(_) | Self::JournalClosed | Self::JournalFailed(_) => true,
            Self::AlreadyExists(_)
            | Self::DiskFull
            | Self::Ended
            | Self::Key(_)
            | Self::NoRoom { .. }
            | Self::Overrun
            | Self::Seal(_) => false,
        }
    }
}

impl From<SignError> for RecorderError {
    fn from(error: SignError) -> Self {
        Self::Seal(SealError::Sign(error))
    }
}

/// Why the journal did not open.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("{path} is in use by another postern: stop that one first")]
    InUse {
        /// The journal's directory.
        path: PathBuf,
    },
    /// A file could not be used.
    #[error("could not {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A recovered recording's end could not be signed.
    #[error("a recovered recording could not be signed: {0}")]
    Sign(#[from] SignError),
}

impl JournalError {
    /// For `map_err`: names what was tried, and on which file.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
