//! The binary against Redshift, as far as a PostgreSQL that refuses what Redshift refuses can show it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::eventually;
use crate::support::postgres::{Database, Postgres};
use crate::support::redshift::law::judge;
use crate::support::redshift::{Mishap, REGION, ROLE, Redshift, servers};
use crate::support::s3::{Bucket, Fault, KEY, S3, SECRET, TOKEN};
use crate::support::session::Rows;
use crate::support::tailwater::{Tailwater, quoted};

/// `[sink.redshift]` for a cluster and its bucket; the role reads, the environment's key writes.
fn sink(tailwater: Tailwater, redshift: &Redshift, bucket: &Bucket) -> Tailwater {
    tailwater
        .toml(&format!(
            "[sink.redshift]\nurl = {}\nstage = {}\nregion = {}\nendpoint = {}\niam_role = {}",
            quoted(&redshift.url()),
            quoted(&bucket.stage()),
            quoted(REGION),
            quoted(&bucket.endpoint()),
            quoted(ROLE)
        ))
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
}

fn with_key(tailwater: Tailwater, secret: &str) -> Tailwater {
    tailwater.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", secret)
}

/// A source, a warehouse and a bucket of a test's own.
pub(crate) struct Stand<'a> {
    pub(crate) shop: Database<'a>,
    pub(crate) warehouse: Database<'a>,
    bucket: Bucket,
    pub(crate) redshift: Redshift,
}

pub(crate) fn stand(name: &str) -> Stand<'static> {
    let server = Postgres::shared(17);
    let (shop, warehouse) = (server.database(name), servers().database(&format!("{name}_dw")));
    let bucket = S3::shared().bucket(&name.replace('_', "-"));
    let redshift = Redshift::start(&warehouse, &bucket);
    Stand { shop, warehouse, bucket, redshift }
}

impl Stand<'_> {
    pub(crate) fn pipeline(&self, name: &str) -> Tailwater {
        let tailwater = Tailwater::new(name).source_postgres(&self.shop.url(), &["public.*"]);
        sink(tailwater, &self.redshift, &self.bucket)
    }

    /// Both sides' answers to the same question.
    #[track_caller]
    pub(crate) fn equal(&self, sql: &str) -> Rows {
        let rows = self.shop.sql(sql);
        assert_eq!(self.warehouse.sql(sql), rows, "{sql}");
        rows
    }
}

#[test]
fn rows_and_their_changes_reach_redshift() {
    let stand = stand("rs_rows");
    stand.shop.sql(
        "create table orders (id bigint primary key, \"Note\" text, paid boolean, sum numeric(12,2), at timestamptz);
         insert into orders values (1, 'first', true, 12.50, '2026-01-02 03:04:05.678+02'), (2, null, false, null, null)",
    );
    let tailwater = stand.pipeline("rs_rows");
    tailwater.run_until_current().success();
    stand.shop.sql(
        "update orders set \"Note\" = 'it''s, \"changed\"' where id = 1; delete from orders where id = 2;
         insert into orders values (3, 'third', null, -0.01, '1999-12-31 23:59:59+00'); update orders set id = 4 where id = 3",
    );
    tailwater.run_until_current().success();
    let rows = stand.warehouse.sql("select id, note, paid, sum, at at time zone 'UTC' from orders order by id");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [
            vec![text("1"), text("it's, \"changed\""), text("t"), text("12.50"), text("2026-01-02 01:04:05.678")],
            vec![text("4"), text("third"), None, text("-0.01"), text("1999-12-31 23:59:59")],
        ]
    );
    assert_eq!(stand.bucket.objects(), Vec::<String>::new(), "objects go with their flush");
}

/// One column of each kind, and how a random value of it is made from `r`, a number between 0 and 1.
const KINDS: [(&str, &str, &str); 24] = [
    ("i2", "smallint", "(r * 65535 - 32768)::int"),
    ("i4", "integer", "(r * 4294967295 - 2147483648)::bigint"),
    ("i8", "bigint", "(r * 1e18)::bigint * 9"),
    ("f4", "real", "(r - 0.5) * 10 ^ (r * 70 - 35)"),
    ("f8", "double precision", "(r - 0.5) * 10 ^ (r * 600 - 300)"),
    ("n9", "numeric(9,2)", "(r - 0.5) * 1e7"),
    ("n18", "numeric(18,5)", "(r - 0.5) * 1e13"),
    ("n38", "numeric(38,10)", "(r - 0.5)::numeric * 1e27"),
    ("n", "numeric", "(r::numeric * 1e30) ^ 2"),
    ("b", "boolean", "r < 0.5"),
    ("t", "text", "repeat(chr((r * 50000)::int + 32), (r * 300)::int) || E'\\n\\t\\\\\\\"'' ,'"),
    ("v", "varchar(20)", "left(md5(r::text), (r * 20)::int)"),
    ("c", "char(5)", "left(md5(r::text), (r * 5)::int)"),
    ("by", "bytea", "decode(md5(r::text) || md5(r::text), 'hex')"),
    ("d", "date", "date '0001-01-01' + (r * 3000000)::int"),
    ("ti", "time", "time '00:00' + r * interval '23:59:59.9'"),
    ("ts", "timestamp", "timestamp '0001-01-01' + r * interval '100000 days'"),
    ("tz", "timestamptz", "timestamptz '1900-01-01+00' + r * interval '100000 days'"),
    ("u", "uuid", "md5(r::text)::uuid"),
    ("j", "jsonb", "jsonb_build_object('a', (r * 1000)::int, 'b', array[r > 0.5, null], 'ü', md5(r::text))"),
    ("iv", "interval", "r * interval '1000 days'"),
    ("a", "integer[]", "array[(r * 10)::int, null, (r * 99)::int]"),
    ("ra", "int4range", "int4range((r * 10)::int, 10 + (r * 10)::int)"),
    ("ip", "inet", "inet '10.0.0.0' + (r * 100000)::bigint"),
];

#[test]
fn every_type_is_in_redshift_what_it_is_at_the_source_in_both_formats() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let seeds: f64 = StdRng::seed_from_u64(seed).random_range(-1.0..1.0);
    for format in ["parquet", "csv"] {
        let stand = stand(&format!("rs_types_{format}"));
        let columns: Vec<String> = KINDS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        let values: Vec<String> =
            KINDS.iter().map(|(.., value)| format!("case when random() < 0.15 then null else {value} end")).collect();
        stand.shop.sql(&format!("create table every (k integer primary key, {})", columns.join(", ")));
        let fill = |from: u32| {
            format!(
                "select setseed({seeds}); insert into every select k, {} from (select k, random() r from generate_series({from}, {from} + 150) k) x",
                values.join(", ")
            )
        };
        stand.shop.sql(&fill(1));
        let tailwater = stand.pipeline("rs_types").toml(&format!("format = {}", quoted(format)));
        tailwater.run_until_current().success();
        stand.shop.sql(&fill(1000));
        stand.shop.sql("update every set i2 = 7 where k % 3 = 0; delete from every where k % 5 = 0");
        tailwater.run_until_current().success();
        let names: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        let rows = stand.equal(&format!("select k, {} from every order by k", names.join(", ")));
        assert!(rows.len() > 200);
    }
}

#[test]
fn large_values_that_an_update_leaves_alone_stay_and_truncates_take_all_that_was() {
    let stand = stand("rs_toast");
    stand.shop.sql(
        "create table big (id int primary key, body text, doc jsonb, note text);
         alter table big alter body set storage external;
         insert into big select i, repeat(md5(i::text), 400), jsonb_build_object('x', repeat('y', 3000)), 'a' from generate_series(1, 20) i;
         create table gone (id int primary key); insert into gone select generate_series(1, 5)",
    );
    let tailwater = stand.pipeline("rs_toast");
    tailwater.run_until_current().success();
    stand.shop.sql(
        "update big set note = 'b' where id % 2 = 0; update big set id = id + 100 where id < 4;
         update big set note = 'c' where id = 101; truncate gone; insert into gone values (9)",
    );
    tailwater.run_until_current().success();
    stand.equal("select id, body, doc, note from big order by id");
    assert_eq!(stand.equal("select id from gone").len(), 1);
}

#[test]
fn a_log_of_changes_names_columns_as_redshift_has_them_before_and_after_a_restart() {
    let stand = stand("rs_names");
    stand.shop.sql("create table \"T\" (\"Nr\" int primary key, \"Größe\" text); alter table \"T\" alter \"Größe\" set storage external");
    stand.shop.sql("insert into \"T\" values (1, repeat('x', 9000))");
    let tailwater = stand.pipeline("rs_names").toml("flush.seconds = 1");
    let tailwater = tailwater.toml("[[table]]\nmatch = \"public.*\"\nmode = \"append\"");
    // Made, and given a column more, in one life; found there in the next.
    let mut running = tailwater.run();
    let there = "select to_regclass('public.t') is not null";
    running.wait_until("there", |_| {
        stand.warehouse.one(there) == "t" && stand.warehouse.one("select count(*) from t") == "1"
    });
    stand.shop.sql("update \"T\" set \"Nr\" = 2");
    stand.shop.sql("alter table \"T\" add \"ÜBER\" text; update \"T\" set \"Nr\" = 3, \"ÜBER\" = 'y'");
    running.wait_until("told of both", |_| stand.warehouse.one("select count(*) from t") == "3");
    running.terminate().success();
    stand.shop.sql("update \"T\" set \"Nr\" = 4");
    tailwater.run_until_current().success();
    let rows = stand.warehouse.sql("select nr, über, _tw_unchanged, _tw_old from t where _tw_op = 'u' order by nr");
    let text = |text: &str| Some(text.to_owned());
    let row = |nr: u32, over: &str| {
        let old = format!("{{\"nr\":\"{}\"}}", nr - 1);
        vec![Some(nr.to_string()), text(over).filter(|over| !over.is_empty()), text("[\"größe\"]"), Some(old)]
    };
    assert_eq!(rows, [row(2, ""), row(3, "y"), row(4, "y")]);
}

#[test]
fn text_that_outgrows_its_column_widens_it_in_an_open_transaction_too() {
    let stand = stand("rs_wide");
    stand.shop.sql("create table notes (id int primary key, note text, code varchar(10)); insert into notes values (1, 'short', 'ä')");
    let tailwater = stand.pipeline("rs_wide").toml("flush.rows = 50");
    tailwater.run_until_current().success();
    // A transaction of several pieces, the last of which needs more room; and a table that is new in the middle of it.
    stand.shop.sql(
        "begin; insert into notes select i, 'x', 'y' from generate_series(2, 120) i;
         create table late (id int primary key, body text);
         insert into late select i, repeat('ü', 1500) from generate_series(1, 10) i;
         insert into notes values (200, repeat('z', 60000), 'ßßßßßßßßßß'); commit;",
    );
    tailwater.run_until_current().success();
    stand.equal("select id, note, code from notes order by id");
    stand.equal("select id, body from late order by id");
    let widened = stand.redshift.statements().into_iter().filter(|sql| sql.contains("ALTER COLUMN")).count();
    assert!(widened >= 2, "both columns were widened, each at most once a length: {widened}");
}

#[test]
fn what_redshift_can_not_hold_stops_its_table_alone_and_is_named() {
    let stand = stand("rs_unfit");
    stand.shop.sql(
        "create table fine (id int primary key); create table long (id int primary key, body text);
         create table blank (tenant int, code text, primary key (tenant, code));
         create table endless (id int primary key, until timestamptz);
         create table folds (id int primary key, \"Total\" int, total int)",
    );
    let tailwater = stand.pipeline("rs_unfit").toml("retry_stopped_seconds = 1");
    tailwater.run_until_current().success();
    stand.shop.sql(
        "insert into long values (1, repeat('x', 70000)); insert into blank values (1, 'a'), (1, 'a ');
         insert into endless values (1, 'infinity'); insert into folds values (1, 2, 3); insert into fine values (1)",
    );
    let told = tailwater.run_until_current().code(3);
    told.says(&[
        "65,535",
        "public.blank (key tenant, code), column code, ends in a blank",
        "column until, is infinite",
        "Total and total",
    ]);
    assert_eq!(stand.equal("select id from fine").len(), 1);
    stand.shop.sql(
        "update long set body = 'y'; delete from blank; insert into blank values (2, 'b'); update endless set until = null;
         alter table folds rename \"Total\" to other",
    );
    // What waited comes to something that fits; the columns of one name come first in their table's changes.
    let told = tailwater.run_until_current().code(3);
    told.says(&["public.folds"]).hides(&["public.long (", "public.blank (", "public.endless ("]);
    stand.equal("select id, body from long");
    stand.equal("select tenant, code from blank");
    stand.equal("select id, until from endless");
}

#[test]
fn a_kill_in_the_middle_of_a_flush_leaves_nothing_half() {
    let stand = stand("rs_kill");
    stand.shop.sql("create table log (line text); create table rows (id int primary key, n int)");
    let tailwater = stand.pipeline("rs_kill").toml("flush.seconds = 1");
    tailwater.run_until_current().success();
    for (turn, moment) in ["COPY", "DELETE FROM \"public\"", "COPY>UPDATE", "COPY>COMMIT"].into_iter().enumerate() {
        stand.redshift.mishap(moment, Mishap::Stall);
        let running = tailwater.run();
        stand.shop.sql(&format!(
            "begin; insert into log select 'turn {turn} line ' || i from generate_series(1, 50) i;
             insert into rows select i, {turn} from generate_series(1, 30) i on conflict (id) do update set n = {turn}; commit"
        ));
        eventually("the moment has come", Duration::from_secs(60), || stand.redshift.stalls().then_some(()));
        running.kill9();
        stand.redshift.heal();
    }
    tailwater.run_until_current().success();
    stand.equal("select line from log order by line collate \"C\"");
    stand.equal("select id, n from rows order by id");
}

#[test]
fn conflicts_and_connections_that_are_cut_do_not_lose_or_repeat_a_row() {
    let stand = stand("rs_cut");
    stand.shop.sql("create table log (line text)");
    let tailwater = stand.pipeline("rs_cut");
    tailwater.run_until_current().success();
    let mishaps = [
        // The first COMMIT is the fence's.
        ("COPY>COMMIT", Mishap::CutAfter),
        ("COPY>COMMIT", Mishap::CutBefore),
        ("INSERT INTO \"public\"", Mishap::Conflict),
        ("COPY", Mishap::Unseen),
        ("COPY", Mishap::Miscount),
        ("LOCK", Mishap::CutBefore),
    ];
    for (number, (statement, mishap)) in mishaps.into_iter().enumerate() {
        stand.shop.sql(&format!("insert into log values ('{number}')"));
        stand.redshift.mishap(statement, mishap);
        tailwater.run_until_current().success();
        assert!(!stand.redshift.waits(), "{statement} {mishap:?} happened");
    }
    assert_eq!(stand.equal("select line from log order by line").len(), mishaps.len());
    assert_eq!(stand.bucket.objects(), Vec::<String>::new(), "what was left behind goes too");
}

#[test]
fn s3_that_fails_for_a_while_delays_and_what_is_missing_or_torn_is_written_anew() {
    let stand = stand("rs_s3");
    stand.shop.sql("create table t (id int primary key, v text)");
    let tailwater = stand.pipeline("rs_s3");
    tailwater.run_until_current().success();
    for (turn, fault) in
        [Fault::Answer(503, "SlowDown"), Fault::Cut, Fault::Answer(500, "InternalError")].into_iter().enumerate()
    {
        stand.shop.sql(&format!("insert into t select i, 'turn {turn}' from generate_series({turn}00, {turn}50) i"));
        stand.bucket.fail("PUT", fault, 3);
        tailwater.run_until_current().success();
        assert!(!stand.bucket.fails(), "{fault:?} happened");
        stand.equal("select id, v from t order by id");
    }
    // Slow: it waits, and goes on.
    stand.shop.sql("insert into t values (1000, 'slow')");
    stand.bucket.fail("PUT", Fault::Stall, 1);
    let running = tailwater.start(&["run", "--until-current"]);
    std::thread::sleep(Duration::from_millis(500));
    stand.bucket.heal();
    running.wait().success();
    // Objects that vanish, or lose their end, between the upload and COPY.
    for (id, ending, torn) in [(1001, ".parquet", false), (1002, ".parquet", true), (1003, "/manifest.json", false)] {
        stand.shop.sql(&format!("insert into t values ({id}, 'torn')"));
        stand.redshift.mishap("COPY", Mishap::Stall);
        let running = tailwater.start(&["run", "--until-current"]);
        eventually("COPY has come", Duration::from_secs(60), || stand.redshift.stalls().then_some(()));
        let objects = stand.bucket.objects();
        let object = objects.iter().find(|name| name.ends_with(ending)).expect("an object waits");
        stand.bucket.tamper(object, |bytes| torn.then(|| bytes[..bytes.len() / 2].to_vec()));
        stand.redshift.heal();
        running.wait().success();
    }
    stand.equal("select id, v from t order by id");
}

#[test]
fn the_objects_of_many_tables_are_written_side_by_side_and_one_that_fails_fails_the_flush() {
    let stand = stand("rs_beside");
    for table in 0..30 {
        stand.shop.sql(&format!("create table t{table} (id int primary key, v text)"));
    }
    let tailwater = stand.pipeline("rs_beside");
    tailwater.run_until_current().success();
    let all = |v: &str| (0..30).map(|t| format!("insert into t{t} values ({v}, 'row {v}');")).collect::<String>();
    stand.shop.sql(&format!("begin; {} commit", all("1")));
    // Thirty objects and thirty manifests: in turn they would take a quarter of a minute.
    stand.bucket.fail("PUT", Fault::Slow(Duration::from_millis(250)), 1);
    tailwater.run_until_current().success();
    stand.bucket.heal();
    assert!((8..=16).contains(&stand.bucket.most_at_once()), "{} at once", stand.bucket.most_at_once());
    stand.shop.sql(&format!("begin; {} commit", all("2")));
    stand.bucket.fail("PUT", Fault::Answer(403, "AccessDenied"), 1);
    tailwater.run_until_current().code(3).says(&["s3:PutObject"]);
    assert!(!stand.bucket.fails(), "one of them was refused");
    tailwater.run_until_current().success();
    for table in 0..30 {
        stand.equal(&format!("select id, v from t{table} order by id"));
    }
    assert_eq!(stand.bucket.objects(), Vec::<String>::new(), "what was written is removed");
}

#[test]
fn what_a_person_has_to_mend_of_s3_stops_with_what_to_do() {
    let stand = stand("rs_mend");
    stand.shop.sql("create table t (id int primary key); insert into t values (1)");
    let tailwater = stand.pipeline("rs_mend");
    tailwater.check().success();
    let other = tailwater.variant("iam_role = ", "iam_role = \"arn:aws:iam::1:role/other\" #");
    with_key(other, SECRET).check().code(2).says(&["read the prefix"]);
    let wrong = with_key(tailwater.variant("[serve]", "[serve]"), "wrong");
    wrong.run_until_current().code(3).says(&["s3:PutObject"]).hides(&[SECRET]);
    for (fault, words) in [
        (Fault::Answer(403, "AccessDenied"), "s3:PutObject"),
        (Fault::Answer(404, "NoSuchBucket"), "make the bucket"),
        (Fault::Answer(301, "PermanentRedirect"), "set region"),
        (Fault::Answer(400, "AuthorizationHeaderMalformed"), "set region"),
    ] {
        stand.bucket.fail("PUT", fault, 1_000);
        tailwater.run_until_current().code(3).says(&[stand.bucket.name(), words]);
        stand.bucket.heal();
    }
    let warehouse = servers().database("rs_mend_far");
    let elsewhere = Redshift::with_bucket_in(&warehouse, &stand.bucket, "us-west-2");
    let far =
        sink(Tailwater::new("rs_mend").source_postgres(&stand.shop.url(), &["public.*"]), &elsewhere, &stand.bucket);
    far.run_until_current().code(3).says(&["different region", "bucket of the cluster's region"]);
    tailwater.run_until_current().success();
    stand.equal("select id from t");
}

#[test]
fn temporary_credentials_go_into_copy_and_into_no_message() {
    let stand = stand("rs_token");
    stand.bucket.ask_for_token();
    stand.shop.sql("create table t (id int primary key); insert into t values (1)");
    let tailwater =
        with_key(stand.pipeline("rs_token").variant("iam_role", "#"), SECRET).env("AWS_SESSION_TOKEN", TOKEN);
    let told = tailwater.run_until_current().success();
    told.hides(&[SECRET, TOKEN]);
    stand.equal("select id from t");
    assert!(stand.redshift.statements().iter().any(|sql| sql.starts_with("COPY") && sql.contains(TOKEN)));
}

#[test]
fn a_row_that_copy_refuses_is_told_with_its_column() {
    let stand = stand("rs_refused");
    stand.shop.sql("create table t (id int primary key, a text, b text); insert into t values (1, 'x', 'y')");
    let tailwater = stand.pipeline("rs_refused").toml("format = \"csv\"\nstop = \"pipeline\"");
    stand.redshift.mishap("COPY", Mishap::Stall);
    let running = tailwater.start(&["run", "--until-current"]);
    eventually("COPY has come", Duration::from_secs(60), || stand.redshift.stalls().then_some(()));
    let objects = stand.bucket.objects();
    let object = objects.iter().find(|name| name.ends_with(".csv")).expect("an object waits");
    stand.bucket.tamper(object, |bytes| Some([b"x", &bytes[1..]].concat()));
    stand.redshift.heal();
    running.wait().code(3).says(&["COPY refuses a value of column id (error 1207)"]);
    tailwater.run_until_current().success();
    stand.equal("select id, a, b from t");
}

#[test]
fn the_stand_in_refuses_what_redshift_refuses() {
    for sql in [
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "SELECT 1 FROM t WHERE a IS DISTINCT FROM b",
        "ALTER TABLE \"s\".\"t\" ADD COLUMN a integer, ADD COLUMN b integer",
        "ALTER TABLE \"s\".\"t\" ADD COLUMN IF NOT EXISTS \"a\" integer",
        "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"a\" TYPE bigint",
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED AND s.b THEN DELETE",
        "SAVEPOINT a",
        "CREATE TABLE \"t\" (\"a\" integer[])",
        "CREATE TABLE \"t\" (\"a\" uuid)",
        "CREATE TABLE \"t\" (\"a\" varchar(70000))",
        "CREATE TABLE \"t\" (\"xmin\" integer)",
        "CREATE INDEX i ON t (a)",
        "CREATE SEQUENCE s",
        "CREATE UNLOGGED TABLE t (a integer)",
        "DELETE FROM t AS x USING s WHERE x.a = s.a",
        "DELETE FROM t WHERE (a, b) < (1, 2)",
        "UPDATE t SET a = now()",
        "INSERT INTO t VALUES (1) RETURNING a",
    ] {
        assert!(judge(sql, false).is_err(), "{sql}");
    }
    let widen = "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"a\" TYPE character varying(2048)";
    assert!(judge(widen, false).is_ok() && judge(widen, true).is_err(), "only outside of a transaction");
}
