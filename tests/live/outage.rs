//! What goes away in the middle and comes back: everything goes on by itself, nothing is lost, nothing comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tailwater::model::Lsn;

use crate::support::compare::{Copy, assert_all_equal};
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::support::dir::Dir;
#[cfg(all(feature = "kafka", feature = "duckdb"))]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres, Stop};
use crate::support::proxy::{Mode, Proxy};
use crate::support::tailwater::{Running, Tailwater};

/// A session that writes rows with and without a key until it is stopped; returns how many transactions it made.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u32>,
}

impl Writer {
    /// Some hundred transactions a second.
    pub(super) fn start(database: &Database<'_>) -> Writer {
        Writer::paced(database, Duration::from_millis(5))
    }

    fn paced(database: &Database<'_>, pause: Duration) -> Writer {
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
                std::thread::sleep(pause);
            }
            unreachable!("the numbers do not end")
        });
        Writer { stop, thread }
    }

    pub(super) fn stop(self) -> u32 {
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

/// What the process tells of itself.
fn status(running: &Running) -> serde_json::Value {
    let told = running.http("/status.json").and_then(|(_, body)| serde_json::from_str(&body).ok());
    // Until it listens it has nothing to tell.
    told.unwrap_or_else(|| serde_json::json!({ "restarts": 0, "snapshot_rows": 0, "position": { "durable": "0/0" } }))
}

/// Up to where the source's log is durable in the sink.
fn durable(running: &Running) -> Lsn {
    lsn(status(running)["position"]["durable"].as_str().unwrap())
}

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

/// The number of restarts that the process tells, once it is more than `before`.
fn restarted(running: &mut Running, before: u64) -> u64 {
    let mut restarts = before;
    running.wait_until("restarted", |running| {
        restarts = status(running)["restarts"].as_u64().unwrap();
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
    for pause in [60, 120, 250, 400, 800] {
        std::thread::sleep(Duration::from_millis(pause));
        proxy.cut();
    }
    running.wait_ready();
    // A stop while a cut has not been noticed would be told as what it is, a failure.
    let before = status(&running)["restarts"].as_u64().unwrap();
    // It may be about to connect, and have nothing that can be cut.
    running.wait_until("restarted", |running| {
        let noticed = status(running)["restarts"].as_u64().unwrap() > before;
        if !noticed {
            proxy.cut();
        }
        noticed
    });
    running.wait_ready();
    settle(&source, writer, vec![running], &[&pipeline], Copy::Postgres(&target.session()));
}

#[test]
fn a_source_that_is_cut_off_while_its_rows_are_read_is_read_again() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("out_snap_s"), server.database("out_snap_t"));
    let proxy = Proxy::to(&server.address());
    let writer = Writer::start(&source);
    source.sql("insert into rows select -n, repeat('y', 200) from generate_series(1, 400000) n");
    let pipeline = Tailwater::new("out_snap")
        .source_postgres(&through(&proxy, &source), &["public.*"])
        .sink_postgres(&target.url(), None);
    let mut running = pipeline.run();
    let rows = |running: &Running| status(running)["snapshot_rows"].as_u64().unwrap();
    let mut restarts = 0;
    for _ in 0..3 {
        let before = rows(&running);
        running.wait_until("reading", |running| rows(running) > before);
        proxy.cut();
        // Whatever the interrupted attempt read is counted by then.
        restarts = restarted(&mut running, restarts);
    }
    running.wait_ready();
    settle(&source, writer, vec![running], &[&pipeline], Copy::Postgres(&target.session()));
}

#[test]
fn a_source_and_a_warehouse_that_fall_silent_for_a_while_are_followed_again() {
    let (server, warehouse) = (Postgres::shared(17), Postgres::shared(15));
    let (source, target) = (server.database("out_mute_s"), warehouse.database("out_mute_t"));
    let proxies = [Proxy::to(&server.address()), Proxy::to(&warehouse.address())];
    let writer = Writer::start(&source);
    let pipeline = Tailwater::new("out_mute")
        .source_postgres(&through(&proxies[0], &source), &["public.*"])
        .sink_postgres(&through(&proxies[1], &target), None)
        .toml("[sink.postgres.flush]\nrows = 2000");
    let mut running = pipeline.run();
    running.wait_ready();
    for (proxy, seconds) in proxies.iter().chain(&proxies).zip([3, 5, 20, 20]) {
        std::thread::sleep(Duration::from_millis(700));
        proxy.set(Mode::Blackhole);
        std::thread::sleep(Duration::from_secs(seconds));
        proxy.set(Mode::Forward);
        let before = lsn(&source.one("select pg_current_wal_lsn()"));
        source.sql("insert into ledger values (0)");
        running.wait_until("caught up", |running| durable(running) > before);
    }
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

/// A server that has told a process everything says so in its own words when it shuts down.
#[test]
fn a_source_that_is_stopped_when_everything_is_acknowledged_is_followed_again() {
    for version in [15, 17] {
        let (server, warehouse) = (Postgres::version(version).start(), Postgres::shared(17));
        let (source, target) = (server.database("s"), warehouse.database("out_idle_t"));
        source.sql("create table rows (id int primary key, body text); insert into rows values (1, 'x')");
        let pipeline =
            Tailwater::new("out_idle").source_postgres(&source.url(), &["public.*"]).sink_postgres(&target.url(), None);
        let mut running = pipeline.run();
        running.wait_ready();
        let told = source.one("insert into rows values (2, 'x'); select pg_current_wal_insert_lsn()");
        running.wait_until("acknowledged", |_| {
            source.one(&format!("select bool_and(confirmed_flush_lsn >= '{told}') from pg_replication_slots")) == "t"
        });
        server.stop(Stop::Fast);
        server.restart();
        source.sql("insert into rows values (3, 'x')");
        running.wait_until("following again", |_| target.one("select count(*) from rows") == "3");
        running.terminate().code(0);
    }
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

/// How a broker goes away.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[derive(Clone, Copy, Debug)]
enum Away {
    Frozen,
    Stopped,
    Killed,
    /// It runs, and nobody hears of it.
    Silent,
    /// It runs, and connections are refused.
    Refused,
}

/// A broker of its own behind a proxy, the two processes of a pipeline through it into a DuckDB file, and a load.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
struct ThroughKafka {
    kafka: Kafka,
    source: Database<'static>,
    publish: Tailwater,
    apply: Tailwater,
    dir: Dir,
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
impl ThroughKafka {
    fn new(name: &str) -> ThroughKafka {
        ThroughKafka::on(name, Kafka::nodes(1).proxied().start(), 1)
    }

    fn on(name: &str, kafka: Kafka, replication: u32) -> ThroughKafka {
        let source = Postgres::shared(17).database(name);
        let (prefix, dir) = (kafka.prefix(name), Dir::new());
        let publish = Tailwater::new(&format!("{name}_in"))
            .source_postgres(&source.url(), &["public.*"])
            .sink_kafka(&kafka.proxied(), &prefix)
            .toml(&format!("[sink.kafka.topic]\npartitions = 3\nreplication = {replication}"));
        let apply = Tailwater::new(&format!("{name}_out"))
            .source_kafka(&kafka.proxied(), &[&format!("{prefix}.public.*")], name)
            .sink_duckdb(&dir.join("warehouse.duckdb"));
        ThroughKafka { kafka, source, publish, apply, dir }
    }

    /// Takes the broker away for some time.
    fn without_a_broker(&self, away: Away, time: Duration) {
        use nix::sys::signal::{Signal, kill};
        let signal =
            |signal| self.kafka.pids().iter().for_each(|&pid| kill(nix::unistd::Pid::from_raw(pid), signal).unwrap());
        let proxy = self.kafka.proxy(1);
        match away {
            Away::Frozen => signal(Signal::SIGSTOP),
            Away::Stopped => self.kafka.stop(1),
            Away::Killed => self.kafka.kill9(1),
            Away::Silent => proxy.set(Mode::Blackhole),
            Away::Refused => proxy.set(Mode::Refuse),
        }
        std::thread::sleep(time);
        match away {
            Away::Frozen => signal(Signal::SIGCONT),
            Away::Stopped | Away::Killed => self.kafka.restart(1),
            Away::Silent | Away::Refused => proxy.set(Mode::Forward),
        }
    }

    /// Waits until all that the source holds now is in the warehouse, by the processes themselves.
    fn catch_up(&self, running: &mut [Running]) {
        let before = lsn(&self.source.one("select pg_current_wal_lsn()"));
        self.source.sql("insert into ledger values (0)");
        let [publish, apply] = running else { panic!("two processes make a pipeline through Kafka") };
        let wait = || apply.wait_until("caught up", |running| durable(running) > before);
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait)) {
            // Either of the two may be what it waits for.
            println!("the one that publishes: {}", publish.text());
            std::panic::resume_unwind(panic);
        }
    }

    fn finish(&self, running: Vec<Running>) {
        running.into_iter().for_each(|process| drop(process.terminate().code(0)));
        [&self.publish, &self.apply].iter().for_each(|process| drop(process.run_until_current().success()));
        assert_all_equal(&self.source.session(), &TABLES, Copy::Duckdb(&self.dir.join("warehouse.duckdb")));
    }
}

/// How long a broker is away: longer than what waits for an answer waits, in `make outages` beyond all that is ever
/// waited for.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
fn while_away() -> Duration {
    let told = std::env::var("TAILWATER_AWAY").ok();
    Duration::from_secs(told.map_or(20, |text| text.parse().expect("TAILWATER_AWAY is a number of seconds")))
}

/// Both processes of a pipeline through Kafka, with the only broker away for so long in the middle of a load.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
fn without_a_broker(name: &str, away: Away, time: Duration) {
    let through = ThroughKafka::new(name);
    let writer = Writer::start(&through.source);
    let mut running = vec![through.publish.run(), through.apply.run()];
    running.iter_mut().for_each(Running::wait_ready);
    std::thread::sleep(Duration::from_secs(1));
    through.without_a_broker(away, time);
    assert!(writer.stop() > 20, "the load did next to nothing");
    through.catch_up(&mut running);
    through.finish(running);
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_freezes_for_a_minute_is_waited_for() {
    without_a_broker("out_frozen", Away::Frozen, Duration::from_secs(60));
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_is_stopped_for_a_while_is_waited_for() {
    without_a_broker("out_stopped", Away::Stopped, while_away());
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_is_killed_and_back_after_a_while_is_waited_for() {
    without_a_broker("out_killed", Away::Killed, while_away());
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_is_unheard_for_a_while_is_waited_for() {
    without_a_broker("out_silent", Away::Silent, while_away());
}

/// `TAILWATER_OUTAGES` says how often the broker goes away; `TAILWATER_SEED` replays the moments of an earlier run.
#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_broker_that_comes_and_goes_in_every_way_is_waited_for_each_time() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let outages = std::env::var("TAILWATER_OUTAGES").ok().and_then(|outages| outages.parse().ok()).unwrap_or(5);
    let longest = std::env::var("TAILWATER_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8.0);
    let mut random = StdRng::seed_from_u64(super::kill::seed());
    let through = ThroughKafka::new("out_often");
    let writer = Writer::paced(&through.source, Duration::from_millis(40));
    let mut running = vec![through.publish.run(), through.apply.run()];
    running.iter_mut().for_each(Running::wait_ready);
    for outage in 0..outages {
        let away = [Away::Frozen, Away::Killed, Away::Silent, Away::Stopped, Away::Refused][outage % 5];
        std::thread::sleep(Duration::from_secs_f64(random.random_range(0.0..3.0)));
        let time = Duration::from_secs_f64(random.random_range(0.1..longest));
        println!("outage {outage}: {away:?} for {time:?}");
        through.without_a_broker(away, time);
        let back = std::time::Instant::now();
        through.catch_up(&mut running);
        println!("caught up {:?} later", back.elapsed());
    }
    assert!(writer.stop() > 20, "the load did next to nothing");
    through.finish(running);
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn brokers_that_are_away_at_the_start_are_waited_for_on_both_sides() {
    let through = ThroughKafka::new("out_none");
    let writer = Writer::start(&through.source);
    through.kafka.stop(1);
    let mut running = vec![through.publish.run(), through.apply.run()];
    std::thread::sleep(Duration::from_secs(4));
    assert!(running.iter_mut().all(Running::alive), "{}", running[0].text());
    through.kafka.restart(1);
    running.iter_mut().for_each(Running::wait_ready);
    assert!(writer.stop() > 20, "the load did next to nothing");
    through.catch_up(&mut running);
    through.finish(running);
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn leaders_that_freeze_are_replaced_and_come_back_and_nothing_stops() {
    use nix::sys::signal::{Signal, kill};
    let kafka = Kafka::nodes(3).config("min.insync.replicas=2").proxied().start();
    let through = ThroughKafka::on("out_leader", kafka, 3);
    let writer = Writer::paced(&through.source, Duration::from_millis(40));
    let mut running = vec![through.publish.run(), through.apply.run()];
    running.iter_mut().for_each(Running::wait_ready);
    for pid in through.kafka.pids() {
        let node = nix::unistd::Pid::from_raw(pid);
        kill(node, Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        // The others lead what it led as soon as it is missed.
        let began = std::time::Instant::now();
        through.catch_up(&mut running);
        assert!(began.elapsed() < Duration::from_secs(45), "a frozen broker holds everything up");
        std::thread::sleep(Duration::from_secs(5));
        kill(node, Signal::SIGCONT).unwrap();
        through.catch_up(&mut running);
        // It has to be in sync again before the next one goes.
        std::thread::sleep(Duration::from_secs(8));
    }
    assert!(writer.stop() > 20, "the load did next to nothing");
    through.finish(running);
}

/// A file of an unlogged table that is rolled back stays until the next checkpoint, and a server that finds it there
/// while it recovers does not start.
#[test]
fn a_warehouse_that_dies_after_a_flush_was_rolled_back_starts_again() {
    for version in [15, 17] {
        // What is logged of a rollback would otherwise be on the disk a moment later.
        let warehouse = Postgres::version(version).config("wal_writer_delay = 10s").start();
        let (source, target) = (Postgres::shared(17).database("rolled_back"), warehouse.database("copy"));
        source.sql("create table t (id int primary key, body text); insert into t values (1, 'a')");
        let pipeline = Tailwater::new("rolled_back")
            .source_postgres(&source.url(), &["public.*"])
            .sink_postgres(&target.url(), None);
        pipeline.run_until_current().success();
        warehouse.sql("checkpoint");
        let lock = target.session();
        lock.sql("begin; lock table t in share row exclusive mode");
        source.sql("insert into t values (2, 'b')");
        let mut running = pipeline.run();
        let waits =
            "from pg_stat_activity where wait_event_type = 'Lock' and datname = 'copy'".replace("copy", target.name());
        running.wait_until("merging", |_| target.one(&format!("select count(*) {waits}")) == "1");
        running.kill9();
        // All that the flush has logged is on the disk with this.
        target.sql("create table flushed ()");
        target.sql(&format!("select pg_terminate_backend(pid, 10000) {waits}"));
        warehouse.kill9();
        warehouse.restart();
        pipeline.run_until_current().success();
        assert_all_equal(&source.session(), &["t"], Copy::Postgres(&target.session()));
    }
}
