//! DuckDB as a warehouse: what it does unlike the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tailwater::adapters::warehouse::{Options, Reach};
use tailwater::model::{Change, ChangeId, Checkpoint, Class, Op, PgType, Table, TableName};

use crate::history::{at, batch, change, row, table};
use crate::support::dir::Dir;
use crate::support::duck;
use crate::support::session::Rows;
use crate::warehouse::{Warehouse, applied, apply, durable, insert, items, options, refused, runtime};

#[test]
fn duckdb_does_not_mix_tables_or_columns_whose_names_differ_in_case_only() {
    let dir = Dir::new();
    let warehouse = Warehouse::Duckdb(dir.join("w.duckdb"));
    let columns = [("id", PgType::Int8)];
    let [small, large] = ["t", "T"].map(|name| table(TableName::new("public", name), &columns, &[0]));
    let both =
        table(TableName::new("public", "x"), &[("id", PgType::Int8), ("v", PgType::Text), ("V", PgType::Text)], &[0]);
    runtime().block_on(async {
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        let rows = vec![insert(&small, 800, 0, &[Some("1")]), insert(&large, 800, 1, &[Some("1")])];
        refused(applied(&mut sink, rows).await, Class::Blocked, &["public.t", "public.T"]);
        sink.close().await;
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        let rows = vec![insert(&both, 800, 0, &[Some("1"), Some("a"), Some("b")])];
        refused(applied(&mut sink, rows).await, Class::Blocked, &["public.x", "v", "V"]);
        sink.close().await;
    });
}

/// Whoever applies again what failed, as the pipeline does.
#[test]
fn a_table_that_changes_between_transactions_that_wait_together_goes_on_in_duckdb() {
    let dir = Dir::new();
    let columns = [("id", PgType::Int8), ("v", PgType::Varchar)];
    let items = |key: &[usize]| table(TableName::new("public", "items"), &columns, key);
    let (before, after) = (items(&[0]), items(&[0, 1]));
    let other = table(TableName::new("public", "other"), &columns, &[0]);
    let insert = |of, commit, seq, id| change(of, commit, seq, Op::Insert { new: row(&[Some(id), Some("x")]) });
    let warehouse = Warehouse::Duckdb(dir.join("w.duckdb"));
    let options = options(1000);
    runtime().block_on(async {
        let (mut sink, _) = warehouse.start(options.clone()).await.unwrap();
        applied(&mut sink, vec![insert(&before, 800, 1, "1")]).await.unwrap();
        // The transaction with the new shape has begun with another table, so what came before can't be committed alone.
        let waiting = || {
            vec![
                change(&before, 1600, 1, Op::Update { old: None, new: row(&[Some("1"), Some("y")]) }),
                insert(&before, 1600, 2, "2"),
                insert(&other, 2400, 1, "3"),
                insert(&after, 2400, 2, "4"),
                insert(&after, 3200, 1, "5"),
            ]
        };
        refused(applied(&mut sink, waiting()).await, Class::Transient, &["public.items", "one by one"]);
        sink.close().await;
        let (mut sink, _) = warehouse.start(options).await.unwrap();
        applied(&mut sink, waiting()).await.unwrap();
        sink.close().await;
    });
    assert_eq!(plain(warehouse.rows("select id from public.items order by id")), ["1", "2", "4", "5"]);
    assert_eq!(plain(warehouse.rows("select id from public.other")), ["3"]);
}

/// A table before and after it gets a column, and another one.
fn altered() -> [Arc<Table>; 3] {
    let columns = [("id", PgType::Int8), ("v", PgType::Varchar), ("w", PgType::Varchar)];
    let of = |name, width: usize| table(TableName::new("public", name), &columns[..width], &[0]);
    [of("items", 2), of("items", 3), of("other", 2)]
}

/// A row of two columns.
fn short(of: &Arc<Table>, commit: u64, id: u64) -> Change {
    insert(of, commit, id, &[Some(&id.to_string()), Some("x")])
}

/// And of three.
fn long(of: &Arc<Table>, commit: u64, id: u64) -> Change {
    insert(of, commit, id, &[Some(&id.to_string()), Some("x"), Some("y")])
}

/// Together the transactions are more than a flush, and their piece is open when the last of them alters a table in it.
#[test]
fn transactions_that_are_one_piece_together_are_kept_apart_where_one_alters_a_table() {
    let dir = Dir::new();
    let [before, after, other] = altered();
    let last = || vec![long(&after, 2400, 20)];
    let piece = || -> Vec<Change> {
        let first = (1..10).map(|id| short(&before, 1600, id));
        first.chain((10..14).map(|id| short(&other, 2400, id))).collect()
    };
    let warehouse = Warehouse::Duckdb(dir.join("w.duckdb"));
    let options = options(10);
    runtime().block_on(async {
        let (mut sink, _) = warehouse.start(options.clone()).await.unwrap();
        applied(&mut sink, vec![short(&before, 800, 1)]).await.unwrap();
        drop(apply(&mut sink, batch(piece(), None)).await.unwrap());
        refused(applied(&mut sink, last()).await, Class::Transient, &["public.items", "one by one"]);
        sink.close().await;
        let (mut sink, _) = warehouse.start(options).await.unwrap();
        let earlier = apply(&mut sink, batch(piece(), None)).await.unwrap();
        applied(&mut sink, last()).await.unwrap();
        durable(earlier).await.unwrap();
        sink.close().await;
    });
    let ids = plain(warehouse.rows("select id from public.items order by id"));
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "20"]);
    assert_eq!(plain(warehouse.rows("select w from public.items where id = 20")), ["y"]);
    assert_eq!(plain(warehouse.rows("select count(*) from public.other")), ["4"]);
}

#[test]
fn a_table_that_is_altered_in_a_transaction_larger_than_a_flush_stops_alone_and_goes_on_after_it() {
    let dir = Dir::new();
    let [before, after, other] = altered();
    let pieces = || -> [Vec<Change>; 2] {
        let first = (1..10).map(|id| short(&before, 1600, id));
        let first = first.chain((10..12).map(|id| short(&other, 1600, id)));
        [first.collect(), vec![long(&after, 1600, 20), short(&other, 1600, 21)]]
    };
    let warehouse = Warehouse::Duckdb(dir.join("w.duckdb"));
    let retry = Duration::from_millis(100);
    let options = Options { stop: Reach::Table, retry, ..options(10) };
    runtime().block_on(async {
        let (mut sink, _) = warehouse.start(options.clone()).await.unwrap();
        applied(&mut sink, vec![short(&before, 800, 1)]).await.unwrap();
        for wanted in ["one by one", "public.items is stopped"] {
            let [first, last] = pieces();
            drop(apply(&mut sink, batch(first, None)).await.unwrap());
            refused(applied(&mut sink, last).await, Class::Transient, &[wanted]);
            sink.close().await;
            (sink, _) = warehouse.start(options.clone()).await.unwrap();
        }
        let [first, last] = pieces();
        drop(apply(&mut sink, batch(first, None)).await.unwrap());
        applied(&mut sink, last).await.unwrap();
        let start = Instant::now();
        while !options.meters.stopped().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sink.close().await;
    });
    let ids = plain(warehouse.rows("select id from public.items order by id"));
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "20"]);
    assert_eq!(plain(warehouse.rows("select count(*) from public.other")), ["3"]);
}

/// What was committed apart says where to go on from: where the source began, and that the first transaction is in.
#[test]
fn a_table_that_changes_before_the_first_position_is_stored_goes_on_in_duckdb() {
    let dir = Dir::new();
    let columns = [("id", PgType::Int8), ("v", PgType::Varchar)];
    let items = |key: &[usize]| table(TableName::new("public", "items"), &columns, key);
    let (before, after) = (items(&[0]), items(&[0, 1]));
    let insert = |of, commit, id| change(of, commit, 1, Op::Insert { new: row(&[Some(id), Some("x")]) });
    let told = || vec![insert(&before, 800, "1"), insert(&after, 1600, "2"), insert(&before, 2400, "3")];
    let warehouse = Warehouse::Duckdb(dir.join("w.duckdb"));
    let ids = || plain(warehouse.rows("select id from public.items order by id"));
    runtime().block_on(async {
        let begin = at(ChangeId::ZERO);
        let (mut sink, stored) = warehouse.start(options(1000)).await.unwrap();
        assert_eq!(stored, None);
        for piece in [batch(Vec::new(), Some(begin.clone())), batch(told(), None)] {
            drop(apply(&mut sink, piece).await.unwrap());
        }
        sink.close().await;
        let (mut sink, stored) = warehouse.start(options(1000)).await.unwrap();
        let last = told()[1].id;
        assert_eq!(stored, Some(Checkpoint { change: last, ..begin.0.clone() }));
        drop(apply(&mut sink, batch(Vec::new(), Some(begin))).await.unwrap());
        applied(&mut sink, told()).await.unwrap();
        sink.close().await;
    });
    assert_eq!(ids(), ["1", "2", "3"]);
}

/// However many rows have gone through the staging tables: those of a flush take some 23 MB.
#[test]
fn duckdb_keeps_no_more_than_the_last_staged_rows_in_memory() {
    let dir = Dir::new();
    let path = dir.join("w.duckdb");
    let items = items();
    let text = "x".repeat(300);
    runtime().block_on(async {
        let (mut sink, _) = Warehouse::Duckdb(path.clone()).start(options(1_000_000)).await.unwrap();
        for flush in 1..=10_u64 {
            let changes = (1..=12_000_u64)
                .map(|n| insert(&items, flush * 800, n, &[Some(&n.to_string()), Some(&text)]))
                .collect();
            applied(&mut sink, changes).await.unwrap();
        }
        let connection =
            tailwater::adapters::warehouse::duckdb::reader(&path).expect("the file is held by this process");
        let held = "select sum(memory_usage_bytes) from duckdb_memory() where tag = 'IN_MEMORY_TABLE'";
        let held: i64 = plain(duck::query(&connection, held))[0].parse().unwrap();
        assert!(held < 64 << 20, "{held} bytes of staged rows");
        drop(connection);
        sink.close().await;
    });
    assert_eq!(plain(Warehouse::Duckdb(path).rows("select count(*) from public.items")), ["12000"]);
}

fn plain(rows: Rows) -> Vec<String> {
    rows.into_iter().flatten().map(Option::unwrap).collect()
}
