//! What a table's events look like, for people and for programs that prepare for them.

use serde_json::Value;

use super::avro;
use super::encode::Settings;
use super::json::inline;
use super::kind::{Kind, Unit};
use super::modes::{Format, Shapes};
use super::proto;
use super::schema::{Schemas, column_schema};
use super::topic;
use crate::model::{PgType, Table};

/// A table's events.
#[derive(Clone, Debug)]
pub struct Description {
    /// Their topic.
    pub topic: String,
    /// The columns, in their order.
    pub columns: Vec<ColumnDescription>,
    /// Names and texts of what keys have beside columns.
    pub key_fields: Vec<(String, String)>,
    /// The Connect schema of keys, where the table has one.
    pub key_schema: Option<String>,
    /// The Connect schema of values.
    pub value_schema: String,
    /// The Avro schemas of keys, where the table has some, and of values.
    pub avro_schemas: (Option<String>, String),
    /// The JSON Schema of values.
    pub json_schema: Value,
}

/// A column in events.
#[derive(Clone, Debug)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Where it stands in the key, from 1.
    pub key: Option<usize>,
    /// Whether it may be NULL.
    pub optional: bool,
    /// What its values are, `int64`; `None` when it is left out.
    pub form: Option<String>,
    /// The name of their schema, where they have one.
    pub logical: Option<String>,
    /// What is lost, where something is.
    pub loss: Option<&'static str>,
}

/// Describes a table's events.
pub fn describe(table: &Table, settings: &Settings) -> Description {
    let schemas = Schemas::of(table, settings);
    let value = match settings.modes.kind {
        Shapes::Debezium => schemas.envelope.clone(),
        Shapes::Flat => schemas.flat(&settings.flat),
    };
    let columns = table.columns.iter().enumerate().map(|(at, column)| {
        let schema = column_schema(column, &settings.modes);
        let kind = Kind::of(&column.pg_type, column.modifier, &settings.modes);
        let described = ColumnDescription {
            name: column.name.clone(),
            key: table.key.iter().position(|&key| key == at).map(|place| place + 1),
            optional: column.optional,
            form: schema.as_ref().map(|schema| inline::plain_name(&schema.shape).to_owned()),
            logical: schema.and_then(|schema| schema.name),
            loss: kind.and_then(|kind| loss(&kind, &column.pg_type)),
        };
        match settings.modes.format {
            Format::Json | Format::Avro => described,
            Format::Protobuf => ColumnDescription {
                form: described.form.map(|_| proto::form_name(&column.pg_type)),
                logical: None,
                loss: None,
                ..described
            },
        }
    });
    Description {
        columns: columns.collect(),
        key_schema: schemas.key.as_ref().map(inline::text),
        value_schema: inline::text(&value),
        avro_schemas: (schemas.key.as_ref().map(avro::schema_text), avro::schema_text(&value)),
        json_schema: inline::json_schema(&value),
        topic: topic(&settings.prefix, &table.name),
        key_fields: settings.key_fields.clone(),
    }
}

/// What a reader can't get back.
fn loss(kind: &Kind, pg_type: &PgType) -> Option<&'static str> {
    match kind {
        Kind::TimeTz => Some("the zone: times are told in UTC"),
        Kind::Duration => Some("months and days: told in microseconds, a month as 30.4375 days"),
        Kind::Bits(None) => Some("zeros before the first one"),
        Kind::VariableDecimal => Some("zeros at the end of the fraction"),
        Kind::DecimalDouble => Some("digits beyond the seventeenth"),
        Kind::Money(_) => Some("the currency"),
        Kind::Time(Unit::MillisCut) | Kind::Timestamp(Unit::MillisCut) => Some("what is finer than a millisecond"),
        Kind::List(element) => match pg_type {
            PgType::Array(inner) => loss(element, inner),
            _ => None,
        },
        _ => None,
    }
}
