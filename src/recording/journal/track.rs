//! How far one recording's bytes have come: submitted, written, durable, in the recording's own file.
//!
//! Three lanes write one recording's frames and overtake each other. What is acknowledged is the prefix: `written` and
//! `durable` only ever count frames before which none is missing. One `Track` is a few hundred bytes when idle.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::segment::{LaneKind, Segment};
use super::waiting::Stage;
use crate::model::SessionId;
use crate::recording::failure::RecorderError;
use crate::recording::spool::Spool;

/// Bytes on their way into the recording's own file.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
    /// The journal segment that must stay until these bytes are synced in the file.
    pub(super) segment: Option<Arc<Segment>>,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    lane: LaneKind,
    piece: Piece,
}

/// Whether, and how soon, the filler should look at a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queued {
    No,
    Lazily,
    Urgently,
}

#[derive(Debug)]
struct Progress {
    /// Position of the first slot.
    base: u64,
    slots: VecDeque<Slot>,
    /// Frames not yet durable, and the number of the latest, in each lane.
    small: (usize, u64),
    bulk: (usize, u64),
    direct: (usize, u64),
    /// Length of what the recording's file has without a gap.
    in_file: u64,
    /// Length of the recording so far.
    length: u64,
    filling: VecDeque<Piece>,
    /// What the filler is writing now.
    in_hand: Vec<(u64, Bytes)>,
    filling_bytes: usize,
    queued: Queued,
    has_end: bool,
    /// Segments with bytes that are in the file and not synced there.
    unsynced: Vec<Arc<Segment>>,
    unsynced_bytes: usize,
}

/// One recording on its way to disk.
#[derive(Debug)]
pub(in crate::recording) struct Track {
    pub(in crate::recording) session: SessionId,
    progress: Mutex<Progress>,
    /// For threads that wait for the progress of others.
    moved_on: Condvar,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    in_flight: AtomicUsize,
    /// Bytes submitted and not yet in the recording's file.
    held: AtomicUsize,
    pub(super) is_stored: AtomicBool,
    /// Whether its file has been made.
    has_file: AtomicBool,
    /// Whether that is durable.
    pub(super) is_named: AtomicBool,
    /// Whether its file found no room; the journal has what is missing there.
    pub(super) is_stalled: AtomicBool,
    failure: OnceLock<RecorderError>,
    /// Set when not even the end can be recorded; may follow a failure that allowed that.
    fatal: OnceLock<RecorderError>,
    /// Set when the recording's own file must not be touched any more.
    file_failure: OnceLock<RecorderError>,
    /// Woken for each of these alone: most who wait for one thing have no use for the others.
    pub(super) now_written: Notify,
    pub(super) now_durable: Notify,
    pub(super) now_stored: Notify,
    pub(super) now_failed: Notify,
}

/// How often a thread that waits for the journal looks whether that has failed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Pending bytes of one recording at which its file is filled at once instead of within a second.
const FILL_NOW: usize = 256 << 10;

impl Track {
    pub(in crate::recording) fn new(session: SessionId) -> Self {
        let progress = Progress {
            base: 0,
            slots: VecDeque::new(),
            small: (0, 0),
            bulk: (0, 0),
            direct: (0, 0),
            in_file: 0,
            length: 0,
            filling: VecDeque::new(),
            in_hand: Vec::new(),
            filling_bytes: 0,
            queued: Queued::No,
            has_end: false,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
        };
        Self {
            session,
            progress: Mutex::new(progress),
            moved_on: Condvar::new(),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            is_stored: AtomicBool::new(false),
            has_file: AtomicBool::new(false),
            is_named: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            failure: OnceLock::new(),
            fatal: OnceLock::new(),
            file_failure: OnceLock::new(),
            now_written: Notify::new(),
            now_durable: Notify::new(),
            now_stored: Notify::new(),
            now_failed: Notify::new(),
        }
    }

    /// Takes a frame in; answers with its position and its offset in the recording.
    pub(super) fn admit(&self, bytes: Bytes, lane: LaneKind, is_end: bool) -> (u64, u64) {
        let mut progress = self.lock();
        let (position, offset) = (progress.base + progress.slots.len() as u64, progress.length);
        progress.length += bytes.len() as u64;
        progress.has_end |= is_end;
        progress.lane(lane).0 += 1;
        self.in_flight.fetch_add(bytes.len(), Ordering::AcqRel);
        self.held.fetch_add(bytes.len(), Ordering::AcqRel);
        let piece = Piece { offset, bytes, segment: None };
        progress.slots.push_back(Slot { stage: Stage::Submitted, lane, piece });
        (position, offset)
    }

    /// Remembers the number a lane gave the latest frame.
    pub(super) fn numbered(&self, lane: LaneKind, number: u64) {
        self.lock().lane(lane).1 = number;
    }

    /// For each lane with frames that are not durable, the number of the latest.
    pub(super) fn outstanding(&self) -> [Option<u64>; 3] {
        let progress = self.lock();
        [progress.small, progress.bulk, progress.direct].map(|(count, number)| (count > 0).then_some(number))
    }

    /// Notes that a frame is in a segment, or in the recording's own file when there is none.
    pub(super) fn mark_written(&self, position: u64, segment: Option<&Arc<Segment>>) {
        let mut progress = self.lock();
        if let Some(slot) = progress.slot(position) {
            slot.stage = Stage::Written;
            self.in_flight.fetch_sub(slot.piece.bytes.len(), Ordering::AcqRel);
            match segment {
                Some(segment) => slot.piece.segment = Some(Arc::clone(segment)),
                None => slot.piece.bytes = Bytes::new(),
            }
        }
        let from = self.written.load(Ordering::Acquire).max(progress.base);
        let skip = usize::try_from(from - progress.base).unwrap_or(usize::MAX);
        let more = progress.slots.iter().skip(skip).take_while(|slot| slot.stage != Stage::Submitted).count();
        self.written.store(from + more as u64, Ordering::Release);
        drop(progress);
        self.moved_on.notify_all();
        if more > 0 {
            self.now_written.notify_waiters();
        }
    }

    /// Answers with how the filler should be told, when it was not told already.
    pub(super) fn mark_durable(&self, position: u64) -> Queued {
        let mut progress = self.lock();
        if let Some(slot) = progress.slot(position) {
            slot.stage = Stage::Durable;
            let lane = slot.lane;
            let count = &mut progress.lane(lane).0;
            *count = count.saturating_sub(1);
        }
        let before = progress.base;
        while progress.slots.front().is_some_and(|slot| slot.stage == Stage::Durable) {
            if let Some(Slot { piece, lane, .. }) = progress.slots.pop_front() {
                progress.base += 1;
                if lane == LaneKind::Direct {
                    continue;
                }
                progress.filling_bytes += piece.bytes.len();
                progress.filling.push_back(piece);
            }
        }
        if progress.slots.is_empty() {
            progress.slots.shrink_to(8);
        }
        self.durable.store(progress.base, Ordering::Release);
        let queued = progress.queue();
        let has_advanced = progress.base > before;
        drop(progress);
        if has_advanced {
            self.now_durable.notify_waiters();
        }
        queued
    }

    /// Waits until the journal has every frame before `position` that goes through it, or `is_over`. A frame may then be
    /// written into the file while that is torn: the next start puts it there again.
    pub(super) fn await_journal(&self, position: u64, is_over: impl Fn() -> bool) {
        let is_missing = |progress: &mut Progress| {
            let before = usize::try_from(position.saturating_sub(progress.base)).unwrap_or(usize::MAX);
            let mut slots = progress.slots.iter().take(before);
            slots.any(|slot| slot.stage == Stage::Submitted && slot.lane != LaneKind::Direct)
        };
        let mut progress = self.lock();
        while is_missing(&mut progress) && !is_over() {
            let waited = self.moved_on.wait_timeout_while(progress, LOOK_AGAIN, is_missing);
            progress = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Everything that the file lacks up to and including a frame, and where it belongs. The file never has a gap.
    pub(super) fn lacking(&self, position: u64) -> (u64, Vec<Bytes>) {
        let progress = self.lock();
        let from = progress.in_file;
        let count = usize::try_from((position + 1).saturating_sub(progress.base)).unwrap_or(usize::MAX);
        let slots = progress.slots.iter().take(count).map(|slot| &slot.piece);
        let pieces = progress.filling.iter().chain(slots).map(|piece| (piece.offset, piece.bytes.clone()));
        let all = progress.in_hand.iter().cloned().chain(pieces);
        (from, all.filter(|(offset, _)| *offset >= from).map(|(_, bytes)| bytes).collect())
    }

    /// Notes how far the file goes now.
    pub(super) fn reaches(&self, end: u64) {
        let mut progress = self.lock();
        progress.in_file = progress.in_file.max(end);
    }

    /// A frame takes another way than the one it was given.
    pub(super) fn moved(&self, position: u64, to: LaneKind) {
        let mut progress = self.lock();
        let Some(slot) = progress.slot(position) else { return };
        let from = std::mem::replace(&mut slot.lane, to);
        let left = &mut progress.lane(from).0;
        *left = left.saturating_sub(1);
        progress.lane(to).0 += 1;
    }

    /// Opens the recording's file, making it the first time. One that is gone later is an error.
    pub(super) fn file(&self, spool: &Spool) -> io::Result<File> {
        let is_new = !self.has_file.load(Ordering::Acquire);
        let file = spool.writer(&self.session, is_new)?;
        self.has_file.store(true, Ordering::Release);
        Ok(file)
    }

    /// Takes up to `most` bytes for the file, and at least one piece when there is any.
    pub(super) fn take_pieces(&self, most: usize) -> Vec<Piece> {
        let mut progress = self.lock();
        progress.queued = Queued::No;
        let (mut pieces, mut total) = (Vec::new(), 0);
        while let Some(piece) = progress.filling.front() {
            if !pieces.is_empty() && total + piece.bytes.len() > most {
                break;
            }
            total += piece.bytes.len();
            pieces.extend(progress.filling.pop_front());
        }
        progress.filling_bytes -= total;
        progress.in_hand = pieces.iter().map(|piece| (piece.offset, piece.bytes.clone())).collect();
        if progress.filling.is_empty() {
            progress.filling.shrink_to(8);
        }
        pieces
    }

    /// Takes back pieces that found no room in the file. The caller sees to it that the filler comes again.
    pub(super) fn put_back(&self, pieces: Vec<Piece>) {
        let mut progress = self.lock();
        progress.in_hand = Vec::new();
        for piece in pieces.into_iter().rev() {
            progress.filling_bytes += piece.bytes.len();
            progress.filling.push_front(piece);
        }
        progress.queued = Queued::Lazily;
    }

    /// Notes that there is no room for the file: the session ends, and its recording is finished when there is.
    pub(super) fn stall(&self) {
        self.is_stalled.store(true, Ordering::Release);
        self.fail(RecorderError::DiskFull);
        self.now_stored.notify_waiters();
    }

    /// Notes that pieces are in the file and not synced; answers with how much is not, and how to queue what is left.
    pub(super) fn filled(&self, pieces: Vec<Piece>) -> (usize, Queued) {
        let mut progress = self.lock();
        progress.in_hand = Vec::new();
        for Piece { bytes, segment, offset } in pieces {
            progress.in_file = progress.in_file.max(offset + bytes.len() as u64);
            progress.unsynced_bytes += bytes.len();
            if let Some(segment) = segment.filter(|s| !progress.unsynced.iter().any(|u| Arc::ptr_eq(u, s))) {
                progress.unsynced.push(segment);
            }
        }
        (progress.unsynced_bytes, progress.queue())
    }

    /// Lets go of the segments of everything that is in the file, which was just synced.
    pub(super) fn synced(&self) {
        let mut progress = self.lock();
        progress.unsynced_bytes = 0;
        progress.unsynced = Vec::new();
    }

    /// Takes over the segments this track keeps from being used again: its file has failed.
    pub(super) fn take_pinned(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.lock().unsynced)
    }

    pub(super) fn pins(&self, segment: &Arc<Segment>) -> bool {
        self.lock().unsynced.iter().any(|pinned| Arc::ptr_eq(pinned, segment))
    }

    /// Whether the end is in the file and nothing is left to fill.
    pub(super) fn is_complete(&self) -> bool {
        let progress = self.lock();
        progress.has_end && progress.slots.is_empty() && progress.filling.is_empty()
    }

    pub(super) fn mark_stored(&self) {
        self.is_stored.store(true, Ordering::Release);
        self.now_stored.notify_waiters();
    }

    /// Fails the recording; the first reason of its gravity stays.
    pub(in crate::recording) fn fail(&self, error: RecorderError) {
        let slot = if error.prevents_the_end() { &self.fatal } else { &self.failure };
        if slot.set(error).is_ok() {
            self.now_failed.notify_waiters();
        }
    }

    /// Fails the recording because its own file failed. What the journal acknowledged is still safe there.
    pub(super) fn fail_file(&self, error: &io::Error) {
        if self.file_failure.set(RecorderError::FileFailed(error.to_string())).is_ok() {
            self.now_failed.notify_waiters();
        }
    }

    pub(super) fn file_failure(&self) -> Option<&RecorderError> {
        self.file_failure.get()
    }

    pub(in crate::recording) fn failure(&self) -> Option<&RecorderError> {
        self.file_failure.get().or_else(|| self.fatal.get()).or_else(|| self.failure.get())
    }

    /// Whether nothing was taken in yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().length == 0
    }

    pub(in crate::recording) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(in crate::recording) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Notes that bytes need not be held any more.
    pub(super) fn left(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Length of the recording so far, submitted bytes included.
    pub(in crate::recording) fn length(&self) -> u64 {
        self.lock().length
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    const fn lane(&mut self, lane: LaneKind) -> &mut (usize, u64) {
        match lane {
            LaneKind::Small => &mut self.small,
            LaneKind::Bulk => &mut self.bulk,
            LaneKind::Direct => &mut self.direct,
        }
    }

    fn slot(&mut self, position: u64) -> Option<&mut Slot> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(index)
    }

    /// Decides how the filler should hear of this track; `No` when it needs not, or has.
    fn queue(&mut self) -> Queued {
        let is_last = self.has_end && self.slots.is_empty();
        let wanted = match self.filling.is_empty() {
            true => Queued::No,
            false if is_last || self.filling_bytes >= FILL_NOW => Queued::Urgently,
            false => Queued::Lazily,
        };
        if wanted > self.queued {
            self.queued = wanted;
            wanted
        } else {
            Queued::No
        }
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
