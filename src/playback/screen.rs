//! The terminal's screen at a moment, as cells.
//!
//! A [`Screen`] is fed output and resizes in order; in between it can be asked for its text, its styled lines and its
//! cursor. Everything passes the sanitiser first, so a screen holds nothing but printable text. Its size is bounded
//! whatever a recording claims. [`Screen::freeze`] and [`Screen::thaw`] make a picture to seek from.
//! No drawing here: `cli::player_view` does that.

use std::time::Duration;

use avt::Terminal;
use unicode_width::UnicodeWidthChar as _;

use super::ahead::{Ahead, stays_in_its_row};
use super::effort::Effort;
use super::sanitise::{Sanitiser, colour, plain_run};

/// The largest width and height; a recording that claims more is shown in this many.
pub const LARGEST: u32 = 1000;
/// What a channel has until it asks for a terminal.
pub const DEFAULT_SIZE: (u32, u32) = (80, 24);

/// A terminal screen.
pub struct Screen {
    terminal: Terminal,
    state: State,
    ahead: Ahead,
}

/// A screen's contents, small enough to keep many.
#[derive(Debug, Clone)]
pub struct Picture {
    dump: String,
    columns: usize,
    rows: usize,
    state: State,
    /// Empty, but for what it knows of margins.
    ahead: Ahead,
}

/// What a screen knows besides its cells.
#[derive(Debug, Clone, Default)]
struct State {
    sanitiser: Sanitiser,
    has_terminal: bool,
    effort: Effort,
    /// The sanitised sequence being read, from its ESC.
    sequence: String,
    /// Sequences left out because they asked for too much work.
    refused: u64,
}

/// A piece of a line in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The text; printable characters only.
    pub text: String,
    /// How many columns it takes.
    pub columns: usize,
    /// Its style.
    pub pen: avt::Pen,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new(DEFAULT_SIZE.0, DEFAULT_SIZE.1)
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (columns, rows) = self.size();
        write!(f, "Screen({columns}x{rows})")
    }
}

impl Screen {
    /// An empty screen; sizes outside 1 to [`LARGEST`] are brought inside.
    #[must_use]
    pub fn new(columns: u32, rows: u32) -> Self {
        Self { terminal: blank(side(columns), side(rows)), state: State::default(), ahead: Ahead::default() }
    }

    /// Says that the channel has a terminal, whose line discipline already made CR LF of every LF.
    pub fn open_terminal(&mut self, columns: u32, rows: u32) {
        self.state.has_terminal = true;
        self.resize(columns, rows);
    }

    /// Says how far the recording has come, in its time; more work may be asked of a screen in more time.
    pub fn pass(&mut self, at: Duration) {
        self.state.effort.pass(at);
    }

    /// Shows the next output.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.feed_ahead(bytes);
        self.catch_up();
    }

    /// As [`Self::feed`], but need not draw what scrolls away before [`Self::catch_up`], without which nobody may look.
    pub(super) fn feed_ahead(&mut self, bytes: &[u8]) {
        self.state.effort.read(bytes.len());
        let text = self.state.sanitiser.feed(bytes);
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            // Colours cost nothing and act on what follows alone.
            let passes = if self.state.sequence.is_empty() {
                if c == '\x1b' { colour(rest.as_bytes()) } else { plain_run(rest) }
            } else {
                0
            };
            let Some((run, after)) = rest.split_at_checked(passes.max(c.len_utf8())) else { break };
            if passes > 0 {
                self.show(run);
            } else if c == '\x1b' || !self.state.sequence.is_empty() {
                self.feed_sequence(c);
            } else if c == '\n' && !self.state.has_terminal {
                self.show("\r\n");
            } else if c < '\u{300}' || c.width() != Some(0) {
                // The grid gives every character a cell of its own, so marks on the one before are left out.
                self.show(run);
            }
            rest = after;
        }
        self.ahead.forget(&mut self.terminal);
    }

    /// Draws what was fed ahead.
    pub(super) fn catch_up(&mut self) {
        self.ahead.draw(&mut self.terminal);
    }

    /// Shows text that does nothing beyond its row but to scroll.
    fn show(&mut self, text: &str) {
        if self.ahead.is_allowed() {
            self.ahead.push(text);
        } else {
            self.terminal.feed(text);
        }
    }

    /// Collects a sequence, which the sanitiser made short and whole, and obeys it when it can be afforded.
    fn feed_sequence(&mut self, c: char) {
        let State { sequence, effort, refused, .. } = &mut self.state;
        sequence.push(c);
        let is_over = match sequence.strip_prefix("\x1b[") {
            Some(body) => body.ends_with(|last| matches!(last, '@'..='~')),
            None => sequence.len() > 1 && !sequence.ends_with('['),
        };
        if !is_over {
            return;
        }
        let (columns, rows) = self.terminal.size();
        if !effort.spend(sequence, columns, rows) {
            *refused = refused.saturating_add(1);
        } else if self.ahead.is_allowed() && stays_in_its_row(sequence) {
            self.ahead.push(sequence);
        } else {
            self.ahead.draw(&mut self.terminal);
            self.ahead.note(sequence);
            self.terminal.feed(sequence.as_str());
        }
        sequence.clear();
    }

    /// Changes the size; bounded as in [`Self::new`].
    pub fn resize(&mut self, columns: u32, rows: u32) {
        self.catch_up();
        if self.size() != (side(columns), side(rows)) {
            self.terminal.resize(side(columns), side(rows));
        }
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.terminal.size()
    }

    /// The cursor's column and row, when it is shown.
    #[must_use]
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.terminal.cursor().position()
    }

    /// The row the cursor is in, shown or not.
    #[must_use]
    pub fn cursor_row(&self) -> usize {
        self.terminal.cursor().row
    }

    /// The text of each row, without trailing blanks.
    #[must_use]
    pub fn text(&self) -> Vec<String> {
        self.terminal.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect()
    }

    /// The rows as runs of one style each, without trailing plain blanks.
    #[must_use]
    pub fn styled(&self) -> Vec<Vec<Run>> {
        self.terminal.screen().visible_lines().map(styled_line).collect()
    }

    /// Sequences and characters that were left out so far.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.state.sanitiser.dropped().saturating_add(self.state.refused)
    }

    /// A picture from which [`Self::thaw`] makes an equal screen.
    #[must_use]
    pub fn freeze(&self) -> Picture {
        debug_assert!(self.ahead.is_empty(), "a picture is taken of what is drawn");
        let (columns, rows) = self.size();
        Picture {
            dump: self.terminal.dump(),
            columns,
            rows,
            state: self.state.clone(),
            ahead: self.ahead.clone(),
        }
    }

    /// The screen a picture was made of.
    #[must_use]
    pub fn thaw(picture: &Picture) -> Self {
        let mut terminal = blank(picture.columns, picture.rows);
        terminal.feed(picture.dump.as_str());
        Self { terminal, state: picture.state.clone(), ahead: picture.ahead.clone() }
    }
}

impl Picture {
    /// Bytes it takes, about.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.dump.len().saturating_add(256)
    }
}

/// A side inside the bounds.
pub(crate) fn bounded(side: u32) -> u32 {
    side.clamp(1, LARGEST)
}

fn side(wanted: u32) -> usize {
    usize::try_from(bounded(wanted)).unwrap_or(1)
}

#[expect(clippy::expect_used, reason = "the only error is a side of zero, and both are at least one")]
fn blank(columns: usize, rows: usize) -> Terminal {
    Terminal::new(columns.max(1), rows.max(1)).expect("sides are at least one")
}

fn styled_line(line: &avt::Line) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cell in line.cells().iter().filter(|cell| cell.width() > 0) {
        let columns = usize::from(cell.width());
        match runs.last_mut() {
            Some(run) if run.pen == *cell.pen() => {
                run.text.push(cell.char());
                run.columns = run.columns.saturating_add(columns);
            }
            _ => runs.push(Run { text: cell.char().to_string(), columns, pen: *cell.pen() }),
        }
    }
    if let Some(run) = runs.last_mut()
        && run.pen.is_default()
    {
        let blanks = run.text.len().saturating_sub(run.text.trim_end_matches(' ').len());
        run.text.truncate(run.text.len().saturating_sub(blanks));
        run.columns = run.columns.saturating_sub(blanks);
    }
    runs.retain(|run| !run.text.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_what_a_terminal_would() {
        let mut screen = Screen::new(20, 3);
        screen.open_terminal(20, 3);
        screen.feed(b"one\r\ntwo\x1b[1;10H\x1b[31mred\x1b[0m!");
        assert_eq!(screen.text(), ["one      red!", "two", ""]);
        let first = screen.styled().swap_remove(0);
        let red = first.iter().find(|run| run.text == "red").unwrap();
        assert_eq!(red.pen.foreground(), Some(avt::Color::Indexed(1)));
        assert_eq!(screen.cursor(), Some((13, 0)));
    }

    #[test]
    fn without_a_terminal_lines_begin_at_the_left() {
        let mut screen = Screen::default();
        screen.feed(b"one\ntwo\n");
        assert_eq!(screen.text()[..2], ["one", "two"]);
    }

    #[test]
    fn absurd_sizes_are_brought_inside() {
        let mut screen = Screen::new(0, u32::MAX);
        assert_eq!(screen.size(), (1, 1000));
        screen.resize(1 << 31, 0);
        assert_eq!(screen.size(), (1000, 1));
        screen.feed(b"still here");
        assert_eq!(screen.text(), ["still here"]);
    }

    #[test]
    fn a_recording_cannot_keep_the_machine_busy() {
        let clock = crate::model::Clock::system();
        for unit in
            ["a\x1b[2J", "\x1b[1000L", "\x1b[?1049h\x1b[?1049l", "\x1bc", "a\x1b[256b", "\x1b[H\x1bM", "\n"]
        {
            let mut screen = Screen::new(1000, 1000);
            let hostile: Vec<u8> = unit.bytes().cycle().take(64 << 10).collect();
            let started = clock.since_boot();
            screen.feed(&hostile);
            let taken = clock.since_boot().saturating_sub(started);
            assert!(taken < Duration::from_secs(5), "{unit:?} took {taken:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_not_drawn_could_not_be_seen(
            pieces in proptest::collection::vec(
                "([a-z\u{4e2d} ]{0,20}(\\r\\n|\\r\\n|\\n|\\r|\\t|\\x08)|\\x1b\\[[0-9;]{0,4}[mK]){0,30}(\\x1b\\[[0-9;?]{0,4}[A-z]|\\x1b[78DEM])?",
                1..6,
            ),
            times in 1_usize..800, has_terminal: bool,
        ) {
            let (mut drawn, mut ahead) = (Screen::new(12, 4), Screen::new(12, 4));
            for screen in [&mut drawn, &mut ahead] {
                if has_terminal {
                    screen.open_terminal(14, 5);
                }
            }
            // The last piece is long enough that some of it is never drawn.
            let last = pieces.last().map_or(String::new(), |last| last.repeat(times));
            for piece in pieces.iter().chain([&last]) {
                for bytes in piece.as_bytes().chunks(8 << 10) {
                    drawn.feed(bytes);
                    ahead.feed_ahead(bytes);
                }
            }
            ahead.catch_up();
            prop_assert_eq!(drawn.terminal.dump(), ahead.terminal.dump());
            prop_assert_eq!(drawn.dropped(), ahead.dropped());
        }

        #[test]
        fn a_thawed_picture_goes_on_like_the_screen(
            before in "([a-z\u{4e2d} ]|\\r|\\n|\\x1b\\[[0-9;?]{0,4}[A-z]|\\x1b[78DEM]|\\x1b){0,40}",
            after in "([a-z ]|\\r|\\n|\\x1b\\[[0-9;]{0,4}[A-Hm]){0,20}",
        ) {
            let mut screen = Screen::new(12, 4);
            screen.open_terminal(12, 4);
            screen.feed(before.as_bytes());
            let mut thawed = Screen::thaw(&screen.freeze());
            screen.feed(after.as_bytes());
            thawed.feed(after.as_bytes());
            prop_assert_eq!(screen.styled(), thawed.styled());
            prop_assert_eq!(screen.cursor(), thawed.cursor());
        }

        #[test]
        fn hostile_bytes_leave_only_printable_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut screen = Screen::new(30, 5);
            screen.feed(&bytes);
            for row in screen.text() {
                prop_assert!(row.chars().all(|c| !c.is_control()), "{row:?}");
            }
        }
    }
}
