//! Amazon Redshift as a warehouse: rows go through objects on S3 and COPY.
//!
//! ```text
//!  ahead   rows ──▶ Parquet ──▶ S3 ──▶ manifest      of all tables side by side
//!  arrived waits for them                            before the transaction: an upload holds no lock
//!  load    COPY manifest ──▶ temporary table, counted
//!  COMMIT or ROLLBACK ──▶ objects are removed
//! ```

mod columns;
mod csv;
mod failure;
mod parquet;
mod rows;
mod store;
mod upload;
mod widths;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};
use tokio_postgres::{Client as Connection, SimpleQueryMessage};

use self::rows::Plan;
use self::store::Store;
use self::upload::{Upload, span};
use self::widths::Widths;
use super::client::Client;
use super::options::Connect;
use super::staging::{ObjectFormat, RedshiftOptions};
use crate::codecs::dialect::{CopyFormat, Dialect, Redshift, Target, quote};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{Error, Result};

/// The longest statement that Redshift takes.
const STATEMENT: usize = 16 << 20;
/// Objects that are written side by side, each in memory meanwhile.
const LINES: usize = 16;

/// A connection to a Redshift cluster, and the place on S3 that it loads from.
pub struct RedshiftClient {
    connection: Connection,
    dialect: Redshift,
    options: RedshiftOptions,
    store: Store,
    /// What the objects of this connection have in their names.
    life: u32,
    number: u64,
    /// Manifests whose COPY has not come yet, by staging table.
    ready: HashMap<String, Vec<Upload>>,
    /// How many objects may be on their way.
    lines: Arc<Semaphore>,
    /// Objects of the flush that is going on.
    objects: Vec<Path>,
    removals: JoinSet<()>,
    widths: Widths,
}

impl RedshiftClient {
    /// Connects to both.
    pub async fn start(connect: &Connect, dialect: Redshift, options: RedshiftOptions) -> Result<RedshiftClient> {
        let store = Store::open(&options)?;
        let connection = connect().await.map_err(|error| error.within("Redshift"))?;
        let mut client = RedshiftClient {
            connection,
            dialect,
            options,
            store,
            life: rand::random(),
            number: 0,
            ready: HashMap::new(),
            lines: Arc::new(Semaphore::new(LINES)),
            objects: Vec::new(),
            removals: JoinSet::new(),
            widths: Widths::default(),
        };
        // Times are staged in UTC and printed so.
        for setting in ["SET timezone TO 'UTC'", "SET datestyle TO 'ISO'"] {
            client.execute(setting).await?;
        }
        Ok(client)
    }

    /// Whether schemas may be made, objects written, read and removed, and whether the cluster can load them.
    pub async fn probe(&mut self) -> Result<()> {
        let rows = self.query("SELECT has_database_privilege(current_database(), 'CREATE')").await?;
        if !matches!(rows.first().and_then(|row| row.first()).and_then(Option::as_deref), Some("t" | "true")) {
            return Err(Error::blocked("the sink's user may not create schemas in the database")
                .remedy("run: GRANT CREATE ON DATABASE ... TO the sink's user"));
        }
        let name = format!("{}/probe-{:08x}.csv", self.dialect.pipeline, self.life);
        let object = self.store.path(&name);
        let line = Bytes::from_static(b"1\n");
        self.store.put(&object, line.clone()).await?;
        let read = self.store.read(&object).await;
        let list = self.store.path(&format!("{name}.manifest"));
        let manifest = self.store.put(&list, self.store.manifest(&[(object.clone(), line.len())])).await;
        let loaded = match &manifest {
            Ok(()) => self.load_probe(&self.store.url(&list)).await,
            Err(_) => Ok(()),
        };
        for object in [&list, &object] {
            self.store.remove(object).await?;
        }
        if read? != line {
            return Err(Error::transient("S3 gives back another object than was written"));
        }
        manifest.and(loaded)
    }

    async fn load_probe(&mut self, manifest: &str) -> Result<()> {
        self.execute("CREATE TEMP TABLE tailwater_probe (n integer)").await?;
        self.copy("tailwater_probe", manifest, &self.csv(), "probe").await.map(|_| ())
    }

    fn csv(&self) -> CopyFormat {
        CopyFormat::Csv { region: self.store.region.clone(), null: csv::NULL.to_owned() }
    }

    /// Loads what a manifest names; returns how many rows.
    async fn copy(&mut self, stage: &str, manifest: &str, format: &CopyFormat, folder: &str) -> Result<u64> {
        let access = self.store.access().await?;
        let sql = self.dialect.copy(stage, manifest, format, access.expose_secret());
        if let Err(error) = self.connection.simple_query(&sql).await {
            return Err(self.not_copied(error, folder, &access).await);
        }
        let rows = self.query(self.dialect.copied()).await?;
        let count = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        count.and_then(|count| count.parse().ok()).ok_or_else(|| Error::transient("COPY does not say what it loaded"))
    }

    /// A message may repeat the statement, and with it the right to read.
    async fn not_copied(&mut self, error: tokio_postgres::Error, folder: &str, access: &SecretString) -> Error {
        let row = failure::of_a_row(&error);
        let told = failure::sql(error);
        if store::betrays(&told.what(), access) {
            return Error::new(
                told.class(),
                "COPY failed; Redshift's message repeats the credentials and is not shown",
            );
        }
        if !row || self.execute("ROLLBACK").await.is_err() {
            return told;
        }
        // The transaction is lost either way; the next attempt meets the same row.
        let objects = self.store.url(&self.store.path(folder));
        let Ok(rows) = self.query(&self.dialect.refused(&objects)).await else { return told };
        match rows.into_iter().next().map(<[Option<String>; 2]>::try_from) {
            Some(Ok([Some(column), code])) => Error::blocked(format!(
                "COPY refuses a value of column {} (error {})",
                column.trim(),
                code.as_deref().map_or("unknown", str::trim)
            ))
            .remedy("sys_load_error_detail on the cluster has the row; correct it at the source, or leave the column out with columns.exclude"),
            _ => told,
        }
    }

    /// Removes the objects of the flush that has ended. What is left behind is for the bucket's lifecycle rule.
    fn sweep(&mut self) {
        let objects = std::mem::take(&mut self.objects);
        if objects.is_empty() {
            return;
        }
        let store = self.store.clone();
        self.removals.spawn(async move {
            for object in objects {
                if let Err(error) = store.remove(&object).await {
                    tracing::debug!(%error, %object, "an object stays behind");
                    return;
                }
            }
        });
        while self.removals.try_join_next().is_some() {}
    }
}

impl Client for RedshiftClient {
    async fn execute(&mut self, sql: &str) -> Result<u64> {
        if sql.len() > STATEMENT {
            return Err(Error::blocked("a statement has more than the 16 MB that Redshift takes")
                .remedy("leave columns out with columns.exclude"));
        }
        let messages = self.connection.simple_query(sql).await.map_err(failure::sql)?;
        if matches!(sql, "COMMIT" | "ROLLBACK") {
            self.ready.clear();
            self.sweep();
        }
        Ok(messages.iter().map(|m| if let SimpleQueryMessage::CommandComplete(rows) = m { *rows } else { 0 }).sum())
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.connection.simple_query(sql).await.map_err(failure::sql)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn ahead(&mut self, target: &Target, rows: &[NetRow], open: bool) -> Result<()> {
        let (upload, longest) = self.upload(target, rows).await?;
        self.ready.entry(self.dialect.stage(target)).or_default().push(upload);
        self.make_room(target, &longest, open).await
    }

    async fn arrived(&mut self) -> Result<()> {
        let mut result = Ok(());
        for upload in self.ready.values_mut().flatten() {
            // To the end of all, or what is on its way would land after the others are removed.
            result = result.and(upload.done().await);
        }
        result
    }

    async fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        let plan = Plan::of(&self.dialect.types, target, self.options.format);
        Ok(block_in_place(|| plan.misfits(rows)))
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        let waiting = self.ready.get_mut(&stage.name);
        let mut upload = waiting
            .and_then(|all| upload::take(all, span(&stage.rows)))
            .ok_or_else(|| Error::bug("rows are to be loaded that were not uploaded"))?;
        upload.done().await?;
        let Upload { manifest, folder, needless, .. } = upload;
        let format = match self.options.format {
            ObjectFormat::Parquet => CopyFormat::Parquet,
            ObjectFormat::Csv => self.csv(),
        };
        let what = format!("loading {} into {}", stage.target.table.name, quote(&stage.name));
        let loaded = self.copy(&stage.name, &manifest, &format, &folder).await.map_err(|error| error.within(what))?;
        Ok(loaded + needless)
    }

    async fn close(&mut self) -> Result<()> {
        self.sweep();
        while self.removals.join_next().await.is_some() {}
        Ok(())
    }
}
