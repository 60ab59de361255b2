//! PostgreSQL's text forms of values.

use tailwater::codecs::copy::binary::BinaryType;
use tailwater::model::PgType;
use tailwater::model::value::{self, Array, Finite, Interval, Numeric, ShapedWriter, ValueError, print, special};

use super::{Target, same};

/// Values as servers print them: of every type in the golden file, and of the edges of those.
fn corpus() -> Vec<Vec<u8>> {
    let golden = include_str!("../golden/types.txt").lines().filter(|line| !line.starts_with('#'));
    let golden = golden.filter_map(|line| line.split(" | ").nth(3)).map(str::trim);
    let edges = [
        "0",
        "-9223372036854775808",
        "3.4028235e+38",
        "-1e-45",
        "NaN",
        "t",
        "f",
        "infinity",
        "-infinity",
        "4713-01-01 BC",
        "5874897-12-31",
        "294276-12-31 23:59:59.999999",
        "4714-11-24 00:00:00+00 BC",
        "24:00:00",
        "24:00:00-15:59:59",
        "12:34:56.789012+05:30",
        "178000000 years -11 mons +30 days -23:59:59.999999",
        "1 year 2 mons 3 days 04:05:06",
        "-0.00",
        "123456789012345678901234567890.0123456789",
        "\\x00ff",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "{1,NULL,\"a b\",\"\\\"\"}",
        "[0:1][-1:0]={{1,2},{3,4}}",
        "{}",
        "$1,234.56",
        "(1.5,-2)",
        "{1:1.5,3:2}/5",
        "10110",
        "\"a\"=>\"b\", \"c\"=>NULL",
        "0101000020E6100000000000000000F03F",
    ];
    golden.chain(edges).map(|text| text.as_bytes().to_vec()).collect()
}

fn target(name: &'static str, check: impl Fn(&[u8]) -> Result<(), String> + 'static) -> Target {
    Target::new(name, corpus(), true, check)
}

/// What is read, printed and read again is the same.
fn back<T: PartialEq + std::fmt::Debug + Copy>(
    text: &[u8],
    parse: fn(&[u8]) -> Result<T, ValueError>,
    print: fn(T, &mut Vec<u8>),
) -> Result<(), String> {
    let Ok(value) = parse(text) else { return Ok(()) };
    let mut out = Vec::new();
    print(value, &mut out);
    same(&Ok(value), &parse(&out))
}

pub fn numbers() -> Target {
    target("numbers", |text| {
        back(text, value::int, print::int)?;
        back(text, value::boolean, print::boolean)?;
        let wide = |text: &[u8]| value::float8(text).map(f64::to_bits);
        let narrow = |text: &[u8]| value::float4(text).map(f32::to_bits);
        back(text, wide, |bits, out| print::float8(f64::from_bits(bits), out))?;
        back(text, narrow, |bits, out| print::float4(f32::from_bits(bits), out))
    })
}

pub fn moments() -> Target {
    target("moments", |text| {
        back(text, value::date, print::date)?;
        back(text, value::time, print::time)?;
        back(text, value::timestamp, print::timestamp)?;
        back(text, value::timestamptz, print::timestamptz)?;
        back(text, value::pg_timestamp, print::pg_timestamp)?;
        back(text, value::pg_timestamptz, print::pg_timestamptz)?;
        let _ = value::timetz(text);
        let mut out = Vec::new();
        if let Ok(Finite::Value(days)) = value::date(text) {
            print::iso_date(days, &mut out);
        }
        if let Ok(Finite::Value(micros)) = value::pg_timestamptz(text) {
            print::iso_pg_instant(micros, 6, &mut out);
        }
        Ok(())
    })
}

pub fn intervals() -> Target {
    target("intervals", |text| {
        let Ok(Finite::Value(interval)) = Interval::parse(text) else { return Ok(()) };
        let _ = interval.average_micros();
        let mut out = Vec::new();
        interval.print(&mut out);
        same(&Ok(Finite::Value(interval)), &Interval::parse(&out))
    })
}

pub fn numerics() -> Target {
    target("numerics", |text| {
        let Ok(numeric) = Numeric::parse(text) else { return Ok(()) };
        let scale = i32::try_from(numeric.scale()).map_err(|error| error.to_string())?;
        let mut binary = Vec::new();
        let _ = numeric.pg_binary(&mut binary);
        let mut unscaled = Vec::new();
        if numeric.unscaled_be(scale, &mut unscaled).is_err() {
            return Ok(());
        }
        let mut out = Vec::new();
        print::decimal(&unscaled, scale, &mut out);
        let again = Numeric::parse(&out).map_err(|error| format!("what it prints is no numeric: {error}"))?;
        let mut twice = Vec::new();
        again.unscaled_be(scale, &mut twice).map_err(|error| error.to_string())?;
        same(&unscaled, &twice)?;
        if let Some(small) = numeric.unscaled_i128(scale) {
            let bytes = small.to_be_bytes();
            let start = bytes.len().checked_sub(unscaled.len()).ok_or("a short number has many bytes")?;
            same(&bytes[start..].to_vec(), &unscaled)?;
        }
        Ok(())
    })
}

pub fn bytes() -> Target {
    target("bytes", |text| {
        let mut bytes = Vec::new();
        if value::bytea(text, &mut bytes).is_ok() {
            let (mut out, mut again) = (Vec::new(), Vec::new());
            print::bytea(&bytes, &mut out);
            value::bytea(&out, &mut again).map_err(|error| error.to_string())?;
            same(&bytes, &again)?;
        }
        back(text, value::uuid, |id, out| print::uuid(&id, out))
    })
}

type Elements = Vec<Option<Vec<u8>>>;

fn elements(array: &Array<'_>) -> Result<Elements, ValueError> {
    array.elements().map(|element| element.map(|e| e.map(std::borrow::Cow::into_owned))).collect()
}

pub fn arrays() -> Target {
    target("arrays", |text| {
        for delimiter in [b',', b';'] {
            let Ok(array) = Array::parse(text, delimiter) else { continue };
            let (Ok(shape), Ok(all)) = (array.shape(), elements(&array)) else { continue };
            let mut out = Vec::new();
            let mut writer = ShapedWriter::new(&mut out, delimiter, shape);
            all.iter().for_each(|element| writer.push(element.as_deref()));
            if writer.finish().is_err() {
                continue;
            }
            let again = Array::parse(&out, delimiter).map_err(|error| error.to_string())?;
            same(&Ok((shape, all)), &again.shape().and_then(|shape| Ok((shape, elements(&again)?))))?;
        }
        Ok(())
    })
}

pub fn rare() -> Target {
    target("rare", |text| {
        let mut out = Vec::new();
        if special::money(text, &mut out).is_ok() {
            let mut again = Vec::new();
            special::money(&out, &mut again).map_err(|error| error.to_string())?;
            same(&out, &again)?;
        }
        let _ = (special::point(text), special::sparse(text), special::geometry(text, &mut Vec::new()));
        let mut bits = Vec::new();
        if special::bits(text, &mut bits).is_ok() {
            let (mut printed, mut again) = (Vec::new(), Vec::new());
            special::print_bits(&bits, Some(text.len()), &mut printed);
            same(&text, &&printed[..])?;
            special::bits(&printed, &mut again).map_err(|error| error.to_string())?;
            same(&bits, &again)?;
        }
        if let Ok(pairs) = special::hstore(text) {
            let mut printed = Vec::new();
            for (at, (key, value)) in pairs.iter().enumerate() {
                special::print_hstore(key, value.as_deref(), at == 0, &mut printed);
            }
            same(&Ok(pairs), &special::hstore(&printed))?;
        }
        Ok(())
    })
}

pub fn copy_binary() -> Target {
    let names = [
        "smallint",
        "integer",
        "bigint",
        "oid",
        "real",
        "double precision",
        "numeric",
        "boolean",
        "text",
        "bytea",
        "date",
        "time without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "uuid",
        "jsonb",
    ];
    let types: Vec<BinaryType> =
        names.iter().map(|name| BinaryType::of(&PgType::named(name).unwrap()).unwrap()).collect();
    target("copy_binary", move |text| {
        for binary in &types {
            let mut out = vec![7];
            match binary.field(Some(text), &mut out) {
                Ok(()) => {
                    let length = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
                    same(&length, &(out.len() - 5))?;
                }
                Err(_) => same(&out, &vec![7])?,
            }
        }
        Ok(())
    })
}
