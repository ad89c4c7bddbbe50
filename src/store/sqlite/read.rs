//! A reading connection: entries, hashes, live rows, and history by filter.
//!
//! Conditions are chosen from fixed texts, values are always bound. Read next: `schema.sql`.

use std::collections::BTreeSet;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde::de::DeserializeOwned;

use super::{derived, failure};
use crate::access::Recording;
use crate::ledger::TreeHash;
use crate::ledger::entry::RewrapFacts;
use crate::model::{SessionId, Timestamp};
use crate::store::backend::{
    Filter, GrantRecord, Live, Reader, RequestRecord, Scratch, SessionRecord, StoredEntry, StoredRecord,
    TableDigest,
};
use crate::store::error::BackendError;

/// A connection that only reads.
pub(super) struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The rows of a statement that gives one text column, read as JSON.
    fn bodies<T: DeserializeOwned>(
        &self,
        table: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<T>, BackendError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
            rows.collect()
        };
        let texts = read().map_err(|e| failure(&e))?;
        texts.iter().map(|text| parse(table, text)).collect()
    }

    fn dated<T: DeserializeOwned>(
        &self,
        table: &'static str,
        filter: &Filter,
    ) -> Result<Vec<T>, BackendError> {
        let (conditions, mut values) = conditions(filter);
        let sql = format!("SELECT body FROM {table} WHERE {conditions} ORDER BY at DESC, id LIMIT ?");
        values.push(Value::Integer(i64::from(filter.limit())));
        self.bodies(table, &sql, values)
    }
}

impl Reader for SqliteReader {
    fn freeze(&self) -> Result<(), BackendError> {
        // One that could not be ended must not keep every later reader from beginning.
        self.thaw()?;
        self.connection.execute_batch("BEGIN").map_err(|e| failure(&e))
    }

    fn thaw(&self) -> Result<(), BackendError> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").map_err(|e| failure(&e))
    }

    fn head(&self) -> Result<Option<String>, BackendError> {
        let sql = "SELECT note FROM heads WHERE id = 1";
        self.connection.query_row(sql, [], |row| row.get(0)).optional().map_err(|e| failure(&e))
    }

    fn entries(&self, from: u64, most: u64) -> Result<Vec<StoredEntry>, BackendError> {
        let read = || -> rusqlite::Result<Vec<Result<StoredEntry, BackendError>>> {
            let sql = "SELECT seq, leaf, bytes FROM entries WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![signed(from), signed(most)], |row| {
                // Whatever its declared type: what an edit left there must reach the check of hashes.
                Ok(entry(row.get(0)?, bytes(row.get_ref(1)?)?, bytes(row.get_ref(2)?)?))
            })?;
            rows.collect()
        };
        read().map_err(|e| failure(&e))?.into_iter().collect()
    }

    fn hashes(&self, level: u8, first: u64, most: u64) -> Result<Vec<TreeHash>, BackendError> {
        let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
            if level == 0 {
                let sql = "SELECT leaf FROM entries WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
                let mut statement = self.connection.prepare_cached(sql)?;
                let rows = statement.query_map(params![signed(first), signed(most)], |row| row.get(0))?;
                rows.collect()
            } else {
                let sql = "SELECT hash FROM nodes WHERE level = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3";
                let mut statement = self.connection.prepare_cached(sql)?;
                let rows =
                    statement.query_map(params![level, signed(first), signed(most)], |row| row.get(0))?;
                rows.collect()
            }
        };
        read().map_err(|e| failure(&e))?.into_iter().map(|bytes| hash("nodes", bytes)).collect()
    }

    fn live(&self) -> Result<Live, BackendError> {
        let requests: Vec<RequestRecord> =
            self.bodies("requests", "SELECT body FROM requests WHERE live = 1 ORDER BY id", Vec::new())?;
        let grants: Vec<GrantRecord> =
            self.bodies("grants", "SELECT body FROM grants WHERE live = 1 ORDER BY id", Vec::new())?;
        let sessions: Vec<SessionRecord> =
            self.bodies("sessions", "SELECT body FROM sessions WHERE live = 1 ORDER BY id", Vec::new())?;
        let mut nodes = self.bodies("node", "SELECT body FROM node", Vec::new())?;
        Ok(Live {
            node: nodes.pop().unwrap_or_default(),
            people: self.bodies("people", "SELECT body FROM people ORDER BY id", Vec::new())?,
            targets: self.bodies("targets", "SELECT body FROM targets ORDER BY id", Vec::new())?,
            requests: requests.into_iter().map(|record| record.request).collect(),
            grants: grants.into_iter().map(|record| record.grant).collect(),
            sessions: sessions.into_iter().map(|record| record.session).collect(),
            left_over: self.left_over()?,
        })
    }

    fn requests(&self, filter: &Filter) -> Result<Vec<RequestRecord>, BackendError> {
        self.dated("requests", filter)
    }

    fn grants(&self, filter: &Filter) -> Result<Vec<GrantRecord>, BackendError> {
        self.dated("grants", filter)
    }

    fn sessions(&self, filter: &Filter) -> Result<Vec<SessionRecord>, BackendError> {
        self.dated("sessions", filter)
    }

    fn recording(&self, session: &SessionId) -> Result<Option<Recording>, BackendError> {
        let sql = "SELECT body FROM recordings WHERE session = ?";
        Ok(self.bodies("recordings", sql, vec![Value::Text(session.to_string())])?.pop())
    }

    fn rewrapped(&self, session: &SessionId) -> Result<Option<RewrapFacts>, BackendError> {
        let sql = "SELECT body FROM rewrapped WHERE session = ?";
        Ok(self.bodies("rewrapped", sql, vec![Value::Text(session.to_string())])?.pop())
    }

    fn stored(&self, session: &SessionId) -> Result<Option<StoredRecord>, BackendError> {
        let sql = "SELECT body FROM stored WHERE session = ?";
        Ok(self.bodies("stored", sql, vec![Value::Text(session.to_string())])?.pop())
    }

    fn integrity(&self) -> Result<(), BackendError> {
        let sql = "PRAGMA integrity_check(1)";
        let found: String = self.connection.query_row(sql, [], |row| row.get(0)).map_err(|e| failure(&e))?;
        if found == "ok" { Ok(()) } else { Err(BackendError::Damaged(found)) }
    }

    fn tables(&self) -> Result<Vec<TableDigest>, BackendError> {
        derived::tables(&self.connection)
    }

    fn scratch(&self) -> Result<Box<dyn Scratch>, BackendError> {
        Ok(Box::new(derived::InMemory::new()?))
    }
}

impl SqliteReader {
    fn left_over(&self) -> Result<Vec<(SessionId, BTreeSet<String>)>, BackendError> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let sql = "SELECT session, body FROM left_over ORDER BY session";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let item = |(session, body): (String, String)| {
            let session = session.parse().map_err(|e| wrong("left_over", &e))?;
            Ok((session, parse("left_over", &body)?))
        };
        read().map_err(|e| failure(&e))?.into_iter().map(item).collect()
    }
}

/// The conditions of a filter as one SQL expression with `?` for each of the values.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let mut parts = vec!["1 = 1"];
    let mut values = Vec::new();
    if let Some(prefix) = &filter.id_prefix {
        // '{' follows 'z', the highest character an id can have.
        parts.push("id >= ? AND id < ?");
        values.extend([Value::Text(prefix.clone()), Value::Text(format!("{prefix}{{"))]);
    }
    if let Some(person) = &filter.person {
        parts.push("person = ?");
        values.push(Value::Text(person.to_string()));
    }
    if let Some(target) = &filter.target {
        parts.push("target = ?");
        values.push(Value::Text(target.to_string()));
    }
    if filter.live_only {
        parts.push("live = 1");
    }
    if filter.kept_only {
        parts.push("id NOT IN (SELECT session FROM recordings WHERE deleted = 1)");
    }
    for (bound, condition) in [(filter.from, "at >= ?"), (filter.before, "at < ?")] {
        if let Some(at) = bound {
            parts.push(condition);
            values.push(Value::Integer(Timestamp::as_microsecond(at)));
        }
    }
    if let Some((at, id)) = &filter.after {
        parts.push("(at < ? OR (at = ? AND id > ?))");
        let at = Value::Integer(at.as_microsecond());
        values.extend([at.clone(), at, Value::Text(id.clone())]);
    }
    (parts.join(" AND "), values)
}

fn bytes(value: ValueRef<'_>) -> rusqlite::Result<Vec<u8>> {
    Ok(value.as_bytes().map(<[u8]>::to_vec)?)
}

fn entry(seq: i64, leaf: Vec<u8>, bytes: Vec<u8>) -> Result<StoredEntry, BackendError> {
    let seq = u64::try_from(seq).map_err(|e| wrong("entries", &e))?;
    Ok(StoredEntry { seq, leaf: hash("entries", leaf)?, bytes })
}

fn parse<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, BackendError> {
    serde_json::from_str(text).map_err(|e| wrong(table, &e))
}

fn hash(table: &'static str, bytes: Vec<u8>) -> Result<TreeHash, BackendError> {
    let bytes = bytes.try_into().map_err(|_| wrong(table, &"a hash is not 32 bytes long"))?;
    Ok(TreeHash::from_bytes(bytes))
}

fn wrong(table: &'static str, cause: &impl ToString) -> BackendError {
    BackendError::Row { table, cause: cause.to_string() }
}

/// SQLite counts to 2^63; nothing is beyond.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
