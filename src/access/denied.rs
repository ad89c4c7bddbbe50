//! Why a command was refused, in words that say what to do about it, with a stable code for programs.
//!
//! Only refusals live here; failures of the store are its own. Read next: `decide/mod.rs`.

use super::separation::Conflict;
use crate::model::{Login, PersonName, Protocol, Role, TargetName, Timestamp};

/// A command the rules do not allow. The text is fit to show to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller's person is not enrolled, or the identity is not theirs (any more).
    #[error(
        "you are not enrolled with this identity: ask an administrator to add it with `postern people link`"
    )]
    ActorUnknown,
    /// The caller is disabled, or the workload's owner is.
    #[error("your access is disabled: ask an administrator to enable it with `postern people enable`")]
    ActorDisabled,
    /// Only the bastion itself may say so.
    #[error("only the bastion itself can note this")]
    ActorNotNode,
    /// The command needs a person, and the caller is the machine's operator or the node.
    #[error("this needs a person who signed in; it cannot be done from the bastion's own machine")]
    ActorNotPerson,
    /// The administrative role of a database is nobody's login.
    #[error(
        "{login} administers the database and cannot be a login of it: name another role, or --admin-role"
    )]
    AdministrativeLogin {
        /// Which.
        login: Login,
    },
    /// The ledger already has its first entry.
    #[error("this ledger was initialised before")]
    AlreadyInitialised,
    /// The person approved already.
    #[error("you approved this request already; it needs somebody else")]
    AlreadyApproved,
    /// An approval's window is longer than asked, or empty.
    #[error("an approval may shorten the window, never lengthen it: choose between 1 and {asked_s} seconds")]
    ApprovalTooLong {
        /// What was asked.
        asked_s: u64,
    },
    /// Something that must not be empty is.
    #[error("{what} must not be empty")]
    Empty {
        /// What.
        what: &'static str,
    },
    /// The signature is over another version of the request.
    #[error("the approval signs another request than this one: look at the request again and sign that")]
    HashDiffers,
    /// The identity belongs to this person already.
    #[error("this identity is linked to that person already")]
    IdentityLinked,
    /// An identity that is a key came without its key, or with another one.
    #[error("the public key does not fit the identity: give the key itself, as `ssh-keygen` writes it")]
    KeyDiffers,
    /// It would leave nobody who can administer the bastion.
    #[error("{name} is the last administrator: give somebody else the role `admin` and an identity first")]
    LastAdmin {
        /// The administrator.
        name: PersonName,
    },
    /// The login may not be asked for on that target.
    #[error("{login} is not a login of {target}: `postern targets list` shows which are")]
    LoginNotOffered {
        /// The login.
        login: Login,
        /// The target.
        target: TargetName,
    },
    /// The name is taken.
    #[error("there is a person or workload called {name} already: choose another name")]
    NameTaken {
        /// The name.
        name: PersonName,
    },
    /// No live grant with that id.
    #[error("no such grant is in force: `postern grants` lists those that are")]
    NoSuchGrant,
    /// No such identity linked to that person.
    #[error("that identity is not linked to that person")]
    NoSuchIdentity,
    /// Nothing of the kind is left over.
    #[error("nothing of that session is left to clean")]
    NoSuchLeftOver,
    /// No person with that id.
    #[error("no such person or workload: `postern people list` shows who is enrolled")]
    NoSuchPerson,
    /// Nobody asked to delete that recording, or too long ago.
    #[error(
        "nobody asked that this recording be deleted, or that has lapsed: `postern recordings delete` asks"
    )]
    NoSuchDeletion,
    /// No open request with that id.
    #[error("no such request is open: it was answered, withdrawn or has lapsed (`postern requests`)")]
    NoSuchRequest,
    /// No live session with that id.
    #[error("no such session is live: `postern sessions --live` lists those that are")]
    NoSuchSession,
    /// No target with that name.
    #[error("no target is called {target}: `postern targets list` shows the registered ones")]
    NoSuchTarget {
        /// The name.
        target: TargetName,
    },
    /// The grant's window is over.
    #[error("the grant ended at {ended}: ask again with `postern request`")]
    GrantOver {
        /// When.
        ended: Timestamp,
    },
    /// The session does not fit the grant.
    #[error("the grant is for another person, login or target")]
    GrantDiffers,
    /// Approvers of the grant may not approve any more.
    #[error("the grant's approvals no longer count, because an approver may not approve any more: ask again")]
    GrantUnbacked,
    /// The ledger has no first entry.
    #[error("this ledger is not initialised: run `postern init`")]
    NotInitialised,
    /// The caller has none of the roles whose members may approve.
    #[error("approving this request needs one of the roles {}", list(roles))]
    NotApprover {
        /// The roles.
        roles: Vec<Role>,
    },
    /// Only the requester may take a request back.
    #[error("only the person who asked can withdraw a request; to refuse it, use `postern deny`")]
    NotRequester,
    /// A workload without owner, a person with one, or an owner who is no active person.
    #[error("a workload needs an enabled person as owner, and only a workload has one")]
    OwnerUnfit,
    /// The recording is of whoever wants a say in it, or of somebody linked to them.
    #[error(
        "nobody decides about recordings of themselves, or of somebody linked to them: somebody else has to"
    )]
    OwnRecording,
    /// The recording is deleted.
    #[error("the recording is deleted")]
    RecordingDeleted,
    /// The recording is held.
    #[error("the recording is held ({reason}): whoever may release it has to do so first")]
    RecordingHeld {
        /// Why.
        reason: String,
    },
    /// The request's person can no longer use what they asked for.
    #[error("the person who asked is disabled; the request cannot be approved")]
    RequesterDisabled,
    /// The approval rule cannot work.
    #[error(
        "the approval rule for {target} cannot be met as written: it needs approver roles and at least 1 approval"
    )]
    RuleUnusable {
        /// The target.
        target: TargetName,
    },
    /// The approver is not somebody else.
    #[error("{0}")]
    Separation(Conflict),
    /// The session id is taken.
    #[error("a session with this id exists already")]
    SessionExists,
    /// The session has not ended.
    #[error("the session has not ended")]
    SessionLive,
    /// The state already is what the command wants.
    #[error("nothing to do: {what}")]
    Unchanged {
        /// What is so already.
        what: &'static str,
    },
    /// The target's name is taken.
    #[error("a target called {target} is registered already: remove it first, or choose another name")]
    TargetExists {
        /// The name.
        target: TargetName,
    },
    /// A text is longer than its limit, or a list has too many items.
    #[error("{what} is too long: at most {most}")]
    TooLong {
        /// What.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// Too many of something at once.
    #[error("too many {what}: at most {most}; withdraw or wait for some first")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// A target that speaks this cannot prove itself in that way.
    #[error("a target that speaks {protocol} does not prove itself in that way: {how}")]
    TrustUnfit {
        /// What it speaks.
        protocol: Protocol,
        /// How it does.
        how: &'static str,
    },
    /// A text has control or other invisible characters.
    #[error("{what} has characters that cannot be shown: use plain text on one line")]
    Unprintable {
        /// What.
        what: &'static str,
    },
    /// The window asked for is empty or longer than policy allows.
    #[error("the window must be between 1 second and {longest_s} seconds for this target")]
    WindowUnfit {
        /// The longest.
        longest_s: u64,
    },
}

impl Denied {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ActorUnknown => "actor_unknown",
            Self::ActorDisabled => "actor_disabled",
            Self::ActorNotNode => "actor_not_node",
            Self::ActorNotPerson => "actor_not_person",
            Self::AdministrativeLogin { .. } => "administrative_login",
            Self::AlreadyInitialised => "already_initialised",
            Self::AlreadyApproved => "already_approved",
            Self::ApprovalTooLong { .. } => "approval_too_long",
            Self::Empty { .. } => "empty",
            Self::HashDiffers => "hash_differs",
            Self::IdentityLinked => "identity_linked",
            Self::KeyDiffers => "key_differs",
            Self::LastAdmin { .. } => "last_admin",
            Self::LoginNotOffered { .. } => "login_not_offered",
            Self::NameTaken { .. } => "name_taken",
            Self::NoSuchDeletion => "no_such_deletion",
            Self::NoSuchGrant => "no_such_grant",
            Self::NoSuchIdentity => "no_such_identity",
            Self::NoSuchLeftOver => "no_such_left_over",
            Self::NoSuchPerson => "no_such_person",
            Self::NoSuchRequest => "no_such_request",
            Self::NoSuchSession => "no_such_session",
            Self::NoSuchTarget { .. } => "no_such_target",
            Self::GrantOver { .. } => "grant_over",
            Self::GrantDiffers => "grant_differs",
            Self::GrantUnbacked => "grant_unbacked",
            Self::NotInitialised => "not_initialised",
            Self::NotApprover { .. } => "not_approver",
            Self::NotRequester => "not_requester",
            Self::OwnerUnfit => "owner_unfit",
            Self::OwnRecording => "own_recording",
            Self::RecordingDeleted => "recording_deleted",
            Self::RecordingHeld { .. } => "recording_held",
            Self::RequesterDisabled => "requester_disabled",
            Self::RuleUnusable { .. } => "rule_unusable",
            Self::Separation(_) => "separation",
            Self::SessionExists => "session_exists",
            Self::SessionLive => "session_live",
            Self::Unchanged { .. } => "unchanged",
            Self::TargetExists { .. } => "target_exists",
            Self::TooLong { .. } => "too_long",
            Self::TooMany { .. } => "too_many",
            Self::TrustUnfit { .. } => "trust_unfit",
            Self::Unprintable { .. } => "unprintable",
            Self::WindowUnfit { .. } => "window_unfit",
        }
    }
}

fn list(roles: &[Role]) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}
