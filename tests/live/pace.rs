//! How often a warehouse is written.

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
