//! The writing connection: opens or makes the database, and commits batches.
//!
//! Read next: `read.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::read::SqliteReader;
use super::upkeep::Upkeep;
use super::{APPLICATION, LAYOUT, failure};
use crate::access::Person;
use crate::ledger::TileNode;
use crate::model::Timestamp;
use crate::store::backend::{Backend, Batch, Reader, Row, StoredEntry};
use crate::store::error::BackendError;

/// How long a connection waits for another's lock: only a backup tool can hold one that long.
const BUSY: Duration = Duration::from_secs(5);
/// Statements kept prepared.
const PREPARED: usize = 64;

/// Pages in the write-ahead log at which a commit moves them itself.
const LONGEST_LOG: u32 = 8192;

/// Tables that are made from the entries.
const EMPTY_DERIVED: &str = "DELETE FROM nodes; DELETE FROM node; DELETE FROM people; DELETE FROM identities; \
     DELETE FROM targets; DELETE FROM requests; DELETE FROM grants; DELETE FROM sessions; DELETE FROM left_over; \
     DELETE FROM stored; DELETE FROM recordings; DELETE FROM rewrapped;";

/// What each layout after the first has beside its predecessors.
pub(super) const LATER_LAYOUTS: [(i64, &str); 2] =
    [(2, include_str!("schema_2.sql")), (3, include_str!("schema_3.sql"))];

/// A ledger in one SQLite file.
pub(in crate::store) struct Sqlite {
    path: PathBuf,
    connection: Connection,
    /// `None` while closing.
    upkeep: Option<Upkeep>,
}

impl Sqlite {
    /// Opens the file, which may be empty.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, BackendError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut store = Self { path: path.to_owned(), connection, upkeep: None };
        store.prepare().map_err(|e| failure(&e))??;
        store.upkeep = Some(Upkeep::start(path, connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?);
        Ok(store)
    }

    fn prepare(&mut self) -> rusqlite::Result<Result<(), BackendError>> {
        let connection = &mut self.connection;
        let (tables, layout) = match tables_of(connection)? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Only if upkeep cannot keep up.
        connection.pragma_update(None, "wal_autocheckpoint", LONGEST_LOG)?;
        if tables == 0 || layout < LAYOUT {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if tables == 0 {
                transaction.execute_batch(include_str!("schema.sql"))?;
            }
            // Empty in an older ledger, which has no entry of what they hold.
            for (number, tables) in LATER_LAYOUTS {
                if layout < number {
                    transaction.execute_batch(tables)?;
                }
            }
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
            transaction.commit()?;
        }
        Ok(Ok(()))
    }
}

impl Backend for Sqlite {
    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        let rows = batch.rows.iter().map(Written::of).collect::<Result<Vec<_>, _>>()?;
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            put_entries(&transaction, &batch.entries)?;
            put_nodes(&transaction, &batch.nodes)?;
            rows.iter().try_for_each(|row| row.put(&transaction))?;
            transaction
                .prepare_cached(
                    "INSERT INTO heads (id, note) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET note = ?1",
                )?
                .execute([&batch.head])?;
            transaction.commit()
        };
        write(&mut self.connection).map_err(|e| failure(&e))?;
        self.upkeep.iter_mut().for_each(Upkeep::committed);
        Ok(())
    }

    fn replace_derived(&mut self, nodes: &[TileNode], rows: &[Row]) -> Result<(), BackendError> {
        let rows = rows.iter().map(Written::of).collect::<Result<Vec<_>, _>>()?;
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(EMPTY_DERIVED)?;
            put_nodes(&transaction, nodes)?;
            rows.iter().try_for_each(|row| row.put(&transaction))?;
            transaction.commit()
        };
        write(&mut self.connection).map_err(|e| failure(&e))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BackendError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Box::new(SqliteReader::new(connection)))
    }
}

impl Drop for Sqlite {
    /// Leaves one file behind: what a copy of the database alone would lack is moved into it.
    fn drop(&mut self) {
        self.upkeep = None;
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the ledger's write-ahead log stays beside the database");
        }
    }
}

/// How many tables and indexes a database has, and its layout, if it is ours and not from a newer program.
pub(super) fn tables_of(connection: &Connection) -> rusqlite::Result<Result<(i64, i64), BackendError>> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, found) = (number("application_id")?, number("user_version")?);
    if found > LAYOUT {
        return Ok(Err(BackendError::Newer { found, known: LAYOUT }));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        return Ok(Err(BackendError::Damaged("the file is another program's database".to_owned())));
    }
    Ok(Ok((tables, found)))
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, BackendError> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    open().map_err(|e| failure(&e))
}

fn put_entries(transaction: &Transaction<'_>, entries: &[StoredEntry]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO entries (seq, leaf, bytes) VALUES (?1, ?2, ?3)")?;
    for entry in entries {
        insert.execute(params![signed(entry.seq)?, entry.leaf.as_bytes(), entry.bytes])?;
    }
    Ok(())
}

/// Writes rows, in their order.
pub(super) fn put_rows(transaction: &Transaction<'_>, rows: &[Row]) -> Result<(), BackendError> {
    for row in rows {
        Written::of(row)?.put(transaction).map_err(|e| failure(&e))?;
    }
    Ok(())
}

pub(super) fn put_nodes(transaction: &Transaction<'_>, nodes: &[TileNode]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO nodes (level, idx, hash) VALUES (?1, ?2, ?3)")?;
    for node in nodes {
        insert.execute(params![node.level, signed(node.index)?, node.hash.as_bytes()])?;
    }
    Ok(())
}

/// A row with its body written out, so that nothing can fail for our reasons inside a transaction.
enum Written<'a> {
    /// A table of requests, grants or sessions: the statement, and the columns they share.
    Dated {
        sql: &'static str,
        id: &'a str,
        person: &'a str,
        target: &'a str,
        at: Timestamp,
        live: bool,
        body: String,
    },
    LeftOver {
        session: &'a str,
        body: Option<String>,
    },
    Node {
        body: String,
    },
    Recording {
        session: &'a str,
        deleted: bool,
        body: Option<String>,
    },
    Rewrapped {
        session: &'a str,
        body: String,
    },
    Stored {
        session: &'a str,
        body: String,
    },
    Person {
        person: &'a Person,
        body: String,
    },
    Target {
        id: &'a str,
        body: Option<String>,
    },
}

impl<'a> Written<'a> {
    fn of(row: &'a Row) -> Result<Self, BackendError> {
        Ok(match row {
            Row::Grant(record) => Self::Dated {
                sql: "INSERT OR REPLACE INTO grants (id, person, target, at, live, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                id: record.grant.facts.grant.as_str(),
                person: record.grant.facts.person.as_str(),
                target: record.grant.facts.target.as_str(),
                at: record.grant.issued,
                live: record.over.is_none(),
                body: json("grants", record)?,
            },
            Row::Request(record) => Self::Dated {
                sql: "INSERT OR REPLACE INTO requests (id, person, target, at, live, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                id: record.request.facts.request.as_str(),
                person: record.request.facts.person.as_str(),
                target: record.request.facts.target.as_str(),
                at: record.request.facts.asked,
                live: record.over.is_none(),
                body: json("requests", record)?,
            },
            Row::Session(record) => Self::Dated {
                sql: "INSERT OR REPLACE INTO sessions (id, person, target, at, live, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                id: record.session.facts.session.as_str(),
                person: record.session.facts.person.as_str(),
                target: record.session.facts.target.as_str(),
                at: record.session.started,
                live: record.end.is_none(),
                body: json("sessions", record)?,
            },
            Row::LeftOver(session, what) => {
                let body = (!what.is_empty()).then(|| json("left_over", what)).transpose()?;
                Self::LeftOver { session: session.as_str(), body }
            }
            Row::Recording(session, record) => {
                let body = record.as_ref().map(|record| json("recordings", record)).transpose()?;
                let deleted = record.as_ref().is_some_and(|record| record.deleted.is_some());
                Self::Recording { session: session.as_str(), deleted, body }
            }
            Row::Rewrapped(facts) => {
                Self::Rewrapped { session: facts.session.as_str(), body: json("rewrapped", facts)? }
            }
            Row::Stored(record) => {
                Self::Stored { session: record.facts.session.as_str(), body: json("stored", record)? }
            }
            Row::Node(node) => Self::Node { body: json("node", node)? },
            Row::Person(person) => Self::Person { body: json("people", person)?, person },
            Row::Target(target) => {
                Self::Target { id: target.name.as_str(), body: Some(json("targets", target)?) }
            }
            Row::TargetGone(name) => Self::Target { id: name.as_str(), body: None },
        })
    }

    fn put(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            transaction.prepare_cached(sql)?.execute(values).map(|_| ())
        };
        match self {
            Self::Dated { sql, id, person, target, at, live, body } => {
                run(sql, &[id, person, target, &at.as_microsecond(), live, body])
            }
            Self::LeftOver { session, body: Some(body) } => {
                run("INSERT OR REPLACE INTO left_over (session, body) VALUES (?1, ?2)", &[session, body])
            }
            Self::LeftOver { session, body: None } => {
                run("DELETE FROM left_over WHERE session = ?1", &[session])
            }
            Self::Recording { session, deleted, body: Some(body) } => run(
                "INSERT OR REPLACE INTO recordings (session, deleted, body) VALUES (?1, ?2, ?3)",
                &[session, deleted, body],
            ),
            Self::Recording { session, body: None, .. } => {
                run("DELETE FROM recordings WHERE session = ?1", &[session])
            }
            Self::Rewrapped { session, body } => {
                run("INSERT OR REPLACE INTO rewrapped (session, body) VALUES (?1, ?2)", &[session, body])
            }
            Self::Stored { session, body } => {
                run("INSERT OR REPLACE INTO stored (session, body) VALUES (?1, ?2)", &[session, body])
            }
            Self::Node { body } => run("INSERT OR REPLACE INTO node (id, body) VALUES (1, ?1)", &[body]),
            Self::Person { person, body } => {
                let id = person.facts.person.as_str();
                run(
                    "INSERT INTO people (id, name, body) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET body = ?3",
                    &[&id, &person.facts.name.as_str(), body],
                )?;
                run("DELETE FROM identities WHERE person = ?1", &[&id])?;
                person.links.iter().try_for_each(|link| {
                    run(
                        "INSERT INTO identities (issuer, subject, person, linked, unlinked) VALUES (?1, ?2, ?3, ?4, ?5)",
                        &[
                            &link.identity.issuer,
                            &link.identity.subject,
                            &id,
                            &link.linked.as_microsecond(),
                            &link.unlinked.map(Timestamp::as_microsecond),
                        ],
                    )
                })
            }
            Self::Target { id, body: Some(body) } => {
                run("INSERT OR REPLACE INTO targets (id, body) VALUES (?1, ?2)", &[id, body])
            }
            Self::Target { id, body: None } => run("DELETE FROM targets WHERE id = ?1", &[id]),
        }
    }
}

fn json(table: &'static str, value: &impl Serialize) -> Result<String, BackendError> {
    serde_json::to_string(value).map_err(|e| BackendError::Row { table, cause: e.to_string() })
}

fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
}
