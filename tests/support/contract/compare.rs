//! What differs between the records of two sides.

use std::collections::{BTreeMap, BTreeSet};

use super::told::Told;

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference<'a> {
    /// The record of the other side, where it has one.
    pub theirs: Option<&'a Told>,
    /// Ours, where there is one.
    pub ours: Option<&'a Told>,
    /// Where in the record: `value.after.id`; empty for a whole record.
    pub path: String,
    /// What the other side says there.
    pub they_say: Option<String>,
    /// What we say there.
    pub we_say: Option<String>,
}

impl Difference<'_> {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.theirs.or(self.ours).map_or("", |told| &told.topic)
    }
}

impl std::fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = self.theirs.or(self.ours).map(Told::identity).unwrap_or_default();
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "(nothing)".to_owned());
        writeln!(f, "{}: {identity}: {}", self.topic(), if self.path.is_empty() { "the record" } else { &self.path })?;
        writeln!(f, "    debezium   {}", side(&self.they_say))?;
        write!(f, "    tailwater  {}", side(&self.we_say))
    }
}

/// All differences, topic by topic, record by record.
pub fn differences<'a>(theirs: &'a [Told], ours: &'a [Told]) -> Vec<Difference<'a>> {
    let (theirs, ours) = (by_topic(theirs), by_topic(ours));
    let topics: BTreeSet<&str> = theirs.keys().chain(ours.keys()).copied().collect();
    let mut found = Vec::new();
    for topic in topics {
        let none = Vec::new();
        let (theirs, ours) = (theirs.get(topic).unwrap_or(&none), ours.get(topic).unwrap_or(&none));
        for (theirs, ours) in aligned(theirs, ours) {
            match (theirs, ours) {
                (Some(theirs), Some(ours)) => records(theirs, ours, &mut found),
                (theirs, ours) => {
                    let says = |told: Option<&Told>| {
                        told.map(|told| told.value.as_ref().map_or("tombstone".into(), |value| value.text()))
                    };
                    let (they_say, we_say) = (says(theirs), says(ours));
                    found.push(Difference { theirs, ours, path: String::new(), they_say, we_say });
                }
            }
        }
    }
    found
}

fn by_topic(records: &[Told]) -> BTreeMap<&str, Vec<&Told>> {
    let mut topics: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    records.iter().for_each(|record| topics.entry(&record.topic).or_default().push(record));
    topics
}

type Pair<'a> = (Option<&'a Told>, Option<&'a Told>);

/// Pairs records of the same identity, as many as possible in order.
fn aligned<'a>(theirs: &[&'a Told], ours: &[&'a Told]) -> Vec<Pair<'a>> {
    let names = |side: &[&Told]| side.iter().map(|told| told.identity()).collect::<Vec<_>>();
    let (left, right) = (names(theirs), names(ours));
    let mut longest = vec![vec![0_u32; right.len() + 1]; left.len() + 1];
    for a in (0..left.len()).rev() {
        for b in (0..right.len()).rev() {
            longest[a][b] =
                if left[a] == right[b] { longest[a + 1][b + 1] + 1 } else { longest[a + 1][b].max(longest[a][b + 1]) };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < left.len() || b < right.len() {
        if a < left.len() && b < right.len() && left[a] == right[b] {
            pairs.push((Some(theirs[a]), Some(ours[b])));
            (a, b) = (a + 1, b + 1);
        } else if b == right.len() || (a < left.len() && longest[a + 1][b] >= longest[a][b + 1]) {
            pairs.push((Some(theirs[a]), None));
            a += 1;
        } else {
            pairs.push((None, Some(ours[b])));
            b += 1;
        }
    }
    pairs
}

fn records<'a>(theirs: &'a Told, ours: &'a Told, found: &mut Vec<Difference<'a>>) {
    let (left, right) = (leaves(theirs), leaves(ours));
    let mut push = |path: &str, they_say: Option<String>, we_say: Option<String>| {
        found.push(Difference { theirs: Some(theirs), ours: Some(ours), path: path.to_owned(), they_say, we_say });
    };
    let find =
        |side: &[(String, String)], path: &str| side.iter().find(|(at, _)| at == path).map(|(_, text)| text.clone());
    for (path, text) in &left {
        let other = find(&right, path);
        if other.as_ref().is_none_or(|other| !equal(text, other)) {
            push(path, Some(text.clone()), other);
        }
    }
    for (path, text) in right.iter().filter(|(path, _)| find(&left, path).is_none()) {
        push(path, None, Some(text.clone()));
    }
    let order = |side: &[(String, String)], other: &[(String, String)]| -> Vec<String> {
        side.iter().filter(|(path, _)| find(other, path).is_some()).map(|(path, _)| path.clone()).collect()
    };
    let (mine, its) = (order(&right, &left), order(&left, &right));
    if let Some((its, mine)) = its.iter().zip(&mine).find(|(its, mine)| its != mine) {
        push("order of fields", Some(its.clone()), Some(mine.clone()));
    }
}

fn leaves(told: &Told) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let parts = [
        ("key.schema", &told.key_schema),
        ("key", &told.key),
        ("value.schema", &told.value_schema),
        ("value", &told.value),
    ];
    for (path, part) in parts {
        match part {
            Some(part) => part.leaves(path, &mut out),
            None => out.push((path.to_owned(), "(none)".to_owned())),
        }
    }
    out.extend(told.headers.iter().map(|(name, value)| (format!("header.{name}"), value.clone())));
    out
}

/// Floating-point numbers may be written in different ways; nothing else.
fn equal(left: &str, right: &str) -> bool {
    let float = |text: &str| text.parse::<f64>().ok().filter(|_| text.contains(['.', 'e', 'E']));
    left == right || float(left).zip(float(right)).is_some_and(|(left, right)| left == right)
}
