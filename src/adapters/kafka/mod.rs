//! Kafka as a sink and as a source.

mod check;
mod client;
mod control;
mod ledger;
mod marker;
mod murmur;

mod partitions;
mod producer;
mod reader;
mod sink;
mod source;
mod topics;

pub use crate::adapters::kafka_options::{Cluster, Properties, SinkOptions, SourceOptions};
pub use check::{check_sink, check_source};
pub use ledger::Delivery;
pub use sink::KafkaSink;
pub use source::{KafkaSource, TopicPosition};
