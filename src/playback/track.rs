//! One channel of a recording, loaded for playing: outputs, resizes and places to jump to, each with its time.
//!
//! Long pauses are shortened here, once, so that the player only ever deals with playback time. The bytes are held in
//! memory up to a budget; a recording past it is for `postern export`. Read [`super::player`] next.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::screen::bounded;
use super::timeline::Timeline;
use crate::recording::event::{Body, Event};

/// Output that is held in memory, in bytes.
pub const MOST_BYTES: usize = 512 << 20;
/// Moments that are held in memory.
pub const MOST_MOMENTS: usize = 8 << 20;

/// One channel, ready to play.
#[derive(Debug)]
pub struct Track {
    /// The channel played.
    pub channel: u32,
    /// What the recording is about.
    pub timeline: Timeline,
    /// What happens, in order.
    pub moments: Vec<Moment>,
    /// Places to jump to, in order.
    pub stops: Vec<Stop>,
    /// Playback time of the last event.
    pub length: Duration,
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
    /// The recording is larger than a player should hold.
    #[error("this recording has more than 512 MiB of output: use `postern export` or `postern search`")]
    TooLarge,
}

impl Track {
    /// Loads a channel, or the main one; pauses longer than `idle_limit` become that long.
    ///
    /// # Errors
    /// When the recording cannot be read, is too large, or has nothing to play.
    pub fn load<E>(
        events: impl IntoIterator<Item = Result<Event, E>>,
        channel: Option<u32>,
        idle_limit: Option<Duration>,
    ) -> Result<Self, TrackError<E>> {
        let mut loading = Loading::new(idle_limit.unwrap_or(Duration::MAX));
        for event in events {
            let event = event.map_err(TrackError::Recording)?;
            if channel.is_none_or(|wanted| event.channel == 0 || event.channel == wanted) {
                loading.take(event)?;
            }
        }
        loading.finish(channel)
    }
}

struct Loading {
    idle_limit: Duration,
    timeline: Timeline,
    moments: BTreeMap<u32, Vec<Moment>>,
    /// Recording time and playback time, wherever they part.
    bends: Vec<(u64, Duration)>,
    last: u64,
    held: usize,
    count: usize,
}

impl Loading {
    fn new(idle_limit: Duration) -> Self {
        Self {
            idle_limit,
            timeline: Timeline::default(),
            moments: BTreeMap::new(),
            bends: vec![(0, Duration::ZERO)],
            last: 0,
            held: 0,
            count: 0,
        }
    }

    fn take<E>(&mut self, event: Event) -> Result<(), TrackError<E>> {
        self.pass(event.at);
        self.timeline.observe(&event);
        let at = self.playback_time(event.at);
        let what = match event.body {
            Body::Output { data, .. } => {
                self.held = self.held.saturating_add(data.len());
                What::Output(data)
            }
            Body::Resize { columns, rows } => What::Resize(bounded(columns), bounded(rows)),
            Body::Terminal { columns, rows, .. } => What::Terminal(bounded(columns), bounded(rows)),
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
            | Body::SessionEnded { .. } => return Ok(()),
        };
        self.count = self.count.saturating_add(1);
        if self.held > MOST_BYTES || self.count > MOST_MOMENTS {
            return Err(TrackError::TooLarge);
        }
        self.moments.entry(event.channel).or_default().push(Moment { at, what });
        Ok(())
    }

    /// Shortens the pause before an event, when it is too long.
    fn pass(&mut self, at: u64) {
        let pause = Duration::from_micros(at.saturating_sub(self.last));
        if pause > self.idle_limit {
            let shortened = self.playback_time(self.last).saturating_add(self.idle_limit);
            self.bends.push((at, shortened));
        }
        self.last = self.last.max(at);
    }

    fn playback_time(&self, at: u64) -> Duration {
        let after = self.bends.partition_point(|(real, _)| *real <= at);
        let (real, playback) =
            after.checked_sub(1).and_then(|i| self.bends.get(i)).copied().unwrap_or((0, Duration::ZERO));
        playback.saturating_add(Duration::from_micros(at.saturating_sub(real)))
    }

    fn finish<E>(mut self, wanted: Option<u32>) -> Result<Track, TrackError<E>> {
        let main = self.timeline.main_channel().or_else(|| self.moments.keys().next().copied());
        let channel = wanted.or(main).ok_or(TrackError::NothingPrinted)?;
        let moments = self.moments.remove(&channel).ok_or(TrackError::NoSuchChannel(channel))?;
        let entries = self.timeline.entries.iter();
        let mut stops: Vec<Stop> = entries
            .map(|entry| Stop { at: self.playback_time(entry.at), label: entry.text.clone() })
            .collect();
        stops.sort_by_key(|stop| stop.at);
        let length = self.playback_time(self.last);
        Ok(Track { channel, timeline: self.timeline, moments, stops, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::event::Stream;

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
        let track = Track::load(events, None, Some(Duration::from_secs(2))).unwrap();
        let times: Vec<u64> = track.moments.iter().map(|m| m.at.as_secs()).collect();
        assert_eq!(times, [1, 3, 6]);
        assert_eq!(track.stops, [Stop { at: Duration::from_secs(5), label: "here".to_owned() }]);
        assert_eq!(track.length, Duration::from_secs(6));
    }

    #[test]
    fn the_terminal_is_played_before_other_channels() {
        let terminal =
            Body::Terminal { columns: 1 << 31, rows: 0, term: "xterm".to_owned(), modes: Vec::new() };
        let events = [output(1, 1), Ok(Event { at: 2, channel: 2, body: terminal }), output(3, 2)];
        let track = Track::load(events, None, None).unwrap();
        assert_eq!(track.channel, 2);
        assert_eq!(track.moments[0].what, What::Terminal(1000, 1));
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let none: [Result<Event, &str>; 0] = [];
        assert!(matches!(Track::load(none, None, None), Err(TrackError::NothingPrinted)));
        assert!(matches!(Track::load([output(1, 1)], Some(7), None), Err(TrackError::NoSuchChannel(7))));
        let broken = [output(1, 1), Err("cut")];
        assert!(matches!(Track::load(broken, None, None), Err(TrackError::Recording("cut"))));
    }
}
