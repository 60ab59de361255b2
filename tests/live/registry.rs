//! Avro with a real registry: which schemas are registered where, and what happens when it is away or says no.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::kafka::{Isolation, Kafka, Record};
use crate::support::postgres::{Database, Postgres};
use crate::support::proxy::{Mode, Proxy};
use crate::support::registry::Registry;
use crate::support::tailwater::Tailwater;

pub fn publish(source: &Database<'_>, prefix: &str, registry: &str) -> Tailwater {
    Tailwater::new(prefix)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka_avro(&Kafka::shared().bootstrap(), prefix, registry)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1")
}

pub fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql(
        "create table orders (id serial primary key, note text default 'abc', amount numeric(10,2) not null default 1.5);
         insert into orders (amount) values (12.34)",
    );
    source
}

pub fn records(prefix: &str, table: &str) -> Vec<Record> {
    Kafka::shared().consume_all(&format!("{prefix}.public.{table}"), Isolation::Committed)
}

/// The number of the schema that a key or value begins with.
pub fn number(bytes: Option<&[u8]>) -> i64 {
    let [0, a, b, c, d, ..] = *bytes.expect("bytes") else { panic!("the magic byte and a number") };
    i64::from(u32::from_be_bytes([a, b, c, d]))
}

/// What another implementation reads with the schema that the registry has under the number in front.
pub fn read(bytes: Option<&[u8]>) -> BTreeMap<String, apache_avro::types::Value> {
    let text = Registry::shared().schema(number(bytes));
    let schema = apache_avro::Schema::parse_str(&text).unwrap();
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap();
    let apache_avro::types::Value::Record(fields) = reader.read_value(&mut &bytes.unwrap()[5..]).unwrap() else {
        panic!("a record")
    };
    fields.into_iter().collect()
}

#[test]
fn schemas_are_registered_under_the_subjects_of_the_topic_and_named_in_each_record() {
    let source = source("registry_subjects");
    let (registry, prefix) = (Registry::shared(), Kafka::shared().prefix("registry_subjects"));
    let pipeline = publish(&source, &prefix, &registry.url());
    pipeline.check().success();
    pipeline.run_until_current().success();
    source.sql("update orders set note = null");
    source.sql("alter table orders add column more int; update orders set more = 7");
    pipeline.run_until_current().success();

    let (key, value) = (format!("{prefix}.public.orders-key"), format!("{prefix}.public.orders-value"));
    assert_eq!(registry.subjects(&prefix), [key.clone(), value.clone()]);
    let keys = registry.versions(&key);
    assert_eq!(
        keys.iter().map(|id| registry.schema(*id)).collect::<Vec<_>>(),
        [format!(
            "{{\"type\":\"record\",\"name\":\"Key\",\"namespace\":\"{prefix}.public.orders\",\"fields\":[{{\"name\":\"id\",\
             \"type\":{{\"type\":\"int\",\"connect.default\":0}},\"default\":0}}],\"connect.name\":\"{prefix}.public.orders.Key\"}}"
        )]
    );
    let values = registry.versions(&value);
    assert_eq!(values.len(), 2, "a column more is a schema more: {values:?}");
    let found = records(&prefix, "orders");
    assert_eq!(
        found.iter().map(|record| number(record.value.as_deref())).collect::<Vec<_>>(),
        [values[0], values[0], values[1]]
    );
    assert!(found.iter().all(|record| number(record.key.as_deref()) == keys[0]));
    let last = format!("{:?}", read(found[2].value.as_deref())["after"]);
    assert!(last.contains("\"more\", Union(1, Int(7))") && last.contains("\"note\", Union(1, Null)"), "{last}");
}

#[test]
fn subjects_may_be_named_after_the_record_too() {
    let source = source("registry_names");
    for (strategy, subjects) in [
        ("record", ["{}.public.orders.Envelope", "{}.public.orders.Key"]),
        ("topic_record", ["{}.public.orders-{}.public.orders.Envelope", "{}.public.orders-{}.public.orders.Key"]),
    ] {
        let (registry, prefix) = (Registry::shared(), Kafka::shared().prefix(&format!("registry_{strategy}")));
        publish(&source, &prefix, &registry.url())
            .toml(&format!("[sink.kafka.registry_options]\nsubjects = \"{strategy}\""))
            .run_until_current()
            .success();
        assert_eq!(registry.subjects(&prefix), subjects.map(|subject| subject.replace("{}", &prefix)));
        assert_eq!(records(&prefix, "orders").len(), 1);
    }
}

#[test]
fn protobuf_is_framed_where_a_registry_is_named_and_read_without_it() {
    let source = source("registry_protobuf");
    let (registry, prefix) = (Registry::shared(), Kafka::shared().prefix("registry_protobuf"));
    let pipeline = Tailwater::new(&prefix)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&Kafka::shared().bootstrap(), &prefix)
        .protobuf()
        .toml(&format!("registry = \"{}\"", registry.url()))
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1");
    pipeline.run_until_current().success();
    source.sql("update orders set id = 2");
    pipeline.run_until_current().success();

    let (key, value) = (format!("{prefix}.public.orders-key"), format!("{prefix}.public.orders-value"));
    let (keys, values) = (registry.versions(&key), registry.versions(&value));
    assert_eq!((keys.len(), values.len()), (1, 1), "one schema for all tables and versions");
    assert!(registry.schema(values[0]).contains("message Event"));
    let pool = prost_reflect::DescriptorPool::decode(&include_bytes!(concat!(env!("OUT_DIR"), "/event.bin"))[..]);
    let (pool, found) = (pool.unwrap(), records(&prefix, "orders"));
    let told = |name: &str, bytes: &[u8]| {
        let descriptor = pool.get_message_by_name(name).unwrap();
        prost_reflect::DynamicMessage::decode(descriptor, bytes).unwrap().to_string()
    };
    // Insert, the old key's end, its tombstone, the new key's beginning.
    assert_eq!(found.iter().map(|record| record.value.is_some()).collect::<Vec<_>>(), [true, true, false, true]);
    for (record, id) in found.iter().zip([1, 1, 1, 2]) {
        assert_eq!(number(record.key.as_deref()), keys[0]);
        let shown = told("tailwater.v1.Key", &record.key.as_ref().unwrap()[7..]);
        assert_eq!(shown, format!("columns:[{{name:\"id\",value{{int64:{id}}}}}]"));
        let Some(value) = &record.value else { continue };
        assert_eq!((number(Some(value)), value[5]), (values[0], 0));
        assert!(told("tailwater.v1.Event", &value[6..]).contains(&format!("values:[{{int32:{id}}}")));
    }

    let target = Postgres::shared(17).database("registry_protobuf_t");
    Tailwater::new(&format!("{prefix}_apply"))
        .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .sink_postgres(&target.url(), None)
        .run_until_current()
        .success();
    assert_eq!(target.sql("select concat_ws('|', id, note, amount) from orders"), [[Some("2|abc|12.34".to_owned())]]);
}

/// Each change that a table's events tell, in the order of its topic, as its identity.
fn told(prefix: &str, table: &str) -> Vec<(u64, u64)> {
    let number = |record: &Record, name: &str| record.header(name).unwrap().parse().unwrap();
    let ids =
        records(prefix, table).into_iter().map(|record| (number(&record, "tw.commit_lsn"), number(&record, "tw.seq")));
    ids.collect()
}

/// What a warehouse behind the topics has of both tables.
fn warehouse(prefix: &str, target: &Database<'_>) -> String {
    Tailwater::new(&format!("{prefix}_apply"))
        .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.public.*")], prefix)
        .sink_postgres(&target.url(), None)
        .run_until_current()
        .success();
    target.one("select (select count(*) || '/' || sum(id) from orders) || ' ' || (select count(*) from fine)")
}

#[test]
fn a_table_whose_schema_is_refused_stops_alone_and_loses_nothing_until_it_goes_on() {
    let (source, target) = (source("registry_incompatible"), Postgres::shared(17).database("registry_incompatible_t"));
    source.sql("create table fine (id int primary key); insert into fine values (1)");
    let (registry, prefix) = (Registry::start(), Kafka::shared().prefix("registry_incompatible"));
    // Another time between attempts stands in the section of the sink, not of its topics.
    let pipeline = Tailwater::new(&prefix)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka_avro(&Kafka::shared().bootstrap(), &prefix, &registry.url())
        .toml("retry_stopped_seconds = 1\n[sink.kafka.topic]\npartitions = 1\nreplication = 1");
    let mut running = pipeline.run();
    running.wait_until("the snapshot", |_| records(&prefix, "orders").len() == 1);

    // A column without a default: readers of the new schema can't read old events.
    source.sql(
        "alter table orders add column more int not null default 1; alter table orders alter column more drop default",
    );
    source.sql("insert into orders values (2, 'b', 1, 1); insert into fine values (2); update orders set amount = 7");
    let written = source.one("select pg_current_wal_lsn()");
    running.wait_until("the other table goes on", |_| records(&prefix, "fine").len() == 2);
    running.wait_until("the slot moves on", |_| {
        source.one(&format!("select bool_or(confirmed_flush_lsn >= '{written}') from pg_replication_slots where database = current_database()")) == "t"
    });
    let subject = format!("{prefix}.public.orders-value");
    assert!(
        [&subject[..], "incompatible", "the others go on", "nothing is lost"]
            .iter()
            .all(|part| running.text().contains(part)),
        "{}",
        running.text()
    );
    assert_eq!(records(&prefix, "orders").len(), 1);
    let (ready, page) = running.http("/readyz").unwrap();
    assert!(ready == 200 && page.contains("public.orders is stopped"), "{page}");
    let metrics = running.http("/metrics").unwrap().1;
    for line in [
        "stopped{table=\"public.orders\"} 1",
        "stopped{table=\"public.fine\"} 0",
        "held_changes{table=\"public.orders\"} 3",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert_eq!(warehouse(&prefix, &target), "2/3 2");
    running.terminate().code(0);

    // At rest, and through a new start, it is stopped.
    source.sql("insert into orders values (3, 'c', 1, 1)");
    pipeline.run_until_current().code(3).says(&["public.orders", &subject, "4 changes wait", "nothing is lost"]);
    let status = pipeline.command(&["status", "--json"]).success().stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let table = &status["tables"][0];
    assert!(table["state"] == "stopped" && table["held"] == 4 && table["table"] == "public.orders", "{status}");
    pipeline.status().success().says(&["stopped for", "4 changes wait", "to do: "]);

    // What waited comes before what comes, each once.
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql("insert into orders values (4, 'd', 1, 1)");
    running.wait_until("it waits", |running| {
        running.http("/metrics").unwrap().1.contains("held_changes{table=\"public.orders\"} 5")
    });
    registry.set_config("NONE");
    running.wait_until("it goes on", |_| records(&prefix, "orders").len() == 6);
    source.sql("insert into orders values (5, 'e', 1, 1)");
    running.wait_until("and on", |_| records(&prefix, "orders").len() == 7);
    let ids = told(&prefix, "orders");
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert!(running.http("/metrics").unwrap().1.contains("stopped{table=\"public.orders\"} 0"));
    running.terminate().code(0).says(&["goes on"]);
    assert_eq!(warehouse(&prefix, &target), "5/15 2");

    // Killed while it is going on, it goes on again: what was told before stands there twice, and counts once.
    registry.set_config("BACKWARD");
    source.sql(
        "alter table orders add column last int not null default 1; alter table orders alter column last drop default",
    );
    source.sql("insert into orders select n, repeat('y', 200), 1, 1, 1 from generate_series(6, 60005) n");
    pipeline.run_until_current().code(3).says(&["60000 changes wait"]);
    registry.set_config("NONE");
    let mut running = pipeline.run();
    let end = || Kafka::shared().end_offsets(&format!("{prefix}.public.orders"))[0];
    running.wait_until("some of it is told", |_| end() > 7);
    running.kill9();
    assert!(end() < 60_007, "it was killed too late");
    pipeline.run_until_current().success();
    let mut seen = std::collections::BTreeSet::new();
    let first: Vec<_> = told(&prefix, "orders").into_iter().filter(|id| seen.insert(*id)).collect();
    assert!(first.is_sorted() && first.len() == 60_007, "{}", first.len());
    assert_eq!(warehouse(&prefix, &target), format!("60005/{} 2", 60_005_u64 * 60_006 / 2));
}

#[test]
fn a_registry_that_is_away_is_waited_for_at_the_start_and_in_the_middle() {
    let source = source("registry_away");
    let prefix = Kafka::shared().prefix("registry_away");
    let proxy = Proxy::to(&Registry::shared().address());
    let url = format!("http://{}/apis/ccompat/v7", proxy.address());
    proxy.set(Mode::Refuse);
    let pipeline = publish(&source, &prefix, &url);
    let mut running = pipeline.run();
    running.wait_until("the registry is missed", |running| running.text().contains("does not answer"));
    proxy.set(Mode::Forward);
    running.wait_ready();
    running.wait_until("the snapshot", |_| records(&prefix, "orders").len() == 1);
    proxy.set(Mode::Refuse);
    // Known schemas need no registry; a new one waits for it.
    source.sql("insert into orders default values");
    running.wait_until("the insert", |_| records(&prefix, "orders").len() == 2);
    source.sql("alter table orders add column more int; insert into orders values (9, 'x', 1, 2)");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(records(&prefix, "orders").len(), 2);
    assert!(running.alive());
    proxy.set(Mode::Forward);
    running.wait_until("the rest", |_| records(&prefix, "orders").len() == 3);
    running.terminate().code(0);
}

#[test]
fn several_addresses_are_tried_in_turn() {
    let source = source("registry_several");
    let prefix = Kafka::shared().prefix("registry_several");
    let nobody = format!("http://127.0.0.1:{}/apis/ccompat/v7", crate::support::port::free());
    let both = format!("{nobody},{}", Registry::shared().url());
    publish(&source, &prefix, &both).run_until_current().success();
    assert_eq!(records(&prefix, "orders").len(), 1);
}

#[test]
fn what_is_wrong_with_a_registry_is_found_by_check_and_told_without_secrets() {
    let source = source("registry_wrong");
    let prefix = Kafka::shared().prefix("registry_wrong");
    let nobody = crate::support::port::free();
    for (url, more, code, says) in [
        (format!("http://me:CANARY@127.0.0.1:{nobody}"), "", 2, "does not answer"),
        (format!("http://{}/nothing/here", Registry::shared().address()), "", 2, "/apis/ccompat/v7"),
        (format!("https://{}", Registry::shared().address()), "", 2, "registry"),
        (Registry::shared().url(), "authorities = \"/nowhere/ca.pem\"", 2, "PEM"),
        ("registry:8081".to_owned(), "", 2, "http://registry:8081"),
        (Registry::shared().url(), "subjects = \"table\"", 2, "topic_record"),
        (Registry::shared().url(), "user = \"a\"\ntoken = \"CANARY\"", 2, "keep one"),
    ] {
        let pipeline = publish(&source, &prefix, &url).toml(&format!("[sink.kafka.registry_options]\n{more}"));
        pipeline.check().code(code).says(&[says]).hides(&["CANARY"]);
    }
    let unregistered =
        publish(&source, &prefix, &Registry::shared().url()).toml("[sink.kafka.registry_options]\nregister = false");
    unregistered.run_until_current().code(3).says(&["orders", "does not know the schema", "register"]);
    assert_eq!(records(&prefix, "orders").len(), 0);
}

#[test]
fn names_that_avro_does_not_allow_stop_with_the_remedy_and_are_adjusted_when_asked() {
    let source = source("registry_odd");
    source.sql(
        "create table odd (id int primary key, \"col-1\" int, \"größe\" text); insert into odd values (1, 2, 'x')",
    );
    let prefix = Kafka::shared().prefix("registry_odd");
    let pipeline = publish(&source, &prefix, &Registry::shared().url());
    pipeline.run_until_current().code(3).says(&["public.odd", "col-1", "envelope.name_adjustment"]);
    let prefix = Kafka::shared().prefix("registry_adjusted");
    publish(&source, &prefix, &Registry::shared().url())
        .toml("[sink.kafka.envelope]\nname_adjustment = \"avro_unicode\"")
        .run_until_current()
        .success();
    let found = records(&prefix, "odd");
    let row = format!("{:?}", read(found[0].value.as_deref())["after"]);
    assert!(row.contains("\"col_u002d1\"") && row.contains("\"gr_u00f6_u00dfe\""), "{row}");
}

#[test]
fn a_null_from_before_a_column_became_not_null_makes_it_nullable_and_is_told_as_null() {
    let source = source("registry_null");
    source.sql("delete from orders");
    let prefix = Kafka::shared().prefix("registry_null");
    let pipeline = publish(&source, &prefix, &Registry::shared().url());
    pipeline.run_until_current().success();
    source.sql("insert into orders values (2, null, 5)");
    source.sql("update orders set note = 'y' where note is null");
    source.sql("alter table orders alter column note set not null");
    source.sql("insert into orders values (3, 'z', 5)");
    pipeline.run_until_current().success();
    let found = records(&prefix, "orders");
    let notes: Vec<String> =
        found.iter().map(|record| format!("{:?}", read(record.value.as_deref())["after"])).collect();
    assert_eq!(notes.len(), 3);
    assert!(notes[0].contains("\"note\", Union(1, Null)"), "{}", notes[0]);
    assert!(notes[1].contains("String(\"y\")") && notes[2].contains("String(\"z\")"), "{notes:?}");
}
