//! Kafka as a sink and as a source.

mod options;

pub use options::{Cluster, Properties, SinkOptions, SourceOptions};
