//! A message's fields, in order: big-endian integers and zero-terminated strings, all of which must be used up.
//!
//! Values are slices of the message, which is shared and not copied.

use bytes::Bytes;

use super::Malformed;

/// A message whose fields are read one after another.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    kind: u8,
    rest: Bytes,
}

impl Fields {
    pub(super) const fn new(kind: u8, body: Bytes) -> Self {
        Self { kind, rest: body }
    }

    pub(super) fn wrong(&self) -> Malformed {
        Malformed::Fields { kind: self.kind.into() }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.rest.len() {
            return Err(self.wrong());
        }
        Ok(self.rest.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.as_ref().try_into().map_err(|_| self.wrong())
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A string up to its zero byte, which is left out.
    pub(super) fn string(&mut self) -> Result<Bytes, Malformed> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or_else(|| self.wrong())?;
        let text = self.rest.split_to(end);
        self.take(1)?;
        Ok(text)
    }

    /// A value after its length; `None` is SQL's NULL, whose length is -1.
    pub(super) fn value(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.u32()? {
            u32::MAX => Ok(None),
            length => self.take(usize::try_from(length).unwrap_or(usize::MAX)).map(Some),
        }
    }

    /// As many as a count says, which stands before them. Nothing is reserved for a count that the message cannot hold.
    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u16()?;
        let mut all = Vec::with_capacity(usize::from(count).min(self.rest.len()));
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Gives `value` when every field was read.
    pub(super) fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.rest.is_empty() { Ok(value) } else { Err(self.wrong()) }
    }
}
