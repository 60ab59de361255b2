//! What the tables hold after each transaction, in every mode, by the plainest means.

use std::collections::BTreeMap;

use super::story::{Event, Key, Plain, Transaction, Values};
use crate::support::session::Rows;

/// A version of a row.
#[derive(Clone)]
struct Version {
    key: Key,
    values: Values,
    from: i64,
    to: Option<i64>,
}

/// What the tables hold.
#[derive(Clone, Default)]
pub struct Truth {
    rows: BTreeMap<Key, Values>,
    /// Rows that are gone, and since when.
    gone: BTreeMap<Key, (Values, i64)>,
    versions: Vec<Version>,
    appended: Vec<Vec<Option<String>>>,
    copies: Vec<Plain>,
    log: Vec<(char, Plain)>,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub fn cells(key: &Key, values: &Values) -> Vec<Option<String>> {
    let Values { v, big, wide, extra } = values;
    vec![text(&key.0), Some(key.1.to_string()), text(v), text(big), wide.clone(), extra.clone()]
}

impl Truth {
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
        match event {
            Event::Put { key, values, read } => {
                self.append(if *read { "r" } else { "c" }, Some((key, values)), None, None, at);
                self.gone.remove(key);
                self.rows.insert(key.clone(), values.clone());
            }
            Event::Change { from, to, values, big, wide } => {
                let unchanged: Vec<&str> = [("big", big), ("wide", wide)]
                    .into_iter()
                    .filter(|(_, told)| !**told)
                    .map(|(name, _)| name)
                    .collect();
                let told = Values {
                    big: if *big { values.big.clone() } else { String::new() },
                    wide: values.wide.clone().filter(|_| *wide),
                    ..values.clone()
                };
                let list = (!unchanged.is_empty()).then(|| format!("{unchanged:?}").replace(", ", ","));
                let old = (from != to).then(|| format!("{{\"id\":\"{}\",\"name\":\"{}\"}}", from.1, from.0));
                self.append("u", Some((to, &told)), list, old, at);
                let before = self.rows.remove(from).unwrap();
                if from != to {
                    self.gone.insert(from.clone(), (before, at));
                }
                self.gone.remove(to);
                self.rows.insert(to.clone(), values.clone());
            }
            Event::Remove(key) => {
                let mut row = vec![Some("d".to_owned()), Some(key.0.clone()), Some(key.1.to_string())];
                row.extend([None, None, None, None, None, None, Some(at.to_string())]);
                self.appended.push(row);
                let before = self.rows.remove(key).unwrap();
                self.gone.insert(key.clone(), (before, at));
            }
            Event::Clear => {
                self.append("t", None, None, None, at);
                let rows = std::mem::take(&mut self.rows);
                self.gone.extend(rows.into_iter().map(|(key, values)| (key, (values, at))));
            }
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

    fn append(
        &mut self,
        op: &str,
        row: Option<(&Key, &Values)>,
        unchanged: Option<String>,
        old: Option<String>,
        at: i64,
    ) {
        let mut all = vec![text(op)];
        all.extend(row.map_or(vec![None; 6], |(key, values)| cells(key, values)));
        if let Some(big) = all.get_mut(4).filter(|big| big.as_deref() == Some("")) {
            *big = None;
        }
        all.extend([unchanged, old, Some(at.to_string())]);
        self.appended.push(all);
    }

    fn take(&mut self, row: &Plain) {
        let at = self.copies.iter().position(|copy| copy == row).unwrap();
        self.copies.remove(at);
    }

    /// The rows of the table with a key.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Values)> {
        self.rows.iter()
    }

    /// Name, id, v, big, wide, extra.
    pub fn mirror(&self) -> Rows {
        self.rows.iter().map(|(key, values)| cells(key, values)).collect()
    }

    /// The same with the time of the deletion.
    pub fn soft_delete(&self) -> Rows {
        let live = self.rows.iter().map(|(key, values)| (key, values, None));
        let gone = self.gone.iter().map(|(key, (values, at))| (key, values, Some(at.to_string())));
        live.chain(gone).map(|(key, values, at)| [cells(key, values), vec![at]].concat()).collect()
    }

    /// The same with beginning and end.
    pub fn history(&self) -> Rows {
        let row = |version: &Version| {
            let span = vec![Some(version.from.to_string()), version.to.map(|to| to.to_string())];
            [cells(&version.key, &version.values), span].concat()
        };
        self.versions.iter().map(row).collect()
    }

    /// Operation, the row, names of what did not change, the old key, the time.
    pub fn append_rows(&self) -> Rows {
        self.appended.clone()
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
