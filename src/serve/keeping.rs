//! Moves finished recordings to the store that is configured, and fetches them back from there.
//!
//! Sessions never wait for it: a store that is down costs nothing but room. Once a recording is there and was read back,
//! the ledger says so; the file here goes later. How one file is sent is `crate::keeping`'s, whether to try is
//! `keeping/standing.rs`'s.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{self, JoinSet};

use super::node::ServeError;
use super::witnesses;
use crate::access::Command;
use crate::config::RecordingStore;
use crate::keeping::{Address, Fault, Job, Place, Standing, Status, Stream};
use crate::ledger::entry::{Actor, StoredFacts};
use crate::model::{Clock, SessionId};
use crate::recording::{EXTENSION, locate};
use crate::store::{Filter, Store, StoreError, StoredRecord};

/// How often is looked for what is to be moved.
const ROUND: Duration = Duration::from_secs(2);
/// How many recordings are sent at once.
const AT_ONCE: usize = 3;
/// How long connecting to the store may take, and how long until it answers, which is after it has taken a whole part.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(300);
/// Where is noted what was sent so far, inside the recordings' directory.
const SENDING: &str = "sending";

/// The node's side of a store.
pub(super) struct Keeper {
    config: Option<RecordingStore>,
    place: RwLock<Option<Arc<Place>>>,
    standing: Mutex<Standing>,
    again: Notify,
    recordings: PathBuf,
    store: Store,
    clock: Clock,
}

/// A recording whose session is over.
struct Found {
    session: SessionId,
    path: PathBuf,
    bytes: u64,
    stored: Option<StoredRecord>,
}

impl Keeper {
    /// A store that cannot be used now bars itself; only an address that is none keeps the node from starting.
    pub(super) fn open(
        config: Option<RecordingStore>,
        recordings: PathBuf,
        store: Store,
        clock: Clock,
    ) -> Result<Arc<Self>, ServeError> {
        if let Some(config) = &config {
            config.url.parse::<Address>().map_err(|error| ServeError::Keeping(error.to_string()))?;
        }
        let (place, standing) = (RwLock::default(), Mutex::default());
        let keeper = Self { config, place, standing, again: Notify::new(), recordings, store, clock };
        keeper.open_place();
        Ok(Arc::new(keeper))
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
            Err(error) => Err(format!("the recording is at {location}: {error}")),
        }
    }

    fn open_place(&self) {
        let Some(config) = &self.config else { return };
        let client = witnesses::outward(|builder| builder.connect_timeout(CONNECT).read_timeout(SILENCE));
        let client = client.map_err(|error| Fault::Barred(error.to_string()));
        let opened = client.and_then(|client| Place::open(config, client, self.clock.clone()));
        let place = match opened {
            Ok(place) => Some(Arc::new(place)),
            Err(error) => {
                tracing::error!(%error, url = %config.url, "recordings cannot be moved to the store");
                self.standing().bar(error.to_string());
                None
            }
        };
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn place(&self) -> Option<Arc<Place>> {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_try(&self, session: &SessionId) -> bool {
        let standing = self.standing();
        standing.may_try(self.clock.since_boot()) && standing.may_send(session)
    }

    fn failed(&self, session: &SessionId, fault: &Fault) {
        let is_news = self.standing().failed(session, fault, self.clock.since_boot());
        let for_somebody = matches!(fault, Fault::Barred(_) | Fault::Refused(_));
        let kind = if for_somebody { "refused" } else { "transient" };
        metrics::counter!("postern_store_faults_total", "kind" => kind).increment(1);
        match (is_news, for_somebody) {
            (true, true) => {
                tracing::error!(%session, error = %fault, "a recording was not moved to the store: somebody has to see to it");
            }
            (true, false) => {
                tracing::warn!(%session, error = %fault, "a recording was not moved to the store so far")
            }
            (false, _) => {}
        }
    }

    fn went_well(&self) {
        let had_trouble = {
            let mut standing = self.standing();
            let had_trouble = standing.status().trouble.is_some();
            standing.went_well();
            had_trouble
        };
        if had_trouble {
            tracing::info!("the store for recordings works again");
        }
    }
}

/// What is being sent, and what is to be sent next. A long upload holds up no other.
#[derive(Default)]
struct Sending {
    /// Recordings, and whether their sessions are over.
    next: VecDeque<(SessionId, bool)>,
    busy: HashMap<task::Id, SessionId>,
    tasks: JoinSet<()>,
}

impl Sending {
    /// Begins as many as may be sent at once.
    fn fill(&mut self, keeper: &Arc<Keeper>) {
        let Some(place) = keeper.place() else { return };
        while self.tasks.len() < AT_ONCE {
            let Some((session, is_over)) = self.next.pop_front() else { return };
            if self.busy.values().any(|busy| *busy == session) {
                continue;
            }
            let (keeper, place, sent) = (Arc::clone(keeper), Arc::clone(&place), session.clone());
            let task = self.tasks.spawn(async move { send(&keeper, &place, sent, is_over).await });
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

/// Moves recordings for as long as it is polled, or is done when they stay.
pub(super) async fn attend(keeper: Arc<Keeper>) {
    let Some(config) = keeper.config.clone() else { return };
    let (mut known, mut sending) = (HashMap::new(), Sending::default());
    loop {
        match round(&keeper, &config, &mut known).await {
            Ok(next) => sending.next = next,
            Err(error) => {
                tracing::warn!(%error, "what is to be moved to the store could not be found out");
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

/// Looks at what there is: counts, lets go what is in the store for long enough, and gives what is to be sent.
async fn round(
    keeper: &Keeper,
    config: &RecordingStore,
    known: &mut HashMap<SessionId, StoredRecord>,
) -> Result<VecDeque<(SessionId, bool)>, StoreError> {
    let (store, directory, stored) = (keeper.store.clone(), keeper.recordings.clone(), std::mem::take(known));
    let found = task::spawn_blocking(move || find(&store, &directory, &stored)).await;
    let found = found.map_err(|error| StoreError::Stopped(error.to_string()))??;
    let (there, waiting): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.stored.is_some());
    let bytes = waiting.iter().map(|found| found.bytes).sum();
    let status = {
        let mut standing = keeper.standing();
        standing.counted(waiting.len() as u64, bytes);
        standing.status()
    };
    metrics::gauge!("postern_store_waiting").set(waiting.len() as f64);
    metrics::gauge!("postern_store_needs_somebody").set(if status.needs_somebody { 1.0 } else { 0.0 });
    let Some(place) = keeper.place() else { return Ok(VecDeque::new()) };
    for found in there {
        let Some(stored) = found.stored.clone() else { continue };
        let age = Duration::try_from(keeper.clock.now().duration_since(stored.at)).unwrap_or_default();
        if age >= config.keep_local && keeper.may_try(&found.session) {
            leave(keeper, &place, &found, &stored).await;
        }
        known.insert(found.session, stored);
    }
    let live: Vec<SessionId> =
        keeper.store.read(|state| state.sessions().map(|s| s.facts.session.clone()).collect());
    let finished = waiting.into_iter().map(|found| (found.session, true));
    Ok(finished.chain(live.into_iter().map(|session| (session, false))).collect())
}

/// Sends a recording, or of a live one what is certain already.
async fn send(keeper: &Keeper, place: &Place, session: SessionId, is_over: bool) {
    if !keeper.may_try(&session) {
        return;
    }
    let Some(file) = locate(&keeper.recordings, &session) else { return };
    let name = format!("{session}.{EXTENSION}");
    let note = keeper.recordings.join(SENDING).join(format!("{session}.json"));
    let job = Job { place, name: &name, file, note };
    if !is_over {
        if let Err(fault) = job.ahead().await {
            keeper.failed(&session, &fault);
        }
        return;
    }
    // It may have been moved since it was counted.
    let (store, asked) = (keeper.store.clone(), session.clone());
    if !matches!(task::spawn_blocking(move || store.stored(&asked)).await, Ok(Ok(None))) {
        return;
    }
    match job.finish().await {
        Err(fault) => keeper.failed(&session, &fault),
        Ok(sent) => {
            let location = place.address().of(&name);
            let facts =
                StoredFacts { session: session.clone(), location, bytes: sent.bytes, sha256: sent.sha256 };
            let noted = keeper.store.submit(Actor::Node, Command::StoreRecording(Box::new(facts))).await;
            match noted {
                Ok(_) => {
                    metrics::counter!("postern_recordings_stored_total").increment(1);
                    keeper.went_well();
                }
                Err(error) => {
                    tracing::warn!(%session, %error, "the ledger did not note where a recording is")
                }
            }
        }
    }
}

/// Removes the copy here of a recording that is in the store, if it still is.
async fn leave(keeper: &Keeper, place: &Place, found: &Found, stored: &StoredRecord) {
    let location = &stored.facts.location;
    let Some(name) = place.address().name_in(location) else { return };
    let fault = match place.size(name).await {
        Ok(bytes) if bytes == stored.facts.bytes => match tokio::fs::remove_file(&found.path).await {
            Ok(()) => {
                return tracing::info!(session = %found.session, %location, "a recording is in the store alone now");
            }
            Err(error) => Fault::Transient(format!("cannot remove {}: {error}", found.path.display())),
        },
        Ok(_) => {
            Fault::Refused(format!("{location} has another length than what was sent: the copy here stays"))
        }
        Err(Fault::Missing(_)) => Fault::Refused(format!("{location} is gone: the copy here stays")),
        Err(fault) => fault,
    };
    keeper.failed(&found.session, &fault);
}

/// The recordings here whose sessions the ledger knows to be over.
fn find(
    store: &Store,
    directory: &Path,
    known: &HashMap<SessionId, StoredRecord>,
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let unread = |error: std::io::Error| StoreError::Stopped(format!("{}: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let is_recording = path.extension().is_some_and(|extension| extension == EXTENSION);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_recording);
        let Some(session) = stem.and_then(|stem| stem.parse::<SessionId>().ok()) else { continue };
        if store.read(|state| state.session(&session).is_some()) {
            continue;
        }
        let stored = match known.get(&session) {
            Some(stored) => Some(stored.clone()),
            None => store.stored(&session)?,
        };
        // A file that no session accounts for stays where it is, for somebody to look at.
        if stored.is_none() && store.session_history(&Filter::by_prefix(session.as_str()))?.is_empty() {
            continue;
        }
        let Ok(facts) = std::fs::metadata(&path) else { continue };
        found.push(Found { session, path, bytes: facts.len(), stored });
    }
    Ok(found)
}
