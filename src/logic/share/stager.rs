//! A member's next step: where its reader has to stand, and what it has to stage.

use std::collections::BTreeSet;

use super::{Cut, Topics};

/// What the control tables say at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The leader's number.
    pub fence: u64,
    /// Where the warehouse stands: the offset after the last marker whose changes are in it.
    pub stored: i64,
    /// The leader's cuts that are not merged yet.
    pub cuts: Vec<Cut>,
    /// Whether the leader shares the work: it does all of it while tables are stopped.
    pub shared: bool,
}

/// What a member has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Begin to read anew, at the warehouse's position, what is owned now.
    Restart,
    /// Read to the end of this cut, and fold.
    Read(Cut),
    /// Nothing until the leader or the group says something new.
    Wait,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Stager {
    /// Where the reader stands, for which leader, with which assignment.
    reading: Option<Reading>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    fence: u64,
    assignment: u64,
    at: i64,
}

impl Stager {
    /// The next step, given what the control tables say and which assignment of the group counts.
    pub fn next(&self, view: &View, assignment: u64) -> Step {
        if !view.shared {
            return Step::Wait;
        }
        // What was read of a topic depends on when its reading began, so another assignment begins anew; and so do
        // another leader's cuts, which begin at the position again.
        let fits = |reading: &Reading| reading.fence == view.fence && reading.assignment == assignment;
        let Some(reading) = self.reading.filter(fits) else { return Step::Restart };
        match view.cuts.iter().find(|cut| cut.since == reading.at) {
            Some(cut) => Step::Read(*cut),
            // A cut was merged without us.
            None if view.stored > reading.at => Step::Restart,
            None => Step::Wait,
        }
    }

    /// The reader stands at the warehouse's position, and reads what this assignment gives.
    pub fn began(&mut self, fence: u64, assignment: u64, at: i64) {
        self.reading = Some(Reading { fence, assignment, at });
    }

    /// The reader stands at the end of the cut: which topics, of those that moved in it and are owned, are to be staged.
    pub fn read(&mut self, cut: Cut, mine: Topics, staged: &BTreeSet<(u64, String)>) -> Topics {
        if let Some(reading) = &mut self.reading {
            reading.at = cut.upto;
        }
        mine.into_iter().filter(|topic| !staged.contains(&(cut.number, topic.clone()))).collect()
    }
}
