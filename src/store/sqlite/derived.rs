//! What the derived tables must hold, made again in memory, and a digest of each to compare.
//!
//! The tables answer questions about the past; an edit there would be believed although every entry is whole. Digests
//! are over the rows' text, so a release that writes the same fact as another text must come with another layout
//! number and rebuild at its first start.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, TransactionBehavior};

use super::failure;
use super::write::{LATER_LAYOUTS, put_nodes, put_rows};
use crate::ledger::TileNode;
use crate::store::backend::{Row, Scratch, TableDigest};
use crate::store::error::BackendError;

/// Each derived table with a statement that gives all of it in one order, and the layout itself.
const TABLES: [(&str, &str); 13] = [
    (
        "layout",
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY type, name",
    ),
    ("nodes", "SELECT level, idx, hash FROM nodes ORDER BY level, idx"),
    ("node", "SELECT id, body FROM node ORDER BY id"),
    ("people", "SELECT id, name, body FROM people ORDER BY id"),
    (
        "identities",
        "SELECT issuer, subject, person, linked, unlinked FROM identities ORDER BY person, issuer, subject, linked",
    ),
    ("targets", "SELECT id, body FROM targets ORDER BY id"),
    ("requests", "SELECT id, person, target, at, live, body FROM requests ORDER BY id"),
    ("grants", "SELECT id, person, target, at, live, body FROM grants ORDER BY id"),
    ("sessions", "SELECT id, person, target, at, live, body FROM sessions ORDER BY id"),
    ("left_over", "SELECT session, body FROM left_over ORDER BY session"),
    ("recordings", "SELECT session, deleted, body FROM recordings ORDER BY session"),
    ("rewrapped", "SELECT session, body FROM rewrapped ORDER BY session"),
    ("stored", "SELECT session, body FROM stored ORDER BY session"),
];

/// The derived tables in memory.
pub(super) struct InMemory {
    connection: Connection,
}

impl InMemory {
    pub(super) fn new() -> Result<Self, BackendError> {
        let make = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_in_memory()?;
            connection.execute_batch(include_str!("schema.sql"))?;
            LATER_LAYOUTS.iter().try_for_each(|(_, tables)| connection.execute_batch(tables))?;
            Ok(connection)
        };
        Ok(Self { connection: make().map_err(|e| failure(&e))? })
    }
}

impl Scratch for InMemory {
    fn put(&mut self, nodes: &[TileNode], rows: &[Row]) -> Result<(), BackendError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| failure(&e))?;
        put_nodes(&transaction, nodes).map_err(|e| failure(&e))?;
        put_rows(&transaction, rows)?;
        transaction.commit().map_err(|e| failure(&e))
    }

    fn tables(&self) -> Result<Vec<TableDigest>, BackendError> {
        tables(&self.connection)
    }
}

/// The digest of every derived table.
pub(super) fn tables(connection: &Connection) -> Result<Vec<TableDigest>, BackendError> {
    TABLES
        .into_iter()
        .map(|(name, sql)| Ok((name, digest(connection, sql).map_err(|e| failure(&e))?)))
        .collect()
}

fn digest(connection: &Connection, sql: &str) -> rusqlite::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            let (kind, bytes): (u8, Vec<u8>) = match row.get_ref(column)? {
                ValueRef::Null => (0, Vec::new()),
                ValueRef::Integer(number) => (1, number.to_be_bytes().to_vec()),
                ValueRef::Real(number) => (2, number.to_be_bytes().to_vec()),
                ValueRef::Text(text) => (3, text.to_vec()),
                ValueRef::Blob(blob) => (4, blob.to_vec()),
            };
            context.update(&[kind]);
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(&bytes);
        }
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok(out)
}
