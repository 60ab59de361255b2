//! Messages beside a table's events: transactions, logical messages, heartbeats.

use std::convert::Infallible;

use super::plan::source;
use super::wire::{self, message, number, some_number};
use crate::model::{ChangeId, Lsn, Origin, PgTimestamp, TableName};

/// A change's place in its transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The transaction.
    pub id: &'a str,
    /// The ordinal among all of its changes, from 1.
    pub total: u64,
    /// The ordinal among those of its table, from 1.
    pub of_table: u64,
}

/// The end of a transaction: how many events it has, and of which tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts<'a> {
    /// All of them.
    pub events: u64,
    /// Those of each table.
    pub tables: &'a [(&'a TableName, u64)],
}

/// What `pg_logical_emit_message` wrote.
#[derive(Clone, Copy, Debug)]
pub struct Emitted<'a> {
    /// Its place among changes.
    pub id: ChangeId,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// The source's database.
    pub database: &'a str,
    /// What its writer called it.
    pub prefix: &'a str,
    /// What it says.
    pub content: &'a [u8],
    /// Its place in its transaction, where transactions are told.
    pub place: Option<Place<'a>>,
}

/// Appends a field that holds a message which can't fail.
fn always(field: u32, guess: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let written = message(field, guess, out, |out| {
        write(out);
        Ok::<_, Infallible>(())
    });
    match written {
        Ok(()) => {}
    }
}

/// Appends a `Transaction` as this field.
pub(super) fn transaction(field: u32, place: &Place<'_>, out: &mut Vec<u8>) {
    always(field, place.id.len() + 8, out, |out| {
        wire::bytes(1, place.id.as_bytes(), out);
        number(2, place.total, out);
        number(3, place.of_table, out);
    });
}

/// Appends a `TransactionBoundary`: an end where there are counts, else a beginning.
pub fn boundary(id: &str, commit: PgTimestamp, end: Option<Counts<'_>>, out: &mut Vec<u8>) {
    number(1, if end.is_some() { 2 } else { 1 }, out);
    wire::bytes(2, id.as_bytes(), out);
    number(3, commit.unix_micros().cast_unsigned(), out);
    let Some(counts) = end else { return };
    some_number(4, counts.events, out);
    for (table, events) in counts.tables {
        always(5, table.schema.len() + table.name.len() + 8, out, |out| {
            wire::bytes(1, table.schema.as_bytes(), out);
            wire::bytes(2, table.name.as_bytes(), out);
            number(3, *events, out);
        });
    }
}

/// Appends a `LogicalMessage`.
pub fn logical_message(emitted: &Emitted<'_>, now: PgTimestamp, out: &mut Vec<u8>) {
    always(1, emitted.database.len() + 40, out, |out| {
        source(emitted.id, emitted.origin, out);
        wire::bytes(8, emitted.database.as_bytes(), out);
    });
    wire::bytes(2, emitted.prefix.as_bytes(), out);
    wire::bytes(3, emitted.content, out);
    if let Some(place) = &emitted.place {
        transaction(4, place, out);
    }
    number(5, now.unix_micros().cast_unsigned(), out);
}

/// Appends a `Heartbeat`.
pub fn heartbeat(lsn: Lsn, now: PgTimestamp, out: &mut Vec<u8>) {
    number(1, now.unix_micros().cast_unsigned(), out);
    number(2, lsn.get(), out);
}
