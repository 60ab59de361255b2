//! Every type through Kafka: a row that a snapshot reads looks as the same row that the stream brings, whatever the
//! database's settings are, and a warehouse gets its text again.

use serde_json::Value;

use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
use crate::support::registry::Registry;
use crate::support::tailwater::Tailwater;

/// Column, type, value; `lossy` where the text that comes back is another one.
const COLUMNS: &[(&str, &str, &str, bool)] = &[
    ("small", "smallint", "-32768", false),
    ("big", "bigint", "9223372036854775807", false),
    ("an_oid", "oid", "4000000000", false),
    ("r", "real", "1e-7", false),
    ("d", "double precision", "0.1", false),
    ("nan", "double precision", "'NaN'", false),
    ("n", "numeric", "12345678901234567890.125", false),
    ("n_nan", "numeric", "'NaN'", false),
    ("n82", "numeric(8,2)", "-123456.78", false),
    ("b", "boolean", "true", false),
    ("c5", "char(5)", "'abc'", false),
    ("nm", "name", "'a_name'", false),
    ("c1", "\"char\"", "'c'", false),
    ("raw", "bytea", "'\\x00ff10'", false),
    ("no_raw", "bytea", "''", false),
    ("day", "date", "'2016-11-04'", false),
    ("day_bc", "date", "'0044-03-15 BC'", false),
    ("day_far", "date", "'12345-01-02'", false),
    ("day_end", "date", "'infinity'", false),
    ("t", "time", "'24:00:00'", false),
    ("t3", "time(3)", "'13:51:30.123'", false),
    ("tz_time", "timetz", "'13:51:30.123789+02'", true),
    ("ts", "timestamp", "'2016-11-04 13:51:07.123456'", false),
    ("ts3", "timestamp(3)", "'2016-11-04 13:51:07.123'", false),
    ("ts_end", "timestamp", "'-infinity'", false),
    ("ts_bc", "timestamp", "'0044-03-15 12:00 BC'", false),
    ("tz", "timestamptz", "'2016-11-04 13:51:30.123456+02'", false),
    ("tz_end", "timestamptz", "'infinity'", false),
    ("span", "interval", "'1 year -2 mons 3 days -04:05:06.78'", false),
    ("u", "uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", false),
    ("j", "json", "'{\"a\" :  1}'", false),
    ("jb", "jsonb", "'{\"b\":2, \"a\":1.50}'", false),
    ("x", "xml", "'<a b=\"c\"/>'", false),
    ("bit1", "bit", "B'1'", false),
    ("bit9", "bit(9)", "B'000000101'", false),
    ("vb", "varbit", "B'101'", false),
    ("m", "money", "-1234.5", true),
    ("ip", "inet", "'::1'", false),
    ("net", "cidr", "'10.0.0.0/8'", false),
    ("mac", "macaddr", "'08:00:2b:01:02:03'", false),
    ("pt", "point", "'(1.5,-2)'", false),
    ("a_line", "line", "'{1,2,3}'", false),
    ("a_box", "box", "'(1,1),(0,0)'", false),
    ("circ", "circle", "'<(1,2),3>'", false),
    ("rng", "int4range", "'[1,5)'", false),
    ("mrng", "int4multirange", "'{[1,5),[7,9)}'", false),
    ("tsr", "tstzrange", "'[2019-03-31 15:30:00+00,infinity)'", false),
    ("custom", "a_range", "'[1.5,2.5)'", false),
    ("lsn", "pg_lsn", "'16/B374D848'", false),
    ("q", "tsquery", "'fat & rat'", false),
    ("v", "tsvector", "'a fat cat'", false),
    ("mo", "mood", "'ok'", false),
    ("comp", "pair", "row(1, 'a b')", false),
    ("dom", "price", "12.3", false),
    ("dom2", "low_price", "1.5", false),
    ("dom_mood", "best_mood", "'ok'", false),
    ("ints", "int[]", "'{1,NULL,3}'", false),
    ("deep", "int[]", "'{{1,2},{3,NULL}}'", false),
    ("bounds", "int[]", "'[0:1]={1,2}'", false),
    ("texts", "text[]", "'{a,\"b c\",NULL,\"NULL\",\"\"}'", false),
    ("spans", "interval[]", "'{1 day,NULL}'", false),
    ("moneys", "money[]", "'{1.5,NULL}'", true),
    ("bitss", "bit(3)[]", "'{101,001}'", false),
    ("doms", "price[]", "'{1.25,NULL}'", false),
    ("moods", "mood[]", "'{sad,ok}'", false),
    ("pts", "point[]", "'{\"(1,2)\",NULL}'", false),
    ("boxes", "box[]", "'{(1,1),(0,0)}'", false),
    ("comps", "pair[]", "array[row(1, 'x')::pair]", false),
    ("pairs", "hstore", "'a=>1, \"b c\"=>NULL'", false),
    ("pairss", "hstore[]", "array['a=>1'::hstore, null]", false),
    ("tree", "ltree", "'Top.Science'", false),
    ("trees", "ltree[]", "'{Top.Science,NULL}'", false),
    ("ci", "citext", "'MiXed'", false),
    ("cis", "citext[]", "'{A,b}'", false),
    ("book", "isbn", "'0-393-04002-X'", false),
    ("absent", "int default 7", "null", false),
];

fn create(database: &Database<'_>) {
    let name = database.name();
    // What a session of ours must not be moved by.
    for setting in [
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Kolkata'",
        "xmloption = 'document'",
    ] {
        database.sql(&format!("alter database \"{name}\" set {setting}"));
    }
    let columns: Vec<String> = COLUMNS.iter().map(|(name, pg_type, ..)| format!("{name} {pg_type}")).collect();
    database.sql(&format!(
        "create extension hstore; create extension ltree; create extension citext; create extension isn;
         create type mood as enum ('sad', 'ok'); create type pair as (n int, t text);
         create domain price as numeric(8,2); create domain low_price as price check (value < 10);
         create domain best_mood as mood; create type a_range as range (subtype = float8);
         create table types (id int primary key, {})",
        columns.join(", ")
    ));
}

/// Settings under which two databases print a value alike.
const PINNED: &str = "set bytea_output = 'hex'; set extra_float_digits = 3; set DateStyle = 'ISO'; set IntervalStyle = 'postgres'; set TimeZone = 'UTC';";

fn insert(database: &Database<'_>, id: u32) {
    let values: Vec<&str> = COLUMNS.iter().map(|(_, _, value, _)| *value).collect();
    database.sql(&format!(
        "set DateStyle = 'ISO'; set IntervalStyle = 'postgres'; insert into types values ({id}, {})",
        values.join(", ")
    ));
}

/// The rows of the topic, by operation: `after` without the id.
fn rows(kafka: &Kafka, prefix: &str) -> Vec<(String, Value)> {
    let records = kafka.consume_all(&format!("{prefix}.public.types"), Isolation::Committed);
    let row = |text: &str| {
        let event: Value = serde_json::from_str(text).unwrap();
        let mut after = event["after"].clone();
        after.as_object_mut().unwrap().remove("id");
        (event["op"].as_str().unwrap().to_owned(), after)
    };
    records.iter().map(|record| row(record.value_text())).collect()
}

fn publish(database: &Database<'_>, prefix: &str, envelope: &str) -> Tailwater {
    publish_in("", database, prefix, envelope)
}

fn publish_in(form: &str, database: &Database<'_>, prefix: &str, envelope: &str) -> Tailwater {
    Tailwater::new(prefix)
        .source_postgres(&database.url(), &["public.types"])
        .toml(form)
        .sink_kafka(&Kafka::shared().bootstrap(), prefix)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]")
        .toml(envelope)
}

#[test]
fn a_snapshot_and_the_stream_tell_every_type_alike_whatever_the_databases_settings() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("types_alike");
        create(&database);
        insert(&database, 1);
        for envelope in [
            "",
            // Rows are read as text and streamed in binary.
            "# binary",
            "decimal = \"string\"\ntime = \"isostring\"\ninterval = \"string\"\nbinary = \"hex\"",
            "decimal = \"double\"\ntime = \"microseconds\"\nbinary = \"base64-url-safe\"\nunknown = \"omit\"",
            "time = \"nanoseconds\"\nhstore = \"map\"",
            "time = \"connect\"",
        ] {
            let prefix = Kafka::shared().prefix("types_alike");
            let form = if envelope == "# binary" { "binary = true" } else { "" };
            let pipeline = publish_in(form, &database, &prefix, envelope);
            pipeline.run_until_current().success();
            insert(&database, 2);
            pipeline.run_until_current().success();
            database.sql("delete from types where id = 2");
            let found = rows(Kafka::shared(), &prefix);
            let [(read, first), (insert, second)] = &found[..] else { panic!("{envelope}: {found:?}") };
            assert_eq!((read.as_str(), insert.as_str()), ("r", "c"));
            for (name, ..) in COLUMNS {
                assert_eq!(first[name], second[name], "{envelope}: {name}");
                let left_out = ["a_line", "a_box", "circ", "mrng", "custom", "lsn", "q", "comp", "boxes", "comps"];
                let omitted = envelope.contains("omit") && left_out.contains(name) && *name != "boxes";
                assert_eq!(first.get(name).is_none(), omitted, "{envelope}: {name}");
            }
            assert_eq!(first["absent"], Value::Null, "a NULL stays NULL where the column has a default");
        }
    }
}

#[test]
fn the_values_of_the_contract_are_what_it_says() {
    let database = Postgres::shared(17).database("types_values");
    create(&database);
    insert(&database, 1);
    let prefix = Kafka::shared().prefix("types_values");
    publish(&database, &prefix, "").run_until_current().success();
    let (_, row) = rows(Kafka::shared(), &prefix).remove(0);
    for (name, json) in [
        ("nm", "\"a_name\""),
        ("day_bc", "-735160"),
        ("tz_time", "\"11:51:30.123789Z\""),
        ("span", "26542493220000"),
        ("bit1", "true"),
        ("bit9", "\"BQ==\""),
        ("m", "\"/h3G\""),
        ("pt", "{\"x\":1.5,\"y\":-2.0,\"wkb\":\"AQEAAAAAAAAAAAD4PwAAAAAAAADA\",\"srid\":null}"),
        ("dom", "\"BM4=\""),
        ("dom2", "\"AJY=\""),
        ("dom_mood", "\"ok\""),
        ("doms", "[\"fQ==\",null]"),
        ("deep", "\"{{1,2},{3,NULL}}\""),
        ("mrng", "\"{[1,5),[7,9)}\""),
        ("comp", "\"(1,\\\"a b\\\")\""),
        ("lsn", "\"16/B374D848\""),
        ("tz", "\"2016-11-04T11:51:30.123456Z\""),
        ("raw", "\"AP8Q\""),
    ] {
        assert_eq!(row[name], serde_json::from_str::<Value>(json).unwrap(), "{name}");
    }
}

#[test]
fn a_warehouse_behind_kafka_gets_the_text_again() {
    behind_kafka("types_back", |source, prefix| publish(source, prefix, "interval = \"string\""));
}

#[test]
fn a_warehouse_behind_avro_gets_the_text_again() {
    behind_kafka("types_avro", |source, prefix| {
        Tailwater::new(prefix)
            .source_postgres(&source.url(), &["public.types"])
            .sink_kafka_avro(&Kafka::shared().bootstrap(), prefix, &Registry::shared().url())
            .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]\ninterval = \"string\"")
    });
}

fn behind_kafka(name: &str, publish: impl Fn(&Database<'_>, &str) -> Tailwater) {
    let server = Postgres::shared(17);
    let (source, target) = (server.database(name), server.database(&format!("{name}_t")));
    create(&source);
    insert(&source, 1);
    let prefix = Kafka::shared().prefix(name);
    let publish = publish(&source, &prefix);
    let apply = Tailwater::new(&format!("{prefix}_apply"))
        .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .sink_postgres(&target.url(), None);
    publish.run_until_current().success();
    insert(&source, 2);
    publish.run_until_current().success();
    apply.run_until_current().success();
    for (name, _, _, lossy) in COLUMNS {
        let texts = |database: &Database<'_>| {
            database.sql(&format!("{PINNED} select case when {name} is not null or {name}::text is not null then concat({name}) end from types order by id"))
        };
        let (here, there) = (texts(&source), texts(&target));
        assert_eq!(here.len(), 2);
        assert_eq!(here != there, *lossy, "{name}: {here:?} {there:?}");
    }
}

#[test]
fn protobuf_brings_every_type_to_the_warehouse_without_loss() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("types_proto"), server.database("types_proto_t"));
    create(&source);
    insert(&source, 1);
    let prefix = Kafka::shared().prefix("types_proto");
    let publish = publish(&source, &prefix, "unknown = \"text\"").protobuf();
    let apply = |format: &str| {
        Tailwater::new(&format!("{prefix}_apply"))
            .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
            .toml(&format!("format = \"{format}\""))
            .sink_postgres(&target.url(), None)
    };
    publish.run_until_current().success();
    insert(&source, 2);
    source
        .sql("update types set id = 3 where id = 2; insert into types (id) values (4); delete from types where id = 4");
    publish.run_until_current().success();
    apply("json").run_until_current().code(3).says(&["format protobuf", "source.kafka.format"]);
    apply("protobuf").run_until_current().success();
    for (name, ..) in COLUMNS {
        let texts = |database: &Database<'_>| {
            database.sql(&format!("{PINNED} select id, case when {name} is not null or {name}::text is not null then concat({name}) end from types order by id"))
        };
        let (here, there) = (texts(&source), texts(&target));
        assert_eq!(here.len(), 2);
        assert_eq!(here, there, "{name}");
    }
}

#[test]
fn an_enumeration_that_gains_a_value_while_running_is_told() {
    let database = Postgres::shared(15).database("types_enum");
    database.sql("create type mood as enum ('sad'); create table types (id int primary key, m mood); insert into types values (1, 'sad')");
    let prefix = Kafka::shared().prefix("types_enum");
    let pipeline = publish(&database, &prefix, "");
    let mut running = pipeline.run();
    running.wait_ready();
    database.sql("alter type mood add value 'happy'");
    database.sql("insert into types values (2, 'happy')");
    running.wait_until("told", |_| rows(Kafka::shared(), &prefix).len() == 2);
    running.terminate().code(0);
    assert_eq!(rows(Kafka::shared(), &prefix)[1].1["m"], "happy");
}

#[test]
fn the_schema_command_tells_topic_key_columns_and_what_is_lost() {
    let database = Postgres::shared(17).database("types_schema");
    create(&database);
    let prefix = Kafka::shared().prefix("types_schema");
    let pipeline = publish(&database, &prefix, "decimal = \"double\"\nunknown = \"omit\"");
    pipeline.command(&["schema"]).success().says(&[
        "public.types",
        &format!("topic {prefix}.public.types"),
        "key   id",
        "-> int16",
        "io.debezium.time.ZonedTime  (lost: the zone",
        "numeric(8,2)",
        "left out",
    ]);
    for form in ["connect", "json-schema", "avro"] {
        let output = pipeline.command(&["schema", "--table", "*.types", "--format", form]).success();
        let all: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(all[0]["topic"], format!("{prefix}.public.types"), "{form}");
    }
    let pipeline_in_protobuf = publish(&database, &prefix, "unknown = \"omit\"").protobuf();
    pipeline_in_protobuf.command(&["schema"]).success().says(&["-> timetz\n", "array of interval", "left out"]);
    pipeline_in_protobuf.command(&["schema", "--format", "connect"]).code(3).says(&["--format proto"]);
    let file = pipeline_in_protobuf.command(&["schema", "--format", "proto"]).success();
    assert_eq!(file.stdout, include_str!("../../proto/tailwater/v1/event.proto"));
    pipeline.command(&["schema", "--table", "public.nothing"]).code(3).says(&["--table"]);
    let to_table = Tailwater::new("types_schema_no").source_postgres(&database.url(), &["*"]);
    to_table.sink_postgres(&database.url(), None).command(&["schema"]).code(3).says(&["[sink.kafka]"]);
}

#[test]
fn rows_without_an_envelope_are_told_and_refused_by_a_reader_of_changes() {
    let database = Postgres::shared(17).database("types_flat");
    database.sql("create table types (id int primary key, v text); insert into types values (1, 'a')");
    let prefix = Kafka::shared().prefix("types_flat");
    publish(&database, &prefix, "kind = \"flat\"\n[sink.kafka.envelope.flat]\nfields = [\"op\"]")
        .run_until_current()
        .success();
    let records = Kafka::shared().consume_all(&format!("{prefix}.public.types"), Isolation::Committed);
    assert_eq!(records[0].value_text(), "{\"id\":1,\"v\":\"a\",\"__op\":\"r\"}");
    let target = Postgres::shared(17).database("types_flat_t");
    Tailwater::new(&format!("{prefix}_apply"))
        .source_kafka(&Kafka::shared().bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .sink_postgres(&target.url(), None)
        .run_until_current()
        .code(3)
        .says(&["public.types", "envelope.kind"]);
}
