//! Schemas as Kafka Connect has them, read from where its JSON converter puts them: before each payload.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// A schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Connect {
    /// `int16`, `string`, `struct`, ...
    pub(super) base: String,
    /// What the values mean, where the base alone does not say it.
    pub(super) name: Option<String>,
    pub(super) parameters: BTreeMap<String, String>,
    /// Of a struct.
    pub(super) fields: Vec<(String, Arc<Connect>)>,
    /// Of a list.
    pub(super) items: Option<Arc<Connect>>,
}

impl Connect {
    /// Reads a schema; `None` for what is none.
    pub(super) fn read(json: &Value) -> Option<Connect> {
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
        let parameters = json.get("parameters").and_then(Value::as_object).into_iter().flatten();
        let fields = json.get("fields").and_then(Value::as_array).into_iter().flatten();
        let field = |field: &Value| {
            let name = field.get("field")?.as_str()?.to_owned();
            Some((name, Arc::new(Connect::read(field)?)))
        };
        Some(Connect {
            base: text("type")?,
            name: text("name"),
            parameters: parameters.map(|(key, value)| (key.clone(), said(value))).collect(),
            fields: fields.map(field).collect::<Option<_>>()?,
            items: match json.get("items") {
                Some(items) => Some(Arc::new(Connect::read(items)?)),
                None => None,
            },
        })
    }

    /// The schema of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Arc<Connect>> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, schema)| schema)
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, parameter: &str) -> Option<i32> {
        self.parameters.get(parameter)?.parse().ok()
    }
}

/// A parameter's text.
pub(super) fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
