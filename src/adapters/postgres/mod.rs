//! PostgreSQL as a source.

mod endpoint;
mod options;

pub use endpoint::Endpoint;
pub use options::{Options, SnapshotMode};
