//! Tables that change: each change comes with the columns, defaults and key in force where it lies in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use tailwater::adapters::postgres::{HISTORY_SQL, Options, PostgresSource, SnapshotMode};
use tailwater::logic::pipeline::Source;
use tailwater::model::{Checkpoint, Class, ColumnDefault, Op, Position, Table};

use super::{of, refused, start};
use crate::support::postgres::{Database, Postgres};
use crate::support::session::literal;

/// `name type!=default ... (key)`; `!` for NOT NULL.
fn told(table: &Table) -> String {
    let columns = table.columns.iter().map(|column| {
        let default = match &column.default {
            None => String::new(),
            Some(ColumnDefault::Literal(text)) => format!("={text}"),
            Some(ColumnDefault::Sequence) => "=sequence".to_owned(),
            Some(ColumnDefault::Now) => "=now".to_owned(),
            Some(ColumnDefault::Always(text)) => format!("=always {text}"),
        };
        format!("{} {}{}{default}", column.name, column.pg_type.name(), if column.optional { "" } else { "!" })
    });
    let key: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
    format!("{}: {} ({})", table.name.name, columns.collect::<Vec<_>>().join(", "), key.join(", "))
}

/// Statements, and for each row that they insert and commit, what its table is then.
const SCRIPT: [(&str, &[&str]); 19] = [
    (
        "create type mood as enum ('sad', 'ok'); create domain small as numeric(6,3);
         create table e (id int primary key, m mood default 'ok', s small default 1, l small[]); insert into e values (1)",
        &["e: id integer!, m mood=ok, s numeric=1.000, l numeric[] (id)"],
    ),
    ("drop table e; drop type mood; drop domain small", &[]),
    (
        "create table t (id int primary key, a text default 'x', b int not null); insert into t values (1, 'q', 1)",
        &["t: id integer!, a text=x, b integer! (id)"],
    ),
    (
        "alter table t add c numeric(10,2) default 5; insert into t values (2, 'q', 1)",
        &["t: id integer!, a text=x, b integer!, c numeric=5.00 (id)"],
    ),
    (
        "alter table t alter a set default 'y'; insert into t values (3, 'q', 1)",
        &["t: id integer!, a text=y, b integer!, c numeric=5.00 (id)"],
    ),
    (
        "alter table t alter b drop not null; insert into t values (4, 'q', null)",
        &["t: id integer!, a text=y, b integer, c numeric=5.00 (id)"],
    ),
    (
        "alter table t alter a set not null, alter c drop default; insert into t values (5, 'q', 1)",
        &["t: id integer!, a text!=y, b integer, c numeric (id)"],
    ),
    (
        "alter table t rename c to cc; alter table t alter cc set default 7; insert into t values (6, 'q', 1)",
        &["t: id integer!, a text!=y, b integer, cc numeric=7.00 (id)"],
    ),
    (
        "alter table t alter b type bigint; insert into t values (7, 'q', 1)",
        &["t: id integer!, a text!=y, b bigint, cc numeric=7.00 (id)"],
    ),
    ("alter table t drop a; insert into t values (8, 1)", &["t: id integer!, b bigint, cc numeric=7.00 (id)"]),
    (
        "update t set b = id; alter table t drop constraint t_pkey, add primary key (b, id); insert into t values (9, 9)",
        &["t: id integer!, b bigint!, cc numeric=7.00 (b, id)"],
    ),
    (
        "begin; insert into t values (10, 10); alter table t alter cc set default 8; insert into t values (11, 11);
         alter table t add d boolean not null default true; insert into t values (12, 12); commit",
        &[
            "t: id integer!, b bigint!, cc numeric=7.00 (b, id)",
            "t: id integer!, b bigint!, cc numeric=8.00 (b, id)",
            "t: id integer!, b bigint!, cc numeric=8.00, d boolean!=t (b, id)",
        ],
    ),
    (
        "begin; alter table t alter cc set default 9; rollback; insert into t values (13, 13)",
        &["t: id integer!, b bigint!, cc numeric=8.00, d boolean!=t (b, id)"],
    ),
    (
        "begin; savepoint s; alter table t alter cc set default 10; rollback to s; insert into t values (14, 14); commit",
        &["t: id integer!, b bigint!, cc numeric=8.00, d boolean!=t (b, id)"],
    ),
    (
        "alter table t rename to u; insert into u values (15, 15)",
        &["u: id integer!, b bigint!, cc numeric=8.00, d boolean!=t (b, id)"],
    ),
    (
        "create table t (a text not null default 'new', id bigint primary key); insert into t values ('a', 1)",
        &["t: a text!=new, id bigint! (id)"],
    ),
    (
        "drop table t; create table t (id uuid, v text default 'again'); create unique index on t (v);
         alter table t replica identity full; insert into t values (null, 'a')",
        &["t: id uuid, v text=again ()"],
    ),
    ("alter table t alter v set not null; insert into t values (null, 'b')", &["t: id uuid, v text!=again (v)"]),
    (
        "drop index t_v_idx; insert into t values (null, 'c'); drop table t; drop table u",
        &["t: id uuid, v text!=again ()"],
    ),
];

fn expected() -> Vec<String> {
    SCRIPT.iter().flat_map(|(_, told)| told.iter().map(|told| (*told).to_owned())).collect()
}

fn install(database: &Database<'_>) {
    database.sql(HISTORY_SQL);
}

/// A source of all tables that has no snapshot to take: what is created is followed at once.
fn all_tables(database: &Database<'_>, schema_history: bool) -> Options {
    database.sql(&format!("create publication {} for all tables", database.name()));
    Options { snapshot: SnapshotMode::Never, schema_history, ..of(database) }
}

/// Takes all there is now; what the table of each inserted row was, and where it ends.
async fn follow(source: &mut PostgresSource, found: &mut Vec<String>) -> Checkpoint {
    let goal = source.current().await.unwrap();
    loop {
        let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(60)), source.next())
            .await
            .expect("a batch comes")
            .unwrap();
        let inserts = batch.changes.iter().filter(|change| matches!(change.op, Op::Insert { .. }));
        found.extend(inserts.map(|change| told(&change.table)));
        if let Some(upto) = batch.upto {
            source.ack(upto.clone()).await.unwrap();
            if upto.reaches(&goal) {
                return upto.checkpoint();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_the_columns_in_force_where_it_lies_in_the_log() {
    for version in [15, 17] {
        // While it runs, and while it is stopped, so that the catalog is far ahead of the log.
        for stopped in [false, true] {
            let database = Postgres::shared(version).database("versions");
            install(&database);
            let options = all_tables(&database, true);
            let mut found = Vec::new();
            let mut source = start(&options, None).await;
            let mut stored = follow(&mut source, &mut found).await;
            let mut running = Some(source);
            for part in SCRIPT.chunks(if stopped { 9 } else { 1 }) {
                if stopped && let Some(source) = running.take() {
                    source.close().await;
                }
                part.iter().for_each(|(statements, _)| drop(database.sql(statements)));
                let mut source = match running.take() {
                    Some(source) => source,
                    None => start(&options, Some(stored)).await,
                };
                stored = follow(&mut source, &mut found).await;
                running = Some(source);
            }
            let differ = found.iter().zip(expected()).find(|(found, expected)| *found != expected);
            assert_eq!(differ, None, "PostgreSQL {version}, stopped {stopped}");
            assert_eq!(found.len(), expected().len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_history_names_and_types_are_exact_all_the_same() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("no_history");
        let options = all_tables(&database, false);
        let mut found = Vec::new();
        let mut source = start(&options, None).await;
        let stored = follow(&mut source, &mut found).await;
        source.close().await;
        SCRIPT.iter().for_each(|(statements, _)| drop(database.sql(statements)));
        let mut source = start(&options, Some(stored)).await;
        follow(&mut source, &mut found).await;
        source.close().await;
        let exact = |told: &str| {
            let columns = told.split(" (").next().unwrap().replace('!', "");
            columns.split(", ").map(|column| column.split('=').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // What its types were is nowhere any more.
        let rest = |told: &[String]| {
            let known = told.iter().filter(|told| !told.starts_with("e:"));
            known.map(|told| exact(told)).collect::<Vec<_>>()
        };
        let (found, expected) = (rest(&found), rest(&expected()));
        assert_eq!(found, expected, "PostgreSQL {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tables_in_a_loop_keep_their_own_columns() {
    const LOOP: &str = "do $$ begin for n in 1..1000 loop
            execute format('create table n_%s (id int primary key, v text not null default %L)', n, 'v' || n);
            execute format('insert into n_%s values (1)', n);
        end loop; end $$;
        do $$ begin for n in 1..1000 loop
            execute format('alter table n_%s alter v set default %L, alter v drop not null', n, 'w' || n);
            execute format('insert into n_%s values (2)', n);
            if n % 2 = 0 then execute format('drop table n_%s', n); end if;
        end loop; end $$";
    for (version, stopped) in [(15, true), (17, false), (17, true)] {
        let database = Postgres::shared(version).database("thousand");
        install(&database);
        let options = all_tables(&database, true);
        let mut found = Vec::new();
        let mut source = start(&options, None).await;
        let stored = follow(&mut source, &mut found).await;
        let mut running = Some(source);
        if stopped && let Some(source) = running.take() {
            source.close().await;
        }
        for statement in LOOP.split("$$;") {
            database.sql(&format!("{}$$", statement.trim_end_matches("$$")));
        }
        let mut source = match running {
            Some(source) => source,
            None => start(&options, Some(stored)).await,
        };
        follow(&mut source, &mut found).await;
        source.close().await;
        let before = (1..=1000).map(|n| format!("n_{n}: id integer!, v text!=v{n} (id)"));
        let after = (1..=1000).map(|n| format!("n_{n}: id integer!, v text=w{n} (id)"));
        let differ = found.iter().zip(before.chain(after)).find(|(found, expected)| *found != expected);
        assert_eq!((differ, found.len()), (None, 2000), "PostgreSQL {version}, stopped {stopped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_writers_beside_the_ddl_have_what_was_in_force_when_they_were_written() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("beside");
        install(&database);
        database.sql("create table t (id bigserial primary key, v int default 0, seen int)");
        let options = all_tables(&database, true);
        let mut source = start(&options, None).await;
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let session = database.session();
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        // The default that was in force, told by the row itself.
                        session.sql("begin; insert into t (seen) values (0); insert into t (seen) values (0); commit");
                    }
                });
            }
            for n in 1..=60 {
                database.sql(&format!("alter table t alter v set default {n}"));
                std::thread::sleep(Duration::from_millis(15));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let goal = source.current().await.unwrap();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            let batch = source.next().await.unwrap();
            for change in &batch.changes {
                let Op::Insert { new } = &change.op else { panic!("an insert") };
                let value = super::text(new)[1].clone().unwrap();
                let default = Some(ColumnDefault::Literal(value.clone()));
                assert_eq!(change.table.columns[1].default, default, "PostgreSQL {version} at {}", change.id);
                *seen.entry(value).or_default() += 1;
            }
            if batch.upto.is_some_and(|upto| upto.reaches(&goal)) {
                break;
            }
        }
        assert!(seen.len() > 20, "{seen:?}");
        source.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_of_every_kind_goes_on_as_if_nobody_looked() {
    const DDL: &[&str] = &[
        "create temp table x (id int primary key, v text default 'a'); alter table x add w int; drop table x",
        "create unlogged table x (id int); alter table x set logged; drop table x",
        "create table x as select 1 as id; select * into y from x; drop table x, y",
        "create view x as select 1 as id; create or replace view x as select 1 as id, 2 as v; drop view x",
        "create type m as enum ('a'); create table x (id int primary key, m m default 'a'); alter type m add value 'b'; drop type m cascade; drop table x",
        "create sequence s; create table x (id int default nextval('s')); drop sequence s cascade; drop table x",
        "create table p (id int, n int not null) partition by list (id); create table p1 partition of p for values in (1);
         alter table p alter n drop not null; alter table p add v text default 'x'; insert into p values (1, null); drop table p",
        "create table a (id int); create table b () inherits (a); alter table a alter id set not null; drop table a cascade",
        "create schema z create table z.x (id int); drop schema z cascade",
        "create table x (id int); create unique index x_id on x (id); reindex table x; cluster x using x_id; drop index x_id; drop table x",
        "create function f() returns int language sql as 'select 1'; drop function f()",
        "begin isolation level serializable; create table x (id int primary key); alter table x add v int; commit; drop table x",
        "create table \"o'x.\"\"y\" (\"a'b\" int default 1); drop table \"o'x.\"\"y\"",
    ];
    /// Tables of which the last entry does not say what the catalog does.
    const BEHIND: &str = "select c.relname from pg_class c where c.relkind in ('r', 'p') and c.relpersistence = 'p'
        and c.relnamespace <> 'pg_catalog'::regnamespace and c.relnamespace <> 'information_schema'::regnamespace and _tailwater.schema_facts(c.oid) is distinct from (select h.facts
        from _tailwater.schema_history h where h.relation = c.oid order by h.id desc limit 1)";
    for version in [15, 17] {
        let database = Postgres::shared(version).database("ddl");
        install(&database);
        let role = format!("plain_{version}_{}", std::process::id());
        database.sql(&format!(
            "create role {role}; grant all on schema public to {role}; grant create on database {} to {role}",
            database.name()
        ));
        let session = database.session();
        for role in ["postgres", &role] {
            let current = session.one("select session_user");
            session.sql(&format!("set role {}", if role == "postgres" { current } else { role.to_owned() }));
            for statements in DDL {
                for statement in statements.split("; ") {
                    session.sql(statement);
                    if !session.one("select pg_current_xact_id_if_assigned() is not null").starts_with('t') {
                        assert_eq!(database.sql(BEHIND), Vec::<Vec<Option<String>>>::new(), "after {statement}");
                    }
                }
            }
        }
        session.sql("reset role");
        // Statements that are no part of a transaction.
        session.sql("create table stays (id int)");
        session.sql("create index concurrently stays_id on stays (id)");
        session.sql("drop index concurrently stays_id");
        // Broken, it is in nobody's way either.
        session.sql("drop table _tailwater.schema_history");
        for statements in DDL {
            for statement in statements.split("; ") {
                session.sql(statement);
            }
        }
        // What it was is there again after another run.
        install(&database);
        install(&database);
        assert_eq!(
            session.one("select count(*) from _tailwater.schema_history where relation = 'stays'::regclass"),
            "1"
        );
        session.sql(&format!("drop owned by {role}"));
        session.sql(&format!("drop role {role}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_nobody_keeps_is_refused_and_an_old_one_is_forgotten() {
    let database = Postgres::shared(17).database("kept");
    let options = Options { schema_history: true, ..of(&database) };
    let error = refused(&options, None).await;
    assert_eq!(error.class(), Class::Blocked);
    assert!(error.advice().unwrap().contains("tailwater schema-history"), "{error}");
    install(&database);
    database.sql("alter event trigger tailwater_ddl disable");
    assert_eq!(refused(&options, None).await.class(), Class::Blocked);
    install(&database);
    database.sql("create table t (id int primary key)");
    for n in 0..20 {
        database.sql(&format!("alter table t alter id set default {n}"));
    }
    let count = || database.one("select count(*) from _tailwater.schema_history").parse::<u32>().unwrap();
    let before = count();
    let mut source = start(&options, None).await;
    follow(&mut source, &mut Vec::new()).await;
    source.close().await;
    assert!(before > 20);
    // Other slots of the server may be behind: then nothing may be forgotten yet, and what is now never is.
    assert!(count() <= before);
    let now = format!(
        "select facts ->> 'defaults' from _tailwater.schema_history where relation = {}::regclass order by id desc limit 1",
        literal("t")
    );
    assert_eq!(database.one(&now), "{\"id\": \"19\"}");
}
