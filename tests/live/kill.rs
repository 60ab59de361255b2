//! `kill -9` at random moments under a mixed write load: nothing is lost, nothing is doubled.
//!
//! `TAILWATER_KILLS` says how often each wiring is killed: a few in `make test`, fifty in `make kill`.
//! `TAILWATER_SEED` replays the moments of an earlier run; the writers' interleaving is the server's own.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::compare::{Copy, assert_all_equal};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "kafka")]
use crate::support::judge;
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::runtime::wait;
use crate::support::tailwater::Tailwater;
use crate::support::workload::{self, Load};

fn kills() -> u32 {
    std::env::var("TAILWATER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

pub fn seed() -> u64 {
    let seed = std::env::var("TAILWATER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("TAILWATER_SEED={seed}");
    seed
}

/// Writes, kills, lets it finish: afterwards the copy has to equal the source.
fn storm(source: &Database<'_>, processes: &[Tailwater]) {
    let url = source.url();
    wait(async move { workload::create(&url).await });
    kill_under_load(source, processes);
}

/// The same with tables that are there.
fn kill_under_load(source: &Database<'_>, processes: &[Tailwater]) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let url = source.url();
    let load = wait(async move { Load::start(&url, 3, 5000, seed).await });
    let mut running: Vec<_> = processes.iter().map(|process| Some(process.run())).collect();
    for _ in 0..kills() {
        std::thread::sleep(Duration::from_millis(random.random_range(30..1200)));
        let victim = random.random_range(0..running.len());
        running[victim].take().unwrap().kill9();
        running[victim] = Some(processes[victim].run());
    }
    // Kills that come fast enough keep a snapshot from its end: what follows it is part of the test.
    for process in running.iter_mut().flatten() {
        process.wait_until("following the log", |process| {
            let page = process.http("/metrics").map(|(_, page)| page).unwrap_or_default();
            let inserted = |line: &str| line.contains("ledger_plain\"") && line.contains("op=\"c\"");
            page.lines().any(|line| line.starts_with("tailwater_events_total{") && inserted(line))
        });
    }
    let progress = wait(load.stop());
    // The end of one of these moments is a stop in good order.
    for process in running.into_iter().flatten() {
        process.terminate().code(0);
    }
    for process in processes {
        process.run_until_current().success();
    }
    let count = |what: &std::sync::atomic::AtomicU64| what.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "{} kills, {} transactions committed, {} rolled back, {} rows written, ledger of {}",
        kills(),
        count(&progress.committed),
        count(&progress.rolled_back),
        count(&progress.rows),
        source.one("SELECT count(*) FROM ledger_plain"),
    );
    assert!(count(&progress.committed) > 20, "the load did next to nothing");
}

#[test]
fn postgres_to_postgres_survives_kills() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("kill_pp_source"), server.database("kill_pp_target"));
    let tailwater =
        Tailwater::new("kill_pp").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
    storm(&source, &[tailwater]);
    assert_all_equal(&source.session(), &workload::TABLES, Copy::Postgres(&target.session()));
}

#[cfg(feature = "duckdb")]
#[test]
fn postgres_to_duckdb_survives_kills() {
    let source = Postgres::shared(15).database("kill_pd_source");
    let dir = Dir::new();
    let file = dir.join("warehouse.duckdb");
    let tailwater = Tailwater::new("kill_pd").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file);
    storm(&source, &[tailwater]);
    assert_all_equal(&source.session(), &workload::TABLES, Copy::Duckdb(&file));
}

/// The two processes of a pipeline through Kafka; the sink's is unfinished.
#[cfg(feature = "kafka")]
pub fn through_kafka(name: &str, source: &Database<'_>) -> (Tailwater, Tailwater, String) {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix(name);
    let publish = Tailwater::new(&format!("{name}_in"))
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .exactly_once()
        .toml("[sink.kafka.topic]\npartitions = 3\nreplication = 1");
    let apply =
        Tailwater::new(&format!("{name}_out")).source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], name);
    (publish, apply, prefix)
}

#[cfg(feature = "kafka")]
#[test]
fn postgres_to_kafka_to_postgres_survives_kills() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("kill_pkp_source"), server.database("kill_pkp_target"));
    let (publish, apply, prefix) = through_kafka("kill_pkp", &source);
    storm(&source, &[publish, apply.sink_postgres(&target.url(), None)]);
    let seen = judge::seen(Kafka::shared(), &prefix);
    judge::assert_once(&seen);
    judge::assert_ledger(&seen, &source.session());
    assert_all_equal(&source.session(), &workload::TABLES, Copy::Postgres(&target.session()));
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn postgres_to_kafka_in_protobuf_to_duckdb_survives_kills() {
    let source = Postgres::shared(17).database("kill_pkd_source");
    let dir = Dir::new();
    let file = dir.join("warehouse.duckdb");
    let (publish, apply, _) = through_kafka("kill_pkd", &source);
    storm(&source, &[publish.protobuf(), apply.sink_duckdb(&file)]);
    assert_all_equal(&source.session(), &workload::TABLES, Copy::Duckdb(&file));
}

/// Whoever writes the topics repeats itself after each kill, and keys are spread over partitions that are read side by side.
#[cfg(feature = "kafka")]
#[test]
fn debeziums_topics_into_a_warehouse_survive_kills_of_who_writes_and_of_who_reads() {
    let (server, kafka) = (Postgres::shared(17), Kafka::shared());
    let (source, target) = (server.database("kill_dp_source"), server.database("kill_dp_target"));
    let prefix = kafka.prefix("kill_dp");
    let write = Tailwater::new("kill_dp_in")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 3\nreplication = 1\n[sink.kafka.envelope]\ninline_schema = true");
    let read = Tailwater::new("kill_dp_out")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], "kill_dp")
        .toml("origin = \"debezium\"")
        .sink_postgres(&target.url(), None);
    let url = source.url();
    wait(async move { workload::create(&url).await });
    // Debezium tells a snapshot that was interrupted again without emptying the tables first.
    write.run_until_current().success();
    kill_under_load(&source, &[write, read]);
    let keyed: Vec<&str> = workload::TABLES.into_iter().filter(|table| *table != "public.ledger_plain").collect();
    assert_all_equal(&source.session(), &keyed, Copy::Postgres(&target.session()));
    // Without a key, what is told again may come in another partition: it comes twice, and never not at all.
    let logged = "SELECT count(DISTINCT (writer, n)) FROM ledger_plain";
    assert_eq!(target.one(logged), source.one(logged));
}
