//! Finds clients that librdkafka does not bring back.
//!
//! A cluster that misses all of its brokers for a moment names none when it is asked. librdkafka then forgets those it
//! knew and begins again at `bootstrap.servers`, unless another answer comes between the two: from then on it asks nobody
//! any more (github.com/confluentinc/librdkafka/issues/5301, open in 2.12.1). A consumer would wait for ever, and a
//! producer until its records are too old.
//!
//! So a client that says that all brokers are down is watched. Where a new one finds the cluster and it does not, it is
//! lost, and the pipeline sets up another. Where the new one finds none either, the brokers are waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::Cluster;
use super::client::{ANSWER, Context, admin_config, create};
use crate::model::{Error, Result};

/// How often a client in trouble is looked after.
const LOOK: Duration = Duration::from_secs(5);
/// How long it may take to find the cluster.
const FIND: Duration = Duration::from_secs(2);
/// How long it may take when another has found it: it waits up to five seconds before it connects once more.
const RETURN: Duration = Duration::from_secs(10);

/// How long a new one waits before it asks once more.
const AGAIN: Duration = Duration::from_millis(200);

/// How a client is doing.
#[derive(Clone, Default)]
pub(super) struct Lifeline {
    down: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
}

/// A client that can be asked for the cluster.
pub(super) trait Seeks: Send + Sync + 'static {
    /// Whether it finds a broker in this time.
    fn finds(&self, time: Duration) -> bool;
}

impl<C: ConsumerContext + 'static> Seeks for BaseConsumer<C> {
    fn finds(&self, time: Duration) -> bool {
        finds(self.client(), time)
    }
}

impl<C: ProducerContext + 'static> Seeks for BaseProducer<C> {
    fn finds(&self, time: Duration) -> bool {
        finds(self.client(), time)
    }
}

fn finds<C: ClientContext>(client: &Client<C>, time: Duration) -> bool {
    client.fetch_metadata(None, time).is_ok_and(|metadata| !metadata.brokers().is_empty())
}

impl Lifeline {
    /// The client says that all brokers are down.
    pub(super) fn down(&self) {
        self.down.store(true, Ordering::Relaxed);
    }

    /// That the client will never come back, if so.
    pub(super) fn lost(&self) -> Option<Error> {
        self.lost.load(Ordering::Relaxed).then(|| {
            Error::transient("this Kafka client has lost sight of the brokers, which another one finds")
                .remedy("it is set up anew")
        })
    }

    /// Looks after a client for as long as there is one, on a thread of its own.
    pub(super) fn watch(&self, cluster: &Cluster, client: &Arc<impl Seeks>) -> Result<()> {
        let (lifeline, cluster, client) = (self.clone(), cluster.clone(), Arc::downgrade(client));
        let watch = move || {
            while let Some(client) = client.upgrade() {
                if lifeline.look(&*client, || another(&cluster)) {
                    return;
                }
                drop(client);
                std::thread::sleep(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-lifeline".into()).spawn(watch);
        thread.map(drop).map_err(|error| Error::transient("no thread for looking after Kafka").because(error))
    }

    /// Looks once; whether the client is lost.
    fn look(&self, client: &impl Seeks, another: impl FnOnce() -> bool) -> bool {
        if !self.down.swap(false, Ordering::Relaxed) || client.finds(FIND) {
            return false;
        }
        let lost = another() && !client.finds(RETURN);
        self.lost.store(lost, Ordering::Relaxed);
        self.down.store(true, Ordering::Relaxed);
        lost
    }
}

/// Whether a new client finds the cluster.
fn another(cluster: &Cluster) -> bool {
    let client = admin_config(cluster).and_then(|config| create::<BaseConsumer<Context>>(&config, Context::default()));
    let began = Instant::now();
    client.is_ok_and(|client| {
        while began.elapsed() < ANSWER {
            if client.finds(FIND) {
                return true;
            }
            std::thread::sleep(AGAIN);
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(bool);

    impl Seeks for Told {
        fn finds(&self, _: Duration) -> bool {
            self.0
        }
    }

    #[test]
    fn a_client_is_lost_only_where_another_one_finds_the_cluster() {
        let lifeline = Lifeline::default();
        assert!(!lifeline.look(&Told(false), || panic!("nobody has complained")));
        lifeline.down();
        assert!(!lifeline.look(&Told(false), || false), "the brokers are away");
        assert!(lifeline.lost().is_none());
        assert!(lifeline.look(&Told(false), || true), "it is looked after until it finds them");
        assert!(lifeline.lost().is_some());
    }

    #[test]
    fn a_client_that_finds_the_cluster_again_is_left_alone() {
        let lifeline = Lifeline::default();
        lifeline.down();
        assert!(!lifeline.look(&Told(true), || panic!("it is well")));
        assert!(!lifeline.look(&Told(false), || panic!("nobody has complained since")));
    }
}
