//! How fast is a backlog drained, against PostgreSQL's own `pg_recvlogical` to /dev/null in the same run?
//!
//! One table of ten columns, about 200 bytes a row, 1,000 rows a transaction; every run reads a copy of a slot that was
//! made before the load. `ROWS` says how many (a million), `ROUNDS` how often (three; medians are shown), `WIRING`
//! which wirings (a part of their names). The time is the whole process's, start and end included. A run that loses a row
//! fails.

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
#[derive(Clone)]
struct Taken {
    name: &'static str,
    seconds: f64,
    cpu: f64,
    peak_mb: u64,
    /// Of the reference's rate in the same round.
    ratio: f64,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let (rows, rounds) = (number("ROWS", 1_000_000), number("ROUNDS", 3));
    let server = Postgres::version(17)
        .config("max_wal_size = 8GB")
        .config("shared_buffers = 512MB")
        .config("max_replication_slots = 50")
        .start();
    let source = server.database("source");
    let target = server.database("target");
    load(&source, rows);
    let kafka = Kafka::shared();
    let mut taken = Vec::new();
    for round in 0..rounds {
        let reference = reference(&source, round);
        let seconds = reference.seconds;
        let mut runs = vec![reference];
        runs.extend(wirings(&source, &target, kafka, rows, round));
        for run in &mut runs {
            run.ratio = seconds / run.seconds;
            println!("round {round}: {:<40}{:>10.0} rows/s", run.name, rows as f64 / run.seconds);
        }
        taken.push(runs);
    }
    report(&taken, rows);
}

/// Drains the backlog once through each wiring that `WIRING` names.
fn wirings(source: &Database<'_>, target: &Database<'_>, kafka: &Kafka, rows: u64, round: u64) -> Vec<Taken> {
    let dir = Dir::new();
    let prefix = kafka.prefix("drain");
    let chosen = std::env::var("WIRING").unwrap_or_default();
    let limit = Duration::from_secs(900);
    let from = |name: &str| {
        let name = format!("{name}{round}");
        slot(source, &format!("tailwater_{name}"));
        let pipeline = Tailwater::new(&name).limit(limit).source_postgres(&source.url(), &["public.t"]);
        pipeline.toml("snapshot = \"never\"\npublication = \"drain\"")
    };
    let from_kafka = |name: &str| {
        let name = format!("{name}{round}");
        let topics = [format!("{prefix}.public.*")];
        Tailwater::new(&name).limit(limit).source_kafka(&kafka.bootstrap(), &[&topics[0]], &name)
    };
    let (slot_duck, kafka_duck) = (dir.join("slot.duckdb"), dir.join("kafka.duckdb"));
    let schemas = (format!("slot{round}"), format!("kafka{round}"));
    let mut taken = Vec::new();
    let mut drained = |name: &'static str, pipeline: &dyn Fn() -> Tailwater, held: &dyn Fn() -> String| {
        if name.contains(&chosen) || (name == TO_KAFKA && chosen.starts_with("kafka")) {
            taken.push(drain(name, &pipeline()));
            assert_eq!(held(), rows.to_string(), "{name}");
        }
    };
    let events = || kafka.end_offsets(&format!("{prefix}.public.t")).iter().sum::<i64>().to_string();
    let in_duck =
        |file: &std::path::Path| duck::rows(file, "SELECT count(DISTINCT id) FROM public.t")[0][0].clone().unwrap();
    let in_schema = |schema: &str| target.one(&format!("SELECT count(DISTINCT id) FROM {schema}.t"));
    let topic = "[sink.kafka.topic]\npartitions = 4\nreplication = 1";
    drained(TO_KAFKA, &|| from("kafka").sink_kafka(&kafka.bootstrap(), &prefix).toml(topic), &events);
    let once = format!("{prefix}once");
    let committed = || {
        let records = kafka.consume_all(&format!("{once}.public.t"), support::kafka::Isolation::Committed);
        records.len().to_string()
    };
    let exactly = || from("once").sink_kafka(&kafka.bootstrap(), &once).exactly_once().toml(topic);
    drained("postgres -> kafka (JSON), exactly once", &exactly, &committed);
    drained("postgres -> duckdb", &|| from("duckdb").sink_duckdb(&slot_duck), &|| in_duck(&slot_duck));
    drained("postgres -> postgres", &|| from("postgres").sink_postgres(&target.url(), Some(&schemas.0)), &|| {
        in_schema(&schemas.0)
    });
    drained("kafka -> duckdb", &|| from_kafka("kafka_duckdb").sink_duckdb(&kafka_duck), &|| in_duck(&kafka_duck));
    drained(
        "kafka -> postgres",
        &|| from_kafka("kafka_postgres").sink_postgres(&target.url(), Some(&schemas.1)),
        &|| in_schema(&schemas.1),
    );
    target.sql(&format!("DROP SCHEMA IF EXISTS {} CASCADE; DROP SCHEMA IF EXISTS {} CASCADE", schemas.0, schemas.1));
    taken
}

const TO_KAFKA: &str = "postgres -> kafka (JSON)";

/// A slot that stands where the backlog begins.
fn slot(source: &Database<'_>, name: &str) {
    source.sql(&format!("SELECT pg_copy_logical_replication_slot('drain', '{name}')"));
}

/// The table, the slot that the readers' are copies of, the publication, and the backlog.
fn load(source: &Database<'_>, rows: u64) {
    source.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY, a integer, b text, c text, d boolean, e double precision, f numeric(12,2),
            g timestamptz, h timestamp, i text);
         CREATE PUBLICATION drain FOR TABLE t WITH (publish_via_partition_root = true)",
    );
    source.sql("SELECT pg_create_logical_replication_slot('drain', 'pgoutput')");
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

fn reference(source: &Database<'_>, round: u64) -> Taken {
    let (name, end) = (format!("reference{round}"), source.one("SELECT pg_current_wal_lsn()"));
    slot(source, &name);
    let mut command = Command::new("pg_recvlogical");
    command.args([
        "-d",
        &source.url(),
        "--slot",
        &name,
        "--start",
        "--no-loop",
        "-f",
        "/dev/null",
        "-F",
        "0",
        "-s",
        "1",
    ]);
    command.args(["-o", "proto_version=1", "-o", "publication_names=drain", "--endpos", &end]);
    let (begin, before) = (Instant::now(), cpu());
    match command.stdout(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "pg_recvlogical failed"),
        Err(error) => panic!(
            "pg_recvlogical can't be run ({error}): install PostgreSQL's client programs (Debian: postgresql-client)"
        ),
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu() - before);
    Taken { name: "pg_recvlogical > /dev/null", seconds, cpu, peak_mb: 0, ratio: 1.0 }
}

fn drain(name: &'static str, pipeline: &Tailwater) -> Taken {
    let before = cpu();
    let (seconds, peak) = pipeline.drain();
    Taken { name, seconds, cpu: cpu() - before, peak_mb: peak >> 20, ratio: 0.0 }
}

/// The medians over the rounds, and the range of the ratio.
fn report(taken: &[Vec<Taken>], rows: u64) {
    println!("\n{:<40}{:>10}{:>8}{:>14}{:>16}{:>10}", "", "rows/s", "ratio", "min..max", "CPU s/million", "peak MB");
    let million = rows as f64 / 1e6;
    for (index, run) in taken[0].iter().enumerate() {
        let of = |what: &dyn Fn(&Taken) -> f64| {
            let mut all: Vec<f64> = taken.iter().map(|round| what(&round[index])).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let median = |what: &dyn Fn(&Taken) -> f64| of(what)[taken.len() / 2];
        let ratios = of(&|run| run.ratio);
        println!(
            "{:<40}{:>10.0}{:>8.2}{:>14}{:>16.1}{:>10.0}",
            run.name,
            rows as f64 / median(&|run| run.seconds),
            median(&|run| run.ratio),
            format!("{:.2}..{:.2}", ratios[0], ratios[ratios.len() - 1]),
            median(&|run| run.cpu) / million,
            of(&|run| run.peak_mb as f64)[taken.len() - 1],
        );
    }
}
