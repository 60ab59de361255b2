//! Records that are too large for their topic, where they stop their table alone.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::Postgres;
use crate::support::runtime::wait;
use crate::support::tailwater::Tailwater;

#[test]
fn a_record_beyond_its_topics_limit_stops_its_table_alone_where_that_is_asked_for() {
    let (kafka, source) = (Kafka::shared(), Postgres::shared(17).database("oversize"));
    let prefix = kafka.prefix("oversize");
    let topic = |table: &str| format!("{prefix}.public.{table}");
    kafka.create_topic(&topic("large"), 1, &[("max.message.bytes", "20000")]);
    source.sql("create table large (id int primary key, doc text); create table small (id int primary key)");
    let pipeline = Tailwater::new("oversize")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .exactly_once()
        .toml("large_records = \"table\"\n[sink.kafka.topic]\npartitions = 1\nreplication = 1");
    source.sql("insert into large values (1, 'it fits'); insert into small values (1)");
    pipeline.run_until_current().success();
    let ids = |table: &str| -> Vec<String> {
        let records = kafka.consume_all(&topic(table), Isolation::Committed);
        records.iter().map(|record| record.key_text().to_owned()).collect()
    };
    let same = |found: Vec<String>, expected: &[u32]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (key, id) in found.iter().zip(expected) {
            assert!(key.contains(&format!("\"id\":{id}")), "{found:?} instead of {expected:?}");
        }
    };

    // Of one transaction: the other table's part is told.
    source.sql("begin; insert into small values (2); insert into large values (2, repeat('CANARY', 6000)); commit");
    source.sql("insert into large values (3, 'behind it'); insert into small values (3)");
    let stopped = pipeline.run_until_current().code(3);
    stopped.says(&["table public.large", "limit of 20000 bytes", "max.message.bytes"]).hides(&["CANARY"]);
    same(ids("small"), &[1, 2, 3]);
    same(ids("large"), &[1]);

    raise(kafka, &topic("large"));
    pipeline.run_until_current().success();
    same(ids("large"), &[1, 2, 3]);
}

/// Raises the topic's limit and waits until the brokers tell of it.
fn raise(kafka: &Kafka, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().unwrap();
    let topic = topic.to_owned();
    wait(async move {
        let topic = ResourceSpecifier::Topic(&topic);
        let raised = AlterConfig::new(topic).set("max.message.bytes", "200000");
        let altered = admin.alter_configs([&raised], &AdminOptions::new()).await.unwrap();
        altered.into_iter().for_each(|one| drop(one.expect("a topic that exists")));
        for _ in 0..300 {
            let found = admin.describe_configs([&topic], &AdminOptions::new()).await.unwrap();
            let limit = found[0].as_ref().ok().and_then(|config| config.get("max.message.bytes")?.value.clone());
            if limit.as_deref() == Some("200000") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the limit is not raised");
    });
}
