//! Amazon Redshift: folds names to lower case, counts text in bytes, takes text that differs in trailing blanks for the
//! same, has no TRUNCATE inside a transaction, no IS DISTINCT FROM, no comparison of rows, no alias in DELETE, and adds
//! one column at a time.
//!
//! Rows come by COPY into a temporary table, whose types are those that COPY's files carry; see [`types`].
//!
//! [`types`]: super::redshift_types

use std::sync::Arc;

use super::redshift_alter as alter;
use super::redshift_types::{self as types, Staging, Types};
use super::{
    CONTROL_SCHEMA, Dialect, Layout, MergeSpec, OwnType, Progress, Room, Shown, Target, View, control, list, literal,
    losses, quote, views,
};
use crate::model::{Column, Pattern, PgType, TableName};

/// How a table lies on the cluster's nodes. What is not said follows the key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// Rows with the same value of this column lie together.
    pub distkey: Option<String>,
    /// How rows are spread where no column says it.
    pub diststyle: Option<DistStyle>,
    /// The columns that rows are sorted by.
    pub sortkey: Option<Vec<String>>,
}

/// How rows are spread over the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DistStyle {
    /// As Redshift sees fit.
    Auto,
    /// In turn.
    Even,
    /// All of them on every node.
    All,
}

/// The styles' names in the configuration.
pub const DIST_STYLES: [(&str, DistStyle); 3] =
    [("auto", DistStyle::Auto), ("even", DistStyle::Even), ("all", DistStyle::All)];

/// Amazon Redshift, as one pipeline writes it.
#[derive(Clone, Debug, Default)]
pub struct Redshift {
    /// The pipeline, which has control tables of its own: one that locks them keeps no other waiting.
    pub pipeline: String,
    /// What becomes of types that Redshift has not.
    pub types: Types,
    /// Where tables lie; the first that matches the source's name counts.
    pub placements: Arc<Vec<(Pattern, Placement)>>,
}

impl Dialect for Redshift {
    /// Text is never widened there.
    fn inside(&self) -> Self {
        Redshift { types: Types { widest: true, ..self.types }, ..self.clone() }
    }

    fn target_type(&self, column: &Column) -> String {
        self.types.target(column)
    }

    fn loss(&self, column: &Column) -> Option<&'static str> {
        losses::redshift(&self.types, column)
    }

    fn stage_type(&self, column: &Column) -> String {
        self.types.stage(column)
    }

    fn staged(&self, column: &Column, expression: String) -> String {
        self.types.staged(column, expression)
    }

    fn create(&self, target: &Target) -> Vec<String> {
        let t = &target.table;
        // No key is declared: Redshift would not check it and could widen its columns no more.
        let key = |i: usize| if t.key.contains(&i) && target.layout.by_key() { " NOT NULL" } else { "" };
        let column = |(i, c): (usize, &Column)| format!("{} {}{}", self.name(&c.name), self.encoded(c), key(i));
        let mut columns: Vec<String> = t.columns.iter().enumerate().map(column).collect();
        columns.extend(target.layout.own_columns().iter().map(|own| {
            let needed = if matches!(own.name, "_tw_lsn" | "_tw_seq") { " NOT NULL" } else { "" };
            format!("{} {}{needed}", own.name, self.own_type(own.own_type))
        }));
        vec![
            format!("CREATE SCHEMA IF NOT EXISTS {}", self.name(&target.name.schema)),
            format!(
                "CREATE TABLE IF NOT EXISTS {} ({}){}",
                self.table(&target.name),
                list(columns),
                self.placed(target, true)
            ),
        ]
    }

    fn add_column(&self, target: &Target, column: &Column) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN {} {}",
            self.table(&target.name),
            self.name(&column.name),
            self.encoded(column)
        )
    }

    /// Not by a default, which would stay, be what a column gets that is dropped at the source, and keep text from being
    /// widened.
    fn add_filled(&self, target: &Target, column: &Column, fill: &str) -> Vec<String> {
        let (name, wide) = (self.name(&column.name), alter::room(&self.target_type(column), fill));
        vec![
            format!("ALTER TABLE {} ADD COLUMN {name} {}", self.table(&target.name), encoded(wide)),
            format!("UPDATE {} SET {name} = {}", self.table(&target.name), self.constant(column, fill)),
        ]
    }

    fn constant(&self, column: &Column, value: &str) -> String {
        alter::constant(self.types.staging(column), &self.target_type(column), value)
    }

    fn lands(&self, column: &Column, found: &str) -> Option<Column> {
        alter::lands(&self.types, column, found)
    }

    /// What rows are spread and sorted by can't be dropped.
    fn widens(&self, column: &Column, found: &str, key: bool) -> bool {
        !key && alter::casts(found, &self.target_type(column))
    }

    /// Only the length of text can be altered; all else goes by way of another column, in one transaction.
    fn retype(&self, target: &Target, column: &Column) -> Vec<String> {
        let cast = format!("CAST({} AS {})", self.name(&column.name), self.target_type(column));
        self.recast(target, column, self.encoded(column), &cast)
    }

    fn wider(&self, column: &Column, found: &str, room: Room) -> Option<Column> {
        let (pg_type, modifier) = alter::wider(found, room)?;
        let wider = Column { pg_type, modifier, ..column.clone() };
        (self.target_type(&wider) != found).then_some(wider)
    }

    fn as_text(&self, target: &Target, column: &Column, found: &str) -> Option<Vec<String>> {
        let text = alter::text(found, &self.name(&column.name))?;
        Some(self.recast(target, column, encoded(types::LONGEST.to_owned()), &text))
    }

    fn keep_marks(&self, pipeline: &str, spec: &MergeSpec<'_>) -> Vec<String> {
        let (target, misfits) = (spec.target, self.misfits(pipeline));
        let (t, s) = (self.table(&target.name), self.stage(target));
        let one = |&missing: &usize| {
            let column = target.table.columns.get(missing)?;
            let pairs = format!(
                "{} m, {s} s, {t} t WHERE {} AND substring(s._tw_missing, {}, 1) = '1' AND {}",
                misfits.place,
                older("t", "s"),
                missing + 1,
                self.base_match("t", "s", target)
            );
            Some(misfits.hand_on(&target.name, Some(&column.name), &pairs))
        };
        spec.missing.iter().filter_map(one).collect()
    }

    fn rename_column(&self, target: &Target, from: &str, to: &str) -> String {
        format!("ALTER TABLE {} RENAME COLUMN {} TO {}", self.table(&target.name), self.name(from), self.name(to))
    }

    /// It must not depend on the target: Redshift drops no column that a bound view shows, and alters none.
    fn show(&self, view: &View, target: &TableName) -> Vec<String> {
        let fold = |name: &TableName| TableName::new(self.fold_name(&name.schema), self.fold_name(&name.name));
        let shown = |shown: &Shown| Shown { name: self.fold_name(&shown.name), column: self.fold_name(&shown.column) };
        let view = View { name: fold(&view.name), columns: view.columns.iter().map(shown).collect() };
        views::show(&view, &fold(target), " WITH NO SCHEMA BINDING")
    }

    fn drop_view(&self, view: &TableName) -> String {
        format!("DROP VIEW IF EXISTS {}", self.table(view))
    }

    fn extends_views(&self) -> bool {
        false
    }

    /// Redshift itself folds ASCII letters only. Nothing else is ever written in upper case, so it need not.
    fn fold_name(&self, name: &str) -> String {
        name.to_lowercase()
    }

    fn kept_name(&self, name: &str) -> String {
        self.fold_name(name)
    }

    fn refusal(&self, target: &Target) -> Option<(String, String)> {
        types::refusal(&self.types, target)
    }

    fn same_type(&self, column: &Column, present: &str) -> bool {
        self.types.same(column, present)
    }

    fn columns(&self, target: &TableName) -> String {
        format!(
            "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
             CASE WHEN a.attnotnull AND a.attname NOT IN ('_tw_lsn', '_tw_seq') THEN 'key' ELSE 'value' END \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            literal(&self.fold_name(&target.schema)),
            literal(&self.fold_name(&target.name))
        )
    }

    fn create_stage(&self, target: &Target) -> Vec<String> {
        let columns = target.table.columns.iter().map(|c| format!("{} {}", self.name(&c.name), self.stage_type(c)));
        let extras = super::stage_extras(target, types::LONGEST, |c| self.stage_type(c));
        vec![
            format!("DROP TABLE IF EXISTS {}", self.stage(target)),
            format!(
                "CREATE TEMP TABLE {} ({}){}",
                self.stage(target),
                list(columns.chain(extras)),
                self.placed(target, false)
            ),
        ]
    }

    /// Deleted rows would stay in it until a VACUUM.
    fn keeps_stage(&self) -> bool {
        false
    }

    fn clear_stage(&self, target: &Target) -> String {
        format!("DELETE FROM {}", self.stage(target))
    }

    fn create_control(&self) -> Vec<String> {
        let time = self.own_type(OwnType::Time);
        control::tables(&|name| self.control(name), "character varying(1024)", time, types::LONGEST)
    }

    fn own_type(&self, own: OwnType) -> &'static str {
        match own {
            OwnType::Number => "bigint",
            OwnType::Text => types::LONGEST,
            OwnType::Flag => "boolean",
            OwnType::Time => "timestamp with time zone",
        }
    }

    /// Keys are brought to one spelling before they are staged.
    fn spelled(&self, column: &Column) -> bool {
        column.pg_type == PgType::Numeric && self.types.staging(column) == Staging::Text
    }

    fn restaged(&self, column: &Column, expression: String) -> String {
        self.types.restaged(column, expression)
    }

    fn add_committed_at(&self) -> String {
        format!("ALTER TABLE {} ADD COLUMN committed_at timestamp with time zone", self.control("progress"))
    }

    /// First of all: whoever waits here sees, once it goes on, what the other one committed.
    fn prepare(&self) -> Vec<String> {
        vec![format!("LOCK TABLE {}", self.control("progress"))]
    }

    fn merge(&self, spec: &MergeSpec<'_>) -> Vec<String> {
        let target = spec.target;
        let (t, s) = (self.table(&target.name), self.stage(target));
        let mut all = Vec::new();
        if let Some(horizon) = spec.horizon {
            let (lsn, seq) = (horizon.commit.get(), horizon.seq);
            let before = format!("_tw_lsn < {lsn} OR (_tw_lsn = {lsn} AND _tw_seq < {seq})");
            all.push(match target.table.source() {
                None => format!("DELETE FROM {t} WHERE {before}"),
                Some((column, value)) => {
                    format!("DELETE FROM {t} WHERE ({before}) AND {} = {}", self.name(column), literal(value))
                }
            });
        }
        if !spec.staged {
            return all;
        }
        let table = &target.table;
        let columns = list(table.columns.iter().map(|c| self.name(&c.name)));
        let values = list(table.columns.iter().map(|c| self.staged(c, format!("s.{}", self.name(&c.name)))));
        if !target.layout.by_key() {
            let (mut names, mut values) = (vec!["_tw_lsn", "_tw_seq", "_tw_op"], vec![values]);
            values.extend(names.iter().map(|name| format!("s.{name}")));
            if target.layout == Layout::Append {
                names.extend(["_tw_committed_at", "_tw_unchanged", "_tw_old"]);
                let at = format!("CAST(s._tw_at AS {})", self.own_type(OwnType::Time));
                values.extend([at, "s._tw_unchanged".to_owned(), "s._tw_old".to_owned()]);
            }
            all.push(format!("INSERT INTO {t} ({columns}, {}) SELECT {} FROM {s} s", names.join(", "), list(values)));
            return all;
        }
        for &missing in &spec.missing {
            let Some(column) = table.columns.get(missing) else { continue };
            let name = self.name(&column.name);
            all.push(format!(
                "UPDATE {s} SET {name} = {} FROM {t} t WHERE substring({s}._tw_missing, {}, 1) = '1' AND {} AND {}",
                self.types.restaged(column, format!("t.{name}")),
                missing + 1,
                self.base_match("t", &s, target),
                older("t", &s)
            ));
        }
        // DELETE knows its target by the table's own name only.
        let own = self.name(&target.name.name);
        let on = self.key_match(&own, target);
        all.push(format!("DELETE FROM {t} USING {s} s WHERE {on} AND {}", older(&own, "s")));
        all.push(format!(
            "INSERT INTO {t} ({columns}, _tw_lsn, _tw_seq) SELECT {values}, s._tw_lsn, s._tw_seq FROM {s} s \
             WHERE s._tw_op <> 'd' AND NOT EXISTS (SELECT 1 FROM {t} t WHERE {})",
            self.key_match("t", target)
        ));
        all
    }

    fn orphans(&self, target: &Target) -> String {
        let (t, s) = (self.table(&target.name), self.stage(target));
        format!(
            "SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM {s} s LEFT JOIN {t} t ON {} AND {} LEFT JOIN {t} o ON {} AND NOT {} \
             WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL",
            self.base_match("t", "s", target),
            older("t", "s"),
            self.key_match("o", target),
            older("o", "s"),
        )
    }

    /// Temporary tables have a schema of their own.
    fn stage(&self, target: &Target) -> String {
        target.stage()
    }

    fn control(&self, name: &str) -> String {
        self.table(&self.control_table(name))
    }

    fn control_table(&self, name: &str) -> TableName {
        // Whose a target is has to be the same for all; the rest each pipeline keeps for itself.
        let own = if name == "tables" { name.to_owned() } else { format!("{name}_{}", self.pipeline) };
        TableName::new(CONTROL_SCHEMA, own)
    }

    fn progress<'a>(&self, pipeline: &'a str) -> Progress<'a> {
        Progress {
            now: "getdate()",
            progress: self.control("progress"),
            offsets: self.control("offsets"),
            followed: self.control("followed"),
            ..Progress::of(pipeline)
        }
    }
}

impl Redshift {
    /// Loads the objects that a manifest names. `access` is the clause that lets Redshift read them.
    pub fn copy(&self, stage: &str, manifest: &str, format: &CopyFormat, access: &str) -> String {
        let format = match format {
            // Takes neither COMPUPDATE nor REGION.
            CopyFormat::Parquet => "FORMAT AS PARQUET STATUPDATE OFF".to_owned(),
            CopyFormat::Csv { region, null } => format!(
                "FORMAT AS CSV NULL AS {} REGION {} COMPUPDATE OFF STATUPDATE OFF",
                literal(null),
                literal(region)
            ),
        };
        format!("COPY {stage} FROM {} {access} MANIFEST {format}", literal(manifest))
    }

    /// How many rows the last COPY of this session loaded.
    pub fn copied(&self) -> &'static str {
        "SELECT pg_last_copy_count()"
    }

    /// Makes room for longer text; never inside a transaction.
    pub fn widen(&self, target: &TableName, column: &str, bytes: usize) -> String {
        format!("ALTER TABLE {} ALTER COLUMN {} TYPE character varying({bytes})", self.table(target), self.name(column))
    }

    /// The column of the last row that COPY refused of objects whose name begins so.
    pub fn refused(&self, objects: &str) -> String {
        format!(
            "SELECT column_name, error_code FROM sys_load_error_detail WHERE strpos(file_name, {}) = 1 ORDER BY start_time DESC LIMIT 1",
            literal(objects)
        )
    }

    /// Gives a column another type by way of another column, in one transaction.
    fn recast(&self, target: &Target, column: &Column, wanted: String, value: &str) -> Vec<String> {
        let (t, name) = (self.table(&target.name), self.name(&column.name));
        vec![
            format!("ALTER TABLE {t} ADD COLUMN \"_tw_cast\" {wanted}"),
            format!("UPDATE {t} SET \"_tw_cast\" = {value}"),
            format!("ALTER TABLE {t} DROP COLUMN {name}"),
            format!("ALTER TABLE {t} RENAME COLUMN \"_tw_cast\" TO {name}"),
        ]
    }

    /// A name as Redshift keeps it.
    fn name(&self, name: &str) -> String {
        quote(&self.fold_name(name))
    }

    fn table(&self, name: &TableName) -> String {
        format!("{}.{}", self.name(&name.schema), self.name(&name.name))
    }

    /// A type with an encoding under which text can be widened.
    fn encoded(&self, column: &Column) -> String {
        encoded(self.target_type(column))
    }

    /// `t.key = s.key AND ...`
    fn key_match(&self, t: &str, target: &Target) -> String {
        let column = |c: &Column| {
            let name = self.name(&c.name);
            format!("{t}.{name} = {}", self.staged(c, format!("s.{name}")))
        };
        target.table.key_columns().map(column).collect::<Vec<_>>().join(" AND ")
    }

    /// `t.key = the key under which the target has the staged row's unchanged values`
    fn base_match(&self, t: &str, s: &str, target: &Target) -> String {
        let column = |(n, c): (usize, &Column)| {
            let name = self.name(&c.name);
            format!("{t}.{name} = {}", self.staged(c, format!("coalesce({s}._tw_base_{n}, {s}.{name})")))
        };
        (1..).zip(target.table.key_columns()).map(column).collect::<Vec<_>>().join(" AND ")
    }

    /// Where rows lie: a staged row beside the one it replaces.
    fn placed(&self, target: &Target, sorted: bool) -> String {
        let source = target.table.name.to_string();
        let given = self.placements.iter().find(|(tables, _)| tables.matches(&source)).map(|(_, placement)| placement);
        let placement = given.cloned().unwrap_or_default();
        let key: Vec<String> = target.table.key_columns().map(|c| self.name(&c.name)).collect();
        let distkey = match placement.diststyle {
            Some(_) => None,
            None => placement.distkey.map(|column| self.name(&column)).or_else(|| key.first().cloned()),
        };
        let mut text = match (distkey, placement.diststyle) {
            (Some(column), _) => format!(" DISTSTYLE KEY DISTKEY ({column})"),
            (None, Some(DistStyle::All)) if sorted => " DISTSTYLE ALL".to_owned(),
            (None, Some(DistStyle::Even)) => " DISTSTYLE EVEN".to_owned(),
            (None, _) => " DISTSTYLE AUTO".to_owned(),
        };
        if sorted {
            let columns = match placement.sortkey {
                Some(columns) => columns.iter().map(|column| self.name(column)).collect(),
                None if key.is_empty() => vec!["_tw_lsn".to_owned()],
                None => key,
            };
            if !columns.is_empty() {
                text.push_str(&format!(" SORTKEY ({})", list(columns)));
            }
        }
        text
    }
}

fn encoded(wanted: String) -> String {
    if types::width(&wanted).is_some() { format!("{wanted} ENCODE ZSTD") } else { wanted }
}

/// Whether a row of the target is older than a staged one.
fn older(t: &str, s: &str) -> String {
    format!("({t}._tw_lsn < {s}._tw_lsn OR ({t}._tw_lsn = {s}._tw_lsn AND {t}._tw_seq < {s}._tw_seq))")
}

/// What COPY is to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyFormat {
    /// Parquet.
    Parquet,
    /// CSV, from a bucket of this region, with this text for NULL.
    Csv {
        /// The bucket's region.
        region: String,
        /// What stands for NULL.
        null: String,
    },
}
