//! Is the ledger whole? Every entry is read, hashed, replayed, and compared with what the node signed.
//!
//! Done at every start and by `postern ledger verify`. Each way of tampering ends in its own error: an entry edited, an
//! entry deleted, the whole rewritten, the database rolled back, a table row edited. Read next: `error.rs`.

use super::backend::{Live, Reader, Row, TableDigest};
use super::error::{BackendError, StoreError};
use super::project;
use crate::access::{self, State};
use crate::ledger::entry::Entry;
use crate::ledger::{Checkpoint, Frontier, TileNode, TreeHash, VerifierKey};
use crate::model::Timestamp;

/// Rows put into the scratch tables at a time.
const ROWS: usize = 4096;
/// Entries read at a time.
const PAGE: u64 = 1024;

/// A ledger found whole.
#[derive(Debug, Clone)]
pub struct Checked {
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// The signed checkpoint that says so; none for an empty ledger.
    pub checkpoint: Option<String>,
}

/// What replaying every entry gives.
pub(super) struct Replayed {
    pub(super) frontier: Frontier,
    pub(super) state: State,
    pub(super) last: Timestamp,
    pub(super) head: Option<String>,
}

impl Replayed {
    pub(super) fn checked(&self) -> Checked {
        Checked { size: self.frontier.size(), root: self.frontier.root(), checkpoint: self.head.clone() }
    }
}

/// Reads and replays every entry, and checks them against the signed head. `each` sees what every entry makes of the
/// tree and the tables.
pub(super) fn replay(
    reader: &dyn Reader,
    key: &VerifierKey,
    mut each: impl FnMut(Vec<TileNode>, Vec<Row>),
) -> Result<Replayed, StoreError> {
    let head = reader.head()?;
    let signed = head.as_deref().map(|note| Checkpoint::open(note, key)).transpose()?;
    let size = signed.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let mut found =
        Replayed { frontier: Frontier::default(), state: State::default(), last: Timestamp::MIN, head };
    loop {
        let page = reader.entries(found.frontier.size(), PAGE)?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            let seq = found.frontier.size();
            if stored.seq != seq {
                return Err(StoreError::EntryMissing { seq });
            }
            if signed.is_none() {
                return Err(StoreError::HeadMissing);
            }
            if TreeHash::leaf(&stored.bytes) != stored.leaf {
                return Err(StoreError::EntryEdited { seq });
            }
            let entry = Entry::parse(seq, &stored.bytes)?;
            let effects = access::apply(&mut found.state, &entry);
            let nodes = found.frontier.push(stored.leaf);
            each(nodes, project::rows(&found.state, &entry, &effects));
            found.last = entry.at;
        }
    }
    if found.frontier.size() < size {
        return Err(StoreError::EntryMissing { seq: found.frontier.size() });
    }
    if signed.is_some_and(|checkpoint| {
        checkpoint.size != found.frontier.size() || checkpoint.root != found.frontier.root()
    }) {
        return Err(StoreError::RootDiffers);
    }
    Ok(found)
}

/// Reads everything there is and compares it with everything it should be.
pub(super) fn whole(reader: &dyn Reader, key: &VerifierKey) -> Result<Replayed, StoreError> {
    let (mut nodes, mut rows): (Vec<_>, Vec<Row>) = (Vec::new(), Vec::new());
    let (mut scratch, mut made) = (reader.scratch()?, Ok(()));
    let found = replay(reader, key, |more_nodes, more_rows| {
        nodes.extend(more_nodes);
        rows.extend(more_rows);
        if rows.len() >= ROWS && made.is_ok() {
            made = scratch.put(&nodes, &rows);
            nodes.clear();
            rows.clear();
        }
    })?;
    made.and_then(|()| scratch.put(&nodes, &rows))?;
    tables_are(&reader.live()?, &found.state)?;
    history_is(&reader.tables()?, &scratch.tables()?)?;
    Ok(found)
}

/// Whether the database is at least as new as the head noted beside it, and continues it.
pub(super) fn not_rolled_back(
    reader: &dyn Reader,
    key: &VerifierKey,
    found: &Replayed,
    noted: Option<&str>,
) -> Result<(), StoreError> {
    let Some(noted) = noted else { return Ok(()) };
    let noted = Checkpoint::open(noted, key)?;
    if noted.size > found.frontier.size() {
        return Err(StoreError::RolledBack { found: found.frontier.size(), signed: noted.size });
    }
    let mut then = Frontier::default();
    while then.size() < noted.size {
        let leaves = reader.hashes(0, then.size(), PAGE.min(noted.size - then.size()))?;
        if leaves.is_empty() {
            return Err(StoreError::EntryMissing { seq: then.size() });
        }
        for leaf in leaves {
            then.push(leaf);
        }
    }
    if then.root() == noted.root { Ok(()) } else { Err(StoreError::RootDiffers) }
}

/// Compares what the tables say of the past, which no state holds any more, and how the database is laid out.
fn history_is(found: &[TableDigest], expected: &[TableDigest]) -> Result<(), StoreError> {
    match found.iter().zip(expected).find(|(found, expected)| found != expected) {
        None => Ok(()),
        Some((("layout", _), _)) => Err(StoreError::Backend(BackendError::Damaged(
            "it has a table, index, trigger or view that this program did not make".to_owned(),
        ))),
        Some((("nodes", _), _)) => Err(StoreError::TreeEdited),
        Some(((table, _), _)) => Err(StoreError::ProjectionEdited { table }),
    }
}

/// Compares table by table, so that the error can say which.
fn tables_are(live: &Live, state: &State) -> Result<(), StoreError> {
    let edited = |table| Err(StoreError::ProjectionEdited { table });
    if live.node != *state.node() {
        return edited("node facts");
    }
    if !live.people.iter().eq(state.people()) {
        return edited("people");
    }
    if !live.targets.iter().eq(state.targets()) {
        return edited("targets");
    }
    if !live.requests.iter().eq(state.requests()) {
        return edited("requests");
    }
    if !live.grants.iter().eq(state.grants()) {
        return edited("grants");
    }
    if !live.sessions.iter().eq(state.sessions()) {
        return edited("sessions");
    }
    if !live.left_over.iter().map(|(session, what)| (session, what)).eq(state.left_over()) {
        return edited("what is left over");
    }
    Ok(())
}
