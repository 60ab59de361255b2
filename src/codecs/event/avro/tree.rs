//! Values as trees, for the few records that are not of tables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::schema::{Schema, Shape};
use super::schema::null_first;
use super::wire;

/// Appends what a schema's JSON says as Avro; what the JSON lacks is null.
///
/// # Panics
///
/// Where the JSON is not of the schema: both are made here.
pub(in super::super) fn write(schema: &Schema, value: &Value, out: &mut Vec<u8>) {
    if schema.optional {
        out.push(if value.is_null() == null_first(schema) { 0 } else { 2 });
        if value.is_null() {
            return;
        }
    }
    let fits = "a value of its schema";
    match &schema.shape {
        Shape::Int16 | Shape::Int32 | Shape::Int64 => wire::long(value.as_i64().expect(fits), out),
        Shape::Float32 => out.extend_from_slice(&(value.as_f64().expect(fits) as f32).to_le_bytes()),
        Shape::Float64 => out.extend_from_slice(&value.as_f64().expect(fits).to_le_bytes()),
        Shape::Boolean => out.push(u8::from(value.as_bool().expect(fits))),
        Shape::String => wire::bytes(value.as_str().expect(fits).as_bytes(), out),
        Shape::Bytes => wire::bytes(&STANDARD.decode(value.as_str().expect(fits)).expect(fits), out),
        Shape::Array(items) => {
            let values = value.as_array().expect(fits);
            if !values.is_empty() {
                wire::length(values.len(), out);
                values.iter().for_each(|value| write(items, value, out));
            }
            out.push(0);
        }
        Shape::Map(_, of) => {
            let entries = value.as_object().expect(fits);
            if !entries.is_empty() {
                wire::length(entries.len(), out);
                for (key, value) in entries {
                    wire::bytes(key.as_bytes(), out);
                    write(of, value, out);
                }
            }
            out.push(0);
        }
        Shape::Struct(fields) => {
            fields.iter().for_each(|(name, schema)| write(schema, value.get(name).unwrap_or(&Value::Null), out));
        }
    }
}
