//! `postern play`: a recording on the reviewer's own terminal, opened with the reviewer's own identity.
//!
//! What is shown is drawn by `player_view/`, which passes nothing of the recording on to the terminal. Here are the
//! arguments, and what is said when the recording cannot be read to its end.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use super::args::Invocation;
use super::exit::{CliError, Outcome};
use super::keygen::IdentityArgs;
use super::player_view::{ViewError, ViewOptions, is_interactive, play, print_through};
use super::source::{Events, Held, Source};
use super::{progress, words};
use crate::playback::{Track, TrackError};
use crate::recording::RecordingError;

/// The slowest and the fastest a recording is played.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.25..=64.0;

/// Play a recording in this terminal.
///
/// Keys: space pauses, + and - change the speed, arrows go 5 and 60 seconds, m and M jump between markers, q leaves.
/// Everything that could act on your terminal is left out. Where standard output is no terminal, the recording is
/// printed through.
#[derive(Debug, clap::Args)]
pub(crate) struct PlayArgs {
    /// A recording's file, or a session's id (or enough of its beginning).
    #[arg(value_name = "ID|FILE")]
    recording: String,
    #[command(flatten)]
    identity: IdentityArgs,
    /// How many times as fast to play, from 0.25 to 64; the nearest step at or below.
    #[arg(long, value_name = "N", value_parser = speed, conflicts_with = "print")]
    speed: Option<f64>,
    /// Where to begin: 90s, 12:40 or 1:02:03.
    #[arg(long, value_name = "TIME", value_parser = position, conflicts_with = "print")]
    at: Option<Duration>,
    /// Which channel to play, when the session had several. [default: the one with the terminal]
    #[arg(long, value_name = "N")]
    channel: Option<u32>,
    /// Print the recording through instead of playing it.
    #[arg(long)]
    print: bool,
    /// Shorten longer pauses to this, such as 2s. Times then count what is left.
    #[arg(long, value_name = "DURATION", value_parser = words::parse_duration)]
    idle_limit: Option<Duration>,
}

/// Plays a recording.
pub(crate) async fn run(args: PlayArgs, run: &Invocation) -> Outcome {
    let source = Source::parse(&args.recording)?;
    let identity = args.identity.need(run)?;
    let held = source.hold("play", run).await?;
    let mut events = Events::open(&held, &identity)?.on_all_cores();
    let options = ViewOptions {
        channel: args.channel,
        idle_limit: args.idle_limit,
        print: args.print,
        speed: args.speed,
        at: args.at.unwrap_or_default(),
    };
    let played = if is_interactive(&options) {
        load(&mut events, &held, &options).and_then(|track| play(track, options, &run.clock))
    } else {
        print_through(&mut events, options, &mut io::stdout().lock())
    };
    // Damage comes first: what was played before it is only a part.
    let damage = |stopped: &RecordingError| !matches!(stopped, RecordingError::Truncated { .. });
    if events.stopped().is_some_and(damage) {
        events.finish(held.name())?;
    }
    played.map_err(|error| CliError::failed(format!("{}: {error}", held.name())))?;
    events.finish(held.name())?;
    Ok(ExitCode::SUCCESS)
}

/// Goes through the recording once, so that any moment of it is near.
fn load(events: &mut Events, held: &Held, options: &ViewOptions) -> Result<Track, ViewError<RecordingError>> {
    let again = events.again(held).map_err(|error| TrackError::Recording(error.into()))?;
    let bar = progress::bytes("opening", held.bytes());
    let placed = std::iter::from_fn(|| {
        let event = events.next()?;
        let place = events.place();
        bar.set_position(place.end);
        Some(event.map(|event| (place, event)))
    });
    let track = Track::load(placed, Box::new(again), options.channel, options.idle_limit);
    bar.finish_and_clear();
    Ok(track?)
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 =
        text.trim_end_matches(['x', '×']).parse().map_err(|_| "a speed is a number".to_owned())?;
    if SPEEDS.contains(&speed) { Ok(speed) } else { Err("a speed is 0.25 to 64".to_owned()) }
}

/// A place in a recording: `SECONDS`, `MM:SS`, `HH:MM:SS`, or a duration such as `90s`.
fn position(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time in a recording: write 90s, 12:40 or 1:02:03");
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(wrong());
    }
    if parts.len() == 1 && text.parse::<u32>().is_err() {
        return words::parse_duration(text).map_err(|_| wrong());
    }
    let mut seconds: u64 = 0;
    for (index, part) in parts.iter().enumerate() {
        let number: u32 = part.parse().map_err(|_| wrong())?;
        if index > 0 && number >= 60 {
            return Err(wrong());
        }
        seconds = seconds.saturating_mul(60).saturating_add(u64::from(number));
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn places_and_speeds_as_typed() {
        for (text, seconds) in [("0", 0), ("75", 75), ("90s", 90), ("12:40", 760), ("1:02:03", 3723)] {
            assert_eq!(position(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", ":", "1:60", "1:2:3:4", "-1", "soon", "1:x"] {
            assert!(position(bad).is_err(), "{bad:?}");
        }
        assert_eq!((speed("4"), speed("0.5x")), (Ok(4.0), Ok(0.5)));
        assert!(["0", "65", "NaN", "fast"].iter().all(|bad| speed(bad).is_err()));
    }

    #[tokio::test]
    async fn a_recording_prints_without_what_acts_on_a_terminal() {
        let sample = Sample::record().await;
        let mut events = Events::open(&Held::open(&sample.path).unwrap(), &sample.identity).unwrap();
        let mut printed = Vec::new();
        print_through(&mut events, ViewOptions::default(), &mut printed).unwrap();
        let printed = String::from_utf8_lossy(&printed);
        assert!(printed.contains("the password is hunter2"));
        assert!(!printed.contains("owned") && !printed.contains("up 3 days"));
    }
}
