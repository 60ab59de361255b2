//! SQL as each warehouse speaks it: text only, no connection, no clock.
//!
//! Every dialect has its methods in the order of the trait. What all of them say alike is written once, here.

mod columns;
mod control;
mod duckdb;
mod layout;
mod losses;
mod misfits;
mod modes;
mod notes;
mod postgres;
mod redshift;
mod redshift_alter;
mod redshift_types;
mod rekey;
mod share;
mod sources;
mod stops;
mod views;
mod widen;

use std::sync::Arc;

use crate::model::value::{Finite, print};
use crate::model::{ChangeId, Checkpoint, Column, Lsn, Membership, PgTimestamp, Table, TableName};

pub use columns::Held;
pub use control::{CONTROL_SCHEMA, Progress};
pub use duckdb::Duckdb;
pub use layout::{Layout, MODES, Mode, OwnColumn, OwnType, Staged};
pub use misfits::{Misfits, Room};
pub use notes::Notes;
pub use postgres::Postgres;
pub use redshift::{CopyFormat, DIST_STYLES, DistStyle, Placement, Redshift};
pub use redshift_types::{JSONS, Json, LONGEST_BYTES, LONGEST_TEXT, Staging, Types, width};
pub use share::{Share, StageRow};
pub use sources::Sources;
pub use stops::{PART, Stops};
pub use views::{Shown, View};

/// A source table and where its rows go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The target table.
    pub name: TableName,
    /// The source table's shape.
    pub table: Arc<Table>,
    /// How its rows stand there.
    pub layout: Layout,
    /// The staging table that several processes see, as SQL; `None`: this process's own.
    pub shared_stage: Option<String>,
}

impl Target {
    /// A target as it is made for a table that nothing is said of.
    pub fn new(name: TableName, table: Arc<Table>) -> Target {
        let layout = if table.has_key() { Layout::Mirror } else { Layout::Log };
        Target { name, table, layout, shared_stage: None }
    }

    /// The staging table's name in the control schema: the same for the same target and source, whatever their names hold.
    pub fn stage(&self) -> String {
        // FNV-1a; names may hold anything and be 63 bytes long already.
        let source = self.table.source().map(|(_, value)| format!(" {value}")).unwrap_or_default();
        let hash = format!("{}{source}", self.name)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("stage_{hash:016x}")
    }
}

/// One table's part of a flush.
#[derive(Clone, Debug)]
pub struct MergeSpec<'a> {
    /// The table.
    pub target: &'a Target,
    /// Rows older than this were truncated away.
    pub horizon: Option<ChangeId>,
    /// When they were.
    pub at: Option<PgTimestamp>,
    /// Whether some staged rows take rows away.
    pub deletes: bool,
    /// Columns that some staged rows lack because the value did not change.
    pub missing: Vec<usize>,
    /// Whether there are staged rows at all.
    pub staged: bool,
    /// None of them is older than this, where that is known.
    pub since: Option<Lsn>,
}

/// How a warehouse says what the merge needs.
pub trait Dialect: Clone + Send + Sync + 'static {
    /// How it speaks inside a transaction that is open.
    fn inside(&self) -> Self {
        self.clone()
    }

    /// Whether a target that a transaction has brought rows into can be altered in it.
    fn alters_with_rows(&self) -> bool {
        true
    }

    /// Whether what the staging table has taken fits the target.
    fn stages_as_kept(&self) -> bool {
        false
    }

    /// The type of a column in the target.
    fn target_type(&self, column: &Column) -> String;

    /// What the column loses there.
    fn loss(&self, _: &Column) -> Option<&'static str> {
        None
    }

    /// The type of a column in the staging table, where loading needs another one.
    fn stage_type(&self, column: &Column) -> String;

    /// A staged value as the target's type.
    fn staged(&self, _: &Column, expression: String) -> String {
        expression
    }

    /// A value of the target as it is staged.
    fn restaged(&self, column: &Column, expression: String) -> String {
        let wanted = self.stage_type(column);
        if wanted == self.target_type(column) { expression } else { format!("CAST({expression} AS {wanted})") }
    }

    /// The type of a column that Tailwater adds.
    fn own_type(&self, own: OwnType) -> &'static str {
        match own {
            OwnType::Number => "bigint",
            OwnType::Text => "text",
            OwnType::Flag => "boolean",
            OwnType::Time => "timestamptz",
        }
    }

    /// Whether a key's column holds values as they are spelled, so that it takes two spellings of one number for two.
    fn spelled(&self, _: &Column) -> bool {
        false
    }

    /// Creates the target's schema and the target.
    fn create(&self, target: &Target) -> Vec<String>;

    /// Adds a column to the target.
    fn add_column(&self, target: &Target, column: &Column) -> String;

    /// Adds a column that has a value in the rows that are there: `fill`, as PostgreSQL prints it.
    fn add_filled(&self, target: &Target, column: &Column, fill: &str) -> Vec<String> {
        let value = self.constant(column, fill);
        let name = table(&target.name);
        vec![self.add_column(target, column), format!("UPDATE {name} SET {} = {value}", quote(&column.name))]
    }

    /// A value, as PostgreSQL prints it, as an expression of the column's type.
    fn constant(&self, column: &Column, value: &str) -> String {
        format!("CAST({} AS {})", literal(value), self.target_type(column))
    }

    /// The column as it lands in a target's column of type `found`; `None` where that does not hold its values.
    fn lands(&self, column: &Column, found: &str) -> Option<Column> {
        self.same_type(column, found).then(|| column.clone())
    }

    /// Whether a target's column of type `found` can be altered to the column's type with the rows that are there;
    /// `key` says whether it is of the key.
    fn widens(&self, _column: &Column, _found: &str, _key: bool) -> bool {
        false
    }

    /// Alters the type of a column of the target.
    fn retype(&self, target: &Target, column: &Column) -> Vec<String> {
        let name = quote(&column.name);
        vec![format!("ALTER TABLE {} ALTER COLUMN {name} TYPE {}", table(&target.name), self.target_type(column))]
    }

    /// The column with a wider type of its kind than `found`, the one that it has: one that holds numbers of this size,
    /// too; `None` where there is none.
    fn wider(&self, _column: &Column, _found: &str, _room: Room) -> Option<Column> {
        None
    }

    /// Makes text of a column of type `found`, as PostgreSQL prints what is in the rows that are there; `None` where
    /// that can't be done.
    fn as_text(&self, _target: &Target, _column: &Column, _found: &str) -> Option<Vec<String>> {
        None
    }

    /// The marks of values that did not fit, as statements.
    fn misfits<'a>(&self, pipeline: &'a str) -> Misfits<'a> {
        Misfits { pipeline, place: self.control("misfits") }
    }

    /// The statements by which staged rows that take values over from the target get their marks, before the merge.
    fn keep_marks(&self, pipeline: &str, spec: &MergeSpec<'_>) -> Vec<String> {
        misfits::keep(self, pipeline, spec)
    }

    /// Renames a column of the target.
    fn rename_column(&self, target: &Target, from: &str, to: &str) -> String {
        format!("ALTER TABLE {} RENAME COLUMN {} TO {}", table(&target.name), quote(from), quote(to))
    }

    /// Gives the target the key of other columns, with the rows that are there; `None` where that can't be done.
    fn rekey(&self, _target: &Target, _before: &[String], _after: &[String]) -> Option<Vec<String>> {
        None
    }

    /// A query for what a target's columns hold: relation, number, source column, column.
    fn held(&self, pipeline: &str, target: &TableName) -> String {
        columns::read(&self.control("columns"), pipeline, target)
    }

    /// Notes what a target's columns hold.
    fn hold(&self, pipeline: &str, target: &TableName, held: &[Held]) -> Vec<String> {
        columns::write(&self.control("columns"), pipeline, target, held)
    }

    /// A query for the view that was made beside a target: its schema and name, each column and what it shows, in order.
    fn viewed(&self, pipeline: &str, target: &TableName) -> String {
        views::read(&self.control("views"), pipeline, target)
    }

    /// Notes what a target's view is made of; `None` when it has none any more.
    fn view(&self, pipeline: &str, target: &TableName, view: Option<&View>) -> Vec<String> {
        views::write(&self.control("views"), pipeline, target, view)
    }

    /// Makes a view of the target, or what it shows another.
    fn show(&self, view: &View, target: &TableName) -> Vec<String> {
        views::show(view, target, "")
    }

    /// Drops a view.
    fn drop_view(&self, view: &TableName) -> String {
        format!("DROP VIEW IF EXISTS {}", table(view))
    }

    /// Whether a view can be given more columns where it is.
    fn extends_views(&self) -> bool {
        true
    }

    /// A query for the statements that give back who may do what with a view once it was dropped; `None` where the
    /// warehouse knows of no such rights, or can't tell.
    fn rights(&self, _view: &TableName) -> Option<String> {
        None
    }

    /// The form of a name in which two names are equal where the warehouse takes them for the same.
    fn fold_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The name under which the warehouse keeps what is given this one.
    fn kept_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Why the warehouse can't have such a table, and what to do; `None` when it can.
    fn refusal(&self, _: &Target) -> Option<(String, String)> {
        None
    }

    /// Whether the type that the target's column has now takes this column's values.
    fn same_type(&self, column: &Column, present: &str) -> bool {
        present.eq_ignore_ascii_case(&self.target_type(column))
    }

    /// A query for the target's columns: rows of (name, type as [`Dialect::target_type`] writes it, `key` or `value`).
    fn columns(&self, target: &TableName) -> String;

    /// Makes an empty staging table of the target's present shape.
    fn create_stage(&self, target: &Target) -> Vec<String>;

    /// Whether a staging table is emptied and used again; it is made anew where not.
    fn keeps_stage(&self) -> bool {
        true
    }

    /// Empties the staging table.
    fn clear_stage(&self, target: &Target) -> String;

    /// Creates the control schema and its tables where they are absent.
    fn create_control(&self) -> Vec<String>;

    /// Gives a progress table of an earlier version the time of the last commit.
    fn add_committed_at(&self) -> String;

    /// Gives a table of targets of an earlier version the mode of each.
    fn add_mode(&self) -> String {
        control::add_mode(self.own_type(OwnType::Text))
    }

    /// Creates the control tables of several processes that share the work, where they are absent.
    fn create_share(&self) -> Vec<String> {
        share::tables("text")
    }

    /// Statements to run first in each flush's transaction.
    fn prepare(&self) -> Vec<String>;

    /// The statements that bring staged rows into the target, in order. They run in one transaction.
    fn merge(&self, spec: &MergeSpec<'_>) -> Vec<String>;

    /// Sets the end of the versions that `ends`, a condition over the target `t` and the staged rows `s`, names.
    fn end_versions(&self, target: &Target, ends: &str) -> Vec<String> {
        modes::end_in_place(self, target, ends)
    }

    /// Takes one copy of a row away for each staged delete, the oldest first.
    fn take_copies(&self, target: &Target) -> Vec<String> {
        modes::take_copies(self, target)
    }

    /// Whether two values are the same, or both NULL.
    fn same(&self, a: &str, b: &str) -> String {
        format!("({a} = {b} OR ({a} IS NULL AND {b} IS NULL))")
    }

    /// A query for the staged rows, as (lsn, seq, op), that lack a value which the target does not have either: their base
    /// is not there, or newer than they are. One that the target has a newer row for is not among them. A change of a key
    /// is two rows, which their ops tell apart.
    fn orphans(&self, target: &Target) -> String {
        modes::orphans(self, target)
    }

    /// The staging table's full name.
    fn stage(&self, target: &Target) -> String {
        target.shared_stage.clone().unwrap_or_else(|| format!("{}.{}", quote(CONTROL_SCHEMA), quote(&target.stage())))
    }

    /// A control table's full name, as SQL.
    fn control(&self, name: &str) -> String {
        format!("{CONTROL_SCHEMA}.{name}")
    }

    /// A control table's name.
    fn control_table(&self, name: &str) -> TableName {
        TableName::new(CONTROL_SCHEMA, name)
    }

    /// A query for whose rows a target holds: pipeline, schema and name of the source table, mode; no row when nobody's yet.
    fn owner(&self, target: &TableName) -> String {
        control::owner(&self.fold_name(&target.schema), &self.fold_name(&target.name))
    }

    /// Statements after which no other process makes tables until [`Dialect::together`] or the connection's end.
    fn alone(&self) -> Vec<String> {
        Vec::new()
    }

    /// Statements that let others go on.
    fn together(&self) -> Vec<String> {
        Vec::new()
    }

    /// The pipelines that share a target, as statements.
    fn sources(&self, target: &TableName) -> Sources {
        Sources { target: TableName::new(self.fold_name(&target.schema), self.fold_name(&target.name)) }
    }

    /// Notes that the target holds this source table's rows, as this pipeline brings them.
    fn own(&self, pipeline: &str, target: &Target) -> String {
        let name = &target.name;
        control::own(
            pipeline,
            &self.fold_name(&name.schema),
            &self.fold_name(&name.name),
            &target.table.name,
            target.layout.name(),
        )
    }

    /// The progress of a checkpoint, and of the fence, as statements.
    fn progress<'a>(&self, pipeline: &'a str) -> Progress<'a> {
        Progress::of(pipeline)
    }

    /// The stopped tables of a pipeline, and what waits of them, as statements.
    fn stops<'a>(&self, pipeline: &'a str) -> Stops<'a> {
        Stops { pipeline }
    }

    /// What the pipeline's source remembers, as statements.
    fn notes<'a>(&self, pipeline: &'a str) -> Notes<'a> {
        Notes { pipeline, progress: self.control("progress") }
    }

    /// Stores a checkpoint's offsets, in order.
    fn offsets(&self, pipeline: &str, checkpoint: &Checkpoint) -> Vec<String> {
        let place = self.control("offsets");
        checkpoint
            .offsets
            .iter()
            .flat_map(|(topic, part, next)| control::offset(&place, pipeline, topic, *part, *next))
            .collect()
    }

    /// Forgets which source tables are followed.
    fn forget_followed(&self, pipeline: &str) -> String {
        control::forget_followed(&self.control("followed"), pipeline)
    }

    /// Notes that a source table's rows are complete under this membership, or not kept up with any more.
    fn follow(&self, pipeline: &str, table: &TableName, membership: Option<Membership>) -> Vec<String> {
        control::follow(&self.control("followed"), pipeline, table, membership)
    }
}

/// `"name"`: quoted always, quotes doubled, nothing deleted.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."name"`
pub fn table(name: &TableName) -> String {
    format!("{}.{}", quote(&name.schema), quote(&name.name))
}

/// `'text'` under standard strings.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A comma-separated list.
fn list<I: IntoIterator<Item = String>>(items: I) -> String {
    items.into_iter().collect::<Vec<_>>().join(", ")
}

/// `t.key = s.key AND ...`, the staged side as `staged` makes it of the column's type.
fn key_match(target: &Target, staged: impl Fn(&Column, String) -> String) -> String {
    key_match_of("t", target, staged)
}

/// The same for a target that goes by another name.
fn key_match_of(t: &str, target: &Target, staged: impl Fn(&Column, String) -> String) -> String {
    let column = |c: &Column| format!("{t}.{0} = {1}", quote(&c.name), staged(c, format!("s.{}", quote(&c.name))));
    target.table.key_columns().map(column).collect::<Vec<_>>().join(" AND ")
}

/// `t.key = the key under which the target has the staged row's unchanged values`
fn base_match(target: &Target, staged: impl Fn(&Column, String) -> String) -> String {
    let column = |(n, c): (usize, &Column)| {
        let base = format!("coalesce(s._tw_base_{n}, s.{})", quote(&c.name));
        format!("t.{} = {}", quote(&c.name), staged(c, base))
    };
    (1..).zip(target.table.key_columns()).map(column).collect::<Vec<_>>().join(" AND ")
}

/// The columns that Tailwater adds to a staging table, with their types given the key's.
fn stage_extras(target: &Target, text: &str, stage_type: impl Fn(&Column) -> String) -> Vec<String> {
    let mut extras = vec![
        "_tw_lsn bigint".to_owned(),
        "_tw_seq bigint".to_owned(),
        format!("_tw_op {text}"),
        format!("_tw_missing {text}"),
    ];
    extras.extend(target.layout.staged().iter().map(|extra| format!("{} {text}", extra.name())));
    extras.extend((1..).zip(target.table.key_columns()).map(|(n, c)| format!("_tw_base_{n} {}", stage_type(c))));
    extras
}

/// A time as SQL.
fn moment(at: PgTimestamp) -> String {
    let mut text = Vec::new();
    print::pg_timestamptz(Finite::Value(at.0), &mut text);
    format!("TIMESTAMPTZ '{}'", String::from_utf8_lossy(&text))
}

/// `AND column = value`, where only the rows of one source are meant.
fn of_source(target: &Target) -> String {
    let source = target.table.source();
    source.map(|(column, value)| format!(" AND {} = {}", quote(column), literal(value))).unwrap_or_default()
}
