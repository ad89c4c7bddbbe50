//! Fills each recording's own file from memory, in counter order, and lets journal segments go when that is synced.
//!
//! One thread, small steps: what is bulky is written and synced a mebibyte at a time, so that dirty pages never pile
//! up behind the journal's syncs; what is small is gathered for a second. No file stays open between steps.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lane::Lane;
use super::rescue::Rescue;
use super::track::{Piece, Queued, Track};
use super::{Shared, keeper};
use crate::recording::disk::{self, Area};
use crate::recording::failure::RecorderError;
use crate::recording::spool::Spool;

/// The most bytes of one recording in one step, and the most left unsynced in its file.
const STEP: usize = 1 << 20;
/// How long small frames gather before they go to their file.
const GATHER: Duration = Duration::from_secs(1);
/// How many files are synced for the journal's sake between steps.
const SYNCS_A_STEP: usize = 32;
/// How soon to look again at a full segment that is still needed.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How many finished recordings share one sync of the directories.
const FINISH_AT_ONCE: usize = 1024;
/// From how many finished recordings on one sync of the whole file system is cheaper than one each.
const MANY: usize = 16;

#[derive(Default)]
struct Queues {
    urgent: VecDeque<Arc<Track>>,
    /// In the order they become due.
    lazy: VecDeque<(Duration, Arc<Track>)>,
    is_closing: bool,
}

/// The shared part of the filler.
#[derive(Default)]
pub(super) struct Filler {
    queues: Mutex<Queues>,
    more: Condvar,
    clock: Option<crate::model::Clock>,
    are_segments_full: AtomicBool,
    /// What is still needed of recordings whose files failed.
    pub(super) rescue: Rescue,
}

/// What only the thread itself knows.
#[derive(Default)]
struct Work {
    /// Recordings with bytes in their file that are not synced there, by address.
    unsynced: BTreeMap<usize, Arc<Track>>,
    /// Recordings whose last byte is in their file, waiting to be synced and for their final name.
    complete: Vec<Arc<Track>>,
}

impl Filler {
    pub(super) fn new(clock: crate::model::Clock) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// Tells the filler about a recording.
    pub(super) fn queue(&self, track: &Arc<Track>, queued: Queued) {
        match queued {
            Queued::No => {}
            Queued::Lazily => {
                let due = self.now() + GATHER;
                lock(&self.queues).lazy.push_back((due, Arc::clone(track)));
            }
            Queued::Urgently => {
                lock(&self.queues).urgent.push_back(Arc::clone(track));
                self.more.notify_one();
            }
        }
    }

    /// Tells the filler that a segment is full.
    pub(super) fn look_at_segments(&self) {
        self.are_segments_full.store(true, Ordering::Release);
        self.more.notify_one();
    }

    pub(super) fn close(&self) {
        lock(&self.queues).is_closing = true;
        self.more.notify_all();
    }

    fn is_closing(&self) -> bool {
        lock(&self.queues).is_closing
    }

    fn now(&self) -> Duration {
        self.clock.as_ref().map_or(Duration::ZERO, crate::model::Clock::since_boot)
    }

    /// The next recording to fill. `None` within it: look at the rest; `None`: closed and nothing left.
    fn next(&self, may_wait: bool) -> Option<Option<Arc<Track>>> {
        let now = self.now();
        let mut queues = lock(&self.queues);
        if let Some(track) = queues.urgent.pop_front() {
            return Some(Some(track));
        }
        let is_due = queues.lazy.front().is_some_and(|(due, _)| queues.is_closing || *due <= now);
        if is_due {
            return Some(queues.lazy.pop_front().map(|(_, track)| track));
        }
        if queues.is_closing {
            return None;
        }
        if may_wait && !self.are_segments_full.load(Ordering::Acquire) {
            let wait = queues.lazy.front().map_or(GATHER, |(due, _)| due.saturating_sub(now));
            drop(self.more.wait_timeout(queues, wait.clamp(Duration::from_millis(1), GATHER)));
        }
        Some(None)
    }
}

/// The filler thread.
pub(super) fn fill(shared: &Shared) {
    let mut work = Work::default();
    let mut is_busy = false;
    while let Some(track) = shared.filler.next(!is_busy) {
        is_busy = track.is_some();
        if let Some(track) = track {
            step(shared, &mut work, &track);
        }
        if !is_busy || work.complete.len() >= FINISH_AT_ONCE {
            finish(shared, &mut work);
        }
        if release_segments(shared, &mut work) && !is_busy {
            // What pins a segment may be on its way through a lane: look again soon, without spinning.
            std::thread::sleep(LOOK_AGAIN);
            is_busy = true;
        }
    }
    finish(shared, &mut work);
    let unsynced: Vec<_> = work.unsynced.into_values().collect();
    sync_files(shared, &unsynced);
}

fn step(shared: &Shared, work: &mut Work, track: &Arc<Track>) {
    let pieces = track.take_pieces(STEP);
    if pieces.is_empty() {
        // It was queued twice; by now it may even have its final name.
        return;
    }
    let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let result = write_pieces(shared, track, &pieces);
    if result.as_ref().is_err_and(disk::is_full) && !shared.filler.is_closing() {
        track.put_back(pieces);
        shared.filler.queue(track, Queued::Lazily);
        return stall(shared, track);
    }
    let (unsynced, queued) = track.filled(pieces);
    shared.filled(bytes);
    track.left(bytes);
    shared.filler.queue(track, queued);
    if let Err(error) = result {
        track.fail_file(&error);
    }
    let address = Arc::as_ptr(track).addr();
    if track.file_failure().is_some() {
        work.unsynced.remove(&address);
        shared.filler.rescue.keep(track);
    } else if track.is_complete() {
        work.unsynced.remove(&address);
        work.complete.push(Arc::clone(track));
    } else if unsynced >= STEP {
        work.unsynced.remove(&address);
        sync_files(shared, std::slice::from_ref(track));
    } else {
        work.unsynced.insert(address, Arc::clone(track));
    }
}

/// No room for a recording's file: its session ends, and the journal keeps the bytes until there is room again.
pub(super) fn stall(shared: &Shared, track: &Track) {
    tracing::error!(session = %track.session, "no room for a recording; the journal keeps it until there is");
    track.stall();
    keeper::measure(shared);
}

fn write_pieces(shared: &Shared, track: &Track, pieces: &[Piece]) -> io::Result<()> {
    if pieces.is_empty() || track.file_failure().is_some() {
        return Ok(());
    }
    let file = track.file(&shared.spool)?;
    let is_next = |a: &Piece, b: &Piece| a.offset + a.bytes.len() as u64 == b.offset;
    // What went straight into the file stands between.
    for run in pieces.chunk_by(is_next) {
        let mut slices: Vec<_> = run.iter().map(|piece| IoSlice::new(&piece.bytes)).collect();
        let offset = run.first().map_or(0, |piece| piece.offset);
        shared.disk.write(Area::Recording, &file, &mut slices, offset)?;
    }
    Ok(())
}

/// Makes durable what is in the files, and that there are such files; then lets go of the segments with the same.
fn sync_files(shared: &Shared, tracks: &[Arc<Track>]) {
    let synced: Vec<_> = tracks.iter().filter(|track| sync_file(shared, track)).collect();
    let result = name_all(synced.iter().copied(), &shared.spool);
    for track in synced {
        match &result {
            Ok(()) => track.synced(),
            Err(error) => give_up(shared, track, error),
        }
    }
}

/// Makes durable that live recordings have the files they have.
pub(super) fn name_all<'a>(
    tracks: impl Iterator<Item = &'a Arc<Track>> + Clone,
    spool: &Spool,
) -> io::Result<()> {
    if tracks.clone().any(|track| !track.is_named.load(Ordering::Acquire)) {
        spool.sync_open()?;
        tracks.for_each(|track| track.is_named.store(true, Ordering::Release));
    }
    Ok(())
}

/// Syncs what is in a recording's file; says whether that is sure.
fn sync_file(shared: &Shared, track: &Track) -> bool {
    if track.file_failure().is_some() {
        return false;
    }
    let result = track.file(&shared.spool).and_then(|file| shared.disk.sync(Area::Recording, &file));
    if let Err(error) = &result {
        give_up(shared, track, error);
    }
    result.is_ok()
}

/// Gives finished recordings their final names.
fn finish(shared: &Shared, work: &mut Work) {
    let complete = std::mem::take(&mut work.complete);
    if complete.is_empty() {
        return;
    }
    let synced = sync_complete(shared, complete);
    let mut kept = Vec::with_capacity(synced.len());
    for track in synced {
        match shared.spool.keep(&track.session) {
            Ok(()) => kept.push(track),
            Err(error) => give_up(shared, &track, &error),
        }
    }
    let result = shared.spool.sync_directories();
    for track in kept {
        match &result {
            Ok(()) => {
                track.synced();
                shared.done(&track.session);
                track.mark_stored();
            }
            Err(error) => give_up(shared, &track, error),
        }
    }
}

/// Syncs finished recordings, one by one or all at once; gives those of which that is sure.
fn sync_complete(shared: &Shared, complete: Vec<Arc<Track>>) -> Vec<Arc<Track>> {
    if complete.len() < MANY {
        return complete.into_iter().filter(|track| sync_file(shared, track)).collect();
    }
    let result =
        shared.spool.handle().and_then(|directory| shared.disk.sync_all(Area::Recording, &directory));
    if let Err(error) = &result {
        complete.iter().for_each(|track| give_up(shared, track, error));
    }
    if result.is_ok() { complete } else { Vec::new() }
}

/// Lets go of the oldest full segments: syncs the files that still need one, a few at a time. Says if there is more.
fn release_segments(shared: &Shared, work: &mut Work) -> bool {
    if !shared.filler.are_segments_full.swap(false, Ordering::AcqRel) {
        return false;
    }
    let mut has_more = false;
    for lane in [&shared.small, &shared.bulk] {
        clear_unneeded(shared, lane);
        let Some(oldest) = lane.oldest_full() else { continue };
        has_more = true;
        let pinning = work.unsynced.iter().filter(|(_, track)| track.pins(&oldest));
        let addresses: Vec<usize> = pinning.map(|(address, _)| *address).take(SYNCS_A_STEP).collect();
        let tracks: Vec<_> = addresses.iter().filter_map(|address| work.unsynced.remove(address)).collect();
        sync_files(shared, &tracks);
    }
    if has_more {
        shared.filler.are_segments_full.store(true, Ordering::Release);
    }
    has_more
}

/// Takes the oldest full segments out of use for as long as nobody needs them. What only recordings with failed files
/// need of one is copied out of it first, so that one broken file never stops the journal.
fn clear_unneeded(shared: &Shared, lane: &Lane) {
    loop {
        let cleared = match lane.take_unneeded() {
            Some(file) => file.clear(&*shared.disk).map(|()| lane.give_back(file)),
            None => match lane.oldest_full().map(|oldest| shared.filler.rescue.copy_out(shared, &oldest)) {
                Some(Ok(true)) => Ok(()),
                Some(Err(error)) => Err(error),
                Some(Ok(false)) | None => return,
            },
        };
        if let Err(error) = cleared {
            return shared.fail(&RecorderError::JournalFailed(format!("clearing: {error}")));
        }
    }
}

/// A recording's file has failed: its session ends, and the journal keeps what the file may lack.
pub(super) fn give_up(shared: &Shared, track: &Track, error: &io::Error) {
    track.fail_file(error);
    shared.filler.rescue.keep(track);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
