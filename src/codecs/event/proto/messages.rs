//! Messages beside a table's events: transactions, logical messages, heartbeats.

use std::convert::Infallible;

use super::super::encode::{NamedSchema, Orders};
use super::super::notice::Notice;
use super::form::{schema, source};
use super::frame::{Message, frame};
use super::wire::{self, message, number, some_number};
use crate::model::{ChangeId, Lsn, Origin, PgTimestamp, Xid};

/// Writes keys and values of transactions' boundaries or of heartbeats.
#[derive(Clone, Debug)]
pub(in super::super) struct Notes {
    /// What the values are.
    value: Message,
    /// What stands before each key and value; nothing without a registry.
    frames: (Vec<u8>, Vec<u8>),
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
    /// Its place in its transaction, where that is told.
    pub orders: Option<Orders>,
}

impl Notes {
    pub(in super::super) fn new(notice: Notice) -> Notes {
        let value = match notice {
            Notice::Heartbeat => Message::Heartbeat,
            Notice::Transaction => Message::TransactionBoundary,
        };
        Notes { value, frames: Default::default() }
    }

    /// For a registry: of keys and of values.
    pub(in super::super) fn schemas(&self) -> (NamedSchema, NamedSchema) {
        (schema(Message::NoticeKey), schema(self.value))
    }

    /// Sets the numbers that the registry gave the schemas.
    pub(in super::super) fn number(&mut self, key: u32, value: u32) {
        frame(key, Message::NoticeKey, &mut self.frames.0);
        frame(value, self.value, &mut self.frames.1);
    }

    /// Key and value of a heartbeat.
    pub(in super::super) fn heartbeat(&self, prefix: &str, now: PgTimestamp) -> (Vec<u8>, Vec<u8>) {
        let mut value = self.frames.1.clone();
        number(1, now.unix_micros().cast_unsigned(), &mut value);
        (self.key(prefix), value)
    }

    /// Key and value of a transaction's end, where its tables are given, else of its beginning.
    pub(in super::super) fn boundary(
        &self,
        xid: Xid,
        lsn: Lsn,
        at: PgTimestamp,
        tables: Option<&[(String, u64)]>,
    ) -> (Vec<u8>, Vec<u8>) {
        let mut value = self.frames.1.clone();
        let out = &mut value;
        number(1, if tables.is_some() { 2 } else { 1 }, out);
        number(2, u64::from(xid.0), out);
        number(3, lsn.get(), out);
        number(4, at.unix_micros().cast_unsigned(), out);
        if let Some(tables) = tables {
            some_number(5, tables.iter().map(|(_, events)| events).sum(), out);
        }
        for (table, events) in tables.unwrap_or_default() {
            always(6, table.len() + 4, out, |out| {
                wire::bytes(1, table.as_bytes(), out);
                number(2, *events, out);
            });
        }
        (self.key(itoa::Buffer::new().format(xid.0)), value)
    }

    fn key(&self, name: &str) -> Vec<u8> {
        let mut key = self.frames.0.clone();
        wire::bytes(1, name.as_bytes(), &mut key);
        key
    }
}

/// Appends a field that holds a message which can't fail.
pub(super) fn always(field: u32, guess: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let written = message(field, guess, out, |out| {
        write(out);
        Ok::<_, Infallible>(())
    });
    match written {
        Ok(()) => {}
    }
}

/// Appends a `Transaction` as this field.
pub(super) fn transaction(field: u32, orders: Orders, out: &mut Vec<u8>) {
    always(field, 8, out, |out| {
        number(1, orders.total, out);
        number(2, orders.table, out);
    });
}

/// Appends a `LogicalMessage`.
pub fn logical_message(emitted: &Emitted<'_>, now: PgTimestamp, out: &mut Vec<u8>) {
    always(1, emitted.database.len() + 40, out, |out| {
        source(emitted.id, emitted.origin, out);
        wire::bytes(8, emitted.database.as_bytes(), out);
    });
    wire::bytes(2, emitted.prefix.as_bytes(), out);
    wire::bytes(3, emitted.content, out);
    if let Some(orders) = emitted.orders {
        transaction(4, orders, out);
    }
    number(5, now.unix_micros().cast_unsigned(), out);
}
