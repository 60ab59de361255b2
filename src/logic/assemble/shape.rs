//! A table's shape: what the stream says of it, explained by the catalog.

use std::collections::{HashMap, HashSet};

use super::defaults::default;
use crate::codecs::pgoutput::{Relation, RelationColumn};
use crate::model::{Column, Oid, PgType, ReplicaIdentity, Table, TableName};

/// What the catalog says of a table now. The stream may be behind it, so it only explains the stream's columns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// The types that are not built in, by OID; a domain is the type beneath it.
    pub types: HashMap<Oid, PgType>,
    /// The modifiers that domains give their columns, by the domain's OID.
    pub modifiers: HashMap<Oid, i32>,
    /// The columns declared NOT NULL.
    pub required: HashSet<String>,
    /// The primary key's columns in its order; empty without one.
    pub primary_key: Vec<String>,
    /// The columns of the replica identity's index in its order; empty without one.
    pub identity_index: Vec<String>,
    /// The columns, all NOT NULL, of the first unique index by name in its order; empty without one.
    pub unique_index: Vec<String>,
    /// The expressions of the columns that have a default, as `pg_get_expr` prints them.
    pub defaults: HashMap<String, String>,
}

/// The table that rows under `relation` belong to; its version is left at 0.
///
/// Columns, their order, types and modifiers are the relation's. A column that the catalog does not know any more may
/// be NULL for all we know.
pub fn shape(relation: &Relation, catalog: &Description) -> Table {
    let columns = relation.columns.iter().map(|column| explained(column, catalog));
    let schema = if relation.schema.is_empty() { "pg_catalog" } else { &relation.schema };
    Table {
        oid: relation.oid,
        name: TableName::new(schema, &relation.name),
        version: 0,
        columns: columns.collect(),
        identity: relation.identity,
        key: key(relation, catalog),
    }
}

fn explained(column: &RelationColumn, catalog: &Description) -> Column {
    let named = Column {
        name: column.name.clone(),
        pg_type: pg_type(column.type_oid, catalog),
        oid: column.type_oid,
        modifier: match catalog.modifiers.get(&column.type_oid) {
            Some(&modifier) if column.modifier == -1 => modifier,
            _ => column.modifier,
        },
        optional: !catalog.required.contains(&column.name),
        default: None,
    };
    let default = catalog.defaults.get(&column.name).and_then(|expression| default(expression, &named));
    Column { default, ..named }
}

fn pg_type(oid: Oid, catalog: &Description) -> PgType {
    PgType::builtin(oid.0)
        .or_else(|| catalog.types.get(&oid).cloned())
        .unwrap_or_else(|| PgType::Other { name: format!("type with OID {oid}") })
}

/// The key's columns.
///
/// Under DEFAULT and INDEX the relation marks them, as they were when its rows were written, and old rows carry
/// nothing else; the catalog gives the order. Under FULL all columns are marked and under NOTHING none, so there the
/// catalog's primary key is all there is. A table without one is told apart by a unique index, as in Debezium.
fn key(relation: &Relation, catalog: &Description) -> Vec<usize> {
    let place = |name: &String| relation.columns.iter().position(|column| column.name == *name);
    let places = |names: &[String]| names.iter().map(place).collect::<Option<Vec<usize>>>();
    let primary = &catalog.primary_key;
    let ordered = places(primary);
    let unique = || places(&catalog.unique_index).filter(|_| primary.is_empty()).unwrap_or_default();
    let marks: Vec<usize> = (0..).zip(&relation.columns).filter(|(_, c)| c.key).map(|(i, _)| i).collect();
    match (relation.identity, ordered) {
        (ReplicaIdentity::Full | ReplicaIdentity::Nothing, Some(ordered)) if !ordered.is_empty() => ordered,
        (ReplicaIdentity::Full | ReplicaIdentity::Nothing, _) => unique(),
        (ReplicaIdentity::Index, _) => {
            places(&catalog.identity_index).filter(|ordered| same_members(ordered, &marks)).unwrap_or(marks)
        }
        (ReplicaIdentity::Default, _) if marks.is_empty() && primary.is_empty() => unique(),
        (ReplicaIdentity::Default, Some(ordered)) if same_members(&ordered, &marks) => ordered,
        (ReplicaIdentity::Default, None) if part_of(relation, &marks, primary) => Vec::new(),
        // The primary key is not any more the one that was in force.
        (ReplicaIdentity::Default, _) => marks,
    }
}

fn same_members(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().all(|i| b.contains(i))
}

/// Whether a publication's column list leaves the marked columns but a part of the key, which tells no rows apart.
fn part_of(relation: &Relation, marks: &[usize], primary: &[String]) -> bool {
    marks.iter().all(|&i| relation.columns.get(i).is_some_and(|column| primary.contains(&column.name)))
}
