//! Topics of others that can't be read on: each stops alone, the others go on, and nothing of it is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::foreign::{Filed, LIMIT, file, reader, remove};
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::registry::Registry;
use crate::support::tailwater::{Running, Tailwater};
use crate::warehouse::seeds;

/// A topic with one record after another, and one beside it.
struct Pair {
    bad: String,
    good: String,
    patterns: String,
    filed: usize,
}

impl Pair {
    fn new(name: &str) -> Pair {
        let kafka = Kafka::shared();
        let prefix = kafka.prefix(name);
        let (bad, good) = (format!("{prefix}.app.bad"), format!("{prefix}.app.good"));
        [&bad, &good].into_iter().for_each(|topic| kafka.create_topic(topic, 1, &[]));
        Pair { bad, good, patterns: format!("{prefix}.*"), filed: 0 }
    }

    /// Rows into the one, and then one into the other.
    fn file(&mut self, rows: &[&str]) {
        let rows: Vec<Filed<'_>> = rows.iter().map(|row| (None, Some(*row), &[][..])).collect();
        file(&self.bad, &rows);
        self.filed += 1;
        file(&self.good, &[(None, Some(&format!(r#"{{"n":{}}}"#, self.filed)), &[])]);
    }

    /// Waits until the topic beside the one that stopped is all there.
    fn others_go_on(&self, target: &Database<'_>, running: &mut Running) {
        running.wait_until("the others go on", |_| count(target, "app.good") == self.filed);
    }
}

fn count(target: &Database<'_>, table: &str) -> usize {
    let rows = target.session().try_sql(&format!("select count(*) from {table}"));
    rows.map_or(0, |rows| rows[0][0].as_ref().unwrap().parse().unwrap())
}

fn all(target: &Database<'_>) -> String {
    target.one("select coalesce(string_agg(a::text, ',' order by a), '') from app.bad")
}

#[test]
fn a_topic_with_what_is_no_row_stops_alone_until_the_record_is_left_out() {
    let (mut topics, target) = (Pair::new("no_row"), Postgres::shared(17).database("no_row"));
    let pipeline = reader("no_row", &topics.patterns, "rows").sink_postgres(&target.url(), None);
    topics.file(&[r#"{"a":1}"#]);
    let mut running = pipeline.run();
    topics.others_go_on(&target, &mut running);
    topics.file(&[r#"{"a":"secret"#, r#"{"a":2}"#]);
    topics.others_go_on(&target, &mut running);
    let place = format!("{}[0] at offset 1: expected JSON", topics.bad);
    running.wait_until("it is stopped", |running| running.text().contains(&place));
    running
        .wait_until("it is told", |running| running.http("/readyz").is_some_and(|(_, body)| body.contains("app.bad")));
    let metrics = running.http("/metrics").unwrap().1;
    let told = |metric: &str, value| format!("tailwater_table_{metric}{{table=\"topic {}\"}} {value}", topics.bad);
    assert!(metrics.contains(&told("stopped", 1)) && metrics.contains(&told("held_changes", 2)), "{metrics}");
    let (code, ready) = running.http("/readyz").unwrap();
    assert!(code == 200 && ready.contains("app.bad"), "{code} {ready}");
    pipeline.status().success().says(&[&place, "2 changes wait", "skip_records"]);
    topics.file(&[r#"{"a":3}"#]);
    topics.others_go_on(&target, &mut running);
    running.kill9().hides(&["secret"]);
    assert_eq!(all(&target), "1");

    // At rest, and at each start: what is told stays.
    pipeline.status().success().says(&[&place, "skip_records"]);
    let skip = format!("skip_records = [\"{}[0]@1\"]", topics.bad);
    topics.file(&[]);
    let stands = format!("all is delivered but a table that is stopped, topic {} (3 changes wait)", topics.bad);
    let told = [stands.as_str(), &place, &skip];
    pipeline.run_until_current().code(3).says(&told).hides(&["secret"]);
    assert_eq!((all(&target), count(&target, "app.good")), ("1".into(), 4));
    pipeline.run_until_current().code(3).says(&told);
    let all_or_nothing = pipeline.variant("[sink.postgres]", "[sink.postgres]\nstop = \"pipeline\"");
    all_or_nothing.run_until_current().code(4).says(&[&place, &skip]);

    let without = pipeline.variant("origin = \"rows\"", &format!("origin = \"rows\"\n{skip}"));
    without.run_until_current().success().says(&["at offset 1 is left out, as skip_records says"]);
    assert_eq!(all(&target), "1,2,3");
    assert!(!pipeline.status().success().text().contains("app.bad"));
    without.run_until_current().success();
    assert_eq!((all(&target), count(&target, "app.good")), ("1,2,3".into(), 4));
}

#[test]
fn a_topic_whose_records_were_removed_before_they_were_read_stops_alone_with_their_range() {
    let (mut topics, target) = (Pair::new("removed"), Postgres::shared(17).database("removed"));
    let pipeline = reader("removed", &topics.patterns, "rows").sink_postgres(&target.url(), None);
    topics.file(&[r#"{"a":1}"#]);
    pipeline.run_until_current().success();
    topics.file(&[r#"{"a":2}"#]);
    remove(&topics.bad, 0, 2);
    let range = format!("{}[0] begins at offset 2, and offset 1 is needed", topics.bad);
    pipeline.run_until_current().code(3).says(&[&range]);
    assert_eq!((all(&target), count(&target, "app.good")), ("1".into(), 2));
    topics.file(&[r#"{"a":3}"#]);
    pipeline.run_until_current().code(3).says(&[&range]);
    assert_eq!((all(&target), count(&target, "app.good")), ("1".into(), 3));
    // As if the pipeline had never met the topic.
    target.sql("delete from _tailwater.offsets where topic like '%bad'");
    pipeline.run_until_current().success();
    assert_eq!(all(&target), "1,3");
    assert!(!pipeline.status().success().text().contains("app.bad"));
}

#[test]
fn of_two_topics_of_one_table_each_is_stopped_and_told_by_itself() {
    let (kafka, target) = (Kafka::shared(), Postgres::shared(17).database("two_of_one"));
    let prefix = kafka.prefix("two_of_one");
    let topics = ["eu", "us"].map(|region| format!("{prefix}.{region}.app.bad"));
    for topic in &topics {
        kafka.create_topic(topic, 1, &[]);
        file(topic, &[(None, Some(r#"{"a":1}"#), &[]), (None, Some("{"), &[]), (None, Some(r#"{"a":2}"#), &[])]);
    }
    let [eu, us] = &topics;
    let pipeline = reader("two_of_one", &format!("{prefix}.*"), "rows").sink_postgres(&target.url(), None);
    pipeline.run_until_current().code(3).says(&[&format!("topic {eu}"), &format!("topic {us}"), "2 tables"]);
    let skipping = |topic: &str| {
        pipeline.variant("origin = \"rows\"", &format!("origin = \"rows\"\nskip_records = [\"{topic}[0]@1\"]"))
    };
    let one = skipping(eu)
        .run_until_current()
        .code(3)
        .says(&[&format!("all is delivered but a table that is stopped, topic {us}")]);
    assert!(!one.stderr.contains(&format!("stopped, topic {eu}")));
    assert_eq!(all(&target), "1,1,2");
    // One that is not asked for is not stopped.
    let without = reader("two_of_one", eu, "rows").sink_postgres(&target.url(), None);
    without.run_until_current().success();
    assert!(!without.status().success().text().contains(us.as_str()));
    // Asked for again it goes on where it was.
    pipeline.run_until_current().code(3).says(&[&format!("{us}[0] at offset 1")]);
    skipping(us).run_until_current().success();
    assert_eq!(all(&target), "1,1,2,2");
}

#[test]
fn a_topic_that_may_not_be_read_stops_alone_until_the_right_is_granted() {
    let authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let kafka = Kafka::nodes(1).config(authorizer).config("allow.everyone.if.no.acl.found=true").start();
    let target = Postgres::shared(17).database("no_right");
    let producer: BaseProducer = kafka.client().create().unwrap();
    for (topic, row) in [("no.app.bad", r#"{"a":1}"#), ("no.app.good", r#"{"a":1}"#)] {
        kafka.create_topic(topic, 1, &[]);
        producer.send(BaseRecord::<str, str>::to(topic).payload(row)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    // It may be seen, and not read.
    kafka.acl(&["--add", "--allow-principal", "User:other", "--operation", "Read", "--topic", "no.app.bad"]);
    kafka.acl(&["--add", "--allow-principal", "User:*", "--operation", "Describe", "--topic", "no.app.bad"]);
    let pipeline = Tailwater::new("no_right")
        .source_kafka(&kafka.bootstrap(), &["no.*"], "no_right")
        .toml("origin = \"rows\"")
        .sink_postgres(&target.url(), None)
        .toml("retry_stopped_seconds = 1");
    let told = "reading no.app.bad[0]";
    pipeline.run_until_current().code(3).says(&["all is delivered but a table", told]);
    assert_eq!(count(&target, "app.good"), 1);
    let mut running = pipeline.run();
    running.wait_until("it is stopped", |running| running.text().contains(told));
    kafka.acl(&["--remove", "--force", "--topic", "no.app.bad"]);
    running.wait_until("it goes on", |_| count(&target, "app.bad") == 1);
    running.terminate().success();
    pipeline.run_until_current().success();
}

/// A change by Debezium, without a schema: where the log has it, the row's key and its value.
fn event(lsn: u64, id: u64, value: &str) -> String {
    format!(
        r#"{{"op":"c","before":null,"after":{{"id":{id},"a":{value}}},"ts_ms":{lsn},"source":{{"connector":"postgresql",
            "name":"shop","schema":"app","table":"bad","ts_ms":{lsn},"lsn":{lsn},"sequence":"[\"{}\",\"{lsn}\"]"}}}}"#,
        lsn - 1
    )
    .replace('\n', "")
}

/// The record's place in the log has been taken note of when its row can't be made.
#[test]
fn an_event_that_stopped_its_topic_is_none_that_comes_again_when_it_fits() {
    let (topics, target) = (Pair::new("misfit"), Postgres::shared(17).database("misfit"));
    let pipeline = reader("misfit", &topics.patterns, "debezium").sink_postgres(&target.url(), None);
    let filed = |lsn: u64, id: u64, value: &str| {
        let key = format!(r#"{{"id":{id}}}"#);
        file(&topics.bad, &[(Some(&key), Some(&event(lsn, id, value)), &[])]);
    };
    filed(10, 1, "\"x\"");
    pipeline.run_until_current().success();
    filed(20, 2, "\"y\"");
    filed(30, 3, "true");
    filed(40, 4, "\"z\"");
    let place =
        format!("{}[0] at offset 2: column a of app.bad is text so far, and this record has boolean", topics.bad);
    for _ in 0..2 {
        pipeline.run_until_current().code(3).says(&[&place, "(2 changes wait)", "columns.types", "skip_records"]);
        assert_eq!(all(&target), "x,y");
    }
    let mut running = pipeline.run();
    running.wait_until("it is stopped", |running| running.text().contains(&place));
    // What is written behind it waits too; what comes again of before has been there.
    filed(20, 2, "\"other\"");
    filed(50, 5, "\"zz\"");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(all(&target), "x,y");
    running.terminate().code(0);
    let declared = reader("misfit", &topics.patterns, "debezium")
        .sink_postgres(&target.url(), None)
        .toml("[[table]]\nmatch = \"app.bad\"\ncolumns.types = { a = \"text\" }");
    declared.run_until_current().success();
    assert_eq!(all(&target), "true,x,y,z,zz");
    declared.run_until_current().success();
    assert_eq!(all(&target), "true,x,y,z,zz");
}

/// All rows go at a place of the log that the other partition, which has a bad record before it, does not come to.
#[test]
fn a_truncate_waits_with_its_topic_for_a_partition_that_stopped() {
    let (topics, target) = (Pair::new("emptied"), Postgres::shared(17).database("emptied"));
    let topic = topics.bad.replace("bad", "two");
    Kafka::shared().create_topic(&topic, 2, &[]);
    let producer: BaseProducer = Kafka::shared().client().create().unwrap();
    let filed = |partition: i32, key: &str, value: &str| {
        let record = BaseRecord::to(&topic).partition(partition).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(LIMIT).unwrap();
    };
    let truncate = event(40, 0, "0").replace(r#""op":"c""#, r#""op":"t""#);
    filed(0, r#"{"id":1}"#, &event(10, 1, "1"));
    filed(1, r#"{"id":2}"#, &event(20, 2, "2"));
    filed(1, r#"{"id":3}"#, "{");
    filed(1, r#"{"id":4}"#, &event(30, 4, "4"));
    filed(0, "null", &truncate);
    filed(0, r#"{"id":5}"#, &event(50, 5, "5"));
    let pipeline = reader("emptied", &topics.patterns, "debezium").sink_postgres(&target.url(), None);
    let skip = format!("skip_records = [\"{topic}[1]@1\"]");
    for _ in 0..2 {
        pipeline.run_until_current().code(3).says(&[&format!("{topic}[1] at offset 1: expected"), &skip]);
        assert!(count(&target, "app.bad") <= 2, "rows from behind the truncate");
    }
    pipeline.variant("[source.kafka]", &format!("[source.kafka]\n{skip}")).run_until_current().success();
    assert_eq!(all(&target), "5");
}

/// A row in Avro, as a registry frames it.
fn framed(topic: &str, schema: i64, body: &[u8]) {
    let bytes = [&[0][..], &u32::try_from(schema).unwrap().to_be_bytes(), body].concat();
    let producer: BaseProducer = Kafka::shared().client().create().unwrap();
    producer.send(BaseRecord::<str, [u8]>::to(topic).payload(&bytes)).map_err(|(error, _)| error).unwrap();
    producer.flush(LIMIT).unwrap();
}

#[test]
fn a_topic_whose_schema_the_registry_lacks_goes_on_by_itself_when_it_has_it() {
    let (mut topics, target) = (Pair::new("lacks"), Postgres::shared(17).database("lacks"));
    let registry = Registry::start();
    let schema = |name: &str| {
        let fields = r#"[{"name":"a","type":"int"}]"#;
        format!(r#"{{"type":"record","name":"{name}","fields":{fields}}}"#)
    };
    let first = registry.register("first", &schema("First")).unwrap();
    let pipeline: Tailwater = reader("lacks", &topics.patterns, "debezium")
        .toml(&format!("registry = {:?}", registry.url()))
        .sink_postgres(&target.url(), None)
        .toml("retry_stopped_seconds = 1");
    framed(&topics.bad, first, &[2]);
    framed(&topics.bad, first + 1, &[4]);
    framed(&topics.bad, first, &[6]);
    topics.file(&[]);
    let mut running = pipeline.run();
    topics.others_go_on(&target, &mut running);
    running.wait_until("it is stopped", |running| running.text().contains("the registry has no schema"));
    running.wait_until("what is before it is there", |_| all(&target) == "1");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(all(&target), "1");
    assert_eq!(registry.register("second", &schema("Second")).unwrap(), first + 1);
    running.wait_until("it goes on", |_| all(&target) == "1,2,3");
    running.wait_until("which is told", |running| {
        running.http("/metrics").is_some_and(|(_, metrics)| !metrics.contains("{table=\"topic "))
    });
    let said = running.terminate().code(0).text();
    assert_eq!(said.matches("the registry has no schema").count(), 1, "it is told once: {said}");
    assert!(!said.contains("going on from what the sink has stored"), "the others were held up: {said}");
}

/// Records of three topics with two partitions each, the last of them without keys; some of the records are bad.
struct Filing {
    topics: [String; 3],
    producer: BaseProducer,
    random: StdRng,
    ends: BTreeMap<(usize, i32), i64>,
    /// The rows that there are in the end, by topic and key, where it has one.
    rows: BTreeMap<(usize, u64), u64>,
    bad: Vec<String>,
}

impl Filing {
    fn file(&mut self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let (topic, key) = (self.random.random_range(0..3), self.random.random_range(0..20));
            let partition = i32::from(key % 2 == 1);
            let end = self.ends.entry((topic, partition)).or_default();
            // One that can't be read, and one that can't be a row.
            let bad = self.random.random_bool(0.02);
            let row = match (bad, self.random.random_bool(0.5)) {
                (true, true) => "{".to_owned(),
                (true, false) => format!(r#"{{"a":"{n}"}}"#),
                _ => format!(r#"{{"a":{n}}}"#),
            };
            let keyed = topic < 2;
            match bad {
                true => self.bad.push(format!("{}[{partition}]@{end}", self.topics[topic])),
                false => drop(self.rows.insert((topic, if keyed { key } else { n }), n)),
            }
            *end += 1;
            let json = format!(r#"{{"id":{key}}}"#);
            let record = BaseRecord::<str, str>::to(&self.topics[topic]).partition(partition).payload(&row);
            let record = if keyed { record.key(&json) } else { record };
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(LIMIT).unwrap();
    }
}

#[test]
fn whichever_records_are_bad_and_whenever_the_process_dies_all_others_are_there_once_in_the_end() {
    for seed in seeds() {
        println!("seed {seed}");
        let (kafka, target) = (Kafka::shared(), Postgres::shared(17).database("bad_ones"));
        let prefix = kafka.prefix("bad_ones");
        let topics = ["one", "two", "log"].map(|name| format!("{prefix}.app.{name}"));
        topics.iter().for_each(|topic| kafka.create_topic(topic, 2, &[]));
        // Whatever is guessed is guessed of these.
        for topic in &topics {
            let key = if topic.ends_with("log") { None } else { Some(r#"{"id":100}"#) };
            file(topic, &[(key, Some(r#"{"a":1}"#), &[])]);
        }
        let pipeline = reader("bad_ones", &format!("{prefix}.*"), "rows")
            .sink_postgres(&target.url(), None)
            .toml("retry_stopped_seconds = 1\n[sink.postgres.flush]\nrows = 20");
        pipeline.run_until_current().success();
        let ends = (0..3).flat_map(|at| {
            let ends = [0, 1].map(|partition| (partition, kafka.end_offset(&topics[at], partition).unwrap_or(0)));
            ends.map(|(partition, end)| ((at, partition), end))
        });
        let mut filing = Filing {
            ends: ends.collect(),
            producer: kafka.client().create().unwrap(),
            random: StdRng::seed_from_u64(seed),
            rows: BTreeMap::from([((0, 100), 1), ((1, 100), 1), ((2, 1), 1)]),
            bad: Vec::new(),
            topics,
        };
        filing.file(10..200);
        for from in [200, 400] {
            let running = pipeline.run();
            std::thread::sleep(Duration::from_millis(filing.random.random_range(300..1500)));
            filing.file(from..from + 200);
            std::thread::sleep(Duration::from_millis(filing.random.random_range(0..1500)));
            running.kill9();
        }
        assert!(!filing.bad.is_empty());
        pipeline.run_until_current().code(3);
        let skip = format!("origin = \"rows\"\nskip_records = {:?}", filing.bad);
        let skipping = pipeline.variant("origin = \"rows\"", &skip);
        skipping.run_until_current().success();
        let mut found = BTreeMap::new();
        for (at, (table, key)) in [("one", "id"), ("two", "id"), ("log", "a")].into_iter().enumerate() {
            for row in target.sql(&format!("select {key}, a from app.{table}")) {
                let [key, a] = [0, 1].map(|at| row[at].as_ref().unwrap().parse::<u64>().unwrap());
                assert_eq!(found.insert((at, key), a), None, "seed {seed}: twice");
            }
        }
        assert_eq!(found, filing.rows, "seed {seed}");
    }
}
