//! The rows that were there before the stream: read from the slot's exported snapshot, table by table.
//!
//! Why there is no gap and no overlap: the snapshot shows exactly the transactions that commit before the consistent
//! point, and the stream starts with the first one that commits at or after it. Why no table looks empty by mistake:
//! a statement that rewrites a table leaves nothing of it for older snapshots, so all tables are locked against that
//! (ACCESS SHARE: rows can be written) before the first is read, and one that was rewritten just before is noticed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio_postgres::{Client, CopyOutStream};

use super::catalog::{self, Found, literal, quoted, quoted_table};
use super::refusal::sql_error;
use super::slot::Exported;
use crate::codecs::copy::text;
use crate::codecs::pgoutput::{Relation, RelationColumn};
use crate::logic::assemble::{Assembler, shape};
use crate::model::{
    Change, ChangeId, Error, Lsn, Meters, Oid, Op, Origin, PgTimestamp, ReplicaIdentity, Result, RowWriter,
    SnapshotMark, Table, TableName,
};

/// Bytes of rows in a batch.
const BATCH: usize = 1 << 20;

/// A snapshot being read.
pub(super) struct Snapshot {
    client: Client,
    point: Lsn,
    at: PgTimestamp,
    tables: VecDeque<Planned>,
    copying: Option<(Arc<Table>, Pin<Box<CopyOutStream>>)>,
    writer: RowWriter,
    scratch: Vec<u8>,
    ordinal: u64,
    /// How many tables have been begun.
    opened: usize,
    /// The last row read: whether it is its table's last, or the last of all, shows only with the next one.
    held: Option<Change>,
    meters: Arc<Meters>,
}

/// A table to be read.
struct Planned {
    relation: Relation,
    table: Arc<Table>,
    query: String,
    /// Begin with a truncate: an earlier attempt may have delivered rows that are gone.
    clear: bool,
}

/// What is to be read.
pub(super) struct Wanted<'a> {
    pub(super) exported: &'a Exported,
    pub(super) tables: &'a [Found],
    /// `server_version_num`
    pub(super) version: u32,
    pub(super) publication: &'a str,
    /// Tables to begin with a truncate: an earlier attempt may have delivered rows that are gone.
    pub(super) clear: &'a (dyn Fn(&TableName) -> bool + Sync),
    /// Which of their rows: an SQL condition.
    pub(super) only: Option<&'a str>,
    /// How long to wait for a table that is being altered; zero for as long as it takes.
    pub(super) lock_timeout: Duration,
}

impl Snapshot {
    /// Imports the exported snapshot; after this its exporter may go on.
    pub(super) async fn begin(client: Client, wanted: Wanted<'_>, meters: Arc<Meters>) -> Result<Snapshot> {
        let exported = wanted.exported;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = 0{}",
            literal(&exported.name).trim_start(),
            wanted.lock_timeout.as_millis(),
            if wanted.version >= 170_000 { "; SET LOCAL transaction_timeout = 0" } else { "" }
        );
        client.batch_execute(&begin).await.map_err(not_imported)?;
        lock(&client, wanted.tables).await?;
        let mut planned = VecDeque::new();
        for found in wanted.tables {
            planned.push_back(plan(&client, found, &wanted).await?);
        }
        // Texts of such a database are in no encoding: the server would refuse those that are not UTF-8, told or not.
        let plain = "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', true)
            WHERE current_setting('server_encoding') = 'SQL_ASCII'";
        client.execute(plain, &[]).await.map_err(|error| sql_error(error, "choosing the encoding"))?;
        tracing::info!(tables = planned.len(), point = %exported.point, "reading the existing rows");
        Ok(Snapshot {
            client,
            point: exported.point,
            at: PgTimestamp::now(),
            tables: planned,
            copying: None,
            writer: RowWriter::new(),
            scratch: Vec::new(),
            // 0 stands for "before the first row".
            ordinal: 1,
            opened: 0,
            held: None,
            meters,
        })
    }

    /// Tells the assembler the tables' shapes: the stream may send their changes without naming them first.
    pub(super) fn define(&mut self, assembler: &mut Assembler, from: Lsn) {
        for planned in &mut self.tables {
            planned.table = assembler.define(planned.relation.clone(), Table::clone(&planned.table), from);
        }
    }

    /// The consistent point.
    pub(super) fn point(&self) -> Lsn {
        self.point
    }

    /// Reads on into `out` until a batch is full; `true` when all tables are done. Cancel-safe.
    pub(super) async fn read(&mut self, out: &mut Vec<Change>, bytes: &mut usize) -> Result<bool> {
        while *bytes < BATCH {
            let Some((table, stream)) = &mut self.copying else {
                if self.open(out).await? {
                    continue;
                }
                self.finish(out, bytes).await?;
                return Ok(true);
            };
            let name = &table.name;
            match stream.next().await {
                Some(Ok(line)) => {
                    let table = Arc::clone(table);
                    let row = text::row(&line, table.columns.len(), &mut self.scratch, &mut self.writer)
                        .map_err(|error| Error::corrupt(format!("reading table {name}")).because(error))?;
                    self.meters.snapshot_rows.fetch_add(1, Ordering::Relaxed);
                    let change = self.change(table, Op::Read { new: row });
                    self.emit(Some(change), out, bytes);
                }
                Some(Err(error)) => return Err(sql_error(error, &format!("reading table {name}"))),
                None => self.copying = None,
            }
        }
        Ok(false)
    }

    /// Opens the next table; `false` when there is none. The table stays planned until its COPY has begun.
    async fn open(&mut self, out: &mut Vec<Change>) -> Result<bool> {
        let Some(next) = self.tables.front_mut() else { return Ok(false) };
        let name = next.table.name.clone();
        let stream = self
            .client
            .copy_out(next.query.as_str())
            .await
            .map_err(|error| sql_error(error, &format!("reading table {name}")))?;
        let Some(next) = self.tables.pop_front() else { return Ok(false) };
        self.opened += 1;
        if next.clear {
            self.emit(None, out, &mut 0);
            let clear = self.change(Arc::clone(&next.table), Op::Truncate);
            out.push(clear);
        }
        self.copying = Some((next.table, Box::pin(stream)));
        Ok(true)
    }

    async fn finish(&mut self, out: &mut Vec<Change>, bytes: &mut usize) -> Result<()> {
        self.client.batch_execute("COMMIT").await.map_err(|error| sql_error(error, "ending the snapshot"))?;
        if let Some(last) = &mut self.held {
            last.origin.snapshot = Some(SnapshotMark::Last);
        }
        self.emit(None, out, bytes);
        Ok(())
    }

    fn change(&mut self, table: Arc<Table>, op: Op) -> Change {
        let id = ChangeId::snapshot(self.point, self.ordinal);
        self.ordinal += 1;
        let mark = match &self.held {
            None if self.ordinal == 2 && self.opened == 1 => SnapshotMark::First,
            Some(held) if Arc::ptr_eq(&held.table, &table) => SnapshotMark::Middle,
            _ => SnapshotMark::FirstInTable,
        };
        let origin = Origin { at: self.at, xid: None, lsn: self.point, last_commit: None, snapshot: Some(mark) };
        Change { id, origin, table, op }
    }

    /// Releases the held row, whose place is known now that `next` follows it.
    fn emit(&mut self, next: Option<Change>, out: &mut Vec<Change>, bytes: &mut usize) {
        if let Some(mut held) = self.held.take() {
            let mark = held.origin.snapshot;
            let ends = next.as_ref().is_none_or(|next| !Arc::ptr_eq(&next.table, &held.table));
            if ends && mark != Some(SnapshotMark::First) && mark != Some(SnapshotMark::Last) {
                held.origin.snapshot = Some(SnapshotMark::LastInTable);
            }
            *bytes += held.size();
            out.push(held);
        }
        self.held = next;
    }
}

/// The table's shape as the stream will describe it, and the query that reads its rows in that shape.
async fn plan(client: &Client, found: &Found, wanted: &Wanted<'_>) -> Result<Planned> {
    let Looks { relation, table, partitioned, filter } =
        looks(client, found, wanted.version, wanted.publication).await?;
    let list = relation.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let from = format!("{}{}", if partitioned { "" } else { "ONLY " }, quoted_table(&found.name));
    let conditions: Vec<String> =
        filter.iter().map(String::as_str).chain(wanted.only).map(|c| format!("({c})")).collect();
    let condition = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let query = format!("COPY (SELECT {list} FROM {from}{condition}) TO STDOUT");
    Ok(Planned { relation, table: Arc::new(table), query, clear: (wanted.clear)(&found.name) })
}

/// How the stream will describe a table.
pub(super) struct Looks {
    relation: Relation,
    pub(super) table: Table,
    partitioned: bool,
    filter: Option<String>,
}

/// How the stream would describe a table now; column lists and row filters of the publication count, where it is in one.
pub(super) async fn looks(client: &Client, found: &Found, version: u32, publication: &str) -> Result<Looks> {
    let failed = |error| sql_error(error, &format!("describing table {}", found.name));
    let (listed, filter) =
        if version >= 150_000 { ("p.attnames", "p.rowfilter") } else { ("NULL::name[]", "NULL::text") };
    let query = format!(
        "SELECT a.attname::text, a.atttypid, a.atttypmod, c.relkind = 'p', {filter},
            CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS (
                SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
         LEFT JOIN pg_catalog.pg_publication_tables p ON p.pubname = $2 AND p.schemaname = $3 AND p.tablename = $4
         WHERE c.oid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            AND ({listed} IS NULL OR a.attname = ANY ({listed}))
         ORDER BY a.attnum"
    );
    let rows = client
        .query(&query, &[&found.oid.0, &publication, &found.name.schema, &found.name.name])
        .await
        .map_err(failed)?;
    let columns: Vec<RelationColumn> = rows
        .iter()
        .map(|row| RelationColumn {
            name: row.get(0),
            type_oid: Oid(row.get(1)),
            modifier: row.get(2),
            key: row.get(5),
        })
        .collect();
    let partitioned = rows.first().is_some_and(|row| row.get(3));
    let filter: Option<String> = rows.first().and_then(|row| row.get(4));
    let relation = relation(found, columns);
    let types: Vec<Oid> = relation.columns.iter().map(|column| column.type_oid).collect();
    let described = catalog::describe(client, found.oid, &types).await?;
    let table = shape(&relation, &described);
    Ok(Looks { relation, table, partitioned, filter })
}

/// Keeps the tables from being rewritten or dropped; a snapshot shows nothing of a table that was rewritten after it.
async fn lock(client: &Client, tables: &[Found]) -> Result<()> {
    let failed = |error| sql_error(error, "locking the tables to be read against being altered");
    for found in tables {
        if !found.readable {
            return Err(found.unreadable());
        }
    }
    let names: Vec<String> = tables.iter().map(|found| quoted_table(&found.name)).collect();
    for some in names.chunks(200) {
        let statement = format!("LOCK TABLE {} IN ACCESS SHARE MODE", some.join(", "));
        client.batch_execute(&statement).await.map_err(failed)?;
    }
    let oids: Vec<u32> = tables.iter().map(|found| found.oid.0).collect();
    // The column is as the snapshot shows it, the function tells how it is now.
    let rewritten = client
        .query_opt(
            "SELECT c.relname::text FROM unnest($1::oid[]) wanted(oid)
                CROSS JOIN LATERAL (SELECT relid FROM pg_catalog.pg_partition_tree(wanted.oid) UNION SELECT wanted.oid) tree
                JOIN pg_catalog.pg_class c ON c.oid = tree.relid
             WHERE c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid) LIMIT 1",
            &[&oids],
        )
        .await
        .map_err(failed)?;
    match rewritten {
        None => Ok(()),
        Some(row) => {
            Err(Error::transient(format!("table {} was rewritten while its snapshot was taken", row.get::<_, &str>(0))))
        }
    }
}

fn relation(found: &Found, columns: Vec<RelationColumn>) -> Relation {
    let identity: ReplicaIdentity = found.identity;
    Relation {
        xid: None,
        oid: found.oid,
        schema: found.name.schema.clone(),
        name: found.name.name.clone(),
        identity,
        columns,
    }
}

/// A snapshot lives as long as the connection that exported it: one that does not exist has lost that connection, which
/// heals by a new attempt.
fn not_imported(error: tokio_postgres::Error) -> Error {
    let code = error.code().map(|code| code.code().to_owned());
    match code.as_deref() {
        // Of PostgreSQL 17 and of those before it.
        Some("42704" | "22023") => {
            Error::transient("importing the slot's snapshot: the connection that held it has ended").because(error)
        }
        _ => sql_error(error, "importing the slot's snapshot"),
    }
}
