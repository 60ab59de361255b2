//! Where a warehouse stands, as it says itself.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::runtime;
use crate::support::tailwater::Tailwater;

/// A pipeline through Kafka: who writes the topics, who reads them.
fn through(name: &str, source: &Database<'_>, target: &Database<'_>) -> (String, Tailwater, Tailwater) {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix(name);
    let writer = Tailwater::new(name)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 1");
    let reader = Tailwater::new(&format!("{name}_reader"))
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], name)
        .sink_postgres(&target.url(), None);
    (prefix, writer, reader)
}

#[test]
fn a_warehouse_says_when_its_last_transaction_committed() {
    let server = Postgres::shared(17);
    let source = server.database("standing_s");
    let (direct, behind) = (server.database("standing_d"), server.database("standing_k"));
    source.sql("create table t (id int primary key); insert into t values (1)");
    let mirror = Tailwater::new("standing_direct")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&direct.url(), None);
    let (_, writer, reader) = through("standing", &source, &behind);
    let run = || [&mirror, &writer, &reader].iter().for_each(|process| drop(process.run_until_current().success()));
    run();
    // As an earlier version has left it.
    direct.sql("alter table _tailwater.progress drop column committed_at");
    std::thread::sleep(Duration::from_millis(20));
    let before = source.one("insert into t values (2) returning clock_timestamp()");
    let after = source.one("select clock_timestamp()");
    // Log of no table of ours does not move it.
    source.sql("select pg_logical_emit_message(true, 'x', 'y')");
    run();
    for warehouse in [&direct, &behind] {
        let between = format!("select committed_at between '{before}' and '{after}' from _tailwater.progress");
        assert_eq!(
            warehouse.one(&between),
            "t",
            "{before} {} {after}",
            warehouse.one("select committed_at from _tailwater.progress")
        );
    }
}

#[test]
fn records_that_were_removed_before_they_were_read_stop_with_the_range() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("retained_s"), server.database("retained_t"));
    source.sql("create table t (id int primary key); insert into t select generate_series(1, 10)");
    let (prefix, writer, reader) = through("retained", &source, &target);
    writer.run_until_current().success();
    reader.run_until_current().success();
    source.sql("insert into t select generate_series(11, 20)");
    writer.run_until_current().success();
    let topic = format!("{prefix}.public.t");
    let next: i64 =
        target.one(&format!("select next_offset from _tailwater.offsets where topic = '{topic}'")).parse().unwrap();
    remove(&topic, next + 5);
    let says = format!("{topic}[0] begins at offset {}, and offset {next} is needed: 5 records are gone", next + 5);
    reader.run_until_current().code(3).says(&[&says, "raise retention.ms", "another prefix"]);
    assert_eq!(target.one("select count(*) from t"), "10");
}

/// Removes a topic's records before an offset, as retention does.
fn remove(topic: &str, before: i64) {
    let admin: AdminClient<DefaultClientContext> = Kafka::shared().client().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(before)).unwrap();
    runtime::wait(async move { admin.delete_records(&list, &AdminOptions::new()).await }).unwrap();
}
