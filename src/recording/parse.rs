//! Reading fields from bytes without ever reaching past them. Every answer is `None` when the bytes do not suffice.
//!
//! The container's bytes may come from anybody, so nothing here allocates by a length that was read, and nothing
//! panics. What the fields mean is in `header.rs`, `frame.rs` and `codec.rs`.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A LEB128 number of at most 64 bits in its shortest form; anything else is `None`.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(value);
            }
        }
        None
    }
}

/// Appends a number as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_survives_and_takes_exactly_its_bytes(value: u64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            bytes.extend(&tail);
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.varint(), Some(value));
            prop_assert_eq!(fields.rest(), tail.as_slice());
        }

        #[test]
        fn only_the_shortest_form_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut fields = Fields::new(&bytes);
            if let Some(value) = fields.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(again.as_slice(), bytes.get(..bytes.len() - fields.rest().len()).unwrap());
            }
        }
    }

    #[test]
    fn longer_than_needed_and_more_than_64_bits_are_refused() {
        assert_eq!(Fields::new(&[0x80, 0x00]).varint(), None);
        assert_eq!(Fields::new(&[0xff; 10]).varint(), None);
        assert_eq!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varint(), None);
    }
}
