//! Values that do not fit their columns in the warehouse, and what a table's policy makes of them.
//!
//! ```text
//!  stop    the table stops
//!  widen   a wider type of the column's kind     text   text as PostgreSQL prints it     ─▶ the column is altered
//!  null    NULL, and a mark in _tailwater.misfits                                        ─▶ the rows are
//! ```
//!
//! A value of the key is never replaced and its column never altered: rows are found by it.

use std::collections::{BTreeMap, BTreeSet};

use super::{NetOp, NetRow, TargetColumn};
use crate::codecs::dialect::{Dialect, Room, Target};
use crate::model::value::Numeric;
use crate::model::{Cell, ChangeId, Column, Error, Result, Row};

/// What becomes of a value that does not fit its column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnMisfit {
    /// It stops its table.
    #[default]
    Stop,
    /// The column gets a wider type of its kind.
    Widen,
    /// The column becomes text.
    Text,
    /// NULL is written in its place, with a mark.
    Null,
}

/// The policies' names in the configuration.
pub const MISFITS: [(&str, OnMisfit); 4] =
    [("stop", OnMisfit::Stop), ("widen", OnMisfit::Widen), ("text", OnMisfit::Text), ("null", OnMisfit::Null)];

/// A value that does not fit: its row among those at hand, and its column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Misfit {
    /// The row.
    pub row: usize,
    /// The column.
    pub column: usize,
}

/// The rows of the target in which a column is NULL in the place of a value.
pub type Marks = BTreeMap<String, Vec<ChangeId>>;

/// Puts NULL in the place of values; says which rows of the target get it.
pub fn replace(target: &Target, rows: &mut [NetRow], misfits: &[Misfit]) -> Result<Marks> {
    let columns = named(target, misfits, "null")?;
    let mut by_row: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for misfit in misfits {
        by_row.entry(misfit.row).or_default().insert(misfit.column);
    }
    let mut marks = Marks::new();
    for (at, nulls) in by_row {
        let Some(row) = rows.get_mut(at) else { continue };
        let cells = row.row.cells().enumerate();
        let replaced: Row = cells.map(|(at, cell)| if nulls.contains(&at) { Cell::Null } else { cell }).collect();
        row.row = replaced;
        // Of these only the key comes into the target.
        if matches!(row.op, NetOp::Delete | NetOp::End) {
            continue;
        }
        for column in nulls.iter().filter_map(|at| columns.get(at)) {
            marks.entry(column.name.clone()).or_default().push(row.id);
        }
    }
    Ok(marks)
}

/// The statements that make room for values, and what they do in words.
pub fn room(
    dialect: &impl Dialect,
    target: &Target,
    present: &[TargetColumn],
    rows: &[NetRow],
    misfits: &[Misfit],
    policy: OnMisfit,
) -> Result<(Vec<String>, Vec<String>)> {
    let word = if policy == OnMisfit::Text { "text" } else { "widen" };
    let (mut statements, mut words) = (Vec::new(), Vec::new());
    for (at, column) in named(target, misfits, word)? {
        let folded = dialect.fold_name(&column.name);
        let found = present.iter().find(|present| dialect.fold_name(&present.name) == folded);
        let Some(found) = found.map(|found| found.type_name.as_str()) else { continue };
        let (steps, wanted) = if policy == OnMisfit::Text {
            let steps = dialect.as_text(target, column, found).ok_or_else(|| {
                no_room(target, column, found, word, "it can't become text that holds them", "\"null\"")
            })?;
            (steps, "text".to_owned())
        } else {
            let wider = needs(rows, misfits, at).and_then(|room| dialect.wider(column, found, room));
            let wider = wider.ok_or_else(|| {
                no_room(target, column, found, word, "no wider type of its kind holds them", "\"text\" or \"null\"")
            })?;
            (dialect.retype(target, &wider), dialect.target_type(&wider))
        };
        statements.extend(steps);
        words.push(format!("{} from {found} to {wanted}", column.name));
    }
    Ok((statements, words))
}

/// The columns by their places; none may be of the key.
fn named<'a>(target: &'a Target, misfits: &[Misfit], word: &str) -> Result<BTreeMap<usize, &'a Column>> {
    let table = &target.table;
    let places: BTreeSet<usize> = misfits.iter().map(|misfit| misfit.column).collect();
    let columns: BTreeMap<usize, &Column> =
        places.into_iter().filter_map(|at| Some((at, table.columns.get(at)?))).collect();
    match columns.iter().find(|(at, _)| table.key.contains(at)) {
        None => Ok(columns),
        Some((_, column)) => Err(Error::blocked(format!(
            "a value of {}{}, column {}, does not fit its type in the warehouse; on_misfit = {word:?} does not touch the key: rows are found by it",
            table.name,
            key(target),
            column.name
        ))
        .remedy("correct the row at the source, or name another key with `key` in its [[table]]")),
    }
}

fn no_room(target: &Target, column: &Column, found: &str, word: &str, why: &str, others: &str) -> Error {
    let table = &target.table;
    Error::blocked(format!(
        "values of {}{}, column {}, do not fit {found}; on_misfit = {word:?}, but {why}",
        table.name,
        key(target),
        column.name
    ))
    .remedy(format!(
        "set on_misfit = {others} for this table, correct the rows at the source, or leave the column out with columns.exclude"
    ))
}

fn key(target: &Target) -> String {
    let names: Vec<&str> = target.table.key_columns().map(|column| column.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (key {})", names.join(", ")) }
}

/// The digits that a column's values need; `None` where one is no number, or not a finite one.
fn needs(rows: &[NetRow], misfits: &[Misfit], column: usize) -> Option<Room> {
    let mut room = Room::default();
    for misfit in misfits.iter().filter(|misfit| misfit.column == column) {
        let Cell::Text(text) = rows.get(misfit.row)?.row.cell(column) else { return None };
        match Numeric::parse(text) {
            Ok(Numeric::Finite { whole, fraction, .. }) => {
                room.whole = room.whole.max(whole.len());
                room.scale = room.scale.max(fraction.len());
            }
            Ok(_) => return None,
            // As floating point is printed.
            Err(_) if std::str::from_utf8(text).ok()?.parse::<f64>().is_ok_and(f64::is_finite) => room.float = true,
            Err(_) => return None,
        }
    }
    Some(room)
}
