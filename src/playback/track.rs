//! One channel of a recording, made ready for playing: stretches to play from, and places to jump to.
//!
//! The whole recording is gone through once. Every few hundred kilobytes the screen is kept as it was ([`Picture`]) with
//! the place in the file, so that any moment is a picture and a short stretch away, however long the recording is.
//! Its bytes are not kept: a stretch is read again when it is played ([`Replay`]). Long pauses are shortened here, so
//! that the player only ever deals with playback time. Read [`super::player`] next.

use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::screen::{Picture, Screen, bounded};
use super::timeline::Timeline;
use crate::recording::event::{Body, Event};
use crate::recording::{Again, RecordingError};

/// What is played between two pictures at first, as [`weight`] counts.
const STRETCH: usize = 256 << 10;
/// Bytes of the file that one stretch may reach over: other channels' frames lie between its own.
const REACH: u64 = 1 << 20;
/// Bytes that all pictures together may take.
const MOST_PICTURES: usize = 64 << 20;
/// Stretches that there may be; beyond that, two become one and the next reach twice as far.
const MOST_STRETCHES: usize = 64 << 10;
/// What an event costs besides its bytes.
const EVENT_COST: usize = 128;

/// Reads parts of a recording again.
pub trait Replay: Debug + Send {
    /// The events that lie in a place of the recording.
    ///
    /// # Errors
    /// When the recording is no longer what it was.
    fn again(&mut self, place: Range<u64>) -> Result<Vec<Event>, RecordingError>;
}

impl Replay for Again {
    fn again(&mut self, place: Range<u64>) -> Result<Vec<Event>, RecordingError> {
        self.events(place)
    }
}

/// One channel, ready to play.
#[derive(Debug)]
pub struct Track {
    /// The channel played.
    pub channel: u32,
    /// What the recording is about; its entries are the stops.
    pub timeline: Timeline,
    /// Places to jump to, in order.
    pub stops: Vec<Stop>,
    /// Playback time of the last event.
    pub length: Duration,
    pub(super) stretches: Vec<Stretch>,
    bends: Bends,
    replay: Box<dyn Replay>,
}

/// A part of the recording, and the screen before it.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Playback time of its first moment.
    pub(super) at: Duration,
    /// Left out where there were too many; the first has one.
    pub(super) before: Option<Picture>,
    place: Range<u64>,
}

/// Something that changes the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Playback time.
    pub at: Duration,
    /// What happens.
    pub what: What,
}

/// What happens to a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The target printed.
    Output(Bytes),
    /// The terminal's size changed.
    Resize(u32, u32),
    /// A terminal of this size was opened.
    Terminal(u32, u32),
}

/// A place to jump to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Playback time.
    pub at: Duration,
    /// What is there, escaped.
    pub label: String,
}

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum TrackError<E> {
    /// The recording could not be read.
    #[error(transparent)]
    Recording(E),
    /// The channel asked for is not in the recording.
    #[error("the recording has no channel {0} with output: leave --channel away to see which there are")]
    NoSuchChannel(u32),
    /// Nothing was printed in the whole recording.
    #[error(
        "nothing was printed in this recording: use `postern export --format jsonl` to see what happened"
    )]
    NothingPrinted,
}

impl Track {
    /// Goes through a recording once for a channel, or the main one; pauses longer than `idle_limit` become that long.
    /// Each event comes with its place, with which `replay` finds it again.
    ///
    /// # Errors
    /// When the recording cannot be read, or has nothing to play.
    pub fn load<E>(
        events: impl IntoIterator<Item = Result<(Range<u64>, Event), E>>,
        replay: Box<dyn Replay>,
        channel: Option<u32>,
        idle_limit: Option<Duration>,
    ) -> Result<Self, TrackError<E>> {
        let mut loading = Loading {
            wanted: channel,
            timeline: Timeline::default(),
            bends: Bends::new(idle_limit.unwrap_or(Duration::MAX)),
            shooting: None,
        };
        for event in events {
            let (place, event) = event.map_err(TrackError::Recording)?;
            if channel.is_none_or(|wanted| event.is_of(wanted)) {
                loading.take(place, &event);
            }
        }
        loading.finish(replay)
    }

    /// The moments of a stretch.
    pub(super) fn moments(&mut self, stretch: usize) -> Result<Vec<Moment>, RecordingError> {
        let Some(Stretch { place, .. }) = self.stretches.get(stretch) else { return Ok(Vec::new()) };
        let events = self.replay.again(place.clone())?;
        let ours = events.into_iter().filter(|event| event.channel == self.channel);
        Ok(ours
            .filter_map(|event| Some(Moment { at: self.bends.playback(event.at), what: what(&event.body)? }))
            .collect())
    }
}

/// Where recording time and playback time part.
#[derive(Debug)]
struct Bends {
    idle_limit: Duration,
    bends: Vec<(u64, Duration)>,
    last: u64,
}

impl Bends {
    fn new(idle_limit: Duration) -> Self {
        Self { idle_limit, bends: vec![(0, Duration::ZERO)], last: 0 }
    }

    /// Shortens the pause before an event, when it is too long.
    fn pass(&mut self, at: u64) {
        let pause = Duration::from_micros(at.saturating_sub(self.last));
        if pause > self.idle_limit {
            let shortened = self.playback(self.last).saturating_add(self.idle_limit);
            self.bends.push((at, shortened));
        }
        self.last = self.last.max(at);
    }

    fn playback(&self, at: u64) -> Duration {
        let after = self.bends.partition_point(|(real, _)| *real <= at);
        let (real, playback) =
            after.checked_sub(1).and_then(|i| self.bends.get(i)).copied().unwrap_or((0, Duration::ZERO));
        playback.saturating_add(Duration::from_micros(at.saturating_sub(real)))
    }
}

struct Loading {
    wanted: Option<u32>,
    timeline: Timeline,
    bends: Bends,
    shooting: Option<Shooting>,
}

impl Loading {
    fn take(&mut self, place: Range<u64>, event: &Event) {
        self.bends.pass(event.at);
        self.timeline.observe(event);
        let Some(what) = what(&event.body) else { return };
        // Nobody chose: a channel that opens a terminal is played rather than one that only printed.
        let is_terminal = matches!(what, What::Terminal(..));
        let is_better = self.shooting.as_ref().is_none_or(|now| {
            self.wanted.is_none() && is_terminal && !now.has_terminal && now.channel != event.channel
        });
        if is_better {
            self.shooting = Some(Shooting::new(event.channel));
        }
        if let Some(shooting) = self.shooting.as_mut().filter(|now| now.channel == event.channel) {
            shooting.has_terminal |= is_terminal;
            shooting.take(place, self.bends.playback(event.at), &what);
        }
    }

    fn finish<E>(mut self, replay: Box<dyn Replay>) -> Result<Track, TrackError<E>> {
        let none = || self.wanted.map_or(TrackError::NothingPrinted, TrackError::NoSuchChannel);
        let Shooting { channel, stretches, .. } = self.shooting.ok_or_else(none)?;
        let entries = std::mem::take(&mut self.timeline.entries).into_iter();
        let mut stops: Vec<Stop> =
            entries.map(|entry| Stop { at: self.bends.playback(entry.at), label: entry.text }).collect();
        stops.sort_by_key(|stop| stop.at);
        let length = self.bends.playback(self.bends.last);
        Ok(Track { channel, timeline: self.timeline, stops, length, stretches, bends: self.bends, replay })
    }
}

/// Takes pictures of one channel's screen on the way.
struct Shooting {
    channel: u32,
    has_terminal: bool,
    screen: Screen,
    stretches: Vec<Stretch>,
    every: usize,
    reach: u64,
    /// Cost of what was shown since the last picture.
    shown: usize,
    kept: usize,
    /// Where the last moment's frame begins: a picture can only stand before the first of a frame.
    last: Option<u64>,
}

impl Shooting {
    fn new(channel: u32) -> Self {
        Self {
            channel,
            has_terminal: false,
            screen: Screen::default(),
            stretches: Vec::new(),
            every: STRETCH,
            reach: REACH,
            shown: 0,
            kept: 0,
            last: None,
        }
    }

    fn take(&mut self, place: Range<u64>, at: Duration, what: &What) {
        let is_due = self.stretches.last().is_none_or(|stretch| {
            self.shown >= self.every || place.end.saturating_sub(stretch.place.start) > self.reach
        });
        if self.last.replace(place.start) != Some(place.start) && is_due {
            self.shoot(place.start, at);
        }
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.place.end = place.end;
        }
        self.screen.pass(at);
        what.show(&mut self.screen);
        let bytes = if let What::Output(data) = what { data.len() } else { 0 };
        self.shown = self.shown.saturating_add(bytes).saturating_add(EVENT_COST);
    }

    fn shoot(&mut self, start: u64, at: Duration) {
        self.shown = 0;
        self.screen.catch_up();
        let before = self.screen.freeze();
        self.kept = self.kept.saturating_add(before.weight());
        self.stretches.push(Stretch { at, before: Some(before), place: start..start });
        if self.kept > MOST_PICTURES {
            self.thin();
        }
        if self.stretches.len() >= MOST_STRETCHES {
            self.join();
        }
    }

    /// Makes one stretch of every two that follow each other, but for the last, which is not over.
    fn join(&mut self) {
        let last = self.stretches.pop();
        let mut stretches = std::mem::take(&mut self.stretches).into_iter();
        while let Some(mut stretch) = stretches.next() {
            stretch.place.end = stretches.next().map_or(stretch.place.end, |second| second.place.end);
            self.stretches.push(stretch);
        }
        self.stretches.extend(last);
        self.kept =
            self.stretches.iter().filter_map(|stretch| stretch.before.as_ref()).map(Picture::weight).sum();
        self.every = self.every.saturating_mul(2);
        self.reach = self.reach.saturating_mul(2);
    }

    /// Gives up every second picture.
    fn thin(&mut self) {
        let mut is_kept = false;
        self.kept = 0;
        for stretch in &mut self.stretches {
            is_kept ^= stretch.before.is_some();
            stretch.before.take_if(|_| !is_kept);
            self.kept = self.kept.saturating_add(stretch.before.as_ref().map_or(0, Picture::weight));
        }
        self.every = self.every.saturating_mul(2);
    }
}

impl What {
    /// Brings it to the screen, which must catch up before anybody looks.
    pub(super) fn show(&self, screen: &mut Screen) {
        match self {
            Self::Output(data) => screen.feed_ahead(data),
            Self::Resize(columns, rows) => screen.resize(*columns, *rows),
            Self::Terminal(columns, rows) => screen.open_terminal(*columns, *rows),
        }
    }
}

/// What an event does to a screen, if anything.
fn what(body: &Body) -> Option<What> {
    Some(match body {
        Body::Output { data, .. } => What::Output(data.clone()),
        Body::Resize { columns, rows } => What::Resize(bounded(*columns), bounded(*rows)),
        Body::Terminal { columns, rows, .. } => What::Terminal(bounded(*columns), bounded(*rows)),
        Body::SessionStarted(_)
        | Body::ChannelOpened { .. }
        | Body::Environment { .. }
        | Body::Shell
        | Body::Exec { .. }
        | Body::Subsystem { .. }
        | Body::Forward { .. }
        | Body::Input { .. }
        | Body::Signal { .. }
        | Body::Closed { .. }
        | Body::Exit { .. }
        | Body::ExitSignal { .. }
        | Body::File(_)
        | Body::Refused { .. }
        | Body::Decision { .. }
        | Body::Marker { .. }
        | Body::ChannelClosed
        | Body::SessionEnded { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::Stream;

    /// Events in memory, each in a frame of its own.
    #[derive(Debug)]
    struct Kept(Vec<Event>);

    impl Replay for Kept {
        fn again(&mut self, place: Range<u64>) -> Result<Vec<Event>, RecordingError> {
            let index = |place| usize::try_from(place).unwrap_or(usize::MAX);
            Ok(self.0.get(index(place.start)..index(place.end)).unwrap_or_default().to_vec())
        }
    }

    impl Track {
        /// A track of events in memory.
        pub(crate) fn kept<E>(
            events: impl IntoIterator<Item = Result<Event, E>>,
            channel: Option<u32>,
            idle_limit: Option<Duration>,
        ) -> Result<Self, TrackError<E>> {
            let events: Result<Vec<Event>, E> = events.into_iter().collect();
            let events = events.map_err(TrackError::Recording)?;
            let placed = (0..).zip(events.clone()).map(|(n, event)| Ok((n..n + 1, event)));
            Self::load(placed.collect::<Vec<_>>(), Box::new(Kept(events)), channel, idle_limit)
        }
    }

    fn output(at: u64, channel: u32) -> Result<Event, &'static str> {
        let data = Bytes::from_static(b"x");
        Ok(Event { at, channel, body: Body::Output { stream: Stream::Stdout, data } })
    }

    #[test]
    fn long_pauses_are_shortened_for_everything_after_them() {
        let second = 1_000_000;
        let marker =
            Ok(Event { at: 105 * second, channel: 0, body: Body::Marker { label: "here".to_owned() } });
        let events = [output(second, 1), output(101 * second, 1), marker, output(106 * second, 1)];
        let mut track = Track::kept(events, None, Some(Duration::from_secs(2))).unwrap();
        let times: Vec<u64> = track.moments(0).unwrap().iter().map(|m| m.at.as_secs()).collect();
        assert_eq!(times, [1, 3, 6]);
        assert_eq!(track.stops, [Stop { at: Duration::from_secs(5), label: "here".to_owned() }]);
        assert_eq!(track.length, Duration::from_secs(6));
    }

    #[test]
    fn the_terminal_is_played_before_other_channels() {
        let terminal =
            Body::Terminal { columns: 1 << 31, rows: 0, term: "xterm".to_owned(), modes: Vec::new() };
        let events = [output(1, 1), Ok(Event { at: 2, channel: 2, body: terminal }), output(3, 2)];
        let mut track = Track::kept(events, None, None).unwrap();
        assert_eq!(track.channel, 2);
        assert_eq!(track.moments(0).unwrap()[0].what, What::Terminal(1000, 1));
    }

    #[test]
    fn two_stretches_become_one_without_a_gap() {
        let mut shooting = Shooting::new(1);
        for n in 0..5 {
            shooting.shoot(n * 10, Duration::from_secs(n));
            shooting.stretches.iter_mut().last().unwrap().place.end = n * 10 + 4;
        }
        shooting.join();
        let places: Vec<_> = shooting.stretches.iter().map(|stretch| stretch.place.clone()).collect();
        assert_eq!(places, [0..14, 20..34, 40..44]);
        assert!(shooting.stretches.iter().all(|stretch| stretch.before.is_some()));
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let none: [Result<Event, &str>; 0] = [];
        assert!(matches!(Track::kept(none, None, None), Err(TrackError::NothingPrinted)));
        assert!(matches!(Track::kept([output(1, 1)], Some(7), None), Err(TrackError::NoSuchChannel(7))));
        let broken = [output(1, 1), Err("cut")];
        assert!(matches!(Track::kept(broken, None, None), Err(TrackError::Recording("cut"))));
    }
}
