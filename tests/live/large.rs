//! Large values, wide rows and large transactions: they arrive, and memory stays bounded.

use std::time::{Duration, Instant};

use crate::support::compare::{Copy, assert_all_equal};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

/// 50 MB of text and 10 MB of bytes that can't be compressed to next to nothing.
const BIG: &str = "(select string_agg(md5(n::text), '') from generate_series(1, 1600000) n)";
const RAW: &str = "(select decode(string_agg(md5(n::text), ''), 'hex') from generate_series(1, 640000) n)";

/// Runs until everything is there; returns the most memory it held, in MiB.
fn follow(processes: &[&Tailwater]) -> u64 {
    let mut peak = 0;
    for process in processes {
        peak = peak.max(watch(process, &|| {}));
    }
    peak
}

/// Runs until everything is there and looks at something meanwhile; returns the most memory it held, in MiB.
fn watch(process: &Tailwater, look: &dyn Fn()) -> u64 {
    let (begin, mut peak) = (Instant::now(), 0);
    let mut running = process.start(&["run", "--until-current"]);
    while running.alive() {
        assert!(begin.elapsed() < Duration::from_secs(180), "it does not end: {}", running.text());
        peak = peak.max(running.peak_memory() >> 20);
        look();
        std::thread::sleep(Duration::from_millis(20));
    }
    running.wait().success();
    peak
}

/// Large values by snapshot and by stream: inserted, left out of an update, changed, moved to another key, deleted.
fn large_values(source: &Database<'_>, processes: &[&Tailwater], copy: &dyn Fn()) -> u64 {
    source.sql(&format!(
        "create table big (id int primary key, note text, doc text, raw bytea);
         insert into big values (1, 'read', {BIG}, {RAW}), (2, 'read', null, null)"
    ));
    let mut peak = follow(processes);
    copy();
    source.sql(&format!("insert into big values (3, 'streamed', {BIG}, {RAW})"));
    source.sql("update big set note = 'changed' where id in (1, 3); update big set id = 4 where id = 3");
    source.sql("update big set doc = reverse(doc) where id = 1");
    peak = peak.max(follow(processes));
    copy();
    source.sql("delete from big where id = 4");
    peak = peak.max(follow(processes));
    copy();
    peak
}

fn embedded(name: &str, source: &Database<'_>) -> Tailwater {
    Tailwater::new(name).source_postgres(&source.url(), &["public.*"])
}

/// The first process of a pipeline through Kafka, and its prefix.
#[cfg(feature = "kafka")]
fn publish(kafka: &Kafka, name: &str, source: &Database<'_>) -> (Tailwater, String) {
    let prefix = kafka.prefix(name);
    let publish = embedded(&format!("{name}_in"), source)
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\npartitions = 3\nreplication = 1");
    (publish, prefix)
}

/// The second, which has no sink yet.
#[cfg(feature = "kafka")]
fn apply(kafka: &Kafka, name: &str, prefix: &str) -> Tailwater {
    Tailwater::new(name).source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], name)
}

#[test]
fn values_of_50_and_10_megabytes_arrive_in_postgres() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("big_pp_s"), server.database("big_pp_t"));
    let pipeline = embedded("big_pp", &source).sink_postgres(&target.url(), None);
    let equal = || assert_all_equal(&source.session(), &["public.big"], Copy::Postgres(&target.session()));
    let peak = large_values(&source, &[&pipeline], &equal);
    println!("peak {peak} MiB");
    assert!(peak < 600, "{peak} MiB");
}

#[cfg(feature = "duckdb")]
#[test]
fn values_of_50_and_10_megabytes_arrive_in_duckdb() {
    let source = Postgres::shared(17).database("big_pd_s");
    let dir = Dir::new();
    let file = dir.join("big.duckdb");
    let pipeline = embedded("big_pd", &source).sink_duckdb(&file);
    let equal = || assert_all_equal(&source.session(), &["public.big"], Copy::Duckdb(&file));
    let peak = large_values(&source, &[&pipeline], &equal);
    println!("peak {peak} MiB");
    assert!(peak < 1900, "{peak} MiB");
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn values_of_50_and_10_megabytes_pass_through_a_kafka_that_takes_them() {
    let kafka =
        Kafka::nodes(1).config("message.max.bytes=200000000").config("socket.request.max.bytes=300000000").start();
    let server = Postgres::shared(17);
    let (source, target) = (server.database("big_k_s"), server.database("big_k_t"));
    let dir = Dir::new();
    let file = dir.join("big.duckdb");
    let (publish, prefix) = publish(&kafka, "big_k", &source);
    let first = apply(&kafka, "big_kd", &prefix).sink_duckdb(&file);
    let second = apply(&kafka, "big_kp", &prefix).sink_postgres(&target.url(), None);
    let equal = || {
        assert_all_equal(&source.session(), &["public.big"], Copy::Duckdb(&file));
        assert_all_equal(&source.session(), &["public.big"], Copy::Postgres(&target.session()));
    };
    let peak = large_values(&source, &[&publish, &first, &second], &equal);
    println!("peak {peak} MiB");
    assert!(peak < 1900, "{peak} MiB");
}

/// A million rows in one transaction, half of them changed in another; returns the peak in MiB.
fn large_transactions(
    source: &Database<'_>,
    processes: &[&Tailwater],
    whole: &dyn Fn() -> bool,
    copy: &dyn Fn(),
) -> u64 {
    source.sql("create table many (id int primary key, a bigint, b text, c timestamptz)");
    follow(processes);
    source.sql("insert into many select n, n * 7, 'customer number ' || n, now() from generate_series(1, 1000000) n");
    let mut peak = 0;
    for process in processes {
        peak =
            peak.max(watch(process, &|| assert!(whole(), "a reader of the warehouse saw a part of the transaction")));
    }
    copy();
    source.sql("update many set a = a + 1 where id % 2 = 0");
    peak = peak.max(follow(processes));
    copy();
    peak
}

#[test]
fn a_transaction_of_a_million_rows_arrives_whole_in_postgres() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("many_pp_s"), server.database("many_pp_t"));
    let pipeline = embedded("many_pp", &source).sink_postgres(&target.url(), None);
    let session = target.session();
    let whole = || {
        let rows = session.try_sql("select count(*) from many").unwrap_or_default();
        let count = rows.first().and_then(|row| row[0].clone()).unwrap_or("0".into());
        count == "0" || count == "1000000"
    };
    let equal = || assert_all_equal(&source.session(), &["public.many"], Copy::Postgres(&target.session()));
    let peak = large_transactions(&source, &[&pipeline], &whole, &equal);
    println!("peak {peak} MiB");
    assert!(peak < 256, "{peak} MiB");
}

#[cfg(feature = "duckdb")]
#[test]
fn a_transaction_of_a_million_rows_arrives_in_duckdb() {
    let source = Postgres::shared(15).database("many_pd_s");
    let dir = Dir::new();
    let file = dir.join("many.duckdb");
    let pipeline = embedded("many_pd", &source).sink_duckdb(&file);
    let equal = || assert_all_equal(&source.session(), &["public.many"], Copy::Duckdb(&file));
    let peak = large_transactions(&source, &[&pipeline], &|| true, &equal);
    println!("peak {peak} MiB");
    assert!(peak < 1000, "{peak} MiB");
}

#[cfg(feature = "kafka")]
#[test]
fn a_transaction_of_a_million_rows_passes_through_kafka_whole() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("many_k_s"), server.database("many_k_t"));
    let (publish, prefix) = publish(Kafka::shared(), "many_k", &source);
    let apply = apply(Kafka::shared(), "many_k", &prefix).sink_postgres(&target.url(), None);
    let session = target.session();
    let whole = || {
        let rows = session.try_sql("select count(*) from many").unwrap_or_default();
        let count = rows.first().and_then(|row| row[0].clone()).unwrap_or("0".into());
        count == "0" || count == "1000000"
    };
    let equal = || assert_all_equal(&source.session(), &["public.many"], Copy::Postgres(&target.session()));
    // What is held, and not what the allocator gives back a moment later.
    let [publish, apply] =
        [publish, apply].map(|process| process.env("MALLOC_CONF", "narenas:4,dirty_decay_ms:0,muzzy_decay_ms:0"));
    let peak = large_transactions(&source, &[&publish, &apply], &whole, &equal);
    println!("peak {peak} MiB");
    // More, and what was fetched ahead is no longer bounded as it comes out of its compression.
    assert!(peak < 150, "{peak} MiB");
}

/// A table of so many columns, the first the key, with a row by snapshot and one by stream.
fn wide(source: &Database<'_>, columns: u32) {
    let list = |each: &dyn Fn(u32) -> String| (1..columns).map(each).collect::<Vec<_>>().join(", ");
    let columns = list(&|n| format!("c{n} int"));
    source.sql(&format!("create table wide (id int primary key, {columns})"));
    for id in [1, 2] {
        source.sql(&format!("insert into wide values ({id}, {})", list(&|n| n.to_string())));
    }
}

#[cfg(all(feature = "kafka", feature = "duckdb"))]
#[test]
fn a_row_of_1600_columns_arrives_in_duckdb_with_and_without_kafka() {
    let source = Postgres::shared(17).database("wide_s");
    let dir = Dir::new();
    let (straight, around) = (dir.join("straight.duckdb"), dir.join("around.duckdb"));
    wide(&source, 1600);
    let (publish, prefix) = publish(Kafka::shared(), "wide_k", &source);
    let apply = apply(Kafka::shared(), "wide_k", &prefix).sink_duckdb(&around);
    let embedded = embedded("wide", &source).sink_duckdb(&straight);
    for round in 0..2 {
        follow(&[&embedded, &publish, &apply]);
        for file in [&straight, &around] {
            assert_all_equal(&source.session(), &["public.wide"], Copy::Duckdb(file));
        }
        source.sql(&format!("update wide set c1599 = -1 - {round} where id = 2"));
    }
}

#[test]
fn a_table_with_no_room_for_two_more_columns_is_refused_by_postgres_with_its_name() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("wide_p_s"), server.database("wide_p_t"));
    wide(&source, 1600);
    let pipeline = embedded("wide_p", &source).sink_postgres(&target.url(), None);
    pipeline.run_until_current().code(3).says(&["public.wide", "1600", "exclude"]);
    let five = ["c1599", "c1598", "c1597", "c1596", "c1595"];
    let narrower = format!("[[table]]\nmatch = \"public.wide\"\ncolumns.exclude = {five:?}");
    embedded("wide_p", &source).sink_postgres(&target.url(), None).toml(&narrower).run_until_current().success();
    source.sql(&format!("alter table wide drop column {}", five.join(", drop column ")));
    assert_all_equal(&source.session(), &["public.wide"], Copy::Postgres(&target.session()));
}
