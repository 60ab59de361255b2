//! Random histories of one table with a key and one without, as events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use super::shape::{BIG, ID, NAME, Reach, Shape, UID, V, WIDE};

/// The key of a row.
pub type Key = (String, i32);

/// The values of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values {
    /// Always told.
    pub v: String,
    /// Large: updates may leave it out.
    pub big: String,
    /// Large too.
    pub wide: Option<String>,
    /// Never changes, and is no other row's.
    pub uid: u32,
    /// Of columns that come and go, by their numbers.
    pub extras: BTreeMap<u16, Option<String>>,
}

/// Values by the numbers of their columns.
pub type Cells = BTreeMap<u16, Option<String>>;

/// All that a row has.
pub fn cells(key: &Key, values: &Values) -> Cells {
    let mut cells = values.extras.clone();
    cells.extend([(ID, Some(key.1.to_string())), (NAME, Some(key.0.clone())), (V, Some(values.v.clone()))]);
    cells.extend([(BIG, Some(values.big.clone())), (WIDE, values.wide.clone()), (UID, Some(values.uid.to_string()))]);
    cells
}

/// A row of the table without a key: a text and a number, which may be `-0` or `NaN`.
pub type Plain = (Option<String>, Option<String>);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A row that a snapshot read, or a new one.
    Put {
        key: Key,
        values: Values,
        read: bool,
    },
    /// A row that was changed; `big` and `wide`: whether those were written.
    Change {
        from: Key,
        to: Key,
        values: Values,
        big: bool,
        wide: bool,
    },
    Remove(Key, u32),
    Clear,
    /// The table has another shape from here on.
    Alter(Arc<Shape>),
    PlainPut(Plain),
    PlainChange(Plain, Plain),
    PlainRemove(Plain),
    PlainClear,
}

/// Events that committed together.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub commit: u64,
    /// Microseconds since 2000.
    pub at: i64,
    /// What the table looks like where it begins.
    pub shape: Arc<Shape>,
    pub events: Vec<Event>,
}

/// Makes up transactions.
pub struct Story {
    random: StdRng,
    commit: u64,
    at: i64,
    shape: Arc<Shape>,
    reach: Reach,
    /// Whether the table changes within transactions, too.
    inside: bool,
    /// Of the last column that was added.
    number: u16,
    uid: u32,
    rows: BTreeMap<Key, Values>,
    plain: Vec<Plain>,
}

impl Story {
    pub fn new(random: StdRng, reach: Reach, by_uid: bool, inside: bool) -> Story {
        let (rows, plain) = (BTreeMap::new(), Vec::new());
        let (shape, number, uid) = (Arc::new(Shape::new(by_uid)), UID, 0);
        Story { random, commit: 0x1_0000_0000, at: 800_000_000_000_000, shape, reach, inside, number, uid, rows, plain }
    }

    /// The next transaction: about so many steps.
    pub fn transaction(&mut self, size: usize) -> Transaction {
        self.commit += 8 * self.random.random_range(1..100_u64);
        // Clocks may stand still between two commits.
        self.at += self.random.random_range(0..3) * 1_000_001;
        let shape = Arc::clone(&self.shape);
        let mut events = Vec::new();
        let often = if self.reach == Reach::Grows { 0.05 } else { 0.2 };
        while self.random.random_bool(often) {
            self.alter(&mut events);
        }
        if self.random.random_bool(0.04) {
            self.read_again(&mut events);
            // A snapshot's rows have the byte before the first commit after it.
            let commit = self.commit - 1;
            return Transaction { commit, at: self.at, shape, events };
        }
        for _ in 0..size {
            self.step(&mut events);
            if self.inside && self.reach != Reach::Grows && self.random.random_bool(0.02) {
                self.alter(&mut events);
            }
        }
        let last = self.some_plain();
        self.plain.push(last.clone());
        events.push(Event::PlainPut(last));
        Transaction { commit: self.commit, at: self.at, shape, events }
    }

    /// A change of the table, between two rows.
    fn alter(&mut self, events: &mut Vec<Event>) {
        let altered = self.shape.altered(self.reach, &mut self.number, &mut self.random);
        let Some(altered) = altered.map(Arc::new) else { return };
        if altered.by_uid != self.shape.by_uid {
            // Once only: what a key told apart, another may not.
            self.reach = Reach::Types;
        }
        self.shape = Arc::clone(&altered);
        for values in self.rows.values_mut() {
            values.fill(&altered);
        }
        events.push(Event::Alter(altered));
    }

    /// A snapshot that starts over: the table as it is, beginning with a truncate.
    fn read_again(&mut self, events: &mut Vec<Event>) {
        events.push(Event::Clear);
        let shape = &self.shape;
        self.rows.values_mut().for_each(|values| values.extras.retain(|number, _| shape.field(*number).is_some()));
        let rows = self.rows.iter();
        events.extend(rows.map(|(key, values)| Event::Put { key: key.clone(), values: values.clone(), read: true }));
        let last = self.some_plain();
        self.plain.push(last.clone());
        events.push(Event::PlainPut(last));
    }

    fn step(&mut self, events: &mut Vec<Event>) {
        match self.random.random_range(0..100) {
            0 => {
                self.rows.clear();
                events.push(Event::Clear);
            }
            1 => {
                self.plain.clear();
                events.push(Event::PlainClear);
            }
            2..30 => {
                let key = self.some_key();
                if !self.rows.contains_key(&key) {
                    let values = self.values();
                    self.rows.insert(key.clone(), values.clone());
                    events.push(Event::Put { key, values, read: false });
                }
            }
            30..55 => self.change(events),
            55..63 => self.swap(events),
            63..75 => {
                if let Some(key) = self.some_row() {
                    let gone = self.rows.remove(&key).expect("a row to be removed");
                    events.push(Event::Remove(key.clone(), gone.uid));
                    if self.random.random_bool(0.3) {
                        let values = self.values();
                        self.rows.insert(key.clone(), values.clone());
                        events.push(Event::Put { key, values, read: false });
                    }
                }
            }
            _ => self.plain(events),
        }
    }

    fn plain(&mut self, events: &mut Vec<Event>) {
        let old = match self.plain.len() {
            0 => None,
            count => Some(self.random.random_range(0..count)),
        };
        match (old, self.random.random_range(0..3)) {
            (Some(at), 0) => events.push(Event::PlainRemove(self.plain.remove(at))),
            (Some(at), 1) => {
                let new = self.some_plain();
                let old = std::mem::replace(&mut self.plain[at], new.clone());
                events.push(Event::PlainChange(old, new));
            }
            _ => {
                let new = self.some_plain();
                self.plain.push(new.clone());
                events.push(Event::PlainPut(new));
            }
        }
    }

    fn some_plain(&mut self) -> Plain {
        let texts = [None, Some(""), Some("NULL"), Some("a,\"b)"), Some("ü")];
        let numbers = [None, Some("0"), Some("-0"), Some("NaN"), Some("1.5")];
        let text = texts[self.random.random_range(0..texts.len())];
        let number = numbers[self.random.random_range(0..numbers.len())];
        (text.map(str::to_owned), number.map(str::to_owned))
    }

    fn some_key(&mut self) -> Key {
        let names = ["a", "A", "it's"];
        (names[self.random.random_range(0..names.len())].to_owned(), self.random.random_range(-1..2))
    }

    fn some_row(&mut self) -> Option<Key> {
        let count = self.rows.len();
        (count > 0).then(|| self.random.random_range(0..count)).and_then(|n| self.rows.keys().nth(n).cloned())
    }

    fn values(&mut self) -> Values {
        let number = self.random.random::<u32>();
        self.uid += 1;
        let extras = self.shape.extras().map(|field| (field.number, field.value(&mut self.random))).collect();
        Values {
            uid: self.uid,
            extras,
            v: format!("v{number}"),
            big: format!("big {number}"),
            wide: self.random.random_bool(0.7).then(|| format!("wide {number}")),
        }
    }

    fn change(&mut self, events: &mut Vec<Event>) {
        let Some(from) = self.some_row() else { return };
        let free = Some(self.some_key()).filter(|to| !self.rows.contains_key(to));
        let to = free.filter(|_| self.random.random_bool(0.3)).unwrap_or_else(|| from.clone());
        let event = self.turn(from, to);
        events.push(event);
    }

    /// Two rows take each other's keys: by way of a third one, or under a constraint that waits for the commit.
    fn swap(&mut self, events: &mut Vec<Event>) {
        let (Some(a), Some(b)) = (self.some_row(), self.some_row()) else { return };
        if a == b {
            return;
        }
        let free = ("free".to_owned(), 0);
        let steps = [(a.clone(), free.clone()), (b.clone(), a), (free, b)];
        for (from, to) in steps {
            let event = self.turn(from, to);
            events.push(event);
        }
    }

    fn turn(&mut self, from: Key, to: Key) -> Event {
        let old = self.rows.remove(&from).expect("a row to be changed");
        let (big, wide) = (self.random.random_bool(0.3), self.random.random_bool(0.3));
        let mut values = Values { uid: old.uid, ..self.values() };
        if !big {
            values.big = old.big;
        }
        // NULL is told as such: only a value that is there can be left out.
        let wide = wide || old.wide.is_none();
        if !wide {
            values.wide = old.wide;
        }
        self.rows.insert(to.clone(), values.clone());
        Event::Change { from, to, values, big, wide }
    }
}

impl Values {
    /// Columns that are new get what they are filled with.
    pub fn fill(&mut self, shape: &Shape) {
        for field in shape.extras() {
            self.extras.entry(field.number).or_insert_with(|| field.fill.clone());
        }
    }
}

impl Transaction {
    /// What the table looks like where it ends.
    pub fn after(&self) -> &Shape {
        let altered = self.events.iter().rev().find_map(|event| match event {
            Event::Alter(shape) => Some(shape),
            _ => None,
        });
        altered.unwrap_or(&self.shape)
    }

    /// The keys that something happened to.
    pub fn touched(&self) -> BTreeSet<&Key> {
        let mut keys = BTreeSet::new();
        for event in &self.events {
            match event {
                Event::Put { key, .. } | Event::Remove(key, _) => drop(keys.insert(key)),
                Event::Change { from, to, .. } => keys.extend([from, to]),
                _ => {}
            }
        }
        keys
    }
}
