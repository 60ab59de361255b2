//! Kafka as a sink and as a source.

mod client;
mod murmur;
mod options;
mod producer;
mod topics;

pub use options::{Cluster, Properties, SinkOptions, SourceOptions};
