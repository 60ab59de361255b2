//! A stream in binary tells what a stream in text tells.

use std::time::Duration;

use tailwater::adapters::postgres::{Form, Options, PostgresSource, SnapshotMode};
use tailwater::logic::pipeline::Source;
use tailwater::model::{Cell, Class, Op, Position};

use super::{of, options, refused, start};
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

/// Everything up to now, each change with its id and its table's version.
async fn told(source: &mut PostgresSource) -> Vec<(String, Op)> {
    let goal = source.current().await.unwrap();
    let mut told = Vec::new();
    loop {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
            .await
            .expect("a batch comes")
            .unwrap();
        told.extend(
            batch.changes.into_iter().map(|change| {
                (format!("{} {} {:?}", change.id, change.table.version, change.table.columns), change.op)
            }),
        );
        if batch.upto.is_some_and(|upto| upto.reaches(&goal)) {
            return told;
        }
    }
}

fn in_binary(database: &Database<'_>) -> Options {
    let name = format!("{}_binary", database.name());
    Options { form: Form::Binary, ..options(&database.url(), &name) }
}

const TABLES: &str = "
    create type pair as (n int, t text);
    create type mood as enum ('sad', 'ok');
    create domain price as numeric(8,2);
    create table plain (id int primary key, f float8, d price, at timestamptz, body text, raw bytea, m mood, p pair[]);
    create table whole (id int, body text, big text, a numeric[]);
    alter table whole replica identity full;
    alter table whole alter column big set storage external;
    create table by_index (id bigint not null unique, span interval, \"Odd name\" jsonb);
    alter table by_index replica identity using index by_index_id_key;
    create table bare (j json, r int4range);";

const SCRIPT: &str = r#"
    insert into plain values (1, 0.1, 12.5, '2016-11-04 13:51:30.123456+02', 'a', '\x00ff', 'ok', array[row(1, 'a "b"')::pair, null]),
        (2, 'NaN', null, 'infinity', '', '', null, '{}');
    update plain set id = 3, f = -0.0 where id = 1;
    update plain set body = null;
    delete from plain where id = 2;
    insert into whole values (1, 'x', repeat('0123456789', 1000), '{1.50,NaN}'), (null, null, null, null);
    update whole set body = 'y' where id = 1;
    delete from whole where id is null;
    begin; insert into by_index values (1, '1 mon -2 days', '{"a": [1.0, null]}'); update by_index set id = 2; delete from by_index; commit;
    alter table plain add column added uuid default 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', drop column f, alter column body type varchar(9);
    alter table plain alter column d type float4;
    insert into plain (id, d, added) values (4, 1e-7, null);
    alter type pair add attribute at date, drop attribute n;
    update plain set p = array[row('t', '2020-01-01')::pair] where id = 4;
    insert into bare values ('{"a" :  1}', '[1,5)');
    truncate whole, bare;
    insert into whole select n, n, n, array[n, n / 7.0] from generate_series(1, 2000) n;"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_binary_and_one_in_text_bring_the_same_changes() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("two_forms");
        database.sql(TABLES);
        let mut text = start(&of(&database), None).await;
        let mut binary = start(&in_binary(&database), None).await;
        told(&mut text).await;
        told(&mut binary).await;
        SCRIPT.split(";\n").for_each(|statement| drop(database.sql(statement)));
        let (expected, found) = (told(&mut text).await, told(&mut binary).await);
        assert!(expected.len() > 2000, "{}", expected.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected.0, found.0);
            assert!(expected.1 == found.1, "{}: {:?}", expected.0, expected.1);
        }
        assert_eq!(expected.len(), found.len());
        text.close().await;
        binary.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_cant_be_read_in_binary_is_refused_with_its_column() {
    let server = Postgres::shared(17);
    for (column, told) in [
        ("regclass", "regclass"),
        ("regtype[]", "because of regtype"),
        ("holder", "because of regclass"),
        ("isbn[]", "because of isbn"),
        ("over", "because of regclass"),
        ("cube", "cube"),
    ] {
        let database = server.database("no_form");
        database.sql(&format!(
            "create extension isn; create extension cube; create type holder as (n int, c regclass); create domain over as holder;
             create table t (id int primary key, fine money, book isbn, x {column})"
        ));
        let error = refused(&in_binary(&database), None).await;
        assert_eq!(error.class(), Class::Blocked, "{column}");
        let (said, advice) = (error.what(), error.advice().unwrap_or_default().to_owned());
        assert!(said.contains("column x of table public.t") && said.contains(told), "{column}: {said}");
        assert!(advice.contains("binary = false"), "{advice}");
        start(&of(&database), None).await.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_large_for_text_comes_in_binary_without_being_told_to() {
    const BYTES: usize = 540_000_000;
    let database = Postgres::shared(17).database("too_large");
    database.sql("create table t (id int primary key, raw bytea)");
    // The first reading is in text.
    let options = Options { snapshot: SnapshotMode::Never, ..of(&database) };
    let mut source = start(&options, None).await;
    told(&mut source).await;
    database.sql(&format!("insert into t values (1, convert_to(repeat('x', {BYTES}), 'UTF8')), (2, 'y')"));
    let error = loop {
        match source.next().await {
            Ok(batch) => assert!(batch.changes.is_empty()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Transient, "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("binary form")), "{error}");
    source.close().await;
    let mut source = start(&options, None).await;
    let changes = told(&mut source).await;
    let length = |change: &(String, Op)| match &change.1 {
        Op::Insert { new } => match new.cell(1) {
            Cell::Text(text) => Some(text.len()),
            _ => None,
        },
        _ => None,
    };
    // Hexadecimal digits behind `\\x`.
    assert_eq!(changes.iter().map(length).collect::<Vec<_>>(), [Some(2 * BYTES + 2), Some(4)]);
    source.close().await;
    // It would keep a gigabyte of every later run's memory.
    database.sql("drop table t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_comes_later_and_cant_be_read_in_binary_stops_the_stream() {
    let database = Postgres::shared(15).database("late_form");
    database.sql("create table t (id int primary key, book int); create extension isn");
    let mut source = start(&in_binary(&database), None).await;
    told(&mut source).await;
    // A type without a binary form comes as text.
    database.sql("alter table t add column isbn isbn; insert into t values (1, 2, '0-393-04002-X')");
    assert_eq!(told(&mut source).await.len(), 1);
    database.sql("alter table t add column c regclass; insert into t values (2, 2, null, 't')");
    let error = loop {
        match source.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Blocked);
    assert!(error.what().contains("column c of table public.t"), "{error}");
}

#[test]
fn check_tells_which_columns_cant_be_read_in_binary() {
    let database = Postgres::shared(17).database("check_form");
    database.sql(
        "create table t (id int primary key, c regclass, k regproc); create table u (id int primary key, c regclass)",
    );
    let tailwater = |form: &str, more: &str| {
        Tailwater::new("check_form")
            .source_postgres(&database.url(), &["public.*"])
            .toml(form)
            .sink_postgres(&database.url(), Some("copy"))
            .toml(more)
    };
    let names =
        ["column c of table public.t", "column k of table public.t", "column c of table public.u", "binary = false"];
    tailwater("binary = true", "").check().code(2).says(&names);
    tailwater("binary = false", "").check().success();
    let left_out = "[[table]]\nmatch = \"public.*\"\ncolumns.exclude = [\"c\", \"k\"]\ncolumns.pushdown = true";
    tailwater("binary = true", left_out).check().success();
}
