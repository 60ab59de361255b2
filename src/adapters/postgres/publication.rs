//! The publication: which tables the server sends.

use tokio_postgres::{Client, Row};

use super::catalog::{Found, quoted, quoted_table};
use super::options::Options;
use super::refusal::sql_error;
use crate::model::{Error, Followed, Membership, Oid, Result, TableName};

/// Makes sure that the publication exists and holds the wanted tables.
///
/// A publication that lacks some gets them when we may create (`ALTER PUBLICATION ... ADD TABLE` needs its owner);
/// otherwise the missing ones are named. Returns what it holds then.
pub(super) async fn ensure(client: &Client, options: &Options, tables: &[Found]) -> Result<Followed> {
    let name = &options.publication;
    match published(client, name).await? {
        None => create(client, options, tables).await?,
        Some(before) if join(client, options, &before, tables).await?.is_empty() => return Ok(before),
        Some(_) => {}
    }
    published(client, name).await?.ok_or_else(|| dropped(name))
}

/// What is said of a publication that is gone.
pub(super) fn dropped(name: &str) -> Error {
    Error::blocked(format!("publication {name} was dropped; what has been written since then is not sent"))
        .remedy("restore the publication, drop the slot and clear the sink's progress so that a new snapshot is taken")
}

/// Adds the wanted tables that a publication lacks.
pub(super) async fn join(
    client: &Client,
    options: &Options,
    published: &Followed,
    tables: &[Found],
) -> Result<Vec<TableName>> {
    let name = &options.publication;
    if let Some(partitioned) = tables.iter().find(|t| t.partitioned && !published.contains_key(&t.name)) {
        through_root(client, name, partitioned).await?;
    }
    let missing: Vec<&Found> = tables.iter().filter(|table| !published.contains_key(&table.name)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let list = missing.iter().map(|table| quoted_table(&table.name)).collect::<Vec<_>>().join(", ");
    let statement = format!("ALTER PUBLICATION {} ADD TABLE {list}", quoted(name));
    let lacks = format!("publication {name} lacks {}", names(&missing));
    if !options.create {
        return Err(Error::blocked(lacks).remedy(format!("run: {statement};")));
    }
    client.batch_execute(&statement).await.map_err(|error| {
        sql_error(error, "adding tables to the publication")
            .within(lacks)
            .remedy(format!("let its owner run: {statement};"))
    })?;
    Ok(missing.iter().map(|table| table.name.clone()).collect())
}

/// Refuses a publication that sends the rows of a partitioned table under its partitions' names.
async fn through_root(client: &Client, name: &str, table: &Found) -> Result<()> {
    let row = client
        .query_one("SELECT pubviaroot FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name])
        .await
        .map_err(|error| sql_error(error, "reading the publication"))?;
    if row.get(0) {
        return Ok(());
    }
    Err(Error::blocked(format!("publication {name} sends the rows of {} under its partitions' names", table.name))
        .remedy(format!("run: ALTER PUBLICATION {} SET (publish_via_partition_root = true);", quoted(name))))
}

/// The tables of a publication; `None` when there is no such publication.
pub(super) async fn published(client: &Client, name: &str) -> Result<Option<Followed>> {
    let failed = |error| sql_error(error, "reading the publication");
    let row = client
        .query_opt(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, oid FROM pg_catalog.pg_publication WHERE pubname = $1",
            &[&name],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let lacking: Vec<&str> = (0..)
        .zip(["insert", "update", "delete", "truncate"])
        .filter(|(i, _)| !row.get::<usize, bool>(*i))
        .map(|(_, op)| op)
        .collect();
    if !lacking.is_empty() {
        return Err(Error::blocked(format!("publication {name} does not publish {}", lacking.join(", "))).remedy(
            format!("run: ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');", quoted(name)),
        ));
    }
    let publication: u32 = row.get(4);
    let rows = client
        .query(
            "SELECT t.schemaname::text, t.tablename::text, coalesce(r.oid, 0::oid), c.oid
             FROM pg_catalog.pg_publication_tables t
             JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
             JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
             LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = $2 AND r.prrelid = c.oid
             WHERE t.pubname = $1",
            &[&name, &publication],
        )
        .await
        .map_err(failed)?;
    let member = |row: &Row| {
        let oids = Membership { table: Oid(row.get(3)), publication: Oid(publication), entry: Oid(row.get(2)) };
        (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), oids)
    };
    Ok(Some(rows.iter().map(member).collect()))
}

/// Refuses to go on without tables that are followed and have left the publication, where they may not be put back.
pub(super) fn complete(name: &str, followed: &Followed, now: &Followed, tables: &[Found]) -> Result<()> {
    let gone = |found: &&Found| !now.contains_key(&found.name) && followed.contains_key(&found.name);
    let left: Vec<&Found> = tables.iter().filter(gone).collect();
    if left.is_empty() {
        return Ok(());
    }
    let names = names(&left);
    Err(Error::blocked(format!(
        "publication {name} was changed: {names} left it; what is written to it since then is not sent"
    ))
    .remedy("add it again (it is read again then), or exclude the table"))
}

async fn create(client: &Client, options: &Options, tables: &[Found]) -> Result<()> {
    let list = tables.iter().map(|table| quoted_table(&table.name)).collect::<Vec<_>>().join(", ");
    let statement = format!(
        "CREATE PUBLICATION {} FOR TABLE {list} WITH (publish_via_partition_root = true)",
        quoted(&options.publication)
    );
    if tables.is_empty() {
        return Err(Error::blocked("no table matches source.postgres.tables")
            .remedy("check the patterns: they are matched with schema.table"));
    }
    if !options.create {
        return Err(Error::blocked(format!("publication {} does not exist", options.publication))
            .remedy(format!("run: {statement};")));
    }
    for table in tables.iter().filter(|table| !table.updatable) {
        tracing::warn!(table = %table.name, "has no replica identity: as soon as it is published PostgreSQL refuses its \
            UPDATEs and DELETEs; give it a primary key or REPLICA IDENTITY FULL, or exclude it, unless it only gets INSERTs");
    }
    client.batch_execute(&statement).await.map_err(|error| {
        sql_error(error, "creating the publication").remedy(format!("let the tables' owner run: {statement};"))
    })
}

fn names(tables: &[&Found]) -> String {
    tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>().join(", ")
}
