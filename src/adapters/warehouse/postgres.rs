//! PostgreSQL as a warehouse.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client as Connection, SimpleQueryMessage};

use super::client::Client;
use super::options::Connect;
use crate::codecs::copy::binary::{self, BinaryType};
use crate::codecs::dialect::{Dialect, Postgres, Staged, Target, quote, table};
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::{Cell, Class, Column, Error, PgType, Result, Row, Table, TableName};

/// Bytes of COPY data sent at a time.
const CHUNK: usize = 256 * 1024;
/// What the staging tables of a flush take, or they are written to files and read back: a fifth of the merge's time.
const TEMPORARY: &str = "SET temp_buffers = '64MB'";
/// Numbers looked at by one query.
const NUMBERS: usize = 5_000;

/// A connection to a PostgreSQL warehouse.
pub struct PostgresClient {
    connection: Connection,
    /// Targets that refused rows they should not have had: their rows are merged from then on.
    refused: HashSet<TableName>,
}

impl PostgresClient {
    /// Connects.
    pub async fn start(connect: &Connect) -> Result<PostgresClient> {
        let connection = connect().await.map_err(|error| error.within("the warehouse"))?;
        let version = connection.query_one("SHOW server_version_num", &[]).await.map_err(sql_error)?;
        if version.get::<_, String>(0).parse().is_ok_and(|version: u32| version < 150_000) {
            return Err(Error::blocked("the warehouse is older than PostgreSQL 15, which has no MERGE")
                .remedy("use PostgreSQL 15 or later"));
        }
        connection.batch_execute(TEMPORARY).await.map_err(sql_error)?;
        Ok(PostgresClient { connection, refused: HashSet::new() })
    }

    /// Whether schemas may be created.
    pub async fn may_create(&mut self) -> Result<()> {
        let rows = self.query("SELECT has_database_privilege(current_database(), 'CREATE')").await?;
        let may = rows.first().and_then(|row| row.first().cloned().flatten());
        if may.as_deref() == Some("t") {
            return Ok(());
        }
        Err(Error::blocked("the sink's user may not create schemas in the warehouse")
            .remedy("run: GRANT CREATE ON DATABASE ... TO the sink's user"))
    }
}

impl PostgresClient {
    /// COPY; returns how many rows came in.
    async fn copy(&mut self, into: &str, names: &[String], mut writer: Rows<'_>, rows: &[NetRow]) -> Result<u64> {
        let copy = format!("COPY {into} ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        let sink = self.connection.copy_in::<_, Bytes>(&copy).await.map_err(sql_error)?;
        let mut sink = std::pin::pin!(sink);
        for row in rows {
            writer.write(row)?;
            if writer.out.len() >= CHUNK {
                let chunk = std::mem::replace(&mut writer.out, Vec::with_capacity(CHUNK + CHUNK / 4));
                sink.send(Bytes::from(chunk)).await.map_err(sql_error)?;
            }
        }
        binary::trailer(&mut writer.out);
        sink.send(Bytes::from(writer.out)).await.map_err(sql_error)?;
        sink.finish().await.map_err(sql_error)
    }

    /// Numbers beyond what somebody limited a target's columns to; the server tells only that there is one.
    async fn too_large(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        let mut misfits = Vec::new();
        for row in self.query(&Postgres.precise(&target.name)).await? {
            let Ok([Some(name), Some(precision), Some(scale)]) = <[Option<String>; 3]>::try_from(row) else { continue };
            let (Ok(precision), Ok(scale)) = (precision.parse(), scale.parse()) else { continue };
            let numeric = |column: &Column| column.name == name && column.pg_type == PgType::Numeric;
            let Some(column) = target.table.columns.iter().position(numeric) else { continue };
            let numbers: Vec<(usize, &str)> = rows
                .iter()
                .enumerate()
                .filter_map(|(at, row)| match row.row.cell(column) {
                    Cell::Text(text) => Some((at, std::str::from_utf8(text).ok()?)),
                    _ => None,
                })
                .collect();
            for numbers in numbers.chunks(NUMBERS) {
                let found = self.query(&Postgres.too_large(numbers, precision, scale)).await?;
                let places = found.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok());
                misfits.extend(places.map(|row| Misfit { row, column }));
            }
        }
        Ok(misfits)
    }
}

/// Values that have no binary form of the type that they are staged as.
fn unreadable(target: &Target, rows: &[NetRow]) -> Vec<Misfit> {
    let table = &target.table;
    let types: Vec<BinaryType> =
        table.columns.iter().map(|c| BinaryType::of(&c.pg_type).unwrap_or(BinaryType::Text)).collect();
    let (mut misfits, mut scratch) = (Vec::new(), Vec::new());
    let mut refused = |cell: Cell<'_>, column: usize| {
        scratch.clear();
        let Cell::Text(text) = cell else { return false };
        types.get(column).is_some_and(|kind| kind.field(Some(text), &mut scratch).is_err())
    };
    for (row, net) in rows.iter().enumerate() {
        for (column, cell) in net.row.cells().enumerate() {
            if refused(cell, column) {
                misfits.push(Misfit { row, column });
            }
        }
        for (&column, base) in table.key.iter().zip(std::iter::repeat(net.base.as_ref())) {
            if base.is_some_and(|base| refused(base.cell(column), column)) {
                misfits.push(Misfit { row, column });
            }
        }
    }
    misfits
}

impl Client for PostgresClient {
    async fn execute(&mut self, sql: &str) -> Result<u64> {
        let messages = self.connection.simple_query(sql).await.map_err(sql_error)?;
        Ok(messages.iter().map(|m| if let SimpleQueryMessage::CommandComplete(rows) = m { *rows } else { 0 }).sum())
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let messages = self.connection.simple_query(sql).await.map_err(sql_error)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn load(&mut self, stage: Stage) -> Result<u64> {
        let (table, layout) = (&stage.target.table, stage.target.layout);
        let mut names: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
        names.extend(["_tw_lsn", "_tw_seq", "_tw_op", "_tw_missing"].map(str::to_owned));
        names.extend(layout.staged().iter().map(|extra| extra.name().to_owned()));
        names.extend((1..=table.key.len()).map(|n| format!("_tw_base_{n}")));
        self.copy(&stage.name, &names, Rows::staged(table, layout.staged()), &stage.rows).await
    }

    /// What is staged as its text, to be cast, has no binary form here.
    fn takes_new(&self, target: &Target) -> bool {
        let cast = |column: &Column| Postgres.stage_type(column) != Postgres.target_type(column);
        !self.refused.contains(&target.name) && !target.table.columns.iter().any(cast)
    }

    async fn load_new(&mut self, target: &Target, rows: &[NetRow]) -> Result<bool> {
        let mut names: Vec<String> = target.table.columns.iter().map(|column| quote(&column.name)).collect();
        names.extend(["_tw_lsn", "_tw_seq"].map(str::to_owned));
        self.execute("SAVEPOINT new_rows").await?;
        let why = match self.copy(&table(&target.name), &names, Rows::plain(&target.table), rows).await {
            Ok(copied) if copied == rows.len() as u64 => {
                self.execute("RELEASE SAVEPOINT new_rows").await?;
                return Ok(true);
            }
            Ok(copied) => format!("it took {copied} of {} rows", rows.len()),
            Err(error) if error.class() == Class::Blocked => error.to_string(),
            Err(error) => return Err(error),
        };
        self.execute("ROLLBACK TO SAVEPOINT new_rows").await?;
        self.execute("RELEASE SAVEPOINT new_rows").await?;
        tracing::info!(table = %target.name, why, "new rows do not go straight into the table: they are merged");
        self.refused.insert(target.name.clone());
        Ok(false)
    }

    async fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> Result<Vec<Misfit>> {
        match unreadable(target, rows) {
            misfits if misfits.is_empty() => self.too_large(target, rows).await,
            misfits => Ok(misfits),
        }
    }
}

/// Writes rows in COPY's binary format.
struct Rows<'a> {
    table: &'a Table,
    /// What staged rows have beyond the table's columns and the change's id, in the layout's part.
    staged: Option<&'a [Staged]>,
    types: Vec<BinaryType>,
    out: Vec<u8>,
    scratch: Vec<u8>,
    width: u16,
}

impl<'a> Rows<'a> {
    /// As a target has them.
    fn plain(table: &'a Table) -> Rows<'a> {
        // What has no binary form is staged as its text.
        let types = table.columns.iter().map(|c| BinaryType::of(&c.pg_type).unwrap_or(BinaryType::Text)).collect();
        let mut out = Vec::with_capacity(CHUNK + CHUNK / 4);
        binary::header(&mut out);
        let width = u16::try_from(table.columns.len() + 2).unwrap_or(u16::MAX);
        Rows { table, staged: None, types, out, scratch: Vec::new(), width }
    }

    /// As a staging table has them.
    fn staged(table: &'a Table, staged: &'a [Staged]) -> Rows<'a> {
        let plain = Rows::plain(table);
        let width = u16::try_from(table.columns.len() + 4 + staged.len() + table.key.len()).unwrap_or(u16::MAX);
        Rows { staged: Some(staged), width, ..plain }
    }

    fn write(&mut self, row: &NetRow) -> Result<()> {
        binary::row(self.width, &mut self.out);
        for (index, cell) in row.row.cells().enumerate() {
            self.cell(index, cell)?;
        }
        for number in [row.id.commit.get(), row.id.seq] {
            self.out.extend_from_slice(&8_i32.to_be_bytes());
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        let Some(extras) = self.staged else { return Ok(()) };
        let letter = row.op.letter();
        let none = !row.missing(&mut self.scratch);
        let missing = (!none).then_some(self.scratch.as_slice());
        for text in [Some(letter.encode_utf8(&mut [0; 4]).as_bytes()), missing] {
            BinaryType::Text
                .field(text, &mut self.out)
                .map_err(|error| Error::bug("a mark of a staged row").because(error))?;
        }
        for &extra in extras {
            let some = row.staged(extra, self.table, &mut self.scratch);
            BinaryType::Text
                .field(some.then_some(self.scratch.as_slice()), &mut self.out)
                .map_err(|error| Error::bug("a text of a staged row").because(error))?;
        }
        for &index in &self.table.key {
            self.cell(index, row.base.as_ref().map_or(Cell::Null, |base: &Row| base.cell(index)))?;
        }
        Ok(())
    }

    fn cell(&mut self, index: usize, cell: Cell<'_>) -> Result<()> {
        let text = match cell {
            Cell::Null | Cell::Unchanged => None,
            Cell::Text(text) => Some(text),
            Cell::Binary(_) => return Err(Error::bug("a binary value where the stream was asked for text")),
        };
        let kind = self.types.get(index).copied().unwrap_or(BinaryType::Text);
        kind.field(text, &mut self.out).map_err(|error| {
            let column = self.table.columns.get(index).map_or("?", |column| column.name.as_str());
            Error::blocked(format!("a value of {}, column {column}, can't be read", self.table.name)).because(error)
        })
    }
}

/// What the warehouse's refusal means.
fn sql_error(error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::transient("the connection to the warehouse failed").because(error);
    };
    let code = db.code().code();
    // The message of a refused value can hold the value: the code and the place say enough.
    let text =
        if code.starts_with("22") || code.starts_with("23") { String::new() } else { format!(": {}", db.message()) };
    // What depends on a column or a view is named in the detail alone.
    let others = matches!(code, "2BP01" | "0A000");
    let text = match db.detail().filter(|_| others) {
        Some(detail) => format!("{text}: {}", detail.replace('\n', ", ")),
        None => text,
    };
    let place = db.column().map(|column| format!(", column {column}")).unwrap_or_default();
    let (class, remedy) = match code.get(..2) {
        _ if code == "55000" => {
            (Class::Blocked, "something stands where Tailwater's table was: remove it, or give the table another name")
        }
        Some("08" | "40" | "57" | "55") => (Class::Transient, ""),
        _ if code == "53300" => (Class::Transient, ""),
        // A predecessor's last statement made the same schema or table at this moment.
        _ if code == "23505" && db.schema() == Some("pg_catalog") => (Class::Transient, ""),
        _ if matches!(code, "42P06" | "42P07" | "42710") => (Class::Transient, ""),
        Some("53") => (Class::Transient, "make room on the warehouse's server"),
        _ if code == "54011" => (
            Class::Blocked,
            "a PostgreSQL table has 1600 columns at most, and merging needs four more and the key twice: leave columns out with columns.exclude, exclude the table, or use another warehouse",
        ),
        _ if code == "22021" => {
            (Class::Blocked, "a text is not UTF-8: mend it at the source, or leave its column out with columns.exclude")
        }
        Some("22") => (Class::Blocked, "a value does not fit its column: widen the column in the warehouse"),
        Some("23") => (Class::Blocked, "a constraint that Tailwater did not make is in the way: remove it"),
        Some("42") if code == "42501" => (Class::Blocked, "grant the missing right to the sink's user"),
        Some("28" | "3D") => (Class::Blocked, "check user, password and database of the sink's url"),
        _ if others && db.detail().is_some() => (
            Class::Blocked,
            "drop what is in the way, and make it again once the table goes on; it is tried again by itself",
        ),
        _ => (Class::Blocked, "see the warehouse's own log"),
    };
    let error = Error::new(class, format!("the warehouse says (SQLSTATE {code}{place}){text}"));
    let error = if remedy.is_empty() { error } else { error.remedy(remedy) };
    // Of what is refused, these alone can be of one table: features, values, constraints, names and rights, limits.
    let single = matches!(code.get(..2), Some("0A" | "21" | "22" | "23" | "2B" | "42" | "44" | "54" | "55" | "P0"));
    if single { error } else { error.systemic() }
}
