//! What becomes of recordings: held, released, asked to be deleted, and deleted when another person confirms.
//!
//! Policy says who may try; that the two are different people, and that neither is shown in the recording, is true
//! whatever policy says (`access/decide/recordings.rs`). The bytes go after the entry, in `serve/removing.rs`.

use std::io::ErrorKind;

use serde::Serialize;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::find::FoundSession;
use super::people::Reason;
use super::{recordings, sessions};
use crate::access::{AskedDeletion, AtHand, Command, Deleted, EndedRecording, Held, Recording};
use crate::ledger::entry::{Actor, DeletionCause};
use crate::model::{Action, PersonId, SessionId, Timestamp};

/// Why a recording may not be deleted.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct HeldView {
    by: String,
    at: Timestamp,
    reason: String,
}

/// That somebody asked to delete a recording.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct AskedView {
    by: String,
    at: Timestamp,
    reason: String,
    /// When it lapses if no other person confirms.
    lapses: Timestamp,
}

/// That a recording is deleted.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct DeletedView {
    /// Who confirmed; the bastion by retention.
    by: String,
    at: Timestamp,
    /// Who asked; nobody by retention.
    asked_by: Option<String>,
    /// Why they asked.
    reason: Option<String>,
    /// By retention: for how many seconds it was kept.
    kept_s: Option<u64>,
    /// Since when nothing is left of it.
    removed: Option<Timestamp>,
    /// A copy that its store does not give up.
    remains: Option<RemainsView>,
}

/// A copy of a deleted recording that its store does not give up.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct RemainsView {
    location: String,
    why: String,
    /// Until when the store keeps it, where that is known.
    until: Option<Timestamp>,
}

pub(super) async fn hold(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingHold).await?;
    let given: Reason = call.body()?;
    let session = found.session.facts.session.clone();
    call.submit(Command::HoldRecording { session, reason: given.reason }).await?;
    shown(&call, &found).await
}

pub(super) async fn release(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRelease).await?;
    let given: Reason = call.body()?;
    let (session, recorded) = of(&found);
    call.submit(Command::ReleaseRecording { session, recorded, reason: given.reason }).await?;
    shown(&call, &found).await
}

pub(super) async fn ask(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingDelete).await?;
    let given: Reason = call.body()?;
    at_hand(&call, &found).await?;
    let (session, recorded) = of(&found);
    call.submit(Command::AskDeletion { session, recorded, reason: given.reason }).await?;
    shown(&call, &found).await
}

pub(super) async fn confirm(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingDelete).await?;
    let recording = Box::new(at_hand(&call, &found).await?);
    call.submit(Command::ConfirmDeletion { recording }).await?;
    shown(&call, &found).await
}

pub(super) async fn withdraw(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingDelete).await?;
    let session = found.session.facts.session.clone();
    call.submit(Command::WithdrawDeletion { session }).await?;
    shown(&call, &found).await
}

/// What was decided about a recording, if something was; also when nothing is left of it.
pub(super) async fn decided(call: &Call, session: &SessionId) -> Result<Option<Recording>, ApiError> {
    let session = session.clone();
    call.history(move |store| store.recording(&session)).await
}

/// The refusal to hand out a recording that is deleted.
pub(super) fn gone(call: &Call, deleted: &Deleted) -> ApiError {
    let (by, at) = (name(call, &deleted.by), deleted.at);
    let words = match &deleted.facts.cause {
        DeletionCause::Asked { by: asked, reason, .. } => {
            format!(
                "the recording was deleted at {at}: {} asked and {by} confirmed: {reason}",
                called(call, asked)
            )
        }
        DeletionCause::Retention { keep_s } => {
            let days = keep_s / (24 * 3600);
            let length = if days > 0 { format!("{days} days") } else { format!("{keep_s} s") };
            format!("the recording was deleted at {at} by retention: it was kept for {length}")
        }
    };
    ApiError::conflict("recording_deleted", words)
        .hint("the ledger still says what it was: 'postern verify --all'")
}

impl HeldView {
    pub(super) fn of(call: &Call, held: Held) -> Self {
        Self { by: name(call, &held.by), at: held.at, reason: held.reason }
    }
}

impl AskedView {
    pub(super) fn of(call: &Call, asked: AskedDeletion) -> Self {
        Self { by: called(call, &asked.by), at: asked.at, reason: asked.reason, lapses: asked.lapses }
    }
}

impl DeletedView {
    pub(super) fn of(call: &Call, deleted: Deleted) -> Self {
        let (asked_by, reason, kept_s) = match deleted.facts.cause {
            DeletionCause::Asked { by, reason, .. } => (Some(called(call, &by)), Some(reason), None),
            DeletionCause::Retention { keep_s } => (None, None, Some(keep_s)),
        };
        let remains = deleted.remains.map(|copy| RemainsView {
            location: copy.location,
            why: copy.why,
            until: copy.until,
        });
        let (by, at, removed) = (name(call, &deleted.by), deleted.at, deleted.removed);
        Self { by, at, asked_by, reason, kept_s, removed, remains }
    }
}

async fn shown(call: &Call, found: &FoundSession) -> Result<Reply, ApiError> {
    Reply::json(&recordings::one(call, found).await?)
}

fn of(found: &FoundSession) -> (SessionId, PersonId) {
    (found.session.facts.session.clone(), found.session.facts.person.clone())
}

/// A finished recording that is there, as long as its session left it: what is missing, cut short or not finished is not
/// deleted, and stays what it is. What its store says nothing of now is not deleted now.
async fn at_hand(call: &Call, found: &FoundSession) -> Result<EndedRecording, ApiError> {
    let start = found.session.facts.clone();
    let Some(end) = found.end.as_ref().map(|end| end.facts.clone()) else {
        return Err(ApiError::conflict("still_live", "the session has not ended"));
    };
    if let Some(deleted) = decided(call, &start.session).await?.and_then(|known| known.deleted) {
        return Err(gone(call, &deleted));
    }
    let session = start.session.clone();
    let stored = call.history(move |store| store.stored(&session)).await?;
    let here = match tokio::fs::symlink_metadata(recordings::finished(call, &start.session)).await {
        Ok(facts) => Some(if facts.is_file() { facts.len() } else { 0 }),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(ApiError::failed(error)),
    };
    let there = match &stored {
        Some(stored) => in_store(call, &stored.facts.location).await?,
        None => None,
    };
    let (bytes, location) = stored.map(|stored| (stored.facts.bytes, stored.facts.location)).unzip();
    let at_hand = AtHand { here, stored: bytes, there };
    if at_hand.is_whole(&end) {
        return Ok(EndedRecording { start, end, location });
    }
    let words = if at_hand == AtHand::default() {
        "there is no finished recording to be deleted"
    } else {
        "something of the recording is missing, or of another length than its session left it"
    };
    Err(ApiError::conflict("recording_missing", words)
        .hint("'postern verify --all' says what there is of it"))
}

/// How long what was moved to a store is there, if it is. Its bytes are not waited for.
async fn in_store(call: &Call, location: &str) -> Result<Option<u64>, ApiError> {
    let found = call.gate.parts.live.fetch(location).await;
    let found = found.map_err(|words| {
        ApiError::conflict("store_unusable", format!("nothing is deleted that may be lost: {words}"))
            .hint("'postern status' says how it stands with the store")
    })?;
    Ok(found.map(|(length, _)| length))
}

/// What whoever caused an entry is called.
fn name(call: &Call, actor: &Actor) -> String {
    match actor {
        Actor::Node => "the bastion".to_owned(),
        Actor::Operator => "the machine's operator".to_owned(),
        Actor::Person { person, .. } => called(call, person),
    }
}

fn called(call: &Call, person: &PersonId) -> String {
    let name = call.look(|state| state.person(person).map(|person| person.facts.name.to_string()));
    name.unwrap_or_else(|| person.to_string())
}
