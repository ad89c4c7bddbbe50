//! The playback clock over one track: run, pause, change speed, seek, jump. Pure: time is an argument.
//!
//! A [`Player`] always has the screen of its position. Going on feeds what came due; going back starts from the nearest
//! picture of the screen it made on the way and feeds from there. `now` is any clock that only goes forward.

use std::time::Duration;

use super::screen::{Picture, Screen};
use super::track::{Moment, Stop, Track, What};

/// Speeds one can choose, in quarters: from a quarter to sixty-four times.
const SPEEDS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Which of them is the recording's own.
const NORMAL: usize = 2;
/// Bytes of output between two pictures at first.
const PICTURE_EVERY: usize = 1 << 20;
/// Bytes that all pictures together may take.
const MOST_PICTURES: usize = 64 << 20;

/// A track being played.
#[derive(Debug)]
pub struct Player {
    track: Track,
    screen: Screen,
    /// The first moment that was not fed to the screen.
    next: usize,
    position: Duration,
    speed: usize,
    motion: Motion,
    pictures: Vec<(usize, Picture)>,
    picture_every: usize,
    /// Output bytes fed since the last place for a picture.
    fed: usize,
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
            next: 0,
            position: Duration::ZERO,
            speed: NORMAL,
            motion: Motion::Paused,
            pictures: Vec::new(),
            picture_every: PICTURE_EVERY,
            fed: 0,
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
        self.feed_until(self.position)
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
        let due = self.track.moments.partition_point(|moment| moment.at <= to);
        let best = self.pictures.iter().rev().find(|(index, _)| *index <= due);
        let is_behind = due < self.next;
        match best {
            Some((index, picture)) if is_behind || *index > self.next => {
                self.screen = Screen::thaw(picture);
                self.next = *index;
                self.fed = 0;
            }
            _ if is_behind => {
                self.screen = Screen::default();
                self.next = 0;
                self.fed = 0;
            }
            _ => {}
        }
        self.position = to;
        if self.is_running() {
            self.motion = Motion::Running(now, to);
        }
        self.feed_until(to);
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
        let due = self.track.moments.get(self.next).map_or(self.track.length, |moment| moment.at);
        let quarters = SPEEDS.get(self.speed).copied().unwrap_or(4);
        Some(now.saturating_add(due.saturating_sub(self.position).saturating_mul(4) / quarters))
    }

    /// The screen at the position.
    #[must_use]
    pub const fn screen(&self) -> &Screen {
        &self.screen
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

    fn feed_until(&mut self, to: Duration) -> bool {
        let before = self.next;
        while let Some(Moment { at, what }) = self.track.moments.get(self.next)
            && *at <= to
        {
            self.screen.pass(*at);
            match what {
                What::Output(data) => {
                    self.fed = self.fed.saturating_add(data.len());
                    self.screen.feed(data);
                }
                What::Resize(columns, rows) => self.screen.resize(*columns, *rows),
                What::Terminal(columns, rows) => self.screen.open_terminal(*columns, *rows),
            }
            self.next = self.next.saturating_add(1);
            if self.fed >= self.picture_every {
                self.take_picture();
            }
        }
        self.next != before
    }

    fn take_picture(&mut self) {
        self.fed = 0;
        if self.pictures.last().is_none_or(|(index, _)| *index < self.next) {
            self.pictures.push((self.next, self.screen.freeze()));
        }
        let weight: usize = self.pictures.iter().map(|(_, picture)| picture.weight()).sum();
        if weight > MOST_PICTURES {
            let mut keep = false;
            self.pictures.retain(|_| {
                keep = !keep;
                keep
            });
            self.picture_every = self.picture_every.saturating_mul(2);
        }
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
        Player::new(Track::load(events, None, None).unwrap())
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
    fn going_back_starts_from_a_picture() {
        let mut player = counting(40, 10 << 10);
        player.picture_every = 60 << 10;
        player.seek(SECOND * 40, SECOND);
        assert!(player.pictures.len() >= 5, "{}", player.pictures.len());
        player.pictures.retain(|(index, _)| *index > 30);
        player.seek(SECOND * 39, SECOND);
        assert!(player.next == 40 && last_line(&player) == "line 39");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_way_to_a_position_shows_the_same_screen(
            seeks in proptest::collection::vec(0_u32..40, 1..12), padding in prop_oneof![Just(0_usize), Just(20 << 10)],
        ) {
            let mut wandering = counting(30, padding);
            wandering.picture_every = 30 << 10;
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
