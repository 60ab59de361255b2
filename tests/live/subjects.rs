//! Subjects of a real registry that are not as they were left: deleted, or filled with schemas of another format.

use super::registry::{number, publish, read, records, source};
use crate::support::kafka::Kafka;
use crate::support::registry::Registry;

const JSON: &str = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
const PROTOBUF: &str = "syntax = \"proto3\"; message Other { int64 id = 1; }";

#[test]
fn a_subject_that_holds_another_format_stops_with_the_registrys_words_and_nothing_is_written() {
    let source = source("subject_format");
    for (language, text) in [("JSON", JSON), ("PROTOBUF", PROTOBUF)] {
        let (registry, prefix) = (Registry::shared(), Kafka::shared().prefix("subject_format"));
        let subject = format!("{prefix}.public.orders-value");
        let other = registry.register_as(&subject, language, text).unwrap();
        let pipeline = publish(&source, &prefix, &registry.url());
        pipeline.run_until_current().code(3).says(&["orders", &subject, "the registry refuses"]);
        assert_eq!(registry.versions(&subject), [other], "{language}");
        assert_eq!(records(&prefix, "orders").len(), 0, "{language}");
        // The remedy.
        registry.delete(&subject);
        pipeline.run_until_current().success();
        let found = records(&prefix, "orders");
        assert_eq!(found.len(), 1, "{language}");
        assert!(format!("{:?}", read(found[0].value.as_deref())["after"]).contains("\"abc\""), "{language}");
    }
}

#[test]
fn subjects_that_are_deleted_under_us_are_registered_again_and_every_record_stays_readable() {
    let source = source("subject_deleted");
    let (registry, prefix) = (Registry::shared(), Kafka::shared().prefix("subject_deleted"));
    let subjects = ["key", "value"].map(|part| format!("{prefix}.public.orders-{part}"));
    let pipeline = publish(&source, &prefix, &registry.url());
    let mut running = pipeline.run();
    running.wait_until("the snapshot", |_| records(&prefix, "orders").len() == 1);
    subjects.iter().for_each(|subject| registry.delete(subject));
    source.sql("insert into orders (note) values ('while it runs')");
    running.wait_until("the insert", |_| records(&prefix, "orders").len() == 2);
    // A schema that is new is registered, as if nothing had been there before.
    source.sql("alter table orders add column more int; insert into orders values (8, 'x', 1, 2)");
    running.wait_until("the new schema", |_| records(&prefix, "orders").len() == 3);
    running.terminate().code(0);

    subjects
        .iter()
        .filter(|subject| !registry.subjects(subject).is_empty())
        .for_each(|subject| registry.delete(subject));
    source.sql("insert into orders values (9, 'after a start', 1, 2)");
    pipeline.run_until_current().success();
    assert_eq!(registry.subjects(&prefix), subjects);
    let found = records(&prefix, "orders");
    let last = found.last().unwrap();
    assert_eq!(registry.versions(&subjects[0]), [number(last.key.as_deref())]);
    assert_eq!(registry.versions(&subjects[1]), [number(last.value.as_deref())]);
    for (record, note) in found.iter().zip(["abc", "while it runs", "x", "after a start"]) {
        let row = format!("{:?}", read(record.value.as_deref())["after"]);
        assert!(row.contains(&format!("{note:?}")), "{row}");
    }
}
