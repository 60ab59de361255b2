//! Kafka as a sink and as a source.

mod client;
mod control;
mod format;
mod ledger;
mod marker;
mod murmur;
mod options;
mod producer;
mod sink;
mod topics;

pub use ledger::Delivery;
pub use options::{Cluster, Properties, SinkOptions, SourceOptions};
pub use sink::KafkaSink;
