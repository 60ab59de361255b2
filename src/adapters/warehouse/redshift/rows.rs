//! A table's net rows as the objects that COPY reads.

use super::columns::{Column, Key, Misfit};
use super::{csv, parquet};
use crate::adapters::warehouse::ObjectFormat;
use crate::codecs::dialect::{Staged, Staging, Target, Types};
use crate::logic::merge::{self, NetOp, NetRow};
use crate::model::{Cell, Error, PgType, Result, Table};

/// Bytes of values in one row group.
const GROUP: usize = 16 << 20;
/// Bytes of rows in one object, about, at the least and at the most.
const SMALL: usize = 1 << 20;
const LARGE: usize = 64 << 20;

/// Columns of a staging table in their order.
pub(super) struct Plan {
    /// The table's own, and which are of the key.
    own: Vec<(Staging, Option<Key>)>,
    /// The key's, again, for the rows' bases.
    base: Vec<(usize, Staging, Option<Key>)>,
    /// The longest text in each of the table's own columns.
    pub(super) longest: Vec<usize>,
    /// Deletes of keys that can't be in the target.
    pub(super) needless: u64,
    /// What the layout stages beside.
    extras: &'static [Staged],
    format: ObjectFormat,
}

impl Plan {
    pub(super) fn of(types: &Types, target: &Target, format: ObjectFormat) -> Plan {
        let table = &target.table;
        let by_key = target.layout.by_key();
        let kind = |index: usize, staging| (by_key && table.key.contains(&index)).then(|| key(table, index, staging));
        let own: Vec<_> = table
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| (types.staging(column), kind(index, types.staging(column))))
            .collect();
        let base = table.key.iter().filter_map(|&index| own.get(index).map(|(staging, key)| (index, *staging, *key)));
        Plan {
            base: base.collect(),
            longest: vec![0; own.len()],
            own,
            needless: 0,
            extras: target.layout.staged(),
            format,
        }
    }

    /// Into how many objects rows are split: equal ones, and none for a handful of rows.
    pub(super) fn parts(rows: &[NetRow], files: usize) -> usize {
        let bytes: usize = rows.iter().map(|row| row.row.size()).sum();
        (bytes / SMALL).clamp(1, files.max(1)).max(bytes.div_ceil(LARGE))
    }

    /// One object.
    pub(super) fn object(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<u8>> {
        match self.format {
            ObjectFormat::Parquet => self.parquet(target, rows),
            ObjectFormat::Csv => self.csv(target, rows),
        }
    }

    fn parquet(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<u8>> {
        let broken = |error| Error::bug("staged rows do not make a Parquet file").because(error);
        let table = &target.table;
        let mut columns = self.columns(table);
        let mut file = parquet::File::new(&columns).map_err(broken)?;
        let mut missing = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            if self.needless(row) {
                continue;
            }
            self.row(&mut columns, row, table, &mut missing).map_err(|(column, why)| misfit(target, column, why))?;
            if number % 1024 == 1023 && columns.iter().map(Column::size).sum::<usize>() > GROUP {
                file.group(&mut columns).map_err(broken)?;
            }
        }
        if columns.first().is_some_and(|column| !column.levels.is_empty()) {
            file.group(&mut columns).map_err(broken)?;
        }
        for (longest, column) in self.longest.iter_mut().zip(&columns) {
            *longest = column.longest.max(*longest);
        }
        file.finish().map_err(broken)
    }

    fn columns(&self, table: &Table) -> Vec<Column> {
        let own = table.columns.iter().zip(&self.own);
        let own = own.map(|(column, (staging, key))| Column::new(column.name.clone(), *staging, *key));
        let ours = [
            ("_tw_lsn", Staging::Int8),
            ("_tw_seq", Staging::Int8),
            ("_tw_op", Staging::Text),
            ("_tw_missing", Staging::Text),
        ];
        let ours = ours.map(|(name, staging)| Column::new(name.to_owned(), staging, None));
        let base = (1..).zip(&self.base);
        let base = base.map(|(n, (_, staging, key))| Column::new(format!("_tw_base_{n}"), *staging, *key));
        let extras = self.extras.iter().map(|extra| Column::new(extra.name().to_owned(), Staging::Text, None));
        own.chain(ours).chain(extras).chain(base).collect()
    }

    /// Adds a row to the columns; fails with the column and the reason.
    fn row(
        &self,
        columns: &mut [Column],
        row: &NetRow,
        table: &Table,
        scratch: &mut Vec<u8>,
    ) -> Result<(), (usize, Misfit)> {
        let (own, rest) = columns.split_at_mut(self.own.len().min(columns.len()));
        for (index, ((column, cell), (_, key))) in own.iter_mut().zip(row.row.cells()).zip(&self.own).enumerate() {
            // Only the key's cells count of a delete.
            match row.op {
                NetOp::Delete if key.is_none() => column.null(),
                _ => column.cell(cell).map_err(|why| (index, why))?,
            }
        }
        let [lsn, seq, op, lacking, bases @ ..] = rest else { return Ok(()) };
        lsn.long(row.id.commit.get().cast_signed());
        seq.long(row.id.seq.cast_signed());
        let text = |column: &mut Column, text: &[u8]| column.cell(Cell::Text(text)).map_err(|why| (usize::MAX, why));
        text(op, row.op.letter().encode_utf8(&mut [0; 4]).as_bytes())?;
        if row.missing(scratch) {
            text(lacking, scratch)?
        } else {
            lacking.null()
        }
        let (extras, bases) = bases.split_at_mut(self.extras.len().min(bases.len()));
        for (column, which) in extras.iter_mut().zip(self.extras) {
            if row.staged(*which, table, scratch) { text(column, scratch)? } else { column.null() }
        }
        for (column, (index, ..)) in bases.iter_mut().zip(&self.base) {
            match &row.base {
                None => column.null(),
                Some(base) => column.cell(base.cell(*index)).map_err(|why| (*index, why))?,
            }
        }
        Ok(())
    }

    /// The values that have no place, one by one.
    pub(super) fn misfits(&self, rows: &[NetRow]) -> Vec<merge::Misfit> {
        let mut columns: Vec<Column> =
            self.own.iter().map(|(staging, key)| Column::new(String::new(), *staging, *key)).collect();
        let (mut found, mut line) = (Vec::new(), Vec::new());
        for (row, net) in rows.iter().enumerate() {
            let mut refused = |column: &mut Column, cell, (staging, key): (Staging, Option<Key>)| match self.format {
                ObjectFormat::Parquet => column.cell(cell).is_err(),
                ObjectFormat::Csv => csv::field(cell, (staging, key), true, &mut line).is_err(),
            };
            let counts = |key: Option<Key>| net.op != NetOp::Delete || key.is_some();
            for (index, (cell, (staging, key))) in net.row.cells().zip(&self.own).enumerate() {
                let unfit = columns.get_mut(index).is_some_and(|column| refused(column, cell, (*staging, *key)));
                if unfit && counts(*key) {
                    found.push(merge::Misfit { row, column: index });
                }
            }
            for (index, staging, key) in self.base.iter().filter(|_| net.base.is_some()) {
                let cell = net.base.as_ref().map_or(Cell::Null, |base| base.cell(*index));
                if columns.get_mut(*index).is_some_and(|column| refused(column, cell, (*staging, *key))) {
                    found.push(merge::Misfit { row, column: *index });
                }
            }
            line.clear();
            columns.iter_mut().for_each(Column::clear);
        }
        found
    }

    /// A key that ends in a blank is refused, so no row has it, and its delete would take the row of another key.
    fn needless(&mut self, row: &NetRow) -> bool {
        let blank = |(cell, (_, key)): (Cell<'_>, &(Staging, Option<Key>))| {
            *key == Some(Key::Text) && matches!(cell, Cell::Text([.., b' ']))
        };
        let needless = row.op == NetOp::Delete && row.row.cells().zip(&self.own).any(blank);
        self.needless += u64::from(needless);
        needless
    }

    fn csv(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<u8>> {
        // About what the rows take, with what is added to each.
        let mut out = Vec::with_capacity(rows.iter().map(|row| row.row.size() + 32).sum());
        let mut missing = Vec::new();
        for row in rows {
            if self.needless(row) {
                continue;
            }
            self.line(row, &target.table, &mut missing, &mut out)
                .map_err(|(column, why)| misfit(target, column, why))?;
        }
        Ok(out)
    }

    fn line(
        &mut self,
        row: &NetRow,
        table: &Table,
        missing: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), (usize, Misfit)> {
        for (index, (cell, (staging, key))) in row.row.cells().zip(&self.own).enumerate() {
            let cell = if row.op == NetOp::Delete && key.is_none() { Cell::Null } else { cell };
            csv::field(cell, (*staging, *key), index == 0, out).map_err(|why| (index, why))?;
            if let (Cell::Text(text), Some(longest)) = (cell, self.longest.get_mut(index)) {
                *longest = text.len().max(*longest);
            }
        }
        fn plain(cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
            csv::field(cell, (Staging::Int8, None), false, out)
        }
        let has = row.missing(missing);
        let (mut lsn, mut seq, mut op) = (itoa::Buffer::new(), itoa::Buffer::new(), [0; 4]);
        let lsn = lsn.format(row.id.commit.get()).as_bytes();
        let seq = seq.format(row.id.seq).as_bytes();
        let op = row.op.letter().encode_utf8(&mut op).as_bytes();
        for cell in [Some(lsn), Some(seq), Some(op), has.then_some(missing.as_slice())] {
            plain(cell.map_or(Cell::Null, Cell::Text), out).map_err(|why| (usize::MAX, why))?;
        }
        for which in self.extras {
            let cell = if row.staged(*which, table, missing) { Cell::Text(missing) } else { Cell::Null };
            csv::field(cell, (Staging::Text, None), false, out).map_err(|why| (usize::MAX, why))?;
        }
        for (index, staging, key) in &self.base {
            match &row.base {
                None => plain(Cell::Null, out),
                Some(base) => csv::field(base.cell(*index), (*staging, *key), false, out),
            }
            .map_err(|why| (*index, why))?;
        }
        out.push(b'\n');
        Ok(())
    }
}

fn key(table: &Table, index: usize, staging: Staging) -> Key {
    match (staging, table.columns.get(index).map(|column| &column.pg_type)) {
        (Staging::Text, Some(PgType::Numeric)) => Key::Number,
        (Staging::Text, Some(PgType::Bpchar)) => Key::Padded,
        (Staging::Text, _) => Key::Text,
        _ => Key::Other,
    }
}

/// Says where, and the key's columns by which the row can be found; never the value.
fn misfit(target: &Target, column: usize, why: Misfit) -> Error {
    let table = &target.table;
    let name = table.columns.get(column).map_or("of Tailwater's own", |column| column.name.as_str());
    let key = table.key_columns().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    let key = if key.is_empty() { String::new() } else { format!(" (key {key})") };
    Error::blocked(format!("a value of {}{key}, column {name}, {why}", table.name))
        .remedy("correct the row at the source, or leave the column out with columns.exclude; docs/redshift.md has what else can be done")
}
