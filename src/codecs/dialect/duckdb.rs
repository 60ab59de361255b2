//! DuckDB. Never MERGE, UPDATE or ON CONFLICT on a target: they rewrite what they touch at every commit, delete and
//! insert only mark and append.

use std::borrow::Cow;

use super::modes::{self, Pairs};
use super::widen::{Duck, number};
use super::{
    Dialect, Layout, MergeSpec, OwnType, Room, Target, control, list, literal, losses, misfits, quote, stage_extras,
    table,
};
use crate::model::pg_type::numeric_modifier;
use crate::model::{Column, PgType, TableName};

/// DuckDB 1.5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Duckdb;

impl Dialect for Duckdb {
    /// The commit fails: "has altered this table".
    fn alters_with_rows(&self) -> bool {
        false
    }

    /// It has the same types.
    fn stages_as_kept(&self) -> bool {
        true
    }

    fn target_type(&self, column: &Column) -> String {
        let plain = match &column.pg_type {
            PgType::Int2 => "SMALLINT",
            PgType::Int4 => "INTEGER",
            PgType::Int8 => "BIGINT",
            PgType::Oid => "UINTEGER",
            PgType::Float4 => "FLOAT",
            PgType::Float8 => "DOUBLE",
            PgType::Bool => "BOOLEAN",
            PgType::Bytea => "BLOB",
            PgType::Date => "DATE",
            PgType::Time => "TIME",
            PgType::Timestamp => "TIMESTAMP",
            PgType::Timestamptz => "TIMESTAMP WITH TIME ZONE",
            PgType::Uuid => "UUID",
            PgType::Json | PgType::Jsonb => "JSON",
            PgType::Numeric => match numeric_modifier(column.modifier) {
                Some((precision @ 1..=38, scale)) if u16::try_from(scale).is_ok_and(|scale| scale <= precision) => {
                    return format!("DECIMAL({precision},{scale})");
                }
                // Unbounded numbers keep their digits as text.
                _ => "VARCHAR",
            },
            _ => "VARCHAR",
        };
        plain.to_owned()
    }

    fn loss(&self, column: &Column) -> Option<&'static str> {
        losses::duckdb(column, &self.target_type(column))
    }

    fn stage_type(&self, column: &Column) -> String {
        self.target_type(column)
    }

    fn create(&self, target: &Target) -> Vec<String> {
        let t = &target.table;
        // NOT NULL tells the key's columns from the others; an index would make every change dear.
        let key = |i: usize| if target.layout.by_key() && t.key.contains(&i) { " NOT NULL" } else { "" };
        let column = |(i, c): (usize, &Column)| format!("{} {}{}", quote(&c.name), self.target_type(c), key(i));
        let mut columns: Vec<String> = t.columns.iter().enumerate().map(column).collect();
        let own = target.layout.own_columns().iter();
        columns.extend(own.map(|own| format!("{} {}", own.name, self.own_type(own.own_type))));
        vec![
            format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&target.name.schema)),
            format!("CREATE TABLE IF NOT EXISTS {} ({})", table(&target.name), list(columns)),
        ]
    }

    fn add_column(&self, target: &Target, column: &Column) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}",
            table(&target.name),
            quote(&column.name),
            self.target_type(column)
        )
    }

    fn add_filled(&self, target: &Target, column: &Column, fill: &str) -> Vec<String> {
        let (name, add) = (quote(&column.name), self.add_column(target, column));
        vec![
            format!("{add} DEFAULT {}", self.constant(column, fill)),
            format!("ALTER TABLE {} ALTER COLUMN {name} DROP DEFAULT", table(&target.name)),
        ]
    }

    fn constant(&self, column: &Column, value: &str) -> String {
        match (&column.pg_type, self.target_type(column).as_str()) {
            (PgType::Bytea, _) => format!("unhex(substr({}, 3))", literal(value)),
            (_, "VARCHAR") => literal(value),
            (_, wanted) => format!("CAST({} AS {wanted})", literal(&Duckdb::readable(&column.pg_type, value))),
        }
    }

    fn lands(&self, column: &Column, found: &str) -> Option<Column> {
        let wanted = self.target_type(column);
        if found.eq_ignore_ascii_case(&wanted) {
            return Some(column.clone());
        }
        let (wider, narrow) = (Duck::named(found), Duck::named(&wanted));
        if wider != Duck::Text && !narrow.fits(wider) {
            return None;
        }
        let (pg_type, modifier) = match wider {
            Duck::Integer(10) => (PgType::Int4, -1),
            Duck::Integer(_) => (PgType::Int8, -1),
            Duck::Double => (PgType::Float8, -1),
            Duck::Decimal(whole, scale) => (PgType::Numeric, (i32::from(whole + scale) << 16) + i32::from(scale) + 4),
            _ => (PgType::Text, -1),
        };
        Some(Column { pg_type, modifier, ..column.clone() })
    }

    fn widens(&self, column: &Column, found: &str, _key: bool) -> bool {
        Duck::named(found).casts(Duck::named(&self.target_type(column)))
    }

    fn wider(&self, column: &Column, found: &str, room: Room) -> Option<Column> {
        let (pg_type, modifier) = match Duck::named(found) {
            Duck::Integer(digits) if !room.float => number((digits, 0), room)?,
            Duck::Decimal(whole, scale) if !room.float => number((whole, scale), room)?,
            Duck::Float => (PgType::Float8, -1),
            _ => return None,
        };
        let wider = Column { pg_type, modifier, ..column.clone() };
        (self.target_type(&wider) != found).then_some(wider)
    }

    fn as_text(&self, target: &Target, column: &Column, found: &str) -> Option<Vec<String>> {
        misfits::duckdb_text(&table(&target.name), &column.name, found)
    }

    /// The key's columns are those that are NOT NULL. Rows that are marked as deleted may have the key of others then, and
    /// no transaction can take rows away from a table and alter it.
    fn rekey(&self, target: &Target, before: &[String], after: &[String]) -> Option<Vec<String>> {
        let alter = |column: &String, what| {
            format!("ALTER TABLE {} ALTER COLUMN {} {what} NOT NULL", table(&target.name), quote(column))
        };
        let gone = before.iter().filter(|column| !after.contains(column)).map(|column| alter(column, "DROP"));
        let come = after.iter().filter(|column| !before.contains(column)).map(|column| alter(column, "SET"));
        (target.layout != Layout::SoftDelete).then(|| gone.chain(come).collect())
    }

    fn fold_name(&self, name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn columns(&self, target: &TableName) -> String {
        format!(
            "SELECT column_name, data_type, CASE WHEN is_nullable THEN 'value' ELSE 'key' END FROM duckdb_columns() WHERE database_name = current_database() \
             AND schema_name = {} AND table_name = {} ORDER BY column_index",
            literal(&target.schema),
            literal(&target.name)
        )
    }

    fn create_stage(&self, target: &Target) -> Vec<String> {
        vec![create_stage(&target.stage(), target, |column| self.target_type(column))]
    }

    /// What is deleted from a temporary table stays in memory for as long as there is the table.
    fn keeps_stage(&self) -> bool {
        false
    }

    fn clear_stage(&self, target: &Target) -> String {
        format!("DELETE FROM {}", self.stage(target))
    }

    fn add_committed_at(&self) -> String {
        control::add_committed_at("TIMESTAMP WITH TIME ZONE")
    }

    fn create_control(&self) -> Vec<String> {
        let (text, time) = (self.own_type(OwnType::Text), self.own_type(OwnType::Time));
        control::tables(&|name| self.control(name), text, time, text)
    }

    fn prepare(&self) -> Vec<String> {
        Vec::new()
    }

    fn own_type(&self, own: OwnType) -> &'static str {
        match own {
            OwnType::Number => "BIGINT",
            OwnType::Text => "VARCHAR",
            OwnType::Flag => "BOOLEAN",
            OwnType::Time => "TIMESTAMP WITH TIME ZONE",
        }
    }

    /// Numbers that are kept as text.
    fn spelled(&self, column: &Column) -> bool {
        column.pg_type == PgType::Numeric && self.target_type(column) == "VARCHAR"
    }

    fn merge(&self, spec: &MergeSpec<'_>) -> Vec<String> {
        let target = spec.target;
        match target.layout {
            Layout::Log | Layout::Multiset | Layout::Append => return modes::append(self, spec),
            Layout::SoftDelete => {
                return modes::soft_delete(self, spec, |pairs| modes::replace(self, spec, &pairs, false));
            }
            Layout::History => return modes::history(self, spec),
            Layout::Mirror => {}
        }
        let mut all: Vec<String> = spec.horizon.map(|horizon| modes::clear(target, horizon)).into_iter().collect();
        if spec.staged {
            all.extend(modes::fill(self, spec));
            all.extend(modes::replace(self, spec, &Pairs::of(self, target), true));
        }
        all
    }

    fn end_versions(&self, target: &Target, ends: &str) -> Vec<String> {
        modes::end_anew(self, target, ends)
    }

    /// Zero's two signs are equal, and storage does not always keep them apart.
    fn same(&self, a: &str, b: &str) -> String {
        format!("{a} IS NOT DISTINCT FROM {b}")
    }

    fn stage(&self, target: &Target) -> String {
        quote(&target.stage())
    }
}

impl Duckdb {
    /// A value's text as DuckDB reads it: PostgreSQL writes BC at the end, DuckDB in brackets behind the day.
    pub fn readable<'a>(of: &PgType, text: &'a str) -> Cow<'a, str> {
        let dated = matches!(of, PgType::Date | PgType::Timestamp | PgType::Timestamptz);
        match text.strip_suffix(" BC").filter(|_| dated).map(|before| before.split_once(' ').ok_or(before)) {
            Some(Ok((day, time))) => Cow::Owned(format!("{day} (BC) {time}")),
            Some(Err(day)) => Cow::Owned(format!("{day} (BC)")),
            None => Cow::Borrowed(text),
        }
    }

    /// The table of rows as text, to find out what DuckDB can't parse.
    pub fn raw(&self, target: &Target) -> String {
        format!("{}_raw", target.stage())
    }

    /// Makes the table of raw rows.
    pub fn create_raw(&self, target: &Target) -> String {
        create_stage(&self.raw(target), target, |_| "VARCHAR".to_owned())
    }

    /// A query for the raw rows, as (lsn, seq, op), whose value of a column can't be parsed, nor that of `raw`, the same
    /// column in their base; `None` where all can be.
    pub fn unparsed(&self, target: &Target, column: &Column, raw: &str) -> Option<String> {
        let wanted = self.target_type(column);
        if wanted == "VARCHAR" || column.pg_type == PgType::Bytea {
            return None;
        }
        Some(format!(
            "SELECT _tw_lsn, _tw_seq, _tw_op FROM {} WHERE {raw} IS NOT NULL AND TRY_CAST({raw} AS {wanted}) IS NULL",
            quote(&self.raw(target)),
        ))
    }
}

fn create_stage(name: &str, target: &Target, of: impl Fn(&Column) -> String + Copy) -> String {
    let columns = target.table.columns.iter().map(|c| format!("{} {}", quote(&c.name), of(c)));
    let columns = list(columns.chain(stage_extras(target, "VARCHAR", of)));
    format!("CREATE OR REPLACE TEMP TABLE {} ({columns})", quote(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_before_christ_are_told_as_duckdb_tells_them() {
        let of = |pg_type, text: &'static str| Duckdb::readable(&pg_type, text);
        assert_eq!(of(PgType::Date, "2024-02-29"), "2024-02-29");
        assert_eq!(of(PgType::Date, "0044-03-15 BC"), "0044-03-15 (BC)");
        assert_eq!(of(PgType::Timestamptz, "0044-03-15 12:00:00.5+00 BC"), "0044-03-15 (BC) 12:00:00.5+00");
        assert_eq!(of(PgType::Text, "44 BC"), "44 BC");
    }
}
