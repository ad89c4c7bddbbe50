//! Events with their secrets starred out: each is held back until the lines it is part of are whole.
//!
//! Times, order and lengths stay as they are. What may wait is bounded: a line that does not end is looked through in
//! pieces that overlap, so that a secret across their border is found unless it is longer than the overlap.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::line::readings;
use super::patterns::Mask;
use crate::recording::event::{Body, Event, Stream};

/// Bytes of a line that are held back.
const LONGEST_LINE: usize = 16 << 10;
/// Bytes of a longer line that are looked through again with what follows.
const OVERLAP: usize = 2 << 10;
/// Events that wait, whatever their lines do.
const MOST_WAITING: usize = 50_000;
/// Lines that a private key may have.
const LONGEST_KEY: usize = 400;

/// Which line of bytes an event is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Error,
    Input,
    Output,
}

/// The events of a recording without its secrets.
pub struct Masked<'a, I> {
    events: I,
    mask: &'a Mask,
    waiting: VecDeque<Waiting>,
    /// The number of the first that waits.
    first: u64,
    lines: BTreeMap<(u32, Kind), Pending>,
    count: u64,
}

struct Waiting {
    event: Event,
    /// Its bytes, while they may still change, and how many are not settled.
    bytes: Vec<u8>,
    open: usize,
}

/// The line being written in one stream.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// For each of its bytes, the event's number and the place in it.
    from: Vec<(u64, usize)>,
    /// Lines of a private key seen, while one is open.
    key: Option<usize>,
}

impl<'a, I, E> Masked<'a, I>
where
    I: Iterator<Item = Result<Event, E>>,
{
    /// The events without what `mask` finds.
    pub fn new(events: I, mask: &'a Mask) -> Self {
        Self { events, mask, waiting: VecDeque::new(), first: 0, lines: BTreeMap::new(), count: 0 }
    }

    /// How many secrets were starred out so far.
    pub const fn found(&self) -> u64 {
        self.count
    }

    fn take(&mut self, mut event: Event) {
        let number = self.first.saturating_add(u64::try_from(self.waiting.len()).unwrap_or(u64::MAX));
        let (kind, data) = if let Body::Output { stream: Stream::Stdout, data } = &event.body {
            (Kind::Output, data)
        } else if let Body::Output { stream: Stream::Stderr, data } = &event.body {
            (Kind::Error, data)
        } else if let Body::Input { data } = &event.body {
            (Kind::Input, data)
        } else {
            if let Some(masked) = self.other(&event.body) {
                event.body = masked;
            }
            if matches!(event.body, Body::ChannelClosed) {
                self.close(event.channel);
            }
            self.waiting.push_back(Waiting { event, bytes: Vec::new(), open: 0 });
            return;
        };
        let bytes = data.to_vec();
        let key = (event.channel, kind);
        self.waiting.push_back(Waiting { event, open: bytes.len(), bytes: bytes.clone() });
        let mut pending = self.lines.remove(&key).unwrap_or_default();
        for (place, byte) in bytes.into_iter().enumerate() {
            pending.bytes.push(byte);
            pending.from.push((number, place));
            let is_end = byte == b'\n' || (kind == Kind::Input && byte == b'\r');
            if is_end || pending.bytes.len() >= LONGEST_LINE {
                self.settle(&mut pending, if is_end { 0 } else { OVERLAP });
            }
        }
        self.lines.insert(key, pending);
    }

    /// Looks through a line, and lets all of it go but so many bytes at its end.
    fn settle(&mut self, pending: &mut Pending, keep: usize) {
        let secret = self.secret(pending);
        for (is_secret, (number, place)) in secret.iter().zip(&pending.from) {
            let waiting = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            let waiting = waiting.and_then(|index| self.waiting.get_mut(index));
            let byte = waiting.and_then(|waiting| waiting.bytes.get_mut(*place)).filter(|_| *is_secret);
            if let Some(byte) = byte.filter(|byte| !byte.is_ascii_control()) {
                *byte = b'*';
            }
        }
        let gone = pending.bytes.len().saturating_sub(keep);
        for (number, _) in pending.from.iter().take(gone) {
            let waiting = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(waiting) = waiting.and_then(|index| self.waiting.get_mut(index)) {
                waiting.open = waiting.open.saturating_sub(1);
            }
        }
        pending.bytes.drain(..gone);
        pending.from.drain(..gone);
    }

    /// Which bytes of a line are secret.
    fn secret(&mut self, pending: &mut Pending) -> Vec<bool> {
        let mut secret = vec![false; pending.bytes.len()];
        let (mut begins, mut ends) = (None, false);
        for reading in readings(&pending.bytes) {
            for range in self.mask.find(&reading.text) {
                for at in reading.from.get(range).unwrap_or_default() {
                    secret.get_mut(*at).into_iter().for_each(|byte| *byte = true);
                }
            }
            let begin = self.mask.key_begins(&reading.text).and_then(|at| reading.from.get(at)).copied();
            begins = begins.into_iter().chain(begin).min();
            ends |= self.mask.key_ends(&reading.text);
        }
        if pending.key.is_some() || begins.is_some() {
            let from = if pending.key.is_some() { 0 } else { begins.unwrap_or(0) };
            secret.iter_mut().skip(from).for_each(|byte| *byte = true);
            let lines = pending.key.unwrap_or(0).saturating_add(1);
            pending.key = (!ends && lines < LONGEST_KEY).then_some(lines);
        }
        let runs = secret.chunk_by(|one, next| one == next).filter(|run| run.first() == Some(&true)).count();
        self.count = self.count.saturating_add(u64::try_from(runs).unwrap_or(u64::MAX));
        secret
    }

    fn close(&mut self, channel: u32) {
        for kind in [Kind::Error, Kind::Input, Kind::Output] {
            if let Some(mut pending) = self.lines.remove(&(channel, kind)) {
                self.settle(&mut pending, 0);
            }
        }
    }

    /// Settles every line as it is.
    fn close_all(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        for (key, mut pending) in lines {
            self.settle(&mut pending, 0);
            // A private key that is open stays so.
            if pending.key.is_some() {
                self.lines.insert(key, pending);
            }
        }
    }

    /// Another event's texts, when something in them is secret.
    fn other(&mut self, body: &Body) -> Option<Body> {
        let before = self.count;
        let mut body = body.clone();
        match &mut body {
            Body::SessionStarted(facts) => self.text(&mut facts.reason),
            Body::Environment { name, value } => {
                let mut both = format!("{name}={value}");
                self.text(&mut both);
                if let Some((_, masked)) = both.split_once('=') {
                    *value = masked.to_owned();
                }
            }
            Body::Exec { command } => {
                let mut bytes = command.to_vec();
                self.bytes(&mut bytes);
                *command = Bytes::from(bytes);
            }
            Body::ExitSignal { message, .. } => self.text(message),
            Body::File(file) => {
                self.text(&mut file.path);
                file.other_path.iter_mut().for_each(|path| self.text(path));
            }
            Body::Refused { what, why } => {
                self.text(what);
                self.text(why);
            }
            Body::Decision { why, .. } => self.text(why),
            Body::Marker { label } => self.text(label),
            Body::ChannelOpened { .. }
            | Body::Terminal { .. }
            | Body::Shell
            | Body::Subsystem { .. }
            | Body::Forward { .. }
            | Body::Input { .. }
            | Body::Output { .. }
            | Body::Resize { .. }
            | Body::Signal { .. }
            | Body::Closed { .. }
            | Body::Exit { .. }
            | Body::ChannelClosed
            | Body::SessionEnded { .. } => {}
        }
        (self.count != before).then_some(body)
    }

    fn text(&mut self, text: &mut String) {
        let mut bytes = text.clone().into_bytes();
        self.bytes(&mut bytes);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }

    fn bytes(&mut self, bytes: &mut [u8]) {
        let mut pending = Pending { bytes: bytes.to_vec(), ..Pending::default() };
        let secret = self.secret(&mut pending);
        for (byte, _) in bytes.iter_mut().zip(secret).filter(|(byte, is_secret)| *is_secret && **byte >= b' ')
        {
            *byte = b'*';
        }
    }

    fn give(&mut self) -> Option<Event> {
        let Waiting { mut event, bytes, .. } = self.waiting.pop_front()?;
        self.first = self.first.saturating_add(1);
        if let Body::Output { data, .. } | Body::Input { data } = &mut event.body {
            *data = Bytes::from(bytes);
        }
        Some(event)
    }
}

impl<I, E> Iterator for Masked<'_, I>
where
    I: Iterator<Item = Result<Event, E>>,
{
    type Item = Result<Event, E>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.front().is_none_or(|waiting| waiting.open > 0) {
            if self.waiting.len() >= MOST_WAITING {
                self.close_all();
                continue;
            }
            match self.events.next() {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => return Some(Err(error)),
                None if self.waiting.is_empty() => return None,
                None => self.close_all(),
            }
        }
        self.give().map(Ok)
    }
}
