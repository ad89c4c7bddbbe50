//! Sessions: who is where now and was before, ending one by hand, its receipt, and watching it live.
//!
//! Seeing that a session exists shows nothing of its content. Watching does, so it is an entry in the ledger before
//! the first event is handed out, and the right to it is asked again while it goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::call::{self, Call, Reply};
use super::ended;
use super::error::ApiError;
use super::find::{self, FoundSession};
use super::gone;
use super::ledger::{self, Proven};
use super::people::Reason;
use crate::access::Command;
use crate::ledger::entry::{EndFacts, Entry, SessionFacts};
use crate::model::{Action, PersonName, SessionId, Target, Timestamp};
use crate::policy::Resource;
use crate::recording::Watch;

/// How often a watcher's right is asked again while nothing happens.
const RECHECK: Duration = Duration::from_secs(1);

/// A session, as shown.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct SessionView {
    session: SessionFacts,
    person_name: Option<PersonName>,
    started: Timestamp,
    live: bool,
    /// How it ended, with its receipt.
    ended: Option<EndFacts>,
}

/// When a session was cut and everything behind it dead, and the proof that the ledger says so.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Receipt {
    end: EndFacts,
    entry: Entry,
    proof: Proven,
    /// The signed checkpoint the proof leads to (C2SP tlog-checkpoint).
    checkpoint: String,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    let (found, next) = all(&call, find::wants_all(&call, "live")?).await?;
    let mut views = Vec::new();
    for (index, found) in found.into_iter().enumerate() {
        if may(&call, &found, &Action::SessionRead) {
            views.push(view(&call, found));
        }
        call::breathe(index).await;
    }
    Reply::page(views, next)
}

pub(super) async fn show(call: Call) -> Result<Reply, ApiError> {
    let found = seen(&call, &Action::SessionRead).await?;
    Reply::json(&view(&call, found))
}

pub(super) async fn terminate(call: Call) -> Result<Reply, ApiError> {
    let found = seen(&call, &Action::SessionTerminate).await?;
    let given: Reason = call.body()?;
    let session = found.session.facts.session;
    let sessions = vec![session.clone()];
    let command = Command::TerminateSession { session, reason: given.reason };
    ended::revoke(&call, sessions, command).await
}

pub(super) async fn receipt(call: Call) -> Result<Reply, ApiError> {
    let found = seen(&call, &Action::SessionRead).await?;
    let Some(end) = found.end else {
        return Err(ApiError::conflict("still_live", "the session has not ended, so it has no receipt"));
    };
    let (entry, proof, checkpoint) = ledger::prove(&call, end.seq).await?;
    Reply::json(&Receipt { end: end.facts, entry, proof, checkpoint })
}

pub(super) async fn watch(call: Call) -> Result<Reply, ApiError> {
    let found = seen(&call, &Action::RecordingWatch).await?;
    let session = found.session.facts.session.clone();
    let live = call.gate.parts.live.watch(&session);
    let live =
        live.ok_or_else(|| ApiError::conflict("not_live", "the session is not live on this bastion"))?;
    call.submit(Command::ViewRecording { session, how: "watch".to_owned() }).await?;
    let watching = Watching { call, found, live };
    let lines = futures_util::stream::unfold(watching, |mut watching| async move {
        watching.next().await.map(|lines| (Ok(lines), watching))
    });
    Ok(Reply::Lines(lines.boxed()))
}

struct Watching {
    call: Call,
    found: FoundSession,
    live: Watch,
}

impl Watching {
    /// The next events as lines; an empty line while nothing happens; nothing once it is over or no longer theirs.
    async fn next(&mut self) -> Option<Bytes> {
        let batch = tokio::time::timeout(RECHECK, self.live.next()).await;
        if !self.is_still_theirs() {
            return None;
        }
        let Ok(batch) = batch else { return Some(Bytes::from_static(b"\n")) };
        let mut lines = Vec::new();
        for event in batch?.iter() {
            serde_json::to_writer(&mut lines, event).ok()?;
            lines.push(b'\n');
        }
        Some(lines.into())
    }

    fn is_still_theirs(&self) -> bool {
        let signed_in = self.call.token.as_ref().is_none_or(|token| {
            self.call.gate.parts.authenticator.by_token(token.expose(), &self.call.gate.tokens).is_ok()
        });
        signed_in && may(&self.call, &self.found, &Action::RecordingWatch)
    }
}

/// The session a path names, if the caller may see it and do this to it.
pub(super) async fn seen(call: &Call, action: &Action) -> Result<FoundSession, ApiError> {
    let sees = |found: &FoundSession| may(call, found, &Action::SessionRead);
    let found = find::session(call, call.param("session"), sees).await?;
    let target = target_of(call, &found);
    call.ask_seeing(&Action::SessionRead, action, resource(&found, &target), "session")?;
    Ok(found)
}

/// Whether policy lets the caller do this to a session.
pub(super) fn may(call: &Call, found: &FoundSession, action: &Action) -> bool {
    let target = target_of(call, found);
    call.may(action, resource(found, &target))
}

/// Live sessions, and with `over` those that ended, newest first; of both only what the query's `person` and `target`
/// say.
pub(super) async fn all(call: &Call, over: bool) -> Result<(Vec<FoundSession>, Option<String>), ApiError> {
    let wanted = find::wanted(call)?;
    let mut found: Vec<FoundSession> = call.look(|state| {
        let live = state.sessions().filter(|live| wanted(&live.facts.person, &live.facts.target));
        live.map(|live| FoundSession { session: live.clone(), end: None }).collect()
    });
    let mut next = None;
    if over {
        let (ended, more) = find::past_sessions(call).await?;
        // One that ended between the two looks is in both.
        let over: BTreeSet<&SessionId> = ended.iter().map(|found| &found.session.facts.session).collect();
        found.retain(|live| !over.contains(&live.session.facts.session));
        found.extend(ended);
        next = more;
    }
    found.sort_by_key(|found| std::cmp::Reverse(found.session.started));
    Ok((found, next))
}

/// What somebody is called.
pub(super) fn person_name(call: &Call, found: &FoundSession) -> Option<PersonName> {
    call.look(|state| state.person(&found.session.facts.person).map(|person| person.facts.name.clone()))
}

fn view(call: &Call, found: FoundSession) -> SessionView {
    SessionView {
        person_name: person_name(call, &found),
        session: found.session.facts,
        started: found.session.started,
        live: found.end.is_none(),
        ended: found.end.map(|end| end.facts),
    }
}

fn target_of(call: &Call, found: &FoundSession) -> Target {
    let name = &found.session.facts.target;
    call.look(|state| state.target(name).cloned()).unwrap_or_else(|| gone::target(name))
}

const fn resource<'a>(found: &'a FoundSession, target: &'a Target) -> Resource<'a> {
    let facts = &found.session.facts;
    Resource::Session { session: &facts.session, person: &facts.person, target }
}
