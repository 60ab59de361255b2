//! Types that are not built in: what they are called, what is beneath a domain, what an array holds.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::history::Remembered;
use super::refusal::sql_error;
use crate::model::{Oid, PgType, Result};

/// How far domains over domains and arrays of them are followed; PostgreSQL itself has no limit.
const DEPTH: usize = 32;

/// What is known of types.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// A domain is the type beneath it.
    pub(super) types: HashMap<Oid, PgType>,
    /// The modifiers that come from domains.
    pub(super) modifiers: HashMap<Oid, i32>,
}

/// A row of `pg_type`.
struct Entry {
    name: String,
    labels: Option<Vec<String>>,
    /// Beneath a domain, with the modifier that it sets.
    base: Option<(Oid, i32)>,
    element: Option<Oid>,
}

impl From<&Remembered> for Entry {
    fn from(then: &Remembered) -> Entry {
        Entry {
            name: then.name.clone(),
            labels: then.labels.clone(),
            base: then.base.map(|base| (Oid(base), then.modifier)),
            element: then.element.map(Oid),
        }
    }
}

/// Explains these types: those that are gone by what is remembered of them.
pub(super) async fn resolve(client: &Client, wanted: &[Oid], gone: &HashMap<u32, Remembered>) -> Result<Types> {
    let mut known: HashMap<Oid, Entry> = HashMap::new();
    let mut missing: HashSet<Oid> = wanted.iter().copied().filter(|oid| PgType::builtin(oid.0).is_none()).collect();
    for _ in 0..DEPTH {
        if missing.is_empty() {
            break;
        }
        let mut found = entries(client, &missing).await?;
        let remembered = missing.iter().filter_map(|oid| Some((*oid, Entry::from(gone.get(&oid.0)?))));
        for (oid, entry) in remembered {
            found.entry(oid).or_insert(entry);
        }
        let beneath = |entry: &Entry| entry.base.map(|(oid, _)| oid).into_iter().chain(entry.element);
        let next: HashSet<Oid> = found.values().flat_map(beneath).collect();
        known.extend(found);
        missing = next.into_iter().filter(|oid| PgType::builtin(oid.0).is_none() && !known.contains_key(oid)).collect();
    }
    let mut types = Types::default();
    for &oid in wanted.iter().filter(|oid| known.contains_key(oid)) {
        if let Some((pg_type, modifier)) = explain(oid, &known, 0) {
            types.types.insert(oid, pg_type);
            modifier.and_then(|modifier| types.modifiers.insert(oid, modifier));
        }
    }
    Ok(types)
}

/// A type and the modifier that the domains above it set; the outermost counts.
fn explain(oid: Oid, known: &HashMap<Oid, Entry>, depth: usize) -> Option<(PgType, Option<i32>)> {
    if let Some(builtin) = PgType::builtin(oid.0) {
        return Some((builtin, None));
    }
    let entry = known.get(&oid).filter(|_| depth < DEPTH)?;
    if let Some((base, modifier)) = entry.base {
        let (pg_type, inner) = explain(base, known, depth + 1)?;
        return Some((pg_type, Some(modifier).filter(|modifier| *modifier != -1).or(inner)));
    }
    if let Some(element) = entry.element {
        let (element, modifier) = explain(element, known, depth + 1)?;
        return Some((PgType::Array(Box::new(element)), modifier));
    }
    let name = entry.name.clone();
    let pg_type = match entry.labels.clone() {
        Some(labels) => PgType::Enum { name, labels },
        None => PgType::Other { name },
    };
    Some((pg_type, None))
}

/// Types of extensions are known by the extension's name for them, wherever they were installed.
async fn entries(client: &Client, oids: &HashSet<Oid>) -> Result<HashMap<Oid, Entry>> {
    let oids: Vec<u32> = oids.iter().map(|oid| oid.0).collect();
    let rows = client
        .query(
            "SELECT t.oid, CASE WHEN e.extname IN ('hstore', 'ltree', 'citext', 'postgis', 'vector', 'isn') THEN t.typname::text
                    ELSE pg_catalog.format_type(t.oid, NULL) END,
                CASE WHEN t.typtype = 'e' THEN
                    ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) END,
                nullif(t.typbasetype, 0::oid), t.typtypmod,
                CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' AND t.oid NOT IN (22, 30) THEN t.typelem END
             FROM pg_catalog.pg_type t
             LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
                AND d.refclassid = 'pg_catalog.pg_extension'::regclass
             LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
             WHERE t.oid = ANY($1)",
            &[&oids],
        )
        .await
        .map_err(|error| sql_error(error, "looking types up"))?;
    let entry = |row: &tokio_postgres::Row| {
        let entry = Entry {
            name: row.get(1),
            labels: row.get(2),
            base: row.get::<_, Option<u32>>(3).map(|base| (Oid(base), row.get(4))),
            element: row.get::<_, Option<u32>>(5).map(Oid),
        };
        (Oid(row.get(0)), entry)
    };
    Ok(rows.iter().map(entry).collect())
}
