//! What PostgreSQL sends: frames, messages, rows, lines of COPY.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use tailwater::codecs::copy::text;
use tailwater::codecs::pgoutput::{Decoder, Frame, Message, StandbyStatus, StreamStart, Streaming, XLogData};
use tailwater::logic::assemble::{Assembler, Description, Step, shape};
use tailwater::model::{Cell, Lsn, PgTimestamp, Row, RowWriter, Xid};

use super::{Target, same};

/// The messages of a capture: the rows (lsn, data) of a binary COPY.
fn capture(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut messages) = (19, Vec::new());
    while bytes[at..at + 2] != [0xff, 0xff] {
        let end = at + 18 + number(at + 14);
        messages.push(bytes[at + 18..end].to_vec());
        at = end;
    }
    messages
}

/// The captures, each with its name.
fn captures() -> Vec<(String, Vec<Vec<u8>>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let servers = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = servers.flat_map(|server| std::fs::read_dir(server).unwrap().map(|entry| entry.unwrap().path()));
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "bin")).collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), capture(path))).collect()
}

fn messages() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = captures().into_iter().flat_map(|(_, messages)| messages).collect();
    all.sort();
    all.dedup();
    all
}

fn framed(body: &[u8]) -> Vec<u8> {
    let body = Bytes::copy_from_slice(body);
    let frame = XLogData { start: Lsn::new(7), end: Lsn::new(9), at: PgTimestamp(3), body };
    let mut out = BytesMut::new();
    Frame::XLogData(frame).encode(&mut out);
    out.to_vec()
}

pub fn frame() -> Target {
    let mut corpus: Vec<Vec<u8>> = messages().iter().take(40).map(|body| framed(body)).collect();
    corpus.push([&b"k"[..], &[0; 16], &[1]].concat());
    Target::new("frame", corpus, false, |input| {
        let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(input)) else { return Ok(()) };
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        same(&Ok(frame), &Frame::decode(&out.freeze()))
    })
}

pub fn status() -> Target {
    let corpus = vec![[&b"r"[..], &[1; 24], &[0, 0, 0, 0, 0, 0, 0, 9], &[1]].concat()];
    Target::new("status", corpus, false, |input| {
        let Ok(status) = StandbyStatus::decode(&Bytes::copy_from_slice(input)) else { return Ok(()) };
        let mut out = BytesMut::new();
        status.encode(&mut out);
        same(&Ok(status), &StandbyStatus::decode(&out.freeze()))
    })
}

/// A decoder that is inside of a streamed block, or not.
fn decoder(streaming: Streaming, inside: bool) -> Decoder {
    let mut decoder = Decoder::new(streaming);
    if inside {
        let mut out = BytesMut::new();
        Message::StreamStart(StreamStart { xid: Xid(7), first: true }).encode(&mut out);
        decoder.decode(&out.freeze()).unwrap();
    }
    decoder
}

pub fn message() -> Target {
    Target::new("message", messages(), false, |input| {
        let bytes = Bytes::copy_from_slice(input);
        for (streaming, inside) in [
            (Streaming::Off, false),
            (Streaming::On, false),
            (Streaming::On, true),
            (Streaming::Parallel, false),
            (Streaming::Parallel, true),
        ] {
            let Ok(message) = decoder(streaming, inside).decode(&bytes) else { continue };
            let mut out = BytesMut::new();
            message.encode(&mut out);
            same(&Ok(message), &decoder(streaming, inside).decode(&out.freeze()))?;
        }
        Ok(())
    })
}

/// A whole capture in which messages are damaged, left out, or come twice; the input says which.
pub fn assembled() -> Target {
    let captures: Vec<Vec<Vec<u8>>> = captures().into_iter().map(|(_, messages)| messages).collect();
    let corpus = (0..captures.len()).map(|at| vec![at as u8, 0, 3, 1, 9, 17, 2, 0, 5, 4]).collect();
    Target::new("assembled", corpus, false, move |input| {
        let [chosen, edits @ ..] = input else { return Ok(()) };
        let mut script = captures[usize::from(*chosen) % captures.len()].clone();
        for edit in edits.chunks_exact(3) {
            let at = (usize::from(edit[1]) * 256 + usize::from(edit[2])) % script.len();
            match edit[0] % 4 {
                0 => {}
                1 if script.len() > 1 => drop(script.remove(at)),
                2 => script.insert(at, script[usize::from(edit[2]) % script.len()].clone()),
                _ => {
                    let length = script[at].len();
                    script[at][usize::from(edit[1]) % length] ^= edit[2];
                }
            }
        }
        assemble(script)
    })
}

/// Whatever the messages: changes in order, or an error.
fn assemble(script: Vec<Vec<u8>>) -> Result<(), String> {
    let (mut decoder, mut assembler) = (Decoder::new(Streaming::Off), Assembler::new(Lsn::ZERO));
    let mut changes = Vec::new();
    for (at, bytes) in (0..).zip(script) {
        let Ok(message) = decoder.decode(&Bytes::from(bytes)) else { break };
        match assembler.feed(message, Lsn::new(at), &mut changes) {
            Ok(Step::Describe(relation)) => {
                let table = shape(&relation, &Description::default());
                assembler.define(relation, table, Lsn::ZERO);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    match changes.is_sorted_by(|a, b| a.id < b.id) {
        true => Ok(()),
        false => Err("changes are out of order".to_owned()),
    }
}

pub fn row() -> Target {
    let cells = [Cell::Null, Cell::Text(b"text"), Cell::Unchanged, Cell::Binary(&[0, 1, 2]), Cell::Text(b"")];
    let long = vec![Cell::Text(b"12345678"); 300];
    let encoded = |cells: &[Cell<'_>]| {
        let row: Row = cells.iter().copied().collect();
        let insert = tailwater::codecs::pgoutput::Insert { xid: None, relation: tailwater::model::Oid(1), new: row };
        let mut out = BytesMut::new();
        Message::Insert(insert).encode(&mut out);
        out[6..].to_vec()
    };
    Target::new("row", vec![encoded(&cells), encoded(&long)], false, |input| {
        let Ok((row, end)) = Row::slice(&Bytes::copy_from_slice(input), 0) else { return Ok(()) };
        same(&end, &row.size())?;
        same(&row.width(), &row.cells().count())?;
        same(&row, &row.cells().collect())
    })
}

pub fn copy_text() -> Target {
    let corpus = ["a\\tb\\\\N\t\\N\t\tx\\ny\\r\\b\\f\\v\n", "1\t2\t3\t4", "\\N\t\\N\t\\N\t\\N\n"];
    let corpus = corpus.iter().map(|line| line.as_bytes().to_vec()).collect();
    Target::new("copy_text", corpus, true, |input| {
        let read = |line: &[u8]| text::row(line, 4, &mut Vec::new(), &mut RowWriter::new());
        let Ok(row) = read(input) else { return Ok(()) };
        let mut line = Vec::new();
        for (at, cell) in row.cells().enumerate() {
            if at > 0 {
                line.push(b'\t');
            }
            let value = if let Cell::Text(value) = cell { Some(value) } else { None };
            text::field(value, &mut line);
        }
        same(&Ok(row), &read(&line))
    })
}
