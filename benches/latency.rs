//! How long after its INSERT was sent does a consumer of committed records have a change, under both guarantees?
//!
//! Each row is a transaction of its own and carries the time at which it was sent, on the same machine's clock. `lone`
//! is a row every hundred milliseconds, `busy` a thousand a second. `SECONDS` says how long each lasts (ten), `ROUNDS`
//! how often (three; the guarantees take turns, and the rounds' figures are pooled).

// What goes wrong ends the benchmark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

#[path = "../tests/support/mod.rs"]
mod support;

use support::kafka::Kafka;
use support::postgres::{Database, Postgres};
use support::runtime::wait;
use support::tailwater::Tailwater;

const PARTITIONS: i32 = 4;
const LOADS: [(&str, u64); 2] = [("lone", 10), ("busy", 1000)];
const GUARANTEES: [&str; 2] = ["exactly-once", "at-least-once"];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let (seconds, rounds) = (number("SECONDS", 10), number("ROUNDS", 3));
    let server = Postgres::version(17).start();
    let source = server.database("source");
    source.sql("CREATE TABLE t (id bigint PRIMARY KEY, sent bigint, note text)");
    let kafka = Kafka::shared();
    let mut taken = vec![Vec::new(); LOADS.len() * GUARANTEES.len()];
    for round in 0..rounds {
        for (index, guarantee) in GUARANTEES.into_iter().enumerate() {
            let all = measure(&source, kafka, guarantee, round, seconds);
            for (load, latencies) in all.into_iter().enumerate() {
                taken[load * GUARANTEES.len() + index].extend(latencies);
            }
        }
    }
    println!("\n{:<12}{:<16}{:>10}{:>10}{:>10}{:>10}", "load", "delivery", "rows", "p50 ms", "p99 ms", "max ms");
    for ((load, guarantee), latencies) in
        LOADS.iter().flat_map(|(load, _)| GUARANTEES.map(|guarantee| (load, guarantee))).zip(&mut taken)
    {
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        println!("{load:<12}{guarantee:<16}{:>10}{p50:>10.1}{p99:>10.1}{max:>10.1}", latencies.len());
    }
}

/// Microseconds from sending to having, for each row of each load.
fn measure(source: &Database<'_>, kafka: &Kafka, guarantee: &str, round: u64, seconds: u64) -> Vec<Vec<u64>> {
    let prefix = kafka.prefix("latency");
    let topic = format!("{prefix}.public.t");
    kafka.create_topic(&topic, PARTITIONS, &[]);
    let name = format!("{}{round}", guarantee.replace('-', "_"));
    let mut pipeline = Tailwater::new(&name)
        .source_postgres(&source.url(), &["public.t"])
        .toml("snapshot = \"never\"")
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml(&format!("[sink.kafka.topic]\npartitions = {PARTITIONS}\nreplication = 1"));
    if guarantee == "exactly-once" {
        pipeline = pipeline.exactly_once();
    }
    let mut running = pipeline.run();
    running.wait_ready();
    let consumer = consumer(kafka, &topic);
    // The first rows find topics, schemas and connections in place for the others.
    let mut first = number_of_rows(source);
    insert(source, &consumer, first, 10, 10);
    let mut all = Vec::new();
    for (_, rate) in LOADS {
        first = number_of_rows(source);
        all.push(insert(source, &consumer, first, rate, rate * seconds));
    }
    running.terminate().code(0);
    all
}

fn number_of_rows(source: &Database<'_>) -> u64 {
    source.one("SELECT count(*) FROM t").parse().unwrap()
}

/// Of committed records, from the beginning.
fn consumer(kafka: &Kafka, topic: &str) -> BaseConsumer {
    let mut config = kafka.client();
    config.set("group.id", "latency").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Inserts rows at this rate while the consumer takes them; how long each was on its way.
fn insert(source: &Database<'_>, consumer: &BaseConsumer, first: u64, rate: u64, rows: u64) -> Vec<u64> {
    let url = source.url();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            wait(async move {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let insert = client.prepare("INSERT INTO t VALUES ($1, $2, repeat('x', 100))").await.unwrap();
                let begin = Instant::now();
                for n in 0..rows {
                    let due = begin + Duration::from_micros(n * 1_000_000 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    client.execute(&insert, &[&((first + n) as i64), &(now() as i64)]).await.unwrap();
                }
            });
        });
        let mut latencies = Vec::new();
        let limit = Instant::now() + Duration::from_secs(60 + 2 * rows / rate);
        while (latencies.len() as u64) < rows {
            assert!(Instant::now() < limit, "{} of {rows} rows arrived", latencies.len());
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            let had = now();
            let event: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            latencies.push(had - event["after"]["sent"].as_u64().unwrap());
        }
        writer.join().unwrap();
        latencies
    })
}
