//! Which bytes of one line are secret, in whatever way it is read.
//!
//! A private key goes over several lines, so each look is given whether one is open and says whether one stays open.
//! Where the readings of `line.rs` disagree about that, it stays open: too much starred out is no leak.

use super::line::readings;
use super::patterns::Mask;

/// What a line leaves of private keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// One begins in it and does not end.
    Begins,
    /// None is open.
    Closed,
    /// The one that was open goes on.
    GoesOn,
}

/// For each byte whether it is secret, and whether a private key is open behind the line.
pub(super) fn look(mask: &Mask, line: &[u8], width: Option<u32>, is_in_key: bool) -> (Vec<bool>, Key) {
    let mut secret = vec![false; line.len()];
    let (mut begins, mut is_ended, mut goes_on) = (None, false, false);
    for reading in readings(line, width) {
        let found = mask.find(&reading.text);
        for range in found.secrets {
            for at in reading.from.get(range).unwrap_or_default() {
                secret.get_mut(*at).into_iter().for_each(|byte| *byte = true);
            }
        }
        let begin = found.first_begin.and_then(|at| reading.from.get(at)).copied();
        begins = begins.into_iter().chain(begin).min();
        is_ended |= found.last_end.is_some();
        goes_on |= found.last_begin > found.last_end;
    }
    if is_in_key || begins.is_some() {
        let from = if is_in_key { 0 } else { begins.unwrap_or(0) };
        secret.iter_mut().skip(from).for_each(|byte| *byte = true);
    }
    let key = match (goes_on, is_in_key && !is_ended) {
        (true, _) => Key::Begins,
        (false, true) => Key::GoesOn,
        (false, false) => Key::Closed,
    };
    (secret, key)
}

/// Stars out one byte, unless it is a control character: those keep the shape of what is shown.
pub(super) const fn star(byte: &mut u8) {
    if !byte.is_ascii_control() {
        *byte = b'*';
    }
}
