//! `pgoutput`, the protocol of logical replication: bytes to messages and back, versions 1 to 4.
//!
//! ```text
//!  CopyData payload          frame              message
//!  ┌───┬─────────────┐   w: XLogData ─ body ─▶ Decoder ─▶ Message (rows are slices of the body)
//!  │ w │ k │ r  ...  │   k: Keepalive
//!  └───┴─────────────┘   r: StandbyStatus (from us)
//! ```
//!
//! Why nothing is lost or made up here: every length is checked against what is there, a message must end where its
//! last field ends, a tag or flag that this code does not know is an error and never skipped, and decoding what
//! [`Message::encode`] wrote gives the same message. No input makes it panic.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>

mod decode;
mod encode;
mod error;
mod frame;
mod message;
mod reader;

pub use decode::{Decoder, Glance, Streaming};
pub use error::{DecodeError, ErrorKind};
pub use frame::{Frame, Keepalive, StandbyStatus, XLogData};
pub use message::{
    AbortDetail, Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, Logical, Message, Origin, Prepare,
    Relation, RelationColumn, RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Truncate, Type, Update,
};
