//! A transcript: what happened, one line of text each, with its time. For reading, for tickets, for `grep`.
//!
//! Output is given as the lines a person saw, line editing applied; a line that was written over is given as it stood in
//! the end. A line entered at a prompt is marked as a command. Everything is escaped, so a transcript can be shown on any
//! terminal. Programs that paint a whole screen give pieces: the player shows those.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::write::{Encoder, Exported, Settings};
use crate::playback::cells::Widths;
use crate::playback::lines::{Line, Lines};
use crate::playback::sanitise::escape_text;
use crate::playback::search::typed;
use crate::playback::timeline::{Entry, Kind, Timeline, shorten};
use crate::recording::event::{Body, Event, SessionFacts, Source};

/// Streams followed at once; one that is opened after that takes the place of the oldest.
const MOST_STREAMS: usize = 1024;

/// How keys are marked.
const TYPED: &str = "typed";

/// Writes a transcript.
pub(super) struct Transcript {
    settings: Settings,
    exported: Exported,
    timeline: Timeline,
    widths: Widths,
    /// For each stream its lines, and when the last bytes came.
    streams: BTreeMap<(u32, &'static str), (Lines, u64)>,
}

impl Transcript {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            exported: Exported { channel: settings.channel, ..Exported::default() },
            timeline: Timeline::default(),
            widths: Widths::default(),
            streams: BTreeMap::new(),
        }
    }

    fn begin(&self, facts: &SessionFacts, to: &mut dyn Write) -> io::Result<()> {
        let masked = if self.settings.is_masked { ", secrets masked" } else { "" };
        let input = if self.settings.input { "" } else { ", without what was typed" };
        let SessionFacts { session, person_name, login, target, started, client, grant, reason, .. } = facts;
        let (client, reason) = (escape_text(client), escape_text(reason));
        writeln!(to, "# transcript of {session}: exported copy, not evidence{masked}{input}")?;
        writeln!(to, "# {person_name} as {login}@{target} from {client}, {started}, under {grant}: {reason}")
    }

    fn line(&mut self, at: u64, channel: u32, what: &str, text: &str, to: &mut dyn Write) -> io::Result<()> {
        self.exported.events = self.exported.events.saturating_add(1);
        let (hours, minutes) = (at / 3_600_000_000, at / 60_000_000 % 60);
        let (seconds, rest) = (at / 1_000_000 % 60, at / 1000 % 1000);
        writeln!(to, "{hours}:{minutes:02}:{seconds:02}.{rest:03}  {channel}  {what:<9}  {text}")
    }

    /// Follows a stream; what it completed is written, a command as one.
    fn follow(
        &mut self,
        event: &Event,
        what: &'static str,
        data: &[u8],
        to: &mut dyn Write,
    ) -> io::Result<()> {
        if self.streams.len() >= MOST_STREAMS && !self.streams.contains_key(&(event.channel, what)) {
            self.streams.pop_first();
        }
        let (lines, last) = self.streams.entry((event.channel, what)).or_default();
        *last = event.at;
        // Keys are on no screen.
        lines.set_width(self.widths.of(event.channel).filter(|_| what != TYPED));
        let mut complete = Vec::new();
        lines.feed(data, |line| complete.extend(text(line)));
        let mut entered = self.timeline.entries_of(event);
        for (text, beginning) in complete {
            let command = entered.iter().position(|entry| entry.text == beginning);
            let what = if command.is_some() { "command" } else { what };
            command.into_iter().for_each(|index| drop(entered.remove(index)));
            self.line(event.at, event.channel, what, &text, to)?;
        }
        for Entry { at, channel, text, .. } in entered {
            self.line(at, channel, "command", &text, to)?;
        }
        Ok(())
    }

    fn others(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        for Entry { at, channel, kind, text } in self.timeline.entries_of(event) {
            self.line(at, channel, word(kind), &text, to)?;
        }
        Ok(())
    }

    /// Writes the lines that nothing ended.
    fn close(&mut self, channel: Option<u32>, to: &mut dyn Write) -> io::Result<()> {
        let is_over = |(own, _): &(u32, &'static str)| channel.is_none_or(|closed| *own == closed);
        let over: Vec<_> = self.streams.keys().filter(|key| is_over(key)).copied().collect();
        for key in over {
            let Some((mut lines, at)) = self.streams.remove(&key) else { continue };
            let mut rest = Vec::new();
            lines.finish(|line| rest.extend(text(line)));
            for (text, _) in rest {
                self.line(at, key.0, key.1, &text, to)?;
            }
        }
        Ok(())
    }
}

impl Encoder for Transcript {
    fn take(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        if let Body::SessionStarted(facts) = &event.body {
            return self.begin(facts, to);
        }
        self.widths.observe(event);
        match event.body.data() {
            Some((Source::Input, data)) if self.settings.input => {
                return self.follow(event, TYPED, &typed(data), to);
            }
            Some((Source::Stderr, data)) => return self.follow(event, "stderr", data, to),
            Some((Source::Stdout, data)) => return self.follow(event, "output", data, to),
            Some((Source::Input, _)) | None => {}
        }
        if matches!(event.body, Body::SessionEnded { .. }) {
            self.close(None, to)?;
        } else if matches!(event.body, Body::ChannelClosed) {
            self.close(Some(event.channel), to)?;
        }
        self.others(event, to)
    }

    fn finish(&mut self, to: &mut dyn Write) -> io::Result<Exported> {
        self.close(None, to)?;
        Ok(self.exported)
    }
}

/// A complete line's text, escaped, and the beginning by which an entry knows it.
fn text(line: Line<'_>) -> Option<(String, String)> {
    line.is_complete.then(|| (escape_text(line.new_text()).into_owned(), shorten(line.text)))
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Command => "command",
        Kind::Denied => "denied",
        Kind::Ended => "ended",
        Kind::Exec => "exec",
        Kind::Exit => "exit",
        Kind::File => "file",
        Kind::Forward => "forward",
        Kind::Marker => "marker",
        Kind::Refused => "refused",
        Kind::Shell => "shell",
        Kind::Signal => "signal",
        Kind::Subsystem => "subsystem",
    }
}
