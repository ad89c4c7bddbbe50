//! A recording's keys: made here, wrapped to reviewers as an age file, opened with a reviewer's identity.
//!
//! `FORMAT.md` part 3. X25519 recipients only; a bastion never runs an age plugin, so their texts are refused.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::digest::Digest;
use super::error::RecordingError;
use crate::model::Secret;

/// Length of a file key.
pub(super) const FILE_KEY_BYTES: usize = 32;
/// The most reviewers a recording is encrypted to: their stanzas must fit the header.
pub const MAX_RECIPIENTS: usize = 256;
const COMMITMENT_INFO: &[u8] = b"postern recording v1 commitment";
const PAYLOAD_INFO: &[u8] = b"postern recording v1 payload";

/// A recording's key.
pub(super) type FileKey = Secret<[u8; FILE_KEY_BYTES]>;

/// What is wrong with a recipient or an identity, or with making a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A text that is no identity.
    #[error("line {line} is no age identity: expected AGE-SECRET-KEY-1…")]
    NotAnIdentity {
        /// Where it is.
        line: usize,
    },
    /// A text that is no X25519 recipient.
    #[error(
        "{0:?} is no age X25519 recipient: expected age1… and 58 characters (plugin recipients are refused)"
    )]
    NotARecipient(String),
    /// A text without any identity.
    #[error("there is no age identity in this text")]
    NoIdentity,
    /// No recipient was given.
    #[error("no reviewer can read this recording: add a recipient (postern keygen makes one)")]
    NoRecipient,
    /// The system had no randomness, or a derivation failed.
    #[error("no key could be made")]
    Unavailable,
    /// Too many recipients.
    #[error("a recording can have at most {MAX_RECIPIENTS} recipients")]
    TooManyRecipients,
}

/// The public end of a reviewer's key: recordings are encrypted to it.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl FromStr for Recipient {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::NotARecipient(text.chars().take(80).collect());
        text.trim().parse().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The private end: one or more age identities, as an identity file holds them.
pub struct ReviewerIdentity(Vec<age::x25519::Identity>);

impl ReviewerIdentity {
    /// A fresh identity.
    #[must_use]
    pub fn generate() -> Self {
        Self(vec![age::x25519::Identity::generate()])
    }

    /// Reads an age identity file: one identity a line, blank lines and `#` comments between.
    ///
    /// # Errors
    /// When a line is no identity, or there is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                found.push(line.parse().map_err(|_| KeyError::NotAnIdentity { line: index + 1 })?);
            }
        }
        if found.is_empty() { Err(KeyError::NoIdentity) } else { Ok(Self(found)) }
    }

    /// The identity lines, for a file only its owner may read.
    #[must_use]
    pub fn to_secret_text(&self) -> SecretString {
        let lines: Vec<SecretString> = self.0.iter().map(age::x25519::Identity::to_string).collect();
        let mut text = String::new();
        for line in &lines {
            text.push_str(line.expose_secret());
            text.push('\n');
        }
        SecretString::from(text)
    }

    /// The recipients recordings are encrypted to for this identity.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().map(|identity| Recipient(identity.to_public())).collect()
    }
}

impl fmt::Debug for ReviewerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReviewerIdentity(…)")
    }
}

/// A fresh file key.
pub(super) fn fresh() -> Result<FileKey, KeyError> {
    let mut bytes = [0; FILE_KEY_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Unavailable)?;
    Ok(Secret::new(bytes))
}

/// Wraps a file key to every recipient.
pub(super) fn wrap(key: &FileKey, recipients: &[Recipient]) -> Result<Vec<u8>, KeyError> {
    if recipients.is_empty() {
        return Err(KeyError::NoRecipient);
    }
    if recipients.len() > MAX_RECIPIENTS {
        return Err(KeyError::TooManyRecipients);
    }
    let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|r| &r.0 as &dyn age::Recipient))
        .map_err(|_| KeyError::Unavailable)?;
    let mut writer = encryptor.wrap_output(Vec::new()).map_err(|_| KeyError::Unavailable)?;
    writer.write_all(key.expose()).map_err(|_| KeyError::Unavailable)?;
    writer.finish().map_err(|_| KeyError::Unavailable)
}

/// Opens a wrapped file key and checks it against the header's commitment.
pub(super) fn unwrap(
    wrapped: &[u8],
    identity: &ReviewerIdentity,
    recording: &[u8; 16],
    committed: &[u8; 32],
) -> Result<FileKey, RecordingError> {
    let damaged =
        || RecordingError::HeaderDamaged { what: "the wrapped key is no age file with 32 bytes in it" };
    let decryptor = age::Decryptor::new_buffered(wrapped).map_err(|_| damaged())?;
    let identities = identity.0.iter().map(|i| i as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed => RecordingError::WrongKey,
        age::DecryptError::ExcessiveWork { .. }
        | age::DecryptError::InvalidHeader
        | age::DecryptError::InvalidMac
        | age::DecryptError::Io(_)
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::UnknownFormat => damaged(),
    })?;
    let mut key = [0; FILE_KEY_BYTES];
    reader.read_exact(&mut key).map_err(|_| damaged())?;
    let key = Secret::new(key);
    if reader.read(&mut [0; 1]).map_err(|_| damaged())? != 0 {
        return Err(damaged());
    }
    let commitment = commitment(&key, recording).map_err(|_| RecordingError::CommitmentMismatch)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(&commitment, committed)
        .map_err(|_| RecordingError::CommitmentMismatch)?;
    Ok(key)
}

/// What the header says about the key without giving it away.
pub(super) fn commitment(key: &FileKey, recording: &[u8; 16]) -> Result<[u8; 32], KeyError> {
    derive(recording, key, COMMITMENT_INFO)
}

/// The key that seals this recording's frames.
pub(super) fn payload(key: &FileKey, header: &Digest) -> Result<Secret<[u8; 32]>, KeyError> {
    derive(header.as_bytes(), key, PAYLOAD_INFO).map(Secret::new)
}

fn derive(salt: &[u8], key: &FileKey, info: &[u8]) -> Result<[u8; 32], KeyError> {
    let mut out = [0; 32];
    Salt::new(HKDF_SHA256, salt)
        .extract(key.expose())
        .expand(&[info], ThirtyTwo)
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|_| KeyError::Unavailable)?;
    Ok(out)
}

struct ThirtyTwo;

impl KeyType for ThirtyTwo {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_for_its_reviewers_only() {
        let (one, two, stranger) =
            (ReviewerIdentity::generate(), ReviewerIdentity::generate(), ReviewerIdentity::generate());
        let key = fresh().unwrap();
        let committed = commitment(&key, &[1; 16]).unwrap();
        let recipients: Vec<_> = one.recipients().into_iter().chain(two.recipients()).collect();
        let wrapped = wrap(&key, &recipients).unwrap();
        for identity in [&one, &two] {
            let opened = unwrap(&wrapped, identity, &[1; 16], &committed).unwrap();
            assert_eq!(opened.expose(), key.expose());
        }
        let error = unwrap(&wrapped, &stranger, &[1; 16], &committed).unwrap_err();
        assert_eq!(error.name(), "wrong_key");
        let error = unwrap(&wrapped, &one, &[2; 16], &committed).unwrap_err();
        assert_eq!(error.name(), "commitment_mismatch");
    }

    #[test]
    fn plugin_and_post_quantum_recipients_are_refused_by_name() {
        for text in [
            "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
            "ssh-ed25519 AAAA",
            "age1",
        ] {
            assert_eq!(text.parse::<Recipient>().unwrap_err(), KeyError::NotARecipient(text.to_owned()));
        }
        assert_eq!(wrap(&fresh().unwrap(), &[]).unwrap_err(), KeyError::NoRecipient);
    }

    #[test]
    fn an_identity_file_survives_with_its_comments() {
        let identity = ReviewerIdentity::generate();
        let text = format!("# created: today\n\n{}", identity.to_secret_text().expose_secret());
        let again = ReviewerIdentity::parse(&text).unwrap();
        assert_eq!(again.recipients().len(), 1);
        assert_eq!(again.recipients()[0].to_string(), identity.recipients()[0].to_string());
        assert_eq!(ReviewerIdentity::parse("# nothing\n").unwrap_err(), KeyError::NoIdentity);
        assert_eq!(ReviewerIdentity::parse("\nhello\n").unwrap_err(), KeyError::NotAnIdentity { line: 2 });
    }
}
