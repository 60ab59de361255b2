//! Defaults: the expression that the catalog prints, where it stands for a value.
//!
//! A literal is a value where it also reads as one of the column's type: what an assignment would still change (`1.5`
//! for an integer, a time stamp with a zone for one without) depends on more than the text, and is no default here.

use crate::model::pg_type::numeric_modifier;
use crate::model::value::{self, Numeric, print};
use crate::model::{Column, ColumnDefault, PgType};

/// What the expression says of the column's default.
pub(super) fn default(expression: &str, column: &Column) -> Option<ColumnDefault> {
    match column.pg_type {
        PgType::Int2 | PgType::Int4 | PgType::Int8 if !column.optional && sequence(expression) => {
            Some(ColumnDefault::Sequence)
        }
        PgType::Date | PgType::Timestamp | PgType::Timestamptz if now(expression) => Some(ColumnDefault::Now),
        _ => literal(expression).and_then(|literal| literal.of(column)).map(ColumnDefault::Literal),
    }
}

fn sequence(expression: &str) -> bool {
    let named = expression.strip_prefix("nextval('").and_then(|rest| rest.strip_suffix("'::regclass)"));
    named.is_some_and(|name| !name.replace("''", "").contains('\''))
}

fn now(expression: &str) -> bool {
    const NOW: [&str; 4] = ["now()", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "transaction_timestamp()"];
    const ZONED: [(&str, &str); 2] = [("timezone('", "'::text, now())"), ("(now() AT TIME ZONE '", "'::text)")];
    let plain = expression.split_once('(').map_or(expression, |(name, digits)| {
        let fraction = digits.strip_suffix(')').is_some_and(|digits| digits.parse::<u8>().is_ok());
        if fraction { name } else { expression }
    });
    let zone = |(head, tail)| expression.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
    NOW.contains(&plain) || ZONED.into_iter().filter_map(zone).any(|zone: &str| !zone.contains('\''))
}

/// A constant and the casts around it, from the inside out.
struct Literal<'a> {
    text: String,
    quoted: bool,
    casts: Vec<&'a str>,
}

fn literal(expression: &str) -> Option<Literal<'_>> {
    let (mut literal, rest) = if let Some(inner) = expression.strip_prefix('(') {
        let close = closing(inner)?;
        (literal(inner.get(..close)?)?, inner.get(close + 1..)?)
    } else {
        constant(expression)?
    };
    let mut rest = rest;
    while !rest.is_empty() {
        let cast = rest.strip_prefix("::")?;
        let end = cast.find("::").unwrap_or(cast.len());
        let (cast, after) = cast.split_at_checked(end)?;
        literal.casts.push(type_name(cast)?);
        rest = after;
    }
    Some(literal)
}

/// A constant at the beginning, and what follows it.
fn constant(expression: &str) -> Option<(Literal<'_>, &str)> {
    let made = |text: String, quoted| Literal { text, quoted, casts: Vec::new() };
    if let Some(body) = expression.strip_prefix('\'').or_else(|| expression.strip_prefix("B'")) {
        let end = quote_end(body)?;
        return Some((made(body.get(..end)?.replace("''", "'"), true), body.get(end + 1..)?));
    }
    let (word, rest) = expression.split_at_checked(expression.find("::").unwrap_or(expression.len()))?;
    let number = word.starts_with(|c: char| c.is_ascii_digit() || c == '-') && word.parse::<f64>().is_ok();
    (number || matches!(word, "true" | "false")).then(|| (made(word.to_owned(), false), rest))
}

/// Where the quote that has been opened ends; a doubled one is part of the text.
fn quote_end(body: &str) -> Option<usize> {
    let mut quotes = body.match_indices('\'').map(|(at, _)| at).peekable();
    while let Some(at) = quotes.next() {
        if quotes.next_if_eq(&(at + 1)).is_none() {
            return Some(at);
        }
    }
    None
}

/// Where the parenthesis that has been opened ends.
fn closing(inner: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (1, false);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// What may be the name of a type: words in capitals are operators.
fn type_name(cast: &str) -> Option<&str> {
    let mut quoted = false;
    let plain = cast.chars().all(|c| {
        quoted ^= c == '"';
        quoted || c.is_ascii_lowercase() || c.is_ascii_digit() || " \"()[],._$".contains(c) || !c.is_ascii()
    });
    (plain && !quoted && !cast.is_empty()).then_some(cast)
}

const TEXTS: [&str; 2] = ["text", "character varying"];
const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
const NUMBERS: [&str; 3] = ["numeric", "real", "double precision"];

impl Literal<'_> {
    /// The value that the column takes, as PostgreSQL prints it.
    fn of(self, column: &Column) -> Option<String> {
        let whole = self.text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let kept = match self.casts.as_slice() {
            [] => true,
            [cast] if self.quoted => !TEXTS.contains(cast) || textual(&column.pg_type),
            [cast] => NUMBERS.contains(cast) || (INTEGERS.contains(cast) && whole) || *cast == "boolean",
            // `('now'::text)::date` is no constant; a text that stays one is.
            [inner @ .., last] => {
                let last = TEXTS.contains(last) || matches!(column.pg_type, PgType::Enum { .. });
                self.quoted && textual(&column.pg_type) && inner.iter().all(|cast| TEXTS.contains(cast)) && last
            }
        };
        if kept { canonical(&self.text, column) } else { None }
    }
}

fn textual(pg_type: &PgType) -> bool {
    matches!(pg_type, PgType::Text | PgType::Varchar | PgType::Bpchar | PgType::Enum { .. } | PgType::Other { .. })
}

/// The text as a row would hold it; `None` where it is no value of the column's type.
fn canonical(text: &str, column: &Column) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let is = |valid: bool| valid.then(|| text.to_owned());
    match &column.pg_type {
        PgType::Bool => return Some(if bool_of(text)? { "t" } else { "f" }.to_owned()),
        PgType::Int2 => print::int(i16::try_from(value::int(bytes).ok()?).ok()?.into(), &mut out),
        PgType::Int4 => print::int(i32::try_from(value::int(bytes).ok()?).ok()?.into(), &mut out),
        PgType::Oid => print::int(u32::try_from(value::int(bytes).ok()?).ok()?.into(), &mut out),
        PgType::Int8 => print::int(value::int(bytes).ok()?, &mut out),
        PgType::Float4 => print::float4(value::float4(bytes).ok()?, &mut out),
        PgType::Float8 => print::float8(value::float8(bytes).ok()?, &mut out),
        PgType::Numeric => return numeric(text, column.modifier),
        PgType::Enum { labels, .. } => return is(labels.iter().any(|label| label == text)),
        PgType::Date => return is(value::date(bytes).is_ok()),
        PgType::Time => return is(value::time(bytes).is_ok()),
        PgType::Timestamp => return is(value::pg_timestamp(bytes).is_ok()),
        PgType::Timestamptz => return is(value::pg_timestamptz(bytes).is_ok()),
        PgType::Uuid => return is(value::uuid(bytes).is_ok()),
        PgType::Bytea => return is(value::bytea(bytes, &mut out).is_ok()),
        PgType::Array(_) => return is(text.starts_with(['{', '['])),
        _ => return is(true),
    }
    String::from_utf8(out).ok()
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "true" | "t" => Some(true),
        "false" | "f" => Some(false),
        _ => None,
    }
}

/// With as many digits of fraction as the column has; what would be rounded is no literal.
fn numeric(text: &str, modifier: i32) -> Option<String> {
    let number = Numeric::parse(text.as_bytes()).ok()?;
    let (Some((_, scale)), Numeric::Finite { fraction, .. }) = (numeric_modifier(modifier), number) else {
        return Some(text.to_owned());
    };
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let point = if fraction.is_empty() && missing > 0 { "." } else { "" };
    Some(format!("{text}{point}{}", "0".repeat(missing)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Oid;

    fn told(expression: &str, pg_type: PgType, modifier: i32) -> Option<ColumnDefault> {
        let (oid, name) = (Oid(1), "c".to_owned());
        default(
            expression,
            &Column { name, pg_type, oid, modifier, optional: false, default: None, birth: Default::default() },
        )
    }

    fn text(expression: &str, pg_type: PgType) -> Option<String> {
        match told(expression, pg_type, -1)? {
            ColumnDefault::Literal(text) => Some(text),
            other => panic!("{expression}: {other:?}"),
        }
    }

    fn other(name: &str) -> PgType {
        PgType::Other { name: name.into() }
    }

    fn mood() -> PgType {
        PgType::Enum { name: "mood".into(), labels: vec!["sad".into(), "O'K :: (x)".into()] }
    }

    #[test]
    fn literals_are_told_as_rows_would_hold_them() {
        for (expression, pg_type, value) in [
            ("7", PgType::Int4, "7"),
            ("'-5'::integer", PgType::Int4, "-5"),
            ("(-5)", PgType::Int4, "-5"),
            ("'5'::bigint", PgType::Int8, "5"),
            ("(5)::bigint", PgType::Int8, "5"),
            ("(0)::numeric", PgType::Numeric, "0"),
            ("1.50", PgType::Numeric, "1.50"),
            ("'-1.5'::numeric", PgType::Numeric, "-1.5"),
            ("1.50", PgType::Float8, "1.5"),
            ("'1.5'::double precision", PgType::Float4, "1.5"),
            ("true", PgType::Bool, "t"),
            ("false", PgType::Bool, "f"),
            ("'abc'::text", PgType::Text, "abc"),
            ("''::character varying", PgType::Varchar, ""),
            ("'it''s ''::x'''::text", PgType::Text, "it's '::x'"),
            ("('abc'::character varying)::text", PgType::Text, "abc"),
            ("'abc'::bpchar", PgType::Bpchar, "abc"),
            ("'sad'::public.mood", mood(), "sad"),
            ("('O''K :: (x)'::text)::public.\"Mood\"", mood(), "O'K :: (x)"),
            ("'2020-01-01'::date", PgType::Date, "2020-01-01"),
            ("'2020-01-01 10:00:00'::timestamp without time zone", PgType::Timestamp, "2020-01-01 10:00:00"),
            ("'2020-01-01 10:00:00+00'::timestamp with time zone", PgType::Timestamptz, "2020-01-01 10:00:00+00"),
            ("'{}'::jsonb", PgType::Jsonb, "{}"),
            ("'{1,2}'::integer[]", PgType::Array(Box::new(PgType::Int4)), "{1,2}"),
            ("'101'::\"bit\"", other("bit"), "101"),
            ("B'101'::\"bit\"", other("bit"), "101"),
            ("'01:00:00'::interval", other("interval"), "01:00:00"),
        ] {
            assert_eq!(text(expression, pg_type).as_deref(), Some(value), "{expression}");
        }
        assert_eq!(
            told("1", PgType::Numeric, (10 << 16) + 2 + 4),
            Some(ColumnDefault::Literal("1.00".into())),
            "with the column's digits"
        );
    }

    #[test]
    fn expressions_are_no_defaults() {
        for (expression, pg_type) in [
            ("upper('abc'::text)", PgType::Text),
            ("gen_random_uuid()", PgType::Uuid),
            ("CURRENT_DATE", PgType::Date),
            ("(1 + 2)", PgType::Int4),
            ("('a'::text || 'b'::text)", PgType::Text),
            ("'a'::text || 'b'::text", PgType::Text),
            ("('now'::text)::date", PgType::Date),
            ("('x'::text IS NULL)", PgType::Bool),
            ("('t'::text IS NULL)", PgType::Bool),
            ("NULL::character varying", PgType::Varchar),
            ("CURRENT_USER", PgType::Text),
            ("(1.5)::integer", PgType::Numeric),
            ("1.5", PgType::Int4),
            ("70000", PgType::Int2),
            ("'2020-01-01 10:00:00+02'::timestamp with time zone", PgType::Timestamp),
            ("('abcdef'::character varying)::character varying(3)", PgType::Varchar),
            ("'gone'::mood", mood()),
            ("ARRAY[1, 2]", PgType::Array(Box::new(PgType::Int4))),
            ("now()", PgType::Text),
            ("nextval('s'::regclass)", PgType::Text),
            ("'unterminated", PgType::Text),
            ("(1", PgType::Int4),
            ("inf", PgType::Float8),
            ("", PgType::Text),
        ] {
            assert_eq!(told(expression, pg_type, -1), None, "{expression}");
        }
        assert_eq!(told("1.555", PgType::Numeric, (10 << 16) + 2 + 4), None, "it would be rounded");
    }

    #[test]
    fn sequences_and_the_time_are_told_apart_from_literals() {
        assert_eq!(told("nextval('public.\"o''s\"'::regclass)", PgType::Int8, -1), Some(ColumnDefault::Sequence));
        assert_eq!(told("(nextval('s'::regclass) + 1)", PgType::Int8, -1), None);
        for now in
            ["now()", "CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP(3)", "LOCALTIMESTAMP", "timezone('utc'::text, now())"]
        {
            assert_eq!(told(now, PgType::Timestamp, -1), Some(ColumnDefault::Now), "{now}");
        }
        assert_eq!(told("(now() AT TIME ZONE 'utc'::text)", PgType::Timestamp, -1), Some(ColumnDefault::Now));
        assert_eq!(told("(now() + '1 day'::interval)", PgType::Timestamp, -1), None);
        let optional = Column {
            name: "c".into(),
            pg_type: PgType::Int8,
            oid: Oid(20),
            modifier: -1,
            optional: true,
            default: None,
            birth: Default::default(),
        };
        assert_eq!(default("nextval('s'::regclass)", &optional), None, "a column that may be NULL has none");
    }
}
