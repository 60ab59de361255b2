//! Everything outside of the processes, and what must always hold of it.

use std::sync::{Arc, Mutex};

use tailwater::model::{Lsn, Phase, SourcePosition};

use super::chance::Chance;
use super::server::{Rows, Server};
use super::warehouse::{Kept, Warehouse};

/// What the processes and the schedule share.
pub type Shared = Arc<Mutex<World>>;

/// See the module.
pub struct World {
    pub chance: Chance,
    pub server: Server,
    pub warehouse: Warehouse,
    /// Whether accidents happen.
    pub faults: bool,
    /// The first thing that must not be.
    pub violation: Option<String>,
    /// What happened, for whoever replays a seed.
    pub story: Option<Vec<String>>,
    /// A person, or another program, has broken what was promised: the process is to say so and stop.
    pub advanced: bool,
    replayed: Replayed,
}

/// The source's rows after the first transactions of the log.
#[derive(Default)]
struct Replayed {
    rows: Rows,
    count: usize,
    timeline: u32,
}

impl World {
    pub fn new(seed: u64, tell: bool) -> World {
        World {
            chance: Chance::new(seed),
            server: Server::new(),
            warehouse: Warehouse::default(),
            faults: true,
            violation: None,
            story: tell.then(Vec::new),
            advanced: false,
            replayed: Replayed::default(),
        }
    }

    /// Notes what happened.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    pub fn broken(&mut self, what: String) {
        self.tell(|| format!("BROKEN: {what}"));
        self.violation.get_or_insert(what);
    }

    /// Whether the warehouse is beyond where the server left the timeline of what it has.
    pub fn diverged(&self) -> bool {
        let Some(stored) = &self.warehouse.committed.progress else { return false };
        let SourcePosition { timeline, lsn, .. } = stored.position;
        let last = stored.change.commit.get();
        let left = self.server.history.iter().find(|(left, _)| *left == timeline).map_or(0, |(_, at)| *at);
        timeline != self.server.timeline && (left < lsn.get() || left <= last)
    }

    /// Whether a process is right to wait for a person.
    pub fn blocks(&self) -> bool {
        self.advanced || self.diverged()
    }

    /// An acknowledgement leaves: everything that commits before it must be in the warehouse.
    pub fn acknowledge(&mut self, session: u64, position: Lsn) {
        // Until a snapshot is complete the next start takes another one, and needs nothing of the log before it.
        let progress = self.warehouse.committed.progress.as_ref().filter(|stored| stored.phase == Phase::Stream);
        if let Some(last) = progress.filter(|_| !self.diverged()).map(|stored| stored.change.commit) {
            let ended = |end: u64| end <= position.get();
            let told = self.server.log.iter().rfind(|done| ended(done.end)).map(|done| done.commit);
            if let Some(commit) = told.filter(|&commit| commit > last.get()) {
                let what = format!("{position} is acknowledged, but {} is not in the warehouse", Lsn::new(commit));
                self.broken(what);
            }
        }
        self.tell(|| format!("acknowledged {position}"));
        self.server.status(session, position.get());
    }

    /// The warehouse's content has changed: it must be the source's at the position it tells.
    pub fn check(&mut self) {
        let Some(stored) = self.warehouse.committed.progress.clone() else { return };
        if stored.phase == Phase::Snapshot || self.diverged() {
            return;
        }
        let count = self.server.log.partition_point(|done| done.commit <= stored.change.commit.get());
        let by_position = self.server.log.partition_point(|done| done.end <= stored.position.lsn.get());
        if by_position > count {
            let what = format!("the position {} is beyond the last change {}", stored.position.lsn, stored.change);
            return self.broken(what);
        }
        self.replay(count);
        if let Some(difference) = difference(&self.replayed.rows, &self.warehouse) {
            let at = stored.change;
            self.broken(format!("the warehouse differs from the source at {at} ({count} transactions): {difference}"));
        }
    }

    fn replay(&mut self, count: usize) {
        let Replayed { rows, count: done, timeline } = &mut self.replayed;
        if *done > count || *timeline != self.server.timeline {
            (*rows, *done, *timeline) = (Rows::default(), 0, self.server.timeline);
        }
        let more = self.server.log.get(*done..count).unwrap_or_default();
        more.iter().flat_map(|done| &done.deeds).for_each(|(_, deed)| rows.apply(deed));
        *done = count;
    }

    /// All that was committed must be there.
    pub fn check_end(&mut self) {
        self.replay(self.server.log.len());
        if let Some(difference) = difference(&self.replayed.rows, &self.warehouse) {
            self.broken(format!("the warehouse differs from the source at the end: {difference}"));
        }
    }
}

/// How the warehouse differs from the source.
fn difference(source: &Rows, warehouse: &Warehouse) -> Option<String> {
    let empty = Kept::default();
    let table = |name: &str| warehouse.committed.tables.get(name).unwrap_or(&empty);
    let keyed = &table("public.keyed").rows;
    let there: Vec<&String> = keyed.keys().collect();
    let wanted: Vec<&String> = source.keyed.keys().collect();
    if there != wanted {
        return Some(format!("its keys are {there:?} instead of {wanted:?}"));
    }
    for (key, cells) in &source.keyed {
        let (row, id) = &keyed[key];
        let padded = |cells: &[Option<String>], length| {
            let mut cells = cells.to_vec();
            cells.resize(length, None);
            cells
        };
        let width = row.len().max(cells.len() + 1);
        if padded(&row[1..], width) != padded(cells, width) {
            return Some(format!("{key} of {id} is {:?} instead of {cells:?}", &row[1..]));
        }
    }
    let number = |cell: &Option<String>| cell.as_deref().unwrap_or_default().parse::<u64>().unwrap_or(0);
    let mut notes: Vec<(u64, u64)> =
        table("public.diary").appended.iter().map(|(row, _)| (number(&row[0]), number(&row[1]))).collect();
    let mut expected = source.diary.clone();
    notes.sort_unstable();
    expected.sort_unstable();
    (notes != expected).then(|| format!("its diary is {notes:?} instead of {expected:?}"))
}
