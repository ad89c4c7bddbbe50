//! What a witness decides: whether a ledger's new head continues the one it signed before.
//!
//! The checks and their order are those of C2SP `tlog-witness`. The look at what was signed before and the writing of
//! what is signed now happen under one lock, or two submissions at once could roll a ledger back between them.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::files::{Files, Kept, WitnessError};
use super::request::Submission;
use crate::ledger::{
    Checkpoint, CheckpointError, Note, NoteError, TreeHash, VerifierKey, WitnessKey, verify_consistency,
};
use crate::model::{Clock, SigningKey};

/// A witness at work.
pub struct Witness {
    key: WitnessKey,
    signer: SigningKey,
    clock: Clock,
    /// The lock is also what makes looking and signing one step.
    files: Mutex<Files>,
    _lock: File,
}

/// What a submission is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Signed: the line for the checkpoint's note.
    Cosigned(String),
    /// Another size was signed last, or another root of the same size; the size.
    Conflict(u64),
    /// The head does not continue what was signed.
    Inconsistent,
    /// The submission or its checkpoint is malformed.
    Malformed,
    /// No trusted key of the ledger signed it.
    NotSigned,
    /// No such ledger is trusted here.
    UnknownLedger,
}

/// A ledger that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The key that signs its heads.
    pub key: VerifierKey,
    /// The newest head signed here; none before the first.
    pub head: Option<Checkpoint>,
}

impl Witness {
    /// Makes a witness's directory, with a new key under a name; gives what bastions are told.
    ///
    /// # Errors
    /// When there is one already, the name is none, or a file cannot be written.
    pub fn init(directory: &Path, name: &str) -> Result<WitnessKey, WitnessError> {
        Files::init(directory, name)
    }

    /// Trusts a ledger's key. A witness that serves takes it up at once.
    ///
    /// # Errors
    /// When the ledger is known under another key, or its file cannot be written.
    pub fn trust(directory: &Path, key: &VerifierKey) -> Result<(), WitnessError> {
        let files = Files::at(directory);
        files.key()?;
        let _alone = files.alone()?;
        files.trust(key)
    }

    /// Forgets what was signed of a ledger, so that another history of it can be trusted; it is kept as evidence. Says
    /// whether it was known.
    ///
    /// # Errors
    /// When its files cannot be used.
    pub fn forget(directory: &Path, origin: &str, clock: &Clock) -> Result<bool, WitnessError> {
        let files = Files::at(directory);
        files.key()?;
        let _alone = files.alone()?;
        files.forget(origin, &clock.now().as_second().to_string())
    }

    /// The witness's key and the ledgers it trusts, without serving.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn look(directory: &Path) -> Result<(WitnessKey, Vec<Known>), WitnessError> {
        let files = Files::at(directory);
        let (key, _) = files.key()?;
        let known = files.ledgers()?.iter().map(|kept| known(directory, kept)).collect::<Result<_, _>>()?;
        Ok((key, known))
    }

    /// Takes a witness's directory for this process.
    ///
    /// # Errors
    /// When it is in use, or its files cannot be read.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, WitnessError> {
        let files = Files::at(directory);
        let (key, signer) = files.key()?;
        let lock = files.lock()?;
        for kept in files.ledgers()? {
            known(directory, &kept)?;
        }
        Ok(Self { key, signer, clock, files: Mutex::new(files), _lock: lock })
    }

    /// The key bastions are told.
    #[must_use]
    pub const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// Answers a submission; what is signed is durable by then. Blocks for the disk.
    ///
    /// # Errors
    /// When the witness's own files fail: nothing was signed then.
    pub fn add_checkpoint(&self, body: &str) -> Result<Answer, WitnessError> {
        let Some(Submission { old, proof, note: text }) = Submission::parse(body) else {
            return Ok(Answer::Malformed);
        };
        let Ok(mut note) = text.parse::<Note>() else { return Ok(Answer::Malformed) };
        let origin = note.text().lines().next().unwrap_or_default().to_owned();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let _alone = files.alone()?;
        let Some(mut kept) = files.ledger(&origin)? else { return Ok(Answer::UnknownLedger) };
        let Known { key, head: last } = known(files.directory(), &kept)?;
        let head = match Checkpoint::open(text, &key) {
            Ok(head) => head,
            Err(CheckpointError::Note(NoteError::NotSigned(_) | NoteError::WrongSignature(_))) => {
                return Ok(Answer::NotSigned);
            }
            Err(_) => return Ok(Answer::Malformed),
        };
        if old > head.size {
            return Ok(Answer::Malformed);
        }
        let (size, root) = last.map_or((0, TreeHash::empty()), |last| (last.size, last.root));
        if old != size {
            return Ok(Answer::Conflict(size));
        }
        if head.size == size && size > 0 && head.root != root {
            accuse(&files, &head, body);
            return Ok(Answer::Conflict(size));
        }
        if !verify_consistency(size, &root, head.size, &head.root, &proof) {
            accuse(&files, &head, body);
            return Ok(Answer::Inconsistent);
        }
        // What else came with it is nothing to us, and is not to fill what is kept.
        note.keep_only(&key);
        let at = u64::try_from(self.clock.now().as_second()).unwrap_or(0);
        let line = self.key.cosign(&mut note, &self.signer, at)?;
        kept.checkpoint = Some(note.to_string());
        files.keep(&origin, &kept)?;
        Ok(Answer::Cosigned(line))
    }
}

/// Keeps a submission that contradicts what was signed. That it cannot be kept changes no answer.
fn accuse(files: &Files, head: &Checkpoint, body: &str) {
    tracing::error!(ledger = head.origin, size = head.size, "a head that contradicts what was signed before");
    if let Err(error) = files.accuse(&format!("{}-{}-{}", head.origin, head.size, head.root), body) {
        tracing::error!(%error, "the submission was not kept");
    }
}

fn known(directory: &Path, kept: &Kept) -> Result<Known, WitnessError> {
    let spoiled = || WitnessError::Spoiled { path: directory.to_owned() };
    let key: VerifierKey = kept.key.parse().map_err(|_| spoiled())?;
    let head = kept.checkpoint.as_deref().map(|note| Checkpoint::open(note, &key)).transpose();
    Ok(Known { head: head.map_err(|_| spoiled())?, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Frontier, HashSource, consistency_proof};
    use crate::model::{Secret, Signer as _, SigningKey, Timestamp};

    /// A ledger of its own, which may be made to lie.
    struct Log {
        signer: SigningKey,
        key: VerifierKey,
        leaves: Vec<TreeHash>,
    }

    impl HashSource for Log {
        type Error = ();

        fn hashes(&self, level: u8, first: u64, count: u64) -> Result<Vec<TreeHash>, ()> {
            let width = 256_u64.pow(level.into());
            let subtree = |n: u64| {
                let range = usize::try_from(n * width).ok()?..usize::try_from((n + 1) * width).ok()?;
                self.leaves.get(range).map(root)
            };
            Ok((first..first + count).map_while(subtree).collect())
        }
    }

    fn root(leaves: &[TreeHash]) -> TreeHash {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| drop(tree.push(*leaf)));
        tree.root()
    }

    impl Log {
        fn new() -> Self {
            let signer = SigningKey::from_seed(&Secret::new([1; 32])).unwrap();
            let key = VerifierKey::new("gate/ledger", signer.public_key()).unwrap();
            Self { signer, key, leaves: Vec::new() }
        }

        fn grow(&mut self, to: usize, flavour: u8) {
            for n in self.leaves.len()..to {
                self.leaves.push(TreeHash::leaf(&[flavour, u8::try_from(n % 256).unwrap()]));
            }
        }

        fn note(&self) -> String {
            let size = self.leaves.len() as u64;
            let head = Checkpoint { origin: "gate/ledger".to_owned(), size, root: root(&self.leaves) };
            head.sign(&self.key, &self.signer).unwrap().to_string()
        }

        fn submission(&self, old: u64) -> String {
            let size = self.leaves.len() as u64;
            let proof = if old == 0 { Vec::new() } else { consistency_proof(self, old, size).unwrap() };
            let lines: String = proof.iter().map(|hash| format!("{}\n", hash.to_base64())).collect();
            format!("old {old}\n{lines}\n{}", self.note())
        }
    }

    fn witness() -> (tempfile::TempDir, WitnessKey) {
        let place = tempfile::tempdir().unwrap();
        let key = Witness::init(place.path(), "witness.example/w1").unwrap();
        assert!(matches!(Witness::init(place.path(), "other"), Err(WitnessError::Exists { .. })));
        (place, key)
    }

    #[test]
    fn what_continues_is_signed_and_what_does_not_is_not() {
        let (place, key) = witness();
        let clock = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
        let witness = Witness::open(place.path(), clock.clone()).unwrap();
        let mut log = Log::new();
        log.grow(3, 0);
        assert_eq!(witness.add_checkpoint(&log.submission(0)).unwrap(), Answer::UnknownLedger);
        Witness::trust(place.path(), &log.key).unwrap();
        let Answer::Cosigned(line) = witness.add_checkpoint(&log.submission(0)).unwrap() else { panic!() };
        let signed: Note = format!("{}{line}", log.note()).parse().unwrap();
        assert_eq!(key.signed(&signed), Ok(1_700_000_000));

        assert_eq!(
            witness.add_checkpoint(&log.submission(0)).unwrap(),
            Answer::Conflict(3),
            "it knows three"
        );
        for to in [3, 4, 9, 200, 300] {
            let old = witness_size(place.path());
            log.grow(to, 0);
            assert!(
                matches!(witness.add_checkpoint(&log.submission(old)).unwrap(), Answer::Cosigned(_)),
                "{to}"
            );
        }
        // Lines of others, as many as a note may have, are not kept.
        let junk = format!("\u{2014} junk {}\n", data_encoding::BASE64.encode(&[7; 12])).repeat(99);
        let full = log.submission(300) + &junk;
        assert!(matches!(witness.add_checkpoint(&full).unwrap(), Answer::Cosigned(_)));
        assert_eq!(witness_size(place.path()), 300);
        // Rolled back, then grown in another way: as large, and larger.
        let honest = std::mem::take(&mut log.leaves);
        log.leaves = honest[..250].to_vec();
        assert_eq!(witness.add_checkpoint(&log.submission(250)).unwrap(), Answer::Conflict(300));
        log.grow(300, 1);
        assert_eq!(witness.add_checkpoint(&log.submission(300)).unwrap(), Answer::Conflict(300));
        log.grow(301, 1);
        assert_eq!(witness.add_checkpoint(&log.submission(300)).unwrap(), Answer::Inconsistent);
        assert_eq!(std::fs::read_dir(place.path().join("evidence")).unwrap().count(), 2);
        log.leaves = honest;
        assert!(matches!(witness.add_checkpoint(&log.submission(300)).unwrap(), Answer::Cosigned(_)));

        // It remembers over a restart, and nobody serves beside it.
        assert!(matches!(Witness::open(place.path(), clock.clone()), Err(WitnessError::InUse { .. })));
        drop(witness);
        let again = Witness::open(place.path(), clock).unwrap();
        assert_eq!(again.add_checkpoint(&log.submission(0)).unwrap(), Answer::Conflict(300));
        let (shown, known) = Witness::look(place.path()).unwrap();
        let now = Clock::system();
        assert!(!Witness::forget(place.path(), "another", &now).unwrap());
        assert!(Witness::forget(place.path(), "gate/ledger", &now).unwrap());
        assert_eq!(again.add_checkpoint(&log.submission(0)).unwrap(), Answer::UnknownLedger);
        Witness::trust(place.path(), &log.key).unwrap();
        assert!(matches!(again.add_checkpoint(&log.submission(0)).unwrap(), Answer::Cosigned(_)));
        assert_eq!((shown, known[0].head.as_ref().map(|head| head.size)), (key, Some(300)));
    }

    fn witness_size(place: &Path) -> u64 {
        Witness::look(place).unwrap().1[0].head.as_ref().map_or(0, |head| head.size)
    }

    #[test]
    fn only_the_ledgers_own_key_counts() {
        let (place, _) = witness();
        let mut log = Log::new();
        log.grow(2, 0);
        Witness::trust(place.path(), &log.key).unwrap();
        let witness = Witness::open(place.path(), Clock::system()).unwrap();
        let other = SigningKey::from_seed(&Secret::new([9; 32])).unwrap();
        let key = VerifierKey::new("gate/ledger", other.public_key()).unwrap();
        assert!(matches!(Witness::trust(place.path(), &key), Err(WitnessError::OtherKey { .. })));
        let theirs = std::mem::replace(&mut log.signer, other);
        assert_eq!(witness.add_checkpoint(&log.submission(0)).unwrap(), Answer::NotSigned);
        log.signer = theirs;
        let cut = log.submission(0).replace("\n2\n", "\n3\n");
        assert_eq!(witness.add_checkpoint(&cut).unwrap(), Answer::NotSigned);
        for body in ["", "old 0\n\n", "old 3\n\nx\n", &log.submission(0).replace("old 0", "old 3")] {
            let answer = witness.add_checkpoint(body).unwrap();
            assert!(matches!(answer, Answer::Malformed | Answer::UnknownLedger), "{body:?} {answer:?}");
        }
        std::fs::write(place.path().join("key"), "PRIVATE+KEY+x").unwrap();
        assert!(matches!(Witness::look(place.path()), Err(WitnessError::Spoiled { .. })));
    }
}
