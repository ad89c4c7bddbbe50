//! Which characters deceive, and one-line text without them.
//!
//! Control characters act, bidirectional controls reorder what is read, invisible ones hide. Names, reasons and
//! paths pass through [`escape_text`] before they stand in a list, a log or a prompt. The stream filter uses the same
//! table, so that a line looks the same in both. No policy about escape sequences here: see `filter.rs`.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use crate::model::is_invisible;

/// Combining marks allowed on one character; more are a way to paint over neighbouring lines.
pub(super) const MARKS_PER_CHARACTER: u8 = 4;

/// `text` on one line with everything that acts, reorders or hides written out, such as `\u{202e}` or `\n`.
#[must_use]
pub fn escape_text(text: &str) -> Cow<'_, str> {
    let mut marks = 0_u8;
    if text.chars().all(|c| is_plain(c, &mut marks)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len().saturating_add(16));
    marks = 0;
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            _ if is_plain(c, &mut marks) => escaped.push(c),
            _ => write_code(c, &mut escaped),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character may stand as it is, after `marks` combining marks on the same base.
pub(super) fn is_plain(c: char, marks: &mut u8) -> bool {
    if c.is_control() || is_invisible(c) {
        return false;
    }
    if (c as u32) < 0x300 || c.width() != Some(0) {
        *marks = 0;
        return true;
    }
    *marks = marks.saturating_add(1);
    *marks <= MARKS_PER_CHARACTER
}

fn write_code(c: char, to: &mut String) {
    if write!(to, "\\u{{{:x}}}", u32::from(c)).is_err() {
        to.push(char::REPLACEMENT_CHARACTER);
    }
}
