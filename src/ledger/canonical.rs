//! An entry's bytes and what is hashed over them. The same entry always has the same bytes, on every machine.
//!
//! Read next: `tree.rs`.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::entry::{Entry, RequestFacts};

/// An entry that cannot be a leaf, or bytes that are no entry.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The bytes are not an entry of a version this program knows.
    #[error("entry {seq} cannot be read: {cause}; was it written by a newer version?")]
    Unreadable {
        /// The index asked for.
        seq: u64,
        /// What is wrong.
        cause: String,
    },
    /// It does not fit a tile's entry bundle.
    #[error("the entry is {bytes} bytes long; at most {} fit", Entry::LONGEST)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Entry {
    /// The version written by this program.
    pub const VERSION: u8 = 1;
    /// The most bytes an entry may have: entry bundles count in 16 bits (C2SP `tlog-tiles`).
    pub const LONGEST: usize = 65_535;

    /// The canonical bytes: what is stored and hashed.
    ///
    /// # Errors
    /// When they would not fit a leaf.
    pub fn canonical(&self) -> Result<Vec<u8>, CanonicalError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| CanonicalError::Unreadable { seq: self.seq, cause: e.to_string() })?;
        if bytes.len() > Self::LONGEST {
            return Err(CanonicalError::TooLong { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Reads back what [`Self::canonical`] wrote at index `seq`.
    ///
    /// # Errors
    /// When the bytes are not exactly that entry's canonical bytes.
    pub fn parse(seq: u64, bytes: &[u8]) -> Result<Self, CanonicalError> {
        let unreadable = |cause: String| CanonicalError::Unreadable { seq, cause };
        let entry: Self = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        if entry.v != Self::VERSION {
            return Err(unreadable(format!("its version is {}", entry.v)));
        }
        if entry.seq != seq {
            return Err(unreadable(format!("it says it is entry {}", entry.seq)));
        }
        // White space, a field nobody knows, another order: two byte strings must not be one entry, for only one of
        // them has the entry's hash.
        if entry.canonical()? != bytes {
            return Err(unreadable("the same entry is written in other bytes".to_owned()));
        }
        Ok(entry)
    }
}

impl RequestFacts {
    /// SHA-256 of the canonical JSON, lower-case hex: what approvals sign.
    #[must_use]
    pub fn hash(&self) -> String {
        // JSON of these types cannot fail. Were it to, the empty text is no hash and matches none.
        serde_json::to_vec(self)
            .map(|bytes| HEXLOWER.encode(digest::digest(&digest::SHA256, &bytes).as_ref()))
            .unwrap_or_default()
    }
}
