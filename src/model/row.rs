//! Rows: one slice of a shared buffer each.
//!
//! A row keeps the layout of pgoutput's TupleData (a 16-bit count, then for each column a kind byte and, where there
//! is a value, a 32-bit length and its bytes), so a streamed row *is* a slice of the receive buffer: no allocation
//! and no copy for a row, none for a value. Rows from elsewhere (COPY, Kafka) are written in the same layout, many
//! into one buffer, by [`RowWriter`]. The layout is checked once, when the row is made; reading it can't fail.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>

use bytes::{BufMut, Bytes, BytesMut};

/// One value of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// A large value that the update did not touch and that was not sent: neither NULL nor known here.
    Unchanged,
    /// The value as PostgreSQL prints it.
    Text(&'a [u8]),
    /// The value as the type's send function writes it.
    Binary(&'a [u8]),
}

/// A row's bytes that do not follow the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// The bytes end inside the row.
    #[error("the row is cut off")]
    Short,
    /// A kind byte that is none of `n`, `u`, `t`, `b`.
    #[error("unknown kind of value 0x{0:02x}")]
    Kind(u8),
}

/// A row whose layout has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    bytes: Bytes,
}

impl Row {
    /// Takes the row that begins at `start` of `buffer`; returns it and where it ends.
    pub fn slice(buffer: &Bytes, start: usize) -> Result<(Row, usize), RowError> {
        let rest = buffer.get(start..).ok_or(RowError::Short)?;
        let length = measure(rest)?;
        Ok((Row { bytes: buffer.slice(start..start + length) }, start + length))
    }

    /// How many columns it has.
    pub fn width(&self) -> usize {
        match *self.bytes {
            [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        }
    }

    /// The cells in column order.
    pub fn cells(&self) -> Cells<'_> {
        Cells { rest: self.bytes.get(2..).unwrap_or_default() }
    }

    /// The cell of column `index`; NULL beyond the row's width. Walks the row: iterate with [`Row::cells`] where more than one is needed.
    pub fn cell(&self, index: usize) -> Cell<'_> {
        self.cells().nth(index).unwrap_or(Cell::Null)
    }

    /// The row as TupleData.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether any cell is [`Cell::Unchanged`].
    pub fn has_unchanged(&self) -> bool {
        self.cells().any(|cell| cell == Cell::Unchanged)
    }
}

impl std::fmt::Debug for Row {
    /// Shows the shape, never the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} columns, {} bytes)", self.width(), self.size())
    }
}

/// Walks a row's cells.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        let (cell, rest) = split(self.rest).ok()??;
        self.rest = rest;
        Some(cell)
    }
}

/// The first cell of `bytes` and what follows it; `None` at the end.
#[inline]
fn split(bytes: &[u8]) -> Result<Option<(Cell<'_>, &[u8])>, RowError> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    match kind {
        b'n' => Ok(Some((Cell::Null, rest))),
        b'u' => Ok(Some((Cell::Unchanged, rest))),
        b't' | b'b' => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or(RowError::Short)?;
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| RowError::Short)?;
            let (value, rest) = rest.split_at_checked(length).ok_or(RowError::Short)?;
            let cell = if kind == b't' { Cell::Text(value) } else { Cell::Binary(value) };
            Ok(Some((cell, rest)))
        }
        other => Err(RowError::Kind(other)),
    }
}

/// The length of the row that `bytes` begin with.
fn measure(bytes: &[u8]) -> Result<usize, RowError> {
    let (width, mut rest) = bytes.split_first_chunk::<2>().ok_or(RowError::Short)?;
    for _ in 0..u16::from_be_bytes(*width) {
        (_, rest) = split(rest)?.ok_or(RowError::Short)?;
    }
    Ok(bytes.len() - rest.len())
}

/// Writes rows one after another into a shared buffer.
#[derive(Debug, Default)]
pub struct RowWriter {
    buffer: BytesMut,
    width: u16,
}

impl RowWriter {
    /// How much is reserved at a time: one allocation for the rows of about this many bytes.
    const CHUNK: usize = 256 * 1024;

    /// A writer that has reserved nothing yet.
    pub fn new() -> RowWriter {
        RowWriter::default()
    }

    /// Adds a cell to the row under construction.
    pub fn push(&mut self, cell: Cell<'_>) {
        if self.width == 0 {
            self.buffer.reserve(64);
            self.buffer.put_u16(0);
        }
        self.width += 1;
        match cell {
            Cell::Null => self.put(b'n', None),
            Cell::Unchanged => self.put(b'u', None),
            Cell::Text(value) => self.put(b't', Some(value)),
            Cell::Binary(value) => self.put(b'b', Some(value)),
        }
    }

    fn put(&mut self, kind: u8, value: Option<&[u8]>) {
        let needed = 5 + value.map_or(0, <[u8]>::len);
        if self.buffer.capacity() - self.buffer.len() < needed {
            self.buffer.reserve(needed.max(Self::CHUNK));
        }
        self.buffer.put_u8(kind);
        if let Some(value) = value {
            let length = i32::try_from(value.len()).expect("PostgreSQL values are below 1 GiB");
            self.buffer.put_i32(length);
            self.buffer.put_slice(value);
        }
    }

    /// Ends the row. At most 65,535 columns; PostgreSQL allows 1,600.
    pub fn finish(&mut self) -> Row {
        if self.width == 0 {
            self.buffer.put_u16(0);
        }
        let width = std::mem::take(&mut self.width);
        let mut row = self.buffer.split();
        if let Some(head) = row.first_chunk_mut::<2>() {
            *head = width.to_be_bytes();
        }
        Row { bytes: row.freeze() }
    }
}

impl<'a> FromIterator<Cell<'a>> for Row {
    fn from_iter<I: IntoIterator<Item = Cell<'a>>>(cells: I) -> Row {
        let mut writer = RowWriter::new();
        cells.into_iter().for_each(|cell| writer.push(cell));
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cells = [Cell::Null, Cell::Text(b"a"), Cell::Unchanged, Cell::Binary(&[0, 1]), Cell::Text(b"")];
        let row: Row = cells.into_iter().collect();
        assert_eq!(row.width(), 5);
        assert_eq!(row.cells().collect::<Vec<_>>(), cells);
        assert_eq!(row.cell(3), Cell::Binary(&[0, 1]));
        assert_eq!(row.cell(9), Cell::Null);
        assert!(row.has_unchanged());
    }

    #[test]
    fn rows_of_one_writer_are_independent() {
        let mut writer = RowWriter::new();
        writer.push(Cell::Text(b"one"));
        let one = writer.finish();
        let none = writer.finish();
        writer.push(Cell::Text(b"two"));
        let two = writer.finish();
        assert_eq!((one.cell(0), none.width(), two.cell(0)), (Cell::Text(b"one"), 0, Cell::Text(b"two")));
    }

    #[test]
    fn a_slice_ends_where_the_row_ends() {
        let row: Row = [Cell::Text(b"abc"), Cell::Null].into_iter().collect();
        let mut bytes = BytesMut::from(&b"xx"[..]);
        bytes.extend_from_slice(&row.bytes);
        bytes.extend_from_slice(b"yy");
        let bytes = bytes.freeze();
        assert_eq!(Row::slice(&bytes, 2), Ok((row.clone(), 2 + row.size())));
        assert_eq!(Row::slice(&bytes.slice(..bytes.len() - 3), 2), Err(RowError::Short));
        assert_eq!(Row::slice(&Bytes::from_static(&[0, 1, b'q']), 0), Err(RowError::Kind(b'q')));
        assert_eq!(Row::slice(&Bytes::from_static(&[0, 1, b't', 255, 255, 255, 255]), 0), Err(RowError::Short));
    }
}
