//! What the tables hold after each transaction, in every mode, by the plainest means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::shape::{BIG, ID, NAME, Shape, UID, V, WIDE};
use super::story::{Cells, Event, Key, Plain, Transaction, Values, cells};
use crate::support::session::Rows;

/// A version of a row.
#[derive(Clone)]
struct Version {
    key: Key,
    values: Values,
    from: i64,
    to: Option<i64>,
}

/// A line of the table that only grows.
#[derive(Clone)]
struct Line {
    op: &'static str,
    cells: Cells,
    unchanged: Option<String>,
    old: Option<String>,
    at: i64,
}

/// What the tables hold.
#[derive(Clone)]
pub struct Truth {
    rows: BTreeMap<Key, Values>,
    /// Rows that are gone, and since when.
    gone: Vec<(Key, Values, i64)>,
    versions: Vec<Version>,
    appended: Vec<Line>,
    copies: Vec<Plain>,
    log: Vec<(char, Plain)>,
    shape: Arc<Shape>,
    /// The shape that the last change was told with.
    pub told: Arc<Shape>,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

impl Truth {
    pub fn new(shape: &Arc<Shape>) -> Truth {
        Truth {
            rows: BTreeMap::new(),
            gone: Vec::new(),
            versions: Vec::new(),
            appended: Vec::new(),
            copies: Vec::new(),
            log: Vec::new(),
            shape: Arc::clone(shape),
            told: Arc::clone(shape),
        }
    }

    /// After one more transaction.
    pub fn apply(&mut self, transaction: &Transaction) {
        let at = transaction.at;
        let cleared = transaction.events.iter().any(|event| matches!(event, Event::Clear));
        let before = self.rows.clone();
        transaction.events.iter().for_each(|event| self.event(event, at));
        // A version is what a row was at the end of a transaction that had to do with it.
        let touched = transaction.touched();
        for version in self.versions.iter_mut().filter(|version| version.to.is_none()) {
            if touched.contains(&version.key) || (cleared && before.contains_key(&version.key)) {
                version.to = Some(at);
            }
        }
        for key in touched {
            if let Some(values) = self.rows.get(key) {
                self.versions.push(Version { key: key.clone(), values: values.clone(), from: at, to: None });
            }
        }
    }

    fn event(&mut self, event: &Event, at: i64) {
        if matches!(event, Event::Put { .. } | Event::Change { .. } | Event::Remove(..) | Event::Clear) {
            self.alter();
        }
        match event {
            Event::Put { key, values, read } => {
                self.append(if *read { "r" } else { "c" }, cells(key, values), None, None, at);
                self.back(key, values.uid);
                self.rows.insert(key.clone(), values.clone());
            }
            Event::Change { from, to, values, big, wide } => {
                let mut told = cells(to, values);
                let mut unchanged = Vec::new();
                for (number, _) in [(BIG, big), (WIDE, wide)].into_iter().filter(|(_, told)| !**told) {
                    told.insert(number, None);
                    unchanged.push(self.shape.name(number));
                }
                let list = (!unchanged.is_empty()).then(|| format!("{unchanged:?}").replace(", ", ","));
                let (id, name) = (self.shape.name(ID), self.shape.name(NAME));
                let moved = from != to && !self.shape.by_uid;
                let old = moved.then(|| format!("{{\"{id}\":\"{}\",\"{name}\":\"{}\"}}", from.1, from.0));
                self.append("u", told, list, old, at);
                let before = self.rows.remove(from).unwrap();
                if moved {
                    self.gone.push((from.clone(), before, at));
                }
                self.back(to, values.uid);
                self.rows.insert(to.clone(), values.clone());
            }
            Event::Remove(key, uid) => {
                let cells = match self.shape.by_uid {
                    true => Cells::from([(UID, Some(uid.to_string()))]),
                    false => Cells::from([(ID, Some(key.1.to_string())), (NAME, Some(key.0.clone()))]),
                };
                self.append("d", cells, None, None, at);
                let before = self.rows.remove(key).unwrap();
                self.gone.push((key.clone(), before, at));
            }
            Event::Clear => {
                self.append("t", Cells::new(), None, None, at);
                let rows = std::mem::take(&mut self.rows);
                self.gone.extend(rows.into_iter().map(|(key, values)| (key, values, at)));
            }
            Event::Alter(shape) => self.shape = Arc::clone(shape),
            Event::PlainPut(row) => {
                self.log.push(('c', row.clone()));
                self.copies.push(row.clone());
            }
            Event::PlainChange(old, new) => {
                self.log.push(('u', new.clone()));
                self.take(old);
                self.copies.push(new.clone());
            }
            Event::PlainRemove(row) => {
                self.log.push(('d', row.clone()));
                self.take(row);
            }
            Event::PlainClear => {
                self.copies.clear();
                self.log.clear();
            }
        }
    }

    /// A row of this key is there (again).
    fn back(&mut self, key: &Key, uid: u32) {
        let by_uid = self.shape.by_uid;
        self.gone.retain(|(gone, values, _)| if by_uid { values.uid != uid } else { gone != key });
    }

    /// What is there gets the values of columns that are new, with the first change that is told with them.
    fn alter(&mut self) {
        let shape = &Arc::clone(&self.shape);
        if shape.by_uid != self.told.by_uid {
            self.rekey(shape.by_uid);
        }
        self.told = Arc::clone(shape);
        let rows = self.rows.values_mut().chain(self.gone.iter_mut().map(|(_, values, _)| values));
        rows.chain(self.versions.iter_mut().map(|version| &mut version.values)).for_each(|values| values.fill(shape));
        for line in &mut self.appended {
            for field in shape.extras() {
                line.cells.entry(field.number).or_insert_with(|| field.fill.clone());
            }
        }
    }

    /// Rows that are gone and have the key of others now are what those were before.
    fn rekey(&mut self, by_uid: bool) {
        let key = |key: &Key, uid: u32| if by_uid { Err(uid) } else { Ok(key.clone()) };
        let mut taken: BTreeSet<_> = self.rows.iter().map(|(name, values)| key(name, values.uid)).collect();
        // The last comes first.
        let gone = std::mem::take(&mut self.gone).into_iter().rev();
        self.gone = gone.filter(|(name, values, _)| taken.insert(key(name, values.uid))).collect();
        self.gone.reverse();
    }

    fn append(&mut self, op: &'static str, cells: Cells, unchanged: Option<String>, old: Option<String>, at: i64) {
        // What the columns of now have no value for is NULL, not what those were filled with.
        let mut all: Cells = self.shape.extras().map(|field| (field.number, None)).collect();
        all.extend(cells);
        self.appended.push(Line { op, cells: all, unchanged, old, at });
    }

    fn take(&mut self, row: &Plain) {
        let at = self.copies.iter().position(|copy| copy == row).unwrap();
        self.copies.remove(at);
    }

    /// The rows of the table with a key.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Values)> {
        self.rows.iter()
    }

    /// The numbers of the columns that the rows below have, in this order.
    pub fn numbers(&self) -> Vec<u16> {
        [NAME, ID, V, BIG, WIDE, UID].into_iter().chain(self.told.extras().map(|field| field.number)).collect()
    }

    fn line(&self, cells: &Cells) -> Vec<Option<String>> {
        self.numbers().iter().map(|number| cells.get(number).cloned().flatten()).collect()
    }

    pub fn mirror(&self) -> Rows {
        self.rows.iter().map(|(key, values)| self.line(&cells(key, values))).collect()
    }

    /// What rows that were left alone since have of a column that was dropped, by their number.
    pub fn dropped(&self, number: u16) -> BTreeMap<u32, Option<String>> {
        self.rows.values().filter_map(|values| Some((values.uid, values.extras.get(&number)?.clone()))).collect()
    }

    /// The same with the time of the deletion.
    pub fn soft_delete(&self) -> Rows {
        let live = self.rows.iter().map(|(key, values)| (key, values, None));
        let gone = self.gone.iter().map(|(key, values, at)| (key, values, Some(at.to_string())));
        live.chain(gone).map(|(key, values, at)| [self.line(&cells(key, values)), vec![at]].concat()).collect()
    }

    /// The same with beginning and end.
    pub fn history(&self) -> Rows {
        let row = |version: &Version| {
            let span = vec![Some(version.from.to_string()), version.to.map(|to| to.to_string())];
            [self.line(&cells(&version.key, &version.values)), span].concat()
        };
        self.versions.iter().map(row).collect()
    }

    /// Operation, the row, names of what did not change, the old key, the time.
    pub fn append_rows(&self) -> Rows {
        let row = |line: &Line| {
            let more = vec![line.unchanged.clone(), line.old.clone(), Some(line.at.to_string())];
            [vec![text(line.op)], self.line(&line.cells), more].concat()
        };
        self.appended.iter().map(row).collect()
    }

    /// Text and number.
    pub fn copies(&self) -> Rows {
        self.copies.iter().map(|(text, number)| vec![text.clone(), number.clone()]).collect()
    }

    /// Operation, text and number.
    pub fn log(&self) -> Rows {
        self.log.iter().map(|(op, (text, number))| vec![Some(op.to_string()), text.clone(), number.clone()]).collect()
    }
}
