//! `[[table]]` on real servers: what is left out or masked appears nowhere.

#[cfg(feature = "kafka")]
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
#[cfg(feature = "kafka")]
use crate::support::registry::Registry;
use crate::support::tailwater::Tailwater;

const RULE: &str = r#"
[[table]]
match = "public.people"
rename = "persons"
columns.exclude = ["card"]
columns.mask = { email = "hmac", phone = "redact", city = "truncate(2)" }
columns.salt = "${SALT}"
"#;

fn write(source: &Database<'_>, round: u32) {
    source.sql(&format!(
        "insert into people values ({round}1, 'CANARY-CARD', 'CANARY-MAIL', 'CANARY-PHONE', 'CANARY'), ({round}2, 'CANARY-CARD', 'b@c', null, 'Bonn');
         update people set card = 'CANARY-OTHER', city = 'CANARY-CITY' where id = {round}1;
         update people set id = {round}3 where id = {round}2; delete from people where id = {round}3"
    ));
}

fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql(
        "create table people (id int primary key, card text, email text not null, phone text, city text);
         alter table people replica identity full",
    );
    write(&source, 1);
    source
}

#[test]
fn what_is_hidden_from_a_warehouse_is_not_in_it_and_not_in_the_log() {
    let (source, target) = (source("project_p"), Postgres::shared(17).database("project_p_t"));
    let pipeline = Tailwater::new("project_p")
        .env("SALT", "CANARY-SALT")
        .env("RUST_LOG", "trace")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml(RULE);
    pipeline.run_until_current().success().hides(&["CANARY"]);
    write(&source, 2);
    pipeline.run_until_current().success().hides(&["CANARY"]);
    let rows = target.sql("select id, email, phone, city from persons order by id");
    let mail = rows[0][1].clone().unwrap();
    assert!(mail.len() == 64 && rows[1][1].as_ref() == Some(&mail), "equal values stay equal: {rows:?}");
    let expected: Vec<Vec<Option<String>>> = ["11", "21"]
        .map(|id| vec![Some(id.to_owned()), Some(mail.clone()), Some("***".to_owned()), Some("CA".to_owned())])
        .into();
    assert_eq!(rows, expected);
    let columns = target.one("select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'persons'::regclass and attnum > 0");
    assert_eq!(columns, "id,email,phone,city,_tw_lsn,_tw_seq");
    assert_eq!(target.one("select count(*) from pg_class where relname = 'people'"), "0");
}

/// The sink of a form. Avro's schemas are in the registry that all tests share.
#[cfg(feature = "kafka")]
fn sink(format: &str, prefix: &str) -> String {
    let registry =
        if format == "avro" { format!("\nregistry = \"{}\"", Registry::shared().url()) } else { String::new() };
    let bootstrap = Kafka::shared().bootstrap();
    format!(
        "\n[sink.kafka]\nbootstrap = \"{bootstrap}\"\nprefix = \"{prefix}\"\nformat = \"{format}\"{registry}
[sink.kafka.topic]\npartitions = 1\nreplication = 1"
    )
}

/// Every key, value and value of a header under a prefix, with its topic, and every schema of its subjects.
#[cfg(feature = "kafka")]
fn every_byte(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let (kafka, mut all) = (Kafka::shared(), Vec::new());
    for topic in kafka.topics(prefix) {
        for record in kafka.consume_all(&topic, Isolation::Uncommitted) {
            let headers = record.headers.into_iter().map(|(_, value)| value);
            let parts = [record.key, record.value].into_iter().chain(headers).flatten();
            all.extend(parts.map(|bytes| (topic.clone(), bytes)));
        }
    }
    for subject in Registry::shared().subjects(prefix) {
        for id in Registry::shared().versions(&subject) {
            all.push((subject.clone(), Registry::shared().schema(id).into_bytes()));
        }
    }
    all
}

#[cfg(feature = "kafka")]
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

#[cfg(feature = "kafka")]
#[test]
fn what_is_hidden_from_kafka_is_in_no_key_value_or_header_of_any_topic() {
    for format in ["json", "avro", "protobuf"] {
        let name = format!("project_{format}");
        let (source, kafka) = (source(&name), Kafka::shared());
        let prefix = kafka.prefix("project");
        let pipeline = Tailwater::new(&name)
            .env("SALT", "CANARY-SALT")
            .source_postgres(&source.url(), &["public.*"])
            .toml(&sink(format, &prefix))
            .toml(RULE);
        pipeline.run_until_current().success();
        write(&source, 2);
        pipeline.run_until_current().success().hides(&["CANARY"]);
        let topics = kafka.topics(&prefix);
        assert!(topics.contains(&format!("{prefix}.public.persons")), "{topics:?}");
        assert!(!topics.iter().any(|topic| topic.ends_with("people")), "{topics:?}");
        let bytes = every_byte(&prefix);
        assert!(bytes.len() > 40, "{}", bytes.len());
        for (topic, bytes) in bytes {
            let told = holds(&bytes, b"CANARY") || holds(&bytes, b"card");
            assert!(!told, "{topic}: {}", String::from_utf8_lossy(&bytes));
        }
        pipeline.command(&["schema"]).success().says(&["persons", "email"]).hides(&["card"]);
    }
}

#[test]
fn a_rule_that_can_t_be_kept_stops_with_the_column_and_nothing_is_written() {
    let (source, target) = (source("project_no"), Postgres::shared(17).database("project_no_t"));
    let pipeline = |name: &str, rule: &str| {
        Tailwater::new(name)
            .source_postgres(&source.url(), &["public.*"])
            .sink_postgres(&target.url(), None)
            .toml(&format!("[[table]]\nmatch = \"public.*\"\n{rule}"))
    };
    pipeline("project_no1", "columns.exclude = [\"id\"]").run_until_current().code(3).says(&["public.people", "id"]);
    pipeline("project_no2", "key = [\"phone\"]").run_until_current().code(3).says(&["phone", "NULL"]);
    for rule in [
        "columns.exclude = [\"id\"]",
        "columns.mask = { id = \"redact\" }",
        "columns.mask = { id = \"truncate(3)\" }",
        "key = [\"phone\"]",
        "key = [\"id\", \"nothing\"]",
    ] {
        pipeline("project_no6", rule).check().code(2).says(&["public.people", "key"]).hides(&["CANARY"]);
    }
    pipeline("project_no3", "columns.mask = { email = \"rot13\" }")
        .run_until_current()
        .code(2)
        .says(&["columns.mask.email", "truncate(N)"]);
    pipeline("project_no4", "columns.mask = { email = \"hmac\" }").run_until_current().code(2).says(&["columns.salt"]);
    pipeline("project_no5", "mode = \"mirrored\"").run_until_current().code(2).says(&["mode", "mirror"]);
    assert_eq!(target.one("select count(*) from pg_class where relname = 'people'"), "0");
}

#[cfg(feature = "kafka")]
#[test]
fn tables_share_a_topic_when_asked_and_the_warehouse_behind_it_gets_each_of_them() {
    let (source, target, kafka) =
        (Postgres::shared(17).database("share"), Postgres::shared(17).database("share_t"), Kafka::shared());
    source.sql(
        "create table orders (id int primary key, v text); insert into orders values (1, 'o');
         create table \"order lines\" (id int primary key, n int); insert into \"order lines\" values (1, 10);
         create schema other; create table other.orders (id int primary key); insert into other.orders values (1);
         create table plain (id int primary key); insert into plain values (1)",
    );
    let prefix = kafka.prefix("share");
    let writer = Tailwater::new("share_w")
        .source_postgres(&source.url(), &["public.*", "other.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 2\nreplication = 1\nname = \"${prefix}-${table}\"")
        .toml("[[table]]\nmatch = \"public.order*\"\ntopic = \"${prefix}.sales\"")
        .toml("key_fields = { __dbz__physicalTableIdentifier = \"${schema}.${table}\" }");
    writer.command(&["check"]).success();
    writer.run_until_current().success();
    source.sql("update orders set v = 'p', id = 2; update \"order lines\" set n = 11; insert into other.orders values (2); delete from plain");
    writer.run_until_current().success();
    let mut topics = kafka.topics(&prefix);
    topics.retain(|topic| !topic.contains("_tailwater"));
    let expected = ["-orders", "-plain", ".sales"].map(|name| format!("{prefix}{name}"));
    assert_eq!(topics, expected);
    let mut sales: Vec<String> = kafka
        .consume_all(&expected[2], Isolation::Uncommitted)
        .iter()
        .map(|record| format!("{} {}", record.header("tw.table").unwrap(), record.key_text()))
        .collect();
    sales.sort();
    let event = |table: &str, id: i32| {
        format!("public.{table}@1 {{\"id\":{id},\"__dbz__physicalTableIdentifier\":\"public.{table}\"}}")
    };
    let (lines, orders) = (event("order lines", 1), event("orders", 1));
    // A changed key is a delete, a tombstone and a create.
    let moved = event("orders", 2);
    assert_eq!(sales.iter().collect::<Vec<_>>(), [&lines, &lines, &orders, &orders, &orders, &moved]);
    let told = "key   id, __dbz__physicalTableIdentifier = \"public.orders\"";
    writer.command(&["schema"]).success().says(&[&expected[2], &expected[0], told]);

    let reader = Tailwater::new("share_r")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}*")], "share")
        .toml(&format!("prefix = \"{prefix}\""))
        .sink_postgres(&target.url(), None);
    reader.run_until_current().success();
    let all = "select (select v from public.orders) || (select n from public.\"order lines\") ||
        (select count(*) from other.orders) || (select count(*) from plain)";
    assert_eq!(target.one(all), "p1120");
}

#[cfg(feature = "kafka")]
#[test]
fn tables_that_come_to_one_topic_or_one_name_by_accident_are_refused() {
    let (source, kafka) = (Postgres::shared(17).database("collide"), Kafka::shared());
    source.sql(
        "create table \"a b\" (id int primary key); create table \"a_b\" (id int primary key);
         insert into \"a b\" values (1); insert into \"a_b\" values (1)",
    );
    let prefix = kafka.prefix("collide");
    let pipeline = |name: &str, rule: &str| {
        Tailwater::new(name)
            .source_postgres(&source.url(), &["public.*"])
            .sink_kafka(&kafka.bootstrap(), &format!("{prefix}{name}"))
            .toml("[sink.kafka.topic]\nreplication = 1")
            .toml(rule)
    };
    for (name, rule) in [("collide1", ""), ("collide2", "[[table]]\nmatch = \"public.a b\"\nrename = \"a_b\"")] {
        let both = ["public.a b", "public.a_b"];
        pipeline(name, rule).command(&["check"]).code(2).says(&both);
        pipeline(name, rule).run_until_current().code(3).says(&both);
    }
    pipeline("collide3", "[[table]]\nmatch = \"public.a b\"\nrename = \"other\"").run_until_current().success();
}

#[cfg(feature = "kafka")]
const SECRETS: &str = r#"
[[table]]
match = "public.vault"
columns.exclude = ["pin", "tags"]
columns.mask = { id = "hmac", mood = "sha256", amount = "redact", born = "truncate(4)", doc = "sha256" }
columns.salt = "CANARY-salt"
"#;

/// Every kind of change of a table whose key is masked, with values that are nowhere else.
#[cfg(feature = "kafka")]
fn secrets(source: &Database<'_>, round: u32) {
    source.sql(&format!(
        "insert into vault values ('CANARY-id-{round}', 'CANARY-mood', 77712345.25, '1999-12-31', 'CANARY-pin', '{{CANARY-tag}}',
             (select string_agg(md5(i::text), '') || 'CANARY-doc' from generate_series(1, 300) i), 'open-{round}');
         update vault set note = note || '!' where id = 'CANARY-id-{round}';
         update vault set pin = 'CANARY-pin-2', amount = 77754321.5 where id = 'CANARY-id-{round}';
         update vault set id = 'CANARY-moved-{round}' where id = 'CANARY-id-{round}';
         insert into vault (id) values ('CANARY-gone-{round}'); delete from vault where id = 'CANARY-gone-{round}'"
    ));
}

#[cfg(feature = "kafka")]
#[test]
fn secrets_of_every_type_under_every_identity_are_in_no_byte_of_any_topic_log_or_schema() {
    let forms = [("json", "default"), ("json", "index"), ("avro", "full"), ("avro", "default"), ("protobuf", "full")];
    for (at, (format, identity)) in forms.into_iter().enumerate() {
        let (source, kafka) = (vault(at, identity), Kafka::shared());
        secrets(&source, 1);
        let prefix = kafka.prefix(&format!("vault{at}"));
        let inline = if format == "json" { "[sink.kafka.envelope]\ninline_schema = true" } else { "" };
        let pipeline = Tailwater::new(&format!("vault{at}"))
            .env("RUST_LOG", "trace")
            .source_postgres(&source.url(), &["public.*"])
            .toml(&sink(format, &prefix))
            .toml(inline)
            .toml(SECRETS);
        pipeline.check().success().hides(&["CANARY"]);
        pipeline.run_until_current().success().hides(&["CANARY"]);
        secrets(&source, 2);
        pipeline.run_until_current().success().hides(&["CANARY"]);
        // A row that no form can tell waits, without its secrets, and nobody says a word of it.
        source.sql("insert into vault (id, pin, note) values ('CANARY-bad', 'CANARY-pin', convert_from('\\x6f64642d6e6f7465ff', 'SQL_ASCII'))");
        pipeline.run_until_current().code(3).says(&["public.vault", "note", "UTF-8"]).hides(&["CANARY", "odd-note"]);
        let schema = pipeline.command(&["schema"]).success().says(&["vault", "mood"]).hides(&["CANARY"]).stdout;
        assert!(secret_in("", schema.as_bytes()).is_none(), "{schema}");
        let bytes = every_byte(&prefix);
        assert!(bytes.len() > 40, "{}", bytes.len());
        assert!(bytes.iter().any(|(topic, bytes)| topic.ends_with("._tailwater.held") && holds(bytes, b"odd-note")));
        for (topic, bytes) in &bytes {
            let secret = secret_in(topic, bytes);
            assert!(secret.is_none(), "{secret:?} in {topic}: {}", String::from_utf8_lossy(bytes));
        }
        if format == "json" {
            masked_columns_are_texts(&format!("{prefix}.public.vault"));
        }
    }
}

/// A table with secrets, in a database whose texts may be anything.
#[cfg(feature = "kafka")]
fn vault(at: usize, identity: &str) -> Database<'static> {
    let options = "template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'";
    let source = Postgres::shared(17).database_with(&format!("vault{at}"), options);
    source.sql(
        "create type mood as enum ('CANARY-mood', 'CANARY-other');
         create table vault (id text primary key, mood mood default 'CANARY-other', amount numeric(12,2) default 77700000, born date,
             pin text default 'CANARY-default', tags text[], doc text, note text);
         alter table vault alter doc set storage external; create unique index vault_ids on vault (id)",
    );
    source.sql(match identity {
        "full" => "alter table vault replica identity full",
        "index" => "alter table vault replica identity using index vault_ids",
        _ => "alter table vault replica identity default",
    });
    source
}

/// A secret that `bytes` hold, as text or as the number that a form makes of it.
#[cfg(feature = "kafka")]
fn secret_in(topic: &str, bytes: &[u8]) -> Option<String> {
    // Numbers of the log's positions and times may hold any digits.
    let told = bytes.windows(10).position(|window| window == b"\"source\":{").map_or(bytes, |at| &bytes[..at]);
    let amounts = [7_771_234_525_i64, 7_775_432_150, 7_770_000_000].map(|cents| cents.to_be_bytes()[3..].to_vec());
    let texts = ["77712345", "77754321", "77700000", "1999-12"].map(|text| text.as_bytes().to_vec());
    let of_rows = if topic.contains("_tailwater") { &[][..] } else { &[texts.as_slice(), amounts.as_slice()].concat() };
    let names = ["pin", "tags"].map(|text| text.as_bytes().to_vec());
    let secret = names.iter().chain(of_rows).find(|secret| holds(told, secret));
    let canary = b"CANARY".to_vec();
    secret
        .or_else(|| Some(&canary).filter(|canary| holds(bytes, canary)))
        .map(|secret| String::from_utf8_lossy(secret).into())
}

#[cfg(feature = "kafka")]
fn masked_columns_are_texts(topic: &str) {
    let events = Kafka::shared().consume_all(topic, Isolation::Uncommitted);
    let last = events.iter().rev().find(|record| record.value.is_some()).unwrap().value_text();
    for column in ["mood", "amount", "born", "doc"] {
        let field = format!("{{\"type\":\"string\",\"optional\":true,\"field\":\"{column}\"}}");
        assert!(last.contains(&field), "a masked column is a text in the schema too: {last}");
    }
}
