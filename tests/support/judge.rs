//! What a plain consumer of another implementation sees: Kafka's own console consumer, of committed records.

use std::collections::HashMap;

use serde_json::Value;

use super::kafka::Kafka;
use super::session::Session;

/// An event as it was printed.
pub struct Seen {
    /// The table it is of.
    pub table: String,
    /// The partition it lies in.
    pub partition: u32,
    /// `tw.commit_lsn`.
    pub commit: u64,
    /// `tw.seq`.
    pub seq: u64,
    /// `tw.epoch`: which writer told it.
    pub epoch: u64,
    /// `c`, `u`, `d`, `r`, `t`.
    pub op: String,
    /// The row after the change.
    pub after: Value,
}

impl Seen {
    /// Whether a snapshot told it: those have a commit where none can be.
    fn of_snapshot(&self) -> bool {
        self.commit % 8 == 7
    }
}

/// All events in JSON of the topics under a prefix, as a Java consumer of committed records prints them.
#[track_caller]
pub fn seen(kafka: &Kafka, prefix: &str) -> Vec<Seen> {
    seen_of(kafka, prefix, "")
}

/// The same of the tables of `public` whose names begin so.
#[track_caller]
pub fn seen_of(kafka: &Kafka, prefix: &str, tables: &str) -> Vec<Seen> {
    let printed = kafka.console(&kafka.topics(&format!("{prefix}.public.{tables}")));
    printed.lines().filter(|line| line.starts_with("Partition:")).filter_map(event).collect()
}

/// `Partition:0 <tab> name:value,name:value <tab> {..}`; `None` for a tombstone.
fn event(line: &str) -> Option<Seen> {
    let [partition, headers, value] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else {
        panic!("no event: {line}");
    };
    if value == "null" {
        return None;
    }
    let header = |name: &str| {
        let all = headers.split(',').find_map(|header| header.strip_prefix(name)?.strip_prefix(':'));
        all.unwrap_or_else(|| panic!("no {name}: {headers}")).parse().unwrap()
    };
    let mut event: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {value}"));
    Some(Seen {
        table: event["source"]["table"].as_str().unwrap().to_owned(),
        partition: partition.trim_start_matches("Partition:").parse().unwrap(),
        commit: header("tw.commit_lsn"),
        seq: header("tw.seq"),
        epoch: header("tw.epoch"),
        op: event["op"].as_str().unwrap().to_owned(),
        after: event["after"].take(),
    })
}

/// Panics unless each streamed change was seen once, and in each partition in the order of their commits.
#[track_caller]
pub fn assert_once(seen: &[Seen]) {
    let streamed: Vec<&Seen> = seen.iter().filter(|event| !event.of_snapshot()).collect();
    assert!(!streamed.is_empty(), "nothing was streamed");
    // A change of a key is told as a delete and an insert.
    let mut met = HashMap::new();
    let (mut doubled, mut back) = (Vec::new(), Vec::new());
    let mut last = HashMap::new();
    for event in &streamed {
        let Seen { table, partition, commit, seq, op, epoch, .. } = event;
        if let Some(first) = met.insert((table, commit, seq, op), epoch) {
            doubled.push(format!("{table} {op} {commit}#{seq} by the writers {first} and {epoch}"));
        }
        let before = last.insert((table, partition), (commit, seq));
        if let Some(before) = before.filter(|before| *before > (commit, seq)) {
            back.push(format!("{table}[{partition}] from {}#{} to {commit}#{seq}", before.0, before.1));
        }
    }
    let some = |what: &[String]| format!("{} ({:?} ..)", what.len(), &what[..what.len().min(9)]);
    assert!(
        doubled.is_empty() && back.is_empty(),
        "of {} events seen, doubled: {}; out of order: {}",
        streamed.len(),
        some(&doubled),
        some(&back)
    );
}

/// Panics unless every row of the load's ledger was seen, and no other; once each where no snapshot told of it.
#[track_caller]
pub fn assert_ledger(seen: &[Seen], source: &Session) {
    let all =
        source.one("SELECT coalesce(string_agg(writer || '/' || n, ',' ORDER BY writer, n), '') FROM ledger_plain");
    let mut told: Vec<(i64, i64)> = Vec::new();
    for event in seen.iter().filter(|event| event.table == "ledger_plain" && event.op != "t") {
        told.push((event.after["writer"].as_i64().unwrap(), event.after["n"].as_i64().unwrap()));
    }
    let snapshot = seen.iter().any(Seen::of_snapshot);
    told.sort_unstable();
    if snapshot {
        told.dedup();
    }
    let told = told.into_iter().map(|(writer, n)| format!("{writer}/{n}")).collect::<Vec<_>>().join(",");
    assert!(told == all, "the ledger and what was seen of it differ: {} and {} bytes", all.len(), told.len());
    println!("{} events seen once by a consumer of committed records", seen.len());
}
