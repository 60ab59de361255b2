//! PostgreSQL as a source.
//!
//! `endpoint`, `tls`, `wire` reach a server; `sql` does it for everything that is SQL; `catalog`, `history`, `publication`, `slot`
//! prepare; `snapshot` and `stream` deliver, `forms` and `texts` read a stream in binary; `streamed` and `prepared` keep
//! transactions that have not committed yet in the `spool`; `start` begins and `source` makes batches of both; `newcomers` and
//! `join` let tables join; `watch` looks after all of it; `ack` guards what the server is told.

mod ack;
mod catalog;
mod check;
mod endpoint;
mod failover;
mod forms;
mod history;
mod identity;
mod join;
mod newcomers;
mod options;
mod partitions;
mod portion;
mod prepared;
mod publication;
mod refusal;
mod reread;
mod resnapshot;
mod server;
mod slot;
mod snapshot;
mod source;
mod spool;
mod sql;
mod start;
mod stream;
mod streamed;
mod texts;
mod tls;
mod types;
mod watch;
mod wire;

pub use ack::Ledger;
pub use check::{Findings, check, tables};
pub use endpoint::{Endpoint, SslMode};
pub use forms::Known;
pub use history::HISTORY_SQL;
pub use identity::continues;
pub use options::{Form, Options, Partitioned, Portion, SnapshotMode};
pub use reread::reread;
pub use slot::{SlotStatus, behind, slot_status};
pub use source::{PostgresSource, SlotPosition};
pub use spool::{Record, Replay, Spool, SpoolOptions};
pub use sql::{connect, connect_plainly};
pub use streamed::{Committed, Streamed, Taken};
