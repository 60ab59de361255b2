//! What the tests run against: real servers of their own, the binary, and ways to look at both.
//!
//! ```text
//! cache       where `make services` has put PostgreSQL, Kafka and libduckdb
//! supervised  a process that ends with the test, however the test ends
//! postgres    Postgres: a throw-away server; Database: one of its databases; Session: one connection
//! kafka       Kafka: a throw-away cluster, and reading its topics
//! judge       what Kafka's own consumer of committed records sees
//! contract    whether records are those that Debezium tells
//! registry    Registry: a throw-away schema registry
//! redshift    Redshift: what PostgreSQL refuses not and Redshift does; COPY from S3
//! s3          S3: a server with checked signatures that fails on demand
//! http        one request, one answer
//! tailwater   Tailwater: the binary with a configuration; Running: one process of it
//! proxy       Proxy: a connection in the middle that can be cut, stalled, delayed, refused, lost in part or one way
//! small_disk  SmallDisk: a disk that is full on demand
//! duck        the rows of a DuckDB file
//! compare     whether two tables are equal in every row and column
//! workload    a mixed write load whose traces can be checked
//! ```
//!
//! Everything blocks and may be called from a plain `#[test]` as well as from a multi-threaded `#[tokio::test]`.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod cache;
pub mod certificates;
pub mod compare;
#[cfg(feature = "kafka")]
pub mod contract;
pub mod dir;
#[cfg(feature = "duckdb")]
pub mod duck;
pub mod http;
#[cfg(feature = "kafka")]
pub mod judge;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod port;
pub mod postgres;
pub mod proxy;
#[cfg(feature = "redshift")]
pub mod redshift;
pub mod registry;
pub mod runtime;
#[cfg(feature = "redshift")]
pub mod s3;
pub mod session;
#[cfg(feature = "duckdb")]
pub mod small_disk;
pub mod supervised;
pub mod tailwater;
pub mod workload;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// After what time something counts as hung that takes so long at most on a calm machine: `TAILWATER_PATIENCE` times
/// that, once unless told.
pub fn patient(limit: Duration) -> Duration {
    static PATIENCE: OnceLock<u32> = OnceLock::new();
    let told = || std::env::var("TAILWATER_PATIENCE").ok();
    limit * *PATIENCE.get_or_init(|| told().map_or(1, |text| text.parse().expect("TAILWATER_PATIENCE is a number")))
}

/// Waits until `condition` gives something, or panics saying what did not happen.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let (begin, limit) = (Instant::now(), patient(limit));
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < limit, "within {limit:?} this did not happen: {what}");
        pause(begin);
    }
}

/// Between two looks at what has not happened since `begin`: each may cost a connection, and others are at work.
pub fn pause(begin: Instant) {
    std::thread::sleep((begin.elapsed() / 20).clamp(Duration::from_millis(10), Duration::from_millis(100)));
}
