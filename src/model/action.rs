//! Every action policy can be asked about, as one enum. Its text form is what policies and the API document say.

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
    /// Read the policies and ask what they would decide.
    PolicyRead,
    /// Read a finished or running recording's bytes (they stay encrypted to reviewers).
    RecordingRead,
    /// Watch a session as it happens.
    RecordingWatch,
    /// Approve or deny an access request.
    RequestApprove,
    /// Make an access request.
    RequestMake,
    /// Open a session under a grant.
    SessionOpen,
    /// End a session by hand.
    SessionTerminate,
    /// Use one capability inside a session.
    Use(Capability),
    /// Register, trust and remove targets.
    TargetManage,
}

impl Action {
    /// The name policy uses. A forward's address is context, not part of the name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::BastionManage => "bastion:manage",
            Self::GrantRevoke => "grant:revoke",
            Self::LedgerRead => "ledger:read",
            Self::PersonManage => "person:manage",
            Self::PolicyRead => "policy:read",
            Self::RecordingRead => "recording:read",
            Self::RecordingWatch => "recording:watch",
            Self::RequestApprove => "request:approve",
            Self::RequestMake => "request:make",
            Self::SessionOpen => "session:open",
            Self::SessionTerminate => "session:terminate",
            Self::Use(Capability::Exec) => "ssh:exec",
            Self::Use(Capability::Forward { .. }) => "ssh:forward",
            Self::Use(Capability::Sftp) => "ssh:sftp",
            Self::Use(Capability::Shell) => "ssh:shell",
            Self::TargetManage => "target:manage",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
