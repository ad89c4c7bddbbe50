//! Recordings: which there are, their encrypted bytes, and what the ledger says they must be.
//!
//! The bastion cannot read them; it hands out the sealed file, and who may fetch it is asked before that. A view is an
//! entry in the ledger before the first byte leaves.

use std::io::ErrorKind;
use std::path::PathBuf;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use super::call::{self, Call, Reply};
use super::error::ApiError;
use super::find::FoundSession;
use super::sessions;
use crate::access::Command;
use crate::ledger::entry::{Entry, Fact};
use crate::model::{Action, EndReason, Login, PersonName, SessionId, TargetName, Timestamp};
use crate::recording::{EXTENSION, locate};
use crate::store::{Store, StoreError};

/// What somebody may do with a recording they fetch.
const HOW: [&str; 4] = ["play", "export", "search", "verify"];
/// Entries looked through at once for a recording's checkpoints, and how many times.
const PAGE: u64 = 1000;
const MOST_PAGES: usize = 100;
/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// A recording, as listed.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct RecordingView {
    session: SessionId,
    person_name: Option<PersonName>,
    login: Login,
    target: TargetName,
    started: Timestamp,
    ended: Option<Timestamp>,
    /// The file's size, as far as it is written.
    bytes: Option<u64>,
    /// Frames, once it has ended.
    frames: Option<u64>,
    reason: Option<EndReason>,
    state: RecordingState,
}

/// What there is of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordingState {
    /// It is being written.
    Live,
    /// It is whole.
    Finished,
    /// The bastion stopped while it was written; what was written is all there.
    Cut,
    /// The ledger says that it exists and its file does not.
    Missing,
    /// Its file is there, or might be, and the disk or its permissions keep the bastion from reading it.
    Unreadable,
}

/// What the ledger says a recording must be.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Pinned {
    started: Entry,
    checkpoints: Vec<Entry>,
    ended: Option<Entry>,
    /// The Ed25519 key that signs its checkpoints, lower-case hex.
    node_key: String,
}

pub(super) async fn list(call: Call) -> Result<Reply, ApiError> {
    let mut views = Vec::new();
    let (all, next) = sessions::all(&call, true).await?;
    for (index, found) in all.into_iter().enumerate() {
        call::breathe(index).await;
        if sessions::may(&call, &found, &Action::RecordingRead) {
            views.push(view(&call, &found).await);
        }
    }
    Reply::page(views, next)
}

pub(super) async fn content(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRead).await?;
    let how = call.query.get("how").map_or("play", String::as_str);
    if !HOW.contains(&how) {
        return Err(ApiError::bad_input(format!("how is one of {}", HOW.join(", "))));
    }
    let session = found.session.facts.session;
    let file = tokio::fs::File::open(path(&call, &session)).await.map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return unreadable(&error);
        }
        ApiError::conflict("recording_missing", "the recording's file is not where it should be")
            .hint("run 'postern verify --all' on the bastion, and look at its backups")
    })?;
    let length = file.metadata().await.map_err(ApiError::failed)?.len();
    call.submit(Command::ViewRecording { session, how: how.to_owned() }).await?;
    let pieces = futures_util::stream::try_unfold(file.take(length), |mut file| async move {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    });
    Ok(Reply::Bytes(pieces.boxed(), length))
}

pub(super) async fn pinned(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRead).await?;
    let (started, ended) = (found.session.seq, found.end.as_ref().map(|end| end.seq));
    let session = found.session.facts.session;
    let (started, checkpoints, ended) = call
        .history(move |store| {
            let one = |seq: u64| {
                Ok::<_, StoreError>(store.entries(seq, 1)?.into_iter().find(|entry| entry.seq == seq))
            };
            let ended = ended.map(one).transpose()?.flatten();
            let until = ended.as_ref().map(|entry| entry.seq);
            Ok((one(started)?, checkpoints(store, &session, started, until)?, ended))
        })
        .await?;
    Reply::json(&Pinned {
        started: started.ok_or_else(|| ApiError::failed("a session without a start entry"))?,
        checkpoints,
        ended,
        node_key: call.gate.parts.node.node_key.clone(),
    })
}

/// The checkpoints of one recording among the entries between its session's start and end.
fn checkpoints(
    store: &Store,
    wanted: &SessionId,
    started: u64,
    until: Option<u64>,
) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    let mut from = started;
    for _ in 0..MOST_PAGES {
        let page = store.entries(from, PAGE)?;
        let Some(last) = page.last().map(|entry| entry.seq) else { break };
        let is_wanted = |entry: &Entry| matches!(&entry.fact, Fact::RecordingCheckpoint { session, .. } if session == wanted);
        found.extend(page.into_iter().filter(is_wanted));
        from = last.saturating_add(1);
        if until.is_some_and(|until| from > until) {
            break;
        }
    }
    Ok(found)
}

async fn view(call: &Call, found: &FoundSession) -> RecordingView {
    let facts = &found.session.facts;
    let file = tokio::fs::metadata(path(call, &facts.session)).await;
    let state = match (&found.end, &file) {
        (None, _) => RecordingState::Live,
        (Some(_), Err(error)) if error.kind() == ErrorKind::NotFound => RecordingState::Missing,
        (Some(_), Err(error)) => {
            tracing::error!(%error, session = %facts.session, "a recording cannot be read");
            RecordingState::Unreadable
        }
        (Some(end), Ok(_)) if end.facts.reason == EndReason::Crashed => RecordingState::Cut,
        (Some(_), Ok(_)) => RecordingState::Finished,
    };
    let bytes = file.ok().map(|file| file.len());
    RecordingView {
        session: facts.session.clone(),
        person_name: sessions::person_name(call, found),
        login: facts.login.clone(),
        target: facts.target.clone(),
        started: found.session.started,
        ended: found.end.as_ref().map(|end| end.facts.receipt.cut),
        bytes,
        frames: found.end.as_ref().map(|end| end.facts.frames),
        reason: found.end.as_ref().map(|end| end.facts.reason),
        state,
    }
}

/// The file may well be there: that is for whoever runs the bastion to see to, and no loss so far.
fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::failed(format!("a recording cannot be read: {error}"))
}

/// Ids are the only names that reach file names.
fn path(call: &Call, session: &SessionId) -> PathBuf {
    let directory = &call.gate.parts.recordings;
    locate(directory, session).unwrap_or_else(|| directory.join(format!("{session}.{EXTENSION}")))
}
