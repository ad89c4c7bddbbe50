//! Witnesses' words on a checkpoint (C2SP `tlog-cosignature`, Ed25519, `cosignature/v1`): when it was the newest they
//! had seen of that ledger, and that it continues everything they saw before.
//!
//! A cosignature is one more line of the checkpoint's note. Read next: `../witness/`, which makes them.

use std::fmt;
use std::str::FromStr;

use super::note::{KeyId, Note, NoteError, is_name, key_id, key_text, parse_key};
use crate::model::signer::{SignError, Signer, is_signed_by};

/// The algorithm byte of cosignatures with Ed25519.
const COSIGNATURE: u8 = 4;
/// Bytes of the time that comes before the signature.
const TIME_BYTES: usize = 8;

/// A witness's name and public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: [u8; 32],
}

impl WitnessKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When the name is empty or has spaces or `+`.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if is_name(name) { Ok(Self { name: name.to_owned(), key }) } else { Err(NoteError::BadKey) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signs a checkpoint's note as seen at a time, in seconds since 1970; the line is added to the note, and given.
    ///
    /// # Errors
    /// When the signer cannot be used.
    pub fn cosign(&self, note: &mut Note, signer: &dyn Signer, at: u64) -> Result<String, SignError> {
        let signature = signer.sign(&message(note.text(), at))?;
        let bytes: Vec<u8> = at.to_be_bytes().into_iter().chain(signature).collect();
        Ok(note.put(&self.name, self.id(), &bytes))
    }

    /// When this witness signed the note, in seconds since 1970.
    ///
    /// # Errors
    /// When it did not, or its line does not fit the text.
    pub fn signed(&self, note: &Note) -> Result<u64, NoteError> {
        self.line(note).map(|(at, _)| at)
    }

    /// Takes this witness's line over from another copy of the same note.
    ///
    /// # Errors
    /// When it has none that holds.
    pub fn take_over(&self, from: &Note, to: &mut Note) -> Result<u64, NoteError> {
        let (at, bytes) = self.line(from)?;
        if from.text() != to.text() {
            return Err(NoteError::WrongSignature(self.name.clone()));
        }
        to.put(&self.name, self.id(), bytes);
        Ok(at)
    }

    fn line<'a>(&'a self, note: &'a Note) -> Result<(u64, &'a [u8]), NoteError> {
        let none = || NoteError::NotSigned(self.name.clone());
        let bytes = note.signatures(&self.name, self.id()).next().ok_or_else(none)?;
        let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>().ok_or_else(none)?;
        let at = u64::from_be_bytes(*time);
        if i64::try_from(at).is_ok() && is_signed_by(&self.key, &message(note.text(), at), signature) {
            Ok((at, bytes))
        } else {
            Err(NoteError::WrongSignature(self.name.clone()))
        }
    }

    fn id(&self) -> KeyId {
        key_id(&self.name, COSIGNATURE, &self.key)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, COSIGNATURE, &self.key))
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = parse_key(text, COSIGNATURE)?;
        Self::new(name, key)
    }
}

fn message(text: &str, at: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {at}\n{text}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Checkpoint, TreeHash, VerifierKey};
    use crate::model::{Secret, SigningKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Secret::new([seed; 32])).unwrap()
    }

    fn note(size: u64) -> (Note, VerifierKey) {
        let log = VerifierKey::new("gate/ledger", key(1).public_key()).unwrap();
        let head = Checkpoint { origin: "gate/ledger".to_owned(), size, root: TreeHash::leaf(b"x") };
        (head.sign(&log, &key(1)).unwrap(), log)
    }

    #[test]
    fn a_cosignature_holds_for_its_text_its_time_and_its_key() {
        let witness = WitnessKey::new("witness.example/w1", key(2).public_key()).unwrap();
        let (mut signed, log) = note(7);
        assert!(matches!(witness.signed(&signed), Err(NoteError::NotSigned(_))));
        witness.cosign(&mut signed, &key(2), 1_679_315_147).unwrap();
        witness.cosign(&mut signed, &key(2), 1_679_315_148).unwrap();
        let text = signed.to_string();
        assert_eq!(text.lines().count(), 6, "one line a key: {text}");
        let read: Note = text.parse().unwrap();
        assert_eq!(witness.signed(&read), Ok(1_679_315_148));
        assert_eq!(Checkpoint::open(&text, &log).unwrap().size, 7, "the ledger's own line still holds");

        let other: Note = text.replacen("\n7\n", "\n8\n", 1).parse().unwrap();
        assert!(matches!(witness.signed(&other), Err(NoteError::WrongSignature(_))));
        let stranger = WitnessKey::new("witness.example/w1", key(3).public_key()).unwrap();
        assert!(matches!(stranger.signed(&read), Err(NoteError::NotSigned(_))));
        let (mut plain, _) = note(7);
        assert_eq!(witness.take_over(&read, &mut plain), Ok(1_679_315_148));
        assert_eq!(plain, read);
        assert!(witness.take_over(&read, &mut note(8).0).is_err());
    }

    #[test]
    fn a_key_survives_its_text_and_is_not_taken_for_a_ledgers() {
        let witness = WitnessKey::new("w", key(2).public_key()).unwrap();
        assert_eq!(witness.to_string().parse(), Ok(witness.clone()));
        assert!(witness.to_string().parse::<VerifierKey>().is_err());
        let log = VerifierKey::new("w", key(2).public_key()).unwrap();
        assert!(log.to_string().parse::<WitnessKey>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_changed_note_says_nothing_new(at in proptest::prelude::any::<u32>(), place: proptest::sample::Index, with: char) {
            let witness = WitnessKey::new("w", key(2).public_key()).unwrap();
            let (mut note, _) = note(7);
            witness.cosign(&mut note, &key(2), at.into()).unwrap();
            let mut letters: Vec<char> = note.to_string().chars().collect();
            let place = place.index(letters.len());
            letters[place] = with;
            if let Ok(read) = letters.into_iter().collect::<String>().parse::<Note>()
                && let Ok(said) = witness.signed(&read)
            {
                proptest::prop_assert_eq!((said, read.text()), (at.into(), note.text()));
            }
        }
    }
}
