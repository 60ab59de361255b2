//! Values that do not fit their columns in a warehouse: they follow the table's policy, and none is changed silently.

use crate::support::postgres::{Database, Postgres};
use crate::support::session::Rows;
use crate::support::tailwater::Tailwater;

/// Rows as texts, NULL as `-`.
fn plain(rows: Rows) -> Vec<String> {
    let cell = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join(" ")).collect()
}

/// `[[table]]` of a policy.
fn policy(table: &str, policy: &str) -> String {
    format!("[[table]]\nmatch = \"public.{table}\"\non_misfit = \"{policy}\"")
}

/// Which rows of table `t` are marked, by the row's own position.
fn marked(table: &str) -> String {
    format!(
        "select t.id, m.target_column from public.{table} t join _tailwater.misfits m on m.target_table = '{table}' \
         and m.commit_lsn = t._tw_lsn and m.seq = t._tw_seq order by 1, 2"
    )
}

#[cfg(feature = "duckdb")]
#[test]
fn what_does_not_fit_in_duckdb_widens_becomes_text_or_is_null_with_a_mark() {
    let source = Postgres::shared(17).database("misfits_duck");
    source.sql(
        "create table wide (id int primary key, n numeric); insert into wide values (1, 7), (2, 3000000000);
         create table word (id int primary key, at timestamp, z timestamptz, n numeric(12,3));
         insert into word values (1, '0044-03-15 12:00:00.5 BC', '0044-03-15 12:00:00+00 BC', 1.5), (2, 'infinity', '-infinity', 0);
         create table nulls (id int primary key, n numeric(12,3), at timestamp, big text, v text);
         alter table nulls alter big set storage external; insert into nulls values (1, 1.5, '2020-01-01', '7', 'a')",
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.duckdb");
    let pipeline = Tailwater::new("misfits_duck")
        .source_postgres(&source.url(), &["public.*"])
        .sink_duckdb(&path)
        .toml("on_misfit = \"text\"")
        .toml(&policy("wide", "widen"))
        .toml("columns.cast = { n = \"integer\" }")
        .toml(&policy("nulls", "null"))
        .toml("columns.cast = { big = \"integer\" }");
    let rows = |sql: &str| plain(crate::support::duck::rows(&path, sql));
    pipeline.run_until_current().success().says(&["n from INTEGER to BIGINT"]);
    assert_eq!(rows("select id, n, typeof(n) from public.wide order by id"), ["1 7 BIGINT", "2 3000000000 BIGINT"]);
    source.sql(
        "insert into wide values (3, 12345678901234567890); update wide set n = 8 where id = 1;
         insert into word values (3, '294270-01-01', '294271-01-01 00:00:00+00', 'NaN'), (4, '2020-02-03 04:05:06.07', null, 1);
         insert into nulls values (2, 'NaN', '294270-01-01', repeat('x', 5000), 'b'), (3, 'NaN', null, '8', 'c');
         insert into nulls values (4, 1, null, '9', 'd'); delete from nulls where id = 3",
    );
    pipeline.run_until_current().success().says(&[
        "n from BIGINT to DECIMAL(38,0)",
        "from TIMESTAMP to text",
        "NULL is written",
    ]);
    assert_eq!(
        rows("select id, n::varchar from public.wide order by id"),
        ["1 8", "2 3000000000", "3 12345678901234567890"]
    );
    let words = "select id, \"at\"::text, z::text, n::text from public.word order by id";
    assert_eq!(rows(words), plain(source.sql(&format!("set timezone = 'UTC'; {words}"))));
    let nulls = "select id, n, \"at\", big, v from public.nulls order by id";
    assert_eq!(rows(nulls), ["1 1.500 2020-01-01 00:00:00 7 a", "2 - - - b", "4 1.000 - 9 d"]);
    assert_eq!(rows(&marked("nulls")), ["2 at", "2 big", "2 n"]);
    // A row that takes its value over takes the mark over, too; one that gets a value has none.
    source.sql("update nulls set v = 'bb', n = 3 where id = 2; update nulls set id = 5, v = 'e' where id = 1");
    pipeline.run_until_current().success();
    assert_eq!(rows(nulls), ["2 3.000 - - bb", "4 1.000 - 9 d", "5 1.500 2020-01-01 00:00:00 7 e"]);
    assert_eq!(rows(&marked("nulls")), ["2 at", "2 big"]);
    // Again from the same place: the same rows, no mark twice.
    pipeline.run_until_current().success();
    let twice = "select 1 from _tailwater.misfits group by target_column, commit_lsn, seq having count(*) > 1";
    assert_eq!(rows(twice), [""; 0]);
    // What nothing holds stops the table, and says so.
    source.sql("insert into wide values (4, 'NaN')");
    pipeline.run_until_current().code(3).says(&["public.wide", "no wider type", "on_misfit = \"text\" or \"null\""]);
}

#[cfg(feature = "duckdb")]
#[test]
fn a_key_that_does_not_fit_stops_its_table_under_every_policy() {
    let source = Postgres::shared(17).database("misfits_key");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.duckdb");
    source.sql("create table t (at timestamp primary key, v text); insert into t values ('2020-01-01', 'a')");
    let pipeline = Tailwater::new("misfits_key").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&path);
    pipeline.run_until_current().success();
    source.sql("insert into t values ('294270-01-01', 'b')");
    pipeline
        .run_until_current()
        .code(3)
        .says(&["public.t", "(key at)", "does not fit its DuckDB type"])
        .hides(&["on_misfit"]);
    for name in ["widen", "text", "null"] {
        let told = pipeline.twin().toml(&policy("t", name));
        told.run_until_current().code(3).says(&["public.t", "column at", "does not touch the key"]);
    }
    assert_eq!(crate::support::duck::rows(&path, "select v from public.t"), [[Some("a".to_owned())]]);
}

#[cfg(feature = "redshift")]
const SHOP: &str = "create table words (id int primary key, n numeric(12,2), at timestamp, z timestamptz, d date, j jsonb);
     insert into words values (1, 1.50, '2020-01-02 03:04:05.0607', '2020-01-02 03:04:05+00', '2020-01-01', '{\"a\": [1, null]}'),
     (2, -3, '2020-01-02 10:00:00', '2020-01-02 10:00:00.1+00', '0001-01-01', null);
     create table nulls (id int primary key, n numeric(12,2), t text, d date, big text, v text);
     alter table nulls alter big set storage external; insert into nulls values (1, 1, 'a', '2020-01-01', 'b', 'c');
     create table wide (id int primary key, n bigint); insert into wide values (1, 7)";

#[cfg(feature = "redshift")]
#[test]
fn what_does_not_fit_in_redshift_widens_becomes_text_or_is_null_with_a_mark_through_any_kill() {
    let stand = crate::redshift::stand("misfits_rs");
    stand.shop.sql(SHOP);
    let pipeline = stand
        .pipeline("misfits_rs")
        .toml("on_misfit = \"text\"")
        .toml(&policy("nulls", "null"))
        .toml(&policy("wide", "widen"))
        .toml("columns.cast = { n = \"integer\" }");
    pipeline.run_until_current().success();
    stand.shop.sql(
        "insert into words values (3, 'NaN', 'infinity', '-infinity', '0044-03-15 BC', '{\"a\": 1e-7, \"b\": 0.00000000000000000000000000000000000000012345}');
         insert into nulls values (2, 'NaN', repeat('x', 70000), 'infinity', repeat('y', 66000), 'd'), (3, 2, 'a', null, null, 'e');
         insert into wide values (2, 3000000000); delete from nulls where id = 1",
    );
    // A kill where the marks are written, and one before they are durable: all of it comes again, once.
    for moment in [
        "INSERT INTO \"_tailwater\".\"misfits_misfits_rs\"",
        "INSERT INTO \"_tailwater\".\"misfits_misfits_rs\">COMMIT",
    ] {
        stand.redshift.mishap(moment, crate::support::redshift::Mishap::Stall);
        let mut running = pipeline.start(&["run", "--until-current"]);
        crate::support::eventually("the moment has come", std::time::Duration::from_secs(60), || {
            assert!(running.alive(), "it ended before its moment");
            stand.redshift.stalls().then_some(())
        });
        running.kill9();
        stand.redshift.heal();
        let alone = "select m.target_column from _tailwater.misfits_misfits_rs m where not exists \
             (select 1 from nulls t where t._tw_lsn = m.commit_lsn and t._tw_seq = m.seq)";
        assert_eq!(plain(stand.warehouse.sql(alone)), [""; 0], "no mark is there before its row");
    }
    pipeline.run_until_current().success();
    let words = "select id, n::text, at::text, z::text, d::text from words order by id";
    assert_eq!(
        plain(stand.warehouse.sql("select id, n, at, z, d from words order by id")),
        plain(stand.shop.sql(&format!("set timezone = 'UTC'; {words}")))
    );
    assert_eq!(plain(stand.warehouse.sql("select id, n from wide order by id")), ["1 7", "2 3000000000"]);
    let nulls = "select id, n, t, d, big, v from nulls order by id";
    assert_eq!(plain(stand.warehouse.sql(nulls)), ["2 - - - - d", "3 2.00 a - - e"]);
    let marked = marked("nulls").replace("_tailwater.misfits", "_tailwater.misfits_misfits_rs");
    assert_eq!(plain(stand.warehouse.sql(&marked)), ["2 big", "2 d", "2 n", "2 t"]);
    // An update that lacks the large value takes its mark over.
    stand.shop.sql("update nulls set v = 'dd', t = 'short' where id = 2");
    pipeline.run_until_current().success();
    assert_eq!(plain(stand.warehouse.sql(nulls)), ["2 - short - - dd", "3 2.00 a - - e"]);
    assert_eq!(plain(stand.warehouse.sql(&marked)), ["2 big", "2 d", "2 n"]);
    let twice =
        "select 1 from _tailwater.misfits_misfits_rs group by target_column, commit_lsn, seq having count(*) > 1";
    assert_eq!(plain(stand.warehouse.sql(twice)), [""; 0]);
    // Text that is too long for any column has no room as text either.
    stand.shop.sql("alter table words add t text; insert into words (id, t) values (4, repeat('x', 70000))");
    pipeline.run_until_current().code(3).says(&["public.words", "column t", "can't become text that holds them"]);
}

#[test]
fn what_does_not_fit_in_a_column_of_postgres_that_was_narrowed_widens_becomes_text_or_is_null() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("misfits_s"), server.database("misfits_t"));
    let tables = ["wide", "word", "nulls", "cast", "stops"];
    for table in tables {
        source.sql(&format!("create table \"{table}\" (id int primary key, n numeric, v text); insert into \"{table}\" values (1, 1.5, 'a')"));
    }
    let pipeline = Tailwater::new("misfits_pg")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml(&policy("wide", "widen"))
        .toml(&policy("word", "text"))
        .toml(&policy("nulls", "null"))
        .toml(&policy("cast", "widen"))
        .toml("columns.cast = { n = \"integer\" }");
    source.sql("update \"cast\" set n = 1");
    pipeline.run_until_current().success();
    for table in tables.iter().filter(|table| **table != "cast") {
        target.sql(&format!("alter table {table} alter n type numeric(4,1)"));
    }
    for table in tables {
        source.sql(&format!("insert into \"{table}\" values (2, 12345678901, 'b'), (3, 2, 'c')"));
    }
    let stopped = ["public.stops (2 changes wait)", "22003", "widen the column in the warehouse"];
    pipeline.run_until_current().code(3).says(&stopped).hides(&[
        "public.wide (",
        "public.word (",
        "public.nulls (",
        "public.cast (",
    ]);
    let rows = |table: &str| plain(target.sql(&format!("select id, n, v, pg_typeof(n) from \"{table}\" order by id")));
    assert_eq!(rows("wide"), ["1 1.5 a numeric", "2 12345678901 b numeric", "3 2 c numeric"]);
    assert_eq!(rows("word"), ["1 1.5 a text", "2 12345678901 b text", "3 2 c text"]);
    assert_eq!(rows("cast"), ["1 1 a bigint", "2 12345678901 b bigint", "3 2 c bigint"]);
    assert_eq!(rows("nulls"), ["1 1.5 a numeric", "2 - b numeric", "3 2.0 c numeric"]);
    assert_eq!(plain(target.sql(&marked("nulls"))), ["2 n"]);
    // A stopped table goes on under another policy.
    pipeline.twin().toml(&policy("stops", "null")).run_until_current().success();
    assert_eq!(rows("stops"), ["1 1.5 a numeric", "2 - b numeric", "3 2.0 c numeric"]);
    assert_eq!(plain(target.sql(&marked("stops"))), ["2 n"]);
}

#[cfg(all(feature = "duckdb", feature = "kafka"))]
#[test]
fn behind_kafka_what_does_not_fit_follows_the_policy_too_and_is_counted() {
    use crate::support::kafka::Kafka;

    let source = Postgres::shared(17).database("misfits_kafka");
    let (kafka, prefix) = (Kafka::shared(), Kafka::shared().prefix("misfits"));
    source.sql("create table t (id int primary key, n numeric(12,3)); insert into t values (1, 1.5), (2, 'NaN')");
    let writer = Tailwater::new("misfits_writer")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\nreplication = 1");
    writer.run_until_current().success();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.duckdb");
    let reader = Tailwater::new("misfits_reader")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .sink_duckdb(&path)
        .toml(&policy("t", "null"));
    reader.run_until_current().success();
    source.sql("insert into t values (3, 'NaN'), (4, 4)");
    writer.run_until_current().success();
    let mut running = reader.run();
    running.wait_until("the value is counted", |running| {
        let page = running.http("/metrics").map(|(_, page)| page).unwrap_or_default();
        page.contains("tailwater_misfits_total{table=\"public.t\",column=\"n\"} 1")
    });
    running.terminate().success();
    let rows = |sql: &str| plain(crate::support::duck::rows(&path, sql));
    assert_eq!(rows("select id, n from public.t order by id"), ["1 1.500", "2 -", "3 -", "4 4.000"]);
    assert_eq!(rows(&marked("t")), ["2 n", "3 n"]);
}

/// One transaction of several flushes, in which values come late that do not fit, into tables that it makes.
fn large(source: &Database<'_>, pipeline: Tailwater, rows: &dyn Fn(&str) -> Vec<String>) {
    for table in ["filler", "wide", "word", "nulls"] {
        source.sql(&format!("create table {table} (id int primary key, n numeric)"));
    }
    let mut pipeline = pipeline;
    for (table, kind) in [("wide", "widen"), ("word", "text"), ("nulls", "null")] {
        pipeline = pipeline.toml(&policy(table, kind)).toml("columns.cast = { n = \"integer\" }");
    }
    pipeline.run_until_current().success();
    let fill = |table: &str| format!("insert into {table} select n, n from generate_series(1, 500) n;");
    let late = |table: &str| format!("insert into {table} values (1000, 3000000000);");
    let tables = ["wide", "word", "nulls"];
    source.sql(&format!("begin; {}{}{} commit", fill("filler"), tables.map(fill).concat(), tables.map(late).concat()));
    pipeline.run_until_current().success();
    let last = |table: &str| {
        rows(&format!(
            "select count(*), max(case when id = 1000 then n end), sum(case when id < 1000 then cast(n as int) end) from public.{table}"
        ))
    };
    assert_eq!(last("wide"), ["501 3000000000 125250"]);
    assert_eq!(last("word"), ["501 3000000000 125250"]);
    assert_eq!(last("nulls"), ["501 - 125250"]);
    assert_eq!(rows(&marked("nulls")), ["1000 n"]);
}

#[test]
fn a_transaction_of_several_flushes_begins_again_where_columns_are_altered_in_postgres() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("misfits_large_s"), server.database("misfits_large_t"));
    let pipeline = Tailwater::new("misfits_large_p")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml("flush.rows = 200");
    large(&source, pipeline, &|sql| plain(target.sql(sql)));
}

#[cfg(feature = "duckdb")]
#[test]
fn a_transaction_of_several_flushes_begins_again_where_columns_are_altered_in_duckdb() {
    let source = Postgres::shared(17).database("misfits_large_d");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.duckdb");
    let pipeline = Tailwater::new("misfits_large_d")
        .source_postgres(&source.url(), &["public.*"])
        .sink_duckdb(&path)
        .toml("flush.rows = 200");
    large(&source, pipeline, &|sql| plain(crate::support::duck::rows(&path, sql)));
}

/// Values that outgrow their columns: beneath a view, and in rows that are kept when they are deleted.
fn outgrown(source: &Database<'_>, pipeline: Tailwater, rows: &dyn Fn(&str) -> Vec<String>) {
    for table in ["wide", "word", "kept"] {
        source.sql(&format!("create table {table} (id int primary key, n numeric, v text)"));
        source.sql(&format!("insert into {table} values (1, 1, 'a')"));
    }
    let (narrow, view) = ("columns.cast = { n = \"integer\" }", "view = \"reporting.${table}\"");
    let pipeline = pipeline.toml(&policy("wide", "widen")).toml(narrow).toml(view);
    let pipeline = pipeline.toml(&policy("word", "text")).toml(narrow).toml(view);
    let pipeline = pipeline.toml(&policy("kept", "null")).toml(narrow).toml("mode = \"soft_delete\"");
    pipeline.run_until_current().success();
    for table in ["wide", "word", "kept"] {
        source.sql(&format!("insert into {table} values (2, 12345678901, 'b'), (3, 12345678901, 'c')"));
    }
    pipeline.run_until_current().success();
    let grown = ["1 1 a", "2 12345678901 b", "3 12345678901 c"];
    for table in ["wide", "word"] {
        assert_eq!(rows(&format!("select id, n, v from reporting.{table} order by id")), grown, "{table}");
    }
    let kept = "select id, n, v, case when _tw_deleted then 'gone' else 'there' end from public.kept order by id";
    assert_eq!(rows(kept), ["1 1 a there", "2 - b there", "3 - c there"]);
    assert_eq!(rows(&marked("kept")), ["2 n", "3 n"]);
    // Who is deleted keeps the last values, and what is known of them; who comes back has new ones.
    source.sql("delete from kept where id in (2, 3)");
    pipeline.run_until_current().success();
    assert_eq!(rows(kept), ["1 1 a there", "2 - b gone", "3 - c gone"]);
    assert_eq!(rows(&marked("kept")), ["2 n", "3 n"]);
    source.sql("insert into kept values (3, 4, 'd')");
    pipeline.run_until_current().success();
    assert_eq!(rows(kept), ["1 1 a there", "2 - b gone", "3 4 d there"]);
    assert_eq!(rows(&marked("kept")), ["2 n"]);
}

#[test]
fn a_view_grows_with_its_column_and_a_deleted_row_keeps_its_marks_in_postgres() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("outgrown_s"), server.database("outgrown_t"));
    let pipeline = Tailwater::new("outgrown_p").source_postgres(&source.url(), &["public.*"]);
    outgrown(&source, pipeline.sink_postgres(&target.url(), None), &|sql| plain(target.sql(sql)));
}

#[cfg(feature = "duckdb")]
#[test]
fn a_view_grows_with_its_column_and_a_deleted_row_keeps_its_marks_in_duckdb() {
    let source = Postgres::shared(17).database("outgrown_d");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.duckdb");
    let pipeline = Tailwater::new("outgrown_d").source_postgres(&source.url(), &["public.*"]);
    outgrown(&source, pipeline.sink_duckdb(&path), &|sql| plain(crate::support::duck::rows(&path, sql)));
}
