//! Tables that join each wiring while its processes are killed: their rows arrive, each once.

use std::time::Duration;

use rand::{Rng, SeedableRng};

use crate::kill::seed;
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::kill::through_kafka;
use crate::support::compare::{Copy, assert_all_equal};
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::support::dir::Dir;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

const ROUNDS: u32 = 5;

/// In each round two tables come, with and without a key, and are written to while everything is killed.
fn storm(source: &Database<'_>, processes: &[Tailwater]) {
    let mut random = rand::rngs::StdRng::seed_from_u64(seed());
    source.sql("create table t (id int primary key, body text); insert into t values (0, 'first')");
    processes.iter().for_each(|process| drop(process.run_until_current().success()));
    for round in 0..ROUNDS {
        source.sql(&format!(
            "create table key{round} (id int primary key, body text); create table plain{round} (n int, body text);
             insert into key{round} select n, repeat('x', 200) from generate_series(1, 20000) n;
             insert into plain{round} select n, repeat('y', 200) from generate_series(1, 20000) n"
        ));
        let running: Vec<_> = processes.iter().map(Tailwater::run).collect();
        let life = Duration::from_millis(random.random_range(200..2500));
        let writing = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (session, begin, mut n) = (source.session(), std::time::Instant::now(), 100_000);
                while begin.elapsed() < life {
                    session.sql(&format!(
                        "insert into key{round} values ({n}, 'new'); update key{round} set body = 'changed' where id = {n} % 20000;
                         delete from key{round} where id = {n} - 3; insert into plain{round} values ({n}, 'new')"
                    ));
                    n += 1;
                }
                n - 100_000
            });
            writer.join().unwrap()
        });
        running.into_iter().for_each(|process| drop(process.kill9()));
        assert!(writing > 0);
    }
    processes.iter().for_each(|process| drop(process.run_until_current().success()));
}

fn tables() -> Vec<String> {
    let names = |round| [format!("public.key{round}"), format!("public.plain{round}")];
    std::iter::once("public.t".to_owned()).chain((0..ROUNDS).flat_map(names)).collect()
}

fn compare(source: &Database<'_>, copy: Copy<'_>) {
    let tables = tables();
    assert_all_equal(&source.session(), &tables.iter().map(String::as_str).collect::<Vec<_>>(), copy);
}

#[test]
fn tables_join_a_postgres_warehouse_under_kills() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("join_pp_source"), server.database("join_pp_target"));
    let tailwater =
        Tailwater::new("join_pp").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    storm(&source, &[tailwater]);
    compare(&source, Copy::Postgres(&target.session()));
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn tables_join_through_kafka_under_kills() {
    let source = Postgres::shared(17).database("join_pkd_source");
    let dir = Dir::new();
    let file = dir.join("warehouse.duckdb");
    let (publish, apply, _) = through_kafka("join_pkd", &source);
    storm(&source, &[publish, apply.sink_duckdb(&file)]);
    compare(&source, Copy::Duckdb(&file));
}
