//! What the target needs before rows of a table's present shape can go into it.
//!
//! ```text
//!  source column ──number, else name──▶ what the target's columns hold ──▶ rename, alter, add ──▶ where its rows land
//! ```
//!
//! Why this can be repeated: it is decided from what the target is and from what is noted of its columns, both as they
//! are committed; the statements and the note are one transaction. Why no rows are mixed: a column is the one that the
//! number says, whatever it is called; one that was dropped keeps its rows, under another name where a new column takes
//! its own. Numbers are a relation's: a table that was made anew is matched by names, and its rows are read anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::OnMisfit;
use crate::codecs::dialect::{Dialect, Held, Layout, Target};
use crate::model::{Column, ColumnDefault, Error, Result, Table};

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

/// What becomes of a column whose type the target's does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Incompatible {
    /// It stops its table.
    #[default]
    Stop,
    /// Its values go to a new column, `name__v2`.
    NewColumn,
}

/// What becomes of a column that was renamed at the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Renamed {
    /// The target's is renamed, too.
    #[default]
    Follow,
    /// The target's keeps its name.
    Keep,
}

/// How a table's target follows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// A type that does not fit.
    pub incompatible: Incompatible,
    /// A new name.
    pub renamed: Renamed,
    /// A value that does not fit.
    pub misfit: OnMisfit,
}

/// What is to be done, and what then is.
#[derive(Debug)]
pub struct Evolved {
    /// The table with the names and types that its columns have in the target.
    pub table: Arc<Table>,
    /// The statements, in order.
    pub statements: Vec<String>,
    /// What the target's columns hold.
    pub held: Vec<Held>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Whether nothing but empty columns come, so that rows of the shape before land as they did.
    pub only_adds: bool,
    /// The target's columns, in order.
    pub columns: Vec<String>,
    /// Those that get another name, and which.
    pub renames: Vec<(String, String)>,
    /// Whether one gets another type.
    pub retypes: bool,
}

/// The statements that make the target fit, given its columns, `None` when there is no such table, and what they hold.
pub fn evolve(
    dialect: &impl Dialect,
    target: &Target,
    present: Option<&[TargetColumn]>,
    held: &[Held],
    policy: Policy,
) -> Result<Evolved> {
    distinct(dialect, target)?;
    if let Some((what, remedy)) = dialect.refusal(target) {
        return Err(Error::blocked(what).remedy(remedy));
    }
    let Some(present) = present else {
        let held = target.table.columns.iter().map(|column| hold(&target.table, column, &column.name)).collect();
        let statements = dialect.create(target);
        let own = target.layout.own_columns().iter().map(|own| own.name.to_owned());
        return Ok(Evolved {
            table: kept(dialect, &target.table, target.table.columns.clone()),
            statements,
            held,
            notes: Vec::new(),
            only_adds: true,
            columns: target.table.columns.iter().map(|column| column.name.clone()).chain(own).collect(),
            renames: Vec::new(),
            retypes: false,
        });
    };
    ours(target, present, &["_tw_lsn", "_tw_seq"])?;
    let mut plan = Plan::new(dialect, target, present, held, policy);
    plan.rename();
    plan.make_way();
    let mut columns = Vec::new();
    for (index, column) in target.table.columns.iter().enumerate() {
        columns.push(plan.land(index, column)?);
    }
    let table = Table { columns, ..Table::clone(&target.table) };
    plan.key(&table)?;
    let own: Vec<&str> = target.layout.own_columns().iter().map(|own| own.name).collect();
    ours(target, present, &own)?;
    let mut after: Vec<String> = present.iter().map(|column| plan.called(&column.name)).collect();
    let Plan { statements, held, notes, only_adds, renames, added, retypes, .. } = plan;
    after.extend(added);
    let table = kept(dialect, &target.table, table.columns);
    Ok(Evolved { table, statements, held, notes, only_adds, columns: after, renames, retypes })
}

/// The table with these columns, under the names that the warehouse keeps them under.
fn kept(dialect: &impl Dialect, told: &Arc<Table>, columns: Vec<Column>) -> Arc<Table> {
    let named = |column: Column| Column { name: dialect.kept_name(&column.name), ..column };
    let columns: Vec<Column> = columns.into_iter().map(named).collect();
    if columns == told.columns { Arc::clone(told) } else { Arc::new(Table { columns, ..Table::clone(told) }) }
}

fn hold(table: &Table, column: &Column, name: &str) -> Held {
    let (number, source) = (column.birth.number, column.name.clone());
    Held { relation: table.oid, number, source, column: name.to_owned() }
}

/// A target on its way to a new shape.
struct Plan<'a, D> {
    dialect: &'a D,
    target: &'a Target,
    policy: Policy,
    /// The target's columns as they are after the statements so far, by their folded names.
    now: BTreeMap<String, TargetColumn>,
    held: Vec<Held>,
    /// By source column: where in `held` it is, and the name that it shall have.
    found: Vec<(Option<usize>, String)>,
    statements: Vec<String>,
    notes: Vec<String>,
    only_adds: bool,
    /// Names before and after, not those between.
    renames: Vec<(String, String)>,
    added: Vec<String>,
    retypes: bool,
}

impl<'a, D: Dialect> Plan<'a, D> {
    fn new(dialect: &'a D, target: &'a Target, present: &[TargetColumn], held: &[Held], policy: Policy) -> Plan<'a, D> {
        let now: BTreeMap<String, TargetColumn> =
            present.iter().map(|column| (dialect.fold_name(&column.name), column.clone())).collect();
        // Somebody may have removed a column by hand.
        let held: Vec<Held> =
            held.iter().filter(|held| now.contains_key(&dialect.fold_name(&held.column))).cloned().collect();
        let mut plan = Plan {
            dialect,
            target,
            policy,
            now,
            held,
            found: Vec::new(),
            statements: Vec::new(),
            notes: Vec::new(),
            only_adds: true,
            renames: Vec::new(),
            added: Vec::new(),
            retypes: false,
        };
        plan.found = target.table.columns.iter().map(|column| plan.find(column)).collect();
        plan
    }

    /// Where a column of the source is held, and the name that the target's shall have.
    fn find(&self, column: &Column) -> (Option<usize>, String) {
        let (relation, number) = (self.target.table.oid, column.birth.number);
        let numbered = |held: &Held| held.relation == relation && held.number != 0 && number != 0;
        let by_number = self.held.iter().position(|held| numbered(held) && held.number == number);
        let named = |held: &Held| !numbered(held) && held.source == column.name;
        // Of several that were called so, the one that was not put aside.
        let by_name = || {
            let plain = self.held.iter().position(|held| named(held) && held.column == column.name);
            plain.or_else(|| self.held.iter().position(named))
        };
        let Some(at) = by_number.or_else(by_name) else { return (None, column.name.clone()) };
        let name = match self.held.get(at) {
            Some(held)
                if held.source != column.name
                    && self.policy.renamed == Renamed::Follow
                    && self.fold(&held.source) == self.fold(&held.column) =>
            {
                column.name.clone()
            }
            Some(held) => held.column.clone(),
            None => column.name.clone(),
        };
        (Some(at), name)
    }

    fn fold(&self, name: &str) -> String {
        self.dialect.fold_name(name)
    }

    fn rename_to(&mut self, from: &str, to: &str) {
        self.only_adds = false;
        self.statements.push(self.dialect.rename_column(self.target, from, to));
        if let Some(column) = self.now.remove(&self.fold(from)) {
            self.now.insert(self.fold(to), TargetColumn { name: to.to_owned(), ..column });
        }
    }

    /// What a column of before is called now.
    fn called(&self, before: &str) -> String {
        let renamed = self.renames.iter().find(|(from, _)| from == before);
        renamed.map_or_else(|| before.to_owned(), |(_, to)| to.clone())
    }

    /// A name that no column has.
    fn free(&self, name: &str, suffix: &str) -> String {
        // With the suffix no longer than any warehouse takes.
        let end = (0..=name.len().min(48)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        let name = name.get(..end).unwrap_or(name);
        let mut versions = (2..).map(|n| format!("{name}__{suffix}{n}"));
        versions.find(|name| !self.now.contains_key(&self.fold(name))).unwrap_or_default()
    }

    /// Gives the columns their names: those that were dropped make room, those that change places go by way of others.
    fn rename(&mut self) {
        self.make_room();
        let mut moves = Vec::new();
        for (index, (at, name)) in self.found.iter().enumerate() {
            let Some(held) = at.and_then(|at| self.held.get(at)).filter(|held| held.column != *name) else { continue };
            moves.push((index, held.column.clone(), name.clone()));
        }
        let tangled = moves.iter().any(|(.., name)| self.now.contains_key(&self.fold(name)));
        let between = |index: usize| format!("_tw_moved_{index}");
        if tangled {
            moves.iter().for_each(|(index, before, _)| self.rename_to(before, &between(*index)));
        }
        for (index, before, name) in moves {
            // Somebody may have put a column there by hand.
            let to = if self.now.contains_key(&self.fold(&name)) { self.free(&name, "v") } else { name };
            let from = if tangled { between(index) } else { before.clone() };
            self.rename_to(&from, &to);
            self.renames.push((before.clone(), to.clone()));
            self.notes.push(format!("column {before} is {to} now, as at the source"));
            if let Some((at, name)) = self.found.get_mut(index) {
                if let Some(held) = at.and_then(|at| self.held.get_mut(at)) {
                    held.column.clone_from(&to);
                }
                *name = to;
            }
        }
    }

    /// New columns whose names are those of columns that keep theirs go beside them.
    fn make_way(&mut self) {
        let held: BTreeSet<String> =
            self.found.iter().filter_map(|(at, _)| Some(self.fold(&self.held.get((*at)?)?.column))).collect();
        let beside = |(at, name): &(Option<usize>, String)| match at {
            None if held.contains(&self.fold(name)) => self.free(name, "v"),
            _ => name.clone(),
        };
        let names: Vec<String> = self.found.iter().map(beside).collect();
        self.found.iter_mut().zip(names).for_each(|(found, name)| found.1 = name);
    }

    /// Columns that were dropped at the source and whose names others want.
    fn make_room(&mut self) {
        let names: BTreeSet<String> = self.found.iter().map(|(_, name)| self.fold(name)).collect();
        let used: BTreeSet<usize> = self.found.iter().filter_map(|(at, _)| *at).collect();
        for at in (0..self.held.len()).filter(|at| !used.contains(at)) {
            let Some(column) = self.held.get(at).map(|held| held.column.clone()) else { continue };
            if names.contains(&self.fold(&column)) {
                let away = self.free(&column, "dropped");
                self.rename_to(&column, &away);
                self.renames.push((column.clone(), away.clone()));
                self.notes
                    .push(format!("column {column} was dropped at the source and made again: its rows are in {away}"));
                if let Some(held) = self.held.get_mut(at) {
                    held.column = away;
                }
            }
        }
    }

    /// The column as its rows land in the target.
    fn land(&mut self, index: usize, column: &Column) -> Result<Column> {
        let table = &self.target.table;
        let (at, name) = self.found.get(index).cloned().unwrap_or((None, column.name.clone()));
        let named = Column { name: name.clone(), ..column.clone() };
        let landed = match self.now.get(&self.fold(&name)).cloned() {
            None => {
                if column.birth.number == 0 && self.missed() {
                    self.notes.push(format!(
                        "whether column {name} is new or had another name before, the catalog does not know any more: it is a new one here"
                    ));
                }
                self.add(named)
            }
            Some(found) => {
                let exact = self.dialect.same_type(column, &found.type_name);
                let lands = self.dialect.lands(&named, &found.type_name);
                match lands.filter(|landed| exact || !found.key || column.pg_type.keeps_apart(&landed.pg_type)) {
                    Some(landed) => Column { name: found.name, ..landed },
                    None if self.dialect.widens(column, &found.type_name, found.key) => {
                        let altered = Column { name: found.name, ..named };
                        (self.only_adds, self.retypes) = (false, true);
                        self.statements.extend(self.dialect.retype(self.target, &altered));
                        altered
                    }
                    None if self.policy.incompatible == Incompatible::NewColumn && !table.key.contains(&index) => {
                        let next = self.free(&column.name, "v");
                        self.notes.push(format!(
                            "column {} is {} at the source now: its values go to {next}, {} keeps what it has",
                            column.name,
                            column.pg_type.name(),
                            found.name
                        ));
                        self.add(Column { name: next, ..named })
                    }
                    None => return Err(self.incompatible(column, &found)),
                }
            }
        };
        let held = hold(table, column, &landed.name);
        match at.and_then(|at| self.held.get_mut(at)) {
            // A shape whose numbers the catalog does not know any more takes none away.
            Some(known) if held.number == 0 && known.relation == held.relation => {
                *known = Held { number: known.number, ..held };
            }
            Some(known) => *known = held,
            None => self.held.push(held),
        }
        Ok(landed)
    }

    /// Whether a column that was there is not any more.
    fn missed(&self) -> bool {
        let used: BTreeSet<usize> = self.found.iter().filter_map(|(at, _)| *at).collect();
        (0..self.held.len()).any(|at| !used.contains(&at))
    }

    /// Adds a column, with the value that the rows which are there have at the source.
    fn add(&mut self, column: Column) -> Column {
        let fill = column.birth.fill.clone().or_else(|| match &column.default {
            // Nobody could add it without a value for them.
            Some(ColumnDefault::Literal(default)) if !column.optional => Some(default.clone()),
            _ => None,
        });
        // The rows of other sources are not known.
        let fill = fill.filter(|_| self.target.table.source().is_none());
        match &fill {
            Some(fill) => {
                self.only_adds = false;
                self.statements.extend(self.dialect.add_filled(self.target, &column, fill));
            }
            None => self.statements.push(self.dialect.add_column(self.target, &column)),
        }
        if fill.is_none() && (!column.optional || column.default.is_some()) {
            let has = if column.optional { "may have" } else { "has" };
            self.notes.push(format!(
                "column {} {has} values at the source, in the rows that were there, which no log tells: it is NULL in them here until the table is read again",
                column.name
            ));
        }
        let (name, type_name) = (column.name.clone(), self.dialect.target_type(&column));
        self.added.push(name.clone());
        self.now.insert(self.fold(&name), TargetColumn { name, type_name, key: false });
        column
    }

    fn incompatible(&self, column: &Column, found: &TargetColumn) -> Error {
        Error::blocked(format!(
            "column {} of {} is {} at the source, which needs {} in the warehouse; it is {} there",
            column.name,
            self.target.name,
            column.pg_type.name(),
            self.dialect.target_type(column),
            found.type_name
        ))
        .remedy("set on_incompatible = \"new_column\", change the column's type in the warehouse, or rename the old column there so that a new one is added")
    }

    /// Rows are found by the key: the one of now has to tell apart the rows that are there, as it does at the source.
    fn key(&mut self, table: &Table) -> Result<()> {
        let after: Vec<String> = table.key_columns().map(|column| column.name.clone()).collect();
        let before = self.now.values().filter(|column| column.key && !column.name.starts_with("_tw_"));
        let before: Vec<String> = before.map(|column| column.name.clone()).collect();
        let layout = self.target.layout;
        if !layout.by_key() && self.target.table.has_key() {
            return Ok(());
        }
        let set = |key: &[String]| key.iter().map(|name| self.fold(name)).collect::<BTreeSet<String>>();
        if set(&after) == set(&before) {
            return Ok(());
        }
        // A history's rows are told apart by more than the key.
        let alone = self.target.table.source().is_none();
        let both = alone && !after.is_empty() && !before.is_empty() && layout != Layout::History;
        if let Some(statements) = self.dialect.rekey(self.target, &before, &after).filter(|_| both) {
            self.only_adds = false;
            self.statements.extend(statements);
            self.notes.push(format!("the key is {} now; it was {}", after.join(", "), before.join(", ")));
            return Ok(());
        }
        let list = |key: &[String]| if key.is_empty() { "none".to_owned() } else { key.join(", ") };
        Err(Error::blocked(format!(
            "the key of {} is not the one that the warehouse's table was made with: {} now, {} then",
            self.target.name,
            list(&after),
            list(&before)
        ))
        .remedy("rename or drop the warehouse's table, and run once with --resnapshot so that it is read again"))
    }
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
