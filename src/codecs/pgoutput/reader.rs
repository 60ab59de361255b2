//! A cursor that checks every step.

use bytes::Bytes;

use super::error::{DecodeError, ErrorKind};
use crate::model::{Lsn, Oid, PgTimestamp, Row, Xid};

/// Reads fields one after another; each failure names the field.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// An error at the last byte read.
    pub(super) fn refuse(&self, kind: ErrorKind) -> DecodeError {
        DecodeError { at: self.at.saturating_sub(1), kind }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(self.short(field))?;
        self.at += N;
        Ok(*array)
    }

    fn short(&self, field: &'static str) -> DecodeError {
        DecodeError { at: self.at, kind: ErrorKind::Short(field) }
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.array(field).map(u64::from_be_bytes).map(Lsn::new)
    }

    pub(super) fn timestamp(&mut self, field: &'static str) -> Result<PgTimestamp, DecodeError> {
        self.array(field).map(i64::from_be_bytes).map(PgTimestamp)
    }

    #[inline]
    pub(super) fn oid(&mut self, field: &'static str) -> Result<Oid, DecodeError> {
        self.u32(field).map(Oid)
    }

    #[inline]
    pub(super) fn xid(&mut self, field: &'static str) -> Result<Xid, DecodeError> {
        self.u32(field).map(Xid)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.refuse(ErrorKind::Undefined { field, value })),
        }
    }

    /// A byte that PostgreSQL keeps for later use and that is 0 until then.
    pub(super) fn reserved(&mut self, field: &'static str) -> Result<(), DecodeError> {
        match self.u8(field)? {
            0 => Ok(()),
            value => Err(self.refuse(ErrorKind::Undefined { field, value })),
        }
    }

    /// A name that ends with a zero byte.
    pub(super) fn name(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = memchr::memchr(0, rest).ok_or(self.short(field))?;
        let name = std::str::from_utf8(rest.get(..length).unwrap_or_default())
            .map_err(|e| DecodeError { at: self.at + e.valid_up_to(), kind: ErrorKind::Utf8(field) })?;
        self.at += length + 1;
        Ok(name.to_owned())
    }

    /// The next `length` bytes, shared.
    pub(super) fn bytes(&mut self, length: u32, field: &'static str) -> Result<Bytes, DecodeError> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let end = end.filter(|&end| end <= self.bytes.len()).ok_or(self.short(field))?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    /// A row in TupleData's layout, shared.
    #[inline]
    pub(super) fn row(&mut self) -> Result<Row, DecodeError> {
        let (row, end) =
            Row::slice(self.bytes, self.at).map_err(|e| DecodeError { at: self.at, kind: ErrorKind::Row(e) })?;
        self.at = end;
        Ok(row)
    }

    /// All that follows, shared.
    pub(super) fn rest(self) -> Bytes {
        self.bytes.slice(self.at.min(self.bytes.len())..)
    }

    /// Demands that nothing is left.
    #[inline]
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => Err(DecodeError { at: self.at, kind: ErrorKind::Trailing(left) }),
        }
    }
}
