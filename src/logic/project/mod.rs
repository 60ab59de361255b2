//! What leaves the process of a table: columns left out or masked, another key, another name.
//!
//! ```text
//!  source ──changes──▶ Projection ──changes──▶ sink      a plan per table version; rows without a rule pass untouched
//! ```
//!
//! Why nothing masked gets out: rows, old rows and keys are made anew from the plan before any sink, log or error sees
//! them, and a rule that can't be kept (a key column left out, a key that would not tell rows apart) stops the pipeline.

mod mask;
mod origins;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Change, Oid, OldRow, Op, Pattern, PgType, Result, RowWriter, Table, TableName};

pub use mask::Mask;
pub use origins::Origins;
use plan::Plan;

/// A type that a column's values are told as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cast {
    /// The type's OID.
    pub oid: Oid,
    /// The type.
    pub pg_type: PgType,
    /// Its modifier.
    pub modifier: i32,
}

/// What is to be done with the tables that a pattern names.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The tables, as a `schema.table` pattern.
    pub tables: Pattern,
    /// Columns that are left out.
    pub exclude: Vec<String>,
    /// Whether those are not sent to us in the first place.
    pub unpublished: bool,
    /// Columns that are masked.
    pub masks: Vec<(String, Mask)>,
    /// Columns that have another name from here on.
    pub renames: Vec<(String, String)>,
    /// Columns whose values are told as another type's; their texts stay.
    pub casts: Vec<(String, Cast)>,
    /// The columns that tell rows apart, in the key's order.
    pub key: Option<Vec<String>>,
    /// The table's name from here on; its schema stays.
    pub rename: Option<String>,
    /// A column that says whose the rows are, and what it says: it is a part of the key.
    pub source: Option<(String, String)>,
}

impl Rule {
    /// The first of the rules that is for a table of the source.
    pub fn of<'a>(rules: &'a [Rule], source: &TableName) -> Option<&'a Rule> {
        let name = source.to_string();
        rules.iter().find(|rule| rule.tables.matches(&name))
    }

    /// A rule that does nothing to the tables that a pattern names.
    pub fn of_tables(tables: Pattern) -> Rule {
        let (exclude, masks, renames, casts) = Default::default();
        Rule { tables, exclude, unpublished: false, masks, renames, casts, key: None, rename: None, source: None }
    }

    /// The rule for rows to which an earlier one was `done`, see [`Rule::done`].
    #[must_use]
    pub fn again(&self, table: &Table, done: &[String]) -> Rule {
        let source = |told: &'_ str| {
            let renamed = done.iter().filter_map(|text| text.split_once('\0')).find(|(_, to)| *to == told);
            renamed.map_or_else(|| told.to_owned(), |(from, _)| from.to_owned())
        };
        let columns: Vec<(String, &str)> =
            table.columns.iter().map(|column| (source(&column.name), column.name.as_str())).collect();
        let of = |name: &String| -> Vec<String> {
            columns.iter().filter(|(source, _)| source == name).map(|(_, told)| (*told).to_owned()).collect()
        };
        let renames = columns.iter().filter_map(|(source, told)| {
            let wanted = self.renames.iter().find(|(from, _)| from == source).map_or(source, |(_, to)| to);
            (wanted != told).then(|| ((*told).to_owned(), wanted.clone()))
        });
        let masks = self.masks.iter().flat_map(|(name, mask)| of(name).into_iter().map(|told| (told, mask.clone())));
        let casts = self.casts.iter().flat_map(|(name, cast)| of(name).into_iter().map(|told| (told, cast.clone())));
        let key = self
            .key
            .as_ref()
            .map(|key| key.iter().map(|name| of(name).into_iter().next().unwrap_or_else(|| name.clone())).collect());
        // What came from there has its column already.
        let of_source = self.source.clone().filter(|(column, _)| table.columns.iter().any(|c| c.name == *column));
        let key =
            key.map(|key: Vec<String>| key.into_iter().chain(of_source.clone().map(|(column, _)| column)).collect());
        Rule {
            source: self.source.clone().filter(|_| of_source.is_none()),
            exclude: self.exclude.iter().flat_map(of).collect(),
            masks: masks.filter(|(told, _)| !done.contains(told)).collect(),
            renames: renames.collect(),
            casts: casts.collect(),
            key,
            ..self.clone()
        }
    }

    /// What it has done to a told table's columns: the names of those that are masked, and the two names of each that
    /// is renamed, with a NUL between them, which no name holds.
    pub fn done(&self, table: &Table) -> Vec<String> {
        let has = |name: &str| table.columns.iter().any(|column| column.name == name);
        let told =
            |name: &'_ String| self.renames.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to).clone();
        let masked = self.masks.iter().map(|(name, _)| told(name)).filter(|name| has(name));
        let renamed = self.renames.iter().filter(|(_, to)| has(to)).map(|(from, to)| format!("{from}\0{to}"));
        masked.chain(renamed).collect()
    }

    /// The name that a table of the source is told under.
    pub fn told_name(rules: &[Rule], source: &TableName) -> TableName {
        let rename = Rule::of(rules, source).and_then(|rule| rule.rename.clone());
        rename.map_or_else(|| source.clone(), |name| TableName::new(&source.schema, name))
    }
}

/// Rules, and what they have made of the tables seen so far.
#[derive(Debug, Default)]
pub struct Projection {
    rules: Vec<Rule>,
    origins: Origins,
    /// By the address of the table version, which the plan keeps alive. `None`: no rule is for it.
    plans: HashMap<usize, (Arc<Table>, Option<Plan>)>,
    rows: RowWriter,
    scratch: Vec<u8>,
}

impl Projection {
    /// Of these rules: the first that matches a table counts.
    pub fn new(rules: Vec<Rule>, origins: Origins) -> Projection {
        Projection { rules, origins, ..Projection::default() }
    }

    /// The table as it is told.
    pub fn table(&self, table: &Arc<Table>) -> Result<Arc<Table>> {
        Ok(self.plan(table)?.map_or_else(|| Arc::clone(table), |plan| plan.table))
    }

    fn plan(&self, table: &Arc<Table>) -> Result<Option<Plan>> {
        let name = table.name.to_string();
        let rule = self.rules.iter().find(|rule| rule.tables.matches(&name));
        let plan = rule.map(|rule| Plan::new(rule, table)).transpose()?;
        self.origins.claim(plan.as_ref().map_or(&table.name, |plan| &plan.table.name), &table.name)?;
        Ok(plan)
    }

    /// Makes the changes what may be told.
    pub fn apply(&mut self, changes: &mut [Change]) -> Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        changes.iter_mut().try_for_each(|change| self.change(change))
    }

    fn change(&mut self, change: &mut Change) -> Result<()> {
        if change.table.is_of_messages() {
            return Ok(());
        }
        let address = Arc::as_ptr(&change.table).addr();
        if !self.plans.contains_key(&address) {
            let plan = self.plan(&change.table)?;
            self.plans.insert(address, (Arc::clone(&change.table), plan));
        }
        let Projection { plans, rows, scratch, .. } = self;
        let Some((_, Some(plan))) = plans.get(&address) else { return Ok(()) };
        let mut row = |row: &mut crate::model::Row| *row = plan.row(row, rows, scratch);
        match &mut change.op {
            Op::Read { new } | Op::Insert { new } => row(new),
            Op::Update { old, new } => {
                row(new);
                old.iter_mut().for_each(|(OldRow::Full(old) | OldRow::Key(old))| row(old));
            }
            Op::Delete { old: OldRow::Full(old) | OldRow::Key(old) } => row(old),
            Op::Truncate | Op::Message(_) | Op::Commit { .. } => {}
        }
        change.table = Arc::clone(&plan.table);
        Ok(())
    }
}
