//! What the target needs before rows of a table's present shape can go into it.

use std::collections::{BTreeSet, HashMap};

use crate::codecs::dialect::{Dialect, Target};
use crate::model::{Error, Result};

/// A column that the target has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetColumn {
    /// Its name.
    pub name: String,
    /// Its type as the warehouse's catalog prints it.
    pub type_name: String,
    /// Whether it is of the key that the table was made with.
    pub key: bool,
}

/// The statements that make the target fit, given its columns; `None` when there is no such table.
///
/// Columns that the source has no more stay and are written no more. A column whose type changed is refused, and so is
/// a key of other columns.
pub fn evolve(dialect: &impl Dialect, target: &Target, present: Option<&[TargetColumn]>) -> Result<Vec<String>> {
    distinct(dialect, target)?;
    if let Some((what, remedy)) = dialect.refusal(target) {
        return Err(Error::blocked(what).remedy(remedy));
    }
    let Some(present) = present else { return Ok(dialect.create(target)) };
    ours(target, present, &["_tw_lsn", "_tw_seq"])?;
    if target.layout.by_key() || !target.table.has_key() {
        same_key(dialect, target, present)?;
    }
    let own: Vec<&str> = target.layout.own_columns().iter().map(|own| own.name).collect();
    ours(target, present, &own)?;
    let mut steps = Vec::new();
    for column in &target.table.columns {
        let wanted = dialect.target_type(column);
        let name = dialect.fold_name(&column.name);
        match present.iter().find(|present| dialect.fold_name(&present.name) == name) {
            None => steps.push(dialect.add_column(target, column)),
            Some(found) if dialect.same_type(column, &found.type_name) => {}
            Some(found) => {
                return Err(Error::blocked(format!(
                    "column {} of {} is {} at the source, which needs {wanted} in the warehouse; it is {} there",
                    column.name,
                    target.name,
                    column.pg_type.name(),
                    found.type_name
                ))
                .remedy("change the column's type in the warehouse, or rename the old column there so that a new one is added"));
            }
        }
    }
    Ok(steps)
}

/// No column may be another's, or one of those that Tailwater adds.
fn distinct(dialect: &impl Dialect, target: &Target) -> Result<()> {
    let mut names = HashMap::new();
    for column in &target.table.columns {
        let name = dialect.fold_name(&column.name);
        if name.starts_with("_tw_") {
            return Err(Error::blocked(format!(
                "column {} of {} has a name that Tailwater keeps for itself",
                column.name, target.table.name
            ))
            .remedy("rename it, or leave the table out"));
        }
        if let Some(other) = names.insert(name, &column.name) {
            return Err(Error::blocked(format!(
                "the columns {other} and {} of {} are one for the warehouse, which does not tell upper case from lower",
                column.name, target.table.name
            ))
            .remedy("rename one of them, or leave the table out"));
        }
    }
    Ok(())
}

/// A table that somebody else made is left alone.
fn ours(target: &Target, present: &[TargetColumn], own: &[&str]) -> Result<()> {
    match own.iter().find(|own| !present.iter().any(|column| column.name == **own)) {
        None => Ok(()),
        Some(own) => Err(Error::blocked(format!(
            "table {} exists in the warehouse and is not Tailwater's: it has no column {own}",
            target.name
        ))
        .remedy("drop or rename it, or send this pipeline's tables to another schema")),
    }
}

/// Rows are found by the key that the table was made with.
fn same_key(dialect: &impl Dialect, target: &Target, present: &[TargetColumn]) -> Result<()> {
    let now: BTreeSet<String> = target.table.key_columns().map(|column| dialect.fold_name(&column.name)).collect();
    let then: BTreeSet<String> = present
        .iter()
        .filter(|column| column.key && !column.name.starts_with("_tw_"))
        .map(|column| dialect.fold_name(&column.name))
        .collect();
    if now == then {
        return Ok(());
    }
    let list = |key: BTreeSet<String>| match key.len() {
        0 => "none".to_owned(),
        _ => key.into_iter().collect::<Vec<_>>().join(", "),
    };
    Err(Error::blocked(format!(
        "the key of {} is not the one that the warehouse's table was made with: {} now, {} then",
        target.name,
        list(now),
        list(then)
    ))
    .remedy("drop the warehouse's table and clear its progress so that it is read again"))
}
