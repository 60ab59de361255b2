//! Views beside tables that change: what views_analysts ask for stays there under the name that it had.

use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

const TABLE: &str = "create table t (id int primary key, a int, b varchar(10));
     insert into t select n, n, 'b' || n from generate_series(1, 20) n";
const VIEW: &str = "[[table]]\nmatch = \"public.*\"\nview = \"reporting.${table}\"";
const RENAMED: &str =
    "alter table t rename b to bb; alter table t add c int default 5; insert into t values (101, 1, 'new', 6)";

#[test]
fn a_view_keeps_the_names_its_rights_and_what_others_made_of_it() {
    let server = Postgres::shared(15);
    let (source, target) = (Postgres::shared(17).database("views_s"), server.database("views_t"));
    source.sql(TABLE);
    let with = Tailwater::new("views").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    let without = with.variant("[sink.postgres]", "[sink.postgres]");
    let pipeline = with.toml(VIEW);
    pipeline.run_until_current().success();
    target.sql("create role views_analyst; grant select on reporting.t to views_analyst with grant option; grant select on reporting.t to public");
    target.sql("create schema own; create view own.theirs as select b from reporting.t");
    let rights = || {
        target.one("select string_agg(a::text, ' ' order by a::text) from pg_class, unnest(relacl) a where oid = 'reporting.t'::regclass")
    };
    let given = rights();
    let equal = |asked: &str, columns: &str| {
        let rows = source.sql(&format!("select {columns} from t order by id"));
        assert_eq!(target.sql(&format!("select {asked} from reporting.t order by id")), rows, "{asked}");
    };
    equal("id, a, b", "id, a, b");

    // A name more, and a column more: the view grows where it is, with what depends on it.
    source.sql(RENAMED);
    pipeline.run_until_current().success();
    equal("id, a, b, bb, c", "id, a, bb, bb, c");
    assert_eq!(rights(), given);
    assert_eq!(target.one("select count(*) from own.theirs where b = 'new'"), "1");

    // Another type: what others made of it is in the way, and is not taken away.
    source.sql("alter table t alter a type bigint; insert into t values (102, 9000000000, 'wide', 7)");
    pipeline.run_until_current().code(3).says(&["public.t", "own.theirs"]);
    assert_eq!(target.one("select count(*) from reporting.t"), "21");
    target.sql("drop view own.theirs");
    pipeline.run_until_current().success();
    equal("id, a, b, bb, c", "id, a, bb, bb, c");
    assert_eq!(rights(), given, "who may read it may read it still");

    // A name that is taken anew is the new column's.
    source.sql("alter table t add b date; insert into t values (103, 3, 'both', 8, '2026-01-02')");
    pipeline.run_until_current().success();
    equal("id, b::text, bb", "id, b::text, bb");
    // One that somebody dropped is made again with the next change.
    target.sql("drop view reporting.t");
    source.sql("insert into t values (104, 4, 'again', 9, null)");
    pipeline.run_until_current().success();
    equal("id, bb", "id, bb");

    // Nobody wants it any more.
    source.sql("alter table t add d int; insert into t (id) values (105)");
    without.run_until_current().success();
    assert_eq!(target.one("select to_regclass('reporting.t') is null"), "t");
    // It takes nobody's place.
    target.sql("create table reporting.t (x int)");
    source.sql("insert into t (id) values (106)");
    pipeline.run_until_current().code(3).says(&["reporting.t", "exists in the warehouse"]);
}

#[cfg(feature = "duckdb")]
#[test]
fn a_view_keeps_the_names_in_duckdb() {
    let source = Postgres::shared(17).database("views_duck");
    source.sql(TABLE);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.duckdb");
    let pipeline =
        Tailwater::new("views_duck").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file).toml(VIEW);
    pipeline.run_until_current().success();
    source.sql(RENAMED);
    pipeline.run_until_current().success();
    source.sql("alter table t alter a type bigint; insert into t values (102, 9000000000, 'wide', 7)");
    pipeline.run_until_current().success();
    let rows = source.sql("select id, a, bb, bb, c from t order by id");
    assert_eq!(crate::support::duck::rows(&file, "select id, a, b, bb, c from reporting.t order by id"), rows);
}

#[cfg(feature = "redshift")]
#[test]
fn a_view_keeps_the_names_in_redshift() {
    let stand = crate::redshift::stand("views_rs");
    stand.shop.sql(TABLE);
    let pipeline = stand.pipeline("views_rs").toml(VIEW);
    pipeline.run_until_current().success();
    stand.shop.sql(RENAMED);
    pipeline.run_until_current().success();
    stand.shop.sql("alter table t alter a type bigint; insert into t values (102, 9000000000, 'wide', 7)");
    pipeline.run_until_current().success();
    let rows = stand.shop.sql("select id, a, bb, bb, c from t order by id");
    assert_eq!(stand.warehouse.sql("select id, a, b, bb, c from reporting.t order by id"), rows);
    // Text that outgrows its column widens it beneath the view, which is not bound to it.
    stand.shop.sql("alter table t alter bb type text; insert into t select 103, 1, repeat('w', 60000), 8");
    pipeline.run_until_current().success();
    let rows = stand.shop.sql("select id, a, bb, bb, c from t order by id");
    assert_eq!(stand.warehouse.sql("select id, a, b, bb, c from reporting.t order by id"), rows);
    assert!(stand.redshift.statements().iter().any(|sql| sql.contains("ALTER COLUMN \"bb\" TYPE")));
}
