//! What can't be left to chance: switched modes, spellings of keys, tables that lose or gain a replica identity.

use std::sync::Arc;

use tailwater::adapters::warehouse::Options;
use tailwater::codecs::dialect::Mode;
use tailwater::model::{Class, OldRow, Op, Pattern, PgType, ReplicaIdentity, Table, TableName};

use super::options;
use crate::history::{change, row, table};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
use crate::support::postgres::Postgres;
use crate::warehouse::{Warehouse, applied, refused, runtime};

fn with(mode: Option<Mode>) -> Options {
    let modes = vec![(Pattern::new("public.*"), mode)];
    Options { modes, schema: Some("kept".to_owned()), ..options(0, 100) }
}

/// Both warehouses, one after the other.
fn everywhere(test: impl Fn(&Warehouse<'_>)) {
    let database = Postgres::shared(17).database("modes_edges");
    test(&Warehouse::Postgres(&database));
    #[cfg(feature = "duckdb")]
    {
        let dir = Dir::new();
        test(&Warehouse::Duckdb(dir.join("w.duckdb")));
    }
}

fn items(key: &[usize], identity: ReplicaIdentity) -> Arc<Table> {
    let items = table(TableName::new("public", "items"), &[("id", PgType::Numeric), ("v", PgType::Text)], key);
    Arc::new(Table { identity, ..Table::clone(&items) })
}

#[test]
fn another_mode_than_the_table_was_made_with_is_refused_with_the_way_to_switch() {
    let items = items(&[0], ReplicaIdentity::Default);
    everywhere(|warehouse| {
        runtime().block_on(async {
            let insert = |commit, id| change(&items, commit, 1, Op::Insert { new: row(&[Some(id), Some("x")]) });
            let (mut sink, _) = warehouse.start(with(Some(Mode::History))).await.unwrap();
            applied(&mut sink, vec![insert(800, "1")]).await.unwrap();
            sink.close().await;
            for (mode, name) in
                [(None, "mirror"), (Some(Mode::SoftDelete), "soft_delete"), (Some(Mode::Append), "append")]
            {
                let (mut sink, _) = warehouse.start(with(mode)).await.unwrap();
                let words = ["public.items", name, "was made as history", "_tailwater.tables", "--resnapshot"];
                refused(applied(&mut sink, vec![insert(1600, "2")]).await, Class::Blocked, &words);
                sink.close().await;
            }
            let (mut sink, _) = warehouse.start(with(Some(Mode::History))).await.unwrap();
            applied(&mut sink, vec![insert(1600, "2")]).await.unwrap();
            sink.close().await;
        });
        assert_eq!(warehouse.rows("select count(*) from kept.items"), [[Some("2".to_owned())]]);
    });
}

#[test]
fn modes_that_need_a_key_are_refused_without_one() {
    let items = items(&[], ReplicaIdentity::Full);
    everywhere(|warehouse| {
        runtime().block_on(async {
            for mode in [Mode::SoftDelete, Mode::History] {
                let (mut sink, _) = warehouse.start(with(Some(mode))).await.unwrap();
                let insert = change(&items, 800, 1, Op::Insert { new: row(&[Some("1"), Some("x")]) });
                refused(
                    applied(&mut sink, vec![insert]).await,
                    Class::Blocked,
                    &["public.items", "needs a key", "append"],
                );
                sink.close().await;
            }
        });
    });
}

#[test]
fn a_log_stays_a_log_when_its_table_gets_a_full_identity_unless_a_mirror_is_asked_for() {
    everywhere(|warehouse| {
        runtime().block_on(async {
            let bare = items(&[], ReplicaIdentity::Nothing);
            let full = items(&[], ReplicaIdentity::Full);
            let insert = change(&bare, 800, 1, Op::Insert { new: row(&[Some("1"), Some("x")]) });
            let old = OldRow::Full(row(&[Some("1"), Some("x")]));
            let delete = || change(&full, 1600, 1, Op::Delete { old: old.clone() });
            let (mut sink, _) = warehouse.start(with(None)).await.unwrap();
            applied(&mut sink, vec![insert]).await.unwrap();
            sink.close().await;
            let (mut sink, _) = warehouse.start(with(Some(Mode::Mirror))).await.unwrap();
            refused(
                applied(&mut sink, vec![delete()]).await,
                Class::Blocked,
                &["public.items", "multiset", "made as log"],
            );
            sink.close().await;
            let (mut sink, _) = warehouse.start(with(None)).await.unwrap();
            applied(&mut sink, vec![delete()]).await.unwrap();
            sink.close().await;
        });
        assert_eq!(warehouse.rows("select count(*) from kept.items"), [[Some("2".to_owned())]]);
    });
}

/// The row that has left its key is what the one that has the same value in the new key was before.
#[test]
fn rows_that_are_marked_as_deleted_make_room_for_another_key_or_stop_the_table() {
    let (before, after) = (items(&[0], ReplicaIdentity::Default), items(&[1], ReplicaIdentity::Default));
    everywhere(|warehouse| {
        runtime().block_on(async {
            let (mut sink, _) = warehouse.start(with(Some(Mode::SoftDelete))).await.unwrap();
            let insert = |table, commit, id, v| change(table, commit, 1, Op::Insert { new: row(&[Some(id), Some(v)]) });
            let old = Some(OldRow::Key(row(&[Some("1"), None])));
            let moved = change(&before, 1600, 1, Op::Update { old, new: row(&[Some("2"), Some("x")]) });
            applied(&mut sink, vec![insert(&before, 800, "1", "x"), moved]).await.unwrap();
            let rekeyed = applied(&mut sink, vec![insert(&after, 2400, "3", "y")]).await;
            if matches!(warehouse, Warehouse::Postgres(_)) {
                rekeyed.unwrap();
            } else {
                refused(rekeyed, Class::Blocked, &["the key of kept.items", "--resnapshot"]);
            }
            sink.close().await;
        });
        let rows = warehouse.rows("select cast(id as integer), v from kept.items where not _tw_deleted order by 1");
        let kept = [("2", "x"), ("3", "y")].map(|(id, v)| vec![Some(id.to_owned()), Some(v.to_owned())]);
        let all = warehouse.rows("select count(*) from kept.items");
        let there = if matches!(warehouse, Warehouse::Postgres(_)) { 2 } else { 1 };
        assert_eq!((rows, all), (kept[..there].to_vec(), vec![vec![Some("2".to_owned())]]));
    });
}

/// PostgreSQL tells the old spelling of a key with the new one: the two are equal, and one row.
#[test]
fn a_key_that_is_spelled_anew_is_one_row() {
    let items = items(&[0], ReplicaIdentity::Default);
    everywhere(|warehouse| {
        runtime().block_on(async {
            let (mut sink, _) = warehouse.start(with(None)).await.unwrap();
            let respell = |commit, from: &str, to: &str| {
                let old = Some(OldRow::Key(row(&[Some(from), None])));
                change(&items, commit, 1, Op::Update { old, new: row(&[Some(to), Some(to)]) })
            };
            let insert = change(&items, 800, 1, Op::Insert { new: row(&[Some("1.0"), Some("x")]) });
            applied(&mut sink, vec![insert]).await.unwrap();
            applied(&mut sink, vec![respell(1600, "1.0", "1.00")]).await.unwrap();
            applied(&mut sink, vec![respell(2400, "1.00", "1"), respell(2408, "1", "1.000")]).await.unwrap();
            sink.close().await;
        });
        assert_eq!(warehouse.rows("select v from kept.items"), [[Some("1.000".to_owned())]]);
        runtime().block_on(async {
            let (mut sink, _) = warehouse.start(with(None)).await.unwrap();
            let delete = Op::Delete { old: OldRow::Key(row(&[Some("1.000"), None])) };
            applied(&mut sink, vec![change(&items, 3200, 1, delete)]).await.unwrap();
            sink.close().await;
        });
        assert_eq!(warehouse.rows("select count(*) from kept.items"), [[Some("0".to_owned())]]);
    });
}
