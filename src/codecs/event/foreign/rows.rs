//! Plain rows: the key says which row, the value is the row, no value is its end.

use super::fields::{Field, Fields, check, members};
use super::{Does, Filed, ForeignError, Raw, named_by};
use crate::model::TableName;

/// The header that names the table.
const TABLE: &str = "_table";
/// The header that says what happens.
const OP: &str = "_op";

/// Reads a record.
pub fn rows(raw: &Raw<'_>) -> Result<Filed, ForeignError> {
    let table = match raw.header(TABLE) {
        None => named_by(raw.topic),
        Some(name) => table(name)?,
    };
    let key = raw.key.map(|json| object(json, "a key that is a JSON object")).transpose()?.unwrap_or_default();
    let keyed = !key.is_empty();
    let row = raw.value.filter(|json| json.trim_ascii() != b"null");
    let row = row.map(|json| object(json, "a value that is a JSON object")).transpose()?;
    let does = match (raw.header(OP), row) {
        (None | Some(b"upsert"), Some(row)) => Does::Insert(with_key(row, &key)?),
        (None | Some(b"delete"), None) if keyed => Does::Delete,
        (Some(b"delete"), Some(_)) if keyed => Does::Delete,
        (Some(b"truncate"), _) => Does::Truncate,
        (None | Some(b"delete"), _) => return Err(ForeignError::Unreadable("a key, to tell which row is to go")),
        (Some(b"upsert"), None) => return Err(ForeignError::Unreadable("a row")),
        (Some(_), _) => return Err(ForeignError::Unreadable("upsert, delete or truncate in the header _op")),
    };
    Ok(Filed { table, does, key, order: None, log: String::new(), bare: false })
}

fn table(name: &[u8]) -> Result<TableName, ForeignError> {
    let name = std::str::from_utf8(name).ok().and_then(|name| name.split_once('.'));
    let name = name.filter(|(schema, table)| !schema.is_empty() && !table.is_empty());
    let (schema, table) = name.ok_or(ForeignError::Unreadable("schema.table in the header _table"))?;
    Ok(TableName::new(schema, table))
}

fn object(json: &[u8], expected: &'static str) -> Result<Fields, ForeignError> {
    check(json)?;
    let members = members(json.trim_ascii())?.ok_or(ForeignError::Unreadable(expected))?;
    let field = |(name, json): (String, &[u8])| Field { name, json: json.to_vec(), typed: None };
    Ok(Fields(members.into_iter().map(field).collect()))
}

/// The row with the key's columns, which it may repeat but not contradict.
pub(super) fn with_key(mut row: Fields, key: &Fields) -> Result<Fields, ForeignError> {
    for field in &key.0 {
        match row.find(&field.name) {
            None => row.0.push(field.clone()),
            Some(same) if same.json == field.json || same.typed.is_some() => {}
            Some(_) => {
                return Err(ForeignError::refused(
                    format!("column {} is one thing in the key and another in the row", field.name),
                    "the record contradicts itself: mend what writes it; nothing is skipped",
                ));
            }
        }
    }
    Ok(row)
}
