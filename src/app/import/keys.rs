//! Which of Debezium's keys becomes which of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::Imported;
use super::filters::{pattern, patterns};
use super::routes::Route;

type Keys = BTreeMap<String, String>;

/// Keys that need no counterpart, by their beginning, and why.
const UNNEEDED: [(&str, &str); 16] = [
    ("tasks.max", "there is one process"),
    ("plugin.name", "pgoutput is always used"),
    ("heartbeat.action.", "not needed: the slot moves on while the database is idle"),
    ("slot.max.retries", "not needed: failures that may heal are tried again for ever, with pauses"),
    ("slot.retry.", "not needed: failures that may heal are tried again for ever, with pauses"),
    ("errors.", "not needed: nothing is ever skipped, failures that may heal are tried again"),
    ("max.queue.", "not needed: memory is bounded by bytes"),
    ("max.batch.", "not needed: batches follow the load"),
    ("poll.interval.ms", "not needed: changes are handed on as they come"),
    ("snapshot.fetch.size", "not needed: rows are read by COPY"),
    ("snapshot.max.threads", "not needed: one connection reads the tables"),
    ("snapshot.isolation.mode", "not needed: the slot's own snapshot is used"),
    ("snapshot.locking.mode", "not needed: tables are locked against being altered only"),
    ("status.update.interval.ms", "not needed: the server's own timeout is kept"),
    ("database.tcpKeepAlive", "always on"),
    ("slot.drop.on.stop", "the slot is always kept: a dropped one loses what is written meanwhile"),
];

pub(super) struct Translation<'a> {
    pub(super) keys: &'a Keys,
    pub(super) used: BTreeSet<&'a str>,
    pub(super) left: Vec<(String, String)>,
    /// Topics of tables, from routers.
    pub(super) routes: Vec<Route>,
}

pub(super) fn translate(keys: &Keys) -> Imported {
    let mut all = Translation { keys, used: BTreeSet::new(), left: Vec::new(), routes: Vec::new() };
    all.take("connector.class");
    let mut toml = String::new();
    let name = all.take("name").or_else(|| keys.get("topic.prefix").map(String::as_str)).unwrap_or("imported");
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(48).collect();
    let _ = writeln!(toml, "[pipeline]\nname = {}\n", quoted(&name));
    all.source(&mut toml);
    all.sink(&mut toml);
    all.tables(&mut toml);
    all.rest();
    Imported { toml, left: all.left }
}

impl<'a> Translation<'a> {
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a str> {
        self.used.insert(key);
        self.keys.get(key).map(String::as_str)
    }

    pub(super) fn leave(&mut self, key: &str, why: impl Into<String>) {
        self.left.push((key.to_owned(), why.into()));
    }

    fn source(&mut self, toml: &mut String) {
        let host = self.take("database.hostname").unwrap_or("localhost");
        let port = self.take("database.port").unwrap_or("5432");
        let user = self.take("database.user").unwrap_or("postgres");
        let database = self.take("database.dbname").unwrap_or("postgres");
        let mode = self.take("database.sslmode").unwrap_or("prefer");
        let certificate =
            self.take("database.sslrootcert").map(|path| format!("&sslrootcert={path}")).unwrap_or_default();
        if self.take("database.password").is_some() {
            self.leave("database.password", "not written into a file: set the variable PGPASSWORD");
        }
        let _ = writeln!(
            toml,
            "[source.postgres]\nurl = {}",
            quoted(&format!("postgres://{user}:${{PGPASSWORD}}@{host}:{port}/{database}?sslmode={mode}{certificate}"))
        );
        let mut tables = self.filter("table.include.list", "");
        tables.extend(self.filter("schema.include.list", ".*"));
        if tables.is_empty() {
            tables.push("*".into());
        }
        let mut exclude = self.filter("table.exclude.list", "");
        exclude.extend(self.filter("schema.exclude.list", ".*"));
        let _ = writeln!(toml, "tables = {}", list(&tables));
        if !exclude.is_empty() {
            let _ = writeln!(toml, "exclude = {}", list(&exclude));
        }
        // Debezium's own defaults, or another slot would be made beside the one that has what was not read yet.
        let _ = writeln!(toml, "slot = {}", quoted(self.take("slot.name").unwrap_or("debezium")));
        let _ = writeln!(toml, "publication = {}", quoted(self.take("publication.name").unwrap_or("dbz_publication")));
        match self.take("publication.autocreate.mode") {
            Some("disabled") => toml.push_str("create = false\n"),
            Some("filtered") => {}
            Some(other) => self.leave(
                "publication.autocreate.mode",
                format!("{other}: only the wanted tables are published when the publication is made here"),
            ),
            None => {}
        }
        // Partitions are tables of their own there unless it is said otherwise.
        if self.take("publish.via.partition.root") != Some("true") {
            toml.push_str("partitions = \"leaf\"\n");
        }
        match self.take("snapshot.mode") {
            None | Some("initial") => {}
            Some("no_data" | "never" | "schema_only") => toml.push_str("snapshot = \"never\"\n"),
            Some("initial_only") => toml.push_str("snapshot = \"only\"\n"),
            Some(other) => self.leave("snapshot.mode", format!("{other}: `initial` is used")),
        }
        toml.push('\n');
        self.left.push((
            "(offsets)".into(),
            "where Debezium has come to is not known here: with its slot and snapshot = \"never\" everything after the slot's position is told, rows from before are not read".into(),
        ));
    }

    /// A list of expressions as patterns, with something after each.
    pub(super) fn filter(&mut self, key: &'static str, after: &str) -> Vec<String> {
        let (said, unsaid) = patterns(self.take(key).unwrap_or_default());
        for expression in unsaid {
            self.leave(key, format!("{expression}: patterns know `*` and `?` only"));
        }
        said.into_iter().map(|pattern| format!("{pattern}{after}")).collect()
    }

    /// Lists of columns and keys, as one section for each table.
    fn tables(&mut self, toml: &mut String) {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for (key, value) in self.keys {
            let Some(what) = Column::of(key) else { continue };
            self.used.insert(key);
            if matches!(what, Column::Mask(ref mask) if mask == "sha256") {
                self.left.push((shown(key), "the salt is not written into a file: set the variable MASK_SALT; hashes differ from Debezium's where it cuts them to the column's length".into()));
            }
            if matches!(what, Column::Mask(ref mask) if mask == "redact") {
                self.left.push((shown(key), "values become *** whatever the number of characters".into()));
            }
            for expression in value.split(',').map(str::trim) {
                let place = pattern(expression).and_then(|pattern| {
                    let (table, column) = pattern.rsplit_once('.')?;
                    (!column.contains('*') && table.contains('.')).then(|| (table.to_owned(), column.to_owned()))
                });
                match place {
                    Some((table, column)) => tables.entry(table).or_default().add(&what, column),
                    None => {
                        self.left.push((shown(key), format!("{expression}: name each column as schema.table.column")))
                    }
                }
            }
        }
        for part in
            self.take("message.key.columns").unwrap_or_default().split(';').filter(|part| !part.trim().is_empty())
        {
            match part.split_once(':').and_then(|(table, columns)| Some((pattern(table.trim())?, columns))) {
                Some((table, columns)) => {
                    tables.entry(table).or_default().key =
                        columns.split(',').map(|column| column.trim().to_owned()).collect();
                }
                None => self.leave("message.key.columns", format!("{part}: patterns know `*` and `?` only")),
            }
        }
        self.write_tables(&tables, toml);
    }

    /// Sections of tables, with what routers say of the same; the first section that matches a table counts.
    fn write_tables(&mut self, tables: &BTreeMap<String, Table>, toml: &mut String) {
        for (name, table) in tables {
            let route = self.routes.iter().find(|route| route.is_for(name));
            table.write(name, route.map_or("", |route| &route.lines), toml);
            if route.is_none() && name.contains('*') && !self.routes.is_empty() {
                let why = format!("where it names tables of [[table]] {name:?}, write its lines there too");
                self.left.push(("(routers)".into(), why));
            }
        }
        // One that has its section has it already.
        for route in self.routes.iter().filter(|route| !tables.contains_key(&route.tables)) {
            Table::default().write(&route.tables, &route.lines, toml);
        }
    }

    /// What nobody asked for.
    fn rest(&mut self) {
        for key in self.keys.keys().filter(|key| !self.used.contains(key.as_str())) {
            let why = UNNEEDED.iter().find(|(begin, _)| key.starts_with(begin)).map(|(_, why)| *why);
            let why = why.unwrap_or(match key.as_str() {
                key if key.starts_with("transforms") || key.starts_with("predicates") => {
                    "transformations are not carried over, but for ExtractNewRecordState, EventRouter and routers of topics"
                }
                key if key.starts_with("signal.") || key.starts_with("incremental.") => {
                    "signals and incremental snapshots are not in this version"
                }
                key if key.starts_with("notification.") => "notifications are not in this version",
                key if key.starts_with("database.ssl") => "set it in the parameters of source.postgres.url",
                key if key.starts_with("key.converter.") || key.starts_with("value.converter.") => {
                    "belongs to a converter"
                }
                _ => "has no counterpart",
            });
            self.left.push((shown(key), why.to_owned()));
        }
    }
}

/// A key as it may be shown: some hold a salt.
fn shown(key: &str) -> String {
    match key.split_once(".salt.") {
        Some((before, _)) => format!("{before}.salt.***"),
        None => key.to_owned(),
    }
}

/// What a list of columns is for.
enum Column {
    Exclude,
    Mask(String),
}

impl Column {
    fn of(key: &str) -> Option<Column> {
        if key == "column.exclude.list" {
            return Some(Column::Exclude);
        }
        if let Some(rest) = key.strip_prefix("column.truncate.to.") {
            return rest.strip_suffix(".chars").map(|count| Column::Mask(format!("truncate({count})")));
        }
        if key.starts_with("column.mask.hash.") {
            return key.contains(".SHA-256.").then(|| Column::Mask("sha256".to_owned()));
        }
        key.starts_with("column.mask.with.").then(|| Column::Mask("redact".to_owned()))
    }
}

#[derive(Default)]
struct Table {
    exclude: Vec<String>,
    masks: Vec<(String, String)>,
    key: Vec<String>,
}

impl Table {
    fn add(&mut self, what: &Column, column: String) {
        match what {
            Column::Exclude => self.exclude.push(column),
            Column::Mask(mask) => self.masks.push((column, mask.clone())),
        }
    }

    fn write(&self, name: &str, lines: &str, toml: &mut String) {
        let _ = writeln!(toml, "[[table]]\nmatch = {}", quoted(name));
        toml.push_str(lines);
        if !self.key.is_empty() {
            let _ = writeln!(toml, "key = {}", list(&self.key));
        }
        if !self.exclude.is_empty() {
            let _ = writeln!(toml, "columns.exclude = {}", list(&self.exclude));
        }
        if !self.masks.is_empty() {
            let masks: Vec<String> =
                self.masks.iter().map(|(column, mask)| format!("{} = {}", quoted(column), quoted(mask))).collect();
            let _ = writeln!(toml, "columns.mask = {{ {} }}", masks.join(", "));
        }
        if self.masks.iter().any(|(_, mask)| mask == "sha256") {
            toml.push_str("columns.salt = \"${MASK_SALT}\"\n");
        }
        toml.push('\n');
    }
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

pub(super) fn list(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("texts are JSON")
}
