//! The framing of schema registries: a zero, the schema's id, the message's place in the schema.
//!
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>

use super::wire::{Fields, signed, varint, zigzag};
use crate::model::value::ValueError;

/// A message of `event.proto` that a record may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// A record's value.
    Event,
    /// A record's key.
    Key,
    /// A value of the topic of transactions.
    TransactionBoundary,
    /// A value of the topic of messages.
    LogicalMessage,
    /// A value of the topic of heartbeats.
    Heartbeat,
    /// A key of those three topics.
    NoticeKey,
}

impl Message {
    /// Every one.
    pub const ALL: [Message; 6] = [
        Message::Event,
        Message::Key,
        Message::TransactionBoundary,
        Message::LogicalMessage,
        Message::Heartbeat,
        Message::NoticeKey,
    ];

    /// Its full name.
    pub const fn name(self) -> &'static str {
        match self {
            Message::Event => "tailwater.v1.Event",
            Message::Key => "tailwater.v1.Key",
            Message::TransactionBoundary => "tailwater.v1.TransactionBoundary",
            Message::LogicalMessage => "tailwater.v1.LogicalMessage",
            Message::Heartbeat => "tailwater.v1.Heartbeat",
            Message::NoticeKey => "tailwater.v1.NoticeKey",
        }
    }

    /// Its place among the messages of the file, from 0.
    const fn place(self) -> i64 {
        match self {
            Message::Event => 0,
            Message::Key => 1,
            Message::TransactionBoundary => 2,
            Message::LogicalMessage => 3,
            Message::Heartbeat => 4,
            Message::NoticeKey => 5,
        }
    }
}

/// Appends what stands before a message in a registry's framing.
pub fn frame(schema: u32, message: Message, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&schema.to_be_bytes());
    match message.place() {
        // The first message is told by a list of length 0.
        0 => out.push(0),
        place => {
            varint(zigzag(1), out);
            varint(zigzag(place), out);
        }
    }
}

/// The message behind what [`frame`] appends; bytes without it are the message, whose first byte is never a zero.
pub(super) fn unframe(bytes: &[u8]) -> Result<&[u8], ValueError> {
    const ERROR: ValueError = ValueError::new("a registry's framing");
    let Some(rest) = bytes.strip_prefix(&[0]) else { return Ok(bytes) };
    let mut fields = Fields::new(rest.get(4..).ok_or(ERROR)?);
    for _ in 0..signed(fields.varint()?) {
        fields.varint()?;
    }
    Ok(fields.rest())
}
