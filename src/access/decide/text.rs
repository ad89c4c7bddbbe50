//! Bounds on what people write into the ledger: length, and nothing that would not show as it is.
//!
//! Read next: `requests.rs`.

use crate::access::denied::Denied;
use crate::model::is_invisible;

/// Longest short text: an origin, a hash, a ticket, a label.
pub(super) const NAME: usize = 256;
/// Longest text that explains something.
pub(super) const REASON: usize = 1000;
/// Longest key or recipient (an RSA key of 8192 bits in base64 is 1.4 KB, a post-quantum age recipient 2 KB).
pub(super) const KEY: usize = 4096;

/// A text on one line that is not empty.
pub(super) fn line(what: &'static str, text: &str, most: usize) -> Result<(), Denied> {
    if text.trim().is_empty() {
        return Err(Denied::Empty { what });
    }
    bounded(what, text, most)
}

/// A text on one line that may be empty.
pub(super) fn bounded(what: &'static str, text: &str, most: usize) -> Result<(), Denied> {
    if text.len() > most {
        return Err(Denied::TooLong { what, most });
    }
    if text.chars().any(is_hidden) {
        return Err(Denied::Unprintable { what });
    }
    Ok(())
}

/// A list with at least one item and at most `most`.
pub(super) fn count(what: &'static str, items: usize, most: usize) -> Result<(), Denied> {
    match items {
        0 => Err(Denied::Empty { what }),
        n if n > most => Err(Denied::TooLong { what, most }),
        _ => Ok(()),
    }
}

/// A text that nobody chose, such as an error's, as [`line`] takes it: what is hidden and what is too long left out.
pub fn fitting_line(text: &str) -> String {
    let shown: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let end = (0..=REASON.min(shown.len())).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
    match shown.get(..end).unwrap_or_default().trim() {
        "" => "(nothing that can be shown)".to_owned(),
        text => text.to_owned(),
    }
}

/// Control characters, and the ones that reorder or hide text around them.
fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_error_says_fits_a_line() {
        for text in ["", "\u{202e}", "a\nb\u{200b}c", &"ä".repeat(REASON), &"𝄞".repeat(REASON)] {
            let fits = fitting_line(text);
            assert_eq!(line("it", &fits, REASON), Ok(()), "{text:?}");
        }
        assert_eq!(fitting_line("disk: no room"), "disk: no room");
    }
}
