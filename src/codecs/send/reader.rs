//! A value's bytes from front to back.

use super::SendError;

type Result<T> = std::result::Result<T, SendError>;

/// What is left to read of a value.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// So many bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SendError::Broken)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SendError::Broken)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32> {
        self.array().map(f32::from_be_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        self.array().map(f64::from_be_bytes)
    }

    /// A count of things of which each takes `least` bytes: no more of them than there can be.
    pub(super) fn count(&mut self, least: usize) -> Result<u32> {
        let count = self.u32()?;
        let needed = usize::try_from(count).ok().and_then(|count| count.checked_mul(least));
        needed.filter(|needed| *needed <= self.rest.len()).map(|_| count).ok_or(SendError::Broken)
    }

    /// A length of 32 bits and so many bytes; `None` where the length is -1, for NULL.
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| SendError::Broken)?).map(Some),
        }
    }

    /// A length of 32 bits and so many bytes.
    pub(super) fn counted(&mut self) -> Result<&'a [u8]> {
        self.nullable()?.ok_or(SendError::Broken)
    }

    /// Bytes up to a zero byte, which is passed by.
    pub(super) fn c_string(&mut self) -> Result<&'a [u8]> {
        let length = memchr::memchr(0, self.rest).ok_or(SendError::Broken)?;
        let text = self.take(length)?;
        self.u8()?;
        Ok(text)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
