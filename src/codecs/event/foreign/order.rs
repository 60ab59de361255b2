//! Where a partition stands in the source's log, so that what is delivered again is known.
//!
//! Debezium delivers at least once: after a crash it writes a run of events again, in their order. Within a partition
//! `source.sequence` never falls while nothing is repeated, so an event below the mark has been here before, unless its
//! time is later than any so far: then the log itself has begun anew.

/// Where the source's log has an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// The end of the transaction before its own, and its own LSN.
    pub version: (u64, u64),
    /// When its transaction committed, in milliseconds since 1970.
    pub at: i64,
}

/// What has been seen of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mark {
    version: (u64, u64),
    /// Events at that version: the rows of one log record share it.
    count: u64,
    at: i64,
    /// How many of those have come again, while a run is being repeated.
    again: Option<u64>,
}

/// What is to be done with an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is new.
    Take,
    /// It has been here.
    Again,
    /// It is of another log.
    Elsewhere,
}

impl Mark {
    /// Takes the partition's next event.
    pub fn meet(&mut self, order: Order) -> Verdict {
        if order.version < self.version {
            if order.at > self.at {
                return Verdict::Elsewhere;
            }
            self.again = Some(0);
            return Verdict::Again;
        }
        if order.version == self.version {
            if let Some(again) = self.again.filter(|again| *again < self.count) {
                self.again = Some(again + 1);
                return Verdict::Again;
            }
            self.count += 1;
        } else {
            (self.version, self.count) = (order.version, 1);
        }
        self.again = None;
        self.at = self.at.max(order.at);
        Verdict::Take
    }

    /// Whether events behind this version have come.
    pub fn is_past(&self, version: (u64, u64)) -> bool {
        self.version > version
    }

    /// The same, or those at it.
    pub fn is_at(&self, version: (u64, u64)) -> bool {
        self.version >= version
    }

    /// The mark as a text.
    pub fn print(&self) -> String {
        let (commit, lsn) = self.version;
        let again = self.again.map(|again| format!(" {again}")).unwrap_or_default();
        format!("{commit} {lsn} {} {}{again}", self.count, self.at)
    }

    /// What [`Mark::print`] wrote.
    pub fn parse(text: &str) -> Option<Mark> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (version, count) = ((number()?, number()?), number()?);
        let at = words.next()?.parse().ok()?;
        let again = words.next().map(str::parse).transpose().ok()?;
        words.next().is_none().then_some(Mark { version, count, at, again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(mark: &mut Mark, events: &[(u64, u64, i64)]) -> Vec<Verdict> {
        events.iter().map(|&(commit, lsn, at)| mark.meet(Order { version: (commit, lsn), at })).collect()
    }

    #[test]
    fn what_is_delivered_again_is_told_from_rows_that_share_a_log_record() {
        use Verdict::{Again, Take};
        let mut mark = Mark::default();
        assert_eq!(events(&mut mark, &[(0, 8, 1), (10, 16, 2), (20, 24, 3), (20, 24, 3)]), [Take; 4]);
        let again = [(10, 16, 2), (20, 24, 3), (20, 24, 3), (20, 24, 3), (30, 40, 4)];
        assert_eq!(events(&mut mark, &again), [Again, Again, Again, Take, Take]);
        assert_eq!(Mark::parse(&mark.print()), Some(mark));
    }

    #[test]
    fn a_log_that_begins_anew_is_told_from_a_repetition() {
        let mut mark = Mark::default();
        events(&mut mark, &[(100, 108, 5), (200, 208, 6)]);
        assert_eq!(events(&mut mark, &[(100, 108, 5), (50, 60, 7)]), [Verdict::Again, Verdict::Elsewhere]);
    }
}
