//! A database opened to be looked at, without a byte of it or a file beside it changing.
//!
//! SQLite writes even to read: beside a database in WAL mode it makes an index of the log, and it moves what a crash
//! left in the log. So a database without a log is opened as immutable, which makes and locks nothing, and one with a
//! log is read from a private copy in the system's temporary directory, gone before this returns. The caller keeps
//! writers out meanwhile.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use super::read::SqliteReader;
use super::write::{connect, tables_of};
use super::{LAYOUT, failure};
use crate::store::backend::Reader;
use crate::store::error::BackendError;

/// What a crash may leave beside a database.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// A reader of the database at `path`.
pub(in crate::store) fn look(path: &Path) -> Result<Box<dyn Reader>, BackendError> {
    if LOGS.iter().all(|ending| is_empty(&beside(path, ending))) {
        return immutable(path);
    }
    let unreadable = |error: std::io::Error| {
        BackendError::Failed(format!(
            "no copy to read it from could be made in a temporary directory: {error}"
        ))
    };
    let place = tempfile::tempdir().map_err(unreadable)?;
    let copy = place.path().join("copy.db");
    std::fs::copy(path, &copy).map_err(unreadable)?;
    for ending in LOGS {
        let log = beside(path, ending);
        if log.exists() {
            std::fs::copy(&log, beside(&copy, ending)).map_err(unreadable)?;
        }
    }
    let recovered = connect(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    recovered.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|e| failure(&e))?;
    recovered.close().map_err(|(_, e)| failure(&e))?;
    // Open, it stays readable without a name.
    immutable(&copy)
}

fn immutable(path: &Path) -> Result<Box<dyn Reader>, BackendError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = connect(&uri(path), flags)?;
    match tables_of(&connection).map_err(|e| failure(&e))?? {
        (0, _) => Err(BackendError::Damaged("there is nothing in it".to_owned())),
        (_, found) if found < LAYOUT => Err(BackendError::Older { found, known: LAYOUT }),
        _ => Ok(Box::new(SqliteReader::new(connection))),
    }
}

/// The path as SQLite's kind of address, in which any byte of a name stands for itself.
fn uri(path: &Path) -> PathBuf {
    let mut address = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    address.push_str("?immutable=1");
    address.into()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |facts| facts.len() == 0)
}
