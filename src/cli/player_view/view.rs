//! Drawing a recorded screen and the status line on the reviewer's terminal.
//!
//! [`View`] holds raw mode and the alternate screen, and gives them back however it ends. Everything written is built
//! here from cells and styles; recorded bytes never get this far.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::style::{
    Attribute, Color, Print, ResetColor, SetAttribute, SetBackgroundColor, SetForegroundColor,
};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};
use unicode_width::UnicodeWidthChar as _;

use crate::playback::Player;
use crate::playback::screen::Run;

/// The reviewer's terminal while it is ours.
pub(super) struct View<W: Write> {
    to: W,
    is_open: bool,
    /// What each row shows, to draw only what changed.
    shown: Vec<Vec<Run>>,
    status: String,
    note: Option<String>,
}

impl<W: Write> View<W> {
    /// Takes the terminal.
    pub(super) fn open(mut to: W) -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let entered = execute!(to, EnterAlternateScreen, cursor::Hide, Clear(ClearType::All));
        let view = Self { to, is_open: true, shown: Vec::new(), status: String::new(), note: None };
        entered.map(|()| view)
    }

    /// Gives the terminal back.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.restore()
    }

    fn restore(&mut self) -> io::Result<()> {
        if !self.is_open {
            return Ok(());
        }
        self.is_open = false;
        let left = execute!(self.to, ResetColor, cursor::Show, LeaveAlternateScreen);
        terminal::disable_raw_mode().and(left)
    }

    /// Says something in the status line, or the usual.
    pub(super) fn note(&mut self, note: Option<String>) {
        self.note = note;
    }

    /// Makes the next drawing complete.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
        self.status.clear();
    }

    /// Draws what changed, on a terminal of this size.
    pub(super) fn draw(&mut self, player: &Player, (columns, rows): (u16, u16)) -> io::Result<()> {
        let status = status(player, self.note.as_deref(), usize::from(columns));
        let height = usize::from(rows.saturating_sub(1));
        let rows = visible(player, height);
        if self.shown.len() != height {
            queue!(self.to, Clear(ClearType::All))?;
            self.shown = vec![Vec::new(); height];
            self.status.clear();
        }
        for (number, runs) in rows.into_iter().enumerate() {
            let Some(shown) = self.shown.get_mut(number) else { break };
            if *shown != runs {
                draw_row(&mut self.to, number, &runs, usize::from(columns))?;
                *shown = runs;
            }
        }
        if self.status != status {
            let row = u16::try_from(height).unwrap_or(u16::MAX);
            queue!(self.to, cursor::MoveTo(0, row), SetAttribute(Attribute::Reverse), Print(&status))?;
            queue!(self.to, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
            self.status = status;
        }
        self.to.flush()
    }
}

impl<W: Write> Drop for View<W> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        drop(self.restore());
    }
}

/// The part of the recorded screen that fits: the top, or further down when the cursor is there.
fn visible(player: &Player, height: usize) -> Vec<Vec<Run>> {
    let screen = player.screen();
    let above = screen.cursor_row().saturating_add(1).saturating_sub(height);
    let mut rows: Vec<Vec<Run>> = screen.styled().into_iter().skip(above).take(height).collect();
    rows.resize(height, Vec::new());
    rows
}

fn draw_row(to: &mut impl Write, row: usize, runs: &[Run], columns: usize) -> io::Result<()> {
    let row = u16::try_from(row).unwrap_or(u16::MAX);
    queue!(
        to,
        cursor::MoveTo(0, row),
        ResetColor,
        SetAttribute(Attribute::Reset),
        Clear(ClearType::CurrentLine)
    )?;
    let mut used = 0_usize;
    for run in runs {
        let fits = columns.saturating_sub(used);
        if fits == 0 {
            break;
        }
        set_style(to, &run.pen)?;
        if run.columns <= fits {
            queue!(to, Print(&run.text))?;
        } else {
            // Cut by characters: a wide one at the edge may be lost, which is better than a wrapped line.
            queue!(to, Print(cut(&run.text, fits)))?;
        }
        used = used.saturating_add(run.columns);
    }
    queue!(to, SetAttribute(Attribute::Reset), ResetColor)
}

fn set_style(to: &mut impl Write, pen: &avt::Pen) -> io::Result<()> {
    queue!(to, SetAttribute(Attribute::Reset))?;
    let attributes = [
        (pen.is_bold(), Attribute::Bold),
        (pen.is_faint(), Attribute::Dim),
        (pen.is_italic(), Attribute::Italic),
        (pen.is_underline(), Attribute::Underlined),
        (pen.is_strikethrough(), Attribute::CrossedOut),
        (pen.is_inverse(), Attribute::Reverse),
    ];
    for (_, attribute) in attributes.into_iter().filter(|(is_set, _)| *is_set) {
        queue!(to, SetAttribute(attribute))?;
    }
    if let Some(foreground) = pen.foreground() {
        queue!(to, SetForegroundColor(colour(foreground)))?;
    }
    if let Some(background) = pen.background() {
        queue!(to, SetBackgroundColor(colour(background)))?;
    }
    Ok(())
}

const fn colour(colour: avt::Color) -> Color {
    match colour {
        avt::Color::Indexed(index) => Color::AnsiValue(index),
        avt::Color::RGB(rgb) => Color::Rgb { r: rgb.r, g: rgb.g, b: rgb.b },
    }
}

/// The last line: state, time, speed, who and where, and what there is to say.
fn status(player: &Player, note: Option<&str>, columns: usize) -> String {
    let state = if player.is_running() { "▶" } else { "‖" };
    let (position, length) = (clock_text(player.position()), clock_text(player.track().length));
    let who = player.track().timeline.facts.as_ref().map_or_else(String::new, |facts| {
        format!("  {} as {}@{}  {}", facts.person_name, facts.login, facts.target, facts.session)
    });
    let note = note.map_or_else(|| "? for keys".to_owned(), str::to_owned);
    cut(&format!(" {state} {position} / {length}  ×{}{who}  {note} ", player.speed()), columns)
}

/// As many characters as surely fit into `columns`.
fn cut(text: &str, columns: usize) -> String {
    let mut used = 0_usize;
    text.chars()
        .take_while(|c| {
            used = used.saturating_add(c.width().unwrap_or(1));
            used <= columns
        })
        .collect()
}

fn clock_text(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::playback::{Screen, Track};
    use crate::recording::event::{Body, Event, Stream};

    fn player(output: &'static [u8]) -> Player {
        let event = |at, body| Ok::<_, ()>(Event { at, channel: 1, body });
        let events = [
            event(0, Body::Terminal { columns: 30, rows: 6, term: "xterm".to_owned(), modes: Vec::new() }),
            event(1, Body::Output { stream: Stream::Stdout, data: Bytes::from_static(output) }),
            event(3_725_000_000, Body::Exit { status: 0 }),
        ];
        let mut player = Player::new(Track::kept(events, None, None).unwrap());
        player.seek(Duration::from_secs(1), Duration::ZERO);
        player
    }

    fn view() -> View<Vec<u8>> {
        View { to: Vec::new(), is_open: false, shown: Vec::new(), status: String::new(), note: None }
    }

    /// What a terminal of `columns` by `rows` shows after drawing, and what was written to it.
    fn drawn(player: &Player, columns: u16, rows: u16) -> (Vec<String>, String) {
        let mut view = view();
        view.draw(player, (columns, rows)).unwrap();
        let mut screen = Screen::new(columns.into(), rows.into());
        screen.open_terminal(columns.into(), rows.into());
        screen.feed(&view.to);
        assert_eq!(screen.dropped(), 0, "everything written is on the sanitiser's own list");
        let written = String::from_utf8(view.to.clone()).unwrap();
        (screen.text(), written)
    }

    #[test]
    fn the_screen_stands_above_the_status_line() {
        let (rows, _) = drawn(&player(b"one\r\n\x1b[1mtwo\x1b[0m \xe6\xbc\xa2!"), 60, 8);
        assert_eq!(rows[..2], ["one", "two 漢!"]);
        assert_eq!(rows[7], " ‖ 0:00:01 / 1:02:05  ×1  ? for keys");
    }

    #[test]
    fn a_small_terminal_shows_the_part_with_the_cursor_and_never_wraps() {
        let text = b"first\r\n2\r\n3\r\n4\r\na long line at the end, here";
        let (rows, _) = drawn(&player(text), 10, 4);
        assert_eq!(rows[..3], ["3", "4", "a long lin"]);
        assert!(rows[3].starts_with(" ‖ 0:00:0"));
    }

    #[test]
    fn nothing_hostile_is_written() {
        let (rows, written) = drawn(&player(b"a\x1b]52;c;AAAA\x07b\x1b[6n\x1b[21t\xe2\x80\xae"), 40, 6);
        assert_eq!(rows[0], "ab\u{fffd}");
        assert!(!written.contains("\x1b]") && !written.contains("[6n") && !written.contains("21t"));
    }

    #[test]
    fn only_what_changed_is_drawn_again() {
        let player = player(b"same");
        let mut view = view();
        view.draw(&player, (40, 6)).unwrap();
        view.to.clear();
        view.draw(&player, (40, 6)).unwrap();
        assert_eq!(view.to, b"");
        view.note(Some("hello".to_owned()));
        view.draw(&player, (40, 6)).unwrap();
        let again = String::from_utf8(view.to.clone()).unwrap();
        assert!(again.contains("hello") && !again.contains("same"));
    }
}
