//! Rows without an envelope: what Debezium's `ExtractNewRecordState` makes of its events.

use super::json;
use super::schema::{Schema, Shape};
use crate::model::Change;

/// What becomes of a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Deletes {
    /// A record without a value.
    #[default]
    Tombstone,
    /// Nothing.
    Drop,
    /// The row as it was, with `__deleted` "true"; all other rows have "false".
    Rewrite,
    /// As rewrite, and a record without a value after it.
    RewriteWithTombstone,
}

/// The names of [`Deletes`], the default first.
pub const DELETES: [(&str, Deletes); 4] = [
    ("tombstone", Deletes::Tombstone),
    ("drop", Deletes::Drop),
    ("rewrite", Deletes::Rewrite),
    ("rewrite-with-tombstone", Deletes::RewriteWithTombstone),
];

impl Deletes {
    pub(super) fn rewrites(self) -> bool {
        matches!(self, Deletes::Rewrite | Deletes::RewriteWithTombstone)
    }
}

/// A field of the envelope that is added to each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// The operation.
    Op,
    /// When it was processed, in milliseconds.
    TsMs,
    /// The source database.
    Db,
    /// The source schema.
    Schema,
    /// The source table.
    Table,
    /// The source transaction.
    TxId,
    /// The position in the log.
    Lsn,
    /// When the transaction was committed, in milliseconds.
    SourceTsMs,
}

/// The names of [`Added`].
pub const ADDED: [(&str, Added); 8] = [
    ("op", Added::Op),
    ("ts_ms", Added::TsMs),
    ("db", Added::Db),
    ("schema", Added::Schema),
    ("table", Added::Table),
    ("txId", Added::TxId),
    ("lsn", Added::Lsn),
    ("source.ts_ms", Added::SourceTsMs),
];

/// How rows are told without an envelope.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flat {
    /// What becomes of a delete.
    pub deletes: Deletes,
    /// What is added to each row, in this order.
    pub fields: Vec<Added>,
}

/// What there is to say beside a row.
pub(super) struct Told<'a> {
    pub(super) op: u8,
    pub(super) change: &'a Change,
    pub(super) now_ms: i64,
    pub(super) database: &'a str,
}

impl Added {
    /// `__op`
    fn name(self) -> String {
        let name = ADDED.iter().find(|(_, added)| *added == self).map_or("", |(name, _)| name);
        format!("__{}", name.replace('.', "_"))
    }

    fn shape(self) -> Shape {
        match self {
            Added::Op | Added::Db | Added::Schema | Added::Table => Shape::String,
            Added::TsMs | Added::TxId | Added::Lsn | Added::SourceTsMs => Shape::Int64,
        }
    }
}

impl Flat {
    /// Appends what is added to a row that is open; `open` comes before the first.
    pub(super) fn write(&self, told: &Told<'_>, mut open: u8, out: &mut Vec<u8>) {
        let Told { op, change, now_ms, database } = *told;
        let table = &change.table.name;
        let text = |text: &str, out: &mut Vec<u8>| json::string(text.as_bytes(), out).expect("a str is UTF-8");
        for field in &self.fields {
            out.push(std::mem::replace(&mut open, b','));
            text(&field.name(), out);
            out.push(b':');
            match field {
                Added::Op => text(char::from(op).encode_utf8(&mut [0; 4]), out),
                Added::TsMs => json::number(now_ms, out),
                Added::Db => text(database, out),
                Added::Schema => text(&table.schema, out),
                Added::Table => text(&table.name, out),
                Added::TxId => match change.origin.xid {
                    Some(xid) => json::number(i64::from(xid.0), out),
                    None => out.extend_from_slice(b"null"),
                },
                Added::Lsn => out.extend_from_slice(itoa::Buffer::new().format(change.origin.lsn.get()).as_bytes()),
                Added::SourceTsMs => json::number(change.origin.at.unix_millis(), out),
            }
        }
        if self.deletes.rewrites() {
            out.push(open);
            out.extend_from_slice(if op == b'd' { b"\"__deleted\":\"true\"" } else { b"\"__deleted\":\"false\"" });
        }
    }

    /// The fields that rows have beside their columns.
    pub(super) fn schema(&self) -> Vec<(String, Schema)> {
        let optional = |shape| Schema { optional: true, ..Schema::plain(shape) };
        let added = self.fields.iter().map(|field| (field.name(), optional(field.shape())));
        let deleted = self.deletes.rewrites().then(|| ("__deleted".to_owned(), optional(Shape::String)));
        added.chain(deleted).collect()
    }
}
