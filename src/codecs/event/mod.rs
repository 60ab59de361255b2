//! Change events as JSON in Debezium's envelope, written and read back.
//!
//! ```text
//! Change ─▶ Encoder (a plan for each table version) ─▶ Records: key, value, headers
//! headers ─▶ Stamp ─▶ Decoder of that table version ─▶ Change
//! ```
//!
//! Why nothing is lost: each kind of value has one JSON form that leads back to PostgreSQL's text, and a value that its
//! form can't say (a numeric NaN, a timestamp beyond 64 bits, an array of two dimensions) travels as its text in a JSON
//! string instead. What the envelope has no place for is in headers: the change's id, the table's version, the
//! columns whose large values did not change. The two halves of a key change name themselves, and the second carries
//! the old key, so that a reader makes one update of them.

mod avro;
mod count;
mod decode;
mod describe;
mod draft;
mod encode;
mod flat;
pub mod foreign;
mod form;
mod held;
mod hold;
mod json;
mod key_fields;
mod kind;
mod message;
mod modes;
mod name;
mod notice;
mod origin;
mod outbox;
mod piece;
mod preset;
pub mod proto;
mod records;
mod schema;
mod stamp;
mod tables;
mod text;
mod topic;
mod transactions;

pub use decode::{DecodeError, Decoder};
pub use describe::{ColumnDescription, Description, describe};
pub use encode::{EncodeError, Encoder, NamedSchema, Orders, PlanError, Settings};
pub use flat::{ADDED, Added, DELETES, Deletes, Flat};
pub use held::{Waiting, decode_held, encode_held};
pub use hold::{Cause, Hold, encode_hold};
pub use key_fields::{KeyFields, Templates};
pub use message::message_id;
pub use modes::{Binaries, Decimals, FORMATS, Format, Hstores, Intervals, Modes, Shapes, Times, Unknowns};
pub use name::{ADJUSTMENTS, FieldCollision, NameAdjustment, is_avro_name};
pub use notice::{Notice, Notices};
pub use outbox::{Columns as OutboxColumns, Outbox, OutboxError, PAYLOADS, Payload, Routed, route_message};
pub use piece::{Piece, decode_piece};
pub use records::{Record, Records};
pub use stamp::{Part, Stamp, version_name};
pub use tables::{TableRecord, decode_table, encode_followed, encode_partitions, encode_table};
pub use topic::{
    PLACEHOLDERS, TemplateError, Topic, TopicNames, TopicTemplate, held_topic, progress_topic, tables_topic, topic,
};
pub use transactions::{Told, Transactions};

/// Stands in for a large value that the update did not touch and that is not known here.
pub const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// The names of the headers.
pub mod header {
    /// The commit LSN of the change's transaction, in decimal digits.
    pub const COMMIT_LSN: &str = "tw.commit_lsn";
    /// The change's ordinal in its transaction, in decimal digits.
    pub const SEQ: &str = "tw.seq";
    /// Which of the prefix's writers wrote the record, counted from 1, in decimal digits.
    pub const EPOCH: &str = "tw.epoch";
    /// `schema.table@version`: the record of the tables topic that explains the event.
    pub const TABLE: &str = "tw.table";
    /// The topic that a change is of which waits in another.
    pub const TOPIC: &str = "tw.topic";
    /// The first change that waits beside it: `commit LSN/ordinal`, in decimal digits.
    pub const SINCE: &str = "tw.since";
    /// The topic that an event was of while it waited, where it did.
    pub const WAITED: &str = "tw.waited";
    /// A JSON array of the columns that hold the placeholder.
    pub const UNCHANGED: &str = "tw.unchanged";
    /// A JSON object of texts, or nulls, by column: the values that the event's form has no way to say, an array of two
    /// dimensions or a numeric NaN in Avro.
    pub const VALUES: &str = "tw.values";
    /// The same of the row as it was.
    pub const OLD_VALUES: &str = "tw.values.before";
    /// `delete` or `create`: which half of a key change the record is.
    pub const PART: &str = "tw.part";
    /// Debezium's headers of context: the prefix, the task, the connector, and the run that wrote the record.
    pub const CONTEXT: [&str; 4] = [
        "__debezium.context.connectorLogicalName",
        "__debezium.context.taskId",
        "__debezium.context.connectorName",
        "__debezium.context.runId",
    ];
    /// The key that follows, on the delete half of a key change.
    pub const NEW_KEY: &str = "__debezium.newkey";
    /// The key that was, on the create half of a key change.
    pub const OLD_KEY: &str = "__debezium.oldkey";
}
