//! Rows of `COPY` in text format, both ways.

use crate::model::{Cell, Row, RowWriter};

/// A line that is no row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CopyError {
    /// More or fewer fields than columns.
    #[error("a row of COPY has {found} fields where the table has {expected} columns")]
    Width {
        /// Fields in the line.
        found: usize,
        /// Columns of the table.
        expected: usize,
    },
    /// A backslash that begins nothing.
    #[error("a row of COPY ends in a backslash")]
    Escape,
}

/// Reads one line, with or without its line end, into a row of `width` cells. `scratch` is reused between calls.
pub fn row(line: &[u8], width: usize, scratch: &mut Vec<u8>, out: &mut RowWriter) -> Result<Row, CopyError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if width == 0 {
        return Ok(out.finish());
    }
    // Counted before anything is written, so that a bad line leaves the writer as it was.
    let found = memchr::memchr_iter(b'\t', line).count() + 1;
    if found != width {
        return Err(CopyError::Width { found, expected: width });
    }
    if line.last() == Some(&b'\\') && line.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1 {
        return Err(CopyError::Escape);
    }
    for field in line.split(|&b| b == b'\t') {
        if field == b"\\N" {
            out.push(Cell::Null);
        } else if memchr::memchr(b'\\', field).is_none() {
            out.push(Cell::Text(field));
        } else {
            unescape(field, scratch);
            out.push(Cell::Text(scratch));
        }
    }
    Ok(out.finish())
}

/// Undoes COPY's backslashes; PostgreSQL writes only the letters below, any other character stands for itself.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.extend(bytes.next().map(|&escaped| match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        }));
    }
}

/// Appends one field for `COPY ... FROM STDIN`; `None` is NULL.
pub fn field(value: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(value) = value else { return out.extend_from_slice(b"\\N") };
    for &byte in value {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8], width: usize) -> Result<Row, CopyError> {
        row(line, width, &mut Vec::new(), &mut RowWriter::new())
    }

    #[test]
    fn escapes_and_nulls_are_read() {
        let row = read(b"a\\tb\\\\N\t\\N\t\tx\\ny\\r\\b\\f\\v\n", 4).unwrap();
        let cells: Vec<_> = row.cells().collect();
        assert_eq!(cells, [Cell::Text(b"a\tb\\N"), Cell::Null, Cell::Text(b""), Cell::Text(b"x\ny\r\x08\x0c\x0b")]);
        assert_eq!(read(b"\n", 0).unwrap().width(), 0);
        assert_eq!(read(b"\n", 1).unwrap().cell(0), Cell::Text(b""));
    }

    #[test]
    fn what_is_written_is_read() {
        for value in [None, Some(&b""[..]), Some(b"\\N"), Some(b"a\tb\\\r\n\x08"), Some("ü\\t".as_bytes())] {
            let mut line = Vec::new();
            field(value, &mut line);
            assert_eq!(read(&line, 1).unwrap().cell(0), value.map_or(Cell::Null, Cell::Text));
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused() {
        assert_eq!(read(b"a\tb\n", 3), Err(CopyError::Width { found: 2, expected: 3 }));
        assert_eq!(read(b"a\\", 1), Err(CopyError::Escape));
        assert!(read(b"a\\\\", 1).is_ok());
    }
}
