//! Every action policy can be asked about, as one enum. Its text form is what policies and the API document say.
//!
//! A new action goes here, into `policies/postern.cedarschema`, and into a row of `policies/decisions.toml`; tests miss
//! it otherwise. Never here: who may do it.

use std::fmt;

use super::capability::Capability;

/// Something a principal wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run the gate: node settings, drain, reload.
    BastionManage,
    /// Revoke a grant, everything of a person or target, or everything.
    GrantRevoke,
    /// Read and prove the ledger.
    LedgerRead,
    /// Enrol, link and disable people.
    PersonManage,
    /// List people, their roles and identities.
    PersonRead,
    /// Read the policies and ask what they would decide.
    PolicyRead,
    /// Ask that a recording be deleted, confirm what another person asked for, or say no to it.
    RecordingDelete,
    /// Let nothing and nobody delete a recording.
    RecordingHold,
    /// Read a finished or running recording's bytes (they stay encrypted to reviewers).
    RecordingRead,
    /// Hold a recording no longer.
    RecordingRelease,
    /// Keep a recording's key that was wrapped again, for the reviewers of today.
    RecordingRewrap,
    /// Watch a session as it happens.
    RecordingWatch,
    /// Approve or deny an access request.
    RequestApprove,
    /// Make an access request.
    RequestMake,
    /// See a request and the grant that answers it.
    RequestRead,
    /// Take a request back.
    RequestWithdraw,
    /// Open a session under a grant.
    SessionOpen,
    /// See that a session exists, how it ended, and its receipt; nothing of its content.
    SessionRead,
    /// End a session by hand.
    SessionTerminate,
    /// Use one capability inside a session.
    Use(Capability),
    /// Register, trust and remove targets.
    TargetManage,
    /// See that a target exists, and its facts.
    TargetRead,
}

impl Action {
    /// Every action that carries nothing; the uses of capabilities come beside them.
    pub const NAMED: [Self; 21] = [
        Self::BastionManage,
        Self::GrantRevoke,
        Self::LedgerRead,
        Self::PersonManage,
        Self::PersonRead,
        Self::PolicyRead,
        Self::RecordingDelete,
        Self::RecordingHold,
        Self::RecordingRead,
        Self::RecordingRelease,
        Self::RecordingRewrap,
        Self::RecordingWatch,
        Self::RequestApprove,
        Self::RequestMake,
        Self::RequestRead,
        Self::RequestWithdraw,
        Self::SessionOpen,
        Self::SessionRead,
        Self::SessionTerminate,
        Self::TargetManage,
        Self::TargetRead,
    ];

    /// The name policy uses. A forward's address is context, not part of the name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::BastionManage => "bastion:manage",
            Self::GrantRevoke => "grant:revoke",
            Self::LedgerRead => "ledger:read",
            Self::PersonManage => "person:manage",
            Self::PersonRead => "person:read",
            Self::PolicyRead => "policy:read",
            Self::RecordingDelete => "recording:delete",
            Self::RecordingHold => "recording:hold",
            Self::RecordingRead => "recording:read",
            Self::RecordingRelease => "recording:release",
            Self::RecordingRewrap => "recording:rewrap",
            Self::RecordingWatch => "recording:watch",
            Self::RequestApprove => "request:approve",
            Self::RequestMake => "request:make",
            Self::RequestRead => "request:read",
            Self::RequestWithdraw => "request:withdraw",
            Self::SessionOpen => "session:open",
            Self::SessionRead => "session:read",
            Self::SessionTerminate => "session:terminate",
            Self::Use(Capability::Exec) => "ssh:exec",
            Self::Use(Capability::Forward { .. }) => "ssh:forward",
            Self::Use(Capability::Sftp) => "ssh:sftp",
            Self::Use(Capability::Shell) => "ssh:shell",
            Self::TargetManage => "target:manage",
            Self::TargetRead => "target:read",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
