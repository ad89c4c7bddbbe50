//! The state machine: characters in, safe text out.
//!
//! It follows ECMA-48 and what xterm does where that is silent. Strings (OSC, DCS, APC, PM, SOS) are swallowed
//! without being kept. One that does not end is given up soon, an OSC at the end of its line, and one that swallowed
//! more than a title's worth leaves a mark, so that text cannot be hidden from a reviewer in there. Line-drawing character sets are translated to Unicode here, so that the reviewer's terminal never has
//! its character set switched. What a CSI sequence becomes is decided in `allowlist.rs`.

use super::allowlist::{self, Csi};
use super::escape::is_plain;
use crate::model::is_invisible;
use crate::playback::utf8::Utf8;

/// Characters of a string or sequence that are swallowed before we stop believing that it will end.
const LONGEST_STRING: u32 = 64 << 10;
/// The same for an OSC: titles, colours and links are short.
const LONGEST_COMMAND: u32 = 4 << 10;
/// Numbers of a sequence that sets colours, in bytes; real ones are shorter.
const LONGEST_COLOUR: usize = 40;
/// A string that swallowed more than this leaves a replacement character where it was.
const NOTICEABLE: u32 = 256;
/// Characters of a CSI sequence that are kept; a longer one is swallowed.
const LONGEST_CSI: usize = 128;
/// What a full reset becomes: the same screen, without touching anything that is not the screen.
const RESET: &str = "\x1b[?1049l\x1b[!p\x1b[m\x1b[r\x1b[H\x1b[2J";

/// A filter for one stream of terminal output.
#[derive(Debug, Clone, Default)]
pub struct Sanitiser {
    utf8: Utf8,
    state: State,
    /// Parameters and intermediates of the CSI sequence being read.
    csi: String,
    /// Characters swallowed in the current string or overlong sequence.
    swallowed: u32,
    marks: u8,
    drawing: Drawing,
    saved_drawing: Drawing,
    dropped: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After ESC and one of space to `/`.
    EscapeIntermediate(char),
    /// More than one intermediate: read to the end, drop.
    EscapeIgnore,
    Csi,
    CsiIgnore,
    /// Inside OSC, DCS, APC, PM or SOS.
    Text(Ends),
}

/// What ends a string besides ST, CAN, SUB and a new escape sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// BEL too: OSC, as xterm has it.
    AtBell,
    /// Nothing else.
    AtTerminator,
}

/// Which of G0 and G1 hold the DEC line-drawing set, and which is in use.
#[derive(Debug, Clone, Copy, Default)]
struct Drawing {
    g0: bool,
    g1: bool,
    shifted: bool,
}

impl Sanitiser {
    /// A filter at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The safe form of the next bytes.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> String {
        let (mut text, mut safe) = (String::with_capacity(bytes.len()), String::with_capacity(bytes.len()));
        self.utf8.feed(bytes, &mut text);
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            // Most of what terminals get is plain text and colours, which pass whole.
            let is_ground = self.state == State::Ground;
            let plain = if is_ground && !self.drawing.is_on() { plain_run(rest) } else { 0 };
            let colour = if is_ground && c == '\x1b' { colour(rest.as_bytes()) } else { 0 };
            let length = plain.max(colour).max(c.len_utf8());
            let Some((run, after)) = rest.split_at_checked(length) else { break };
            if plain > 0 {
                self.marks = 0;
                safe.push_str(run);
            } else if colour > 0 && is_as_written(run.as_bytes()) {
                safe.push_str(run);
            } else if colour > 0 {
                run.chars().for_each(|c| self.take(c, &mut safe));
            } else {
                self.take(c, &mut safe);
            }
            rest = after;
        }
        safe
    }

    /// What the end of the stream adds: at most one replacement character.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let (mut text, mut safe) = (String::new(), String::new());
        self.utf8.finish(&mut text);
        for c in text.chars() {
            self.take(c, &mut safe);
        }
        if self.state != State::Ground {
            self.drop_one();
        }
        safe
    }

    /// How many sequences and characters were left out or replaced so far.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether printable ASCII that comes next passes as it is.
    pub(in crate::playback) fn is_plain(&self) -> bool {
        self.state == State::Ground && self.utf8.is_whole() && !self.drawing.is_on()
    }

    fn take(&mut self, c: char, safe: &mut String) {
        match c {
            '\x1b' => {
                if self.state != State::Ground {
                    self.end_string(safe);
                }
                self.state = State::Escape;
                return;
            }
            '\x18' | '\x1a' => return self.end_string(safe),
            '\u{80}'..='\u{9f}' => return self.take_c1(c, safe),
            _ => {}
        }
        match self.state {
            State::Ground => self.take_ground(c, safe),
            State::Text(ends) => self.take_text(c, ends, safe),
            _ if c < ' ' => self.take_control(c, safe),
            State::Escape => self.take_escape(c, safe),
            State::EscapeIntermediate(intermediate) => self.take_designation(intermediate, c),
            State::EscapeIgnore => self.take_ignored_escape(c),
            State::Csi => self.take_csi(c, safe),
            State::CsiIgnore => self.take_ignored_csi(c),
        }
    }

    fn take_ground(&mut self, c: char, safe: &mut String) {
        if c.is_control() {
            return self.take_control(c, safe);
        }
        let c = if self.drawing.is_on() { drawn(c) } else { c };
        if is_plain(c, &mut self.marks) {
            safe.push(c);
        } else {
            self.dropped = self.dropped.saturating_add(1);
            // A mark too many is left out; what reorders or hides is shown to have been there.
            if is_invisible(c) {
                safe.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// A control character: acts at once, also inside a sequence, as on a real terminal.
    fn take_control(&mut self, c: char, safe: &mut String) {
        match c {
            '\r' | '\n' | '\t' | '\x08' => self.move_on(c, safe),
            '\x0b' | '\x0c' => self.move_on('\n', safe),
            '\x0e' => self.drawing.shifted = true,
            '\x0f' => self.drawing.shifted = false,
            // Bells are noise, not an attack: not worth counting.
            '\x07' => {}
            _ => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// The next mark stands on another character.
    fn move_on(&mut self, c: char, safe: &mut String) {
        self.marks = 0;
        safe.push(c);
    }

    /// C1 controls as characters: some terminals obey them, so they begin and end what they would.
    fn take_c1(&mut self, c: char, safe: &mut String) {
        self.end_string(safe);
        self.state = match c {
            '\u{9b}' => State::CsiIgnore,
            '\u{9d}' => State::Text(Ends::AtBell),
            '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => State::Text(Ends::AtTerminator),
            _ => State::Ground,
        };
    }

    fn take_text(&mut self, c: char, ends: Ends, safe: &mut String) {
        self.swallowed = self.swallowed.saturating_add(1);
        match (ends, c) {
            (Ends::AtBell, '\x07') => self.end_string(safe),
            (Ends::AtBell, '\n') => {
                self.end_string(safe);
                self.take_control(c, safe);
            }
            (Ends::AtBell, _) if self.swallowed >= LONGEST_COMMAND => self.end_string(safe),
            _ if self.swallowed >= LONGEST_STRING => self.end_string(safe),
            _ => {}
        }
    }

    /// Ends what was being read, and says so where it may have hidden something.
    fn end_string(&mut self, safe: &mut String) {
        if matches!(self.state, State::Text(_)) && self.swallowed > NOTICEABLE {
            self.marks = 0;
            safe.push(char::REPLACEMENT_CHARACTER);
        }
        self.drop_one();
    }

    fn take_escape(&mut self, c: char, safe: &mut String) {
        self.state = State::Ground;
        match c {
            '[' => {
                self.csi.clear();
                self.state = State::Csi;
            }
            ']' => self.state = State::Text(Ends::AtBell),
            'P' | 'X' | '^' | '_' => self.state = State::Text(Ends::AtTerminator),
            ' '..='/' => self.state = State::EscapeIntermediate(c),
            // The end of a string that was already counted.
            '\\' => {}
            '7' => {
                self.saved_drawing = self.drawing;
                safe.push_str("\x1b7");
            }
            '8' => {
                self.drawing = self.saved_drawing;
                safe.push_str("\x1b8");
            }
            'D' => safe.push_str("\x1bD"),
            'E' => safe.push_str("\x1bE"),
            'M' => safe.push_str("\x1bM"),
            'c' => {
                self.drawing = Drawing::default();
                safe.push_str(RESET);
            }
            _ => self.drop_one(),
        }
    }

    /// `ESC ( X` and `ESC ) X` choose character sets; any other such sequence is dropped.
    fn take_designation(&mut self, intermediate: char, c: char) {
        if matches!(c, ' '..='/') {
            self.state = State::EscapeIgnore;
            return;
        }
        self.state = State::Ground;
        match intermediate {
            '(' => self.drawing.g0 = c == '0',
            ')' => self.drawing.g1 = c == '0',
            _ => self.drop_one(),
        }
    }

    fn take_ignored_escape(&mut self, c: char) {
        if !matches!(c, ' '..='/') || self.swallow() {
            self.drop_one();
        }
    }

    fn take_csi(&mut self, c: char, safe: &mut String) {
        match c {
            ' '..='?' if self.csi.len() < LONGEST_CSI => self.csi.push(c),
            ' '..='?' => self.state = State::CsiIgnore,
            '@'..='~' => {
                self.state = State::Ground;
                if !parse(&self.csi, c).is_some_and(|csi| allowlist::write(csi, safe)) {
                    self.drop_one();
                }
            }
            '\x7f' => {}
            // Not a sequence after all: the character is text.
            _ => {
                self.drop_one();
                self.take_ground(c, safe);
            }
        }
    }

    fn take_ignored_csi(&mut self, c: char) {
        if !matches!(c, ' '..='?' | '\x7f') || self.swallow() {
            self.drop_one();
        }
    }

    /// Counts one swallowed character; says whether that is enough.
    const fn swallow(&mut self) -> bool {
        self.swallowed = self.swallowed.saturating_add(1);
        self.swallowed >= LONGEST_STRING
    }

    fn drop_one(&mut self) {
        self.state = State::Ground;
        self.swallowed = 0;
        self.dropped = self.dropped.saturating_add(1);
    }
}

impl Drawing {
    const fn is_on(self) -> bool {
        if self.shifted { self.g1 } else { self.g0 }
    }
}

/// How long the sequence at the beginning is, when it does nothing but set colours and styles; else 0.
pub(in crate::playback) fn colour(bytes: &[u8]) -> usize {
    let Some(body) = bytes.strip_prefix(b"\x1b[") else { return 0 };
    let numbers =
        body.iter().take(LONGEST_COLOUR).take_while(|byte| matches!(byte, b'0'..=b'9' | b';')).count();
    if body.get(numbers) == Some(&b'm') { numbers.saturating_add(3) } else { 0 }
}

/// Whether a sequence that sets colours is as `allowlist.rs` would write it.
fn is_as_written(colour: &[u8]) -> bool {
    let body = colour.get(2..colour.len().saturating_sub(1)).unwrap_or_default();
    let mut numbers = body.split(|byte| *byte == b';');
    numbers.by_ref().take(allowlist::MOST_PARAMETERS).all(|number| match number {
        [] | [_] => true,
        [first, _] => *first != b'0',
        [first, _, _] => matches!(first, b'1') || (*first == b'2' && number <= b"255".as_slice()),
        _ => false,
    }) && numbers.next().is_none()
}

/// How many bytes of printable ASCII a text begins with.
pub(in crate::playback) fn plain_run(text: &str) -> usize {
    text.bytes().position(|byte| !(b' '..=b'~').contains(&byte)).unwrap_or(text.len())
}

/// Takes a CSI sequence's body apart; `None` when its parts are out of order.
fn parse(body: &str, last: char) -> Option<Csi<'_>> {
    let prefix = body.chars().next().filter(|c| matches!(c, '<'..='?'));
    let rest = prefix.and_then(|p| body.strip_prefix(p)).unwrap_or(body);
    let end = rest.find(|c: char| matches!(c, ' '..='/')).unwrap_or(rest.len());
    let (parameters, intermediates) = rest.split_at_checked(end)?;
    let in_order = parameters.bytes().all(|b| matches!(b, b'0'..=b';'))
        && intermediates.bytes().all(|b| matches!(b, b' '..=b'/'));
    in_order.then_some(Csi { prefix, parameters, intermediates, last })
}

/// The DEC special graphics set.
const fn drawn(c: char) -> char {
    match c {
        '`' => '◆',
        'a' => '▒',
        'f' => '°',
        'g' => '±',
        'h' => '▒',
        'j' => '┘',
        'k' => '┐',
        'l' => '┌',
        'm' => '└',
        'n' => '┼',
        'o' => '⎺',
        'p' => '⎻',
        'q' => '─',
        'r' => '⎼',
        's' => '⎽',
        't' => '├',
        'u' => '┤',
        'v' => '┴',
        'w' => '┬',
        'x' => '│',
        'y' => '≤',
        'z' => '≥',
        '{' => 'π',
        '|' => '≠',
        '}' => '£',
        '~' => '·',
        _ => c,
    }
}
