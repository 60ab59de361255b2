//! Every type in every warehouse: the page for users is made of what the dialects say.

use tailwater::codecs::dialect::{Dialect, Duckdb, Postgres, Redshift};
use tailwater::model::{Column, Oid, PgType};

/// Types as they are declared; modifiers where they matter.
const DECLARED: [(&str, i32); 33] = [
    ("smallint", -1),
    ("integer", -1),
    ("bigint", -1),
    ("oid", -1),
    ("real", -1),
    ("double precision", -1),
    ("numeric(12,3)", (12 << 16) + 3 + 4),
    ("numeric(60,3)", (60 << 16) + 3 + 4),
    ("numeric", -1),
    ("boolean", -1),
    ("text", -1),
    ("character varying(20)", 24),
    ("character(5)", 9),
    ("bytea", -1),
    ("date", -1),
    ("time without time zone", -1),
    ("timestamp without time zone", -1),
    ("timestamp with time zone", -1),
    ("uuid", -1),
    ("json", -1),
    ("jsonb", -1),
    ("an enumeration", -1),
    ("integer[]", -1),
    ("text[]", -1),
    ("interval[]", -1),
    ("interval", -1),
    ("time with time zone", -1),
    ("bit(9)", 9),
    ("int4range", -1),
    ("inet", -1),
    ("money", -1),
    ("xml", -1),
    ("a composite type", -1),
];

fn column(declared: &str, modifier: i32) -> Column {
    let name = declared.split('(').next().unwrap();
    let other = |name: &str| PgType::Other { name: name.to_owned() };
    let pg_type = match (PgType::named(name), name.strip_suffix("[]")) {
        (Some(known), _) => known,
        (None, Some(element)) => PgType::Array(Box::new(other(element))),
        _ if name == "an enumeration" => {
            PgType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok".into()] }
        }
        _ => other(name),
    };
    let (name, oid, birth) = ("c".to_owned(), Oid(0), Default::default());
    Column { name, pg_type, oid, modifier, optional: true, default: None, birth }
}

#[test]
fn the_page_of_warehouses_types_says_what_the_dialects_say() {
    let mut page = String::from(
        "# Types in warehouses\n\nWhat becomes of each type, and what is lost on the way. Where nothing is said, values are those of the source and read\nthe same. No value is changed silently: one that has no place [stops its table](stopped-tables.md) with its column and its\nkey's columns, or follows [`on_misfit`](misfits.md). A domain is what is beneath it. This page is made of what `src/codecs/dialect` says.\n",
    );
    let redshift = Redshift::default();
    let titles = ["PostgreSQL", "DuckDB", "Amazon Redshift"];
    for (at, title) in titles.iter().enumerate() {
        page.push_str(&format!("\n## {title}\n\n| at the source | there | what is lost |\n|---|---|---|\n"));
        for (declared, modifier) in DECLARED {
            let column = column(declared, modifier);
            let (there, loss) = match at {
                0 => (Postgres.target_type(&column), Postgres.loss(&column)),
                1 => (Duckdb.target_type(&column), Duckdb.loss(&column)),
                _ => (redshift.target_type(&column), redshift.loss(&column)),
            };
            let shown = if there == declared { "the same".to_owned() } else { format!("`{there}`") };
            page.push_str(&format!("| `{declared}` | {shown} | {} |\n", loss.unwrap_or_default()));
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/warehouse-types.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/warehouse-types.md is another page; BLESS=1 writes it anew");
}
