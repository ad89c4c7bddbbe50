//! The recorder, its journal and its files together: round trips, crashes, many at once. Faults are in
//! `recorder_fault_tests.rs`.
//!
//! Everything here runs on a real directory, with real threads.

use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::model::{Clock, Protocol, Secret, SessionId, Signer, SigningKey, Timestamp};
use crate::recording::event::Stream;
use crate::recording::*;

pub(super) struct World {
    pub(super) directory: TempDir,
    pub(super) signer: Arc<SigningKey>,
    pub(super) identity: ReviewerIdentity,
    pub(super) disk: Arc<Faulty>,
    pub(super) limits: JournalLimits,
}

/// A disk that fails when told to.
#[derive(Default)]
pub(super) struct Faulty {
    pub(super) fail_journal_write: AtomicBool,
    pub(super) fail_journal_sync: AtomicBool,
    pub(super) fail_recording_write: AtomicBool,
    pub(super) fail_recording_sync: AtomicBool,
    pub(super) hold_journal_sync: AtomicBool,
    /// No room for recordings' files.
    pub(super) is_recording_full: AtomicBool,
    /// Free bytes to report; 0 means plenty.
    pub(super) free: AtomicU64,
}

impl Disk for Faulty {
    fn write(&self, area: Area, file: &fs::File, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let fails = match area {
            Area::Journal => &self.fail_journal_write,
            Area::Recording => &self.fail_recording_write,
        };
        if fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        if area == Area::Recording && self.is_recording_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.write(area, file, pieces, offset)
    }

    fn sync(&self, area: Area, file: &fs::File) -> io::Result<()> {
        let fails = match area {
            Area::Journal => &self.fail_journal_sync,
            Area::Recording => &self.fail_recording_sync,
        };
        while area == Area::Journal && self.hold_journal_sync.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        RealDisk.sync(area, file)
    }

    fn sync_all(&self, area: Area, directory: &fs::File) -> io::Result<()> {
        if self.fail_recording_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        RealDisk.sync_all(area, directory)
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let free = self.free.load(Ordering::SeqCst);
        Ok(Space { free: if free == 0 { 1 << 40 } else { free }, total: 1 << 40 })
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            signer: Arc::new(SigningKey::from_seed(&Secret::new([1; 32])).unwrap()),
            identity: ReviewerIdentity::generate(),
            disk: Arc::default(),
            limits: JournalLimits {
                segment_bytes: 4 << 20,
                segments_per_lane: 4,
                ..JournalLimits::default()
            },
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn open(&self) -> (Journal, Vec<Recovered>) {
        self.open_at(self.path("journal"), self.path("recordings"))
    }

    pub(super) fn open_at(&self, journal: PathBuf, recordings: PathBuf) -> (Journal, Vec<Recovered>) {
        let signer: Arc<dyn Signer> = Arc::<SigningKey>::clone(&self.signer);
        let mut settings = JournalSettings::new(journal, recordings, signer, Clock::system());
        settings.limits = self.limits;
        settings.disk = Arc::<Faulty>::clone(&self.disk);
        Journal::open(settings).unwrap()
    }

    pub(super) fn spec(&self) -> RecordingSpec {
        RecordingSpec { facts: facts(), recipients: self.identity.recipients() }
    }

    pub(super) fn verify(&self, path: &Path) -> Result<Verdict, RecordingError> {
        verify(path, &[self.signer.public_key()], None).and_then(|without| {
            let with = verify(path, &[self.signer.public_key()], Some(&self.identity))?;
            assert_eq!((with.last_frame, with.digest), (without.last_frame, without.digest));
            Ok(with)
        })
    }

    pub(super) fn events(&self, path: &Path) -> Vec<Event> {
        Reader::open(path, &self.identity).unwrap().map(Result::unwrap).collect()
    }

    /// A copy of everything on disk, as a crash at this moment would leave it.
    pub(super) fn crashed(&self, name: &str) -> (PathBuf, PathBuf) {
        let (journal, recordings) = (self.path(name).join("journal"), self.path(name).join("recordings"));
        copy(&self.path("journal"), &journal);
        copy(&self.path("recordings"), &recordings);
        (journal, recordings)
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(super) fn facts() -> SessionFacts {
    SessionFacts {
        session: SessionId::random().unwrap(),
        person: "per_aaaaaaaaaaaaaaaa".parse().unwrap(),
        person_name: "olga".parse().unwrap(),
        identity: "SHA256:x".to_owned(),
        login: "deploy".parse().unwrap(),
        target: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        grant: "grn_aaaaaaaaaaaaaaaa".parse().unwrap(),
        reason: "look".to_owned(),
        client: "192.0.2.1:5".to_owned(),
        started: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn input(text: &str) -> (u32, Body) {
    (1, Body::Input { data: Bytes::copy_from_slice(text.as_bytes()) })
}

pub(super) fn output(bytes: Vec<u8>) -> (u32, Body) {
    (1, Body::Output { stream: Stream::Stdout, data: Bytes::from(bytes) })
}

pub(super) fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

pub(super) fn inputs(events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Body::Input { data } = &event.body {
            found.push(String::from_utf8(data.to_vec()).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn what_is_recorded_is_read_back_and_verifies() {
    let world = World::new();
    let (journal, recovered) = world.open();
    assert!(recovered.is_empty());
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    recorder.durable(recorder.opened()).await.unwrap();
    let bulk = random(700_000);
    let at = recorder.record(vec![input("ls\n"), output(b"file\n".repeat(500))]).unwrap();
    recorder.written(at).await.unwrap();
    let at = recorder.record(vec![output(bulk.clone())]).unwrap();
    assert_eq!(recorder.record(vec![]).unwrap(), at);
    recorder.durable(at).await.unwrap();
    assert_eq!(recorder.inner.track.in_flight(), 0);
    let (pin, at) = recorder.checkpoint().unwrap();
    assert_eq!(recorder.inner.lock().pinned, Some(pin));
    recorder.durable(at).await.unwrap();
    let finished = recorder.finish(EndReason::ClientLeft).await.unwrap();
    assert_eq!(recorder.record(vec![input("x")]), Err(RecorderError::Ended));
    assert_eq!(recorder.finish(EndReason::ClientLeft).await, Err(RecorderError::Ended));

    let verdict = world.verify(&finished.path).unwrap();
    assert_eq!(verdict.outcome, Outcome::Finished);
    assert_eq!(
        (verdict.last_frame, verdict.digest, verdict.bytes),
        (finished.frames, finished.digest, finished.bytes)
    );
    assert_eq!(verdict.header.hash(), recorder.header_hash());
    assert_eq!(verdict.bytes, fs::metadata(&finished.path).unwrap().len());
    let events = world.events(&finished.path);
    assert!(matches!(events.first().unwrap().body, Body::SessionStarted(_)));
    assert_eq!(events.last().unwrap().body, Body::SessionEnded { reason: EndReason::ClientLeft });
    let mut read = Vec::new();
    for event in events.iter().skip(3) {
        if let Body::Output { data, .. } = &event.body {
            read.extend_from_slice(data);
        }
    }
    assert!(read == bulk, "bulk data differs");
    drop(journal);
    assert!(world.open().1.is_empty());
}

#[tokio::test]
async fn all_cores_read_the_same_as_one_and_stop_at_the_same_place() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    for n in 0..200 {
        let at = recorder.record(vec![output(random(20_000)), input(&format!("{n}\n"))]).unwrap();
        recorder.durable(at).await.unwrap();
    }
    let path = recorder.finish(EndReason::ClientLeft).await.unwrap().path;
    let bytes = fs::read(&path).unwrap();
    // Whole, cut, and with a frame damaged where threads are at work already.
    for (end, flipped) in [(bytes.len(), None), (2_500_000, None), (bytes.len(), Some(2_000_000))] {
        let mut bytes = bytes[..end].to_vec();
        flipped.into_iter().for_each(|at: usize| bytes[at] ^= 1);
        let read = |is_eager: bool| {
            let reader = Reader::new(Frames::new(&bytes[..]).unwrap(), &world.identity).unwrap();
            let mut reader = if is_eager { reader.on_all_cores() } else { reader };
            let mut seen = Vec::new();
            while let Some(event) = reader.next() {
                seen.push(event.map(|event| (reader.place(), event)).map_err(|error| error.to_string()));
            }
            seen
        };
        let (one, all) = (read(false), read(true));
        assert!(one.len() > 150 && one == all, "{} and {}", one.len(), all.len());
        let trusted = [world.signer.public_key()];
        let verdict = verify_source(&bytes[..], &trusted, Some(&world.identity), |_| {});
        let verdict = verdict.map(|verdict| verdict.events).map_err(|error| error.to_string());
        let expected = match one.last().unwrap() {
            Ok(_) => Ok(Some(one.len() as u64)),
            Err(error) => Err(error.clone()),
        };
        assert_eq!(verdict, expected);
    }
}

#[tokio::test]
async fn a_crash_at_any_moment_keeps_what_was_acknowledged() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    for round in 0..12 {
        if round % 3 == 2 {
            recorder.record(vec![output(random(300_000))]).unwrap();
        }
        let at = recorder.record(vec![input(&format!("{round}"))]).unwrap();
        if round % 2 == 0 {
            recorder.durable(at).await.unwrap();
        } else {
            recorder.written(at).await.unwrap();
        }
        let (copy_journal, copy_recordings) = world.crashed(&format!("crash-{round}"));
        let (again, recovered) = world.open_at(copy_journal.clone(), copy_recordings.clone());
        assert_eq!(recovered.len(), 1, "round {round}");
        let RecoveredState::Ended { outcome: Outcome::Cut, last_frame, digest, header, bytes } =
            recovered[0].state
        else {
            panic!("{recovered:?}")
        };
        let verdict = world.verify(&recovered[0].path).unwrap();
        assert_eq!((verdict.last_frame, verdict.digest, verdict.bytes), (last_frame, digest, bytes));
        assert_eq!(header, recorder.header_hash());
        let expected: Vec<String> = (0..=round).map(|n| n.to_string()).collect();
        assert_eq!(inputs(&world.events(&recovered[0].path)), expected);
        drop(again);
        let (_again, recovered) = world.open_at(copy_journal, copy_recordings);
        assert!(recovered.is_empty(), "recovering twice finds nothing more");
    }
}

#[tokio::test]
async fn a_torn_bulky_frame_is_never_signed() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    for _ in 0..2 {
        let at = recorder.record(vec![output(random(250_000)), input("between")]).unwrap();
        recorder.durable(at).await.unwrap();
    }
    let (copy_journal, copy_recordings) = world.crashed("torn");
    let mut files = fs::read_dir(copy_recordings.join("open")).unwrap();
    let path = files.next().unwrap().unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    let torn = bytes.len() - 100_000;
    bytes[torn..torn + 4096].fill(0);
    fs::write(&path, bytes).unwrap();
    let (_again, recovered) = world.open_at(copy_journal, copy_recordings);
    let path = &recovered[0].path;
    assert_eq!(world.verify(path).unwrap().outcome, Outcome::Cut);
    assert_eq!(inputs(&world.events(path)), ["between"], "the first is whole, the second is not believed");
    assert!(recovered[0].set_aside.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_recorders_share_one_journal_through_many_segments() {
    let mut world = World::new();
    world.limits.segment_bytes = 2 << 20;
    let (journal, _) = world.open();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let recorder = Recorder::open(&journal, world.spec()).unwrap();
        tasks.spawn(async move {
            for round in 0..15 {
                let at = recorder.record(vec![input(&format!("{n}/{round};"))]).unwrap();
                if n % 6 == 0 {
                    let at = recorder.record(vec![output(random(100_000))]).unwrap();
                    recorder.written(at).await.unwrap();
                }
                recorder.durable(at).await.unwrap();
            }
            (n, recorder.finish(EndReason::ClientLeft).await.unwrap())
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (n, finished) = done.unwrap();
        assert_eq!(world.verify(&finished.path).unwrap().digest, finished.digest);
        let expected: Vec<String> = (0..15).map(|round| format!("{n}/{round};")).collect();
        assert_eq!(inputs(&world.events(&finished.path)), expected);
    }
    assert_eq!(journal.shared().held.load(Ordering::SeqCst), 0);
    let segments = fs::read_dir(world.path("journal")).unwrap().count();
    assert!(segments <= 9, "{segments} files: segments are used again");
}

#[tokio::test]
async fn a_dropped_recorder_leaves_a_cut_recording() {
    let world = World::new();
    let (journal, _) = world.open();
    let spec = world.spec();
    let path = journal.recordings().join(format!("{}.pstn", spec.facts.session));
    let recorder = Recorder::open(&journal, spec.clone()).unwrap();
    assert_eq!(
        Recorder::open(&journal, spec.clone()).err(),
        Some(RecorderError::AlreadyExists(spec.facts.session.clone()))
    );
    recorder.record(vec![input("a")]).unwrap();
    drop(recorder);
    wait_for(|| path.exists()).await;
    assert_eq!(world.verify(&path).unwrap().outcome, Outcome::Cut);
    assert!(matches!(Recorder::open(&journal, spec), Err(RecorderError::AlreadyExists(_))));
}

#[tokio::test]
async fn a_finished_recording_that_was_moved_away_does_not_come_back() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    let finished = recorder.finish(EndReason::ClientLeft).await.unwrap();
    fs::remove_file(&finished.path).unwrap();
    // The record that says so is written without waiting; anything durable after it shows that it was.
    let other = Recorder::open(&journal, world.spec()).unwrap();
    other.durable(other.opened()).await.unwrap();
    let (journal, recordings) = world.crashed("later");
    let (_journal, recovered) = world.open_at(journal, recordings);
    assert_eq!(recovered.len(), 1, "only the live one");
    assert_ne!(recovered[0].path.file_name(), finished.path.file_name());
}

#[tokio::test]
async fn a_checkpoint_comes_without_more_events() {
    let mut world = World::new();
    world.limits.checkpoint_within = Duration::from_millis(1);
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    wait_for(|| recorder.inner.lock().pinned.is_some()).await;
    let first = recorder.inner.lock().pinned;
    recorder.record(vec![input("more")]).unwrap();
    wait_for(|| recorder.inner.lock().pinned != first).await;
}

#[tokio::test]
async fn a_second_journal_on_one_directory_is_refused() {
    let world = World::new();
    let (_journal, _) = world.open();
    let signer: Arc<dyn Signer> = Arc::<SigningKey>::clone(&world.signer);
    let settings =
        JournalSettings::new(world.path("journal"), world.path("recordings"), signer, Clock::system());
    assert!(matches!(Journal::open(settings), Err(JournalError::InUse { .. })));
}

#[tokio::test]
async fn a_watcher_sees_what_is_recorded_from_then_on() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    recorder.record(vec![input("before")]).unwrap();
    let mut watch = recorder.watch();
    recorder.record(vec![input("a"), input("b")]).unwrap();
    assert_eq!(inputs(&watch.next().await.unwrap()), ["a", "b"]);
    recorder.finish(EndReason::ClientLeft).await.unwrap();
    assert!(watch.next().await.is_none());
}

pub(super) fn has_records(path: &Path) -> bool {
    fs::read(path).unwrap().starts_with(b"PSTNJRN1")
}

pub(super) async fn wait_for(is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}
