//! Rows as DuckDB's appender takes them: columns of texts, which DuckDB casts to what its table has.

use std::sync::Arc;

use duckdb::arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder};
use duckdb::arrow::datatypes::{Field, Schema};

use crate::codecs::dialect::{Duckdb, Target};
use crate::logic::merge::NetRow;
use crate::model::{Cell, Column, Error, PgType, Result};

/// Rows as the staging table has them, or the table of raw rows.
pub(super) fn batch(target: &Target, rows: &[NetRow]) -> Result<RecordBatch> {
    let table = &target.table;
    let mut values: Vec<Values> = table.columns.iter().map(|column| Values::of(column, rows.len())).collect();
    let (mut lsn, mut seq) = (Int64Builder::new(), Int64Builder::new());
    let (mut op, mut missing) = (StringBuilder::new(), StringBuilder::new());
    let layout = target.layout;
    let mut extras: Vec<StringBuilder> = layout.staged().iter().map(|_| StringBuilder::new()).collect();
    let mut base: Vec<Values> = table.key_columns().map(|column| Values::of(column, 0)).collect();
    let mut scratch = Vec::new();
    for row in rows {
        for ((values, cell), column) in values.iter_mut().zip(row.row.cells()).zip(&table.columns) {
            values.append(column, cell).map_err(|what| misread(target, &column.name, what))?;
        }
        lsn.append_value(i64::try_from(row.id.commit.get()).unwrap_or(i64::MAX));
        seq.append_value(i64::try_from(row.id.seq).unwrap_or(i64::MAX));
        op.append_value(row.op.letter().encode_utf8(&mut [0; 4]));
        missing.append_option(row.missing(&mut scratch).then(|| String::from_utf8_lossy(&scratch).into_owned()));
        for (builder, &extra) in extras.iter_mut().zip(layout.staged()) {
            let some = row.staged(extra, table, &mut scratch);
            builder.append_option(some.then(|| String::from_utf8_lossy(&scratch).into_owned()));
        }
        for ((values, &index), column) in base.iter_mut().zip(&table.key).zip(table.key_columns()) {
            let cell = row.base.as_ref().map_or(Cell::Null, |base| base.cell(index));
            values.append(column, cell).map_err(|what| misread(target, "the key", what))?;
        }
    }
    let mut columns: Vec<ArrayRef> = values.into_iter().map(Values::finish).collect();
    columns.extend([
        Arc::new(lsn.finish()) as ArrayRef,
        Arc::new(seq.finish()),
        Arc::new(op.finish()),
        Arc::new(missing.finish()),
    ]);
    columns.extend(extras.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.extend(base.into_iter().map(Values::finish));
    let field = |(i, column): (usize, &ArrayRef)| Field::new(format!("c{i}"), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::bug("staged rows do not make a batch").because(error))
}

/// The values of a column.
enum Values {
    Texts(StringBuilder),
    Bytes(BinaryBuilder),
}

impl Values {
    fn of(column: &Column, rows: usize) -> Values {
        match column.pg_type {
            PgType::Bytea => Values::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            _ => Values::Texts(StringBuilder::with_capacity(rows, rows * 16)),
        }
    }

    fn append(&mut self, column: &Column, cell: Cell<'_>) -> std::result::Result<(), &'static str> {
        let text = utf8(cell)?;
        match (self, text) {
            (Values::Texts(texts), text) => {
                texts.append_option(text.map(|text| Duckdb::readable(&column.pg_type, text)));
            }
            (Values::Bytes(bytes), Some(text)) => {
                bytes.append_value(unhex(text).ok_or("is not in hexadecimal digits")?);
            }
            (Values::Bytes(bytes), None) => bytes.append_null(),
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Values::Texts(mut texts) => Arc::new(texts.finish()),
            Values::Bytes(mut bytes) => Arc::new(bytes.finish()),
        }
    }
}

/// What `\x` and hexadecimal digits say.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

fn utf8(cell: Cell<'_>) -> std::result::Result<Option<&str>, &'static str> {
    match cell {
        Cell::Null | Cell::Unchanged => Ok(None),
        Cell::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| "is not UTF-8, which DuckDB asks for"),
        Cell::Binary(_) => Err("came in binary form"),
    }
}

fn misread(target: &Target, column: &str, what: &str) -> Error {
    Error::blocked(format!("a value of {}, column {column}, {what}", target.table.name))
        .remedy("correct the row at the source, or leave the column out with columns.exclude")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_their_digits() {
        assert_eq!(unhex("\\x00fFa0"), Some(vec![0, 255, 160]));
        assert_eq!(unhex("\\x"), Some(vec![]));
        assert!(["00", "\\x0", "\\xzz"].iter().all(|text| unhex(text).is_none()));
    }
}
