//! The two forms of a connector's configuration: JSON and properties.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Error, Result};

/// Keys and values of either form.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>> {
    if text.trim_start().starts_with('{') { json(text) } else { Ok(properties(text)) }
}

/// The members of the object, or of its `config` beside `name`, as the REST interface takes it.
fn json(text: &str) -> Result<BTreeMap<String, String>> {
    let broken = |what: &str| Error::blocked(what).remedy("give the connector's JSON as its REST interface takes it");
    // The parser's own sentence could quote a password.
    let value: Value = serde_json::from_str(text)
        .map_err(|error| broken(&format!("is not JSON: line {}, column {}", error.line(), error.column())))?;
    let members = |value: &Value| value.as_object().cloned().ok_or_else(|| broken("is not an object"));
    let mut all = members(&value)?;
    if let Some(config) = all.remove("config") {
        let name = all.remove("name");
        all = members(&config)?;
        name.and_then(|name| all.insert("name".into(), name));
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(all.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// `key=value` lines; `#` and `!` begin comments, a backslash at the end goes on with the next line.
fn properties(text: &str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        if let Some((key, value)) = line.split_once(['=', ':']) {
            keys.insert(key.trim().to_owned(), value.trim().replace("\\\\", "\\"));
        }
    }
    keys
}
