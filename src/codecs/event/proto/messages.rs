//! Messages beside a table's events: transactions, logical messages, heartbeats.

use std::convert::Infallible;

use super::super::encode::NamedSchema;
use super::super::form::{Event, Place};
use super::super::notice::Notice;
use super::form::{schema, source};
use super::frame::{Message, frame};
use super::wire::{self, message, number, some_number};
use crate::model::{Emitted, Lsn, PgTimestamp, Xid};

/// Writes keys and values of transactions' boundaries or of heartbeats.
#[derive(Clone, Debug)]
pub(in super::super) struct Notes {
    /// What the values are.
    value: Message,
    /// What stands before each key and value; nothing without a registry.
    frames: (Vec<u8>, Vec<u8>),
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
pub(super) fn transaction(field: u32, place: &Place<'_>, out: &mut Vec<u8>) {
    always(field, 8, out, |out| {
        number(1, place.total, out);
        number(2, place.table, out);
    });
}

/// Appends a `LogicalMessage`.
pub(super) fn logical_message(emitted: &Emitted, database: &str, event: &Event<'_>, out: &mut Vec<u8>) {
    always(1, database.len() + 40, out, |out| {
        source(event.change.id, &event.change.origin, out);
        wire::bytes(8, database.as_bytes(), out);
    });
    wire::bytes(2, emitted.prefix.as_bytes(), out);
    wire::bytes(3, &emitted.content, out);
    if let Some(place) = &event.place {
        transaction(4, place, out);
    }
    number(5, event.now.unix_micros().cast_unsigned(), out);
}
