//! The outbox pattern: rows of a table, or logical messages, that are events of the application's own.
//!
//! The columns and what becomes of them are those of Debezium's event router: `id`, `aggregatetype`, `aggregateid`,
//! `type`, `payload`. An insert is an event; deletes are housekeeping and say nothing; an update is a mistake.

use serde_json::Value;

use crate::model::value::{self, Finite};
use crate::model::{Cell, Change, Emitted, Op, PgType, Row, Table};

/// Which columns, or members of a message, an event is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Columns {
    /// The event's id, a header of the same name.
    pub id: String,
    /// Chooses the topic.
    pub route: String,
    /// The record's key.
    pub key: String,
    /// The record's value.
    pub payload: String,
    /// The record's time; that of the commit when absent.
    pub timestamp: Option<String>,
    /// What else becomes a header: the column and the header's name.
    pub headers: Vec<(String, String)>,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns {
            id: "id".into(),
            route: "aggregatetype".into(),
            key: "aggregateid".into(),
            payload: "payload".into(),
            timestamp: None,
            headers: Vec::new(),
        }
    }
}

/// How payloads are told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Payload {
    /// As they are: texts without quotes, the bytes of a `bytea`.
    #[default]
    Raw,
    /// JSON without blanks, whatever the type of the column; what is no JSON is told as it is.
    Expanded,
}

/// The names of [`Payload`], the default first.
pub const PAYLOADS: [(&str, Payload); 2] = [("raw", Payload::Raw), ("expanded", Payload::Expanded)];

/// What an event of the application is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Routed {
    /// Chooses the topic.
    pub route: String,
    /// The key, where there is one.
    pub key: Option<Vec<u8>>,
    /// The value, where there is one.
    pub value: Option<Vec<u8>>,
    /// Names and values of headers, the id's first.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// A row or message that is no event. It names what is missing or wrong, never a value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutboxError {
    /// The table, or the message, lacks something.
    #[error("there is no {0}")]
    Missing(String),
    /// NULL where an event needs a value.
    #[error("{0} is NULL")]
    Null(String),
    /// A value of another form.
    #[error("{0} is not {1}")]
    Form(String, &'static str),
    /// A row that was changed after it had been told.
    #[error("a row was updated: events are inserted, and deleted when they are old")]
    Update,
}

/// Makes events of the rows of one table version.
#[derive(Debug)]
pub struct Outbox {
    id: usize,
    route: usize,
    key: usize,
    payload: (usize, bool),
    timestamp: Option<(usize, PgType)>,
    headers: Vec<(usize, String)>,
    columns: Columns,
    form: Payload,
}

impl Outbox {
    /// Finds the columns in a table.
    pub fn new(table: &Table, columns: &Columns, form: Payload) -> Result<Outbox, OutboxError> {
        let place = |name: &String| {
            let found = table.columns.iter().position(|column| column.name == *name);
            found.ok_or_else(|| OutboxError::Missing(format!("column {name}")))
        };
        let pg_type = |at: usize| table.columns.get(at).map(|column| column.pg_type.clone());
        let payload = place(&columns.payload)?;
        let timestamp = match &columns.timestamp {
            None => None,
            Some(name) => match (place(name)?, pg_type(place(name)?)) {
                (at, Some(known @ (PgType::Timestamp | PgType::Timestamptz | PgType::Int8))) => Some((at, known)),
                _ => {
                    return Err(OutboxError::Form(format!("column {name}"), "a timestamp or a bigint of milliseconds"));
                }
            },
        };
        let headers = columns.headers.iter().map(|(column, header)| Ok((place(column)?, header.clone())));
        Ok(Outbox {
            id: place(&columns.id)?,
            route: place(&columns.route)?,
            key: place(&columns.key)?,
            payload: (payload, pg_type(payload) == Some(PgType::Bytea)),
            timestamp,
            headers: headers.collect::<Result<_, _>>()?,
            columns: columns.clone(),
            form,
        })
    }

    /// The event of a change; `None` for one that says nothing.
    pub fn route(&self, change: &Change) -> Result<Option<Routed>, OutboxError> {
        let row = match &change.op {
            Op::Read { new } | Op::Insert { new } => new,
            Op::Update { .. } => return Err(OutboxError::Update),
            _ => return Ok(None),
        };
        let needed = |at: usize, name: &str| {
            text(row, at).ok_or_else(|| OutboxError::Null(format!("column {name}"))).map(<[u8]>::to_vec)
        };
        let route = String::from_utf8(needed(self.route, &self.columns.route)?)
            .map_err(|_| OutboxError::Form(format!("column {}", self.columns.route), "UTF-8"))?;
        let id = needed(self.id, &self.columns.id)?;
        let more = self.headers.iter().map(|(at, name)| (name.clone(), text(row, *at).map(<[u8]>::to_vec)));
        Ok(Some(Routed {
            route,
            key: text(row, self.key).map(<[u8]>::to_vec),
            value: self.value(row)?,
            headers: std::iter::once(("id".to_owned(), Some(id))).chain(more).collect(),
            timestamp: self.time(row)?.unwrap_or_else(|| change.origin.at.unix_millis()),
        }))
    }

    fn value(&self, row: &Row) -> Result<Option<Vec<u8>>, OutboxError> {
        let (at, bytes) = self.payload;
        let Some(text) = text(row, at) else { return Ok(None) };
        let mut value = text.to_vec();
        if bytes {
            value.clear();
            value::bytea(text, &mut value)
                .map_err(|error| OutboxError::Form(format!("column {}", self.columns.payload), error.expected))?;
        }
        Ok(Some(expanded(value, self.form)))
    }

    fn time(&self, row: &Row) -> Result<Option<i64>, OutboxError> {
        let Some((at, pg_type)) = &self.timestamp else { return Ok(None) };
        let Some(text) = text(row, *at) else { return Ok(None) };
        let name = || format!("column {}", self.columns.timestamp.as_deref().unwrap_or_default());
        let wrong = |error: value::ValueError| OutboxError::Form(name(), error.expected);
        let micros = match pg_type {
            PgType::Int8 => return value::int(text).map(Some).map_err(wrong),
            PgType::Timestamp => value::timestamp(text).map_err(wrong)?,
            _ => value::timestamptz(text).map_err(wrong)?,
        };
        match micros {
            Finite::Value(micros) => Ok(Some(micros.div_euclid(1000))),
            _ => Err(OutboxError::Form(name(), "finite")),
        }
    }
}

/// The event of a logical message, whose content is a JSON object with the columns as its members.
pub fn route_message(
    change: &Change,
    message: &Emitted,
    columns: &Columns,
    form: Payload,
) -> Result<Routed, OutboxError> {
    let object: Value = serde_json::from_slice(&message.content)
        .map_err(|_| OutboxError::Form(format!("the content of message {}", message.prefix), "JSON"))?;
    let text = |name: &String| match object.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone().into_bytes()),
        Some(other) => Some(other.to_string().into_bytes()),
    };
    let needed =
        |name: &String| text(name).ok_or_else(|| OutboxError::Missing(format!("{name} in message {}", message.prefix)));
    let route = String::from_utf8(needed(&columns.route)?)
        .map_err(|_| OutboxError::Form(format!("{} of message {}", columns.route, message.prefix), "UTF-8"))?;
    let id = needed(&columns.id)?;
    let more = columns.headers.iter().map(|(name, header)| (header.clone(), text(name)));
    let time = columns.timestamp.as_ref().and_then(|name| object.get(name)).and_then(Value::as_i64);
    Ok(Routed {
        route,
        key: text(&columns.key),
        value: text(&columns.payload).map(|value| expanded(value, form)),
        headers: std::iter::once(("id".to_owned(), Some(id))).chain(more).collect(),
        timestamp: time.unwrap_or_else(|| change.origin.at.unix_millis()),
    })
}

/// A JSON text without blanks, its members in their order.
fn expanded(value: Vec<u8>, form: Payload) -> Vec<u8> {
    if form == Payload::Raw || serde_json::from_slice::<serde::de::IgnoredAny>(&value).is_err() {
        return value;
    }
    let (mut out, mut inside, mut escaped) = (Vec::with_capacity(value.len()), false, false);
    for byte in value {
        if inside || !byte.is_ascii_whitespace() {
            out.push(byte);
        }
        inside = if byte == b'"' && !escaped { !inside } else { inside };
        escaped = inside && byte == b'\\' && !escaped;
    }
    out
}

fn text(row: &Row, at: usize) -> Option<&[u8]> {
    match row.cell(at) {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}
