//! The recording's header: who it belongs to, who signs it, and its key wrapped to the reviewers.
//!
//! `FORMAT.md` parts 1 and 2. The wrapped key is opened in `key.rs`.

use super::digest::{Digest, sha256};
use super::error::RecordingError;
use super::parse::Fields;
use crate::model::signer::{PUBLIC_KEY_BYTES, SIGNATURE_BYTES, is_signed_by};
use crate::model::{SessionId, SignError, Signer, Timestamp};

/// How every recording begins.
pub(super) const MAGIC: [u8; 8] = *b"\x89PSTN\r\n\x1a";
/// The version written, and the only one read.
pub(super) const VERSION: u16 = 1;
/// Length of magic, version and header length.
pub(super) const PRELUDE_BYTES: usize = 14;
/// Length of the header without its wrapped key.
const FIXED_BYTES: usize = 176;
/// The longest header.
pub(super) const MAX_HEADER: usize = 65_536;
const LABEL: &[u8] = b"postern recording v1 header\n";

/// What a recording says about itself in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The recording's random id.
    pub recording: [u8; 16],
    /// The session it records.
    pub session: SessionId,
    /// Wall time at event time zero.
    pub started: Timestamp,
    /// The node key that signs it.
    pub signer: [u8; PUBLIC_KEY_BYTES],
    pub(super) commitment: [u8; 32],
    pub(super) wrapped: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
    hash: Digest,
}

/// The fields a header is made from.
pub(super) struct Parts {
    pub(super) recording: [u8; 16],
    pub(super) session: SessionId,
    pub(super) started: Timestamp,
    pub(super) commitment: [u8; 32],
    pub(super) wrapped: Vec<u8>,
}

impl Header {
    /// Signs a header; answers with it and the bytes that open the file.
    pub(super) fn sign(parts: Parts, signer: &dyn Signer) -> Result<(Self, Vec<u8>), SignError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        let length = u32::try_from(FIXED_BYTES + parts.wrapped.len()).map_err(|_| SignError::Unusable)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&parts.recording);
        bytes.extend_from_slice(parts.session.as_str().as_bytes());
        bytes.extend_from_slice(&parts.started.as_microsecond().to_be_bytes());
        bytes.extend_from_slice(&signer.public_key());
        bytes.extend_from_slice(&parts.commitment);
        let wrapped = u32::try_from(parts.wrapped.len()).map_err(|_| SignError::Unusable)?;
        bytes.extend_from_slice(&wrapped.to_be_bytes());
        bytes.extend_from_slice(&parts.wrapped);
        let signature = signer.sign(&message(&bytes))?;
        bytes.extend_from_slice(&signature);
        let Parts { recording, session, started, commitment, wrapped } = parts;
        let (signer, hash) = (signer.public_key(), sha256(&bytes));
        Ok((Self { recording, session, started, signer, commitment, wrapped, signature, hash }, bytes))
    }

    /// Reads prelude and header. The signature is checked by [`Self::check_signature`].
    pub(super) fn parse(prelude: &[u8; PRELUDE_BYTES], body: &[u8]) -> Result<Self, RecordingError> {
        let mut whole = prelude.to_vec();
        whole.extend_from_slice(body);
        let hash = sha256(&whole);
        fields(body, hash).ok_or(RecordingError::HeaderDamaged { what: "a field is malformed" })
    }

    /// SHA-256 over everything before the first frame.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// Tests the node key's signature over `prelude` and header `body`.
    pub(super) fn check_signature(
        &self,
        prelude: &[u8; PRELUDE_BYTES],
        body: &[u8],
    ) -> Result<(), RecordingError> {
        let signed =
            body.len().checked_sub(SIGNATURE_BYTES).and_then(|end| body.get(..end)).unwrap_or_default();
        let whole: Vec<u8> = prelude.iter().chain(signed).copied().collect();
        if is_signed_by(&self.signer, &message(&whole), &self.signature) {
            Ok(())
        } else {
            Err(RecordingError::HeaderDamaged { what: "its signature does not hold" })
        }
    }
}

/// Tests the prelude and gives the header's length.
pub(super) fn parse_prelude(prelude: &[u8; PRELUDE_BYTES]) -> Result<usize, RecordingError> {
    let mut fields = Fields::new(prelude);
    if fields.take(MAGIC.len()) != Some(MAGIC.as_slice()) {
        return Err(RecordingError::NotARecording);
    }
    let version = fields.u16().unwrap_or_default();
    if version != VERSION {
        return Err(RecordingError::UnknownVersion { version });
    }
    let length = fields.u32().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    if length <= FIXED_BYTES || length > MAX_HEADER {
        return Err(RecordingError::HeaderDamaged { what: "its length is out of bounds" });
    }
    Ok(length)
}

fn fields(body: &[u8], hash: Digest) -> Option<Header> {
    let mut fields = Fields::new(body);
    let recording = fields.array()?;
    let session = std::str::from_utf8(fields.take(20)?).ok()?.parse().ok()?;
    let started = Timestamp::from_microsecond(fields.i64()?).ok()?;
    let signer = fields.array()?;
    let commitment = fields.array()?;
    let length = usize::try_from(fields.u32()?).ok()?;
    let wrapped = fields.take(length)?.to_vec();
    let signature = fields.array()?;
    let header = Header { recording, session, started, signer, commitment, wrapped, signature, hash };
    (fields.is_empty() && !header.wrapped.is_empty()).then_some(header)
}

fn message(signed: &[u8]) -> Vec<u8> {
    let mut message = LABEL.to_vec();
    message.extend_from_slice(signed);
    message
}
