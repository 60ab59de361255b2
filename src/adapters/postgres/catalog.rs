//! What the database says of itself and its tables.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::history;
use super::options::{Options, Partitioned, Portion};
use super::refusal::sql_error;
use super::types::{self, Types};
use crate::codecs::pgoutput::Relation;
use crate::logic::assemble::Description;
use crate::model::{Error, Lsn, Oid, ReplicaIdentity, Result, TableName};

/// A table that the patterns name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) oid: Oid,
    pub(super) name: TableName,
    pub(super) identity: ReplicaIdentity,
    /// Whether updates and deletes can be published.
    pub(super) updatable: bool,
    /// Whether its rows live in partitions.
    pub(super) partitioned: bool,
    /// Whether our role may read its rows.
    pub(super) readable: bool,
}

/// Facts of the server and of our role.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// `server_version_num`
    pub(super) version: u32,
    pub(super) encoding: String,
    pub(super) wal_level: String,
    pub(super) database: String,
    /// `version()`
    pub(super) banner: String,
    pub(super) may_replicate: bool,
    /// Whether our role has rights that a pipeline never needs.
    pub(super) too_mighty: bool,
    pub(super) standby: bool,
}

const TABLES: &str = "
    SELECT c.oid, n.nspname, c.relname, c.relreplident::text, pg_catalog.has_table_privilege(c.oid, 'SELECT'),
        EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate),
        c.relkind = 'p'
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence = 'p' AND CASE WHEN $1 THEN c.relkind = 'r' ELSE c.relkind IN ('r', 'p') AND NOT c.relispartition END
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
    ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// The tables that the patterns name, by schema and name.
pub(super) async fn matching(client: &Client, options: &Options) -> Result<Vec<Found>> {
    let by_leaf = options.partitions == Partitioned::Leaf;
    let rows = client.query(TABLES, &[&by_leaf]).await.map_err(|error| sql_error(error, "listing the tables"))?;
    let found = rows.iter().map(|row| {
        let identity = match row.get::<_, &str>(3) {
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index,
            "n" => ReplicaIdentity::Nothing,
            _ => ReplicaIdentity::Default,
        };
        let primary_key: bool = row.get(5);
        Found {
            oid: Oid(row.get(0)),
            name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            identity,
            updatable: match identity {
                ReplicaIdentity::Full | ReplicaIdentity::Index => true,
                ReplicaIdentity::Default => primary_key,
                ReplicaIdentity::Nothing => false,
            },
            partitioned: row.get(6),
            readable: row.get(4),
        }
    });
    Ok(found.filter(|table| options.wants(&table.name) && !history::keeps(&table.name)).collect())
}

impl Found {
    /// That it can't be read, and what helps.
    pub(super) fn unreadable(&self) -> Error {
        Error::blocked(format!("table {} may not be read", self.name))
            .remedy(format!("run: GRANT SELECT ON {} TO the user of the database URL", quoted_table(&self.name)))
    }
}

impl Options {
    /// What of a table is published, where that is not all of it.
    pub(super) fn portion(&self, table: &TableName) -> Option<&Portion> {
        let name = table.to_string();
        let portion = self.portions.iter().find(|portion| portion.tables.matches(&name));
        portion.filter(|portion| portion.filter.is_some() || !portion.without.is_empty())
    }

    /// Whether a table is to be followed.
    pub(super) fn wants(&self, table: &TableName) -> bool {
        let name = table.to_string();
        self.tables.iter().any(|p| p.matches(&name)) && !self.exclude.iter().any(|p| p.matches(&name))
    }
}

/// Facts of the server and of our role.
pub(super) async fn facts(client: &Client) -> Result<Facts> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
                current_setting('wal_level'), current_database()::text, pg_catalog.pg_is_in_recovery(),
                (SELECT rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles g
                     WHERE g.rolname = 'rds_replication' AND pg_catalog.pg_has_role(g.oid, 'MEMBER'))
                 FROM pg_catalog.pg_roles WHERE rolname = current_user),
                pg_catalog.version(),
                (SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user)",
            &[],
        )
        .await
        .map_err(|error| sql_error(error, "asking the server about itself"))?;
    Ok(Facts {
        version: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
        encoding: row.get(1),
        wal_level: row.get(2),
        database: row.get(3),
        standby: row.get(4),
        may_replicate: row.get::<_, Option<bool>>(5).unwrap_or(false),
        banner: row.get(6),
        too_mighty: row.get::<_, Option<bool>>(7).unwrap_or(false),
    })
}

/// Unique indexes of plain columns over all rows, by name: the columns in the index's order, whether it is the replica
/// identity, whether it tells rows apart at every moment.
const UNIQUE: &str = "
    SELECT array_agg(a.attname::text ORDER BY k.n), i.indisreplident,
        i.indisunique AND i.indisvalid AND i.indimmediate AND NOT i.indisprimary AND i.indpred IS NULL
            AND pg_catalog.bool_and(a.attnotnull) AND count(*) = i.indnkeyatts
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid,
        unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum
    WHERE i.indrelid = $1 AND i.indisunique AND k.n <= i.indnkeyatts
    GROUP BY i.indexrelid, c.relname ORDER BY c.relname COLLATE \"C\"";

/// Explains a relation of the stream whose next row lies at `at`, by what was in force there where a history is kept.
pub(super) async fn describe_at(client: &Client, relation: &Relation, at: Option<Lsn>) -> Result<Description> {
    let types: Vec<Oid> = relation.columns.iter().map(|column| column.type_oid).collect();
    let Some(at) = at else { return describe(client, relation.oid, &types).await };
    let known = history::facts(client, relation.oid, at).await?;
    let covers = |facts: &history::Facts| relation.columns.iter().all(|column| facts.columns.contains(&column.name));
    let Some(facts) = known.filter(covers) else {
        tracing::warn!(table = relation.name, %at, "the schema history misses the table: its NOT NULL, defaults and keys are those of now");
        return describe(client, relation.oid, &types).await;
    };
    let Types { types, modifiers } = types::resolve(client, &types, &facts.types).await?;
    let history::Facts { required, defaults, primary_key, identity_index, unique_index, numbers, fills, .. } = facts;
    let keys = Description { primary_key, identity_index, unique_index, ..Description::default() };
    Ok(Description { types, modifiers, required, defaults, numbers, fills, ..keys })
}

/// Explains the columns of one table: types, NOT NULL, defaults, keys.
pub(super) async fn describe(client: &Client, table: Oid, types: &[Oid]) -> Result<Description> {
    let failed = |error| sql_error(error, "describing a table");
    let columns = client
        .query(
            // No default names a column, so no table need be named, which would wait for its locks.
            "SELECT a.attname::text, a.attnotnull,
                CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0::oid) END, a.attnum,
                CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END, a.atttypid,
                a.attgenerated <> '' OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r
                    WHERE r.prrelid = a.attrelid AND pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL)
             FROM pg_catalog.pg_attribute a
             LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped",
            &[&table.0],
        )
        .await
        .map_err(failed)?;
    let key = client
        .query(
            "SELECT a.attname::text FROM pg_catalog.pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum
             WHERE i.indrelid = $1 AND i.indisprimary AND k.n <= i.indnkeyatts ORDER BY k.n",
            &[&table.0],
        )
        .await
        .map_err(failed)?;
    let indexes = client.query(UNIQUE, &[&table.0]).await.map_err(failed)?;
    let Types { types, modifiers } = types::resolve(client, types, &HashMap::new()).await?;
    Ok(Description {
        types,
        modifiers,
        required: columns.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect(),
        defaults: columns.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<String>>(2)?))).collect(),
        numbers: columns.iter().filter_map(|row| Some((row.get(0), number(row.get(3))?))).collect(),
        type_oids: columns.iter().map(|row| (row.get(0), Oid(row.get(5)))).collect(),
        whole: !columns.iter().any(|row| row.get(6)),
        fills: columns.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<String>>(4)?))).collect(),
        primary_key: key.iter().map(|row| row.get(0)).collect(),
        identity_index: indexes.iter().find(|row| row.get(1)).map(|row| row.get(0)).unwrap_or_default(),
        unique_index: indexes.iter().find(|row| row.get(2)).map(|row| row.get(0)).unwrap_or_default(),
    })
}

fn number(attnum: i16) -> Option<u16> {
    u16::try_from(attnum).ok()
}

/// `"name"`, with quotes doubled.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, with quotes doubled; the pinned session has standard strings.
pub(super) fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text)
}

/// `"schema"."name"`
pub(super) fn quoted_table(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.schema), quoted(&name.name))
}
