//! One lane of the journal: a queue, the thread that writes it, and the thread that syncs what was written.
//!
//! The writer takes everything queued and writes it at once; the syncer makes durable what has gathered when somebody
//! waits for it, or soon after. Writes go on while a sync runs, so groups form by themselves and nothing lingers.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::direct::Stage;
use super::segment::{HEADER_BYTES, LaneKind, Record, Segment, SegmentFile};
use super::track::Track;
use super::{Shared, direct, filler, keeper};
use crate::recording::disk::{self, Area};
use crate::recording::failure::RecorderError;

/// The most one write takes, so that what is in it counts as written early.
const GROUP_BYTES: usize = 1 << 20;
/// The most records one write takes.
const GROUP_RECORDS: usize = 512;
/// How long written bytes wait for a sync when nobody asks.
const SYNC_WITHIN: Duration = Duration::from_millis(50);
/// The most bytes written straight into files that wait for their sync.
const UNSYNCED: usize = 64 << 20;
/// How often a writer that waits for memory or space looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One record on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) bytes: Bytes,
    /// Whose frame it is; `None` for the journal's own records.
    pub(super) track: Option<Arc<Track>>,
}

pub(super) struct Written {
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) track: Option<Arc<Track>>,
    pub(super) place: Place,
}

/// Where a record was written.
pub(super) enum Place {
    /// In the recording's own file.
    File {
        file: Arc<File>,
        bytes: usize,
    },
    Segment(Arc<Segment>),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<(u64, Item)>,
    last_number: u64,
    is_closing: bool,
}

#[derive(Default)]
struct Unsynced {
    written: Vec<Written>,
    /// Bytes of them that went straight into files.
    direct_bytes: usize,
    /// Records up to this number are waited for.
    wanted: u64,
    is_closing: bool,
}

#[derive(Default)]
struct Segments {
    /// Full ones, oldest first.
    full: VecDeque<Arc<Segment>>,
    free: Vec<SegmentFile>,
    /// Numbers of the files there are or that are being made: two files never share a name.
    made: BTreeSet<usize>,
}

/// The shared part of a lane.
pub(super) struct Lane {
    kind: LaneKind,
    queue: Mutex<Queue>,
    more: Condvar,
    unsynced: Mutex<Unsynced>,
    sync: Condvar,
    synced: Condvar,
    segments: Mutex<Segments>,
    freed: Condvar,
}

/// Where the writer is; its own alone.
struct Head {
    segment: Arc<Segment>,
    at: u64,
}

impl Lane {
    pub(super) fn new(kind: LaneKind) -> Self {
        Self {
            kind,
            queue: Mutex::default(),
            more: Condvar::new(),
            unsynced: Mutex::default(),
            sync: Condvar::new(),
            synced: Condvar::new(),
            segments: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Begins with the files an earlier run left.
    pub(super) fn adopt(&self, files: Vec<SegmentFile>) {
        let mut segments = lock(&self.segments);
        segments.made = files.iter().filter_map(|file| self.kind.number_of(&file.path)).collect();
        segments.free = files;
    }

    /// Queues a record; answers with its number in this lane.
    pub(super) fn push(&self, item: Item) -> u64 {
        let mut queue = lock(&self.queue);
        queue.last_number += 1;
        let number = queue.last_number;
        let was_empty = queue.items.is_empty();
        queue.items.push_back((number, item));
        drop(queue);
        if was_empty {
            self.more.notify_one();
        }
        number
    }

    /// Leaves what was written to the syncer.
    pub(super) fn hand_to_syncer(&self, mut written: Vec<Written>) {
        let mut unsynced = lock(&self.unsynced);
        unsynced.direct_bytes += written.iter().map(Written::direct_bytes).sum::<usize>();
        unsynced.written.append(&mut written);
        drop(unsynced);
        self.sync.notify_one();
    }

    /// Waits while much of what went straight into files is not synced, so that no sync takes long.
    pub(super) fn wait_for_syncer(&self) {
        let unsynced = lock(&self.unsynced);
        let is_much = |unsynced: &mut Unsynced| unsynced.direct_bytes > UNSYNCED && !unsynced.is_closing;
        drop(self.synced.wait_while(unsynced, is_much));
    }

    /// Asks for everything up to a number to be synced at once.
    pub(super) fn want(&self, number: u64) {
        let mut unsynced = lock(&self.unsynced);
        if unsynced.wanted < number {
            unsynced.wanted = number;
            if unsynced.is_wanted() {
                self.sync.notify_one();
            }
        }
    }

    /// The oldest full segment, when nothing in it is needed any more; taken out of use.
    pub(super) fn take_unneeded(&self) -> Option<SegmentFile> {
        let mut segments = lock(&self.segments);
        let is_unneeded = segments.full.front().is_some_and(|segment| Arc::strong_count(segment) == 1);
        let segment = if is_unneeded { segments.full.pop_front() } else { None };
        segment.map(|segment| segment.home.clone())
    }

    pub(super) fn give_back(&self, file: SegmentFile) {
        lock(&self.segments).free.push(file);
        self.freed.notify_one();
    }

    /// The oldest full segment that something still needs.
    pub(super) fn oldest_full(&self) -> Option<Arc<Segment>> {
        lock(&self.segments).full.front().cloned()
    }

    /// Makes one segment ready ahead of need.
    pub(super) fn prepare_spare(&self, shared: &Shared) -> io::Result<()> {
        let segments = lock(&self.segments);
        let needed = segments.free.is_empty() && segments.made.len() < shared.limits.segments_per_lane;
        drop(segments);
        if needed {
            let file = self.create(shared)?;
            self.give_back(file);
        }
        Ok(())
    }

    pub(super) fn close_queue(&self) {
        lock(&self.queue).is_closing = true;
        self.more.notify_all();
    }

    pub(super) fn close_sync(&self) {
        lock(&self.unsynced).is_closing = true;
        self.sync.notify_all();
    }

    fn create(&self, shared: &Shared) -> io::Result<SegmentFile> {
        let mut segments = lock(&self.segments);
        let number = (1..).find(|number| !segments.made.contains(number)).unwrap_or(usize::MAX);
        segments.made.insert(number);
        drop(segments);
        let path = shared.directory.join(self.kind.segment_name(number));
        let zero = self.kind == LaneKind::Small;
        let made = SegmentFile::create(path, shared.limits.segment_bytes, zero);
        if made.is_err() {
            // What there is of it keeps its name, and the next attempt takes it up.
            lock(&self.segments).made.remove(&number);
        }
        made
    }

    /// Blocks until there is something to write; `None` when the lane is closed and empty.
    fn next_group(&self) -> Option<Vec<(u64, Item)>> {
        let queue = lock(&self.queue);
        let mut queue = self
            .more
            .wait_while(queue, |queue| queue.items.is_empty() && !queue.is_closing)
            .unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let within = |(_, item): &&(u64, Item)| {
            bytes += item.bytes.len();
            bytes <= GROUP_BYTES
        };
        let count = queue.items.iter().take(GROUP_RECORDS).take_while(within).count().max(1);
        let count = count.min(queue.items.len());
        let group: Vec<_> = queue.items.drain(..count).collect();
        if queue.items.is_empty() {
            queue.items.shrink_to(64);
        }
        (!group.is_empty()).then_some(group)
    }
}

/// The writer thread.
pub(super) fn write(shared: &Shared, lane: &Lane) {
    let (mut head, mut stage) = (None, None);
    while let Some(group) = lane.next_group() {
        if shared.failure().is_some() {
            continue;
        }
        if lane.kind == LaneKind::Direct {
            direct::write(shared, lane, stage.get_or_insert_with(Stage::new), group);
            continue;
        }
        shared.wait_for_memory(lane.kind, LOOK_AGAIN);
        if let Err(error) = write_group(shared, lane, &mut head, group) {
            shared.fail(&RecorderError::JournalFailed(format!("writing: {error}")));
        }
    }
}

fn write_group(
    shared: &Shared,
    lane: &Lane,
    head: &mut Option<Head>,
    group: Vec<(u64, Item)>,
) -> io::Result<()> {
    let mut rest: VecDeque<_> = group.into();
    while !rest.is_empty() {
        let place = match head {
            Some(place) => place,
            None => head.insert(next_segment(shared, lane)?),
        };
        let (mut room, mut count) = (shared.limits.segment_bytes.saturating_sub(place.at), 0);
        for (_, item) in &rest {
            let size = (super::segment::RECORD_HEAD + item.bytes.len()) as u64;
            if size > room {
                break;
            }
            room -= size;
            count += 1;
        }
        let part: Vec<_> = rest.drain(..count).collect();
        write_part(shared, lane, place, part)?;
        if !rest.is_empty() {
            let full = head.take().map(|place| place.segment);
            lock(&lane.segments).full.extend(full);
            shared.filler.look_at_segments();
        }
    }
    Ok(())
}

fn write_part(shared: &Shared, lane: &Lane, place: &mut Head, part: Vec<(u64, Item)>) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    let nonce = &place.segment.nonce;
    let heads: Vec<Vec<u8>> = part.iter().map(|(_, item)| item.record.to_bytes(nonce)).collect();
    let mut pieces = Vec::with_capacity(part.len() * 2);
    for (head, (_, item)) in heads.iter().zip(&part) {
        pieces.push(IoSlice::new(head));
        if !item.bytes.is_empty() {
            pieces.push(IoSlice::new(&item.bytes));
        }
    }
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    shared.disk.write(Area::Journal, &place.segment.home.file, &mut pieces, place.at)?;
    place.at += total as u64;
    let mut written = Vec::with_capacity(part.len());
    for (number, item) in part {
        let position = item.record.position;
        if let Some(track) = &item.track {
            shared.unfilled.fetch_add(item.bytes.len(), Ordering::AcqRel);
            track.mark_written(position, Some(&place.segment));
        }
        let place = Place::Segment(Arc::clone(&place.segment));
        written.push(Written { number, position, track: item.track, place });
    }
    lane.hand_to_syncer(written);
    Ok(())
}

fn next_segment(shared: &Shared, lane: &Lane) -> io::Result<Head> {
    loop {
        let mut segments = lock(&lane.segments);
        let file = segments.free.pop();
        let may_make = segments.made.len() < shared.limits.segments_per_lane;
        if file.is_none() && !may_make {
            drop(lane.freed.wait_timeout(segments, LOOK_AGAIN));
            if shared.failure().is_some() {
                return Err(io::Error::other("every segment is in use"));
            }
            continue;
        }
        drop(segments);
        let file = match file.map_or_else(|| lane.create(shared), Ok) {
            Err(error) if disk::is_full(&error) && shared.failure().is_none() => {
                // Sessions end and give segments back, or somebody makes room: either way nothing is lost by waiting.
                keeper::measure(shared);
                drop(lane.freed.wait_timeout(lock(&lane.segments), LOOK_AGAIN));
                continue;
            }
            file => file?,
        };
        return Ok(Head { segment: Arc::new(file.begin(&*shared.disk)?), at: HEADER_BYTES as u64 });
    }
}

/// The syncer thread.
pub(super) fn sync(shared: &Shared, lane: &Lane) {
    while let Some(written) = next_to_sync(lane) {
        let direct: usize = written.iter().map(Written::direct_bytes).sum();
        if shared.failure().is_none() {
            match sync_places(shared, &written) {
                Ok(()) => written.into_iter().for_each(|written| acknowledge(shared, written)),
                Err(error) => shared.fail(&RecorderError::JournalFailed(format!("syncing: {error}"))),
            }
        }
        lock(&lane.unsynced).direct_bytes -= direct;
        lane.synced.notify_one();
    }
}

fn acknowledge(shared: &Shared, written: Written) {
    let Written { position, track, place, .. } = written;
    let bytes = match &place {
        Place::File { bytes, .. } => *bytes,
        Place::Segment(_) => 0,
    };
    // A segment is let go before the filler hears of the record, which may be its last.
    drop(place);
    shared.left(bytes);
    if let Some(track) = &track {
        track.left(bytes);
    }
    if let Some(track) = track.filter(|track| bytes == 0 || track.file_failure().is_none()) {
        let queued = track.mark_durable(position);
        shared.filler.queue(&track, queued);
    }
}

fn next_to_sync(lane: &Lane) -> Option<Vec<Written>> {
    let recover = PoisonError::into_inner;
    let unsynced = lock(&lane.unsynced);
    let unsynced = lane.sync.wait_while(unsynced, |u| u.written.is_empty() && !u.is_closing);
    let unsynced = unsynced.unwrap_or_else(recover);
    let is_idle = |u: &mut Unsynced| !u.is_wanted() && !u.is_closing;
    let waited = lane.sync.wait_timeout_while(unsynced, SYNC_WITHIN, is_idle);
    let mut unsynced = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
    let written = std::mem::take(&mut unsynced.written);
    (!written.is_empty()).then_some(written)
}

/// Syncs each place once. A segment that fails is the journal's failure; a file that fails is its recording's alone.
fn sync_places(shared: &Shared, written: &[Written]) -> io::Result<()> {
    let mut segment_before: Option<&Arc<Segment>> = None;
    let mut files: Vec<(&Arc<Track>, &Arc<File>)> = Vec::new();
    for Written { place, track, .. } in written {
        match (place, track) {
            (Place::Segment(segment), _) => {
                if !segment_before.is_some_and(|before| Arc::ptr_eq(before, segment)) {
                    shared.disk.sync(Area::Journal, &segment.home.file)?;
                    segment_before = Some(segment);
                }
            }
            (Place::File { file, .. }, Some(track)) => {
                match files.iter_mut().find(|(other, _)| Arc::ptr_eq(other, track)) {
                    Some(known) => known.1 = file,
                    None => files.push((track, file)),
                }
            }
            (Place::File { .. }, None) => {}
        }
    }
    filler::name_all(files.iter().map(|(track, _)| *track), &shared.spool)?;
    for (track, file) in files {
        if let Err(error) = shared.disk.sync(Area::Recording, file) {
            filler::give_up(shared, track, &error);
        }
    }
    Ok(())
}

impl Written {
    const fn direct_bytes(&self) -> usize {
        match self.place {
            Place::File { bytes, .. } => bytes,
            Place::Segment(_) => 0,
        }
    }
}

impl Unsynced {
    fn is_wanted(&self) -> bool {
        let is_waited_for = self.written.first().is_some_and(|first| first.number <= self.wanted);
        is_waited_for || self.direct_bytes > UNSYNCED / 2
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
