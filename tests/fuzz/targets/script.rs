//! A stream between two sides as the captures in `tests/corpus/wire` hold it: a side, a length, bytes.
//!
//! Lengths beyond the input mean its rest, so that every input is a script. Used by both file protocols.

/// The pieces: whether the client sent it, and what.
pub(crate) fn pieces(mut rest: &[u8]) -> Vec<(bool, &[u8])> {
    let mut pieces = Vec::new();
    while let [side, a, b, c, d, after @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap().min(after.len());
        let (piece, later) = after.split_at(length);
        pieces.push((side & 1 == 1, piece));
        rest = later;
    }
    pieces
}
