//! What is compiled once for a table version: how each column is written, and what comes before each record.

use std::borrow::Cow;

use super::super::encode::{EncodeError, Settings};
use super::super::kind::{Kind, Named};
use super::super::message;
use super::super::modes::Shapes;
use super::super::schema::{Schema, Schemas};
use super::inline;
use super::placeholder::placeholder;
use super::token;
use crate::model::value::ValueError;
use crate::model::{Column, Table};

/// How one column is written.
#[derive(Debug)]
pub(super) struct Step {
    /// `"name":`
    pub(super) field: Vec<u8>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) fallback: Cow<'static, str>,
    pub(super) placeholder: Vec<u8>,
}

/// `{"schema":..,"payload":` of keys and values.
pub(super) fn heads(table: &Table, settings: &Settings) -> (Vec<u8>, Vec<u8>) {
    let head = |schema: &Schema| format!("{{\"schema\":{},\"payload\":", inline::text(schema)).into_bytes();
    if table.is_of_messages() {
        let (key, value) = message::schemas(&settings.modes);
        return (head(&key), head(&value));
    }
    let schemas = Schemas::of(table, settings);
    let value = match settings.modes.kind {
        Shapes::Debezium => schemas.envelope,
        Shapes::Flat => schemas.flat(&settings.flat),
    };
    (schemas.key.as_ref().map(head).unwrap_or_default(), head(&value))
}

/// The steps of a table's columns. A key column is never left out.
pub(super) fn steps(table: &Table, settings: &Settings) -> Vec<Option<Step>> {
    let step = |(at, column): (usize, &Column)| {
        let kind = Kind::of(&column.pg_type, column.modifier, &settings.modes);
        let kind = kind.or_else(|| table.key.contains(&at).then_some(Kind::Text(Named::Plain)));
        kind.map(|kind| Step::new(column, kind, settings))
    };
    table.columns.iter().enumerate().map(|(at, column)| step((at, column))).collect()
}

impl Step {
    fn new(column: &Column, kind: Kind, settings: &Settings) -> Step {
        let mut field = Vec::new();
        let name = settings.modes.name_adjustment.field(&column.name);
        token::string(name.as_bytes(), &mut field).expect("a str is UTF-8");
        field.push(b':');
        Step {
            field,
            name: column.name.clone(),
            fallback: match kind.zero(column) {
                _ if column.optional => "null".into(),
                Some(zero) => format!("\"{zero}\"").into(),
                None => kind.fallback().into(),
            },
            placeholder: placeholder(&kind, &settings.placeholder),
            kind,
        }
    }

    pub(super) fn error(&self, error: ValueError) -> EncodeError {
        EncodeError { column: self.name.clone(), expected: error.expected }
    }
}
