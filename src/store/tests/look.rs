//! Looking at a ledger leaves every byte as it was, whatever state its directory is in.
//!
//! What a crash leaves is had by copying the files of a store that is open. That a whole bastion's directory stays as it
//! is, is in the suite (`operating.rs`).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Every file in a directory, with its bytes.
fn files(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn look(directory: &Path) -> Result<Store, StoreError> {
    Store::look(directory, signer().public_key(), ORIGIN, Clock::system())
}

#[test]
fn a_ledger_that_was_closed_is_read_and_stays_as_it_is() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    story(&store);
    let size = store.verify().unwrap().size;
    drop(store);
    let before = files(directory.path());
    let seen = look(directory.path()).unwrap();
    assert_eq!(seen.entries(0, 1000).unwrap().len() as u64, size);
    assert_eq!(seen.grant_history(&Filter::default()).unwrap().len(), 1);
    seen.prove(1).unwrap();
    let refused = seen.submit_blocking(
        Actor::Node,
        Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() },
    );
    assert_eq!(refused.unwrap_err(), SubmitError::Failed(StoreError::ReadOnly));
    assert!(matches!(open(directory.path()), Err(StoreError::Locked { .. })), "nobody writes meanwhile");
    assert!(look(directory.path()).is_ok(), "others may look");
    drop(seen);
    assert_eq!(files(directory.path()), before);
}

#[test]
fn what_a_crash_left_in_the_log_is_read_and_stays_there() {
    let (directory, copy) = (scratch(), scratch());
    let copy = copy.path().join("a copy? 100%");
    std::fs::create_dir(&copy).unwrap();
    let store = open(directory.path()).unwrap();
    story(&store);
    // What a crash leaves is what is on disk before anything is closed.
    for (path, bytes) in files(directory.path()) {
        let name = path.file_name().unwrap();
        if name != "ledger.lock" {
            std::fs::write(copy.join(name), bytes).unwrap();
        }
    }
    let size = store.verify().unwrap().size;
    assert!(matches!(look(directory.path()), Err(StoreError::Locked { .. })), "not beside a writer");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o500)).unwrap();
    let before = files(&copy);
    let seen = look(&copy).unwrap();
    assert_eq!(seen.verify().unwrap().size, size);
    drop(seen);
    assert_eq!(files(&copy), before);
}

#[test]
fn damage_is_found_as_at_a_start_and_nothing_is_made_where_nothing_is() {
    let directory = scratch();
    assert!(look(directory.path()).is_err());
    assert_eq!(files(directory.path()).len(), 0);
    let store = open(directory.path()).unwrap();
    story(&store);
    drop(store);
    let connection = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    connection.execute("DELETE FROM entries WHERE seq = 3", []).unwrap();
    drop(connection);
    assert!(matches!(look(directory.path()), Err(StoreError::EntryMissing { seq: 3 })));
}
