//! Days of a shop's life: a rush, a night with its batch, a Friday evening whose deploy changes the tables while
//! everybody goes on, processes and servers that die in between. In the evening every row and column is everywhere.
//!
//! ```text
//!  PostgreSQL ──▶ publish ──▶ Kafka ──▶ apply ──▶ PostgreSQL
//!     │ │                         └─────▶ store ──▶ DuckDB
//!     │ └───────▶ mirror ────────────────────────▶ PostgreSQL
//!     └─────────▶ shelve ────────────────────────▶ DuckDB
//! ```
//!
//! Nobody acts in between: a process that says that a person has to has failed the day, and so has a table that stops.
//!
//! `TAILWATER_DAYS` says how many days (1 in `make test`, 20 in `make day`), `TAILWATER_SEED` replays what is chosen.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::kill::seed;
use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::Kafka;
use crate::support::postgres::{PASSWORD, Postgres, Stop};
use crate::support::session::Session;
use crate::support::tailwater::{Running, Tailwater};
use crate::support::{duck, eventually};
use shop::Shop;

mod shop;

const PATIENCE: Duration = Duration::from_secs(120);

/// The servers and the pipelines.
struct Street {
    source: Postgres,
    warehouse: Postgres,
    /// The DuckDB files, which nobody may look into while they are being written.
    files: Vec<PathBuf>,
    pipelines: Vec<(Tailwater, Option<Running>)>,
    random: StdRng,
    kills: usize,
    beats: u64,
}

impl Street {
    fn new(seed: u64) -> Street {
        let (source, warehouse) = (Postgres::version(17).start(), Postgres::version(17).start());
        source.sql("create database shop");
        ["applied", "mirrored"].iter().for_each(|name| drop(warehouse.sql(&format!("create database {name}"))));
        let from = source.url_for("postgres", PASSWORD, "shop");
        let into = |database| warehouse.url_for("postgres", PASSWORD, database);
        let kafka = Kafka::shared();
        let prefix = kafka.prefix("day");
        let patient =
            |name: &str| Tailwater::new(name).toml("start_timeout = 300").source_postgres(&from, &["public.*"]);
        let publish = patient("publish")
            .sink_kafka(&kafka.bootstrap(), &prefix)
            .exactly_once()
            .toml("[sink.kafka.topic]\npartitions = 3\nreplication = 1");
        let behind = |name: &str| {
            let (topics, group) = (format!("{prefix}.public.*"), format!("{prefix}_{name}"));
            Tailwater::new(name).toml("start_timeout = 300").source_kafka(&kafka.bootstrap(), &[&topics], &group)
        };
        let apply = behind("apply").sink_postgres(&into("applied"), None);
        let mirror = patient("mirror").toml("schema_history = true").sink_postgres(&into("mirrored"), None);
        let (shelve, store) = (patient("shelve").toml("schema_history = true"), behind("store"));
        let files = [&shelve, &store].map(|pipeline| pipeline.dir().join("shop.duckdb"));
        let (shelve, store) = (shelve.sink_duckdb(&files[0]), store.sink_duckdb(&files[1]));
        let pipelines = [publish, apply, mirror, shelve, store].map(|pipeline| (pipeline, None)).into();
        Street {
            source,
            warehouse,
            files: files.into(),
            pipelines,
            random: StdRng::seed_from_u64(seed),
            kills: 0,
            beats: 0,
        }
    }

    fn shop(&self) -> Session {
        Session::connect(&self.source.url_for("postgres", PASSWORD, "shop")).unwrap()
    }

    fn copy(&self, database: &str) -> Session {
        Session::connect(&self.warehouse.url_for("postgres", PASSWORD, database)).unwrap()
    }

    /// Starts what does not run; nothing may have ended in a way that asks for somebody.
    fn keep(&mut self) {
        for (pipeline, running) in &mut self.pipelines {
            if running.as_mut().is_some_and(Running::alive) {
                continue;
            }
            if let Some(ended) = running.take() {
                let output = ended.wait();
                assert_eq!(output.code, Some(1), "{output:?}");
            }
            *running = Some(pipeline.run());
        }
    }

    /// `kill -9` of one of the processes, and a new one.
    fn kill(&mut self) {
        let victim = self.random.random_range(0..self.pipelines.len());
        if let Some(running) = self.pipelines[victim].1.take() {
            running.kill9();
            self.kills += 1;
        }
        self.keep();
    }

    /// Waits until all that has committed so far is everywhere.
    fn settle(&mut self) {
        self.beats += 1;
        let (source, beat) = (self.shop(), self.beats);
        let lsn = source.one(&format!("insert into beats values ({beat}); select pg_current_wal_insert_lsn()"));
        let behind = format!("select count(*) from pg_replication_slots where confirmed_flush_lsn < '{lsn}'");
        let begin = std::time::Instant::now();
        loop {
            self.keep();
            let told = source.one(&behind) == "0";
            let there = format!("select count(*) from public.beats where n = {beat}");
            let applied = self.copy("applied").try_sql(&there).is_ok_and(|rows| rows[0][0].as_deref() == Some("1"));
            if told && applied {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "slots {told}, applied {applied}: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        for database in ["applied", "mirrored"] {
            let stopped = self.copy(database).sql("select * from _tailwater.stopped");
            assert!(stopped.is_empty(), "{database}: {stopped:?}");
        }
    }

    /// The last words of each process.
    fn said(&self) -> String {
        let last = |running: &Running| {
            let text = running.text();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        };
        self.pipelines.iter().filter_map(|(_, running)| running.as_ref().map(last)).collect::<Vec<_>>().join("\n---\n")
    }

    /// Runs a statement, again where it lost against the customers.
    fn run(&self, statement: &str) {
        eventually(statement, PATIENCE, || {
            let session = self.shop();
            match session.try_sql(statement) {
                Ok(_) => Some(()),
                Err(error) => {
                    let lost = error.as_db_error().is_some_and(|error| error.code().code() == "40P01");
                    assert!(lost, "{statement}: {error:?}");
                    None
                }
            }
        });
    }

    /// Lives one day; returns how many migrations it had.
    fn day(&mut self, day: u64, shop: &Shop) -> usize {
        shop.pace(20);
        shop.sell(20);
        self.kill();
        // The rush.
        shop.pace(0);
        shop.sell(150);
        self.source.kill9();
        self.source.restart();
        self.kill();
        shop.sell(100);
        // The night.
        shop.pace(40);
        for (n, statement) in shop::BATCH.iter().enumerate() {
            self.run(statement);
            if n % 3 == 1 {
                self.kill();
            }
        }
        self.warehouse.stop(Stop::Immediate);
        self.warehouse.restart();
        self.settle();
        // Friday evening.
        shop.pace(4);
        let migrations = shop::deploy(day);
        for statement in &migrations {
            self.run(statement);
            shop.sell(self.random.random_range(0..15));
            if self.random.random_ratio(1, 4) {
                self.kill();
            }
        }
        self.source.stop(Stop::Fast);
        self.source.restart();
        self.warehouse.kill9();
        self.warehouse.restart();
        shop.sell(20);
        self.settle();
        migrations.len()
    }
}

#[test]
fn a_shop_that_changes_its_tables_on_a_friday_night_ends_equal_in_every_row_and_column() {
    let days = std::env::var("TAILWATER_DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(1);
    let seed = seed();
    let mut street = Street::new(seed);
    let history = std::process::Command::new(env!("CARGO_BIN_EXE_tailwater")).arg("schema-history").output().unwrap();
    street.shop().sql(shop::SCHEMA);
    street.shop().sql(&String::from_utf8(history.stdout).unwrap());
    let shop = Shop::start(&street.source.url_for("postgres", PASSWORD, "shop"), 3, seed);
    street.keep();
    street.settle();
    let migrations: usize = (0..days).map(|day| street.day(day, &shop)).sum();
    let committed = shop.close();
    for (_, running) in &mut street.pipelines {
        let output = running.take().expect("it runs").terminate();
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    }
    for (pipeline, _) in &street.pipelines {
        pipeline.run_until_current().success();
    }
    println!(
        "{days} days, {committed} transactions, {migrations} migrations, {} kills, {} restarts",
        street.kills,
        days * 4
    );
    let source = street.shop();
    let tables = source.sql(
        "select 'public.' || relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition",
    );
    let tables: Vec<&str> = tables.iter().map(|row| row[0].as_deref().unwrap()).collect();
    assert!(tables.len() > 8, "{tables:?}");
    for database in ["applied", "mirrored"] {
        assert_all_equal(&source, &tables, Copy::Postgres(&street.copy(database)));
    }
    for file in &street.files {
        let stopped = duck::rows(file, "select * from _tailwater.stopped");
        assert!(stopped.is_empty(), "{}: {stopped:?}", file.display());
        assert_all_equal(&source, &tables, Copy::Duckdb(file));
    }
}
