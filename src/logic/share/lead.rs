//! The leader's decisions: which cuts there are, and when one may be merged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Cut, Topics};

/// When a cut is made: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records under its markers.
    pub rows: u64,
    /// How long its first marker has waited.
    pub after: Duration,
    /// How many cuts are staged at a time.
    pub open: usize,
}

/// A marker that ends complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The offset after it.
    pub progress: i64,
    /// The topics that moved under it.
    pub topics: Topics,
    /// Their records.
    pub rows: u64,
}

/// A member's stage of a topic is complete.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Report {
    /// For which leader.
    pub fence: u64,
    /// The number of the cut.
    pub cut: u64,
    /// The topic.
    pub topic: String,
    /// Whose stage it is.
    pub member: String,
}

/// What a leader hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The next marker.
    Marked(Mark),
    /// All stages there are.
    Staged(Vec<Report>),
    /// Time passes.
    Tick,
    /// The commit with this cut has been made.
    Merged(u64),
}

/// What a leader has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Tell all members of a cut.
    Announce(Cut),
    /// Merge the stages of these members, one for each topic, in one commit with the cut's end as position.
    Merge(Cut, BTreeMap<String, String>),
}

#[derive(Clone, Debug)]
struct Open {
    cut: Cut,
    topics: Topics,
    /// When its first marker came.
    first: Duration,
    ordered: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Lead {
    fence: u64,
    limits: Limits,
    /// Where the next cut begins.
    since: i64,
    number: u64,
    /// Markers after the last cut, and when each came.
    waiting: VecDeque<(Duration, Mark)>,
    open: VecDeque<Open>,
    stages: BTreeSet<Report>,
}

/// Markers that may wait; more are not read.
const WAITING: usize = 10_000;

impl Lead {
    /// A leader with this number begins where the warehouse stands.
    pub fn new(fence: u64, stored: i64, limits: Limits) -> Lead {
        let (waiting, open, stages) = Default::default();
        Lead { fence, limits, since: stored, number: 0, waiting, open, stages }
    }

    /// Whether more markers may come.
    pub fn hungry(&self) -> bool {
        self.waiting.len() < WAITING
    }

    /// Whether cuts are open whose stages are waited for.
    pub fn waits(&self) -> bool {
        !self.open.is_empty()
    }

    /// When the first marker came that is not merged.
    pub fn oldest(&self) -> Option<Duration> {
        self.open.front().map(|open| open.first).or(self.waiting.front().map(|(first, _)| *first))
    }

    /// What follows from an event at this moment.
    pub fn hear(&mut self, event: Event, now: Duration) -> Vec<Order> {
        match event {
            Event::Marked(mark) => self.waiting.push_back((now, mark)),
            // Stages for other leaders' cuts are of no use: their numbers mean other stretches.
            Event::Staged(reports) => {
                self.stages = reports.into_iter().filter(|report| report.fence == self.fence).collect();
            }
            Event::Merged(number) => {
                self.open.retain(|open| open.cut.number != number);
                self.stages.retain(|report| report.cut != number);
            }
            Event::Tick => {}
        }
        let mut orders = Vec::new();
        orders.extend(self.merge());
        while let Some(order) = self.announce(now) {
            orders.push(order);
        }
        orders
    }

    fn announce(&mut self, now: Duration) -> Option<Order> {
        if self.open.len() >= self.limits.open {
            return None;
        }
        let rows: u64 = self.waiting.iter().map(|(_, mark)| mark.rows).sum();
        let first = self.waiting.front()?.0;
        if rows < self.limits.rows && now.saturating_sub(first) < self.limits.after {
            return None;
        }
        let (mut topics, mut taken, mut upto) = (Topics::new(), 0, self.since);
        while let Some((_, mark)) = self.waiting.pop_front() {
            taken += mark.rows;
            upto = mark.progress;
            topics.extend(mark.topics);
            if taken >= self.limits.rows {
                break;
            }
        }
        self.number += 1;
        let cut = Cut { number: self.number, since: self.since, upto };
        self.since = upto;
        self.open.push_back(Open { cut, topics, first, ordered: false });
        Some(Order::Announce(cut))
    }

    /// Cuts are merged in their order, each when every topic that moved in it is staged.
    fn merge(&mut self) -> Option<Order> {
        let open = self.open.front_mut().filter(|open| !open.ordered)?;
        let stage = |topic: &String| {
            let of = |report: &&Report| report.cut == open.cut.number && report.topic == *topic;
            self.stages.iter().find(of).map(|report| (topic.clone(), report.member.clone()))
        };
        let from = open.topics.iter().map(stage).collect::<Option<BTreeMap<_, _>>>()?;
        open.ordered = true;
        Some(Order::Merge(open.cut, from))
    }
}
