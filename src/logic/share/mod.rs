//! How several processes share the work of one warehouse: who stages what, and when the leader may merge.
//!
//! ```text
//!  leader   markers ─▶ Lead ── announces a cut: (since, upto] of the progress topic ──▶ control tables
//!  members  control tables ─▶ Stager ── reads its topics up to the cut, stages their net rows, says so in the same commit
//!  leader   all topics of the lowest cut are staged ─▶ merges one stage of each, and moves the position, in one commit
//! ```
//!
//! Why each change is merged once, whoever dies, freezes or is in doubt of what it owns. What a stage of a topic holds
//! follows from the topic and the cut alone: it is made by a reader that stood at the cut's beginning with everything
//! before it read, it is complete when others can see it, and it is never touched again. So any stage of a topic will
//! do, two of them are as good as one, and which member owns a topic matters for speed only. A cut counts for one
//! leader, whose number (the warehouse's fence) it carries; a new leader begins with cuts of its own at the warehouse's
//! position, and the fence keeps the old one from committing. Why a reader of the warehouse sees whole transactions: a
//! cut ends where a marker is complete, and all its topics are merged in one commit.
//!
//! While a table is stopped the leader does all the work, as if it were alone, under a fence of its own, which has no cuts:
//! that way knows how changes of such a table wait and how it goes on. Who finds that a table can't be merged notes it, as
//! long as the fence is the one it works for, and the leader sees that; cuts of before count for nobody then, as always.

mod lead;
mod stager;

use std::collections::BTreeSet;

pub use lead::{Event, Lead, Limits, Mark, Order, Report};
pub use stager::{Stager, Step, View};

/// A stretch of the progress topic: the changes under its markers are merged in one commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cut {
    /// Counts a leader's cuts.
    pub number: u64,
    /// Where it begins: the offset after the last marker before it.
    pub since: i64,
    /// Where it ends: the offset after its last marker.
    pub upto: i64,
}

/// Topics.
pub type Topics = BTreeSet<String>;

/// The partition whose owner has the whole topic; that of another topic is another, so that no member gets all of them.
pub fn deciding(topic: &str, partitions: i32) -> i32 {
    // FNV-1a, the high bits of which are better than the low ones.
    let hash = topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let partitions = u64::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from((hash >> 32) % partitions).unwrap_or(0)
}
