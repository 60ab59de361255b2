//! Amazon Redshift as a warehouse: rows go through objects on S3 and COPY.
//!
//! ```text
//!  ahead   rows ──▶ Parquet ──▶ S3 ──▶ manifest      before the transaction: an upload holds no lock
//!  load    COPY manifest ──▶ temporary table, counted
//!  COMMIT or ROLLBACK ──▶ objects are removed
//! ```

mod columns;
mod csv;
mod failure;
mod parquet;
mod rows;
mod store;
mod widths;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use object_store::path::Path;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::{JoinSet, block_in_place};
use tokio_postgres::{Client as Connection, SimpleQueryMessage};

use self::rows::Plan;
use self::store::Store;
use self::widths::Widths;
use super::client::Client;
use super::options::Connect;
use super::staging::{ObjectFormat, RedshiftOptions};
use crate::codecs::dialect::{CopyFormat, Dialect, Redshift, Target, quote};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{ChangeId, Error, Result};

/// The longest statement that Redshift takes.
const STATEMENT: usize = 16 << 20;

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
    ready: HashMap<String, VecDeque<Uploaded>>,
    /// Objects of the flush that is going on.
    objects: Vec<Path>,
    removals: JoinSet<()>,
    widths: Widths,
}

/// Objects that wait for their COPY.
struct Uploaded {
    manifest: String,
    folder: String,
    /// Rows that are in none of them, since they come to nothing.
    needless: u64,
    /// Which rows they are.
    of: Span,
}

/// The first and the last change, and how many rows.
type Span = Option<(ChangeId, ChangeId, usize)>;

fn span(rows: &[NetRow]) -> Span {
    Some((rows.first()?.id, rows.last()?.id, rows.len()))
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
        let manifest = self.manifest(&format!("{name}.manifest"), &[(object.clone(), line.len())]).await;
        let loaded = match &manifest {
            Ok(url) => self.load_probe(url).await,
            Err(_) => Ok(()),
        };
        for object in std::mem::take(&mut self.objects) {
            self.store.remove(&object).await?;
        }
        self.store.remove(&object).await?;
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

    /// Writes rows as objects with a manifest; nothing is locked meanwhile.
    async fn upload(&mut self, target: &Target, rows: &[NetRow]) -> Result<(Uploaded, Vec<usize>)> {
        let folder = self.folder(target, rows);
        let mut plan = Plan::of(&self.dialect.types, target, self.options.format);
        let parts = Plan::parts(rows, self.options.files);
        let extension = match self.options.format {
            ObjectFormat::Parquet => "parquet",
            ObjectFormat::Csv => "csv",
        };
        let mut uploads = JoinSet::new();
        let mut entries = Vec::new();
        for (number, rows) in rows.chunks(rows.len().div_ceil(parts).max(1)).enumerate() {
            let object = block_in_place(|| plan.object(target, rows))?;
            let path = self.store.path(&format!("{folder}/{number:04}.{extension}"));
            entries.push((path.clone(), object.len()));
            self.objects.push(path.clone());
            let store = self.store.clone();
            uploads.spawn(async move { store.put(&path, Bytes::from(object)).await });
        }
        while let Some(done) = uploads.join_next().await {
            done.map_err(|error| Error::bug("an upload ended").because(error))??;
        }
        let manifest = self.manifest(&format!("{folder}/manifest.json"), &entries).await?;
        Ok((Uploaded { manifest, folder, needless: plan.needless, of: span(rows) }, plan.longest))
    }

    /// Pipeline, table and range of positions: what a lifecycle rule or a person can tell objects by.
    fn folder(&mut self, target: &Target, rows: &[NetRow]) -> String {
        self.number += 1;
        let lsn = |row: Option<&NetRow>| row.map_or(0, |row| row.id.commit.get());
        format!(
            "{}/{}.{}/{:016X}-{:016X}-{:08x}-{}",
            plain(&self.dialect.pipeline),
            plain(&target.name.schema),
            plain(&target.name.name),
            lsn(rows.first()),
            lsn(rows.last()),
            self.life,
            self.number
        )
    }

    /// A list of objects, all of which COPY has to find, as long as they were written.
    async fn manifest(&mut self, name: &str, entries: &[(Path, usize)]) -> Result<String> {
        let entry = |(path, length): &(Path, usize)| serde_json::json!({"url": self.store.url(path), "mandatory": true, "meta": {"content_length": length}});
        let manifest = serde_json::json!({"entries": entries.iter().map(entry).collect::<Vec<_>>()});
        let path = self.store.path(name);
        self.store.put(&path, Bytes::from(manifest.to_string())).await?;
        let url = self.store.url(&path);
        self.objects.push(path);
        Ok(url)
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
        let (uploaded, longest) = self.upload(target, rows).await?;
        self.ready.entry(self.dialect.stage(target)).or_default().push_back(uploaded);
        self.make_room(target, &longest, open).await
    }

    async fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        let plan = Plan::of(&self.dialect.types, target, self.options.format);
        Ok(block_in_place(|| plan.misfits(rows)))
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        let waiting = self.ready.get_mut(&stage.name);
        // What stands before them is of an attempt that was given up.
        let uploaded = waiting
            .and_then(|all| std::iter::from_fn(|| all.pop_front()).find(|uploaded| uploaded.of == span(&stage.rows)));
        let Uploaded { manifest, folder, needless, .. } =
            uploaded.ok_or_else(|| Error::bug("rows are to be loaded that were not uploaded"))?;
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

/// A name as part of an object's: what S3 or COPY might read otherwise becomes `!` and its number.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            other => out.push_str(&format!("!{other:02X}")),
        }
    }
    out
}
