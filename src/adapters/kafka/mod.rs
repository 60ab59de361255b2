//! Kafka as a sink and as a source. The options are there without the feature, for the configuration to be read.

#[cfg(feature = "kafka")]
mod apart;
#[cfg(feature = "kafka")]
mod aside;
#[cfg(feature = "kafka")]
mod check;
#[cfg(feature = "kafka")]
mod claims;
#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod collect;
#[cfg(feature = "kafka")]
mod committer;
#[cfg(feature = "kafka")]
mod control;
#[cfg(feature = "kafka")]
mod fit;
#[cfg(feature = "kafka")]
mod foreign;
#[cfg(feature = "kafka")]
mod handover;
#[cfg(feature = "kafka")]
mod held;
#[cfg(feature = "kafka")]
mod ledger;
#[cfg(feature = "kafka")]
mod lifeline;
mod marker;
#[cfg(feature = "kafka")]
mod member;
#[cfg(feature = "kafka")]
mod murmur;

mod options;
#[cfg(feature = "kafka")]
mod parcel;
#[cfg(feature = "kafka")]
mod partitions;
#[cfg(feature = "kafka")]
mod pieces;
#[cfg(feature = "kafka")]
mod plans;
#[cfg(feature = "kafka")]
mod prefix;
#[cfg(feature = "kafka")]
mod producer;
#[cfg(feature = "kafka")]
mod progress;
#[cfg(feature = "kafka")]
mod reader;
#[cfg(feature = "kafka")]
mod registry;
#[cfg(feature = "kafka")]
mod release;
#[cfg(feature = "kafka")]
mod schemas;
#[cfg(feature = "kafka")]
mod scribe;
#[cfg(feature = "kafka")]
#[cfg(test)]
mod simulated;
#[cfg(feature = "kafka")]
mod sink;
#[cfg(feature = "kafka")]
mod source;
#[cfg(feature = "kafka")]
mod start;
#[cfg(feature = "kafka")]
mod topics;
#[cfg(feature = "kafka")]
mod transaction;

#[cfg(feature = "kafka")]
pub use check::{check_sink, check_source, stored};
#[cfg(feature = "kafka")]
pub use foreign::{ForeignPosition, ForeignSource, StoppedTopics, check_foreign};
#[cfg(feature = "kafka")]
pub use held::stopped;
#[cfg(feature = "kafka")]
pub use ledger::Delivery;
pub use marker::{Marker, Writer};
#[cfg(feature = "kafka")]
pub use member::{Display, Member, Owned};
pub use options::{
    Cluster, ForeignOptions, GUARANTEES, Guarantee, LARGE_RECORDS, LargeRecords, Login, MembershipOptions, Only,
    Origin, OutboxOptions, OutboxSource, Properties, RecordPlace, RegistryOptions, SUBJECTS, SinkOptions,
    SourceOptions, Subjects,
};
#[cfg(feature = "kafka")]
pub use sink::KafkaSink;
#[cfg(feature = "kafka")]
pub use source::{KafkaSource, TopicPosition};
