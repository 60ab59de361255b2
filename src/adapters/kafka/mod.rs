//! Kafka as a sink and as a source.

mod check;
mod client;
mod control;
mod format;
mod ledger;
mod marker;
mod murmur;
mod options;
mod partitions;
mod producer;
mod reader;
mod sink;
mod source;
mod topics;

pub use check::{check_sink, check_source};
pub use ledger::Delivery;
pub use options::{Cluster, Properties, SinkOptions, SourceOptions};
pub use sink::KafkaSink;
pub use source::{KafkaSource, TopicPosition};
