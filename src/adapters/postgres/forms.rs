//! Which forms the values of a stream in binary have: what the catalog says of the columns' types.
//!
//! Only exact knowledge counts: a type that is not known by name, or holds one that is not, is refused, and so is a
//! type whose text depends on settings or on other objects of the database.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::catalog::Found;
use super::options::Options;
use super::refusal::sql_error;
use crate::codecs::pgoutput::Relation;
use crate::codecs::send::{Form, Forms, Plan, Server};
use crate::model::{Error, Oid, Result, TableName};

/// How far types inside of types are followed.
const DEPTH: usize = 32;

/// A row of `pg_type`.
struct Entry {
    /// As `format_type` prints it.
    shown: String,
    name: String,
    extension: Option<String>,
    builtin: bool,
    /// Whether it has a binary form.
    sent: bool,
    inside: Inside,
}

/// What a type is made of.
enum Inside {
    Nothing,
    Labels,
    Domain(Oid),
    Array(Oid, u8),
    Range(Oid),
    Multirange(Oid),
    Fields(Vec<Oid>),
}

/// What is known of types, by OID.
pub struct Known {
    entries: HashMap<Oid, Entry>,
    server: Server,
}

impl Known {
    /// Asks for these types and all that are inside of them.
    pub async fn of(client: &Client, wanted: &[Oid]) -> Result<Known> {
        let mut entries = HashMap::new();
        let mut missing: HashSet<Oid> = wanted.iter().copied().collect();
        for _ in 0..DEPTH {
            if missing.is_empty() {
                break;
            }
            let found = look_up(client, &missing).await?;
            let inside: HashSet<Oid> = found.values().flat_map(Entry::inside).collect();
            entries.extend(found);
            missing = inside.into_iter().filter(|oid| !entries.contains_key(oid)).collect();
        }
        Ok(Known { entries, server: server(client).await? })
    }

    /// The form of a type; an error names the type that has none.
    pub fn form(&self, oid: Oid) -> Result<Form, String> {
        self.explain(oid, 0)
    }

    fn explain(&self, oid: Oid, depth: usize) -> Result<Form, String> {
        let entry = self.entries.get(&oid).filter(|_| depth < DEPTH).ok_or(format!("the type with OID {oid}"))?;
        let below = |oid: Oid| self.explain(oid, depth + 1);
        match &entry.inside {
            // The server sends it as text; inside of an array or a composite type that fails.
            _ if !entry.sent && depth == 0 => return Ok(Form::text()),
            _ if !entry.sent => {}
            Inside::Labels => return Ok(Form::text()),
            Inside::Domain(base) => return self.explain(*base, depth),
            Inside::Array(element, delimiter) => return below(*element).map(|_| Form::array(*delimiter)),
            Inside::Range(subtype) => return below(*subtype).map(Form::range),
            Inside::Multirange(subtype) => return below(*subtype).map(Form::multirange),
            Inside::Fields(fields) => {
                return fields.iter().try_for_each(|field| below(*field).map(|_| ())).map(|()| Form::record());
            }
            Inside::Nothing => {}
        }
        let form = match &entry.extension {
            _ if !entry.sent => None,
            Some(extension) => Form::of_extension(extension, &entry.name),
            None if entry.builtin => Form::builtin(&entry.name, self.server),
            None => None,
        };
        form.ok_or_else(|| entry.shown.clone())
    }

    /// The forms of all types that have one, for what is inside of values.
    pub fn forms(&self) -> Forms {
        let sent = self.entries.iter().filter(|(_, entry)| entry.sent);
        sent.filter_map(|(oid, _)| Some((*oid, self.form(*oid).ok()?))).collect()
    }

    /// The plan for rows of these columns.
    fn plan(&self, relation: &Relation) -> Result<Plan> {
        let table = TableName::new(&relation.schema, &relation.name);
        let form = |column: &crate::codecs::pgoutput::RelationColumn| {
            self.form(column.type_oid).map_err(|unknown| self.refused(&table, &column.name, column.type_oid, &unknown))
        };
        Ok(Plan::new(relation.columns.iter().map(form).collect::<Result<_>>()?, self.forms()))
    }

    fn refused(&self, table: &TableName, column: &str, oid: Oid, unknown: &str) -> Error {
        let shown = self.entries.get(&oid).map_or("dropped", |entry| entry.shown.as_str());
        let inside = if shown == unknown { String::new() } else { format!(", because of {unknown}") };
        Error::blocked(format!(
            "column {column} of table {table} has the type {shown}, which can't be read in binary form{inside}"
        ))
        .remedy("leave the column out with columns.pushdown; or set binary = false in [source.postgres], where no row is larger than 1 GB as text")
    }
}

impl Entry {
    /// The types inside of it.
    fn inside(&self) -> Vec<Oid> {
        match &self.inside {
            Inside::Nothing | Inside::Labels => Vec::new(),
            Inside::Domain(oid) | Inside::Array(oid, _) | Inside::Range(oid) | Inside::Multirange(oid) => vec![*oid],
            Inside::Fields(oids) => oids.clone(),
        }
    }
}

/// The plan for a relation's rows; refuses one with a column that can't be read in binary.
pub(super) async fn plan(client: &Client, relation: &Relation) -> Result<Plan> {
    let types: Vec<Oid> = relation.columns.iter().map(|column| column.type_oid).collect();
    Known::of(client, &types).await?.plan(relation)
}

/// The columns of these tables that can't be read in binary; those that are not published do not count.
pub(super) async fn refused(client: &Client, options: &Options, version: u32, tables: &[Found]) -> Result<Vec<Error>> {
    let listed = if version >= 150_000 { "p.attnames" } else { "NULL::name[]" };
    let query = format!(
        "SELECT c.oid, a.attname::text, a.atttypid FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         LEFT JOIN pg_catalog.pg_publication_tables p ON p.pubname = $2 AND p.schemaname = n.nspname AND p.tablename = c.relname
         WHERE c.oid = ANY($1) AND ({listed} IS NULL OR a.attname = ANY ({listed})) ORDER BY 1, a.attnum"
    );
    let oids: Vec<u32> = tables.iter().map(|table| table.oid.0).collect();
    let columns = client.query(&query, &[&oids, &options.publication]).await;
    let columns = columns.map_err(|error| sql_error(error, "describing the tables"))?;
    let types: HashSet<Oid> = columns.iter().map(|row| Oid(row.get(2))).collect();
    let known = Known::of(client, &types.into_iter().collect::<Vec<_>>()).await?;
    let mut refused = Vec::new();
    for row in &columns {
        let (table, column, oid) = (Oid(row.get(0)), row.get::<_, &str>(1), Oid(row.get(2)));
        let Some(found) = tables.iter().find(|found| found.oid == table) else { continue };
        let without =
            options.portion(&found.name).is_some_and(|portion| portion.without.iter().any(|name| name == column));
        if let Some(unknown) = known.form(oid).err().filter(|_| !without) {
            refused.push(known.refused(&found.name, column, oid, &unknown));
        }
    }
    Ok(refused)
}

/// What a stream of this database prints as no other may: asked of a session with the same settings.
async fn server(client: &Client) -> Result<Server> {
    let query = "SELECT current_setting('server_version_num')::int,
        ARRAY[1234567.89, -1234567.89, 0.05, -0.05]::money[]::text[] = '{\"$1,234,567.89\",\"-$1,234,567.89\",$0.05,-$0.05}'::text[]";
    let row = client.query_one(query, &[]).await.map_err(|error| sql_error(error, "asking how money is printed"))?;
    Ok(Server { version: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0), dollars: row.get(1) })
}

async fn look_up(client: &Client, oids: &HashSet<Oid>) -> Result<HashMap<Oid, Entry>> {
    let query = "SELECT t.oid, pg_catalog.format_type(t.oid, NULL), t.typname::text, e.extname::text,
            t.typnamespace = 'pg_catalog'::regnamespace AND t.oid < 16384, t.typsend <> 0, t.typtype::text,
            CASE t.typtype WHEN 'd' THEN t.typbasetype WHEN 'b' THEN el.oid
                WHEN 'r' THEN (SELECT rngsubtype FROM pg_catalog.pg_range WHERE rngtypid = t.oid)
                WHEN 'm' THEN (SELECT rngsubtype FROM pg_catalog.pg_range WHERE rngmultitypid = t.oid) END,
            el.typdelim::text,
            ARRAY(SELECT atttypid FROM pg_catalog.pg_attribute
                WHERE attrelid = t.typrelid AND t.typtype = 'c' AND attnum > 0 AND NOT attisdropped)
         FROM pg_catalog.pg_type t
         LEFT JOIN pg_catalog.pg_type el ON el.oid = t.typelem AND t.typsend = 'pg_catalog.array_send'::regproc
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
            AND d.refclassid = 'pg_catalog.pg_extension'::regclass
         LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE t.oid = ANY($1)";
    let oids: Vec<u32> = oids.iter().map(|oid| oid.0).collect();
    let rows = client.query(query, &[&oids]).await.map_err(|error| sql_error(error, "looking types up"))?;
    let entry = |row: &tokio_postgres::Row| {
        let inner = row.get::<_, Option<u32>>(7).map(Oid);
        let delimiter = row.get::<_, Option<&str>>(8).and_then(|text| text.bytes().next());
        let inside = match (row.get(6), inner, delimiter) {
            ("e", ..) => Inside::Labels,
            ("d", Some(base), _) => Inside::Domain(base),
            ("b", Some(element), Some(delimiter)) => Inside::Array(element, delimiter),
            ("r", Some(subtype), _) => Inside::Range(subtype),
            ("m", Some(subtype), _) => Inside::Multirange(subtype),
            ("c", ..) => Inside::Fields(row.get::<_, Vec<u32>>(9).into_iter().map(Oid).collect()),
            _ => Inside::Nothing,
        };
        let entry = Entry {
            shown: row.get(1),
            name: row.get(2),
            extension: row.get(3),
            builtin: row.get(4),
            sent: row.get(5),
            inside,
        };
        (Oid(row.get(0)), entry)
    };
    Ok(rows.iter().map(entry).collect())
}
