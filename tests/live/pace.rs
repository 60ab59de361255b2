//! How often a warehouse is written.

use std::time::Duration;

use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

/// Tables with a row each, every row a transaction of its own.
const TABLES: usize = 300;

#[test]
fn hundreds_of_tables_with_a_row_each_are_one_commit() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("pace_source"), server.database("pace_target"));
    let each = |make: &dyn Fn(usize) -> String| (0..TABLES).map(make).collect::<Vec<_>>().join("; ");
    source.sql(&each(&|n| format!("CREATE TABLE few_{n} (id int PRIMARY KEY, note text)")));
    let tailwater = Tailwater::new("pace")
        .source_postgres(&source.url(), &["public.few_*"])
        .sink_postgres(&target.url(), None)
        .toml("[sink.postgres.flush]\nseconds = 60");
    tailwater.run_until_current().success();
    for n in 0..TABLES {
        source.sql(&format!("INSERT INTO few_{n} VALUES (1, 'row {n}')"));
    }
    tailwater.run_until_current().success();
    let rows = (0..TABLES).map(|n| format!("SELECT xmin::text AS writer FROM few_{n}")).collect::<Vec<_>>();
    let rows = rows.join(" UNION ALL ");
    let told = target.one(&format!("SELECT count(*) || ' rows of ' || count(DISTINCT writer) FROM ({rows}) AS rows"));
    assert_eq!(told, format!("{TABLES} rows of 1"));
}

/// All but the urgent table and the full one would wait for ten minutes.
#[test]
fn a_table_may_have_less_patience_and_less_room_than_the_others() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("limits_source"), server.database("limits_target"));
    for table in ["slow", "urgent", "narrow", "wide"] {
        source.sql(&format!("CREATE TABLE {table} (id int PRIMARY KEY, note text); INSERT INTO {table} VALUES (0)"));
    }
    let tailwater =
        Tailwater::new("limits").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None).toml(
            "[sink.postgres.flush]\nseconds = 600\n\
             [[table]]\nmatch = \"public.urgent\"\nflush = { seconds = 1 }\n\
             [[table]]\nmatch = \"public.narrow\"\nflush = { rows = 100 }\n\
             [[table]]\nmatch = \"public.wide\"\nflush = { bytes = 100000 }",
        );
    tailwater.run_until_current().success();
    let mut running = tailwater.run();
    running.wait_ready();
    let count = |table: &str| target.one(&format!("SELECT count(*)::text FROM {table} WHERE id > 0"));
    let insert = |table: &str, from: u32, to: u32| {
        source.sql(&format!("INSERT INTO {table} SELECT generate_series({from}, {to})"));
    };
    insert("slow", 1, 150);
    insert("narrow", 1, 99);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((count("slow"), count("narrow")), ("0".to_owned(), "0".to_owned()));
    insert("narrow", 100, 100);
    running.wait_until("the narrow table is full", |_| count("narrow") == "100");
    assert_eq!(count("slow"), "150", "tables are committed together");
    insert("wide", 1, 500);
    source.sql("INSERT INTO wide VALUES (501, repeat('x', 50000))");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(count("wide"), "0");
    source.sql("INSERT INTO wide VALUES (502, repeat('x', 50000))");
    running.wait_until("the wide table is full", |_| count("wide") == "502");
    insert("slow", 151, 160);
    insert("urgent", 1, 1);
    running.wait_until("the urgent table is flushed", |_| count("urgent") == "1");
    assert_eq!(count("slow"), "160");
    running.terminate().success();
}
