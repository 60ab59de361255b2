//! How long changes wait for a flush.
//!
//! A flush costs something that hardly depends on what is in it: round trips, the commit, on some warehouses a queue of
//! commits, a merge that looks at the whole target. So the wait is three times what flushes took: they fill a quarter of
//! the time at most, where a commit is cheap a change is there at once, and where it is dear more changes share one.
//! A dearer flush counts half, a cheaper one at once: one that was large because of a backlog is soon forgotten.

use std::time::Duration;

/// What flushes may fill of the time: one part in four.
const WAITS: u32 = 3;
/// However cheap a flush is.
const LEAST: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    most: Duration,
    adapts: bool,
    cost: Duration,
}

impl Pace {
    /// Waits `most`, or up to it where it adapts.
    pub(super) fn new(most: Duration, adapts: bool) -> Pace {
        Pace { most, adapts, cost: Duration::ZERO }
    }

    /// How long the first change waits for others.
    pub(super) fn pause(&self) -> Duration {
        if self.adapts { (self.cost * WAITS).max(LEAST).min(self.most) } else { self.most }
    }

    /// A flush took so long.
    pub(super) fn took(&mut self, spent: Duration) {
        self.cost = spent.min((self.cost + spent) / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Flushes of so much each, until the wait settles.
    fn settled(cost: impl Fn(Duration) -> Duration) -> Duration {
        let mut pace = Pace::new(ms(10_000), true);
        for _ in 0..100 {
            let gathered = pace.pause();
            pace.took(cost(gathered));
        }
        pace.pause()
    }

    #[test]
    fn a_cheap_flush_is_not_waited_for_and_a_dear_one_is_shared() {
        assert_eq!(settled(|_| ms(4)), ms(100));
        assert!(
            (ms(1790)..=ms(1800)).contains(&settled(|_| ms(600))),
            "a commit of 600 ms takes a quarter of the time"
        );
        assert_eq!(settled(|_| ms(20_000)), ms(10_000), "never beyond the limit");
        // 50 ms and a tenth of the time for what has gathered: all the more gathers.
        assert!((ms(205)..=ms(225)).contains(&settled(|gathered| ms(50) + gathered / 10)));
    }

    #[test]
    fn after_a_backlog_the_wait_is_short_again_at_once() {
        let mut pace = Pace::new(ms(10_000), true);
        (0..10).for_each(|_| pace.took(ms(3000)));
        assert!(pace.pause() > ms(8000));
        pace.took(ms(10));
        assert_eq!(pace.pause(), ms(100));
    }

    #[test]
    fn a_wait_that_was_asked_for_stays() {
        let mut pace = Pace::new(ms(60_000), false);
        pace.took(ms(4));
        assert_eq!(pace.pause(), ms(60_000));
    }
}
