//! Terminal output as lines of text: what a person would have read, without drawing a whole screen.
//!
//! [`Lines`] follows one line at a time: text, carriage return, backspace, moves and erasures within the line, over all
//! rows that it takes on the terminal (`cells.rs`). That is enough for prompts, shells with line editing, and ordinary
//! command output. Programs that paint a whole screen give their pieces as separate lines. Used by search, transcripts
//! and the timeline; [`super::screen`] is the exact picture.

use unicode_width::UnicodeWidthChar as _;

use super::cells::{Cell, Cells};
use super::sanitise::Sanitiser;

/// Characters of one line that are kept; a longer line is given in pieces.
pub const LONGEST_LINE: usize = 8192;
/// Characters that the next piece of a long line repeats, so that text across the border is still found.
const OVERLAP: usize = 512;
/// Stands in the second cell of a wide character. No character of a line is a control character.
const WIDE: char = '\u{1}';

/// A line of text and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its text.
    pub text: &'a str,
    /// Which line of the stream, from 1.
    pub number: u64,
    /// Whether it is complete, and not about to be written over.
    pub is_complete: bool,
    /// Characters at its beginning that the piece before it, of the same line, had already.
    pub repeated: usize,
}

impl Line<'_> {
    /// What no piece before it had.
    #[must_use]
    pub fn new_text(&self) -> &str {
        let mut chars = self.text.chars();
        chars.by_ref().take(self.repeated).for_each(drop);
        chars.as_str()
    }
}

/// Renders one stream of bytes to lines.
#[derive(Debug, Clone)]
pub struct Lines {
    sanitiser: Sanitiser,
    line: Cells<char>,
    /// Cells at its beginning that a piece had already.
    repeated: usize,
    /// The escape sequence being read; the sanitiser only lets short ones through.
    sequence: Option<String>,
    number: u64,
    changed: bool,
    alternate: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            sanitiser: Sanitiser::new(),
            line: Cells::new(LONGEST_LINE),
            repeated: 0,
            sequence: None,
            number: 0,
            changed: false,
            alternate: false,
        }
    }
}

impl Cell for char {
    fn is_blank(&self) -> bool {
        matches!(self, '\0' | ' ')
    }
}

impl Lines {
    /// A renderer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how many columns the terminal has; without one, a line has no edge to be wrapped at.
    pub fn set_width(&mut self, columns: Option<u32>) {
        self.line.set_width(columns);
    }

    /// Takes the next bytes and hands every line that was completed, or written over, to `seen`.
    pub fn feed(&mut self, bytes: &[u8], mut seen: impl FnMut(Line<'_>)) {
        let text = self.sanitiser.feed(bytes);
        for c in text.chars() {
            self.take(c, &mut seen);
        }
    }

    /// Hands over the last line, which nothing ended.
    pub fn finish(&mut self, mut seen: impl FnMut(Line<'_>)) {
        let rest = self.sanitiser.finish();
        for c in rest.chars() {
            self.take(c, &mut seen);
        }
        self.end_line(&mut seen);
    }

    /// Whether a program has the alternate screen, as editors and pagers do.
    #[must_use]
    pub const fn is_full_screen(&self) -> bool {
        self.alternate
    }

    /// Whether nothing is pending: the next byte begins a line, and plain text means itself.
    pub(super) fn is_fresh(&self) -> bool {
        self.line.is_empty() && self.sequence.is_none() && !self.changed && self.sanitiser.is_plain()
    }

    /// Counts lines that somebody looked at elsewhere; only right while [`Self::is_fresh`].
    pub(super) const fn pass(&mut self, lines: u64) {
        self.number = self.number.saturating_add(lines);
    }

    fn take(&mut self, c: char, seen: &mut impl FnMut(Line<'_>)) {
        if let Some(mut sequence) = self.sequence.take() {
            sequence.push(c);
            let is_csi = sequence.starts_with('[');
            if is_csi && (sequence.len() == 1 || !matches!(c, '@'..='~')) {
                self.sequence = Some(sequence);
            } else {
                self.obey(&sequence, c, seen);
            }
            return;
        }
        match c {
            '\x1b' => self.sequence = Some(String::new()),
            // Line editing goes down to the rows of its line so.
            '\n' => {
                if !self.line.down(1) {
                    self.end_line(seen);
                }
            }
            '\r' => {
                self.show(false, seen);
                self.line.home();
            }
            '\x08' => self.line.back(1),
            '\t' => {
                for _ in 0..self.line.to_next_tab() {
                    self.put(' ', seen);
                }
            }
            _ => self.put(c, seen),
        }
    }

    fn put(&mut self, c: char, seen: &mut impl FnMut(Line<'_>)) {
        let is_wide = self.line.has_edge() && c > '~' && c.width() == Some(2);
        if is_wide && self.line.room() == 1 {
            self.put_cell(WIDE, seen);
        }
        self.put_cell(c, seen);
        if is_wide {
            self.put_cell(WIDE, seen);
        }
    }

    fn put_cell(&mut self, c: char, seen: &mut impl FnMut(Line<'_>)) {
        if self.line.is_at_limit() {
            self.show(true, seen);
            self.line.drop_all_but(OVERLAP);
            self.repeated = self.line.as_slice().len();
        }
        self.line.put(c);
        self.changed = true;
    }

    /// Does what an escape sequence (without its ESC) says, as far as one line is concerned.
    fn obey(&mut self, sequence: &str, last: char, seen: &mut impl FnMut(Line<'_>)) {
        let parameters = sequence.trim_start_matches('[').trim_end_matches(last);
        let count = parameters.parse::<usize>().unwrap_or(0);
        let distance = count.max(1);
        if !sequence.starts_with('[') {
            if matches!(last, 'D' | 'E' | 'M') {
                self.end_line(seen);
            }
            return;
        }
        match last {
            'A' if self.line.up(distance) => {}
            'B' if self.line.down(distance) => {}
            'C' | 'a' => self.line.forward(distance),
            'D' => self.line.back(distance),
            'G' | '`' => self.line.go_to(distance.saturating_sub(1)),
            'J' if count == 0 => {
                self.show_before_erasing(seen);
                self.line.erase_after();
            }
            'K' => self.erase(count, seen),
            'P' => {
                self.line.delete(distance);
                self.changed = true;
            }
            '@' => self.line.insert(distance),
            'b' => {
                let before = self.line.last().copied();
                for _ in 0..before.map_or(0, |_| distance) {
                    self.put(before.unwrap_or(' '), seen);
                }
            }
            // Colours, modes and saved cursors leave the line alone; every other sequence leaves the line.
            'h' | 'l' => self.switch_screen(parameters, last, seen),
            'm' | 's' | 'r' | 'p' => {}
            _ => self.end_line(seen),
        }
    }

    fn erase(&mut self, how: usize, seen: &mut impl FnMut(Line<'_>)) {
        match how {
            0 => {
                self.show_before_erasing(seen);
                self.line.erase_row_after();
            }
            1 => self.line.erase_row_before(),
            _ => {
                self.show(false, seen);
                self.line.erase_row();
            }
        }
    }

    fn show_before_erasing(&mut self, seen: &mut impl FnMut(Line<'_>)) {
        if self.line.has_more() {
            self.show(false, seen);
        }
    }

    fn switch_screen(&mut self, parameters: &str, last: char, seen: &mut impl FnMut(Line<'_>)) {
        let modes = parameters.trim_start_matches('?');
        if modes.split(';').any(|mode| matches!(mode, "47" | "1047" | "1049")) {
            self.end_line(seen);
            self.alternate = last == 'h';
        }
    }

    fn end_line(&mut self, seen: &mut impl FnMut(Line<'_>)) {
        self.show(true, seen);
        self.line.clear();
        self.repeated = 0;
        self.number = self.number.saturating_add(1);
    }

    /// Hands the line over, if it has text, and, while it is incomplete, only when it changed.
    fn show(&mut self, is_complete: bool, seen: &mut impl FnMut(Line<'_>)) {
        if is_complete || self.changed {
            let cells = self.line.as_slice();
            let text = |cells: &[char]| -> String {
                let shown = cells.iter().filter(|c| **c != WIDE);
                shown.map(|c| if *c == '\0' { ' ' } else { *c }).collect()
            };
            let repeated = cells.get(..self.repeated).map_or(0, |cells| text(cells).chars().count());
            let text = text(cells);
            let text = text.trim_end();
            if !text.is_empty() {
                let number = self.number.saturating_add(1);
                seen(Line { text, number, is_complete, repeated });
            }
        }
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(pieces: &[&[u8]]) -> Vec<String> {
        complete_in(None, pieces)
    }

    fn complete_in(width: Option<u32>, pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::new(), Vec::new());
        lines.set_width(width);
        let mut keep = |line: Line<'_>| {
            if line.is_complete {
                found.push(line.text.to_owned());
            }
        };
        for piece in pieces {
            lines.feed(piece, &mut keep);
        }
        lines.finish(&mut keep);
        found
    }

    #[test]
    fn a_line_edited_at_a_prompt_reads_as_it_was_run() {
        assert_eq!(complete(&[b"$ cta\x08\x08\x08cat\x1b[K x\r\nhello\r\n"]), ["$ cat x", "hello"]);
        assert_eq!(complete(&[b"$ rm -rf /tmp/xy\x08\x1b[K\r\n"]), ["$ rm -rf /tmp/x"]);
        assert_eq!(complete(&[b"\x1b[1;32mgreen\x1b[0m and \x1b]0;title\x07plain"]), ["green and plain"]);
    }

    #[test]
    fn text_that_is_written_over_is_still_shown_once() {
        let mut all = Vec::new();
        Lines::new().feed(b"secret\rxxxxxx\r\n", |line| all.push((line.text.to_owned(), line.is_complete)));
        assert_eq!(
            all,
            [("secret".to_owned(), false), ("xxxxxx".to_owned(), false), ("xxxxxx".to_owned(), true)]
        );
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_overlap() {
        let long = "a".repeat(LONGEST_LINE - 2) + "needle" + &"b".repeat(100);
        assert!(complete(&[long.as_bytes()]).iter().any(|piece| piece.contains("needle")));
        let mut lines = Lines::new();
        lines.feed(&vec![b'a'; 1 << 20], |_| {});
        assert!(lines.line.as_slice().len() <= LONGEST_LINE);
        let mut whole = String::new();
        let text: String = (0..5000_u32).map(|n| format!("{n} ")).collect();
        lines = Lines::new();
        lines.set_width(Some(80));
        let mut numbers = Vec::new();
        lines.feed((text.clone() + "\r\nnext\r\n").as_bytes(), |line| {
            numbers.push(line.number);
            if line.is_complete && line.number == 1 {
                whole.push_str(line.new_text());
            }
        });
        assert_eq!((whole.as_str(), numbers.last()), (text.trim_end(), Some(&2)));
    }

    /// The line that is left at the end of what `bash` wrote, 30 columns wide.
    fn edited(pieces: &[&str]) -> String {
        let mut lines = Lines::new();
        lines.set_width(Some(30));
        let mut last = String::new();
        for piece in pieces {
            lines.feed(piece.as_bytes(), |_| {});
        }
        lines.feed(b"\r\nout\r\n", |line| {
            if line.is_complete && line.number == 1 {
                line.text.clone_into(&mut last);
            }
            assert!(!line.is_complete || line.number == 1 || line.text == "out", "{line:?}");
        });
        last
    }

    #[test]
    fn a_line_that_wraps_at_the_terminals_edge_is_whole() {
        let typed = "$ echo abcdefghijklmnopqrstuvw \rxyz0123456789abcdefghijklmnopq";
        let text = "$ echo abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopq";
        assert_eq!(edited(&[typed]), text);
        // Written into in the middle, at its beginning and its end.
        let editing = [
            text,
            "rstuv\x08\x08\x08Xtuv\x08\x08\x08",
            "\x1b[A\x1b[A\x08",
            "Yecho abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrsXtuv\x1b[A\x1b[A\x08\x08\x08\x08",
            "\r\n\r\n\r\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C",
            "\x08\x1b[K",
        ];
        assert_eq!(edited(&editing), "$ Yecho abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrsXtu");
        // A long line, and then a short one from the history in its place.
        let recalled = [
            "$ echo abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuv",
            "\x1b[A\x1b[A\x1b[C\x1b[Chi\x1b[K\r\n\r\x1b[K\r\n\r\x1b[K\x1b[A\x1b[A\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C",
        ];
        assert_eq!(edited(&recalled), "$ echo hi");
    }

    #[test]
    fn wide_characters_take_two_cells_and_come_out_once() {
        let first = "$ echo abcdefghijklmnopqrstuv";
        assert_eq!(edited(&[first, "\u{4e2d}y\r\u{6587}"]), format!("{first}\u{6587}y"));
        assert_eq!(edited(&[first, "\u{4e2d}y"]), format!("{first}\u{4e2d}y"));
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing_and_memory_is_bounded(
            text in "([ -~]|\\r|\\n|\\x08|\\x1b\\[[0-9;?]{0,4}[@-z]|\u{4e2d}){0,60}", cut in 0_usize..200,
        ) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            for width in [None, Some(7)] {
                prop_assert_eq!(complete_in(width, &[bytes]), complete_in(width, &[first, second]));
            }
        }
    }
}
