//! Values: from PostgreSQL's text to Avro.

use super::super::json;
use super::super::kind::Kind;
use super::super::modes::Binaries;
use super::super::schema::{Schema, Shape};
use super::super::{count, text};
use super::wire;
use crate::model::value::special;
use crate::model::value::{self, Array, Finite, Interval, Numeric, ValueError};

const FORM: ValueError = ValueError::new("the column's form");

/// Whether a value has been written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    Fits,
    /// Its form can't say it; what was written of it is to be taken back.
    Misfit,
}

use Fit::{Fits, Misfit};

/// How values of a kind are written: what the schema adds to the kind.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) kind: Kind,
    /// A floating-point number of 32 bits.
    pub(super) narrow: bool,
    /// Of an array's elements, and whether they may be null.
    pub(super) items: Option<(Box<Cast>, bool)>,
}

impl Cast {
    pub(super) fn new(kind: &Kind, schema: &Schema) -> Cast {
        let items = match (kind, &schema.shape) {
            (Kind::List(kind), Shape::Array(items)) => Some((Box::new(Cast::new(kind, items)), items.optional)),
            _ => None,
        };
        let narrow = match &schema.shape {
            Shape::Array(items) => items.shape == Shape::Float32,
            shape => *shape == Shape::Float32,
        };
        // Of money it is the amount that is written.
        Cast { kind: kind.clone(), narrow, items }
    }
}

type Result<T = Fit> = std::result::Result<T, ValueError>;

/// Appends a value.
pub(super) fn value(cast: &Cast, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result {
    match &cast.kind {
        Kind::Text(_) => {
            std::str::from_utf8(text).map_err(|_| ValueError::new("UTF-8"))?;
            wire::bytes(text, out);
        }
        Kind::Int => wire::long(value::int(text)?, out),
        Kind::Float => float(cast, text, out)?,
        Kind::Bool => out.push(u8::from(value::boolean(text)?)),
        Kind::Bytes(Binaries::Bytes) => {
            scratch.clear();
            value::bytea(text, scratch)?;
            wire::bytes(scratch, out);
        }
        Kind::Decimal { .. } | Kind::VariableDecimal | Kind::DecimalDouble => return number(cast, text, out, scratch),
        Kind::Money(amount) => {
            let mut number = Vec::new();
            special::money(text, &mut number)?;
            return value(&Cast { kind: (**amount).clone(), ..cast.clone() }, &number, out, scratch);
        }
        Kind::Date => wire::long(i64::from(count::date(text)?), out),
        Kind::Time(unit) => return Ok(counted(count::time(text, *unit)?, out)),
        Kind::Timestamp(unit) => return Ok(counted(count::timestamp(text, *unit)?, out)),
        Kind::Duration => {
            let micros = match Interval::parse(text)? {
                Finite::Value(interval) => interval.average_micros(),
                _ => None,
            };
            return Ok(counted(micros, out));
        }
        Kind::Bit => match text {
            b"1" => out.push(1),
            b"0" => out.push(0),
            // A varbit(1) may be empty.
            _ => return Ok(Misfit),
        },
        Kind::Bits(_) => {
            scratch.clear();
            special::bits(text, scratch)?;
            let length = scratch.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            wire::bytes(scratch.get(..length).unwrap_or_default(), out);
        }
        Kind::List(_) => return list(cast, text, out, scratch),
        plain if text::tells(plain) => wire::sized(out, |out| text::write(plain, text, out, scratch))?,
        _ => rare(cast, text, out, scratch)?,
    }
    Ok(Fits)
}

fn counted(number: Option<i64>, out: &mut Vec<u8>) -> Fit {
    number.map(|number| wire::long(number, out)).map_or(Misfit, |()| Fits)
}

fn float(cast: &Cast, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    match cast.narrow {
        true => out.extend_from_slice(&value::float4(text)?.to_le_bytes()),
        false => out.extend_from_slice(&value::float8(text)?.to_le_bytes()),
    }
    Ok(())
}

fn number(cast: &Cast, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result {
    let numeric = Numeric::parse(text)?;
    match (&cast.kind, numeric) {
        (Kind::DecimalDouble, _) => float(cast, text, out)?,
        (Kind::Decimal { scale }, Numeric::Finite { .. }) => {
            scratch.clear();
            numeric.unscaled_be(*scale, scratch)?;
            wire::bytes(scratch, out);
        }
        (_, Numeric::Finite { fraction, .. }) => {
            // Zeros at the end are left out, as Debezium does.
            let digits = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
            let scale = i32::try_from(digits).map_err(|_| ValueError::new("a numeric"))?;
            wire::long(i64::from(scale), out);
            scratch.clear();
            numeric.unscaled_be(scale, scratch)?;
            wire::bytes(scratch, out);
        }
        _ => return Ok(Misfit),
    }
    Ok(Fits)
}

fn list(cast: &Cast, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result {
    let Some((items, optional)) = &cast.items else { return Err(FORM) };
    let array = Array::parse(text, b',')?;
    if array.bounds || array.dimensions > 1 {
        return Ok(Misfit);
    }
    let start = out.len();
    out.push(0);
    let mut count = 0;
    for item in array.elements() {
        count += 1;
        let Some(item) = item? else {
            if !optional {
                return Ok(Misfit);
            }
            out.push(0);
            continue;
        };
        if *optional {
            out.push(2);
        }
        if value(items, &item, out, scratch)? == Misfit {
            return Ok(Misfit);
        }
    }
    if count > 0 {
        wire::prefix(start, count, out);
        out.push(0);
    }
    Ok(Fits)
}

fn rare(cast: &Cast, text: &[u8], out: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
    match &cast.kind {
        Kind::Point => {
            let (x, y) = special::point(text)?;
            let (x, y) = (value::float8(x)?.to_le_bytes(), value::float8(y)?.to_le_bytes());
            out.extend_from_slice(&x);
            out.extend_from_slice(&y);
            // The second of null and bytes; no reference system.
            out.push(2);
            wire::bytes(&[&[1, 1, 0, 0, 0], x.as_slice(), y.as_slice()].concat(), out);
            out.push(0);
        }
        Kind::Geometry => {
            scratch.clear();
            let srid = special::geometry(text, scratch)?;
            wire::bytes(scratch, out);
            match srid {
                None => out.push(0),
                Some(srid) => {
                    out.push(2);
                    wire::long(i64::from(srid), out);
                }
            }
        }
        Kind::HstoreText => wire::sized(out, |out| json::hstore(text, out))?,
        Kind::HstoreMap => {
            let pairs = special::hstore(text)?;
            wire::length(pairs.len(), out);
            for (key, value) in &pairs {
                wire::bytes(key, out);
                match value {
                    None => out.push(0),
                    Some(value) => {
                        out.push(2);
                        wire::bytes(value, out);
                    }
                }
            }
            if !pairs.is_empty() {
                out.push(0);
            }
        }
        Kind::Vector => {
            let list = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(FORM)?;
            let numbers = || list.split(|byte| *byte == b',').filter(|number| !number.is_empty());
            wire::length(numbers().count(), out);
            numbers().try_for_each(|number| float(cast, number, out))?;
            if numbers().next().is_some() {
                out.push(0);
            }
        }
        Kind::SparseVector => {
            let (dimensions, pairs) = special::sparse(text)?;
            wire::long(dimensions, out);
            wire::length(pairs.len(), out);
            for (index, number) in &pairs {
                wire::long(*index, out);
                out.extend_from_slice(&value::float8(number)?.to_le_bytes());
            }
            if !pairs.is_empty() {
                out.push(0);
            }
        }
        _ => return Err(FORM),
    }
    Ok(())
}
