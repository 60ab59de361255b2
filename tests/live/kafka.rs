//! What the Kafka sink writes, the Kafka source yields again: in order, once, whatever happened in between.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tailwater::adapters::kafka::{Cluster, Guarantee, KafkaSink, KafkaSource, Properties, SinkOptions, SourceOptions};
use tailwater::codecs::event::{Settings, TopicNames, TopicTemplate};
use tailwater::logic::pipeline::{Batch, Sink, Source};
use tailwater::logic::project::{Mask, Rule};
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Class, Column, Error, Lsn, Meters, Oid, OldRow, Op, Origin, Pattern,
    PgTimestamp, PgType, Phase, Position, ReplicaIdentity, Row, SourcePosition, Table, TableName, Xid,
};

use crate::support::kafka::{Isolation, Kafka};

/// A position that is what it stores.
#[derive(Clone, Debug)]
struct At(Checkpoint);

impl Position for At {
    fn checkpoint(&self) -> Checkpoint {
        self.0.clone()
    }

    fn reaches(&self, goal: &At) -> bool {
        self.0.position.lsn >= goal.0.position.lsn
    }
}

/// A prefix that no other test uses.
fn prefix(name: &str) -> String {
    Kafka::shared().prefix(name)
}

fn cluster(kafka: &Kafka) -> Cluster {
    Cluster { bootstrap: kafka.bootstrap(), properties: Properties::default() }
}

fn sink_options(prefix: &str) -> SinkOptions {
    SinkOptions {
        pipeline: "shop".into(),
        cluster: cluster(Kafka::shared()),
        events: Settings::new(prefix, "shop"),
        topics: Default::default(),
        origins: Default::default(),
        partitions: 4,
        replication: 1,
        messages: None,
        registry: None,
        outboxes: Vec::new(),
        heartbeat_seconds: 0,
        transaction_metadata: false,
        context_headers: true,
        rules: Vec::new(),
        wanted: Default::default(),
        large_records: Default::default(),
        retry_seconds: 30,
        buffer_bytes: 64 << 20,
        guarantee: Guarantee::AtLeastOnce,
        reading: String::new(),
        own: Arc::default(),
    }
}

fn source_options(prefix: &str) -> SourceOptions {
    SourceOptions {
        pipeline: "warehouse".into(),
        cluster: cluster(Kafka::shared()),
        topics: vec![Pattern::new(format!("{prefix}.public.*"))],
        prefix: None,
        format: None,
        group: format!("group-{prefix}"),
        membership: None,
        only: None,
        buffer_bytes: 64 << 20,
    }
}

async fn sink(prefix: &str) -> (KafkaSink, Option<Checkpoint>) {
    KafkaSink::start(sink_options(prefix), Meters::new()).await.unwrap()
}

const BOTH: [Guarantee; 2] = [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce];

async fn sink_with(prefix: &str, guarantee: Guarantee) -> (KafkaSink, Option<Checkpoint>) {
    KafkaSink::start(SinkOptions { guarantee, ..sink_options(prefix) }, Meters::new()).await.unwrap()
}

async fn source(prefix: &str, resume: Option<Checkpoint>) -> KafkaSource {
    KafkaSource::start(source_options(prefix), resume, Meters::new()).await.unwrap()
}

/// One that begins at the beginning, and has said so.
async fn beginner(prefix: &str) -> KafkaSource {
    let mut source = source(prefix, None).await;
    let begin = next(&mut source).await;
    assert!(begin.changes.is_empty());
    let progress = format!("{prefix}._tailwater.progress");
    assert_eq!(begin.upto.unwrap().checkpoint().offsets, [(progress, 0, 0)]);
    source
}

fn table(name: &str, key: &[usize]) -> Arc<Table> {
    let column = |name: &str, pg_type: PgType, oid: u32, optional: bool| Column {
        name: name.into(),
        pg_type,
        oid: Oid(oid),
        modifier: -1,
        optional,
        default: None,
        birth: Default::default(),
    };
    Arc::new(Table {
        oid: Oid(16_384),
        name: TableName::new("public", name),
        version: 1,
        columns: vec![column("id", PgType::Int8, 20, false), column("note", PgType::Text, 25, true)],
        identity: ReplicaIdentity::Default,
        key: key.to_vec(),
    })
}

fn row(id: i64, note: &str) -> Row {
    [Cell::Text(id.to_string().as_bytes()), Cell::Text(note.as_bytes())].into_iter().collect()
}

fn change(table: &Arc<Table>, commit: u64, seq: u64, op: Op) -> Change {
    Change {
        id: ChangeId { commit: Lsn::new(commit), seq },
        origin: Origin {
            at: PgTimestamp(commit as i64),
            xid: Some(Xid(commit as u32)),
            lsn: Lsn::new(commit - 8),
            last_commit: None,
            snapshot: None,
        },
        table: Arc::clone(table),
        op,
    }
}

fn insert(table: &Arc<Table>, commit: u64, seq: u64) -> Change {
    let id = (commit * 1000 + seq) as i64;
    change(table, commit, seq, Op::Insert { new: row(id, &format!("note {commit} {seq}")) })
}

/// The position after the transaction whose last change is this.
fn after(last: ChangeId) -> At {
    At(Checkpoint {
        position: SourcePosition { system_id: 7, timeline: 1, lsn: Lsn::new(last.commit.get() + 8) },
        change: last,
        phase: Phase::Stream,
        offsets: Vec::new(),
        followed: None,
    })
}

fn batch(changes: Vec<Change>) -> Batch<At> {
    let upto = changes.last().map(|last| after(last.id));
    piece(changes, upto)
}

fn piece(changes: Vec<Change>, upto: Option<At>) -> Batch<At> {
    let bytes = changes.iter().map(Change::size).sum();
    Batch { changes, bytes, upto }
}

/// What a change comes to for a reader: everything but the address of its table.
fn gist(change: &Change) -> (ChangeId, String, Op, PgTimestamp) {
    (change.id, change.table.name.to_string(), change.op.clone(), change.origin.at)
}

fn gists(changes: &[Change]) -> Vec<(ChangeId, String, Op, PgTimestamp)> {
    changes.iter().map(gist).collect()
}

async fn next(source: &mut KafkaSource) -> Batch<<KafkaSource as Source>::Position> {
    tokio::time::timeout(crate::support::patient(Duration::from_secs(30)), source.next())
        .await
        .expect("a batch in time")
        .unwrap()
}

/// Everything up to the position that counts as current; and the last checkpoint, with all offsets ever told.
async fn drain(source: &mut KafkaSource, resume: Option<Checkpoint>) -> (Vec<Change>, Checkpoint) {
    let goal = source.current().await.unwrap();
    let mut changes = Vec::new();
    let mut offsets: std::collections::BTreeMap<(String, i32), i64> =
        resume.into_iter().flat_map(|resume| resume.offsets).map(|(t, p, o)| ((t, p), o)).collect();
    loop {
        let batch = next(source).await;
        changes.extend(batch.changes);
        if let Some(upto) = batch.upto {
            let checkpoint = upto.checkpoint();
            offsets.extend(checkpoint.offsets.iter().map(|(t, p, o)| ((t.clone(), *p), *o)));
            source.ack(upto.clone()).await.unwrap();
            if upto.reaches(&goal) {
                let offsets = offsets.into_iter().map(|((t, p), o)| (t, p, o)).collect();
                return (changes, Checkpoint { offsets, ..checkpoint });
            }
        }
    }
}

/// A few hundred transactions over two tables, with each kind of change.
fn script(orders: &Arc<Table>, events: &Arc<Table>) -> Vec<Vec<Change>> {
    (1..300u64)
        .map(|n| {
            let commit = n * 16;
            let id = (n % 40) as i64;
            let old = OldRow::Key([Cell::Text(id.to_string().as_bytes()), Cell::Null].into_iter().collect());
            vec![
                change(orders, commit, 0, Op::Insert { new: row(id, "new") }),
                change(events, commit, 1, Op::Insert { new: row(n as i64, "ledger") }),
                change(orders, commit, 2, Op::Update { old: None, new: row(id, &format!("changed {n}")) }),
                change(events, commit, 3, Op::Insert { new: row(n as i64, "ledger") }),
                change(orders, commit, 4, Op::Delete { old }),
            ]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sink_writes_comes_back_in_the_same_order_from_all_partitions() {
    for guarantee in BOTH {
        let prefix = prefix("order");
        let (orders, events) = (table("orders", &[0]), table("events", &[]));
        let script = script(&orders, &events);
        let (mut sink, stored) = sink_with(&prefix, guarantee).await;
        assert_eq!(stored, None);
        let mut deliveries = Vec::new();
        for transaction in &script {
            deliveries.push(sink.apply(batch(transaction.clone())).await.unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        let (changes, checkpoint) = drain(&mut source(&prefix, None).await, None).await;
        let written: Vec<Change> = script.into_iter().flatten().collect();
        assert_eq!(gists(&changes), gists(&written));
        assert_eq!(checkpoint.change, written.last().unwrap().id);
        let partitions = checkpoint.offsets.iter().filter(|(topic, ..)| topic.ends_with(".orders")).count();
        assert_eq!(partitions, 4, "{:?}", checkpoint.offsets);
        let spread = checkpoint.offsets.iter().filter(|(topic, ..)| topic.ends_with(".events")).count();
        assert_eq!(spread, 4, "rows without a key are spread over all partitions: {:?}", checkpoint.offsets);

        // The next writer is told where this one came to, and a reader with these offsets goes on behind them.
        drop(sink);
        let (mut sink, stored) = sink_with(&prefix, guarantee).await;
        assert_eq!(stored.unwrap().change, checkpoint.change);
        let more = vec![insert(&orders, 10_000, 0), insert(&events, 10_000, 1)];
        sink.apply(batch(more.clone())).await.unwrap().await.unwrap();
        let (changes, checkpoint) = drain(&mut source(&prefix, Some(checkpoint.clone())).await, Some(checkpoint)).await;
        assert_eq!(gists(&changes), gists(&more));

        // So many under one marker that partitions are read side by side.
        let many = (0..20_000).map(|n| {
            let table = if n % 3 == 0 { &events } else { &orders };
            change(table, 20_000, n, Op::Insert { new: row(n as i64, "many") })
        });
        let many: Vec<Change> = many.collect();
        sink.apply(batch(many.clone())).await.unwrap().await.unwrap();
        let (changes, _) = drain(&mut source(&prefix, Some(checkpoint.clone())).await, Some(checkpoint)).await;
        assert!(gists(&changes) == gists(&many), "20,000 changes come back in their order");
    }
}

/// Writes records of `from` whose commit is in `commits` under `to` as well: what a writer leaves that has died between
/// its records and its marker.
fn leave(from: &str, to: &str, commits: std::ops::Range<u64>) {
    let kafka = Kafka::shared();
    let mut config = rdkafka::ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", kafka.bootstrap()).create().unwrap();
    for table in ["orders", "events"] {
        for record in kafka.consume_all(&format!("{from}.public.{table}"), Isolation::Committed) {
            let commit: u64 = record.header("tw.commit_lsn").unwrap().parse().unwrap();
            if !commits.contains(&commit) {
                continue;
            }
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_ref() })
            });
            let topic = format!("{to}.public.{table}");
            let copy =
                BaseRecord { key: record.key.as_ref(), payload: record.value.as_ref(), ..BaseRecord::to(&topic) };
            producer.send(copy.partition(record.partition).headers(headers)).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_writer_left_without_a_marker_is_not_yielded_twice() {
    let (reference, prefix) = (prefix("whole"), prefix("crash"));
    let (orders, events) = (table("orders", &[0]), table("events", &[]));
    let script = script(&orders, &events);
    let (mut whole, _) = sink(&reference).await;
    for transaction in &script {
        whole.apply(batch(transaction.clone())).await.unwrap();
    }
    Sink::<At>::flush(&mut whole).await.unwrap();
    // Each writer leaves records without a marker; the next goes on where the last marker says.
    for round in 1..=6usize {
        let (mut sink, stored) = sink(&prefix).await;
        let begin = stored.map_or(0, |stored| {
            script.iter().position(|transaction| transaction.last().unwrap().id > stored.change).unwrap()
        });
        assert_eq!(begin, (round - 1) * 50);
        for transaction in &script[begin..(round * 50).min(script.len())] {
            sink.apply(batch(transaction.clone())).await.unwrap();
        }
        Sink::<At>::flush(&mut sink).await.unwrap();
        drop(sink);
        if round < 6 {
            let last = round as u64 * 50 * 16;
            tokio::task::block_in_place(|| leave(&reference, &prefix, last + 1..last + 70 * 16));
        }
    }
    let (changes, checkpoint) = drain(&mut source(&prefix, None).await, None).await;
    let written: Vec<Change> = script.into_iter().flatten().collect();
    assert_eq!(gists(&changes), gists(&written));
    // Each delete is two records; without repeats in the topics this test would show nothing.
    let records: i64 = checkpoint.offsets.iter().filter(|(t, ..)| t.contains(".public.")).map(|(.., next)| next).sum();
    assert!(records > 299 * 6 + 1000, "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_pieces_and_its_position_only_at_its_end() {
    for guarantee in BOTH {
        let prefix = prefix("large");
        let orders = table("orders", &[0]);
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        let before = vec![insert(&orders, 8, 0)];
        sink.apply(batch(before.clone())).await.unwrap().await.unwrap();
        let all: Vec<Change> = (0..60_000).map(|seq| insert(&orders, 800, seq)).collect();
        for chunk in all.chunks(5_000) {
            let last = chunk.last().unwrap().id.seq == 59_999;
            let upto = last.then(|| after(chunk.last().unwrap().id));
            sink.apply(piece(chunk.to_vec(), upto)).await.unwrap().await.unwrap();
        }
        let mut source = beginner(&prefix).await;
        let (mut changes, mut positions, mut batches) = (Vec::new(), Vec::new(), 0);
        while changes.len() < 60_001 {
            let batch = next(&mut source).await;
            batches += 1;
            assert!(batch.bytes <= 2 << 20, "{} bytes", batch.bytes);
            changes.extend(batch.changes);
            positions.extend(batch.upto.map(|upto| (changes.len(), upto.checkpoint().change)));
        }
        assert!(batches > 5, "{batches}");
        assert_eq!(positions.first(), Some(&(1, before[0].id)));
        assert_eq!(positions.last(), Some(&(60_001, all.last().unwrap().id)));
        assert_eq!(positions.len(), 2, "{positions:?}");
        let written: Vec<Change> = before.into_iter().chain(all).collect();
        assert_eq!(gists(&changes), gists(&written));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_beyond_kafkas_limit_stops_with_the_table_its_key_and_the_sizes() {
    for guarantee in BOTH {
        let prefix = prefix("huge");
        let orders = table("orders", &[0]);
        Kafka::shared().create_topic(&format!("{prefix}.public.orders"), 4, &[("max.message.bytes", "1048588")]);
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        // Not to be compressed.
        let mut state = 88_172_645_463_325_252u64;
        let noise: String = (0..3_000_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b'0' + (state % 75) as u8)
            })
            .map(|c| if c == '\\' || c == '"' { 'x' } else { c })
            .collect();
        let huge = change(&orders, 8, 0, Op::Insert { new: row(1, &noise) });
        let outcome = tokio::time::timeout(crate::support::patient(Duration::from_secs(20)), async {
            sink.apply(batch(vec![huge])).await?.await
        });
        let error: Error = outcome.await.expect("an answer in time").unwrap_err();
        assert_eq!(error.class(), Class::Blocked);
        let text = error.to_string();
        for part in ["public.orders", "key id", "limit of 1048588 bytes", "max.message.bytes"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(&noise[..20]));
        let again = sink.apply(batch(vec![insert(&orders, 16, 0)])).await.unwrap_err();
        assert_eq!(again.class(), Class::Blocked, "nothing goes on behind a failure");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_part_of_the_first_marker_is_told_the_rest() {
    let prefix = prefix("part");
    let orders = table("orders", &[0]);
    let (mut sink, _) = sink(&prefix).await;
    let written = vec![insert(&orders, 8, 0), insert(&orders, 16, 0), insert(&orders, 24, 0)];
    sink.apply(batch(written.clone())).await.unwrap().await.unwrap();
    let begin = next(&mut source(&prefix, None).await).await.upto.unwrap().checkpoint();
    for had in 0..written.len() {
        let part = Checkpoint { change: written[had].id, ..begin.clone() };
        let (changes, stored) = drain(&mut source(&prefix, Some(part.clone())).await, Some(part)).await;
        assert_eq!(gists(&changes), gists(&written[had + 1..]));
        assert_eq!(stored.change, written[2].id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_reached_already_is_said_so() {
    for guarantee in BOTH {
        let prefix = prefix("current");
        let orders = table("orders", &[0]);
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        let (changes, nothing) = drain(&mut source(&prefix, None).await, None).await;
        assert!(changes.is_empty());
        assert_eq!(nothing.change, ChangeId::ZERO);
        sink.apply(batch(vec![insert(&orders, 8, 0)])).await.unwrap().await.unwrap();
        // A transaction that its writer never ended is not waited for.
        sink.apply(piece(vec![insert(&orders, 16, 0)], None)).await.unwrap().await.unwrap();
        let (changes, stored) = drain(&mut source(&prefix, None).await, None).await;
        assert_eq!(changes.len(), 1);
        let (changes, _) = drain(&mut source(&prefix, Some(stored.clone())).await, Some(stored)).await;
        assert!(changes.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_transaction_that_ends_in_a_moment_counts_as_current_if_it_is_committed() {
    let kafka = Kafka::shared();
    for commits in [true, false] {
        let prefix = prefix("ending");
        let (mut sink, _) = sink(&prefix).await;
        sink.apply(batch(vec![insert(&table("orders", &[0]), 8, 0)])).await.unwrap().await.unwrap();
        let mut source = beginner(&prefix).await;
        let before = next(&mut source).await.upto.unwrap();
        let progress = format!("{prefix}._tailwater.progress");
        let open = tokio::task::block_in_place(|| {
            let last = kafka.consume_all(&progress, Isolation::Committed).pop().unwrap();
            let open: BaseProducer = kafka.client().set("transactional.id", &prefix).create().unwrap();
            open.init_transactions(Duration::from_secs(30)).unwrap();
            open.begin_transaction().unwrap();
            let again =
                BaseRecord { key: last.key.as_ref(), payload: last.value.as_ref(), ..BaseRecord::to(&progress) };
            open.send(again.partition(0)).map_err(|(error, _)| error).unwrap();
            open.flush(Duration::from_secs(30)).unwrap();
            open
        });
        let ended = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_secs(1));
            let limit = Duration::from_secs(30);
            if commits { open.commit_transaction(limit) } else { open.abort_transaction(limit) }.unwrap();
        });
        let goal = source.current().await.unwrap();
        assert_eq!(before.reaches(&goal), !commits);
        ended.await.unwrap();
        while !next(&mut source).await.upto.is_some_and(|upto| upto.reaches(&goal)) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pipeline_may_not_write_under_the_same_prefix() {
    for guarantee in BOTH {
        let prefix = prefix("owner");
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        sink.apply(batch(vec![insert(&table("orders", &[0]), 8, 0)])).await.unwrap().await.unwrap();
        let options = SinkOptions { pipeline: "other".into(), guarantee, ..sink_options(&prefix) };
        let error = KafkaSink::start(options, Meters::new()).await.err().unwrap();
        assert_eq!(error.class(), Class::Blocked);
        assert!(error.to_string().contains("belongs to the pipeline shop"), "{error}");
    }
}

/// Does what the sink has put off, as the loop does before a run to an end ends.
async fn tended(options: SinkOptions) -> (KafkaSink, Arc<Meters>) {
    let meters = Meters::new();
    let (mut sink, _) = KafkaSink::start(options, Arc::clone(&meters)).await.unwrap();
    while Sink::<At>::tend(&mut sink).await.unwrap() {}
    (sink, meters)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tables_that_come_to_one_topic_the_later_waits_and_a_reader_has_it_in_its_place() {
    for guarantee in BOTH {
        clash(guarantee).await;
    }
}

async fn clash(guarantee: Guarantee) {
    let prefix = prefix("clash");
    // What it is told as has been masked before.
    let mask = Rule {
        tables: Pattern::new("public.a_b"),
        exclude: Vec::new(),
        unpublished: false,
        masks: vec![("note".to_owned(), Mask::Redact)],
        renames: Vec::new(),
        casts: Vec::new(),
        key: None,
        rename: None,
        source: None,
    };
    let options = SinkOptions { rules: vec![mask.clone()], guarantee, ..sink_options(&prefix) };
    let (first, later) = (table("a b", &[0]), table("a_b", &[0]));
    let script: Vec<Vec<Change>> =
        (1..40).map(|n| vec![insert(&later, n * 16, 0), insert(&first, n * 16, 1)]).collect();
    let before = vec![insert(&first, 8, 0)];
    let (mut sink, meters) = tended(options.clone()).await;
    sink.apply(batch(before.clone())).await.unwrap().await.unwrap();
    for transaction in &script[..20] {
        sink.apply(batch(transaction.clone())).await.unwrap().await.unwrap();
    }
    let stopped = meters.stopped();
    assert_eq!((stopped.len(), stopped[0].0.to_string(), stopped[0].1.held), (1, "public.a_b".to_owned(), 20));
    assert!(stopped[0].1.reason.contains("public.a b") && stopped[0].1.remedy.contains("rename"), "{stopped:?}");
    // A writer that dies in the middle of a transaction: the next one begins it again.
    let half: Vec<Change> = script[20].iter().take(1).cloned().collect();
    sink.apply(piece(half, None)).await.unwrap().await.unwrap();
    drop(sink);
    let (read, stored) = drain(&mut source(&prefix, None).await, None).await;

    let (mut sink, meters) = tended(options.clone()).await;
    assert_eq!(meters.stopped()[0].1.held, 21, "a new start alone mends nothing");
    for transaction in &script[20..30] {
        sink.apply(batch(transaction.clone())).await.unwrap().await.unwrap();
    }
    // What is there of a transaction is not sent again where each is to be there once: then it goes on with the table.
    sink.apply(piece(script[30].iter().take(1).cloned().collect(), None)).await.unwrap().await.unwrap();
    drop(sink);
    let own = |topic: &str| {
        let template = |text: &str| Some(TopicTemplate::parse(text).unwrap());
        let tables = vec![(Pattern::new("public.a_b"), template(topic))];
        SinkOptions { topics: TopicNames { tables, ..Default::default() }, ..options.clone() }
    };
    let (mut sink, meters) = tended(own("${prefix}.public.other")).await;
    assert!(meters.stopped().is_empty());
    for transaction in &script[30..] {
        sink.apply(batch(transaction.clone())).await.unwrap().await.unwrap();
    }
    let told = Kafka::shared();
    let told =
        tokio::task::block_in_place(|| told.consume_all(&format!("{prefix}.public.other"), Isolation::Committed));
    let mut told: Vec<_> = told
        .iter()
        .map(|record| {
            (record.header("tw.commit_lsn").unwrap().parse::<u64>().unwrap(), record.value_text().contains("note "))
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, (1..40).map(|n| (n * 16, true)).collect::<Vec<_>>(), "each once, and nothing masked twice");
    // A reader that went on meanwhile, and one that begins now.
    let (more, _) = drain(&mut source(&prefix, Some(stored.clone())).await, Some(stored)).await;
    let (all, _) = drain(&mut source(&prefix, None).await, None).await;
    let written: Vec<Change> = before.into_iter().chain(script.into_iter().flatten()).collect();
    assert_eq!(gists(&all), gists(&written));
    assert_eq!(gists(&read.into_iter().chain(more).collect::<Vec<_>>()), gists(&written));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_its_version_number_over_a_restart_and_gets_a_new_one_with_a_new_shape() {
    for guarantee in BOTH {
        let prefix = prefix("version");
        let orders = table("orders", &[0]);
        for commit in [8, 16] {
            let (mut sink, _) = sink_with(&prefix, guarantee).await;
            // The source counts from 1 again, in an allocation of its own.
            let same = Arc::new(Table::clone(&orders));
            sink.apply(batch(vec![insert(&same, commit, 0)])).await.unwrap().await.unwrap();
        }
        let mut wider = Table::clone(&orders);
        wider.columns[1].optional = false;
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        sink.apply(batch(vec![insert(&Arc::new(wider), 24, 0)])).await.unwrap().await.unwrap();
        let (changes, _) = drain(&mut source(&prefix, None).await, None).await;
        assert_eq!(changes.iter().map(|change| change.table.version).collect::<Vec<_>>(), [1, 1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_altered_behind_us_are_not_written_on() {
    for guarantee in BOTH {
        let (kafka, prefix) = (Kafka::shared(), prefix("altered"));
        let tables = ["grown", "gone", "anew"].map(|name| table(name, &[0]));
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        let all: Vec<Change> = tables.iter().zip(0..).map(|(table, seq)| insert(table, 8, seq)).collect();
        sink.apply(batch(all)).await.unwrap().await.unwrap();
        // While it runs, keys stay where they were.
        tokio::task::block_in_place(|| kafka.add_partitions(&format!("{prefix}.public.grown"), 9));
        for commit in 2..40 {
            sink.apply(batch(vec![insert(&tables[0], commit * 8, 0)])).await.unwrap().await.unwrap();
        }
        let ends = tokio::task::block_in_place(|| kafka.end_offsets(&format!("{prefix}.public.grown")));
        assert_eq!(ends.len(), 9);
        assert!(ends[4..].iter().all(|&end| end == 0), "{ends:?}");
        drop(sink);
        tokio::task::block_in_place(|| kafka.delete_topic(&format!("{prefix}.public.gone")));
        for (table, what) in [(&tables[0], "has 9 partitions, and 4 when"), (&tables[1], "was deleted")] {
            let (mut sink, _) = sink_with(&prefix, guarantee).await;
            let error = sink.apply(batch(vec![insert(table, 800, 0)])).await.unwrap_err();
            assert_eq!(error.class(), Class::Blocked);
            assert!(error.to_string().contains(what), "{error}");
        }
        // One that was written last and is empty now.
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        sink.apply(batch(vec![insert(&tables[2], 1600, 0)])).await.unwrap().await.unwrap();
        drop(sink);
        let anew = format!("{prefix}.public.anew");
        tokio::task::block_in_place(|| {
            kafka.delete_topic(&anew);
            kafka.create_topic(&anew, 4, &[]);
        });
        let options = SinkOptions { guarantee, ..sink_options(&prefix) };
        let error = KafkaSink::start(options, Meters::new()).await.err().unwrap();
        assert_eq!(error.class(), Class::Blocked);
        assert!(error.to_string().contains("created anew"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_appears_while_reading_joins_without_a_restart() {
    for guarantee in BOTH {
        let prefix = prefix("join");
        let (mut sink, _) = sink_with(&prefix, guarantee).await;
        let mut source = beginner(&prefix).await;
        for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
            let written = vec![insert(&table(name, &[0]), 8 * (n as u64 + 1), 0)];
            sink.apply(batch(written.clone())).await.unwrap().await.unwrap();
            assert_eq!(gists(&next(&mut source).await.changes), gists(&written));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_is_named() {
    let cluster = Cluster { bootstrap: "127.0.0.1:1".into(), properties: Properties::default() };
    let options = SinkOptions { cluster, ..sink_options("none") };
    let error = KafkaSink::start(options, Meters::new()).await.err().unwrap();
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_or_freezes_for_a_while_is_waited_for_on_both_sides() {
    let kafka = Kafka::nodes(1).start();
    let orders = table("orders", &[0]);
    let options = SinkOptions { cluster: cluster(&kafka), ..sink_options("away") };
    let (mut sink, _) = KafkaSink::start(options, Meters::new()).await.unwrap();
    let options = SourceOptions { cluster: cluster(&kafka), ..source_options("away") };
    let mut source = KafkaSource::start(options, None, Meters::new()).await.unwrap();
    let mut seen = Vec::new();
    let mut commit = 0;
    for outage in 0..3 {
        let mut deliveries = Vec::new();
        for n in 0..100u64 {
            if n == 10 {
                match outage {
                    1 => kafka.kill9(1),
                    2 => signal(&kafka, Signal::SIGSTOP),
                    _ => {}
                }
            }
            commit += 8;
            deliveries.push(sink.apply(batch(vec![insert(&orders, commit, 0)])).await.unwrap());
        }
        match outage {
            1 => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                tokio::task::block_in_place(|| kafka.restart(1));
            }
            2 => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                signal(&kafka, Signal::SIGCONT);
            }
            _ => {}
        }
        for delivery in deliveries {
            tokio::time::timeout(crate::support::patient(Duration::from_secs(150)), delivery)
                .await
                .expect("confirmed in time")
                .unwrap();
        }
        while seen.len() < (outage + 1) * 100 {
            let batch = tokio::time::timeout(crate::support::patient(Duration::from_secs(150)), source.next()).await;
            seen.extend(batch.expect("read in time").unwrap().changes.iter().map(|change| change.id));
        }
    }
    let expected: Vec<ChangeId> = (1..=300).map(|n| ChangeId { commit: Lsn::new(8 * n), seq: 0 }).collect();
    assert_eq!(seen, expected);
}

fn signal(kafka: &Kafka, signal: Signal) {
    for pid in kafka.pids() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }
}
