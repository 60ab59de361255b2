//! What lies in Kafka topics: events of every format, their headers, records of tables.

use std::sync::Arc;

use bytes::Bytes;
use tailwater::adapters::kafka::{Marker, Writer};
use tailwater::codecs::event::{
    Cause, Decoder, Encoder, Hold, Modes, Records, Settings, Stamp, TableRecord, decode_held, decode_table,
    encode_followed, encode_held, encode_hold, encode_partitions, encode_table,
};
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Column, Lsn, Membership, Oid, OldRow, Op, Origin, PgTimestamp, PgType, Phase,
    ReplicaIdentity, Row, SourcePosition, Table, TableName, Xid,
};

use super::{Target, same};

/// Type, modifier and text of the golden file's values, as far as they are told in the ordinary way.
fn values() -> Vec<(PgType, i32, String)> {
    let lines = include_str!("../golden/types.txt").lines();
    let fields = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let fields = fields.map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>());
    fields
        .filter(|fields| fields[2].is_empty())
        .map(|f| (named(f[0]), f[1].parse().unwrap(), f[3].to_owned()))
        .collect()
}

fn named(name: &str) -> PgType {
    match name.strip_suffix("[]") {
        Some(element) => PgType::Array(Box::new(named(element))),
        None => PgType::named(name).unwrap_or_else(|| PgType::Other { name: name.into() }),
    }
}

fn column(name: String, pg_type: PgType, modifier: i32, optional: bool) -> Column {
    Column { name, pg_type, oid: Oid(1), modifier, optional, default: None, birth: Default::default() }
}

fn table(values: &[(PgType, i32, String)]) -> Arc<Table> {
    let id = column("id".into(), PgType::Int4, -1, false);
    let others =
        values.iter().enumerate().map(|(at, (t, modifier, _))| column(format!("v{at}"), t.clone(), *modifier, true));
    Arc::new(Table {
        oid: Oid(1),
        name: TableName::new("public", "t"),
        version: 1,
        columns: std::iter::once(id).chain(others).collect(),
        identity: ReplicaIdentity::Full,
        key: vec![0],
    })
}

fn change(table: &Arc<Table>, op: Op) -> Change {
    let origin = Origin {
        at: PgTimestamp::from_unix_micros(1_478_267_490_123_456),
        xid: Some(Xid(4_000_000_000)),
        lsn: Lsn::new(40_270_032),
        last_commit: Some(Lsn::new(40_270_000)),
        snapshot: None,
    };
    Change { id: ChangeId { commit: Lsn::new(40_270_100), seq: 12 }, origin, table: Arc::clone(table), op }
}

fn encoder(table: &Arc<Table>, modes: &Modes) -> Encoder {
    let settings = Settings { modes: *modes, ..Settings::new("srv", "shop") };
    let mut encoder = Encoder::new(Arc::clone(table), &settings).unwrap();
    encoder.number(7, 8);
    encoder
}

type Headers = Vec<(&'static str, Vec<u8>)>;

/// A record's headers, and its value if it has one.
type Event = (Headers, Option<Vec<u8>>);

fn encoded(change: &Change, modes: &Modes) -> Option<Vec<Event>> {
    let mut records = Records::new();
    encoder(&change.table, modes).encode(change, PgTimestamp(0), &mut records).ok()?;
    let event = |record: tailwater::codecs::event::Record<'_>| {
        let headers = record.headers().map(|(name, value)| (name, value.to_vec())).collect();
        (headers, record.value.map(<[u8]>::to_vec))
    };
    Some(records.iter().map(event).collect())
}

fn decoded(decoder: &mut Decoder, (headers, value): &Event) -> Option<Change> {
    let stamp = Stamp::read(headers.iter().map(|(name, value)| (*name, &value[..])))?;
    decoder.decode(&stamp, value.as_deref()).ok()?
}

/// One byte says whose headers the rest comes with.
fn events(name: &'static str, format: &str) -> Target {
    let values = values();
    let table = table(&values);
    let mut modes = Modes::default();
    assert!(modes.set("format", format));
    let first = std::iter::once(Cell::Text(b"1"));
    let new: Row = first.clone().chain(values.iter().map(|(.., text)| Cell::Text(text.as_bytes()))).collect();
    let other: Row = first.clone().chain(values.iter().map(|_| Cell::Null)).collect();
    let kept: Row = first.chain(values.iter().map(|_| Cell::Unchanged)).collect();
    let moved: Row = new.cells().enumerate().map(|(at, c)| if at == 0 { Cell::Text(b"2") } else { c }).collect();
    let ops = [
        Op::Insert { new: new.clone() },
        Op::Update { old: Some(OldRow::Full(other.clone())), new: new.clone() },
        Op::Update { old: None, new: kept },
        Op::Update { old: Some(OldRow::Full(new.clone())), new: moved },
        Op::Delete { old: OldRow::Full(other) },
        Op::Truncate,
    ];
    let all: Vec<Event> = ops.into_iter().flat_map(|op| encoded(&change(&table, op), &modes).unwrap()).collect();
    let headers: Vec<Headers> = all.iter().map(|(headers, _)| headers.clone()).collect();
    let entry = |(at, (_, value)): (usize, &Event)| value.as_ref().map(|value| [&[at as u8], &value[..]].concat());
    let corpus = all.iter().enumerate().filter_map(entry).collect();
    let mut decoder = Decoder::new(table, &modes);
    Target::new(name, corpus, format == "json", move |input| {
        let [chosen, value @ ..] = input else { return Ok(()) };
        let headers = headers[usize::from(*chosen) % headers.len()].clone();
        let Some(change) = decoded(&mut decoder, &(headers, Some(value.to_vec()))) else { return Ok(()) };
        // What does not fit its column can be read and not be written.
        let Some(events) = encoded(&change, &modes) else { return Ok(()) };
        let again: Vec<Change> = events.iter().filter_map(|event| decoded(&mut decoder, event)).collect();
        let Some(again) = again.into_iter().next() else { return Err("what was read can't be read again".to_owned()) };
        // A value may have had another spelling; written and read once more it is what it was.
        let Some(events) = encoded(&again, &modes) else {
            return Err("what was read twice can't be written".to_owned());
        };
        let third: Vec<Change> = events.iter().filter_map(|event| decoded(&mut decoder, event)).collect();
        same(&vec![again], &third)
    })
}

pub fn json() -> Target {
    events("json", "json")
}

pub fn avro() -> Target {
    events("avro", "avro")
}

pub fn protobuf() -> Target {
    events("protobuf", "protobuf")
}

/// Changes that wait.
pub fn held() -> Target {
    let values = values();
    let table = table(&values);
    let cells = std::iter::once(Cell::Text(b"1")).chain(values.iter().map(|(.., text)| Cell::Text(text.as_bytes())));
    let new: Row = cells.collect();
    let ops = [
        Op::Insert { new: new.clone() },
        Op::Update { old: Some(OldRow::Full(new.clone())), new: new.clone() },
        Op::Delete { old: OldRow::Key(new) },
        Op::Truncate,
    ];
    let encoded = |change: &Change, masked: &[String]| {
        let mut out = Vec::new();
        assert!(encode_held(change, masked, &mut out));
        out
    };
    let corpus = ops.into_iter().map(|op| encoded(&change(&table, op), &["v1".to_owned(), "v2".to_owned()])).collect();
    Target::new("held", corpus, false, move |input| {
        let Ok(read) = decode_held(&Bytes::copy_from_slice(input)) else { return Ok(()) };
        let again = Change { origin: read.origin, ..change(&table, read.op.clone()) };
        let bytes = encoded(&again, &read.masked);
        same(&Ok(read), &decode_held(&Bytes::from(bytes)))
    })
}

/// Lines of a name and a value.
pub fn headers() -> Target {
    let values = values();
    let table = table(&values);
    let mut decoder = Decoder::new(Arc::clone(&table), &Modes::default());
    let old: Row = table.columns.iter().map(|_| Cell::Null).collect();
    let new: Row = std::iter::once(Cell::Text(b"1")).chain(values.iter().map(|_| Cell::Unchanged)).collect();
    let change = change(&table, Op::Update { old: Some(OldRow::Full(old)), new });
    let events = encoded(&change, &Modes::default()).unwrap();
    let value = events.iter().find_map(|(_, value)| value.clone());
    let names: Vec<&'static str> =
        events.iter().flat_map(|(headers, _)| headers.iter().map(|(name, _)| *name)).collect();
    let lines = |(headers, _): &Event| headers.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>().join(&b'\n');
    let corpus = events.iter().map(lines).collect();
    Target::new("headers", corpus, true, move |input| {
        let lines = input.split(|byte| *byte == b'\n');
        let headers: Headers = names.iter().copied().zip(lines.map(<[u8]>::to_vec)).collect();
        decoded(&mut decoder, &(headers, value.clone()));
        Ok(())
    })
}

pub fn tables() -> Target {
    let table = table(&values());
    let name = TableName::new("public", "t");
    let hold = Hold {
        told: name.clone(),
        since: ChangeId::ZERO,
        at: PgTimestamp(1),
        from: 7,
        released: ChangeId::ZERO,
        cause: Cause::Value,
        what: "a value".into(),
        remedy: "mend it".into(),
    };
    let membership = Membership { table: Oid(1), publication: Oid(2), entry: Oid(3) };
    let corpus = vec![
        encode_table(&table, &Modes::default()).1,
        encode_followed(&name, Some(membership)).1,
        encode_followed(&name, None).1,
        encode_hold(&name, Some(&hold)).1,
        encode_hold(&name, None).1,
        encode_partitions("shop.public.t", 4).1,
    ];
    Target::new("tables", corpus, true, |input| {
        let Ok(record) = decode_table(input) else { return Ok(()) };
        let (_, value) = match &record {
            TableRecord::Version(table, modes) => encode_table(table, modes),
            TableRecord::Followed(name, membership) => encode_followed(name, *membership),
            TableRecord::Held(name, hold) => encode_hold(name, hold.as_deref()),
            TableRecord::Partitions(topic, count) => encode_partitions(topic, *count),
        };
        same(&Ok(record), &decode_table(&value))
    })
}

/// Progress markers.
pub fn markers() -> Target {
    let marker = |inside: Option<ChangeId>, phase, offsets: &[(&str, i32, i64)]| {
        let position = SourcePosition { system_id: 7_301_940_518_421_043_001, timeline: 2, lsn: Lsn::new(40_270_032) };
        let change = ChangeId { commit: Lsn::new(40_270_000), seq: 7 };
        let offsets = offsets.iter().map(|&(topic, partition, next)| (topic.to_owned(), partition, next)).collect();
        let checkpoint = Checkpoint { position, change, phase, offsets, followed: None };
        Marker { checkpoint, inside, writer: Writer { epoch: 3, process: "b2".into(), reading: "a1".into() } }.encode()
    };
    let inside = ChangeId { commit: Lsn::new(40_280_000), seq: 1 };
    let corpus = vec![
        marker(None, Phase::Stream, &[("shop.public.orders", 0, 12), ("shop.public.orders", 3, 9_000_000_000)]),
        marker(Some(inside), Phase::Stream, &[("shop.public.orders", 1, 1)]),
        marker(None, Phase::Snapshot, &[]),
    ];
    Target::new("markers", corpus, true, |bytes| match Marker::decode(bytes) {
        Ok(read) => same(&Some(&read), &Marker::decode(&read.encode()).ok().as_ref()),
        Err(_) => Ok(()),
    })
}
