//! Why a session ended: one exhaustive list with no "other".
//!
//! The same reason stands in the recording, in the ledger and on the operator's screen. A new way to end is a new variant,
//! with its sentence. Never here: the ending itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The one reason a session has when it is over. Recorded, written to the ledger and shown to the operator.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The client sent more than the gate would hold for it.
    ClientFlooded,
    /// The client closed the connection, or it broke.
    ClientLeft,
    /// The client began a key exchange and did not finish it.
    ClientStalled,
    /// The bastion, or its part for this session, stopped without finishing the session; the sweeper ended it.
    Crashed,
    /// The disk is too full to go on recording.
    DiskFull,
    /// The bastion is being stopped and the drain time is over.
    Drained,
    /// Everything was revoked.
    EverythingRevoked,
    /// The change feed is older than the node's lease, so a revocation might have been missed.
    FeedStale,
    /// The grant's window is over.
    GrantExpired,
    /// The grant was revoked.
    GrantRevoked,
    /// Nothing was sent for longer than the idle limit.
    Idle,
    /// The ledger could not be written.
    LedgerFailed,
    /// The ledger's witnesses do not vouch for it as it is.
    LedgerUnwitnessed,
    /// No credential could be minted.
    MintFailed,
    /// The person was disabled, or everything of theirs was revoked.
    PersonRevoked,
    /// Policy no longer allows the session.
    PolicyChanged,
    /// The client broke the protocol.
    ProtocolViolated,
    /// The recorder failed.
    RecorderFailed,
    /// The disk did not keep up with what was recorded, for longer than what waits for it can be held.
    RecorderOverrun,
    /// The session was ended by hand.
    SessionTerminated,
    /// The target's host key is not the one pinned.
    TargetKeyChanged,
    /// The target closed the connection, or it broke.
    TargetLeft,
    /// The target did not accept the minted credential.
    TargetRefused,
    /// The target was removed, or everything on it was revoked.
    TargetRevoked,
    /// The target began a key exchange and did not finish it.
    TargetStalled,
    /// The target could not be reached.
    TargetUnreachable,
    /// The target broke a protocol that is followed inside a channel.
    TargetViolated,
    /// The session reached the longest time a session may last here.
    TooLong,
}

impl EndReason {
    /// Whether a client is told when its session is cut for this. One that breaks the protocol or floods is not
    /// spoken with, and one that left is not there.
    #[must_use]
    pub const fn is_told(self) -> bool {
        !self.is_departure()
            && !matches!(
                self,
                Self::ClientFlooded | Self::ClientStalled | Self::Crashed | Self::ProtocolViolated
            )
    }

    /// Whether the session merely came to its end, with nobody's right to go on taken away: whoever shares a
    /// connection with it stays.
    #[must_use]
    pub const fn is_departure(self) -> bool {
        match self {
            Self::ClientLeft
            | Self::MintFailed
            | Self::TargetKeyChanged
            | Self::TargetLeft
            | Self::TargetRefused
            | Self::TargetStalled
            | Self::TargetUnreachable => true,
            Self::ClientFlooded
            | Self::ClientStalled
            | Self::Crashed
            | Self::DiskFull
            | Self::Drained
            | Self::EverythingRevoked
            | Self::FeedStale
            | Self::GrantExpired
            | Self::GrantRevoked
            | Self::Idle
            | Self::LedgerFailed
            | Self::LedgerUnwitnessed
            | Self::PersonRevoked
            | Self::PolicyChanged
            | Self::ProtocolViolated
            | Self::RecorderFailed
            | Self::RecorderOverrun
            | Self::SessionTerminated
            | Self::TargetRevoked
            | Self::TargetViolated
            | Self::TooLong => false,
        }
    }

    /// Its name in the ledger, in recordings and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientFlooded => "client_flooded",
            Self::ClientLeft => "client_left",
            Self::ClientStalled => "client_stalled",
            Self::Crashed => "crashed",
            Self::DiskFull => "disk_full",
            Self::Drained => "drained",
            Self::EverythingRevoked => "everything_revoked",
            Self::FeedStale => "feed_stale",
            Self::GrantExpired => "grant_expired",
            Self::GrantRevoked => "grant_revoked",
            Self::Idle => "idle",
            Self::LedgerFailed => "ledger_failed",
            Self::LedgerUnwitnessed => "ledger_unwitnessed",
            Self::MintFailed => "mint_failed",
            Self::PersonRevoked => "person_revoked",
            Self::PolicyChanged => "policy_changed",
            Self::ProtocolViolated => "protocol_violated",
            Self::RecorderFailed => "recorder_failed",
            Self::RecorderOverrun => "recorder_overrun",
            Self::SessionTerminated => "session_terminated",
            Self::TargetKeyChanged => "target_key_changed",
            Self::TargetLeft => "target_left",
            Self::TargetRefused => "target_refused",
            Self::TargetRevoked => "target_revoked",
            Self::TargetStalled => "target_stalled",
            Self::TargetUnreachable => "target_unreachable",
            Self::TargetViolated => "target_violated",
            Self::TooLong => "too_long",
        }
    }

    /// A sentence for the operator's terminal and for lists.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ClientFlooded => "the client sent faster than the target reads, past the limit",
            Self::ClientLeft => "the client closed the connection",
            Self::ClientStalled => "the client did not finish a key exchange",
            Self::Crashed => "the bastion stopped without finishing this session",
            Self::DiskFull => "the bastion's disk is too full to record",
            Self::Drained => "the bastion is shutting down",
            Self::EverythingRevoked => "all access was revoked",
            Self::FeedStale => "the bastion lost sight of revocations",
            Self::GrantExpired => "the grant's time is over",
            Self::GrantRevoked => "the grant was revoked",
            Self::Idle => "the session was idle for too long",
            Self::LedgerFailed => "the ledger could not be written",
            Self::LedgerUnwitnessed => "no witness vouches for the ledger",
            Self::MintFailed => "no credential could be minted for the target",
            Self::PersonRevoked => "the person's access was revoked",
            Self::PolicyChanged => "policy no longer allows it",
            Self::ProtocolViolated => "the client broke the protocol",
            Self::RecorderFailed => "the recorder failed",
            Self::RecorderOverrun => "the bastion's disk did not keep up with recording",
            Self::SessionTerminated => "the session was terminated",
            Self::TargetKeyChanged => "the target's host key is not the pinned one",
            Self::TargetLeft => "the target closed the connection",
            Self::TargetRefused => "the target did not accept the minted certificate",
            Self::TargetRevoked => "access to the target was revoked",
            Self::TargetStalled => "the target did not finish a key exchange",
            Self::TargetUnreachable => "the target could not be reached",
            Self::TargetViolated => "the target broke the protocol",
            Self::TooLong => "the session reached the longest time allowed",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_serialised() {
        for reason in
            [EndReason::ClientFlooded, EndReason::Idle, EndReason::TargetKeyChanged, EndReason::TooLong]
        {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
