//! The writing side of the container: turns encoded events into sealed frames, and keeps counter, chain and key.
//!
//! One `Sealer` belongs to one recording and is used under that recording's lock, so frames leave in counter order.
//! Sealing is aws-lc-rs; opening (`reader.rs`) is another implementation on purpose.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;

use super::compress;
use super::digest::{Digest, blake3, chain};
use super::frame::{Claim, HEAD_BYTES, Head, Kind, Outcome, TAG_BYTES, associated, nonce};
use super::key::{self, FileKey, KeyError};
use crate::model::{SignError, Signer};

/// Where a chunk's content begins in its buffer: after the head and the compression flag.
const CONTENT_AT: usize = HEAD_BYTES + 1;

/// One frame, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// BLAKE3 of the bytes.
    pub(super) digest: Digest,
}

/// Why nothing was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The cipher refused, which it has no reason to.
    #[error("the cipher failed")]
    Cipher,
    /// The chunk is longer than a frame may be.
    #[error("an event is too long for a chunk")]
    TooLong,
    /// The payload key could not be derived.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A checkpoint could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// The key, the counter and the chain of one recording being written.
pub(super) struct Sealer {
    cipher: LessSafeKey,
    signer: Arc<dyn Signer>,
    header: Digest,
    chain: Digest,
    next: u64,
}

impl Sealer {
    pub(super) fn new(key: &FileKey, header: Digest, signer: Arc<dyn Signer>) -> Result<Self, SealError> {
        let payload = key::payload(key, &header)?;
        let unbound = UnboundKey::new(&AES_256_GCM, payload.expose()).map_err(|_| SealError::Cipher)?;
        Ok(Self { cipher: LessSafeKey::new(unbound), signer, header, chain: header, next: 0 })
    }

    /// A buffer for one chunk: encode the events behind what it holds.
    pub(super) fn buffer(capacity: usize) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(CONTENT_AT + capacity + TAG_BYTES);
        buffer.resize(CONTENT_AT, 0);
        buffer
    }

    /// Seals a buffer that [`Self::buffer`] made and events were encoded into.
    pub(super) fn chunk(&mut self, mut buffer: Vec<u8>, kind: Kind) -> Result<Frame, SealError> {
        if buffer.len() > CONTENT_AT + super::frame::MAX_CONTENT {
            return Err(SealError::TooLong);
        }
        let content = buffer.get(CONTENT_AT..).unwrap_or_default();
        if let Some(packed) = compress::compress(content) {
            let length = u32::try_from(content.len()).map_err(|_| SealError::TooLong)?;
            buffer.truncate(HEAD_BYTES);
            buffer.push(1);
            buffer.extend_from_slice(&length.to_be_bytes());
            buffer.extend_from_slice(&packed);
            buffer.shrink_to(buffer.len() + TAG_BYTES);
        }
        let body = u32::try_from(buffer.len() - HEAD_BYTES + TAG_BYTES).map_err(|_| SealError::TooLong)?;
        let head = Head { length: body, code: kind.code(), counter: self.next }.to_bytes();
        let (front, plain) = buffer.split_at_mut_checked(HEAD_BYTES).ok_or(SealError::TooLong)?;
        front.copy_from_slice(&head);
        let nonce = Nonce::assume_unique_for_key(nonce(self.next, kind));
        let aad = Aad::from(associated(&self.header, &head));
        let tag = self.cipher.seal_in_place_separate_tag(nonce, aad, plain).map_err(|_| SealError::Cipher)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(self.follow(buffer))
    }

    /// A signature over everything so far.
    pub(super) fn checkpoint(&mut self) -> Result<Frame, SealError> {
        self.claim(None)
    }

    /// The last frame.
    pub(super) fn end(&mut self, outcome: Outcome) -> Result<Frame, SealError> {
        self.claim(Some(outcome))
    }

    /// The chain over every frame so far, and the next frame's counter.
    pub(super) const fn position(&self) -> (Digest, u64) {
        (self.chain, self.next)
    }

    fn claim(&mut self, outcome: Option<Outcome>) -> Result<Frame, SealError> {
        let bytes = sign_claim(&*self.signer, &self.header, self.next, outcome, &self.chain)?;
        Ok(self.follow(bytes))
    }

    fn follow(&mut self, bytes: Vec<u8>) -> Frame {
        let digest = blake3(&bytes);
        self.chain = chain(&self.chain, &digest);
        self.next += 1;
        Frame { bytes: Bytes::from(bytes), digest }
    }
}

/// The bytes of a checkpoint or end. Recovery uses it too: it needs no file key.
pub(super) fn sign_claim(
    signer: &dyn Signer,
    header: &Digest,
    counter: u64,
    outcome: Option<Outcome>,
    chain: &Digest,
) -> Result<Vec<u8>, SignError> {
    let signature = signer.sign(&Claim::message(header, counter, outcome, chain))?;
    let claim = Claim { outcome, chain: *chain, signature };
    let body = claim.body();
    let length = u32::try_from(body.len()).map_err(|_| SignError::Unusable)?;
    let head = Head { length, code: claim.kind().code(), counter };
    Ok(head.to_bytes().into_iter().chain(body).collect())
}
