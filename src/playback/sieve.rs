//! What a search may pass over: whole lines of plain text that do not hold the words looked for.
//!
//! Following every byte through the sanitiser and the line editor costs more than opening the recording. A line of
//! printable ASCII with nothing but its end after it reads on the screen as it stands in the bytes, so where the words
//! are not in its bytes, a person did not read them there either. Every other line goes the long way, so what is found
//! is the same with the sieve and without.

use memchr::memmem::Finder;

use super::lines::{Line, Lines};
use super::sanitise::colour;

/// Bytes looked at in one go: small enough to stay in the nearest cache.
const BLOCK: usize = 16 << 10;
/// Bytes of a block that are tested together.
const LANE: usize = 64;

/// The words, and which lines cannot hold them.
#[derive(Debug)]
pub(super) struct Sieve {
    finder: Option<Finder<'static>>,
    ignore_case: bool,
    /// A tab becomes blanks, so words with blanks could stand across one.
    is_tab_plain: bool,
    lower: Vec<u8>,
    uncoloured: Vec<u8>,
}

impl Default for Sieve {
    /// A sieve that looks for nothing.
    fn default() -> Self {
        Self {
            finder: None,
            ignore_case: false,
            is_tab_plain: true,
            lower: Vec::new(),
            uncoloured: Vec::new(),
        }
    }
}

impl Sieve {
    /// A sieve for `needle`, which is in lower case when the case is ignored.
    pub(super) fn new(needle: &str, ignore_case: bool) -> Self {
        // Plain lines are ASCII and stay so in lower case: other words cannot be in them.
        let finder = needle.is_ascii().then(|| Finder::new(needle.as_bytes()).into_owned());
        Self { finder, ignore_case, is_tab_plain: !needle.contains(' '), ..Self::default() }
    }

    /// Feeds `lines`, leaving out what cannot hold the words.
    pub(super) fn feed(&mut self, lines: &mut Lines, mut bytes: &[u8], mut seen: impl FnMut(Line<'_>)) {
        while !bytes.is_empty() {
            let (skipped, ended) = if lines.is_fresh() { self.skip(bytes) } else { (0, 0) };
            lines.pass(ended);
            let rest = bytes.split_at_checked(skipped).map_or(bytes, |(_, rest)| rest);
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
            let (line, after) = rest.split_at_checked(line).unwrap_or((rest, &[]));
            lines.feed(line, &mut seen);
            bytes = after;
        }
    }

    /// How many bytes at the beginning can be left out, always whole lines, and how many lines those are.
    fn skip(&mut self, bytes: &[u8]) -> (usize, u64) {
        let (mut skipped, mut ended) = (0_usize, 0_u64);
        while let Some(rest) = bytes.get(skipped..).filter(|rest| !rest.is_empty()) {
            let block = rest.get(..BLOCK).unwrap_or(rest);
            let plain = block.get(..self.plain(block)).unwrap_or_default();
            let mut whole = memchr::memrchr(b'\n', plain).map_or(0, |end| end.saturating_add(1));
            let hit = self.find(plain.get(..whole).unwrap_or_default());
            if let Some(hit) = hit {
                let before = plain.get(..hit).unwrap_or_default();
                whole = memchr::memrchr(b'\n', before).map_or(0, |end| end.saturating_add(1));
            }
            let passed = plain.get(..whole).unwrap_or_default();
            let count = memchr::memchr_iter(b'\n', passed).count();
            ended = ended.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            skipped = skipped.saturating_add(whole);
            if hit.is_some() {
                break;
            }
            if plain.len() < block.len() || whole == 0 {
                let (coloured, lines, is_hit) = self.skip_coloured(bytes.get(skipped..).unwrap_or_default());
                ended = ended.saturating_add(lines);
                skipped = skipped.saturating_add(coloured);
                if coloured == 0 || is_hit {
                    break;
                }
            }
        }
        (skipped, ended)
    }

    /// How many bytes at the beginning are whole lines that are plain but for colours and do not hold the words, how
    /// many lines those are, and whether one that holds them follows.
    fn skip_coloured(&mut self, bytes: &[u8]) -> (usize, u64, bool) {
        let block = bytes.get(..BLOCK).unwrap_or(bytes);
        let mut text = std::mem::take(&mut self.uncoloured);
        text.clear();
        let mut rest = block;
        while let Some(at) = memchr::memchr(b'\x1b', rest) {
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            text.extend_from_slice(before);
            // What is no colour stays, and is not plain.
            let colour = colour(after);
            text.extend_from_slice(after.get(..usize::from(colour == 0)).unwrap_or_default());
            rest = after.get(colour.max(1)..).unwrap_or_default();
        }
        text.extend_from_slice(rest);
        let plain = text.get(..self.plain(&text)).unwrap_or_default();
        let lines_of = |text: &[u8]| memchr::memrchr(b'\n', text).map_or(0, |end| end.saturating_add(1));
        let mut whole = lines_of(plain);
        let hit = self.find(plain.get(..whole).unwrap_or_default());
        if let Some(hit) = hit {
            whole = lines_of(plain.get(..hit).unwrap_or_default());
        }
        let lines = memchr::memchr_iter(b'\n', plain.get(..whole).unwrap_or_default()).count();
        // No colour has a line's end in it, so there are as many with them.
        let last = lines.checked_sub(1).and_then(|before| memchr::memchr_iter(b'\n', block).nth(before));
        self.uncoloured = text;
        let length = last.map_or(0, |last| last.saturating_add(1));
        (length, u64::try_from(lines).unwrap_or(u64::MAX), hit.is_some())
    }

    fn find(&mut self, text: &[u8]) -> Option<usize> {
        let finder = self.finder.as_ref()?;
        if !self.ignore_case {
            return finder.find(text);
        }
        self.lower.clear();
        self.lower.extend_from_slice(text);
        self.lower.make_ascii_lowercase();
        finder.find(&self.lower)
    }

    /// How many bytes at the beginning are printable ASCII, line ends, or tabs where those do no harm.
    fn plain(&self, block: &[u8]) -> usize {
        let tab = if self.is_tab_plain { b'\t' } else { b'\n' };
        // A return that is no part of a line's end writes over the line.
        let is_odd = |byte: u8, next: u8| {
            let is_print = byte.wrapping_sub(b' ') <= b'~' - b' ';
            let is_end = (byte == b'\n') | ((byte == b'\r') & (next == b'\n'));
            !(is_print | is_end | (byte == tab))
        };
        let nexts = block.get(1..).unwrap_or_default();
        for (n, (lane, next)) in block.chunks(LANE).zip(nexts.chunks(LANE)).enumerate() {
            // No branch inside, so that the compiler tests many bytes at once.
            let odd = lane.iter().zip(next).fold(false, |odd, (byte, next)| odd | is_odd(*byte, *next));
            if odd {
                let bad = lane.iter().zip(next).position(|(byte, next)| is_odd(*byte, *next));
                return n.saturating_mul(LANE).saturating_add(bad.unwrap_or(0));
            }
        }
        // What follows the last byte is not known.
        match block.split_last() {
            Some((last, before)) if is_odd(*last, 0) => before.len(),
            _ => block.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seen = Vec<(String, u64, bool)>;

    /// Every line that holds the words, with the sieve or without.
    fn holding(pieces: &[&[u8]], needle: &str, ignore_case: bool, with: bool) -> Seen {
        let (mut lines, mut sieve, mut found) = (Lines::new(), Sieve::new(needle, ignore_case), Seen::new());
        let mut look = |line: Line<'_>| {
            let text = if ignore_case { line.text.to_lowercase() } else { line.text.to_owned() };
            if text.contains(needle) {
                found.push((line.text.to_owned(), line.number, line.is_complete));
            }
        };
        for piece in pieces {
            if with {
                sieve.feed(&mut lines, piece, &mut look);
            } else {
                lines.feed(piece, &mut look);
            }
        }
        lines.finish(&mut look);
        found
    }

    #[test]
    fn plain_lines_are_passed_over_and_counted() {
        let text = "nothing here\r\n".repeat(10_000) + "the needle\r\n";
        let mut sieve = Sieve::new("needle", false);
        assert_eq!(sieve.skip(text.as_bytes()), (140_000, 10_000));
        assert_eq!(holding(&[text.as_bytes()], "needle", false, true)[0].1, 10_001);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn what_is_found_does_not_depend_on_the_sieve(
            lines in proptest::collection::vec(
                "([abAB ]|ab|\\t|é|\\x1b\\[[0-9;]{0,3}m){0,40}(\\r|\\x08|\\x1b\\[[0-9;?]{0,3}[A-z]|\\x1b\\(0|\\x1b\\]x|ab)?(\\n|\\r\\n|\\r|\\r\\r\\n)",
                0..12,
            ),
            needle in "[ab]{1,3}|a b|é", ignore_case: bool, cut in 0_usize..200,
        ) {
            let text = lines.concat();
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            let pieces = [first, second];
            let without = holding(&pieces, &needle, ignore_case, false);
            prop_assert_eq!(holding(&pieces, &needle, ignore_case, true), without);
        }
    }
}
