//! Bytes to text across chunk borders: an incomplete sequence waits for its rest, a bad one becomes U+FFFD.
//!
//! Every consumer of recorded bytes decodes through here, so that they agree on what the text was. At most three
//! bytes are ever held back. Nothing here knows about control characters: see [`super::sanitise`].

/// A decoder that may be fed any split of the same bytes and gives the same text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Utf8 {
    /// The beginning of a sequence that the last feed did not complete.
    carried: Vec<u8>,
}

impl Utf8 {
    /// Decodes `bytes` onto the end of `text`.
    pub(crate) fn feed(&mut self, bytes: &[u8], text: &mut String) {
        if self.carried.is_empty() {
            self.decode(bytes, text);
        } else {
            let mut joined = std::mem::take(&mut self.carried);
            joined.extend_from_slice(bytes);
            self.decode(&joined, text);
        }
    }

    /// Says that nothing follows: an incomplete sequence is a bad one.
    pub(crate) fn finish(&mut self, text: &mut String) {
        if !self.carried.is_empty() {
            self.carried.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Whether the last feed ended between two characters.
    pub(crate) const fn is_whole(&self) -> bool {
        self.carried.is_empty()
    }

    fn decode(&mut self, bytes: &[u8], text: &mut String) {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let bad = chunk.invalid();
            if bad.is_empty() {
                continue;
            }
            let could_go_on = chunks.peek().is_none()
                && str::from_utf8(bad).is_err_and(|error| error.error_len().is_none());
            if could_go_on {
                self.carried.extend_from_slice(bad);
            } else {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> String {
        let (mut utf8, mut text) = (Utf8::default(), String::new());
        utf8.feed(bytes, &mut text);
        utf8.finish(&mut text);
        text
    }

    #[test]
    fn a_character_cut_in_two_arrives_whole() {
        let (mut utf8, mut text) = (Utf8::default(), String::new());
        for byte in "a€😀z".as_bytes() {
            utf8.feed(&[*byte], &mut text);
        }
        assert_eq!(text, "a€😀z");
        utf8.feed(&[0xe2, 0x82], &mut text);
        assert_eq!(text, "a€😀z", "held back until it is known");
        utf8.finish(&mut text);
        assert_eq!(text, "a€😀z\u{fffd}");
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_however_it_is_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            cut in 0_usize..64,
        ) {
            prop_assert_eq!(whole(&bytes), String::from_utf8_lossy(&bytes));
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let (mut utf8, mut text) = (Utf8::default(), String::new());
            utf8.feed(first, &mut text);
            utf8.feed(second, &mut text);
            utf8.finish(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
