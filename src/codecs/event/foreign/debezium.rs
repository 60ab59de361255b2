//! Debezium's events: in their envelope, or unwrapped to rows (`ExtractNewRecordState`), as JSON or Avro.

use std::collections::HashMap;
use std::sync::Arc;

use super::connect::Connect;
use super::fields::{Field, Fields, check, integer, member, members, text};
use super::order::Order;
use super::rows::with_key;
use super::typed::Typed;
use super::{AvroSchema, Does, Filed, ForeignError, Raw, named_by};
use crate::codecs::event::header;
use crate::model::TableName;

const EVENT: ForeignError = ForeignError::Unreadable("one of Debezium's events");

/// Reads events; knows the schemas it has met.
#[derive(Debug, Default)]
pub struct Debezium {
    avro: HashMap<u32, Arc<AvroSchema>>,
    /// By their own text.
    inline: HashMap<Vec<u8>, Arc<Connect>>,
    types: HashMap<usize, (Arc<Connect>, Arc<Typed>)>,
    /// The key of each partition's last record, where that was a delete.
    deleted: HashMap<(String, i32), Vec<u8>>,
}

/// A key or a value without what its converter put around it.
struct Payload {
    json: Vec<u8>,
    schema: Option<Arc<Connect>>,
}

impl Payload {
    fn field(&self, name: &str) -> Option<Arc<Connect>> {
        self.schema.as_ref()?.field(name).cloned()
    }
}

impl Debezium {
    /// The number of a schema that has to be known before the record can be read.
    pub fn lacks(&self, raw: &Raw<'_>) -> Option<u32> {
        let numbers = [raw.key, raw.value].into_iter().flatten().filter_map(AvroSchema::number);
        numbers.into_iter().find(|number| !self.avro.contains_key(number))
    }

    /// Makes a schema known.
    pub fn learn(&mut self, number: u32, schema: AvroSchema) {
        self.avro.insert(number, Arc::new(schema));
    }

    /// Reads a record; `None` for one that says nothing of a row: a tombstone behind its delete, a message, the mark of
    /// a transaction.
    pub fn read(&mut self, raw: &Raw<'_>) -> Result<Option<Filed>, ForeignError> {
        let place = (raw.topic.to_owned(), raw.partition);
        let deleted = self.deleted.remove(&place);
        let Some(value) = raw.value else {
            // Debezium writes a tombstone behind the delete of a row without a key, too: it says nothing.
            let Some(bytes) = raw.key else { return Ok(None) };
            if deleted.as_deref() == Some(bytes) {
                return Ok(None);
            }
            let key = self.key(raw)?;
            // Unwrapped, the first half of a key change may be no more than this.
            let does = if is_object(raw.header(header::NEW_KEY)) { Does::Part } else { Does::Delete };
            if matches!(does, Does::Part) {
                self.deleted.insert(place, bytes.to_vec());
            }
            let table = named_by(raw.topic);
            return Ok(Some(Filed { table, does, key, order: None, log: String::new(), bare: true }));
        };
        let payload = self.payload(value)?;
        if payload.json == b"null" {
            return self.read(&Raw { value: None, ..*raw });
        }
        let parts = members(&payload.json)?.ok_or(EVENT)?;
        let source = member(&parts, "source").is_some_and(|source| source.starts_with(b"{"));
        let filed = match member(&parts, "op").and_then(text) {
            Some(op) if source => self.envelope(raw, &payload, &parts, &op)?,
            None if is_of_transaction(&parts) => None,
            _ => self.row(raw, &payload, &parts)?,
        };
        let gone = filed.as_ref().is_none_or(|filed| matches!(filed.does, Does::Delete | Does::Part));
        if gone && let Some(key) = raw.key {
            self.deleted.insert(place, key.to_vec());
        }
        Ok(filed)
    }

    fn envelope(
        &mut self,
        raw: &Raw<'_>,
        payload: &Payload,
        parts: &[(String, &[u8])],
        op: &str,
    ) -> Result<Option<Filed>, ForeignError> {
        let source = members(member(parts, "source").unwrap_or_default())?.ok_or(EVENT)?;
        let name = |part: &str| member(&source, part).and_then(text).filter(|name| !name.is_empty());
        // Other databases have no schemas in theirs.
        let schema = name("schema").or_else(|| name("db"));
        let table = match (schema, name("table").or_else(|| name("collection"))) {
            (Some(schema), Some(table)) => TableName::new(schema, table),
            _ if op == "m" => return Ok(None),
            _ => named_by(raw.topic),
        };
        let snapshot = member(&source, "snapshot").is_some_and(|said| !matches!(said, b"false" | b"\"false\""));
        let order = order(member(&source, "sequence"), member(&source, "ts_ms")).filter(|_| !snapshot);
        let key = self.key(raw)?;
        let mut image = |part: &str| -> Result<Option<Fields>, ForeignError> {
            let Some(json) = member(parts, part) else { return Ok(None) };
            self.fields(json, payload.field(part).as_ref()).map(Some)
        };
        let (before, after) = (image("before")?, image("after")?);
        let row = || with_key(after.ok_or(ForeignError::Unreadable("a row after the change"))?, &key);
        let does = match op {
            "r" => Does::Read(row()?),
            "c" => match self.old_key(raw)? {
                Some(old) => Does::Update { old: Some(old), row: row()? },
                None => Does::Insert(row()?),
            },
            "u" => Does::Update { old: None, row: row()? },
            "d" if is_object(raw.header(header::NEW_KEY)) => Does::Part,
            "d" if key.is_empty() => {
                Does::DeleteRow(before.ok_or(ForeignError::Unreadable("a row before the change"))?)
            }
            "d" => Does::Delete,
            "t" => Does::Truncate,
            "m" => return Ok(None),
            _ => return Err(ForeignError::Unreadable("an operation of Debezium's")),
        };
        Ok(Some(Filed { table, does, key, order, log: name("name").unwrap_or_default(), bare: false }))
    }

    /// A row alone. What begins with two underscores was added to it, and is no column.
    fn row(
        &mut self,
        raw: &Raw<'_>,
        payload: &Payload,
        parts: &[(String, &[u8])],
    ) -> Result<Option<Filed>, ForeignError> {
        let added = |names: &[&str]| names.iter().find_map(|name| member(parts, name));
        let mut table = named_by(raw.topic);
        if let Some(name) = added(&["__table", "__source_table"]).and_then(text) {
            table.name = name;
        }
        if let Some(schema) = added(&["__schema", "__source_schema"]).and_then(text) {
            table.schema = schema;
        }
        let op = added(&["__op"]).and_then(text);
        let streamed = op.as_deref().is_some_and(|op| op != "r");
        let times = ["__source_ts_ms", "__ts_ms"];
        let order = order(added(&["__source_sequence", "__sequence"]), added(&times)).filter(|_| streamed);
        let key = self.key(raw)?;
        let gone = added(&["__deleted"]).is_some_and(|said| matches!(said, b"true" | b"\"true\""));
        let gone = gone || op.as_deref() == Some("d");
        let mut row = self.fields(&payload.json, payload.schema.as_ref())?;
        row.0.retain(|field| !field.name.starts_with("__"));
        let does = match op.as_deref() {
            _ if gone && is_object(raw.header(header::NEW_KEY)) => Does::Part,
            _ if gone && key.is_empty() => Does::DeleteRow(row),
            _ if gone => Does::Delete,
            Some("t") => Does::Truncate,
            Some("r") => Does::Read(with_key(row, &key)?),
            Some("c") | None => match self.old_key(raw)? {
                None if op.is_some() => Does::Insert(with_key(row, &key)?),
                old => Does::Update { old, row: with_key(row, &key)? },
            },
            Some("u") => Does::Update { old: None, row: with_key(row, &key)? },
            Some(_) => return Err(ForeignError::Unreadable("an operation of Debezium's")),
        };
        let log = added(&["__source_name", "__name"]).and_then(text).unwrap_or_default();
        Ok(Some(Filed { table, does, key, order, log, bare: false }))
    }

    fn key(&mut self, raw: &Raw<'_>) -> Result<Fields, ForeignError> {
        let Some(bytes) = raw.key else { return Ok(Fields::default()) };
        let payload = self.payload(bytes)?;
        if payload.json == b"null" {
            return Ok(Fields::default());
        }
        self.fields(&payload.json, payload.schema.as_ref())
    }

    /// The key that was, on the second half of a key change, with the types of the one that is.
    fn old_key(&mut self, raw: &Raw<'_>) -> Result<Option<Fields>, ForeignError> {
        let Some(json) = raw.header(header::OLD_KEY).filter(|json| is_object(Some(json))) else { return Ok(None) };
        let now = self.key(raw)?;
        let mut old = self.fields(json, None)?;
        for field in &mut old.0 {
            field.typed = now.find(&field.name).and_then(|now| now.typed.clone());
        }
        Ok(Some(old))
    }

    /// Takes off what the converter put around it.
    fn payload(&mut self, bytes: &[u8]) -> Result<Payload, ForeignError> {
        if let Some(number) = AvroSchema::number(bytes) {
            let schema = self.avro.get(&number).ok_or(ForeignError::Unreadable("a schema of the registry's"))?;
            return Ok(Payload { json: schema.json(bytes)?, schema: Some(Arc::clone(schema.connect())) });
        }
        check(bytes)?;
        let json = bytes.trim_ascii();
        let around = match members(json)? {
            Some(parts) if parts.len() == 2 => parts,
            _ => return Ok(Payload { json: json.to_vec(), schema: None }),
        };
        let part = |name: &str| around.iter().find(|(found, _)| found == name).map(|(_, json)| *json);
        let (Some(schema), Some(payload)) = (part("schema"), part("payload")) else {
            return Ok(Payload { json: json.to_vec(), schema: None });
        };
        if schema == b"null" {
            return Ok(Payload { json: payload.to_vec(), schema: None });
        }
        if !self.inline.contains_key(schema) {
            let read = serde_json::from_slice(schema).ok().and_then(|json| Connect::read(&json));
            let read = read.ok_or(ForeignError::Unreadable("a schema of Kafka Connect's"))?;
            self.inline.insert(schema.to_vec(), Arc::new(read));
        }
        Ok(Payload { json: payload.to_vec(), schema: self.inline.get(schema).cloned() })
    }

    fn fields(&mut self, json: &[u8], schema: Option<&Arc<Connect>>) -> Result<Fields, ForeignError> {
        let members = members(json)?.ok_or(ForeignError::Unreadable("a row that is a JSON object"))?;
        let mut fields = Vec::with_capacity(members.len());
        for (at, (name, json)) in members.into_iter().enumerate() {
            let of = schema.and_then(|schema| {
                let near = schema.fields.get(at).filter(|(found, _)| *found == name).map(|(_, schema)| schema);
                near.or_else(|| schema.field(&name))
            });
            let typed = of.map(|schema| self.typed(schema));
            fields.push(Field { name, json: json.to_vec(), typed });
        }
        Ok(Fields(fields))
    }

    /// The type of a field, by the address of its schema, which is kept alive.
    fn typed(&mut self, schema: &Arc<Connect>) -> Arc<Typed> {
        let known = self.types.entry(Arc::as_ptr(schema).addr());
        let (_, typed) = known.or_insert_with(|| (Arc::clone(schema), Arc::new(Typed::of(schema))));
        Arc::clone(typed)
    }
}

fn is_object(header: Option<&[u8]>) -> bool {
    header.is_some_and(|json| check(json).is_ok() && json.trim_ascii().starts_with(b"{"))
}

/// Whether it is where a transaction begins or ends. A table may have columns of some of these names, not of all.
fn is_of_transaction(parts: &[(String, &[u8])]) -> bool {
    let names = ["status", "id", "event_count", "data_collections", "ts_ms"];
    let status = member(parts, "status").and_then(text);
    matches!(status.as_deref(), Some("BEGIN" | "END"))
        && parts.len() == names.len()
        && parts.iter().all(|(name, _)| names.contains(&name.as_str()))
}

/// `["<end of the transaction before>","<lsn>"]` as a JSON text, and a time. Where nothing was before, the LSN itself.
fn order(sequence: Option<&[u8]>, at: Option<&[u8]>) -> Option<Order> {
    let pair: [Option<String>; 2] = serde_json::from_str(&text(sequence?)?).ok()?;
    let [before, own] = pair.map(|number| number.and_then(|number| number.parse().ok()));
    let own: u64 = own?;
    Some(Order { version: (before.unwrap_or(own), own), at: integer(at?)? })
}
