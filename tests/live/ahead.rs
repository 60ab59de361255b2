//! What comes while a flush is under way: folded beside it or kept, and in the tables after it in the order it came.

use std::time::Duration;

use tailwater::model::{ChangeId, OldRow, Op, PgType, TableName};

use crate::history::{at, batch, change, row, table};
use crate::support::postgres::Postgres;
use crate::warehouse::{Warehouse, applied, apply, durable, inserts, items, options, runtime};

#[test]
fn what_comes_during_a_flush_is_there_after_it_in_its_order() {
    let database = Postgres::shared(17).database("ahead");
    let (locker, watcher) = (database.session(), database.session());
    let wide = [("id", PgType::Int8), ("v", PgType::Text), ("more", PgType::Int4)];
    let wide = table(TableName::new("public", "items"), &wide, &[0]);
    let other = table(TableName::new("public", "others"), &[("id", PgType::Int8)], &[0]);
    let moved = |commit, from: &str, to: &str, v: &str| {
        let old = OldRow::Key(row(&[Some(from), None]));
        change(&items(), commit, 0, Op::Update { old: Some(old), new: row(&[Some(to), Some(v)]) })
    };
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        applied(&mut sink, inserts(800, 0, 1)).await.unwrap();
        locker.sql("BEGIN; LOCK TABLE items IN SHARE ROW EXCLUSIVE MODE");
        let upto = |id: ChangeId| Some(at(id));
        let mut deliveries = Vec::new();
        let first = inserts(1600, 1, 20);
        let end = upto(first[19].id);
        deliveries.push(apply(&mut sink, batch(first, end)).await.unwrap());
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while watcher.one(waits) == "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let later = [
            // Of a known shape: one more of the first flush's rows is moved, and moved again.
            inserts(2400, 100, 5),
            vec![moved(3200, "20", "120", "moved")],
            vec![moved(4000, "120", "20", "back")],
            // A table and a shape that have not been there.
            vec![change(&other, 4800, 0, Op::Insert { new: row(&[Some("7")]) })],
            vec![change(&wide, 5600, 0, Op::Update { old: None, new: row(&[Some("20"), Some("wide"), Some("1")]) })],
            // Behind those nothing may overtake.
            vec![moved(6400, "100", "200", "last")],
        ];
        for changes in later {
            let end = upto(changes[changes.len() - 1].id);
            deliveries.push(apply(&mut sink, batch(changes, end)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(watcher.one("SELECT count(*) FROM items"), "1", "the flush still waits");
        locker.sql("COMMIT");
        for delivery in deliveries {
            durable(delivery).await.unwrap();
        }
        sink.close().await;
    });
    assert_eq!(
        database.one(
            "SELECT string_agg(id || ' ' || v || coalesce(' ' || more, ''), ', ' ORDER BY id) FROM items WHERE id >= 19"
        ),
        "19 x, 20 wide 1, 101 x, 102 x, 103 x, 104 x, 200 last"
    );
    assert_eq!(database.one("SELECT count(*) FROM items"), "26");
    assert_eq!(database.one("SELECT string_agg(id::text, '') FROM others"), "7");
    assert_eq!(database.one("SELECT commit_lsn::text || '/' || seq FROM _tailwater.progress"), "6400/0");
}
