//! Large transactions that are open together, and a process that is killed among them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::{Running, Tailwater};

/// A value of the metrics page.
fn metric(running: &Running, name: &str) -> Option<f64> {
    let (_, text) = running.http("/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// What the files of a directory hold.
fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// Rows of a writer in a savepoint each, every third of which is rolled back, and a row of a ledger that has no key.
fn piece(writer: u32, number: u32) -> String {
    let (from, back) = (writer * 10_000_000 + number * 10_000, if number % 3 == 2 { "rollback to s;" } else { "" });
    format!(
        "savepoint s; insert into t select n, md5(n::text) || repeat('x', 900) from generate_series({from}, {from} + 2000) n;
         update t set body = 'changed' where id between {from} - 10000 and {from} - 9500;
         insert into ledger values ({writer}, {number}); {back} release s"
    )
}

/// Transactions of eight sessions that are open together and grow by turns; the last is rolled back.
fn grow(database: &Database<'_>, running: &mut Running, round: u32) {
    let sessions: Vec<_> = (0..8).map(|_| database.session()).collect();
    sessions.iter().for_each(|session| drop(session.sql("begin")));
    for number in 0..6 {
        for (writer, session) in (0..).zip(&sessions) {
            session.sql(&piece(writer, round * 10 + number));
        }
    }
    running
        .wait_until("spooling", |running| metric(running, "tailwater_spool_bytes ").is_some_and(|bytes| bytes > 0.0));
    for (writer, session) in sessions.iter().enumerate() {
        session.sql(if writer == 7 { "rollback" } else { "commit" });
        if writer == 2 {
            database.sql(&format!("insert into ledger values (-1, {round})"));
        }
    }
}

#[test]
fn kills_among_open_transactions_lose_nothing_double_nothing_and_leave_no_file() {
    // Transactions that stay open keep others' slots from being made: a server of its own.
    let server = Postgres::version(17).start();
    let (source, target) = (server.database("streamed_k_s"), server.database("streamed_k_t"));
    source.sql(&format!(
        "create table t (id int primary key, body text); create table ledger (writer int, number int);
         alter table ledger replica identity full;
         alter database \"{}\" set logical_decoding_work_mem = '64kB'",
        source.name()
    ));
    let pipeline = Tailwater::new(source.name())
        .source_postgres(&source.url(), &["public.*"])
        .toml("streaming = true")
        .sink_postgres(&target.url(), None);
    pipeline.run_until_current().success();
    let spool = pipeline.dir().join("state").join(source.name()).join("spool");
    for round in 1..=2 {
        let mut running = pipeline.run();
        running.wait_ready();
        grow(&source, &mut running, round);
        assert!(spool.is_dir());
        running.kill9();
        // A file loses its name before anything is written to it.
        assert_eq!(bytes(&spool), 0, "what the process kept went with it");
    }
    let begin = Instant::now();
    pipeline.run_until_current().success();
    println!("caught up in {:?}", begin.elapsed());
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "nor is a name left");
    let tables = ["public.t", "public.ledger"];
    assert_all_equal(&source.session(), &tables, Copy::Postgres(&target.session()));
    assert_eq!(target.one("select count(*) from ledger"), (2 * 7 * 4 + 2).to_string());
    assert!(begin.elapsed() < Duration::from_secs(60));
}

/// In a file system of its own that is full at 2 MB.
const SMALL: &str = r#"set -e
mount -t tmpfs -o size=2m none "$1"
shift
exec "$@""#;

#[test]
fn a_spool_on_a_disk_that_is_full_leaves_the_transaction_to_the_server_and_nothing_is_lost() {
    let server = Postgres::version(17).start();
    let (source, target) = (server.database("streamed_d_s"), server.database("streamed_d_t"));
    source.sql(&format!(
        "create table t (id int primary key, body text); insert into t values (0, 'read');
         alter database \"{}\" set logical_decoding_work_mem = '64kB'",
        source.name()
    ));
    let pipeline = Tailwater::new(source.name())
        .source_postgres(&source.url(), &["public.*"])
        .toml("streaming = true")
        .sink_postgres(&target.url(), None);
    let state = pipeline.dir().join("state").to_string_lossy().into_owned();
    std::fs::create_dir(&state).unwrap();
    let pipeline =
        pipeline.under(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL, "sh", &state]);
    pipeline.run_until_current().success();
    let mut running = pipeline.run();
    running.wait_ready();
    let open = source.session();
    open.sql("begin; insert into t select n, (select string_agg(md5((n * i)::text), '') from generate_series(1, 100) i) from generate_series(1, 4000) n");
    running.wait_until("out of room", |running| running.text().contains("the spool of open transactions"));
    source.sql("insert into t values (-1, 'beside')");
    let count = || target.one("select count(*) from t");
    running.wait_until("beside", |_| count() == "2");
    open.sql("commit");
    running.wait_until("whole", |_| count() == "4002");
    for counter in ["spilled", "streamed"] {
        let name = format!("tailwater_slot_{counter}_bytes ");
        running.wait_until(counter, |running| metric(running, &name).is_some_and(|bytes| bytes > 0.0));
    }
    running.terminate().code(0);
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
}
