//! Keys as bytes: equal exactly where PostgreSQL calls the values equal.

use crate::model::{Cell, Error, PgType, Result, Row, Table};

/// The key of a row: each part with its length, so that no two keys run into one.
///
/// `spelled` names the columns of which the warehouse keeps, and tells apart, each spelling: there a key that is spelled
/// anew is another one. PostgreSQL tells the old spelling with every such change.
pub fn key(table: &Table, spelled: &[usize], row: &Row) -> Vec<u8> {
    let mut key = Vec::with_capacity(table.key.len() * 12);
    for &index in &table.key {
        let text = match row.cell(index) {
            Cell::Text(text) | Cell::Binary(text) if spelled.contains(&index) => text,
            Cell::Text(text) | Cell::Binary(text) => {
                table.columns.get(index).map_or(text, |c| canonical(&c.pg_type, text))
            }
            Cell::Null | Cell::Unchanged => {
                key.extend_from_slice(&u32::MAX.to_be_bytes());
                continue;
            }
        };
        key.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX - 1).to_be_bytes());
        key.extend_from_slice(text);
    }
    key
}

/// An update's row with its key: one can be so large that it, too, is left out as unchanged; then the old row has it.
pub fn with_key(table: &Table, new: Row, old: Option<&Row>) -> Result<Row> {
    if !table.key.iter().any(|&i| new.cell(i) == Cell::Unchanged) {
        return Ok(new);
    }
    let Some(old) = old else {
        return Err(Error::corrupt(format!("an update of {} has neither a key nor an old one", table.name)));
    };
    let pick = |(i, (new, old))| if table.key.contains(&i) && new == Cell::Unchanged { old } else { new };
    Ok(new.cells().zip(old.cells()).enumerate().map(pick).collect())
}

/// Cuts what makes no difference to equality: a number's trailing zeros and zero's sign, `char(n)`'s blanks.
fn canonical<'a>(pg_type: &PgType, text: &'a [u8]) -> &'a [u8] {
    match pg_type {
        PgType::Numeric if text.contains(&b'.') => {
            let cut = text.trim_suffix_zeros();
            if cut == b"-0" { b"0" } else { cut }
        }
        PgType::Float4 | PgType::Float8 if text == b"-0" => b"0",
        PgType::Bpchar => {
            let end = text.iter().rposition(|&b| b != b' ').map_or(0, |last| last + 1);
            text.get(..end).unwrap_or(text)
        }
        _ => text,
    }
}

/// Zeros after the point.
trait TrimZeros {
    fn trim_suffix_zeros(&self) -> &Self;
}

impl TrimZeros for [u8] {
    fn trim_suffix_zeros(&self) -> &[u8] {
        let end = self.iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
        let cut = self.get(..end).unwrap_or(self);
        cut.strip_suffix(b".").unwrap_or(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_key() {
        for (pg_type, a, b) in [
            (PgType::Numeric, "1.00", "1"),
            (PgType::Numeric, "1.50", "1.5"),
            (PgType::Numeric, "-0.00", "0"),
            (PgType::Float8, "-0", "0"),
            (PgType::Bpchar, "a  ", "a"),
        ] {
            assert_eq!(canonical(&pg_type, a.as_bytes()), canonical(&pg_type, b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn different_values_are_different_keys() {
        for (pg_type, a, b) in [
            (PgType::Numeric, "100", "1"),
            (PgType::Numeric, "10.0", "1"),
            (PgType::Text, "a ", "a"),
            (PgType::Text, "1.0", "1"),
        ] {
            assert_ne!(canonical(&pg_type, a.as_bytes()), canonical(&pg_type, b.as_bytes()), "{a} {b}");
        }
    }
}
