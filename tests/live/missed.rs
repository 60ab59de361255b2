//! A cluster that misses its only broker for some seconds again and again, though it is there: it names no broker then,
//! and makes no topic.

use std::time::{Duration, Instant};

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::{Running, Tailwater};

/// From now on the controller has not heard of the broker for too long, half of the time.
fn forgets(kafka: &Kafka) {
    kafka.reconfigure("broker.session.timeout.ms=1500\nbroker.heartbeat.interval.ms=3000\n");
}

fn publish(name: &str, source: &Database<'_>, kafka: &Kafka, prefix: &str) -> Tailwater {
    Tailwater::new(name)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), prefix)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1")
}

#[test]
fn a_table_that_joins_while_its_brokers_are_missed_is_waited_for() {
    let kafka = Kafka::nodes(1).start();
    let source = Postgres::shared(17).database("missed_join");
    source.sql("create table t (id int primary key); insert into t values (1)");
    let prefix = kafka.prefix("missed_join");
    let pipeline = publish("missed_join", &source, &kafka, &prefix);
    let mut running = pipeline.run();
    running.wait_ready();
    forgets(&kafka);
    // Not each of them falls into a moment without a broker.
    for round in 1..=6 {
        source.sql(&format!("create table new{round} (id int primary key); insert into new{round} values (1), (2)"));
        let topic = format!("{prefix}.public.new{round}");
        running.wait_until("the new table's rows", |_| {
            kafka.topics(&prefix).contains(&topic) && kafka.end_offset(&topic, 0) >= Some(2)
        });
        if round >= 2 && running.text().contains("fewer are up") {
            break;
        }
    }
    println!("refused {} times", running.text().matches("fewer are up").count());
}

/// A row at a time for half a minute: whoever asks the cluster in the wrong moment forgets its brokers for good.
#[test]
fn a_client_that_has_lost_sight_of_the_cluster_is_replaced() {
    let (kafka, server) = (Kafka::nodes(1).start(), Postgres::shared(17));
    let (source, target) = (server.database("missed_s"), server.database("missed_t"));
    source.sql("create table t (id int primary key); insert into t values (0)");
    let prefix = kafka.prefix("missed");
    let publish = publish("missed_in", &source, &kafka, &prefix);
    let apply = Tailwater::new("missed_out")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], "missed")
        .sink_postgres(&target.url(), None);
    let (publishing, mut applying) = (publish.run(), apply.run());
    let session = target.session();
    applying.wait_until("the table", |_| session.one("select to_regclass('t') is not null") == "t");
    forgets(&kafka);
    let began = Instant::now();
    for id in 1.. {
        source.sql(&format!("insert into t values ({id})"));
        applying.wait_until("the row", |_| session.one(&format!("select count(*) from t where id = {id}")) == "1");
        if began.elapsed() > Duration::from_secs(30) {
            break;
        }
    }
    let replaced = |running: &Running| running.text().matches("has lost sight of the brokers").count();
    println!("replaced: {} and {}", replaced(&publishing), replaced(&applying));
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&session));
}
