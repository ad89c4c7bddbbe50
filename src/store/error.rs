//! What can be wrong with the store, each with what to do. Every way of tampering we can tell apart has its own variant.
//!
//! Refusals of a command are [`Denied`], not failures. Read next: `check.rs`.

use std::path::PathBuf;

use crate::access::Denied;
use crate::ledger::entry::Entry;
use crate::ledger::{CanonicalError, CheckpointError};

/// A store that cannot be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An entry cannot be read.
    #[error("{0}")]
    Canonical(String),
    /// The signed head is not this node's or not this ledger's.
    #[error("the ledger's checkpoint cannot be trusted: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The directory or a file in it cannot be used.
    #[error("{path}: {cause}")]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// The machine's clock is behind the ledger's last entry: a window counted from that would last too long.
    #[error(
        "the machine's clock is {behind_s} s behind the ledger's last entry: nothing is granted and no session begins \
         until it is right again; see 'the clock' in the operations manual"
    )]
    ClockBehind {
        /// By how many seconds.
        behind_s: u64,
    },
    /// An entry's bytes are not those that were hashed.
    #[error("entry {seq} of the ledger was edited: its bytes no longer match its hash; restore the database")]
    EntryEdited {
        /// Which.
        seq: u64,
    },
    /// An entry is gone.
    #[error("entry {seq} of the ledger is missing; restore the database from a backup")]
    EntryMissing {
        /// Which.
        seq: u64,
    },
    /// There are entries and no signed head.
    #[error("the ledger's signed checkpoint is missing; restore the database from a backup")]
    HeadMissing,
    /// Another process has the ledger open.
    #[error("{path} is in use by another postern process: stop it, or talk to it through its control socket")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// No randomness for ids.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// No such thing in the ledger's history.
    #[error("the ledger has no {0}")]
    NotFound(&'static str),
    /// The tables are not what the entries make of them.
    #[error("the ledger is whole, but its table of {table} was edited: run `postern ledger rebuild`")]
    ProjectionEdited {
        /// Which table.
        table: &'static str,
    },
    /// The database is older than a head this node signed later.
    #[error(
        "the ledger was rolled back: it has {found} entries, and this node signed a checkpoint over {signed}; \
         restore the newest backup"
    )]
    RolledBack {
        /// Entries found.
        found: u64,
        /// Entries signed for.
        signed: u64,
    },
    /// Somebody who only looks tried to change something.
    #[error("the ledger was opened to be looked at only: nothing in it can be changed")]
    ReadOnly,
    /// The entries do not give the signed root.
    #[error("the ledger was rewritten: its entries do not give the root that this node signed")]
    RootDiffers,
    /// The head could not be signed.
    #[error("the ledger's checkpoint could not be signed: {0}")]
    Sign(String),
    /// The writer has stopped; nothing can be appended until the next start.
    #[error("the ledger cannot be written any more: {0}; restart postern when this is mended")]
    Stopped(String),
    /// What was to be written is longer than an entry can be; the caller's fault.
    #[error("this is too long for one entry of the ledger: {bytes} bytes, of at most {}", Entry::LONGEST)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A stored hash inside the tree is wrong.
    #[error("a stored hash of the ledger's tree was edited: run `postern ledger rebuild`")]
    TreeEdited,
}

impl From<CanonicalError> for StoreError {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::TooLong { bytes } => Self::TooLong { bytes },
            CanonicalError::Unreadable { .. } => Self::Canonical(error.to_string()),
        }
    }
}

/// What a database can do wrong, whichever it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Another program held the database's lock for too long. Nothing was written.
    #[error("another program holds the ledger's database: end it, or make it read a copy")]
    Busy,
    /// The file is not a database, or is damaged.
    #[error("the ledger's database is damaged ({0}): restore it from a backup")]
    Damaged(String),
    /// No room. Nothing was written.
    #[error("the disk is full: the ledger could not be written")]
    Full,
    /// Anything else the database says. What was being written may or may not be durable.
    #[error("the ledger's database failed: {0}")]
    Failed(String),
    /// The tables are of an older version, and only a start may change them.
    #[error(
        "the ledger's database has layout {found} of an older postern, this program wants {known}: start the bastion once"
    )]
    Older {
        /// Found.
        found: i64,
        /// Known.
        known: i64,
    },
    /// The tables are of a version this program does not know.
    #[error("the ledger's database has layout {found}, this program knows {known}: use a newer postern")]
    Newer {
        /// Found.
        found: i64,
        /// Known.
        known: i64,
    },
    /// A row cannot be read back.
    #[error("a row of the ledger's table of {table} cannot be read ({cause}): run `postern ledger rebuild`")]
    Row {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        cause: String,
    },
}

/// A command that made no entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The rules do not allow it; the caller's fault.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The ledger could not be written; ours.
    #[error(transparent)]
    Failed(#[from] StoreError),
}
