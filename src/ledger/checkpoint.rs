//! Signed tree heads (C2SP `tlog-checkpoint`): origin, size and root, on three lines of a signed note.
//!
//! Whoever keeps one can later show that the ledger was rolled back or rewritten. Read next: `note.rs`.

use super::note::{Note, NoteError, VerifierKey};
use super::tree::TreeHash;
use crate::model::{SignError, Signer};

/// The head of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which ledger.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
}

/// Why a checkpoint cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is not signed by the key wanted, or is no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text of the note is no checkpoint.
    #[error("the signed text is not a checkpoint (origin, size, root)")]
    Malformed,
    /// It is another ledger's.
    #[error("this is a checkpoint of {found}, not of {wanted}")]
    OtherLedger {
        /// Its origin.
        found: String,
        /// The origin wanted.
        wanted: String,
    },
}

impl Checkpoint {
    /// Signs it, under its origin as the key's name.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn sign(&self, key: &VerifierKey, signer: &dyn Signer) -> Result<Note, SignError> {
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64());
        Note::sign(text, key, signer)
    }

    /// Reads a note and checks that `key` signed it for the ledger of that name.
    ///
    /// # Errors
    /// When it is no checkpoint, another ledger's, or not signed by the key.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note: Note = note.parse()?;
        note.verify(key)?;
        let mut lines = note.text().lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        if origin != key.name() {
            return Err(CheckpointError::OtherLedger {
                found: origin.to_owned(),
                wanted: key.name().to_owned(),
            });
        }
        let number: u64 = size.parse().map_err(|_| CheckpointError::Malformed)?;
        if number.to_string() != size {
            return Err(CheckpointError::Malformed);
        }
        let root = TreeHash::from_base64(root).ok_or(CheckpointError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, SigningKey};

    #[test]
    fn a_checkpoint_survives_its_note_and_only_its_own_key_opens_it() {
        let signer = SigningKey::from_seed(&Secret::new([5; 32])).unwrap();
        let key = VerifierKey::new("gate.example/ledger", signer.public_key()).unwrap();
        let head =
            Checkpoint { origin: "gate.example/ledger".to_owned(), size: 42, root: TreeHash::leaf(b"root") };
        let text = head.sign(&key, &signer).unwrap().to_string();
        assert_eq!(Checkpoint::open(&text, &key).unwrap(), head);

        let bigger = text.replacen("\n42\n", "\n43\n", 1);
        assert!(matches!(
            Checkpoint::open(&bigger, &key),
            Err(CheckpointError::Note(NoteError::WrongSignature(_)))
        ));
        let elsewhere = Checkpoint { origin: "other".to_owned(), ..head };
        let text = elsewhere.sign(&key, &signer).unwrap().to_string();
        assert!(matches!(Checkpoint::open(&text, &key), Err(CheckpointError::OtherLedger { .. })));
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_is_refused() {
        let signer = SigningKey::from_seed(&Secret::new([5; 32])).unwrap();
        let key = VerifierKey::new("gate", signer.public_key()).unwrap();
        for text in ["gate\n", "gate\n042\nAAAA\n", "gate\n-1\nAAAA\n", "gate\n1\nAAAA\n"] {
            let note = Note::sign(text.to_owned(), &key, &signer).unwrap().to_string();
            assert_eq!(Checkpoint::open(&note, &key), Err(CheckpointError::Malformed), "{text:?}");
        }
    }

    proptest::proptest! {
        /// Whatever is done to one character of it, a checkpoint says what was signed or says nothing.
        #[test]
        fn a_changed_checkpoint_says_the_same_or_nothing(
            size in proptest::prelude::any::<u64>(),
            leaf in proptest::prelude::any::<[u8; 8]>(),
            at in proptest::prelude::any::<proptest::sample::Index>(),
            with in proptest::prelude::any::<char>(),
        ) {
            let signer = SigningKey::from_seed(&Secret::new([5; 32])).unwrap();
            let key = VerifierKey::new("gate", signer.public_key()).unwrap();
            let head = Checkpoint { origin: "gate".to_owned(), size, root: TreeHash::leaf(&leaf) };
            let text = head.sign(&key, &signer).unwrap().to_string();
            proptest::prop_assert_eq!(Checkpoint::open(&text, &key), Ok(head.clone()));
            let mut letters: Vec<char> = text.chars().collect();
            let at = at.index(letters.len());
            letters[at] = with;
            let changed: String = letters.into_iter().collect();
            if let Ok(opened) = Checkpoint::open(&changed, &key) {
                proptest::prop_assert_eq!(opened, head);
            }
        }
    }
}
