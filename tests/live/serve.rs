//! What a process says of itself, while it runs and when it does not.

use serde_json::Value;

#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::{Output, Running, Tailwater};

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The value of a metric with this name and these labels.
fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn get(running: &Running, path: &str) -> (u16, String) {
    running.http(path).expect("the page answers")
}

fn source(name: &str) -> Database<'static> {
    let source = Postgres::shared(17).database(name);
    source.sql("create table t (id int primary key, v text); insert into t values (1, 'CANARY')");
    source
}

#[test]
fn the_pages_of_a_running_process_tell_how_far_it_is() {
    let (source, target) = (source("serve_s"), Postgres::shared(17).database("serve_t"));
    let pipeline =
        Tailwater::new("serve").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql("insert into t values (2, 'CANARY'), (3, 'x'); update t set v = 'CANARY' where id = 3; delete from t where id = 1");
    let events = |op: &str| format!("tailwater_events_total{{table=\"public.t\",op=\"{op}\"}}");
    running.wait_until("told of the delete", |running| metric(&get(running, "/metrics").1, &events("d")) == Some(1.0));
    let (status, page) = get(&running, "/metrics");
    assert_eq!(status, 200);
    for (op, count) in [("r", 1.0), ("c", 2.0), ("u", 1.0), ("d", 1.0), ("t", 0.0)] {
        assert_eq!(metric(&page, &events(op)).unwrap_or(0.0), count, "{op}: {page}");
    }
    assert_eq!(metric(&page, "tailwater_up"), Some(1.0), "{page}");
    for name in [
        "tailwater_source_lag_bytes",
        "tailwater_source_lag_seconds",
        "tailwater_stage_lag_seconds{stage=\"applied\"}",
        "tailwater_table_freshness_seconds{table=\"public.t\"}",
        "tailwater_slot_retained_bytes",
    ] {
        assert!(metric(&page, name).is_some_and(|value| value >= 0.0), "{name}: {page}");
    }
    assert_eq!((get(&running, "/livez").0, get(&running, "/readyz").0), (200, 200));
    assert_eq!(get(&running, "/nothing").0, 404);
    let report: Value = serde_json::from_str(&get(&running, "/status.json").1).unwrap();
    assert_eq!((&report["pipeline"], &report["ready"]), (&Value::from("serve"), &Value::from(true)));
    assert_eq!(report["tables"][0]["inserts"], 2, "{report}");
    let told = json(&pipeline.command(&["status", "--json"]).success().hides(&["CANARY"]));
    assert_eq!((&told["running"], &told["tables"][0]["deletes"]), (&Value::from(true), &Value::from(1)));
    pipeline.status().success().says(&["public.t", "inserts 2", "lag seconds"]).hides(&["CANARY"]);
    running.terminate().code(0).hides(&["CANARY"]);
}

#[test]
fn a_process_whose_warehouse_is_away_is_alive_and_not_ready() {
    let (source, warehouse) = (source("serve_away"), Postgres::version(15).start());
    let target = warehouse.database("t");
    let pipeline =
        Tailwater::new("serve_away").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    running.wait_ready();
    warehouse.kill9();
    source.sql("insert into t values (2, 'CANARY')");
    running.wait_until("not ready", |running| get(running, "/readyz").0 == 503);
    assert_eq!(get(&running, "/livez").0, 200);
    let told = json(&pipeline.command(&["status", "--json"]).success().hides(&["CANARY"]));
    assert!(told["reason"].is_string() && told["last_error"].is_string(), "{told}");
    warehouse.restart();
    running.wait_ready();
    running.terminate().code(0).hides(&["CANARY"]);
}

/// Before anything ran, and after it ran to the end: the slot and what the sink has stored.
fn at_rest(pipeline: &Tailwater) {
    let before = json(&pipeline.command(&["status", "--json"]).success());
    assert_eq!((&before["running"], &before["slot"]), (&Value::from(false), &Value::Null));
    assert_eq!(before["sink"]["state"], "nothing stored", "{before}");
    pipeline.run_until_current().success();
    let after = json(&pipeline.command(&["status", "--json"]).success());
    assert_eq!(after["sink"]["state"], "following", "{after}");
    assert_eq!(after["slot"]["active"], false, "{after}");
    let lsn = |value: &Value| value.as_str().unwrap().parse::<tailwater::model::Lsn>().unwrap();
    assert!(lsn(&after["slot"]["confirmed"]) <= lsn(&after["sink"]["durable"]), "{after}");
    pipeline.status().success().says(&["following", "durable", "confirmed"]);
}

#[test]
fn at_rest_the_slot_and_the_progress_of_a_postgres_warehouse_are_told() {
    let (source, target) = (source("rest_p_s"), Postgres::shared(15).database("rest_p_t"));
    at_rest(&Tailwater::new("rest_p").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None));
}

#[cfg(feature = "duckdb")]
#[test]
fn at_rest_the_slot_and_the_progress_of_a_duckdb_file_are_told_and_no_file_is_made() {
    let (source, dir) = (source("rest_d_s"), Dir::new());
    let file = dir.join("rest.duckdb");
    let pipeline = Tailwater::new("rest_d").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file);
    pipeline.status().success();
    assert!(!file.exists());
    at_rest(&pipeline);
}

#[cfg(feature = "kafka")]
#[test]
fn at_rest_the_slot_and_the_progress_on_kafka_are_told() {
    let (source, kafka) = (source("rest_k_s"), Kafka::shared());
    let prefix = kafka.prefix("rest");
    at_rest(
        &Tailwater::new("rest_k")
            .source_postgres(&source.url(), &["public.*"])
            .sink_kafka(&kafka.bootstrap(), &prefix)
            .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1"),
    );
}
