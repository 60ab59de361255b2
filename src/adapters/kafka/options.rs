//! What the Kafka adapters have to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
#[cfg(feature = "kafka")]
use std::sync::atomic::Ordering;

use secrecy::SecretString;

#[cfg(feature = "kafka")]
use super::marker::Writer;
use crate::codecs::event::foreign::Declared;
use crate::codecs::event::{Settings, Topic, TopicNames};
use crate::logic::project::{Origins, Rule};
use crate::model::{Pattern, Patterns, TableName};

/// What both directions need.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port,host:port`
    pub bootstrap: String,
    /// Handed to librdkafka as they are; may hold secrets, so never printed.
    pub properties: Properties,
}

/// librdkafka's properties. Values never show.
#[derive(Clone, Default)]
pub struct Properties(pub BTreeMap<String, String>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the registry's client has to be told.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Its addresses; the first that answers is used.
    pub urls: Vec<String>,
    /// Who we are.
    pub login: Login,
    /// A file of certificates to trust; the system's when absent.
    pub authorities: Option<PathBuf>,
    /// How subjects are named.
    pub subjects: Subjects,
    /// Whether schemas are registered; otherwise they have to be there.
    pub register: bool,
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Login {
    /// Nobody.
    None,
    /// User and password.
    Basic(String, SecretString),
    /// A token.
    Bearer(SecretString),
}

/// How subjects are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Subjects {
    /// `<topic>-value`
    #[default]
    Topic,
    /// The schema's full name.
    Record,
    /// `<topic>-<full name>`
    TopicRecord,
}

/// The names of [`Subjects`], the default first.
pub const SUBJECTS: [(&str, Subjects); 3] =
    [("topic", Subjects::Topic), ("record", Subjects::Record), ("topic_record", Subjects::TopicRecord)];

/// Rows or messages that are events of the application's own.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// Where they come from.
    pub source: OutboxSource,
    /// The topic; `${route}` stands for the value that chooses it.
    pub topic: String,
    /// What an event is made of.
    pub columns: crate::codecs::event::OutboxColumns,
    /// How payloads are told.
    pub payload: crate::codecs::event::Payload,
}

/// Where the application's own events come from.
#[derive(Clone, Debug)]
pub enum OutboxSource {
    /// Tables.
    Table(Pattern),
    /// Logical messages, by their prefix.
    Messages(Pattern),
}

/// What a reader of the topics may rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Guarantee {
    /// Who reads only what is committed sees each change once.
    #[default]
    ExactlyOnce,
    /// A restart repeats what was not confirmed; each change says which it is.
    AtLeastOnce,
}

/// The names of [`Guarantee`], the default first.
pub const GUARANTEES: [(&str, Guarantee); 2] =
    [("exactly-once", Guarantee::ExactlyOnce), ("at-least-once", Guarantee::AtLeastOnce)];

/// What a record stops that is beyond its topic's limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LargeRecords {
    /// The pipeline, when the brokers have refused it: what they compress below the limit is taken.
    #[default]
    Pipeline,
    /// Its table alone, before anything of the change is sent: by its size before it is compressed.
    Table,
}

/// The names of [`LargeRecords`], the default first.
pub const LARGE_RECORDS: [(&str, LargeRecords); 2] =
    [("pipeline", LargeRecords::Pipeline), ("table", LargeRecords::Table)];

/// What the sink has to be told.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// The pipeline's name.
    pub pipeline: String,
    /// The brokers.
    pub cluster: Cluster,
    /// How events are told; topics are `<prefix>.<schema>.<table>` where `topics` does not say otherwise.
    pub events: Settings,
    /// The names of topics; the events' prefix is a part of them.
    pub topics: TopicNames,
    /// The source's names of tables, which the names of topics go by.
    pub origins: Origins,
    /// Partitions of a new topic.
    pub partitions: i32,
    /// Replicas of a new topic.
    pub replication: i32,
    /// Events for logical messages with these prefixes; `None`: for none.
    pub messages: Option<Patterns>,
    /// Where schemas are registered, for formats that need it.
    pub registry: Option<RegistryOptions>,
    /// Tables and messages that are outboxes; the first that matches counts.
    pub outboxes: Vec<OutboxOptions>,
    /// Seconds between heartbeats; 0: none.
    pub heartbeat_seconds: u64,
    /// Beginnings and ends of transactions, and each event's place in its own.
    pub transaction_metadata: bool,
    /// Debezium's headers of context on each event.
    pub context_headers: bool,
    /// What is done with single tables, for changes that waited under older rules.
    pub rules: Vec<Rule>,
    /// The source's tables that are wanted: a stopped one that is not among them stays as it is.
    pub wanted: Patterns,
    /// Seconds between two attempts to have a stopped table go on.
    pub retry_seconds: u64,
    /// What a record stops that is too large.
    pub large_records: LargeRecords,
    /// Bytes that may be on their way to the brokers.
    pub buffer_bytes: usize,
    /// What a reader of the topics may rely on.
    pub guarantee: Guarantee,
    /// What the ids of changes depend on beside the source's log, in any form that can be compared.
    pub reading: String,
    /// Who this process is among the prefix's writers.
    pub own: Arc<Own>,
}

/// A process as a writer, over all its attempts.
#[derive(Debug)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "the configuration is read without Kafka as well"))]
pub struct Own {
    /// The epoch of its last attempt, 0 before the first.
    epoch: AtomicU64,
    process: String,
}

impl Default for Own {
    fn default() -> Own {
        Own { epoch: AtomicU64::new(0), process: format!("{:016x}", rand::random::<u64>()) }
    }
}

#[cfg(feature = "kafka")]
impl Own {
    /// The writer of its next attempt, after the one that was last in the topics.
    pub(super) fn next(&self, last: Option<&Writer>, reading: &str) -> Writer {
        let epoch = last.map_or(0, |last| last.epoch).max(self.epoch.load(Ordering::Relaxed)) + 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        Writer { epoch, process: self.process.clone(), reading: reading.to_owned() }
    }

    /// Whether it was a writer before.
    pub(super) fn has_begun(&self) -> bool {
        self.epoch.load(Ordering::Relaxed) > 0
    }

    /// Whether another process has become the writer after its last attempt. One of the same epoch has, too: of two
    /// that begin at once, the one that was shut out by the other has left no marker of its own.
    pub(super) fn is_replaced_by(&self, writer: &Writer) -> bool {
        let own = self.epoch.load(Ordering::Relaxed);
        own > 0 && writer.epoch >= own && writer.process != self.process
    }
}

impl SinkOptions {
    /// The id under which a writer's transactions are its own, whichever process it is.
    pub fn transactional_id(&self) -> String {
        format!("tailwater-{}-{}", self.pipeline, self.events.prefix)
    }

    /// How the events of the table that they tell under this name are told.
    pub fn settings(&self, told: &TableName) -> Settings {
        let key_fields = self.topics.keys.of(&self.events.prefix, &self.origins.of(told), told);
        Settings { key_fields, ..self.events.clone() }
    }

    /// The topic of the table that events tell under this name.
    pub fn topic(&self, told: &TableName) -> Topic {
        self.topics.topic(&self.events.prefix, &self.origins.of(told), told)
    }
}

/// How a process is one of several that read the same topics.
#[derive(Clone, Debug, Default)]
pub struct MembershipOptions {
    /// The name under which it comes back after a restart; `None`: each start is a new member.
    pub instance: Option<String>,
    /// Whether the members share the work; otherwise one of them does it.
    pub share: bool,
}

/// The topics whose events one of several processes reads; the markers it reads speak of all.
#[derive(Clone)]
pub struct Only(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Only {
    /// Those for which this holds.
    pub fn new(reads: impl Fn(&str) -> bool + Send + Sync + 'static) -> Only {
        Only(Arc::new(reads))
    }

    /// Whether the topic is among them.
    pub fn reads(&self, topic: &str) -> bool {
        (self.0)(topic)
    }
}

impl std::fmt::Debug for Only {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Only")
    }
}

/// What the source has to be told.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The pipeline's name.
    pub pipeline: String,
    /// The brokers.
    pub cluster: Cluster,
    /// Topics to read, as patterns.
    pub topics: Vec<Pattern>,
    /// The prefix the topics were written under; found from the topics when absent.
    pub prefix: Option<String>,
    /// How the events are written; the topics say it themselves when absent.
    pub format: Option<crate::codecs::event::Format>,
    /// The consumer group. Its offsets are for display only, the warehouse knows those that count.
    pub group: String,
    /// How this process is one of several; `None`: it is the only one, and takes over from whoever was before.
    pub membership: Option<MembershipOptions>,
    /// Which of the topics this process reads; `None`: all.
    pub only: Option<Only>,
    /// Bytes that are fetched ahead, topics of others apart; a quarter as much may wait for the sink as changes.
    pub buffer_bytes: usize,
}

/// Who wrote topics that are not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Debezium, in any of its forms.
    Debezium,
    /// Any service, as rows by the documented form.
    Rows,
}

/// Where a record is: topic, partition, offset.
pub type RecordPlace = (String, i32, i64);

/// What the source of such topics has to be told.
#[derive(Clone, Debug)]
pub struct ForeignOptions {
    /// Brokers, topics and the rest; it has no prefix and no format.
    pub source: SourceOptions,
    /// Who wrote them.
    pub origin: Origin,
    /// Where the schemas of Avro are.
    pub registry: Option<RegistryOptions>,
    /// What stands for a value that did not change.
    pub placeholder: String,
    /// Types of columns that are not left to their values.
    pub declared: Vec<Declared>,
    /// Records that are left out.
    pub skipped: BTreeSet<RecordPlace>,
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn of_two_writers_that_begin_at_once_the_one_without_a_marker_was_replaced() {
        let (one, two) = (Own::default(), Own::default());
        let last = Writer { epoch: 4, process: "gone".into(), reading: String::new() };
        assert!(!one.is_replaced_by(&last), "it has not begun");
        // Both have read the same marker, and the second has shut the first one out before it could leave its own.
        let (mine, other) = (one.next(Some(&last), ""), two.next(Some(&last), ""));
        assert_eq!((mine.epoch, other.epoch), (5, 5));
        assert!(one.is_replaced_by(&other) && !one.is_replaced_by(&last));
        // One whose marker came, though nobody told it, goes on after itself.
        assert!(!one.is_replaced_by(&mine));
        assert_eq!(one.next(Some(&mine), "").epoch, 6);
        assert!(!one.is_replaced_by(&other) && two.is_replaced_by(&one.next(None, "")));
    }
}
