//! Signed notes (C2SP `signed-note`): a text, and signature lines that name their keys. Ed25519 only.
//!
//! A note may carry lines of other keys (witnesses): they are kept, and only the one asked about is checked. Read
//! next: `checkpoint.rs`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};

use crate::model::signer::{SignError, Signer, is_signed_by};

/// The algorithm byte of Ed25519 keys.
const ED25519: u8 = 1;
/// Most signature lines read from one note.
const MOST_LINES: usize = 100;
/// Longest note read.
const LONGEST: usize = 1 << 20;
/// What separates the text from the signatures, and begins each of those.
const DASH: &str = "\u{2014} ";

/// Why a note cannot be read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not in the form of a signed note.
    #[error("this is not a signed note: {0}")]
    Malformed(&'static str),
    /// A verifier key is not in its form.
    #[error("this is not a verifier key: expected NAME+8 hex digits+base64")]
    BadKey,
    /// No line is signed by the key asked about.
    #[error("nothing here is signed by {0}")]
    NotSigned(String),
    /// A line claims to be by that key, and the signature is wrong.
    #[error("the signature by {0} is wrong: the text was changed after it was signed")]
    WrongSignature(String),
}

/// A named Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When the name is empty or has spaces or `+`.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::BadKey);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.key
    }

    fn id(&self) -> KeyId {
        key_id(&self.name, ED25519, &self.key)
    }
}

/// What a signature line calls its key by, beside the name.
pub(super) type KeyId = [u8; 4];

/// The first four bytes of SHA-256 over the name, a newline, the algorithm and the key.
pub(super) fn key_id(name: &str, algorithm: u8, key: &[u8]) -> KeyId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', algorithm]);
    context.update(key);
    let hash = context.finish();
    let mut id = [0; 4];
    id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    id
}

/// A key in the text form of C2SP `signed-note` verifier keys: name, id, and algorithm with key in base64.
pub(super) fn key_text(name: &str, algorithm: u8, key: &[u8]) -> String {
    let bytes: Vec<u8> = std::iter::once(algorithm).chain(key.iter().copied()).collect();
    format!("{name}+{}+{}", HEXLOWER.encode(&key_id(name, algorithm, key)), BASE64.encode(&bytes))
}

/// Name and key from that text form, when it is sound and of the algorithm.
pub(super) fn parse_key(text: &str, algorithm: u8) -> Result<(&str, [u8; 32]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::BadKey);
    };
    let bytes = from_base64(key).ok_or(NoteError::BadKey)?;
    let Some((first, key)) = bytes.split_first() else { return Err(NoteError::BadKey) };
    let is_its = *first == algorithm && HEXLOWER.encode(&key_id(name, algorithm, key)) == id;
    let key = key.try_into().map_err(|_| NoteError::BadKey)?;
    if is_its && is_name(name) { Ok((name, key)) } else { Err(NoteError::BadKey) }
}

/// The bytes of a text in base64, when it is the one text that they have: the decoder takes several, one behind the
/// other, for one.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok().filter(|bytes| BASE64.encode(bytes) == text)
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, ED25519, &self.key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = parse_key(text, ED25519)?;
        Self::new(name, key)
    }
}

/// A note: its text, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    /// Key id and signature.
    bytes: Vec<u8>,
}

impl Note {
    /// Signs a text, which must end with a newline, under a name.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn sign(text: String, key: &VerifierKey, signer: &dyn Signer) -> Result<Self, SignError> {
        let signature = signer.sign(text.as_bytes())?;
        let bytes = key.id().into_iter().chain(signature).collect();
        Ok(Self { text, lines: vec![Line { name: key.name.clone(), bytes }] })
    }

    /// The signed text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature of a ledger's key, as it stands there.
    #[must_use]
    pub fn signature_of(&self, key: &VerifierKey) -> Option<&[u8]> {
        let id = key.id();
        let lines = self.lines.iter().filter(|line| line.name == key.name);
        lines.filter_map(|line| line.bytes.strip_prefix(&id)).next()
    }

    /// Checks that the text is signed by a key.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let mut theirs = self.signatures(&key.name, key.id());
        let signature = theirs.next().ok_or_else(|| NoteError::NotSigned(key.name.clone()))?;
        if is_signed_by(&key.key, self.text.as_bytes(), signature) {
            Ok(())
        } else {
            Err(NoteError::WrongSignature(key.name.clone()))
        }
    }
}

impl Note {
    /// What the lines of one key say, in their order.
    pub(super) fn signatures<'a>(&'a self, name: &'a str, id: KeyId) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.iter().filter(move |line| line.name == name);
        lines
            .filter_map(|line| line.bytes.split_at_checked(4))
            .filter_map(move |(of, rest)| (*of == id).then_some(rest))
    }

    /// Adds a line, in place of one by the same key; gives its text.
    pub(super) fn put(&mut self, name: &str, id: KeyId, signature: &[u8]) -> String {
        self.lines.retain(|line| line.name != name || !line.bytes.starts_with(&id));
        let line = Line { name: name.to_owned(), bytes: id.iter().chain(signature).copied().collect() };
        let text = line.to_string();
        self.lines.push(line);
        text
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.lines.iter().try_for_each(|line| line.fmt(f))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{DASH}{} {}", self.name, BASE64.encode(&self.bytes))
    }
}

impl FromStr for Note {
    type Err = NoteError;
    fn from_str(all: &str) -> Result<Self, NoteError> {
        if all.len() > LONGEST {
            return Err(NoteError::Malformed("it is too long"));
        }
        let (text, lines) = all
            .rsplit_once("\n\n")
            .ok_or(NoteError::Malformed("there is no blank line before signatures"))?;
        let text = format!("{text}\n");
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Malformed("the text has control characters"));
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("it does not end with a newline"))?;
        let lines: Vec<Line> = lines.split('\n').take(MOST_LINES + 1).map(line).collect::<Result<_, _>>()?;
        if lines.len() > MOST_LINES {
            return Err(NoteError::Malformed("it has too many signatures"));
        }
        Ok(Self { text, lines })
    }
}

fn line(text: &str) -> Result<Line, NoteError> {
    let wrong = NoteError::Malformed("a signature line is not a dash, a name and base64");
    let (name, bytes) =
        text.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or_else(|| wrong.clone())?;
    let bytes = from_base64(bytes).ok_or_else(|| wrong.clone())?;
    if !is_name(name) || bytes.len() < 5 {
        return Err(wrong);
    }
    Ok(Line { name: name.to_owned(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, SigningKey};

    /// The example of the C2SP document (its key and note are public there).
    #[test]
    fn the_specifications_own_example_verifies() {
        let key: VerifierKey =
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your \
                    problem is.\n\n\u{2014} PeterNeumann \
                    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note: Note = text.parse().unwrap();
        note.verify(&key).unwrap();
        assert_eq!(note.to_string(), text);
        let altered: Note = text.replace("answer", "Answer").parse().unwrap();
        assert_eq!(altered.verify(&key), Err(NoteError::WrongSignature("PeterNeumann".to_owned())));
    }

    #[test]
    fn only_the_one_text_of_a_note_is_read() {
        let note = |name: &str, bytes: &str| format!("text\n\n{DASH}{name} {bytes}\n").parse::<Note>();
        assert!(note("a", "AAAAAAA=").is_ok());
        for (name, bytes) in
            [("a", "AAAAAAA=AAAAAAA="), ("a", "AAAAAAB="), ("a\u{1b}c", "AAAAAAA="), ("a+b", "AAAAAAA=")]
        {
            assert!(matches!(note(name, bytes), Err(NoteError::Malformed(_))), "{name:?} {bytes}");
        }
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert!(key.parse::<VerifierKey>().is_ok());
        assert_eq!(from_base64("QQ==QQ=="), None);
    }

    #[test]
    fn a_note_survives_text_and_another_key_is_not_its_signer() {
        let signer = SigningKey::from_seed(&Secret::new([3; 32])).unwrap();
        let key = VerifierKey::new("gate.example/ledger", signer.public_key()).unwrap();
        let note = Note::sign("one\ntwo\n".to_owned(), &key, &signer).unwrap();
        let again: Note = note.to_string().parse().unwrap();
        assert_eq!(again, note);
        again.verify(&key.to_string().parse().unwrap()).unwrap();
        let other = VerifierKey::new("gate.example/ledger", [9; 32]).unwrap();
        assert!(matches!(again.verify(&other), Err(NoteError::NotSigned(_))));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\nname AAAAAAAA\n",
            "a\n\n\u{2014} n AAA\n",
            "a\n\n\u{2014} n AAAA",
        ] {
            assert!(bad.parse::<Note>().is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "a",
            "a+b",
            "a+00000000+AQ==",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// What a note is made of, in any order.
        fn piece() -> impl Strategy<Value = String> {
            prop_oneof![
                Just("\n".to_owned()),
                Just("\n\n".to_owned()),
                Just(DASH.to_owned()),
                Just("gate ".to_owned()),
                Just("AAAAAAAA".to_owned()),
                "[ -~]{0,12}",
                any::<char>().prop_map(String::from),
            ]
        }

        proptest! {
            #[test]
            fn whatever_is_read_as_a_note_is_written_as_it_was(
                pieces in prop::collection::vec(piece(), 0..24),
                text in "[ -~\n]{0,60}",
                bytes in prop::collection::vec(any::<u8>(), 0..90),
            ) {
                let made = format!("{text}\n\n{DASH}gate {}\n", BASE64.encode(&bytes));
                for all in [pieces.concat(), made] {
                    if let Ok(note) = all.parse::<Note>() {
                        prop_assert_eq!(note.to_string(), all);
                    }
                }
            }

            #[test]
            fn a_verifier_key_survives_text_and_nothing_else_is_one(
                name in "[a-z./-]{1,30}", key in any::<[u8; 32]>(), other in "[ -~]{0,80}", at in any::<prop::sample::Index>(),
            ) {
                let made = VerifierKey::new(&name, key).unwrap();
                let text = made.to_string();
                prop_assert_eq!(&text.parse::<VerifierKey>().unwrap(), &made);
                prop_assert!(other.parse::<VerifierKey>().is_err());
                let mut cut = text;
                cut.truncate(at.index(cut.len()));
                prop_assert!(cut.parse::<VerifierKey>().is_err(), "{cut}");
            }
        }
    }
}
