//! The tables topic: a record for each table version, which says what an event's JSON alone does not, one for each
//! table that is followed, one for each that is or was stopped, and one for each topic that is written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hold::{Hold, JsonHold};
use super::modes::Modes;
use super::{DecodeError, version_name};
use crate::model::{Birth, Column, ColumnDefault, Membership, Oid, PgType, ReplicaIdentity, Table, TableName};

const ERROR: DecodeError = DecodeError::new("a table version");

/// What a record of the tables topic says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableRecord {
    /// The shape of events, and how their types are told.
    Version(Table, Modes),
    /// That a table's rows are in the topics, or are not kept up with any more.
    Followed(TableName, Option<Membership>),
    /// That a table, by the source's name, is stopped, or that it goes on.
    Held(TableName, Option<Box<Hold>>),
    /// That keys were spread over so many partitions of a topic.
    Partitions(String, i32),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonRecord {
    Version(JsonTable),
    // Before `Followed`, all of whose fields it has.
    Held(JsonHold),
    Followed(JsonFollowed),
    Partitions(JsonPartitions),
}

#[derive(Serialize, Deserialize)]
struct JsonPartitions {
    topic: String,
    partitions: i32,
}

#[derive(Serialize, Deserialize)]
struct JsonFollowed {
    schema: String,
    table: String,
    /// The OIDs of table, publication and entry.
    followed: Option<(u32, u32, u32)>,
}

#[derive(Serialize, Deserialize)]
struct JsonTable {
    schema: String,
    table: String,
    version: u32,
    oid: u32,
    identity: JsonIdentity,
    /// Column names, in the key's order.
    key: Vec<String>,
    columns: Vec<JsonColumn>,
    /// Only those that are not the defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    modes: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct JsonColumn {
    name: String,
    #[serde(rename = "type")]
    pg_type: String,
    oid: u32,
    modifier: i32,
    optional: bool,
    /// Of an enumeration, or of the elements of an array of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    /// Not in records of versions that did not know of defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<JsonDefault>,
    /// What the catalog says of how it came to be, where that was known.
    #[serde(default, skip_serializing_if = "is_zero")]
    number: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fill: Option<String>,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsonDefault {
    Literal(String),
    Sequence,
    Now,
    Always(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JsonIdentity {
    Default,
    Index,
    Full,
    Nothing,
}

/// The record's key and value.
pub fn encode_table(table: &Table, modes: &Modes) -> (Vec<u8>, Vec<u8>) {
    let defaults = Modes::default().names();
    let set = modes.names().into_iter().filter(|mode| !defaults.contains(mode));
    let json = JsonTable {
        schema: table.name.schema.clone(),
        table: table.name.name.clone(),
        version: table.version,
        oid: table.oid.0,
        identity: match table.identity {
            ReplicaIdentity::Default => JsonIdentity::Default,
            ReplicaIdentity::Index => JsonIdentity::Index,
            ReplicaIdentity::Full => JsonIdentity::Full,
            ReplicaIdentity::Nothing => JsonIdentity::Nothing,
        },
        key: table.key_columns().map(|column| column.name.clone()).collect(),
        columns: table.columns.iter().map(JsonColumn::of).collect(),
        modes: set.map(|(key, name)| (key.to_owned(), name.to_owned())).collect(),
    };
    let value = serde_json::to_vec(&json).expect("texts and numbers are always JSON");
    (version_name(table).into_bytes(), value)
}

/// Key and value of the record that says whether a table is followed.
pub fn encode_followed(name: &TableName, membership: Option<Membership>) -> (Vec<u8>, Vec<u8>) {
    let json = JsonFollowed {
        schema: name.schema.clone(),
        table: name.name.clone(),
        followed: membership.map(|m| (m.table.0, m.publication.0, m.entry.0)),
    };
    let value = serde_json::to_vec(&json).expect("texts and numbers are always JSON");
    // A version's key ends with a number.
    (format!("{name}@followed").into_bytes(), value)
}

/// Key and value of the record that says how many partitions a topic has.
pub fn encode_partitions(topic: &str, partitions: i32) -> (Vec<u8>, Vec<u8>) {
    let json = JsonPartitions { topic: topic.to_owned(), partitions };
    let value = serde_json::to_vec(&json).expect("texts and numbers are always JSON");
    (format!("{topic}@partitions").into_bytes(), value)
}

/// Reads a record's value.
pub fn decode_table(value: &[u8]) -> Result<TableRecord, DecodeError> {
    match serde_json::from_slice(value).map_err(|_| ERROR)? {
        JsonRecord::Version(json) => {
            let mut modes = Modes::default();
            // A mode that is not known here would have values read in the wrong way.
            if !json.modes.iter().all(|(key, name)| modes.set(key, name)) {
                return Err(ERROR);
            }
            version(json).map(|table| TableRecord::Version(table, modes))
        }
        JsonRecord::Held(json) => {
            let source = TableName::new(json.schema.clone(), json.table.clone());
            Ok(TableRecord::Held(source, json.read()?.map(Box::new)))
        }
        JsonRecord::Followed(json) => {
            let oids = json.followed.map(|(table, publication, entry)| Membership {
                table: Oid(table),
                publication: Oid(publication),
                entry: Oid(entry),
            });
            Ok(TableRecord::Followed(TableName::new(json.schema, json.table), oids))
        }
        JsonRecord::Partitions(json) => Ok(TableRecord::Partitions(json.topic, json.partitions)),
    }
}

fn version(json: JsonTable) -> Result<Table, DecodeError> {
    let place = |name: &String| json.columns.iter().position(|column| column.name == *name).ok_or(ERROR);
    Ok(Table {
        key: json.key.iter().map(place).collect::<Result<_, _>>()?,
        oid: Oid(json.oid),
        name: TableName::new(json.schema, json.table),
        version: json.version,
        identity: match json.identity {
            JsonIdentity::Default => ReplicaIdentity::Default,
            JsonIdentity::Index => ReplicaIdentity::Index,
            JsonIdentity::Full => ReplicaIdentity::Full,
            JsonIdentity::Nothing => ReplicaIdentity::Nothing,
        },
        columns: json.columns.into_iter().map(JsonColumn::column).collect(),
    })
}

impl JsonColumn {
    fn of(column: &Column) -> JsonColumn {
        JsonColumn {
            name: column.name.clone(),
            pg_type: column.pg_type.name(),
            oid: column.oid.0,
            modifier: column.modifier,
            optional: column.optional,
            labels: labels(&column.pg_type).cloned(),
            number: column.birth.number,
            fill: column.birth.fill.clone(),
            default: column.default.as_ref().map(|default| match default {
                ColumnDefault::Literal(text) => JsonDefault::Literal(text.clone()),
                ColumnDefault::Sequence => JsonDefault::Sequence,
                ColumnDefault::Now => JsonDefault::Now,
                ColumnDefault::Always(text) => JsonDefault::Always(text.clone()),
            }),
        }
    }

    fn column(self) -> Column {
        Column {
            pg_type: named(self.pg_type, self.labels),
            name: self.name,
            oid: Oid(self.oid),
            modifier: self.modifier,
            optional: self.optional,
            default: self.default.map(|default| match default {
                JsonDefault::Literal(text) => ColumnDefault::Literal(text),
                JsonDefault::Sequence => ColumnDefault::Sequence,
                JsonDefault::Now => ColumnDefault::Now,
                JsonDefault::Always(text) => ColumnDefault::Always(text),
            }),
            birth: Birth { number: self.number, fill: self.fill },
        }
    }
}

fn labels(pg_type: &PgType) -> Option<&Vec<String>> {
    match pg_type {
        PgType::Enum { labels, .. } => Some(labels),
        PgType::Array(element) => labels(element),
        _ => None,
    }
}

/// Labels make it an enumeration, a name in the catalog of built-in types one of those.
fn named(name: String, labels: Option<Vec<String>>) -> PgType {
    if let Some(element) = name.strip_suffix("[]") {
        return PgType::Array(Box::new(named(element.to_owned(), labels)));
    }
    match labels {
        Some(labels) => PgType::Enum { name, labels },
        None => PgType::named(&name).unwrap_or(PgType::Other { name }),
    }
}
