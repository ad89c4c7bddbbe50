//! What a database must do for the ledger: commit a batch whole or not at all, and give back what it was given.
//!
//! Two small traits. A backend decides nothing and derives nothing: rows come ready from `project.rs`. Every backend
//! passes `conformance.rs`. Read next: `sqlite/mod.rs`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::BackendError;
use crate::access::{Grant, GrantEnd, Node, Person, Recording, Request, RequestEnd, Session};
use crate::ledger::entry::{EndFacts, RewrapFacts, StoredFacts};
use crate::ledger::{TileNode, TreeHash};
use crate::model::{PersonId, SessionId, Target, TargetName, Timestamp};

/// The writing side; one per ledger.
pub(super) trait Backend: Send {
    /// Writes a batch in one transaction and makes it durable. After an error none of it is visible.
    fn commit(&mut self, batch: &Batch) -> Result<(), BackendError>;

    /// Replaces every row and inner hash that can be derived from the entries, in one transaction.
    fn replace_derived(&mut self, nodes: &[TileNode], rows: &[Row]) -> Result<(), BackendError>;

    /// A reader of its own connection, which never waits for the writer.
    fn reader(&self) -> Result<Box<dyn Reader>, BackendError>;
}

/// The reading side.
pub(super) trait Reader: Send {
    /// Everything read until [`Self::thaw`] is of one moment.
    fn freeze(&self) -> Result<(), BackendError>;
    /// Ends [`Self::freeze`].
    fn thaw(&self) -> Result<(), BackendError>;
    /// The signed head, once there is one.
    fn head(&self) -> Result<Option<String>, BackendError>;
    /// Entries from an index on, in order, at most `most`.
    fn entries(&self, from: u64, most: u64) -> Result<Vec<StoredEntry>, BackendError>;
    /// Hashes at a tile level (0: of leaves), from an index on, in order, at most `most`.
    fn hashes(&self, level: u8, first: u64, most: u64) -> Result<Vec<TreeHash>, BackendError>;
    /// The rows of what is so now.
    fn live(&self) -> Result<Live, BackendError>;
    /// Requests, newest first.
    fn requests(&self, filter: &Filter) -> Result<Vec<RequestRecord>, BackendError>;
    /// Grants, newest first.
    fn grants(&self, filter: &Filter) -> Result<Vec<GrantRecord>, BackendError>;
    /// Sessions, newest first.
    fn sessions(&self, filter: &Filter) -> Result<Vec<SessionRecord>, BackendError>;
    /// What was decided about a session's recording, if something was.
    fn recording(&self, session: &SessionId) -> Result<Option<Recording>, BackendError>;
    /// Where a session's recording was moved to, if it was.
    fn rewrapped(&self, session: &SessionId) -> Result<Option<RewrapFacts>, BackendError>;
    fn stored(&self, session: &SessionId) -> Result<Option<StoredRecord>, BackendError>;
    /// Checks the database's own structure, which can take long.
    fn integrity(&self) -> Result<(), BackendError>;
    /// A digest of every derived table, history included, and of the layout.
    fn tables(&self) -> Result<Vec<TableDigest>, BackendError>;
    /// The same tables, empty and nobody else's, to make the digests that should be.
    fn scratch(&self) -> Result<Box<dyn Scratch>, BackendError>;
}

/// A table's name and a digest of everything in it.
pub(super) type TableDigest = (&'static str, [u8; 32]);

/// Derived tables that are made again only to be compared.
pub(super) trait Scratch {
    /// Writes inner hashes, and rows in their order.
    fn put(&mut self, nodes: &[TileNode], rows: &[Row]) -> Result<(), BackendError>;
    /// As [`Reader::tables`].
    fn tables(&self) -> Result<Vec<TableDigest>, BackendError>;
}

/// Everything one transaction writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<StoredEntry>,
    pub(super) nodes: Vec<TileNode>,
    pub(super) rows: Vec<Row>,
    /// The signed checkpoint over everything up to and with `entries`.
    pub(super) head: String,
}

/// An entry as it lies in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index.
    pub seq: u64,
    /// Its leaf hash as stored.
    pub leaf: TreeHash,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// One row to write, replacing the one of the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Grant(Box<GrantRecord>),
    /// What is left to clean after a session; none deletes the row.
    LeftOver(SessionId, BTreeSet<String>),
    Node(Box<Node>),
    Person(Box<Person>),
    /// What was decided about a recording; none deletes the row.
    Recording(SessionId, Option<Box<Recording>>),
    Request(Box<RequestRecord>),
    Session(Box<SessionRecord>),
    Rewrapped(Box<RewrapFacts>),
    Stored(Box<StoredRecord>),
    Target(Box<Target>),
    TargetGone(TargetName),
}

/// The rows of what is so now: what [`crate::access::State`] is put together from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) node: Node,
    pub(super) people: Vec<Person>,
    pub(super) targets: Vec<Target>,
    pub(super) requests: Vec<Request>,
    pub(super) grants: Vec<Grant>,
    pub(super) sessions: Vec<Session>,
    pub(super) left_over: Vec<(SessionId, BTreeSet<String>)>,
}

/// A request, open or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The request, with the approvals it had last.
    pub request: Request,
    /// How and when it ended, once it has.
    pub over: Option<(RequestEnd, Timestamp)>,
}

/// A grant, in force or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The grant.
    pub grant: Grant,
    /// How and when it ended, once it has.
    pub over: Option<(GrantEnd, Timestamp)>,
}

/// A session, live or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session.
    pub session: Session,
    /// How it ended, once it has.
    pub end: Option<SessionEnd>,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// With its receipt.
    pub facts: EndFacts,
    /// When the entry was appended.
    pub at: Timestamp,
    /// The entry.
    pub seq: u64,
}

/// A recording that was moved to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// Where it is.
    pub facts: StoredFacts,
    /// Since when.
    pub at: Timestamp,
}

/// Which requests, grants or sessions are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Ids that begin with this.
    pub id_prefix: Option<String>,
    /// Of this person.
    pub person: Option<PersonId>,
    /// On this target.
    pub target: Option<TargetName>,
    /// Only those not over.
    pub live_only: bool,
    /// Only those whose recording is not deleted; of sessions.
    pub kept_only: bool,
    /// Asked, issued or started at or after this.
    pub from: Option<Timestamp>,
    /// Asked, issued or started before this.
    pub before: Option<Timestamp>,
    /// Only what the list has after the row of this time and id: many rows may share a time.
    pub after: Option<(Timestamp, String)>,
    /// At most so many; 0 stands for [`Self::MOST`].
    pub most: u32,
}

impl Filter {
    /// The most any query gives back.
    pub const MOST: u32 = 1000;

    /// Everything whose id begins with a text, for unique prefixes.
    #[must_use]
    pub fn by_prefix(prefix: &str) -> Self {
        Self { id_prefix: Some(prefix.to_owned()), ..Self::default() }
    }

    pub(super) fn limit(&self) -> u32 {
        if self.most == 0 { Self::MOST } else { self.most.min(Self::MOST) }
    }
}
