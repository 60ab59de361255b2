//! Outboxes on real servers: rows of a table and logical messages that become the application's own events.

use crate::support::kafka::{Isolation, Kafka, Record};
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql(
        "create table outbox (id uuid primary key, aggregatetype text not null, aggregateid text, type text,
         payload jsonb, made timestamptz);
         create table orders (id int primary key)",
    );
    source
}

fn publish(source: &Database<'_>, prefix: &str, outbox: &str) -> Tailwater {
    Tailwater::new(prefix)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&Kafka::shared().bootstrap(), prefix)
        .toml(&format!("[sink.kafka.topic]\npartitions = 2\nreplication = 1\n{outbox}"))
}

fn events(prefix: &str, topic: &str) -> Vec<Record> {
    Kafka::shared().consume_all(&format!("{prefix}.event.{topic}"), Isolation::Committed)
}

fn headers<'a>(record: &'a Record, names: &[&str]) -> Vec<Option<&'a str>> {
    names.iter().map(|name| record.header(name)).collect()
}

#[test]
fn rows_of_an_outbox_become_events_of_their_own_topics_and_deletes_say_nothing() {
    let source = source("outbox_rows");
    let prefix = Kafka::shared().prefix("outbox_rows");
    let rule = format!(
        "[[outbox]]\nmatch = \"public.outbox\"\ntopic = \"{prefix}.event.${{route}}\"\ntimestamp = \"made\"\nform = \"expanded\"\n\
         [outbox.headers]\ntype = \"eventType\""
    );
    let pipeline = publish(&source, &prefix, &rule);
    let insert = |id: u32, of: &str, key: &str| {
        source.sql(&format!(
            "begin; insert into orders values ({id});
             insert into outbox values (('00000000-0000-0000-0000-0000000000' || {id})::uuid, '{of}', {key}, 'Made', '{{\"n\": {id}}}', '2020-01-01 00:00:0{id}+00');
             delete from outbox; commit"
        ));
    };
    pipeline.run_until_current().success();
    insert(11, "order", "'a'");
    insert(12, "an order/2", "'a'");
    insert(13, "order", "null");
    pipeline.run_until_current().success();
    let orders = events(&prefix, "order");
    let mut told: Vec<_> = orders.iter().map(|r| (r.key.is_some(), r.value_text(), r.timestamp)).collect();
    told.sort();
    assert_eq!(
        told,
        [(false, "{\"n\":13}", Some(1_577_836_813_000)), (true, "{\"n\":11}", Some(1_577_836_811_000))].map(|t| t)
    );
    let first = orders.iter().find(|record| record.key.is_some()).unwrap();
    assert_eq!(first.key_text(), "a");
    let found = headers(first, &["id", "eventType", "tw.table"]);
    assert_eq!(found, [Some("00000000-0000-0000-0000-000000000011"), Some("Made"), None]);
    assert!(first.header("tw.commit_lsn").is_some());
    assert_eq!(events(&prefix, "an_order_2").len(), 1, "what Kafka refuses becomes an underscore");
    let topics = Kafka::shared().topics(&prefix);
    assert!(!topics.contains(&format!("{prefix}.public.outbox")), "{topics:?}");
    assert!(topics.contains(&format!("{prefix}.public.orders")), "{topics:?}");
}

#[test]
fn logical_messages_become_events_too_and_others_stay_messages() {
    let source = source("outbox_messages");
    let prefix = Kafka::shared().prefix("outbox_messages");
    let rule = format!("[[outbox]]\nmessage = \"outbox*\"\ntopic = \"{prefix}.event.${{route}}\"");
    let pipeline = publish(&source, &prefix, &rule);
    pipeline.run_until_current().success();
    source.sql("select pg_logical_emit_message(true, 'outbox.v1', '{\"id\": 1, \"aggregatetype\": \"order\", \"aggregateid\": \"k\", \"payload\": {\"a\": [1]}}')");
    source.sql("select pg_logical_emit_message(true, 'note', 'hello')");
    pipeline.run_until_current().success();
    let told = events(&prefix, "order");
    assert_eq!(
        told.iter().map(|r| (r.key_text(), r.value_text(), r.header("id"))).collect::<Vec<_>>(),
        [("k", "{\"a\":[1]}", Some("1"))]
    );
    let messages = Kafka::shared().consume_all(&format!("{prefix}.message"), Isolation::Committed);
    assert_eq!(messages.iter().map(Record::key_text).collect::<Vec<_>>(), ["{\"prefix\":\"note\"}"]);
}

#[test]
fn a_row_that_is_no_event_stops_with_its_place_and_is_not_skipped() {
    let source = source("outbox_wrong");
    let prefix = Kafka::shared().prefix("outbox_wrong");
    let rule = format!("[[outbox]]\nmatch = \"public.outbox\"\ntopic = \"{prefix}.event.${{route}}\"");
    publish(&source, &prefix, &rule).run_until_current().success();
    source
        .sql("insert into outbox values ('00000000-0000-0000-0000-000000000001', 'order', 'k', 'CANARY', '{}', now())");
    source.sql("update outbox set type = 'CANARY2'");
    let pipeline = publish(&source, &prefix, &rule);
    pipeline
        .run_until_current()
        .code(3)
        .says(&["public.outbox", "a row was updated", "nothing is skipped"])
        .hides(&["CANARY"]);
    let missing = rule.replace("topic", "payload = \"body\"\ntopic");
    publish(&source, &prefix, &missing).run_until_current().code(3).says(&["there is no column body"]);
    for (wrong, says) in [
        ("[[outbox]]\ntopic = \"x\"", "match = "),
        ("[[outbox]]\nmatch = \"public.outbox\"\nform = \"xml\"", "raw or expanded"),
        ("[[outbox]]\nmatch = \"public.outbox\"\n[outbox.headers]\ntype = \"tw.seq\"", "another name"),
    ] {
        publish(&source, &prefix, wrong).check().code(2).says(&[says]);
    }
}
