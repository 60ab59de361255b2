//! Tables that change while nobody looks, all the way to Kafka and to a warehouse behind it.

use std::process::Command;

use serde_json::Value;

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

/// Name, type, default and whether it may be null, of each column of the row in an event.
fn columns(event: &str) -> Vec<(String, String, Value, bool)> {
    let event: Value = serde_json::from_str(event).unwrap();
    let row = &event["schema"]["fields"][1];
    assert_eq!(row["field"], "after");
    let of = |field: &Value| {
        let text = |name: &str| field[name].as_str().unwrap().to_owned();
        (text("field"), text("type"), field["default"].clone(), field["optional"].as_bool().unwrap())
    };
    row["fields"].as_array().unwrap().iter().map(of).collect()
}

fn told(columns: &[(&str, &str, Value, bool)]) -> Vec<(String, String, Value, bool)> {
    columns
        .iter()
        .map(|(name, kind, default, optional)| ((*name).into(), (*kind).into(), default.clone(), *optional))
        .collect()
}

#[test]
fn what_was_in_force_is_told_though_the_catalog_says_something_else_by_now() {
    for version in [15, 17] {
        let server = Postgres::shared(version);
        let (database, target) = (server.database("evolve"), server.database("evolve_target"));
        let kafka = Kafka::shared();
        let prefix = kafka.prefix("evolve");
        let writer = Tailwater::new("evolve")
            .toml("[source.postgres]\nschema_history = true")
            .toml(&format!("url = {:?}\ntables = [\"public.*\"]", database.url()))
            .sink_kafka(&kafka.bootstrap(), &prefix)
            .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 1")
            .toml("[sink.kafka.envelope]\ninline_schema = true");
        database.sql("create table t (id int primary key, a text default 'x')");
        writer.check().code(2).says(&["tailwater schema-history"]);
        let printed = Command::new(env!("CARGO_BIN_EXE_tailwater")).arg("schema-history").output().unwrap();
        assert!(printed.status.success());
        database.sql(&String::from_utf8(printed.stdout).unwrap());
        writer.check().success();
        writer.run_until_current().success();
        for statement in "insert into t values (1, 'q'); alter table t alter a set default 'y', alter a set not null;
             insert into t values (2, 'q'); alter table t add b bigint; update t set b = 7;
             alter table t alter b set default 7, alter b set not null;
             insert into t values (3, 'q'); alter table t drop a, alter b drop not null, alter b drop default;
             insert into t values (4, null)"
            .split(';')
        {
            database.sql(statement);
        }
        writer.run_until_current().success();
        let records = kafka.consume_all(&format!("{prefix}.public.t"), Isolation::Committed);
        let created = records.iter().filter(|record| record.value_text().contains("\"op\":\"c\""));
        let found: Vec<_> = created.map(|record| columns(record.value_text())).collect();
        let id = || ("id", "int32", Value::Null, false);
        let expected = [
            told(&[id(), ("a", "string", "x".into(), true)]),
            told(&[id(), ("a", "string", "y".into(), false)]),
            told(&[id(), ("a", "string", "y".into(), false), ("b", "int64", 7.into(), false)]),
            told(&[id(), ("b", "int64", Value::Null, true)]),
        ];
        assert_eq!(found, expected, "PostgreSQL {version}");

        let reader = Tailwater::new("evolve_reader")
            .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
            .sink_postgres(&target.url(), None);
        reader.run_until_current().success();
        target.sql("alter table public.t drop column a");
        assert_all_equal(&database.session(), &["public.t"], Copy::Postgres(&target.session()));
    }
}
