//! Avro to JSON, by the schema it was written with: only as far as two records can be compared.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::json::Json;

/// A reader by one schema.
pub struct Reader {
    schema: Json,
    /// Named types by their full names, each with the namespace in force inside of it.
    names: HashMap<String, (Json, String)>,
}

impl Reader {
    /// By a schema's text.
    pub fn new(text: &str) -> Reader {
        let mut reader = Reader { schema: Json::parse(text), names: HashMap::new() };
        let schema = reader.schema.clone();
        reader.learn(&schema, "");
        reader
    }

    /// The schema as it was written.
    pub fn schema(&self) -> &Json {
        &self.schema
    }

    /// A whole datum.
    pub fn read(&self, mut bytes: &[u8]) -> Json {
        let value = self.value(&self.schema, "", &mut bytes);
        assert!(bytes.is_empty(), "{} bytes are left over", bytes.len());
        value
    }

    fn learn(&mut self, schema: &Json, space: &str) {
        match schema {
            Json::List(branches) => branches.iter().for_each(|branch| self.learn(branch, space)),
            Json::Object(_) => {
                let name = schema.field("name").and_then(Json::as_text);
                let own = schema.field("namespace").and_then(Json::as_text).unwrap_or_else(|| space.to_owned());
                if let (Some(name), Some(Json::List(fields))) = (name, schema.field("fields")) {
                    self.names.insert(full(&name, &own), (schema.clone(), own.clone()));
                    fields.iter().filter_map(|field| field.field("type")).for_each(|one| self.learn(one, &own));
                }
                ["type", "items", "values"]
                    .iter()
                    .filter_map(|part| schema.field(part))
                    .for_each(|part| self.learn(part, space));
            }
            Json::Token(_) => {}
        }
    }

    fn value(&self, schema: &Json, space: &str, bytes: &mut &[u8]) -> Json {
        match schema {
            Json::List(branches) => self.value(&branches[long(bytes) as usize], space, bytes),
            Json::Object(_) => match schema.field("type") {
                Some(inner @ (Json::Object(_) | Json::List(_))) => self.value(inner, space, bytes),
                Some(name) => self.typed(&name.as_text().expect("a type"), schema, space, bytes),
                None => panic!("no type in {}", schema.text()),
            },
            Json::Token(_) => self.typed(&schema.as_text().expect("a type"), schema, space, bytes),
        }
    }

    fn typed(&self, name: &str, schema: &Json, space: &str, bytes: &mut &[u8]) -> Json {
        match name {
            "null" => Json::word("null"),
            "boolean" => Json::word(take(bytes, 1)[0] == 1),
            "int" | "long" => Json::word(long(bytes)),
            "float" => Json::word(format!("{:?}", f32::from_le_bytes(take(bytes, 4).try_into().expect("four")))),
            "double" => Json::word(format!("{:?}", f64::from_le_bytes(take(bytes, 8).try_into().expect("eight")))),
            "string" => Json::string(std::str::from_utf8(text(bytes)).expect("UTF-8")),
            "bytes" => Json::string(&text(bytes).iter().fold(String::new(), |mut digits, byte| {
                let _ = write!(digits, "{byte:02x}");
                digits
            })),
            "array" => Json::List(self.items(bytes, |bytes| self.value(part(schema, "items"), space, bytes))),
            "map" => Json::Object(self.items(bytes, |bytes| {
                let key = Json::string(std::str::from_utf8(text(bytes)).expect("UTF-8")).text();
                (key[1..key.len() - 1].to_owned(), self.value(part(schema, "values"), space, bytes))
            })),
            "record" => {
                let own = schema.field("namespace").and_then(Json::as_text).unwrap_or_else(|| space.to_owned());
                let Some(Json::List(fields)) = schema.field("fields") else { panic!("a record without fields") };
                let field = |field: &Json| {
                    let name = part(field, "name").as_text().expect("a name");
                    (name, self.value(part(field, "type"), &own, bytes))
                };
                Json::Object(fields.iter().map(field).collect())
            }
            named => {
                let (schema, own) = &self.names[&full(named, space)];
                self.value(schema, own, bytes)
            }
        }
    }

    fn items<T>(&self, bytes: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> T) -> Vec<T> {
        let mut items = Vec::new();
        loop {
            let mut count = long(bytes);
            if count == 0 {
                return items;
            }
            if count < 0 {
                long(bytes);
                count = -count;
            }
            (0..count).for_each(|_| items.push(item(bytes)));
        }
    }
}

fn part<'a>(schema: &'a Json, name: &str) -> &'a Json {
    schema.field(name).unwrap_or_else(|| panic!("no {name} in {}", schema.text()))
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn long(bytes: &mut &[u8]) -> i64 {
    let (mut raw, mut shift) = (0_u64, 0);
    loop {
        let byte = take(bytes, 1)[0];
        raw |= u64::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            return (raw >> 1) as i64 ^ -((raw & 1) as i64);
        }
    }
}

fn text<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = long(bytes) as usize;
    take(bytes, length)
}
