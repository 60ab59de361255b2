//! `[[table]]` on real servers: what is left out or masked appears nowhere.

#[cfg(feature = "kafka")]
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
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

#[cfg(feature = "kafka")]
#[test]
fn what_is_hidden_from_kafka_is_in_no_key_value_or_header_of_any_topic() {
    let (source, kafka) = (source("project_k"), Kafka::shared());
    let prefix = kafka.prefix("project");
    let pipeline = Tailwater::new("project_k")
        .env("SALT", "CANARY-SALT")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1")
        .toml(RULE);
    pipeline.run_until_current().success();
    write(&source, 2);
    pipeline.run_until_current().success().hides(&["CANARY"]);
    let topics = kafka.topics(&prefix);
    assert!(topics.contains(&format!("{prefix}.public.persons")), "{topics:?}");
    assert!(!topics.iter().any(|topic| topic.ends_with("people")), "{topics:?}");
    let mut events = 0;
    for topic in &topics {
        for record in kafka.consume_all(topic, Isolation::Uncommitted) {
            let headers = record.headers.iter().map(|(_, value)| value.as_deref());
            for bytes in [record.key.as_deref(), record.value.as_deref()].into_iter().chain(headers).flatten() {
                let text = String::from_utf8_lossy(bytes);
                assert!(!text.contains("CANARY") && !text.contains("card"), "{topic}: {text}");
            }
            events += 1;
        }
    }
    assert!(events > 8, "{events}");
    pipeline.command(&["schema"]).success().says(&["persons", "email"]).hides(&["card"]);
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
    pipeline("project_no3", "columns.mask = { email = \"rot13\" }")
        .run_until_current()
        .code(2)
        .says(&["columns.mask.email", "truncate(N)"]);
    pipeline("project_no4", "columns.mask = { email = \"hmac\" }").run_until_current().code(2).says(&["columns.salt"]);
    pipeline("project_no5", "mode = \"history\"").run_until_current().code(2).says(&["mode", "mirror"]);
    assert_eq!(target.one("select count(*) from pg_class where relname = 'people'"), "0");
}
