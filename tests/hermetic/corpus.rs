//! What real servers sent, as `tests/corpus/capture.sh` took it down.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use tailwater::codecs::pgoutput::{Decoder, Message, Streaming};
use tailwater::logic::assemble::{Assembler, Description, Step, shape};
use tailwater::model::{Cell, Class, Error, Lsn, OldRow, Row, Xid};

pub(super) fn captures() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let servers = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut found: Vec<PathBuf> =
        servers.flat_map(|server| std::fs::read_dir(server).unwrap().map(|entry| entry.unwrap().path())).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    found.sort();
    assert!(found.len() >= 10, "the captures are there");
    found
}

/// The (lsn, data) pairs of a binary COPY: a header of 19 bytes, then for each field its length and bytes.
pub(super) fn messages(path: &Path) -> Vec<(Lsn, Bytes)> {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(&bytes[..11], b"PGCOPY\n\xff\r\n\0");
    let (mut at, mut messages) = (19, Vec::new());
    while bytes[at..at + 2] != [0xff, 0xff] {
        assert_eq!((&bytes[at..at + 2], number(at + 2)), (&[0, 2][..], 8));
        let lsn = u64::from_be_bytes(bytes[at + 6..at + 14].try_into().unwrap());
        let end = at + 18 + number(at + 14);
        messages.push((Lsn::new(lsn), bytes.slice(at + 18..end)));
        at = end;
    }
    messages
}

pub(super) fn streaming(path: &Path) -> Streaming {
    match path.file_stem().unwrap().to_str().unwrap() {
        name if name.ends_with("parallel") => Streaming::Parallel,
        name if name.ends_with("whole") => Streaming::Off,
        name if name.starts_with("streamed") => Streaming::On,
        _ => Streaming::Off,
    }
}

/// A message on one line; of values only kind and length.
fn line(message: &Message) -> String {
    match message {
        Message::Insert(m) => format!("{}Insert {} {}", block(m.xid), m.relation, cells(&m.new)),
        Message::Update(m) => {
            format!(
                "{}Update {} {}{}",
                block(m.xid),
                m.relation,
                m.old.as_ref().map_or(String::new(), |row| old(row) + " "),
                cells(&m.new)
            )
        }
        Message::Delete(m) => format!("{}Delete {} {}", block(m.xid), m.relation, old(&m.old)),
        Message::Logical(m) => format!(
            "{}Message transactional={} {} {:?} {} bytes",
            block(m.xid),
            m.transactional,
            m.lsn,
            m.prefix,
            m.content.len()
        ),
        Message::Relation(m) => {
            let columns = m
                .columns
                .iter()
                .map(|c| format!(" {:?}:{}:{}{}", c.name, c.type_oid, c.modifier, if c.key { "*" } else { "" }));
            let columns: String = columns.collect();
            format!("{}Relation {} {:?}.{:?} {:?}{columns}", block(m.xid), m.oid, m.schema, m.name, m.identity)
        }
        other => format!("{other:?}"),
    }
}

fn block(xid: Option<Xid>) -> String {
    xid.map_or(String::new(), |xid| format!("{xid}: "))
}

fn old(old: &OldRow) -> String {
    match old {
        OldRow::Key(row) => format!("key {}", cells(row)),
        OldRow::Full(row) => format!("old {}", cells(row)),
    }
}

fn cells(row: &Row) -> String {
    let cells = row.cells().map(|cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Unchanged => "unchanged".to_owned(),
        Cell::Text(value) => format!("t{}", value.len()),
        Cell::Binary(value) => format!("b{}", value.len()),
    });
    format!("[{}]", cells.collect::<Vec<_>>().join(" "))
}

#[test]
fn every_capture_is_decoded_to_its_golden_and_encoded_to_the_same_bytes() {
    for path in captures() {
        let mut decoder = Decoder::new(streaming(&path));
        let mut text = String::new();
        for (lsn, body) in messages(&path) {
            let message = decoder.decode(&body).unwrap_or_else(|e| panic!("{} at {lsn}: {e}", path.display()));
            let mut again = BytesMut::new();
            message.encode(&mut again);
            assert_eq!(again, body, "{} at {lsn}: {}", path.display(), message.name());
            writeln!(text, "{lsn} {}", line(&message)).unwrap();
        }
        let golden = path.with_extension("golden");
        if std::env::var_os("TAILWATER_BLESS").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert!(text == expected, "{}: run with TAILWATER_BLESS=1 and look at the difference", golden.display());
    }
}

#[test]
fn a_real_message_that_is_cut_off_is_refused() {
    for path in captures() {
        let mut decoder = Decoder::new(streaming(&path));
        for (lsn, body) in messages(&path) {
            for length in 0..body.len() {
                assert!(decoder.clone().decode(&body.slice(..length)).is_err(), "{} at {lsn}", path.display());
            }
            decoder.decode(&body).unwrap();
        }
    }
}

#[test]
fn every_kind_of_message_occurs_in_the_captures() {
    let mut seen: Vec<u8> = captures().iter().flat_map(|path| messages(path)).map(|(_, body)| body[0]).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(String::from_utf8(seen).unwrap(), "ABCDEIKMOPRSTUYbcpr");
}

/// Assembles a capture as a catalog that knows nothing explains it; returns changes and boundaries.
fn assemble(path: &Path) -> Result<(usize, usize), Error> {
    let (mut decoder, mut assembler) = (Decoder::new(streaming(path)), Assembler::new(Lsn::ZERO));
    let (mut changes, mut boundaries) = (Vec::new(), 0);
    for (lsn, body) in messages(path) {
        match assembler.feed(decoder.decode(&body)?, lsn, &mut changes)? {
            Step::Going => {}
            Step::Boundary { .. } => boundaries += 1,
            Step::Describe(relation) => {
                let table = shape(&relation, &Description::default());
                assembler.define(relation, table, Lsn::ZERO);
            }
        }
    }
    assert!(changes.is_sorted_by(|a, b| a.id < b.id));
    Ok((changes.len(), boundaries))
}

#[test]
fn protocol_1_is_assembled_and_all_else_is_refused() {
    for path in captures() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let outcome = assemble(&path).map_err(|error| error.class());
        match name {
            "plain" => assert_eq!(outcome, Ok((33, 22)), "{}", path.display()),
            "binary" => assert_eq!(outcome, Ok((4, 3)), "{}", path.display()),
            "streamed_savepoints_whole" => assert!(outcome.is_ok(), "{}", path.display()),
            "prepared" => assert_eq!(outcome, Err(Class::Blocked), "{}", path.display()),
            _ => assert_eq!(outcome, Err(Class::Bug), "{}", path.display()),
        }
    }
}
