//! A schema as Kafka Connect's JSON converter writes it beside each payload.

use serde_json::{Map, Value, json};

use super::super::schema::{Schema, Shape};

/// The text of a schema.
pub(in super::super) fn text(schema: &Schema) -> String {
    let mut out = String::new();
    write(schema, None, &mut out);
    if out.is_ascii() { out } else { escaped(&out) }
}

/// Characters above U+FFFF as in values; they stand in strings alone.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{10000}'.. => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04X}")))
            }
            _ => out.push(c),
        }
    }
    out
}

/// Members in the converter's order, which is not the alphabet's.
fn write(schema: &Schema, field: Option<&str>, out: &mut String) {
    let quoted = |text: &str| Value::from(text).to_string();
    out.push('{');
    match &schema.shape {
        Shape::Array(items) => {
            out.push_str("\"type\":\"array\",\"items\":");
            write(items, None, out);
        }
        Shape::Map(keys, values) => {
            out.push_str("\"type\":\"map\",\"keys\":");
            write(keys, None, out);
            out.push_str(",\"values\":");
            write(values, None, out);
        }
        Shape::Struct(fields) => {
            out.push_str("\"type\":\"struct\",\"fields\":[");
            for (at, (name, schema)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(schema, Some(name), out);
            }
            out.push(']');
        }
        plain => out.push_str(&format!("\"type\":\"{}\"", plain_name(plain))),
    }
    out.push_str(&format!(",\"optional\":{}", schema.optional));
    if let Some(name) = &schema.name {
        out.push_str(&format!(",\"name\":{}", quoted(name)));
    }
    if let Some(version) = schema.version {
        out.push_str(&format!(",\"version\":{version}"));
    }
    if let Some(doc) = schema.doc {
        out.push_str(&format!(",\"doc\":{}", quoted(doc)));
    }
    if !schema.parameters.is_empty() {
        let members: Vec<String> =
            schema.parameters.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        out.push_str(&format!(",\"parameters\":{{{}}}", members.join(",")));
    }
    if let Some(default) = &schema.default {
        out.push_str(&format!(",\"default\":{}", default.json()));
    }
    if let Some(field) = field {
        out.push_str(&format!(",\"field\":{}", quoted(field)));
    }
    out.push('}');
}

/// The converter's name of a shape without parts.
pub(in super::super) fn plain_name(shape: &Shape) -> &'static str {
    match shape {
        Shape::Int16 => "int16",
        Shape::Int32 => "int32",
        Shape::Int64 => "int64",
        Shape::Float32 => "float",
        Shape::Float64 => "double",
        Shape::Boolean => "boolean",
        Shape::String => "string",
        Shape::Bytes => "bytes",
        Shape::Array(_) => "array",
        Shape::Map(..) => "map",
        Shape::Struct(_) => "struct",
    }
}

/// The same as JSON Schema (2020-12), for `tailwater schema`.
pub(in super::super) fn json_schema(schema: &Schema) -> Value {
    let mut object = match &schema.shape {
        Shape::Int16 | Shape::Int32 | Shape::Int64 => json!({ "type": "integer" }),
        // NaN and the infinities are words.
        Shape::Float32 | Shape::Float64 => json!({ "type": ["number", "string"] }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::String => json!({ "type": "string" }),
        Shape::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Shape::Array(items) => json!({ "type": "array", "items": json_schema(items) }),
        Shape::Map(keys, values) if keys.shape == Shape::String => {
            json!({ "type": "object", "additionalProperties": json_schema(values) })
        }
        Shape::Map(..) => json!({ "type": "array", "items": { "type": "array" } }),
        Shape::Struct(fields) => {
            let properties: Map<String, Value> =
                fields.iter().map(|(name, schema)| (name.clone(), json_schema(schema))).collect();
            let required: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
    };
    if let (Some(name), Some(object)) = (&schema.name, object.as_object_mut()) {
        object.insert("title".into(), Value::from(name.as_str()));
    }
    if let (Some(default), Some(object)) = (&schema.default, object.as_object_mut()) {
        object.insert("default".into(), default.json());
    }
    if schema.optional { json!({ "anyOf": [{ "type": "null" }, object] }) } else { object }
}
