//! What is made of a type's binary form is what PostgreSQL prints: each printer beside PostgreSQL's own, on values by the
//! thousand.
//!
//! `TAILWATER_VALUES` says how many random values of each type there are (1,000).

use futures_util::StreamExt;
use tailwater::adapters::postgres::{Endpoint, Known, connect};
use tailwater::codecs::copy::text;
use tailwater::model::{Cell, Oid, RowWriter};

use crate::support::postgres::{Database, Postgres};
use crate::support::runtime;

/// Types of the user's, and what makes random values.
const SCHEMA: &str = r#"
create extension hstore; create extension ltree; create extension citext;
create type mood as enum ('sad', 'so so', 'it''s "ok"', 'a,b', '\');
create type a_range as range (subtype = float8);
create type words as range (subtype = text);
create domain price as numeric(12,2);
create domain texts as text[];
create type pair as (n int, t text, b bytea, a text[]);
create type nest as (p pair, d price, w words, m mood, x pair[], j jsonb, nothing int);
create function noise(most int) returns text language sql volatile as $$
    select coalesce(string_agg(substr(E'ab NULL"\\{}()[],;''\t\n\r\v\fäß€<>&:*', 1 + floor(random() * 36)::int, 1), ''), '')
    from generate_series(1, floor(random() * (most + 1))::int) $$;
create function broad() returns float8 language sql volatile as $$
    select case floor(random() * 9)::int
        when 0 then (random() - 0.5) * power(10::float8, random() * 600 - 300)
        when 1 then floor(random() * power(2::float8, 53)) * power(2::float8, floor(random() * 20))
        when 2 then floor(random() * power(2::float8, 53)) / power(2::float8, floor(random() * 60))
        when 3 then power(2::float8, floor(random() * 2040 - 1020))
        when 4 then floor(random() * 1000000) / 100
        when 5 then floor(random() * 2000000000)
        when 6 then 4.9406564584124654e-324 * floor(random() * 1000)
        when 7 then ('{0,-0,NaN,Infinity,-Infinity,1e15,1e-5,1e14,0.0001}'::float8[])[1 + floor(random() * 9)::int]
        else random() end $$;
create function small() returns real language sql volatile as $$
    select case floor(random() * 7)::int
        when 0 then ((random() - 0.5) * power(10::float8, random() * 74 - 37))::real
        when 1 then (floor(random() * power(2::float8, 24)) * power(2::float8, floor(random() * 30)))::real
        when 2 then (floor(random() * power(2::float8, 24)) / power(2::float8, floor(random() * 40)))::real
        when 3 then power(2::float8, floor(random() * 250 - 125))::real
        when 4 then (floor(random() * 1000000) / 100)::real
        when 5 then (1.401298464324817e-45 * floor(random() * 1000))::real
        else ('{0,-0,NaN,Infinity,-Infinity,1e6,999999,1e-5,0.0001}'::real[])[1 + floor(random() * 9)::int] end $$;
create function digits() returns numeric language sql volatile as $$
    select case floor(random() * 6)::int
        when 0 then round(((random() - 0.5) * power(10::float8, random() * 40 - 20))::numeric, floor(random() * 30)::int)
        when 1 then (repeat(floor(random() * 10)::text, 1 + floor(random() * 60)::int) || '.' || repeat(floor(random() * 10)::text, 1 + floor(random() * 30)::int))::numeric
        when 2 then power(10::numeric, floor(random() * 200 - 100)::int)
        when 3 then ('{0,0.000,NaN,Infinity,-Infinity,-0.0001,10000,9999.9999,1e100,1e-100}'::numeric[])[1 + floor(random() * 10)::int]
        when 4 then floor(random() * 100000000)::numeric / 10000
        else (random() * 1000)::numeric(10,2) end $$;
create function moment() returns timestamp language sql volatile as $$
    select case floor(random() * 4)::int
        when 0 then timestamp '2000-01-01' + random() * 9223371331200 * interval '1 second'
        when 1 then timestamp '2000-01-01' - random() * 211813488000 * interval '1 second'
        when 2 then timestamp '2016-11-04' + floor(random() * 100000000) * interval '1 second'
        else ('{infinity,-infinity,"4714-11-24 00:00:00 BC","294276-12-31 23:59:59.999999","0001-01-01 00:00:00","0001-12-31 23:59:59.9 BC"}'::timestamp[])[1 + floor(random() * 6)::int] end $$;
create function address(six boolean) returns inet language sql volatile as $$
    select case when six then set_masklen((select string_agg(case when random() < 0.6 then '0' when random() < 0.2 then 'ffff' else to_hex(floor(power(2::float8, random() * 16))::int) end, ':') from generate_series(1, 8))::inet,
            case when random() < 0.3 then 128 else floor(random() * 129)::int end)
        else set_masklen('0.0.0.0'::inet + floor(random() * 4294967295)::bigint, case when random() < 0.3 then 32 else floor(random() * 33)::int end) end $$;
create function asked(depth int) returns tsquery language plpgsql volatile as $$
    begin
        if depth = 0 or random() < 0.2 then
            return ('''' || replace(replace('w' || noise(3), '\', '\\'), '''', '''''') || '''' || (array['', ':*', ':AB', ':*CD'])[1 + floor(random() * 4)::int])::tsquery;
        end if;
        case floor(random() * 5)::int
            when 0 then return asked(depth - 1) && asked(depth - 1);
            when 1 then return asked(depth - 1) || asked(depth - 1);
            when 2 then return !! asked(depth - 1);
            when 3 then return tsquery_phrase(asked(depth - 1), asked(depth - 1), floor(random() * 5)::int);
            else return asked(depth - 1) <-> asked(depth - 1);
        end case;
    end $$;
create function couple() returns pair language sql volatile as $$
    select row(case when random() < 0.8 then floor(random() * 100)::int end, case when random() < 0.9 then noise(4) end,
        decode(md5(random()::text), 'hex'), case when random() < 0.7 then array[noise(2), null, noise(3)] end)::pair $$;
"#;

/// Type, expression of random values.
const TYPES: &[(&str, &str)] = &[
    ("bool", "random() < 0.5"),
    ("int2", "floor(random() * 65536 - 32768)::int2"),
    ("int4", "floor(random() * 4294967296 - 2147483648)::int4"),
    ("int8", "floor((random() - 0.5) * power(10::float8, random() * 18))::int8"),
    ("oid", "floor(random() * 4294967296)::int8::oid"),
    ("float8", "broad()"),
    ("float4", "small()"),
    ("numeric", "digits()"),
    ("text", "noise(8)"),
    ("varchar", "noise(8)"),
    ("char(5)", "substr(noise(8), 1, 5)"),
    ("name", "noise(8)"),
    ("\"char\"", "floor(random() * 256 - 128)::int::\"char\""),
    ("bytea", "decode(substr(md5(random()::text), 1, 2 * floor(random() * 16)::int), 'hex')"),
    ("uuid", "md5(random()::text)::uuid"),
    ("json", "json_build_object(noise(3), random(), 'n', null)"),
    ("jsonb", "jsonb_build_object(noise(3), digits()::text, 'n', round(random()::numeric, 3), 'a', array[1, null])"),
    ("xml", "xmlelement(name a, xmlattributes('x' as b), replace(noise(5), E'\\v', ''))"),
    ("jsonpath", "('$.a[*] ? (@ > ' || floor(random() * 9) || ')')::jsonpath"),
    (
        "date",
        "case when random() < 0.1 then ('{infinity,-infinity,\"4714-11-24 BC\",5874897-12-31,0001-01-01,\"0001-12-31 BC\"}'::date[])[1 + floor(random() * 6)::int]
            when random() < 0.5 then date '2000-01-01' + floor(random() * 2145031948)::int else date '2000-01-01' - floor(random() * 2451546)::int end",
    ),
    ("time", "case when random() < 0.05 then '24:00'::time else time '00:00' + random() * interval '24 hours' end"),
    (
        "timetz",
        "((time '00:00' + random() * interval '24 hours')::text || (array['+', '-'])[1 + floor(random() * 2)::int] || floor(random() * 15.9)::int
            || (array['', ':30', ':05:07'])[1 + floor(random() * 3)::int])::timetz",
    ),
    ("timestamp", "moment()"),
    ("timestamptz", "moment() at time zone 'UTC'"),
    (
        "interval",
        "case when random() < 0.1 then '0'::interval else make_interval(floor(random() * 5 - 2)::int, floor(random() * 20 - 10)::int, 0, floor(random() * 5 - 2)::int,
            floor(random() * 300 - 150)::int, floor(random() * 3 - 1)::int, (array[0, -0.5, 7.25, random() * 60])[1 + floor(random() * 4)::int]) end",
    ),
    ("bit(13)", "floor(random() * 8192)::int::bit(13)"),
    ("varbit", "substring(floor(random() * 1000000000)::int::bit(32) for floor(random() * 33)::int)::varbit"),
    ("money", "floor((random() - 0.5) * power(10::float8, random() * 16))::numeric::money / 100"),
    ("inet", "address(random() < 0.7)"),
    ("cidr", "network(address(random() < 0.7))"),
    ("macaddr", "substr(md5(random()::text), 1, 12)::macaddr"),
    ("macaddr8", "substr(md5(random()::text), 1, 16)::macaddr8"),
    ("pg_lsn", "'0/0'::pg_lsn + floor(power(2::float8, random() * 62))::numeric"),
    ("xid", "floor(random() * 4294967296)::int8::text::xid"),
    ("cid", "floor(random() * 4294967296)::int8::text::cid"),
    ("xid8", "floor(random() * 9e18)::int8::text::xid8"),
    ("tid", "('(' || floor(random() * 4294967296)::int8 || ',' || floor(random() * 65536)::int || ')')::tid"),
    ("pg_snapshot", "'10:20:10,14,15'::pg_snapshot"),
    ("txid_snapshot", "'10:20:'::txid_snapshot"),
    ("refcursor", "noise(4)::refcursor"),
    ("int2vector", "(array['', '1 -2 3', '7'])[1 + floor(random() * 3)::int]::int2vector"),
    ("oidvector", "(array['', '1 4000000000 3', '7'])[1 + floor(random() * 3)::int]::oidvector"),
    (
        "tsvector",
        "setweight(array_to_tsvector(array['w' || noise(4), 'v' || noise(4)]) || to_tsvector('simple', noise(30)), 'D') || setweight(to_tsvector('simple', noise(9)), (array['A', 'B', 'C']::\"char\"[])[1 + floor(random() * 3)::int])",
    ),
    ("tsquery", "case when random() < 0.02 then ''::tsquery else asked(4) end"),
    ("point", "point(broad(), broad())"),
    ("line", "line(point(random(), broad()), point(2, 1e5))"),
    ("lseg", "lseg(point(broad(), 0), point(1, broad()))"),
    ("box", "box(point(broad(), 0), point(1, broad()))"),
    ("path", "case when random() < 0.5 then pclose('[(1,2),(3,4)]'::path + point(broad(), 1)) else '[(1,2),(3.5,4)]'::path end"),
    ("polygon", "polygon(box(point(broad(), 0), point(1, broad())))"),
    ("circle", "circle(point(random(), random()), random())"),
    ("int4range", "int4range(floor(random() * 9)::int, 9 + floor(random() * 9)::int, (array['[]', '()', '[)'])[1 + floor(random() * 3)::int])"),
    ("numrange", "numrange(case when random() < 0.8 then random()::numeric(5,3) end, case when random() < 0.8 then 1.50 end, (array['[]', '()', '(]'])[1 + floor(random() * 3)::int])"),
    ("tstzrange", "tstzrange(least(moment(), '5000-01-01') at time zone 'UTC', case when random() < 0.8 then '9000-01-01' at time zone 'UTC' end)"),
    ("daterange", "(array['empty', '(,)', '[2020-01-01,infinity)', '[2019-01-01,2020-01-01]'])[1 + floor(random() * 4)::int]::daterange"),
    ("a_range", "a_range(-random(), random() * 1e20)"),
    ("words", "(select words(min(n), max(n), '[]') from (select noise(4) n union all select noise(4)) both_of)"),
    ("int4multirange", "(array['{}', '{[1,5),[7,9)}', '{(,3)}'])[1 + floor(random() * 3)::int]::int4multirange"),
    ("tsmultirange", "tsmultirange(tsrange(least(moment(), '5000-01-01'), '9000-01-01'), tsrange('9001-01-01', null))"),
    ("mood", "(enum_range(null::mood))[1 + floor(random() * 5)::int]"),
    ("price", "(random() * 1000)::price"),
    ("texts", "array[noise(3), null]::texts"),
    ("pair", "couple()"),
    (
        "nest",
        "row(case when random() < 0.8 then couple() end, random(), words('a', 'b' || noise(3)), (enum_range(null::mood))[1 + floor(random() * 5)::int],
            case when random() < 0.8 then array[couple(), null, couple()] end, jsonb_build_object(noise(3), 1), null)::nest",
    ),
    ("int4[]", "(array['{}', '{1,NULL,3}', '{{1,2},{3,NULL}}', '[0:1]={1,2}', '[-1:0][5:6][1:1]={{{1},{2}},{{3},{4}}}'])[1 + floor(random() * 5)::int]::int4[]"),
    ("text[]", "array[[noise(3), noise(4)], [case when random() < 0.9 then noise(2) end, (array['NULL', 'null', 'NULLs', ''])[1 + floor(random() * 4)::int]]]"),
    ("float8[]", "array[broad(), broad()]"),
    ("numeric[]", "array[digits(), null]"),
    ("timestamptz[]", "array[moment() at time zone 'UTC']"),
    ("interval[]", "array[random() * interval '9 days', null]"),
    ("bytea[]", "array[decode(md5(random()::text), 'hex')]"),
    ("box[]", "array[box(point(broad(), 0), point(1, broad())), '(1,1),(0,0)']"),
    ("inet[]", "array[address(true), address(false)]"),
    ("mood[]", "enum_range(null::mood)"),
    ("price[]", "array[random()::price, null]"),
    ("pair[]", "array[couple(), null]"),
    ("words[]", "array[words('a', 'b' || noise(3))]"),
    ("int4range[]", "array['empty'::int4range, '[1,2)']"),
    ("money[]", "array[random()::numeric::money * 100000, null]"),
    ("hstore", "hstore(array[noise(3), 'x' || noise(3)], array[noise(4), case when random() < 0.5 then noise(3) end])"),
    ("hstore[]", "array[hstore(noise(3), noise(2)), null, '']"),
    ("ltree", "('Top.a' || floor(random() * 1000))::ltree"),
    ("ltree[]", "array['Top.Science'::ltree, null]"),
    ("lquery", "'Top.*{1,3}.Foo*@|bar'::lquery"),
    ("ltxtquery", "'Europe & Russia*@ & !Transport'::ltxtquery"),
    ("citext", "noise(6)"),
    ("citext[]", "array[noise(6)::citext]"),
];

/// Values at the ends of their types.
const EDGES: &[(&str, &str)] = &[
    ("interval", "178000000 years"),
    ("interval", "-178000000 years -11 mons -5 days -00:00:00.000001"),
    ("interval", "2000000000:00:54.775807"),
    ("interval", "-2000000000:00:54.775807"),
    ("int8", "-9223372036854775808"),
    ("money", "-92233720368547758.08"),
    ("money", "92233720368547758.07"),
    ("xid8", "18446744073709551615"),
    ("pg_lsn", "FFFFFFFF/FFFFFFFF"),
    ("inet", "::ffff:1.2.3.4/96"),
    ("inet", "::1.2.3.4"),
    ("inet", "::1"),
    ("inet", "::"),
    ("inet", "1::/16"),
    ("cidr", "::/0"),
    ("cidr", "10.0.0.0/8"),
    ("timetz", "00:00:00+15:59:59"),
    ("timetz", "24:00:00-15:59:59"),
    ("varbit", ""),
    ("path", "((1,2))"),
    ("float8", "5.9604644775390625e-08"),
    ("float8", "9007199254740993"),
    ("float8", "1.7976931348623157e308"),
    ("float8", "2.2250738585072014e-308"),
    ("float4", "4194304.25"),
    ("float4", "3.4028235e38"),
    ("float4", "1.1754944e-38"),
    ("float4", "33554436"),
];

/// Of PostgreSQL 17 and later.
const ENDLESS: [(&str, &str); 2] = [("interval", "infinity"), ("interval", "-infinity")];

fn count() -> u32 {
    std::env::var("TAILWATER_VALUES").map_or(1000, |text| text.parse().unwrap())
}

/// A table of each type: `t0`, `t1` and so on.
fn fill(database: &Database<'_>) {
    let mut script = format!("{SCHEMA} select setseed(0.25);");
    for (at, (pg_type, expression)) in TYPES.iter().enumerate() {
        script.push_str(&format!(
            "create table t{at} (v {pg_type}); insert into t{at} select {expression} from generate_series(1, {});",
            count()
        ));
    }
    let endless = ENDLESS.iter().filter(|_| database.server().major() >= 17);
    for (pg_type, value) in EDGES.iter().chain(endless) {
        let at = TYPES.iter().position(|(name, _)| name == pg_type).unwrap();
        script.push_str(&format!("insert into t{at} values ('{value}');"));
    }
    database.sql(&script);
}

async fn copied(client: &tokio_postgres::Client, query: &str) -> Vec<bytes::Bytes> {
    let stream = client.copy_out(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    Box::pin(stream).map(Result::unwrap).collect().await
}

/// Compares every value of a table; returns how many there are.
async fn compare(url: &str, table: &str, pg_type: &str) -> usize {
    let client = connect(&Endpoint::parse(url).unwrap(), "test").await.unwrap();
    let oid: u32 = client
        .query_one("select atttypid from pg_attribute where attrelid = $1::text::regclass and attname = 'v'", &[&table])
        .await
        .unwrap()
        .get(0);
    let known = Known::of(&client, &[Oid(oid)]).await.unwrap();
    let (form, forms) = (known.form(Oid(oid)).unwrap(), known.forms());
    let texts = copied(&client, &format!("copy {table} (v) to stdout")).await;
    let binaries = copied(&client, &format!("copy {table} (v) to stdout (format binary)")).await;
    let (mut writer, mut scratch, mut out) = (RowWriter::new(), Vec::new(), Vec::new());
    let mut values = Vec::new();
    for message in &binaries {
        let message = message.strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0").unwrap_or(message);
        match message {
            [] | [255, 255] => {}
            [0, 1, 255, 255, 255, 255] => values.push(None),
            [0, 1, _, _, _, _, value @ ..] => values.push(Some(value)),
            _ => panic!("{message:?}"),
        }
    }
    assert_eq!(values.len(), texts.len(), "{pg_type}");
    for (value, line) in values.iter().zip(&texts) {
        let row = text::row(line, 1, &mut scratch, &mut writer).unwrap();
        let Some(value) = value else {
            assert_eq!(row.cell(0), Cell::Null);
            continue;
        };
        out.clear();
        form.print(value, &forms, &mut out).unwrap_or_else(|error| panic!("{pg_type}: {error}: {value:02x?}"));
        let Cell::Text(expected) = row.cell(0) else { panic!("{pg_type}") };
        let shown = String::from_utf8_lossy;
        assert!(out == expected, "{pg_type}: {} is printed as {}", shown(expected), shown(&out));
    }
    values.len()
}

#[test]
fn every_type_is_printed_as_the_server_prints_it() {
    for version in [15, 17] {
        let database = Postgres::shared(version).database("binary_values");
        fill(&database);
        for (at, (pg_type, _)) in TYPES.iter().enumerate() {
            let (url, pg_type) = (database.url(), *pg_type);
            let compared = runtime::wait(async move { compare(&url, &format!("t{at}"), pg_type).await });
            assert!(compared >= count() as usize, "{pg_type}");
        }
    }
}
