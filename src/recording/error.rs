//! What can be wrong with a recording, by the names of `FORMAT.md` part 7. Errors of writing are in `failure.rs`.
//!
//! Cut short, altered, reordered and opened with the wrong key are different findings in an investigation, so they are
//! different errors, and the vectors in `recordings-schema/` hold each to its name.

use data_encoding::HEXLOWER;

/// Why a recording cannot be read, or does not hold. The first thing wrong, in the order of the file.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The digest a checkpoint signs is not that of the bytes before it: they were changed.
    #[error(
        "frame {counter}: what comes before this checkpoint is not what the bastion signed: it was changed"
    )]
    ChainBroken {
        /// The checkpoint or end.
        counter: u64,
    },
    /// A checkpoint's signature does not hold.
    #[error("frame {counter}: the checkpoint's signature is not the bastion's: it was forged or damaged")]
    CheckpointForged {
        /// The checkpoint or end.
        counter: u64,
    },
    /// The key inside is not the one the header commits to.
    #[error("the key in this recording is not the one its header commits to: do not trust it")]
    CommitmentMismatch,
    /// A frame occurs twice.
    #[error("frame {counter} occurs twice")]
    Duplicate {
        /// Which.
        counter: u64,
    },
    /// What a sealed frame holds breaks the format.
    #[error("frame {counter}: its content is malformed: {what}")]
    EventMalformed {
        /// Which frame.
        counter: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A frame is damaged.
    #[error("frame {counter} is damaged: {what}")]
    FrameDamaged {
        /// Which.
        counter: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The header is damaged.
    #[error("the recording's header is damaged: {what}")]
    HeaderDamaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The file could not be read.
    #[error("the recording could not be read: {0}")]
    Io(#[from] std::io::Error),
    /// A hardware key could not be tried.
    #[error("the recording may be for your hardware key, which could not be used: {why}")]
    KeyUnusable {
        /// What its plugin says.
        why: String,
    },
    /// A length is above what the format allows.
    #[error("frame {counter}: a length of {length} is above the limit of {limit}")]
    LimitExceeded {
        /// Which frame.
        counter: u64,
        /// The length said.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A frame stands where its kind may not.
    #[error("frame {counter} may not stand where it does")]
    Misplaced {
        /// Which.
        counter: u64,
    },
    /// A frame is gone.
    #[error("frame {counter} is missing")]
    Missing {
        /// The first that is gone.
        counter: u64,
    },
    /// The file does not begin like a recording.
    #[error("this is not a recording")]
    NotARecording,
    /// Frames were put in another order.
    #[error("frame {counter} comes later than its place: the frames were put in another order")]
    OutOfOrder {
        /// The one that comes too late.
        counter: u64,
    },
    /// The header's key is for others, and the one that was wrapped again is no age file with a key in it.
    #[error("the key that was wrapped again is damaged; have a reviewer wrap it once more")]
    RewrapDamaged,
    /// An event is earlier than the one before it.
    #[error("frame {counter}: time runs backwards")]
    TimeReversed {
        /// Which frame.
        counter: u64,
    },
    /// Bytes follow the end.
    #[error("something follows the end of the recording")]
    TrailingData,
    /// There is no end frame.
    #[error("the recording has no end{}: it is still being written, or the rest was cut off",
        .last_good.map_or_else(String::new, |n| format!(" after frame {n}")))]
    Truncated {
        /// The last whole frame.
        last_good: Option<u64>,
    },
    /// The version is not one this program reads.
    #[error("this recording has version {version}, and this program reads version 1: use a newer postern")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
    /// The node key is not trusted.
    #[error("signed by a key that is not trusted: {}", HEXLOWER.encode(.key))]
    UntrustedSigner {
        /// The header's node key.
        key: [u8; 32],
    },
    /// The identity is not one of this recording's reviewers.
    #[error("this identity cannot open the recording: it was not among its reviewers")]
    WrongKey,
}

impl RecordingError {
    /// The name `FORMAT.md` gives this error.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ChainBroken { .. } => "chain_broken",
            Self::CheckpointForged { .. } => "checkpoint_forged",
            Self::CommitmentMismatch => "commitment_mismatch",
            Self::Duplicate { .. } => "duplicate",
            Self::EventMalformed { .. } => "event_malformed",
            Self::FrameDamaged { .. } => "frame_damaged",
            Self::HeaderDamaged { .. } => "header_damaged",
            Self::Io(_) => "io",
            Self::KeyUnusable { .. } => "key_unusable",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Misplaced { .. } => "misplaced",
            Self::Missing { .. } => "missing",
            Self::NotARecording => "not_a_recording",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::RewrapDamaged => "rewrap_damaged",
            Self::TimeReversed { .. } => "time_reversed",
            Self::TrailingData => "trailing_data",
            Self::Truncated { .. } => "truncated",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::UntrustedSigner { .. } => "untrusted_signer",
            Self::WrongKey => "wrong_key",
        }
    }
}
