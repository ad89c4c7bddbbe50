//! Deletes recordings whose time is over, and removes what the ledger says is deleted: the file here, then the copy in
//! the store.
//!
//! The entry comes first, always, so a crash leaves nothing but work for the next start. What the store does not give up
//! is noted and stays until its lock is over or somebody says so. Read next: `keeping.rs`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task;

use super::keeping::{Keeper, ROUND, name};
use super::registrations::{Registered, Registrations};
use crate::access::{AtHand, Command, EndedRecording, Recording, fitting_line};
use crate::config::{Keep, Retention};
use crate::keeping::{Fault, Place, Removal};
use crate::ledger::entry::{Actor, RemainsFacts};
use crate::model::{SessionId, Timestamp};
use crate::store::{Filter, SessionRecord, StoreError};

/// The longest time until retention looks again.
const SELDOM: Duration = Duration::from_secs(3600);
/// It looks at least this often within the shortest time that anything is kept for.
const TIMES: u32 = 20;
/// Recordings deleted by retention between two looks at everything else.
const AT_ONCE: usize = 200;
/// How often a store may fail to answer until retention leaves what is there for the next look.
const UNANSWERED: u32 = 5;

/// When retention looks next.
pub(super) struct Retaining {
    every: Option<Duration>,
    next: Duration,
    /// Lent to whoever looks.
    targets: Registrations,
}

impl Retaining {
    pub(super) fn new(retention: &Retention) -> Self {
        let every = retention.shortest().map(|shortest| (shortest / TIMES).clamp(ROUND, SELDOM));
        Self { every, next: Duration::ZERO, targets: Registrations::default() }
    }

    /// Deletes what is due, if it is time to look.
    pub(super) async fn look(&mut self, keeper: &Arc<Keeper>) -> Result<(), StoreError> {
        let now = keeper.clock.since_boot();
        let Some(every) = self.every.filter(|_| self.next <= now) else { return Ok(()) };
        let (keeper, mut targets) = (Arc::clone(keeper), std::mem::take(&mut self.targets));
        let look = move || (delete_what_is_due(&keeper, &mut targets), targets);
        let done = task::spawn_blocking(look).await;
        let (done, targets) = done.map_err(|error| StoreError::Stopped(error.to_string()))?;
        self.targets = targets;
        if done? {
            self.next = now.saturating_add(every);
        }
        Ok(())
    }
}

/// Says whether that was all.
fn delete_what_is_due(keeper: &Keeper, targets: &mut Registrations) -> Result<bool, StoreError> {
    let (now, mut deleted) = (keeper.clock.now(), 0);
    let before = keeper.retention.shortest().and_then(|shortest| now.checked_sub(shortest).ok());
    if before.is_none() {
        return Ok(true);
    }
    let targets = targets.learn(&keeper.store)?;
    let mut unanswered = 0;
    let mut filter = Filter { kept_only: true, before, ..Filter::default() };
    loop {
        let page = keeper.store.session_history(&filter)?;
        for record in &page {
            let Some(due) = overdue(keeper, &targets, record, now)? else { continue };
            let session = &record.session.facts.session;
            if !due.is_whole(keeper, &mut unanswered) {
                continue;
            }
            let Due { recording, keep_s, .. } = due;
            let command = Command::DeleteByRetention { recording: Box::new(recording), keep_s };
            match keeper.store.submit_blocking(Actor::Node, command) {
                Ok(_) => tracing::info!(%session, "a recording is deleted: its time is over"),
                Err(error) => {
                    tracing::warn!(%session, %error, "a recording whose time is over was not deleted");
                    return Ok(true);
                }
            }
            deleted += 1;
            if deleted >= AT_ONCE {
                return Ok(false);
            }
        }
        let is_full = u32::try_from(page.len()).is_ok_and(|count| count >= Filter::MOST);
        let Some(last) = page.last().filter(|_| is_full) else { return Ok(true) };
        filter.after = Some((last.session.started, last.session.facts.session.to_string()));
    }
}

/// A recording whose time is over and that nothing keeps.
struct Due {
    recording: EndedRecording,
    /// What the ledger says was moved.
    stored: Option<u64>,
    keep_s: u64,
}

/// Whether a recording's time is over and nothing keeps it.
fn overdue(
    keeper: &Keeper,
    targets: &Registered,
    record: &SessionRecord,
    now: Timestamp,
) -> Result<Option<Due>, StoreError> {
    let facts = &record.session.facts;
    let Some(end) = &record.end else { return Ok(None) };
    let keep = keeper.retention.of(&facts.target, targets.at(&facts.target, record.session.seq));
    let is_held = keeper.store.read(|state| state.is_held(&facts.session));
    let age = Duration::try_from(now.duration_since(end.at)).unwrap_or_default();
    let Keep::For(keep) = keep else { return Ok(None) };
    if is_held || age < keep {
        return Ok(None);
    }
    let stored = keeper.store.stored(&facts.session)?;
    let (stored, location) = stored.map(|stored| (stored.facts.bytes, stored.facts.location)).unzip();
    let recording = EndedRecording { start: facts.clone(), end: end.facts.clone(), location };
    Ok(Some(Due { recording, stored, keep_s: keep.as_secs() }))
}

impl Due {
    /// Whether it is all there: what is missing or cut short stays that, and what its store says nothing of waits. One
    /// that was asked in vain several times is not asked again in the same look. Blocks.
    fn is_whole(&self, keeper: &Keeper, unanswered: &mut u32) -> bool {
        let session = &self.recording.start.session;
        let there = match &self.recording.location {
            None => None,
            Some(_) if *unanswered >= UNANSWERED => return false,
            Some(location) => match Handle::current().block_on(keeper.in_store(location)) {
                Ok(found) => found,
                Err(fault) => {
                    *unanswered += u32::from(matches!(fault, Fault::Transient(_)));
                    tracing::warn!(%session, error = %fault, "a recording whose time is over is not deleted now");
                    return false;
                }
            },
        };
        let file = std::fs::symlink_metadata(keeper.recordings.join(name(session)));
        let here = match file {
            Ok(facts) => Some(if facts.is_file() { facts.len() } else { 0 }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => Some(0),
        };
        let is_whole = AtHand { here, stored: self.stored, there }.is_whole(&self.recording.end);
        if !is_whole {
            tracing::warn!(%session, "a recording whose time is over is not as it was left, and is not deleted");
        }
        is_whole
    }
}

/// Removes files of recordings of which nothing was left: a backup that was put back brings them along.
pub(super) async fn clear_what_came_back(keeper: &Keeper) {
    let (store, directory) = (keeper.store.clone(), keeper.recordings.clone());
    let clear = move || -> std::io::Result<()> {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(session) = stem.and_then(|stem| stem.parse::<SessionId>().ok()) else { continue };
            let is_gone =
                store.read(|state| state.is_deleted(&session) && state.recording(&session).is_none());
            if is_gone && path == directory.join(name(&session)) {
                match remove_file(&directory, &session) {
                    Ok(()) => {
                        tracing::warn!(%session, "a file of a deleted recording was here again, and is removed");
                    }
                    Err(error) => {
                        tracing::error!(%session, %error, "a file of a deleted recording is here again")
                    }
                }
            }
        }
        Ok(())
    };
    match task::spawn_blocking(clear).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "files of deleted recordings may be here"),
        Err(error) => tracing::warn!(%error, "files of deleted recordings may be here"),
    }
}

/// Removes the files here of whatever is deleted, and says of what the store's copy is to be removed now. A lock there
/// keeps nothing here. Those that are `busy` wait.
pub(super) async fn clear(keeper: &Keeper, busy: &BTreeSet<SessionId>) -> Vec<SessionId> {
    let now = keeper.clock.now();
    let is_deleted = |(session, recording): (&SessionId, &Recording)| {
        let deleted = recording.deleted.as_ref().filter(|_| !busy.contains(session))?;
        let is_locked = deleted.remains.as_ref().and_then(|copy| copy.until).is_some_and(|until| now < until);
        Some((session.clone(), is_locked))
    };
    let deleted: Vec<_> = keeper.store.read(|state| state.recordings().filter_map(is_deleted).collect());
    let directory = keeper.recordings.clone();
    let remove = move |(session, is_locked)| (remove_file(&directory, &session), session, is_locked);
    let done = task::spawn_blocking(|| deleted.into_iter().map(remove).collect::<Vec<_>>()).await;
    let done = done.inspect_err(|error| tracing::warn!(%error, "removing files of deleted recordings broke"));
    let mut cleared = Vec::new();
    for (done, session, is_locked) in done.unwrap_or_default() {
        let is_here = done.is_err();
        keeper.removed_here(&session, done);
        if !is_here && !is_locked {
            cleared.push(session);
        }
    }
    cleared
}

/// Durably; one that is gone is gone.
fn remove_file(directory: &Path, session: &SessionId) -> Result<(), String> {
    let path = directory.join(name(session));
    let unremoved = |error: std::io::Error| format!("cannot remove {}: {error}", path.display());
    match std::fs::remove_file(&path) {
        Ok(()) => std::fs::File::open(directory).and_then(|place| place.sync_all()).map_err(unremoved),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unremoved(error)),
    }
}

impl Keeper {
    /// How long what was moved is in the store, if it is there.
    async fn in_store(&self, location: &str) -> Result<Option<u64>, Fault> {
        let place = self.place().ok_or_else(|| Fault::Transient("no store can be used now".to_owned()))?;
        let name = place.address().name_in(location);
        let name =
            name.ok_or_else(|| Fault::Refused(format!("it is at {location}, not in {}", place.address())))?;
        match place.size(name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Fault::Missing(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Removes the store's copy of a deleted recording, whose file here is gone, and has the ledger note how that went.
    pub(super) async fn remove(&self, place: Option<&Place>, session: &SessionId) -> Result<bool, Fault> {
        let name = name(session);
        if let Some(job) = place.map(|place| self.job(place, session, &name)) {
            job.throw_away().await?;
        }
        let (store, asked) = (self.store.clone(), session.clone());
        let stored = task::spawn_blocking(move || store.stored(&asked)).await;
        let failed = |error: &dyn std::fmt::Display| Fault::Transient(error.to_string());
        let stored = stored.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let location = stored.map(|stored| stored.facts.location);
        let removal = match (&location, place) {
            (Some(location), Some(place)) if place.address().name_in(location).is_some() => {
                place.remove(place.address().name_in(location).unwrap_or(&name)).await?
            }
            (Some(_), _) => {
                Removal::Kept { why: "it is in no store that is configured".to_owned(), until: None }
            }
            (None, Some(place)) => self.remove_unnoted(place, session, &name).await?,
            (None, None) => Removal::Gone,
        };
        let command = match &removal {
            Removal::Gone => Command::RemoveRecording { session: session.clone() },
            Removal::Kept { why, until } => {
                let (why, session) = (fitting_line(why), session.clone());
                let location = location.unwrap_or_else(|| name.clone());
                Command::LeaveCopy(Box::new(RemainsFacts { session, location, why, until: *until }))
            }
        };
        self.store.submit(Actor::Node, command).await.map_err(|error| failed(&error))?;
        match removal {
            Removal::Gone => {
                metrics::counter!("postern_recordings_removed_total").increment(1);
                tracing::info!(%session, "nothing is left of a deleted recording");
                Ok(true)
            }
            Removal::Kept { why, until: Some(until) } => {
                tracing::warn!(%session, %why, %until, "the store keeps a copy of a deleted recording");
                Ok(true)
            }
            Removal::Kept { why, until: None } => Err(Fault::Refused(format!(
                "the store keeps its copy, though the recording is deleted: {why}"
            ))),
        }
    }

    /// A crash may have left an object that the ledger never heard of. What has its name and is something else stays.
    async fn remove_unnoted(&self, place: &Place, session: &SessionId, name: &str) -> Result<Removal, Fault> {
        let bytes = |recording: &Recording| recording.deleted.as_ref().map(|deleted| deleted.facts.bytes);
        let bytes = self.store.read(|state| state.recording(session).and_then(bytes));
        match place.size(name).await.map(|found| is_ours(found, bytes)) {
            Ok(Some(true)) => place.remove(name).await,
            Ok(None) => {
                let why = "whether what has its name there is this recording cannot be told";
                Ok(Removal::Kept { why: why.to_owned(), until: None })
            }
            Ok(Some(false)) | Err(Fault::Missing(_)) => Ok(Removal::Gone),
            // Of one object: others are moved all the same.
            Err(Fault::Barred(words)) => {
                Err(Fault::Refused(format!("whether the store has a copy of it cannot be told: {words}")))
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Whether an object of so many bytes is a recording that was deleted with so many; none when that cannot be told: of a
/// recorder that failed no length is known.
fn is_ours(found: u64, deleted: Option<u64>) -> Option<bool> {
    deleted.filter(|bytes| *bytes > 0).map(|bytes| bytes == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_apart_is_neither_removed_nor_called_gone() {
        for (found, deleted, expected) in
            [(9, Some(9), Some(true)), (8, Some(9), Some(false)), (9, Some(0), None), (9, None, None)]
        {
            assert_eq!(is_ours(found, deleted), expected);
        }
    }

    #[test]
    fn a_file_that_cannot_be_removed_is_told_from_one_that_is_gone() {
        let (directory, session) = (tempfile::tempdir().unwrap(), SessionId::random().unwrap());
        assert_eq!(remove_file(directory.path(), &session), Ok(()));
        std::fs::create_dir(directory.path().join(name(&session))).unwrap();
        assert!(remove_file(directory.path(), &session).unwrap_err().contains("cannot remove"));
    }
}
