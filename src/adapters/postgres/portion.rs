//! What of a table is published: row filters, and column lists that keep columns in the database.
//!
//! Why production is not harmed: PostgreSQL refuses UPDATE and DELETE on the source where a filter uses a column outside
//! the replica identity, or a list lacks one of it. So what is published anew is looked at in the very transaction that
//! publishes it, which locks the table against another identity, and rolled back unless it is harmless. A list
//! also keeps its columns from being dropped and retyped, so there is none where it is not asked for.
//! <https://www.postgresql.org/docs/current/logical-replication-row-filter.html>

use tokio_postgres::Client;

use super::catalog::{Found, quoted, quoted_table};
use super::options::{Options, Portion};
use super::refusal::sql_error;
use crate::model::{Class, Error, ReplicaIdentity, Result};

/// How the publication has a table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    filter: Option<String>,
    columns: Option<Vec<String>>,
}

/// A transaction's end.
enum End {
    Commit,
    RollBack,
}

/// Publishes a table that is not in the publication.
pub(super) async fn add(
    client: &Client,
    publication: &str,
    version: u32,
    found: &Found,
    portion: &Portion,
) -> Result<()> {
    supported(version, found)?;
    transaction(client, async {
        publish(client, publication, found, portion).await?;
        Ok((End::Commit, ()))
    })
    .await
}

/// Has the publication send of a table what is wanted; `true` when that was something else before. As the entry is
/// another one then, the table is read again.
pub(super) async fn align(client: &Client, options: &Options, found: &Found, portion: &Portion) -> Result<bool> {
    let name = &options.publication;
    let before = entry(client, name, found).await?.ok_or_else(|| whole(name, found))?;
    if !options.create {
        return adopted(client, options, found, portion, &before).await.map(|()| false);
    }
    transaction(client, async {
        run(
            client,
            &format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", quoted(name), quoted_table(&found.name)),
            found,
        )
        .await?;
        publish(client, name, found, portion).await?;
        let after = entry(client, name, found).await?;
        Ok(if after.as_ref() == Some(&before) { (End::RollBack, false) } else { (End::Commit, true) })
    })
    .await
}

/// Whether what is published of a table harms nobody any more, since its replica identity or its key are others.
pub(super) async fn harmless(client: &Client, publication: &str, found: &Found) -> Result<()> {
    match entry(client, publication, found).await? {
        // Of a list and a filter together nobody can say which of the two depends on a column.
        Some(Entry { columns: Some(list), .. }) => harmless_list(client, found, &list).await,
        Some(Entry { filter: Some(_), .. }) => harmless_filter(client, publication, found).await,
        _ => Ok(()),
    }
}

/// Whether a table's columns are others than those that are listed.
pub(super) async fn outdated(client: &Client, publication: &str, found: &Found, portion: &Portion) -> Result<bool> {
    let Some(entry) = entry(client, publication, found).await? else { return Ok(false) };
    Ok(entry.columns != list(client, found, portion).await?)
}

/// What would keep the table from being published so, without changing anything.
pub(super) async fn probe(
    client: &Client,
    options: &Options,
    version: u32,
    found: &Found,
    portion: &Portion,
) -> Result<()> {
    supported(version, found)?;
    let name = &options.publication;
    let exists = client.query("SELECT FROM pg_catalog.pg_publication WHERE pubname = $1", &[name]).await;
    let exists = !exists.map_err(|error| sql_error(error, "reading the publication"))?.is_empty();
    let before = entry(client, name, found).await?;
    if let (Some(before), false) = (&before, options.create) {
        return adopted(client, options, found, portion, before).await;
    }
    if !options.create {
        return Ok(());
    }
    transaction(client, async {
        if !exists {
            run(
                client,
                &format!("CREATE PUBLICATION {} WITH (publish_via_partition_root = true)", quoted(name)),
                found,
            )
            .await?;
        }
        if before.is_some() {
            run(
                client,
                &format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", quoted(name), quoted_table(&found.name)),
                found,
            )
            .await?;
        }
        publish(client, name, found, portion).await?;
        Ok((End::RollBack, ()))
    })
    .await
}

/// Row filters and column lists came with PostgreSQL 15.
pub(super) fn supported(version: u32, found: &Found) -> Result<()> {
    if version >= 150_000 {
        return Ok(());
    }
    Err(Error::blocked(format!(
        "the rows or columns of {} can't be chosen by the publication before PostgreSQL 15",
        found.name
    ))
    .remedy("remove `where` and columns.pushdown of its [[table]]; columns.exclude alone works with every version"))
}

/// `ALTER PUBLICATION ... ADD TABLE ...`, for a person to run.
pub(super) async fn statement(client: &Client, publication: &str, found: &Found, portion: &Portion) -> Result<String> {
    Ok(addition(publication, found, portion, list(client, found, portion).await?.as_deref()))
}

fn addition(publication: &str, found: &Found, portion: &Portion, list: Option<&[String]>) -> String {
    let list = list.map(|list| {
        let names: Vec<String> = list.iter().map(|name| quoted(name)).collect();
        format!(" ({})", names.join(", "))
    });
    // A comment at its end must not hide the parenthesis.
    let filter = portion.filter.as_ref().map(|filter| format!(" WHERE ({filter}\n)")).unwrap_or_default();
    let table = quoted_table(&found.name);
    format!("ALTER PUBLICATION {} ADD TABLE ONLY {table}{}{filter}", quoted(publication), list.unwrap_or_default())
}

/// Publishes the table inside a transaction and looks whether that harms anybody.
pub(super) async fn publish(client: &Client, publication: &str, found: &Found, portion: &Portion) -> Result<()> {
    let list = list(client, found, portion).await?;
    let add = |list: Option<&[String]>| addition(publication, found, portion, list);
    run(client, &add(None), found).await?;
    harmless_filter(client, publication, found).await?;
    if let Some(list) = list {
        harmless_list(client, found, &list).await?;
        let table = quoted_table(&found.name);
        run(client, &format!("ALTER PUBLICATION {} DROP TABLE ONLY {table}", quoted(publication)), found).await?;
        run(client, &add(Some(&list)), found).await?;
    }
    Ok(())
}

/// The columns to be listed; `None` when all are published.
async fn list(client: &Client, found: &Found, portion: &Portion) -> Result<Option<Vec<String>>> {
    let columns = client
        .query(
            "SELECT attname::text, attname = ANY ($2::text[]::name[]) FROM pg_catalog.pg_attribute
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            &[&found.oid.0, &portion.without],
        )
        .await
        .map_err(|error| sql_error(error, &format!("describing table {}", found.name)))?;
    if !columns.iter().any(|row| row.get(1)) {
        return Ok(None);
    }
    Ok(Some(columns.iter().filter(|row| !row.get::<_, bool>(1)).map(|row| row.get(0)).collect()))
}

async fn entry(client: &Client, publication: &str, found: &Found) -> Result<Option<Entry>> {
    let row = client
        .query_opt(
            "SELECT pg_catalog.pg_get_expr(r.prqual, r.prrelid),
                (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[]))
             FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
             WHERE p.pubname = $1 AND r.prrelid = $2",
            &[&publication, &found.oid.0],
        )
        .await
        .map_err(|error| sql_error(error, "reading the publication"))?;
    Ok(row.map(|row| Entry { filter: row.get(0), columns: row.get(1) }))
}

/// Refuses a filter on columns that old rows do not carry: updates and deletes of the table would fail.
async fn harmless_filter(client: &Client, publication: &str, found: &Found) -> Result<()> {
    let rows = client
        .query(
            "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_publication p
                JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
                JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_publication_rel'::regclass AND d.objid = r.oid
                    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = r.prrelid AND d.refobjsubid > 0
                JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = d.refobjsubid
             WHERE p.pubname = $1 AND r.prrelid = $2 ORDER BY 1",
            &[&publication, &found.oid.0],
        )
        .await
        .map_err(|error| sql_error(error, "reading the publication"))?;
    let used: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // Partitions that come later have the identity DEFAULT, whatever the root's is.
    if found.identity == ReplicaIdentity::Full && !found.partitioned {
        return Ok(());
    }
    let carried = carried(client, found).await?;
    let bare: Vec<&str> = used.iter().filter(|name| !carried.contains(name)).map(String::as_str).collect();
    if bare.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the filter of {} uses {}, which is no part of its replica identity: PostgreSQL would refuse the table's UPDATEs and DELETEs",
        found.name,
        bare.join(", ")
    );
    Err(Error::blocked(what).remedy(match found.partitioned {
        true => "filter a partitioned table by columns of its primary key only, or remove `where`".to_owned(),
        false => format!(
            "run: ALTER TABLE {} REPLICA IDENTITY FULL; or filter by columns of the key only",
            quoted_table(&found.name)
        ),
    }))
}

/// Refuses a list that lacks columns which old rows carry: updates and deletes of the table would fail.
async fn harmless_list(client: &Client, found: &Found, list: &[String]) -> Result<()> {
    let remedy = "remove columns.pushdown of its [[table]]: its columns are left out all the same, only later";
    let refused = |why: &str| {
        let what = format!("columns of {} can't be kept in the database: {why}", found.name);
        Err(Error::blocked(what).remedy(remedy))
    };
    if found.partitioned {
        return refused("a partition with another replica identity would refuse UPDATEs and DELETEs");
    }
    if found.identity == ReplicaIdentity::Full {
        return refused("under REPLICA IDENTITY FULL PostgreSQL would refuse the table's UPDATEs and DELETEs");
    }
    match carried(client, found).await?.iter().find(|name| !list.contains(name)) {
        None => Ok(()),
        Some(name) => refused(&format!(
            "{name} is part of the replica identity, and PostgreSQL would refuse the table's UPDATEs and DELETEs"
        )),
    }
}

/// The columns that old rows carry under the identities that name an index.
async fn carried(client: &Client, found: &Found) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT a.attname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
                JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
             WHERE c.oid = $1 AND i.indisvalid AND i.indimmediate AND CASE
                WHEN c.relkind = 'p' OR c.relreplident = 'd' THEN i.indisprimary
                WHEN c.relreplident = 'i' THEN i.indisreplident ELSE false END",
            &[&found.oid.0],
        )
        .await
        .map_err(|error| sql_error(error, &format!("describing table {}", found.name)))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Looks at an entry of a publication that is not ours to change.
async fn adopted(client: &Client, options: &Options, found: &Found, portion: &Portion, entry: &Entry) -> Result<()> {
    let lists = portion.without.is_empty() || entry.columns == list(client, found, portion).await?;
    if lists && (portion.filter.is_none() || entry.filter.is_some()) {
        return Ok(());
    }
    let name = &options.publication;
    let table = quoted_table(&found.name);
    let add = statement(client, name, found, portion).await?;
    Err(Error::blocked(format!("publication {name} does not send of {} what its [[table]] asks for", found.name))
        .remedy(format!("run: BEGIN; ALTER PUBLICATION {} DROP TABLE ONLY {table}; {add}; COMMIT;", quoted(name))))
}

fn whole(publication: &str, found: &Found) -> Error {
    Error::blocked(format!(
        "publication {publication} has {} with all tables or all of its schema, where a filter has no effect",
        found.name
    ))
    .remedy("use a publication of single tables, or remove `where` and columns.pushdown")
}

async fn run(client: &Client, statement: &str, found: &Found) -> Result<()> {
    // Not as a script: a filter is one expression and no more.
    client.execute(statement, &[]).await.map(drop).map_err(|error| {
        let refused = sql_error(error, &format!("publishing {}", found.name));
        match refused.advice() {
            None if refused.class() == Class::Blocked => refused.remedy(
                "a filter may use the table's columns, constants, built-in operators and types, and built-in functions that are immutable",
            ),
            _ => refused,
        }
    })
}

async fn transaction<T>(client: &Client, body: impl Future<Output = Result<(End, T)>>) -> Result<T> {
    let failed = |error| sql_error(error, "changing the publication");
    // Nobody waits behind us for long when something holds the table.
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = '5s'").await.map_err(failed)?;
    let done = body.await;
    let end = if matches!(done, Ok((End::Commit, _))) { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await.map_err(failed);
    let (_, value) = done?;
    ended.map(|()| value)
}
