//! Schemas as Kafka Connect has them: what a record's fields are, for consumers that want to be told.

use super::encode::Settings;
use super::flat::Flat;
use super::kind::{Kind, Named, Unit};
use super::modes::{Binaries, Modes, Times};
use super::preset::{Preset, preset};
use super::topic;
use crate::model::pg_type::numeric_modifier;
use crate::model::{Column, PgType, Table};

/// A schema.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Schema {
    pub(super) shape: Shape,
    pub(super) optional: bool,
    pub(super) name: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) doc: Option<&'static str>,
    pub(super) parameters: Vec<(&'static str, String)>,
    /// What a value is where none is given.
    pub(super) default: Option<Preset>,
}

/// What values look like.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Shape {
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(Box<Schema>),
    Map(Box<Schema>, Box<Schema>),
    Struct(Vec<(String, Schema)>),
}

impl Schema {
    pub(super) fn plain(shape: Shape) -> Schema {
        Schema { shape, optional: false, name: None, version: None, doc: None, parameters: Vec::new(), default: None }
    }

    fn named(shape: Shape, name: impl Into<String>) -> Schema {
        Schema { name: Some(name.into()), version: Some(1), ..Schema::plain(shape) }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Schema {
        self.parameters.push((key, value.to_string()));
        self
    }

    fn optional(self) -> Schema {
        Schema { optional: true, ..self }
    }
}

const DEBEZIUM_TIME: &str = "io.debezium.time.";
const CONNECT: &str = "org.apache.kafka.connect.data.";
const DATA: &str = "io.debezium.data.";

/// The schemas of a table version's records.
pub(super) struct Schemas {
    /// Of keys, where the table has one.
    pub(super) key: Option<Schema>,
    /// Of values.
    pub(super) envelope: Schema,
    row: Schema,
}

impl Schemas {
    /// Of the records in a topic; columns that the modes leave out are not in them.
    pub(super) fn new(topic: &str, table: &Table, modes: &Modes) -> Schemas {
        let topic = modes.name_adjustment.schema(topic);
        let field = |at: usize| {
            let column = table.columns.get(at)?;
            let schema = column_schema(column, modes);
            let schema = schema.or_else(|| table.key.contains(&at).then(|| Schema::plain(Shape::String)))?;
            let default = preset(column, &schema.shape, modes);
            Some((
                modes.name_adjustment.field(&column.name).into_owned(),
                Schema { optional: column.optional, default, ..schema },
            ))
        };
        let fields = |places: &mut dyn Iterator<Item = usize>| Shape::Struct(places.filter_map(field).collect());
        let key = table.has_key().then(|| Schema {
            name: Some(format!("{topic}.Key")),
            ..Schema::plain(fields(&mut table.key.iter().copied()))
        });
        let row =
            Schema { name: Some(format!("{topic}.Value")), ..Schema::plain(fields(&mut (0..table.columns.len()))) };
        let long = || Schema::plain(Shape::Int64).optional();
        let envelope = Shape::Struct(vec![
            ("before".into(), row.clone().optional()),
            ("after".into(), row.clone().optional()),
            ("source".into(), source()),
            ("transaction".into(), transaction().optional()),
            ("op".into(), Schema::plain(Shape::String)),
            ("ts_ms".into(), long()),
            ("ts_us".into(), long()),
            ("ts_ns".into(), long()),
        ]);
        let envelope = Schema { version: Some(2), ..Schema::named(envelope, format!("{topic}.Envelope")) };
        Schemas { key, envelope, row }
    }

    /// Of a table's records as they are written: with what is added to its keys.
    pub(super) fn of(table: &Table, settings: &Settings) -> Schemas {
        let mut schemas = Schemas::new(&topic(&settings.prefix, &table.name), table, &settings.modes);
        if let Some(Schema { shape: Shape::Struct(fields), .. }) = &mut schemas.key {
            let adjust = |name| settings.modes.name_adjustment.field(name).into_owned();
            fields.extend(settings.key_fields.iter().map(|(name, _)| (adjust(name), Schema::plain(Shape::String))));
        }
        schemas
    }

    /// The fields of a row: one for each column that is told.
    pub(super) fn row_fields(&self) -> &[(String, Schema)] {
        match &self.row.shape {
            Shape::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// Of values that are rows alone.
    pub(super) fn flat(&self, flat: &Flat) -> Schema {
        let mut row = self.row.clone();
        if let Shape::Struct(fields) = &mut row.shape {
            fields.extend(flat.schema());
        }
        row
    }
}

/// The `source` block.
pub(super) fn source() -> Schema {
    let (text, long) = (|| Schema::plain(Shape::String), || Schema::plain(Shape::Int64));
    let marks = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";
    let snapshot = Schema::named(Shape::String, format!("{DATA}Enum")).with("allowed", marks).optional();
    let fields = [
        ("version", text()),
        ("connector", text()),
        ("name", text()),
        ("ts_ms", long()),
        ("snapshot", Schema { default: Some(Preset::Text("false".into())), ..snapshot }),
        ("db", text()),
        ("sequence", text().optional()),
        ("ts_us", long().optional()),
        ("ts_ns", long().optional()),
        ("schema", text()),
        ("table", text()),
        ("txId", long().optional()),
        ("lsn", long().optional()),
        ("xmin", long().optional()),
        ("origin", text().optional()),
        ("origin_lsn", long().optional()),
    ];
    let fields = fields.map(|(name, schema)| (name.to_owned(), schema)).into();
    Schema::named(Shape::Struct(fields), "io.debezium.connector.postgresql.Source")
}

/// The `transaction` block.
pub(super) fn transaction() -> Schema {
    let long = || Schema::plain(Shape::Int64);
    let fields = vec![
        ("id".to_owned(), Schema::plain(Shape::String)),
        ("total_order".to_owned(), long()),
        ("data_collection_order".to_owned(), long()),
    ];
    Schema::named(Shape::Struct(fields), "event.block")
}

/// What a column's values are; `None` when the column is left out.
pub(super) fn column_schema(column: &Column, modes: &Modes) -> Option<Schema> {
    let kind = Kind::of(&column.pg_type, column.modifier, modes)?;
    Some(of(&kind, &column.pg_type, column.modifier, modes))
}

fn of(kind: &Kind, pg_type: &PgType, modifier: i32, modes: &Modes) -> Schema {
    let time = |shape, name: &str| Schema::named(shape, format!("{DEBEZIUM_TIME}{name}"));
    let data = |shape, name: &str| Schema::named(shape, format!("{DATA}{name}"));
    let connect = |shape, name: &str| Schema::named(shape, format!("{CONNECT}{name}"));
    match kind {
        Kind::Int => Schema::plain(match pg_type {
            PgType::Int2 => Shape::Int16,
            PgType::Int4 => Shape::Int32,
            _ => Shape::Int64,
        }),
        Kind::Float if *pg_type == PgType::Float4 => Schema::plain(Shape::Float32),
        Kind::Float | Kind::DecimalDouble => Schema::plain(Shape::Float64),
        Kind::Bool | Kind::Bit => Schema::plain(Shape::Boolean),
        Kind::Bits(length) => {
            let length = length.map_or(i32::MAX, |length| i32::try_from(length).unwrap_or(i32::MAX));
            data(Shape::Bytes, "Bits").with("length", if modifier > 0 { modifier } else { length })
        }
        Kind::Text(named) => text(*named, pg_type),
        Kind::Bytes(Binaries::Bytes) => Schema::plain(Shape::Bytes),
        Kind::Bytes(_) | Kind::DecimalText => Schema::plain(Shape::String),
        Kind::Decimal { scale } => {
            let decimal = connect(Shape::Bytes, "Decimal").with("scale", scale);
            match numeric_modifier(modifier).filter(|_| *pg_type == PgType::Numeric) {
                Some((precision, _)) => decimal.with("connect.decimal.precision", precision),
                None => decimal,
            }
        }
        Kind::VariableDecimal => {
            let fields = vec![
                ("scale".to_owned(), Schema::plain(Shape::Int32)),
                ("value".to_owned(), Schema::plain(Shape::Bytes)),
            ];
            let doc = Some("Variable scaled decimal");
            Schema { doc, ..data(Shape::Struct(fields), "VariableScaleDecimal") }
        }
        Kind::Money(decimal) => of(decimal, pg_type, modifier, modes),
        Kind::Date if modes.time == Times::Connect => connect(Shape::Int32, "Date"),
        Kind::Date => time(Shape::Int32, "Date"),
        Kind::IsoDate => time(Shape::String, "IsoDate"),
        Kind::Time(Unit::Millis) => time(Shape::Int32, "Time"),
        Kind::Time(Unit::MillisCut) => connect(Shape::Int32, "Time"),
        Kind::Time(Unit::Micros) => time(Shape::Int64, "MicroTime"),
        Kind::Time(Unit::Nanos) => time(Shape::Int64, "NanoTime"),
        Kind::IsoTime => time(Shape::String, "IsoTime"),
        Kind::TimeTz => time(Shape::String, "ZonedTime"),
        Kind::Timestamp(Unit::Millis) => time(Shape::Int64, "Timestamp"),
        Kind::Timestamp(Unit::MillisCut) => connect(Shape::Int64, "Timestamp"),
        Kind::Timestamp(Unit::Micros) => time(Shape::Int64, "MicroTimestamp"),
        Kind::Timestamp(Unit::Nanos) => time(Shape::Int64, "NanoTimestamp"),
        Kind::IsoTimestamp => time(Shape::String, "IsoTimestamp"),
        Kind::Timestamptz { .. } => time(Shape::String, "ZonedTimestamp"),
        Kind::Duration => time(Shape::Int64, "MicroDuration"),
        Kind::IsoDuration => time(Shape::String, "Interval"),
        Kind::Point | Kind::Geometry => spatial(kind, pg_type),
        Kind::HstoreText => data(Shape::String, "Json"),
        Kind::HstoreMap => {
            let text = Schema::plain(Shape::String);
            Schema::plain(Shape::Map(Box::new(text.clone()), Box::new(text.optional())))
        }
        Kind::Vector | Kind::SparseVector => vector(kind, pg_type),
        Kind::List(element) => {
            let inner = match pg_type {
                PgType::Array(inner) => inner,
                other => other,
            };
            let schema = of(element, inner, modifier, modes);
            // As Debezium has it.
            let optional = !matches!(inner, PgType::Enum { .. });
            Schema::plain(Shape::Array(Box::new(Schema { optional, ..schema })))
        }
    }
}

fn text(named: Named, pg_type: &PgType) -> Schema {
    let name = match named {
        Named::Plain => return Schema::plain(Shape::String),
        Named::Uuid => "Uuid",
        Named::Json => "Json",
        Named::Xml => "Xml",
        Named::Enum => "Enum",
        Named::Ltree => "Ltree",
        Named::Tsvector => "Tsvector",
    };
    let schema = Schema::named(Shape::String, format!("{DATA}{name}"));
    match pg_type {
        PgType::Enum { labels, .. } => schema.with("allowed", labels.join(",")),
        _ => schema,
    }
}

fn spatial(kind: &Kind, pg_type: &PgType) -> Schema {
    let float = || Schema::plain(Shape::Float64);
    let wkb = Schema::plain(Shape::Bytes);
    let srid = ("srid".to_owned(), Schema::plain(Shape::Int32).optional());
    let (name, doc, fields) = match kind {
        Kind::Point => (
            "Point",
            "Geometry (POINT)",
            vec![("x".to_owned(), float()), ("y".to_owned(), float()), ("wkb".to_owned(), wkb.optional()), srid],
        ),
        _ if pg_type.name() == "geography" => ("Geography", "Geography", vec![("wkb".to_owned(), wkb), srid]),
        _ => ("Geometry", "Geometry", vec![("wkb".to_owned(), wkb), srid]),
    };
    Schema { doc: Some(doc), ..Schema::named(Shape::Struct(fields), format!("{DATA}geometry.{name}")) }
}

fn vector(kind: &Kind, pg_type: &PgType) -> Schema {
    let float = Schema::plain(Shape::Float64);
    match kind {
        Kind::SparseVector => {
            let short = || Schema::plain(Shape::Int16);
            let map = Schema::plain(Shape::Map(Box::new(short()), Box::new(float)));
            let fields = vec![("dimensions".to_owned(), short()), ("vector".to_owned(), map)];
            Schema::named(Shape::Struct(fields), format!("{DATA}SparseDoubleVector"))
        }
        _ if pg_type.name() == "halfvec" => {
            let float = Schema::plain(Shape::Float32);
            Schema::named(Shape::Array(Box::new(float)), format!("{DATA}FloatVector"))
        }
        _ => Schema::named(Shape::Array(Box::new(float)), format!("{DATA}DoubleVector")),
    }
}
