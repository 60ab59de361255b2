//! Types as a person writes them: `numeric(12,2)`, `timestamptz`, `text`.

use crate::model::PgType;

/// The type and its modifier; `None` for a type that records of others can't be given.
pub(super) fn parse(text: &str) -> Option<(PgType, i32)> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(inside) = text.strip_prefix("numeric(").or_else(|| text.strip_prefix("decimal(")) {
        let (precision, scale) = match inside.strip_suffix(')')?.split_once(',') {
            Some((precision, scale)) => (precision.trim().parse::<i32>().ok()?, scale.trim().parse::<i32>().ok()?),
            None => (inside.strip_suffix(')')?.trim().parse().ok()?, 0),
        };
        let fits = (1..=1000).contains(&precision) && (0..=precision).contains(&scale);
        return fits.then_some((PgType::Numeric, (precision << 16 | scale) + 4));
    }
    let name = match text.as_str() {
        "int2" => "smallint",
        "int" | "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" | "double" => "double precision",
        "decimal" => "numeric",
        "bool" => "boolean",
        "varchar" => "text",
        "time" => "time without time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    };
    let found = PgType::named(name)?;
    (!matches!(found, PgType::Array(_) | PgType::Oid | PgType::Bpchar)).then_some((found, -1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_people_write_them() {
        assert_eq!(parse("numeric(12, 2)"), Some((PgType::Numeric, (12 << 16) + 2 + 4)));
        assert_eq!(parse("TIMESTAMPTZ"), Some((PgType::Timestamptz, -1)));
        assert_eq!(parse("double precision"), Some((PgType::Float8, -1)));
        for wrong in ["numeric(2,5)", "text[]", "money", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
