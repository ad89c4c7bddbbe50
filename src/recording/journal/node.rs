//! The journal as others see it: opened once per node, cloned freely, closed when the last clone is gone.
//!
//! Opening finishes what the last run left (`replay.rs`, `recover.rs`) before anything new is admitted. The lanes, the
//! filler and the keeper run on threads that this value owns.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Notify;

use super::direct::DIRECT_FRAME;
use super::filler::{self, Filler};
use super::keeper::{self, Due, Keeper};
use super::lane::{self, Item, Lane};
use super::replay;
use super::segment::{About, LaneKind, Record};
use super::track::Track;
use crate::model::{Clock, SessionId, Signer};
use crate::recording::digest::{Digest, blake3};
use crate::recording::disk::{Disk, RealDisk};
use crate::recording::failure::{JournalError, RecorderError};
use crate::recording::recover::{Recovered, recover};
use crate::recording::spool::Spool;
use crate::thread::{Urgency, spawn};

/// Frames above this many bytes go through the bulk lane.
const SMALL_FRAME: usize = 4096;
/// Bulk bytes written and not yet in their files at which the bulk lane slows down.
const UNFILLED_BULK: usize = 128 << 20;
/// The same for the small lane.
const UNFILLED_SMALL: usize = 192 << 20;
/// The longest a lane is slowed down for one group. Not for ever: what fills memory may be waiting for that group.
const SLOW_DOWN: Duration = Duration::from_millis(250);

/// What a journal needs.
pub struct JournalSettings {
    /// The journal's own directory, ideally on its own volume.
    pub journal: PathBuf,
    /// Where recordings go.
    pub recordings: PathBuf,
    /// The node's signing key.
    pub signer: Arc<dyn Signer>,
    /// The time.
    pub clock: Clock,
    /// Sizes and floors.
    pub limits: JournalLimits,
    /// The disk; tests give one that fails.
    pub disk: Arc<dyn Disk>,
}

impl JournalSettings {
    /// Settings with the usual limits, on the machine's disks.
    #[must_use]
    pub fn new(journal: PathBuf, recordings: PathBuf, signer: Arc<dyn Signer>, clock: Clock) -> Self {
        Self {
            journal,
            recordings,
            signer,
            clock,
            limits: JournalLimits::default(),
            disk: Arc::new(RealDisk),
        }
    }
}

/// Sizes and floors. A floor is a share of the file system or a number of bytes, whichever is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Size of a segment file; at least 2 MiB.
    pub segment_bytes: u64,
    /// The most segment files a lane makes.
    pub segments_per_lane: usize,
    /// No session begins below this share of free space, in per cent…
    pub floor_percent: u64,
    /// …or this many bytes.
    pub floor_bytes: u64,
    /// Live sessions end below this share…
    pub hard_floor_percent: u64,
    /// …or this many bytes.
    pub hard_floor_bytes: u64,
    /// How long a frame may stand without a checkpoint that covers it.
    pub checkpoint_within: Duration,
    /// The most bytes of one session submitted and not yet written.
    pub in_flight_bytes: usize,
    /// The most bytes of all sessions together that are submitted and not yet in their files. From half of it on,
    /// sessions that hold much of it wait.
    pub held_bytes: usize,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            segments_per_lane: 16,
            floor_percent: 10,
            floor_bytes: 1 << 30,
            hard_floor_percent: 2,
            hard_floor_bytes: 256 << 20,
            checkpoint_within: Duration::from_secs(5),
            in_flight_bytes: 16 << 20,
            held_bytes: 512 << 20,
        }
    }
}

/// How much space there is for recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes free, on the fuller of the two file systems.
    pub free: u64,
    /// Below this no session begins.
    pub floor: u64,
    /// Below this live sessions end.
    pub hard_floor: u64,
}

impl Room {
    /// Whether another session may begin.
    #[must_use]
    pub const fn suffices(&self) -> bool {
        self.free >= self.floor
    }
}

/// The node's journal. Cloning shares it; when the last clone is dropped it writes out what it has and stops.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    /// Held for as long as the journal is in use.
    _lock: File,
}

#[derive(Default)]
struct Threads {
    direct: Vec<JoinHandle<()>>,
    writers: Vec<JoinHandle<()>>,
    syncers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// A frame on its way in.
pub(in crate::recording) struct Submission {
    pub(in crate::recording) bytes: Bytes,
    /// BLAKE3 of the bytes.
    pub(in crate::recording) digest: Digest,
    pub(in crate::recording) is_end: bool,
}

/// What the threads and the recorders share.
pub(in crate::recording) struct Shared {
    pub(super) directory: PathBuf,
    pub(in crate::recording) spool: Spool,
    pub(in crate::recording) signer: Arc<dyn Signer>,
    pub(in crate::recording) clock: Clock,
    pub(in crate::recording) limits: JournalLimits,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) small: Lane,
    pub(super) bulk: Lane,
    pub(super) direct: Lane,
    pub(super) filler: Filler,
    pub(super) keeper: Keeper,
    pub(super) room: Mutex<Room>,
    pub(super) is_full: AtomicBool,
    /// Bytes written to the journal and not yet in a recording's file.
    pub(super) unfilled: AtomicUsize,
    /// Bytes submitted and not yet in a recording's file.
    pub(in crate::recording) held: AtomicUsize,
    pub(super) drained: (Mutex<()>, Condvar),
    /// Woken when memory is not short any more.
    pub(super) eased: Notify,
    tracks: Mutex<BTreeMap<SessionId, Weak<Track>>>,
    failure: OnceLock<RecorderError>,
}

impl Journal {
    /// Opens the journal, finishes what an earlier run left, and starts its threads.
    ///
    /// # Errors
    /// When another process has it, or a file cannot be used. What is there stays as it is.
    pub fn open(settings: JournalSettings) -> Result<(Self, Vec<Recovered>), JournalError> {
        let JournalSettings { journal, recordings, signer, clock, limits, disk } = settings;
        let lock = lock_directory(&journal)?;
        let spool = Spool::prepare(&recordings).map_err(JournalError::io("make", &recordings))?;
        let paths = replay::segment_paths(&journal)?;
        replay::replay(&paths, &spool, &*disk)?;
        let recovered = recover(&spool, &*disk, &*signer)?;
        let files = replay::clear(&paths, &*disk, limits.segment_bytes)?;
        let (small, bulk): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| LaneKind::Small.number_of(&file.path).is_some());
        let shared = Arc::new(Shared {
            directory: journal,
            spool,
            signer,
            limits,
            disk,
            small: Lane::new(LaneKind::Small),
            bulk: Lane::new(LaneKind::Bulk),
            direct: Lane::new(LaneKind::Direct),
            filler: Filler::new(clock.clone()),
            keeper: Keeper::default(),
            clock,
            room: Mutex::new(Room { free: 0, floor: 0, hard_floor: 0 }),
            is_full: AtomicBool::new(false),
            unfilled: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            drained: (Mutex::new(()), Condvar::new()),
            eased: Notify::new(),
            tracks: Mutex::default(),
            failure: OnceLock::new(),
        });
        shared.small.adopt(small);
        shared.bulk.adopt(bulk);
        for lane in [&shared.small, &shared.bulk] {
            lane.prepare_spare(&shared)
                .map_err(JournalError::io("preallocate a segment in", &shared.directory))?;
        }
        keeper::measure(&shared);
        let threads = Mutex::new(Threads::start(&shared)?);
        Ok((Self { handle: Arc::new(Handle { shared, threads, _lock: lock }) }, recovered))
    }

    /// How much space there is; measured once a second.
    #[must_use]
    pub fn room(&self) -> Room {
        *lock(&self.handle.shared.room)
    }

    /// Why the journal records nothing more, when it does not.
    #[must_use]
    pub fn failure(&self) -> Option<RecorderError> {
        self.handle.shared.failure().cloned()
    }

    /// The directory of recordings.
    #[must_use]
    pub fn recordings(&self) -> &Path {
        self.handle.shared.spool.directory()
    }

    pub(in crate::recording) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Shared {
    /// Whether another recording may begin; registers it when so.
    pub(in crate::recording) fn admit(&self, track: &Arc<Track>) -> Result<(), RecorderError> {
        if let Some(error) = self.failure() {
            return Err(error.clone());
        }
        // Now, and not as of the last round: a second is long enough to fill a disk and to admit many.
        let room = keeper::measure(self);
        if room.free < room.hard_floor {
            return Err(RecorderError::DiskFull);
        }
        if !room.suffices() {
            return Err(RecorderError::NoRoom { free: room.free, floor: room.floor });
        }
        let mut tracks = lock(&self.tracks);
        // Again, now that a failure from here on reaches this track too.
        if let Some(error) = self.failure() {
            return Err(error.clone());
        }
        let is_live = tracks.get(&track.session).is_some_and(|other| other.strong_count() > 0);
        let exists =
            self.spool.kept_path(&track.session).exists() || self.spool.open_path(&track.session).exists();
        if is_live || exists {
            return Err(RecorderError::AlreadyExists(track.session.clone()));
        }
        tracks.insert(track.session.clone(), Arc::downgrade(track));
        Ok(())
    }

    /// Takes in frames of one recording, in their order. The caller holds that recording's lock. Never waits.
    pub(in crate::recording) fn submit(&self, track: &Arc<Track>, frames: Vec<Submission>) -> u64 {
        let mut last = 0;
        for Submission { bytes, digest, is_end } in frames {
            let kind = match bytes.len() {
                // The beginning goes the way of the `Done` that outdates it, however long it is, so that it is never
                // found without it.
                _ if track.is_empty() => LaneKind::Small,
                0..=SMALL_FRAME => LaneKind::Small,
                length if length <= DIRECT_FRAME => LaneKind::Bulk,
                _ => LaneKind::Direct,
            };
            let (position, offset) = track.admit(bytes.clone(), kind, is_end);
            self.held.fetch_add(bytes.len(), Ordering::AcqRel);
            let record = Record {
                about: About::Bytes,
                session: track.session.clone(),
                position,
                offset,
                length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                digest,
            };
            let number = self.lane(kind).push(Item { record, bytes, track: Some(Arc::clone(track)) });
            track.numbered(kind, number);
            last = position;
        }
        last
    }

    /// Why nothing more may be submitted, if so.
    pub(in crate::recording) fn refusal(&self, track: &Track) -> Option<RecorderError> {
        if let Some(error) = self.failure() {
            return Some(error.clone());
        }
        let is_over = track.in_flight() > self.limits.in_flight_bytes;
        (is_over || self.held.load(Ordering::Acquire) > self.limits.held_bytes)
            .then_some(RecorderError::Overrun)
    }

    /// Asks for everything of a recording to be synced at once.
    pub(in crate::recording) fn want(&self, track: &Track) {
        let lanes = [&self.small, &self.bulk, &self.direct];
        for (lane, outstanding) in lanes.into_iter().zip(track.outstanding()) {
            if let Some(number) = outstanding {
                lane.want(number);
            }
        }
    }

    /// Looks after a recording that has frames without a checkpoint.
    pub(in crate::recording) fn watch_unsigned(&self, recording: Weak<dyn Due>) {
        self.keeper.watch(recording);
    }

    pub(super) fn failure(&self) -> Option<&RecorderError> {
        self.failure.get()
    }

    /// Fails the journal and every recording in it. Never taken back: after a failed sync nobody knows what is on disk.
    pub(super) fn fail(&self, error: &RecorderError) {
        if self.failure.set(error.clone()).is_ok() {
            tracing::error!(%error, "the journal failed; every live session ends");
            self.fail_tracks(error);
        }
    }

    pub(super) fn fail_tracks(&self, error: &RecorderError) {
        let tracks: Vec<_> = lock(&self.tracks).values().filter_map(Weak::upgrade).collect();
        for track in tracks {
            track.fail(error.clone());
        }
    }

    /// Notes that bytes are in their recording's file.
    pub(super) fn filled(&self, bytes: usize) {
        self.unfilled.fetch_sub(bytes, Ordering::AcqRel);
        self.left(bytes);
    }

    /// Slows a lane down while too much waits for its recording's file.
    pub(super) fn wait_for_memory(&self, kind: LaneKind, look_again: Duration) {
        let limit = match kind {
            LaneKind::Small => UNFILLED_SMALL,
            LaneKind::Bulk | LaneKind::Direct => UNFILLED_BULK,
        };
        let mut waited = Duration::ZERO;
        while self.unfilled.load(Ordering::Acquire) > limit && waited < SLOW_DOWN {
            drop(self.drained.1.wait_timeout(lock(&self.drained.0), look_again));
            waited += look_again;
        }
    }

    /// Notes in the journal that a recording is whole at its final name.
    pub(super) fn done(&self, session: &SessionId) {
        lock(&self.tracks).remove(session);
        let bytes = Bytes::new();
        let record = Record {
            about: About::Done,
            session: session.clone(),
            position: 0,
            offset: 0,
            length: 0,
            digest: blake3(&bytes),
        };
        self.small.push(Item { record, bytes, track: None });
    }

    const fn lane(&self, kind: LaneKind) -> &Lane {
        match kind {
            LaneKind::Small => &self.small,
            LaneKind::Bulk => &self.bulk,
            LaneKind::Direct => &self.direct,
        }
    }
}

impl Threads {
    fn start(shared: &Arc<Shared>) -> Result<Self, JournalError> {
        let start = |name: &str, urgency: Urgency, run: fn(&Shared)| {
            let shared = Arc::clone(shared);
            let directory = shared.directory.clone();
            let work = move || {
                // Nobody may wait for ever for a thread that is gone.
                if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
                    shared.fail(&RecorderError::JournalFailed("one of its threads panicked".to_owned()));
                }
            };
            spawn(name, urgency, work).map_err(JournalError::io("start a thread for", &directory))
        };
        let usual = |name: &str, run: fn(&Shared)| start(name, Urgency::Usual, run);
        let typing = |name: &str, run: fn(&Shared)| start(name, Urgency::Typing, run);
        Ok(Self {
            direct: vec![usual("journal-direct", |shared| lane::write(shared, &shared.direct))?],
            writers: vec![
                typing("journal-small", |shared| lane::write(shared, &shared.small))?,
                usual("journal-bulk", |shared| lane::write(shared, &shared.bulk))?,
            ],
            syncers: vec![
                typing("sync-small", |shared| lane::sync(shared, &shared.small))?,
                usual("sync-bulk", |shared| lane::sync(shared, &shared.bulk))?,
                usual("sync-direct", |shared| lane::sync(shared, &shared.direct))?,
            ],
            others: vec![usual("filler", filler::fill)?, usual("keeper", keeper::keep)?],
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = &self.shared;
        let threads = std::mem::take(&mut *lock(&self.threads));
        let join = |threads: Vec<JoinHandle<()>>| {
            for thread in threads {
                if thread.join().is_err() {
                    shared.fail(&RecorderError::JournalFailed("one of its threads panicked".to_owned()));
                }
            }
        };
        // What the direct lane cannot write goes to the bulk lane, which therefore closes after it.
        shared.direct.close_queue();
        join(threads.direct);
        for lane in [&shared.small, &shared.bulk] {
            lane.close_queue();
        }
        join(threads.writers);
        for lane in [&shared.small, &shared.bulk, &shared.direct] {
            lane.close_sync();
        }
        join(threads.syncers);
        shared.filler.close();
        shared.keeper.close();
        join(threads.others);
        // Everything written is now in its recording's file and synced there, unless something failed.
        if shared.failure().is_none() && shared.filler.rescue.is_empty() {
            let cleared = replay::segment_paths(&shared.directory)
                .and_then(|paths| replay::clear(&paths, &*shared.disk, shared.limits.segment_bytes));
            if let Err(error) = cleared {
                tracing::warn!(%error, "the journal was not cleared; the next start replays it");
            }
        }
        if shared.failure.set(RecorderError::JournalClosed).is_ok() {
            shared.fail_tracks(&RecorderError::JournalClosed);
        }
    }
}

fn lock_directory(directory: &Path) -> Result<File, JournalError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(JournalError::io("make", directory))?;
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(JournalError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::InUse { path: directory.to_owned() }),
        Err(error) => Err(JournalError::io("lock", &path)(error.into())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
