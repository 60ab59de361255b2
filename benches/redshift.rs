//! How fast do rows become objects on S3, up to the moment when Redshift is told to COPY them?
//!
//! `ROWS` (a million) of ten columns, folded, in flushes of 64 MiB as by default, become four Parquet or CSV objects each
//! and a manifest, on an S3 server beside it that checks signatures; `FORMAT` chooses by a part of a name. The clock
//! runs for all of that and not for making and folding the rows. The writer is a process of its own, whose peak memory
//! is told, a flush's rows included. The reference of the same run is DuckDB's `COPY TO` of the same rows from a table in
//! memory, on all cores, and a bare PUT of the objects to the same server. What DuckDB reads in the objects has to be
//! those rows.

// What goes wrong ends the benchmark.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStoreExt, path::Path as Key};
use tailwater::adapters::warehouse::{Client, OBJECT_FORMATS, RedshiftClient, RedshiftOptions};
use tailwater::codecs::dialect::{Redshift as Dialect, Target};
use tailwater::logic::merge::Fold;
use tailwater::model::value::{Finite, print};
use tailwater::model::{
    Cell, Change, ChangeId, Column, Lsn, Oid, Op, Origin, PgTimestamp, PgType, ReplicaIdentity, Row, RowWriter, Table,
    TableName,
};

#[path = "../tests/support/mod.rs"]
mod support;

use support::dir::Dir;
use support::redshift::{REGION, Redshift, servers};
use support::s3::{Bucket, KEY, S3, SECRET};
use support::session::connect;

/// Name, type, modifier.
const COLUMNS: [(&str, PgType, i32); 10] = [
    ("id", PgType::Int8, -1),
    ("a", PgType::Int4, -1),
    ("b", PgType::Text, -1),
    ("c", PgType::Text, -1),
    ("d", PgType::Bool, -1),
    ("e", PgType::Float8, -1),
    ("f", PgType::Numeric, (12 << 16) + 2 + 4),
    ("g", PgType::Timestamptz, -1),
    ("h", PgType::Timestamp, -1),
    ("i", PgType::Text, -1),
];
/// The same rows as DuckDB makes them.
const VALUES: &str = "g AS id, CAST(g AS INTEGER) AS a, 'customer number ' || g AS b, md5(g::VARCHAR) || md5(g || 'x') AS c, \
    g % 2 = 0 AS d, g / 7.0::DOUBLE AS e, CAST((g % 100000) * 1.25 AS DECIMAL(12, 2)) AS f, \
    make_timestamp(946684800000000 + g * 86413000001) AS g, make_timestamp(946684800000000 + g * 86413) AS h, \
    CASE WHEN g % 3 > 0 THEN 'a remark about row ' || g END AS i";
/// What a CSV object's fields are read as, and what stands for NULL.
const CSV: &str = "header = false, nullstr = '~tw~null~', columns = {id: 'BIGINT', a: 'INTEGER', b: 'VARCHAR', c: 'VARCHAR', \
    d: 'BOOLEAN', e: 'DOUBLE', f: 'DECIMAL(12, 2)', g: 'TIMESTAMP', h: 'TIMESTAMP', i: 'VARCHAR', l: 'BIGINT', s: 'BIGINT', \
    o: 'VARCHAR', m: 'VARCHAR', k: 'BIGINT'}";
/// A flush, as by default.
const FLUSH: usize = 64 << 20;
const FILES: usize = 4;

fn main() {
    let rows = std::env::var("ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000_u64);
    if let Ok(format) = std::env::var("TAILWATER_WRITER") {
        // On this thread alone, so that what a flush frees the next one gets.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(write(format, rows));
    }
    let duck = ::duckdb::Connection::open_in_memory().unwrap();
    duck.execute_batch(&format!("CREATE TABLE t AS SELECT {VALUES} FROM range(1, {rows} + 1) AS ids (g)")).unwrap();
    println!("{:<28}{:>10}{:>16}{:>12}{:>8}{:>10}", "", "rows/s", "COPY TO + PUT", "bare PUT", "memory", "objects");
    for (format, _) in OBJECT_FORMATS {
        if format.contains(&std::env::var("FORMAT").unwrap_or_default()) {
            let bucket = S3::shared().bucket(format);
            let database = servers().database(format);
            measure(format, rows, &duck, &bucket, &Redshift::start(&database, &bucket));
        }
    }
}

fn measure(format: &str, rows: u64, duck: &::duckdb::Connection, bucket: &Bucket, redshift: &Redshift) {
    let writer = Command::new(std::env::current_exe().unwrap())
        .env("TAILWATER_WRITER", format)
        .env("ROWS", rows.to_string())
        .env("TAILWATER_TARGET", format!("{} {} {}", redshift.url(), bucket.endpoint(), bucket.name()))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(writer.status.success(), "the writer failed");
    let told = String::from_utf8(writer.stdout).unwrap();
    let [seconds, peak] = told.trim().split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (seconds, peak): (f64, u64) = (seconds.parse().unwrap(), peak.parse().unwrap());

    let dir = Dir::new();
    let objects = fetch(format, bucket, dir.path());
    assert_eq!(other_rows(format, duck, dir.path()), (rows, 0), "rows, and those that are not the table's");
    let begin = Instant::now();
    let options = if format == "csv" { "(FORMAT csv, HEADER false)" } else { "(FORMAT parquet, COMPRESSION snappy)" };
    duck.execute_batch(&format!("COPY t TO '{}' {options}", dir.join("reference").display())).unwrap();
    let copied = begin.elapsed().as_secs_f64();
    let sizes: usize = objects.iter().map(Vec::len).sum();
    let put = put(bucket, objects);
    println!(
        "{format:<28}{:>10.0}{:>16.2}{:>12.2}{:>5} MB{:>7} MB",
        rows as f64 / seconds,
        (copied + put) / seconds,
        put / seconds,
        peak >> 20,
        sizes >> 20
    );
}

/// The objects, and a copy of each in a directory.
fn fetch(format: &str, bucket: &Bucket, dir: &Path) -> Vec<Vec<u8>> {
    let mut objects = Vec::new();
    for name in bucket.objects().iter().filter(|name| name.ends_with(&format!(".{format}"))) {
        bucket.tamper(name, |bytes| {
            std::fs::write(dir.join(format!("{}.{format}", objects.len())), &bytes).unwrap();
            objects.push(bytes.clone());
            Some(bytes)
        });
    }
    objects
}

/// How many rows DuckDB finds in the objects, and how many of them the table has not.
fn other_rows(format: &str, duck: &::duckdb::Connection, dir: &Path) -> (u64, u64) {
    let files = dir.join(format!("*.{format}"));
    let read = match format {
        "csv" => format!("read_csv('{}', {CSV})", files.display()),
        _ => format!("read_parquet('{}')", files.display()),
    };
    let all = format!("SELECT count(*) FROM {read}");
    let others =
        format!("SELECT count(*) FROM (SELECT id, a, b, c, d, e, f, g, h, i FROM {read} EXCEPT SELECT * FROM t)");
    let count = |sql: &str| duck.query_row(sql, [], |row| row.get(0)).unwrap();
    (count(&all), count(&others))
}

/// What it takes to put objects on S3, as many side by side as a flush has.
fn put(bucket: &Bucket, objects: Vec<Vec<u8>>) -> f64 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let s3 =
        AmazonS3Builder::new().with_bucket_name(bucket.name()).with_region(REGION).with_endpoint(bucket.endpoint());
    let s3 = s3.with_allow_http(true).with_access_key_id(KEY).with_secret_access_key(SECRET).build().unwrap();
    let s3 = Arc::new(s3);
    support::runtime::wait(async move {
        let begin = Instant::now();
        let mut objects = objects.into_iter().enumerate().peekable();
        while objects.peek().is_some() {
            let mut puts = tokio::task::JoinSet::new();
            for (n, object) in objects.by_ref().take(FILES) {
                let s3 = Arc::clone(&s3);
                puts.spawn(async move { s3.put(&Key::from(format!("bare/{n}")), object.into()).await.map(drop) });
            }
            puts.join_all().await.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
        }
        begin.elapsed().as_secs_f64()
    })
}

/// The writer: says how many seconds it took, and the most memory it had.
async fn write(format: String, rows: u64) {
    let place = std::env::var("TAILWATER_TARGET").unwrap();
    let [url, endpoint, bucket] = place.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    let options = RedshiftOptions {
        bucket,
        prefix: "stage".into(),
        region: Some(REGION.into()),
        endpoint: Some(endpoint),
        iam_role: None,
        kms_key: None,
        keys: Some((KEY.into(), SECRET.to_owned().into())),
        format: OBJECT_FORMATS.into_iter().find(|(name, _)| *name == format).unwrap().1,
        files: FILES,
    };
    let dialect = Dialect { pipeline: "bench".into(), ..Dialect::default() };
    let mut client = RedshiftClient::start(&connect(url), dialect, options).await.unwrap();
    let target = Target::new(TableName::new("public", "t"), table());
    let (mut n, mut spent) = (0, Duration::ZERO);
    while n < rows {
        let mut fold = Fold::new(&target, Vec::new());
        let (mut bytes, mut rest) = (0, RowWriter::new());
        while n < rows && bytes < FLUSH {
            n += 1;
            let new = row(n, &mut rest);
            bytes += new.size();
            fold.push(change(&target.table, n, new)).unwrap();
        }
        let folded = fold.finish();
        let begin = Instant::now();
        client.ahead(&target, &folded.rows, false).await.unwrap();
        client.arrived().await.unwrap();
        spent += begin.elapsed();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{} {}", spent.as_secs_f64(), peak * 1024);
}

fn table() -> Arc<Table> {
    let column = |(name, pg_type, modifier): (&str, PgType, i32)| Column {
        name: name.into(),
        pg_type,
        oid: Oid(1),
        modifier,
        optional: name != "id",
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(16_400),
        name: TableName::new("public", "t"),
        version: 1,
        columns: COLUMNS.into_iter().map(column).collect(),
        identity: ReplicaIdentity::Default,
        key: vec![0],
    })
}

fn change(table: &Arc<Table>, n: u64, new: Row) -> Change {
    let origin = Origin { at: PgTimestamp(0), xid: None, lsn: Lsn::new(n), last_commit: None, snapshot: None };
    let id = ChangeId { commit: Lsn::new(0x16_B3FF_0000 + n / 1000), seq: n };
    Change { id, origin, table: Arc::clone(table), op: Op::Insert { new } }
}

/// The `n`-th row, as PostgreSQL prints it.
fn row(n: u64, out: &mut RowWriter) -> Row {
    let md5 = |text: String| Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let at = |micros: u64| {
        let mut text = Vec::new();
        print::timestamp(Finite::Value(946_684_800_000_000 + i64::try_from(micros).unwrap()), &mut text);
        String::from_utf8(text).unwrap()
    };
    let cents = n % 100_000 * 125;
    let texts = [
        Some(n.to_string()),
        Some(n.to_string()),
        Some(format!("customer number {n}")),
        Some(md5(n.to_string()) + &md5(format!("{n}x"))),
        Some(if n.is_multiple_of(2) { "t" } else { "f" }.to_owned()),
        Some((n as f64 / 7.0).to_string()),
        Some(format!("{}.{:02}", cents / 100, cents % 100)),
        Some(at(n * 86_413_000_001) + "+00"),
        Some(at(n * 86_413)),
        (!n.is_multiple_of(3)).then(|| format!("a remark about row {n}")),
    ];
    for text in &texts {
        out.push(text.as_ref().map_or(Cell::Null, |text| Cell::Text(text.as_bytes())));
    }
    out.finish()
}
