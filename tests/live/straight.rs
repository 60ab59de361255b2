//! New rows that go straight into a PostgreSQL table, without staging and without looking for each.

use std::sync::Arc;

use tailwater::adapters::warehouse::Options;
use tailwater::model::{Change, Class, Op, PgType, Table, TableName};

use crate::history::{change, row, table};
use crate::support::postgres::Postgres;
use crate::warehouse::{Warehouse, applied, options, refused, runtime};

fn parcels() -> Arc<Table> {
    table(TableName::new("public", "parcels"), &[("id", PgType::Int8), ("v", PgType::Text)], &[0])
}

fn inserts(commit: u64, ids: std::ops::Range<u64>, v: &str) -> Vec<Change> {
    let parcels = parcels();
    let insert = |id: u64| change(&parcels, commit, id, Op::Insert { new: row(&[Some(&id.to_string()), Some(v)]) });
    ids.map(insert).collect()
}

#[test]
fn new_rows_go_straight_into_their_table_and_are_merged_where_it_has_one_already() {
    let server = Postgres::shared(17);
    let database = server.database("sink_straight");
    database.sql(&format!("alter database {} set log_statement = 'all'", database.name()));
    // Told once each, also those that fail.
    let straight = || server.log().matches(": COPY \"public\".\"parcels\"").count();
    let staged = || server.log().matches(": MERGE INTO \"public\".\"parcels\"").count();
    let rows = |v: &str| database.one(&format!("select count(*) from parcels where v = '{v}'"));
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(Options { straight: 100, ..options(1_000_000) }).await.unwrap();
        applied(&mut sink, inserts(800, 0..99, "few")).await.unwrap();
        assert_eq!((straight(), staged()), (0, 1), "a few are merged");
        applied(&mut sink, inserts(1600, 100..300, "many")).await.unwrap();
        assert_eq!((straight(), staged()), (1, 1), "many are not");

        database.sql("insert into parcels values (400, 'by hand', 0, 0), (401, 'by hand', 2000, 0)");
        let mut changes = inserts(2400, 300..500, "refused");
        let update = |id: &str| Op::Update { old: None, new: row(&[Some(id), Some("updated")]) };
        changes.push(change(&parcels(), 2400, 600, update("100")));
        changes.push(change(&parcels(), 2400, 601, update("300")));
        applied(&mut sink, changes).await.unwrap();
        assert_eq!((straight(), staged()), (2, 3), "it was tried, and all were merged");
        assert_eq!((rows("refused"), rows("updated"), rows("many")), ("199".into(), "2".into(), "199".into()));
        applied(&mut sink, inserts(3200, 600..800, "later")).await.unwrap();
        assert_eq!((straight(), staged()), (2, 4), "it is not tried again");
        assert_eq!(database.one("select count(*), count(distinct id) from parcels"), "699");
        sink.close().await;

        // By a process that knows nothing of that.
        let (mut sink, _) = warehouse.start(Options { straight: 100, ..options(1_000_000) }).await.unwrap();
        applied(&mut sink, inserts(4000, 800..1000, "again")).await.unwrap();
        assert_eq!((straight(), staged()), (3, 4));
        sink.close().await;
    });
    assert_eq!(database.one("select count(*) from parcels"), "899");
}

#[test]
fn what_is_wrong_with_a_new_row_is_told_as_of_any_other() {
    let database = Postgres::shared(17).database("sink_straight_misfit");
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(1_000_000)).await.unwrap();
        applied(&mut sink, inserts(800, 0..1, "short")).await.unwrap();
        database.sql("alter table parcels add check (length(v) < 10)");
        let secret = "a value that is too long";
        let told = applied(&mut sink, inserts(1600, 1..50, secret)).await;
        assert!(!told.as_ref().expect_err("it is refused").to_string().contains(secret));
        refused(told, Class::Blocked, &["merging into public.parcels", "23514", "constraint", "remove it"]);
        sink.close().await;
        assert_eq!(database.one("select count(*) from parcels"), "1", "nothing of the flush is there");
        database.sql("alter table parcels drop constraint parcels_v_check");
        let (mut sink, _) = warehouse.start(options(1_000_000)).await.unwrap();
        applied(&mut sink, inserts(1600, 1..50, secret)).await.unwrap();
        sink.close().await;
    });
    assert_eq!(database.one("select count(*) from parcels"), "50");
}
