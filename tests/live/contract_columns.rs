//! What analysts are told of columns: names, types, and what would be done, before it is done.

use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

const CONTRACT: &str = "[[table]]\nmatch = \"public.people\"\ncolumns.exclude = [\"secret\"]
columns.rename = { mail = \"email\", n = \"mail\" }\ncolumns.cast = { amount = \"numeric(12,2)\", n = \"text\" }";

#[test]
fn a_contract_names_and_types_columns_and_a_dry_run_says_what_would_be_done() {
    let source = Postgres::shared(17).database("contract_s");
    let target = Postgres::shared(15).database("contract_t");
    source.sql(
        "create table people (id int primary key, mail text, amount text, n int, secret text);
         insert into people values (1, 'a@b', '12.50', 7, 'hidden')",
    );
    let pipeline = Tailwater::new("contract")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml(CONTRACT);
    let dry = || pipeline.command(&["schema", "--format", "ddl"]).success();
    dry().says(&["-- public.people", "\"email\" text", "\"amount\" numeric", "\"mail\" text"]).hides(&["secret"]);
    assert_eq!(target.one("select count(*) from pg_namespace where nspname = '_tailwater'"), "0", "nothing is done");
    pipeline.run_until_current().success();
    dry().says(&["-- nothing to do"]);
    source.sql("alter table people alter n type bigint; alter table people add note text default 'x'");
    dry().says(&["ADD COLUMN IF NOT EXISTS \"note\" text"]);
    // What is no number stops the table; what waits goes on under the same names.
    source.sql("insert into people values (2, 'c@d', 'many', 8, 'hidden', null), (3, 'e@f', '1', 9, 'hidden', 'y')");
    pipeline.run_until_current().code(3).says(&["public.people", "column amount"]).hides(&["many"]);
    source.sql("update people set amount = '2' where id = 2");
    pipeline.run_until_current().success();
    let rows = "select string_agg(concat_ws(' ', id, email, amount, mail, note), ', ' order by id) from people";
    assert_eq!(target.one(rows), "1 a@b 12.50 7 x, 2 c@d 2 8, 3 e@f 1 9 y");
    #[cfg(feature = "duckdb")]
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.duckdb");
        let pipeline = Tailwater::new("contract_d")
            .source_postgres(&source.url(), &["public.*"])
            .sink_duckdb(&file)
            .toml(CONTRACT);
        pipeline.command(&["schema", "--format", "ddl"]).success().says(&["\"amount\" DECIMAL(12,2)"]);
        assert!(!file.exists(), "looking alone makes no file");
        pipeline.run_until_current().success();
        pipeline.command(&["schema", "--format", "ddl"]).success().says(&["-- nothing to do"]);
    }
}
