//! The one place a failure becomes a status, a code and words.
//!
//! What the caller may read and what only our log may hold are separate: [`ApiError`] carries both. What somebody may
//! not see is "not found", never "forbidden".

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::access::Denied;
use crate::authn::{ApprovalFault, KeyFault, Rejected, SignatureFault, TokenFault};
use crate::policy;
use crate::store::{StoreError, SubmitError};

/// Why a call failed.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
    /// For our log alone.
    detail: Option<String>,
}

/// The body of every failure.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct ErrorBody {
    /// What went wrong.
    error: ErrorFacts,
}

/// What went wrong.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct ErrorFacts {
    /// A stable name for programs.
    code: String,
    /// A sentence for people.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, detail: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The caller sent something that cannot be understood.
    pub(super) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_input", message)
    }

    /// The body is larger than any body we read.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 1 MiB")
    }

    /// Nobody signed in.
    pub(super) fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_signed_in", "this needs somebody who is signed in")
            .hint("run 'postern login'")
    }

    /// There is no such thing, or it is not theirs to see.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what}, or it is not yours to see"),
        )
    }

    /// They may see it and may not do that.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "refused", message)
    }

    /// The machine's operator may do everything but what needs a person.
    pub(super) fn needs_person(what: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "actor_not_person", format!("{what} needs a person who signed in"))
            .hint("run 'postern login' and use the address of the bastion instead of its directory")
    }

    /// It does not fit what is so now.
    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// We are at a limit.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    /// It took longer than anything should.
    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", "the bastion did not finish in time")
            .hint("it may still have been done: look before you try again")
    }

    /// Something of ours failed; the caller learns no more than that.
    pub(super) fn failed(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "failed", "the bastion could not do this")
            .hint("its log says why; 'postern doctor' on the bastion may help")
            .detail(detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(detail) = &self.detail {
            tracing::warn!(code = self.code, status = self.status.as_u16(), detail, "an API call failed");
        }
        let facts = ErrorFacts { code: self.code.to_owned(), message: self.message, hint: self.hint };
        (self.status, axum::Json(ErrorBody { error: facts })).into_response()
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::new(status_of(&denied), denied.code(), denied.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Denied(denied) => denied.into(),
            SubmitError::Failed(failed) => failed.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::NotFound(what) = error {
            return Self::new(StatusCode::NOT_FOUND, "not_found", format!("the ledger has no {what}"));
        }
        if let StoreError::TooLong { .. } = error {
            return Self::bad_input(error.to_string()).hint("shorten the list, or its longest items");
        }
        Self::failed(error)
    }
}

impl From<policy::Denied> for ApiError {
    fn from(denied: policy::Denied) -> Self {
        Self::refused(denied.reason).detail(denied.detail)
    }
}

/// A stranger learns that they are not let in, and nothing else; the reason is for the log. Somebody who proved a
/// key that is theirs and is disabled may know.
impl From<Rejected> for ApiError {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Token(TokenFault::Full) => Self::busy(TokenFault::Full.to_string()),
            Rejected::Token(fault) => Self::signed_out().detail(fault),
            Rejected::Disabled { .. } => {
                Self::new(StatusCode::UNAUTHORIZED, "disabled", rejected.to_string()).detail(&rejected)
            }
            Rejected::Certificate(_)
            | Rejected::Challenge(_)
            | Rejected::Key(_)
            | Rejected::Signature(_)
            | Rejected::Unknown { .. } => {
                Self::new(StatusCode::UNAUTHORIZED, "not_let_in", "the bastion does not let you in with this key")
                    .hint("ask an administrator whether the key is enrolled ('postern people list'); the bastion's log has the reason")
                    .detail(&rejected)
            }
        }
    }
}

impl From<ApprovalFault> for ApiError {
    fn from(fault: ApprovalFault) -> Self {
        Self::bad_input(fault.to_string())
    }
}

impl From<SignatureFault> for ApiError {
    fn from(fault: SignatureFault) -> Self {
        Self::bad_input(fault.to_string())
    }
}

impl From<KeyFault> for ApiError {
    fn from(fault: KeyFault) -> Self {
        Self::bad_input(fault.to_string())
    }
}

/// What kind of failure a refusal of the workflow is, in HTTP's words.
fn status_of(denied: &Denied) -> StatusCode {
    match denied {
        Denied::ActorUnknown
        | Denied::ActorDisabled
        | Denied::ActorNotNode
        | Denied::ActorNotPerson
        | Denied::NotApprover { .. }
        | Denied::NotRequester
        | Denied::OwnRecording
        | Denied::Separation(_) => StatusCode::FORBIDDEN,
        Denied::NoSuchDeletion
        | Denied::NoSuchGrant
        | Denied::NoSuchIdentity
        | Denied::NoSuchLeftOver
        | Denied::NoSuchPerson
        | Denied::NoSuchRequest
        | Denied::NoSuchSession
        | Denied::NoSuchTarget { .. } => StatusCode::NOT_FOUND,
        Denied::AdministrativeLogin { .. }
        | Denied::ApprovalTooLong { .. }
        | Denied::Empty { .. }
        | Denied::KeyDiffers
        | Denied::LoginNotOffered { .. }
        | Denied::OwnerUnfit
        | Denied::TooLong { .. }
        | Denied::TrustUnfit { .. }
        | Denied::Unprintable { .. }
        | Denied::WindowUnfit { .. } => StatusCode::BAD_REQUEST,
        Denied::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Denied::AlreadyInitialised
        | Denied::AlreadyApproved
        | Denied::HashDiffers
        | Denied::IdentityLinked
        | Denied::LastAdmin { .. }
        | Denied::NameTaken { .. }
        | Denied::GrantOver { .. }
        | Denied::GrantDiffers
        | Denied::GrantUnbacked
        | Denied::NotInitialised
        | Denied::RecordingDeleted
        | Denied::RecordingHeld { .. }
        | Denied::RequesterDisabled
        | Denied::RuleUnusable { .. }
        | Denied::SessionExists
        | Denied::SessionLive
        | Denied::Unchanged { .. }
        | Denied::TargetExists { .. } => StatusCode::CONFLICT,
    }
}
