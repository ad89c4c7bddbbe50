//! Text that a screen was given and has not drawn: what is scrolled away before anybody looks is never drawn at all.
//!
//! Drawing is most of what it takes to go through a recording, and of a log of a gigabyte only what stands on the screen
//! where a picture is taken can be seen again. Text, line ends, moves within a row and colours wait here. Where twice as
//! many lines as the screen has rows follow, the rows before them are gone, whatever they held: of what came earlier
//! only its colours are obeyed. Everything else is drawn at once, after what waits. So is all text while a program has
//! set margins, since rows outside them stay. [`super::screen`] says what may wait.

use avt::Terminal;

/// Bytes that wait before it is looked whether some can go.
const MOST: usize = 64 << 10;

/// Text that waits to be drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead {
    text: String,
    has_margins: bool,
}

impl Ahead {
    /// Whether text may wait.
    pub(super) const fn is_allowed(&self) -> bool {
        !self.has_margins
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Lets text wait; it has been found to do nothing beyond its row but to scroll.
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Draws what waits.
    pub(super) fn draw(&mut self, terminal: &mut Terminal) {
        if !self.text.is_empty() {
            terminal.feed(self.text.as_str());
            self.text.clear();
        }
    }

    /// Gives up what cannot be seen any more, once enough waits.
    pub(super) fn forget(&mut self, terminal: &mut Terminal) {
        if self.text.len() < MOST {
            return;
        }
        let (_, rows) = terminal.size();
        let begin = tail(self.text.as_bytes(), rows.saturating_mul(2).saturating_add(2));
        let Some((gone, rest)) = begin.and_then(|begin| self.text.split_at_checked(begin)) else {
            return self.draw(terminal);
        };
        colours(gone).for_each(|colour| terminal.feed(colour));
        // The rest begins in the first column.
        terminal.feed('\r');
        self.text = rest.to_owned();
        if self.text.len() > MOST / 2 {
            self.draw(terminal);
        }
    }

    /// Takes note of a sequence that is drawn.
    pub(super) fn note(&mut self, sequence: &str) {
        if sequence.starts_with("\x1b[") && sequence.ends_with('r') {
            self.has_margins = sequence.len() > 3;
        } else if sequence == "\x1b[!p" {
            self.has_margins = false;
        }
    }
}

/// Whether a sequence acts on its row alone, or on the text that follows.
pub(super) fn stays_in_its_row(sequence: &str) -> bool {
    sequence.starts_with("\x1b[") && sequence.ends_with(['m', 'K'])
}

/// Where the shortest tail begins that has at least `lines` line ends and is behind a return and a line feed.
fn tail(text: &[u8], lines: usize) -> Option<usize> {
    let mut ends = memchr::memrchr_iter(b'\n', text).skip(lines);
    let end = ends.find(|end| end.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\r'))?;
    Some(end.saturating_add(1))
}

/// The sequences in a text that set colours.
fn colours(text: &str) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(0x1b, text.as_bytes()).filter_map(|begin| {
        let sequence = text.get(begin..)?;
        let end = sequence.find(|c: char| matches!(c, '@'..='Z' | '\\'..='~'))?;
        sequence.get(..=end).filter(|sequence| sequence.ends_with('m'))
    })
}
