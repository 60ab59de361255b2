//! librdkafka's clients: how they are configured, what they say, and what their errors mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};

use super::lifeline::{Lifeline, Seeks};
use super::{Cluster, SourceOptions};
use crate::model::{Class, Error, Result};

/// How long a question to the brokers (metadata, offsets, creating a topic) may take.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// How long a topic that has been created may be unknown to some broker.
const YOUNG: Duration = Duration::from_secs(10);

/// How long a record may be retried before the pipeline is torn down and set up again.
const DELIVERY: Duration = Duration::from_secs(300);

/// How long a transaction may stay open before the brokers abort it, and so how long a record in one may be retried.
const TRANSACTION: Duration = Duration::from_secs(60);

/// The largest record the producer accepts; below the brokers' `socket.request.max.bytes`, beyond which they would
/// hang up without an answer.
pub(super) const LARGEST_RECORD: usize = 64 * 1024 * 1024;

/// Properties that would undo what delivery rests on, and the values that do not.
const GUARDED: [(&str, &[&str]); 20] = [
    ("bootstrap.servers", &[]),
    ("metadata.broker.list", &[]),
    ("enable.idempotence", &["true"]),
    ("acks", &["all", "-1"]),
    ("request.required.acks", &["all", "-1"]),
    ("partitioner", &["murmur2_random"]),
    ("max.in.flight", &["1", "2", "3", "4", "5"]),
    ("max.in.flight.requests.per.connection", &["1", "2", "3", "4", "5"]),
    ("transactional.id", &[]),
    ("auto.offset.reset", &["error"]),
    ("enable.auto.commit", &["false"]),
    ("enable.auto.offset.store", &["false"]),
    ("enable.partition.eof", &["false"]),
    ("isolation.level", &["read_committed"]),
    ("group.id", &[]),
    ("group.instance.id", &[]),
    ("group.protocol", &["classic"]),
    ("partition.assignment.strategy", &["cooperative-sticky"]),
    ("allow.auto.create.topics", &["false"]),
    ("check.crcs", &["true"]),
];

/// What both kinds of client share: the brokers, our settings, then the user's.
fn config(cluster: &Cluster, ours: &[(&str, &str)]) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("bootstrap.servers", &cluster.bootstrap);
    config.set("client.id", "tailwater");
    config.set("statistics.interval.ms", "0");
    config.set("allow.auto.create.topics", "false");
    config.set("reconnect.backoff.max.ms", "5000");
    config.set("log.connection.close", "false");
    for (key, value) in ours {
        config.set(*key, *value);
    }
    for (key, value) in &cluster.properties.0 {
        if let Some((_, allowed)) = GUARDED.iter().find(|(guarded, _)| guarded == key)
            && !allowed.contains(&value.as_str())
        {
            return Err(Error::blocked(format!("the Kafka property {key} can't be set so: delivery rests on it"))
                .remedy(match allowed {
                    [] => format!("remove {key} from the properties; it has a place of its own in the configuration"),
                    allowed => format!("remove {key} from the properties, or set it to {}", allowed.join(" or ")),
                }));
        }
        config.set(key, value);
    }
    Ok(config)
}

/// The producer's configuration; `buffer` bytes may be on their way. With a transactional id it writes in transactions.
pub(super) fn producer_config(cluster: &Cluster, buffer: usize, id: Option<&str>) -> Result<ClientConfig> {
    // librdkafka's own limit lies above ours, or a record larger than the buffer would never find room.
    let kbytes = (buffer.saturating_add(2 * LARGEST_RECORD) / 1024).min(2_097_151).to_string();
    let delivery = DELIVERY.as_millis().to_string();
    let largest = LARGEST_RECORD.to_string();
    let transaction = TRANSACTION.as_millis().to_string();
    let delivery = if id.is_some() { transaction.clone() } else { delivery };
    let of_transactions = id.map(|id| [("transactional.id", id), ("transaction.timeout.ms", transaction.as_str())]);
    let mut ours = of_transactions.into_iter().flatten().collect::<Vec<_>>();
    // Records go out in parcels then, and nobody should wait for one that is not full.
    let linger = if id.is_some() { "1" } else { "5" };
    ours.extend([
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("max.in.flight", "5"),
        ("partitioner", "murmur2_random"),
        ("compression.type", "lz4"),
        ("linger.ms", linger),
        ("batch.size", "1000000"),
        ("batch.num.messages", "100000"),
        ("message.max.bytes", &largest),
        ("message.timeout.ms", &delivery),
        // A leader that has frozen is given up after the second; a replica that has, the leader waits for until then.
        ("request.timeout.ms", "15000"),
        ("socket.timeout.ms", "20000"),
        ("queue.buffering.max.messages", "2000000"),
        ("queue.buffering.max.kbytes", &kbytes),
        ("socket.nagle.disable", "true"),
    ]);
    config(cluster, &ours)
}

/// What may wait of a partition, as a multiple of one fetch. What waits is counted as records, a fetch as it comes over
/// the wire: of JSON, compressed, ten times and more becomes of it, all of which stays until its last record is read.
const FETCHES: usize = 48;

/// A consumer's configuration; `queue` bytes may be fetched ahead of each partition.
pub(super) fn consumer_config(cluster: &Cluster, group: &str, queue: usize) -> Result<ClientConfig> {
    let kbytes = (queue / 1024).max(64).to_string();
    let partition = (queue / FETCHES).clamp(32_768, 1_048_576).to_string();
    config(
        cluster,
        &[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            ("queued.max.messages.kbytes", &kbytes),
            ("max.partition.fetch.bytes", &partition),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", "100"),
            // A connection whose broker has frozen is given up after this; nothing we ask takes a broker long.
            ("socket.timeout.ms", "15000"),
            ("socket.nagle.disable", "true"),
        ],
    )
}

/// The configuration of a member of a consumer group, which fetches nothing.
pub(super) fn member_config(options: &SourceOptions) -> Result<ClientConfig> {
    let mut ours = vec![
        ("group.id", options.group.as_str()),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "1000"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("socket.timeout.ms", "15000"),
        ("socket.nagle.disable", "true"),
    ];
    if let Some(instance) = options.membership.as_ref().and_then(|membership| membership.instance.as_deref()) {
        ours.extend([("group.instance.id", instance), ("client.id", instance)]);
    }
    config(&options.cluster, &ours)
}

/// The admin client's configuration.
pub(super) fn admin_config(cluster: &Cluster) -> Result<ClientConfig> {
    config(cluster, &[])
}

/// Makes a client of any kind.
pub(super) fn create<T>(config: &ClientConfig, context: Context) -> Result<T>
where
    T: rdkafka::config::FromClientConfigAndContext<Context>,
{
    config.create_with_context(context).map_err(creation)
}

/// The error of a client that could not be made. Values of properties may be secrets, so only the key is named.
pub(super) fn creation(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => {
            Error::blocked(format!("librdkafka refuses the Kafka property {key} or its value"))
                .remedy("compare it with librdkafka's CONFIGURATION.md, and correct or remove it")
        }
        KafkaError::ClientCreation(reason) => {
            Error::blocked(format!("the Kafka client can't be set up: {reason}")).remedy("correct the Kafka properties")
        }
        other => failed("setting up the Kafka client", &other),
    }
}

/// What a client says outside of calls: its log, and the last trouble that explains a time-out.
#[derive(Clone, Default)]
pub(super) struct Context {
    trouble: Arc<Mutex<Option<(Code, String)>>>,
    lifeline: Lifeline,
}

impl Context {
    /// Why this client will not work by itself: authentication failed, access is denied, or it has to be replaced.
    pub(super) fn hopeless(&self) -> Option<Error> {
        self.blocked().or_else(|| self.lost())
    }

    /// That this client has to be replaced, if so.
    pub(super) fn lost(&self) -> Option<Error> {
        self.lifeline.lost()
    }

    /// Notes when the client has to be replaced.
    pub(super) fn watch(&self, cluster: &Cluster, client: &Arc<impl Seeks>) -> Result<()> {
        self.lifeline.watch(cluster, client)
    }

    /// What was said last is of one topic, and its reader knows.
    pub(super) fn forget(&self, code: Code) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_some_and(|(last, _)| *last == code) {
            *trouble = None;
        }
    }

    fn blocked(&self) -> Option<Error> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, reason) = trouble.as_ref().filter(|(code, _)| classify(*code) == Class::Blocked)?;
        Some(coded(format!("the brokers refuse us: {reason}"), *code))
    }

    /// The error of a call that got no answer, with the last trouble as its reason.
    pub(super) fn explain(&self, doing: &str, error: &KafkaError) -> Error {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (trouble.as_ref(), error.rdkafka_error_code()) {
            (
                Some((code, reason)),
                Some(Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown),
            ) => coded(format!("{doing}: no broker answers: {reason}"), *code),
            _ => failed(doing, error),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "tailwater::librdkafka", "{facility}: {message}");
            }
            // A broker that can't be reached is said again at every attempt; what follows from it, we say ourselves.
            _ => tracing::debug!(target: "tailwater::librdkafka", "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // That a partition has been read to its end is no trouble.
        if code == Code::PartitionEOF {
            return;
        }
        if code == Code::AllBrokersDown {
            self.lifeline.down();
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers down" follows each particular reason and says less.
        let vaguer = code == Code::AllBrokersDown && trouble.is_some();
        if !vaguer {
            if trouble.as_ref().is_none_or(|(last, _)| *last != code) {
                tracing::warn!(%code, "Kafka: {reason}");
            }
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Context {}

/// A partition's first offset and the one after its last; waits a moment for a topic that has just been created.
pub(super) fn range(consumer: &BaseConsumer<Context>, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
    let began = Instant::now();
    loop {
        let range = consumer.fetch_watermarks(topic, partition, ANSWER);
        let young = range.as_ref().err().and_then(KafkaError::rdkafka_error_code).is_some_and(|code| {
            matches!(
                code,
                Code::UnknownPartition
                    | Code::UnknownTopic
                    | Code::UnknownTopicOrPartition
                    | Code::LeaderNotAvailable
                    | Code::NotLeaderForPartition
            )
        });
        if !young || began.elapsed() > YOUNG {
            return range;
        }
        std::thread::sleep(Duration::from_millis(100));
        // The client remembers that it did not find the topic, until it is made to look again.
        let _ = consumer.fetch_metadata(Some(topic), ANSWER);
    }
}

/// Whether trying again helps after this code.
pub(super) fn classify(code: Code) -> Class {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::InvalidTransactionTimeout
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::InvalidConfig
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidRequiredAcks
        | Code::InvalidArgument
        | Code::PolicyViolation
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType => Class::Blocked,
        Code::InvalidMessage | Code::BadMessage | Code::BadCompression => Class::Corrupt,
        _ => Class::Transient,
    }
}

/// What the one reading the code may do.
fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "check sasl.mechanism, sasl.username and sasl.password in the Kafka properties"
        }
        Code::TopicAuthorizationFailed => "grant this user Describe, Create, Read and Write on the pipeline's topics",
        Code::GroupAuthorizationFailed => "grant this user Read on the consumer group",
        Code::ClusterAuthorizationFailed => "grant this user Create and IdempotentWrite on the cluster",
        Code::TransactionalIdAuthorizationFailed => {
            "grant this user Write and Describe on the transactional id (its name begins with tailwater-), or set \
             delivery = \"at-least-once\""
        }
        Code::InvalidTransactionTimeout => "raise transaction.max.timeout.ms of the brokers to a minute or more",
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "raise max.message.bytes of the topic (or message.max.bytes of the brokers)"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "the topic was deleted, or this user may not see it: create it again, or grant Describe"
        }
        Code::InvalidReplicationFactor => "set topic.replication to at most the number of brokers",
        Code::InvalidTopic => {
            "Kafka refuses the name, or a topic exists whose name differs only in `.` and `_`: choose another prefix"
        }
        Code::PolicyViolation => "a policy of the brokers forbids it: ask who runs them",
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            "records were removed before they were read: the warehouse needs a new snapshot"
        }
        Code::SSL => "check security.protocol and ssl.ca.location in the Kafka properties",
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut => {
            "check that the brokers in `bootstrap` are running and can be reached from here"
        }
        _ => return None,
    })
}

/// An error with the class and remedy of its code.
pub(super) fn coded(what: impl Into<String>, code: Code) -> Error {
    let error = Error::new(classify(code), what);
    match remedy(code) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// The error of a call to librdkafka.
pub(super) fn failed(doing: &str, error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(code) => coded(format!("{doing}: {code}"), code),
        None => Error::transient(format!("{doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Properties;
    use super::*;

    fn cluster(properties: &[(&str, &str)]) -> Cluster {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Cluster { bootstrap: "127.0.0.1:1".into(), properties: Properties(properties) }
    }

    #[test]
    fn properties_that_would_break_delivery_are_refused_with_the_key() {
        for (key, value) in [
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("auto.offset.reset", "latest"),
            ("isolation.level", "read_uncommitted"),
            ("partitioner", "random"),
            ("group.id", "x"),
            ("bootstrap.servers", "elsewhere:9092"),
        ] {
            let error = producer_config(&cluster(&[(key, value)]), 1 << 20, None).unwrap_err();
            assert_eq!(error.class(), Class::Blocked);
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn other_properties_win_over_ours() {
        let config =
            producer_config(&cluster(&[("compression.type", "zstd"), ("acks", "all")]), 1 << 20, None).unwrap();
        assert_eq!(config.get("compression.type"), Some("zstd"));
        assert_eq!(config.get("acks"), Some("all"));
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let config = producer_config(&cluster(&[("sasl.pasword", "hunter2")]), 1 << 20, None).unwrap();
        let error = create::<rdkafka::consumer::BaseConsumer<Context>>(&config, Context::default()).err().unwrap();
        assert!(error.to_string().contains("sasl.pasword"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
