//! asciicast, versions 2 and 3: the format of asciinema, its web player, and much else.
//!
//! Version 2 has times since the beginning, version 3 since the event before, in milliseconds, with the rounding
//! carried on. Data must be UTF-8: a sequence cut between two events waits for its rest, a bad one becomes U+FFFD.
//! Players write the data straight to a terminal, so it is sanitised unless the caller insists, and the title says
//! that a copy proves nothing. Output of a channel without a terminal gets CR before LF, as a terminal would have done.

use std::io::{self, Write};

use ::asciicast::{Entry, EventType, Header};
use serde_json::json;

use super::write::{Encoder, Exported, Settings};
use crate::playback::sanitise::{Sanitiser, escape_text};
use crate::playback::screen::{DEFAULT_SIZE, bounded};
use crate::playback::utf8::Utf8;
use crate::recording::event::{Body, Event, SessionFacts};

/// Characters of a marker's label that are kept.
const LONGEST_LABEL: usize = 500;

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The one every player takes.
    Two,
    /// asciinema 3 and later.
    Three,
}

/// Writes one channel.
pub(super) struct Asciicast {
    version: Version,
    settings: Settings,
    exported: Exported,
    facts: Option<SessionFacts>,
    /// Size and type of the terminal, once it was asked for.
    terminal: Option<(u32, u32, String)>,
    is_begun: bool,
    /// Milliseconds that version 3 has counted up to.
    counted: u64,
    last: u64,
    output: Text,
    input: Utf8,
    after_cr: bool,
}

/// How output bytes become text.
enum Text {
    Safe(Box<Sanitiser>),
    Verbatim(Utf8),
}

impl Asciicast {
    pub(super) fn new(version: Version, settings: Settings) -> Self {
        let output = if settings.unsanitised {
            Text::Verbatim(Utf8::default())
        } else {
            Text::Safe(Box::new(Sanitiser::new()))
        };
        Self {
            version,
            settings,
            exported: Exported { channel: settings.channel, ..Exported::default() },
            facts: None,
            terminal: None,
            is_begun: false,
            counted: 0,
            last: 0,
            output,
            input: Utf8::default(),
            after_cr: false,
        }
    }

    /// Writes the header, when it was not written: the terminal's size must be known by then.
    fn begin(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if self.is_begun {
            return Ok(());
        }
        self.is_begun = true;
        let default = (DEFAULT_SIZE.0, DEFAULT_SIZE.1, "xterm-256color".to_owned());
        let (columns, rows, term) = self.terminal.clone().unwrap_or(default);
        let started = self.facts.as_ref().map_or(0, |facts| facts.started.as_second());
        let title = escape_text(&self.title()).into_owned();
        let term = escape_text(&term).into_owned();
        match self.version {
            Version::Two => {
                let header: Header = serde_json::from_value(json!({
                    "version": 2, "width": columns, "height": rows, "timestamp": started,
                    "title": title, "env": { "TERM": term },
                }))?;
                write_line(&header, to)
            }
            Version::Three => write_line(
                &json!({
                    "version": 3, "term": { "cols": columns, "rows": rows, "type": term },
                    "timestamp": started, "title": title,
                }),
                to,
            ),
        }
    }

    fn title(&self) -> String {
        let what = self.facts.as_ref().map_or_else(
            || "a session".to_owned(),
            |facts| format!("{}@{} by {}, {}", facts.login, facts.target, facts.person_name, facts.session),
        );
        let masked = if self.settings.is_masked { ", secrets masked" } else { "" };
        format!("{what} (exported copy, not evidence{masked})")
    }

    fn write(&mut self, at: u64, code: &str, data: &str, to: &mut dyn Write) -> io::Result<()> {
        self.begin(to)?;
        self.last = self.last.max(at);
        self.exported.events = self.exported.events.saturating_add(1);
        match (self.version, code) {
            (Version::Two, "o") => write_line(&entry(at, EventType::Output, data), to),
            (Version::Two, "i") => write_line(&entry(at, EventType::Input, data), to),
            (Version::Two, _) => write_line(&json!([seconds(at), code, data]), to),
            (Version::Three, _) => {
                let now = at / 1000;
                let passed = now.saturating_sub(self.counted);
                self.counted = self.counted.max(now);
                write_line(&json!([seconds(passed.saturating_mul(1000)), code, data]), to)
            }
        }
    }

    fn write_output(&mut self, at: u64, data: &[u8], to: &mut dyn Write) -> io::Result<()> {
        let text = match &mut self.output {
            Text::Safe(sanitiser) => sanitiser.feed(data),
            Text::Verbatim(utf8) => {
                let mut text = String::new();
                utf8.feed(data, &mut text);
                text
            }
        };
        self.write_text(at, text, to)
    }

    fn write_text(&mut self, at: u64, text: String, to: &mut dyn Write) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let text = if self.terminal.is_some() { text } else { self.with_returns(&text) };
        self.write(at, "o", &text, to)
    }

    fn with_returns(&mut self, text: &str) -> String {
        let mut returned = String::with_capacity(text.len());
        for c in text.chars() {
            if c == '\n' && !self.after_cr {
                returned.push('\r');
            }
            self.after_cr = c == '\r';
            returned.push(c);
        }
        returned
    }

    /// Whether an event is of the channel exported; the first that could be shown decides, when nobody chose.
    fn is_ours(&mut self, event: &Event) -> bool {
        if self.exported.channel.is_none()
            && matches!(event.body, Body::Terminal { .. } | Body::Output { .. })
        {
            self.exported.channel = Some(event.channel);
        }
        self.exported.channel == Some(event.channel)
    }
}

impl Encoder for Asciicast {
    fn take(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        if let Body::SessionStarted(facts) = &event.body {
            self.facts = Some(facts.clone());
        }
        let is_ours = self.is_ours(event);
        match &event.body {
            Body::Terminal { columns, rows, term, .. } if is_ours && !self.is_begun => {
                self.terminal = Some((bounded(*columns), bounded(*rows), term.chars().take(64).collect()));
                Ok(())
            }
            Body::Output { data, .. } if is_ours => self.write_output(event.at, data, to),
            Body::Input { data } if is_ours && self.settings.input => {
                let mut text = String::new();
                self.input.feed(data, &mut text);
                if text.is_empty() { Ok(()) } else { self.write(event.at, "i", &text, to) }
            }
            Body::Terminal { columns, rows, .. } | Body::Resize { columns, rows } if is_ours => {
                let size = format!("{}x{}", bounded(*columns), bounded(*rows));
                self.write(event.at, "r", &size, to)
            }
            Body::Marker { label } if self.is_begun && (is_ours || event.channel == 0) => {
                let label: String = label.chars().take(LONGEST_LABEL).collect();
                self.write(event.at, "m", &escape_text(&label), to)
            }
            Body::Exit { status } if is_ours && self.version == Version::Three => {
                self.write(event.at, "x", &status.to_string(), to)
            }
            Body::SessionStarted(_)
            | Body::ChannelOpened { .. }
            | Body::Terminal { .. }
            | Body::Environment { .. }
            | Body::Shell
            | Body::Exec { .. }
            | Body::Subsystem { .. }
            | Body::Forward { .. }
            | Body::Input { .. }
            | Body::Output { .. }
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
            | Body::SessionEnded { .. } => Ok(()),
        }
    }

    fn finish(&mut self, to: &mut dyn Write) -> io::Result<Exported> {
        let rest = match &mut self.output {
            Text::Safe(sanitiser) => sanitiser.finish(),
            Text::Verbatim(utf8) => {
                let mut text = String::new();
                utf8.finish(&mut text);
                text
            }
        };
        self.write_text(self.last, rest, to)?;
        if let Text::Safe(sanitiser) = &self.output {
            self.exported.dropped = sanitiser.dropped();
        }
        Ok(self.exported)
    }
}

fn entry(at: u64, event_type: EventType, data: &str) -> Entry {
    Entry { time: seconds(at), event_type, event_data: data.to_owned() }
}

/// Microseconds as seconds; exact for recordings of up to a century.
fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

fn write_line(value: &impl serde::Serialize, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}
