//! Values that do not fit: what columns become, which rows are changed and marked, and what is refused.

use std::sync::Arc;

use tailwater::codecs::dialect::{Dialect, Duckdb, Postgres, Redshift, Room, Target};
use tailwater::logic::merge::{Fold, Misfit, NetRow, OnMisfit, TargetColumn, replace, room};
use tailwater::model::{
    Cell, Change, ChangeId, Column, Lsn, Oid, OldRow, Op, Origin, PgTimestamp, PgType, ReplicaIdentity, Row, Table,
    TableName,
};

fn column(name: &str, pg_type: PgType, modifier: i32) -> Column {
    Column {
        name: name.to_owned(),
        pg_type,
        oid: Oid(0),
        modifier,
        optional: true,
        default: None,
        birth: Default::default(),
    }
}

fn target() -> Target {
    let name = TableName::new("public", "t");
    let columns = vec![
        column("id", PgType::Int4, -1),
        column("n", PgType::Numeric, (12 << 16) + 3 + 4),
        column("at", PgType::Timestamp, -1),
    ];
    let identity = ReplicaIdentity::Full;
    Target::new(name.clone(), Arc::new(Table { oid: Oid(1), name, version: 1, columns, identity, key: vec![0] }))
}

fn row(cells: [&str; 3]) -> Row {
    cells.iter().map(|text| Cell::Text(text.as_bytes())).collect()
}

/// The net rows of an insert of each, and of a delete of the last one with all of its values.
fn rows(target: &Target, all: &[[&str; 3]]) -> Vec<NetRow> {
    let mut fold = Fold::new(target, Vec::new());
    for (seq, cells) in (1..).zip(all) {
        let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::ZERO, last_commit: None, snapshot: None };
        let op = match seq == all.len() as u64 {
            true => Op::Delete { old: OldRow::Full(row(*cells)) },
            false => Op::Insert { new: row(*cells) },
        };
        let id = ChangeId { commit: Lsn::new(9), seq };
        fold.push(Change { id, origin, table: Arc::clone(&target.table), op }).unwrap();
    }
    let mut rows = fold.finish().rows;
    rows.sort_by_key(|row| row.id);
    rows
}

fn present(n: &str, at: &str) -> Vec<TargetColumn> {
    let of = |name: &str, type_name: &str, key| TargetColumn { name: name.into(), type_name: type_name.into(), key };
    vec![of("id", "INTEGER", true), of("n", n, false), of("at", at, false)]
}

const fn at(row: usize, column: usize) -> Misfit {
    Misfit { row, column }
}

#[test]
fn null_is_written_for_the_values_alone_and_rows_that_stay_are_marked() {
    let target = target();
    let mut rows = rows(&target, &[["1", "NaN", "a"], ["2", "1.000", "b"], ["3", "NaN", "c"]]);
    let marks = replace(&target, &mut rows, &[at(0, 1), at(1, 2), at(2, 1)]).unwrap();
    let texts = |row: &NetRow| row.row.cells().map(|cell| cell != Cell::Null).collect::<Vec<_>>();
    assert_eq!(
        rows.iter().map(texts).collect::<Vec<_>>(),
        [[true, false, true], [true, true, false], [true, false, true]]
    );
    let id = |seq| vec![ChangeId { commit: Lsn::new(9), seq }];
    // The last row is deleted: nothing of it comes into the target.
    assert_eq!(marks.into_iter().collect::<Vec<_>>(), [("at".to_owned(), id(2)), ("n".to_owned(), id(1))]);
}

#[test]
fn the_key_is_never_touched_whatever_the_policy() {
    let target = target();
    let mut rows = rows(&target, &[["1", "NaN", "a"], ["2", "1.000", "b"]]);
    let before = format!("{rows:?}");
    let refused = replace(&target, &mut rows, &[at(0, 1), at(0, 0)]).unwrap_err();
    assert_eq!(format!("{rows:?}"), before);
    for policy in [OnMisfit::Widen, OnMisfit::Text] {
        let present = present("DECIMAL(12,3)", "TIMESTAMP");
        let error = room(&Duckdb, &target, &present, &rows, &[at(0, 0)], policy).unwrap_err();
        assert!(error.to_string().contains("(key id), column id") && error.advice().is_some(), "{error}");
    }
    assert!(refused.to_string().contains("on_misfit = \"null\" does not touch the key"), "{refused}");
}

#[test]
fn columns_get_the_widest_type_of_their_kind_or_are_refused_with_what_helps() {
    let target = target();
    let rows = rows(&target, &[["1", "123456789012.5", "x"], ["2", "NaN", "y"], ["3", "1", "z"]]);
    let widen =
        |misfits: &[Misfit], n: &str| room(&Duckdb, &target, &present(n, "TIMESTAMP"), &rows, misfits, OnMisfit::Widen);
    let (statements, words) = widen(&[at(0, 1)], "DECIMAL(12,3)").unwrap();
    assert_eq!(statements, ["ALTER TABLE \"public\".\"t\" ALTER COLUMN \"n\" TYPE DECIMAL(38,3)"]);
    assert_eq!(words, ["n from DECIMAL(12,3) to DECIMAL(38,3)"]);
    for (misfits, found) in [(at(1, 1), "DECIMAL(12,3)"), (at(0, 1), "DECIMAL(38,30)"), (at(0, 2), "DECIMAL(12,3)")] {
        let error = widen(&[misfits], found).unwrap_err();
        assert!(error.to_string().contains("no wider type of its kind"), "{error}");
        assert!(error.advice().unwrap().contains("\"text\" or \"null\""), "{error}");
    }
    let text = |at: &str| room(&Duckdb, &target, &present("BLOB", at), &rows, &[self::at(0, 1)], OnMisfit::Text);
    assert!(text("TIMESTAMP").unwrap_err().advice().unwrap().contains("\"null\""));
}

#[test]
fn wider_types_hold_what_the_column_held_and_what_came() {
    let n = column("n", PgType::Int4, -1);
    let digits = |whole, scale| Room { whole, scale, float: false };
    let duck = |found: &str, room| Duckdb.wider(&n, found, room).map(|column| Duckdb.target_type(&column));
    let shift = Redshift::default();
    let red = |found: &str, room| shift.wider(&n, found, room).map(|column| shift.target_type(&column));
    let post = |found: &str, room| Postgres.wider(&n, found, room).map(|column| Postgres.target_type(&column));
    for (found, room, in_duckdb, in_redshift, in_postgres) in [
        ("SMALLINT", digits(10, 0), Some("BIGINT"), Some("bigint"), Some("bigint")),
        ("INTEGER", digits(20, 0), Some("DECIMAL(38,0)"), Some("numeric(38,0)"), Some("numeric")),
        ("BIGINT", digits(19, 0), Some("DECIMAL(38,0)"), Some("numeric(38,0)"), Some("numeric")),
        ("BIGINT", digits(39, 0), None, None, Some("numeric")),
        ("INTEGER", digits(30, 9), None, None, Some("numeric")),
    ] {
        let lower = found.to_lowercase();
        assert_eq!(duck(found, room).as_deref(), in_duckdb, "{found} {room:?}");
        assert_eq!(red(&lower, room).as_deref(), in_redshift, "{found} {room:?}");
        assert_eq!(post(&lower, room).as_deref(), in_postgres, "{found} {room:?}");
    }
    assert_eq!(duck("FLOAT", Room { float: true, ..digits(0, 0) }).as_deref(), Some("DOUBLE"));
    assert_eq!(red("numeric(38,2)", digits(37, 3)), None);
    assert_eq!(red("numeric(12,2)", digits(3, 5)).as_deref(), Some("numeric(38,5)"));
    assert_eq!((duck("VARCHAR", digits(1, 0)), post("timestamp", digits(1, 0))), (None, None));
}
