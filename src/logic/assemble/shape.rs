//! A table's shape: what the stream says of it, explained by the catalog.

use std::collections::{HashMap, HashSet};

use crate::codecs::pgoutput::Relation;
use crate::model::{Column, Oid, PgType, ReplicaIdentity, Table, TableName};

/// What the catalog says of a table now. The stream may be behind it, so it only explains the stream's columns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// The types that are not built in, by OID.
    pub types: HashMap<Oid, PgType>,
    /// The columns declared NOT NULL.
    pub required: HashSet<String>,
    /// The primary key's columns in its order; empty without one.
    pub primary_key: Vec<String>,
}

/// The table that rows under `relation` belong to.
///
/// Columns, their order, types and modifiers are the relation's. A column that the catalog does not know any more may
/// be NULL for all we know. The key is the identity index's where one is set, because deletes carry nothing else;
/// otherwise the primary key's; otherwise there is none.
pub fn shape(relation: &Relation, catalog: &Description) -> Table {
    let columns: Vec<Column> = relation
        .columns
        .iter()
        .map(|column| Column {
            name: column.name.clone(),
            pg_type: pg_type(column.type_oid, catalog),
            oid: column.type_oid,
            modifier: column.modifier,
            optional: !catalog.required.contains(&column.name),
        })
        .collect();
    let key = if relation.identity == ReplicaIdentity::Index {
        (0..).zip(&relation.columns).filter(|(_, column)| column.key).map(|(i, _)| i).collect()
    } else {
        let index = |name: &String| columns.iter().position(|column| column.name == *name);
        catalog.primary_key.iter().map(index).collect::<Option<Vec<_>>>().unwrap_or_default()
    };
    Table {
        oid: relation.oid,
        name: TableName::new(&relation.schema, &relation.name),
        version: 1,
        columns,
        identity: relation.identity,
        key,
    }
}

fn pg_type(oid: Oid, catalog: &Description) -> PgType {
    PgType::builtin(oid.0)
        .or_else(|| catalog.types.get(&oid).cloned())
        .unwrap_or_else(|| PgType::Other { name: format!("type with OID {oid}") })
}
