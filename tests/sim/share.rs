//! Shared work, simulated: the product's own leader and members, against a model of the control tables, of a group that
//! tells each process late and differently what is its own, and of processes that die and freeze between any two steps.
//!
//! What must hold: each commit holds every change of its stretch of the markers once, and begins where the one before
//! ended; and when it becomes quiet, everything is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tailwater::logic::share::{Cut, Event, Lead, Limits, Mark, Order, Report, Stager, Step, Topics, View};

use super::chance::Chance;

/// A change: its topic and its number.
type Change = (usize, u64);

const TOPICS: usize = 4;
const STEPS: usize = 1200;
const QUIET: usize = 40_000;

/// What a process can see of the others: the topics' markers and the control tables.
#[derive(Default)]
struct Tables {
    /// The changes under each marker; the offset after it is its place plus one.
    markers: Vec<Vec<Change>>,
    fence: u64,
    stored: i64,
    cuts: BTreeMap<(u64, u64), Cut>,
    stages: BTreeMap<Report, Vec<Change>>,
    violation: Option<String>,
}

impl Tables {
    fn under(&self, since: i64, upto: i64) -> Vec<Change> {
        let range = usize::try_from(since).unwrap()..usize::try_from(upto).unwrap();
        self.markers[range].concat()
    }

    fn view(&self) -> View {
        let cuts = self.cuts.iter().filter(|((fence, _), _)| *fence == self.fence).map(|(_, cut)| *cut).collect();
        View { fence: self.fence, stored: self.stored, cuts, shared: true }
    }

    /// One target transaction of a leader; whether it commits.
    fn merge(&mut self, fence: u64, cut: Cut, from: &BTreeMap<String, String>) -> bool {
        if fence != self.fence {
            return false;
        }
        let mut merged = Vec::new();
        for (topic, member) in from {
            let report = Report { fence, cut: cut.number, topic: topic.clone(), member: member.clone() };
            match self.stages.get(&report) {
                Some(stage) => merged.extend(stage.iter().copied()),
                None => self.violation = Some(format!("a stage that is not there is merged: {report:?}")),
            }
        }
        let mut expected = self.under(cut.since, cut.upto);
        expected.sort_unstable();
        merged.sort_unstable();
        if merged != expected || cut.since != self.stored {
            self.violation = Some(format!("{cut:?} from {}: {merged:?} is merged of {expected:?}", self.stored));
        }
        self.stored = cut.upto;
        self.cuts.retain(|(of, number), _| *of > fence || (*of == fence && *number > cut.number));
        self.stages.retain(|report, _| report.fence > fence || (report.fence == fence && report.cut > cut.number));
        true
    }
}

/// What the group has told a process.
#[derive(Clone, Default)]
struct Owned {
    assignment: u64,
    topics: BTreeSet<usize>,
}

struct Leading {
    fence: u64,
    lead: Lead,
    scout: i64,
    orders: VecDeque<Order>,
    reports: Option<Vec<Report>>,
}

#[derive(Default)]
struct Reader {
    at: i64,
    only: BTreeSet<usize>,
}

/// A process: what it has heard, and the step that it is in the middle of.
#[derive(Default)]
struct Process {
    name: String,
    frozen: bool,
    told: Owned,
    /// What it has looked at last: the tables, and what was its own then.
    looked: Option<(View, Owned)>,
    stager: Stager,
    reader: Reader,
    /// A stage that is ready to be shown.
    ready: Option<(u64, Cut, BTreeMap<usize, Vec<Change>>)>,
    believes: bool,
    leading: Option<Leading>,
}

fn name(topic: usize) -> String {
    format!("t{topic}")
}

impl Process {
    fn new(number: u64) -> Process {
        Process { name: format!("m{number}"), ..Process::default() }
    }

    /// One step of the member.
    fn stage(&mut self, tables: &mut Tables) {
        if let Some((fence, cut, stages)) = self.ready.take() {
            if tables.cuts.contains_key(&(fence, cut.number)) {
                for (topic, stage) in stages {
                    let member = self.name.clone();
                    tables.stages.insert(Report { fence, cut: cut.number, topic: name(topic), member }, stage);
                }
            }
            return;
        }
        let Some((view, owned)) = self.looked.take() else {
            self.looked = Some((tables.view(), self.told.clone()));
            return;
        };
        match self.stager.next(&view, owned.assignment) {
            Step::Restart => {
                self.reader = Reader { at: tables.stored, only: owned.topics.clone() };
                self.stager.began(view.fence, owned.assignment, tables.stored);
            }
            Step::Read(cut) => {
                let under = tables.under(self.reader.at, cut.upto);
                self.reader.at = cut.upto;
                let moved: BTreeSet<usize> = under.iter().map(|(topic, _)| *topic).collect();
                let mine: Topics = moved.intersection(&owned.topics).map(|topic| name(*topic)).collect();
                let staged = tables.stages.keys().filter(|report| report.fence == view.fence);
                let staged = staged.map(|report| (report.cut, report.topic.clone())).collect();
                let topics = self.stager.read(cut, mine, &staged);
                let stage = |topic: usize| {
                    let read = |change: &&Change| change.0 == topic && self.reader.only.contains(&topic);
                    (topic, under.iter().filter(read).copied().collect())
                };
                let stages = moved.into_iter().filter(|topic| topics.contains(&name(*topic))).map(stage).collect();
                self.ready = Some((view.fence, cut, stages));
            }
            Step::Wait => {}
        }
    }

    /// One step of the leader.
    fn lead(&mut self, tables: &mut Tables, chance: &mut Chance, now: Duration) {
        if !self.believes {
            self.leading = None;
            return;
        }
        let Some(leading) = &mut self.leading else {
            tables.fence += 1;
            let limits = Limits { rows: 1 + chance.below(6), after: Duration::from_secs(chance.below(20)), open: 2 };
            let lead = Lead::new(tables.fence, tables.stored, limits);
            let (orders, reports) = Default::default();
            self.leading = Some(Leading { fence: tables.fence, lead, scout: tables.stored, orders, reports });
            return;
        };
        let event = match leading.orders.pop_front() {
            Some(Order::Announce(cut)) => {
                if leading.fence == tables.fence {
                    tables.cuts.insert((leading.fence, cut.number), cut);
                } else {
                    self.leading = None;
                }
                return;
            }
            Some(Order::Merge(cut, from)) => {
                if !tables.merge(leading.fence, cut, &from) {
                    self.leading = None;
                    return;
                }
                Event::Merged(cut.number)
            }
            None if leading.reports.is_some() => Event::Staged(leading.reports.take().unwrap()),
            None if chance.one_in(2) => {
                if leading.fence != tables.fence {
                    self.leading = None;
                    return;
                }
                leading.reports = Some(tables.stages.keys().cloned().collect());
                return;
            }
            None if leading.scout < tables.markers.len() as i64 && leading.lead.hungry() => {
                let under = tables.under(leading.scout, leading.scout + 1);
                leading.scout += 1;
                let topics = under.iter().map(|(topic, _)| name(*topic)).collect();
                Event::Marked(Mark { progress: leading.scout, topics, rows: under.len() as u64 })
            }
            None => Event::Tick,
        };
        leading.orders.extend(leading.lead.hear(event, now));
    }
}

fn trouble(processes: &mut [Process], owners: &mut [usize], chance: &mut Chance, number: &mut u64) {
    let one = chance.index(processes.len());
    match chance.below(8) {
        0 => {
            *number += 1;
            processes[one] = Process::new(*number);
        }
        1 => processes[one].frozen = true,
        2 => processes[one].frozen = false,
        3 => owners[chance.index(TOPICS)] = one,
        4 => processes[one].believes = true,
        5 => processes[one].believes = false,
        // It hears of what it has; that it has lost something it hears at its own time.
        _ => tell(&mut processes[one], one, owners),
    }
}

fn tell(process: &mut Process, number: usize, owners: &[usize]) {
    let topics: BTreeSet<usize> = (0..TOPICS).filter(|topic| owners[*topic] == number).collect();
    if topics != process.told.topics {
        process.told = Owned { assignment: process.told.assignment + 1, topics };
    }
}

/// The story of a seed; what is wrong in it.
fn play(seed: u64) -> (Option<String>, usize) {
    let mut chance = Chance::new(seed);
    let mut tables = Tables::default();
    let mut number = 1 + chance.below(3);
    let mut processes: Vec<Process> = (0..=number).map(Process::new).collect();
    let mut owners = vec![0; TOPICS];
    let mut changes = 0;
    for step in 0..STEPS + QUIET {
        let now = Duration::from_secs(step as u64);
        let quiet = step >= STEPS;
        if !quiet && chance.one_in(12) {
            let under = (0..chance.below(5)).map(|_| {
                changes += 1;
                (chance.index(TOPICS), changes)
            });
            tables.markers.push(under.collect());
        }
        if !quiet && chance.one_in(10) {
            trouble(&mut processes, &mut owners, &mut chance, &mut number);
        }
        if step == STEPS {
            for (one, process) in processes.iter_mut().enumerate() {
                (process.frozen, process.believes) = (false, one == 0);
                tell(process, one, &owners);
            }
        }
        let one = chance.index(processes.len());
        let process = &mut processes[one];
        if !process.frozen {
            if chance.one_in(2) {
                process.stage(&mut tables);
            } else {
                process.lead(&mut tables, &mut chance, now);
            }
        }
        if let Some(violation) = tables.violation {
            return (Some(format!("step {step}: {violation}")), tables.markers.len());
        }
        if quiet && tables.stored == tables.markers.len() as i64 {
            return (None, tables.markers.len());
        }
    }
    (Some(format!("it stands still at {} of {}", tables.stored, tables.markers.len())), tables.markers.len())
}

#[test]
fn each_change_is_merged_once_whoever_owns_what_leads_dies_or_comes_back() {
    let one = super::number("TAILWATER_SEED");
    // A story is longer than one of the other simulation's.
    let seeds = one.map_or(super::number("TAILWATER_SEEDS").unwrap_or(super::SCHEDULES) / 4, |_| 1);
    let first = one.or(super::number("TAILWATER_FIRST_SEED")).unwrap_or(0);
    let (next, written) = (AtomicU64::new(first), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let (violation, markers) = play(seed);
                    assert_eq!(violation, None, "TAILWATER_SEED={seed}");
                    written.fetch_add(markers as u64, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(written.into_inner() > seeds * 20, "next to nothing was written");
}
