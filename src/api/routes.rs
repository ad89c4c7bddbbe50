//! The route table: method, path, who may, what for, and the handler. It is the only list of routes there is.
//!
//! `server.rs` routes and authorises by it, `openapi.rs` documents it, and the tests go through every row as nobody, as
//! a stranger and as the right person. A row whose guard is [`Guard::Object`] asks policy about the thing itself, in
//! its handler, and names the actions it asks for.

use axum::http::Method;
use schemars::{Schema, SchemaGenerator};

use super::call::{Call, Items, Reply};
use super::error::ApiError;
use super::live::Later;
use super::{
    deletions, ended, grants, ledger, people, policies, recordings, requests, reviewers, sessions, sign_in,
    status, targets,
};
use crate::ledger::entry::Entry;
use crate::model::{Action, Target};

/// One row.
pub(super) struct Route {
    pub(super) method: Method,
    /// Under [`PREFIX`].
    pub(super) path: &'static str,
    pub(super) guard: Guard,
    pub(super) summary: &'static str,
    /// Whether a call that succeeds leaves an entry in the ledger.
    pub(super) leaves_entry: bool,
    pub(super) takes: Option<Shape>,
    pub(super) gives: Gives,
    /// What its query may hold; anything else in it is refused.
    pub(super) query: &'static [InQuery],
    pub(super) handler: Handler,
}

/// What every path begins with.
pub(super) const PREFIX: &str = "/api/v1";

/// Whether a call that succeeds leaves an entry in the ledger. What is no route leaves none.
#[must_use]
pub fn leaves_entry(method: &Method, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |route: &&Route| route.method == *method && is_at(route.path, path);
    ROUTES.iter().find(fits).is_some_and(|route| route.leaves_entry)
}

/// Whether a path has the parts of a route's, `{…}` standing for any one.
fn is_at(route: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (route.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || wanted.starts_with('{') => {}
            (_, _) => return false,
        }
    }
}

/// A value that a route takes in its query: the name, what it means, and its schema's type.
pub(super) type InQuery = (&'static str, &'static str, &'static str);

/// Who may call a route.
pub(super) enum Guard {
    /// Anybody; used to sign in.
    Open,
    /// Anybody who is signed in.
    SignedIn,
    /// Whom policy allows this on the bastion.
    Bastion(Action),
    /// Anybody signed in reaches the handler, which asks policy for one of these about the thing itself.
    Object(&'static [Action]),
}

/// What a route answers with.
pub(super) enum Gives {
    Json(Shape),
    Text(&'static str),
    Bytes(&'static str),
    Lines(Shape),
}

/// Whether a successful call is in the ledger.
enum Leaves {
    Entry,
    Nothing,
}

pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;
pub(super) type Handler = fn(Call) -> Later<'static, Result<Reply, ApiError>>;

macro_rules! shape {
    ($type:ty) => {
        |generator| generator.subschema_for::<$type>()
    };
}

macro_rules! route {
    ($method:ident $path:literal, $guard:expr, $leaves:ident, $summary:literal, $takes:expr, $gives:expr, $handler:path) => {
        route!($method $path, $guard, $leaves, $summary, $takes, $gives, $handler, &[])
    };
    ($method:ident $path:literal, $guard:expr, $leaves:ident, $summary:literal, $takes:expr, $gives:expr, $handler:path, $query:expr) => {
        Route {
            method: Method::$method,
            path: $path,
            guard: $guard,
            summary: $summary,
            leaves_entry: matches!(Leaves::$leaves, Leaves::Entry),
            takes: $takes,
            gives: $gives,
            query: $query,
            handler: |call| Box::pin($handler(call)),
        }
    };
}

const OF_PERSON: InQuery =
    ("person", "Only what is of this person: a name, an id, or the beginning of one", "string");
const ON_TARGET: InQuery = ("target", "Only what is on this target", "string");
const BEFORE: InQuery = ("before", "The next page: a time, or what the page before gave as next", "string");
const LIST: &[InQuery] = &[OF_PERSON, ON_TARGET, BEFORE];
const LIST_OPEN: &[InQuery] =
    &[OF_PERSON, ON_TARGET, BEFORE, ("state", "open, which is the default, or all", "string")];
const LIST_LIVE: &[InQuery] =
    &[OF_PERSON, ON_TARGET, BEFORE, ("state", "live, which is the default, or all", "string")];
const FETCHED_FOR: &[InQuery] =
    &[("how", "What the ledger says it is fetched for: play, export, rewrap, search or verify", "string")];
const SOME_ENTRIES: &[InQuery] =
    &[("from", "The index of the first entry", "integer"), ("limit", "The most entries wanted", "integer")];
const UP_TO_SIZE: &[InQuery] =
    &[("size", "The size the proof must lead to: that of the signed checkpoint", "integer")];
const BETWEEN_SIZES: &[InQuery] = &[
    ("from", "The older size", "integer"),
    ("to", "The newer size: that of the signed checkpoint", "integer"),
];
const SEE_REQUEST: Guard = Guard::Object(&[Action::RequestRead]);
const SEE_SESSION: Guard = Guard::Object(&[Action::SessionRead]);
const READ_RECORDING: Guard = Guard::Object(&[Action::RecordingRead]);
const DELETE_RECORDING: Guard = Guard::Object(&[Action::RecordingDelete]);
const MANAGE_PEOPLE: Guard = Guard::Bastion(Action::PersonManage);
const MANAGE_TARGET: Guard = Guard::Object(&[Action::TargetManage]);
const READ_LEDGER: Guard = Guard::Bastion(Action::LedgerRead);
const NOTHING: Gives = Gives::Json(|_| schemars::json_schema!({ "type": "object" }));
const A_PERSON: Gives = Gives::Json(shape!(people::PersonView));
const A_RECORDING: Gives = Gives::Json(shape!(recordings::RecordingView));
const A_REQUEST: Gives = Gives::Json(shape!(requests::RequestView));
const WHAT_ENDED: Gives = Gives::Json(shape!(ended::Ended));
const REVIEWERS: Gives = Gives::Json(shape!(reviewers::Reviewers));
const A_REASON: Option<Shape> = Some(shape!(people::Reason));

/// Every route.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    // Who is calling.
    route!(POST "/sign-in/challenge", Guard::Open, Nothing, "A nonce to sign", None, Gives::Json(shape!(sign_in::Challenge)), sign_in::challenge),
    route!(POST "/sign-in", Guard::Open, Entry, "Sign in with a signed nonce", Some(shape!(sign_in::Signed)), Gives::Json(shape!(sign_in::SignedIn)), sign_in::sign_in),
    route!(POST "/sign-out", Guard::SignedIn, Nothing, "End the token", None, NOTHING, sign_in::sign_out),
    route!(GET "/status", Guard::SignedIn, Nothing, "How the node is", None, Gives::Json(shape!(status::Status)), status::status),

    // People.
    route!(GET "/people", Guard::Bastion(Action::PersonRead), Nothing, "Who is enrolled", None, Gives::Json(shape!(Items<people::PersonView>)), people::list),
    route!(POST "/people", MANAGE_PEOPLE, Entry, "Enrol a person or workload", Some(shape!(people::NewPerson)), A_PERSON, people::add),
    route!(POST "/people/{person}/identities", MANAGE_PEOPLE, Entry, "Link a key or another identity", Some(shape!(people::ToLink)), A_PERSON, people::link),
    route!(DELETE "/people/{person}/identities", MANAGE_PEOPLE, Entry, "Take an identity away", Some(shape!(people::ToUnlink)), A_PERSON, people::unlink),
    route!(PUT "/people/{person}/roles", MANAGE_PEOPLE, Entry, "Replace the roles", Some(shape!(people::Roles)), A_PERSON, people::change_roles),
    route!(POST "/people/{person}/disable", MANAGE_PEOPLE, Entry, "Disable, and end everything of theirs", A_REASON, WHAT_ENDED, people::disable),
    route!(POST "/people/{person}/enable", MANAGE_PEOPLE, Entry, "Let a disabled person act again", None, A_PERSON, people::enable),

    // Targets.
    route!(GET "/targets", Guard::Object(&[Action::TargetRead]), Nothing, "The targets one may see", None, Gives::Json(shape!(Items<Target>)), targets::list),
    route!(POST "/targets", Guard::Bastion(Action::TargetManage), Entry, "Register a target", Some(shape!(targets::NewTarget)), Gives::Json(shape!(targets::Added)), targets::add),
    route!(POST "/targets/{target}/trust", MANAGE_TARGET, Entry, "Pin host keys or a host CA", Some(shape!(targets::Trust)), Gives::Json(shape!(Target)), targets::trust),
    route!(GET "/targets/{target}/host-keys", MANAGE_TARGET, Nothing, "The host keys its server shows now", None, Gives::Json(shape!(targets::HostKeys)), targets::host_keys),
    route!(POST "/host-keys", Guard::Bastion(Action::TargetManage), Nothing, "The host keys a server shows that is not registered", Some(shape!(targets::Place)), Gives::Json(shape!(targets::HostKeys)), targets::host_keys_at),
    route!(POST "/targets/{target}/test", MANAGE_TARGET, Entry, "Log in the way a session would", Some(shape!(targets::AsLogin)), Gives::Json(shape!(targets::Tested)), targets::test),
    route!(DELETE "/targets/{target}", MANAGE_TARGET, Entry, "Remove, and end everything on it", A_REASON, WHAT_ENDED, targets::remove),

    // Asking and answering.
    route!(GET "/requests", SEE_REQUEST, Nothing, "Requests one may see", None, Gives::Json(shape!(Items<requests::RequestView>)), requests::list, LIST_OPEN),
    route!(POST "/requests", Guard::Object(&[Action::RequestMake]), Entry, "Ask for access", Some(shape!(requests::Wish)), A_REQUEST, requests::make),
    route!(GET "/requests/{request}", SEE_REQUEST, Nothing, "One request", None, A_REQUEST, requests::show),
    route!(POST "/requests/{request}/approve", Guard::Object(&[Action::RequestApprove]), Entry, "Approve with a signature", Some(shape!(requests::NewApproval)), A_REQUEST, requests::approve),
    route!(POST "/requests/{request}/deny", Guard::Object(&[Action::RequestApprove]), Entry, "Deny; it is over", A_REASON, NOTHING, requests::deny),
    route!(POST "/requests/{request}/withdraw", Guard::Object(&[Action::RequestWithdraw]), Entry, "Take one's own request back", None, NOTHING, requests::withdraw),
    route!(GET "/grants", SEE_REQUEST, Nothing, "Grants one may see", None, Gives::Json(shape!(Items<grants::GrantView>)), grants::list, LIST_LIVE),
    route!(POST "/grants/{grant}/revoke", Guard::Object(&[Action::GrantRevoke]), Entry, "Revoke, and end its sessions", A_REASON, WHAT_ENDED, grants::revoke),
    route!(POST "/revocations", Guard::Object(&[Action::GrantRevoke]), Entry, "Revoke everything of a person, on a target, or at all", Some(shape!(grants::Revocation)), WHAT_ENDED, grants::revoke_scope),

    // Sessions and recordings.
    route!(GET "/sessions", SEE_SESSION, Nothing, "Sessions one may see", None, Gives::Json(shape!(Items<sessions::SessionView>)), sessions::list, LIST_LIVE),
    route!(GET "/sessions/{session}", SEE_SESSION, Nothing, "One session", None, Gives::Json(shape!(sessions::SessionView)), sessions::show),
    route!(GET "/sessions/{session}/receipt", SEE_SESSION, Nothing, "The signed receipt of an ended session", None, Gives::Json(shape!(sessions::Receipt)), sessions::receipt),
    route!(POST "/sessions/{session}/terminate", Guard::Object(&[Action::SessionTerminate]), Entry, "End it now", A_REASON, WHAT_ENDED, sessions::terminate),
    route!(GET "/sessions/{session}/watch", Guard::Object(&[Action::RecordingWatch]), Entry, "Its events as they happen", None, Gives::Lines(shape!(crate::recording::event::Event)), sessions::watch),
    route!(GET "/recordings", READ_RECORDING, Nothing, "Recordings one may read", None, Gives::Json(shape!(Items<recordings::RecordingView>)), recordings::list, LIST),
    route!(POST "/recordings/upload", Guard::Bastion(Action::BastionManage), Nothing, "Try again to move what the store did not take", None, Gives::Json(shape!(recordings::Moving)), recordings::move_again),
    route!(GET "/recordings/{session}/content", READ_RECORDING, Entry, "The sealed file", None, Gives::Bytes("application/octet-stream"), recordings::content, FETCHED_FOR),
    route!(GET "/recordings/{session}/ledger", READ_RECORDING, Nothing, "What the ledger says it must be", None, Gives::Json(shape!(recordings::Pinned)), recordings::pinned),
    route!(GET "/recordings/{session}/key", READ_RECORDING, Nothing, "Its key as it was wrapped again", None, Gives::Json(shape!(recordings::KeyView)), recordings::key),
    route!(PUT "/recordings/{session}/key", Guard::Object(&[Action::RecordingRewrap]), Entry, "Keep its key, wrapped to the reviewers of now", Some(shape!(recordings::GivenKey)), Gives::Json(shape!(recordings::KeyView)), recordings::rewrap),
    route!(POST "/recordings/{session}/hold", Guard::Object(&[Action::RecordingHold]), Entry, "Let nothing and nobody delete it", A_REASON, A_RECORDING, deletions::hold),
    route!(POST "/recordings/{session}/release", Guard::Object(&[Action::RecordingRelease]), Entry, "Hold it no longer", A_REASON, A_RECORDING, deletions::release),
    route!(POST "/recordings/{session}/deletion", DELETE_RECORDING, Entry, "Ask that it be deleted", A_REASON, A_RECORDING, deletions::ask),
    route!(POST "/recordings/{session}/deletion/confirm", DELETE_RECORDING, Entry, "Delete what another person asked to delete", None, A_RECORDING, deletions::confirm),
    route!(POST "/recordings/{session}/deletion/withdraw", DELETE_RECORDING, Entry, "Keep what somebody asked to delete", None, A_RECORDING, deletions::withdraw),
    route!(GET "/reviewers", Guard::Bastion(Action::PersonRead), Nothing, "Who can read new recordings", None, REVIEWERS, reviewers::list),
    route!(PUT "/reviewers", Guard::Bastion(Action::BastionManage), Entry, "Replace who can read new recordings", Some(shape!(reviewers::Reviewers)), REVIEWERS, reviewers::replace),

    // Policy.
    route!(GET "/policies", Guard::Bastion(Action::PolicyRead), Nothing, "The policies in force", None, Gives::Json(shape!(policies::Policies)), policies::show),
    route!(POST "/policies/reload", Guard::Bastion(Action::BastionManage), Entry, "Load the policies again", None, Gives::Json(shape!(policies::Loaded)), policies::reload),
    route!(POST "/policies/explain", Guard::Bastion(Action::PolicyRead), Nothing, "What policy would say, and why", Some(shape!(policies::Asked)), Gives::Json(shape!(policies::Explained)), policies::explain),

    // The ledger.
    route!(GET "/ledger/entries", READ_LEDGER, Nothing, "Entries", None, Gives::Json(shape!(Items<Entry>)), ledger::entries, SOME_ENTRIES),
    route!(GET "/ledger/checkpoint", READ_LEDGER, Nothing, "The signed checkpoint", None, Gives::Text("text/plain"), ledger::checkpoint),
    route!(GET "/ledger/cosigned", READ_LEDGER, Nothing, "The newest checkpoint that a witness signed", None, Gives::Text("text/plain"), ledger::cosigned),
    route!(GET "/ledger/proof/{seq}", READ_LEDGER, Nothing, "That an entry is in the ledger", None, Gives::Json(shape!(ledger::ProvenAt)), ledger::proof, UP_TO_SIZE),
    route!(GET "/ledger/consistency", READ_LEDGER, Nothing, "That nothing before was changed", None, Gives::Json(shape!(ledger::Consistent)), ledger::consistency, BETWEEN_SIZES),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_an_entry_is_known_by_method_and_path() {
        for (method, path, leaves) in [
            (Method::GET, "/people", false),
            (Method::POST, "/people", true),
            (Method::GET, "/recordings/ses_x/content?how=verify", true),
            (Method::GET, "/recordings/ses_x/ledger", false),
            (Method::POST, "/policies/explain", false),
            (Method::GET, "/people/dave", false),
        ] {
            assert_eq!(leaves_entry(&method, path), leaves, "{method} {path}");
        }
    }
}
