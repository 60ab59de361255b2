//! Exactly once into Kafka, as a consumer of another implementation sees it: whatever dies, sleeps or goes away.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::kill::seed;
use crate::support::judge::{assert_ledger, assert_once, seen};
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
use crate::support::proxy::{Mode, Proxy};
use crate::support::runtime::wait;
use crate::support::tailwater::{Running, Tailwater};
use crate::support::workload::{self, Load};

const TOPIC: &str = "[sink.kafka.topic]\npartitions = 3\nreplication = 1";

fn publisher(source: &Database<'_>, kafka: &Kafka, prefix: &str) -> Tailwater {
    let name = prefix.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    Tailwater::new(&name)
        .source_postgres(&source.url(), &["public.*"])
        .toml("snapshot = \"never\"")
        .sink_kafka(&kafka.bootstrap(), prefix)
        .exactly_once()
        .toml(TOPIC)
}

/// The load's tables, and the slot before its first transaction; transactions touch at most `largest` rows.
fn begin(source: &Database<'_>, publisher: &Tailwater, largest: u32, seed: u64) -> Load {
    let (url, again) = (source.url(), source.url());
    wait(async move { workload::create(&again).await });
    publisher.run_until_current().success();
    wait(async move { Load::start(&url, 3, largest, seed).await })
}

/// Watches how much of a topic is committed, the ends of transactions included.
struct Watch {
    consumer: BaseConsumer,
    topic: String,
}

impl Watch {
    fn new(kafka: &Kafka, topic: String) -> Watch {
        Watch { consumer: kafka.client().create().expect("a client"), topic }
    }

    /// One past the last committed offsets, together; `None` while a broker is away.
    fn end(&self) -> Option<i64> {
        let end = |partition| self.consumer.fetch_watermarks(&self.topic, partition, Duration::from_secs(5)).ok();
        (0..3).map(|partition| end(partition).map(|(_, end)| end)).sum()
    }

    /// Waits until `more` has been committed.
    #[track_caller]
    fn grows(&self, running: &mut Running, more: i64) {
        let mut before = None;
        running.wait_until("writing", |_| match (before, self.end()) {
            (None, end) => {
                before = end;
                false
            }
            (Some(before), end) => end.is_some_and(|end| end >= before + more),
        });
    }
}

#[test]
fn killed_or_replaced_while_it_sleeps_a_writer_leaves_each_change_once() {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix("exactly");
    let source = Postgres::shared(17).database("exactly");
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let publisher = publisher(&source, kafka, &prefix);
    let load = begin(&source, &publisher, 2000, seed);
    let watch = Watch::new(kafka, format!("{prefix}.public.ledger_plain"));
    let mut running = publisher.run();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(random.random_range(200..900)));
        running.kill9();
        running = publisher.run();
    }
    // The old one sleeps in the middle of its work; the new one takes over; the old one wakes.
    running.wait_ready();
    watch.grows(&mut running, 20);
    let mut old = running;
    old.signal(Signal::SIGSTOP);
    let twin = publisher.twin();
    let mut new = twin.run();
    // What it ends of the old one's transaction counts as growth too: only once it is ready has it said who it is.
    new.wait_ready();
    let said = new.text();
    assert!(!said.contains("is still held by our own process"), "the first attempt ends the sleeping one's: {said}");
    watch.grows(&mut new, 20);
    old.signal(Signal::SIGCONT);
    old.wait().code(3).says(&["another process has taken over the pipeline"]);
    watch.grows(&mut new, 20);
    wait(load.stop());
    new.terminate().code(0);
    publisher.run_until_current().success();
    let seen = seen(kafka, &prefix);
    assert_once(&seen);
    assert_ledger(&seen, &source.session());
}

#[test]
fn a_broker_that_dies_amid_commits_and_rights_that_are_taken_away_cost_no_change() {
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let kafka = Kafka::nodes(1).config(authorizer).config("allow.everyone.if.no.acl.found=true").start();
    let prefix = kafka.prefix("restart");
    let source = Postgres::shared(17).database("exactly_restart");
    let seed = seed();
    let publisher = publisher(&source, &kafka, &prefix);
    let load = begin(&source, &publisher, 200, seed);
    let watch = Watch::new(&kafka, format!("{prefix}.public.ledger_plain"));
    let mut running = publisher.run();
    for _ in 0..2 {
        watch.grows(&mut running, 20);
        kafka.kill9(1);
        kafka.restart(1);
    }
    watch.grows(&mut running, 20);
    // Somebody else's from now on.
    let topic = format!("{prefix}.public.ledger_plain");
    kafka.acl(&["--add", "--allow-principal", "User:other", "--operation", "All", "--topic", &topic]);
    running.wait().code(3).says(&[&topic, "grant this user"]);
    kafka.acl(&["--remove", "--force", "--topic", &topic]);
    let id = format!("tailwater-{0}-{0}", prefix);
    kafka.acl(&["--add", "--allow-principal", "User:other", "--operation", "All", "--transactional-id", &id]);
    publisher.run().wait().code(3).says(&["transactional id", "delivery = \"at-least-once\""]);
    kafka.acl(&["--remove", "--force", "--transactional-id", &id]);
    wait(load.stop());
    publisher.run_until_current().success();
    let seen = seen(&kafka, &prefix);
    assert_once(&seen);
    assert_ledger(&seen, &source.session());
}

/// The last change of the source transaction that is in the topics in part.
fn inside(kafka: &Kafka, prefix: &str) -> Option<u64> {
    let markers = kafka.consume_all(&format!("{prefix}._tailwater.progress"), Isolation::Committed);
    let marker: serde_json::Value = serde_json::from_str(markers.last()?.value_text()).unwrap();
    marker["inside"]["seq"].as_u64()
}

#[test]
fn a_transaction_larger_than_kafkas_goes_on_where_it_was_killed_and_not_after_another_reading() {
    const ROWS: u64 = 300_000;
    let kafka = Kafka::shared();
    let prefix = kafka.prefix("inside");
    let server = Postgres::shared(17);
    let source = server.database("exactly_inside");
    source.sql("CREATE TABLE big (id bigint PRIMARY KEY, note text)");
    let proxy = Proxy::to(&server.address());
    let publisher = Tailwater::new(&prefix.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
        .source_postgres(&source.url().replace(&server.address(), &proxy.address()), &["public.*"])
        .toml("snapshot = \"never\"\nstreaming = false")
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .exactly_once()
        .toml(TOPIC)
        .toml("[sink.kafka.envelope]\ntransaction_metadata = true");
    publisher.run_until_current().success();
    source.sql(&format!("INSERT INTO big SELECT g, repeat(md5(g::text), 4) FROM generate_series(1, {ROWS}) g"));
    // At most 64 KiB in 10 ms: ten seconds for the whole of it, however quick the machine is.
    proxy.set(Mode::Delay(Duration::from_millis(10)));
    let mut reached = 0;
    for _ in 0..2 {
        let mut running = publisher.run();
        running.wait_until("further inside", |_| inside(kafka, &prefix).is_some_and(|inside| inside > reached));
        running.kill9();
        reached = inside(kafka, &prefix).expect("it was killed inside the transaction");
    }
    proxy.set(Mode::Forward);
    let events = |kafka: &Kafka| kafka.consume_all(&format!("{prefix}.public.big"), Isolation::Committed).len();
    let before = events(kafka);
    let otherwise = publisher.variant("_metadata = true", "_metadata = true\nmessages = false");
    otherwise.run().wait().code(3).says(&["is in the topics up to its change", "at-least-once"]);
    assert_eq!(events(kafka), before);
    publisher.run_until_current().success();
    let seen = seen(kafka, &prefix);
    assert_once(&seen);
    let ids: Vec<u64> = {
        let mut ids: Vec<u64> = seen.iter().map(|event| event.after["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids.len() as u64, ROWS);
    assert!(ids.iter().copied().eq(1..=ROWS), "not all of them");
    let told = kafka.consume_all(&format!("{prefix}.transaction"), Isolation::Committed);
    let told: Vec<serde_json::Value> =
        told.iter().map(|record| serde_json::from_str(record.value_text()).unwrap()).collect();
    // Begin and end have keys of their own, and may be in different partitions.
    let of = |status: &str| told.iter().filter(|told| told["status"] == status).collect::<Vec<_>>();
    assert_eq!((told.len(), of("BEGIN").len(), of("END").len()), (2, 1, 1));
    assert_eq!(of("END")[0]["event_count"], ROWS);
    assert!(before > 0 && (before as u64) < ROWS, "{before}: it was not in the topics in part");
}
