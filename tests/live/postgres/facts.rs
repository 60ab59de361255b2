//! What the catalog alone knows of a column: its default.

use std::sync::Arc;
use std::time::Duration;

use tailwater::logic::pipeline::Source;
use tailwater::model::{ColumnDefault, Op, Position, Table};

use super::{Mirror, of, start};
use crate::support::postgres::{Database, Postgres};

const COLUMNS: [(&str, Option<&str>); 24] = [
    ("id serial primary key", Some("sequence")),
    ("i int default -5", Some("-5")),
    ("b bigint not null default 7", Some("7")),
    ("n numeric(10,2) default 1", Some("1.00")),
    ("f double precision default 1.50", Some("1.5")),
    ("ok boolean default true", Some("t")),
    ("t text default 'it''s'", Some("it's")),
    ("c varchar(10) default 'abc'", Some("abc")),
    ("e mood default 'sad'", Some("sad")),
    ("d date default '2020-01-01'", Some("2020-01-01")),
    ("ts timestamp(3) default '2020-01-01 10:00:00'", Some("2020-01-01 10:00:00")),
    ("tz timestamptz default '2020-01-01 10:00:00+02'", Some("2020-01-01 08:00:00+00")),
    ("iv interval default '90 minutes'", Some("01:30:00")),
    ("j jsonb default '{}'", Some("{}")),
    ("a int[] default '{1,2}'", Some("{1,2}")),
    ("bits bit(3) default b'101'", Some("101")),
    ("at timestamptz not null default now()", Some("now")),
    ("at2 timestamp default current_timestamp", Some("now")),
    ("x text default upper('abc')", None),
    ("today date default current_date", None),
    ("u uuid default gen_random_uuid()", None),
    ("maybe int default nextval('t_id_seq')", None),
    ("own int generated always as identity", None),
    ("bare text", None),
];

fn told(table: &Table) -> Vec<(String, Option<String>)> {
    let text = |default: &ColumnDefault| match default {
        ColumnDefault::Literal(text) => text.clone(),
        ColumnDefault::Sequence => "sequence".into(),
        ColumnDefault::Now => "now".into(),
        ColumnDefault::Always(_) => "always".into(),
    };
    table.columns.iter().map(|column| (column.name.clone(), column.default.as_ref().map(text))).collect()
}

fn wanted() -> Vec<(String, Option<String>)> {
    let name = |definition: &str| definition.split(' ').next().unwrap().to_owned();
    COLUMNS.iter().map(|(definition, default)| (name(definition), default.map(str::to_owned))).collect()
}

fn create(database: &Database<'_>) {
    let columns = COLUMNS.map(|(definition, _)| definition).join(", ");
    database.sql(&format!(
        "create type mood as enum ('sad', 'ok'); create sequence t_id_seq; drop sequence t_id_seq;
         create table t ({}); alter table t add maybe int default nextval('t_id_seq'), add own int generated always as identity, add bare text;
         insert into t default values",
        columns.split(", maybe").next().unwrap()
    ));
}

/// The table of the next change that `wanted` accepts.
async fn table_of<S: Source>(source: &mut S, wanted: fn(&Op) -> bool) -> Arc<Table> {
    loop {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
            .await
            .expect("a batch comes")
            .unwrap();
        if let Some(change) = batch.changes.into_iter().find(|change| wanted(&change.op)) {
            return change.table;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_the_same_in_snapshot_and_stream_and_a_changed_one_is_a_new_version() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("defaults");
        create(&database);
        let mut source = start(&of(&database), None).await;
        let read = table_of(&mut source, |op| matches!(op, Op::Read { .. })).await;
        assert_eq!(told(&read), wanted(), "PostgreSQL {version}");
        database.sql("insert into t default values");
        let inserted = table_of(&mut source, |op| matches!(op, Op::Insert { .. })).await;
        assert!(inserted.same_shape(&read) && inserted.version == read.version);

        database.sql("alter table t alter i set default 6; insert into t default values");
        let altered = table_of(&mut source, |op| matches!(op, Op::Insert { .. })).await;
        assert_eq!(altered.version, read.version + 1);
        assert_eq!(altered.columns[1].default, Some(ColumnDefault::Literal("6".into())));

        // After a restart the shape is told apart from the old one, and not from itself.
        let goal = source.current().await.unwrap();
        let mut stored = None;
        while stored.as_ref().is_none_or(|upto| !goal_reached(upto, &goal)) {
            let batch = source.next().await.unwrap();
            if let Some(upto) = batch.upto {
                source.ack(upto.clone()).await.unwrap();
                stored = Some(upto);
            }
        }
        source.close().await;
        let mut source = start(&of(&database), stored.map(|upto| upto.checkpoint())).await;
        database.sql("insert into t default values");
        let again = table_of(&mut source, |op| matches!(op, Op::Insert { .. })).await;
        assert!(again.same_shape(&altered));
        source.close().await;
    }
}

fn goal_reached<P: Position>(upto: &P, goal: &P) -> bool {
    upto.reaches(goal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_for_long_does_not_hold_the_stream_up() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("locked");
        database.sql("create table t (id int primary key, note text default 'a')");
        let mut source = start(&of(&database), None).await;
        Mirror::default().follow(&mut source).await;
        database.sql("alter table t alter note set default 'b'; insert into t values (1)");
        let migration = database.session();
        migration.sql("begin; lock table t in access exclusive mode");
        let table = table_of(&mut source, |op| matches!(op, Op::Insert { .. })).await;
        assert_eq!(table.columns[1].default, Some(ColumnDefault::Literal("b".into())));
        migration.sql("rollback");
        source.close().await;
    }
}
