//! A recording's keys: made here, wrapped to reviewers as an age file, opened with a reviewer's identity.
//!
//! `FORMAT.md` part 3. X25519 recipients and hardware keys (`hardware.rs`), or post-quantum ones (`hybrid.rs`), never both
//! for one recording. A bastion never runs an age plugin, so recipients that need one are refused.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;
use std::sync::Arc;

use age::secrecy::{ExposeSecret, SecretString};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::digest::Digest;
use super::error::RecordingError;
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
pub struct ReviewerIdentity(Vec<Private>);

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
        Self(vec![Private::Classic(age::x25519::Identity::generate())])
    }

    /// A fresh post-quantum identity; age tools of 2026 and later read it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_hybrid() -> Result<Self, KeyError> {
        Ok(Self(vec![Private::Hybrid(hybrid::Identity::generate()?)]))
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
        if found.is_empty() { Err(KeyError::NoIdentity) } else { Ok(Self(found)) }
    }

    /// The identity lines, for a file only its owner may read.
    #[must_use]
    pub fn to_secret_text(&self) -> SecretString {
        let lines: Vec<SecretString> = self.0.iter().map(Private::to_secret_text).collect();
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
        for identity in &mut self.0 {
            if let Private::Plugin(identity) = identity {
                identity.ask(Arc::clone(ask));
            }
        }
        self
    }

    /// Why a hardware key could not be tried, if one could not.
    fn trouble(&self) -> Option<String> {
        self.0.iter().find_map(|one| if let Private::Plugin(one) = one { one.trouble() } else { None })
    }

    /// The recipients recordings are encrypted to for this identity, as far as it knows them itself.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().filter_map(|identity| identity.to_public().map(Recipient)).collect()
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
    let identities = identity.0.iter().map(|identity| match identity {
        Private::Classic(identity) => identity as &dyn age::Identity,
        Private::Hybrid(identity) => identity,
        Private::Plugin(identity) => identity,
    });
    let mut reader = decryptor.decrypt(identities).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed => {
            identity.trouble().map_or(RecordingError::WrongKey, |why| RecordingError::KeyUnusable { why })
        }
        age::DecryptError::ExcessiveWork { .. }
        | age::DecryptError::InvalidHeader
        | age::DecryptError::InvalidMac
        | age::DecryptError::Io(_)
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::MissingPlugin { .. }
        | age::DecryptError::Plugin(_)
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
    fn a_post_quantum_key_opens_for_its_reviewers_and_is_not_mixed_with_others() {
        let (one, two, classic) = (
            ReviewerIdentity::generate_hybrid().unwrap(),
            ReviewerIdentity::generate_hybrid().unwrap(),
            ReviewerIdentity::generate(),
        );
        let key = fresh().unwrap();
        let committed = commitment(&key, &[1; 16]).unwrap();
        let mut recipients: Vec<_> = one.recipients().into_iter().chain(two.recipients()).collect();
        let wrapped = wrap(&key, &recipients).unwrap();
        let again = ReviewerIdentity::parse(two.to_secret_text().expose_secret()).unwrap();
        for identity in [&one, &two, &again] {
            assert_eq!(unwrap(&wrapped, identity, &[1; 16], &committed).unwrap().expose(), key.expose());
        }
        assert_eq!(unwrap(&wrapped, &classic, &[1; 16], &committed).unwrap_err().name(), "wrong_key");
        assert_eq!(
            recipients[0].to_string().parse::<Recipient>().unwrap().to_string(),
            recipients[0].to_string()
        );
        recipients.extend(classic.recipients());
        assert_eq!(wrap(&key, &recipients).unwrap_err(), KeyError::MixedRecipients);
    }

    #[test]
    fn recipients_that_need_a_plugin_are_refused_by_name() {
        for text in [
            "age1tpm1qg86fn5esp30u9h6jy6zvu9gcsvnac09vn8jzjxt8s3qtlcv5h2x287wm36",
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
