//! The topic of transactions, each event's place in its own, and heartbeats.

use serde_json::{Value, json};

use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

fn records(topic: &str) -> Vec<(Value, Value)> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let records = Kafka::shared().consume_all(topic, Isolation::Committed);
    records.iter().map(|record| (read(record.key_text()), read(record.value_text()))).collect()
}

fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql(
        "create table a (id int primary key, v text); create table b (id int primary key); insert into a values (0)",
    );
    source
}

fn publish(source: &Database<'_>, prefix: &str, envelope: &str) -> Tailwater {
    Tailwater::new(prefix)
        .source_postgres(&source.url(), &["public.a", "public.b"])
        .sink_kafka(&Kafka::shared().bootstrap(), prefix)
        .toml(&format!("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]\n{envelope}"))
}

#[test]
fn every_transaction_has_a_beginning_and_an_end_that_count_its_events() {
    let source = source("tx_told");
    let prefix = Kafka::shared().prefix("tx_told");
    let pipeline = publish(&source, &prefix, "transaction_metadata = true");
    pipeline.run_until_current().success();
    source.sql(
        "begin; insert into a values (1), (2); insert into b values (1); select pg_logical_emit_message(true, 'm', 'x');
         update a set id = 3 where id = 1; delete from b; commit",
    );
    source.sql("begin; insert into a values (9); rollback");
    source.sql("truncate a");
    pipeline.run_until_current().success();
    let rows: Vec<Value> = records(&format!("{prefix}.public.a"))
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(_, value)| {
            json!([value["op"], value["transaction"]["total_order"], value["transaction"]["data_collection_order"]])
        })
        .collect();
    assert_eq!(
        rows,
        [
            json!(["r", null, null]),
            json!(["c", 1, 1]),
            json!(["c", 2, 2]),
            json!(["d", 5, 3]),
            json!(["c", 6, 4]),
            json!(["t", 1, 1]),
        ]
    );
    let told = records(&format!("{prefix}.transaction"));
    let brief = |value: &Value| json!([value["status"], value["event_count"], value["data_collections"]]);
    let of = |table: &str, count: u64| json!({ "data_collection": table, "event_count": count });
    assert_eq!(
        told.iter().map(|(_, value)| brief(value)).collect::<Vec<_>>(),
        [
            json!(["BEGIN", null, null]),
            json!(["END", 7, [of("public.a", 4), of("public.b", 2), of("message", 1)]]),
            json!(["BEGIN", null, null]),
            json!(["END", 1, [of("public.a", 1)]]),
        ]
    );
    for (key, value) in &told {
        assert_eq!(key["id"], value["id"]);
    }
    // Beginning, events and end have one transaction in their ids; the end's position is where the next begins.
    let id = |value: &Value| {
        value["id"]
            .as_str()
            .unwrap()
            .split_once(':')
            .map(|(xid, lsn)| (xid.to_owned(), lsn.parse::<u64>().unwrap()))
            .unwrap()
    };
    let (begin, end) = (id(&told[0].1), id(&told[1].1));
    assert!(begin.0 == end.0 && begin.1 < end.1, "{begin:?} {end:?}");
}

#[test]
fn a_transaction_that_was_told_before_a_kill_is_told_again_whole_and_alike() {
    let source = source("tx_again");
    let prefix = Kafka::shared().prefix("tx_again");
    let pipeline = publish(&source, &prefix, "transaction_metadata = true");
    pipeline.run_until_current().success();
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql("begin; insert into a select g, repeat('x', 900) from generate_series(1, 30000) g; insert into b values (1); commit");
    let topic = format!("{prefix}.public.a");
    running.wait_until("some of it", |_| Kafka::shared().end_offsets(&topic)[0] > 1000);
    running.kill9();
    pipeline.run_until_current().success();
    let told = records(&format!("{prefix}.transaction"));
    let last = told.iter().rev().find(|(_, value)| value["status"] == "END").unwrap();
    assert_eq!(last.1["event_count"], 30_001);
    let mut orders: std::collections::BTreeMap<u64, Value> = std::collections::BTreeMap::new();
    for (key, value) in records(&topic).into_iter().filter(|(_, value)| value["op"] == "c") {
        let order = value["transaction"]["total_order"].as_u64().unwrap();
        let before = orders.insert(order, key.clone());
        assert!(before.is_none_or(|before| before == key), "the same place is the same event each time");
    }
    assert_eq!(orders.len(), 30_000);
}

#[test]
fn a_warehouse_that_reads_all_topics_takes_no_notice_of_transactions_messages_and_heartbeats() {
    let source = source("tx_reader");
    let target = Postgres::shared(17).database("tx_reader_t");
    let prefix = Kafka::shared().prefix("tx_reader");
    let pipeline = publish(&source, &prefix, "transaction_metadata = true\nheartbeat_seconds = 1");
    pipeline.run_until_current().success();
    source.sql("begin; insert into a values (5, 'x'); select pg_logical_emit_message(true, 'm', 'x'); insert into b values (2); commit");
    pipeline.run_until_current().success();
    Tailwater::new(&format!("{prefix}_in"))
        .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.*"), "__debezium-heartbeat.*"], &prefix)
        .toml(&format!("prefix = \"{prefix}\""))
        .sink_postgres(&target.url(), None)
        .run_until_current()
        .success();
    assert_eq!(target.one("select (select count(*) from a) || ' ' || (select count(*) from b)"), "2 1");
}

#[test]
fn heartbeats_come_at_their_pace_while_changes_could_flow() {
    let source = source("tx_beat");
    let prefix = Kafka::shared().prefix("tx_beat");
    let pipeline = publish(&source, &prefix, "heartbeat_seconds = 1");
    let topic = format!("__debezium-heartbeat.{prefix}");
    let mut running = pipeline.run();
    running.wait_ready();
    running.wait_until("three heartbeats", |_| records(&topic).len() >= 3);
    running.terminate().code(0);
    let told = records(&topic);
    assert!(told.iter().all(|(key, _)| *key == json!({ "serverName": prefix })));
    let times: Vec<i64> = told.iter().map(|(_, value)| value["ts_ms"].as_i64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 500), "{times:?}");
}
