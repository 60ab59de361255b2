//! Topics: which exist, and how new ones are made.
//!
//! A topic is created with explicit partitions, replicas and policy, never by the broker's own choice. One that
//! exists is taken as it is; where it contradicts the configuration, that is said and not changed.
//!
//! The tables topic remembers how many partitions each topic of events had when it was first written. One that has others
//! now would have keys in two partitions, one that is gone had events that somebody may not have read: both stop.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::Cluster;
use super::client::{ANSWER, Context, admin_config, coded, create, failed};
use super::control::Control;
use crate::model::{Error, Result};

/// Kafka's own limit for a topic's name, in bytes.
const LONGEST_NAME: usize = 249;

/// What a topic is for, which decides how it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Events of one table: the brokers' retention.
    Events,
    /// Signs of life.
    Heartbeats,
    /// Progress markers: the last ones are kept for ever.
    Progress,
    /// Table versions: all are kept for ever.
    Tables,
    /// Changes of stopped tables: all are kept for ever, and none is refused for its size.
    Held,
}

impl Purpose {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Purpose::Events | Purpose::Heartbeats => &[("cleanup.policy", "delete")],
            Purpose::Progress => {
                &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "1073741824")]
            }
            Purpose::Tables => &[("cleanup.policy", "compact")],
            Purpose::Held => &[
                ("cleanup.policy", "delete"),
                ("retention.ms", "-1"),
                ("retention.bytes", "-1"),
                ("max.message.bytes", "67108864"),
            ],
        }
    }
}

/// A topic that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Topic {
    /// How many partitions it has.
    pub(super) partitions: i32,
}

/// Knows and creates topics.
pub(super) struct Topics {
    control: Arc<Control>,
    admin: AdminClient<Context>,
    known: HashMap<String, Topic>,
    /// The most brokers that were ever there.
    brokers: i32,
    partitions: i32,
    replication: i32,
    /// Partitions of the topics that have been written.
    written: HashMap<String, i32>,
    /// Those that were not known of before.
    unsaid: Vec<(String, i32)>,
}

impl Topics {
    /// Asks the cluster what it holds; new topics get `partitions` and `replication`.
    pub(super) async fn start(
        cluster: &Cluster,
        control: Arc<Control>,
        partitions: i32,
        replication: i32,
    ) -> Result<Topics> {
        let admin = create(&admin_config(cluster)?, Context::default())?;
        let (known, brokers, written, unsaid) = Default::default();
        let mut topics = Topics { control, admin, known, brokers, partitions, replication, written, unsaid };
        topics.refresh().await?;
        Ok(topics)
    }

    async fn refresh(&mut self) -> Result<()> {
        let control = Arc::clone(&self.control);
        let listing = blocking(move || control.list(ANSWER)).await?;
        self.known = listing.topics.into_iter().map(|(name, partitions)| (name, Topic { partitions })).collect();
        self.brokers = self.brokers.max(listing.brokers);
        Ok(())
    }

    /// Whether the topic exists, as far as known.
    pub(super) fn find(&self, name: &str) -> Option<Topic> {
        self.known.get(name).copied()
    }

    /// Says what the tables topic remembers.
    pub(super) fn remember(&mut self, written: HashMap<String, i32>) {
        self.written = written;
    }

    /// The topics of events that the tables topic is to remember from now on.
    pub(super) fn unsaid(&mut self) -> Vec<(String, i32)> {
        std::mem::take(&mut self.unsaid)
    }

    /// Refuses a topic that has been written and is gone, or has other partitions.
    pub(super) fn unaltered(&self, name: &str) -> Result<()> {
        let Some(&before) = self.written.get(name) else { return Ok(()) };
        let now = self.find(name).map(|topic| topic.partitions);
        altered(name, before, now).map_or(Ok(()), Err)
    }

    /// The topic, created when it does not exist.
    pub(super) async fn ensure(&mut self, name: &str, purpose: Purpose) -> Result<Topic> {
        check_name(name)?;
        if purpose != Purpose::Events {
            return self.find_or_create(name, purpose).await;
        }
        self.unaltered(name)?;
        let topic = self.find_or_create(name, purpose).await?;
        if !self.written.contains_key(name) {
            self.written.insert(name.to_owned(), topic.partitions);
            self.unsaid.push((name.to_owned(), topic.partitions));
        }
        Ok(topic)
    }

    async fn find_or_create(&mut self, name: &str, purpose: Purpose) -> Result<Topic> {
        if let Some(topic) = self.find(name) {
            self.compare(name, purpose, topic)?;
            return Ok(topic);
        }
        let partitions = if purpose == Purpose::Events { self.partitions } else { 1 };
        let created = self.create(name, partitions, purpose).await;
        match created {
            Ok(()) => {
                tracing::info!(topic = name, partitions, "topic created");
                self.known.insert(name.to_owned(), Topic { partitions });
            }
            // Somebody was faster, or only creating is forbidden: take what is there.
            Err(error) => {
                self.refresh().await?;
                if self.find(name).is_none() {
                    return Err(error);
                }
            }
        }
        let topic = self.find(name).unwrap_or(Topic { partitions });
        self.compare(name, purpose, topic)?;
        Ok(topic)
    }

    async fn create(&self, name: &str, partitions: i32, purpose: Purpose) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replication));
        for (key, value) in purpose.settings() {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let doing = format!("creating topic {name}");
        let results = self.admin.create_topics([&topic], &options).await.map_err(|error| failed(&doing, &error))?;
        match results.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => {
                let error = coded(format!("{doing} with {partitions} partitions: {code}"), code);
                Err(match code {
                    Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                        error.remedy(format!("grant this user Create, or create {name} with {partitions} partitions"))
                    }
                    Code::InvalidReplicationFactor => too_few(error, self.replication, self.brokers),
                    _ => error,
                })
            }
        }
    }

    /// Says where an existing topic contradicts the configuration.
    fn compare(&self, name: &str, purpose: Purpose, topic: Topic) -> Result<()> {
        match contradiction(name, purpose, topic, self.partitions) {
            Some(error) if matches!(purpose, Purpose::Progress | Purpose::Tables | Purpose::Held) => Err(error),
            Some(error) => {
                tracing::warn!("{error}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The largest record batch the topic takes; `None` when we may not ask.
    pub(super) async fn largest_batch(&self, name: &str) -> Option<u64> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let answer = self.admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await.ok()?;
        let config = answer.into_iter().next()?.ok()?;
        config.get("max.message.bytes")?.value.as_ref()?.parse().ok()
    }
}

/// A cluster without as many brokers as replicas are asked for says the same as one whose brokers are missed for a moment.
fn too_few(error: Error, replication: i32, brokers: i32) -> Error {
    if (1..=brokers).contains(&replication) {
        let what =
            format!("{}: {replication} replicas are asked for, and of {brokers} brokers fewer are up", error.what());
        return Error::transient(what).remedy("look after the brokers; the topic is made when they are back");
    }
    error.remedy(format!(
        "{replication} replicas are asked for, of {brokers} brokers; set topic.replication to at most their number"
    ))
}

/// What has become of a topic since it was first written with this many partitions, where it is not what it was.
fn altered(name: &str, before: i32, now: Option<i32>) -> Option<Error> {
    let start_over = "start over under another prefix, with a new snapshot";
    match now {
        Some(now) if now == before => None,
        Some(now) => Some(
            Error::blocked(format!("topic {name} has {now} partitions, and {before} when it was first written"))
                .remedy(format!("keys would go to other partitions and lose their order: {start_over}")),
        ),
        None => Some(
            Error::blocked(format!(
                "topic {name} was deleted, with the events in it, or this user may not see it any more"
            ))
            .remedy(format!(
                "grant this user Describe and Write; if it is gone, {start_over}, or, where nobody needs what it \
                     held, create it again with {before} partitions"
            )),
        ),
    }
}

/// What is wrong with an existing topic, in the eyes of the configuration.
pub(super) fn contradiction(name: &str, purpose: Purpose, topic: Topic, configured: i32) -> Option<Error> {
    let wanted = if purpose == Purpose::Events { configured } else { 1 };
    // Whatever it has, they go to its first one.
    let fine = purpose == Purpose::Heartbeats || topic.partitions == wanted;
    (!fine).then(|| {
        let error = Error::blocked(format!("topic {name} has {} partitions, not {wanted}", topic.partitions));
        match purpose {
            Purpose::Events => error.remedy(format!(
                "set topic.partitions to {}: adding partitions to a topic in use moves keys and breaks their order",
                topic.partitions
            )),
            _ => error.remedy("its order would be lost: choose another prefix, or delete it when nothing uses it"),
        }
    })
}

/// Whether Kafka accepts the name.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let wrong = if name.is_empty() || name == "." || name == ".." {
        Some("is no name for a topic".to_owned())
    } else if name.len() > LONGEST_NAME {
        Some(format!("is {} bytes long; Kafka allows {LONGEST_NAME}", name.len()))
    } else if !name.chars().all(plain) {
        Some("holds characters that Kafka refuses; it allows letters, digits, `.`, `_` and `-`".to_owned())
    } else {
        None
    };
    match wrong {
        Some(wrong) => Err(Error::blocked(format!("the topic name `{name}` {wrong}"))
            .remedy("choose another prefix, or leave the table out")),
        None => Ok(()),
    }
}

/// Runs a call to librdkafka that blocks.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(_) => Err(Error::bug("a call to Kafka panicked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    #[test]
    fn names_that_kafka_refuses_are_refused_with_the_reason() {
        for (name, reason) in [
            ("", "no name"),
            ("..", "no name"),
            (&"x".repeat(250)[..], "250 bytes"),
            ("a b", "characters"),
            ("prefix.öffentlich.x", "characters"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        check_name(&"x".repeat(249)).unwrap();
        check_name("shop._tailwater.progress").unwrap();
    }

    #[test]
    fn a_topic_that_is_gone_or_has_other_partitions_is_not_written_on() {
        assert!(altered("t", 4, Some(4)).is_none());
        let grown = altered("t", 4, Some(5)).unwrap().to_string();
        assert!(grown.contains("has 5 partitions, and 4 when"), "{grown}");
        let gone = altered("t", 4, None).unwrap().to_string();
        assert!(gone.contains("deleted") && gone.contains("again with 4 partitions"), "{gone}");
    }

    #[test]
    fn brokers_that_are_missed_are_waited_for_and_a_cluster_that_is_too_small_is_not() {
        let refused = || coded("creating topic t", Code::InvalidReplicationFactor);
        assert_eq!(too_few(refused(), 3, 3).class(), Class::Transient);
        assert_eq!(too_few(refused(), 3, 2).class(), Class::Blocked);
        assert_eq!(too_few(refused(), 0, 2).class(), Class::Blocked);
        assert!(too_few(refused(), 3, 2).to_string().contains("3 replicas are asked for, of 2 brokers"));
    }

    #[test]
    fn a_control_topic_has_one_partition_whatever_is_configured() {
        let topic = Topic { partitions: 1 };
        assert!(contradiction("p", Purpose::Progress, topic, 4).is_none());
        let error = contradiction("p.public.a", Purpose::Events, topic, 4).unwrap().to_string();
        assert!(error.contains("has 1 partitions, not 4"), "{error}");
    }
}
