//! Which types have a form.

use super::{Form, Kind, Print, geometric, nested, network, scalar, search};

/// Of `pg_catalog`, but for what depends on the server.
const BUILTIN: &[(&str, Print)] = &[
    ("bool", scalar::boolean),
    ("int2", scalar::int2),
    ("int4", scalar::int4),
    ("int8", scalar::int8),
    ("oid", scalar::uint4),
    ("xid", scalar::uint4),
    ("cid", scalar::uint4),
    ("xid8", scalar::uint8),
    ("tid", scalar::tid),
    ("float4", scalar::float4),
    ("float8", scalar::float8),
    ("numeric", scalar::numeric),
    ("bytea", scalar::bytea),
    ("uuid", scalar::uuid),
    ("jsonb", scalar::versioned),
    ("jsonpath", scalar::versioned),
    ("date", scalar::date),
    ("time", scalar::time),
    ("timetz", scalar::timetz),
    ("timestamp", scalar::timestamp),
    ("timestamptz", scalar::timestamptz),
    ("bit", scalar::bits),
    ("varbit", scalar::bits),
    ("pg_lsn", scalar::lsn),
    ("pg_snapshot", scalar::snapshot),
    ("txid_snapshot", scalar::snapshot),
    ("inet", network::address),
    ("cidr", network::address),
    ("macaddr", network::hardware::<6>),
    ("macaddr8", network::hardware::<8>),
    ("tsvector", search::document),
    ("tsquery", search::query),
    ("point", geometric::point),
    ("line", geometric::line),
    ("lseg", geometric::segment),
    ("box", geometric::rectangle),
    ("path", geometric::path),
    ("polygon", geometric::polygon),
    ("circle", geometric::circle),
    ("int2vector", nested::plain_array),
    ("oidvector", nested::plain_array),
];

/// Those whose binary form is their text.
const TEXTS: [&str; 7] = ["text", "varchar", "bpchar", "name", "json", "xml", "refcursor"];

/// Extension, type.
const EXTENSIONS: &[(&str, &str, Kind)] = &[
    ("citext", "citext", Kind::Text),
    ("hstore", "hstore", Kind::Plain(nested::hstore)),
    ("ltree", "ltree", Kind::Plain(scalar::versioned)),
    ("ltree", "lquery", Kind::Plain(scalar::versioned)),
    ("ltree", "ltxtquery", Kind::Plain(scalar::versioned)),
    ("postgis", "geometry", Kind::Plain(scalar::hex)),
    ("postgis", "geography", Kind::Plain(scalar::hex)),
    ("vector", "vector", Kind::Plain(scalar::vector)),
    ("vector", "halfvec", Kind::Plain(scalar::half_vector)),
    ("vector", "sparsevec", Kind::Plain(scalar::sparse_vector)),
];

/// What of a server's printing is not the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Server {
    /// `server_version_num`
    pub version: u32,
    /// Whether it prints money as `-$1,234.56`.
    pub dollars: bool,
}

impl Form {
    /// The scalar type of `pg_catalog` with this name; `None` where its binary form does not say how its text is: names
    /// of objects (`regclass` and its like), money in other locales.
    pub fn builtin(name: &str, server: Server) -> Option<Form> {
        let plain = |print: Print| Some(Form(Kind::Plain(print)));
        match name {
            "interval" if server.version < 170_000 => plain(scalar::finite_interval),
            "interval" => plain(scalar::interval),
            "char" if server.version < 150_000 => plain(scalar::raw_char),
            "char" => plain(scalar::char),
            "money" if server.dollars => plain(scalar::money),
            text if TEXTS.contains(&text) => Some(Form::text()),
            _ => BUILTIN.iter().find(|(known, _)| *known == name).and_then(|(_, print)| plain(*print)),
        }
    }

    /// The type of an extension with this name.
    pub fn of_extension(extension: &str, name: &str) -> Option<Form> {
        let known = EXTENSIONS.iter().find(|(of, known, _)| *of == extension && *known == name);
        known.map(|(.., kind)| Form(kind.clone()))
    }
}
