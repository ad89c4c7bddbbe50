//! What can be asked of the ledger: one enum, whoever asks. No rules here; they are in `decide/`.
//!
//! A command says what somebody wants; the facts that follow are decided, never supplied. Read next: `decide/mod.rs`.

use std::collections::BTreeSet;

use crate::ledger::entry::{
    Approval, EndFacts, RemainsFacts, RewrapFacts, Scope, SessionFacts, StoredFacts, WindowClock,
};
use crate::model::{
    Capability, GrantId, HostTrust, Identity, Login, PersonId, PersonName, PolicyChanges, PrincipalKind,
    RequestId, Role, SessionId, Target, TargetName,
};

/// Something wanted of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Enrol a person or workload, with the identities they start with.
    AddPerson {
        /// What they are called.
        name: PersonName,
        /// Person or workload.
        kind: PrincipalKind,
        /// A workload's owner; nobody else has one.
        owner: Option<PersonId>,
        /// Their roles.
        roles: BTreeSet<Role>,
        /// Their identities.
        identities: Vec<NewIdentity>,
    },
    /// Register a target.
    AddTarget(Box<Target>),
    /// Approve a request. The caller has verified the signature.
    Approve(Box<Approval>),
    /// Ask that a recording be deleted; the caller has looked up its session, which is over.
    AskDeletion {
        /// The session.
        session: SessionId,
        /// Whose session it was.
        recorded: PersonId,
        /// Why.
        reason: String,
    },
    /// Replace a person's roles.
    ChangeRoles {
        /// The person.
        person: PersonId,
        /// The roles from now on.
        roles: BTreeSet<Role>,
    },
    /// Note that what a session left on its target is gone.
    CleanUp {
        /// The session.
        session: SessionId,
        /// One of the texts its end listed as left over.
        what: String,
    },
    /// Delete a recording that another person asked to delete. The caller has looked up its session, which is over.
    ConfirmDeletion {
        /// The recording.
        recording: Box<EndedRecording>,
    },
    /// Delete a recording whose time is over.
    DeleteByRetention {
        /// The recording.
        recording: Box<EndedRecording>,
        /// How long recordings of its target are kept, in seconds.
        keep_s: u64,
    },
    /// Deny a request; it is over.
    Deny {
        /// The request.
        request: RequestId,
        /// Why.
        reason: String,
    },
    /// Disable a person: everything of theirs ends.
    DisablePerson {
        /// The person.
        person: PersonId,
        /// Why.
        reason: String,
    },
    /// Let a disabled person act again. What ended stays ended.
    EnablePerson {
        /// The person.
        person: PersonId,
    },
    /// Note how a session ended.
    EndSession(Box<EndFacts>),
    /// Let nothing and nobody delete a recording. The caller has looked up its session.
    HoldRecording {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// Begin the ledger; done once, by the store.
    Initialise {
        /// The ledger's origin, as in its checkpoints.
        origin: String,
        /// The checkpoint verifier key.
        checkpoint_key: String,
    },
    /// Note that the store does not give up a deleted recording. Nothing is appended when that is noted already.
    LeaveCopy(Box<RemainsFacts>),
    /// Link an identity to a person. One that was another's moves, and what both had a hand in is void.
    LinkIdentity {
        /// The person.
        person: PersonId,
        /// The identity.
        identity: NewIdentity,
    },
    /// Note the configuration in force. Nothing is appended when it is the one already noted.
    LoadConfiguration {
        /// SHA-256 of the file, lower-case hex.
        hash: String,
    },
    /// Note the policy set in force. Nothing is appended when it is the one already noted.
    LoadPolicy {
        /// SHA-256 over the set, lower-case hex.
        hash: String,
        /// How it differs from the one in force before, where that is known.
        rules: PolicyChanges,
    },
    /// Ask for access; the requester is whoever submits this.
    MakeRequest {
        /// The login wanted.
        login: Login,
        /// The target wanted.
        target: TargetName,
        /// What the session may do.
        capabilities: BTreeSet<Capability>,
        /// Length of the window, in seconds.
        duration_s: u64,
        /// Why.
        reason: String,
        /// A ticket, where there is one.
        ticket: Option<String>,
        /// What policy demands for this target.
        rule: RequestRule,
    },
    /// Pin a running recording.
    PinRecording {
        /// The session.
        session: SessionId,
        /// The recording's last frame.
        frame: u64,
        /// Its chain digest, lower-case hex.
        digest: String,
    },
    /// Hold a recording no longer. The caller has looked up its session.
    ReleaseRecording {
        /// The session.
        session: SessionId,
        /// Whose session it was.
        recorded: PersonId,
        /// Why.
        reason: String,
    },
    /// Keep a recording's key that somebody wrapped again. The caller has looked up its session.
    RewrapRecording(Box<RewrapFacts>),
    /// Note that nothing is left of a deleted recording.
    RemoveRecording {
        /// The session.
        session: SessionId,
    },
    /// Remove a target: everything on it ends.
    RemoveTarget {
        /// The target.
        target: TargetName,
        /// Why.
        reason: String,
    },
    /// Revoke everything in a scope: requests, grants and sessions.
    Revoke {
        /// What it covers.
        scope: Scope,
        /// Why.
        reason: String,
    },
    /// Revoke one grant and the sessions under it.
    RevokeGrant {
        /// The grant.
        grant: GrantId,
        /// Why.
        reason: String,
    },
    /// Replace the reviewers who can read new recordings.
    SetReviewers {
        /// age recipients; at least one.
        recipients: BTreeSet<String>,
    },
    /// Note that somebody signed in to the API; whoever submits this.
    SignIn {
        /// Where from.
        client: String,
    },
    /// Start a session under a live grant.
    StartSession(Box<SessionFacts>),
    /// Note where an ended session's recording was moved to. The caller has read it back from there.
    StoreRecording(Box<StoredFacts>),
    /// End one session by hand.
    TerminateSession {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// Note that a target is about to be tried, with a certificate that can run nothing; before that is minted.
    TestTarget {
        /// The target.
        target: TargetName,
        /// As whom.
        login: Login,
    },
    /// Let pass what is due: requests lapse, grants end. The store does this by itself.
    Tick,
    /// Pin a target's host keys or CA.
    TrustTarget {
        /// The target.
        target: TargetName,
        /// What is trusted from now on.
        trust: HostTrust,
    },
    /// Take an identity from a person; sessions they opened with it end.
    UnlinkIdentity {
        /// The person.
        person: PersonId,
        /// The identity.
        identity: Identity,
    },
    /// Note that somebody looks at a recording; whoever submits this.
    ViewRecording {
        /// The session.
        session: SessionId,
        /// `play`, `export`, `search`, `verify` or `watch`.
        how: String,
    },
    /// Keep a recording that was asked to be deleted.
    WithdrawDeletion {
        /// The session.
        session: SessionId,
    },
    /// Take a request back.
    Withdraw {
        /// The request.
        request: RequestId,
        /// The caller has asked policy and may manage people, so it need not be the requester's own.
        as_manager: bool,
    },
}

/// The recording of a session that is over, as whoever submits a command has looked it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRecording {
    /// The session as it started.
    pub start: SessionFacts,
    /// How it ended.
    pub end: EndFacts,
    /// Where the recording was moved to, if it was.
    pub location: Option<String>,
}

/// An identity to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// The identity.
    pub identity: Identity,
    /// The key in OpenSSH's `TYPE BASE64` form; required for, and only for, identities that are keys.
    pub public_key: Option<String>,
}

/// What policy demands of a request for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRule {
    /// How many different people must approve; at least 1.
    pub approvals_needed: u32,
    /// The roles whose members may approve; at least one.
    pub approver_roles: BTreeSet<Role>,
    /// When the window's clock starts.
    pub clock: WindowClock,
    /// The longest window, in seconds.
    pub longest_s: u64,
    /// Seconds until an unanswered request lapses.
    pub lapses_after_s: u64,
    /// Seconds within which a grant whose clock starts at first use must be used.
    pub use_within_s: u64,
}

impl Command {
    /// Whether it begins a window of time, or something is over for good after one: for these the clock must be right.
    #[must_use]
    pub const fn begins_a_window(&self) -> bool {
        matches!(
            self,
            Self::Approve(_)
                | Self::AskDeletion { .. }
                | Self::ConfirmDeletion { .. }
                | Self::DeleteByRetention { .. }
                | Self::MakeRequest { .. }
                | Self::StartSession(_)
                | Self::TestTarget { .. }
        )
    }

    /// Whether it may end sessions: these wait for no other command.
    #[must_use]
    pub const fn takes_away(&self) -> bool {
        matches!(
            self,
            Self::ChangeRoles { .. }
                | Self::DisablePerson { .. }
                | Self::LinkIdentity { .. }
                | Self::LoadConfiguration { .. }
                | Self::LoadPolicy { .. }
                | Self::RemoveTarget { .. }
                | Self::Revoke { .. }
                | Self::RevokeGrant { .. }
                | Self::TerminateSession { .. }
                | Self::Tick
                | Self::TrustTarget { .. }
                | Self::UnlinkIdentity { .. }
        )
    }
}

/// Ids for what a command may create. Drawn before deciding, so that deciding is a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// For a person enrolled.
    pub person: PersonId,
    /// For a request made.
    pub request: RequestId,
    /// For a grant issued.
    pub grant: GrantId,
}

impl Fresh {
    /// Ids from the operating system's randomness.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self { person: PersonId::random()?, request: RequestId::random()?, grant: GrantId::random()? })
    }
}
