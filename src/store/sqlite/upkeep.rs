//! The write-ahead log's upkeep, so that a commit is one short sync and nothing else.
//!
//! Left to itself, SQLite moves the log's pages into the database inside whichever commit made the log long, with a
//! sync of the database behind it: a revocation that happens to be that commit waits a tenth of a second and more on a
//! busy disk. Here a thread of its own moves them (a passive checkpoint blocks no writer), and the log has its size
//! from the start, because a file that grows needs the file system's own journal at every sync. Read next: `write.rs`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::store::error::BackendError;
use crate::thread::{Urgency, spawn};

/// Commits between two rounds of upkeep.
const EVERY: u32 = 64;
/// Passes in one round: commits go on meanwhile, and only a log that was moved whole starts over from its beginning.
const PASSES: usize = 8;
/// The size a log has from the start, in bytes: what a few rounds need.
const SIZE: u64 = 4 << 20;

/// The thread that looks after one database's log. Dropping it ends the thread.
pub(super) struct Upkeep {
    commits: u32,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Gives the log of the database at `path` its size, and looks after it on a thread, over `connection`.
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, BackendError> {
        if let Err(error) = grow(&log_of(path)) {
            tracing::warn!(%error, "the ledger's write-ahead log could not be given its size; commits are slower");
        }
        let (wake, woken) = sync_channel(1);
        let thread = spawn("ledger-upkeep", Urgency::Usual, move || run(&connection, &woken))
            .map_err(|error| BackendError::Failed(error.to_string()))?;
        Ok(Self { commits: 0, wake: Some(wake), thread: Some(thread) })
    }

    /// A batch was committed.
    pub(super) fn committed(&mut self) {
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(EVERY) {
            // A round that is already due serves this one too.
            self.wake.as_ref().map(|wake| wake.try_send(()).ok());
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after the ledger's write-ahead log panicked");
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        for _ in 0..PASSES {
            match pass(connection) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the ledger's write-ahead log could not be moved into the database");
                    break;
                }
            }
        }
    }
}

/// Moves what can be moved without anybody waiting. Says whether nothing is left.
fn pass(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (is_busy, pages, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(is_busy || moved >= pages)
    })
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Fills the log up with zeros. To SQLite they are frames whose checksum is wrong, which is how it knows a log's end.
fn grow(log: &Path) -> io::Result<()> {
    const BLOCK: usize = 64 << 10;
    let file = OpenOptions::new().write(true).open(log)?;
    let mut at = file.metadata()?.len();
    while at < SIZE {
        file.write_all_at(&[0; BLOCK], at)?;
        at += BLOCK as u64;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a safety bound of a test")]
    fn pages_leave_the_log_without_a_commit_waiting_and_the_log_has_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let open = || Connection::open(&path).unwrap();
        let connection = open();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)")
            .unwrap();
        let mut upkeep = Upkeep::start(&path, open()).unwrap();
        assert!(std::fs::metadata(log_of(&path)).unwrap().len() >= SIZE);
        let before = std::fs::metadata(&path).unwrap().len();
        for _ in 0..EVERY {
            connection.execute("INSERT INTO t VALUES (randomblob(4000))", []).unwrap();
            upkeep.committed();
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while std::fs::metadata(&path).unwrap().len() < before + 4000 * u64::from(EVERY) {
            assert!(Instant::now() < patience, "nothing was moved into the database");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(upkeep);
        assert_eq!(open().query_row("SELECT count(*) FROM t", [], |row| row.get(0)), Ok(i64::from(EVERY)));
    }

    #[test]
    fn a_log_that_was_filled_up_is_read_to_its_end_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x)")
            .unwrap();
        grow(&log_of(&path)).unwrap();
        connection.execute_batch("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").unwrap();
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(log_of(&path), log_of(&copy)).unwrap();
        let found = Connection::open(&copy).unwrap();
        assert_eq!(found.query_row("SELECT sum(x) FROM t", [], |row| row.get::<_, i64>(0)), Ok(3));
    }
}
