//! Transactions as large as one likes (TAILWATER_LARGE_MB, each of two forms): received while they are open, in bounded
//! memory, without the server's disk.

use std::time::{Duration, Instant};

#[cfg(feature = "duckdb")]
use crate::support::compare::{Copy, assert_all_equal};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::session::Session;
use crate::support::tailwater::{Running, Tailwater};

/// Rows of a kilobyte that are written in one statement.
const PIECE: u64 = 1_000;
/// What a process may hold.
const MEMORY: u64 = 256 << 20;
/// And one with DuckDB inside, which takes two gigabytes by itself.
#[cfg(feature = "duckdb")]
const DUCKDB: u64 = 3 << 30;

fn pieces() -> u64 {
    let megabytes: u64 = std::env::var("TAILWATER_LARGE_MB").ok().map_or(64, |text| text.parse().expect("megabytes"));
    (megabytes * 1000).div_ceil(PIECE)
}

fn metric(running: &Running, name: &str) -> f64 {
    let text = running.http("/metrics").map(|(_, text)| text).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}

fn write(session: &Session, piece: u64) {
    let from = piece * PIECE;
    session.sql(&format!(
        "insert into t select n, repeat(md5(n::text), 30), now() from generate_series({from}, {from} + {PIECE} - 1) n"
    ));
}

/// One transaction, or as many at once as there are sessions; returns when it began to commit.
fn transactions(source: &Database<'_>, count: u64) -> Instant {
    let sessions: Vec<Session> = (0..count).map(|_| source.session()).collect();
    sessions.iter().for_each(|session| drop(session.sql("begin")));
    for piece in 0..pieces() {
        write(&sessions[(piece % count) as usize], piece);
    }
    let begin = Instant::now();
    sessions.iter().for_each(|session| drop(session.sql("commit")));
    begin
}

/// Has the process follow the transactions from their first row on; says what it took.
fn measure(source: &Database<'_>, slot: &str, pipeline: &Tailwater, count: u64, memory: u64) {
    source.sql("create table t (id bigint primary key, body text, at timestamptz)");
    pipeline.run_until_current().success();
    let mut running = pipeline.run();
    running.wait_ready();
    let (rows, begin) = (pieces() * PIECE, Instant::now());
    let (committed, spooled) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| transactions(source, count));
        let mut spooled = 0.0f64;
        while !writer.is_finished() {
            spooled = spooled.max(metric(&running, "tailwater_spool_bytes "));
            std::thread::sleep(Duration::from_millis(200));
        }
        (writer.join().unwrap(), spooled)
    });
    let written = begin.elapsed();
    running.wait_until("delivered", |running| {
        std::thread::sleep(Duration::from_millis(200));
        metric(running, "tailwater_events_total{table=\"public.t\",op=\"c\"} ") >= rows as f64
    });
    let (delivered, peak) = (committed.elapsed(), running.peak_memory());
    let server = source.sql(&format!(
        "select stream_bytes, spill_bytes, stream_txns from pg_stat_replication_slots where slot_name = '{slot}'"
    ));
    let number = |at: usize| server[0][at].as_ref().unwrap().parse::<u64>().unwrap();
    println!(
        "{slot}: {count} transactions, {} MB of rows written in {written:.1?}, delivered {delivered:.1?} after the commit; \
         peak {} MiB, {:.0} MB in the spool; the server streamed {} MB in {} transactions and spilled {} MB",
        rows / 1000,
        peak >> 20,
        spooled / 1e6,
        number(0) / 1_000_000,
        number(2),
        number(1) / 1_000_000
    );
    assert!(number(2) * 2 >= count, "they were sent while they were open");
    // Small ones are over before anybody looks.
    assert!(spooled > 0.0 || rows < 1_000_000, "they were in the spool");
    assert_eq!(number(1), 0, "nothing went to the server's disk");
    assert!(peak < memory, "{} MiB", peak >> 20);
    running.terminate().code(0);
}

/// A server that streams what is larger than a megabyte.
fn server() -> Postgres {
    Postgres::version(17).config("logical_decoding_work_mem = 1MB").config("max_wal_size = 4GB").start()
}

fn hours(pipeline: Tailwater) -> Tailwater {
    pipeline.limit(Duration::from_secs(3 * 3600))
}

#[test]
fn a_transaction_is_received_while_it_is_open_and_kept_in_bounded_memory() {
    let server = server();
    let (source, target) = (server.database("huge_p_s"), server.database("huge_p_t"));
    let pipeline = hours(Tailwater::new("huge_p").source_postgres(&source.url(), &["public.*"]));
    let pipeline = pipeline.sink_postgres(&target.url(), None);
    measure(&source, "tailwater_huge_p", &pipeline, 1, MEMORY);
    let sums = "select count(*), sum(hashtext(body)::bigint), sum(id) from t";
    assert_eq!(source.sql(sums), target.sql(sums));
}

#[cfg(feature = "duckdb")]
#[test]
fn a_transaction_goes_into_duckdb_in_the_memory_that_duckdb_is_given() {
    let server = server();
    let (source, dir) = (server.database("huge_d"), Dir::new());
    let file = dir.join("huge.duckdb");
    let pipeline = hours(Tailwater::new("huge_d").source_postgres(&source.url(), &["public.*"])).sink_duckdb(&file);
    measure(&source, "tailwater_huge_d", &pipeline, 1, DUCKDB);
    assert_all_equal(&source.session(), &["public.t"], Copy::Duckdb(&file));
}

/// A broker that keeps what a transaction needs, not what it was.
#[cfg(feature = "kafka")]
fn brief() -> Kafka {
    let keep = ["log.retention.bytes=200000000", "log.segment.bytes=50000000", "log.retention.check.interval.ms=2000"];
    keep.into_iter().fold(Kafka::nodes(1), |kafka, line| kafka.config(line)).start()
}

/// Follows transactions into Kafka.
#[cfg(feature = "kafka")]
fn into_kafka(name: &str, count: u64) {
    let (server, kafka) = (server(), brief());
    let source = server.database(name);
    let pipeline = hours(Tailwater::new(name).source_postgres(&source.url(), &["public.*"]));
    let pipeline = pipeline.sink_kafka(&kafka.bootstrap(), name).toml("[sink.kafka.topic]\nreplication = 1");
    measure(&source, &format!("tailwater_{name}"), &pipeline, count, MEMORY);
}

#[cfg(feature = "kafka")]
#[test]
fn a_transaction_goes_into_kafka_in_bounded_memory() {
    into_kafka("huge_k1", 1);
}

#[cfg(feature = "kafka")]
#[test]
fn sixty_four_transactions_at_once_are_kept_in_bounded_memory() {
    into_kafka("huge_k64", 64);
}
