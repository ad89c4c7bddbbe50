//! A 32-byte digest that prints as lower-case hex. What it is a digest of, the name of its holder says.
//!
//! Comparing two of them is not secret-dependent work: digests here are public. Keys have types of their own in
//! `key.rs`.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// Length of a digest.
pub(super) const DIGEST_BYTES: usize = 32;

/// A SHA-256 or BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// A digest from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotADigest)?;
        bytes.try_into().map(Self).map_err(|_| NotADigest)
    }
}

/// BLAKE3-256 of some bytes.
pub(super) fn blake3(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// The chain's next value: BLAKE3-256 over the value before and the frame's digest.
pub(super) fn chain(before: &Digest, frame: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before.0).update(&frame.0);
    Digest(*hasher.finalize().as_bytes())
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> Digest {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; DIGEST_BYTES];
    out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    Digest(out)
}
