//! `postern watch`: a session as it happens, on a terminal that nothing in it can act on.
//!
//! One channel is shown as its operator sees it, sanitised; what happens in the others, and commands, transfers and
//! refusals everywhere, are lines on standard error. The stream comes from the bastion's memory: a watcher who is too
//! slow is dropped, never the session. That somebody watches is noted in the ledger first.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::args::Invocation;
use super::client::segment;
use super::exit::{CliError, Outcome};
use super::{out, words};
use crate::model::EndReason;
use crate::playback::{Sanitiser, Timeline};
use crate::recording::event::{Body, Event};

/// The longest line of the stream, in bytes: one event with 256 KiB of data is a third longer in base64.
const LONGEST_LINE: usize = 4 << 20;

/// Watch a live session.
///
/// The ledger notes that you watch. Leave with Ctrl-C; the session goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// The session's id, or enough of its beginning.
    #[arg(value_name = "ID")]
    session: String,
}

/// Watches until the session is over.
pub(crate) async fn run(args: WatchArgs, run: &Invocation) -> Outcome {
    let path = format!("/sessions/{}/watch", segment(&args.session));
    let mut stream = run.connect().await?.stream(&path).await?;
    out::note(&format!("watching {}; Ctrl-C leaves, and the session goes on", out::safe(&args.session)));
    let mut lines = Lines::default();
    let mut follower = Follower::default();
    while let Some(line) = lines.next(&mut stream).await? {
        if run.json {
            let value: Value = serde_json::from_slice(&line).map_err(|error| malformed(&error))?;
            out::json_line(&value);
            continue;
        }
        let event: Event = serde_json::from_slice(&line).map_err(|error| malformed(&error))?;
        if !show(&follower.take(&event)) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if !run.json {
        show(&follower.finish());
        out::note(&follower.last_words());
    }
    Ok(ExitCode::SUCCESS)
}

/// What an event becomes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    /// For the terminal: harmless, with its colours and moves.
    screen: String,
    /// Lines beside it, escaped.
    notes: Vec<String>,
}

/// Follows a session's events.
#[derive(Default)]
struct Follower {
    /// The channel shown: the first that has a terminal or prints.
    channel: Option<u32>,
    sanitiser: Sanitiser,
    timeline: Timeline,
    /// Why the session ended, once it has.
    ended: Option<EndReason>,
}

impl Follower {
    fn take(&mut self, event: &Event) -> Shown {
        let is_shown = matches!(event.body, Body::Terminal { .. } | Body::Output { .. });
        if is_shown && self.channel.is_none() {
            self.channel = Some(event.channel);
        }
        if let Body::SessionEnded { reason } = event.body {
            self.ended = Some(reason);
        }
        let mut shown = Shown::default();
        if let Body::Output { data, .. } = &event.body
            && self.channel == Some(event.channel)
        {
            shown.screen = self.sanitiser.feed(data);
        }
        for entry in self.timeline.entries_of(event) {
            // A prompt's commands of the channel shown are on the screen already.
            let is_on_screen =
                self.channel == Some(entry.channel) && entry.kind == crate::playback::timeline::Kind::Command;
            if !is_on_screen {
                let at = words::recording_time(entry.at);
                shown.notes.push(format!("[{at} channel {}] {}", entry.channel, entry.text));
            }
        }
        shown
    }

    /// Why nothing more is shown.
    fn last_words(&self) -> String {
        match self.ended {
            Some(reason) => format!("the session is over: {reason}"),
            None => "the bastion sends no more: it stopped, you no longer may watch, or this was too slow"
                .to_owned(),
        }
    }

    /// What is left at the end: colours and the alternate screen must not outlive the session.
    fn finish(&mut self) -> Shown {
        let screen = if self.channel.is_some() {
            format!("{}\x1b[m\x1b[?1049l\x1b[?25h\n", self.sanitiser.finish())
        } else {
            String::new()
        };
        Shown { screen, notes: Vec::new() }
    }
}

/// Shows; says whether anybody looks.
fn show(shown: &Shown) -> bool {
    for note in &shown.notes {
        out::note(note);
    }
    let mut to = io::stdout().lock();
    to.write_all(shown.screen.as_bytes()).and_then(|()| to.flush()).is_ok()
}

/// The lines of a stream, however it is cut.
#[derive(Default)]
struct Lines {
    held: BytesMut,
    /// Bytes of `held` that have no line's end.
    looked: usize,
}

impl Lines {
    /// The next line that is not empty: empty ones only say that the bastion is there.
    async fn next<S>(&mut self, stream: &mut S) -> Result<Option<BytesMut>, CliError>
    where
        S: Stream<Item = Result<bytes::Bytes, CliError>> + Unpin,
    {
        loop {
            let fresh = self.held.get(self.looked..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let mut line = self.held.split_to(self.looked.saturating_add(end).saturating_add(1));
                self.looked = 0;
                line.truncate(line.len().saturating_sub(1));
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.looked = self.held.len();
            if self.looked > LONGEST_LINE {
                return Err(CliError::failed("the bastion sends a line longer than any event"));
            }
            match stream.next().await {
                Some(piece) => self.held.extend_from_slice(&piece?),
                None => return Ok(None),
            }
        }
    }
}

fn malformed(error: &serde_json::Error) -> CliError {
    CliError::failed(format!("the bastion sent something that is no event: {error}"))
        .hint("this command and the bastion may be of different versions")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::recording::event::Stream as Output;

    fn output(channel: u32, data: &'static [u8]) -> Event {
        let body = Body::Output { stream: Output::Stdout, data: Bytes::from_static(data) };
        Event { at: 1_000_000, channel, body }
    }

    #[test]
    fn one_channel_is_shown_harmless_and_the_others_are_lines() {
        let mut follower = Follower::default();
        let shown = follower.take(&output(1, b"\x1b[31mred\x1b]52;c;AAAA\x07"));
        assert_eq!(shown, Shown { screen: "\x1b[31mred".to_owned(), notes: Vec::new() });
        let command = Body::Exec { command: Bytes::from_static(b"rm -rf \x1b[2J/srv") };
        let shown = follower.take(&Event { at: 61_000_000, channel: 2, body: command });
        assert_eq!(shown.notes, ["[1:01.0 channel 2] rm -rf \\u{1b}[2J/srv"]);
        assert_eq!(follower.take(&output(2, b"x")), Shown::default());
        assert!(follower.finish().screen.starts_with("\x1b[m"));
        assert!(follower.last_words().contains("sends no more"));
        let over = Body::SessionEnded { reason: EndReason::GrantRevoked };
        follower.take(&Event { at: 62_000_000, channel: 0, body: over });
        assert_eq!(follower.last_words(), "the session is over: the grant was revoked");
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_stream_is_cut(
            lines in proptest::collection::vec("[a-z]{0,20}", 0..20), cut in 1_usize..9,
        ) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let pieces: Vec<Result<Bytes, CliError>> =
                text.as_bytes().chunks(cut).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let mut stream = futures_util::stream::iter(pieces);
            let mut splitter = Lines::default();
            let mut found = Vec::new();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while let Some(line) = runtime.block_on(splitter.next(&mut stream)).unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            let expected: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
