//! A recording's keys: made here, wrapped to reviewers as an age file, opened with a reviewer's identity.
//!
//! `FORMAT.md` part 3. X25519 recipients and hardware keys (`hardware.rs`), or post-quantum ones (`hybrid.rs`), never both
//! for one recording. A bastion never runs an age plugin, so recipients that need one are refused.

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::{ExposeSecret, SecretString};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::digest::Digest;
use super::error::RecordingError;
use super::header::Header;
use super::plugin::{self, Ask};
use super::{hardware, hybrid};
use crate::model::Secret;

/// Length of a file key.
pub(super) const FILE_KEY_BYTES: usize = 32;
/// The most reviewers a recording is encrypted to: their stanzas must fit the header.
pub const MAX_RECIPIENTS: usize = 256;
/// The same for post-quantum ones, whose stanzas are fifteen times as long.
const MAX_HYBRID_RECIPIENTS: usize = 32;
const COMMITMENT_INFO: &[u8] = b"postern recording v1 commitment";
const PAYLOAD_INFO: &[u8] = b"postern recording v1 payload";

/// A recording's key.
pub(super) type FileKey = Secret<[u8; FILE_KEY_BYTES]>;

/// What is wrong with a recipient or an identity, or with making a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Recipients of both kinds.
    #[error("age1pq… recipients cannot be mixed with others: whoever breaks the weaker reads the recording")]
    MixedRecipients,
    /// A text that is no identity.
    #[error(
        "line {line} is no age identity: expected AGE-SECRET-KEY-1…, AGE-SECRET-KEY-PQ-1… or AGE-PLUGIN-…"
    )]
    NotAnIdentity {
        /// Where it is.
        line: usize,
    },
    /// A text that is no recipient.
    #[error(
        "{0:?} is no age recipient: expected age1… and 58 characters, age1pq1…, or of a hardware key age1tag1…, \
         age1yubikey1… or age1se1…; others need a plugin here, and a bastion runs none"
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
    #[error("a recording can have at most {0} recipients of this kind")]
    TooManyRecipients(usize),
}

/// The public end of a reviewer's key: recordings are encrypted to it.
#[derive(Clone)]
pub struct Recipient(Public);

#[derive(Clone)]
enum Public {
    Classic(age::x25519::Recipient),
    Hardware(hardware::Recipient),
    Hybrid(hybrid::Recipient),
}

impl FromStr for Recipient {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::NotARecipient(text.chars().take(80).collect());
        let text = text.trim();
        let classic = text.parse().map(Public::Classic).map_err(|_| ());
        let public = classic
            .or_else(|()| text.parse().map(Public::Hardware))
            .or_else(|()| text.parse().map(Public::Hybrid));
        public.map(Self).map_err(|()| wrong())
    }
}

impl Recipient {
    /// Whether it stays closed to a quantum computer.
    #[must_use]
    pub const fn is_hybrid(&self) -> bool {
        matches!(self.0, Public::Hybrid(_))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Public::Classic(recipient) => fmt::Display::fmt(recipient, f),
            Public::Hardware(recipient) => fmt::Display::fmt(recipient, f),
            Public::Hybrid(recipient) => fmt::Display::fmt(recipient, f),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Recipients from their texts, when recordings may be encrypted to them together.
///
/// # Errors
/// When one is none, or some are post-quantum and some are not.
pub fn parse_recipients<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<Recipient>, KeyError> {
    let recipients = texts.into_iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, _>>()?;
    are_of_one_kind(&recipients).map(|()| recipients)
}

fn are_of_one_kind(recipients: &[Recipient]) -> Result<(), KeyError> {
    let hybrid = recipients.iter().filter(|recipient| recipient.is_hybrid()).count();
    let most = if hybrid > 0 { MAX_HYBRID_RECIPIENTS } else { MAX_RECIPIENTS };
    match hybrid {
        _ if recipients.len() > most => Err(KeyError::TooManyRecipients(most)),
        0 => Ok(()),
        _ if hybrid == recipients.len() => Ok(()),
        _ => Err(KeyError::MixedRecipients),
    }
}

/// The private end: one or more age identities, as an identity file holds them.
///
/// What it opens of a recording is its header's wrapped key, or one that was wrapped again and is known here
/// ([`Self::learn`]).
pub struct ReviewerIdentity {
    identities: Vec<Private>,
    /// By the recording's id.
    rewrapped: Mutex<HashMap<[u8; 16], Vec<u8>>>,
}

enum Private {
    Classic(age::x25519::Identity),
    Hybrid(hybrid::Identity),
    Plugin(plugin::Identity),
}

impl Private {
    fn parse(line: &str) -> Option<Self> {
        let classic = line.parse().map(Self::Classic).ok();
        classic
            .or_else(|| line.parse().map(Self::Hybrid).ok())
            .or_else(|| plugin::Identity::parse(line).map(Self::Plugin))
    }

    fn to_secret_text(&self) -> SecretString {
        match self {
            Self::Classic(identity) => identity.to_string(),
            Self::Hybrid(identity) => identity.to_secret_text(),
            Self::Plugin(identity) => identity.to_secret_text(),
        }
    }

    /// `None` for a hardware key: only its plugin knows.
    fn to_public(&self) -> Option<Public> {
        match self {
            Self::Classic(identity) => Some(Public::Classic(identity.to_public())),
            Self::Hybrid(identity) => identity.to_public().map(Public::Hybrid),
            Self::Plugin(_) => None,
        }
    }
}

impl ReviewerIdentity {
    /// A fresh identity that every age tool reads.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(vec![Private::Classic(age::x25519::Identity::generate())])
    }

    /// A fresh post-quantum identity; age tools of 2026 and later read it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_hybrid() -> Result<Self, KeyError> {
        Ok(Self::of(vec![Private::Hybrid(hybrid::Identity::generate()?)]))
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
                found.push(Private::parse(line).ok_or(KeyError::NotAnIdentity { line: index + 1 })?);
            }
        }
        if found.is_empty() { Err(KeyError::NoIdentity) } else { Ok(Self::of(found)) }
    }

    fn of(identities: Vec<Private>) -> Self {
        Self { identities, rewrapped: Mutex::default() }
    }

    /// Takes a recording's key as it was wrapped again (`FORMAT.md` part 3), to be tried when the header's is for others.
    pub fn learn(&self, header: &Header, wrapped: Vec<u8>) {
        let mut known = self.rewrapped.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(header.recording, wrapped);
    }

    /// The identity lines, for a file only its owner may read.
    #[must_use]
    pub fn to_secret_text(&self) -> SecretString {
        let lines: Vec<SecretString> = self.identities.iter().map(Private::to_secret_text).collect();
        let mut text = String::new();
        for line in &lines {
            text.push_str(line.expose_secret());
            text.push('\n');
        }
        SecretString::from(text)
    }

    /// Lets hardware keys talk with somebody, who is asked to touch them or for a PIN.
    #[must_use]
    pub fn asking(mut self, ask: &Arc<dyn Ask>) -> Self {
        for identity in &mut self.identities {
            if let Private::Plugin(identity) = identity {
                identity.ask(Arc::clone(ask));
            }
        }
        self
    }

    /// Why a hardware key could not be tried, if one could not.
    fn trouble(&self) -> Option<String> {
        self.identities
            .iter()
            .find_map(|one| if let Private::Plugin(one) = one { one.trouble() } else { None })
    }

    /// The recipients recordings are encrypted to for this identity, as far as it knows them itself.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        self.identities.iter().filter_map(|identity| identity.to_public().map(Recipient)).collect()
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
    are_of_one_kind(recipients)?;
    let each = recipients.iter().map(|recipient| match &recipient.0 {
        Public::Classic(recipient) => recipient as &dyn age::Recipient,
        Public::Hardware(recipient) => recipient,
        Public::Hybrid(recipient) => recipient,
    });
    let encryptor = age::Encryptor::with_recipients(each).map_err(|_| KeyError::Unavailable)?;
    let mut writer = encryptor.wrap_output(Vec::new()).map_err(|_| KeyError::Unavailable)?;
    writer.write_all(key.expose()).map_err(|_| KeyError::Unavailable)?;
    writer.finish().map_err(|_| KeyError::Unavailable)
}

/// Opens a recording's key: the header's, or else one that was wrapped again.
pub(super) fn unlock(header: &Header, identity: &ReviewerIdentity) -> Result<FileKey, RecordingError> {
    let damaged =
        RecordingError::HeaderDamaged { what: "the wrapped key is no age file with 32 bytes in it" };
    let closed = match unwrap(&header.wrapped, identity, header, damaged) {
        Err(error @ (RecordingError::WrongKey | RecordingError::KeyUnusable { .. })) => error,
        other => return other,
    };
    let rewrapped = identity.rewrapped.lock().unwrap_or_else(PoisonError::into_inner);
    let wrapped = rewrapped.get(&header.recording).cloned().ok_or(closed)?;
    drop(rewrapped);
    unwrap(&wrapped, identity, header, RecordingError::RewrapDamaged)
}

/// Wraps a recording's key again, to `recipients`. The recording is not touched: its header's wrapped key stays.
///
/// # Errors
/// When the identity does not open the recording, or the recipients cannot be wrapped to together.
pub fn rewrap(
    header: &Header,
    identity: &ReviewerIdentity,
    recipients: &[Recipient],
) -> Result<Vec<u8>, RewrapError> {
    Ok(wrap(&unlock(header, identity)?, recipients)?)
}

/// Why a recording's key was not wrapped again.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// The recipients are none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The recording was not opened.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// Opens a wrapped file key and checks it against the header's commitment.
fn unwrap(
    wrapped: &[u8],
    identity: &ReviewerIdentity,
    header: &Header,
    damaged: RecordingError,
) -> Result<FileKey, RecordingError> {
    let Ok(decryptor) = age::Decryptor::new_buffered(wrapped) else { return Err(damaged) };
    let identities = identity.identities.iter().map(|identity| match identity {
        Private::Classic(identity) => identity as &dyn age::Identity,
        Private::Hybrid(identity) => identity,
        Private::Plugin(identity) => identity,
    });
    let opened = decryptor.decrypt(identities);
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => {
            let why = identity.trouble();
            return Err(why.map_or(RecordingError::WrongKey, |why| RecordingError::KeyUnusable { why }));
        }
        Err(_) => return Err(damaged),
    };
    let mut key = [0; FILE_KEY_BYTES];
    let is_read = reader.read_exact(&mut key).is_ok();
    let key = Secret::new(key);
    if !is_read || !matches!(reader.read(&mut [0; 1]), Ok(0)) {
        return Err(damaged);
    }
    let commitment = commitment(&key, &header.recording).map_err(|_| RecordingError::CommitmentMismatch)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(&commitment, &header.commitment)
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
#[path = "key_tests.rs"]
mod tests;
