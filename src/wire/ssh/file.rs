//! One file operation, as both file protocols report it: what was done, to which path, how it ended.
//!
//! Content is hashed as it passes; the hash is reported only for content that moved in order from its start, because
//! only then does it say what the file is. Never here: any protocol's bytes.

use aws_lc_rs::digest::{Context, SHA256};

/// Something that was done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub verb: Verb,
    /// The path, as it crossed the wire.
    pub path: Vec<u8>,
    /// The second path: the new name of a rename, what a link points at, the source of a copy, or, for scp, the path on
    /// its command line.
    pub other_path: Option<Vec<u8>>,
    /// Bytes moved, for transfers.
    pub bytes: Option<u64>,
    /// SHA-256 of what was moved, when it moved in order from the start.
    pub sha256: Option<[u8; 32]>,
    /// How it ended.
    pub outcome: Outcome,
}

/// What can be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The target copied bytes of one open file to another (`copy-data`).
    Copy,
    /// The client read a file.
    Download,
    /// An SFTP extension was used whose effect is not known; its name is the path.
    Extension,
    /// A hard link was made.
    HardLink,
    /// A directory was listed.
    List,
    /// A directory was made.
    MakeDirectory,
    /// A file was removed.
    Remove,
    /// A directory was removed.
    RemoveDirectory,
    /// A file was renamed.
    Rename,
    /// Attributes were set: mode, owner, times, size.
    SetAttributes,
    /// A symbolic link was made.
    SymbolicLink,
    /// The client wrote a file.
    Upload,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done,
    /// The other side said no.
    Failed(String),
    /// The stream ended first.
    Interrupted,
}

/// Content on its way in one direction.
pub(super) struct Content {
    bytes: u64,
    hash: Option<Context>,
}

impl Content {
    /// Nothing moved yet.
    pub(super) fn new() -> Self {
        Self { bytes: 0, hash: Some(Context::new(&SHA256)) }
    }

    /// A piece moved at an offset. Out of order, the hash says nothing any more.
    pub(super) fn moved(&mut self, offset: u64, piece: &[u8]) {
        if offset != self.bytes {
            self.hash = None;
        }
        if let Some(hash) = &mut self.hash {
            hash.update(piece);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }

    /// Some of what moved did not arrive as it was sent.
    pub(super) fn spoil(&mut self) {
        self.hash = None;
    }

    /// How much moved.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size, and hash where it says something.
    pub(super) fn finish(self) -> (u64, Option<[u8; 32]>) {
        let digest = self.hash.and_then(|hash| hash.finish().as_ref().try_into().ok());
        (self.bytes, digest)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
