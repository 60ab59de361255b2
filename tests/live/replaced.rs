//! What a writer leaves in the topics after another one has taken its place.

use nix::sys::signal::Signal;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::{Isolation, Kafka, Record};
use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

/// Writes a record as the one before might have: a copy with another value, key and headers.
fn leave(kafka: &Kafka, topic: &str, record: &Record, change: impl Fn(&str) -> String) {
    let producer: BaseProducer = kafka.client().create().unwrap();
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
        let text = |by: &dyn Fn(u64) -> u64| {
            let number = std::str::from_utf8(value.as_deref().unwrap()).unwrap().parse().unwrap();
            Some(by(number).to_string().into_bytes())
        };
        let value = match name.as_str() {
            "tw.epoch" => text(&|_| 1),
            "tw.seq" => text(&|seq| seq + 1000),
            _ => value.clone(),
        };
        headers.insert(Header { key: name, value: value.as_deref() })
    });
    let (key, value) = (change(record.key_text()), change(record.value_text()));
    let left = BaseRecord::to(topic).partition(record.partition).key(&key).payload(&value).headers(headers);
    producer.send(left).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
}

#[test]
fn what_a_replaced_writer_still_writes_is_not_applied() {
    let (kafka, server) = (Kafka::shared(), Postgres::shared(17));
    let (source, target) = (server.database("replaced_s"), server.database("replaced_t"));
    let prefix = kafka.prefix("replaced");
    source.sql("create table t (id int primary key, note text); insert into t values (1, 'one')");
    let publish = Tailwater::new("replaced_in")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1");
    publish.run_until_current().success();
    source.sql("insert into t values (2, 'two')");
    publish.run_until_current().success();

    // A change that nobody else has, and a marker that speaks for it.
    let (topic, markers) = (format!("{prefix}.public.t"), format!("{prefix}._tailwater.progress"));
    let last = |topic: &str| kafka.consume_all(topic, Isolation::Uncommitted).pop().unwrap();
    let event = last(&topic);
    assert_eq!(event.header("tw.epoch"), Some("2"));
    leave(kafka, &topic, &event, |text| text.replace("\"id\":2", "\"id\":66"));
    let next = last(&topic).offset + 1;
    leave(kafka, &markers, &last(&markers), |text| match serde_json::from_str::<Value>(text) {
        Ok(mut marker) if marker.is_object() => {
            (marker["epoch"], marker["seq"]) = (1.into(), (marker["seq"].as_u64().unwrap() + 1000).into());
            marker["offsets"] = serde_json::json!([[topic, 0, next]]);
            marker.to_string()
        }
        _ => text.to_owned(),
    });

    source.sql("insert into t values (3, 'three')");
    publish.run_until_current().success();
    let apply = Tailwater::new("replaced_out")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], "replaced")
        .sink_postgres(&target.url(), None);
    apply.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
}

#[test]
fn whoever_slept_while_another_took_its_place_ends_when_it_wakes_and_takes_nothing_back() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("woken_s"), server.database("woken_t"));
    source.sql("create table t (id int primary key)");
    let pipeline =
        Tailwater::new("woken").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    let here = |id: u32| {
        target.one("select to_regclass('public.t') is not null") == "t"
            && target.one(&format!("select count(*) from t where id = {id}")) == "1"
    };
    source.sql("insert into t values (1)");
    let mut old = pipeline.run();
    old.wait_until("at work", |_| here(1));
    old.signal(Signal::SIGSTOP);
    source.sql("insert into t values (2)");
    let twin = pipeline.twin();
    let mut new = twin.run();
    new.wait_until("at work", |_| here(2));
    // It has nothing to write when it wakes: the first that it meets is that its connections are gone.
    old.signal(Signal::SIGCONT);
    old.wait().code(3).says(&["another process writes this warehouse"]);
    source.sql("insert into t values (3)");
    new.wait_until("at work still", |_| here(3));
    new.terminate().success();
}
