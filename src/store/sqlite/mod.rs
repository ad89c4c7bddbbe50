//! The embedded backend: SQLite in WAL mode, one writing connection, readers beside it.
//!
//! `synchronous=FULL` makes every commit one sync of the write-ahead log; readers see a consistent moment and never
//! wait for the writer. The tables are in `schema.sql`. No SQL text is ever built from data. Read next: `write.rs`.

mod derived;
mod failure;
mod look;
mod read;
mod upkeep;
mod write;

pub(super) use look::look;
pub(super) use write::Sqlite;

use failure::failure;

/// The layout of `schema.sql` with all its successors, kept in the database's `user_version`.
const LAYOUT: i64 = 3;
/// Marks the file as ours, in the database's `application_id`: "Pstn".
const APPLICATION: i64 = 0x5073_746e;
