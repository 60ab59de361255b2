//! Rows without an envelope: what Debezium's `ExtractNewRecordState` makes of its events.

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
    pub(super) op: &'static str,
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

    fn fact<'a>(self, told: &Told<'a>) -> Fact<'a> {
        let (table, origin) = (&told.change.table.name, &told.change.origin);
        match self {
            Added::Op => Fact::Text(told.op),
            Added::TsMs => Fact::Number(Some(told.now_ms)),
            Added::Db => Fact::Text(told.database),
            Added::Schema => Fact::Text(&table.schema),
            Added::Table => Fact::Text(&table.name),
            Added::TxId => Fact::Number(origin.xid.map(|xid| i64::from(xid.0))),
            Added::Lsn => Fact::Number(i64::try_from(origin.lsn.get()).ok()),
            Added::SourceTsMs => Fact::Number(Some(origin.at.unix_millis())),
        }
    }
}

/// The value of an added field.
pub(super) enum Fact<'a> {
    Text(&'a str),
    Number(Option<i64>),
}

impl Flat {
    /// What is added to a row, in its order.
    pub(super) fn facts<'a>(&'a self, told: &'a Told<'a>) -> impl Iterator<Item = (String, Fact<'a>)> {
        let added = self.fields.iter().map(|field| (field.name(), field.fact(told)));
        let deleted = if told.op == "d" { "true" } else { "false" };
        let deleted = self.deletes.rewrites().then(|| ("__deleted".to_owned(), Fact::Text(deleted)));
        added.chain(deleted)
    }

    /// The fields that rows have beside their columns.
    pub(super) fn schema(&self) -> Vec<(String, Schema)> {
        let optional = |shape| Schema { optional: true, ..Schema::plain(shape) };
        let added = self.fields.iter().map(|field| (field.name(), optional(field.shape())));
        let deleted = self.deletes.rewrites().then(|| ("__deleted".to_owned(), optional(Shape::String)));
        added.chain(deleted).collect()
    }
}
