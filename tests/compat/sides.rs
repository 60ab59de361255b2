//! The comparison.

use std::time::Duration;

use crate::debezium::Debezium;
use crate::support::contract::compare::Difference;
use crate::support::contract::run::Form;
use crate::support::contract::script::Script;
use crate::support::contract::told::{self, Run, Told};
use crate::support::contract::{allowed, compare, run};
use crate::support::eventually;
use crate::support::kafka::Kafka;
use crate::support::postgres::Postgres;

const ROUTE: &str = "debezium.";

/// What both sides told.
struct Sides {
    theirs: Vec<Told>,
    ours: Vec<Told>,
    log: String,
}

fn both(script: &Script, form: Form) -> Sides {
    let kafka = Kafka::shared();
    let database = Postgres::shared(17).database(&format!("compat_{}", script.name));
    let prefix = kafka.prefix("twcompat");
    run::prepare(script, &database);
    let pipeline = run::tailwater(script, form, &database, kafka, &prefix);
    let mut running = pipeline.run();
    running.wait_ready();
    let mut debezium = Debezium::start(script, form, &database, kafka, ROUTE, &prefix);
    run::play(script, &database, &mut |mark| {
        running.wait_until("at the mark", |_| run::marks(kafka, &prefix) >= mark);
        let theirs = format!("{ROUTE}{prefix}");
        eventually("Debezium is at the mark", Duration::from_secs(60), || {
            debezium.check();
            (run::marks(kafka, &theirs) >= mark).then_some(())
        });
    });
    running.terminate().success();
    let log = debezium.stop();
    let run = Run { prefix: &prefix, database: database.name() };
    Sides { theirs: run::collect(kafka, form, ROUTE, &run), ours: run::collect(kafka, form, "", &run), log }
}

fn keep(script: &Script, form: Form, theirs: &[Told]) {
    let mut records = theirs.to_vec();
    records.iter_mut().for_each(Told::detach);
    let mut text = String::new();
    for topic in records.chunk_by(|one, next| one.topic == next.topic) {
        text.push_str(&told::render(topic));
    }
    std::fs::write(script.golden(form), text).unwrap();
}

/// Prints them; those that are alike once, with their number.
fn show(differences: &[Difference<'_>]) {
    let mut shown: Vec<(&Difference<'_>, usize)> = Vec::new();
    for difference in differences {
        let alike = |other: &Difference<'_>| {
            (&other.path, &other.they_say, &other.we_say)
                == (&difference.path, &difference.they_say, &difference.we_say)
        };
        match shown.iter_mut().find(|(first, _)| alike(first)) {
            Some((_, times)) => *times += 1,
            None => shown.push((difference, 1)),
        }
    }
    for (difference, times) in shown {
        println!("{difference}{}", if times > 1 { format!("\n    {times} times") } else { String::new() });
    }
}

#[test]
fn both_sides_tell_every_script_alike() {
    let wanted = std::env::var("SCRIPTS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let mut failed = Vec::new();
    let mut used = Vec::new();
    for script in Script::all() {
        if !wanted.is_empty() && !wanted.contains(&script.name.as_str()) {
            continue;
        }
        for form in script.forms() {
            let what = format!("{} {}", script.name, form.name());
            // One script that stops a side does not hide the others.
            let Ok(sides) = std::panic::catch_unwind(|| both(&script, form)) else {
                failed.push(what);
                continue;
            };
            let differences = compare::differences(&sides.theirs, &sides.ours);
            let unexpected = allowed::unexpected(differences, &mut used);
            println!("{what}: {} records, {} differences that are not meant", sides.theirs.len(), unexpected.len());
            if !unexpected.is_empty() {
                show(&unexpected);
                println!("Debezium's log:\n{}", sides.log);
                failed.push(what);
            }
            if std::env::var_os("BLESS").is_some() {
                keep(&script, form, &sides.theirs);
            }
        }
    }
    assert!(failed.is_empty(), "told in another way: {failed:?}");
    for allowed in allowed::ALLOWED.iter().filter(|_| wanted.is_empty()) {
        assert!(used.contains(&allowed.name), "a difference that no script shows any more: {}", allowed.name);
    }
}
