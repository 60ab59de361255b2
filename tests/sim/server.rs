//! A model of PostgreSQL as a source: a log, writers, one slot, one sender.
//!
//! Each rule is one of the real server's; the module `main` names the test that shows it.

use std::collections::{BTreeMap, VecDeque};

use tailwater::codecs::pgoutput::*;
use tailwater::model::{Cell, Lsn, Oid, OldRow, PgTimestamp, ReplicaIdentity, Row, Xid};

use super::chance::Chance;

/// Bytes of the largest messages.
pub const HEAVIEST: usize = 3 << 20;

/// The table with a key: `id`, `val`, `big`, and columns that come later.
pub const KEYED: Oid = Oid(1);
/// The table without a key: one row for each transaction, never changed.
pub const DIARY: Oid = Oid(2);

/// The cells of a row beside its key.
pub type Cells = Vec<Option<String>>;

/// What a transaction did, as the log keeps it.
#[derive(Clone, Debug)]
pub enum Deed {
    Insert {
        id: String,
        cells: Cells,
    },
    /// `kept`: the large value was not touched and is not sent.
    Update {
        from: String,
        id: String,
        cells: Cells,
        kept: bool,
    },
    Delete {
        id: String,
        width: usize,
    },
    Truncate {
        width: usize,
    },
    Note {
        writer: u64,
        number: u64,
    },
}

/// A transaction in the log.
#[derive(Clone, Debug)]
pub struct Committed {
    pub commit: u64,
    pub end: u64,
    pub xid: u32,
    /// Each with the LSN of its record.
    pub deeds: Vec<(u64, Deed)>,
    /// Bytes that each of its messages counts for.
    pub weight: usize,
}

/// The tables' rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rows {
    pub keyed: BTreeMap<String, Cells>,
    pub diary: Vec<(u64, u64)>,
}

impl Rows {
    pub fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Insert { id, cells } => drop(self.keyed.insert(id.clone(), cells.clone())),
            Deed::Update { from, id, cells, .. } => {
                self.keyed.remove(from);
                self.keyed.insert(id.clone(), cells.clone());
            }
            Deed::Delete { id, .. } => drop(self.keyed.remove(id)),
            Deed::Truncate { .. } => self.keyed.clear(),
            Deed::Note { writer, number } => self.diary.push((*writer, *number)),
        }
    }
}

/// A transaction that is open.
struct Open {
    deeds: Vec<(u64, Deed)>,
    rows: Rows,
    weight: usize,
}

/// A writer has keys of its own, so that writers never wait for one another.
struct Writer {
    open: Option<Open>,
    number: u64,
}

/// What the sender has to say.
#[derive(Debug)]
pub enum Item {
    Message { message: Message, lsn: u64, weight: usize },
    Keepalive(u64),
}

impl Item {
    /// As it travels; the message itself stays here.
    pub fn frame(&self, end: Lsn) -> Frame {
        let at = PgTimestamp(0);
        match self {
            Item::Keepalive(end) => Frame::Keepalive(Keepalive { end: Lsn::new(*end), at, reply: false }),
            Item::Message { lsn, .. } => {
                Frame::XLogData(XLogData { start: Lsn::new(*lsn), end, at, body: bytes::Bytes::new() })
            }
        }
    }
}

struct Sender {
    session: u64,
    /// The next transaction of the log.
    next: usize,
    /// Everything committed before it has been sent.
    sent: u64,
    told: u64,
    queue: VecDeque<Item>,
    /// The width under which the table with a key was named on this connection.
    named: Option<usize>,
    diary_named: bool,
}

/// See the module.
pub struct Server {
    pub system_id: u64,
    pub timeline: u32,
    timelines: u32,
    /// Where each earlier timeline was left.
    pub history: Vec<(u32, u64)>,
    /// The end of the log.
    pub end: u64,
    pub log: Vec<Committed>,
    /// The rows after all of the log.
    pub rows: Rows,
    width: usize,
    writers: Vec<Writer>,
    next_xid: u32,
    /// The slot: what it has confirmed, and what of that a crash would leave; `None` before it is made.
    pub confirmed: Option<u64>,
    saved: u64,
    sender: Option<Sender>,
    sessions: u64,
}

impl Server {
    pub fn new() -> Server {
        let writer = || Writer { open: None, number: 0 };
        Server {
            system_id: 7,
            timeline: 1,
            timelines: 1,
            history: Vec::new(),
            end: 0x1000,
            log: Vec::new(),
            rows: Rows::default(),
            width: 2,
            writers: vec![writer(), writer(), writer()],
            next_xid: 700,
            confirmed: None,
            saved: 0,
            sender: None,
            sessions: 0,
        }
    }

    fn record(&mut self, bytes: u64) -> u64 {
        let at = self.end;
        self.end += bytes.next_multiple_of(8);
        at
    }

    /// Log that concerns nobody here: another database's, a vacuum's.
    pub fn noise(&mut self, chance: &mut Chance) {
        let bytes = if chance.one_in(10) { 17 << 20 } else { 8 + chance.below(200) };
        self.record(bytes);
    }

    /// One of the writers does something: rows of several transactions interleave in the log, commit records sometimes
    /// lie back to back.
    pub fn write(&mut self, chance: &mut Chance) {
        let writer = chance.index(self.writers.len());
        match self.writers[writer].open {
            None => self.begin(writer, chance),
            Some(_) => match chance.below(8) {
                0 => self.abort(writer),
                1..=3 => self.commit(writer),
                _ => self.change(writer, chance),
            },
        }
        // The neighbour commits at once: its commit record begins where this one ended.
        if chance.one_in(3) {
            (0..self.writers.len()).filter(|&other| other != writer).for_each(|other| self.commit(other));
        }
    }

    fn begin(&mut self, writer: usize, chance: &mut Chance) {
        let weight = if chance.one_in(12) { HEAVIEST } else { 100 };
        self.writers[writer].open = Some(Open { deeds: Vec::new(), rows: self.rows.clone(), weight });
        self.writers[writer].number += 1;
        let number = self.writers[writer].number;
        self.deed(writer, Deed::Note { writer: writer as u64, number });
        self.change(writer, chance);
    }

    fn change(&mut self, writer: usize, chance: &mut Chance) {
        let (width, stamp) = (self.width, self.end);
        let key = |chance: &mut Chance| format!("k{writer}-{}", chance.below(4));
        let (id, other) = (key(chance), key(chance));
        let Some(open) = &self.writers[writer].open else { return };
        let cells = |big: Option<String>| {
            let mut cells = vec![Some(format!("v{stamp}")), big];
            cells.resize(width, Some(format!("c{stamp}")));
            cells
        };
        let deed = match open.rows.keyed.get(&id) {
            None => Deed::Insert { id, cells: cells(chance.one_in(2).then(|| format!("big{stamp}"))) },
            Some(_) if chance.one_in(4) => Deed::Delete { id, width },
            Some(before) => {
                let kept = before.get(1).is_some_and(Option::is_some) && chance.one_in(2);
                let big = if kept { before[1].clone() } else { Some(format!("big{stamp}")) };
                let taken = open.rows.keyed.contains_key(&other);
                let from = id.clone();
                let id = if !taken && chance.one_in(3) { other } else { id };
                Deed::Update { from, id, cells: cells(big), kept }
            }
        };
        self.deed(writer, deed);
    }

    fn deed(&mut self, writer: usize, deed: Deed) {
        let lsn = self.record(48);
        if let Some(open) = &mut self.writers[writer].open {
            open.rows.apply(&deed);
            open.deeds.push((lsn, deed));
        }
    }

    fn abort(&mut self, writer: usize) {
        if self.writers[writer].open.take().is_some() {
            self.record(34);
        }
    }

    fn commit(&mut self, writer: usize) {
        if let Some(open) = self.writers[writer].open.take() {
            self.append(open.deeds, open.weight);
        }
    }

    /// What each message of the transaction takes that commits there; 0 where there is none.
    pub fn weight(&self, commit: u64) -> usize {
        let at = self.log.partition_point(|done| done.commit < commit);
        self.log.get(at).filter(|done| done.commit == commit).map_or(0, |done| done.weight)
    }

    fn append(&mut self, deeds: Vec<(u64, Deed)>, weight: usize) {
        deeds.iter().for_each(|(_, deed)| self.rows.apply(deed));
        let commit = self.record(34);
        self.next_xid += 1;
        self.log.push(Committed { commit, end: self.end, xid: self.next_xid, deeds, weight });
    }

    /// Whether nobody holds a lock on the table with a key.
    fn idle(&self) -> bool {
        self.writers.iter().all(|writer| writer.open.is_none())
    }

    /// `TRUNCATE`, in a transaction of its own.
    pub fn truncate(&mut self) {
        if self.idle() {
            let lsn = self.record(60);
            self.append(vec![(lsn, Deed::Truncate { width: self.width })], 100);
        }
    }

    /// `ALTER TABLE .. ADD COLUMN`: rows that are there have NULL in it.
    pub fn widen(&mut self) {
        if self.idle() && self.width < 5 {
            self.width += 1;
            self.record(200);
        }
    }

    /// What has been confirmed until now outlives a crash.
    pub fn checkpoint(&mut self) {
        self.saved = self.confirmed.unwrap_or(0);
    }

    /// A crash: open transactions are gone, connections too, and what the slot remembered in memory only.
    pub fn crash(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.open = None);
        self.sender = None;
        if self.confirmed.is_some() {
            self.confirmed = Some(self.saved);
        }
        self.record(120);
    }

    /// A standby takes over that has the log up to `kept` transactions; what came later is gone, and its place in the
    /// log is used again.
    pub fn fail_over(&mut self, kept: usize) {
        self.crash();
        if let Some(first) = self.log.get(kept) {
            self.end = first.commit;
        }
        self.log.truncate(kept);
        // The standby may have been behind where an earlier timeline was left: then it never was on that one.
        let mut left = self.timeline;
        while let Some((timeline, _)) = self.history.pop_if(|(_, at)| *at > self.end) {
            left = timeline;
        }
        self.history.push((left, self.end));
        self.timelines += 1;
        self.timeline = self.timelines;
        self.rows = Rows::default();
        let deeds: Vec<&Deed> = self.log.iter().flat_map(|done| &done.deeds).map(|(_, deed)| deed).collect();
        deeds.into_iter().for_each(|deed| self.rows.apply(deed));
        self.confirmed = self.confirmed.map(|confirmed| confirmed.min(self.end));
        self.saved = self.saved.min(self.end);
        self.record(40);
    }

    /// What `TIMELINE_HISTORY` tells.
    pub fn timeline_history(&self) -> String {
        let line =
            |(timeline, left): &(u32, u64)| format!("{timeline}\t{}\tno recovery target specified\n", Lsn::new(*left));
        self.history.iter().map(line).collect()
    }

    /// Makes the slot where it is missing, and a snapshot: what commits before its point is in it.
    pub fn snapshot(&mut self) -> (u64, Rows) {
        self.record(56);
        let point = self.end;
        if self.confirmed.is_none() {
            (self.confirmed, self.saved) = (Some(point), point);
        }
        (point, self.rows.clone())
    }

    /// `START_REPLICATION`: whoever streamed before is cut off. What begins to commit before the start, or before what
    /// the slot has confirmed, is not sent.
    pub fn start(&mut self, from: u64) -> u64 {
        let from = from.max(self.confirmed.unwrap_or(0));
        self.sessions += 1;
        self.sender = Some(Sender {
            session: self.sessions,
            next: self.log.partition_point(|done| done.commit < from),
            sent: from,
            told: from,
            queue: VecDeque::new(),
            named: None,
            diary_named: false,
        });
        self.sessions
    }

    /// What arrives on a connection: `None` when it is cut.
    pub fn receive(&mut self, session: u64, chance: &mut Chance) -> Option<Vec<Item>> {
        let end = self.end;
        let sender = self.sender.as_mut().filter(|sender| sender.session == session)?;
        if sender.queue.is_empty() {
            match self.log.get(sender.next) {
                Some(done) => {
                    sender.next += 1;
                    sender.send(done);
                }
                None => {
                    // Everything committed has been sent; the rest of the log is nobody's.
                    sender.sent = end;
                    if sender.told < end {
                        sender.told = end;
                        sender.queue.push_back(Item::Keepalive(end));
                    }
                }
            }
        }
        let count = if chance.one_in(2) { sender.queue.len() } else { chance.index(sender.queue.len() + 1) };
        Some(sender.queue.drain(..count).collect())
    }

    /// A status: only a larger position counts, and nothing is checked.
    pub fn status(&mut self, session: u64, flushed: u64) {
        if self.sender.as_ref().is_some_and(|sender| sender.session == session) {
            self.confirmed = self.confirmed.map(|confirmed| confirmed.max(flushed));
        }
    }

    /// The connection is gone.
    pub fn cut(&mut self) {
        self.sender = None;
    }
}

impl Sender {
    fn send(&mut self, done: &Committed) {
        let at = PgTimestamp(1_000_000 + i64::from(done.xid));
        let mut say = |message, lsn| self.queue.push_back(Item::Message { message, lsn, weight: done.weight });
        say(Message::Begin(Begin { final_lsn: Lsn::new(done.commit), at, xid: Xid(done.xid) }), done.deeds[0].0);
        for (lsn, deed) in &done.deeds {
            match deed.width() {
                Some(width) if self.named != Some(width) => {
                    self.named = Some(width);
                    say(Message::Relation(keyed(width)), 0);
                }
                None if !std::mem::replace(&mut self.diary_named, true) => say(Message::Relation(diary()), 0),
                _ => {}
            }
            say(deed.message(), *lsn);
        }
        let commit = Commit { commit_lsn: Lsn::new(done.commit), end_lsn: Lsn::new(done.end), at };
        say(Message::Commit(commit), done.commit);
        (self.sent, self.told) = (done.end, done.end.max(self.told));
    }
}

impl Deed {
    /// The width of the table with a key at that time; `None` for the other one.
    fn width(&self) -> Option<usize> {
        match self {
            Deed::Insert { cells, .. } | Deed::Update { cells, .. } => Some(cells.len()),
            Deed::Delete { width, .. } | Deed::Truncate { width } => Some(*width),
            Deed::Note { .. } => None,
        }
    }

    fn message(&self) -> Message {
        let old = |id: &str, width| OldRow::Key(row(id, &vec![None; width], false));
        match self {
            Deed::Insert { id, cells } => {
                Message::Insert(Insert { xid: None, relation: KEYED, new: row(id, cells, false) })
            }
            Deed::Update { from, id, cells, kept } => Message::Update(Update {
                xid: None,
                relation: KEYED,
                old: (from != id).then(|| old(from, cells.len())),
                new: row(id, cells, *kept),
            }),
            Deed::Delete { id, width } => Message::Delete(Delete { xid: None, relation: KEYED, old: old(id, *width) }),
            Deed::Truncate { .. } => Message::Truncate(Truncate {
                xid: None,
                cascade: false,
                restart_identity: false,
                relations: vec![KEYED],
            }),
            Deed::Note { writer, number } => {
                let (writer, number) = (writer.to_string(), number.to_string());
                let new = [writer, number].iter().map(|text| Cell::Text(text.as_bytes())).collect();
                Message::Insert(Insert { xid: None, relation: DIARY, new })
            }
        }
    }
}

/// A row as it is sent.
pub fn row(id: &str, cells: &Cells, kept: bool) -> Row {
    let cell = |(i, cell): (usize, &Option<String>)| match cell {
        Some(_) if kept && i == 1 => b"\0".to_vec().into(),
        other => other.as_ref().map(|text| text.as_bytes().to_vec()),
    };
    let owned: Vec<Option<Vec<u8>>> = cells.iter().enumerate().map(cell).collect();
    let rest = owned.iter().map(|cell| match cell.as_deref() {
        Some(b"\0") => Cell::Unchanged,
        Some(text) => Cell::Text(text),
        None => Cell::Null,
    });
    std::iter::once(Cell::Text(id.as_bytes())).chain(rest).collect()
}

fn relation(oid: Oid, name: &str, identity: ReplicaIdentity, columns: &[(&str, bool)]) -> Relation {
    let column =
        |&(name, key): &(&str, bool)| RelationColumn { key, name: name.to_owned(), type_oid: Oid(25), modifier: -1 };
    let columns = columns.iter().map(column).collect();
    Relation { xid: None, oid, schema: "public".to_owned(), name: name.to_owned(), identity, columns }
}

/// What the server says of the table with a key.
pub fn keyed(width: usize) -> Relation {
    let names = [("id", true), ("val", false), ("big", false), ("c1", false), ("c2", false), ("c3", false)];
    relation(KEYED, "keyed", ReplicaIdentity::Default, &names[..=width])
}

/// What it says of the one without.
pub fn diary() -> Relation {
    relation(DIARY, "diary", ReplicaIdentity::Nothing, &[("writer", false), ("number", false)])
}
