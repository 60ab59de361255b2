//! PostgreSQL as a source.

mod ack;
mod endpoint;
mod options;
mod refusal;
mod sql;
mod tls;
mod wire;

pub use ack::Ledger;
pub use endpoint::{Endpoint, SslMode};
pub use options::{Options, SnapshotMode};
pub use sql::connect;
