//! Floor 0: the words everything else is said in. No protocol, no driver, no clock.

pub mod change;
pub mod error;
pub mod id;
pub mod lsn;
pub mod meters;
pub mod pattern;
pub mod pg_type;
pub mod position;
pub mod role;
pub mod row;
pub mod table;
pub mod time;
pub mod value;

pub use change::{Change, ChangeId, Emitted, OldRow, Op, Origin, SnapshotMark};
pub use error::{Class, Error, Result};
pub use id::{Oid, Xid};
pub use lsn::Lsn;
pub use meters::Meters;
pub use pattern::{Pattern, Patterns};
pub use pg_type::PgType;
pub use position::{Checkpoint, Followed, Membership, Note, Phase, Position, SourcePosition};
pub use row::{Cell, Row, RowWriter};
pub use table::{Birth, Column, ColumnDefault, ReplicaIdentity, Table, TableName};
pub use time::PgTimestamp;
