//! Values of every type, at random and at their ends, in every warehouse what they are at the source.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::postgres::Postgres;
use crate::support::tailwater::Tailwater;

/// Type, and a value of it made from `r`, a number between 0 and 1.
const KINDS: [(&str, &str); 48] = [
    ("smallint", "(r * 65535 - 32768)::int"),
    ("integer", "(r * 4294967295 - 2147483648)::bigint"),
    ("bigint", "(r * 1e18)::bigint * 9"),
    ("oid", "(r * 4294967295)::bigint"),
    ("real", "(r - 0.5) * 10 ^ (r * 70 - 35)"),
    ("double precision", "(r - 0.5) * 10 ^ (r * 600 - 300)"),
    (
        "double precision",
        "(array['NaN', 'Infinity', '-Infinity', '5e-324', '1.7976931348623157e308'])[1 + (r * 4)::int]::float8",
    ),
    ("numeric(9,2)", "(r - 0.5) * 1e7"),
    ("numeric(38,10)", "(r - 0.5)::numeric * 1e27"),
    ("numeric", "(r::numeric * 1e30) ^ 2"),
    ("numeric", "(array['NaN', 'Infinity', '-Infinity', '0.000', '1e-200', '-1e300'])[1 + (r * 5)::int]::numeric"),
    ("numeric(60,20)", "(r - 0.5)::numeric * 1e39"),
    ("boolean", "r < 0.5"),
    ("text", "repeat(chr((r * 50000)::int + 32), (r * 300)::int) || E'\\n\\t\\\\\\\"'' ,'"),
    ("text", "(array['', ' ', 'NULL', E'\\\\N', 'a ', '{}', chr(127), U&'\\+01F600'])[1 + (r * 7)::int]"),
    ("varchar(20)", "left(md5(r::text), (r * 20)::int)"),
    ("char(5)", "left(md5(r::text), 5)"),
    ("bytea", "decode(md5(r::text) || md5(r::text), 'hex')"),
    ("bytea", "(array['', '\\x00', '\\xff00ff'])[1 + (r * 2)::int]::bytea"),
    ("date", "date '4713-01-01 BC' + (r * 5000000)::int"),
    ("date", "(array['infinity', '-infinity', '0001-01-01', '0001-12-31 BC'])[1 + (r * 3)::int]::date"),
    ("time", "time '00:00' + r * interval '23:59:59.9'"),
    ("timetz", "timetz '12:00+00' + r * interval '1 hour'"),
    ("timestamp", "timestamp '4000-01-01 BC' + r * interval '3000000 days'"),
    (
        "timestamp",
        "(array['infinity', '-infinity', '0001-01-01', '0044-03-15 12:00:00.5 BC'])[1 + (r * 3)::int]::timestamp",
    ),
    ("timestamptz", "timestamptz '1900-01-01+00' + r * interval '100000 days'"),
    ("timestamptz", "(array['infinity', '-infinity', '0044-03-15 12:00:00+00 BC'])[1 + (r * 2)::int]::timestamptz"),
    ("interval", "r * interval '1000 days' - interval '3 years 2 mons 04:05:06.78'"),
    ("uuid", "md5(r::text)::uuid"),
    ("json", "('{\"a\" :  ' || (r * 1000)::int || ', \"a\": [null, \"\\u00fc\"]}')::json"),
    ("jsonb", "jsonb_build_object('a', (r * 1000)::int, 'b', array[r > 0.5, null], 'ü', md5(r::text))"),
    ("integer[]", "array[(r * 10)::int, null, (r * 99)::int]"),
    ("integer[]", "(array['{}', '{{1,2},{3,NULL}}', '[0:1]={1,2}'])[1 + (r * 2)::int]::int[]"),
    ("text[]", "array[md5(r::text), null, 'NULL', '', 'a,b', '\"', E'\\\\', '{']"),
    ("timestamptz[]", "array[timestamptz '2000-01-01+00' + r * interval '1 day', null]"),
    ("interval[]", "array[r * interval '1 day', null]"),
    ("int4range", "int4range((r * 10)::int, 10 + (r * 10)::int)"),
    ("tstzrange", "tstzrange(timestamptz '2000-01-01+00' + r * interval '1 day', null, '[)')"),
    ("int8multirange", "int8multirange(int8range(1, 5), int8range(7, 8 + (r * 10)::int))"),
    ("inet", "inet '10.0.0.0' + (r * 100000)::bigint"),
    ("bit(9)", "((r * 511)::int)::bit(9)"),
    ("bit varying", "substring(((r * 511)::int)::bit(9)::varbit from 1 for 1 + (r * 8)::int)"),
    ("mood", "(array['sad', 'so so', 'ok'])[1 + (r * 2)::int]::mood"),
    ("mood[]", "array[(array['sad', 'so so', 'ok'])[1 + (r * 2)::int]::mood, null]"),
    ("price", "((r * 1e6)::numeric(8,2))"),
    ("pair", "row((r * 10)::int, md5(r::text) || ', \"x\"')::pair"),
    ("xml", "('<a b=\"' || (r * 10)::int || '\"/>')::xml"),
    ("tsvector", "to_tsvector('simple', md5(r::text) || ' b ' || md5((r * 2)::text))"),
];

#[test]
fn values_of_every_type_are_in_every_warehouse_what_they_are_at_the_source() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let seeds: f64 = StdRng::seed_from_u64(seed).random_range(-1.0..1.0);
    let source = Postgres::shared(17).database("values_s");
    let columns: Vec<String> = KINDS.iter().zip(0..).map(|((kind, _), at)| format!("c{at} {kind}")).collect();
    source.sql(&format!(
        "create type mood as enum ('sad', 'so so', 'ok'); create type pair as (n int, t text);
         create domain price as numeric(8,2) check (value >= 0); create table every (k integer primary key, {})",
        columns.join(", ")
    ));
    let values: Vec<String> =
        KINDS.iter().map(|(_, value)| format!("case when random() < 0.15 then null else {value} end")).collect();
    let fill = |from: u32| {
        source.sql(&format!(
            "select setseed({seeds}); insert into every select k, {} from (select k, random() r from generate_series({from}, {from} + 150) k) x",
            values.join(", ")
        ));
    };
    fill(1);
    let target = Postgres::shared(15).database("values_t");
    let from = |name: &str| Tailwater::new(name).source_postgres(&source.url(), &["public.*"]);
    let to_postgres = from("values_p").sink_postgres(&target.url(), None);
    to_postgres.run_until_current().success();
    #[cfg(feature = "duckdb")]
    let (dir, to_duckdb) = {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = from("values_d").sink_duckdb(&dir.path().join("w.duckdb"));
        pipeline.run_until_current().success();
        (dir, pipeline)
    };
    // Some come with the snapshot, others with the stream, and some are changed.
    fill(1000);
    source.sql("update every set c0 = 7 where k % 3 = 0; delete from every where k % 5 = 0");
    to_postgres.run_until_current().success();
    assert_all_equal(&source.session(), &["public.every"], Copy::Postgres(&target.session()));
    #[cfg(feature = "duckdb")]
    {
        to_duckdb.run_until_current().success();
        assert_all_equal(&source.session(), &["public.every"], Copy::Duckdb(&dir.path().join("w.duckdb")));
    }
}
