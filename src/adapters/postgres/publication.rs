//! The publication: which tables the server sends.

use tokio_postgres::Client;

use super::catalog::{Found, quoted, quoted_table};
use super::options::Options;
use super::refusal::sql_error;
use crate::model::{Error, Result, TableName};

/// Makes sure that the publication exists and holds the wanted tables.
///
/// A publication that lacks some gets them when we may create (`ALTER PUBLICATION ... ADD TABLE` needs its owner);
/// otherwise the missing ones are named. Returns the tables that were added now.
pub(super) async fn ensure(client: &Client, options: &Options, tables: &[Found]) -> Result<Vec<TableName>> {
    let name = &options.publication;
    let Some(published) = published(client, name).await? else {
        create(client, options, tables).await?;
        return Ok(Vec::new());
    };
    let missing: Vec<&Found> = tables.iter().filter(|table| !published.contains(&table.name)).collect();
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

/// The tables of a publication; `None` when there is no such publication.
pub(super) async fn published(client: &Client, name: &str) -> Result<Option<Vec<TableName>>> {
    let failed = |error| sql_error(error, "reading the publication");
    let row = client
        .query_opt(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_catalog.pg_publication WHERE pubname = $1",
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
    let rows = client
        .query(
            "SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables WHERE pubname = $1",
            &[&name],
        )
        .await
        .map_err(failed)?;
    Ok(Some(rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect()))
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
