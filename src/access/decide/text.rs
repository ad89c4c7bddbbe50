//! Bounds on what people write into the ledger: length, and nothing that would not show as it is.
//!
//! Read next: `requests.rs`.

use crate::access::denied::Denied;

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

/// Control characters, and the ones that reorder or hide text around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
