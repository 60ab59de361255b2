//! Random tables and rows, and how their changes become events.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tailwater::codecs::event::{Decoder, Encoder, Format, Modes, Records, Settings, Stamp};
use tailwater::model::value::{Finite, Interval, Shape, ShapedWriter, print, special};
use tailwater::model::*;

/// The same types as elsewhere, and an enumeration.
pub fn named(name: &str) -> PgType {
    match name.strip_suffix("[]") {
        Some(element) => PgType::Array(Box::new(named(element))),
        None if name == "mood" => PgType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok".into()] },
        None => crate::cases::named(name),
    }
}

pub const SCALARS: [&str; 36] = [
    "smallint",
    "integer",
    "bigint",
    "oid",
    "real",
    "double precision",
    "numeric",
    "boolean",
    "text",
    "character varying",
    "character",
    "bytea",
    "date",
    "time without time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "uuid",
    "json",
    "jsonb",
    "mood",
    "name",
    "citext",
    "time with time zone",
    "interval",
    "bit",
    "bit varying",
    "point",
    "hstore",
    "geometry",
    "vector",
    "halfvec",
    "int4range",
    "nummultirange",
    "money",
    "box",
    "public.a_composite",
];

fn printed<T: std::fmt::Debug>(
    values: impl Strategy<Value = T> + 'static,
    print: impl Fn(T, &mut Vec<u8>) + 'static,
) -> BoxedStrategy<Vec<u8>> {
    let text = move |value| {
        let mut out = Vec::new();
        print(value, &mut out);
        out
    };
    values.prop_map(text).boxed()
}

/// An ordinary value, or sometimes one of the ends.
fn finite<T: std::fmt::Debug + Clone + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Finite<T>> {
    prop_oneof![8 => values.prop_map(Finite::Value), 1 => Just(Finite::Infinity), 1 => Just(Finite::NegInfinity)]
        .boxed()
}

fn words(words: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()).boxed()
}

/// Texts that PostgreSQL prints for values of a type.
pub fn texts(name: &str) -> BoxedStrategy<Vec<u8>> {
    const MOMENTS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
    match name {
        "smallint" => printed(any::<i16>(), |n, out| print::int(n.into(), out)),
        "integer" => printed(any::<i32>(), |n, out| print::int(n.into(), out)),
        "bigint" => printed(any::<i64>(), print::int),
        "oid" => printed(any::<u32>(), |n, out| print::int(n.into(), out)),
        "real" => printed(any::<u32>().prop_map(f32::from_bits), print::float4),
        "double precision" => printed(any::<u64>().prop_map(f64::from_bits), print::float8),
        "numeric" => prop_oneof![
            5 => "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?".prop_map(String::into_bytes),
            1 => words(&["NaN", "Infinity", "-Infinity"]),
        ]
        .boxed(),
        "boolean" => words(&["t", "f"]),
        "bytea" => printed(vec(any::<u8>(), 0..200), |bytes, out| print::bytea(&bytes, out)),
        "date" => printed(finite(-2_440_588_i32..=2_145_042_905), print::date),
        "time without time zone" => printed(0_i64..=86_400_000_000, print::time),
        "timestamp without time zone" => printed(finite(MOMENTS), print::pg_timestamp),
        "timestamp with time zone" => printed(finite(MOMENTS), print::pg_timestamptz),
        "uuid" => printed(any::<[u8; 16]>(), |id, out| print::uuid(&id, out)),
        "mood" => words(&["sad", "ok"]),
        "time with time zone" => {
            let zones = prop::sample::select(&["+00", "+02", "-07:30", "+15:59:59", "-00:00:01"][..]);
            printed((0_i64..=86_400_000_000, zones), |(micros, zone), out| {
                print::time(micros, out);
                out.extend_from_slice(zone.as_bytes());
            })
        }
        "interval" => printed((any::<i32>(), any::<i32>(), any::<i64>()), |(months, days, micros), out| {
            Interval { months: months.into(), days: days.into(), micros }.print(out);
        }),
        "bit" | "bit varying" => "[01]{0,40}".prop_map(String::into_bytes).boxed(),
        "point" => printed((any::<f64>(), any::<f64>()), |(x, y), out| {
            // The schema's own types forget the sign of a zero in a plain field.
            let plain = |coordinate: f64| if coordinate == 0.0 { 0.0 } else { coordinate };
            out.push(b'(');
            print::float8(plain(x), out);
            out.push(b',');
            print::float8(plain(y), out);
            out.push(b')');
        }),
        "hstore" => printed(prop::collection::btree_map(any::<String>(), any::<Option<String>>(), 0..4), |map, out| {
            for (at, (key, value)) in map.iter().enumerate() {
                special::print_hstore(key.as_bytes(), value.as_ref().map(String::as_bytes), at == 0, out);
            }
        }),
        "money" => "-?\\$[0-9]{1,3}\\.[0-9]{2}".prop_map(String::into_bytes).boxed(),
        "geometry" => "([0-9A-F]{2}){0,40}".prop_map(String::into_bytes).boxed(),
        "vector" | "halfvec" => printed(vec(-1e9_f32..1e9, 0..20), |list, out| {
            out.push(b'[');
            for (at, number) in list.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                print::float4(number, out);
            }
            out.push(b']');
        }),
        name => match name.strip_suffix("[]") {
            Some(element) => arrays(element),
            None => any::<String>().prop_map(String::into_bytes).boxed(),
        },
    }
}

/// Arrays of up to three dimensions, some with first indexes of their own.
fn arrays(element: &str) -> BoxedStrategy<Vec<u8>> {
    let delimiter = if element == "box" { b';' } else { b',' };
    let dimensions = vec((1_u32..4, prop_oneof![3 => Just(1_i32), 1 => any::<i16>().prop_map(i32::from)]), 0..4);
    let elements = vec(prop::option::weighted(0.9, texts(element)), 27);
    printed((dimensions, elements), move |(dimensions, elements), out| {
        let mut shape = Shape::default();
        dimensions.iter().for_each(|(length, lower)| shape.push(*length, *lower).unwrap());
        let mut writer = ShapedWriter::new(out, delimiter, shape);
        let count = usize::try_from(shape.elements().unwrap()).unwrap();
        elements.iter().take(count).for_each(|element| writer.push(element.as_deref()));
        writer.finish().unwrap();
    })
}

/// A type and a text of it for a cell of each of four rows.
type Column4 = (String, [Option<Vec<u8>>; 4]);

fn column() -> impl Strategy<Value = Column4> {
    let names = (prop::sample::select(&SCALARS[..]), prop::bool::weighted(0.3));
    names.prop_flat_map(|(scalar, array)| {
        let name = if array { format!("{scalar}[]") } else { scalar.to_owned() };
        let cell = || prop::option::weighted(0.8, texts(&name));
        ([cell(), cell(), cell(), cell()]).prop_map(move |cells| (name.clone(), cells))
    })
}

fn origin() -> impl Strategy<Value = Origin> {
    let mark = prop::option::of(prop::sample::select(
        &[
            SnapshotMark::First,
            SnapshotMark::FirstInTable,
            SnapshotMark::Middle,
            SnapshotMark::LastInTable,
            SnapshotMark::Last,
        ][..],
    ));
    let lsn = || prop_oneof![any::<u64>(), 0_u64..100].prop_map(Lsn::new);
    let micros = -200_000_000_000_000_000_i64..9_000_000_000_000_000_000;
    (micros, prop::option::of(any::<u32>()), lsn(), prop::option::of(lsn()), mark).prop_map(
        |(micros, xid, lsn, last_commit, snapshot)| Origin {
            at: PgTimestamp::from_unix_micros(micros),
            xid: xid.map(Xid),
            lsn,
            last_commit,
            snapshot,
        },
    )
}

/// Changes of random tables.
pub fn changes() -> impl Strategy<Value = Change> {
    let identity = prop::sample::select(&[ReplicaIdentity::Default, ReplicaIdentity::Index, ReplicaIdentity::Full][..]);
    let shape = (vec(column(), 0..12), identity, any::<(u8, bool, bool)>());
    let place = (any::<u64>(), any::<u64>(), origin(), 0..7_u8);
    (shape, place).prop_map(|((columns, identity, (key, unchanged, modifiers)), (commit, seq, origin, op))| {
        let table = Arc::new(table(&columns, identity, key, modifiers));
        let row = |which: usize| -> Row {
            let text = |cells: &'_ [Option<Vec<u8>>; 4]| cells[which].clone();
            columns.iter().map(|(_, cells)| text(cells)).collect::<Vec<_>>().iter().map(|t| cell(t)).collect()
        };
        let op = op_of(op, &table, [row(0), row(1)], unchanged);
        let id = ChangeId { commit: Lsn::new(commit), seq };
        Change { id, origin, table, op }
    })
}

fn cell(text: &Option<Vec<u8>>) -> Cell<'_> {
    text.as_deref().map_or(Cell::Null, Cell::Text)
}

fn table(columns: &[Column4], identity: ReplicaIdentity, key: u8, modifiers: bool) -> Table {
    let modifier = |at: usize| if modifiers && at.is_multiple_of(2) { 7 + i32::try_from(at).unwrap() } else { -1 };
    let column = |(at, (name, _)): (usize, &Column4)| Column {
        name: format!("{name} {at} ü"),
        pg_type: named(name),
        oid: Oid(1),
        modifier: modifier(at),
        optional: true,
        default: None,
        birth: Default::default(),
    };
    let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
    let width = columns.len().max(1);
    let mut keys: Vec<usize> = (0..columns.len()).filter(|at| key >> (at % 8) & 1 == 1).collect();
    let by = usize::from(key) % width;
    if by < keys.len() {
        keys.rotate_left(by);
    }
    let name = TableName::new("inv ü", "Odd.Name");
    Table { oid: Oid(16_400), name, version: 3, columns, identity, key: keys }
}

fn op_of(op: u8, table: &Table, [a, b]: [Row; 2], unchanged: bool) -> Op {
    let full = table.identity == ReplicaIdentity::Full;
    let old = |row: Row| {
        let cells = row.cells().enumerate();
        if full {
            return OldRow::Full(row.clone());
        }
        OldRow::Key(cells.map(|(at, cell)| if table.key.contains(&at) { cell } else { Cell::Null }).collect())
    };
    let gaps = |row: &Row| -> Row {
        let gap = |at: usize| unchanged && !full && at.is_multiple_of(3) && !table.key.contains(&at);
        row.cells().enumerate().map(|(at, cell)| if gap(at) { Cell::Unchanged } else { cell }).collect()
    };
    match op {
        0 => Op::Read { new: a },
        1 => Op::Insert { new: a },
        2 => Op::Update { old: None, new: gaps(&a) },
        3 if full => Op::Update { old: Some(OldRow::Full(b)), new: a },
        // An old row that is known is told where it has another key.
        4 if !full && table.key.iter().any(|&at| a.cell(at) != b.cell(at)) => {
            Op::Update { old: Some(old(b)), new: gaps(&a) }
        }
        5 => Op::Truncate,
        _ => Op::Delete { old: old(a) },
    }
}

pub fn settings(modes: Modes) -> Settings {
    Settings { tombstones: false, modes: Modes { format: Format::Protobuf, ..modes }, ..Settings::new("srv", "shop") }
}

/// An event as a reader finds it.
#[derive(Clone, Debug)]
pub struct Found {
    pub headers: Vec<(String, Vec<u8>)>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// The events of a change, in their order.
pub fn events(change: &Change, modes: Modes) -> Vec<Found> {
    let mut records = Records::new();
    let now = PgTimestamp::from_unix_micros(1_500_000_000_000_001);
    let mut encoder = Encoder::new(Arc::clone(&change.table), &settings(modes)).unwrap();
    encoder.encode(change, now, &mut records).unwrap();
    let found = records.iter().map(|record| Found {
        headers: record.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.unwrap().to_vec(),
    });
    found.collect()
}

/// The changes that events are read as.
pub fn read(change: &Change, modes: Modes, events: &[Found]) -> Vec<Change> {
    let mut decoder = Decoder::new(Arc::clone(&change.table), &settings(modes).modes);
    let mut read = |event: &Found| {
        let stamp = Stamp::read(event.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))).unwrap();
        decoder.decode(&stamp, Some(&event.value)).unwrap()
    };
    events.iter().filter_map(&mut read).collect()
}
