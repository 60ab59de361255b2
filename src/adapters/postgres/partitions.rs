//! Partitioned tables: told as one, or each partition as a table of its own.
//!
//! A partition that is *attached* brings rows that were written to another table, or to none that is followed. They are
//! not in the log under the root's name, so told as one they are missing there until the table is read again.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::catalog::{Found, quoted, quoted_table};
use super::refusal::sql_error;
use crate::model::{Error, Oid, Result, TableName};

/// The partitions of the tables that are told as one, as they were at the last look.
#[derive(Default)]
pub(super) struct Partitions(Option<HashSet<Oid>>);

impl Partitions {
    /// Warns of partitions that were attached since the last look with whatever they held.
    pub(super) async fn look(&mut self, client: &Client, publication: &str, tables: &[Found]) -> Result<()> {
        let roots: Vec<&Found> = tables.iter().filter(|found| found.partitioned).collect();
        let oids: Vec<u32> = roots.iter().map(|found| found.oid.0).collect();
        let rows = client
            .query(
                "SELECT tree.relid::oid, root.oid, n.nspname::text, c.relname::text
                 FROM unnest($1::oid[]) root(oid) CROSS JOIN LATERAL pg_catalog.pg_partition_tree(root.oid) tree
                 JOIN pg_catalog.pg_class c ON c.oid = tree.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE tree.isleaf AND tree.relid::oid <> root.oid",
                &[&oids],
            )
            .await
            .map_err(|error| sql_error(error, "listing partitions"))?;
        let before = self.0.replace(rows.iter().map(|row| Oid(row.get(0))).collect());
        let Some(before) = before else { return Ok(()) };
        for row in rows {
            if before.contains(&Oid(row.get(0))) {
                continue;
            }
            let name = TableName::new(row.get::<_, String>(2), row.get::<_, String>(3));
            let root = roots.iter().find(|found| found.oid.0 == row.get::<_, u32>(1));
            if let Some(root) = root
                && held_rows(client, Oid(row.get(0)), &name).await
            {
                let (publication, table) = (quoted(publication), quoted_table(&root.name));
                tracing::warn!(
                    table = %root.name, partition = %name,
                    "a partition came with rows: those that it held before are not told under the table's name; to have the \
                     whole table read again run: ALTER PUBLICATION {publication} DROP TABLE ONLY {table}; and, with \
                     create = false, ADD it again"
                );
            }
        }
        Ok(())
    }
}

/// Whether a partition holds rows that are older than its being one. They lie at its beginning.
async fn held_rows(client: &Client, oid: Oid, name: &TableName) -> bool {
    let query = format!(
        "SELECT EXISTS (SELECT FROM ONLY {} r, pg_catalog.pg_inherits i WHERE i.inhrelid = $1
            AND r.ctid < '(64,0)'::tid AND (pg_catalog.age(r.xmin) > pg_catalog.age(i.xmin)
                OR r.xmin = i.xmin AND r.cmin::text::bigint < i.cmin::text::bigint))",
        quoted_table(name)
    );
    // It may be gone again, or not be ours to read.
    client.query_one(&query, &[&oid.0]).await.is_ok_and(|row| row.get(0))
}

/// Refuses a publication that sends the rows of wanted partitions under the name of the table they are of.
pub(super) async fn by_leaf(client: &Client, publication: &str, tables: &[Found]) -> Result<()> {
    let oids: Vec<u32> = tables.iter().map(|found| found.oid.0).collect();
    let row = client
        .query_opt(
            "SELECT n.nspname::text, c.relname::text FROM unnest($2::oid[]) wanted(oid)
                CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(wanted.oid) a(relid)
                JOIN pg_catalog.pg_class c ON c.oid = a.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                JOIN pg_catalog.pg_publication_tables t ON t.pubname = $1 AND t.schemaname = n.nspname AND t.tablename = c.relname
             WHERE a.relid::oid <> wanted.oid LIMIT 1",
            &[&publication, &oids],
        )
        .await
        .map_err(|error| sql_error(error, "reading the publication"))?;
    let Some(row) = row else { return Ok(()) };
    let root = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Err(Error::blocked(format!("publication {publication} sends the rows of {root}'s partitions under its own name"))
        .remedy(format!(
            "run: ALTER PUBLICATION {0} SET (publish_via_partition_root = false); or: ALTER PUBLICATION {0} DROP TABLE ONLY {1};",
            quoted(publication),
            quoted_table(&root)
        )))
}
