//! The publication: which tables the server sends.

use tokio_postgres::{Client, Row};

use super::catalog::{Facts, Found, quoted, quoted_table};
use super::options::{Options, Partitioned, Portion};
use super::partitions::by_leaf;
use super::portion;
use super::refusal::sql_error;
use super::slot::RESNAPSHOT;
use crate::model::{Class, Error, Followed, Membership, Oid, Result, TableName};

/// Makes sure that the publication exists and holds the wanted tables.
///
/// A publication that lacks some gets them when we may create (`ALTER PUBLICATION ... ADD TABLE` needs its owner);
/// otherwise the missing ones are named. Returns what it holds then.
pub(super) async fn ensure(client: &Client, options: &Options, facts: &Facts, tables: &[Found]) -> Result<Followed> {
    let name = &options.publication;
    let before = match published(client, name).await? {
        Some(before) => before,
        None => {
            create(client, options, facts, tables).await?;
            published(client, name).await?.ok_or_else(|| dropped(name))?
        }
    };
    if options.partitions == Partitioned::Leaf {
        by_leaf(client, name, tables).await?;
    }
    if let Some((_, error)) = join(client, options, facts, &before, tables).await?.refused.pop() {
        return Err(error);
    }
    for (found, portion) in portions(options, tables).filter(|(found, _)| before.contains_key(&found.name)) {
        portion::supported(facts.version, found)?;
        if !facts.standby && portion::align(client, options, found, portion).await? {
            tracing::info!(table = %found.name, "other rows or columns of the table are published now");
        }
    }
    published(client, name).await?.ok_or_else(|| dropped(name))
}

/// The tables of which not all is published.
pub(super) fn portions<'a>(
    options: &'a Options,
    tables: &'a [Found],
) -> impl Iterator<Item = (&'a Found, &'a Portion)> {
    tables.iter().filter_map(|found| Some((found, options.portion(&found.name)?)))
}

/// What is said of a publication that is gone.
pub(super) fn dropped(name: &str) -> Error {
    Error::blocked(format!("publication {name} was dropped; what has been written since then is not sent"))
        .remedy(format!("restore the publication, drop the slot, and {RESNAPSHOT}"))
}

/// What has become of the tables that a publication lacked.
#[derive(Default)]
pub(super) struct Joined {
    pub(super) added: usize,
    /// Those of which less is wanted than may be published.
    pub(super) refused: Vec<(TableName, Error)>,
}

/// Adds the wanted tables that a publication lacks.
pub(super) async fn join(
    client: &Client,
    options: &Options,
    facts: &Facts,
    published: &Followed,
    tables: &[Found],
) -> Result<Joined> {
    let name = &options.publication;
    if let Some(partitioned) = tables.iter().find(|t| t.partitioned && !published.contains_key(&t.name)) {
        through_root(client, name, partitioned).await?;
    }
    let missing = tables.iter().filter(|table| !published.contains_key(&table.name));
    let (parts, missing): (Vec<&Found>, Vec<&Found>) =
        missing.partition(|found| options.portion(&found.name).is_some());
    let mut joined = Joined::default();
    if !missing.is_empty() {
        let statement = format!("ALTER PUBLICATION {} ADD TABLE {}", quoted(name), only(&missing));
        let lacks = format!("publication {name} lacks {}", names(&missing));
        if !ours(options, facts) {
            return Err(asked(facts, &lacks, &statement));
        }
        client.batch_execute(&statement).await.map_err(|error| {
            sql_error(error, "adding tables to the publication")
                .within(lacks)
                .remedy(format!("let its owner run: {statement};"))
        })?;
        joined.added = missing.len();
    }
    for (found, portion) in parts.into_iter().filter_map(|found| Some((found, options.portion(&found.name)?))) {
        if !ours(options, facts) {
            let statement = portion::statement(client, name, found, portion).await?;
            return Err(asked(facts, &format!("publication {name} lacks {}", found.name), &statement));
        }
        match portion::add(client, name, facts.version, found, portion).await {
            Ok(()) => joined.added += 1,
            Err(error) if error.class() == Class::Transient => return Err(error),
            Err(error) => joined.refused.push((found.name.clone(), error)),
        }
    }
    Ok(joined)
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

/// Makes the publication, with the tables of which all is published: the others join it one by one.
async fn create(client: &Client, options: &Options, facts: &Facts, tables: &[Found]) -> Result<()> {
    let wholly: Vec<&Found> = tables.iter().filter(|found| options.portion(&found.name).is_none()).collect();
    let list = if wholly.is_empty() { String::new() } else { format!(" FOR TABLE {}", only(&wholly)) };
    let statement =
        format!("CREATE PUBLICATION {}{list} WITH (publish_via_partition_root = true)", quoted(&options.publication));
    if tables.is_empty() {
        return Err(Error::blocked("no table matches source.postgres.tables")
            .remedy("check the patterns: they are matched with schema.table"));
    }
    if !ours(options, facts) {
        return Err(asked(facts, &format!("publication {} does not exist", options.publication), &statement));
    }
    for table in tables.iter().filter(|table| !table.updatable) {
        tracing::warn!(table = %table.name, "has no replica identity: as soon as it is published PostgreSQL refuses its \
            UPDATEs and DELETEs; give it a primary key or REPLICA IDENTITY FULL, or exclude it, unless it only gets INSERTs");
    }
    client.batch_execute(&statement).await.map_err(|error| {
        sql_error(error, "creating the publication").remedy(format!("let the tables' owner run: {statement};"))
    })
}

/// Whether the publication is ours to make and to change.
fn ours(options: &Options, facts: &Facts) -> bool {
    options.create && !facts.standby
}

/// Asks for a statement that we may not run.
fn asked(facts: &Facts, what: &str, statement: &str) -> Error {
    match facts.standby {
        true => Error::blocked(format!("{what}, and the server is a standby"))
            .remedy(format!("run on its primary: {statement};")),
        false => Error::blocked(what).remedy(format!("run: {statement};")),
    }
}

/// The tables as a statement names them. Those that inherit from them are tables of their own, wanted or not.
fn only(tables: &[&Found]) -> String {
    tables.iter().map(|table| format!("ONLY {}", quoted_table(&table.name))).collect::<Vec<_>>().join(", ")
}

fn names(tables: &[&Found]) -> String {
    tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>().join(", ")
}
