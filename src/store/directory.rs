//! The ledger's directory: one process at a time, and a copy of the newest head beside the database.
//!
//! Whoever only looks shares the directory with others who only look, and makes nothing in it, not even what is missing.
//! The copy is how a database put back from an older backup is noticed. It is written after the commit it belongs to,
//! so it is never ahead of what is durable. Read next: `check.rs`.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::StoreError;

/// Largest head file read.
const HEAD_BYTES: u64 = 64 * 1024;
const DATABASE: &str = "ledger.db";

/// A ledger's directory, held by this process.
pub(super) struct Directory {
    path: PathBuf,
    /// None where somebody only looks and there is none.
    head: Option<File>,
    /// Held for its lock. A copy of a directory may lack it; nobody serves a copy.
    _lock: Option<File>,
}

impl Directory {
    /// Takes the directory for this process, making it if need be.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |cause: std::io::Error| failure(path, &cause);
        fs::create_dir_all(path).map_err(failed)?;
        let lock = private(&path.join("ledger.lock")).map_err(failed)?;
        held(path, &lock, FlockOperation::NonBlockingLockExclusive)?;
        let head = private(&path.join("ledger.head")).map_err(failed)?;
        Ok(Self { path: path.to_owned(), head: Some(head), _lock: Some(lock) })
    }

    /// Keeps whoever would write out of the directory, and leaves it as it is. Gives its database file, too.
    pub(super) fn look(path: &Path) -> Result<(Self, PathBuf), StoreError> {
        let there = |name| existing(&path.join(name)).map_err(|cause| failure(path, &cause));
        let lock = there("ledger.lock")?;
        if let Some(lock) = &lock {
            held(path, lock, FlockOperation::NonBlockingLockShared)?;
        }
        let head = there("ledger.head")?;
        Ok((Self { path: path.to_owned(), head, _lock: lock }, path.join(DATABASE)))
    }

    /// The database file, made with private permissions if it is new.
    pub(super) fn database(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(DATABASE);
        private(&path).map_err(|cause| failure(&path, &cause))?;
        Ok(path)
    }

    /// The newest head noted, if any.
    pub(super) fn head(&self) -> Result<Option<String>, StoreError> {
        let failed = |cause: std::io::Error| failure(&self.path, &cause);
        let Some(head) = &self.head else { return Ok(None) };
        let length = head.metadata().map_err(failed)?.len();
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length.min(HEAD_BYTES)).unwrap_or(0)];
        head.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| failure(&self.path, &std::io::ErrorKind::InvalidData.into()))
    }

    /// Notes a head. One write in place: heads of one ledger only ever grow, so no older text shows through.
    pub(super) fn note_head(&self, head: &str) -> Result<(), StoreError> {
        let file = self.head.as_ref().ok_or(StoreError::ReadOnly)?;
        file.write_all_at(head.as_bytes(), 0).map_err(|cause| failure(&self.path, &cause))
    }
}

fn held(path: &Path, lock: &File, how: FlockOperation) -> Result<(), StoreError> {
    match flock(lock, how) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(errno) => Err(failure(path, &errno.into())),
    }
}

fn existing(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn failure(path: &Path, cause: &std::io::Error) -> StoreError {
    StoreError::Directory { path: path.to_owned(), cause: cause.to_string() }
}
