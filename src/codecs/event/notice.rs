//! Records that are not of tables: the beginnings and ends of transactions, and heartbeats.

use serde_json::{Value, json};

use super::encode::{NamedSchema, Settings};
use super::modes::Format;
use super::schema::{Schema, Shape};
use super::{avro, json, proto};
use crate::model::{Lsn, PgTimestamp, Xid};

/// What such a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Notice {
    /// A sign of life.
    Heartbeat,
    /// A transaction's beginning or end.
    Transaction,
}

/// Writes the records of one kind.
#[derive(Clone, Debug)]
pub struct Notices {
    topic: String,
    key: Schema,
    value: Schema,
    form: Form,
    /// In their place, where messages are defined in Protobuf.
    notes: Option<proto::Notes>,
}

#[derive(Clone, Debug)]
enum Form {
    Json,
    /// With the schema beside each key and value.
    Inline(String, String),
    /// Behind the numbers of their schemas.
    Avro([u8; 5], [u8; 5]),
}

const COMMON: &str = "io.debezium.connector.common.";

impl Notice {
    /// Where its records go.
    pub fn topic(self, prefix: &str) -> String {
        match self {
            Notice::Heartbeat => format!("__debezium-heartbeat.{prefix}"),
            Notice::Transaction => format!("{prefix}.transaction"),
        }
    }

    fn schemas(self) -> (Schema, Schema) {
        let (text, long) = (Schema::plain(Shape::String), Schema::plain(Shape::Int64));
        let optional = |schema: &Schema| Schema { optional: true, ..schema.clone() };
        match self {
            Notice::Heartbeat => (
                structure(&format!("{COMMON}ServerNameKey"), vec![("serverName", text)]),
                structure(&format!("{COMMON}Heartbeat"), vec![("ts_ms", long)]),
            ),
            Notice::Transaction => {
                let fields = vec![("data_collection", text.clone()), ("event_count", long.clone())];
                let collection = optional(&structure("event.collection", fields));
                let value = vec![
                    ("status", text.clone()),
                    ("id", text.clone()),
                    ("event_count", optional(&long)),
                    ("data_collections", optional(&Schema::plain(Shape::Array(Box::new(collection))))),
                    ("ts_ms", long),
                ];
                (
                    structure(&format!("{COMMON}TransactionMetadataKey"), vec![("id", text)]),
                    structure(&format!("{COMMON}TransactionMetadataValue"), value),
                )
            }
        }
    }
}

fn structure(name: &str, fields: Vec<(&str, Schema)>) -> Schema {
    let fields = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    Schema { name: Some(name.to_owned()), version: Some(1), ..Schema::plain(Shape::Struct(fields)) }
}

impl Notices {
    /// Of this kind, in a pipeline's form.
    pub fn new(notice: Notice, settings: &Settings) -> Notices {
        let (key, value) = notice.schemas();
        let form = match settings.modes.format {
            Format::Avro => Form::Avro([0; 5], [0; 5]),
            _ if settings.inline_schema => Form::Inline(json::inline::text(&key), json::inline::text(&value)),
            _ => Form::Json,
        };
        let notes = (settings.modes.format == Format::Protobuf).then(|| proto::Notes::new(notice));
        Notices { topic: notice.topic(&settings.prefix), key, value, form, notes }
    }

    /// Where the records go.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The schemas of keys and of values, for a registry; `None` for a form that has none.
    pub fn schemas(&self) -> Option<(NamedSchema, NamedSchema)> {
        let named = |schema: &Schema| NamedSchema {
            language: "AVRO",
            name: schema.name.clone().unwrap_or_default(),
            text: avro::schema_text(schema),
        };
        match (&self.notes, &self.form) {
            (Some(notes), _) => Some(notes.schemas()),
            (None, Form::Avro(..)) => Some((named(&self.key), named(&self.value))),
            (None, Form::Json | Form::Inline(..)) => None,
        }
    }

    /// Sets the numbers that the registry gave the schemas.
    pub fn number(&mut self, key: u32, value: u32) {
        let head = |id: u32| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, a, b, c, d]
        };
        match (&mut self.notes, &mut self.form) {
            (Some(notes), _) => notes.number(key, value),
            (None, Form::Avro(of_key, of_value)) => (*of_key, *of_value) = (head(key), head(value)),
            (None, Form::Json | Form::Inline(..)) => {}
        }
    }

    /// Key and value of a heartbeat.
    pub fn heartbeat(&self, prefix: &str, now: PgTimestamp) -> (Vec<u8>, Vec<u8>) {
        if let Some(notes) = &self.notes {
            return notes.heartbeat(prefix, now);
        }
        self.record(&json!({ "serverName": prefix }), &[("ts_ms", json!(now.unix_millis()))])
    }

    /// Key and value of a transaction's beginning, whose first change is at `lsn`.
    pub fn begin(&self, xid: Xid, lsn: Lsn, at: PgTimestamp) -> (Vec<u8>, Vec<u8>) {
        if let Some(notes) = &self.notes {
            return notes.boundary(xid, lsn, at, None);
        }
        let id = transaction_id(xid, lsn);
        let value = [
            ("status", json!("BEGIN")),
            ("id", json!(id)),
            ("event_count", Value::Null),
            ("data_collections", Value::Null),
            ("ts_ms", json!(at.unix_millis())),
        ];
        self.record(&json!({ "id": id }), &value)
    }

    /// Key and value of a transaction's end at `lsn`: how many events it has in all, and of which tables.
    pub fn end(&self, xid: Xid, lsn: Lsn, at: PgTimestamp, tables: &[(String, u64)]) -> (Vec<u8>, Vec<u8>) {
        if let Some(notes) = &self.notes {
            return notes.boundary(xid, lsn, at, Some(tables));
        }
        let id = transaction_id(xid, lsn);
        let total: u64 = tables.iter().map(|(_, count)| count).sum();
        // Members of an object are sorted by their names, which is the order of the schema.
        let each = |(name, count): &(String, u64)| json!({ "data_collection": name, "event_count": count });
        let tables: Vec<Value> = tables.iter().map(each).collect();
        let value = [
            ("status", json!("END")),
            ("id", json!(id)),
            ("event_count", json!(total)),
            ("data_collections", tables.into()),
            ("ts_ms", json!(at.unix_millis())),
        ];
        self.record(&json!({ "id": id }), &value)
    }

    /// Members of the value in the order of the schema.
    fn record(&self, key: &Value, value: &[(&str, Value)]) -> (Vec<u8>, Vec<u8>) {
        let text = |value: &[(&str, Value)]| {
            let members: Vec<String> = value.iter().map(|(name, value)| format!("\"{name}\":{}", value)).collect();
            format!("{{{}}}", members.join(","))
        };
        match &self.form {
            Form::Json => (key.to_string().into_bytes(), text(value).into_bytes()),
            Form::Inline(of_key, of_value) => (
                format!("{{\"schema\":{of_key},\"payload\":{key}}}").into_bytes(),
                format!("{{\"schema\":{of_value},\"payload\":{}}}", text(value)).into_bytes(),
            ),
            Form::Avro(of_key, of_value) => {
                let (mut keys, mut values) = (of_key.to_vec(), of_value.to_vec());
                avro::write_tree(&self.key, key, &mut keys);
                let value: serde_json::Map<_, _> =
                    value.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                avro::write_tree(&self.value, &value.into(), &mut values);
                (keys, values)
            }
        }
    }
}

/// Debezium's id of a transaction as seen from a position in it.
pub(super) fn transaction_id(xid: Xid, lsn: Lsn) -> String {
    format!("{}:{}", xid.0, lsn.get())
}
