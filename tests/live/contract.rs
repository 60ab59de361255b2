//! The same records as Debezium's, from scripts that it was shown before: `make compat BLESS=1` keeps what it told.

use crate::support::contract::run::Form;
use crate::support::contract::script::Script;
use crate::support::contract::told::{self, Run, Told};
use crate::support::contract::{allowed, compare, run};
use crate::support::kafka::Kafka;
use crate::support::postgres::Postgres;

/// What Tailwater tells of a script.
fn ours(script: &Script, form: Form) -> Vec<Told> {
    let kafka = Kafka::shared();
    let database = Postgres::shared(17).database(&format!("contract_{}", script.name));
    let prefix = kafka.prefix("twcontract");
    run::prepare(script, &database);
    let pipeline = run::tailwater(script, form, &database, kafka, &prefix);
    let mut running = pipeline.run();
    running.wait_ready();
    run::play(script, &database, &mut |mark| {
        running.wait_until("at the mark", |_| run::marks(kafka, &prefix) >= mark);
    });
    running.terminate().success();
    run::collect(kafka, form, "", &Run { prefix: &prefix, database: database.name() })
}

fn compared(name: &str) {
    let script = Script::named(name);
    for form in script.forms() {
        let file = script.golden(form);
        let theirs = told::parse(&std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}")));
        let mut ours = ours(&script, form);
        ours.iter_mut().for_each(Told::detach);
        let differences = allowed::unexpected(compare::differences(&theirs, &ours), &mut Vec::new());
        let report: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(report.is_empty(), "{name}, {form:?}: {} differences\n{}", report.len(), report.join("\n"));
        assert!(!theirs.is_empty());
    }
}

#[test]
fn keys_deletes_and_truncates_are_told_as_debezium_tells_them() {
    ["keys", "keys_connect", "keys_text"].into_iter().for_each(compared);
}

#[test]
fn defaults_and_nulls_are_told_as_debezium_tells_them() {
    compared("defaults");
}

#[test]
fn json_without_schemas_and_heartbeats_are_told_as_debezium_tells_them() {
    compared("plain");
}

#[test]
fn odd_names_are_told_as_debezium_tells_them() {
    ["names", "names_avro", "names_unicode"].into_iter().for_each(compared);
}

#[test]
fn large_values_that_did_not_change_are_told_as_debezium_tells_them() {
    ["toast", "toast_base64", "toast_text"].into_iter().for_each(compared);
}

#[test]
fn changed_schemas_are_told_as_debezium_tells_them() {
    compared("changes");
}

#[test]
fn transactions_and_messages_are_told_as_debezium_tells_them() {
    ["transactions", "messages", "messages_text"].into_iter().for_each(compared);
}

#[test]
fn every_type_is_told_as_debezium_tells_it_in_every_mode() {
    ["types", "types_connect", "types_micros", "types_text"].into_iter().for_each(compared);
}

#[test]
fn every_difference_that_is_allowed_is_on_its_page() {
    let page = include_str!("../../docs/debezium.md");
    for allowed in allowed::ALLOWED {
        assert!(page.contains(&format!("| {} |", allowed.name)), "docs/debezium.md lacks: {}", allowed.name);
    }
}

#[test]
fn what_debezium_leaves_out_or_misreads_differs_as_its_page_says() {
    compared("others");
}

#[test]
fn no_script_is_kept_without_a_test() {
    let source = include_str!("contract.rs");
    for script in Script::all() {
        assert!(source.contains(&format!("\"{}\"", script.name)), "{}: nobody compares it", script.name);
    }
}
