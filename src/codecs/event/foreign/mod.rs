//! Records that others wrote: plain rows by a documented form, and Debezium's events in all of theirs.
//!
//! ```text
//!  record ─▶ rows | debezium ─▶ Filed: which table, what happened, fields ─▶ Shapes: tables that grow ─▶ Op
//!                     │
//!                     └─ avro ─▶ JSON, as Connect's converter would write it: one way for every form
//! ```
//!
//! Why nothing is changed silently: a value keeps its text until its column's type is known; a type only ever widens to
//! one that holds every value of both, and what no type holds is refused with its column. Docs: `foreign-topics.md`.

mod avro;
mod connect;
mod debezium;
mod fields;
mod guess;
mod order;
mod rows;
mod shape;
mod typed;

pub use avro::AvroSchema;
pub use debezium::Debezium;
pub use order::{Mark, Order, Verdict};
pub use rows::rows;
pub use shape::Shapes;
pub use typed::Declared;

use fields::Fields;

use crate::model::TableName;
use crate::model::value::ValueError;

/// Why a record can't be taken. It never holds values.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is not what it should be.
    #[error("expected {0}")]
    Unreadable(&'static str),
    /// It can be read, but a person has to decide.
    #[error("{what}")]
    Refused {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
}

impl ForeignError {
    fn refused(what: impl Into<String>, remedy: impl Into<String>) -> ForeignError {
        ForeignError::Refused { what: what.into(), remedy: remedy.into() }
    }
}

impl From<ValueError> for ForeignError {
    fn from(error: ValueError) -> ForeignError {
        ForeignError::Unreadable(error.expected)
    }
}

/// A record, as it lies in its topic.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The value's bytes.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Raw<'a> {
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }
}

/// What a record says of a table.
#[derive(Debug)]
pub struct Filed {
    pub(super) table: TableName,
    pub(super) does: Does,
    /// The key's columns; empty for a table without one.
    pub(super) key: Fields,
    /// Where the source's log has it, for what was streamed and says so.
    pub order: Option<Order>,
    /// The connector's name for its source, where the record tells it: each has a log of its own.
    pub log: String,
    /// Whether it is a key alone: nothing but the topic says which table it is of.
    pub(super) bare: bool,
}

impl Filed {
    /// The table.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// Whether it empties its table.
    pub fn truncates(&self) -> bool {
        matches!(self.does, Does::Truncate)
    }

    /// Whether it is the end of a key whose row goes on under another one.
    pub fn parts(&self) -> bool {
        matches!(self.does, Does::Part)
    }

    /// Whether it brings a row that had another key.
    pub fn joins(&self) -> bool {
        matches!(self.does, Does::Update { old: Some(_), .. })
    }

    /// Bytes of values it holds.
    pub fn size(&self) -> usize {
        let row = match &self.does {
            Does::Read(row) | Does::Insert(row) | Does::Update { row, .. } | Does::DeleteRow(row) => row.size(),
            Does::Delete | Does::Part | Does::Truncate => 0,
        };
        row + self.key.size()
    }
}

/// What happened.
#[derive(Debug)]
pub(super) enum Does {
    /// A row that a snapshot read.
    Read(Fields),
    /// The row of this key is this.
    Insert(Fields),
    /// The same, with values that may be left out as unchanged; `old` is the key that it had.
    Update { old: Option<Fields>, row: Fields },
    /// There is no row of this key any more.
    Delete,
    /// The same, and that its row goes on under another key.
    Part,
    /// The end of a row of a table without a key.
    DeleteRow(Fields),
    /// There is no row any more.
    Truncate,
}

/// The table that a topic's name speaks of: its last two words, or `public` and the only one.
fn named_by(topic: &str) -> TableName {
    let mut words = topic.rsplitn(3, '.');
    let name = words.next().unwrap_or(topic);
    TableName::new(words.next().unwrap_or("public"), name)
}
