//! A script against a database, step by step, and what came of it.

use super::script::Script;
use super::told::{Run, Told};
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::Database;
use crate::support::tailwater::Tailwater;

/// The topic in which a record says that everything before it has been told.
const MARK: &str = "public.mark";

/// Makes what the snapshot is to find, and the publication of both sides.
pub fn prepare(script: &Script, database: &Database<'_>) {
    let session = database.session();
    session.sql("create table mark (n int primary key)");
    Script::statements(&script.snapshot).into_iter().for_each(|statement| drop(session.sql(statement)));
    session.sql("create publication both_sides for all tables");
}

/// Runs the steps; `wait` is given the number of the mark that everybody has to have told before it goes on.
pub fn play(script: &Script, database: &Database<'_>, wait: &mut dyn FnMut(usize)) {
    let session = database.session();
    let mut mark = |n: usize| {
        session.sql(&format!("insert into mark values ({n})"));
        wait(n);
    };
    mark(1);
    for (at, step) in script.steps.iter().enumerate() {
        let session = database.session();
        Script::statements(step).into_iter().for_each(|statement| drop(session.sql(statement)));
        mark(at + 2);
    }
}

/// The last mark that was told under a prefix.
pub fn marks(kafka: &Kafka, prefix: &str) -> usize {
    kafka.end_offsets(&format!("{prefix}.{MARK}")).iter().sum::<i64>() as usize
}

/// Tailwater as a script wants it.
pub fn tailwater(script: &Script, database: &Database<'_>, kafka: &Kafka, prefix: &str) -> Tailwater {
    let envelope = script.tailwater.iter().fold("inline_schema = true".to_owned(), |all, line| all + "\n" + line);
    Tailwater::new(prefix)
        .source_postgres(&database.url(), &["*"])
        .toml("publication = \"both_sides\"")
        .sink_kafka(&kafka.bootstrap(), prefix)
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]")
        .toml(&envelope)
}

/// What lies under a prefix, settled; `route` is what stands before the prefix in the names of topics.
pub fn collect(kafka: &Kafka, route: &str, run: &Run<'_>) -> Vec<Told> {
    let begin = format!("{route}{}.", run.prefix);
    let topics = kafka.topics(&begin);
    let names = topics.iter().filter(|topic| !topic.contains("._tailwater."));
    let records = names.flat_map(|topic| {
        let short = topic[begin.len()..].to_owned();
        kafka.consume_all(topic, Isolation::Committed).into_iter().map(move |record| Told::of_json(&short, &record))
    });
    let mut all: Vec<Told> = records.collect();
    all.iter_mut().for_each(|told| told.settle(run));
    all
}
