//! The one bounds-checked cursor that all codecs share: big-endian integers and length-prefixed strings.
//!
//! Never here: allocation, or knowledge of any protocol. Next: `ssh/sftp.rs` for how it is used.

/// A cursor over bytes from a peer. Reading past the end is an error, never a panic.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// The peer's bytes are not what their own lengths say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes end before the value does.
    #[error("the message ends too early")]
    Short,
    /// A string is longer than is allowed here.
    #[error("a string of {given} bytes where at most {most} are allowed")]
    TooLong {
        /// Its length.
        given: usize,
        /// The limit.
        most: usize,
    },
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        let (first, rest) = self.rest.split_first().ok_or(ReadError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Four bytes, most significant first.
    ///
    /// # Errors
    /// At the end.
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, most significant first.
    ///
    /// # Errors
    /// At the end.
    pub fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string after its four-byte length.
    ///
    /// # Errors
    /// At the end, or when the string is longer than `most`.
    pub fn string(&mut self, most: usize) -> Result<&'a [u8], ReadError> {
        let given = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if given > most {
            return Err(ReadError::TooLong { given, most });
        }
        let (string, rest) = self.rest.split_at_checked(given).ok_or(ReadError::Short)?;
        self.rest = rest;
        Ok(string)
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ReadError::Short)?;
        self.rest = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_come_out_in_order_and_the_end_is_an_error() {
        let mut reader = Reader::new(&[7, 0, 0, 0, 2, b'h', b'i', 0, 0, 1, 0, 9]);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.string(2), Ok(&b"hi"[..]));
        assert_eq!(reader.u32(), Ok(256));
        assert_eq!(reader.u32(), Err(ReadError::Short));
        assert_eq!(reader.rest(), [9]);
        assert_eq!(reader.u64(), Err(ReadError::Short));
    }

    #[test]
    fn a_long_string_is_refused_before_its_bytes_arrive() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(reader.string(10), Err(ReadError::TooLong { most: 10, .. })));
    }

    proptest! {
        #[test]
        fn strings_survive(bytes in proptest::collection::vec(any::<u8>(), 0..300), tail in any::<[u8; 3]>()) {
            let mut message = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            message.extend(&bytes);
            message.extend(tail);
            let mut reader = Reader::new(&message);
            prop_assert_eq!(reader.string(300).unwrap(), &bytes[..]);
            prop_assert_eq!(reader.rest(), &tail[..]);
        }
    }
}
