//! The player's loop: look at the clock, draw, wait for a key. And the plain way, for pipes.
//!
//! Keys change the [`Player`]; what is on the terminal is `view.rs`'s business.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use crossterm::event::{self, Event as Key, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal;

use super::signals::Signals;
use super::view::View;
use crate::model::Clock;
use crate::playback::{Player, Sanitiser, Track, TrackError};
use crate::recording::event::{Body, Event};

/// The shortest time between two drawings.
const FRAME: Duration = Duration::from_millis(33);
/// The longest time without looking for a signal.
const LOOK_AROUND: Duration = Duration::from_millis(200);
/// How far the left and right arrows go.
const SHORT_STEP: Duration = Duration::from_secs(5);
/// How far the up and down arrows go.
const LONG_STEP: Duration = Duration::from_secs(60);

/// How to play.
#[derive(Debug, Clone, Copy, Default)]
pub struct ViewOptions {
    /// Which channel; none means the main one.
    pub channel: Option<u32>,
    /// Pauses longer than this become this long.
    pub idle_limit: Option<Duration>,
    /// Whether to print the recording through even where keys would work.
    pub print: bool,
    /// How many times as fast to begin; none means as it was. The nearest step at or below is taken.
    pub speed: Option<f64>,
    /// Where to begin, in playback time.
    pub at: Duration,
}

/// Why playing stopped.
#[derive(Debug, thiserror::Error)]
pub enum ViewError<E> {
    /// The recording has nothing to play, or could not be read.
    #[error(transparent)]
    Track(#[from] TrackError<E>),
    /// The recording was read once, and not again.
    #[error("the recording changed while it was played: {0}")]
    Changed(String),
    /// The reviewer's terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(#[from] io::Error),
}

/// Whether playing will be interactive.
#[must_use]
pub fn is_interactive(options: &ViewOptions) -> bool {
    !options.print && io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Plays a track that was loaded, with keys.
///
/// # Errors
/// When the recording cannot be read again, or the terminal fails.
pub fn play<E>(track: Track, options: ViewOptions, clock: &Clock) -> Result<(), ViewError<E>> {
    match interact(Player::new(track), options, clock)? {
        None => Ok(()),
        Some(trouble) => Err(ViewError::Changed(trouble)),
    }
}

/// Prints a channel's output, sanitised, as fast as it goes.
///
/// # Errors
/// When the recording cannot be read or writing fails; a reader that closes its pipe is not an error.
pub fn print_through<E>(
    events: impl IntoIterator<Item = Result<Event, E>>,
    options: ViewOptions,
    to: &mut dyn Write,
) -> Result<(), ViewError<E>> {
    let mut sanitiser = Sanitiser::new();
    let mut channel = options.channel;
    let (mut is_empty, mut is_styled) = (true, false);
    for event in events {
        let event = event.map_err(TrackError::Recording)?;
        if let Body::Output { data, .. } = &event.body
            && *channel.get_or_insert(event.channel) == event.channel
        {
            is_empty = false;
            let text = sanitiser.feed(data);
            is_styled |= text.contains('\x1b');
            if !write_on(text.as_bytes(), to)? {
                return Ok(());
            }
        }
    }
    if is_empty {
        return Err(options.channel.map_or(TrackError::NothingPrinted, TrackError::NoSuchChannel).into());
    }
    // Colours and the alternate screen must not outlive the recording. Plain text stays plain.
    let reset = if is_styled { "\x1b[m\x1b[?1049l\x1b[?25h" } else { "" };
    let end = format!("{}{reset}\n", sanitiser.finish());
    write_on(end.as_bytes(), to)?;
    Ok(())
}

/// Writes; says whether anybody reads.
fn write_on(bytes: &[u8], to: &mut dyn Write) -> io::Result<bool> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

/// Plays until somebody leaves; answers with what kept the recording from being read again.
fn interact(mut player: Player, options: ViewOptions, clock: &Clock) -> io::Result<Option<String>> {
    let signals = Signals::watch()?;
    let mut view = View::open(io::stdout())?;
    begin(&mut player, options, clock.since_boot());
    loop {
        let now = clock.since_boot();
        player.advance(now);
        view.draw(&player, terminal::size()?)?;
        let wake = player.wake(now).map_or(LOOK_AROUND, |at| at.saturating_sub(now));
        if event::poll(wake.clamp(FRAME, LOOK_AROUND))? {
            match event::read()? {
                Key::Key(key) if key.kind != KeyEventKind::Release => {
                    match obey(key, &mut player, clock.since_boot()) {
                        Outcome::Leave => break,
                        Outcome::Go => view.note(None),
                        Outcome::Say(text) => view.note(Some(text)),
                    }
                }
                Key::Resize(..) => view.forget(),
                Key::Key(_) | Key::FocusGained | Key::FocusLost | Key::Mouse(_) | Key::Paste(_) => {}
            }
        }
        if signals.came() || player.trouble().is_some() {
            break;
        }
    }
    view.close()?;
    Ok(player.trouble().map(ToString::to_string))
}

/// Brings a fresh player to the speed and place wanted, and starts it; at the very end there is nothing to start.
fn begin(player: &mut Player, options: ViewOptions, now: Duration) {
    if let Some(wanted) = options.speed {
        step(player, |player| player.speed() < wanted, |player| player.faster(now));
        step(player, |player| player.speed() > wanted, |player| player.slower(now));
    }
    player.seek(options.at, now);
    if player.position() < player.track().length {
        player.toggle(now);
    }
}

/// Changes the speed while that is wanted and possible.
fn step(player: &mut Player, is_wanted: impl Fn(&Player) -> bool, change: impl Fn(&mut Player)) {
    while is_wanted(player) {
        let before = player.speed().to_bits();
        change(player);
        if player.speed().to_bits() == before {
            break;
        }
    }
}

/// What a key leads to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Go,
    Leave,
    Say(String),
}

fn obey(key: KeyEvent, player: &mut Player, now: Duration) -> Outcome {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control {
        return if matches!(key.code, KeyCode::Char('c' | 'd')) { Outcome::Leave } else { Outcome::Go };
    }
    let stop = |label: Option<String>, none: &str| Outcome::Say(label.unwrap_or_else(|| none.to_owned()));
    // Only keys with a meaning are listed; the rest of the keyboard has none.
    if let KeyCode::Char(key) = key.code {
        match key {
            'q' => return Outcome::Leave,
            ' ' => player.toggle(now),
            '+' | '=' => player.faster(now),
            '-' | '_' => player.slower(now),
            'm' => return stop(player.next_stop(now).map(|s| s.label.clone()), "no marker after this"),
            'M' => return stop(player.previous_stop(now).map(|s| s.label.clone()), "no marker before this"),
            '?' | 'h' => return Outcome::Say(HELP.to_owned()),
            _ => {}
        }
    } else if key.code == KeyCode::Left {
        player.back(SHORT_STEP, now);
    } else if key.code == KeyCode::Right {
        player.forward(SHORT_STEP, now);
    } else if key.code == KeyCode::Down {
        player.back(LONG_STEP, now);
    } else if key.code == KeyCode::Up {
        player.forward(LONG_STEP, now);
    } else if key.code == KeyCode::Home {
        player.seek(Duration::ZERO, now);
    } else if key.code == KeyCode::End {
        player.seek(player.track().length, now);
    } else if key.code == KeyCode::Esc {
        return Outcome::Leave;
    }
    Outcome::Go
}

/// What the keys do, on one line.
const HELP: &str = "space pause  + - speed  ← → 5 s  ↑ ↓ 60 s  m M markers  q quit";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::recording::event::Stream;

    const SECOND: Duration = Duration::from_secs(1);

    fn events() -> Vec<Result<Event, &'static str>> {
        let output = |at, channel, data: &'static [u8]| {
            let data = Bytes::from_static(data);
            Ok(Event { at, channel, body: Body::Output { stream: Stream::Stdout, data } })
        };
        vec![
            output(0, 1, b"one\x1b]52;c;AAAA\x07 "),
            Ok(Event { at: 20_000_000, channel: 0, body: Body::Marker { label: "look".to_owned() } }),
            output(100_000_000, 1, b"\x1b[31mtwo"),
            output(200_000_000, 2, b"other"),
        ]
    }

    #[test]
    fn printing_through_is_sanitised_and_of_one_channel() {
        let mut printed = Vec::new();
        print_through(events(), ViewOptions::default(), &mut printed).unwrap();
        assert_eq!(String::from_utf8(printed).unwrap(), "one \x1b[31mtwo\x1b[m\x1b[?1049l\x1b[?25h\n");
        let plain = Body::Output { stream: Stream::Stdout, data: Bytes::from_static(b"plain\r\n") };
        let (plain, mut printed) = (Event { at: 0, channel: 1, body: plain }, Vec::new());
        print_through([Ok::<_, &'static str>(plain)], ViewOptions::default(), &mut printed).unwrap();
        assert_eq!(printed, b"plain\r\n\n", "no escape sequences of ours");
        let other = ViewOptions { channel: Some(9), ..ViewOptions::default() };
        let refused = print_through(events(), other, &mut Vec::new());
        assert!(matches!(refused, Err(ViewError::Track(TrackError::NoSuchChannel(9)))));
    }

    #[test]
    fn a_player_begins_where_and_as_fast_as_asked() {
        let begun = |speed, at| {
            let mut player = Player::new(Track::kept(events(), Some(1), None).unwrap());
            begin(&mut player, ViewOptions { speed, at, ..ViewOptions::default() }, SECOND);
            (player.speed().to_string(), player.position().as_secs(), player.is_running())
        };
        assert_eq!(begun(None, Duration::ZERO), ("1".to_owned(), 0, true));
        assert_eq!(begun(Some(3.0), 30 * SECOND), ("2".to_owned(), 30, true));
        assert_eq!(begun(Some(0.25), 30 * SECOND), ("0.25".to_owned(), 30, true));
        let (speed, _, is_running) = begun(Some(64.0), 9999 * SECOND);
        assert_eq!((speed.as_str(), is_running), ("64", false));
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut player = Player::new(Track::kept(events(), None, None).unwrap());
        let mut press = |code: KeyCode, modifiers: KeyModifiers| {
            let outcome = obey(KeyEvent::new(code, modifiers), &mut player, SECOND);
            (outcome, player.position().as_secs(), player.speed().to_string())
        };
        let none = KeyModifiers::NONE;
        let go = |at: u64, speed: &str| (Outcome::Go, at, speed.to_owned());
        assert_eq!(press(KeyCode::Up, none), go(60, "1"));
        assert_eq!(press(KeyCode::Left, none), go(55, "1"));
        assert_eq!(press(KeyCode::Char('+'), none), go(55, "2"));
        let back = press(KeyCode::Char('M'), KeyModifiers::SHIFT);
        assert_eq!(back, (Outcome::Say("look".to_owned()), 20, "2".to_owned()));
        assert_eq!(press(KeyCode::Right, none), go(25, "2"));
        assert_eq!(press(KeyCode::Home, none), go(0, "2"));
        assert_eq!(press(KeyCode::Char('x'), none), go(0, "2"));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL).0, Outcome::Leave);
        assert_eq!(press(KeyCode::Char('q'), none).0, Outcome::Leave);
    }
}
