//! How fast is a backlog drained, against PostgreSQL's own `pg_recvlogical` to /dev/null in the same run?
//!
//! One table of ten columns, about 200 bytes a row, 1,000 rows a transaction; every wiring reads a slot of its own that
//! was made before the load. `ROWS` says how many (a million). A run that loses a row fails.

// What goes wrong ends the benchmark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

#[path = "../tests/support/mod.rs"]
mod support;

use support::dir::Dir;
use support::duck;
use support::kafka::Kafka;
use support::postgres::{Database, Postgres};
use support::tailwater::Tailwater;

/// What a run took.
struct Taken {
    name: &'static str,
    seconds: f64,
    cpu: f64,
    peak_mb: u64,
}

fn main() {
    let rows: u64 = std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let server = Postgres::version(17).config("max_wal_size = 8GB").config("shared_buffers = 512MB").start();
    let source = server.database("source");
    let targets = (server.database("from_slot"), server.database("from_kafka"));
    load(&source, rows);
    let dir = Dir::new();
    let kafka = Kafka::shared();
    let prefix = kafka.prefix("drain");
    let from = |name: &str| {
        Tailwater::new(name)
            .limit(Duration::from_secs(900))
            .source_postgres(&source.url(), &["public.t"])
            .toml("snapshot = \"never\"")
    };
    let from_kafka = |name: &str| {
        Tailwater::new(name).limit(Duration::from_secs(900)).source_kafka(
            &kafka.bootstrap(),
            &[&format!("{prefix}.public.*")],
            name,
        )
    };
    let (slot_duck, kafka_duck) = (dir.join("slot.duckdb"), dir.join("kafka.duckdb"));
    let mut taken = vec![reference(&source)];
    let runs = [
        (
            "postgres -> kafka (JSON)",
            from("kafka")
                .sink_kafka(&kafka.bootstrap(), &prefix)
                .toml("[sink.kafka.topic]\npartitions = 4\nreplication = 1"),
        ),
        ("postgres -> duckdb", from("duckdb").sink_duckdb(&slot_duck)),
        ("postgres -> postgres", from("postgres").sink_postgres(&targets.0.url(), None)),
        ("kafka -> duckdb", from_kafka("kafka_duckdb").sink_duckdb(&kafka_duck)),
        ("kafka -> postgres", from_kafka("kafka_postgres").sink_postgres(&targets.1.url(), None)),
    ];
    for (name, pipeline) in runs {
        taken.push(drain(name, &pipeline));
    }
    let events: i64 = kafka.end_offsets(&format!("{prefix}.public.t")).iter().sum();
    assert!(events as u64 >= rows, "{events} events of {rows} rows");
    let expected = rows.to_string();
    for database in [&targets.0, &targets.1] {
        assert_eq!(database.one("SELECT count(DISTINCT id) FROM public.t"), expected);
    }
    for file in [&slot_duck, &kafka_duck] {
        assert_eq!(
            duck::rows(file, "SELECT count(DISTINCT id) FROM public.t")[0][0].as_deref(),
            Some(expected.as_str())
        );
    }
    report(&taken, rows);
}

/// The table, a slot and a publication for each reader, and the backlog.
fn load(source: &Database<'_>, rows: u64) {
    source.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY, a integer, b text, c text, d boolean, e double precision, f numeric(12,2),
            g timestamptz, h timestamp, i text)",
    );
    for name in ["reference", "kafka", "duckdb", "postgres"] {
        source
            .sql(&format!("CREATE PUBLICATION tailwater_{name} FOR TABLE t WITH (publish_via_partition_root = true)"));
        source.sql(&format!("SELECT pg_create_logical_replication_slot('tailwater_{name}', 'pgoutput')"));
    }
    let begin = Instant::now();
    source.sql(&format!(
        "DO $$ BEGIN FOR n IN 0 .. {rows} / 1000 - 1 LOOP
            INSERT INTO t SELECT n * 1000 + g, g, 'customer number ' || g, md5(g::text) || md5((g + n)::text), g % 2 = 0, g / 7.0,
                g * 1.25, now(), now(), CASE WHEN g % 3 > 0 THEN 'a remark about row ' || g END FROM generate_series(1, 1000) g;
            COMMIT; END LOOP; END $$"
    ));
    println!("{rows} rows written in {:.1} s", begin.elapsed().as_secs_f64());
}

/// User and system seconds of all children that have ended.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn reference(source: &Database<'_>) -> Taken {
    let end = source.one("SELECT pg_current_wal_lsn()");
    let mut command = Command::new("pg_recvlogical");
    command.args(["-d", &source.url(), "--slot", "tailwater_reference", "--start", "--no-loop", "-f", "/dev/null"]);
    command.args([
        "-o",
        "proto_version=1",
        "-o",
        "publication_names=tailwater_reference",
        "--endpos",
        &end,
        "-F",
        "0",
        "-s",
        "1",
    ]);
    let (begin, before) = (Instant::now(), cpu());
    match command.stdout(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "pg_recvlogical failed"),
        Err(error) => panic!(
            "pg_recvlogical can't be run ({error}): install PostgreSQL's client programs (Debian: postgresql-client)"
        ),
    }
    Taken {
        name: "pg_recvlogical > /dev/null",
        seconds: begin.elapsed().as_secs_f64(),
        cpu: cpu() - before,
        peak_mb: 0,
    }
}

fn drain(name: &'static str, pipeline: &Tailwater) -> Taken {
    let (begin, before) = (Instant::now(), cpu());
    let mut running = pipeline.start(&["run", "--until-current"]);
    let mut peak = 0;
    while running.alive() {
        peak = peak.max(running.peak_memory());
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = begin.elapsed().as_secs_f64();
    running.wait().success();
    Taken { name, seconds, cpu: cpu() - before, peak_mb: peak >> 20 }
}

fn report(taken: &[Taken], rows: u64) {
    println!("\n{:<28}{:>10}{:>8}{:>16}{:>10}", "", "rows/s", "ratio", "CPU s/million", "peak MB");
    for run in taken {
        let million = rows as f64 / 1e6;
        println!(
            "{:<28}{:>10.0}{:>8.2}{:>16.1}{:>10}",
            run.name,
            rows as f64 / run.seconds,
            taken[0].seconds / run.seconds,
            run.cpu / million,
            run.peak_mb
        );
    }
}
