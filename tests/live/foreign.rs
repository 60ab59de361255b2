//! Topics that others write, all the way into warehouses.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::Postgres;
use crate::support::registry::Registry;
use crate::support::tailwater::Tailwater;
use crate::support::{eventually, runtime};

pub const LIMIT: Duration = Duration::from_secs(60);

/// A record's key, value and headers.
pub type Filed<'a> = (Option<&'a str>, Option<&'a str>, &'a [(&'a str, &'a str)]);

/// Writes records to a topic, each to the partition of its key.
pub fn file(topic: &str, records: &[Filed<'_>]) {
    let producer: BaseProducer = Kafka::shared().client().create().unwrap();
    for (key, value, headers) in records {
        let all = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let record = BaseRecord { key: *key, payload: *value, ..BaseRecord::<str, str>::to(topic) };
        producer.send(record.headers(all)).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(LIMIT).unwrap();
}

pub fn reader(name: &str, topics: &str, origin: &str) -> Tailwater {
    Tailwater::new(name)
        .source_kafka(&Kafka::shared().bootstrap(), &[topics], name)
        .toml(&format!("origin = {origin:?}"))
}

/// Rows of a hundred keys and lines of a log, by their number.
fn shop(prefix: &str, numbers: std::ops::Range<u64>) {
    let rows: Vec<(String, Option<String>)> = numbers
        .clone()
        .map(|n| {
            let row = format!(r#"{{"name":"row {n}","n":{n},"half":{n}.5,"ok":{},"more":{{"n":[{n}]}}}}"#, n % 2 == 0);
            (format!(r#"{{"id":{}}}"#, n % 100), (n % 7 != 0).then_some(row))
        })
        .collect();
    let rows: Vec<Filed<'_>> = rows.iter().map(|(key, row)| (Some(key.as_str()), row.as_deref(), &[][..])).collect();
    file(&format!("{prefix}.app.orders"), &rows);
    let lines: Vec<String> =
        numbers.map(|n| format!(r#"{{"line":{n},"at":"2026-01-01T00:00:00.{:06}Z"}}"#, n)).collect();
    let lines: Vec<Filed<'_>> = lines.iter().map(|line| (None, Some(line.as_str()), &[][..])).collect();
    file(&format!("{prefix}.app.log"), &lines);
}

/// What the rows come to: id and name.
fn expected(numbers: std::ops::Range<u64>) -> Vec<Vec<Option<String>>> {
    let mut rows = BTreeMap::new();
    for n in numbers {
        rows.insert(n % 100, (n % 7 != 0).then_some(n));
    }
    let row = |(id, n): (u64, Option<u64>)| Some(vec![Some(id.to_string()), Some(format!("row {}", n?))]);
    rows.into_iter().filter_map(row).collect()
}

#[test]
fn rows_are_filed_once_though_the_process_is_killed_and_topics_appear_while_it_runs() {
    let (server, kafka) = (Postgres::shared(17), Kafka::shared());
    let (prefix, target) = (kafka.prefix("rows"), server.database("rows"));
    for topic in ["orders", "log"] {
        kafka.create_topic(&format!("{prefix}.app.{topic}"), 3, &[]);
    }
    let pipeline = reader("rows", &format!("{prefix}.*"), "rows")
        .sink_postgres(&target.url(), None)
        .toml("[sink.postgres.flush]\nrows = 50");
    pipeline.check().success();
    shop(&prefix, 0..2000);
    let filed = |table: &str| {
        let there = target.one("select to_regclass('app.log') is not null and to_regclass('app.orders') is not null");
        if there == "t" { target.one(&format!("select count(*) from app.{table}")).parse().unwrap() } else { 0_u64 }
    };
    for at_least in [1, 700] {
        let mut running = pipeline.run();
        running.wait_until("filing", |_| filed("log") >= at_least);
        running.kill9();
    }
    let mut running = pipeline.run();
    shop(&prefix, 2000..3000);
    kafka.create_topic(&format!("{prefix}.app.late"), 1, &[]);
    file(&format!("{prefix}.app.late"), &[(None, Some(r#"{"first":1}"#), &[])]);
    running.wait_until("filing a new topic", |_| {
        target.one("select to_regclass('app.late') is not null") == "t" && filed("late") == 1
    });
    kafka.add_partitions(&format!("{prefix}.app.late"), 2);
    let more = format!("{prefix}.app.late");
    eventually("a record in the new partition", LIMIT, || {
        file(&more, &[(None, Some(r#"{"second":{"a":1}}"#), &[])]);
        (kafka.end_offsets(&more).get(1).copied().unwrap_or(0) > 0).then_some(())
    });
    let all: i64 = kafka.end_offsets(&more).iter().sum();
    running.wait_until("filing a new partition", |_| i64::try_from(filed("late")).unwrap() == all);
    running.terminate().success();
    pipeline.run_until_current().success();
    assert_eq!(
        target.one("select count(*) || ' ' || count(distinct line) || ' ' || max(line) from app.log"),
        "3000 3000 2999"
    );
    assert_eq!(target.sql("select id::text, name from app.orders o order by o.id"), expected(0..3000));
    let types = "select string_agg(column_name || ' ' || data_type, ', ' order by ordinal_position)
         from information_schema.columns where table_schema = 'app' and table_name = 'orders' and column_name not like '\\_tw%'";
    assert_eq!(target.one(types), "id bigint, name text, n bigint, half double precision, ok boolean, more json");
    pipeline.command(&["status"]).success();
}

#[cfg(feature = "duckdb")]
#[test]
fn rows_in_transactions_of_their_writer_are_filed_once_into_duckdb() {
    use crate::support::duck;
    let kafka = Kafka::shared();
    let prefix = kafka.prefix("rows_duck");
    let topics: Vec<String> = ["orders", "log"].map(|topic| format!("{prefix}.app.{topic}")).into();
    topics.iter().for_each(|topic| kafka.create_topic(topic, 2, &[]));
    shop(&prefix, 0..500);
    let pipeline = reader("rows_duck", &format!("{prefix}.*"), "rows");
    let file = pipeline.dir().join("w.duckdb");
    let pipeline = pipeline.sink_duckdb(&file).toml("[sink.duckdb.flush]\nrows = 50");
    let mut running = pipeline.run();
    running.wait_until("filing", |running| {
        let metrics = running.http("/metrics").map(|(_, text)| text).unwrap_or_default();
        metrics.lines().any(|line| line.contains("app.log\",op=\"c\"") && !line.ends_with(" 0"))
    });
    running.kill9();
    // What was aborted is not read, and ends of transactions take offsets of their own.
    let producer: BaseProducer = kafka.client().set("transactional.id", &prefix).create().unwrap();
    producer.init_transactions(LIMIT).unwrap();
    for commits in [true, false] {
        producer.begin_transaction().unwrap();
        let line = if commits { r#"{"line":500}"# } else { r#"{"line":501}"# };
        let record = BaseRecord { payload: Some(line), ..BaseRecord::<str, str>::to(&topics[1]) };
        producer.send(record.partition(0)).map_err(|(error, _)| error).unwrap();
        producer.flush(LIMIT).unwrap();
        if commits { producer.commit_transaction(LIMIT) } else { producer.abort_transaction(LIMIT) }.unwrap();
    }
    pipeline.run_until_current().success();
    pipeline.run_until_current().success();
    let count = "select count(*), count(distinct line), max(line) from app.log";
    assert_eq!(duck::rows(&file, count), [["501", "501", "500"].map(|text| Some(text.to_owned())).to_vec()]);
    assert_eq!(duck::rows(&file, "select id, name from app.orders order by id"), expected(0..500));
}

#[test]
fn what_was_removed_before_a_topic_was_met_is_not_missed_and_a_name_that_is_too_long_stops_its_table_alone() {
    let (server, kafka) = (Postgres::shared(17), Kafka::shared());
    let (prefix, target) = (kafka.prefix("begun"), server.database("begun"));
    let (topic, long) = (format!("{prefix}.app.t"), format!("{prefix}.app.{}", "x".repeat(64)));
    kafka.create_topic(&topic, 2, &[]);
    kafka.create_topic(&long, 1, &[]);
    let producer: BaseProducer = kafka.client().create().unwrap();
    for (partition, value) in [(0, "0"), (1, "0"), (0, "1"), (1, "2")] {
        let row = format!(r#"{{"a":{value}}}"#);
        let record = BaseRecord::<str, str>::to(&topic).partition(partition).payload(&row);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    file(&long, &[(None, Some(r#"{"a":1}"#), &[])]);
    (0..2).for_each(|partition| remove(&topic, partition, 1));
    let pipeline = reader("begun", &format!("{prefix}.*"), "rows").sink_postgres(&target.url(), None);
    pipeline.run_until_current().code(3).says(&["more than PostgreSQL's 63 bytes", "rename"]);
    assert_eq!(target.one("select string_agg(a::text, ',' order by a) from app.t"), "1,2");
}

/// Removes a topic's records before an offset, as retention does.
pub fn remove(topic: &str, partition: i32, before: i64) {
    let admin: AdminClient<DefaultClientContext> = Kafka::shared().client().create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(before)).unwrap();
    runtime::wait(async move { admin.delete_records(&list, &AdminOptions::new()).await }).unwrap();
}

const TABLES: &str = "
    create table kinds (id int primary key, s smallint, b bigint, n numeric, d numeric(12,2), r real, f double precision,
        ok boolean, t text, v varchar(9), y bytea, day date, clock time, ts timestamp, tz timestamptz,
        u uuid, j json, ints int[], texts text[], bits bit(9), span interval, big text);
    alter table kinds alter big set storage external;
    create table pairs (a text, b int, note text, primary key (a, b));
    create table bare (x int, y text);
    alter table bare replica identity full;
    insert into kinds select 1, -7, 9000000000, 123456789.000000001, 10.50, 0.1, 1e-300, true, E'a\\n\"ä', 'v', '\\x00ff',
        '2024-02-29', '23:59:59.123456', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05.678901+00',
        '5f3a1c2e-0000-4000-8000-000000000001', '{\"a\": [1, null]}', '{1,null,3}', '{a,\"b,c\",null}', '101010101', '26:03:04',
        repeat('x', 9000);
    insert into kinds (id, r, f) values (2, 'Infinity', '-Infinity'), (3, null, null);
    insert into pairs values ('p', 1, 'one'), ('p', 2, 'two'), ('q', 1, null)";

/// Changes after the first run: a large value that is not sent, keys that move, rows that go, all rows that go.
const CHANGES: &str = "
    update kinds set t = 'changed' where id = 1; update kinds set id = 10 where id = 1; delete from kinds where id = 2;
    update pairs set b = 3, note = 'moved' where b = 2; delete from pairs where a = 'q'; insert into pairs values ('q', 1, 'again');
    insert into bare values (1, 'a'), (1, 'a'); alter table pairs add column extra bigint;
    insert into pairs values ('r', 5, 'with', 77)";

#[test]
fn debeziums_events_come_to_the_rows_of_their_database_in_each_of_their_forms() {
    let (server, kafka) = (Postgres::shared(17), Kafka::shared());
    let source = server.database("forms");
    source.sql(TABLES);
    let forms = ["inline", "avro", "flat"];
    let prefixes = forms.map(|form| kafka.prefix(form));
    let writers: Vec<Tailwater> = std::iter::zip(forms, &prefixes)
        .map(|(form, prefix)| {
            let writer = Tailwater::new(&format!("forms_{form}")).source_postgres(&source.url(), &["public.*"]);
            let writer = match form {
                "avro" => writer.sink_kafka_avro(&kafka.bootstrap(), prefix, &Registry::shared().url()),
                _ => writer.sink_kafka(&kafka.bootstrap(), prefix),
            };
            let writer = writer.toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]");
            match form {
                "flat" => writer
                    .toml("kind = \"flat\"\ninline_schema = true\n[sink.kafka.envelope.flat]\ndeletes = \"rewrite\""),
                "inline" => writer.toml("inline_schema = true"),
                _ => writer,
            }
        })
        .collect();
    let targets = forms.map(|form| server.database(&format!("forms_{form}")));
    let readers: Vec<Tailwater> = (0..forms.len())
        .map(|at| {
            let reader = reader(&format!("of_{}", forms[at]), &format!("{}.public.*", prefixes[at]), "debezium");
            let registry = format!("registry = {:?}", Registry::shared().url());
            reader.toml(&registry).sink_postgres(&targets[at].url(), None)
        })
        .collect();
    for script in ["", CHANGES] {
        script.split(';').filter(|sql| !sql.trim().is_empty()).for_each(|sql| drop(source.sql(sql)));
        for at in 0..forms.len() {
            writers[at].run_until_current().success();
            readers[at].check().success();
            readers[at].run_until_current().success();
            let copy = targets[at].session();
            assert_all_equal(&source.session(), &["kinds", "pairs"], Copy::Postgres(&copy));
        }
    }
    for (target, form) in std::iter::zip(&targets, forms) {
        assert_eq!(target.one("select count(*) from bare where _tw_op in ('c', 'u')"), "2", "{form}");
        assert_eq!(target.one("select length(big) from kinds where id = 10"), "9000", "{form}");
    }
    // What is delivered again, from any place on, changes nothing and comes twice nowhere.
    let again = |prefix: &str, table: &str, from: usize| {
        let topic = format!("{prefix}.public.{table}");
        let producer: BaseProducer = kafka.client().create().unwrap();
        for record in kafka.consume_all(&topic, Isolation::Committed).iter().skip(from) {
            let headers = record
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_ref() }));
            let copy =
                BaseRecord { key: record.key.as_ref(), payload: record.value.as_ref(), ..BaseRecord::to(&topic) };
            producer.send(copy.headers(headers)).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    };
    for at in 0..2 {
        source.sql("delete from pairs where a = 'p'; insert into bare values (2, 'b')");
        writers[at].run_until_current().success();
        readers[at].run_until_current().success();
        // A snapshot's rows are never delivered again behind what came after it.
        again(&prefixes[at], "pairs", 4);
        again(&prefixes[at], "bare", 1);
        readers[at].run_until_current().success();
        assert_all_equal(&source.session(), &["kinds", "pairs"], Copy::Postgres(&targets[at].session()));
        let logged = targets[at].one("select count(*) from bare");
        assert_eq!(logged, source.one("select count(*) from bare"), "{}", forms[at]);
    }
    // All rows go, and only those from before.
    source.sql("truncate pairs; insert into pairs values ('z', 26, 'after')");
    for at in 0..2 {
        writers[at].run_until_current().success();
        readers[at].run_until_current().success();
        assert_all_equal(&source.session(), &["pairs"], Copy::Postgres(&targets[at].session()));
    }
}
