//! What a schema says of a column: its type here, and the form that its values take.

use super::connect::Connect;
use super::guess;
use crate::codecs::event::json::read_value;
use crate::codecs::event::kind::{Kind, Named, Unit};
use crate::codecs::event::modes::Binaries;
use crate::model::value::ValueError;
use crate::model::{Pattern, PgType};

/// A type that the configuration gives a column, instead of what its values look like.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The tables.
    pub tables: Pattern,
    /// The column.
    pub column: String,
    /// Its type.
    pub pg_type: PgType,
    /// The type's modifier, -1 for none.
    pub modifier: i32,
}

/// The type of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Typed {
    pub(super) pg_type: PgType,
    pub(super) modifier: i32,
    /// `None`: the value's JSON itself.
    pub(super) kind: Option<Kind>,
}

impl Typed {
    /// The type of values with this schema.
    pub(super) fn of(schema: &Connect) -> Typed {
        let typed = |pg_type, kind| Typed { pg_type, modifier: -1, kind: Some(kind) };
        if let Some(name) = &schema.name
            && let Some(found) = semantic(name, schema)
        {
            return found;
        }
        match (schema.base.as_str(), &schema.items) {
            ("int8" | "int16", _) => typed(PgType::Int2, Kind::Int),
            ("int32", _) => typed(PgType::Int4, Kind::Int),
            ("int64", _) => typed(PgType::Int8, Kind::Int),
            ("float" | "float32", _) => typed(PgType::Float4, Kind::Float),
            ("double" | "float64", _) => typed(PgType::Float8, Kind::Float),
            ("boolean", _) => typed(PgType::Bool, Kind::Bool),
            ("bytes", _) => typed(PgType::Bytea, Kind::Bytes(Binaries::Bytes)),
            ("string", _) => typed(PgType::Text, Kind::Text(Named::Plain)),
            ("array", Some(items)) => match Typed::of(items) {
                Typed { kind: Some(kind), pg_type, modifier } if !matches!(kind, Kind::List(_)) => {
                    let list = PgType::Array(Box::new(pg_type));
                    Typed { pg_type: list, modifier, kind: Some(Kind::List(Box::new(kind))) }
                }
                _ => Typed::json(),
            },
            _ => Typed::json(),
        }
    }

    fn json() -> Typed {
        Typed { pg_type: PgType::Json, modifier: -1, kind: None }
    }

    /// Appends PostgreSQL's text of a value.
    pub(super) fn print(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match &self.kind {
            None => guess::print(&PgType::Json, json, out),
            Some(kind) => read_value(kind, &mut crate::codecs::event::json::Reader::new(json), out).map(|_| ()),
        }
    }
}

/// What PostgreSQL allows for `bit(n)`.
const LONGEST_BITS: i32 = 83_886_080;

/// The types that Connect and Debezium name.
fn semantic(name: &str, schema: &Connect) -> Option<Typed> {
    let other = |name: &str| PgType::Other { name: name.to_owned() };
    let text = |named| (PgType::Text, Kind::Text(named));
    let word = |prefix: &str| name.strip_prefix(prefix);
    let mut modifier = -1;
    let (pg_type, kind) = if let Some(time) = word("io.debezium.time.") {
        match time {
            "Date" => (PgType::Date, Kind::Date),
            "IsoDate" => (PgType::Date, Kind::IsoDate),
            "Time" => (PgType::Time, Kind::Time(Unit::Millis)),
            "MicroTime" => (PgType::Time, Kind::Time(Unit::Micros)),
            "NanoTime" => (PgType::Time, Kind::Time(Unit::Nanos)),
            "IsoTime" => (PgType::Time, Kind::IsoTime),
            "ZonedTime" => (other("time with time zone"), Kind::TimeTz),
            "Timestamp" => (PgType::Timestamp, Kind::Timestamp(Unit::Millis)),
            "MicroTimestamp" => (PgType::Timestamp, Kind::Timestamp(Unit::Micros)),
            "NanoTimestamp" => (PgType::Timestamp, Kind::Timestamp(Unit::Nanos)),
            "IsoTimestamp" => (PgType::Timestamp, Kind::IsoTimestamp),
            "ZonedTimestamp" => (PgType::Timestamptz, Kind::Timestamptz { digits: 6 }),
            "MicroDuration" => (other("interval"), Kind::Duration),
            "Interval" => (other("interval"), Kind::IsoDuration),
            "Year" => (PgType::Int4, Kind::Int),
            _ => return None,
        }
    } else if let Some(data) = word("io.debezium.data.") {
        match data {
            "Json" => (PgType::Json, Kind::Text(Named::Json)),
            "Uuid" => (PgType::Uuid, Kind::Text(Named::Uuid)),
            "Xml" => text(Named::Xml),
            "Enum" | "EnumSet" => text(Named::Enum),
            "Ltree" => text(Named::Ltree),
            "Tsvector" => text(Named::Tsvector),
            "VariableScaleDecimal" => (PgType::Numeric, Kind::VariableDecimal),
            "Bits" => {
                // The largest number stands for a column without a length.
                let length = schema.number("length").filter(|length| (1..=LONGEST_BITS).contains(length));
                (other("bit varying"), Kind::Bits(length.and_then(|length| usize::try_from(length).ok())))
            }
            "geometry.Point" => (other("point"), Kind::Point),
            "geometry.Geometry" => (other("geometry"), Kind::Geometry),
            "geometry.Geography" => (other("geography"), Kind::Geometry),
            "SparseDoubleVector" => (other("sparsevec"), Kind::SparseVector),
            "DoubleVector" | "FloatVector" => (other("vector"), Kind::Vector),
            _ => return None,
        }
    } else {
        match word("org.apache.kafka.connect.data.")? {
            "Date" => (PgType::Date, Kind::Date),
            "Time" => (PgType::Time, Kind::Time(Unit::MillisCut)),
            "Timestamp" => (PgType::Timestamp, Kind::Timestamp(Unit::MillisCut)),
            "Decimal" => {
                let scale = schema.number("scale")?;
                if let Some(precision @ 1..=1000) = schema.number("connect.decimal.precision") {
                    modifier = (precision << 16 | scale & 0x7FF) + 4;
                }
                (PgType::Numeric, Kind::Decimal { scale })
            }
            _ => return None,
        }
    };
    Some(Typed { pg_type, modifier, kind: Some(kind) })
}
