//! The messages. `xid` fields are set inside a streamed block only, where each message names its (sub)transaction.

use bytes::Bytes;

use crate::model::{Lsn, Oid, OldRow, PgTimestamp, ReplicaIdentity, Row, Xid};

/// One message of the plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// `B`
    Begin(Begin),
    /// `C`
    Commit(Commit),
    /// `O`
    Origin(Origin),
    /// `R`
    Relation(Relation),
    /// `Y`
    Type(Type),
    /// `I`
    Insert(Insert),
    /// `U`
    Update(Update),
    /// `D`
    Delete(Delete),
    /// `T`
    Truncate(Truncate),
    /// `M`
    Logical(Logical),
    /// `S`
    StreamStart(StreamStart),
    /// `E`: the streamed block ends here, its transaction goes on in another one.
    StreamStop,
    /// `c`
    StreamCommit(StreamCommit),
    /// `A`
    StreamAbort(StreamAbort),
    /// `b`
    BeginPrepare(BeginPrepare),
    /// `P`
    Prepare(Prepare),
    /// `K`
    CommitPrepared(CommitPrepared),
    /// `r`
    RollbackPrepared(RollbackPrepared),
    /// `p`
    StreamPrepare(Prepare),
}

impl Message {
    /// Its name in PostgreSQL's documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Begin(_) => "Begin",
            Message::Commit(_) => "Commit",
            Message::Origin(_) => "Origin",
            Message::Relation(_) => "Relation",
            Message::Type(_) => "Type",
            Message::Insert(_) => "Insert",
            Message::Update(_) => "Update",
            Message::Delete(_) => "Delete",
            Message::Truncate(_) => "Truncate",
            Message::Logical(_) => "Message",
            Message::StreamStart(_) => "Stream Start",
            Message::StreamStop => "Stream Stop",
            Message::StreamCommit(_) => "Stream Commit",
            Message::StreamAbort(_) => "Stream Abort",
            Message::BeginPrepare(_) => "Begin Prepare",
            Message::Prepare(_) => "Prepare",
            Message::CommitPrepared(_) => "Commit Prepared",
            Message::RollbackPrepared(_) => "Rollback Prepared",
            Message::StreamPrepare(_) => "Stream Prepare",
        }
    }
}

/// A transaction begins; it is sent when it has committed, so its end is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// Where its commit record begins.
    pub final_lsn: Lsn,
    /// When it committed.
    pub at: PgTimestamp,
    /// Its number.
    pub xid: Xid,
}

/// The transaction is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// Where its commit record begins.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: what an acknowledgement names.
    pub end_lsn: Lsn,
    /// When it committed.
    pub at: PgTimestamp,
}

/// The transaction came here by replication from elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Where it committed there.
    pub lsn: Lsn,
    /// The origin's name.
    pub name: String,
}

/// A table's shape: sent before its first row on a connection, and again when it may have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// The table's OID.
    pub oid: Oid,
    /// Its schema; empty for `pg_catalog`.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What updates and deletes say of the old row.
    pub identity: ReplicaIdentity,
    /// The columns that rows carry, in their order.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationColumn {
    /// Whether the replica identity holds it; under FULL all columns are marked.
    pub key: bool,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: Oid,
    /// Its type's modifier, -1 for none.
    pub modifier: i32,
}

/// The name of a type that is not built in; a domain is sent under its base type's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Type {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// The type's OID.
    pub oid: Oid,
    /// Its schema; empty for `pg_catalog`.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// A new row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Insert {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row.
    pub new: Row,
}

/// A changed row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row as it was: under FULL, or the key when it changed.
    pub old: Option<OldRow>,
    /// The row.
    pub new: Row,
}

/// A removed row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row as it was, or its key.
    pub old: OldRow,
}

/// Tables emptied by one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Truncate {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// `CASCADE` was said.
    pub cascade: bool,
    /// `RESTART IDENTITY` was said.
    pub restart_identity: bool,
    /// The tables.
    pub relations: Vec<Oid>,
}

/// What `pg_logical_emit_message` wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logical {
    /// The streamed (sub)transaction.
    pub xid: Option<Xid>,
    /// Whether it belongs to the transaction around it; if not, it comes at once and even if its transaction rolls back.
    pub transactional: bool,
    /// Where its record ends; another one may begin there.
    pub lsn: Lsn,
    /// Its prefix.
    pub prefix: String,
    /// Its content.
    pub content: Bytes,
}

/// A block of a transaction that has not committed yet begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamStart {
    /// The transaction.
    pub xid: Xid,
    /// Whether it is the transaction's first block.
    pub first: bool,
}

/// A streamed transaction has committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamCommit {
    /// The transaction.
    pub xid: Xid,
    /// Its commit record and time.
    pub commit: Commit,
}

/// A streamed transaction, or a subtransaction of one, has rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamAbort {
    /// The transaction.
    pub xid: Xid,
    /// What rolled back: a subtransaction, or the transaction itself.
    pub subxid: Xid,
    /// Sent with `streaming 'parallel'` only.
    pub detail: Option<AbortDetail>,
}

/// Where and when a streamed transaction rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortDetail {
    /// Where its abort record ends.
    pub lsn: Lsn,
    /// When.
    pub at: PgTimestamp,
}

/// A prepared transaction begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeginPrepare {
    /// Where its prepare record begins.
    pub prepare_lsn: Lsn,
    /// Where its prepare record ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub at: PgTimestamp,
    /// Its number.
    pub xid: Xid,
    /// The name that the client gave it.
    pub gid: String,
}

/// A prepared transaction is complete but not decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepare {
    /// Where its prepare record begins.
    pub prepare_lsn: Lsn,
    /// Where its prepare record ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub at: PgTimestamp,
    /// Its number.
    pub xid: Xid,
    /// The name that the client gave it.
    pub gid: String,
}

/// A prepared transaction has committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPrepared {
    /// Its commit record and time.
    pub commit: Commit,
    /// Its number.
    pub xid: Xid,
    /// The name that the client gave it.
    pub gid: String,
}

/// A prepared transaction has rolled back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RollbackPrepared {
    /// Where its prepare record ends.
    pub prepare_end_lsn: Lsn,
    /// Where its rollback record ends.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepared_at: PgTimestamp,
    /// When it rolled back.
    pub rolled_back_at: PgTimestamp,
    /// Its number.
    pub xid: Xid,
    /// The name that the client gave it.
    pub gid: String,
}
