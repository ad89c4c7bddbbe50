//! The recorder when the disk fails, fills up, or was torn by a crash.
//!
//! The disk is `Faulty` (`recorder_tests.rs`), which fails the n-th write or sync, or drops what was never synced. What was acknowledged
//! must be there afterwards; what was not must not be claimed.

use std::fs;
use std::sync::atomic::Ordering;

use super::tests::*;
use super::*;
use crate::recording::*;

#[tokio::test]
async fn a_torn_journal_gives_a_cut_recording_with_every_whole_frame() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    let mut last = recorder.opened();
    for n in 0..20 {
        last = recorder.record(vec![input(&n.to_string())]).unwrap();
        recorder.written(last).await.unwrap();
    }
    recorder.durable(last).await.unwrap();
    let (copy_journal, _) = world.crashed("whole");
    let segment = fs::read_dir(&copy_journal).unwrap().map(|e| e.unwrap().path());
    let segment =
        segment.filter(|p| p.to_str().unwrap().contains("small")).min_by_key(|p| !has_records(p)).unwrap();
    let whole = fs::read(&segment).unwrap();
    let end = whole.iter().rposition(|b| *b != 0).unwrap();
    let mut seen = Vec::new();
    for (index, cut) in (4096..=end).step_by((end - 4096) / 23).enumerate() {
        let (torn_journal, torn_recordings) = world.crashed(&format!("torn-{index}"));
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        fs::write(torn_journal.join(segment.file_name().unwrap()), &bytes).unwrap();
        // The file holds only what the filler had put there; here nothing, as after a power loss.
        fs::remove_dir_all(torn_recordings.join("open")).unwrap();
        let (_again, recovered) = world.open_at(torn_journal, torn_recordings);
        if recovered.is_empty() {
            assert_eq!(seen.len(), 0, "only a torn header leaves nothing");
            continue;
        }
        let read = world.verify(&recovered[0].path).map(|_| inputs(&world.events(&recovered[0].path)));
        match read {
            Ok(read) => {
                assert_eq!(read, (0..read.len()).map(|n| n.to_string()).collect::<Vec<_>>());
                seen.push(read.len());
            }
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    assert!(seen.is_sorted() && seen.len() > 10, "{seen:?}");
}

#[tokio::test]
async fn garbage_at_a_files_end_is_set_aside_and_damage_is_never_signed() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    let at = recorder.record(vec![input("a")]).unwrap();
    recorder.durable(at).await.unwrap();
    recorder.checkpoint().unwrap();
    let at = recorder.record(vec![input("b")]).unwrap();
    recorder.durable(at).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let name = format!("{}.pstn", recorder.inner.track.session);
    let spoiled = |name_of_copy: &str, spoil: &dyn Fn(&mut Vec<u8>)| {
        let (journal, recordings) = world.crashed(name_of_copy);
        // The journal's segments were used again since: only the file is left.
        fs::remove_dir_all(&journal).unwrap();
        let file = recordings.join("open").join(&name);
        let mut bytes = fs::read(&file).unwrap();
        spoil(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        world.open_at(journal, recordings).1.remove(0)
    };
    let tail = spoiled("tail", &|bytes| bytes.extend_from_slice(&[0; 100]));
    assert!(matches!(tail.state, RecoveredState::Ended { outcome: Outcome::Cut, .. }));
    assert_eq!(fs::read(tail.set_aside.unwrap()).unwrap(), [0; 100]);
    assert_eq!(inputs(&world.events(&tail.path)), ["a", "b"]);
    assert_eq!(world.verify(&tail.path).unwrap().checkpoints, 2);

    let damaged = spoiled("middle", &|bytes| {
        // A bit of the first sealed frame, which a checkpoint behind it covers.
        let start = 14 + u32::from_be_bytes(bytes[10..14].try_into().unwrap()) as usize;
        bytes[start + 20] ^= 1;
    });
    assert!(matches!(damaged.state, RecoveredState::Damaged { .. }), "{damaged:?}");
    assert_eq!(world.verify(&damaged.path).unwrap_err().name(), "chain_broken");
}

#[tokio::test]
async fn a_failing_journal_ends_every_session_and_is_never_retried() {
    for point in 0..2 {
        let world = World::new();
        let (journal, _) = world.open();
        let one = Recorder::open(&journal, world.spec()).unwrap();
        let two = Recorder::open(&journal, world.spec()).unwrap();
        one.durable(one.opened()).await.unwrap();
        two.durable(two.opened()).await.unwrap();
        let fault = [&world.disk.fail_journal_write, &world.disk.fail_journal_sync][point];
        fault.store(true, Ordering::SeqCst);
        let at = one.record(vec![input("lost")]).unwrap();
        let error = one.durable(at).await.unwrap_err();
        assert!(matches!(error, RecorderError::JournalFailed(_)), "{error}");
        fault.store(false, Ordering::SeqCst);
        assert_eq!(two.failed().await, error);
        assert_eq!(two.record(vec![input("x")]), Err(error.clone()));
        assert_eq!(one.durable(at).await, Err(error.clone()));
        assert_eq!(two.finish(EndReason::RecorderFailed).await, Err(error.clone()));
        assert_eq!(Recorder::open(&journal, world.spec()).err(), Some(error.clone()));
        assert_eq!(journal.failure(), Some(error));
        drop((one, two, journal));
        let (_journal, recovered) = world.open();
        assert_eq!(recovered.len(), 2);
        for one in recovered {
            assert_eq!(world.verify(&one.path).unwrap().outcome, Outcome::Cut);
        }
    }
}

#[tokio::test]
async fn a_failing_recording_file_ends_that_session_and_loses_nothing() {
    for point in 0..2 {
        let world = World::new();
        let (journal, _) = world.open();
        let recorder = Recorder::open(&journal, world.spec()).unwrap();
        let at = recorder.record(vec![input("kept")]).unwrap();
        recorder.durable(at).await.unwrap();
        [&world.disk.fail_recording_write, &world.disk.fail_recording_sync][point]
            .store(true, Ordering::SeqCst);
        let error = recorder.finish(EndReason::ClientLeft).await.unwrap_err();
        assert!(matches!(error, RecorderError::FileFailed(_)), "{error}");
        world.disk.fail_recording_write.store(false, Ordering::SeqCst);
        world.disk.fail_recording_sync.store(false, Ordering::SeqCst);
        assert!(matches!(recorder.failed().await, RecorderError::FileFailed(_)));
        drop((recorder, journal));
        let (_journal, recovered) = world.open();
        assert_eq!(world.verify(&recovered[0].path).unwrap().outcome, Outcome::Finished);
        assert_eq!(inputs(&world.events(&recovered[0].path)), ["kept"]);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_early_ends_sessions_late_and_still_finishes_them() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    world.disk.free.store(512 << 20, Ordering::SeqCst);
    wait_for(|| !journal.room().suffices()).await;
    assert!(matches!(Recorder::open(&journal, world.spec()), Err(RecorderError::NoRoom { .. })));
    recorder.record(vec![input("still")]).unwrap();
    world.disk.free.store(1 << 20, Ordering::SeqCst);
    assert_eq!(recorder.failed().await, RecorderError::DiskFull);
    assert_eq!(recorder.record(vec![input("no")]), Err(RecorderError::DiskFull));
    let finished = recorder.finish(EndReason::DiskFull).await.unwrap();
    assert_eq!(inputs(&world.events(&finished.path)), ["still"]);
    world.disk.free.store(0, Ordering::SeqCst);
    wait_for(|| journal.room().suffices()).await;
    assert!(Recorder::open(&journal, world.spec()).is_ok());
}

#[tokio::test]
async fn a_file_without_room_is_finished_from_the_journal_when_there_is_room() {
    for restarts in [false, true] {
        let world = World::new();
        let (journal, _) = world.open();
        let recorder = Recorder::open(&journal, world.spec()).unwrap();
        let at = recorder.record(vec![input("kept")]).unwrap();
        recorder.durable(at).await.unwrap();
        world.disk.is_recording_full.store(true, Ordering::SeqCst);
        assert_eq!(recorder.failed().await, RecorderError::DiskFull);
        assert_eq!(recorder.record(vec![input("no")]), Err(RecorderError::DiskFull));
        let finished = recorder.finish(EndReason::DiskFull).await.unwrap();
        assert!(!finished.path.exists());
        drop(recorder);
        let mut journal = Some(journal);
        if restarts {
            journal = None;
        }
        world.disk.is_recording_full.store(false, Ordering::SeqCst);
        if restarts {
            journal = Some(world.open().0);
        }
        wait_for(|| finished.path.exists()).await;
        assert_eq!(world.verify(&finished.path).unwrap().outcome, Outcome::Finished);
        assert_eq!(inputs(&world.events(&finished.path)), ["kept"]);
        drop(journal);
    }
}

#[tokio::test]
async fn a_bulky_frame_that_its_file_does_not_take_goes_through_the_journal() {
    for is_full in [false, true] {
        let world = World::new();
        let (journal, _) = world.open();
        let recorder = Recorder::open(&journal, world.spec()).unwrap();
        recorder.durable(recorder.opened()).await.unwrap();
        let bulk = random(300_000);
        let at = recorder.record(vec![output(bulk.clone())]).unwrap();
        recorder.written(at).await.unwrap();
        let fault = if is_full { &world.disk.is_recording_full } else { &world.disk.fail_recording_write };
        fault.store(true, Ordering::SeqCst);
        recorder.record(vec![output(bulk.clone())]).unwrap();
        let error = recorder.failed().await;
        assert_eq!(error == RecorderError::DiskFull, is_full, "{error}");
        assert_eq!(recorder.finish(EndReason::RecorderFailed).await.is_ok(), is_full);
        drop(recorder);
        // With a broken file the next start does it, with a full one whoever makes room.
        let mut journal = is_full.then_some(journal);
        fault.store(false, Ordering::SeqCst);
        let path = if is_full {
            let path = || {
                let mut files = fs::read_dir(world.path("recordings")).unwrap();
                files.find_map(|entry| entry.ok().map(|entry| entry.path()).filter(|path| path.is_file()))
            };
            wait_for(|| path().is_some()).await;
            path().unwrap()
        } else {
            let (again, recovered) = world.open();
            journal = Some(again);
            recovered[0].path.clone()
        };
        let verdict = world.verify(&path).unwrap();
        assert_eq!(verdict.outcome, if is_full { Outcome::Finished } else { Outcome::Cut });
        let told: usize = world
            .events(&path)
            .iter()
            .map(|event| if let Body::Output { data, .. } = &event.body { data.len() } else { 0 })
            .sum();
        assert_eq!(told, bulk.len() * 2, "both are there");
        drop(journal);
    }
}

#[tokio::test]
async fn what_piles_up_is_bounded() {
    let mut world = World::new();
    world.limits.in_flight_bytes = 1 << 20;
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    recorder.durable(recorder.opened()).await.unwrap();
    world.disk.hold_journal_sync.store(true, Ordering::SeqCst);
    let mut refused = None;
    for _ in 0..200 {
        match recorder.record(vec![output(random(250_000))]) {
            Ok(_) => assert!(recorder.inner.track.in_flight() <= (1 << 20) + 260_000),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    world.disk.hold_journal_sync.store(false, Ordering::SeqCst);
    assert_eq!(refused, Some(RecorderError::Overrun));
    assert_eq!(recorder.failed().await, RecorderError::Overrun);
    assert_eq!(recorder.record(vec![input("x")]), Err(RecorderError::Overrun));
    let finished = recorder.finish(EndReason::RecorderOverrun).await.unwrap();
    assert_eq!(world.verify(&finished.path).unwrap().outcome, Outcome::Finished);
}

#[tokio::test]
async fn many_that_finish_together_are_whole_or_kept_in_the_journal() {
    for fails in [false, true] {
        let world = World::new();
        let (journal, _) = world.open();
        let mut recorders = Vec::new();
        for _ in 0..100 {
            let recorder = Recorder::open(&journal, world.spec()).unwrap();
            recorder.record(vec![input("kept")]).unwrap();
            recorders.push(recorder);
        }
        world.disk.fail_recording_sync.store(fails, Ordering::SeqCst);
        let mut ending = tokio::task::JoinSet::new();
        for recorder in recorders {
            ending.spawn(async move { recorder.finish(EndReason::EverythingRevoked).await });
        }
        while let Some(done) = ending.join_next().await {
            assert_eq!(done.unwrap().is_err(), fails);
        }
        world.disk.fail_recording_sync.store(false, Ordering::SeqCst);
        drop(journal);
        let (_journal, recovered) = world.open();
        assert_eq!(recovered.len(), if fails { 100 } else { 0 });
        let files = fs::read_dir(world.path("recordings")).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|path| path.is_file()).collect();
        assert_eq!(files.len(), 100);
        for path in files {
            assert_eq!(world.verify(&path).unwrap().outcome, Outcome::Finished);
        }
    }
}

#[tokio::test]
async fn one_broken_file_does_not_stop_the_journal() {
    let world = World::new();
    let (journal, _) = world.open();
    let broken = Recorder::open(&journal, world.spec()).unwrap();
    let at = broken.record(vec![input("kept")]).unwrap();
    broken.durable(at).await.unwrap();
    world.disk.fail_recording_write.store(true, Ordering::SeqCst);
    let error = broken.finish(EndReason::ClientLeft).await.unwrap_err();
    assert!(matches!(error, RecorderError::FileFailed(_)), "{error}");
    world.disk.fail_recording_write.store(false, Ordering::SeqCst);
    // More than all segments together take, in small frames.
    for _ in 0..3 {
        let recorder = Recorder::open(&journal, world.spec()).unwrap();
        for _ in 0..2_500 {
            let at = recorder.record(vec![output(random(3_500))]).unwrap();
            recorder.written(at).await.unwrap();
        }
        recorder.finish(EndReason::ClientLeft).await.unwrap();
    }
    let (crashed, recordings) = world.crashed("crashed");
    drop((broken, journal));
    let stopped = (world.path("journal"), world.path("recordings"));
    for (journal, recordings) in [stopped, (crashed, recordings)] {
        let rescued =
            || fs::read_dir(&journal).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert!(rescued().any(|name| name.starts_with("rescued-")));
        let (_journal, recovered) = world.open_at(journal.clone(), recordings);
        assert_eq!(recovered.len(), 1);
        assert_eq!(inputs(&world.events(&recovered[0].path)), ["kept"]);
        assert_eq!(world.verify(&recovered[0].path).unwrap().outcome, Outcome::Finished);
        assert!(!rescued().any(|name| name.starts_with("rescued-")));
    }
}

#[tokio::test]
async fn whoever_fills_memory_waits_and_whoever_types_does_not() {
    let mut world = World::new();
    world.limits.held_bytes = 8 << 20;
    let (journal, _) = world.open();
    let bulk = Recorder::open(&journal, world.spec()).unwrap();
    let typing = Recorder::open(&journal, world.spec()).unwrap();
    world.disk.is_recording_full.store(false, Ordering::SeqCst);
    world.disk.hold_journal_sync.store(true, Ordering::SeqCst);
    for _ in 0..60 {
        bulk.record(vec![output(random(80_000))]).unwrap();
    }
    typing.record(vec![input("x")]).unwrap();
    let soon = Duration::from_millis(200);
    tokio::time::timeout(Duration::from_secs(60), typing.make_way()).await.unwrap();
    assert!(tokio::time::timeout(soon, bulk.make_way()).await.is_err());
    world.disk.hold_journal_sync.store(false, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(60), bulk.make_way()).await.unwrap();
    let finished = bulk.finish(EndReason::ClientLeft).await.unwrap();
    assert_eq!(world.verify(&finished.path).unwrap().outcome, Outcome::Finished);
}

#[tokio::test]
async fn many_long_events_at_once_fit_into_as_many_chunks_as_they_need() {
    let world = World::new();
    let (journal, _) = world.open();
    let recorder = Recorder::open(&journal, world.spec()).unwrap();
    let marker = |length| (1, Body::Marker { label: "x".repeat(length) });
    recorder.record((0..3_000).map(|_| marker(1_500)).collect()).unwrap();
    // One that fits into no chunk ends the session, and leaves no gap behind.
    let error = recorder.record(vec![marker(10), marker(2 << 20)]).unwrap_err();
    assert!(matches!(error, RecorderError::Seal(_)), "{error}");
    let finished = recorder.finish(EndReason::RecorderFailed).await.unwrap();
    assert_eq!(world.verify(&finished.path).unwrap().outcome, Outcome::Finished);
    let events = world.events(&finished.path);
    assert_eq!(events.iter().filter(|e| matches!(e.body, Body::Marker { .. })).count(), 3_000);
}
