//! Events with their secrets starred out: each is held back until the lines it is part of are whole.
//!
//! Times, order and lengths stay as they are. What may wait is bounded in events and in bytes: a line that does not end is
//! looked through as far as it has come, and the end of what was looked through is looked at again with what follows,
//! so that a secret across that border is found unless it is longer than the overlap. Read `look.rs` next.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::look::{Key, look, star};
use super::patterns::Mask;
use super::texts::Texts;
use crate::playback::cells::Widths;
use crate::recording::event::{Body, Event, Source};

/// Bytes of a line that are held back.
const LONGEST_LINE: usize = 16 << 10;
/// Bytes of a longer line that are looked through again with what follows.
const OVERLAP: usize = 2 << 10;
/// Events that wait, whatever their lines do.
const MOST_WAITING: usize = 50_000;
/// Bytes that wait, whatever their lines do.
const MOST_HELD: usize = 32 << 20;
/// What an event costs besides its bytes.
const EVENT_COST: usize = 256;
/// Lines that a private key may have.
const LONGEST_KEY: usize = 400;
/// Lines that are followed at once; the one that was not written to for longest makes way.
const MOST_LINES: usize = 1024;

/// The events of a recording without its secrets.
pub struct Masked<'a, I> {
    events: I,
    mask: &'a Mask,
    waiting: VecDeque<Waiting>,
    /// The number of the first that waits.
    first: u64,
    /// What all that wait cost.
    held: usize,
    lines: BTreeMap<(u32, Source), Pending>,
    widths: Widths,
    count: u64,
}

struct Waiting {
    /// Without its bytes, while they may still change.
    event: Event,
    bytes: Vec<u8>,
    /// How many of them are not settled.
    open: usize,
    cost: usize,
}

/// The line being written in one stream.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Which events they came from.
    pieces: Vec<Piece>,
    /// How many at the beginning are settled, and only there to be read with what follows.
    settled: usize,
    /// Lines of a private key seen, while one is open.
    key: Option<usize>,
}

/// Bytes of a line that one event brought.
struct Piece {
    event: u64,
    place: usize,
    length: usize,
}

impl<'a, I, E> Masked<'a, I>
where
    I: Iterator<Item = Result<Event, E>>,
{
    /// The events without what `mask` finds.
    pub fn new(events: I, mask: &'a Mask) -> Self {
        let (waiting, lines) = (VecDeque::new(), BTreeMap::new());
        Self { events, mask, waiting, first: 0, held: 0, lines, widths: Widths::default(), count: 0 }
    }

    /// How many secrets were starred out so far.
    pub const fn found(&self) -> u64 {
        self.count
    }

    fn take(&mut self, mut event: Event) {
        self.widths.observe(&event);
        let number = self.first.saturating_add(u64::try_from(self.waiting.len()).unwrap_or(u64::MAX));
        let source = event.body.data().map(|(source, _)| source);
        let bytes = event.body.data_mut().map(std::mem::take).map(Vec::from).unwrap_or_default();
        let mut texts = Texts::new(self.mask);
        texts.star_out(&mut event.body);
        self.count = self.count.saturating_add(texts.found);
        let (channel, open) = (event.channel, bytes.len());
        let is_closing = matches!(event.body, Body::ChannelClosed);
        let cost = EVENT_COST.saturating_add(bytes.len()).saturating_add(texts.bytes);
        self.held = self.held.saturating_add(cost);
        let line = bytes.clone();
        self.waiting.push_back(Waiting { event, bytes, open, cost });
        if let Some(source) = source {
            self.follow((channel, source), number, &line);
        } else if is_closing {
            for source in [Source::Input, Source::Stderr, Source::Stdout] {
                self.end((channel, source));
            }
        }
    }

    /// Takes the next bytes of a stream.
    fn follow(&mut self, stream: (u32, Source), event: u64, bytes: &[u8]) {
        let mut pending = self.lines.remove(&stream).unwrap_or_default();
        for (place, byte) in bytes.iter().enumerate() {
            pending.push(*byte, event, place);
            let is_end = *byte == b'\n' || (stream.1 == Source::Input && *byte == b'\r');
            if is_end {
                self.settle(stream, &mut pending, 0, 0);
            } else if pending.bytes.len() >= LONGEST_LINE {
                self.settle(stream, &mut pending, OVERLAP, OVERLAP);
            }
        }
        if pending.bytes.is_empty() && pending.key.is_none() {
            return;
        }
        if self.lines.len() >= MOST_LINES {
            let last = |pending: &Pending| pending.pieces.last().map(|piece| piece.event);
            let oldest =
                self.lines.iter().min_by_key(|(_, pending)| last(pending)).map(|(stream, _)| *stream);
            oldest.into_iter().for_each(|stream| self.end(stream));
        }
        self.lines.insert(stream, pending);
    }

    /// Looks through a line. Of its end `kept` bytes are looked at again later, and `open` may still change by then.
    fn settle(&mut self, stream: (u32, Source), pending: &mut Pending, kept: usize, open: usize) {
        // Keys are on no screen.
        let width = self.widths.of(stream.0).filter(|_| stream.1 != Source::Input);
        let (secret, key) = look(self.mask, &pending.bytes, width, pending.key.is_some());
        let is_line = kept == open;
        pending.key = match key {
            Key::Begins => Some(1),
            Key::Closed => None,
            Key::GoesOn => pending.key.map(|lines| lines.saturating_add(usize::from(is_line))),
        };
        pending.key.take_if(|lines| *lines >= LONGEST_KEY);
        let settled = pending.bytes.len().saturating_sub(open);
        let mut was_secret = false;
        for (at, (is_secret, (number, place))) in secret.into_iter().zip(pending.origins()).enumerate() {
            let is_new = (pending.settled..settled).contains(&at);
            self.count = self.count.saturating_add(u64::from(is_new && is_secret && !was_secret));
            was_secret = is_secret;
            let waiting = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            let Some(waiting) = waiting.and_then(|index| self.waiting.get_mut(index)) else { continue };
            if is_secret {
                waiting.bytes.get_mut(place).into_iter().for_each(star);
            }
            waiting.open = waiting.open.saturating_sub(usize::from(is_new));
        }
        let gone = pending.bytes.len().saturating_sub(kept);
        pending.drop_first(gone);
        pending.settled = settled.saturating_sub(gone);
    }

    /// Settles a line as it is, and forgets it.
    fn end(&mut self, stream: (u32, Source)) {
        if let Some(mut pending) = self.lines.remove(&stream) {
            self.settle(stream, &mut pending, 0, 0);
        }
    }

    /// Settles the line for which the first event waits, and goes on reading it from there.
    fn let_go(&mut self) {
        let Some(front) = self.waiting.front() else { return };
        let source = front.event.body.data().map(|(source, _)| source);
        if let Some(stream) = source.map(|source| (front.event.channel, source))
            && let Some(mut pending) = self.lines.remove(&stream)
        {
            self.settle(stream, &mut pending, OVERLAP, 0);
            self.lines.insert(stream, pending);
        }
        if let Some(front) = self.waiting.front_mut() {
            front.open = 0;
        }
    }

    fn give(&mut self) -> Option<Event> {
        let Waiting { mut event, bytes, cost, .. } = self.waiting.pop_front()?;
        self.first = self.first.saturating_add(1);
        self.held = self.held.saturating_sub(cost);
        if let Some(data) = event.body.data_mut() {
            *data = Bytes::from(bytes);
        }
        Some(event)
    }
}

impl Pending {
    fn push(&mut self, byte: u8, event: u64, place: usize) {
        self.bytes.push(byte);
        match self.pieces.last_mut().filter(|last| last.event == event) {
            Some(last) => last.length = last.length.saturating_add(1),
            None => self.pieces.push(Piece { event, place, length: 1 }),
        }
    }

    /// For each byte the event it came from, and its place there.
    fn origins(&self) -> impl Iterator<Item = (u64, usize)> {
        self.pieces.iter().flat_map(|piece| {
            (piece.place..piece.place.saturating_add(piece.length)).map(|place| (piece.event, place))
        })
    }

    fn drop_first(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        let mut left = count;
        self.pieces.retain_mut(|piece| {
            let gone = left.min(piece.length);
            left = left.saturating_sub(gone);
            piece.place = piece.place.saturating_add(gone);
            piece.length = piece.length.saturating_sub(gone);
            piece.length > 0
        });
    }
}

impl<I, E> Iterator for Masked<'_, I>
where
    I: Iterator<Item = Result<Event, E>>,
{
    type Item = Result<Event, E>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.front().is_none_or(|waiting| waiting.open > 0) {
            if self.waiting.len() >= MOST_WAITING || self.held >= MOST_HELD {
                self.let_go();
                continue;
            }
            match self.events.next() {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => return Some(Err(error)),
                None if self.waiting.is_empty() => return None,
                None => self.let_go(),
            }
        }
        self.give().map(Ok)
    }
}
