//! Instants as PostgreSQL counts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds between 1970-01-01 and 2000-01-01.
const EPOCH_SECONDS: i64 = 946_684_800;

/// Microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PgTimestamp(pub i64);

impl PgTimestamp {
    /// The wall clock's time, as near as PostgreSQL's counting comes to it.
    pub fn now() -> PgTimestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        PgTimestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// From microseconds since 1970.
    pub const fn from_unix_micros(micros: i64) -> PgTimestamp {
        PgTimestamp(micros.saturating_sub(EPOCH_SECONDS * 1_000_000))
    }

    /// Microseconds since 1970.
    pub const fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_SECONDS * 1_000_000)
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn unix_millis(self) -> i64 {
        self.unix_micros().div_euclid(1000)
    }

    /// Seconds from `earlier` to here; 0 when clocks disagree about which came first.
    pub fn seconds_since(self, earlier: PgTimestamp) -> f64 {
        self.0.saturating_sub(earlier.0).max(0) as f64 / 1e6
    }
}
