//! What a view beside a target shows once the target's columns have changed.
//!
//! Names only ever come: whoever asks the view for a column that was renamed at the source gets its values under the old
//! name as under the new one. A name that another column has by now is that column's.

use std::collections::{BTreeMap, BTreeSet};

use super::Evolved;
use crate::codecs::dialect::{Dialect, Shown};

/// The view's columns, and whether it has to be made anew, since one it had is gone or shows another column.
#[derive(PartialEq, Eq, Debug)]
pub struct Shows {
    /// In order: those that it has stay in their places.
    pub columns: Vec<Shown>,
    /// Whether it can't be replaced where it is.
    pub anew: bool,
}

/// What the view shows after `evolved`, where it showed `before`.
pub fn shows(dialect: &impl Dialect, before: &[Shown], evolved: &Evolved) -> Shows {
    let fold = |name: &str| dialect.fold_name(name);
    let present: BTreeMap<String, &String> = evolved.columns.iter().map(|name| (fold(name), name)).collect();
    let renamed: BTreeMap<String, &String> = evolved.renames.iter().map(|(from, to)| (fold(from), to)).collect();
    let mut anew = evolved.retypes;
    let mut columns = Vec::new();
    for shown in before {
        let followed = renamed.get(&fold(&shown.column)).map_or_else(|| fold(&shown.column), |to| fold(to));
        let own = present.get(&fold(&shown.name));
        anew |= own.is_some() && fold(&shown.name) != followed;
        match own.or_else(|| present.get(&followed)) {
            Some(column) => columns.push(Shown { name: shown.name.clone(), column: (*column).clone() }),
            None => anew = true,
        }
    }
    let named: BTreeSet<String> = columns.iter().map(|shown| fold(&shown.name)).collect();
    let news = evolved.columns.iter().filter(|name| !named.contains(&fold(name)) && !HIDDEN.contains(&name.as_str()));
    columns.extend(news.map(|name| Shown { name: name.clone(), column: name.clone() }));
    Shows { columns, anew }
}

/// What only the merge asks for.
const HIDDEN: [&str; 2] = ["_tw_lsn", "_tw_seq"];
