//! What happened in a recording, as a list to read and to jump in.
//!
//! For example, `alice` opens a shell on `web-1`, runs `systemctl stop app`, copies a file, is refused a forward, and
//! leaves: five entries with their times. Commands at a prompt are taken from what the target echoed after Enter, and
//! not from the keys, so that a password typed at a prompt is never in the list. Text in entries is escaped.
//!
//! Memory is bounded: after [`MOST_ENTRIES`] the rest is only counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::cells::Widths;
use super::lines::Lines;
use super::sanitise::escape_text;
use super::sieve::Sieve;
use crate::model::EndReason;
use crate::recording::event::{Body, Event, FileOperation, FileVerb, SessionFacts};

/// Entries that are kept.
pub const MOST_ENTRIES: usize = 100_000;
/// Channels that are followed.
const MOST_CHANNELS: usize = 4096;
/// Characters of an entry's text that are kept.
const LONGEST_TEXT: usize = 2000;

/// What happened, in order.
#[derive(Debug, Default, Serialize)]
pub struct Timeline {
    /// Who, where and under which grant.
    pub facts: Option<SessionFacts>,
    /// The channels, by number.
    pub channels: BTreeMap<u32, Channel>,
    /// What happened.
    pub entries: Vec<Entry>,
    /// Entries left out because there were too many.
    pub left_out: u64,
    /// Microseconds from the first event to the last.
    pub length: u64,
    /// Why the session ended, when the recording says so.
    pub ended: Option<EndReason>,
    #[serde(skip)]
    prompts: BTreeMap<u32, Prompt>,
    #[serde(skip)]
    widths: Widths,
    #[serde(skip)]
    sieve: Sieve,
}

/// A channel of the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// `session`, `direct-tcpip`.
    pub kind: String,
    /// Microseconds from the beginning to its opening.
    pub opened: u64,
    /// Whether it has a terminal.
    pub has_terminal: bool,
    /// What runs in it: the command, the subsystem, or `shell`.
    pub runs: Option<String>,
    /// Bytes from the client.
    pub input: u64,
    /// Bytes from the target.
    pub output: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Microseconds since the recording began.
    pub at: u64,
    /// The channel; 0 is the session itself.
    pub channel: u32,
    /// What kind of thing.
    pub kind: Kind,
    /// One line about it, escaped.
    pub text: String,
}

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line entered at a prompt, as the target echoed it.
    Command,
    /// Policy said no.
    Denied,
    /// The session ended.
    Ended,
    /// A command was started without a shell.
    Exec,
    /// A command or shell exited.
    Exit,
    /// A file was moved or changed.
    File,
    /// A forward was opened.
    Forward,
    /// Somebody or something left a mark.
    Marker,
    /// The gate refused something.
    Refused,
    /// A shell was started.
    Shell,
    /// A signal was sent.
    Signal,
    /// A subsystem was started.
    Subsystem,
}

/// Follows one shell's output to see what was entered.
#[derive(Debug, Default)]
struct Prompt {
    lines: Lines,
    /// When Enter was pressed without its line being complete yet.
    entered: Option<u64>,
}

impl Timeline {
    /// Reads all events.
    ///
    /// # Errors
    /// The first error of the recording.
    pub fn read<E>(events: impl IntoIterator<Item = Result<Event, E>>) -> Result<Self, E> {
        let mut timeline = Self::default();
        for event in events {
            timeline.observe(&event?);
        }
        Ok(timeline)
    }

    /// Takes the next event.
    pub fn observe(&mut self, event: &Event) {
        self.length = self.length.max(event.at);
        self.observe_channel(event);
        self.widths.observe(event);
        match &event.body {
            Body::SessionStarted(facts) => self.facts = Some(facts.clone()),
            Body::Input { data } => self.observe_input(event, data),
            Body::Output { data, .. } => self.observe_output(event, data),
            Body::SessionEnded { reason } => self.ended = Some(*reason),
            Body::ChannelOpened { .. }
            | Body::Terminal { .. }
            | Body::Environment { .. }
            | Body::Shell
            | Body::Exec { .. }
            | Body::Subsystem { .. }
            | Body::Forward { .. }
            | Body::Resize { .. }
            | Body::Signal { .. }
            | Body::Closed { .. }
            | Body::Exit { .. }
            | Body::ExitSignal { .. }
            | Body::File(_)
            | Body::Refused { .. }
            | Body::Decision { .. }
            | Body::Marker { .. }
            | Body::ChannelClosed => {}
        }
        if let Some((kind, text)) = told(&event.body) {
            self.add(event.at, event.channel, kind, &text);
        }
    }

    /// Takes the next event, and gives the entries that came of it away.
    pub fn entries_of(&mut self, event: &Event) -> Vec<Entry> {
        self.observe(event);
        std::mem::take(&mut self.entries)
    }

    fn observe_channel(&mut self, event: &Event) {
        if event.channel == 0 {
            return;
        }
        if self.channels.len() >= MOST_CHANNELS && !self.channels.contains_key(&event.channel) {
            return;
        }
        let channel = self
            .channels
            .entry(event.channel)
            .or_insert_with(|| Channel { opened: event.at, ..Channel::default() });
        match &event.body {
            Body::ChannelOpened { kind } => channel.kind = shorten(kind),
            Body::Terminal { .. } => channel.has_terminal = true,
            Body::Shell => channel.runs = Some("shell".to_owned()),
            Body::Exec { command } => channel.runs = Some(shorten(&String::from_utf8_lossy(command))),
            Body::Subsystem { name } => channel.runs = Some(shorten(name)),
            Body::Input { data } => channel.input = channel.input.saturating_add(length(data)),
            Body::Output { data, .. } => channel.output = channel.output.saturating_add(length(data)),
            Body::SessionStarted(_)
            | Body::Environment { .. }
            | Body::Forward { .. }
            | Body::Resize { .. }
            | Body::Signal { .. }
            | Body::Closed { .. }
            | Body::Exit { .. }
            | Body::ExitSignal { .. }
            | Body::File(_)
            | Body::Refused { .. }
            | Body::Decision { .. }
            | Body::Marker { .. }
            | Body::ChannelClosed
            | Body::SessionEnded { .. } => {}
        }
    }

    fn observe_input(&mut self, event: &Event, data: &[u8]) {
        let has_enter = data.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        let has_terminal = self.channels.get(&event.channel).is_some_and(|channel| channel.has_terminal);
        if has_enter && has_terminal {
            let prompt = self.prompts.entry(event.channel).or_default();
            if !prompt.lines.is_full_screen() {
                prompt.entered.get_or_insert(event.at);
            }
        }
    }

    fn observe_output(&mut self, event: &Event, data: &[u8]) {
        if !self.channels.get(&event.channel).is_some_and(|channel| channel.has_terminal) {
            return;
        }
        let prompt = self.prompts.entry(event.channel).or_default();
        let mut command = None;
        let Prompt { lines, entered } = prompt;
        lines.set_width(self.widths.of(event.channel));
        if entered.is_none() {
            // Where nothing was entered, only what a line is in the middle of matters.
            return self.sieve.feed(lines, data, |_| {});
        }
        lines.feed(data, |line| {
            if line.is_complete
                && let Some(at) = entered.take()
            {
                command = Some((at, line.text.to_owned()));
            }
        });
        if let Some((at, text)) = command {
            self.add(at, event.channel, Kind::Command, &text);
        }
    }

    fn add(&mut self, at: u64, channel: u32, kind: Kind, text: &str) {
        if self.entries.len() >= MOST_ENTRIES {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.entries.push(Entry { at, channel, kind, text: shorten(text) });
    }
}

/// What an event tells by itself: its kind of entry and its whole text, neither escaped nor shortened.
pub(super) fn told(body: &Body) -> Option<(Kind, Cow<'_, str>)> {
    Some(match body {
        Body::Shell => (Kind::Shell, "shell".into()),
        Body::Exec { command } => (Kind::Exec, String::from_utf8_lossy(command)),
        Body::Subsystem { name } => (Kind::Subsystem, name.into()),
        Body::Forward { host, port, origin } => (Kind::Forward, format!("{host}:{port} for {origin}").into()),
        Body::Signal { name } => (Kind::Signal, name.into()),
        Body::Exit { status } => (Kind::Exit, format!("status {status}").into()),
        Body::ExitSignal { name, message, .. } => {
            (Kind::Exit, format!("signal {name} {message}").trim_end().to_owned().into())
        }
        Body::File(operation) => (Kind::File, describe(operation).into()),
        Body::Refused { what, why } => (Kind::Refused, format!("{what}: {why}").into()),
        Body::Decision { action, allowed: false, why } => (Kind::Denied, format!("{action}: {why}").into()),
        Body::Marker { label } => (Kind::Marker, label.into()),
        Body::SessionEnded { reason } => (Kind::Ended, reason.sentence().into()),
        Body::SessionStarted(_)
        | Body::ChannelOpened { .. }
        | Body::Terminal { .. }
        | Body::Environment { .. }
        | Body::Input { .. }
        | Body::Output { .. }
        | Body::Resize { .. }
        | Body::Closed { .. }
        | Body::Decision { allowed: true, .. }
        | Body::ChannelClosed => return None,
    })
}

fn describe(file: &FileOperation) -> String {
    let verb = match file.operation {
        FileVerb::Copy => "copy",
        FileVerb::Download => "download",
        FileVerb::Extension => "use extension",
        FileVerb::Link => "link",
        FileVerb::List => "list",
        FileVerb::MakeDirectory => "make directory",
        FileVerb::Remove => "remove",
        FileVerb::RemoveDirectory => "remove directory",
        FileVerb::Rename => "rename",
        FileVerb::SetAttributes => "set attributes",
        FileVerb::Upload => "upload",
    };
    let other = file.other_path.as_ref().map_or_else(String::new, |path| format!(" to {path}"));
    let size = file.bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
    let hash = file.sha256.as_ref().map_or_else(String::new, |hash| format!(", sha256 {hash}"));
    format!("{verb} {}{other}{size}{hash}, {}", file.path, file.outcome)
}

/// The beginning of a text, escaped, as an entry has it.
pub(super) fn shorten(text: &str) -> String {
    // Every character escapes to at least one, so this many of the original are enough.
    let beginning: String = text.chars().take(LONGEST_TEXT.saturating_add(1)).collect();
    let escaped = escape_text(&beginning);
    if escaped.chars().count() <= LONGEST_TEXT {
        return escaped.into_owned();
    }
    escaped.chars().take(LONGEST_TEXT).chain(['…']).collect()
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::recording::event::Stream;

    fn event(at: u64, channel: u32, body: Body) -> Result<Event, ()> {
        Ok(Event { at, channel, body })
    }

    fn output(text: &'static str) -> Body {
        Body::Output { stream: Stream::Stdout, data: Bytes::from_static(text.as_bytes()) }
    }

    fn input(text: &'static str) -> Body {
        Body::Input { data: Bytes::from_static(text.as_bytes()) }
    }

    fn shell() -> Vec<Result<Event, ()>> {
        vec![
            event(1, 1, Body::ChannelOpened { kind: "session".to_owned() }),
            event(
                2,
                1,
                Body::Terminal { columns: 80, rows: 24, term: "xterm".to_owned(), modes: Vec::new() },
            ),
            event(3, 1, Body::Shell),
            event(4, 1, output("$ ")),
        ]
    }

    #[test]
    fn a_command_is_what_the_target_echoed() {
        let mut events = shell();
        events.extend([
            event(5, 1, input("l")),
            event(6, 1, output("l")),
            event(7, 1, input("s\r")),
            event(8, 1, output("s\r\nfile\r\n$ ")),
        ]);
        let timeline = Timeline::read(events).unwrap();
        let commands: Vec<_> = timeline.entries.iter().filter(|e| e.kind == Kind::Command).collect();
        assert_eq!(commands.len(), 1);
        assert_eq!((commands[0].at, commands[0].text.as_str()), (7, "$ ls"));
        assert_eq!(timeline.channels[&1].input, 3);
    }

    #[test]
    fn a_password_that_is_not_echoed_is_not_in_the_list() {
        let mut events = shell();
        events.extend([
            event(5, 1, output("[sudo] password for bob: ")),
            event(6, 1, input("hunter2\r")),
            event(7, 1, output("\r\nok\r\n")),
        ]);
        let timeline = Timeline::read(events).unwrap();
        assert!(timeline.entries.iter().any(|e| e.text.contains("password for bob")));
        assert!(!format!("{timeline:?}").contains("hunter2"));
    }

    #[test]
    fn text_from_outside_is_escaped_and_shortened() {
        let hostile = format!("x\u{1b}]0;t\u{7}\u{202e}{}", "y".repeat(10_000));
        let timeline = Timeline::read([event(1, 0, Body::Marker { label: hostile })]).unwrap();
        let text = &timeline.entries[0].text;
        assert!(text.starts_with("x\\u{1b}]0;t\\u{7}\\u{202e}yyy"), "{text}");
        assert_eq!(text.chars().count(), LONGEST_TEXT + 1);
    }

    #[test]
    fn entries_are_bounded() {
        let many =
            (0..MOST_ENTRIES as u64 + 5).map(|at| event(at, 1, Body::Signal { name: "INT".to_owned() }));
        let timeline = Timeline::read(many).unwrap();
        assert_eq!((timeline.entries.len(), timeline.left_out), (MOST_ENTRIES, 5));
    }
}
