//! How fast do changes of all kinds reach a warehouse: from Kafka and from the slot, into an empty table and into a large
//! one, against a hand-written COPY and MERGE and against PostgreSQL's own subscription in the same run?
//!
//! `CHANGES` (a million) of which six in ten are inserts, three updates, one a delete, 1,000 in a transaction; `HELD`
//! (ten million) rows in the large table, over which updates and deletes are spread; `WIRING` and `CASE` choose by a part
//! of a name. The time of a pipeline is the whole process's, start and end included; the hand-written job has its net
//! changes in files before the clock starts. A run that ends with another count of rows than the source's fails.

// What goes wrong ends the benchmark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use support::dir::{Dir, give};
use support::duck;
use support::kafka::Kafka;
use support::postgres::{Database, Postgres};
use support::tailwater::Tailwater;

/// Changes in a transaction: inserts, then updates, then deletes.
const INSERTS: u64 = 600;
const UPDATES: u64 = 300;
const DELETES: u64 = 100;
/// Transactions in a file of the hand-written job.
const CHUNK: u64 = 100;
/// The first id that is inserted.
const NEW: u64 = 1_000_000_000;
/// The id of the last row of all: whoever sees it has seen everything.
const LAST: u64 = 2_000_000_000;
const COLUMNS: &str = "id bigint PRIMARY KEY, a integer, b text, c text, d boolean, e double precision, f numeric(12,2), \
                       g timestamptz, h timestamp, i text";
const VALUES: &str = "g::int, 'customer number ' || g, md5(g::text) || md5(g::text || 'x'), g % 2 = 0, g / 7.0, \
                      (g % 100000) * 1.25, now(), now(), CASE WHEN g % 3 > 0 THEN 'a remark about row ' || g END";

/// A table and what happens to it.
struct Case<'a> {
    name: &'static str,
    source: &'a Database<'a>,
    transactions: u64,
    /// Rows in the targets before.
    held: u64,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn chosen(name: &str, variable: &str) -> bool {
    name.contains(&std::env::var(variable).unwrap_or_default())
}

fn main() {
    let transactions = number("CHANGES", 1_000_000) / (INSERTS + UPDATES + DELETES);
    let server = || {
        Postgres::version(17)
            .config("max_wal_size = 16GB")
            .config("shared_buffers = 2GB")
            .config("max_replication_slots = 50")
            .config("max_worker_processes = 16")
            .start()
    };
    // Of their own, or the slot's reader would have to pass by what is written into the targets.
    let (server, warehouse) = (server(), server());
    let kafka = Kafka::shared();
    for (name, held) in [("empty", 0), ("large", number("HELD", 10_000_000))] {
        if chosen(name, "CASE") {
            let source = server.database(&format!("source_{name}"));
            let case = Case { name, source: &source, transactions, held };
            case.measure(&warehouse, kafka);
        }
    }
}

impl Case<'_> {
    fn measure(&self, server: &Postgres, kafka: &Kafka) {
        println!("\ninto {} rows", self.held);
        self.create();
        let targets = server.database(&format!("targets_{}", self.name));
        let native = server.database(&format!("native_{}", self.name));
        let dir = Dir::for_server();
        let prefix = kafka.prefix("changes");
        let pipeline = |name: &str| Tailwater::new(&format!("{name}_{}", self.name)).limit(Duration::from_secs(1800));
        let from_slot = |name: &str| {
            let tailwater = pipeline(name).source_postgres(&self.source.url(), &["public.t"]);
            tailwater.toml("snapshot = \"never\"\npublication = \"changes\"")
        };
        let topics = [format!("{prefix}.public.*")];
        let from_kafka = |name: &str| {
            pipeline(name).source_kafka(&kafka.bootstrap(), &[&topics[0]], &format!("{name}{}", self.name))
        };
        let publisher = from_slot("publish").sink_kafka(&kafka.bootstrap(), &prefix).exactly_once();
        let publisher = publisher.toml("[sink.kafka.topic]\npartitions = 4\nreplication = 1");
        let duck = dir.join("changes.duckdb");
        let wirings = [
            ("kafka -> postgres", from_kafka("kafka_pg").sink_postgres(&targets.url(), Some("kafka_pg"))),
            ("postgres -> postgres", from_slot("slot_pg").sink_postgres(&targets.url(), Some("slot_pg"))),
            ("kafka -> duckdb", from_kafka("kafka_duck").sink_duckdb(&duck)),
        ];
        let wirings: Vec<_> = wirings.into_iter().filter(|(name, _)| chosen(name, "WIRING")).collect();
        // Everybody sees one row, so that each target is made.
        for tailwater in [&publisher].into_iter().chain(wirings.iter().map(|(_, tailwater)| tailwater)) {
            tailwater.run_until_current().success();
        }
        self.source.sql("INSERT INTO t (id) VALUES (0)");
        publisher.run_until_current().success();
        for (name, tailwater) in &wirings {
            tailwater.run_until_current().success();
            match *name {
                "kafka -> postgres" => self.fill(&targets, "kafka_pg", ", 0, 0"),
                "postgres -> postgres" => self.fill(&targets, "slot_pg", ", 0, 0"),
                _ => self.fill_duck(&duck),
            }
        }
        targets.sql(&format!("CREATE SCHEMA by_hand; CREATE TABLE by_hand.t ({COLUMNS})"));
        targets.sql("INSERT INTO by_hand.t (id) VALUES (0)");
        self.fill(&targets, "by_hand", "");
        native.sql(&format!("CREATE TABLE t ({COLUMNS}); INSERT INTO t (id) VALUES (0)"));
        self.fill(&native, "public", "");
        self.subscribe(&native);
        let files = self.files(&dir);
        self.happen();
        let expected = self.expected();
        publisher.run_until_current().success();

        warm(&targets, "by_hand");
        let by_hand = by_hand(&targets, &files);
        assert_eq!(targets.one("SELECT count(*) FROM by_hand.t"), expected);
        self.say("COPY and MERGE by hand", by_hand, by_hand, 0);
        warm(&native, "public");
        let subscription = self.subscription(&native);
        assert_eq!(native.one("SELECT count(*) FROM t"), expected);
        self.say("CREATE SUBSCRIPTION", subscription, by_hand, 0);
        for (name, tailwater) in &wirings {
            match *name {
                "kafka -> postgres" => warm(&targets, "kafka_pg"),
                "postgres -> postgres" => warm(&targets, "slot_pg"),
                _ => {}
            }
            let (seconds, peak) = tailwater.drain();
            let held = match *name {
                "kafka -> postgres" => targets.one("SELECT count(*) FROM kafka_pg.t"),
                "postgres -> postgres" => targets.one("SELECT count(*) FROM slot_pg.t"),
                _ => duck::rows(&duck, "SELECT count(*) FROM public.t")[0][0].clone().unwrap(),
            };
            assert_eq!(held, expected, "{name}");
            self.say(name, seconds, if name.starts_with("postgres") { subscription } else { by_hand }, peak);
        }
    }

    /// Changes a second; the ratio is to the subscription for a slot's pipeline, to the hand-written job for others.
    fn say(&self, name: &str, seconds: f64, reference: f64, peak: u64) {
        let changes = (self.transactions * (INSERTS + UPDATES + DELETES)) as f64;
        println!("{name:<28}{:>10.0} changes/s{:>8.2}{:>8} MB", changes / seconds, reference / seconds, peak >> 20);
    }

    /// The table; the rows that a large target's updates and deletes are of.
    fn create(&self) {
        self.source.sql(&format!(
            "CREATE TABLE t ({COLUMNS}); CREATE PUBLICATION changes FOR TABLE t WITH (publish_via_partition_root = true)"
        ));
        if self.held > 0 {
            let (touched, step) = self.touched();
            self.source.sql(&format!("INSERT INTO t SELECT g, {VALUES} FROM (SELECT n * {step} + 1 AS g FROM generate_series(0, {touched} - 1) n) ids"));
        }
    }

    /// How many rows of a large target are touched, and how far apart they lie.
    fn touched(&self) -> (u64, u64) {
        let touched = self.transactions * (UPDATES + DELETES);
        (touched, (self.held / touched).max(1))
    }

    /// The id that change `k` of the updates and deletes of transaction `n` is of; none in the first of an empty table.
    fn id(&self, n: u64, k: u64) -> Option<u64> {
        match self.held {
            0 => n.checked_sub(1).map(|before| NEW + before * INSERTS + k),
            _ => {
                let (touched, step) = self.touched();
                Some((n * (UPDATES + DELETES) + k) * 7919 % touched * step + 1)
            }
        }
    }

    /// The changes, and the last row.
    fn happen(&self) {
        let session = self.source.session();
        for n in 0..self.transactions {
            let first = NEW + n * INSERTS;
            let insert = format!(
                "INSERT INTO t SELECT g, {VALUES} FROM (SELECT {first} + n AS g FROM generate_series(0, {INSERTS} - 1) n) ids"
            );
            let ids = |range: std::ops::Range<u64>| {
                range.filter_map(|k| self.id(n, k)).map(|id| id.to_string()).collect::<Vec<_>>().join(",")
            };
            let update =
                format!("UPDATE t SET a = a + 1, b = b || '!', g = now() WHERE id = ANY ('{{{}}}')", ids(0..UPDATES));
            let delete = format!("DELETE FROM t WHERE id = ANY ('{{{}}}')", ids(UPDATES..UPDATES + DELETES));
            session.sql(&format!("BEGIN; {insert}; {update}; {delete}; COMMIT"));
        }
        session.sql(&format!("INSERT INTO t (id) VALUES ({LAST})"));
    }

    /// Rows that a target has in the end.
    fn expected(&self) -> String {
        let there: u64 = self.source.one("SELECT count(*) FROM t").parse().unwrap();
        let untouched = if self.held > 0 { self.held - self.touched().0 } else { 0 };
        (there + untouched).to_string()
    }

    /// Fills a target of PostgreSQL with the rows it has before.
    fn fill(&self, target: &Database<'_>, schema: &str, own: &str) {
        if self.held > 0 {
            target.sql(&format!(
                "INSERT INTO {schema}.t SELECT g, {VALUES}{own} FROM generate_series(1, {}) g",
                self.held
            ));
            target.sql(&format!("VACUUM ANALYZE {schema}.t"));
        }
    }

    fn fill_duck(&self, file: &Path) {
        if self.held > 0 {
            let connection = ::duckdb::Connection::open(file).unwrap();
            connection
                .execute_batch(&format!(
                    "INSERT INTO public.t SELECT g, g, 'customer number ' || g, md5(g::text) || md5(g::text || 'x'), g % 2 = 0, g / 7.0,
                     (g % 100000) * 1.25, now(), now()::timestamp, 'a remark about row ' || g, 0, 0 FROM range(1, {} + 1) AS ids (g); CHECKPOINT",
                    self.held
                ))
                .unwrap();
        }
    }

    /// The net changes of each chunk, as files that the server reads.
    fn files(&self, dir: &Dir) -> Vec<std::path::PathBuf> {
        let chunks = (0..self.transactions).step_by(usize::try_from(CHUNK).unwrap());
        let file = |first: u64| {
            let mut net: BTreeMap<u64, char> = BTreeMap::new();
            for n in first..(first + CHUNK).min(self.transactions) {
                net.extend((0..INSERTS).map(|k| (NEW + n * INSERTS + k, 'u')));
                net.extend((0..UPDATES).filter_map(|k| Some((self.id(n, k)?, 'u'))));
                net.extend((UPDATES..UPDATES + DELETES).filter_map(|k| Some((self.id(n, k)?, 'd'))));
            }
            if first + CHUNK >= self.transactions {
                net.insert(LAST, 'u');
            }
            let mut text = String::new();
            for (id, op) in net {
                writeln!(
                    text,
                    "{op}\t{id}\t{}\tcustomer number {id}\t{id:032}{id:032}\tt\t{}.5\t{}.25\t2026-01-01 12:00:00+00\t2026-01-01 12:00:00\ta remark about row {id}",
                    id % 1_000_000,
                    id / 7,
                    id % 100_000
                )
                .unwrap();
            }
            let path = dir.join(format!("{first}.txt"));
            std::fs::write(&path, text).unwrap();
            give(&path);
            path
        };
        chunks.map(file).collect()
    }

    /// A subscription that waits for its start.
    fn subscribe(&self, native: &Database<'_>) {
        let slot = format!("native_{}", self.name);
        self.source.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
        native.sql(&format!(
            "CREATE SUBSCRIPTION {slot} CONNECTION '{}' PUBLICATION changes \
             WITH (create_slot = false, slot_name = '{slot}', copy_data = false, enabled = false)",
            self.source.url()
        ));
    }

    fn subscription(&self, native: &Database<'_>) -> f64 {
        let session = native.session();
        let begin = Instant::now();
        session.sql(&format!("ALTER SUBSCRIPTION native_{} ENABLE", self.name));
        while session.one(&format!("SELECT count(*) FROM t WHERE id = {LAST}")) == "0" {
            std::thread::sleep(Duration::from_millis(10));
        }
        let seconds = begin.elapsed().as_secs_f64();
        session.sql(&format!("ALTER SUBSCRIPTION native_{} DISABLE", self.name));
        seconds
    }
}

/// What others have left to be written is written, and as much of the target is in the server's memory as fits there:
/// whose turn comes later would find less of it.
fn warm(target: &Database<'_>, schema: &str) {
    target.sql("CHECKPOINT; CREATE EXTENSION IF NOT EXISTS pg_prewarm");
    target.sql(&format!("SELECT pg_prewarm('{schema}.t'); SELECT pg_prewarm(indexrelid) FROM pg_index WHERE indrelid = '{schema}.t'::regclass"));
}

/// What somebody would write by hand: a staging table, COPY, MERGE that goes through the key's index, a commit for each.
fn by_hand(target: &Database<'_>, files: &[std::path::PathBuf]) -> f64 {
    let session = target.session();
    let begin = Instant::now();
    session.sql("CREATE UNLOGGED TABLE by_hand.stage AS SELECT ''::text AS op, * FROM by_hand.t WITH NO DATA");
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let set = names.map(|name| format!("{name} = s.{name}")).join(", ");
    let values = names.map(|name| format!("s.{name}")).join(", ");
    for file in files {
        session.sql(&format!(
            "BEGIN; TRUNCATE by_hand.stage; COPY by_hand.stage FROM '{}';
             SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
             MERGE INTO by_hand.t t USING by_hand.stage s ON t.id = s.id
             WHEN MATCHED AND s.op = 'd' THEN DELETE
             WHEN MATCHED THEN UPDATE SET {set}
             WHEN NOT MATCHED AND s.op <> 'd' THEN INSERT (id, {}) VALUES (s.id, {values}); COMMIT",
            file.display(),
            names.join(", ")
        ));
    }
    begin.elapsed().as_secs_f64()
}
