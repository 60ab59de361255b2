//! What `pg_logical_emit_message` writes, on its way to Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::kill::seed;
use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::{Isolation, Kafka, Record};
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

fn pipeline(name: &str, database: &Database<'_>, prefix: &str) -> Tailwater {
    Tailwater::new(name)
        .source_postgres(&database.url(), &["public.*"])
        .sink_kafka(&Kafka::shared().bootstrap(), prefix)
        .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 2")
}

fn messages(prefix: &str) -> Vec<Record> {
    Kafka::shared().consume_all(&format!("{prefix}.message"), Isolation::Committed)
}

fn id(record: &Record) -> (u64, u64) {
    let number = |name: &str| record.header(name).unwrap().parse().unwrap();
    (number("tw.commit_lsn"), number("tw.seq"))
}

fn content(record: &Record) -> String {
    let value: Value = serde_json::from_str(record.value_text()).unwrap();
    let content = value["message"]["content"].as_str().unwrap();
    String::from_utf8(BASE64_STANDARD.decode(content).unwrap()).unwrap()
}

/// Their contents in the order of their ids.
fn contents(records: &[Record]) -> Vec<String> {
    let by_id: BTreeMap<(u64, u64), String> = records.iter().map(|record| (id(record), content(record))).collect();
    by_id.into_values().collect()
}

const SCRIPT: &str = "
    select pg_logical_emit_message(false, 'job', 'alone 1');
    begin; insert into t values (1, 'a'); select pg_logical_emit_message(true, 'job', 'in 1');
        update t set note = 'b'; select pg_logical_emit_message(true, 'other', 'in 2'); commit;
    begin; insert into t values (2, 'never'); select pg_logical_emit_message(true, 'job', 'rolled back');
        select pg_logical_emit_message(false, 'job', 'alone 2, though rolled back'); rollback;
    begin; savepoint s; select pg_logical_emit_message(true, 'job', 'rolled back to a savepoint'); rollback to s;
        select pg_logical_emit_message(true, 'job', 'only a message'); commit;
    select pg_logical_emit_message(false, 'hidden', 'not chosen');
    begin; select pg_logical_emit_message(true, 'hidden', 'not chosen'); insert into t values (3, 'c'); commit;
    select pg_logical_emit_message(false, 'job', 'alone 3')";

const TOLD: [&str; 6] = ["alone 1", "in 1", "in 2", "alone 2, though rolled back", "only a message", "alone 3"];

#[test]
fn messages_of_both_kinds_come_once_in_their_order_between_the_rows() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("messages");
        let prefix = Kafka::shared().prefix("messages");
        database.sql("create table t (id int primary key, note text)");
        let tailwater = pipeline("messages", &database, &prefix)
            .toml("[sink.kafka.envelope]\nmessage_prefixes = [\"job\", \"o*\"]\nmessage_prefixes_exclude = [\"hid*\"]");
        tailwater.run_until_current().success();
        let session = database.session();
        for statement in SCRIPT.split(';') {
            session.sql(statement);
        }
        session.sql("comment on table t is 'a commit has what came before it flushed'");
        tailwater.run_until_current().success();
        let told = messages(&prefix);
        assert_eq!(contents(&told), TOLD, "PostgreSQL {version}");

        let value = |content_of: &str| -> Value {
            let record = told.iter().find(|record| content(record) == content_of).unwrap();
            serde_json::from_str(record.value_text()).unwrap()
        };
        let (alone, inside) = (value("alone 1"), value("in 1"));
        assert_eq!((&alone["op"], &alone["source"]["txId"]), (&Value::from("m"), &Value::Null));
        let lsn = alone["source"]["lsn"].as_u64().unwrap();
        assert_eq!(alone["source"]["sequence"], format!("[\"{lsn}\",\"{lsn}\"]"));
        assert!(alone["source"]["ts_ms"].as_i64().unwrap() > 1_600_000_000_000);
        assert!(inside["source"]["txId"].as_u64().unwrap() > 0);
        assert!(told.iter().all(|record| record.key_text().starts_with("{\"prefix\":")));

        // Between the rows of their transaction, in the order of the log.
        let rows = Kafka::shared().consume_all(&format!("{prefix}.public.t"), Isolation::Committed);
        let row_ids: BTreeSet<(u64, u64)> = rows.iter().map(id).collect();
        let of = |text: &str| id(told.iter().find(|record| content(record) == text).unwrap());
        let ((commit, first), (_, second)) = (of("in 1"), of("in 2"));
        assert_eq!((first, second), (1, 3));
        assert!(row_ids.contains(&(commit, 0)) && row_ids.contains(&(commit, 2)));
        assert!(row_ids.iter().all(|row| told.iter().all(|record| id(record) != *row)), "an id is another's");

        // Neither a stop in good order nor a start with nothing new tells any of them again.
        for _ in 0..2 {
            tailwater.run_until_current().success();
        }
        database.sql("select pg_logical_emit_message(false, 'job', 'after')");
        // No commit makes the server flush it; a later one does.
        database.sql("comment on table t is 'flushed'");
        tailwater.run_until_current().success();
        let after = messages(&prefix);
        assert_eq!(after.len(), TOLD.len() + 1);
        assert_eq!(contents(&after).last().unwrap(), "after");
    }
}

#[test]
fn messages_are_neither_lost_nor_doubled_by_kills() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("messages_kill");
        let prefix = Kafka::shared().prefix("messages_kill");
        database.sql("create table t (id bigint primary key, note text)");
        let tailwater = pipeline("messages_kill", &database, &prefix);
        // What is written before there is a slot is nobody's.
        tailwater.run_until_current().success();
        let mut random = StdRng::seed_from_u64(seed());
        let mut running = Some(tailwater.run());
        let (mut expected, mut rolled_back) = (Vec::new(), 0);
        let session = database.session();
        for kill in 0..4 {
            let until = std::time::Instant::now() + Duration::from_millis(random.random_range(200..1500));
            while std::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
                let n = expected.len() + rolled_back;
                match random.random_range(0..4) {
                    0 => {
                        session.sql(&format!("select pg_logical_emit_message(false, 'p', '{n}')"));
                        expected.push(n.to_string());
                    }
                    1 => {
                        session.sql(&format!("begin; insert into t values ({n}, 'x'); select pg_logical_emit_message(true, 'p', '{n}'); update t set note = 'y' where id = {n}; commit"));
                        expected.push(n.to_string());
                    }
                    2 => {
                        session.sql(&format!("begin; select pg_logical_emit_message(true, 'p', '{n}'); rollback"));
                        rolled_back += 1;
                    }
                    _ => {
                        session.sql(&format!("begin; insert into t values ({n}, 'x'); select pg_logical_emit_message(false, 'p', '{n}'); rollback"));
                        expected.push(n.to_string());
                    }
                }
            }
            running.take().unwrap().kill9();
            if kill < 3 {
                running = Some(tailwater.run());
            }
        }
        tailwater.run_until_current().success();
        let told = messages(&prefix);
        // Equal ids, equal messages; what is left is each of them once, in the order in which they were written.
        for record in &told {
            let same = told.iter().filter(|other| id(other) == id(record));
            assert!(same.clone().all(|other| content(other) == content(record)));
        }
        let (told, count) = (contents(&told), told.len());
        println!("PostgreSQL {version}: {} messages, {count} records, {rolled_back} rolled back", expected.len());
        assert!(expected.len() > 50);
        let differ = told.iter().zip(&expected).position(|(told, expected)| told != expected);
        assert_eq!((differ, told.len()), (None, expected.len()), "PostgreSQL {version}");
    }
}

#[test]
fn a_warehouse_behind_kafka_takes_no_notice_of_messages() {
    let server = Postgres::shared(17);
    let (database, target) = (server.database("messages_source"), server.database("messages_target"));
    let prefix = Kafka::shared().prefix("messages_through");
    database.sql("create table t (id int primary key, note text)");
    let writer = pipeline("messages_writer", &database, &prefix);
    let bootstrap = Kafka::shared().bootstrap();
    let reader = Tailwater::new("messages_reader")
        .source_kafka(&bootstrap, &[&format!("{prefix}.*")], &prefix)
        .sink_postgres(&target.url(), None);
    writer.run_until_current().success();
    for n in 0..5 {
        database.sql(&format!(
            "select pg_logical_emit_message(false, 'p', 'x');
             begin; insert into t values ({n}, 'a'); select pg_logical_emit_message(true, 'p', 'y'); commit"
        ));
        writer.run_until_current().success();
        reader.run_until_current().success();
    }
    assert_eq!(messages(&prefix).len(), 10);
    assert_all_equal(&database.session(), &["public.t"], Copy::Postgres(&target.session()));
}

#[test]
fn messages_are_not_asked_for_where_nobody_wants_them() {
    let database = Postgres::shared(17).database("messages_off");
    let prefix = Kafka::shared().prefix("messages_off");
    database.sql("create table t (id int primary key)");
    let tailwater = pipeline("messages_off", &database, &prefix).toml("[sink.kafka.envelope]\nmessages = false");
    tailwater.run_until_current().success();
    database.sql("select pg_logical_emit_message(false, 'p', 'x'); insert into t values (1)");
    tailwater.run_until_current().success();
    let topics = Kafka::shared().topics(&prefix);
    assert!(topics.iter().all(|topic| !topic.ends_with(".message")), "{topics:?}");
}
