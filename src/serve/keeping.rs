//! Moves finished recordings to the store that is configured, fetches them back from there, and has those that are
//! deleted removed (`removing.rs`).
//!
//! Sessions never wait for it: a store that is down costs nothing but room. Once a recording is there and was read back,
//! the ledger says so; the file here goes later. How one file is sent is `crate::keeping`'s, whether to try is
//! `keeping/standing.rs`'s.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{self, JoinSet};

use super::removing::{self, Retaining};
use super::witnesses;
use crate::access::Command;
use crate::config::{Recording, RecordingStore, Retention};
use crate::keeping::{Fault, Job, Place, Standing, Status, Stream};
use crate::ledger::entry::{Actor, StoredFacts};
use crate::model::{Clock, SessionId};
use crate::recording::{EXTENSION, locate};
use crate::store::{Filter, Store, StoreError, StoredRecord};

/// How often is looked for what is to be moved.
pub(super) const ROUND: Duration = Duration::from_secs(2);
/// How many recordings are sent at once.
const AT_ONCE: usize = 3;
/// How long connecting to the store may take, and how long until it answers, which is after it has taken a whole part.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(300);
/// Where is noted what was sent so far, inside the recordings' directory.
const SENDING: &str = "sending";
/// Where recordings are while they are written, inside it.
const OPEN: &str = "open";

/// The node's side of a store.
pub(super) struct Keeper {
    config: Option<RecordingStore>,
    client: Result<reqwest::Client, Fault>,
    place: RwLock<Option<Arc<Place>>>,
    standing: Mutex<Standing>,
    again: Notify,
    pub(super) recordings: PathBuf,
    pub(super) retention: Retention,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

/// What there is to do about a recording.
enum Work {
    /// Its session goes on: what is certain already is sent.
    Ahead,
    /// Its session is over.
    Finish,
    /// It is in the store for long enough: the copy here goes.
    Leave(PathBuf, Box<StoredRecord>),
    /// It is deleted: the store's copy goes.
    Remove,
}

/// Recordings whose sessions are over, and where each is in the store, once it is.
type Known = HashMap<SessionId, Option<StoredRecord>>;

/// What one look at the directory and the ledger gave.
#[derive(Default)]
struct Found {
    known: Known,
    /// In the store, and here too.
    there: Vec<(SessionId, PathBuf)>,
    /// Only here, and their bytes.
    waiting: Vec<SessionId>,
    waiting_bytes: u64,
    live: HashSet<SessionId>,
}

impl Keeper {
    /// A store that cannot be used now bars itself.
    pub(super) fn open(config: Recording, store: Store, clock: Clock) -> Arc<Self> {
        let Recording { store: config, directory: recordings, retention, .. } = config;
        let client = match &config {
            None => Err(Fault::Barred("no store is configured".to_owned())),
            Some(_) => {
                let client = witnesses::outward(|it| it.connect_timeout(CONNECT).read_timeout(SILENCE));
                client.map_err(|error| Fault::Barred(error.to_string()))
            }
        };
        let (place, standing) = (RwLock::default(), Mutex::default());
        let again = Notify::new();
        let keeper = Self { config, client, place, standing, again, recordings, retention, store, clock };
        keeper.open_place();
        Arc::new(keeper)
    }

    /// Tries again what was refused, with credentials read anew.
    pub(super) fn again(&self) {
        self.standing().again();
        self.open_place();
        self.again.notify_one();
    }

    /// The store's address and how it stands; `None` when there is none.
    pub(super) fn status(&self) -> Option<(String, Status)> {
        self.config.as_ref().map(|config| (config.url.clone(), self.standing().status()))
    }

    /// A recording's length and bytes from where the ledger says it is; `None` when it is not there.
    pub(super) async fn fetch(&self, location: &str) -> Result<Option<(u64, Stream)>, String> {
        let Some(place) = self.place() else {
            return Err(format!(
                "the recording is at {location}, and no store can be used now ([recording.store])"
            ));
        };
        let name = place.address().name_in(location);
        let name =
            name.ok_or_else(|| format!("the recording is at {location}, not in {}", place.address()))?;
        match place.read(name).await {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Missing(_)) => Ok(None),
            // Who may not list what is in a bucket is told of what is gone that it may not be read.
            Err(Fault::Barred(words)) => {
                Err(format!("the recording at {location} is gone or may not be read: {words}"))
            }
            Err(error) => Err(format!("the recording is at {location}: {error}")),
        }
    }

    fn open_place(&self) {
        let Some(config) = &self.config else { return };
        let client = self.client.clone();
        let opened = client.and_then(|client| Place::open(config, client, self.clock.clone()));
        let place = match opened.and_then(|place| self.is_elsewhere(place)) {
            Ok(place) => Some(Arc::new(place)),
            Err(error) => {
                tracing::error!(%error, url = %config.url, "recordings cannot be moved to the store");
                self.standing().bar(error.to_string());
                None
            }
        };
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// A copy beside the original, under one name, would be no copy: the one removed would be the other.
    fn is_elsewhere(&self, place: Place) -> Result<Place, Fault> {
        if place.is_within(&[&self.recordings, &self.recordings.join(OPEN)]) {
            return Err(Fault::Barred(format!(
                "{} is in {}, where recordings are made: name a directory on another disk or share",
                place.address(),
                self.recordings.display()
            )));
        }
        Ok(place)
    }

    pub(super) fn place(&self) -> Option<Arc<Place>> {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_try(&self, session: &SessionId) -> bool {
        let standing = self.standing();
        standing.may_try(self.clock.since_boot()) && standing.may_send(session)
    }

    pub(super) fn failed(&self, session: &SessionId, fault: &Fault) {
        let is_news = self.standing().failed(session, fault, self.clock.since_boot());
        let for_somebody = matches!(fault, Fault::Barred(_) | Fault::Refused(_));
        let kind = if for_somebody { "refused" } else { "transient" };
        metrics::counter!("postern_store_faults_total", "kind" => kind).increment(1);
        let what = if self.store.read(|state| state.is_deleted(session)) {
            "a deleted recording was not removed"
        } else {
            "a recording was not moved to the store"
        };
        match (is_news, for_somebody) {
            (true, true) => {
                tracing::error!(%session, error = %fault, "{what}: somebody has to see to it");
            }
            (true, false) => tracing::warn!(%session, error = %fault, "{what} so far"),
            (false, _) => {}
        }
    }

    /// Whether a deleted recording's file is gone from here, which says nothing of the store.
    pub(super) fn removed_here(&self, session: &SessionId, done: Result<(), String>) {
        let Err(why) = done else { return self.standing().gone_here(session) };
        if self.standing().stays_here(session, why.clone()) {
            tracing::error!(%session, error = %why, "a deleted recording is still here: somebody has to see to it");
        }
    }

    fn went_well(&self) {
        let had_trouble = self.standing().went_well();
        if had_trouble {
            tracing::info!("the store for recordings works again");
        }
    }
}

/// What is being done, and what is to be done next. A long upload holds up no other.
#[derive(Default)]
struct Sending {
    next: VecDeque<(SessionId, Work)>,
    busy: HashMap<task::Id, SessionId>,
    tasks: JoinSet<()>,
}

impl Sending {
    /// Begins as much as may be done at once.
    fn fill(&mut self, keeper: &Arc<Keeper>) {
        let place = keeper.place();
        // One that is configured and cannot be used now is waited for.
        if place.is_none() && keeper.config.is_some() {
            return;
        }
        while self.tasks.len() < AT_ONCE {
            let Some((session, work)) = self.next.pop_front() else { return };
            if !keeper.may_try(&session) || self.busy.values().any(|busy| *busy == session) {
                continue;
            }
            let (keeper, place, about) = (Arc::clone(keeper), place.clone(), session.clone());
            let task =
                self.tasks.spawn(async move { keeper.attend_one(place.as_deref(), &about, work).await });
            self.busy.insert(task.id(), session);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "sending a recording broke");
                error.id()
            }
        };
        self.busy.remove(&id);
    }
}

/// Moves and removes recordings for as long as it is polled.
pub(super) async fn attend(keeper: Arc<Keeper>) {
    let (mut known, mut sending, mut told) = (Known::new(), Sending::default(), String::new());
    let mut retaining = Retaining::new(&keeper.retention);
    removing::clear_what_came_back(&keeper).await;
    loop {
        let busy = sending.busy.values().cloned().collect();
        match round(&keeper, &mut known, &mut retaining, &busy).await {
            Ok(next) => (sending.next, told) = (next, String::new()),
            Err(error) => {
                let words = error.to_string();
                if words != told {
                    tracing::warn!(%error, "what is to be moved or removed could not be found out");
                }
                told = words;
            }
        }
        let mut pause = std::pin::pin!(tokio::time::sleep(ROUND));
        loop {
            sending.fill(&keeper);
            tokio::select! {
                () = &mut pause => break,
                () = keeper.again.notified() => break,
                Some(ended) = sending.tasks.join_next_with_id() => sending.ended(ended),
            }
        }
    }
}

/// Looks at what there is, and gives what is to be done. What only frees room comes first, since it is quick.
async fn round(
    keeper: &Arc<Keeper>,
    known: &mut Known,
    retaining: &mut Retaining,
    busy: &BTreeSet<SessionId>,
) -> Result<VecDeque<(SessionId, Work)>, StoreError> {
    retaining.look(keeper).await?;
    let removed = removing::clear(keeper, busy).await;
    let mut next: VecDeque<_> = removed.into_iter().map(|session| (session, Work::Remove)).collect();
    if let Some(config) = &keeper.config {
        next.extend(to_move(keeper, config, known).await?);
    }
    Ok(next)
}

/// Counts what is here, and gives what is to be moved or is here for long enough.
async fn to_move(
    keeper: &Keeper,
    config: &RecordingStore,
    known: &mut Known,
) -> Result<Vec<(SessionId, Work)>, StoreError> {
    let (store, directory, before) = (keeper.store.clone(), keeper.recordings.clone(), std::mem::take(known));
    let found = task::spawn_blocking(move || find(&store, &directory, &before)).await;
    let found = found.map_err(|error| StoreError::Stopped(error.to_string()))??;
    let status = {
        let mut standing = keeper.standing();
        standing.counted(found.waiting.len() as u64, found.waiting_bytes);
        standing.status()
    };
    metrics::gauge!("postern_store_waiting").set(found.waiting.len() as f64);
    metrics::gauge!("postern_store_needs_somebody").set(if status.needs_somebody { 1.0 } else { 0.0 });
    let now = keeper.clock.now();
    let is_due = |stored: &StoredRecord| {
        Duration::try_from(now.duration_since(stored.at)).unwrap_or_default() >= config.keep_local
    };
    let leave = found.there.into_iter().filter_map(|(session, path)| {
        let stored = found.known.get(&session)?.clone().filter(is_due)?;
        Some((session, Work::Leave(path, Box::new(stored))))
    });
    let finish = found.waiting.into_iter().map(|session| (session, Work::Finish));
    let ahead = found.live.into_iter().map(|session| (session, Work::Ahead));
    let next = leave.chain(finish).chain(ahead).collect();
    *known = found.known;
    Ok(next)
}

impl Keeper {
    async fn attend_one(&self, place: Option<&Place>, session: &SessionId, work: Work) {
        let done = match (work, place) {
            (Work::Remove, place) => self.remove(place, session).await,
            (Work::Ahead, Some(place)) => self.ahead(place, session).await,
            (Work::Finish, Some(place)) => self.finish(place, session).await,
            (Work::Leave(path, stored), Some(place)) => self.leave(place, session, &path, &stored).await,
            (Work::Ahead | Work::Finish | Work::Leave(..), None) => Ok(false),
        };
        match done {
            Ok(true) => self.went_well(),
            Ok(false) => {}
            Err(fault) => self.failed(session, &fault),
        }
    }

    pub(super) fn job<'a>(&self, place: &'a Place, session: &SessionId, name: &'a str) -> Job<'a> {
        let file = locate(&self.recordings, session).unwrap_or_else(|| self.recordings.join(name));
        let note = self.recordings.join(SENDING).join(format!("{session}.json"));
        Job { place, name, file, note }
    }

    /// Sends of a recording what is certain already; whether anything was.
    async fn ahead(&self, place: &Place, session: &SessionId) -> Result<bool, Fault> {
        let name = name(session);
        let job = self.job(place, session, &name);
        if !job.file.is_file() {
            return Ok(false);
        }
        job.ahead().await
    }

    /// Sends a recording, and has the ledger note it; whether anything was sent.
    async fn finish(&self, place: &Place, session: &SessionId) -> Result<bool, Fault> {
        let name = name(session);
        let job = self.job(place, session, &name);
        // It may have been moved or deleted since it was counted.
        if !job.file.is_file() || self.store.read(|state| state.is_deleted(session)) {
            return Ok(false);
        }
        let (store, asked) = (self.store.clone(), session.clone());
        if !matches!(task::spawn_blocking(move || store.stored(&asked)).await, Ok(Ok(None))) {
            return Ok(false);
        }
        let sent = job.finish().await?;
        let location = place.address().of(&name);
        let facts =
            StoredFacts { session: session.clone(), location, bytes: sent.bytes, sha256: sent.sha256 };
        match self.store.submit(Actor::Node, Command::StoreRecording(Box::new(facts))).await {
            Ok(_) => metrics::counter!("postern_recordings_stored_total").increment(1),
            Err(error) => tracing::warn!(%session, %error, "the ledger did not note where a recording is"),
        }
        Ok(true)
    }

    /// Removes the copy here of a recording that is in the store, if it still is; whether that was so.
    async fn leave(
        &self,
        place: &Place,
        session: &SessionId,
        path: &Path,
        stored: &StoredRecord,
    ) -> Result<bool, Fault> {
        let location = &stored.facts.location;
        let Some(name) = place.address().name_in(location) else { return Ok(false) };
        let stays = |why: &str| Err(Fault::Refused(format!("{location} {why}: the copy here stays")));
        match place.size(name).await {
            Ok(bytes) if bytes != stored.facts.bytes => stays("has another length than what was sent"),
            Ok(_) if place.is_file(name, path).await? => stays("is no copy but the same file"),
            Ok(_) => {
                match tokio::fs::remove_file(path).await {
                    Ok(()) => tracing::info!(%session, %location, "a recording is in the store alone now"),
                    // It went since it was seen.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        let words = format!("cannot remove {}: {error}", path.display());
                        return Err(Fault::Refused(words));
                    }
                }
                Ok(true)
            }
            // Of one object: who may not list what is in a bucket is told of what is gone that it may not be read.
            Err(Fault::Barred(_) | Fault::Missing(_)) => stays("is gone or may not be read"),
            Err(fault) => Err(fault),
        }
    }
}

pub(super) fn name(session: &SessionId) -> String {
    format!("{session}.{EXTENSION}")
}

/// The recordings here whose sessions the ledger knows to be over, and the sessions that go on.
fn find(store: &Store, directory: &Path, known: &Known) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let unread = |error: std::io::Error| StoreError::Stopped(format!("{}: {error}", directory.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let is_recording = path.extension().is_some_and(|extension| extension == EXTENSION);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_recording);
        if let Some(session) = stem.and_then(|stem| stem.parse::<SessionId>().ok()) {
            files.push((session, path));
        }
    }
    found.live = store.read(|state| state.sessions().map(|s| s.facts.session.clone()).collect());
    let is_kept = |(session, _): &(SessionId, PathBuf)| !store.read(|state| state.is_deleted(session));
    for (session, path) in files.into_iter().filter(is_kept) {
        if found.live.contains(&session) {
            continue;
        }
        // A file that no session accounts for stays where it is, for somebody to look at.
        if !known.contains_key(&session) && !is_over(store, &session)? {
            continue;
        }
        let stored = match known.get(&session) {
            Some(Some(stored)) => Some(stored.clone()),
            Some(None) | None => store.stored(&session)?,
        };
        if stored.is_some() {
            found.there.push((session.clone(), path));
        } else {
            let Ok(facts) = std::fs::metadata(&path) else { continue };
            found.waiting.push(session.clone());
            found.waiting_bytes += facts.len();
        }
        found.known.insert(session, stored);
    }
    Ok(found)
}

fn is_over(store: &Store, session: &SessionId) -> Result<bool, StoreError> {
    let known = store.session_history(&Filter::by_prefix(session.as_str()))?;
    Ok(known.iter().any(|record| record.end.is_some()))
}
