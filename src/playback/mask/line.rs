//! The ways to read one line of terminal output, each with the bytes its characters came from.
//!
//! Without its control sequences; with what stands inside those that carry text; joined where a shell wrapped it at the
//! terminal's edge; and as line editing left it. A secret is starred out wherever any of them shows it. Sequences are
//! told apart more simply than in [`crate::playback::sanitise`]: what one reading takes for a sequence, another takes
//! for text, and too much starred out is no leak.

use std::ops::Range;

/// A reading: its bytes, and where each stood in the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) text: Vec<u8>,
    pub(super) from: Vec<usize>,
}

impl Reading {
    fn push(&mut self, byte: u8, at: usize) {
        self.text.push(byte);
        self.from.push(at);
    }

    /// Takes back a blank, if that is the last.
    fn join(&mut self) {
        if self.text.pop_if(|last| *last == b' ').is_some() {
            self.from.pop();
        }
    }
}

/// All readings of a line that are not the same.
pub(super) fn readings(line: &[u8]) -> Vec<Reading> {
    let (mut raw, mut shown, mut joined) = (Reading::default(), Reading::default(), Reading::default());
    let mut edited = Edited::default();
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        let at = line.len().saturating_sub(rest.len());
        let length = sequence(rest).max(1);
        let (whole, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        if length > 1 {
            edited.obey(whole);
        } else if *byte >= b' ' && *byte != 0x7f {
            shown.push(*byte, at);
            joined.push(*byte, at);
            edited.put(*byte, at);
        } else {
            // At the terminal's edge a shell writes a blank, which moves to the next row, and returns to its beginning.
            if *byte == b'\r' && after.first().is_some_and(|next| *next != b'\n') {
                joined.join();
            }
            edited.control(*byte);
        }
        // A title can hold a secret too. What only begins or ends a sequence must stay, or the rest would turn to text.
        let inside = if length == 1 { 0..1 } else { payload(whole) };
        for (n, byte) in whole.iter().enumerate().filter(|(n, _)| inside.contains(n)) {
            raw.push(*byte, at.saturating_add(n));
        }
        rest = if length > 1 { next } else { after };
    }
    let mut different = Vec::with_capacity(4);
    for reading in [raw, shown, joined, edited.reading()] {
        if !different.contains(&reading) {
            different.push(reading);
        }
    }
    different
}

/// How long the control sequence is that a line goes on with; 0 when there is none.
fn sequence(rest: &[u8]) -> usize {
    let (kind, begin) = match rest {
        [0x1b, kind, ..] => (*kind, 2),
        // The same controls as one character.
        [0xc2, c1 @ 0x80..=0x9f, ..] => (c1.wrapping_sub(0x40), 2),
        [0x1b] => return 1,
        _ => return 0,
    };
    let body = rest.get(begin..).unwrap_or_default();
    let until = |is_end: fn(&u8) -> bool| {
        body.iter().position(is_end).map_or(rest.len(), |end| end.saturating_add(begin).saturating_add(1))
    };
    match kind {
        b'[' => until(|byte| (b'@'..=b'~').contains(byte)),
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = body.iter().position(|byte| matches!(byte, 0x07 | 0x1b | 0x18 | 0x1a));
            let Some(end) = end.map(|end| end.saturating_add(begin)) else { return rest.len() };
            match rest.get(end..) {
                Some([0x1b, b'\\', ..]) => end.saturating_add(2),
                Some([0x1b, ..]) => end,
                _ => end.saturating_add(1),
            }
        }
        b' '..=b'/' => until(|byte| !(b' '..=b'/').contains(byte)),
        _ => begin,
    }
}

/// The text that a sequence carries, as a place inside it.
fn payload(sequence: &[u8]) -> Range<usize> {
    let carries = matches!(sequence, [0x1b, b']' | b'P' | b'X' | b'^' | b'_', ..])
        || matches!(sequence, [0xc2, 0x90 | 0x98 | 0x9d..=0x9f, ..]);
    let end = sequence.iter().rposition(|byte| *byte >= b' ' && *byte != b'\\');
    if carries { 2..end.map_or(2, |end| end.saturating_add(1)) } else { 0..0 }
}

/// A line under editing: moves and erasures within it.
#[derive(Debug, Default)]
struct Edited {
    cells: Vec<(u8, usize)>,
    column: usize,
}

/// Columns that are followed.
const WIDEST: usize = 16 << 10;

impl Edited {
    fn put(&mut self, byte: u8, at: usize) {
        if self.column >= WIDEST {
            return;
        }
        if self.cells.len() <= self.column {
            self.cells.resize(self.column.saturating_add(1), (b' ', usize::MAX));
        }
        if let Some(cell) = self.cells.get_mut(self.column) {
            *cell = (byte, at);
        }
        self.column = self.column.saturating_add(1);
    }

    const fn control(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            // Backspace as a terminal shows it, and as a keyboard sends it.
            0x08 | 0x7f => self.column = self.column.saturating_sub(1),
            _ => {}
        }
    }

    fn obey(&mut self, sequence: &[u8]) {
        let Some((last, body)) = sequence.split_last() else { return };
        let digits: String =
            body.iter().filter(|byte| byte.is_ascii_digit()).map(|b| char::from(*b)).collect();
        let count = digits.parse::<usize>().unwrap_or(0);
        let distance = count.clamp(1, WIDEST);
        match last {
            b'C' => self.column = self.column.saturating_add(distance).min(WIDEST),
            b'D' => self.column = self.column.saturating_sub(distance),
            b'G' => self.column = distance.saturating_sub(1),
            b'K' if count == 0 => self.cells.truncate(self.column),
            b'P' => {
                let from = self.column.min(self.cells.len());
                let to = from.saturating_add(distance).min(self.cells.len());
                self.cells.drain(from..to);
            }
            b'@' if self.cells.len() < WIDEST => {
                let at = self.column.min(self.cells.len());
                self.cells.splice(at..at, std::iter::repeat_n((b' ', usize::MAX), distance));
            }
            _ => {}
        }
    }

    fn reading(self) -> Reading {
        let (text, from) = self.cells.into_iter().unzip();
        Reading { text, from }
    }
}
