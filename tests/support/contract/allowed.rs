//! The differences from Debezium that are meant. `docs/debezium.md` tells each of them.

use super::compare::Difference;
use super::json::Json;
use super::told::Told;

/// A kind of difference.
pub struct Allowed {
    /// What it is called in the page.
    pub name: &'static str,
    /// Whether a difference is of this kind.
    pub covers: fn(&Difference<'_>) -> bool,
}

/// All of them.
pub const ALLOWED: &[Allowed] = &[
    Allowed { name: "headers of our own", covers: |d| d.path.starts_with("header.tw.") && d.they_say.is_none() },
    Allowed { name: "the version", covers: |d| d.path == "value.source.version" },
    Allowed {
        name: "no transaction id for rows that a snapshot read",
        covers: |d| d.path == "value.source.txId" && d.ours.is_some_and(Told::is_read) && says(&d.we_say, "null"),
    },
    Allowed {
        name: "NULL stays NULL where the column has a default",
        covers: |d| says(&d.we_say, "null") && default_said(d),
    },
    Allowed {
        name: "a default does not stand for what a delete does not know",
        covers: |d| {
            d.path.starts_with("value.before.") && d.ours.is_some_and(|ours| ours.op() == "d") && default_said(d)
        },
    },
    Allowed { name: "an expression is no default", covers: misread },
    Allowed {
        name: "control characters in headers are escaped",
        covers: |d| {
            let raw = |text: &String| text.contains(|sign: char| sign < ' ');
            (d.path == "header.__debezium.newkey" || d.path == "header.__debezium.oldkey")
                && d.they_say.as_ref().is_some_and(raw)
        },
    },
    Allowed {
        name: "a unique index over columns that may be NULL is no key",
        covers: |d| d.topic() == "public.uniq" && d.path.is_empty(),
    },
    Allowed {
        name: "times in lists keep their microseconds",
        covers: |d| {
            let in_list = d.path.ends_with(|sign: char| sign.is_ascii_digit());
            let cut = |(theirs, ours): (f64, f64)| theirs == (ours / 1000.0).trunc() * 1000.0 && ours <= 86_400e6;
            let text =
                |theirs: &String, ours: &String| theirs.len() > 10 && ours.starts_with(&theirs[..theirs.len() - 2]);
            in_list
                && (number(&d.they_say).zip(number(&d.we_say)).is_some_and(cut)
                    || d.they_say.as_ref().zip(d.we_say.as_ref()).is_some_and(|(theirs, ours)| text(theirs, ours)))
        },
    },
    Allowed {
        name: "large bytes that did not change are never null",
        covers: |d| {
            let bytes = ["\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"", "\"__debezium_unavailable_value\""];
            let said = || bytes.iter().any(|text| says(&d.we_say, text));
            match &d.they_say {
                Some(null) if null == "null" => said() || d.we_say.is_none() && our_list(d),
                None => d.path.ends_with(".0") && said(),
                Some(_) => false,
            }
        },
    },
    Allowed {
        name: "a message of no transaction has the time at which it is read",
        covers: |d| {
            let txid = |told: &Told| told.value.as_ref()?.field("source")?.field("txId").map(Json::is_null);
            d.path.starts_with("value.source.ts_") && d.topic() == "message" && d.ours.and_then(txid) == Some(true)
        },
    },
    Allowed {
        name: "messages have a name in the count of a transaction",
        covers: |d| d.path.starts_with("value.data_collections.") && says(&d.we_say, "\"message\""),
    },
    Allowed {
        name: "24:00 stays 24:00",
        covers: |d| says(&d.they_say, "\"00:00:00Z\"") && says(&d.we_say, "\"24:00:00Z\""),
    },
    Allowed {
        name: "a type that Debezium leaves out is told",
        covers: |d| match place(d) {
            Some(place) => !has(d.theirs, &place) && has(d.ours, &place),
            None => value(d.theirs, d) == Some(None) && matches!(value(d.ours, d), Some(Some(_))),
        },
    },
    Allowed {
        name: "a generated column is in no row",
        covers: |d| {
            let read = d.ours.is_some_and(Told::is_read);
            read && match place(d) {
                Some(place) => has(d.theirs, &place) && !has(d.ours, &place),
                None => value(d.ours, d) == Some(None),
            }
        },
    },
    Allowed {
        name: "what Debezium can't read is told",
        covers: |d| match place(d) {
            // It takes a list of bit strings for one.
            Some(place) => {
                let bits = |at: &str| {
                    in_schema(d.theirs, &format!("{place}.{at}")) == Some("\"io.debezium.data.Bits\"".into())
                };
                bits("name") || bits("type.1.connect.name")
            }
            None => {
                let known = |json: Option<Option<&Json>>| json.flatten().map(|json| !json.is_null());
                d.path.starts_with("value.after.")
                    && known(value(d.theirs, d)) == Some(false)
                    && known(value(d.ours, d)) == Some(true)
            }
        },
    },
    Allowed {
        name: "a list of several dimensions, or from another lower bound, is its text, in Avro null",
        covers: |d| {
            let text = |json: &Json| json.is_null() || json.text().starts_with("\"{") || json.text().starts_with("\"[");
            matches!(value(d.theirs, d), Some(Some(Json::List(_)))) && value(d.ours, d).flatten().is_some_and(text)
        },
    },
    Allowed {
        name: "dates without an end, and lists before our era, are those of the stream",
        covers: |d| {
            let ends = ["2147483647", "-2147483648"].iter().any(|end| says(&d.we_say, end));
            let before = |say: &Option<String>| number(say).is_some_and(|number| number < -700_000.0);
            let in_list = d.path.ends_with(|sign: char| sign.is_ascii_digit());
            ends || in_list && before(&d.they_say) && before(&d.we_say)
        },
    },
    Allowed {
        name: "an interval beyond 64 bits is a text, in Avro null",
        covers: |d| {
            let none = |say: &String| say.starts_with('"') || say == "null";
            says(&d.they_say, "9223372036854775807") && d.we_say.as_ref().is_some_and(none)
        },
    },
    Allowed {
        name: "the smallest reals have as many digits as they need",
        covers: |d| {
            let numbers = number(&d.they_say).zip(number(&d.we_say));
            numbers.is_some_and(|(theirs, ours)| {
                theirs as f32 == ours as f32 && theirs.abs() < f64::from(f32::MIN_POSITIVE)
            })
        },
    },
];

/// Whether we have a list where the other side has one value.
fn our_list(d: &Difference<'_>) -> bool {
    let value = d.ours.and_then(|ours| ours.value.as_ref());
    let place = d.path.split('.').skip(1).fold(value, |value, name| value.and_then(|value| value.field(name)));
    matches!(place, Some(Json::List(_)))
}

/// Where in a schema the column stands that a difference is about.
fn place(d: &Difference<'_>) -> Option<String> {
    let path = d.path.strip_prefix("value.schema.")?;
    ["fields.before.fields.", "fields.after.fields.", "fields.before.type.Value.fields."].iter().find_map(|begin| {
        let column = path.strip_prefix(begin)?.split('.').next()?;
        Some(format!("{begin}{column}"))
    })
}

fn has(told: Option<&Told>, place: &str) -> bool {
    let mut leaves = Vec::new();
    told.and_then(|told| told.value_schema.as_ref()).into_iter().for_each(|schema| schema.leaves("", &mut leaves));
    leaves.iter().any(|(path, _)| path.strip_prefix(place).is_some_and(|rest| rest.starts_with('.')))
}

/// What a side says of the column that a difference is about; nothing where it is about something else.
fn value<'a>(told: Option<&'a Told>, d: &Difference<'_>) -> Option<Option<&'a Json>> {
    let (part, rest) = d.path.strip_prefix("value.")?.split_once('.')?;
    let row = told?.value.as_ref()?.field(part).filter(|_| part == "after" || part == "before")?;
    Some(row.field(rest.split('.').next()?))
}

/// What a leaf of the schema of values says.
fn in_schema(told: Option<&Told>, path: &str) -> Option<String> {
    let mut leaves = Vec::new();
    told?.value_schema.as_ref()?.leaves("", &mut leaves);
    leaves.into_iter().find(|(at, _)| at == path).map(|(_, text)| text)
}

/// Where the schemas of rows have a column, in JSON and in Avro.
fn places(part: &str, column: &str) -> [String; 2] {
    [format!("fields.{part}.fields.{column}"), format!("fields.before.type.Value.fields.{column}")]
}

/// Whether the other side says a column's default where there is another value.
fn default_said(d: &Difference<'_>) -> bool {
    let Some((part, column)) = d.path.strip_prefix("value.").and_then(|path| path.split_once('.')) else {
        return false;
    };
    let defaults = places(part, column).map(|place| in_schema(d.theirs, &format!("{place}.default")));
    // Bytes are characters in a schema of Avro, digits in our reading of its values.
    let digits = |text: &String| {
        let text = serde_json::from_str::<String>(text).unwrap_or_default();
        format!("\"{}\"", text.chars().map(|sign| format!("{:02x}", u32::from(sign))).collect::<String>())
    };
    defaults.iter().flatten().any(|default| {
        let same = |said: &String| said == default || *said == digits(default) || numbers_equal(said, default);
        d.they_say.as_ref().is_some_and(same)
    })
}

fn numbers_equal(left: &str, right: &str) -> bool {
    left.parse::<f64>()
        .ok()
        .zip(right.parse().ok())
        .is_some_and(|(left, right): (f64, f64)| left as f32 == right as f32)
}

/// Whether it is about a column whose default is an expression, of which they tell a value that says nothing.
fn misread(d: &Difference<'_>) -> bool {
    let nothing = ["\"\"", "\"00000000-0000-0000-0000-000000000000\"", "0", "false"];
    let Some(path) = d.path.strip_prefix("value.schema.") else { return false };
    let Some((before, rest)) = path.rsplit_once(".fields.") else { return false };
    let place = format!("{before}.fields.{}", rest.split('.').next().unwrap_or_default());
    let default = |told| in_schema(told, &format!("{place}.default"));
    default(d.theirs).is_some_and(|text| nothing.contains(&text.as_str()))
        && default(d.ours).is_none_or(|text| text == "null")
}

fn says(side: &Option<String>, text: &str) -> bool {
    side.as_deref() == Some(text)
}

fn number(side: &Option<String>) -> Option<f64> {
    side.as_ref()?.parse().ok()
}

/// Those differences that nobody meant.
pub fn unexpected<'a>(found: Vec<Difference<'a>>, used: &mut Vec<&'static str>) -> Vec<Difference<'a>> {
    let covered = |difference: &Difference<'_>| ALLOWED.iter().find(|allowed| (allowed.covers)(difference));
    found
        .into_iter()
        .filter(|difference| {
            let allowed = covered(difference);
            used.extend(allowed.map(|allowed| allowed.name));
            allowed.is_none()
        })
        .collect()
}
