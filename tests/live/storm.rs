//! Everything at once: each process and each server is killed, frozen, cut off and restarted at random under a write
//! load, and in the end every row is everywhere exactly once.
//!
//! ```text
//!  PostgreSQL ──▶ publish ──▶ Kafka ──▶ apply ──▶ PostgreSQL
//!      │  └─────▶ mirror ────────────────────────▶ PostgreSQL
//!      └────────▶ embed ─────────────────────────▶ DuckDB
//! ```
//!
//! Plain random kills rarely hit a border, so most of them come when something that is watched has just changed: a row
//! became visible, the slot moved. Meanwhile the slots are compared with what their sinks have stored: a slot ahead of its
//! sink would be a loss that no later check could see.
//!
//! `TAILWATER_STORM` says how many seconds (20 in `make test`, 300 in `make storm`), `TAILWATER_BROKERS` how many
//! brokers, `TAILWATER_SEED` replays the choice of the faults; the moments are the machine's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::kill::seed;
use crate::support::compare::{Copy, assert_all_equal};
use crate::support::dir::Dir;
use crate::support::judge;
use crate::support::kafka::Kafka;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::proxy::Proxy;
use crate::support::runtime::wait;
use crate::support::session::Session;
use crate::support::small_disk::SmallDisk;
use crate::support::tailwater::Tailwater;
use crate::support::workload::{self, Load};
use actor::Actor;
use fault::Fault;

mod actor;
mod fault;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// The servers, and what lies between them and the processes.
struct Stage {
    source: Postgres,
    source_link: Proxy,
    warehouse: Postgres,
    warehouse_link: Proxy,
    kafka: Kafka,
    brokers: u32,
    /// Where the DuckDB file is.
    disk: SmallDisk,
}

const SOURCE: &str = "shop";
const PREFIX: &str = "storm";
const FILE: &str = "warehouse.duckdb";

impl Stage {
    fn new(brokers: u32) -> Stage {
        let source = Postgres::version(17).start();
        let warehouse = Postgres::version(17).start();
        source.sql(&format!("create database {SOURCE}"));
        warehouse.sql("create database applied");
        warehouse.sql("create database mirrored");
        let (source_link, warehouse_link) = (Proxy::to(&source.address()), Proxy::to(&warehouse.address()));
        let kafka = Kafka::nodes(brokers).proxied().start();
        Stage { source, source_link, warehouse, warehouse_link, kafka, brokers, disk: SmallDisk::new() }
    }

    /// The source's database, straight.
    fn url(&self) -> String {
        self.source.url_for("postgres", PASSWORD, SOURCE)
    }

    fn warehouse_url(&self, database: &str) -> String {
        self.warehouse.url_for("postgres", PASSWORD, database)
    }

    /// The processes, and for each that may have one a second process of the same pipeline.
    fn actors(&self) -> Vec<Actor> {
        let behind =
            |link: &Proxy, database: &str| format!("postgres://postgres:{PASSWORD}@{}/{database}", link.address());
        let from = behind(&self.source_link, SOURCE);
        let replication = self.brokers.min(3);
        let patient = |name: &str| Tailwater::new(name).toml("start_timeout = 300");
        let publish = || {
            patient("publish")
                .source_postgres(&from, &["public.*"])
                .sink_kafka(&self.kafka.proxied(), PREFIX)
                .exactly_once()
                .toml(&format!("[sink.kafka.topic]\npartitions = 3\nreplication = {replication}"))
        };
        let apply = || {
            patient("apply")
                .source_kafka(&self.kafka.proxied(), &[&format!("{PREFIX}.public.*")], "apply")
                .sink_postgres(&behind(&self.warehouse_link, "applied"), None)
        };
        let mirror = || {
            patient("mirror")
                .source_postgres(&from, &["public.*"])
                .sink_postgres(&behind(&self.warehouse_link, "mirrored"), None)
        };
        // One process at a time can hold the file.
        let entering = self.disk.entering();
        let entering: Vec<&str> = entering.iter().map(String::as_str).collect();
        let embed =
            patient("embed").source_postgres(&from, &["public.*"]).sink_duckdb(&self.disk.join(FILE)).under(&entering);
        vec![
            Actor::new("publish", publish(), Some(publish())),
            Actor::new("apply", apply(), Some(apply())),
            Actor::new("mirror", mirror(), Some(mirror())),
            Actor::new("embed", embed, None),
        ]
    }

    /// Puts everything back up.
    fn calm(&self) {
        use crate::support::proxy::Mode;
        self.source_link.set(Mode::Forward);
        self.warehouse_link.set(Mode::Forward);
        (1..=self.brokers).for_each(|node| self.kafka.proxy(node).set(Mode::Forward));
    }
}

/// Tells the watching thread to stop, whatever ends the storm.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Compares, until told to stop, the slot of `mirror` with what its warehouse has; returns how often.
fn watch(stage: &Stage, stop: &AtomicBool) -> u64 {
    let slot =
        "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = 'tailwater_mirror'";
    let stored = "select lsn from _tailwater.progress where pipeline = 'mirror'";
    let mut sessions = None;
    let mut compared = 0;
    while !stop.load(Ordering::Relaxed) {
        let (there, here) = sessions.get_or_insert_with(|| {
            (Session::connect(&stage.url()).ok(), Session::connect(&stage.warehouse_url("mirrored")).ok())
        });
        // The slot first: what the sink has only grows meanwhile.
        let one = |session: &Option<Session>, sql| session.as_ref()?.try_sql(sql).ok()?.first()?.first()?.clone();
        match (one(there, slot), one(here, stored)) {
            (Some(told), Some(durable)) => {
                let lsn = |text: &str| text.parse::<u64>().unwrap();
                assert!(lsn(&told) <= lsn(&durable), "the slot was told {told}, the sink has {durable}");
                compared += 1;
            }
            _ => sessions = None,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    compared
}

/// Says what was done, and after how long it moved again.
fn tell(faults: &[Fault], mut recoveries: BTreeMap<&str, Vec<Duration>>, actors: usize, seconds: u64) {
    let kills: usize = faults.iter().map(|fault| fault.kills(actors)).sum();
    println!("{} faults in {seconds} s, {kills} processes and servers killed", faults.len());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    faults.iter().for_each(|fault| *counts.entry(fault.kind()).or_default() += 1);
    let all = recoveries.values().flatten().copied().collect();
    recoveries.insert("all", all);
    counts.insert("all", faults.len());
    println!("{:<24} {:>6} {:>9} {:>9} {:>9}", "", "faults", "watched", "p50", "p99");
    for (kind, count) in counts {
        let mut times = recoveries.remove(kind).unwrap_or_default();
        times.sort_unstable();
        let at =
            |share: usize| times.get(times.len() * share / 100).map_or(String::new(), |time| format!("{time:.1?}"));
        println!("{kind:<24} {count:>6} {:>9} {:>9} {:>9}", times.len(), at(50), at(99));
    }
}

#[test]
fn whatever_fails_every_row_is_everywhere_exactly_once() {
    let (seconds, brokers) = (number("TAILWATER_STORM", 20), number("TAILWATER_BROKERS", 1));
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let stage = Stage::new(u32::try_from(brokers).unwrap());
    let url = stage.url();
    let load = wait(async move {
        workload::create(&url).await;
        Load::patient(&url, 3, 1000, seed, Duration::from_millis(60)).await
    });
    let mut actors = stage.actors();
    actors.iter_mut().for_each(Actor::start);
    actors.iter_mut().for_each(|actor| _ = actor.wait_moving());
    let stop = Arc::new(AtomicBool::new(false));
    let (faults, recoveries, compared) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&stage, &stop));
        let _end = Stop(&stop);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut faults = Vec::new();
        let mut recoveries: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        while Instant::now() < end {
            let fault = Fault::choose(&mut random, actors.len(), brokers);
            faults.push(fault);
            let hit = fault.strike(&stage, &mut actors, &mut random);
            // Mostly the next fault comes while everything still recovers from this one.
            if let Some(hit) = hit.filter(|_| random.random_ratio(1, 3)) {
                recoveries.entry(fault.kind()).or_default().push(actors[hit].wait_moving());
            }
            actors.iter_mut().for_each(Actor::keep);
        }
        stop.store(true, Ordering::Relaxed);
        (faults, recoveries, watching.join().unwrap())
    });
    stage.calm();
    let progress = wait(load.stop());
    actors.iter_mut().for_each(Actor::finish);
    tell(&faults, recoveries, actors.len(), seconds);
    println!("slot compared with its sink {compared} times, never ahead");
    let committed = progress.committed.load(Ordering::Relaxed);
    println!("{committed} transactions committed, {} rows written", progress.rows.load(Ordering::Relaxed));
    assert!(committed > 50 && compared > 50, "the storm had nothing to harm");

    let source = Session::connect(&stage.url()).unwrap();
    let tables = &workload::TABLES;
    for database in ["applied", "mirrored"] {
        assert_all_equal(&source, tables, Copy::Postgres(&Session::connect(&stage.warehouse_url(database)).unwrap()));
    }
    let out = Dir::new();
    stage.disk.copy_out(&out);
    assert_all_equal(&source, tables, Copy::Duckdb(&out.join(FILE)));
    let seen = judge::seen_of(&stage.kafka, PREFIX, "ledger");
    judge::assert_once(&seen);
    judge::assert_ledger(&seen, &source);
    println!("0 lost, 0 doubled, in the warehouses and as Kafka's own consumer of committed records sees it");
}
