//! Questions about the past: entries by index, and requests, grants and sessions also when they are over.
//!
//! These read the database and may take milliseconds; in async code, call them through `spawn_blocking`. Read next:
//! `store.rs`.

use super::backend::{Filter, GrantRecord, Reader, RequestRecord, SessionRecord, StoredEntry, StoredRecord};
use super::error::{BackendError, StoreError};
use super::store::Store;
use crate::access::Recording;
use crate::ledger::entry::{Entry, RewrapFacts};
use crate::ledger::{Checkpoint, HashSource, ProofError, TreeHash, consistency_proof, inclusion_proof};
use crate::model::{SessionId, Timestamp};

/// Most entries in one page.
const PAGE: u64 = 1000;
/// Entries read at once of those that share a time, which are few.
const GROUP: u64 = 32;

/// An entry, and the proof that it is in the ledger under a signed checkpoint.
#[derive(Debug, Clone)]
pub struct EntryProof {
    /// The entry as stored: its bytes are what is hashed.
    pub entry: StoredEntry,
    /// The inclusion proof (RFC 6962), from the leaf up.
    pub proof: Vec<TreeHash>,
    /// The signed checkpoint it leads to.
    pub checkpoint: String,
}

impl Store {
    /// Entries from an index on, at most `most` (and never more than a thousand).
    ///
    /// # Errors
    /// When the database fails or an entry cannot be read.
    pub fn entries(&self, from: u64, most: u64) -> Result<Vec<Entry>, StoreError> {
        let stored = self.reader().entries(from, most.min(PAGE))?;
        stored.iter().map(|stored| Ok(Entry::parse(stored.seq, &stored.bytes)?)).collect()
    }

    /// Shows every entry appended at a time, in order. A ledger's times never go back, so they are found by halving.
    /// Others may ask between two steps.
    ///
    /// # Errors
    /// When the database fails or an entry cannot be read.
    pub fn entries_at(&self, at: Timestamp, mut see: impl FnMut(&Entry)) -> Result<(), StoreError> {
        let size = { self.head(self.reader().as_ref())?.1.size };
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entries(middle, 1)?.first().is_some_and(|entry| entry.at < at) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        loop {
            let page = self.entries(low, GROUP)?;
            page.iter().take_while(|entry| entry.at == at).for_each(&mut see);
            match page.last() {
                Some(last) if last.at == at => low = last.seq.saturating_add(1),
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The newest signed checkpoint.
    ///
    /// # Errors
    /// When the database fails.
    pub fn checkpoint(&self) -> Result<String, StoreError> {
        self.reader().head()?.ok_or(StoreError::HeadMissing)
    }

    /// The proof that an entry is in the ledger.
    ///
    /// # Errors
    /// When there is no such entry, or the database fails.
    pub fn prove(&self, seq: u64) -> Result<EntryProof, StoreError> {
        self.frozen(|reader| {
            let entry = reader.entries(seq, 1)?.into_iter().find(|entry| entry.seq == seq);
            let entry = entry.ok_or(StoreError::NotFound("such entry"))?;
            let (checkpoint, head) = self.head(reader)?;
            let proof = inclusion_proof(&Hashes(reader), seq, head.size).map_err(unproven)?;
            Ok(EntryProof { entry, proof, checkpoint })
        })
    }

    /// The proof that the ledger of today continues the one of `old` entries, with today's signed checkpoint.
    ///
    /// # Errors
    /// When the ledger never was that size, or the database fails.
    pub fn prove_consistency(&self, old: u64) -> Result<(Vec<TreeHash>, String), StoreError> {
        self.frozen(|reader| {
            let (checkpoint, head) = self.head(reader)?;
            let proof = consistency_proof(&Hashes(reader), old, head.size).map_err(unproven)?;
            Ok((proof, checkpoint))
        })
    }

    /// Requests, open and over, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn request_history(&self, filter: &Filter) -> Result<Vec<RequestRecord>, StoreError> {
        Ok(self.reader().requests(filter)?)
    }

    /// Grants, in force and over, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn grant_history(&self, filter: &Filter) -> Result<Vec<GrantRecord>, StoreError> {
        Ok(self.reader().grants(filter)?)
    }

    /// Sessions, live and over, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn session_history(&self, filter: &Filter) -> Result<Vec<SessionRecord>, StoreError> {
        Ok(self.reader().sessions(filter)?)
    }

    /// What was decided about a session's recording, if something was; also when nothing is left of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn recording(&self, session: &SessionId) -> Result<Option<Recording>, StoreError> {
        Ok(self.reader().recording(session)?)
    }

    /// A session's recording's key as it was last wrapped again, if it was.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rewrapped(&self, session: &SessionId) -> Result<Option<RewrapFacts>, StoreError> {
        Ok(self.reader().rewrapped(session)?)
    }

    /// Where a session's recording was moved to, if it was.
    ///
    /// # Errors
    /// When the database fails.
    pub fn stored(&self, session: &SessionId) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.reader().stored(session)?)
    }

    fn head(&self, reader: &dyn Reader) -> Result<(String, Checkpoint), StoreError> {
        let note = reader.head()?.ok_or(StoreError::HeadMissing)?;
        let head = Checkpoint::open(&note, self.checkpoint_key())?;
        Ok((note, head))
    }
}

struct Hashes<'a>(&'a dyn Reader);

impl HashSource for Hashes<'_> {
    type Error = BackendError;
    fn hashes(&self, level: u8, first: u64, count: u64) -> Result<Vec<TreeHash>, BackendError> {
        self.0.hashes(level, first, count)
    }
}

fn unproven(error: ProofError<BackendError>) -> StoreError {
    match error {
        ProofError::OutOfRange { .. } => StoreError::NotFound("tree of that size"),
        ProofError::Incomplete => StoreError::TreeEdited,
        ProofError::Source(error) => error.into(),
    }
}
