//! Changes: what happened to which row, and in which order.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Lsn, PgTimestamp, Row, Table, Xid};

/// The identity and the order of a change: its transaction's commit LSN and its ordinal in the transaction.
///
/// Row LSNs are neither unique nor monotonic; this pair is both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChangeId {
    /// Where the commit record begins.
    pub commit: Lsn,
    /// Ordinal in the transaction, from 0.
    pub seq: u64,
}

impl ChangeId {
    /// Before every change.
    pub const ZERO: ChangeId = ChangeId { commit: Lsn::ZERO, seq: 0 };

    /// The id of the `ordinal`-th row of a snapshot that is consistent at `point`.
    ///
    /// The first transaction after the snapshot may begin its commit record exactly at `point`, so the
    /// snapshot's rows take the byte before it, where no record can begin (records are aligned to 8 bytes).
    pub fn snapshot(point: Lsn, ordinal: u64) -> ChangeId {
        ChangeId { commit: Lsn::new(point.get().saturating_sub(1)), seq: ordinal }
    }

    /// The id of a message of no transaction whose record ends at `end`.
    ///
    /// A commit record may begin exactly at `end`, and a snapshot be consistent there, so it takes the second byte
    /// before it.
    pub fn message(end: Lsn) -> ChangeId {
        ChangeId { commit: Lsn::new(end.get().saturating_sub(2)), seq: 0 }
    }

    /// Whether it is a snapshot row's: no record begins one byte before an aligned position.
    pub fn of_snapshot(self) -> bool {
        self.commit.get() % 8 == 7
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.commit, self.seq)
    }
}

impl fmt::Debug for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an update or delete says of the row as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OldRow {
    /// All columns (`REPLICA IDENTITY FULL`).
    Full(Row),
    /// The identity's columns; all others are NULL here without meaning NULL.
    Key(Row),
}

impl OldRow {
    /// The cells, as wide as the table.
    pub fn row(&self) -> &Row {
        match self {
            OldRow::Full(row) | OldRow::Key(row) => row,
        }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A row that a snapshot read.
    Read {
        /// The row.
        new: Row,
    },
    /// A new row.
    Insert {
        /// The row.
        new: Row,
    },
    /// A changed row.
    Update {
        /// Present when the key changed or the identity is FULL.
        old: Option<OldRow>,
        /// The row; large values that did not change are [`super::Cell::Unchanged`].
        new: Row,
    },
    /// A removed row.
    Delete {
        /// What was removed.
        old: OldRow,
    },
    /// All rows removed. A snapshot that starts over also begins each table with it.
    Truncate,
    /// What `pg_logical_emit_message` wrote. It is of no table: [`Table::of_messages`] stands in its place.
    Message(Emitted),
    /// The end of a transaction, where its ends are asked for; of no table either.
    Commit {
        /// Where its commit record ends.
        end: Lsn,
    },
}

/// A logical message.
#[derive(Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Whether it is a part of its transaction; if not, it stands alone, and its id is its place in the log.
    pub transactional: bool,
    /// What its writer called it.
    pub prefix: String,
    /// What it says.
    pub content: Bytes,
}

impl fmt::Debug for Emitted {
    /// Shows the size, never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Emitted({:?}, transactional {}, {} bytes)", self.prefix, self.transactional, self.content.len())
    }
}

/// Where a snapshot's row stands in its snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotMark {
    /// The first row of all.
    First,
    /// The first of its table.
    FirstInTable,
    /// Neither first nor last.
    Middle,
    /// The last of its table.
    LastInTable,
    /// The last row of all.
    Last,
}

/// Where a change comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// When its transaction committed; when the snapshot began for a snapshot's row.
    pub at: PgTimestamp,
    /// Its transaction, unknown for a snapshot's row.
    pub xid: Option<Xid>,
    /// The LSN of the message that carried it; the consistent point for a snapshot's row.
    pub lsn: Lsn,
    /// The end of the transaction delivered before it, if any.
    pub last_commit: Option<Lsn>,
    /// Its place in a snapshot; `None` for a streamed change.
    pub snapshot: Option<SnapshotMark>,
}

/// A change of one row, or of one whole table; or a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Identity and order.
    pub id: ChangeId,
    /// Transaction and time.
    pub origin: Origin,
    /// The table as it was then.
    pub table: Arc<Table>,
    /// What happened.
    pub op: Op,
}

impl Change {
    /// Bytes of row data it holds.
    pub fn size(&self) -> usize {
        let row = |row: &Row| row.size();
        match &self.op {
            Op::Read { new } | Op::Insert { new } => row(new),
            Op::Update { old, new } => row(new) + old.as_ref().map_or(0, |old| row(old.row())),
            Op::Delete { old } => row(old.row()),
            Op::Truncate => 0,
            Op::Commit { .. } => 0,
            Op::Message(emitted) => emitted.prefix.len() + emitted.content.len(),
        }
    }
}
