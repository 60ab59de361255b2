//! What the warehouse sinks have to be told.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Result;

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

/// What every warehouse sink has to be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name: the key of its progress.
    pub pipeline: String,
    /// When a flush happens.
    pub flush: Flush,
    /// The target schema for all tables; the source schema's name when absent.
    pub schema: Option<String>,
}

/// Makes a connection to a PostgreSQL warehouse, its background task already running.
pub type Connect = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<tokio_postgres::Client>> + Send>> + Send + Sync>;

/// Where a DuckDB file is.
#[derive(Clone, Debug)]
pub struct DuckdbFile {
    /// Its path; created when absent.
    pub path: PathBuf,
}
