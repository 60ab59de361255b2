//! A schema as Kafka Connect's Avro converter registers it: byte for byte, so that subjects that its events have filled
//! go on with the same schemas.

use super::super::schema::{Schema, Shape};
use super::names::{NAMESPACE_OF_ENTRIES, split};
use super::preset::{of_field, of_type, quoted};

/// The text of a schema.
pub(in super::super) fn text(schema: &Schema) -> String {
    let mut writer = Writer { out: String::new(), defined: Vec::new(), space: String::new() };
    writer.schema(schema);
    writer.out
}

struct Writer {
    out: String,
    /// Full names of the records so far: the second time a name is enough.
    defined: Vec<String>,
    /// The namespace that is in force.
    space: String,
}

/// The union of a field that may be null: the branch of its default comes first.
pub(super) fn null_first(schema: &Schema) -> bool {
    schema.default.is_none()
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A schema, as a union with null where it is optional.
    fn schema(&mut self, schema: &Schema) {
        if !schema.optional {
            return self.present(schema);
        }
        let first = null_first(schema);
        self.put(if first { "[\"null\"," } else { "[" });
        self.present(schema);
        self.put(if first { "]" } else { ",\"null\"]" });
    }

    fn present(&mut self, schema: &Schema) {
        let props = props(schema);
        match &schema.shape {
            Shape::Struct(fields) => {
                let name = schema.name.as_deref().unwrap_or("io.confluent.connect.avro.ConnectDefault");
                self.record(name, fields, &props);
            }
            Shape::Array(items) => {
                self.put("{\"type\":\"array\",\"items\":");
                self.schema(items);
                self.props(&props);
            }
            Shape::Map(keys, values) if keys.shape == Shape::String => {
                self.put("{\"type\":\"map\",\"values\":");
                self.schema(values);
                self.props(&props);
            }
            Shape::Map(keys, values) => {
                self.put("{\"type\":\"array\",\"items\":");
                let fields = [("key".to_owned(), (**keys).clone()), ("value".to_owned(), (**values).clone())];
                let entry = [("connect.internal.type", quoted("MapEntry"))];
                self.record(&format!("{NAMESPACE_OF_ENTRIES}.MapEntry"), &fields, &entry);
                self.props(&props);
            }
            plain if props.is_empty() => self.put(&quoted(primitive(plain))),
            plain => {
                self.put(&format!("{{\"type\":\"{}\"", primitive(plain)));
                self.props(&props);
            }
        }
    }

    fn record(&mut self, full: &str, fields: &[(String, Schema)], props: &[(&str, String)]) {
        let (space, name) = split(full);
        if self.defined.iter().any(|known| known == full) {
            let name = if space == self.space { name } else { full };
            return self.put(&quoted(name));
        }
        self.defined.push(full.to_owned());
        self.put(&format!("{{\"type\":\"record\",\"name\":{}", quoted(name)));
        if space != self.space {
            self.put(&format!(",\"namespace\":{}", quoted(space)));
        }
        let outer = std::mem::replace(&mut self.space, space.to_owned());
        self.put(",\"fields\":[");
        for (at, (name, schema)) in fields.iter().enumerate() {
            if at > 0 {
                self.put(",");
            }
            self.put(&format!("{{\"name\":{},\"type\":", quoted(name)));
            self.schema(schema);
            match &schema.default {
                Some(default) => self.put(&format!(",\"default\":{}", of_field(default))),
                None if schema.optional => self.put(",\"default\":null"),
                None => {}
            }
            self.put("}");
        }
        self.space = outer;
        self.put("]");
        self.props(props);
    }

    /// What a schema says beside its type, and its end.
    fn props(&mut self, props: &[(&str, String)]) {
        for (name, value) in props {
            self.put(&format!(",\"{name}\":{value}"));
        }
        self.put("}");
    }
}

fn primitive(shape: &Shape) -> &'static str {
    match shape {
        Shape::Int16 | Shape::Int32 => "int",
        Shape::Int64 => "long",
        Shape::Float32 => "float",
        Shape::Float64 => "double",
        Shape::Boolean => "boolean",
        Shape::String => "string",
        Shape::Bytes => "bytes",
        Shape::Array(_) | Shape::Map(..) | Shape::Struct(_) => "null",
    }
}

/// What the converter adds to a type, in its order.
fn props(schema: &Schema) -> Vec<(&'static str, String)> {
    let mut props = Vec::new();
    let logical = schema.name.as_deref().and_then(|name| name.strip_prefix("org.apache.kafka.connect.data."));
    let parameter = |name| schema.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    if logical == Some("Decimal") {
        props.push(("scale", parameter("scale").unwrap_or_default()));
        props.push(("precision", parameter("connect.decimal.precision").unwrap_or_else(|| "64".to_owned())));
    }
    if let Some(doc) = schema.doc {
        props.push(("connect.doc", quoted(doc)));
    }
    if let Some(version) = schema.version {
        props.push(("connect.version", version.to_string()));
    }
    if !schema.parameters.is_empty() {
        let members = schema.parameters.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)));
        props.push(("connect.parameters", format!("{{{}}}", members.collect::<Vec<_>>().join(","))));
    }
    if let Some(default) = &schema.default {
        props.push(("connect.default", of_type(default)));
    }
    if let Some(name) = &schema.name {
        props.push(("connect.name", quoted(name)));
    }
    if schema.shape == Shape::Int16 {
        props.push(("connect.type", quoted("int16")));
    }
    let logical_type = match logical {
        Some("Decimal") => "decimal",
        Some("Date") => "date",
        Some("Time") => "time-millis",
        Some("Timestamp") => "timestamp-millis",
        _ => return props,
    };
    props.push(("logicalType", quoted(logical_type)));
    props
}
