//! Rows written as CSV.

use super::columns::{self, Key, Misfit};
use crate::codecs::dialect::Staging;
use crate::model::Cell;

/// What stands for NULL: a text that nobody has.
pub(super) const NULL: &str = "~tw~null~";

/// Appends a field; `first` is the first of its line.
pub(super) fn field(
    cell: Cell<'_>,
    (staging, key): (Staging, Option<Key>),
    first: bool,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    if !first {
        out.push(b',');
    }
    let text = match cell {
        Cell::Null | Cell::Unchanged if key.is_some() => return Err("is NULL, which no key's column can be"),
        Cell::Null | Cell::Unchanged => {
            out.extend_from_slice(NULL.as_bytes());
            return Ok(());
        }
        Cell::Text(text) => text,
        Cell::Binary(_) => return Err("came in binary form"),
    };
    match staging {
        Staging::Bytes if text.len() > 2 * 1_024_000 + 2 => {
            return Err("has more than 1,024,000 bytes, the most that VARBYTE holds");
        }
        // Hexadecimal without PostgreSQL's mark.
        Staging::Bytes => out.extend_from_slice(text.strip_prefix(b"\\x").ok_or("is not hexadecimal")?),
        Staging::Date => columns::day(text).map(|_| out.extend_from_slice(text))?,
        // In UTC already: the session prints it so.
        Staging::Timestamp => {
            columns::moment(text).map(|_| out.extend_from_slice(text.strip_suffix(b"+00").unwrap_or(text)))?
        }
        Staging::Decimal(_, scale) => columns::decimal(text, scale).map(|_| out.extend_from_slice(text))?,
        Staging::Time | Staging::Super | Staging::Text => {
            let text = columns::readable(text, staging, key)?;
            if text == NULL.as_bytes() {
                return Err("is the text that stands for NULL in CSV");
            }
            quoted(text, out);
        }
        _ => out.extend_from_slice(text),
    }
    Ok(())
}

/// Quotes inside are doubled.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some((before, after)) = memchr::memchr(b'"', rest).and_then(|at| rest.split_at_checked(at + 1)) {
        out.extend_from_slice(before);
        out.push(b'"');
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
