//! What a sealed chunk holds, behind a seal that holds: the event decoder, and all that reads its events.
//!
//! The input is the plaintext of a recording's second chunk, its first byte the compression. Bytes that are read as
//! events go through everything a reviewer uses: the timeline, the search, the player's track, every export format.
#![no_main]

#[path = "../../recording_vectors/writer.rs"]
#[allow(dead_code, reason = "the vectors use more of it")]
mod writer;

use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postern::playback::export::{Format, Settings};
use postern::playback::{Mask, Replay, Search, Timeline, Track, export, search};
use postern::recording::event::{Body, Event};
use postern::recording::{Frames, Reader, RecordingError, ReviewerIdentity};
use writer::{HeaderFields, Keys, SESSION, Writer, content, ended, started};

static IDENTITY: LazyLock<ReviewerIdentity> = LazyLock::new(|| writer::identity(&vectors()));
/// A recording with its first event, to go on from.
static BEGUN: LazyLock<Writer> = LazyLock::new(|| {
    let header = HeaderFields::new(&Keys::read(&vectors()).good).bytes();
    Writer::new(header, writer::NODE_SEED).chunk(&content(0, &[started(SESSION)]))
});

static MASK: LazyLock<Mask> = LazyLock::new(|| Mask::new(&[]).unwrap());

/// Events in memory, each at its number.
#[derive(Debug)]
struct Kept(Vec<Event>);

impl Replay for Kept {
    fn again(&mut self, place: Range<u64>) -> Result<Vec<Event>, RecordingError> {
        let index = |place| usize::try_from(place).unwrap_or(usize::MAX);
        Ok(self.0.get(index(place.start)..index(place.end)).unwrap_or_default().to_vec())
    }
}

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings-schema/vectors")
}

fuzz_target!(|bytes: &[u8]| {
    let recording =
        BEGUN.clone().sealed(writer::CHUNK, bytes).last(&content(16_000, &[ended()])).end(1).bytes();
    let reader = Reader::new(Frames::new(&recording[..]).unwrap(), &IDENTITY).unwrap();
    let events: Vec<Event> = reader.map_while(Result::ok).collect();
    assert!(matches!(events[0].body, Body::SessionStarted(_)));
    for event in &events {
        let text = serde_json::to_string(event).expect("what was read can be written");
        let again: Event = serde_json::from_str(&text).expect("and read again");
        assert_eq!(&again, event, "and is the same");
    }
    let all = || events.iter().cloned().map(Ok::<_, Infallible>);
    let timeline = Timeline::read(all()).unwrap();
    drop(timeline);
    let found = search::find_all(Search::new("a", true).unwrap(), all(), 100).unwrap();
    assert!(found.len() <= 100);
    let placed = (0..).zip(&events).map(|(n, event)| Ok::<_, Infallible>((n..n + 1, event.clone())));
    drop(Track::load(placed, Box::new(Kept(events.clone())), None, Some(Duration::from_secs(1))));
    for format in [Format::Asciicast, Format::AsciicastV3, Format::JsonLines, Format::Raw, Format::Text] {
        let settings = Settings { format, channel: None, input: true, unsanitised: false, is_masked: false };
        for mask in [None, Some(&*MASK)] {
            let exported = export(all(), settings, mask, &mut Vec::new());
            if format == Format::JsonLines && mask.is_none() {
                assert_eq!(exported.unwrap().events, events.len() as u64);
            }
        }
    }
});
