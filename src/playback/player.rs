//! The playback clock over one track: run, pause, change speed, seek, jump. Time is an argument.
//!
//! A [`Player`] always has the screen of its position. Going on feeds what came due; going anywhere else starts from the
//! nearest picture of the screen before it and feeds from there. `now` is any clock that only goes forward. Only the
//! stretch being played is in memory; the next is read when it is due.

use std::time::Duration;

use super::screen::Screen;
use super::track::{Moment, Stop, Track};
use crate::recording::RecordingError;

/// Speeds one can choose, in quarters: from a quarter to sixty-four times.
const SPEEDS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Which of them is the recording's own.
const NORMAL: usize = 2;

/// A track being played.
#[derive(Debug)]
pub struct Player {
    track: Track,
    screen: Screen,
    /// The stretch being played, and its moments.
    stretch: Option<usize>,
    moments: Vec<Moment>,
    /// The first of them that was not fed to the screen.
    next: usize,
    position: Duration,
    speed: usize,
    motion: Motion,
    /// Why the recording could not be read again.
    trouble: Option<RecordingError>,
}

#[derive(Debug, Clone, Copy)]
enum Motion {
    Paused,
    /// Since this time, from this position.
    Running(Duration, Duration),
}

impl Player {
    /// A player at the beginning of a track, paused.
    #[must_use]
    pub fn new(track: Track) -> Self {
        Self {
            track,
            screen: Screen::default(),
            stretch: None,
            moments: Vec::new(),
            next: 0,
            position: Duration::ZERO,
            speed: NORMAL,
            motion: Motion::Paused,
            trouble: None,
        }
    }

    /// Brings the screen to where the clock is; pauses at the end. Says whether the screen changed.
    pub fn advance(&mut self, now: Duration) -> bool {
        if let Motion::Running(since, from) = self.motion {
            let passed = now.saturating_sub(since);
            let quarters = SPEEDS.get(self.speed).copied().unwrap_or(4);
            self.position = from.saturating_add(passed.saturating_mul(quarters) / 4).min(self.track.length);
            if self.position >= self.track.length {
                self.motion = Motion::Paused;
            }
        }
        self.go(self.position)
    }

    /// Runs when paused, pauses when running; at the end, starts again from the beginning.
    pub fn toggle(&mut self, now: Duration) {
        self.advance(now);
        if self.is_running() {
            self.motion = Motion::Paused;
        } else {
            if self.position >= self.track.length {
                self.seek(Duration::ZERO, now);
            }
            self.motion = Motion::Running(now, self.position);
        }
    }

    /// The next higher speed.
    pub fn faster(&mut self, now: Duration) {
        self.change_speed(self.speed.saturating_add(1).min(SPEEDS.len().saturating_sub(1)), now);
    }

    /// The next lower speed.
    pub fn slower(&mut self, now: Duration) {
        self.change_speed(self.speed.saturating_sub(1), now);
    }

    /// Goes to a position, forward or back.
    pub fn seek(&mut self, to: Duration, now: Duration) {
        let to = to.min(self.track.length);
        self.position = to;
        if self.is_running() {
            self.motion = Motion::Running(now, to);
        }
        self.go(to);
    }

    /// Goes on by so much.
    pub fn forward(&mut self, by: Duration, now: Duration) {
        self.advance(now);
        self.seek(self.position.saturating_add(by), now);
    }

    /// Goes back by so much.
    pub fn back(&mut self, by: Duration, now: Duration) {
        self.advance(now);
        self.seek(self.position.saturating_sub(by), now);
    }

    /// Jumps to the next place to stop; stays where it is when there is none.
    pub fn next_stop(&mut self, now: Duration) -> Option<&Stop> {
        self.advance(now);
        let index = self.track.stops.partition_point(|stop| stop.at <= self.position);
        self.jump(index, now)
    }

    /// Jumps to the place to stop before this one.
    pub fn previous_stop(&mut self, now: Duration) -> Option<&Stop> {
        self.advance(now);
        let index = self.track.stops.partition_point(|stop| stop.at < self.position).checked_sub(1)?;
        self.jump(index, now)
    }

    /// When there will be something new to show, on the clock of `now`; never when paused.
    #[must_use]
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        let Motion::Running(..) = self.motion else { return None };
        let following = self.stretch.map_or(0, |stretch| stretch.saturating_add(1));
        let ahead = || self.track.stretches.get(following).map_or(self.track.length, |stretch| stretch.at);
        let due = self.moments.get(self.next).map_or_else(ahead, |moment| moment.at);
        let quarters = SPEEDS.get(self.speed).copied().unwrap_or(4);
        Some(now.saturating_add(due.saturating_sub(self.position).saturating_mul(4) / quarters))
    }

    /// The screen at the position.
    #[must_use]
    pub const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Why the recording could not be read again, which ends the playing.
    #[must_use]
    pub const fn trouble(&self) -> Option<&RecordingError> {
        self.trouble.as_ref()
    }

    /// Playback time.
    #[must_use]
    pub const fn position(&self) -> Duration {
        self.position
    }

    /// What is played.
    #[must_use]
    pub const fn track(&self) -> &Track {
        &self.track
    }

    /// The speed, 1 being the recording's own.
    #[must_use]
    pub fn speed(&self) -> f64 {
        f64::from(SPEEDS.get(self.speed).copied().unwrap_or(4)) / 4.0
    }

    /// Whether the clock runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.motion, Motion::Running(..))
    }

    fn jump(&mut self, index: usize, now: Duration) -> Option<&Stop> {
        let at = self.track.stops.get(index)?.at;
        self.seek(at, now);
        self.track.stops.get(index)
    }

    fn change_speed(&mut self, speed: usize, now: Duration) {
        self.advance(now);
        self.speed = speed;
        if self.is_running() {
            self.motion = Motion::Running(now, self.position);
        }
    }

    /// Brings the screen to a position; says whether anything was fed to it.
    fn go(&mut self, to: Duration) -> bool {
        let target = self.track.stretches.partition_point(|stretch| stretch.at <= to).saturating_sub(1);
        let has_picture =
            |index: &usize| self.track.stretches.get(*index).is_some_and(|stretch| stretch.before.is_some());
        let from = (0..=target).rev().find(has_picture).unwrap_or(0);
        let fed_beyond = |fed: &Moment| fed.at > to;
        let last_fed = self.next.checked_sub(1).and_then(|last| self.moments.get(last));
        let goes_on = self
            .stretch
            .is_some_and(|now| (from..=target).contains(&now) && !last_fed.is_some_and(fed_beyond));
        let mut changed = false;
        if !goes_on {
            let before = self.track.stretches.get(from).and_then(|stretch| stretch.before.as_ref());
            self.screen = before.map_or_else(Screen::default, Screen::thaw);
            self.open(from);
            changed = true;
        }
        loop {
            changed |= self.feed_until(to);
            let Some(now) = self.stretch.filter(|now| *now < target && self.trouble.is_none()) else { break };
            self.open(now.saturating_add(1));
        }
        self.screen.catch_up();
        changed
    }

    fn open(&mut self, stretch: usize) {
        self.next = 0;
        if self.stretch.replace(stretch) == Some(stretch) {
            return;
        }
        self.moments = self.track.moments(stretch).unwrap_or_else(|error| {
            self.trouble = Some(error);
            Vec::new()
        });
    }

    fn feed_until(&mut self, to: Duration) -> bool {
        let before = self.next;
        while let Some(Moment { at, what }) = self.moments.get(self.next)
            && *at <= to
        {
            self.screen.pass(*at);
            what.show(&mut self.screen);
            self.next = self.next.saturating_add(1);
        }
        self.next != before
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::recording::event::{Body, Event, Stream};

    const SECOND: Duration = Duration::from_secs(1);

    /// Prints its number every second, on a terminal, with a marker every tenth.
    fn counting(count: u64, padding: usize) -> Player {
        let event = |at: u64, channel, body| Ok::<_, ()>(Event { at: at * 1_000_000, channel, body });
        let mut events = vec![event(
            0,
            1,
            Body::Terminal { columns: 40, rows: 5, term: "xterm".to_owned(), modes: Vec::new() },
        )];
        for n in 1..=count {
            let text = format!("{}\x1b[2K\r\nline {n}", "z".repeat(padding));
            events.push(event(n, 1, Body::Output { stream: Stream::Stdout, data: Bytes::from(text) }));
            if n % 10 == 0 {
                events.push(event(n, 0, Body::Marker { label: format!("ten {n}") }));
            }
        }
        Player::new(Track::kept(events, None, None).unwrap())
    }

    fn last_line(player: &Player) -> String {
        player.screen().text().into_iter().rfind(|row| !row.is_empty()).unwrap_or_default()
    }

    #[test]
    fn runs_at_its_speed_and_stops_at_the_end() {
        let mut player = counting(20, 0);
        player.toggle(SECOND * 100);
        assert_eq!(player.wake(SECOND * 100), Some(SECOND * 101));
        player.advance(SECOND * 103);
        assert_eq!(last_line(&player), "line 3");
        player.faster(SECOND * 103);
        assert_eq!(player.wake(SECOND * 103), Some(SECOND * 103 + SECOND / 2));
        player.advance(SECOND * 105);
        assert_eq!(last_line(&player), "line 7");
        player.toggle(SECOND * 105);
        player.advance(SECOND * 1000);
        assert_eq!((last_line(&player).as_str(), player.wake(SECOND * 1000)), ("line 7", None));
        player.toggle(SECOND * 1000);
        player.advance(SECOND * 2000);
        assert_eq!((last_line(&player).as_str(), player.is_running()), ("line 20", false));
    }

    #[test]
    fn jumps_between_markers() {
        let mut player = counting(35, 0);
        let jumps: Vec<_> = (0..4).map(|_| player.next_stop(SECOND).map(|s| s.label.clone())).collect();
        assert_eq!(jumps[..3], ["ten 10", "ten 20", "ten 30"].map(|l| Some(l.to_owned())));
        assert_eq!(jumps[3], None);
        assert_eq!(player.previous_stop(SECOND).map(|s| s.label.clone()), Some("ten 20".to_owned()));
        assert_eq!(last_line(&player), "line 20");
    }

    #[test]
    fn going_anywhere_starts_from_a_picture() {
        let mut player = counting(40, 300 << 10);
        assert!(player.track.stretches.len() >= 30, "{}", player.track.stretches.len());
        player.seek(SECOND * 39, SECOND);
        assert_eq!((last_line(&player).as_str(), player.moments.len()), ("line 39", 1));
        for stretch in player.track.stretches.iter_mut().skip(5) {
            stretch.before = None;
        }
        player.seek(SECOND * 20, SECOND);
        assert_eq!(last_line(&player), "line 20");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_way_to_a_position_shows_the_same_screen(
            seeks in proptest::collection::vec(0_u32..40, 1..12), padding in prop_oneof![Just(0_usize), Just(200 << 10)],
        ) {
            let mut wandering = counting(30, padding);
            for to in &seeks {
                wandering.seek(SECOND * *to, SECOND);
            }
            let mut direct = counting(30, padding);
            direct.seek(SECOND * *seeks.last().unwrap(), SECOND);
            prop_assert_eq!(wandering.screen().styled(), direct.screen().styled());
            prop_assert_eq!(wandering.position(), direct.position());
        }
    }
}
