//! A database without an encoding, whose texts may be anything.

#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

const LEFT_OUT: &str = "[[table]]\nmatch = \"public.odd\"\ncolumns.exclude = [\"note\"]";

fn source(name: &str) -> Database<'static> {
    let options = "template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'";
    let source = Postgres::shared(17).database_with(name, options);
    source.sql(
        "create table odd (id int primary key, note text, kept text); create table fine (id int primary key, v text);
         insert into odd values (1, 'ä', 'k'); insert into fine values (1, 'ö')",
    );
    source
}

/// Runs `rule` by `rule` what a wrong text does in the stream and in a snapshot.
fn stops_and_goes_on(name: &str, source: &Database<'_>, sink: &dyn Fn(Tailwater, &str) -> Tailwater, says: &[&str]) {
    let pipeline = |suffix: &str, rule: &str| {
        let pipeline = Tailwater::new(&format!("{name}{suffix}")).source_postgres(&source.url(), &["public.*"]);
        sink(pipeline, suffix).toml(rule)
    };
    pipeline("a", "").run_until_current().success();
    source.sql("insert into fine values (2, 'x'); insert into odd values (2, convert_from('\\x43414e415259ff', 'SQL_ASCII'), 'k'); insert into fine values (3, 'y')");
    let refused = pipeline("a", "").run_until_current().code(3).says(says).hides(&["CANARY", "0xff"]);
    assert!(refused.text().contains("columns.exclude"), "{}", refused.text());
    pipeline("a", LEFT_OUT).run_until_current().success();
    // The same where the text is read by a snapshot.
    pipeline("b", "").run_until_current().code(3).says(says).hides(&["CANARY", "0xff"]);
    pipeline("c", LEFT_OUT).run_until_current().success();
}

#[test]
fn a_text_that_is_not_utf_8_stops_before_a_warehouse_and_leaving_it_out_goes_on() {
    let (source, target) = (source("ascii_p"), Postgres::shared(17).database("ascii_p_t"));
    let sink = |pipeline: Tailwater, suffix: &str| pipeline.sink_postgres(&target.url(), Some(&format!("s{suffix}")));
    stops_and_goes_on("ascii_p", &source, &sink, &["merging into", "odd", "22021", "UTF-8"]);
    for schema in ["sa", "sc"] {
        let all = format!(
            "select (select count(*) from {schema}.fine) || (select string_agg(kept, '' order by id) from {schema}.odd)"
        );
        assert_eq!(target.one(&all), "3kk");
    }
    assert_eq!(target.one("select note from sa.odd where id = 1"), "ä");
}

#[cfg(feature = "duckdb")]
#[test]
fn a_text_that_is_not_utf_8_stops_before_duckdb_and_leaving_it_out_goes_on() {
    use crate::support::duck;

    let (source, dir) = (source("ascii_d"), tempfile::tempdir().unwrap());
    let file = |suffix: &str| dir.path().join(format!("{suffix}.duckdb"));
    let sink = |pipeline: Tailwater, suffix: &str| pipeline.sink_duckdb(&file(suffix));
    stops_and_goes_on("ascii_d", &source, &sink, &["public.odd", "note", "UTF-8"]);
    for suffix in ["a", "c"] {
        let all = "select (select count(*) from public.fine)::text || (select string_agg(kept, '' order by id) from public.odd)";
        assert_eq!(duck::rows(&file(suffix), all), [vec![Some("3kk".to_owned())]]);
    }
}

#[cfg(feature = "kafka")]
#[test]
fn a_text_that_is_not_utf_8_stops_before_kafka_and_leaving_it_out_goes_on() {
    let (source, kafka) = (source("ascii_k"), Kafka::shared());
    let prefix = kafka.prefix("ascii");
    let sink = |pipeline: Tailwater, suffix: &str| {
        pipeline
            .sink_kafka(&kafka.bootstrap(), &format!("{prefix}{suffix}"))
            .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1")
    };
    stops_and_goes_on("ascii_k", &source, &sink, &["public.odd", "note", "UTF-8"]);
    let events = |suffix: &str, table: &str| {
        let topic = format!("{prefix}{suffix}.public.{table}");
        kafka
            .consume_all(&topic, crate::support::kafka::Isolation::Uncommitted)
            .into_iter()
            .map(|record| record.key_text().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    for (suffix, odd) in [("a", 2), ("b", 1), ("c", 2)] {
        assert_eq!((events(suffix, "fine").len(), events(suffix, "odd").len()), (3, odd), "{suffix}");
    }
}
