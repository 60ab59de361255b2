//! Records as both sides tell them, brought to a form in which they can be compared and kept.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::avro::Reader;
use super::json::Json;
use crate::support::kafka::Record;
use crate::support::registry::Registry;

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The topic after the prefix.
    pub topic: String,
    /// The key's schema, where one comes with it.
    pub key_schema: Option<Json>,
    /// The key.
    pub key: Option<Json>,
    /// The value's schema, where one comes with it.
    pub value_schema: Option<Json>,
    /// The value; `None` is a tombstone.
    pub value: Option<Json>,
    /// The headers in order.
    pub headers: Vec<(String, String)>,
}

/// What the topic of heartbeats is called here, whose own name ends with the prefix.
pub const HEARTBEAT: &str = "heartbeat";

/// Readers by the schemas of a registry.
pub struct Schemas<'a> {
    registry: &'a Registry,
    readers: HashMap<i64, Reader>,
}

impl<'a> Schemas<'a> {
    /// Of this registry.
    pub fn of(registry: &'a Registry) -> Schemas<'a> {
        Schemas { registry, readers: HashMap::new() }
    }

    fn reader(&mut self, id: i64) -> &Reader {
        self.readers.entry(id).or_insert_with(|| Reader::new(&self.registry.schema(id)))
    }
}

/// What is one run's own: its prefix and its database.
pub struct Run<'a> {
    /// The prefix of topics and schemas.
    pub prefix: &'a str,
    /// The database.
    pub database: &'a str,
}

impl Told {
    /// From a record of JSON.
    pub fn of_json(topic: &str, record: &Record) -> Told {
        let part = |bytes: &Option<Vec<u8>>| match bytes.as_ref().map(|bytes| Json::parse(utf8(bytes))) {
            Some(Json::Object(fields)) if fields.iter().map(|(name, _)| name.as_str()).eq(["schema", "payload"]) => {
                let mut fields = fields.into_iter().map(|(_, value)| value);
                (fields.next(), fields.next())
            }
            other => (None, other),
        };
        let ((key_schema, key), (value_schema, value)) = (part(&record.key), part(&record.value));
        Told { topic: topic.to_owned(), key_schema, key, value_schema, value, headers: headers(record) }
    }

    /// From a record of Avro in the framing of schema registries.
    pub fn of_avro(topic: &str, record: &Record, schemas: &mut Schemas<'_>) -> Told {
        let mut part = |bytes: &Option<Vec<u8>>| match bytes.as_deref() {
            Some([0, a, b, c, d, datum @ ..]) => {
                let reader = schemas.reader(i64::from(u32::from_be_bytes([*a, *b, *c, *d])));
                (Some(reader.schema().clone()), Some(reader.read(datum)))
            }
            Some(other) => panic!("{topic}: no framing: {other:?}"),
            None => (None, None),
        };
        let ((key_schema, key), (value_schema, value)) = (part(&record.key), part(&record.value));
        Told { topic: topic.to_owned(), key_schema, key, value_schema, value, headers: headers(record) }
    }

    /// `c`, `u`, `tombstone` and so on.
    pub fn op(&self) -> String {
        let Some(value) = &self.value else { return "tombstone".to_owned() };
        value.field("op").or(value.field("status")).and_then(Json::as_text).unwrap_or_default()
    }

    /// What says which record it is.
    pub fn identity(&self) -> String {
        format!("{} {}", self.op(), self.key.as_ref().map(Json::text).unwrap_or_default())
    }

    /// Whether a snapshot has read it.
    pub fn is_read(&self) -> bool {
        self.op() == "r"
    }

    /// Takes out what differs from run to run of the same connector: clocks, prefix, database.
    pub fn settle(&mut self, run: &Run<'_>) {
        let named = |text: &str| text.replace(run.prefix, "srv");
        for schema in [&mut self.key_schema, &mut self.value_schema].into_iter().flatten() {
            *schema = Json::parse(&named(&schema.text()));
        }
        for (name, value) in &mut self.headers {
            *value = if name.ends_with(".runId") { "run".to_owned() } else { named(value) };
        }
        if let Some(key) = self.key.as_mut().filter(|_| self.topic == HEARTBEAT) {
            *key = Json::parse(&named(&key.text()));
        }
        let read = self.is_read();
        let Some(value) = &mut self.value else { return };
        if let Some(Json::List(tables)) = value.field_mut("data_collections") {
            // In no order.
            tables.sort_by_key(Json::text);
        }
        if value.field("source").is_some() || value.field("status").is_none() {
            ["ts_ms", "ts_us", "ts_ns"].iter().for_each(|name| forget(value, name));
        }
        let Some(source) = value.field_mut("source") else { return };
        for (name, mine, settled) in [("name", run.prefix, "srv"), ("db", run.database, "db")] {
            if let Some(field) = source.field_mut(name).filter(|field| field.as_text().as_deref() == Some(mine)) {
                *field = Json::string(settled);
            }
        }
        if read {
            POSITIONS.iter().for_each(|name| forget(source, name));
        }
    }

    /// Takes out what differs from one server to the next: positions, transactions, times.
    pub fn detach(&mut self) {
        for (name, value) in &mut self.headers {
            if name == "tw.commit_lsn" {
                *value = digits(value);
            }
        }
        let Some(value) = &mut self.value else { return };
        value.shorten();
        ["id", "ts_ms"].iter().for_each(|name| forget(value, name));
        if let Some(source) = value.field_mut("source") {
            POSITIONS.iter().for_each(|name| forget(source, name));
        }
        if let Some(transaction) = value.field_mut("transaction") {
            forget(transaction, "id");
        }
        if self.topic == "transaction"
            && let Some(key) = &mut self.key
        {
            forget(key, "id");
        }
    }
}

/// Fields of the source block that a snapshot or a server has its own of.
const POSITIONS: [&str; 6] = ["ts_ms", "ts_us", "ts_ns", "sequence", "txId", "lsn"];

/// Keeps the shape of a field: its digits become one letter.
fn forget(object: &mut Json, name: &str) {
    if let Some(field) = object.field_mut(name) {
        *field = Json::Token(digits(&field.text()));
    }
}

fn digits(text: &str) -> String {
    let mut out = String::new();
    for sign in text.chars() {
        if !sign.is_ascii_digit() {
            out.push(sign);
        } else if !out.ends_with('N') {
            out.push('N');
        }
    }
    out
}

fn headers(record: &Record) -> Vec<(String, String)> {
    let text = |value: &Option<Vec<u8>>| value.as_ref().map_or("(none)".to_owned(), |bytes| utf8(bytes).to_owned());
    // Which writer it was differs from run to run.
    let told = record.headers.iter().filter(|(name, _)| name != "tw.epoch");
    told.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The records of one topic in a form to keep; a schema is written where it is another than before.
pub fn render(records: &[Told]) -> String {
    let mut out = String::new();
    let mut before: [Option<String>; 2] = [None, None];
    for record in records {
        let _ = writeln!(out, "== {}", record.topic);
        for (at, (mark, schema)) in [("K", &record.key_schema), ("V", &record.value_schema)].into_iter().enumerate() {
            let schema = schema.as_ref().map(Json::text);
            if schema.is_some() && schema != before[at] {
                let _ = writeln!(out, "{mark} {}", schema.as_deref().unwrap_or_default());
                before[at] = schema;
            }
        }
        let none = "(none)".to_owned();
        let text = |part: &Option<Json>| part.as_ref().map_or(none.clone(), Json::text);
        let _ = writeln!(out, "k {}\nv {}", text(&record.key), text(&record.value));
        for (name, value) in &record.headers {
            let _ = writeln!(out, "h {name}: {value}");
        }
    }
    out
}

/// The opposite of [`render`], for several topics one after another.
pub fn parse(text: &str) -> Vec<Told> {
    let mut records: Vec<Told> = Vec::new();
    let mut schemas: [Option<Json>; 2] = [None, None];
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').expect("a mark and a text");
        if mark == "==" {
            if records.last().is_some_and(|last| last.topic != rest) {
                schemas = [None, None];
            }
            let topic = rest.to_owned();
            records.push(Told { topic, key_schema: None, key: None, value_schema: None, value: None, headers: vec![] });
            continue;
        }
        let record = records.last_mut().expect("a record begins with ==");
        let part = Some(rest).filter(|&rest| rest != "(none)" && mark != "h").map(Json::parse);
        match mark {
            "K" => schemas[0] = part,
            "V" => schemas[1] = part,
            "k" => (record.key_schema, record.key) = (schemas[0].clone().filter(|_| part.is_some()), part),
            "v" => (record.value_schema, record.value) = (schemas[1].clone().filter(|_| part.is_some()), part),
            "h" => {
                let (name, value) = rest.split_once(": ").expect("a name and a text");
                record.headers.push((name.to_owned(), value.to_owned()));
            }
            other => panic!("no such mark: {other}"),
        }
    }
    records
}
