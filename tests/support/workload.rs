//! A mixed write load whose traces can be checked.
//!
//! Every transaction also writes one ledger row into a table with a key and one into a table without: whatever is
//! lost shows as a gap there, whatever is doubled shows in the one without a key, and no later update can hide it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, NoTls};

/// The tables it writes, as `schema.table`.
pub const TABLES: [&str; 6] =
    ["public.items", "public.pairs", "public.full_old", "public.wiped", "public.ledger", "public.ledger_plain"];

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE items (
        id bigint PRIMARY KEY, a integer, b text, big text, n numeric(12,3), m numeric, f double precision, flag boolean,
        d date, t time, ts timestamp, tz timestamptz, raw bytea, u uuid, j jsonb, tags text[], ints integer[], feeling mood);
    ALTER TABLE items ALTER COLUMN big SET STORAGE EXTERNAL;
    CREATE TABLE pairs (tenant integer, code text, v integer, big text, PRIMARY KEY (tenant, code));
    ALTER TABLE pairs ALTER COLUMN big SET STORAGE EXTERNAL;
    CREATE TABLE full_old (id integer PRIMARY KEY, v text, big text);
    ALTER TABLE full_old REPLICA IDENTITY FULL;
    ALTER TABLE full_old ALTER COLUMN big SET STORAGE EXTERNAL;
    CREATE TABLE wiped (id integer PRIMARY KEY, v text);
    CREATE TABLE ledger (writer integer, n bigint, rows integer, PRIMARY KEY (writer, n));
    CREATE TABLE ledger_plain (writer integer, n bigint, rows integer);";

/// How far a load has come.
#[derive(Default)]
pub struct Progress {
    /// Transactions that committed.
    pub committed: AtomicU64,
    /// Transactions that were rolled back on purpose.
    pub rolled_back: AtomicU64,
    /// Rows the committed ones touched, as the server counted them.
    pub rows: AtomicU64,
}

/// Writers at work; ends when told to.
pub struct Load {
    url: String,
    stop: Arc<AtomicBool>,
    writers: Vec<tokio::task::JoinHandle<()>>,
    /// How far it has come.
    pub progress: Arc<Progress>,
}

/// Creates the tables and some rows to begin with.
pub async fn create(url: &str) {
    let client = connect(url).await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(&insert_items(1, 500)).await.unwrap();
}

impl Load {
    /// Starts `writers` writers; transactions touch at most `largest` rows.
    pub async fn start(url: &str, writers: u32, largest: u32, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let client = connect(url).await;
            let mut work = Writer {
                client,
                writer,
                n: 0,
                largest,
                random: StdRng::seed_from_u64(seed.wrapping_add(u64::from(writer))),
                progress: Arc::clone(&progress),
            };
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    work.transaction().await;
                }
            }));
        }
        Load { url: url.to_owned(), stop, writers: tasks, progress }
    }

    /// Starts writers that outlive their server: each goes on when it is back. They pause between transactions, but for
    /// one more, which commits single rows back to back, so that transactions begin exactly where the last one ended.
    pub async fn patient(url: &str, writers: u32, largest: u32, seed: u64, pause: std::time::Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let mut tasks = Vec::new();
        for writer in 0..=writers {
            let mut work = Writer {
                client: connect(url).await,
                writer,
                n: 0,
                largest,
                random: StdRng::seed_from_u64(seed.wrapping_add(u64::from(writer))),
                progress: Arc::clone(&progress),
            };
            let (stop, url) = (Arc::clone(&stop), url.to_owned());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let transaction = if writer == writers { work.single() } else { work.sql() };
                    if work.run(&transaction).await.is_err() {
                        work.come_back(&url, &stop).await;
                    }
                    tokio::time::sleep(if writer == writers { pause / 10 } else { pause }).await;
                }
            }));
        }
        Load { url: url.to_owned(), stop, writers: tasks, progress }
    }

    /// Ends the writers after their present transactions. Each table has a row then: a copy is made with the first one.
    pub async fn stop(self) -> Arc<Progress> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
        let last = "INSERT INTO wiped SELECT 0, 'last' WHERE NOT EXISTS (SELECT FROM wiped)";
        connect(&self.url).await.batch_execute(last).await.unwrap();
        self.progress
    }
}

struct Writer {
    client: Client,
    writer: u32,
    n: u64,
    largest: u32,
    random: StdRng,
    progress: Arc<Progress>,
}

impl Writer {
    /// One transaction: some statements, the ledger rows, and an end.
    async fn transaction(&mut self) {
        let transaction = self.sql();
        if let Err(error) = self.run(&transaction).await {
            panic!("the write load lost its server: {error}");
        }
    }

    fn sql(&mut self) -> Vec<String> {
        let n = self.n;
        self.n += 1;
        let large = self.random.random_ratio(1, 25);
        let statements = if large { 1 } else { self.random.random_range(1..6) };
        let mut sql = vec!["BEGIN".to_owned()];
        for _ in 0..statements {
            let rows = if large { self.random.random_range(1..=self.largest) } else { self.random.random_range(1..20) };
            let statement = self.statement(rows);
            match self.random.random_range(0..10) {
                0 => sql.extend(["SAVEPOINT s".to_owned(), statement, "ROLLBACK TO s".to_owned()]),
                1 => sql.extend(["SAVEPOINT s".to_owned(), statement, "RELEASE s".to_owned()]),
                _ => sql.push(statement),
            }
        }
        let (writer, random) = (self.writer, self.random.random_range(0..1000));
        sql.push(format!("INSERT INTO ledger VALUES ({writer}, {n}, {random})"));
        sql.push(format!("INSERT INTO ledger_plain VALUES ({writer}, {n}, {random})"));
        let rollback = self.random.random_ratio(1, 10);
        sql.push(if rollback { "ROLLBACK" } else { "COMMIT" }.to_owned());
        sql
    }

    /// One row of the ledger, committed by itself.
    fn single(&mut self) -> Vec<String> {
        let n = self.n;
        self.n += 1;
        vec![format!("INSERT INTO ledger_plain VALUES ({}, {n}, 0)", self.writer)]
    }

    /// Runs a transaction. A collision with another writer ends it, and is tried no further; the error is the server's loss.
    async fn run(&mut self, sql: &[String]) -> Result<(), tokio_postgres::Error> {
        for statement in sql {
            match self.client.execute(statement.as_str(), &[]).await {
                Ok(rows) => _ = self.progress.rows.fetch_add(rows, Ordering::Relaxed),
                Err(error) if error.as_db_error().is_some() => return self.client.batch_execute("ROLLBACK").await,
                Err(error) => return Err(error),
            }
        }
        let rolled_back = sql.last().is_some_and(|last| last == "ROLLBACK");
        let count = if rolled_back { &self.progress.rolled_back } else { &self.progress.committed };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Connects again as soon as the server takes connections. Whether the last transaction committed, the ledger says.
    async fn come_back(&mut self, url: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
                tokio::spawn(connection);
                self.client = client;
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn statement(&mut self, rows: u32) -> String {
        let r = &mut self.random;
        // Keys stay in a range where statements meet rows that exist.
        let from = r.random_range(1..4000);
        let to = from + rows;
        let x: u32 = r.random();
        match r.random_range(0..16) {
            0..=2 => insert_items(from, rows),
            3 => format!("UPDATE items SET a = {x} % 1000, tz = now(), m = m + 0.10 WHERE id BETWEEN {from} AND {to}"),
            4 => format!("UPDATE items SET b = 'b{x}', big = repeat('{x}', 500) WHERE id BETWEEN {from} AND {to}"),
            5 => format!(
                "UPDATE items SET id = id + 10000 WHERE id BETWEEN {from} AND {to} AND NOT EXISTS (SELECT 1 FROM items i WHERE i.id = items.id + 10000)"
            ),
            6 => format!(
                "UPDATE items SET id = id - 10000, a = {x} % 77 WHERE id BETWEEN 10000 + {from} AND 10000 + {to} AND NOT EXISTS (SELECT 1 FROM items i WHERE i.id = items.id - 10000)"
            ),
            7 => format!("DELETE FROM items WHERE id % 5 = {x} % 5 AND id BETWEEN {from} AND {to}"),
            8 => format!(
                "INSERT INTO pairs SELECT g % 10, 'c' || g, {x} % 100, repeat('p{x}', 900) FROM generate_series({from}, {to}) g ON CONFLICT (tenant, code) DO UPDATE SET v = excluded.v"
            ),
            9 => format!("UPDATE pairs SET code = code || '''x' WHERE v = {x} % 100 AND length(code) < 40"),
            10 => format!("DELETE FROM pairs WHERE tenant = {x} % 10 AND v % 3 = 0"),
            11 => format!(
                "INSERT INTO full_old SELECT g, 'v{x}', repeat('f{x}', 900) FROM generate_series({from}, {to}) g ON CONFLICT (id) DO UPDATE SET v = excluded.v"
            ),
            12 => format!("DELETE FROM full_old WHERE id BETWEEN {from} AND {to}"),
            13 => format!(
                "INSERT INTO wiped SELECT g, 'w{x}' FROM generate_series({from}, {to}) g ON CONFLICT DO NOTHING"
            ),
            14 if r.random_ratio(1, 4) => "TRUNCATE wiped".to_owned(),
            14 => format!(
                "UPDATE items SET feeling = (enum_range(NULL::mood))[1 + {x} % 3], flag = NOT flag, tags = tags || 't{x}'::text WHERE id BETWEEN {from} AND {to} AND cardinality(tags) < 20"
            ),
            // A swap of two keys through a third.
            _ => format!(
                "WITH s AS (SELECT id FROM items WHERE id < 9000 ORDER BY id OFFSET {from} % 400 LIMIT 1) UPDATE items SET id = -items.id FROM s WHERE items.id = s.id AND NOT EXISTS (SELECT 1 FROM items i WHERE i.id = -s.id)"
            ),
        }
    }
}

/// Rows of every type, some of them with large values.
fn insert_items(from: u32, rows: u32) -> String {
    format!(
        "INSERT INTO items SELECT g, g % 100, 'tab' || chr(9) || 'line' || chr(10) || '\\ü' || g,
           CASE WHEN g % 3 = 0 THEN repeat('big' || g, 1200) END, g / 7.0, g * 1.10, g / 3.0::float8, g % 2 = 0,
           date '2020-01-01' + g, time '00:00' + g * interval '1.000001 s', timestamp '2020-01-01' + g * interval '1.5 h',
           timestamptz '2020-01-01+00' + g * interval '1 h', decode(md5(g::text), 'hex'), md5(g::text)::uuid,
           jsonb_build_object('k', g, 'ü', array[g, null]), array['a' || g, null, 'q\"uo,te'], array[g, null, -g],
           (enum_range(NULL::mood))[1 + g % 3]
         FROM generate_series({from}, {from} + {rows}) g ON CONFLICT (id) DO UPDATE SET a = items.a + 1, f = excluded.f"
    )
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
