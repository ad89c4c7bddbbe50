//! The ways to read one line of terminal output, each with the bytes its characters came from.
//!
//! Without its control sequences; with what stands inside those that carry text; joined where a shell wrapped it at the
//! terminal's edge; and as line editing left it. A secret is starred out wherever any of them shows it. Sequences are
//! told apart more simply than in [`crate::playback::sanitise`]: what one reading takes for a sequence, another takes
//! for text, and too much starred out is no leak.

use std::ops::Range;

use unicode_width::UnicodeWidthChar as _;

use crate::playback::cells::{Cell, Cells};

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

/// All readings of a line that are not the same; `width` is that of the terminal it is on.
pub(super) fn readings(line: &[u8], width: Option<u32>) -> Vec<Reading> {
    let (mut raw, mut shown, mut joined) = (Reading::default(), Reading::default(), Reading::default());
    let mut edited = Edited::new(line, width);
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

/// A line under editing: moves and erasures within it, over the rows it takes on the terminal.
struct Edited<'a> {
    line: &'a [u8],
    cells: Cells<Glyph>,
    /// Where the bytes of the character being read began.
    character: Option<Range<usize>>,
}

/// What stands in a cell: the bytes of one character.
#[derive(Debug, Clone, Default)]
enum Glyph {
    #[default]
    Blank,
    /// The second cell of a wide one.
    Wide,
    Bytes(Range<usize>),
}

impl Cell for Glyph {
    fn is_blank(&self) -> bool {
        matches!(self, Self::Blank)
    }
}

/// Cells that are followed.
const MOST_CELLS: usize = 16 << 10;

impl<'a> Edited<'a> {
    fn new(line: &'a [u8], width: Option<u32>) -> Self {
        let mut cells = Cells::new(MOST_CELLS);
        cells.set_width(width);
        Self { line, cells, character: None }
    }

    /// Takes the next byte of a text.
    fn put(&mut self, byte: u8, at: usize) {
        let end = at.saturating_add(1);
        match &mut self.character {
            Some(character) if (0x80..0xc0).contains(&byte) && character.end == at => character.end = end,
            _ => {
                self.write();
                self.character = Some(at..end);
            }
        }
    }

    /// Writes the character that was read.
    fn write(&mut self) {
        let Some(range) = self.character.take() else { return };
        let text = self.line.get(range.clone()).and_then(|bytes| str::from_utf8(bytes).ok());
        let columns = text.and_then(|text| text.chars().next()?.width()).unwrap_or(1);
        let is_wide = self.cells.has_edge() && columns == 2;
        if is_wide && self.cells.room() == 1 {
            self.cells.put(Glyph::Wide);
        }
        self.cells.put(Glyph::Bytes(range));
        if is_wide {
            self.cells.put(Glyph::Wide);
        }
    }

    fn control(&mut self, byte: u8) {
        self.write();
        match byte {
            b'\r' => self.cells.home(),
            // Backspace as a terminal shows it, and as a keyboard sends it.
            0x08 | 0x7f => self.cells.back(1),
            _ => {}
        }
    }

    fn obey(&mut self, sequence: &[u8]) {
        self.write();
        let Some((last, body)) = sequence.split_last() else { return };
        let digits: String =
            body.iter().filter(|byte| byte.is_ascii_digit()).map(|b| char::from(*b)).collect();
        let count = digits.parse::<usize>().unwrap_or(0);
        let distance = count.clamp(1, MOST_CELLS);
        match last {
            b'A' => drop(self.cells.up(distance)),
            b'B' => drop(self.cells.down(distance)),
            b'C' => self.cells.forward(distance),
            b'D' => self.cells.back(distance),
            b'G' => self.cells.go_to(distance.saturating_sub(1)),
            b'J' if count == 0 => self.cells.erase_after(),
            b'K' if count == 0 => self.cells.erase_row_after(),
            b'P' => self.cells.delete(distance),
            b'@' => self.cells.insert(distance),
            _ => {}
        }
    }

    fn reading(mut self) -> Reading {
        self.write();
        let mut reading = Reading::default();
        for cell in self.cells.as_slice() {
            match cell {
                Glyph::Blank => reading.push(b' ', usize::MAX),
                Glyph::Wide => {}
                Glyph::Bytes(range) => {
                    let bytes = self.line.get(range.clone()).unwrap_or_default();
                    bytes.iter().zip(range.clone()).for_each(|(byte, at)| reading.push(*byte, at));
                }
            }
        }
        reading
    }
}
