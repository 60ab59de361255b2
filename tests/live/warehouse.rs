//! The warehouse sinks by themselves: what was taken is in the tables once, all or nothing, whatever comes between.

#[cfg(feature = "duckdb")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
#[cfg(feature = "duckdb")]
use tailwater::adapters::warehouse::{DuckdbClient, DuckdbFile};
use tailwater::adapters::warehouse::{Flush, Options, PostgresClient, Reach, WarehouseSink};
#[cfg(feature = "redshift")]
use tailwater::adapters::warehouse::{ObjectFormat, RedshiftClient, RedshiftOptions};
use tailwater::codecs::dialect;
use tailwater::logic::pipeline::{Batch, Sink};
use tailwater::model::{Checkpoint, Class, OldRow, Op, PgType, Result, TableName};

use crate::history::{At, KEYED_SQL, PLAIN_SQL, Story, Transaction, Truth, at, batch, batches, change, row, table};
#[cfg(feature = "duckdb")]
use crate::support::dir::Dir;
#[cfg(feature = "duckdb")]
use crate::support::duck;
use crate::support::postgres::{Database, Postgres};
#[cfg(feature = "redshift")]
use crate::support::redshift::{REGION, ROLE, Redshift, servers};
#[cfg(feature = "redshift")]
use crate::support::s3::{Bucket, KEY, S3, SECRET};
use crate::support::session::{Rows, Session, connect};

pub type Delivery = <WarehouseSink as Sink<At>>::Delivery;

/// A warehouse to start sinks on, and to look into while no sink holds it.
pub enum Warehouse<'a> {
    Postgres(&'a Database<'a>),
    #[cfg(feature = "duckdb")]
    Duckdb(PathBuf),
    #[cfg(feature = "redshift")]
    Redshift(&'a Database<'a>, &'a Cluster, ObjectFormat),
}

/// What stands in for a Redshift cluster, and its bucket.
#[cfg(feature = "redshift")]
pub struct Cluster {
    pub redshift: Redshift,
    bucket: Bucket,
}

#[cfg(feature = "redshift")]
impl Cluster {
    pub fn of(database: &Database<'_>) -> Cluster {
        let bucket = S3::shared().bucket("lives");
        Cluster { redshift: Redshift::start(database, &bucket), bucket }
    }

    async fn start(&self, options: Options, format: ObjectFormat) -> Result<(WarehouseSink, Option<Checkpoint>)> {
        let stage = RedshiftOptions {
            bucket: self.bucket.name().to_owned(),
            prefix: "stage".into(),
            region: Some(REGION.into()),
            endpoint: Some(self.bucket.endpoint()),
            iam_role: Some(ROLE.into()),
            kms_key: None,
            keys: Some((KEY.into(), SECRET.to_owned().into())),
            format,
            files: 2,
        };
        let dialect = dialect::Redshift { pipeline: options.pipeline.clone(), ..dialect::Redshift::default() };
        let client = RedshiftClient::start(&connect(self.redshift.url()), dialect.clone(), stage).await?;
        WarehouseSink::start(client, dialect, options).await
    }
}

impl Warehouse<'_> {
    pub async fn start(&self, options: Options) -> Result<(WarehouseSink, Option<Checkpoint>)> {
        match self {
            Warehouse::Postgres(database) => {
                let client = PostgresClient::start(&connect(database.url())).await?;
                WarehouseSink::start(client, dialect::Postgres, options).await
            }
            #[cfg(feature = "duckdb")]
            Warehouse::Duckdb(path) => {
                let client = DuckdbClient::start(&DuckdbFile { path: path.clone() }).await?;
                WarehouseSink::start(client, dialect::Duckdb, options).await
            }
            #[cfg(feature = "redshift")]
            Warehouse::Redshift(_, cluster, format) => cluster.start(options, *format).await,
        }
    }

    /// What somebody does by hand.
    pub fn execute(&self, sql: &str) {
        match self {
            Warehouse::Postgres(database) => drop(database.sql(sql)),
            #[cfg(feature = "duckdb")]
            Warehouse::Duckdb(path) => duckdb::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            #[cfg(feature = "redshift")]
            Warehouse::Redshift(database, ..) => drop(database.sql(sql)),
        }
    }

    pub fn rows(&self, sql: &str) -> Rows {
        match self {
            Warehouse::Postgres(database) => database.sql(sql),
            #[cfg(feature = "duckdb")]
            Warehouse::Duckdb(path) => duck::rows(path, sql),
            // Names are folded there.
            #[cfg(feature = "redshift")]
            Warehouse::Redshift(database, ..) => database.sql(&sql.to_lowercase()),
        }
    }
}

pub fn options(rows: usize) -> Options {
    let flush = Flush { rows, bytes: 1 << 20, after: Duration::from_millis(30) };
    // Single rows, too, go straight into tables where they can.
    Options { stop: Reach::Pipeline, straight: 1, ..Options::new("it's", flush) }
}

/// Hands a batch over; fails instead of hanging.
pub async fn apply(sink: &mut WarehouseSink, batch: Batch<At>) -> Result<Delivery> {
    tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), sink.apply(batch))
        .await
        .expect("the sink takes a batch in time")
}

pub async fn durable(delivery: Delivery) -> Result<()> {
    tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), delivery)
        .await
        .expect("a delivery resolves in time")
}

pub async fn flush(sink: &mut WarehouseSink) {
    Sink::<At>::flush(sink).await.unwrap();
}

/// Applies changes that are complete and waits for them.
pub async fn applied(sink: &mut WarehouseSink, changes: Vec<tailwater::model::Change>) -> Result<()> {
    let upto = at(changes.last().unwrap().id);
    let delivery = apply(sink, batch(changes, Some(upto))).await?;
    Sink::<At>::flush(sink).await?;
    durable(delivery).await
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Applies a history in several lives, each of which ends without notice and begins again somewhere before its end.
async fn lives(warehouse: &Warehouse<'_>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut story = Story::new(StdRng::seed_from_u64(seed ^ 1));
    let sizes: Vec<usize> =
        (0..60).map(|_| if random.random_bool(0.1) { 300 } else { random.random_range(1..30) }).collect();
    let history: Vec<Transaction> = sizes.into_iter().map(|size| story.transaction(size)).collect();
    let limit = random.random_range(5..200);
    for life in 0.. {
        let (mut sink, stored) = warehouse.start(options(limit)).await.unwrap();
        let done = stored.map_or(0, |stored| {
            history.iter().position(|t| t.last() == stored.change).expect("a transaction's end is stored") + 1
        });
        let begin = random.random_range(0..=done).max(done.saturating_sub(8));
        let mut deliveries = Vec::new();
        let mut pieces = batches(&history[begin..], &mut random);
        let last = life >= 5;
        if !last {
            pieces.truncate(random.random_range(0..=pieces.len() / 2));
        }
        for piece in pieces {
            deliveries.push(apply(&mut sink, piece).await.unwrap());
            if random.random_bool(0.1) {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            }
        }
        if last {
            flush(&mut sink).await;
            for delivery in deliveries {
                durable(delivery).await.unwrap();
            }
        }
        sink.close().await;
        let (sink, stored) = warehouse.start(options(limit)).await.unwrap();
        sink.close().await;
        let done = stored.map(|stored| history.iter().position(|t| t.last() == stored.change).unwrap());
        assert!(!last || done == Some(history.len() - 1), "the last life applies all");
        if let Some(done) = done {
            compare(warehouse, &history[done].after);
        }
        if last {
            return;
        }
    }
}

pub fn compare(warehouse: &Warehouse<'_>, truth: &Truth) {
    same(warehouse.rows(PLAIN_SQL), truth.plain());
    // A table is made when its first change comes.
    if !truth.keyed().is_empty() {
        let sorted = |mut rows: Rows| {
            rows.sort();
            rows
        };
        same(sorted(warehouse.rows(KEYED_SQL)), sorted(truth.keyed()));
    }
}

/// Panics with the first row that differs.
pub fn same(rows: Rows, truth: Rows) {
    let differs = rows.iter().zip(&truth).position(|(row, truth)| row != truth);
    let at = differs.unwrap_or(rows.len().min(truth.len()));
    assert!(
        rows == truth,
        "{} rows instead of {}; row {at} is {:?} instead of {:?}",
        rows.len(),
        truth.len(),
        rows.get(at),
        truth.get(at)
    );
}

pub fn seeds() -> Vec<u64> {
    let seed = std::env::var("TAILWATER_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("TAILWATER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    let seeds = seed.map_or_else(|| (0..count).map(|_: u32| rand::random()).collect(), |seed| vec![seed]);
    println!("one of TAILWATER_SEED={seeds:?}");
    seeds
}

#[test]
fn postgres_equals_the_source_after_any_history_and_any_number_of_ends() {
    for seed in seeds() {
        let database = Postgres::shared(17).database("sink_history");
        runtime().block_on(lives(&Warehouse::Postgres(&database), seed));
    }
}

#[cfg(feature = "duckdb")]
#[test]
fn duckdb_equals_the_source_after_any_history_and_any_number_of_ends() {
    for seed in seeds() {
        let dir = Dir::new();
        runtime().block_on(lives(&Warehouse::Duckdb(dir.join("w.duckdb")), seed));
    }
}

#[cfg(feature = "redshift")]
#[test]
fn redshift_equals_the_source_after_any_history_and_any_number_of_ends() {
    for (seed, format) in seeds().into_iter().zip([ObjectFormat::Parquet, ObjectFormat::Csv]) {
        let database = servers().database("sink_history_rs");
        let cluster = Cluster::of(&database);
        runtime().block_on(lives(&Warehouse::Redshift(&database, &cluster, format), seed));
    }
}

pub fn items() -> Arc<tailwater::model::Table> {
    table(TableName::new("public", "items"), &[("id", PgType::Int8), ("v", PgType::Text)], &[0])
}

pub fn insert(
    table: &Arc<tailwater::model::Table>,
    commit: u64,
    seq: u64,
    cells: &[Option<&str>],
) -> tailwater::model::Change {
    change(table, commit, seq, Op::Insert { new: row(cells) })
}

/// `count` inserts of one transaction, the first with `first` as its ordinal.
pub fn inserts(commit: u64, first: u64, count: u64) -> Vec<tailwater::model::Change> {
    let items = items();
    (first..first + count).map(|n| insert(&items, commit, n, &[Some(&n.to_string()), Some("x")])).collect()
}

pub fn refused(result: Result<()>, class: Class, words: &[&str]) {
    let error = result.expect_err("it is refused");
    assert_eq!(error.class(), class, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_large_transaction_is_invisible_until_its_end() {
    let database = Postgres::shared(17).database("sink_pieces");
    let reader: Session = database.session();
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        applied(&mut sink, inserts(800, 0, 1)).await.unwrap();
        let mut deliveries = Vec::new();
        for piece in 0..10 {
            deliveries.push(apply(&mut sink, batch(inserts(1600, piece * 100, 100), None)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let open = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
        assert_eq!(reader.one(open), "1", "pieces wait in an open transaction");
        assert_eq!(reader.one("select count(*) from items"), "1");
        let rest = inserts(1600, 1000, 1);
        let upto = at(rest[0].id);
        deliveries.push(apply(&mut sink, batch(rest, Some(upto))).await.unwrap());
        for delivery in deliveries {
            durable(delivery).await.unwrap();
        }
        assert_eq!(reader.one("select count(*) from items"), "1001");
        sink.close().await;
    });
}

#[test]
fn a_huge_batch_behind_a_waiting_piece_does_not_hang() {
    let database = Postgres::shared(17).database("sink_huge");
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(1_000_000)).await.unwrap();
        let small = apply(&mut sink, batch(inserts(800, 0, 10), None)).await.unwrap();
        let rest = inserts(800, 10, 1);
        let upto = at(rest[0].id);
        let huge = apply(&mut sink, Batch { changes: rest, bytes: 200 << 20, upto: Some(upto) }).await.unwrap();
        durable(small).await.unwrap();
        durable(huge).await.unwrap();
        sink.close().await;
    });
    assert_eq!(database.one("select count(*) from items"), "11");
}

#[test]
fn whoever_asks_after_a_failure_is_told_its_reason() {
    let database = Postgres::shared(17).database("sink_failure");
    database.sql("create table items (id int8 primary key, v text)");
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(1)).await.unwrap();
        let first = apply(&mut sink, batch(inserts(800, 0, 1), Some(at(inserts(800, 0, 1)[0].id)))).await.unwrap();
        let second = apply(&mut sink, batch(inserts(1600, 0, 1), Some(at(inserts(1600, 0, 1)[0].id)))).await;
        let words = ["public.items", "not Tailwater's", "drop or rename it"];
        refused(durable(first).await, Class::Blocked, &words);
        if let Ok(second) = second {
            refused(durable(second).await, Class::Blocked, &words);
        }
        let third = apply(&mut sink, batch(inserts(2400, 0, 1), None)).await;
        refused(third.map(drop), Class::Blocked, &words);
        sink.close().await;
    });
}

#[test]
fn the_older_of_two_writers_is_refused_and_leaves_nothing() {
    let database = Postgres::shared(17).database("sink_fence");
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut older, _) = warehouse.start(options(10)).await.unwrap();
        applied(&mut older, inserts(800, 0, 3)).await.unwrap();
        let (mut newer, stored) = warehouse.start(options(10)).await.unwrap();
        assert_eq!(stored.map(|stored| stored.change), Some(inserts(800, 2, 1)[0].id));
        refused(applied(&mut older, inserts(1600, 3, 3)).await, Class::Blocked, &["another process", "it's"]);
        applied(&mut newer, inserts(1600, 3, 2)).await.unwrap();
        older.close().await;
        newer.close().await;
    });
    assert_eq!(database.one("select count(*) from items"), "5");
}

#[test]
fn writers_that_meet_in_an_empty_warehouse_are_not_stopped() {
    for _ in 0..5 {
        let database = Postgres::shared(17).database("sink_meet");
        let warehouse = Warehouse::Postgres(&database);
        runtime().block_on(async {
            let starts = (0..6).map(|n| warehouse.start(Options { pipeline: format!("p{n}"), ..options(10) }));
            for started in futures_util::future::join_all(starts).await {
                match started {
                    Ok((sink, _)) => sink.close().await,
                    Err(error) => assert_eq!(error.class(), Class::Transient, "{error}"),
                }
            }
        });
    }
}

#[test]
fn a_column_that_was_added_is_there_for_the_rows_after_it() {
    let database = Postgres::shared(17).database("sink_columns");
    let wide = table(
        TableName::new("public", "items"),
        &[("more", PgType::Numeric), ("id", PgType::Int8), ("v", PgType::Varchar)],
        &[1],
    );
    let narrow = table(TableName::new("public", "items"), &[("id", PgType::Int8)], &[0]);
    let other = table(TableName::new("public", "items"), &[("id", PgType::Int8), ("more", PgType::Bytea)], &[0]);
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        let mut changes = inserts(800, 1, 1);
        // Between two transactions of one flush, and inside of one.
        changes.push(insert(&wide, 1600, 0, &[Some("1.5"), Some("2"), Some("y")]));
        changes.push(insert(&narrow, 1600, 1, &[Some("3")]));
        applied(&mut sink, changes).await.unwrap();
        let changed = vec![insert(&other, 2400, 0, &[Some("4"), Some("\\x00")])];
        refused(
            applied(&mut sink, changed).await,
            Class::Blocked,
            &["public.items", "column more", "bytea", "numeric"],
        );
        sink.close().await;
    });
    let rows = database.sql("select id, v, more from items order by id");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows,
        [vec![text("1"), text("x"), None], vec![text("2"), text("y"), text("1.5")], vec![text("3"), None, None]]
    );
}

#[test]
fn no_key_where_the_table_was_made_with_one_is_refused() {
    let database = Postgres::shared(17).database("sink_key");
    let none = table(TableName::new("public", "items"), &[("id", PgType::Int8), ("v", PgType::Text)], &[]);
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
        applied(&mut sink, inserts(800, 0, 1)).await.unwrap();
        let rows = vec![insert(&none, 1600, 0, &[Some("1"), Some("y")])];
        refused(applied(&mut sink, rows).await, Class::Blocked, &["public.items", "key"]);
        sink.close().await;
    });
}

#[test]
fn a_value_that_did_not_change_and_is_nowhere_stops_the_flush() {
    let database = Postgres::shared(17).database("sink_orphan");
    let items = items();
    let cells = [tailwater::model::Cell::Text(b"7"), tailwater::model::Cell::Unchanged];
    let update = || Op::Update { old: None, new: cells.into_iter().collect() };
    let delete = Op::Delete { old: OldRow::Key(row(&[Some("7"), None])) };
    let histories = [
        vec![change(&items, 1600, 0, update())],
        vec![
            insert(&items, 1600, 0, &[Some("7"), Some("here")]),
            change(&items, 1600, 1, Op::Truncate),
            change(&items, 1600, 2, update()),
        ],
        vec![change(&items, 1600, 0, delete), change(&items, 1600, 1, update())],
        vec![change(&items, 1600, 0, Op::Truncate), change(&items, 1600, 1, update())],
    ];
    for (n, history) in histories.into_iter().enumerate() {
        runtime().block_on(async {
            let warehouse = Warehouse::Postgres(&database);
            let (mut sink, stored) = warehouse.start(options(10)).await.unwrap();
            if stored.is_none() {
                applied(&mut sink, inserts(800, 6, if n == 0 { 1 } else { 2 })).await.unwrap();
            } else if n == 1 {
                // From the second history on the target has the row that is to be gone.
                applied(&mut sink, inserts(808, 7, 1)).await.unwrap();
            }
            let result = applied(&mut sink, history).await.expect_err("nothing makes up the value");
            assert_ne!(result.class(), Class::Transient, "{n}: {result}");
            assert!(result.to_string().contains("public.items"), "{n}: {result}");
            sink.close().await;
        });
    }
    assert_eq!(database.one("select count(*) from items where v is null"), "0");
    assert_eq!(database.one("select count(*) from items"), "2");
}

#[test]
fn two_source_tables_never_share_a_target() {
    let database = Postgres::shared(17).database("sink_shared");
    let columns = [("id", PgType::Int8)];
    let [a, b] = ["a", "b"].map(|schema| table(TableName::new(schema, "t"), &columns, &[0]));
    runtime().block_on(async {
        let warehouse = Warehouse::Postgres(&database);
        let all = || Options { schema: Some("all".into()), ..options(10) };
        let (mut sink, _) = warehouse.start(all()).await.unwrap();
        applied(&mut sink, vec![insert(&a, 800, 0, &[Some("1")])]).await.unwrap();
        sink.close().await;
        // Another process, which sees the second table first.
        let (mut sink, _) = warehouse.start(all()).await.unwrap();
        let rows = vec![insert(&b, 1600, 0, &[Some("1")])];
        refused(applied(&mut sink, rows).await, Class::Blocked, &["a.t", "b.t", "all.t"]);
        sink.close().await;
    });
}

#[test]
fn two_pipelines_never_share_a_target() {
    let database = Postgres::shared(17).database("sink_pipelines");
    let columns = [("v", PgType::Text)];
    let plain = table(TableName::new("public", "plain"), &columns, &[]);
    let shared = Warehouse::Postgres(&database);
    #[cfg(feature = "duckdb")]
    let (dir, mut warehouses) = (Dir::new(), vec![shared]);
    #[cfg(feature = "duckdb")]
    warehouses.push(Warehouse::Duckdb(dir.join("w.duckdb")));
    #[cfg(not(feature = "duckdb"))]
    let warehouses = vec![shared];
    runtime().block_on(async {
        for warehouse in warehouses {
            let (mut sink, _) = warehouse.start(options(10)).await.unwrap();
            applied(&mut sink, vec![insert(&plain, 800, 0, &[Some("first")])]).await.unwrap();
            sink.close().await;
            let other = |schema: Option<&str>| Options {
                pipeline: "other".into(),
                schema: schema.map(str::to_owned),
                ..options(10)
            };
            let rows = || vec![insert(&plain, 800, 0, &[Some("second")])];
            let (mut sink, _) = warehouse.start(other(None)).await.unwrap();
            let words = ["public.plain", "the pipeline it's", "those of other"];
            refused(applied(&mut sink, rows()).await, Class::Blocked, &words);
            sink.close().await;
            let (mut sink, _) = warehouse.start(other(Some("elsewhere"))).await.unwrap();
            applied(&mut sink, rows()).await.unwrap();
            sink.close().await;
            let both = "select (select max(v) from public.plain), (select max(v) from elsewhere.plain), count(*) from public.plain";
            assert_eq!(warehouse.rows(both), [[Some("first".to_owned()), Some("second".to_owned()), Some("1".to_owned())]]);
        }
    });
}
