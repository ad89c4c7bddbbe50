//! The control sequences that may reach a reviewer's terminal, and the form in which they do.
//!
//! One function from a parsed CSI sequence to the one we write in its place, or nothing. Parameters are rebuilt from
//! numbers we parsed and bounded, never copied. Nothing on this list makes any terminal send anything back, resizes
//! a window, reaches outside the screen, or changes what keys send.

use std::fmt::Write as _;

/// Numbers in one sequence; real programs use at most about twenty.
pub(super) const MOST_PARAMETERS: usize = 32;
/// The largest movement, row or column; screens have at most this many.
const FURTHEST: u16 = 1000;
/// The largest number in SGR: a colour component.
const SGR_LARGEST: u16 = 255;
/// The most repetitions of a character; a program repeats within one line.
const MOST_REPEATS: u16 = 256;

/// A CSI sequence as read: `ESC [ PREFIX PARAMETERS INTERMEDIATES FINAL`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Csi<'a> {
    /// `<`, `=`, `>` or `?`, where there is one.
    pub(super) prefix: Option<char>,
    /// Digits, `;` and `:`.
    pub(super) parameters: &'a str,
    /// Characters from space to `/`.
    pub(super) intermediates: &'a str,
    /// The character that ends it.
    pub(super) last: char,
}

/// Writes the safe form of a sequence; says whether all of it was let through.
pub(super) fn write(csi: Csi<'_>, to: &mut String) -> bool {
    match (csi.prefix, csi.intermediates) {
        (None, "") => write_plain(csi, to),
        (Some('?'), "") if matches!(csi.last, 'h' | 'l') => write_modes(csi, to),
        (None, "!") if csi.last == 'p' && csi.parameters.is_empty() => {
            to.push_str("\x1b[!p");
            true
        }
        _ => false,
    }
}

fn write_plain(csi: Csi<'_>, to: &mut String) -> bool {
    match csi.last {
        'm' => write_sgr(csi.parameters, to),
        '@' | 'A'..='G' | 'I' | 'L' | 'M' | 'P' | 'S' | 'X' | 'Z' | '`' | 'a' | 'd' | 'e' => {
            write_numbers(csi, 1, FURTHEST, to)
        }
        // With more than one parameter this is mouse highlighting, which some terminals wait in.
        'T' => write_numbers(csi, 1, FURTHEST, to),
        'H' | 'f' | 'r' => write_numbers(csi, 2, FURTHEST, to),
        'J' | 'K' => matches!(csi.parameters, "" | "0" | "1" | "2") && write_numbers(csi, 1, 2, to),
        'b' => {
            number(csi.parameters).is_some_and(|n| n <= MOST_REPEATS)
                && write_numbers(csi, 1, MOST_REPEATS, to)
        }
        's' | 'u' => csi.parameters.is_empty() && write_numbers(csi, 0, 0, to),
        'h' | 'l' => csi.parameters == "4" && write_numbers(csi, 1, 4, to),
        _ => false,
    }
}

/// Writes a sequence with at most `most` numbers, each at most `largest`.
fn write_numbers(csi: Csi<'_>, most: usize, largest: u16, to: &mut String) -> bool {
    let given = csi.parameters.split(';').count();
    if given > most.max(1) || csi.parameters.contains(':') {
        return false;
    }
    to.push_str("\x1b[");
    for (i, text) in csi.parameters.split(';').enumerate() {
        if i > 0 {
            to.push(';');
        }
        if !text.is_empty() {
            push_number(number(text).unwrap_or(0).min(largest), to);
        }
    }
    to.push(csi.last);
    true
}

/// Colours and styles. Numbers beyond a colour's range void the sequence, since they mean nothing.
fn write_sgr(parameters: &str, to: &mut String) -> bool {
    let numbers = || parameters.split([';', ':']);
    let is_sane = numbers().count() <= MOST_PARAMETERS
        && numbers().all(|text| text.is_empty() || number(text).is_some_and(|n| n <= SGR_LARGEST));
    if !is_sane {
        return false;
    }
    to.push_str("\x1b[");
    for text in parameters.split_inclusive([';', ':']) {
        let (digits, separator) = text
            .strip_suffix([';', ':'])
            .map_or((text, ""), |digits| (digits, if text.ends_with(':') { ":" } else { ";" }));
        if !digits.is_empty() {
            push_number(number(digits).unwrap_or(0), to);
        }
        to.push_str(separator);
    }
    to.push('m');
    true
}

/// DEC private modes: origin, wrap, cursor visibility and the alternate screen; the rest of the list is left out.
fn write_modes(csi: Csi<'_>, to: &mut String) -> bool {
    let mut all = true;
    let mut first = true;
    for text in csi.parameters.split(';').take(MOST_PARAMETERS) {
        match number(text) {
            Some(mode @ (6 | 7 | 25 | 47 | 1047 | 1048 | 1049)) => {
                to.push_str(if first { "\x1b[?" } else { ";" });
                push_number(mode, to);
                first = false;
            }
            _ => all = false,
        }
    }
    if !first {
        to.push(csi.last);
    }
    all && !first
}

/// A decimal number; too large ones are the largest there is, an empty one is zero.
fn number(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    text.bytes().try_fold(0_u16, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum.saturating_mul(10).saturating_add(u16::from(digit.wrapping_sub(b'0'))))
    })
}

fn push_number(number: u16, to: &mut String) {
    if write!(to, "{number}").is_err() {
        to.push('0');
    }
}
