//! Where messages end: a kind of one byte, a length of four that counts itself, and the body.
//!
//! A reader keeps what has not ended yet and asks again. Nothing is copied: a frame is a slice of what was read.

use bytes::{Bytes, BytesMut};

use super::Malformed;

/// Bytes before a body.
pub const HEAD: usize = 5;
/// The longest message that is taken whole, in bytes after its kind: PostgreSQL's own limit for most (`PQ_LARGE_MESSAGE_LIMIT`
/// is 1 GiB - 1) is more than a gate should hold for one connection.
pub const LONGEST: u32 = 64 << 20;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its first byte.
    pub kind: u8,
    /// All of it, the kind and the length included.
    pub bytes: Bytes,
}

impl Frame {
    /// What follows kind and length.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEAD.min(self.bytes.len())..)
    }
}

/// The length that a message's first bytes say, kind included; `None` when these are not there yet.
///
/// # Errors
/// When it is impossible.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let Some(said) = rest.first_chunk().map(|said| u32::from_be_bytes(*said)) else { return Ok(None) };
    if !(4..=LONGEST).contains(&said) {
        return Err(Malformed::Length { kind: kind.into(), length: said });
    }
    Ok(Some(usize::try_from(said).unwrap_or(usize::MAX).saturating_add(1)))
}

/// Takes the next whole message; `None` when more bytes are needed first.
///
/// # Errors
/// When its length is impossible.
pub fn next(bytes: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some(length) = length(bytes)? else { return Ok(None) };
    if bytes.len() < length {
        bytes.reserve(length.saturating_sub(bytes.len()));
        return Ok(None);
    }
    let bytes = bytes.split_to(length).freeze();
    let kind = bytes.first().copied().unwrap_or_default();
    Ok(Some(Frame { kind, bytes }))
}
