//! What goes away in the middle and comes back: everything goes on by itself, nothing is lost, nothing comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::compare::{Copy, assert_all_equal};
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::support::dir::Dir;
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres, Stop};
use crate::support::proxy::Proxy;
use crate::support::tailwater::{Running, Tailwater};

/// A session that writes rows with and without a key until it is stopped; returns how many transactions it made.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u32>,
}

impl Writer {
    fn start(database: &Database<'_>) -> Writer {
        database.sql("create table rows (id int primary key, body text); create table ledger (n int)");
        let (stop, session) = (Arc::new(AtomicBool::new(false)), database.session());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for n in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    return n - 1;
                }
                // A test that has failed takes the database away.
                let written = session.try_sql(&format!(
                    "begin; insert into rows select {n} * 100 + g, repeat('x', 200) from generate_series(0, 99) g;
                     update rows set body = 'changed {n}' where id = {n} * 50; delete from rows where id = {n} * 100 - 1;
                     insert into ledger values ({n}); commit"
                ));
                if written.is_err() {
                    return n - 1;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            unreachable!("the numbers do not end")
        });
        Writer { stop, thread }
    }

    fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

const TABLES: [&str; 2] = ["public.rows", "public.ledger"];

/// Ends everything in good order, lets it finish, and expects the copy to be equal.
fn settle(source: &Database<'_>, writer: Writer, running: Vec<Running>, processes: &[&Tailwater], copy: Copy<'_>) {
    assert!(writer.stop() > 20, "the load did next to nothing");
    running.into_iter().for_each(|process| drop(process.terminate().code(0)));
    processes.iter().for_each(|process| drop(process.run_until_current().success()));
    assert_all_equal(&source.session(), &TABLES, copy);
}

/// The number of restarts that the process tells, once it is more than `before`.
fn restarted(running: &mut Running, before: u64) -> u64 {
    let mut restarts = before;
    running.wait_until("restarted", |running| {
        let Some((200, body)) = running.http("/status.json") else { return false };
        let report: serde_json::Value = serde_json::from_str(&body).unwrap();
        restarts = report["restarts"].as_u64().unwrap();
        restarts > before
    });
    restarts
}

fn through(proxy: &Proxy, database: &Database<'_>) -> String {
    let (before, after) = (database.server().address(), proxy.address());
    let url = database.url().replace(&before, &after);
    assert!(url.contains(&after), "{url}");
    url
}

#[test]
fn a_source_that_is_cut_off_again_and_again_loses_nothing() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("out_cut_s"), server.database("out_cut_t"));
    let proxy = Proxy::to(&server.address());
    let writer = Writer::start(&source);
    let pipeline = Tailwater::new("out_cut")
        .source_postgres(&through(&proxy, &source), &["public.*"])
        .sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    // The first cuts come while the snapshot is read or taken.
    for pause in [60, 120, 250, 400, 800, 1200] {
        std::thread::sleep(Duration::from_millis(pause));
        proxy.cut();
    }
    running.wait_ready();
    restarted(&mut running, 0);
    settle(&source, writer, vec![running], &[&pipeline], Copy::Postgres(&target.session()));
}

#[test]
fn a_source_that_is_killed_and_one_that_is_restarted_are_followed_again() {
    let (server, warehouse) = (Postgres::version(15).start(), Postgres::shared(17));
    let (source, target) = (server.database("s"), warehouse.database("out_src_t"));
    source.sql("create table rows (id int primary key, body text); create table ledger (n int)");
    let pipeline =
        Tailwater::new("out_src").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    let mut restarts = 0;
    for round in 0..3 {
        running.wait_ready();
        source.sql(&format!(
            "insert into rows select {round} * 1000 + g, 'x' from generate_series(1, 1000) g; insert into ledger values ({round})"
        ));
        match round {
            0 => server.kill9(),
            _ => server.stop(Stop::Fast),
        }
        server.restart();
        restarts = restarted(&mut running, restarts);
    }
    running.wait_ready();
    running.terminate().code(0);
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &TABLES, Copy::Postgres(&target.session()));
}

#[test]
fn a_warehouse_that_is_killed_in_the_middle_of_a_flush_gets_everything_once() {
    let (server, warehouse) = (Postgres::shared(17), Postgres::version(17).start());
    let (source, target) = (server.database("out_wh_s"), warehouse.database("t"));
    let writer = Writer::start(&source);
    let pipeline = Tailwater::new("out_wh")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&target.url(), None)
        .toml("[sink.postgres.flush]\nrows = 2000");
    let mut running = pipeline.run();
    let mut restarts = 0;
    for round in 0..4 {
        running.wait_ready();
        std::thread::sleep(Duration::from_millis(300 + 130 * round));
        if round % 2 == 0 {
            warehouse.kill9()
        } else {
            warehouse.stop(Stop::Immediate)
        }
        std::thread::sleep(Duration::from_millis(500 * round));
        warehouse.restart();
        restarts = restarted(&mut running, restarts);
    }
    running.wait_ready();
    settle(&source, writer, vec![running], &[&pipeline], Copy::Postgres(&target.session()));
}

#[test]
fn a_warehouse_that_is_away_at_the_start_is_waited_for() {
    let (server, warehouse) = (Postgres::shared(15), Postgres::version(15).start());
    let (source, target) = (server.database("out_late_s"), warehouse.database("t"));
    let url = target.url();
    let writer = Writer::start(&source);
    warehouse.stop(Stop::Fast);
    let pipeline = Tailwater::new("out_late").source_postgres(&source.url(), &["public.*"]).sink_postgres(&url, None);
    let mut running = pipeline.run();
    std::thread::sleep(Duration::from_secs(3));
    assert!(running.alive(), "{}", running.text());
    warehouse.restart();
    running.wait_ready();
    settle(&source, writer, vec![running], &[&pipeline], Copy::Postgres(&target.session()));
}

/// How a broker goes away for a minute.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[derive(Clone, Copy)]
enum Away {
    Frozen,
    Stopped,
    Killed,
}

/// Both processes of a pipeline through Kafka, with the only broker away for a minute in the middle of a load.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
fn a_minute_without_a_broker(name: &str, away: Away) {
    use nix::sys::signal::{Signal, kill};
    let kafka = Kafka::nodes(1).start();
    let source = Postgres::shared(17).database(name);
    let (prefix, dir) = (kafka.prefix(name), Dir::new());
    let file = dir.join("warehouse.duckdb");
    let publish = Tailwater::new(&format!("{name}_in"))
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 3\nreplication = 1");
    let apply = Tailwater::new(&format!("{name}_out"))
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], name)
        .sink_duckdb(&file);
    let writer = Writer::start(&source);
    let mut running = vec![publish.run(), apply.run()];
    running.iter_mut().for_each(Running::wait_ready);
    std::thread::sleep(Duration::from_secs(1));
    let signal = |signal| kafka.pids().iter().for_each(|&pid| kill(nix::unistd::Pid::from_raw(pid), signal).unwrap());
    match away {
        Away::Frozen => signal(Signal::SIGSTOP),
        Away::Stopped => kafka.stop(1),
        Away::Killed => kafka.kill9(1),
    }
    std::thread::sleep(Duration::from_secs(60));
    match away {
        Away::Frozen => signal(Signal::SIGCONT),
        Away::Stopped | Away::Killed => kafka.restart(1),
    }
    assert!(writer.stop() > 20, "the load did next to nothing");
    let rows: u64 = source.one("select count(*) from ledger").parse().unwrap();
    // By themselves, and not only when they are started again.
    let arrived = |running: &Running| {
        let report: serde_json::Value = serde_json::from_str(&running.http("/status.json")?.1).ok()?;
        let tables = report["tables"].as_array()?;
        let ledger = tables.iter().find(|table| table["table"] == "public.ledger")?;
        Some(ledger["inserts"].as_u64()? + ledger["read"].as_u64()?)
    };
    running[1].wait_until("caught up", |running| arrived(running).is_some_and(|count| count >= rows));
    running.into_iter().for_each(|process| drop(process.terminate().code(0)));
    [&publish, &apply].iter().for_each(|process| drop(process.run_until_current().success()));
    assert_all_equal(&source.session(), &TABLES, Copy::Duckdb(&file));
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_freezes_for_a_minute_is_waited_for() {
    a_minute_without_a_broker("out_frozen", Away::Frozen);
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_is_stopped_for_a_minute_is_waited_for() {
    a_minute_without_a_broker("out_stopped", Away::Stopped);
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_is_killed_and_back_after_a_minute_is_waited_for() {
    a_minute_without_a_broker("out_killed", Away::Killed);
}
