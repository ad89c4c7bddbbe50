//! Every answer, on recordings made by the real recorder and then tampered with.
//!
//! Each test changes one thing and expects one answer, by name. The container's own errors have their vectors in
//! `recordings-schema/`.

use super::super::super::sample::Sample;
use super::*;
use crate::model::EndReason;

fn pins(sample: &Sample) -> Pins {
    let end = sample.finished.as_ref().map(|finished| End {
        frame: finished.frames,
        digest: finished.digest.to_string(),
        reason: EndReason::ClientLeft,
    });
    Pins {
        session: sample.session.clone(),
        header: sample.header.clone(),
        checkpoints: [(sample.pin.frame, sample.pin.digest.to_string())].into(),
        end,
        stored: None,
        deletion: super::super::deletion::Deletion::default(),
    }
}

fn judged(sample: &Sample, bytes: &[u8], pins: Option<&Pins>) -> Item {
    let held = Held::open(&sample.write("judged.pstn", bytes)).unwrap();
    let trust = Trust { keys: &[sample.key], identity: Some(&sample.identity) };
    judge(&held, &trust, pins).unwrap()
}

/// Where each frame begins, and the file's length.
fn places(bytes: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut places = vec![14 + number(10)];
    while places[places.len() - 1] < bytes.len() {
        let at = places[places.len() - 1];
        places.push(at + 13 + number(at));
    }
    places
}

#[tokio::test]
async fn a_whole_recording_is_verified_with_and_without_keys() {
    let sample = Sample::record().await;
    let (bytes, pins) = (std::fs::read(&sample.path).unwrap(), pins(&sample));
    let item = judged(&sample, &bytes, Some(&pins));
    assert_eq!((item.state, item.session.as_str()), (State::Verified, sample.session.as_str()), "{item:?}");
    assert_eq!(item.frames, sample.finished.as_ref().map(|finished| finished.frames));
    assert!(item.events.unwrap() > 10 && item.detail.contains("as the ledger says"), "{item:?}");

    let held = Held::open(&sample.path).unwrap();
    let item = judge(&held, &Trust { keys: &[sample.key], identity: None }, Some(&pins)).unwrap();
    assert_eq!((item.state, item.events, item.is_closed), (State::Verified, None, false));
    let stranger = ReviewerIdentity::generate();
    let item = judge(&held, &Trust { keys: &[sample.key], identity: Some(&stranger) }, Some(&pins)).unwrap();
    assert_eq!((item.state, item.events, item.is_closed), (State::Verified, None, true));
}

#[tokio::test]
async fn a_recording_that_the_bastion_dropped_is_cut() {
    let sample = Sample::cut().await;
    let bytes = std::fs::read(&sample.path).unwrap();
    let item = judged(&sample, &bytes, Some(&pins(&sample)));
    assert_eq!(item.state, State::Cut, "{item:?}");
    assert!(item.detail.contains("then the bastion stopped"));
}

#[tokio::test]
async fn a_recording_that_a_later_start_ended_is_cut_unless_a_start_had_found_it_unsound() {
    let sample = Sample::cut().await;
    let bytes = std::fs::read(&sample.path).unwrap();
    let known = pins(&sample);
    let unfinished = |reason| Some(End { frame: 0, digest: String::new(), reason });
    let failed = Pins { end: unfinished(EndReason::RecorderFailed), ..known.clone() };
    let item = judged(&sample, &bytes, Some(&failed));
    assert_eq!(item.state, State::Cut, "{item:?}");
    assert!(item.detail.contains("ended at a later start"), "{item:?}");
    let crashed = Pins { end: unfinished(EndReason::Crashed), ..known };
    assert_eq!(judged(&sample, &bytes, Some(&crashed)).state, State::Damaged);
    // What the ledger pinned on the way still holds.
    let checkpoints = [(sample.pin.frame, sample.header.clone())].into();
    let item = judged(&sample, &bytes, Some(&Pins { checkpoints, ..failed }));
    assert_eq!(item.state, State::Damaged, "{item:?}");
}

#[tokio::test]
async fn what_is_taken_off_the_end_shows_through_the_ledger() {
    let sample = Sample::record().await;
    let (bytes, ended) = (std::fs::read(&sample.path).unwrap(), pins(&sample));
    let running = Pins { end: None, ..ended.clone() };
    let places = places(&bytes);
    let pinned = usize::try_from(sample.pin.frame).unwrap();
    for (count, place) in places.iter().enumerate().take(places.len() - 1) {
        let cut = &bytes[..*place];
        assert_eq!(
            judged(&sample, cut, Some(&ended)).state,
            State::Shortened,
            "{count} frames of an ended one"
        );
        assert_eq!(judged(&sample, cut, None).state, State::Shortened, "{count} frames, no ledger");
        // A running one may be as short as the last thing the ledger pinned, and no shorter.
        let expected = if count < pinned { State::Shortened } else { State::Live };
        assert_eq!(judged(&sample, cut, Some(&running)).state, expected, "{count} frames of a running one");
    }
}

#[tokio::test]
async fn every_changed_byte_is_damage_or_worse() {
    let sample = Sample::record().await;
    let (bytes, pins) = (std::fs::read(&sample.path).unwrap(), pins(&sample));
    for place in (0..bytes.len()).step_by(37) {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        let item = judged(&sample, &changed, Some(&pins));
        assert!(!item.state.is_good(), "byte {place}: {item:?}");
    }
}

#[tokio::test]
async fn another_recording_under_the_name_is_swapped_and_another_bastions_is_foreign() {
    let (sample, other) = (Sample::record().await, Sample::record().await);
    let theirs = std::fs::read(&other.path).unwrap();
    let item = judged(&sample, &theirs, Some(&pins(&sample)));
    assert_eq!(item.state, State::Swapped);
    assert!(item.detail.contains(other.session.as_str()));

    let same_name = Pins { header: other.header, ..pins(&sample) };
    let item = judged(&sample, &std::fs::read(&sample.path).unwrap(), Some(&same_name));
    assert_eq!(item.state, State::Swapped, "{item:?}");

    let held = Held::open(&sample.path).unwrap();
    let item = judge(&held, &Trust { keys: &[[9; 32]], identity: None }, None).unwrap();
    assert_eq!(item.state, State::Foreign);
    assert_eq!(judged(&sample, b"hello", None).state, State::Damaged);
}

#[tokio::test]
async fn a_ledger_that_pinned_something_else_shows() {
    let sample = Sample::record().await;
    let (bytes, good) = (std::fs::read(&sample.path).unwrap(), pins(&sample));
    let other = sample.header.clone();
    let pinned = Pins { checkpoints: [(sample.pin.frame, other.clone())].into(), ..good.clone() };
    assert_eq!(judged(&sample, &bytes, Some(&pinned)).state, State::Damaged);
    let frame = good.end.as_ref().unwrap().frame;
    for (frame, expected) in
        [(frame, State::Damaged), (frame + 9, State::Shortened), (frame - 1, State::Damaged)]
    {
        let end = Some(End { frame, digest: other.clone(), reason: EndReason::ClientLeft });
        assert_eq!(judged(&sample, &bytes, Some(&Pins { end, ..good.clone() })).state, expected, "{frame}");
    }
}
