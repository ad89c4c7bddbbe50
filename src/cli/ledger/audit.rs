//! The ledger recomputed from its entries, and held against its signed checkpoint and against what was seen before.
//!
//! [`Auditor`] is the pure part: entries go in one by one, and at the end it says whether they are what the bastion
//! signed, and whether the ledger of last time is the beginning of this one. A bastion that was rolled back, or rewrote
//! something, cannot hide it from whoever asked before. Read next: `memory.rs`, which is what "before" is.

use serde::Deserialize;

use super::super::args::Invocation;
use super::super::client::Client;
use super::super::exit::CliError;
use super::super::progress;
use super::memory::{self, Memory, Remembered};
use crate::ledger::entry::{Entry, Fact};
use crate::ledger::{
    CanonicalError, Checkpoint, CheckpointError, Frontier, NoteError, TileNode, TreeHash, VerifierKey,
};

/// Entries asked for at once.
const PAGE: u64 = 1000;

/// Why a ledger cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// An entry cannot be hashed.
    #[error(transparent)]
    Entry(#[from] CanonicalError),
    /// The checkpoint does not hold.
    #[error("the checkpoint does not hold: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The first entry names no key, and none was given.
    #[error("the first entry names no key to check the ledger with: give one with --key")]
    NoKey,
    /// The key named is none.
    #[error("the ledger's key cannot be read: {0}")]
    BadKey(#[from] NoteError),
    /// An entry is not where it should be.
    #[error("entry {expected} is missing: entry {found} stands in its place")]
    Misplaced {
        /// The index due.
        expected: u64,
        /// The one found.
        found: u64,
    },
    /// Fewer entries than the checkpoint speaks of.
    #[error("the bastion signed {signed} entries and shows {found}: entries were taken away")]
    TooFew {
        /// The checkpoint's size.
        signed: u64,
        /// The entries there are.
        found: u64,
    },
    /// The entries are not those that were signed.
    #[error("the entries are not what the bastion signed: at least one was changed")]
    Changed,
    /// The ledger is shorter than it was.
    #[error(
        "the ledger was rolled back: it has {now} entries, and had {before} when you last looked ({root} signed)"
    )]
    RolledBack {
        /// Entries now.
        now: u64,
        /// Entries before.
        before: u64,
        /// The root that was signed then.
        root: TreeHash,
    },
    /// The ledger is not a continuation of what it was.
    #[error(
        "the ledger was rewritten: its first {size} entries are not those the bastion signed when you last looked"
    )]
    Rewritten {
        /// Entries before.
        size: u64,
    },
}

/// One entry on its way through an audit.
pub(crate) struct Step<'a> {
    pub(crate) entry: &'a Entry,
    /// Its canonical bytes.
    pub(crate) bytes: &'a [u8],
    /// Its leaf hash.
    pub(crate) leaf: TreeHash,
    /// The tile hashes it completes.
    pub(crate) nodes: Vec<TileNode>,
}

/// A ledger that holds.
#[derive(Debug)]
pub(crate) struct Audited {
    pub(crate) checkpoint: Checkpoint,
    /// The signed checkpoint.
    pub(crate) note: String,
    pub(crate) key: VerifierKey,
    /// How many entries it had when it was last seen; none when it never was.
    pub(crate) before: Option<u64>,
}

/// Recomputes a ledger, entry by entry.
#[derive(Debug)]
pub(crate) struct Auditor {
    frontier: Frontier,
    /// The key that entry 0 names.
    named: Option<String>,
    before: Option<Checkpoint>,
    /// The root when the tree had as many entries as before.
    then: Option<TreeHash>,
}

impl Auditor {
    /// An audit of a ledger that once was at `before`.
    pub(crate) fn new(before: Option<Checkpoint>) -> Self {
        let then = before.as_ref().filter(|before| before.size == 0).map(|_| TreeHash::empty());
        Self { frontier: Frontier::default(), named: None, before, then }
    }

    /// Takes the next entry; answers with its bytes, its leaf and the tile hashes it completes.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<(Vec<u8>, TreeHash, Vec<TileNode>), AuditError> {
        let expected = self.frontier.size();
        if entry.seq != expected {
            return Err(AuditError::Misplaced { expected, found: entry.seq });
        }
        if let (0, Fact::NodeInitialised { checkpoint_key, .. }) = (expected, &entry.fact) {
            self.named = Some(checkpoint_key.clone());
        }
        let bytes = entry.canonical()?;
        let leaf = TreeHash::leaf(&bytes);
        let nodes = self.frontier.push(leaf);
        if self.before.as_ref().is_some_and(|before| before.size == self.frontier.size()) {
            self.then = Some(self.frontier.root());
        }
        Ok((bytes, leaf, nodes))
    }

    /// Holds what was read against a signed checkpoint: under `key`, else the key the ledger names itself.
    pub(crate) fn finish(self, note: &str, key: Option<VerifierKey>) -> Result<Audited, AuditError> {
        let key = match key {
            Some(key) => key,
            None => self.named.as_deref().ok_or(AuditError::NoKey)?.parse()?,
        };
        let checkpoint = Checkpoint::open(note, &key)?;
        let (signed, found) = (checkpoint.size, self.frontier.size());
        if let Some(before) = self.before.as_ref().filter(|before| before.size > signed) {
            return Err(AuditError::RolledBack { now: signed, before: before.size, root: before.root });
        }
        if found != signed {
            return Err(AuditError::TooFew { signed, found });
        }
        if self.frontier.root() != checkpoint.root {
            return Err(AuditError::Changed);
        }
        if let Some(before) = &self.before
            && self.then != Some(before.root)
        {
            return Err(AuditError::Rewritten { size: before.size });
        }
        let before = self.before.map(|before| before.size);
        Ok(Audited { checkpoint, note: note.to_owned(), key, before })
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Entry>,
}

/// Reads the whole ledger of a bastion, recomputes it, and remembers its head for the next time.
pub(crate) async fn audit(
    client: &Client,
    key: Option<VerifierKey>,
    run: &Invocation,
    mut each: impl FnMut(Step<'_>),
) -> Result<Audited, CliError> {
    let memory = Memory::of(run)?;
    let remembered = memory.recall()?;
    let note = client.text("/ledger/checkpoint").await?;
    let (_, size) = memory::head(&note).ok_or_else(memory::no_checkpoint)?;
    let key = match (key, &remembered) {
        (Some(key), _) => Some(key),
        (None, Some(remembered)) => Some(remembered.key()?),
        (None, None) => None,
    };
    let before = remembered.as_ref().map(Remembered::checkpoint).transpose()?;
    let mut auditor = Auditor::new(before);
    let bar = progress::things("recomputing the ledger", Some(size));
    let mut next = 0;
    while next < size {
        let limit = PAGE.min(size - next);
        let page: Page = client.get_as(&format!("/ledger/entries?from={next}&limit={limit}")).await?;
        if page.items.is_empty() {
            break;
        }
        for entry in page.items.iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            let (bytes, leaf, nodes) = auditor.take(entry).map_err(CliError::failed)?;
            each(Step { entry, bytes: &bytes, leaf, nodes });
            next += 1;
        }
        bar.set_position(next);
    }
    bar.finish_and_clear();
    let audited = auditor.finish(&note, key).map_err(|error| {
        let is_other = remembered.is_some() && matches!(error, AuditError::Checkpoint(_));
        let said = CliError::failed(error);
        if is_other { said.hint(memory.forget_hint()) } else { said }
    })?;
    memory.keep(&audited.key, &audited.note)?;
    Ok(audited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Actor;
    use crate::model::{Secret, Signer as _, SigningKey, Timestamp};

    const ORIGIN: &str = "gate.example/ledger";

    fn signer() -> SigningKey {
        SigningKey::from_seed(&Secret::new([3; 32])).unwrap()
    }

    fn key() -> VerifierKey {
        VerifierKey::new(ORIGIN, signer().public_key()).unwrap()
    }

    fn entries(count: u64) -> Vec<Entry> {
        let first = Fact::NodeInitialised { origin: ORIGIN.to_owned(), checkpoint_key: key().to_string() };
        let facts = std::iter::once(first).chain((1..).map(|index| Fact::PolicyLoaded {
            hash: format!("{index:064x}"),
            rules: crate::model::PolicyChanges::default(),
        }));
        let entry = |(seq, fact)| Entry { v: 1, seq, at: Timestamp::UNIX_EPOCH, by: Actor::Node, fact };
        (0..count).zip(facts).map(entry).collect()
    }

    fn signed(entries: &[Entry]) -> (Checkpoint, String) {
        let mut tree = Frontier::default();
        entries.iter().for_each(|entry| drop(tree.push(TreeHash::leaf(&entry.canonical().unwrap()))));
        let head = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
        let note = head.sign(&key(), &signer()).unwrap().to_string();
        (head, note)
    }

    fn audited(entries: &[Entry], note: &str, before: Option<Checkpoint>) -> Result<Audited, AuditError> {
        let mut auditor = Auditor::new(before);
        for entry in entries {
            auditor.take(entry)?;
        }
        auditor.finish(note, None)
    }

    #[test]
    fn a_whole_ledger_holds_and_continues_what_was_seen() {
        let (now, earlier) = (entries(300), entries(7));
        let (head, note) = signed(&now);
        let found = audited(&now, &note, Some(signed(&earlier).0)).unwrap();
        assert_eq!((found.checkpoint, found.before, found.key), (head, Some(7), key()));
        assert_eq!(audited(&now, &note, None).unwrap().before, None);
        assert!(audited(&now, &note, Some(signed(&now).0)).is_ok(), "nothing new is fine");
    }

    #[test]
    fn each_way_of_tampering_has_its_own_name() {
        let good = entries(20);
        let (head, note) = signed(&good);
        let mut changed = good.clone();
        changed[9].fact =
            Fact::PolicyLoaded { hash: "0".repeat(64), rules: crate::model::PolicyChanges::default() };
        assert!(matches!(audited(&changed, &note, None), Err(AuditError::Changed)));

        let mut without = good.clone();
        without.remove(9);
        assert!(matches!(
            audited(&without, &note, None),
            Err(AuditError::Misplaced { expected: 9, found: 10 })
        ));
        let short = &good[..19];
        assert!(matches!(audited(short, &note, None), Err(AuditError::TooFew { signed: 20, found: 19 })));

        // The bastion signs again what it changed: only who looked before can tell.
        let (_, resigned) = signed(&changed);
        assert!(audited(&changed, &resigned, None).is_ok());
        let rewritten = audited(&changed, &resigned, Some(head.clone()));
        assert!(matches!(rewritten, Err(AuditError::Rewritten { size: 20 })), "{rewritten:?}");
        let rolled_back = audited(short, &signed(short).1, Some(head));
        assert!(
            matches!(rolled_back, Err(AuditError::RolledBack { now: 19, before: 20, .. })),
            "{rolled_back:?}"
        );
    }

    #[test]
    fn another_key_signs_nothing_here() {
        let entries = entries(3);
        let note = signed(&entries).1;
        let mut auditor = Auditor::new(None);
        entries.iter().for_each(|entry| drop(auditor.take(entry).unwrap()));
        let other = VerifierKey::new(ORIGIN, [9; 32]).unwrap();
        assert!(matches!(auditor.finish(&note, Some(other)), Err(AuditError::Checkpoint(_))));
        assert!(matches!(Auditor::new(None).finish(&note, None), Err(AuditError::NoKey)));
    }
}
