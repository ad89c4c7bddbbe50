//! Recordings: which there are, their encrypted bytes, and what the ledger says they must be.
//!
//! The bastion cannot read them; it hands out the sealed file, and who may fetch it is asked before that. A view is an
//! entry in the ledger before the first byte leaves.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::call::{self, Call, Reply};
use super::deletions::{AskedView, DeletedView, HeldView};
use super::error::ApiError;
use super::find::FoundSession;
use super::live::Keeping;
use super::{deletions, sessions};
use crate::access::{Command, Recording};
use crate::ledger::entry::{Entry, Fact, RewrapFacts};
use crate::model::{Action, EndReason, Login, PersonName, SessionId, TargetName, Timestamp};
use crate::recording::{EXTENSION, locate};
use crate::store::{Store, StoreError, StoredRecord};

/// What somebody may do with a recording they fetch.
const HOW: [&str; 5] = ["play", "export", "rewrap", "search", "verify"];
/// Entries looked through at once for a recording's checkpoints, and how many times.
const PAGE: u64 = 1000;
const MOST_PAGES: usize = 100;
/// How an age file begins.
const AGE: &[u8] = b"age-encryption.org/v1\n";
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
    /// Whether its file is on the bastion.
    is_here: bool,
    /// Where it was moved to, once it was.
    stored: Option<Stored>,
    /// Why the store does not take it, if it does not.
    refused: Option<String>,
    /// Why it may not be deleted, while it may not.
    held: Option<HeldView>,
    /// That somebody asked to delete it, while that is open.
    asked: Option<AskedView>,
    /// That it is deleted.
    deleted: Option<DeletedView>,
    /// Frames, once it has ended.
    frames: Option<u64>,
    reason: Option<EndReason>,
    state: RecordingState,
}

/// Where a recording was moved to.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Stored {
    location: String,
    at: Timestamp,
}

/// How it stands with the store.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Moving {
    store: Option<Keeping>,
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
    /// It was deleted, by two people or by retention.
    Deleted,
    /// The ledger says that it exists; its file does not, and it was not moved.
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
    let over: Vec<SessionId> = all
        .iter()
        .filter(|found| found.end.is_some())
        .map(|found| found.session.facts.session.clone())
        .collect();
    let kept = call
        .history(move |store| {
            let one = |session: SessionId| Ok::<_, StoreError>((session.clone(), Kept::of(store, &session)?));
            over.into_iter().map(one).collect::<Result<HashMap<_, _>, _>>()
        })
        .await?;
    let refused = call.gate.parts.live.keeping().map(|keeping| keeping.refused).unwrap_or_default();
    for (index, found) in all.into_iter().enumerate() {
        call::breathe(index).await;
        if sessions::may(&call, &found, &Action::RecordingRead) {
            let session = &found.session.facts.session;
            let live =
                || Kept { decided: call.look(|state| state.recording(session).cloned()), stored: None };
            let kept = kept.get(session).cloned().unwrap_or_else(live);
            let mut view = view(&call, &found, kept).await;
            let refusal = refused.iter().find(|refused| refused.session == view.session);
            view.refused = refusal.map(|refusal| refusal.why.clone());
            views.push(view);
        }
    }
    Reply::page(views, next)
}

/// One recording, as listed.
pub(super) async fn one(call: &Call, found: &FoundSession) -> Result<RecordingView, ApiError> {
    let session = found.session.facts.session.clone();
    let kept = call.history(move |store| Kept::of(store, &session)).await?;
    Ok(view(call, found, kept).await)
}

/// Where a recording is and what was decided about it.
#[derive(Debug, Clone)]
struct Kept {
    stored: Option<StoredRecord>,
    decided: Option<Recording>,
}

impl Kept {
    fn of(store: &Store, session: &SessionId) -> Result<Self, StoreError> {
        Ok(Self { stored: store.stored(session)?, decided: store.recording(session)? })
    }
}

pub(super) async fn content(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRead).await?;
    let how = call.query.get("how").map_or("play", String::as_str);
    if !HOW.contains(&how) {
        return Err(ApiError::bad_input(format!("how is one of {}", HOW.join(", "))));
    }
    let session = found.session.facts.session;
    if let Some(deleted) = deletions::decided(&call, &session).await?.and_then(|known| known.deleted) {
        return Err(deletions::gone(&call, &deleted));
    }
    let (pieces, length) = match tokio::fs::File::open(path(&call, &session)).await {
        Ok(file) => {
            let length = file.metadata().await.map_err(ApiError::failed)?.len();
            call.submit(Command::ViewRecording { session, how: how.to_owned() }).await?;
            (pieces(file, length), length)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => fetch(&call, session, how).await?,
        Err(error) => return Err(unreadable(&error)),
    };
    Ok(Reply::Bytes(pieces, length))
}

/// Tries again what the store did not take.
pub(super) async fn move_again(call: Call) -> Result<Reply, ApiError> {
    let live = Arc::clone(&call.gate.parts.live);
    live.move_again();
    Reply::json(&Moving { store: live.keeping() })
}

/// A recording's key as it was wrapped again.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct KeyView {
    /// The newest, as an age file in base64; none when it never was.
    wrapped: Option<String>,
    /// Whether that is for the reviewers of now.
    is_current: bool,
}

/// A recording's key, wrapped again to the reviewers of now.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenKey {
    /// An age file in base64.
    wrapped: String,
    /// Whom it is wrapped to: has to be the reviewers of now.
    reviewers: BTreeSet<String>,
}

pub(super) async fn key(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRead).await?;
    key_of(&call, found.session.facts.session).await
}

async fn key_of(call: &Call, session: SessionId) -> Result<Reply, ApiError> {
    let known = call.history(move |store| store.rewrapped(&session)).await?;
    let now = digest_of(&call.look(|state| state.node().reviewers.clone()));
    let is_current = known.as_ref().is_some_and(|known| known.reviewers == now);
    Reply::json(&KeyView { wrapped: known.map(|known| known.wrapped), is_current })
}

/// Keeps a key that a reviewer wrapped again. Only readers can tell whether it is the right one.
pub(super) async fn rewrap(call: Call) -> Result<Reply, ApiError> {
    let found = sessions::seen(&call, &Action::RecordingRewrap).await?;
    let given: GivenKey = call.body()?;
    let session = found.session.facts.session;
    let reviewers = call.look(|state| state.node().reviewers.clone());
    if given.reviewers != reviewers {
        return Err(ApiError::conflict("reviewers_changed", "the reviewers are not those any more")
            .hint("wrap it again, to the reviewers of now: 'postern reviewers list'"));
    }
    let is_age = BASE64.decode(given.wrapped.as_bytes()).is_ok_and(|file| file.starts_with(AGE));
    if !is_age {
        return Err(ApiError::bad_input("the wrapped key is no age file in base64"));
    }
    let facts =
        RewrapFacts { session: session.clone(), reviewers: digest_of(&reviewers), wrapped: given.wrapped };
    call.submit(Command::RewrapRecording(Box::new(facts))).await?;
    key_of(&call, session).await
}

/// [`RewrapFacts::reviewers`].
fn digest_of(reviewers: &BTreeSet<String>) -> String {
    let text: String = reviewers.iter().map(|recipient| format!("{recipient}\n")).collect();
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

type Pieces = BoxStream<'static, std::io::Result<Bytes>>;

/// A recording from where it was moved to.
async fn fetch(call: &Call, session: SessionId, how: &str) -> Result<(Pieces, u64), ApiError> {
    let missing = |words: String| {
        ApiError::conflict("recording_missing", words)
            .hint("run 'postern verify --all' on the bastion, and look at its backups")
    };
    let asked = session.clone();
    let stored = call.history(move |store| store.stored(&asked)).await?;
    let Some(stored) = stored else {
        return Err(missing("the recording's file is not where it should be".to_owned()));
    };
    let location = stored.facts.location;
    let fetched = call.gate.parts.live.fetch(&location).await.map_err(|words| {
        ApiError::conflict("store_unusable", words).hint("'postern status' says how it stands with the store")
    })?;
    let Some((length, pieces)) = fetched else {
        return Err(missing(format!("the recording was moved to {location} and is not there any more")));
    };
    call.submit(Command::ViewRecording { session, how: how.to_owned() }).await?;
    Ok((pieces, length))
}

fn pieces(file: tokio::fs::File, length: u64) -> Pieces {
    let pieces = futures_util::stream::try_unfold(file.take(length), |mut file| async move {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    });
    pieces.boxed()
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

async fn view(call: &Call, found: &FoundSession, kept: Kept) -> RecordingView {
    let Kept { stored, decided } = kept;
    let Recording { held, asked, deleted } = decided.unwrap_or_default();
    let facts = &found.session.facts;
    let file = tokio::fs::metadata(path(call, &facts.session)).await;
    let state = match (&found.end, &file) {
        (None, _) => RecordingState::Live,
        (Some(_), _) if deleted.is_some() => RecordingState::Deleted,
        (Some(_), Err(error)) if error.kind() == ErrorKind::NotFound && stored.is_none() => {
            RecordingState::Missing
        }
        (Some(_), Err(error)) if error.kind() != ErrorKind::NotFound => {
            tracing::error!(%error, session = %facts.session, "a recording cannot be read");
            RecordingState::Unreadable
        }
        (Some(end), _) if end.facts.reason == EndReason::Crashed => RecordingState::Cut,
        (Some(_), _) => RecordingState::Finished,
    };
    let is_here = file.is_ok();
    let bytes = file.ok().map(|file| file.len()).or(stored.as_ref().map(|stored| stored.facts.bytes));
    let stored = stored.map(|stored| Stored { location: stored.facts.location, at: stored.at });
    RecordingView {
        session: facts.session.clone(),
        person_name: sessions::person_name(call, found),
        login: facts.login.clone(),
        target: facts.target.clone(),
        started: found.session.started,
        ended: found.end.as_ref().map(|end| end.facts.receipt.cut),
        bytes,
        is_here,
        stored,
        refused: None,
        held: held.map(|held| HeldView::of(call, held)),
        asked: asked.map(|asked| AskedView::of(call, asked)),
        deleted: deleted.map(|deleted| DeletedView::of(call, deleted)),
        frames: found.end.as_ref().map(|end| end.facts.frames),
        reason: found.end.as_ref().map(|end| end.facts.reason),
        state,
    }
}

/// The file may well be there: that is for whoever runs the bastion to see to, and no loss so far.
fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::failed(format!("a recording cannot be read: {error}"))
}

/// Where a recording is when it is finished and here.
pub(super) fn finished(call: &Call, session: &SessionId) -> PathBuf {
    call.gate.parts.recordings.join(format!("{session}.{EXTENSION}"))
}

/// Ids are the only names that reach file names.
fn path(call: &Call, session: &SessionId) -> PathBuf {
    let directory = &call.gate.parts.recordings;
    locate(directory, session).unwrap_or_else(|| directory.join(format!("{session}.{EXTENSION}")))
}
