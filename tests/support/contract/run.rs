//! A script against a database, step by step, and what came of it.

use std::sync::OnceLock;

use super::script::Script;
use super::told::{self, Run, Schemas, Told};
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::Database;
use crate::support::registry::Registry;
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
    kafka.consume_all(&format!("{prefix}.{MARK}"), Isolation::Committed).len()
}

/// The form of keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// With the schema beside each.
    Json,
    /// With the schemas in a registry.
    Avro,
    /// JSON without any schema.
    Plain,
}

impl Form {
    /// All.
    pub const ALL: [Form; 3] = [Form::Json, Form::Avro, Form::Plain];

    /// As scripts call it.
    pub fn name(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Avro => "avro",
            Form::Plain => "plain",
        }
    }
}

/// The registry of all scripts, which takes every schema.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::start();
        registry.set_config("NONE");
        registry
    })
}

/// Tailwater as a script wants it.
pub fn tailwater(script: &Script, form: Form, database: &Database<'_>, kafka: &Kafka, prefix: &str) -> Tailwater {
    let (format, inline) = match form {
        Form::Json => ("format = \"json\"".to_owned(), "inline_schema = true"),
        Form::Plain => ("format = \"json\"".to_owned(), ""),
        Form::Avro => (format!("format = \"avro\"\nregistry = \"{}\"", registry().url()), ""),
    };
    let envelope = script.tailwater.iter().fold(inline.to_owned(), |all, line| all + "\n" + line);
    let bootstrap = kafka.bootstrap();
    Tailwater::new(prefix)
        .source_postgres(&database.url(), &["*"])
        .toml("publication = \"both_sides\"")
        .toml(&format!("[sink.kafka]\nbootstrap = \"{bootstrap}\"\nprefix = \"{prefix}\"\n{format}"))
        .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1\n[sink.kafka.envelope]")
        .toml(&envelope)
}

/// What lies under a prefix, settled; `route` is what stands before the prefix in the names of topics.
pub fn collect(kafka: &Kafka, form: Form, route: &str, run: &Run<'_>) -> Vec<Told> {
    let mut schemas = (form == Form::Avro).then(|| Schemas::of(registry()));
    let begin = format!("{route}{}.", run.prefix);
    let topics = kafka.topics(&begin);
    let names = topics.iter().filter(|topic| !topic.contains("._tailwater."));
    let mut all = Vec::new();
    for topic in names {
        let short = &topic[begin.len()..];
        for record in kafka.consume_all(topic, Isolation::Committed) {
            all.push(match &mut schemas {
                Some(schemas) => Told::of_avro(short, &record, schemas),
                None => Told::of_json(short, &record),
            });
        }
    }
    // As many of them as there was time for: the first one stands for all.
    let heartbeats = format!("{route}__debezium-heartbeat.{}", run.prefix);
    if kafka.topics(&heartbeats).contains(&heartbeats) {
        let first = kafka.consume_all(&heartbeats, Isolation::Committed).into_iter().next();
        all.extend(first.map(|record| match &mut schemas {
            Some(schemas) => Told::of_avro(told::HEARTBEAT, &record, schemas),
            None => Told::of_json(told::HEARTBEAT, &record),
        }));
    }
    all.iter_mut().for_each(|told| told.settle(run));
    all
}
