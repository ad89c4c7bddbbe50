//! Terminal output as lines of text: what a person would have read, without drawing a whole screen.
//!
//! [`Lines`] follows one line at a time: text, carriage return, backspace, moves and erasures within the line. That
//! is enough for prompts, shells with line editing, and ordinary command output. Programs that paint a whole screen
//! give their pieces as separate lines. Used by search and by the timeline; [`super::screen`] is the exact picture.

use super::sanitise::Sanitiser;

/// Characters of one line that are kept; a longer line is given in pieces.
pub const LONGEST_LINE: usize = 8192;
/// Characters that the next piece of a long line repeats, so that text across the border is still found.
const OVERLAP: usize = 512;

/// A line of text and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its text.
    pub text: &'a str,
    /// Which line of the stream, from 1.
    pub number: u64,
    /// Whether it is complete, and not about to be written over.
    pub is_complete: bool,
}

/// Renders one stream of bytes to lines.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    sanitiser: Sanitiser,
    line: Vec<char>,
    column: usize,
    /// The escape sequence being read; the sanitiser only lets short ones through.
    sequence: Option<String>,
    number: u64,
    changed: bool,
    alternate: bool,
}

impl Lines {
    /// A renderer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    /// The text of the line being written.
    #[must_use]
    pub fn current(&self) -> String {
        self.line.iter().collect()
    }

    /// Whether nothing is pending: the next byte begins a line, and plain text means itself.
    pub(super) fn is_fresh(&self) -> bool {
        self.line.is_empty()
            && self.column == 0
            && self.sequence.is_none()
            && !self.changed
            && self.sanitiser.is_plain()
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
            '\n' => self.end_line(seen),
            '\r' => {
                self.show(false, seen);
                self.column = 0;
            }
            '\x08' => self.column = self.column.saturating_sub(1),
            '\t' => {
                let next = (self.column / 8).saturating_add(1).saturating_mul(8);
                while self.column < next {
                    self.put(' ', seen);
                }
            }
            _ => self.put(c, seen),
        }
    }

    fn put(&mut self, c: char, seen: &mut impl FnMut(Line<'_>)) {
        if self.column >= LONGEST_LINE {
            self.show(true, seen);
            let kept = self.line.len().saturating_sub(OVERLAP);
            self.line.drain(..kept);
            self.column = self.line.len();
        }
        if let Some(place) = self.line.get_mut(self.column) {
            *place = c;
        } else {
            self.line.resize(self.column, ' ');
            self.line.push(c);
        }
        self.column = self.column.saturating_add(1);
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
            'C' | 'a' => self.column = self.column.saturating_add(distance).min(LONGEST_LINE),
            'D' => self.column = self.column.saturating_sub(distance),
            'G' | '`' => self.column = distance.saturating_sub(1),
            'K' => self.erase(count, seen),
            'P' => {
                let from = self.column.min(self.line.len());
                let to = from.saturating_add(distance).min(self.line.len());
                self.line.drain(from..to);
                self.changed = true;
            }
            '@' => {
                let at = self.column.min(self.line.len());
                let room = LONGEST_LINE.saturating_sub(self.line.len());
                self.line.splice(at..at, std::iter::repeat_n(' ', distance.min(room)));
            }
            'b' => {
                let before = self.column.checked_sub(1).and_then(|at| self.line.get(at)).copied();
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
                if self.column < self.line.len() {
                    self.show(false, seen);
                    self.line.truncate(self.column);
                }
            }
            1 => self.line.iter_mut().take(self.column.saturating_add(1)).for_each(|c| *c = ' '),
            _ => {
                self.show(false, seen);
                self.line.clear();
            }
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
        self.column = 0;
    }

    /// Hands the line over, if it has text, and, while it is incomplete, only when it changed.
    fn show(&mut self, is_complete: bool, seen: &mut impl FnMut(Line<'_>)) {
        if is_complete || self.changed {
            let text: String = self.line.iter().collect();
            let text = text.trim_end();
            if !text.is_empty() {
                seen(Line { text, number: self.number.saturating_add(1), is_complete });
            }
        }
        self.changed = false;
        if is_complete {
            self.number = self.number.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::new(), Vec::new());
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
        assert!(lines.line.len() <= LONGEST_LINE);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing_and_memory_is_bounded(
            text in "([ -~]|\\r|\\n|\\x08|\\x1b\\[[0-9;?]{0,4}[@-z]){0,60}", cut in 0_usize..200,
        ) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(complete(&[bytes]), complete(&[first, second]));
        }
    }
}
