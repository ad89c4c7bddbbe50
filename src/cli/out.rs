//! The only place that prints, and the only one that asks. Results go to standard output, everything else to standard
//! error.
//!
//! What others chose (names, reasons, error messages) is shown by [`Table`], [`fields`] and [`json`], which make it
//! harmless: nothing of it can move the cursor, hide, or answer. [`line`] and [`note`] take our own words and whatever
//! was passed through [`safe`] before. How times, durations and sizes read is in `words.rs`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;
use zeroize::Zeroizing;

use super::exit::CliError;
use crate::playback::escape_text;

/// Characters of one cell; longer ones are cut wherever they are printed.
const WIDEST_CELL: usize = 200;
/// Characters a column keeps when the terminal is too narrow for all.
const NARROWEST: usize = 8;
/// Spaces between columns.
const GAP: &str = "  ";
/// The longest answer read from the terminal, in bytes.
const LONGEST_ANSWER: u64 = 4096;

/// Prints our own words to standard output. Somebody who closed the pipe wants no more of them.
pub(crate) fn line(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

/// Prints our own words to standard error: progress, warnings, what to do next.
pub(crate) fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Prints why a command failed. Messages of a server's pass through [`safe`], line by line.
pub(crate) fn error(error: &CliError) {
    for (index, text) in error.to_string().lines().enumerate() {
        note(&format!("{}{}", if index == 0 { "postern: " } else { "  " }, safe(text)));
    }
    if let Some(hint) = error.next_step() {
        note(&format!("  {}", safe(hint)));
    }
}

/// Prints a JSON value. Characters that act on a terminal or hide are written as `\u` escapes, which read the same.
pub(crate) fn json(value: &Value) {
    line(&harmless_json(&serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// Prints a list as JSON, in the API's own shape.
pub(crate) fn items(items: &[Value]) {
    json(&serde_json::json!({ "items": items }));
}

/// Prints one JSON value on one line, for streams of them.
pub(crate) fn json_line(value: &Value) {
    line(&harmless_json(&value.to_string()));
}

/// Others' text on one line, harmless.
pub(crate) fn safe(text: &str) -> String {
    escape_text(text).into_owned()
}

/// Prints labels and values, aligned.
pub(crate) fn fields(rows: &[(&str, String)]) {
    line(&fields_text(rows));
}

/// Aligned labels and values, as [`fields`] prints them.
pub(crate) fn fields_text(rows: &[(&str, String)]) -> String {
    let widest = rows.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
    let lines = rows.iter().map(|(label, value)| {
        let padding = " ".repeat(widest.saturating_sub(label.width()));
        format!("{label}{padding}{GAP}{}", safe(value)).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A table for people: aligned, every cell harmless and not too wide.
///
/// On a terminal that is too narrow, columns named by [`Table::cut_first`] give up room, in that order; ids and
/// whatever else is typed again are never cut, and rather wrap.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    columns: usize,
    empty: &'static str,
    /// Columns that may be cut, the least useful first.
    cut: Vec<usize>,
}

impl Table {
    /// A table with these headings; `empty` is said when there are no rows.
    pub(crate) fn new(headings: &[&str], empty: &'static str) -> Self {
        let heading = headings.iter().map(|heading| heading.to_uppercase()).collect();
        Self { rows: vec![heading], columns: headings.len(), empty, cut: Vec::new() }
    }

    /// Names the columns that give up room on a narrow terminal, the least useful first.
    pub(crate) fn cut_first(mut self, headings: &[&str]) -> Self {
        let place = |heading: &&str| {
            let wanted = heading.to_uppercase();
            self.rows.first()?.iter().position(|heading| *heading == wanted)
        };
        self.cut = headings.iter().filter_map(place).collect();
        self
    }

    /// Adds a row of others' text.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(cells.into_iter().map(|cell| shortened(&safe(cell.as_ref()), WIDEST_CELL)).collect());
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        line(&self.text_within(room(&io::stdout())));
    }

    /// The table as text, for standard error.
    pub(crate) fn text(&self) -> String {
        self.text_within(room(&io::stderr()))
    }

    fn text_within(&self, room: Option<usize>) -> String {
        if self.rows.len() < 2 {
            return self.empty.to_owned();
        }
        let mut widths: Vec<usize> = (0..self.columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.width()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let gaps = GAP.len() * self.columns.saturating_sub(1);
        let mut missing = room.map_or(0, |room| (widths.iter().sum::<usize>() + gaps).saturating_sub(room));
        for column in &self.cut {
            let Some(width) = widths.get_mut(*column) else { continue };
            let gives = width.saturating_sub(NARROWEST).min(missing);
            *width -= gives;
            missing -= gives;
        }
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let cell = shortened(cell, *width);
                format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
            });
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Asks a yes-or-no question on the terminal. No terminal is a no, with an error that names `instead`.
pub(crate) fn confirm(question: &str, instead: &str) -> Result<bool, CliError> {
    let answer = ask(&format!("{question} [y/N] "), instead)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks for one line on the terminal.
pub(crate) fn ask(question: &str, instead: &str) -> Result<String, CliError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(
            CliError::usage("this asks a question, and there is no terminal to ask it on").hint(instead)
        );
    }
    let mut to = io::stderr().lock();
    write!(to, "{question}").and_then(|()| to.flush()).ok();
    let mut answer = String::new();
    let mut from = io::Read::take(io::stdin().lock(), LONGEST_ANSWER);
    from.read_line(&mut answer).map_err(|e| CliError::failed(format!("cannot read the answer: {e}")))?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a secret on the terminal, without showing it.
pub(crate) fn ask_secret(question: &str, instead: &str) -> Result<Zeroizing<String>, CliError> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = io::stdin();
    let before = tcgetattr(&terminal).ok();
    let mut quiet = before.clone();
    if let Some(modes) = &mut quiet {
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, modes).ok();
    }
    let answer = ask(question, instead).map(Zeroizing::new);
    if let Some(modes) = before {
        tcsetattr(&terminal, OptionalActions::Flush, &modes).ok();
        note("");
    }
    answer
}

/// The columns of the terminal something is printed to; none when it is no terminal.
fn room(to: &(impl std::os::fd::AsFd + io::IsTerminal)) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(to).ok().filter(|_| to.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A harmless text in at most so many columns.
fn shortened(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let mut kept = String::new();
    for character in cell.chars() {
        // A character is up to two columns wide, and the sign that something was cut needs one.
        if kept.width() + 2 > width {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// JSON text in which everything that acts or hides is a `\u` escape. Such characters stand only inside strings.
fn harmless_json(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        let mut utf8 = [0; 4];
        let is_ours = character == '\n';
        if is_ours || matches!(escape_text(character.encode_utf8(&mut utf8)), std::borrow::Cow::Borrowed(_)) {
            harmless.push(character);
            continue;
        }
        let mut utf16 = [0; 2];
        for unit in character.encode_utf16(&mut utf16) {
            harmless.push_str(&format!("\\u{unit:04x}"));
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "bob\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}gro.live\u{85}\n\rnext";

    #[test]
    fn a_table_is_aligned_and_hostile_names_do_nothing() {
        let mut table = Table::new(&["name", "roles"], "nobody");
        assert_eq!(table.text_within(None), "nobody");
        table.row(["alice", "operator"]);
        table.row([HOSTILE, "日本"]);
        table.row([&"x".repeat(500), ""]);
        let text = table.text_within(None);
        assert!(text.starts_with("NAME"));
        assert!(
            text.lines().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}')),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 4);
        let column = |line: &str, word: &str| line.split_once(word).unwrap().0.width();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(column(lines[0], "ROLES"), column(lines[1], "operator"));
        assert_eq!(column(lines[0], "ROLES"), column(lines[2], "日本"));
        assert!(lines[3].width() <= WIDEST_CELL);
    }

    #[test]
    fn a_narrow_terminal_takes_from_the_least_useful_column_and_never_from_an_id() {
        let mut table = Table::new(&["request", "reason", "state"], "none").cut_first(&["reason", "state"]);
        let (id, state) = ("req_abcdefghijklmnop", "denied by bob: not today");
        table.row([id, "the disk of the database is full", state]);
        let rows = |room| table.text_within(room).lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(rows(None)[1].ends_with(state) && rows(None)[1].contains("is full"));
        assert_eq!(rows(Some(200)), rows(None));
        let fits = rows(Some(60));
        assert!(fits.iter().all(|line| line.width() <= 60), "{fits:?}");
        assert!(fits[1].contains(id) && fits[1].contains(state) && fits[1].contains('…'), "{fits:?}");
        let narrow = rows(Some(45));
        assert!(narrow.iter().all(|line| line.width() <= 45), "{narrow:?}");
        assert!(narrow[1].contains(id) && narrow[1].ends_with('…'), "{narrow:?}");
        assert!(rows(Some(5))[1].starts_with(id), "rather too wide than without its id");
    }

    #[test]
    fn fields_are_aligned_and_harmless() {
        let text = fields_text(&[("who", HOSTILE.to_owned()), ("reason", "deploy".to_owned())]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("reason  deploy"));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn json_is_harmless_and_means_the_same() {
        let value = serde_json::json!({ "name": HOSTILE, "tag": "\u{e0041}", "plain": "zürich 日本" });
        let text = harmless_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!text.contains(['\u{202e}', '\u{85}', '\u{e0041}']) && text.contains("zürich 日本"));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
