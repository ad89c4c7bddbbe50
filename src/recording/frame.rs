//! The bytes of a frame: its head, its kinds, the clear bodies of checkpoints and ends, and the limits.
//!
//! `FORMAT.md` parts 4 and 6. Nothing here encrypts (`seal.rs`, `reader.rs`) or does I/O.

use super::digest::{DIGEST_BYTES, Digest};
use super::parse::Fields;
use crate::model::signer::SIGNATURE_BYTES;

/// Length of a frame's head.
pub(super) const HEAD_BYTES: usize = 13;
/// Length of a GCM tag.
pub(super) const TAG_BYTES: usize = 16;
/// The most bytes of events one chunk may hold.
pub(super) const MAX_CONTENT: usize = 1 << 20;
/// The longest body a frame may have.
pub(super) const MAX_BODY: u32 = (1 << 20) + 64;
/// The shortest sealed body: a flag, one byte and the tag.
const MIN_SEALED: u32 = 18;
const CHECKPOINT_BODY: u32 = 96;
const END_BODY: u32 = 97;

const CHECKPOINT_LABEL: &[u8] = b"postern recording v1 checkpoint\n";
const END_LABEL: &[u8] = b"postern recording v1 end\n";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sealed events.
    Chunk,
    /// The sealed events with which the session ends.
    LastChunk,
    /// A signature over everything before, in clear.
    Checkpoint,
    /// The last frame, in clear.
    End,
}

impl Kind {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::LastChunk => 2,
            Self::Checkpoint => 3,
            Self::End => 4,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Chunk),
            2 => Some(Self::LastChunk),
            3 => Some(Self::Checkpoint),
            4 => Some(Self::End),
            _ => None,
        }
    }

    /// Whether a body of this length can belong to this kind.
    pub(super) const fn allows(self, length: u32) -> bool {
        match self {
            Self::Chunk | Self::LastChunk => length >= MIN_SEALED && length <= MAX_BODY,
            Self::Checkpoint => length == CHECKPOINT_BODY,
            Self::End => length == END_BODY,
        }
    }
}

/// How a recording came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bastion stopped, or dropped the recording, before the session was over.
    Cut,
    /// The session was over and the recording says why.
    Finished,
}

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Self::Finished => 1,
            Self::Cut => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Finished),
            2 => Some(Self::Cut),
            _ => None,
        }
    }
}

/// A frame's head, with the kind as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) code: u8,
    pub(super) counter: u64,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        let [e, f, g, h, i, j, k, l] = self.counter.to_be_bytes();
        [a, b, c, d, self.code, e, f, g, h, i, j, k, l]
    }

    pub(super) fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, d, code, e, f, g, h, i, j, k, l] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]);
        Self { length, code, counter: u64::from_be_bytes([e, f, g, h, i, j, k, l]) }
    }
}

/// What a checkpoint or an end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Set in an end.
    pub(super) outcome: Option<Outcome>,
    /// The chain's value before this frame.
    pub(super) chain: Digest,
    pub(super) signature: [u8; SIGNATURE_BYTES],
}

impl Claim {
    /// The kind of frame this is the body of.
    pub(super) const fn kind(&self) -> Kind {
        match self.outcome {
            None => Kind::Checkpoint,
            Some(_) => Kind::End,
        }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(1 + DIGEST_BYTES + SIGNATURE_BYTES);
        body.extend(self.outcome.map(Outcome::code));
        body.extend_from_slice(self.chain.as_bytes());
        body.extend_from_slice(&self.signature);
        body
    }

    /// Reads a body; `None` when it has another length or an unknown state.
    pub(super) fn parse(kind: Kind, body: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let outcome = match kind {
            Kind::Chunk | Kind::LastChunk => return None,
            Kind::Checkpoint => None,
            Kind::End => Some(Outcome::from_code(fields.u8()?)?),
        };
        let claim = Self { outcome, chain: Digest::new(fields.array()?), signature: fields.array()? };
        fields.is_empty().then_some(claim)
    }

    /// The bytes whose signature a claim carries.
    pub(super) fn message(
        header: &Digest,
        counter: u64,
        outcome: Option<Outcome>,
        chain: &Digest,
    ) -> Vec<u8> {
        let label = if outcome.is_some() { END_LABEL } else { CHECKPOINT_LABEL };
        let mut message = label.to_vec();
        message.extend_from_slice(header.as_bytes());
        message.extend_from_slice(&counter.to_be_bytes());
        message.extend(outcome.map(Outcome::code));
        message.extend_from_slice(chain.as_bytes());
        message
    }
}

/// The nonce of a sealed frame: its counter, and whether it is the last.
pub(super) fn nonce(counter: u64, kind: Kind) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_be_bytes();
    [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(kind == Kind::LastChunk)]
}

/// What a sealed frame's tag covers besides its body.
pub(super) fn associated(header: &Digest, head: &[u8; HEAD_BYTES]) -> [u8; DIGEST_BYTES + HEAD_BYTES] {
    let mut out = [0; DIGEST_BYTES + HEAD_BYTES];
    out.iter_mut().zip(header.as_bytes().iter().chain(head)).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_survives(length: u32, code: u8, counter: u64) {
            let head = Head { length, code, counter };
            prop_assert_eq!(Head::parse(head.to_bytes()), head);
        }

        #[test]
        fn a_body_that_reads_as_a_claim_is_exactly_that_claim(body in proptest::collection::vec(any::<u8>(), 94..100)) {
            for kind in [Kind::Checkpoint, Kind::End] {
                if let Some(claim) = Claim::parse(kind, &body) {
                    prop_assert_eq!(claim.kind(), kind);
                    prop_assert_eq!(claim.body(), body.clone());
                }
            }
        }

        #[test]
        fn no_two_frames_share_a_nonce(a: u64, b: u64) {
            prop_assert_eq!(a == b, nonce(a, Kind::Chunk) == nonce(b, Kind::Chunk));
            prop_assert_ne!(nonce(a, Kind::Chunk), nonce(b, Kind::LastChunk));
        }
    }
}
