//! Avro, as Confluent's converter writes it: told again as JSON, with the schema that Connect had before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::ForeignError;
use super::connect::{Connect, said};
use crate::codecs::event::json::string;
use crate::model::value::print;

const ERROR: ForeignError = ForeignError::Unreadable("Avro of the registry's schema");
/// Deeper records are told without their fields' types: they may hold themselves.
const DEPTH: usize = 6;
/// Records of more levels than this nobody wrote.
const LEVELS: usize = 128;

/// A writer's schema.
#[derive(Debug)]
pub struct AvroSchema {
    root: Node,
    names: HashMap<String, Node>,
    connect: Arc<Connect>,
}

#[derive(Clone, Debug)]
struct Node {
    shape: Shape,
    name: Option<String>,
    parameters: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    List(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Record(Vec<(String, Node)>),
    Named(String),
}

impl AvroSchema {
    /// Reads a schema's text.
    pub fn parse(text: &str) -> Result<AvroSchema, ForeignError> {
        const ERROR: ForeignError = ForeignError::Unreadable("an Avro schema");
        let json = serde_json::from_str(text).map_err(|_| ERROR)?;
        let mut names = HashMap::new();
        let root = node(&json, "", &mut names).ok_or(ERROR)?;
        let connect = Arc::new(connect(&root, &names, 0));
        Ok(AvroSchema { root, names, connect })
    }

    /// The number of a record's schema, where it has the registry's framing.
    pub fn number(bytes: &[u8]) -> Option<u32> {
        let (magic, rest) = bytes.split_first()?;
        (*magic == 0).then(|| rest.first_chunk::<4>().map(|number| u32::from_be_bytes(*number)))?
    }

    /// What Connect had.
    pub(super) fn connect(&self) -> &Arc<Connect> {
        &self.connect
    }

    /// The JSON of a record behind its framing.
    pub(super) fn json(&self, bytes: &[u8]) -> Result<Vec<u8>, ForeignError> {
        let mut input = bytes.get(5..).ok_or(ERROR)?;
        let mut out = Vec::with_capacity(bytes.len() * 2);
        self.tell(&self.root, &mut input, &mut out, 0)?;
        if input.is_empty() { Ok(out) } else { Err(ForeignError::Unreadable("nothing behind the Avro record")) }
    }

    fn tell(&self, node: &Node, input: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), ForeignError> {
        if depth > LEVELS {
            return Err(ForeignError::Unreadable("an Avro record of fewer levels"));
        }
        match &node.shape {
            Shape::Null => out.extend_from_slice(b"null"),
            Shape::Boolean => match take(input, 1)? {
                [0] => out.extend_from_slice(b"false"),
                [1] => out.extend_from_slice(b"true"),
                _ => return Err(ERROR),
            },
            Shape::Int | Shape::Long => print::int(long(input)?, out),
            Shape::Float => {
                let bytes = take(input, 4)?.first_chunk::<4>().ok_or(ERROR)?;
                let number = f32::from_le_bytes(*bytes);
                float(number.is_finite(), |text| print::float4(number, text), out);
            }
            Shape::Double => {
                let bytes = take(input, 8)?.first_chunk::<8>().ok_or(ERROR)?;
                let number = f64::from_le_bytes(*bytes);
                float(number.is_finite(), |text| print::float8(number, text), out);
            }
            Shape::Bytes => base64(sized(input)?, out),
            Shape::Fixed(size) => base64(take(input, *size)?, out),
            Shape::String => string(sized(input)?, out)?,
            Shape::Enum(symbols) => {
                let at = usize::try_from(long(input)?).map_err(|_| ERROR)?;
                string(symbols.get(at).ok_or(ERROR)?.as_bytes(), out)?;
            }
            Shape::Union(branches) => {
                let at = usize::try_from(long(input)?).map_err(|_| ERROR)?;
                self.tell(branches.get(at).ok_or(ERROR)?, input, out, depth + 1)?;
            }
            Shape::Named(name) => self.tell(self.names.get(name).ok_or(ERROR)?, input, out, depth + 1)?,
            Shape::Record(fields) => {
                out.push(b'{');
                for (at, (name, field)) in fields.iter().enumerate() {
                    comma(at, out);
                    string(name.as_bytes(), out)?;
                    out.push(b':');
                    self.tell(field, input, out, depth + 1)?;
                }
                out.push(b'}');
            }
            Shape::List(items) => {
                self.blocks(input, out, *b"[]", |schema, input, out| schema.tell(items, input, out, depth + 1))?
            }
            Shape::Map(values) => self.blocks(input, out, *b"{}", |schema, input, out| {
                string(sized(input)?, out)?;
                out.push(b':');
                schema.tell(values, input, out, depth + 1)
            })?,
        }
        Ok(())
    }

    fn blocks(
        &self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        [open, close]: [u8; 2],
        each: impl Fn(&AvroSchema, &mut &[u8], &mut Vec<u8>) -> Result<(), ForeignError>,
    ) -> Result<(), ForeignError> {
        out.push(open);
        let mut at = 0;
        loop {
            let mut count = long(input)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // Its bytes follow, for those who skip it.
                long(input)?;
                count = count.checked_neg().ok_or(ERROR)?;
            }
            for _ in 0..count {
                comma(at, out);
                at += 1;
                // Items of no bytes could be told for ever.
                if at > 1 << 24 {
                    return Err(ERROR);
                }
                each(self, input, out)?;
            }
        }
        out.push(close);
        Ok(())
    }
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

fn float(finite: bool, print: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let quote = if finite { &b""[..] } else { b"\"" };
    out.extend_from_slice(quote);
    print(out);
    out.extend_from_slice(quote);
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn take<'a>(input: &mut &'a [u8], size: usize) -> Result<&'a [u8], ForeignError> {
    let (taken, rest) = input.split_at_checked(size).ok_or(ERROR)?;
    *input = rest;
    Ok(taken)
}

fn sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], ForeignError> {
    let size = usize::try_from(long(input)?).map_err(|_| ERROR)?;
    take(input, size)
}

fn long(input: &mut &[u8]) -> Result<i64, ForeignError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = *take(input, 1)? else { return Err(ERROR) };
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    Err(ERROR)
}

/// Reads a schema; the named ones in it become known.
fn node(json: &Value, space: &str, names: &mut HashMap<String, Node>) -> Option<Node> {
    let plain = |shape| Node { shape, name: None, parameters: BTreeMap::new() };
    match json {
        Value::String(name) => Some(plain(primitive(name).unwrap_or_else(|| Shape::Named(full(name, space))))),
        Value::Array(branches) => {
            let branches = branches.iter().map(|branch| node(branch, space, names)).collect::<Option<_>>()?;
            Some(plain(Shape::Union(branches)))
        }
        Value::Object(object) => {
            let base = match object.get("type")? {
                Value::String(base) => base.as_str(),
                inner => return node(inner, space, names),
            };
            let text = |key: &str| object.get(key).and_then(Value::as_str);
            let named = text("name").map(|name| full(name, text("namespace").unwrap_or(space)));
            let inner = named.as_deref().and_then(|name| name.rsplit_once('.')).map_or(space, |(space, _)| space);
            let shape = match base {
                "record" => {
                    let field = |field: &Value| {
                        Some((field.get("name")?.as_str()?.to_owned(), node(field.get("type")?, inner, names)?))
                    };
                    Shape::Record(object.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?)
                }
                "enum" => {
                    let symbols = object.get("symbols")?.as_array()?.iter();
                    Shape::Enum(symbols.map(|symbol| symbol.as_str().map(str::to_owned)).collect::<Option<_>>()?)
                }
                "fixed" => Shape::Fixed(usize::try_from(object.get("size")?.as_u64()?).ok()?),
                "array" => Shape::List(Box::new(node(object.get("items")?, space, names)?)),
                "map" => Shape::Map(Box::new(node(object.get("values")?, space, names)?)),
                other => primitive(other).unwrap_or_else(|| Shape::Named(full(other, space))),
            };
            let (name, parameters) = meaning(object);
            let found = Node { shape, name, parameters };
            let of_name = matches!(found.shape, Shape::Record(_) | Shape::Enum(_) | Shape::Fixed(_));
            if let Some(named) = named.filter(|_| of_name) {
                names.insert(named, found.clone());
            }
            Some(found)
        }
        _ => None,
    }
}

/// What Connect calls the values: its own name for them, or the logical type that stands for it.
fn meaning(object: &serde_json::Map<String, Value>) -> (Option<String>, BTreeMap<String, String>) {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let parameters = object.get("connect.parameters").and_then(Value::as_object).into_iter().flatten();
    let mut parameters: BTreeMap<_, _> = parameters.map(|(key, value)| (key.clone(), said(value))).collect();
    if let Some(narrow) = text("connect.type") {
        parameters.insert("connect.type".to_owned(), narrow.to_owned());
    }
    let logical = match text("logicalType") {
        Some("decimal") => {
            let parameter = |key: &str| object.get(key).map(said);
            parameters.insert("scale".to_owned(), parameter("scale").unwrap_or_else(|| "0".to_owned()));
            if let Some(precision) = parameter("precision") {
                parameters.entry("connect.decimal.precision".to_owned()).or_insert(precision);
            }
            Some("org.apache.kafka.connect.data.Decimal")
        }
        Some("date") => Some("org.apache.kafka.connect.data.Date"),
        Some("time-millis") => Some("org.apache.kafka.connect.data.Time"),
        Some("timestamp-millis") => Some("org.apache.kafka.connect.data.Timestamp"),
        Some("time-micros") => Some("io.debezium.time.MicroTime"),
        Some("timestamp-micros") => Some("io.debezium.time.MicroTimestamp"),
        Some("uuid") => Some("io.debezium.data.Uuid"),
        _ => None,
    };
    (text("connect.name").or(logical).map(str::to_owned), parameters)
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::String,
        _ => return None,
    })
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// The schema that Connect had.
fn connect(node: &Node, names: &HashMap<String, Node>, depth: usize) -> Connect {
    let mut made = Connect { name: node.name.clone(), parameters: node.parameters.clone(), ..Connect::default() };
    let inner = |node: &Node| Arc::new(connect(node, names, depth + 1));
    let base = match &node.shape {
        Shape::Null => "null",
        Shape::Boolean => "boolean",
        Shape::Int if node.parameters.get("connect.type").is_some_and(|narrow| narrow != "int32") => "int16",
        Shape::Int => "int32",
        Shape::Long => "int64",
        Shape::Float => "float",
        Shape::Double => "double",
        Shape::Bytes | Shape::Fixed(_) => "bytes",
        Shape::String | Shape::Enum(_) => "string",
        Shape::Map(_) => "map",
        Shape::List(items) => {
            made.items = Some(inner(items));
            "array"
        }
        Shape::Record(fields) => {
            if depth < DEPTH {
                made.fields = fields.iter().map(|(name, field)| (name.clone(), inner(field))).collect();
            }
            "struct"
        }
        Shape::Named(name) => match names.get(name).filter(|_| depth < DEPTH) {
            Some(named) => return connect(named, names, depth + 1),
            None => "struct",
        },
        // Connect has unions only for what may be null.
        Shape::Union(branches) => {
            let mut some = branches.iter().filter(|branch| !matches!(branch.shape, Shape::Null));
            match (some.next(), some.next()) {
                (Some(one), None) => return connect(one, names, depth + 1),
                _ => "union",
            }
        }
    };
    made.base = base.to_owned();
    made
}
