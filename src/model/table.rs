//! Tables as they were at one moment.

use std::fmt;

use super::{Oid, PgType};

/// A table's schema and name, unquoted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl TableName {
    /// `schema` and `name` as the catalog holds them.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> TableName {
        TableName { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which old columns updates and deletes carry (`ALTER TABLE ... REPLICA IDENTITY`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReplicaIdentity {
    /// The primary key's.
    Default,
    /// A unique index's.
    Index,
    /// All of them.
    Full,
    /// None: PostgreSQL refuses updates and deletes of a published table.
    Nothing,
}

/// What a column takes where an insert says nothing of it. Expressions are not told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ColumnDefault {
    /// The same value always: as PostgreSQL prints it, and readable as the column's type.
    Literal(String),
    /// The next number of a sequence, where the column is NOT NULL.
    Sequence,
    /// The time of the insert's transaction.
    Now,
    /// The same in every row that this pipeline brings, whatever else may be in the target: it says whose a row is.
    Always(String),
}

/// What the catalog says of how a column came to be. The log does not.
#[derive(Clone, Default, Debug)]
pub struct Birth {
    /// Its number in the table (`attnum`), which a rename does not change; 0: not known.
    pub number: u16,
    /// What it had in the rows that were there when it was added, as PostgreSQL prints it; `None`: NULL, or not known.
    pub fill: Option<String>,
}

/// The number is the column; what it was filled with is known for a while only.
impl PartialEq for Birth {
    fn eq(&self, other: &Birth) -> bool {
        self.number == other.number
    }
}

impl Eq for Birth {}

impl std::hash::Hash for Birth {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// One column.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// What its text means.
    pub pg_type: PgType,
    /// The type's OID.
    pub oid: Oid,
    /// The type's modifier (`atttypmod`), -1 for none.
    pub modifier: i32,
    /// Whether it may be NULL.
    pub optional: bool,
    /// What it takes where nothing is said of it.
    pub default: Option<ColumnDefault>,
    /// How it came to be.
    pub birth: Birth,
}

/// A version of a table: a change points to the one that was in force when it happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Table {
    /// The relation's OID.
    pub oid: Oid,
    /// Schema and name.
    pub name: TableName,
    /// Counts the versions that this pipeline has seen, from 1; rises with each change of the shape.
    pub version: u32,
    /// The columns, in the order rows carry them.
    pub columns: Vec<Column>,
    /// Which old columns arrive.
    pub identity: ReplicaIdentity,
    /// Indexes into `columns` of the key, in the key's order; empty for a table without one.
    pub key: Vec<usize>,
}

impl Table {
    /// Stands for no table: what messages belong to.
    pub fn of_messages() -> Table {
        Table {
            oid: Oid(0),
            name: TableName::new("", ""),
            version: 1,
            columns: Vec::new(),
            identity: ReplicaIdentity::Nothing,
            key: Vec::new(),
        }
    }

    /// Whether it is what messages belong to.
    pub fn is_of_messages(&self) -> bool {
        self.oid == Oid(0) && self.name.schema.is_empty() && self.name.name.is_empty()
    }

    /// The key's columns, in the key's order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&i| self.columns.get(i))
    }

    /// The column that says whose a row is, and what it says of ours.
    pub fn source(&self) -> Option<(&str, &str)> {
        self.columns.iter().find_map(|column| match &column.default {
            Some(ColumnDefault::Always(value)) => Some((column.name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Whether rows can be told apart, so that a later version replaces an earlier one.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether `other` has the same columns, key and identity under the same name; versions are not compared.
    pub fn same_shape(&self, other: &Table) -> bool {
        self.oid == other.oid
            && self.name == other.name
            && self.columns == other.columns
            && self.identity == other.identity
            && self.key == other.key
    }
}
