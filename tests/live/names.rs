//! Names of tables, columns and topics that need care, in each wiring.

#[cfg(feature = "kafka")]
use super::input::refused;
use crate::support::compare::{Copy, assert_equal};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "kafka")]
use crate::support::kafka::{Isolation, Kafka};
use crate::support::postgres::{Database, Postgres};
use crate::support::session::{Session, identifier};
use crate::support::tailwater::{Running, Tailwater};

#[cfg(feature = "kafka")]
#[test]
fn topic_names_that_kafka_refuses_are_named_and_the_rest_is_done_without_them() {
    let source = Postgres::shared(17).database("in_topic_s");
    source.sql(
        "CREATE SCHEMA \"a.b\"; CREATE SCHEMA a_b; CREATE SCHEMA a;
         CREATE TABLE \"a.b\".t (id int PRIMARY KEY, v text); INSERT INTO \"a.b\".t VALUES (1, 'CANARY');
         CREATE TABLE a_b.t (id int PRIMARY KEY, v text); INSERT INTO a_b.t VALUES (1, 'CANARY');
         CREATE TABLE a.\"x y\" (id int PRIMARY KEY); CREATE TABLE a.\"x\u{fc}y\" (id int PRIMARY KEY);
         INSERT INTO a.\"x y\" VALUES (1); INSERT INTO a.\"x\u{fc}y\" VALUES (2)",
    );
    let kafka = Kafka::shared();
    let publish = |name: &str, prefix: &str, tables: &[&str]| {
        Tailwater::new(name)
            .source_postgres(&source.url(), tables)
            .sink_kafka(&kafka.bootstrap(), prefix)
            .toml("[sink.kafka.topic]\npartitions = 1\nreplication = 1")
    };
    for (name, prefix) in [("in_topic1", "with space"), ("in_topic2", "t\u{f6}pic"), ("in_topic3", &"p".repeat(101))] {
        let wrong = publish(name, prefix, &["*"]);
        let says = ["sink.kafka.prefix: can't begin a topic's name", "up to 100 letters"];
        wrong.check().code(2).says(&says);
        refused(&wrong, 2, &says);
    }
    // Two tables in one topic, and two topics that Kafka takes for one in its metrics.
    let (one, other) = (kafka.prefix("in_topic"), kafka.prefix("in_topic"));
    let same = publish("in_topic4", &one, &["a.x*"]);
    let dotted = publish("in_topic5", &other, &["a.b.*", "a_b.*"]);
    same.check().code(2).says(&["a.x y", "a.x\u{fc}y", "leave one of them out"]);
    refused(&same, 3, &["a.x y", "a.x\u{fc}y", "leave one of them out"]);
    dotted.check().code(2).says(&["a.b.t", "a_b.t", "only in `.` and `_`", "leave one of them out"]);
    refused(&dotted, 3, &["b.t", "only in `.` and `_`"]);
    for (name, prefix, tables, topic) in
        [("in_topic4", &one, ["a.x y"], "a.x_y"), ("in_topic5", &other, ["a.b.*"], "a.b.t")]
    {
        publish(name, prefix, &tables).run_until_current().success();
        let records = kafka.consume_all(&format!("{prefix}.{topic}"), Isolation::Committed);
        assert!(!records.is_empty(), "{topic}");
    }
}

/// Names that need quotes, hold dots, quotes, spaces, upper case and other scripts, are SQL's own words or 63 bytes long.
fn awkward() -> Vec<(String, String)> {
    let long = "n".repeat(63);
    let names = [
        ("Dot.ted", "sel\"ect"),
        ("Dot.ted", "it's"),
        ("\u{dc}n\u{ef} \u{65e5}\u{672c}", "x  y"),
        ("select", "table"),
        ("select", "back\\slash; --"),
        ("public", &long),
        ("public", "User"),
    ];
    names.map(|(schema, name)| (schema.to_owned(), name.to_owned())).to_vec()
}

/// A pipeline with these names, started, changed under way and ended; afterwards every copy is to be equal.
fn awkward_names(source: &Database<'_>, processes: &[&Tailwater], copy: &dyn Fn() -> Copies) {
    let quote = identifier;
    let named: Vec<String> =
        awkward().iter().map(|(schema, name)| format!("{}.{}", quote(schema), quote(name))).collect();
    let long = "c".repeat(63);
    for ((schema, _), table) in awkward().iter().zip(&named) {
        source.sql(&format!(
            "CREATE SCHEMA IF NOT EXISTS {}; CREATE TABLE {table}
                (\"Gro up\" int, \"order\" int, \"\u{fc}n\u{ef}\"\"code\" text, \"{long}\" text, \"a.b\" int, \"it's\" text,
                 PRIMARY KEY (\"order\", \"Gro up\"));
             INSERT INTO {table} VALUES (1, 1, 'a', 'b', 1, 'c'), (2, 1, 'd', NULL, 2, ''), (3, 1, 'e', 'f', 3, NULL)",
            quote(schema)
        ));
    }
    let mut running: Vec<_> = processes.iter().map(|process| process.run()).collect();
    running.iter_mut().for_each(Running::wait_ready);
    for table in &named {
        source.sql(&format!(
            "UPDATE {table} SET \"it's\" = 'x', \"a.b\" = 7 WHERE \"Gro up\" = 1; DELETE FROM {table} WHERE \"Gro up\" = 2;
             UPDATE {table} SET \"order\" = 9 WHERE \"Gro up\" = 3; ALTER TABLE {table} ADD COLUMN \"new, one\" numeric;
             INSERT INTO {table} VALUES (4, 1, 'g', 'h', 4, 'i', 1.50)"
        ));
    }
    running.into_iter().for_each(|process| drop(process.terminate().code(0)));
    processes.iter().for_each(|process| drop(process.run_until_current().success()));
    let session = source.session();
    let copies = copy();
    for (schema, name) in &awkward() {
        assert_equal(&session, (schema, name), copies.copy(), (schema, name));
    }
}

/// What a copy is looked at through.
enum Copies {
    Postgres(Session),
    #[cfg(feature = "duckdb")]
    Duckdb(std::path::PathBuf),
}

impl Copies {
    fn copy(&self) -> Copy<'_> {
        match self {
            Copies::Postgres(session) => Copy::Postgres(session),
            #[cfg(feature = "duckdb")]
            Copies::Duckdb(file) => Copy::Duckdb(file),
        }
    }
}

#[test]
fn awkward_names_arrive_in_postgres() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("in_awk_pp_s"), server.database("in_awk_pp_t"));
    let pipeline =
        Tailwater::new("in_awk_pp").source_postgres(&source.url(), &["*"]).sink_postgres(&target.url(), None);
    awkward_names(&source, &[&pipeline], &|| Copies::Postgres(target.session()));
}

#[cfg(feature = "duckdb")]
#[test]
fn awkward_names_arrive_in_duckdb() {
    let (source, dir) = (Postgres::shared(17).database("in_awk_pd_s"), Dir::new());
    let file = dir.join("awkward.duckdb");
    let pipeline = Tailwater::new("in_awk_pd").source_postgres(&source.url(), &["*"]).sink_duckdb(&file);
    awkward_names(&source, &[&pipeline], &|| Copies::Duckdb(file.clone()));
}

#[cfg(feature = "kafka")]
fn awkward_through_kafka(name: &str, source: &Database<'_>) -> (Tailwater, Tailwater) {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix(name);
    let publish = Tailwater::new(&format!("{name}_in"))
        .source_postgres(&source.url(), &["*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 2\nreplication = 1");
    let topics = format!("{prefix}.*");
    (publish, Tailwater::new(&format!("{name}_out")).source_kafka(&kafka.bootstrap(), &[&topics], name))
}

#[cfg(feature = "kafka")]
#[test]
fn awkward_names_arrive_in_postgres_through_kafka() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_awk_pkp_s"), server.database("in_awk_pkp_t"));
    let (publish, apply) = awkward_through_kafka("in_awk_pkp", &source);
    let apply = apply.sink_postgres(&target.url(), None);
    awkward_names(&source, &[&publish, &apply], &|| Copies::Postgres(target.session()));
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn awkward_names_arrive_in_duckdb_through_kafka() {
    let (source, dir) = (Postgres::shared(17).database("in_awk_pkd_s"), Dir::new());
    let file = dir.join("awkward.duckdb");
    let (publish, apply) = awkward_through_kafka("in_awk_pkd", &source);
    let apply = apply.sink_duckdb(&file);
    awkward_names(&source, &[&publish, &apply], &|| Copies::Duckdb(file.clone()));
}

#[test]
fn awkward_names_and_a_column_added_while_running_arrive() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_names_s"), server.database("in_names_t"));
    let long = "n".repeat(63);
    source.sql(&format!(
        "CREATE SCHEMA \"Dot.ted\"; CREATE TABLE \"Dot.ted\".\"sel\"\"ect\" (\"Gro up\" int PRIMARY KEY, \"ünï\"\"code\" text, \"{long}\" text);
         INSERT INTO \"Dot.ted\".\"sel\"\"ect\" VALUES (1, 'a', 'b'); CREATE TABLE \"{long}\" (\"user\" int PRIMARY KEY, \"TABLE\" text)"
    ));
    let pipeline = Tailwater::new("in_names").source_postgres(&source.url(), &["*"]).sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    running.wait_ready();
    source.sql("ALTER TABLE \"Dot.ted\".\"sel\"\"ect\" ADD COLUMN \"new, one\" numeric");
    source.sql("INSERT INTO \"Dot.ted\".\"sel\"\"ect\" VALUES (2, 'c', NULL, 1.50)");
    source.sql(&format!("INSERT INTO \"{long}\" VALUES (7, 'x')"));
    running.wait_until("the row with the new column is there", |_| {
        target
            .session()
            .try_sql("SELECT 1 FROM \"Dot.ted\".\"sel\"\"ect\" WHERE \"new, one\" = 1.5")
            .is_ok_and(|rows| !rows.is_empty())
    });
    running.terminate().code(0);
    pipeline.run_until_current().success();
    let (source, target) = (source.session(), target.session());
    for table in [("Dot.ted", "sel\"ect"), ("public", long.as_str())] {
        assert_equal(&source, table, Copy::Postgres(&target), table);
    }
}
