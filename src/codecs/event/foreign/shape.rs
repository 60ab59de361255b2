//! Tables as the records so far have them. They grow: columns are added, types widened, nothing is taken away.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::fields::{Field, Fields};
use super::guess;
use super::typed::Declared;
use super::{Does, Filed, ForeignError};
use crate::codecs::event::json::placeholder;
use crate::codecs::event::modes::Modes;
use crate::codecs::event::tables::{TableRecord, decode_table, encode_table};
use crate::model::{Birth, Cell, Column, Oid, OldRow, Op, PgType, ReplicaIdentity, Row, RowWriter, Table, TableName};

/// All tables met so far.
#[derive(Debug, Default)]
pub struct Shapes {
    tables: HashMap<TableName, Arc<Table>>,
    /// Those that grew and were not told of yet.
    grown: BTreeSet<TableName>,
    declared: Vec<Declared>,
    placeholder: String,
    rows: RowWriter,
}

impl Shapes {
    /// No tables yet. Columns that are declared have that type; this text stands for values that did not change.
    pub fn new(declared: Vec<Declared>, placeholder: String) -> Shapes {
        Shapes { declared, placeholder, ..Shapes::default() }
    }

    /// A table as [`Shapes::grown`] told it; whether it could be read.
    pub fn recall(&mut self, text: &str) -> bool {
        match decode_table(text.as_bytes()) {
            Ok(TableRecord::Version(table, _)) => {
                self.tables.insert(table.name.clone(), Arc::new(table));
                true
            }
            _ => false,
        }
    }

    /// The tables that grew since this was asked, as texts.
    pub fn grown(&mut self) -> Vec<(TableName, String)> {
        let tables = std::mem::take(&mut self.grown).into_iter();
        let told = tables.filter_map(|name| {
            let (_, text) = encode_table(self.tables.get(&name)?, &Modes::default());
            Some((name, String::from_utf8_lossy(&text).into_owned()))
        });
        told.collect()
    }

    /// Makes the table fit a record; whether the record says anything: a table of which nothing came has no rows to lose.
    pub fn meet(&mut self, filed: &Filed) -> Result<bool, ForeignError> {
        if (filed.truncates() || filed.bare) && !self.tables.contains_key(&filed.table) {
            return Ok(false);
        }
        if filed.truncates() {
            return Ok(true);
        }
        legible(filed)?;
        let known = self.tables.get(&filed.table);
        let mut table = match known {
            Some(table) => (**table).clone(),
            None => Table {
                oid: Oid(0),
                name: filed.table.clone(),
                version: 0,
                columns: Vec::new(),
                identity: ReplicaIdentity::Default,
                key: Vec::new(),
            },
        };
        let mut grew = known.is_none();
        for field in &filed.key.0 {
            grew |= self.grow(&mut table, field, false)?;
        }
        match &filed.does {
            Does::Read(row) | Does::Insert(row) | Does::DeleteRow(row) => {
                for field in &row.0 {
                    grew |= self.grow(&mut table, field, true)?;
                }
            }
            Does::Update { row, .. } => {
                for field in row.0.iter().filter(|field| !self.unchanged(field)) {
                    grew |= self.grow(&mut table, field, true)?;
                }
            }
            Does::Delete | Does::Part | Does::Truncate => {}
        }
        let place = |name: &str| table.columns.iter().position(|column| column.name == name);
        let key: Vec<usize> = filed.key.names().filter_map(place).collect();
        if known.is_none() {
            table.key = key;
        } else if BTreeSet::from_iter(&key) != BTreeSet::from_iter(&table.key) {
            return Err(another_key(&table, filed));
        }
        if grew {
            table.version += 1;
            self.grown.insert(filed.table.clone());
            self.tables.insert(filed.table.clone(), Arc::new(table));
        }
        Ok(true)
    }

    /// Makes a column fit a value; whether it had to.
    fn grow(&self, table: &mut Table, field: &Field, optional: bool) -> Result<bool, ForeignError> {
        let declared = self
            .declared
            .iter()
            .find(|declared| declared.column == field.name && declared.tables.matches(&table.name.to_string()));
        let (pg_type, modifier) = match (declared, &field.typed) {
            (Some(declared), _) => (declared.pg_type.clone(), declared.modifier),
            (None, Some(typed)) => (typed.pg_type.clone(), typed.modifier),
            (None, None) => match guess::guess(&field.json) {
                Some(pg_type) => (pg_type, -1),
                // Its first value will say it.
                None if optional => return Ok(false),
                None => return Err(ForeignError::Unreadable("a value in each column of the key")),
            },
        };
        let found = table.columns.iter().position(|column| column.name == field.name);
        let Some(column) = found.and_then(|at| table.columns.get_mut(at)) else {
            let name = field.name.clone();
            table.columns.push(Column {
                name,
                pg_type,
                oid: Oid(0),
                modifier,
                optional,
                default: None,
                birth: Birth::default(),
            });
            return Ok(true);
        };
        if declared.is_some() || (column.pg_type == pg_type && column.modifier == modifier) {
            return Ok(false);
        }
        let Some(wide) = guess::join(&column.pg_type, &pg_type) else {
            return Err(ForeignError::refused(
                format!(
                    "column {} of {} is {} so far, and this record has {} in it",
                    field.name,
                    table.name,
                    column.pg_type.name(),
                    pg_type.name()
                ),
                "mend what writes it; or declare the column's type with columns.types of its [[table]] (text and json \
                 hold anything), drop the table in the warehouse, and have the topics read again under another \
                 pipeline name",
            ));
        };
        // A numeric of no limits holds those of any.
        let modifier = if column.pg_type == wide && wide != PgType::Numeric { column.modifier } else { -1 };
        let grew = column.pg_type != wide || column.modifier != modifier;
        (column.pg_type, column.modifier) = (wide, modifier);
        Ok(grew)
    }

    /// Whether a row that had another key keeps values that only the row of that key has.
    pub fn keeps(&self, filed: &Filed) -> bool {
        let Does::Update { old: Some(_), row } = &filed.does else { return false };
        row.0.iter().any(|field| self.unchanged(field))
    }

    /// A row that comes under another key, where the end of the old one is told by itself, in another partition: it only
    /// comes, unless it keeps values of the row that was. `alone`: that row may be gone, or another one.
    pub fn part(&self, filed: &mut Filed, alone: bool) {
        let Does::Update { old, row } = &mut filed.does else { return };
        if old.is_none() {
            return;
        }
        if !row.0.iter().any(|field| self.unchanged(field)) {
            filed.does = Does::Insert(std::mem::take(row));
        } else if alone {
            *old = None;
        }
    }

    /// What a record that was met comes to, in the table's present shape.
    pub fn op(&mut self, filed: &Filed) -> Result<(Arc<Table>, Op), ForeignError> {
        let table = self.tables.get(&filed.table).ok_or(ForeignError::Unreadable("a table that was met"))?;
        let table = Arc::clone(table);
        let op = match &filed.does {
            Does::Read(row) => Op::Read { new: self.row(&table, row, false)? },
            Does::Insert(row) => Op::Insert { new: self.row(&table, row, false)? },
            Does::Update { old, row } => {
                let new = self.row(&table, row, true)?;
                let old = old.as_ref().map(|old| self.row(&table, old, false)).transpose()?;
                match old {
                    None if !new.has_unchanged() => Op::Update { old: None, new },
                    old => Op::Update { old: old.map(OldRow::Key), new },
                }
            }
            Does::Delete | Does::Part => Op::Delete { old: OldRow::Key(self.row(&table, &filed.key, false)?) },
            Does::DeleteRow(row) => Op::Delete { old: OldRow::Full(self.row(&table, row, false)?) },
            Does::Truncate => Op::Truncate,
        };
        Ok((table, op))
    }

    fn row(&mut self, table: &Table, fields: &Fields, partial: bool) -> Result<Row, ForeignError> {
        let mut text = Vec::new();
        for (at, column) in table.columns.iter().enumerate() {
            let Some(field) = fields.at(at, &column.name).filter(|field| field.json != b"null") else {
                self.rows.push(Cell::Null);
                continue;
            };
            if partial && self.unchanged(field) {
                self.rows.push(Cell::Unchanged);
                continue;
            }
            text.clear();
            let declared = self
                .declared
                .iter()
                .any(|declared| declared.column == column.name && declared.tables.matches(&table.name.to_string()));
            // A column of JSON that has no schema's type holds the value's JSON.
            let json = column.pg_type == PgType::Json;
            let printed = match &field.typed {
                Some(typed) if typed.pg_type == column.pg_type || !(declared || json) => {
                    typed.print(&field.json, &mut text)
                }
                _ => guess::print(&column.pg_type, &field.json, &mut text),
            };
            if let Err(error) = printed {
                // The writer holds the half of a row.
                self.rows = RowWriter::new();
                return Err(misfit(table, column, error.expected));
            }
            if memchr::memchr(0, &text).is_some() {
                self.rows = RowWriter::new();
                return Err(misfit(table, column, "no character U+0000, which no warehouse's text holds"));
            }
            self.rows.push(Cell::Text(&text));
        }
        Ok(self.rows.finish())
    }

    /// Whether the value stands for one that did not change.
    fn unchanged(&self, field: &Field) -> bool {
        match field.typed.as_ref().and_then(|typed| typed.kind.as_ref()) {
            Some(kind) => {
                let sign = placeholder(kind, &self.placeholder);
                sign != b"null" && field.json == sign
            }
            None => {
                let inside = field.json.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                inside.is_some_and(|inside| inside == self.placeholder.as_bytes() && !inside.is_empty())
            }
        }
    }
}

/// Refuses names that no warehouse takes.
fn legible(filed: &Filed) -> Result<(), ForeignError> {
    let rows = match &filed.does {
        Does::Read(row) | Does::Insert(row) | Does::DeleteRow(row) | Does::Update { row, .. } => row.names(),
        Does::Delete | Does::Part | Does::Truncate => filed.key.names(),
    };
    let nothing = |name: &str| name.is_empty() || name.contains('\0');
    if [&filed.table.schema, &filed.table.name].into_iter().any(|name| nothing(name)) {
        return Err(ForeignError::refused(
            "the topic's last two words, or the record, name no table",
            "leave the topic out of `topics`, or name the table in each record (the header _table of rows)",
        ));
    }
    match rows.into_iter().any(nothing) {
        false => Ok(()),
        true => Err(ForeignError::refused(
            format!("a column of {} has no name, or U+0000 in it", filed.table),
            "mend what writes it; nothing is skipped",
        )),
    }
}

fn misfit(table: &Table, column: &Column, expected: &str) -> ForeignError {
    ForeignError::refused(
        format!(
            "a value of {}, column {}, is no {}: expected {expected}",
            table.name,
            column.name,
            column.pg_type.name()
        ),
        "mend what writes it; nothing is skipped",
    )
}

fn another_key(table: &Table, filed: &Filed) -> ForeignError {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let then = list(table.key_columns().map(|column| column.name.as_str()).collect());
    let now = list(filed.key.names().collect());
    ForeignError::refused(
        format!("the key of {} is {then} so far, and this record's is {now}", table.name),
        "every record of a table has the same key's columns, or none has a key: mend what writes it, or send the others \
         to a table of their own",
    )
}
