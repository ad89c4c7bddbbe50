//! Finding text in a recording: what was printed, what was typed, commands, file names, markers.
//!
//! Output is searched as a person read it: sequences removed, line editing applied, across chunk borders (see
//! [`super::lines`]); text that was written over is found too. Lines that cannot hold the text are passed over by
//! `sieve.rs`. Events are taken one at a time and nothing but the
//! current lines is kept, so any recording can be searched.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cells::Widths;
use super::lines::{Line, Lines};
use super::sanitise::escape_text;
use super::sieve::Sieve;
use super::timeline::told;
use crate::recording::event::{Body, Event, Source};

/// Characters a search text may have.
pub const LONGEST_NEEDLE: usize = 256;
/// Streams followed at once; a recording with more open channels forgets the oldest.
const MOST_STREAMS: usize = 1024;
/// Characters of context shown on either side of what was found.
const CONTEXT: usize = 60;

/// A search through one recording.
#[derive(Debug)]
pub struct Search {
    needle: String,
    ignore_case: bool,
    sieve: Sieve,
    streams: BTreeMap<(u32, Place), Followed>,
    widths: Widths,
}

/// Text that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Microseconds since the recording began.
    pub at: u64,
    /// The channel; 0 is the session itself.
    pub channel: u32,
    /// Where it stood.
    pub place: Place,
    /// Which line of that stream, from 1; 0 for what has no lines.
    pub line: u64,
    /// The text around it, escaped.
    pub text: String,
}

/// Where text can stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Standard error.
    Error,
    /// Something that happened: a command, a file, a forward, a refusal, a marker.
    Event,
    /// What the client sent.
    Input,
    /// Standard output.
    Output,
}

/// A search text that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("search for one line of 1 to {LONGEST_NEEDLE} characters")]
pub struct NeedleError;

#[derive(Debug, Default)]
struct Followed {
    lines: Lines,
    /// The line in which something was already found.
    found_in: Option<u64>,
    /// When the line being written began to be written.
    last_change: u64,
}

impl Search {
    /// A search for `needle`.
    ///
    /// # Errors
    /// When it is empty, too long, or more than one line.
    pub fn new(needle: &str, ignore_case: bool) -> Result<Self, NeedleError> {
        let length = needle.chars().count();
        if length == 0 || length > LONGEST_NEEDLE || needle.chars().any(char::is_control) {
            return Err(NeedleError);
        }
        let needle = if ignore_case { needle.to_lowercase() } else { needle.to_owned() };
        let sieve = Sieve::new(&needle, ignore_case);
        Ok(Self { needle, ignore_case, sieve, streams: BTreeMap::new(), widths: Widths::default() })
    }

    /// Takes the next event and returns what became known to hold the text.
    pub fn observe(&mut self, event: &Event) -> Vec<Found> {
        self.widths.observe(event);
        match event.body.data() {
            Some((Source::Input, data)) => self.observe_bytes(event, Place::Input, &typed(data)),
            Some((Source::Stderr, data)) => self.observe_bytes(event, Place::Error, data),
            Some((Source::Stdout, data)) => self.observe_bytes(event, Place::Output, data),
            None if matches!(event.body, Body::ChannelClosed) => self.close(event.channel),
            None => self.observe_other(event).into_iter().collect(),
        }
    }

    /// Searches the lines that nothing ended.
    pub fn finish(&mut self) -> Vec<Found> {
        let channels: Vec<u32> = self.streams.keys().map(|(channel, _)| *channel).collect();
        channels.into_iter().flat_map(|channel| self.close(channel)).collect()
    }

    fn observe_bytes(&mut self, event: &Event, place: Place, data: &[u8]) -> Vec<Found> {
        if self.streams.len() >= MOST_STREAMS && !self.streams.contains_key(&(event.channel, place)) {
            self.streams.pop_first();
        }
        let Self { needle, ignore_case, sieve, streams, widths } = self;
        let followed = streams.entry((event.channel, place)).or_default();
        followed.last_change = event.at;
        let mut found = Vec::new();
        let Followed { lines, found_in, .. } = followed;
        // Keys are on no screen.
        lines.set_width(widths.of(event.channel).filter(|_| place != Place::Input));
        sieve.feed(lines, data, |line| {
            let hit = look(needle, *ignore_case, line, found_in);
            found.extend(hit.map(|text| Found {
                at: event.at,
                channel: event.channel,
                place,
                line: line.number,
                text,
            }));
        });
        found
    }

    /// Looks into what an event of another kind tells.
    fn observe_other(&self, event: &Event) -> Option<Found> {
        let (_, told) = told(&event.body)?;
        let text = cut_out(&self.needle, self.ignore_case, &told)?;
        Some(Found { at: event.at, channel: event.channel, place: Place::Event, line: 0, text })
    }

    fn close(&mut self, channel: u32) -> Vec<Found> {
        let mut found = Vec::new();
        for place in [Place::Error, Place::Input, Place::Output] {
            let Some(mut followed) = self.streams.remove(&(channel, place)) else { continue };
            let (at, mut found_in) = (followed.last_change, followed.found_in);
            followed.lines.finish(|line| {
                let hit = look(&self.needle, self.ignore_case, line, &mut found_in);
                found.extend(hit.map(|text| Found { at, channel, place, line: line.number, text }));
            });
        }
        found
    }
}

/// Searches all events at once, for callers that want a list; `most` bounds it.
///
/// # Errors
/// The first error of the recording.
pub fn find_all<E>(
    mut search: Search,
    events: impl IntoIterator<Item = Result<Event, E>>,
    most: usize,
) -> Result<Vec<Found>, E> {
    let mut found = Vec::new();
    for event in events {
        found.extend(search.observe(&event?));
        if found.len() >= most {
            found.truncate(most);
            return Ok(found);
        }
    }
    found.extend(search.finish());
    found.truncate(most);
    Ok(found)
}

/// What was found in a line, once for each line.
fn look(needle: &str, ignore_case: bool, line: Line<'_>, found_in: &mut Option<u64>) -> Option<String> {
    if *found_in == Some(line.number) {
        return None;
    }
    let text = cut_out(needle, ignore_case, line.text)?;
    *found_in = Some(line.number);
    Some(text)
}

/// The needle's surroundings in `text`, escaped.
fn cut_out(needle: &str, ignore_case: bool, text: &str) -> Option<String> {
    let before = if ignore_case {
        let lower = text.to_lowercase();
        // Lower case may have another length, so this is a place nearby, which is all that context needs.
        let end = lower.find(needle)?;
        lower.get(..end)?.chars().count()
    } else {
        text.get(..text.find(needle)?)?.chars().count()
    };
    let skipped = before.saturating_sub(CONTEXT);
    let shown = CONTEXT.saturating_mul(2).saturating_add(needle.chars().count());
    let around: String = text.chars().skip(skipped).take(shown).collect();
    let start = if skipped > 0 { "…" } else { "" };
    let end = if text.chars().nth(skipped.saturating_add(shown)).is_some() { "…" } else { "" };
    Some(format!("{start}{}{end}", escape_text(&around)))
}

/// Keys as text: Enter ends a line, Delete takes a character back.
pub(super) fn typed(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len());
    for byte in data {
        match byte {
            b'\r' => text.push(b'\n'),
            b'\x7f' | b'\x08' => text.extend_from_slice(b"\x08\x1b[P"),
            _ => text.push(*byte),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::recording::event::Stream;

    fn output(at: u64, data: &str) -> Result<Event, ()> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        Ok(Event { at, channel: 1, body: Body::Output { stream: Stream::Stdout, data } })
    }

    fn find(needle: &str, ignore_case: bool, events: Vec<Result<Event, ()>>) -> Vec<Found> {
        find_all(Search::new(needle, ignore_case).unwrap(), events, 100).unwrap()
    }

    #[test]
    fn text_is_found_across_chunks_and_through_colours() {
        let events = vec![
            output(1, "first line\r\nthe pass\x1b[1"),
            output(2, ";31mwo"),
            output(3, "rd is\x1b[0m x\r\n"),
            output(4, "no\r\n"),
        ];
        let found = find("password", false, events);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].at, found[0].channel, found[0].line), (3, 1, 2));
        assert_eq!(found[0].text, "the password is x");
    }

    #[test]
    fn a_line_is_reported_once_and_what_was_written_over_is_found() {
        let found =
            find("secret", false, vec![output(1, "secret\rsecret\rpublic\r\n"), output(2, "a secret")]);
        let lines: Vec<_> = found.iter().map(|hit| (hit.line, hit.text.as_str())).collect();
        assert_eq!(lines, [(1, "secret"), (2, "a secret")]);
    }

    #[test]
    fn keys_commands_and_files_are_found() {
        let keys = Bytes::from_static(b"drip\x7f\x7fop table x\r");
        let command = Bytes::from_static(b"psql -c 'DROP TABLE y'");
        let events = vec![
            Ok(Event { at: 5, channel: 2, body: Body::Input { data: keys } }),
            Ok(Event { at: 6, channel: 3, body: Body::Exec { command } }),
        ];
        let found = find("Drop Table", true, events);
        let places: Vec<_> = found.iter().map(|hit| (hit.at, hit.place, hit.text.as_str())).collect();
        assert_eq!(places, [(5, Place::Input, "drop table x"), (6, Place::Event, "psql -c 'DROP TABLE y'")]);
    }

    #[test]
    fn a_long_command_is_searched_to_its_end() {
        let command = Bytes::from("x".repeat(9000) + "\nneedle\x1b");
        let events = vec![Ok(Event { at: 6, channel: 3, body: Body::Exec { command } })];
        let found = find("needle", false, events);
        assert!(found[0].text.ends_with("\\nneedle\\u{1b}"), "{found:?}");
    }

    #[test]
    fn what_wraps_at_the_terminals_edge_is_found() {
        let terminal = Body::Terminal { columns: 20, rows: 5, term: "xterm".to_owned(), modes: Vec::new() };
        let opened = Ok(Event { at: 0, channel: 1, body: terminal });
        let text = "$ mysql --user a pas \rsword x\r\n";
        let found = find("password", false, vec![opened, output(1, text)]);
        assert_eq!(found[0].text, "$ mysql --user a password x");
    }

    #[test]
    fn context_is_cut_and_escaped() {
        let text = format!("{}NEEDLE\u{202e}{}\r\n", "a".repeat(500), "b".repeat(500));
        let found = find("NEEDLE", false, vec![output(1, &text)]);
        assert!(found[0].text.starts_with("…aaa") && found[0].text.ends_with("bbb…"), "{found:?}");
        assert!(found[0].text.len() < 200 && !found[0].text.contains('\u{202e}'));
    }

    #[test]
    fn a_needle_is_one_short_line() {
        for bad in ["", "a\nb", &"x".repeat(LONGEST_NEEDLE + 1)] {
            assert_eq!(Search::new(bad, false).err(), Some(NeedleError));
        }
    }
}
