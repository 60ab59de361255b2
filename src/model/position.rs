//! Positions: what is acknowledged, and what a sink remembers of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ChangeId, Lsn, Oid, TableName};

/// A place in the log of one particular cluster. An LSN alone says nothing after a failover or a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourcePosition {
    /// `IDENTIFY_SYSTEM`'s system identifier.
    pub system_id: u64,
    /// The timeline it was read on.
    pub timeline: u32,
    /// The end LSN of the last transaction that is complete.
    pub lsn: Lsn,
}

/// Which half of its life a pipeline is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The initial snapshot is not complete: a restart begins it again.
    Snapshot,
    /// The snapshot is complete, or none was asked for.
    Stream,
}

/// What tells a table's membership of a publication from an earlier one of a table of the same name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Membership {
    /// The table: another one when it was dropped and created again.
    pub table: Oid,
    /// The publication.
    pub publication: Oid,
    /// The entry in `pg_publication_rel`: another one when the table left and came back. 0 where the publication holds
    /// a whole schema or database.
    pub entry: Oid,
}

/// The tables whose rows a sink has and keeps up with.
pub type Followed = BTreeMap<TableName, Membership>;

/// What a sink stores together with the data: everything up to here is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Where the source goes on from.
    pub position: SourcePosition,
    /// The last change that is in the data: all changes up to it are, none after it.
    pub change: ChangeId,
    /// Whether the snapshot is complete.
    pub phase: Phase,
    /// For a source that reads Kafka: the next offset of each partition that moved, as (topic, partition, offset).
    pub offsets: Vec<(String, i32, i64)>,
    /// For a source that reads a slot: which tables are complete in the data. A wanted table that is not among them,
    /// or is there under an older membership, is read before its changes are followed. `None`: not known.
    pub followed: Option<Arc<Followed>>,
}

/// What a source wants to remember beside its position, by a name of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The name: a later note of this name replaces it.
    pub name: String,
    /// What is remembered.
    pub value: String,
    /// Whether it is stored before any target is altered for the data that come with it, and not together with them.
    pub early: bool,
}

/// A source's own notion of how far it has come.
///
/// Each source has its own type, so that one source's position can't be acknowledged to another.
pub trait Position: Clone + Send + Sync + std::fmt::Debug + 'static {
    /// What a sink stores for it.
    fn checkpoint(&self) -> Checkpoint;

    /// Whether everything up to `goal` is behind this position.
    fn reaches(&self, goal: &Self) -> bool;

    /// What is to be remembered with it.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }
}
