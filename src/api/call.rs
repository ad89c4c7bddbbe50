//! One call: who makes it, what they sent, and the three things every handler does with it (parse, ask policy,
//! submit). No handler looks at HTTP beyond this file.
//! What a handler gets is already somebody's call or the machine operator's. Routing and tokens are in `server.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::gate::Gate;
use crate::access::{Command, Person, State};
use crate::authn::{Authenticated, proof_with};
use crate::ledger::entry::{Actor, Entry};
use crate::model::{Action, PrincipalKind, Proof, Secret, Timestamp};
use crate::playback::escape_text;
use crate::policy::{self, Principal, Question, Resource};
use crate::store::{Store, StoreError};

/// Items judged between two breaths of a long list.
const BREATH: usize = 8;
/// Longest text in a body, in bytes.
const LONGEST_TEXT: usize = 32 * 1024;
/// Longest file in a body: the key of a recording, wrapped to many.
const LONGEST_FILE: usize = 64_000;
/// Fields whose text is a file.
const FILES: [&str; 1] = ["wrapped"];
/// Fields whose text has lines: signatures.
const ARMORED: [&str; 1] = ["signature"];

/// One call, authenticated.
pub(super) struct Call {
    pub(super) gate: Arc<Gate>,
    pub(super) who: Who,
    pub(super) peer: Option<IpAddr>,
    pub(super) token: Option<Secret<String>>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

/// Who makes a call.
pub(super) enum Who {
    /// Nobody signed in.
    Nobody,
    /// Somebody with the machine itself, through the control socket or in process.
    Operator,
    /// A person or workload that signed in.
    Person(Box<Authenticated>),
}

/// What a call is answered with.
pub(super) enum Reply {
    /// A value.
    Json(serde_json::Value),
    /// A text in a format of its own.
    Text(String),
    /// Bytes, with their number.
    Bytes(BoxStream<'static, std::io::Result<Bytes>>, u64),
    /// One JSON value per line, until it is over.
    Lines(BoxStream<'static, std::io::Result<Bytes>>),
}

impl Reply {
    pub(super) fn json<T: Serialize>(value: &T) -> Result<Self, ApiError> {
        serde_json::to_value(value).map(Self::Json).map_err(ApiError::failed)
    }

    /// A whole list.
    pub(super) fn items<T: Serialize>(items: Vec<T>) -> Result<Self, ApiError> {
        Self::page(items, None)
    }

    /// A part of a list, and where to go on.
    pub(super) fn page<T: Serialize>(items: Vec<T>, next: Option<String>) -> Result<Self, ApiError> {
        Self::json(&Items { items, next })
    }

    pub(super) fn empty() -> Self {
        Self::Json(serde_json::json!({}))
    }
}

/// A list.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Items<T> {
    /// What is in it.
    pub(super) items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<String>,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let plain = |kind: &'static str| (header::CONTENT_TYPE, kind.to_owned());
        match self {
            Self::Json(value) => axum::Json(value).into_response(),
            Self::Text(text) => ([plain("text/plain; charset=utf-8")], text).into_response(),
            Self::Bytes(stream, length) => {
                let headers =
                    [plain("application/octet-stream"), (header::CONTENT_LENGTH, length.to_string())];
                (headers, Body::from_stream(stream)).into_response()
            }
            Self::Lines(stream) => {
                ([plain("application/x-ndjson")], Body::from_stream(stream)).into_response()
            }
        }
    }
}

impl Call {
    /// The body as JSON of one shape; an empty body is `{}`.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|e| ApiError::bad_input(format!("the body is not JSON: {e}")))?;
        check_texts("", &value)?;
        serde_json::from_value(value).map_err(|e| ApiError::bad_input(format!("the body does not fit: {e}")))
    }

    /// A part of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// A part of the path as a value; what cannot be one is not found.
    pub(super) fn parse_param<T: FromStr>(&self, name: &str, what: &str) -> Result<T, ApiError> {
        self.param(name).parse().map_err(|_| ApiError::not_found(what))
    }

    /// A value of the query string.
    pub(super) fn query<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let given = self.query.get(name).map(|text| text.parse());
        given
            .transpose()
            .map_err(|_| ApiError::bad_input(format!("the value of {name:?} in the query does not fit")))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.gate.now()
    }

    /// Looks at what is so now.
    pub(super) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.gate.parts.store.read(look)
    }

    /// Who causes the entries of this call.
    pub(super) fn actor(&self) -> Result<Actor, ApiError> {
        match &self.who {
            Who::Nobody => Err(ApiError::signed_out()),
            Who::Operator => Ok(Actor::Operator),
            Who::Person(who) => {
                Ok(Actor::Person { person: who.person().clone(), identity: who.identity().clone() })
            }
        }
    }

    /// The person who calls, for what only a person can do.
    pub(super) fn person(&self, what: &str) -> Result<&Authenticated, ApiError> {
        match &self.who {
            Who::Nobody => Err(ApiError::signed_out()),
            Who::Operator => Err(ApiError::needs_person(what)),
            Who::Person(who) => Ok(who),
        }
    }

    /// Asks policy. The machine's operator may do everything but approve and ask, which need a person.
    pub(super) fn ask(&self, action: &Action, resource: Resource<'_>) -> Result<(), ApiError> {
        let who = match &self.who {
            Who::Nobody => return Err(ApiError::signed_out()),
            Who::Operator if matches!(action, Action::RequestApprove) => {
                return Err(ApiError::needs_person("approving"));
            }
            Who::Operator if matches!(action, Action::RequestMake) => {
                return Err(ApiError::needs_person("asking for access"));
            }
            Who::Operator => return Ok(()),
            Who::Person(who) => who,
        };
        let principal = self.look(|state| principal(state, who)).ok_or_else(ApiError::signed_out)?;
        let question = Question {
            principal: &principal,
            action,
            resource,
            grant: None,
            now: self.now(),
            client: self.peer,
        };
        match self.gate.parts.policy.decide(&question) {
            policy::Decision::Allow(_) => Ok(()),
            policy::Decision::Deny(denied) => Err(denied.into()),
        }
    }

    /// Whether policy allows it.
    pub(super) fn may(&self, action: &Action, resource: Resource<'_>) -> bool {
        self.ask(action, resource).is_ok()
    }

    /// Asks policy whether the caller may know of a thing at all, and then whether they may do this to it.
    pub(super) fn ask_seeing(
        &self,
        see: &Action,
        action: &Action,
        resource: Resource<'_>,
        what: &str,
    ) -> Result<(), ApiError> {
        match self.ask(action, resource) {
            Ok(()) => Ok(()),
            Err(refused) if self.may(see, resource) => Err(refused),
            Err(_) => Err(ApiError::not_found(what)),
        }
    }

    /// Asks the database about the past, where that cannot hold up anybody else.
    pub(super) async fn history<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, ApiError> {
        let store = self.gate.parts.store.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&store)).await;
        Ok(asked.map_err(ApiError::failed)??)
    }

    /// Submits a command in the caller's name.
    pub(super) async fn submit(&self, command: Command) -> Result<Vec<Arc<Entry>>, ApiError> {
        let by = self.actor()?;
        Ok(self.gate.parts.store.submit(by, command).await?)
    }
}

/// Lets others have their turn now and then on the way through a long list.
pub(super) async fn breathe(index: usize) {
    if index.is_multiple_of(BREATH) {
        tokio::task::yield_now().await;
    }
}

/// A caller as policy sees them, with what is so now.
fn principal(state: &State, who: &Authenticated) -> Option<Principal> {
    let person = state.person(who.person())?;
    let mut principal = principal_with(state, person, who.proof());
    principal.enabled &= person.link(who.identity()).is_some();
    Some(principal)
}

/// A person as policy would see them, had they proved who they are in this way.
pub(super) fn principal_with(state: &State, person: &Person, proof: Proof) -> Principal {
    let facts = &person.facts;
    Principal {
        person: facts.person.clone(),
        name: facts.name.clone(),
        kind: facts.kind,
        owner: facts.owner.clone().filter(|_| facts.kind == PrincipalKind::Workload),
        roles: facts.roles.clone(),
        proof,
        enabled: state.is_active(&facts.person),
    }
}

/// The ways in which a person could prove who they are, weakest first.
pub(super) fn proofs(person: &Person) -> BTreeSet<Proof> {
    let linked = person.links.iter().filter(|link| link.unlinked.is_none());
    linked.filter_map(|link| proof_with(&link.identity, link.public_key.as_deref())).collect()
}

/// Refuses texts that are too long, act on a terminal, or hide; signatures may have lines.
fn check_texts(name: &str, value: &serde_json::Value) -> Result<(), ApiError> {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check_text(name, text),
        Value::Array(items) => items.iter().try_for_each(|item| check_texts(name, item)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            check_text("a field's name", name).and_then(|()| check_texts(name, value))
        }),
    }
}

fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    let shown = escape_text(name);
    let longest = if FILES.contains(&name) { LONGEST_FILE } else { LONGEST_TEXT };
    if text.len() > longest {
        return Err(ApiError::bad_input(format!("{shown} is longer than {longest} bytes")));
    }
    let is_plain = |line: &str| matches!(escape_text(line), std::borrow::Cow::Borrowed(_));
    let is_fine = if ARMORED.contains(&name) { text.lines().all(is_plain) } else { is_plain(text) };
    if is_fine {
        return Ok(());
    }
    Err(ApiError::bad_input(format!(
        "{shown} has characters that cannot be shown; use plain text on one line"
    )))
}
