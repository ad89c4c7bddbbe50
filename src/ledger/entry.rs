//! The entries of the ledger, as one versioned enum: everything that can change, and the only way to change it.
//!
//! An entry's canonical bytes are its JSON with the fields in the order declared here and no white space; its leaf
//! hash is SHA-256 over `0x00` and those bytes (RFC 6962 part 2.1). Never reorder or rename a field of a kind that
//! was released: add a new kind.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    Capability, EndReason, GrantId, HostTrust, Identity, Login, PersonId, PersonName, PolicyChanges,
    PrincipalKind, RequestId, Role, SessionId, Target, TargetName, Timestamp,
};

pub use super::recordings::{DeletionCause, DeletionFacts, RemainsFacts, RewrapFacts, StoredFacts};
pub use crate::model::WindowClock;

/// One leaf of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// Version of this layout: 1.
    pub v: u8,
    /// Its index in the tree, from 0.
    pub seq: u64,
    /// When it was appended.
    pub at: Timestamp,
    /// Who caused it.
    pub by: Actor,
    /// What is now so.
    pub fact: Fact,
}

/// Who caused an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The bastion itself: a clock, a sweeper, a session's end.
    Node,
    /// Somebody with access to the bastion's own machine, through `postern init` and its like.
    Operator,
    /// A person who proved an identity.
    Person {
        /// The person.
        person: PersonId,
        /// What they proved.
        identity: Identity,
    },
}

/// What is now so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fact {
    /// First entry of every ledger.
    NodeInitialised {
        /// The ledger's origin, as in its checkpoints.
        origin: String,
        /// The checkpoint verifier key (C2SP signed-note form).
        checkpoint_key: String,
    },
    /// A person or workload was enrolled.
    PersonAdded(PersonFacts),
    /// Another identity was linked to a person. Voids grants not yet used that turn out to be approved by too few others.
    IdentityLinked {
        /// The person.
        person: PersonId,
        /// The identity.
        identity: Identity,
        /// The key itself, in OpenSSH form, when the identity is a key.
        public_key: Option<String>,
    },
    /// An identity is no longer theirs.
    IdentityUnlinked {
        /// The person.
        person: PersonId,
        /// The identity.
        identity: Identity,
    },
    /// A person's roles were replaced.
    RolesChanged {
        /// The person.
        person: PersonId,
        /// The roles now.
        roles: BTreeSet<Role>,
    },
    /// A person may no longer do anything.
    PersonDisabled {
        /// The person.
        person: PersonId,
        /// Why.
        reason: String,
    },
    /// A disabled person may act again.
    PersonEnabled {
        /// The person.
        person: PersonId,
    },
    /// A target was registered.
    TargetAdded {
        /// The target.
        target: Target,
    },
    /// A target's host keys or CA were pinned.
    TargetTrusted {
        /// The target.
        target: TargetName,
        /// What is trusted now.
        trust: HostTrust,
    },
    /// A certificate that can run nothing was minted, to try whether a target lets it in.
    TargetTested {
        /// The target.
        target: TargetName,
        /// As whom.
        login: Login,
    },
    /// A target is gone.
    TargetRemoved {
        /// The target.
        target: TargetName,
        /// Why.
        reason: String,
    },
    /// Somebody asked for access.
    RequestMade {
        /// The whole request.
        request: RequestFacts,
        /// SHA-256 of its canonical JSON, lower-case hex; what approvals sign.
        hash: String,
        /// When it lapses if nobody answers.
        lapses: Timestamp,
        /// How many different people must approve.
        approvals_needed: u32,
        /// The roles whose members may approve.
        approver_roles: BTreeSet<Role>,
        /// Seconds within which a grant whose clock starts at first use must be used.
        use_within_s: u64,
    },
    /// Somebody approved a request.
    RequestApproved(Approval),
    /// Somebody denied a request.
    RequestDenied {
        /// The request.
        request: RequestId,
        /// Why.
        reason: String,
    },
    /// The requester took a request back.
    RequestWithdrawn {
        /// The request.
        request: RequestId,
    },
    /// Nobody answered in time.
    RequestLapsed {
        /// The request.
        request: RequestId,
    },
    /// Enough people approved: here is the right.
    GrantIssued(GrantFacts),
    /// A grant whose clock starts at first use was used.
    GrantStarted {
        /// The grant.
        grant: GrantId,
        /// Its end, from now on.
        ends: Timestamp,
    },
    /// A grant was revoked.
    GrantRevoked {
        /// The grant.
        grant: GrantId,
        /// Why.
        reason: String,
    },
    /// A grant's window is over.
    GrantEnded {
        /// The grant.
        grant: GrantId,
    },
    /// All access of a person, on a target, or of everybody was revoked: every open request, grant and session it
    /// covers. A person's workloads are covered with them.
    Revoked {
        /// What it covers.
        scope: Scope,
        /// Why.
        reason: String,
    },
    /// A session got past permit and recorder.
    SessionStarted(SessionFacts),
    /// Somebody ordered a session to end.
    SessionTerminated {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// A running recording, pinned.
    RecordingCheckpoint {
        /// The session.
        session: SessionId,
        /// The recording's last frame.
        frame: u64,
        /// Its chain digest, lower-case hex.
        digest: String,
    },
    /// A session is over, with its receipt.
    SessionEnded(EndFacts),
    /// What could not be cleaned at the end of a session is clean now.
    CleanupDone {
        /// The session.
        session: SessionId,
        /// What.
        what: String,
    },
    /// Somebody looked at a recording.
    RecordingViewed {
        /// The session.
        session: SessionId,
        /// `play`, `export`, `search`, `verify` or `watch`.
        how: String,
    },
    /// A recording is in a store too, and was read back from there. The local file may be gone later.
    RecordingStored(StoredFacts),
    /// A recording's key is wrapped to other reviewers as well. The recording itself is as it was.
    RecordingRewrapped(RewrapFacts),
    /// A recording is not to be deleted by anybody or anything until it is released.
    RecordingHeld {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// A recording is held no longer.
    RecordingReleased {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// Somebody asked that a recording be deleted; another person has to confirm.
    RecordingDeletionAsked {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
        /// When it lapses if nobody confirms.
        lapses: Timestamp,
    },
    /// A recording that was asked to be deleted stays.
    RecordingDeletionWithdrawn {
        /// The session.
        session: SessionId,
    },
    /// Nobody confirmed in time that a recording be deleted.
    RecordingDeletionLapsed {
        /// The session.
        session: SessionId,
    },
    /// A recording is deleted. Its bytes go after this entry, here and in the store.
    RecordingDeleted(DeletionFacts),
    /// Nothing is left of a deleted recording, here or in the store.
    RecordingRemoved {
        /// The session.
        session: SessionId,
    },
    /// The store does not give up its copy of a deleted recording.
    RecordingCopyRemains(RemainsFacts),
    /// Reviewers who can read new recordings.
    ReviewersChanged {
        /// age recipients.
        recipients: BTreeSet<String>,
    },
    /// A policy set is in force.
    PolicyLoaded {
        /// SHA-256 over the set, lower-case hex.
        hash: String,
        /// How it differs from the one in force before; empty at a start, which knows of that no more than its hash.
        #[serde(default, skip_serializing_if = "PolicyChanges::is_empty")]
        rules: PolicyChanges,
    },
    /// The configuration in force.
    ConfigurationLoaded {
        /// SHA-256 of the file, lower-case hex.
        hash: String,
    },
    /// Somebody signed in to the API.
    SignedIn {
        /// Where from.
        client: String,
    },
}

/// A person or workload as enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PersonFacts {
    /// Their id.
    pub person: PersonId,
    /// What they are called; unique.
    pub name: PersonName,
    /// Person or workload.
    pub kind: PrincipalKind,
    /// A workload's owner.
    pub owner: Option<PersonId>,
    /// Their roles.
    pub roles: BTreeSet<Role>,
}

/// A request, whole. Approvals sign the hash of exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RequestFacts {
    /// Its id.
    pub request: RequestId,
    /// Who asks.
    pub person: PersonId,
    /// With which identity.
    pub identity: Identity,
    /// The login wanted.
    pub login: Login,
    /// The target wanted.
    pub target: TargetName,
    /// What the session may do.
    pub capabilities: BTreeSet<Capability>,
    /// Length of the window, in seconds.
    pub duration_s: u64,
    /// When the window's clock starts.
    pub clock: WindowClock,
    /// Why.
    pub reason: String,
    /// A ticket, where there is one.
    pub ticket: Option<String>,
    /// When it was asked.
    pub asked: Timestamp,
}

/// One approval, with the signature that makes it worth something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Approval {
    /// The request.
    pub request: RequestId,
    /// The hash signed.
    pub hash: String,
    /// Who approved.
    pub approver: PersonId,
    /// The key that signed.
    pub identity: Identity,
    /// The window as approved, in seconds; never longer than asked. Part of what is signed.
    pub duration_s: u64,
    /// SSHSIG (OpenSSH `PROTOCOL.sshsig`), armored, namespace `approval@postern`, over [`Self::message`].
    pub signature: String,
}

impl Approval {
    /// The SSHSIG namespace of approvals.
    pub const NAMESPACE: &'static str = "approval@postern";

    /// The exact bytes an approver signs.
    #[must_use]
    pub fn message(request: &RequestId, hash: &str, duration_s: u64) -> Vec<u8> {
        format!("postern approval v1\nrequest {request}\nhash {hash}\nseconds {duration_s}\n").into_bytes()
    }
}

/// A grant as issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GrantFacts {
    /// Its id.
    pub grant: GrantId,
    /// The request it answers.
    pub request: RequestId,
    /// That request's hash.
    pub hash: String,
    /// Whose right it is.
    pub person: PersonId,
    /// The login.
    pub login: Login,
    /// The target.
    pub target: TargetName,
    /// What a session may do.
    pub capabilities: BTreeSet<Capability>,
    /// Length of the window, in seconds, after any shortening.
    pub duration_s: u64,
    /// When the clock starts.
    pub clock: WindowClock,
    /// The end, once known. A grant whose clock starts at first use has none until then.
    pub ends: Option<Timestamp>,
    /// Until when the first use must come, for a clock that starts at first use.
    pub use_before: Option<Timestamp>,
}

/// What a revocation covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everybody, everywhere.
    Everything,
    /// Everything of one person.
    Person(PersonId),
    /// Everything on one target.
    Target(TargetName),
}

/// A session as it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionFacts {
    /// Its id.
    pub session: SessionId,
    /// The grant it runs under.
    pub grant: GrantId,
    /// Whose.
    pub person: PersonId,
    /// What they proved.
    pub identity: Identity,
    /// The login.
    pub login: Login,
    /// The target.
    pub target: TargetName,
    /// Where the client connected from.
    pub client: String,
    /// Hash of the recording's header, lower-case hex.
    pub recording: String,
    /// The key id the credential carries, as the target's own log shows it.
    pub credential: String,
}

/// How a session ended, and the signed proof of when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EndFacts {
    /// The session.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
    /// When each thing happened.
    pub receipt: Receipt,
    /// The recording's last frame.
    pub frames: u64,
    /// The recording's final chain digest, lower-case hex.
    pub digest: String,
    /// The recording's size in bytes.
    pub bytes: u64,
    /// What could not be cleaned on the target and is being retried; empty when all is clean.
    pub left_over: Vec<String>,
}

/// When the cut was decided, made, and everything behind it dead. Signed by the node through the checkpoint that
/// covers its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Receipt {
    /// When the fact that ended the session was known on this node.
    pub decided: Timestamp,
    /// When both sockets were shut down; nothing was read or written after this.
    pub cut: Timestamp,
    /// Microseconds between the two, on the monotonic clock.
    pub decided_to_cut_us: u64,
    /// When what ran on the target was ended, and how that was verified.
    pub target_ended: Option<Verified>,
    /// When the credential died, and how that was verified.
    pub credential_dead: Option<Verified>,
}

/// A time, and how we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// How it was verified, in a few words.
    pub how: String,
}
