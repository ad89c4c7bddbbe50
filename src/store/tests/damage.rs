//! Everything that can be done to the database behind the store's back, each noticed with its own error.
//!
//! Nothing here may be noticed late or mended silently: a store that cannot vouch for its past does not open.

use super::*;

#[test]
fn each_kind_of_damage_has_its_own_error() {
    type IsIt = fn(&StoreError) -> bool;
    let damages: [(&str, IsIt); 10] = [
        ("UPDATE entries SET bytes = replace(bytes, 'erin', 'evil') WHERE seq = 1", |e| {
            matches!(e, StoreError::EntryEdited { seq: 1 })
        }),
        ("DELETE FROM entries WHERE seq = 3", |e| matches!(e, StoreError::EntryMissing { seq: 3 })),
        ("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)", |e| {
            matches!(e, StoreError::EntryMissing { .. })
        }),
        ("DELETE FROM heads", |e| matches!(e, StoreError::HeadMissing)),
        ("UPDATE heads SET note = replace(note, 'gate', 'gete')", |e| matches!(e, StoreError::Checkpoint(_))),
        ("UPDATE people SET body = replace(body, 'operator', 'approver')", |e| {
            matches!(e, StoreError::ProjectionEdited { table: "people" })
        }),
        ("UPDATE grants SET body = replace(body, '3600', '9600')", |e| {
            matches!(e, StoreError::ProjectionEdited { table: "grants" })
        }),
        ("DELETE FROM targets", |e| matches!(e, StoreError::ProjectionEdited { table: "targets" })),
        ("INSERT INTO nodes VALUES (5, 0, zeroblob(32))", |e| matches!(e, StoreError::TreeEdited)),
        ("UPDATE people SET body = '{'", |e| {
            matches!(e, StoreError::Backend(BackendError::Row { table: "people", .. }))
        }),
    ];
    for (sql, is_it) in damages {
        let directory = scratch();
        let store = open(directory.path()).unwrap();
        story(&store);
        drop(store);
        let connection = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
        drop(connection);
        let error = open(directory.path()).err().unwrap();
        assert!(is_it(&error), "{sql}: {error:?}");
        if matches!(
            error,
            StoreError::ProjectionEdited { .. }
                | StoreError::TreeEdited
                | StoreError::Backend(BackendError::Row { .. })
        ) {
            Store::rebuild(directory.path(), signer().as_ref(), ORIGIN).unwrap();
            open(directory.path()).unwrap().verify().unwrap();
        }
    }
}

#[test]
fn a_rewritten_entry_with_its_hash_is_noticed_by_the_signature() {
    let directory = scratch();
    let store = open(directory.path()).unwrap();
    story(&store);
    let mut entry = store.entries(1, 1).unwrap().remove(0);
    drop(store);
    entry.at = at(0);
    let bytes = entry.canonical().unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    let leaf = TreeHash::leaf(&bytes);
    let values = rusqlite::params![leaf.as_bytes(), bytes];
    connection.execute("UPDATE entries SET leaf = ?1, bytes = ?2 WHERE seq = 1", values).unwrap();
    drop(connection);
    assert!(matches!(open(directory.path()), Err(StoreError::RootDiffers)));
}

#[test]
fn an_older_database_put_back_is_noticed() {
    let directory = scratch();
    let database = directory.path().join("ledger.db");
    let store = open(directory.path()).unwrap();
    story(&store);
    drop(store);
    let backup = std::fs::read(&database).unwrap();
    let store = open(directory.path()).unwrap();
    store
        .submit_blocking(
            Actor::Node,
            Command::LoadPolicy { hash: "aa".to_owned(), rules: crate::model::PolicyChanges::default() },
        )
        .unwrap();
    drop(store);
    std::fs::write(&database, backup).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::RolledBack { found, signed } if signed == found + 1), "{error:?}");
}

#[test]
fn a_damaged_file_a_foreign_file_and_a_foreign_key_are_told_apart() {
    let directory = scratch();
    let database = directory.path().join("ledger.db");
    std::fs::write(&database, vec![7; 8192]).unwrap();
    assert!(matches!(open(directory.path()), Err(StoreError::Backend(BackendError::Damaged(_)))));

    let directory = scratch();
    let foreign = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    foreign.execute_batch("CREATE TABLE somebody_elses (x)").unwrap();
    drop(foreign);
    assert!(matches!(open(directory.path()), Err(StoreError::Backend(BackendError::Damaged(_)))));

    let directory = scratch();
    drop(open(directory.path()).unwrap());
    let other: Arc<dyn Signer> = Arc::new(SigningKey::from_seed(&Secret::new([2; 32])).unwrap());
    let opened = Store::open(directory.path(), other, ORIGIN, Clock::system());
    assert!(matches!(opened, Err(StoreError::Checkpoint(_))));

    let newer = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(
        open(directory.path()),
        Err(StoreError::Backend(BackendError::Newer { found: 99, known: 3 }))
    ));
}

#[test]
fn the_past_cannot_be_edited_in_the_tables_either() {
    let damages = [
        ("UPDATE sessions SET body = replace(body, 'web-1', 'web-2') WHERE live = 0", "sessions"),
        ("UPDATE sessions SET target = 'web-2'", "sessions"),
        ("UPDATE sessions SET body = replace(body, 'grant_revoked', 'client_left')", "sessions"),
        ("DELETE FROM sessions", "sessions"),
        ("UPDATE requests SET body = replace(body, 'full', 'fine')", "requests"),
        ("DELETE FROM identities", "identities"),
        ("DELETE FROM recordings", "recordings"),
        ("UPDATE recordings SET deleted = 1", "recordings"),
        ("UPDATE people SET name = 'eve' WHERE name = 'erin'", "people"),
        ("CREATE TRIGGER sly AFTER INSERT ON entries BEGIN DELETE FROM identities; END", "layout"),
        ("CREATE VIEW sly AS SELECT * FROM people", "layout"),
    ];
    for (sql, table) in damages {
        let directory = scratch();
        let store = open(directory.path()).unwrap();
        let story = story(&store);
        store.submit_blocking(story.erin.1.clone(), start(&story, 0)).unwrap();
        store.submit_blocking(Actor::Node, end(0, EndReason::GrantRevoked)).unwrap();
        let held = Command::HoldRecording { session: id("ses_", 0), reason: "a matter".to_owned() };
        store.submit_blocking(Actor::Operator, held).unwrap();
        drop(store);
        drop(open(directory.path()).unwrap());
        let connection = rusqlite::Connection::open(directory.path().join("ledger.db")).unwrap();
        connection.execute(sql, []).unwrap();
        drop(connection);
        let error = open(directory.path()).err().unwrap();
        if let StoreError::ProjectionEdited { table: named } = &error {
            assert_eq!(*named, table, "{sql}");
            Store::rebuild(directory.path(), signer().as_ref(), ORIGIN).unwrap();
            drop(open(directory.path()).unwrap());
        } else {
            let is_layout = matches!(error, StoreError::Backend(BackendError::Damaged(_)));
            assert!(is_layout && table == "layout", "{sql}: {error:?}");
        }
    }
}
