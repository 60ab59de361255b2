//! One table version under one rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cast, Mask, Rule};
use crate::model::{
    Birth, Cell, Column, ColumnDefault, Error, Oid, PgType, ReplicaIdentity, Result, Row, RowWriter, Table, TableName,
};

/// The OID of `text`, which masked values are.
const TEXT: Oid = Oid(25);

/// How rows of a table version are made what may be told.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The table as it is told.
    pub(super) table: Arc<Table>,
    /// By column of the source; `None` for one that is left out.
    steps: Vec<Option<Option<Mask>>>,
    /// What the column says that tells whose a row is.
    source: Option<String>,
}

impl Plan {
    pub(super) fn new(rule: &Rule, table: &Table) -> Result<Plan> {
        let masks = rule.masks.iter().map(|(name, _)| name);
        let others = rule.renames.iter().map(|(name, _)| name).chain(rule.casts.iter().map(|(name, _)| name));
        let excluded = rule.exclude.iter().filter(|_| !rule.unpublished);
        for name in excluded.chain(masks).chain(others).filter(|name| place(table, name).is_none()) {
            // It may have been dropped; or its name is written wrongly, and what should be hidden is not.
            tracing::warn!(table = %table.name, column = name, "a rule names a column that the table does not have");
        }
        let key = key(rule, table)?;
        for &at in &key {
            let Some(column) = table.columns.get(at) else { continue };
            let name = column.name.as_str();
            if cast(rule, name)
                .is_some_and(|cast| column.pg_type != cast.pg_type && !column.pg_type.keeps_apart(&cast.pg_type))
            {
                return Err(Error::blocked(format!(
                    "column {name} of {} is part of the key, and as another type its values may not be told apart",
                    table.name
                ))
                .remedy("remove it from columns.cast, or cast it to text"));
            }
            let blunt = mask(rule, name).is_some_and(|mask| !mask.tells_apart());
            if rule.exclude.iter().any(|left| left == name) || blunt {
                return Err(Error::blocked(format!(
                    "column {name} of {} is part of the key and may not be left out, redacted or truncated",
                    table.name
                ))
                .remedy("mask it with sha256 or hmac, or name another key for the table"));
            }
        }
        let excluded = |column: &Column| rule.exclude.contains(&column.name);
        let steps: Vec<Option<Option<Mask>>> =
            table.columns.iter().map(|column| (!excluded(column)).then(|| mask(rule, &column.name).cloned())).collect();
        let columns: Vec<Column> =
            table.columns.iter().filter(|column| !excluded(column)).map(|column| told_as(rule, column)).collect();
        distinct(table, &columns)?;
        // Where a column of the source is among those that are told.
        let told = |at: &usize| steps.iter().take(*at).filter(|step| step.is_some()).count();
        let schema = &table.name.schema;
        let mut told = Table {
            name: rule.rename.as_ref().map_or_else(|| table.name.clone(), |name| TableName::new(schema, name)),
            columns,
            key: key.iter().map(told).collect(),
            ..table.clone()
        };
        if let Some((name, value)) = &rule.source {
            add_source(&mut told, name, value)?;
        }
        Ok(Plan { table: Arc::new(told), steps, source: rule.source.as_ref().map(|(_, value)| value.clone()) })
    }

    /// The row as it is told.
    pub(super) fn row(&self, row: &Row, rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Row {
        for (step, cell) in self.steps.iter().zip(row.cells()) {
            match (step, cell) {
                (None, _) => {}
                (Some(Some(mask)), Cell::Text(value) | Cell::Binary(value)) => {
                    scratch.clear();
                    mask.apply(value, scratch);
                    rows.push(Cell::Text(scratch));
                }
                (Some(_), cell) => rows.push(cell),
            }
        }
        if let Some(source) = &self.source {
            rows.push(Cell::Text(source.as_bytes()));
        }
        rows.finish()
    }
}

/// Adds the column that says whose a row is, last, and to the key where there is one.
fn add_source(table: &mut Table, name: &str, value: &str) -> Result<()> {
    if place(table, name).is_some() {
        return Err(Error::blocked(format!("the source_column of {} is {name}, a column that it has", table.name))
            .remedy("name another column, one that no source has"));
    }
    if table.has_key() {
        table.key.push(table.columns.len());
    }
    table.columns.push(Column {
        name: name.to_owned(),
        pg_type: PgType::Text,
        oid: TEXT,
        modifier: -1,
        optional: false,
        default: Some(ColumnDefault::Always(value.to_owned())),
        birth: Birth::default(),
    });
    Ok(())
}

fn mask<'a>(rule: &'a Rule, column: &str) -> Option<&'a Mask> {
    rule.masks.iter().find(|(name, _)| name == column).map(|(_, mask)| mask)
}

fn cast<'a>(rule: &'a Rule, column: &str) -> Option<&'a Cast> {
    rule.casts.iter().find(|(name, _)| name == column).map(|(_, cast)| cast)
}

/// A column as it is told.
fn told_as(rule: &Rule, column: &Column) -> Column {
    let renamed = rule.renames.iter().find(|(name, _)| *name == column.name);
    let name = renamed.map_or(&column.name, |(_, name)| name).clone();
    match (mask(rule, &column.name), cast(rule, &column.name)) {
        (Some(mask), _) => Column {
            name,
            pg_type: PgType::Text,
            oid: TEXT,
            modifier: -1,
            default: None,
            birth: Birth { fill: column.birth.fill.as_ref().map(|fill| masked(mask, fill)), ..column.birth },
            ..column.clone()
        },
        (None, Some(Cast { oid, pg_type, modifier })) => {
            Column { name, pg_type: pg_type.clone(), oid: *oid, modifier: *modifier, default: None, ..column.clone() }
        }
        (None, None) => Column { name, ..column.clone() },
    }
}

/// Refuses two columns under one name.
fn distinct(table: &Table, columns: &[Column]) -> Result<()> {
    let mut names = BTreeSet::new();
    match columns.iter().find(|column| !names.insert(&column.name)) {
        None => Ok(()),
        Some(column) => Err(Error::blocked(format!("two columns of {} would be named {}", table.name, column.name))
            .remedy("correct columns.rename of its [[table]]")),
    }
}

/// What a value becomes.
fn masked(mask: &Mask, value: &str) -> String {
    let mut text = Vec::new();
    mask.apply(value.as_bytes(), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn place(table: &Table, name: &str) -> Option<usize> {
    table.columns.iter().position(|column| column.name == name)
}

/// The key's columns: the table's own, unless the rule names others.
///
/// A key of other columns must be in every old row, or nobody could tell which row an update or a delete is of.
fn key(rule: &Rule, table: &Table) -> Result<Vec<usize>> {
    let Some(names) = &rule.key else { return Ok(table.key.clone()) };
    let mut key = Vec::new();
    for name in names {
        let at = place(table, name).ok_or_else(|| {
            Error::blocked(format!("the key of {} names column {name}, which the table does not have", table.name))
                .remedy("correct `key` of its [[table]]")
        })?;
        if table.columns.get(at).is_none_or(|column| column.optional) {
            return Err(Error::blocked(format!("the key of {} names column {name}, which may be NULL", table.name))
                .remedy("name columns that are NOT NULL, or make it so"));
        }
        key.push(at);
    }
    let covered = table.identity == ReplicaIdentity::Full || key.iter().all(|at| table.key.contains(at));
    if !covered {
        return Err(Error::blocked(format!(
            "the key of {} names columns that updates and deletes do not carry",
            table.name
        ))
        .remedy(format!("run: ALTER TABLE {} REPLICA IDENTITY FULL", table.name)));
    }
    Ok(key)
}
