//! What the warehouse sinks have to be told.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::misfits::Unfit;
use super::reread::Reread;
use crate::codecs::dialect::Mode;
use crate::logic::merge::{Incompatible, Limits, OnMisfit, Policy, Renamed};
use crate::logic::project::{Origins, Rule};
use crate::model::{Class, Error, Meters, Pattern, Result, TableName};

/// When a flush happens: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// Changes waiting.
    pub rows: usize,
    /// Bytes of changes waiting.
    pub bytes: usize,
    /// Age of the oldest change waiting.
    pub after: Duration,
}

/// What [`Options::straight`] is but for tests: for fewer the savepoint's round trips cost as much.
const STRAIGHT: usize = 2_000;

/// What stops when a table can't proceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// That table: its changes are kept, the others go on.
    #[default]
    Table,
    /// All of them.
    Pipeline,
}

/// How tables that change are followed.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// All of them.
    pub all: Policy,
    /// Those of single tables, by the source's names; the first that matches.
    pub tables: Vec<(Pattern, OwnPolicy)>,
}

/// What is said of single tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnPolicy {
    /// A type that does not fit.
    pub incompatible: Option<Incompatible>,
    /// A new name.
    pub renamed: Option<Renamed>,
    /// A value that does not fit.
    pub misfit: Option<OnMisfit>,
}

impl Policies {
    /// A table's, by the source's name.
    pub fn of(&self, table: &TableName) -> Policy {
        let name = table.to_string();
        let own = self.tables.iter().find(|(tables, _)| tables.matches(&name));
        let OwnPolicy { incompatible, renamed, misfit } = own.map(|(_, own)| *own).unwrap_or_default();
        Policy {
            incompatible: incompatible.unwrap_or(self.all.incompatible),
            renamed: renamed.unwrap_or(self.all.renamed),
            misfit: misfit.unwrap_or(self.all.misfit),
        }
    }
}

/// What every warehouse sink has to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: the key of its progress.
    pub pipeline: String,
    /// When a flush happens.
    pub flush: Flush,
    /// Whether changes wait less than `flush.after` where a flush is cheap.
    pub adaptive: bool,
    /// The target schema for all tables; the source schema's name when absent.
    pub schema: Option<String>,
    /// What stops when a table can't proceed.
    pub stop: Reach,
    /// How tables that change are followed.
    pub policies: Policies,
    /// Limits of single tables beside those of a flush: the first that matches the source's name counts.
    pub limits: Vec<(Pattern, Limits)>,
    /// After how long a stopped table is tried again.
    pub retry: Duration,
    /// What is done with single tables before their changes come here.
    pub rules: Vec<Rule>,
    /// The source's names of the tables.
    pub origins: Origins,
    /// Where it reports.
    pub meters: Arc<Meters>,
    /// How the tables are kept: the first that matches the source's name counts, `None` asks for nothing.
    pub modes: Vec<(Pattern, Option<Mode>)>,
    /// The fence that this process has taken last, 0 before the first; `None` for one of several processes, which take
    /// it from one another.
    pub fence: Option<Arc<AtomicU64>>,
    /// The views beside the tables: the first that matches the source's name counts.
    pub views: Vec<(Pattern, Option<ViewName>)>,
    /// Who reads rows at the source that the warehouse lacks; nobody behind Kafka.
    pub reread: Option<Reread>,
    /// What is known of values that did not fit.
    pub unfit: Unfit,
    /// Whether transactions are committed one by one, until a table has its new shape.
    pub one_by_one: Arc<AtomicBool>,
    /// How many new rows a table must have in a flush to go straight into it; fewer are merged like the others.
    pub straight: usize,
}

/// What a view beside a table is called: a schema and a name that may hold those of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewName {
    schema: String,
    name: String,
}

impl ViewName {
    /// Reads `reporting.${table}` and the like; what is wrong with it where it is none.
    pub fn parse(text: &str) -> std::result::Result<ViewName, &'static str> {
        let plain = text.replace("${schema}", "s").replace("${table}", "t");
        if plain.contains("${") {
            return Err("names something else than schema and table");
        }
        match text.split_once('.') {
            Some((schema, name)) if !schema.is_empty() && !name.is_empty() && !name.contains('.') => {
                Ok(ViewName { schema: schema.to_owned(), name: name.to_owned() })
            }
            _ => Err("is no name of a view with its schema"),
        }
    }

    /// Whether each table has one of its own.
    pub fn tells_tables(&self) -> bool {
        self.name.contains("${table}") || self.schema.contains("${table}")
    }

    fn of(&self, target: &TableName) -> TableName {
        let of = |text: &str| text.replace("${schema}", &target.schema).replace("${table}", &target.name);
        TableName::new(of(&self.schema), of(&self.name))
    }
}

impl Options {
    /// Whether a failure of one table stops no more than that.
    pub(super) fn stops_alone(&self, error: &Error) -> bool {
        self.stop == Reach::Table && error.class() == Class::Blocked && !error.is_systemic()
    }

    /// Those without rules: a table stops alone and is tried again each half minute.
    pub fn new(pipeline: &str, flush: Flush) -> Options {
        Options {
            pipeline: pipeline.to_owned(),
            flush,
            adaptive: false,
            schema: None,
            stop: Reach::default(),
            policies: Policies::default(),
            limits: Vec::new(),
            retry: Duration::from_secs(30),
            rules: Vec::new(),
            origins: Origins::default(),
            meters: Arc::default(),
            modes: Vec::new(),
            fence: None,
            views: Vec::new(),
            reread: None,
            unfit: Unfit::default(),
            one_by_one: Arc::default(),
            straight: STRAIGHT,
        }
    }

    /// The limits of the table that is told under this name.
    pub(super) fn limits(&self, told: &TableName) -> Limits {
        if self.limits.is_empty() {
            return Limits::default();
        }
        let name = self.origins.of(told).to_string();
        self.limits.iter().find(|(tables, _)| tables.matches(&name)).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// The table that the rows of the table go to that is told under this name.
    pub(super) fn target_name(&self, told: &TableName) -> TableName {
        TableName::new(self.schema.as_ref().unwrap_or(&told.schema), &told.name)
    }

    /// The view that is wanted beside the target of the table that is told under this name.
    pub(super) fn view(&self, told: &TableName, target: &TableName) -> Option<TableName> {
        let name = self.origins.of(told).to_string();
        let found = self.views.iter().find(|(tables, _)| tables.matches(&name));
        found.and_then(|(_, view)| view.as_ref()).map(|view| view.of(target))
    }

    /// What is asked for of the table that is told under this name.
    pub fn mode(&self, told: &TableName) -> Option<Mode> {
        let name = self.origins.of(told).to_string();
        self.modes.iter().find(|(tables, _)| tables.matches(&name)).and_then(|(_, mode)| *mode)
    }
}

/// Makes a connection to a PostgreSQL warehouse, its background task already running.
pub type Connect = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<tokio_postgres::Client>> + Send>> + Send + Sync>;

/// Where a DuckDB file is.
#[derive(Clone, Debug)]
pub struct DuckdbFile {
    /// Its path; created when absent.
    pub path: PathBuf,
}
