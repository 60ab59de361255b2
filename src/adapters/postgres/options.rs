//! What the source has to be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::{Pattern, Patterns};

/// Whether existing rows are read first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotMode {
    /// Read them once, then follow the log.
    Initial,
    /// Follow the log only.
    Never,
    /// Read them and end.
    Only,
}

/// How partitioned tables are told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Partitioned {
    /// As one table, under the name of the root.
    #[default]
    Root,
    /// Each partition that holds rows as a table of its own.
    Leaf,
}

/// In which form the stream's values come; what is made of them is the same.
#[derive(Clone, Debug)]
pub enum Form {
    /// As text.
    Text,
    /// As their types' send functions write them.
    Binary,
    /// As text, until a row was too large for it: in binary from the next connection on.
    Fitting(Arc<AtomicBool>),
}

impl Default for Form {
    fn default() -> Form {
        Form::Fitting(Arc::default())
    }
}

impl Form {
    /// Whether the next connection asks for binary.
    pub fn in_binary(&self) -> bool {
        match self {
            Form::Text => false,
            Form::Binary => true,
            Form::Fitting(too_large) => too_large.load(Ordering::Relaxed),
        }
    }

    /// A row was too large to be sent as text; whether the next connection asks for another form because of it.
    pub(super) fn widen(&self) -> bool {
        match self {
            Form::Fitting(too_large) => !too_large.swap(true, Ordering::Relaxed),
            Form::Text | Form::Binary => false,
        }
    }
}

/// What of some tables is published.
#[derive(Clone, Debug)]
pub struct Portion {
    /// The tables, as a `schema.table` pattern.
    pub tables: Pattern,
    /// The rows: an SQL expression; all without one.
    pub filter: Option<String>,
    /// The columns that are not.
    pub without: Vec<String>,
}

/// What the source has to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: the instance tag by which we know our own connections.
    pub pipeline: String,
    /// Where the database is.
    pub endpoint: super::Endpoint,
    /// Tables to follow, as `schema.table` patterns.
    pub tables: Vec<Pattern>,
    /// Tables to leave out of those.
    pub exclude: Vec<Pattern>,
    /// How partitioned tables are told.
    pub partitions: Partitioned,
    /// What of single tables is published; the first that matches counts.
    pub portions: Vec<Portion>,
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Whether publication and slot are created when they do not exist.
    pub create: bool,
    /// Whether existing rows are read first.
    pub snapshot: SnapshotMode,
    /// Whether every table is read again, whatever the sink has and whatever has become of the slot.
    pub resnapshot: bool,
    /// Whether the ends of transactions are handed on.
    pub commits: bool,
    /// The logical messages that are handed on, by their prefixes; `None`: none of them.
    pub messages: Option<Patterns>,
    /// Whether the database keeps a history of what the log does not say of tables.
    pub schema_history: bool,
    /// In which form the stream's values come.
    pub form: Form,
    /// Whether large transactions are sent while they are open; `None`: where the server says where they abort.
    pub streaming: Option<bool>,
    /// Whether transactions are sent when they are prepared.
    pub two_phase: bool,
    /// Where those are kept.
    pub spool: super::SpoolOptions,
    /// Bytes of changes that may wait between the socket and the sink.
    pub buffer_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Options {
    /// What the ids of changes depend on beside the log: two readings under the same text number them alike.
    pub fn reading(&self) -> String {
        let messages = if self.messages.is_some() { " messages" } else { "" };
        format!("{}/{}{messages}", self.slot, self.publication)
    }
}
