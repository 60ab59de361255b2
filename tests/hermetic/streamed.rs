//! Transactions that are sent while they are open become the changes that they become when they are sent whole.

use std::path::Path;

use bytes::{Bytes, BytesMut};

use tailwater::adapters::postgres::{Spool, SpoolOptions, Streamed, Taken};
use tailwater::codecs::pgoutput::*;
use tailwater::logic::assemble::{Assembler, Description, Step, shape};
use tailwater::model::{Change, Class, Error, Lsn, Meters, Oid, Op, Patterns, PgTimestamp, ReplicaIdentity, Row, Xid};

use super::corpus::{captures, messages, streaming};

/// The changes, and the end of each transaction.
type Told = (Vec<Change>, Vec<Lsn>);

/// What a source does with a stream; the catalog knows nothing.
struct Reader {
    decoder: Decoder,
    streamed: Streamed,
    assembler: Assembler,
    told: Told,
}

impl Reader {
    fn new(streaming: Streaming) -> Reader {
        Reader::with(streaming, false)
    }

    fn with(streaming: Streaming, two_phase: bool) -> Reader {
        let dir = std::env::temp_dir().join(format!("tailwater-streamed-{}", std::process::id()));
        let options = SpoolOptions { dir, limit: 1 << 30, ..SpoolOptions::default() };
        Reader {
            decoder: Decoder::new(streaming),
            streamed: Streamed::new(Spool::new(options, Meters::new()).unwrap(), two_phase),
            assembler: Assembler::new(Lsn::ZERO).with_messages(Some(Patterns::default())).with_commits(true),
            told: Told::default(),
        }
    }

    fn read(&mut self, lsn: Lsn, body: &Bytes) -> Result<(), Error> {
        match self.streamed.take(&mut self.decoder, lsn, body)? {
            Taken::Kept => Ok(()),
            Taken::Before(relation) => {
                let step = self.assembler.feed(Message::Relation(relation), Lsn::ZERO, &mut self.told.0)?;
                self.step(step);
                self.read(lsn, body)
            }
            Taken::Message(message) => {
                let step = self.assembler.feed(message, lsn, &mut self.told.0)?;
                self.step(step);
                Ok(())
            }
            Taken::Committed(mut committed) => {
                if committed.empty {
                    let step = self.assembler.pass(lsn, committed.xid, committed.commit)?;
                    self.step(step);
                    return Ok(());
                }
                self.assembler.begin_streamed(lsn, committed.xid, committed.commit)?;
                while let Some(record) = committed.replay.record()? {
                    let message = committed.decode(self.decoder, &record.body)?;
                    let step = self.assembler.feed(message, record.lsn, &mut self.told.0)?;
                    self.step(step);
                }
                let newer = self.streamed.settle(&committed);
                let step = self.assembler.commit_streamed(lsn, committed.commit, newer, &mut self.told.0)?;
                self.step(step);
                Ok(())
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Going => {}
            Step::Boundary { end, .. } => self.told.1.push(end),
            Step::Describe(relation) => {
                let table = shape(&relation, &Description::default());
                self.assembler.define(relation, table, Lsn::ZERO);
            }
        }
    }

    /// Messages of a script; message `i` comes at LSN `i`.
    fn script(&mut self, script: &[Message]) -> Result<(), Error> {
        for (lsn, message) in (0..).zip(script) {
            let mut body = BytesMut::new();
            message.encode(&mut body);
            self.read(Lsn::new(lsn), &body.freeze())?;
        }
        Ok(())
    }
}

fn told(path: &Path) -> Told {
    let mut reader = Reader::new(streaming(path));
    for (lsn, body) in messages(path) {
        reader.read(lsn, &body).unwrap_or_else(|error| panic!("{} at {lsn}: {error}", path.display()));
    }
    reader.told
}

#[test]
fn a_transaction_sent_while_it_is_open_becomes_the_same_changes_as_one_sent_whole() {
    let mut compared = 0;
    for path in captures() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("streamed_savepoints") || name.contains("whole") {
            continue;
        }
        let bodies = messages(&path);
        let blocks = bodies.iter().filter(|(_, body)| body[0] == b'S').count();
        let cuts = bodies.iter().filter(|(_, body)| body[0] == b'A' && body[1..5] != body[5..9]).count();
        assert!(blocks >= 10 && cuts >= 4, "{}: {blocks} blocks, {cuts} aborts", path.display());
        let (streamed, boundaries) = told(&path);
        let (whole, ends) = told(&path.with_file_name("streamed_savepoints_whole.bin"));
        for (one, other) in streamed.iter().zip(&whole) {
            assert_eq!(one, other, "{}", path.display());
        }
        assert_eq!(streamed.len(), whole.len(), "{}", path.display());
        assert!(whole.len() > 200);
        // Transactions of which nothing is published end where nobody hears of it.
        assert!(ends.iter().all(|end| boundaries.contains(end)), "{}", path.display());
        compared += 1;
    }
    assert_eq!(compared, 3);
}

fn commit(lsn: u64) -> Commit {
    Commit { commit_lsn: Lsn::new(lsn), end_lsn: Lsn::new(lsn + 8), at: PgTimestamp(7) }
}

fn start(xid: u32, first: bool) -> Message {
    Message::StreamStart(StreamStart { xid: Xid(xid), first })
}

fn abort(xid: u32, subxid: u32) -> Message {
    Message::StreamAbort(StreamAbort { xid: Xid(xid), subxid: Xid(subxid), detail: None })
}

fn ended(xid: u32, lsn: u64) -> Message {
    Message::StreamCommit(StreamCommit { xid: Xid(xid), commit: commit(lsn) })
}

fn relation(xid: Option<u32>, columns: &[&str]) -> Message {
    let columns = columns.iter().map(|name| RelationColumn {
        key: *name == "id",
        name: (*name).to_owned(),
        type_oid: Oid(23),
        modifier: -1,
    });
    let (schema, name, identity) = ("public".to_owned(), "t".to_owned(), ReplicaIdentity::Default);
    let columns = columns.collect();
    Message::Relation(Relation { xid: xid.map(Xid), oid: Oid(1), schema, name, identity, columns })
}

fn insert(xid: Option<u32>, cells: &[&str]) -> Message {
    let new: Row = cells.iter().map(|text| tailwater::model::Cell::Text(text.as_bytes())).collect();
    Message::Insert(Insert { xid: xid.map(Xid), relation: Oid(1), new })
}

fn logical(xid: u32) -> Message {
    let (lsn, prefix, content) = (Lsn::new(1), "p".to_owned(), Bytes::from_static(b"content"));
    Message::Logical(Logical { xid: Some(Xid(xid)), transactional: true, lsn, prefix, content })
}

fn stop() -> Message {
    Message::StreamStop
}

/// The first cell of each insert, and `message` for a message.
fn firsts(changes: &[Change]) -> Vec<String> {
    let first = |change: &Change| match &change.op {
        Op::Insert { new } => match new.cell(0) {
            tailwater::model::Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        },
        Op::Message(_) => Some("message".to_owned()),
        _ => None,
    };
    changes.iter().filter_map(first).collect()
}

#[test]
fn interleaved_transactions_come_in_the_order_of_their_commits() {
    let mut reader = Reader::new(Streaming::On);
    let script = [
        start(10, true),
        relation(Some(10), &["id"]),
        insert(Some(10), &["1"]),
        stop(),
        start(20, true),
        relation(Some(20), &["id"]),
        insert(Some(20), &["2"]),
        insert(Some(21), &["lost"]),
        stop(),
        start(10, false),
        insert(Some(11), &["3"]),
        insert(Some(12), &["lost too"]),
        insert(Some(10), &["lost as well, for it came after"]),
        stop(),
        abort(10, 12),
        abort(20, 21),
        start(30, true),
        relation(Some(30), &["id"]),
        insert(Some(30), &["nothing of it"]),
        stop(),
        ended(20, 1000),
        abort(30, 30),
        start(10, false),
        insert(Some(10), &["4"]),
        stop(),
        ended(10, 2000),
    ];
    reader.script(&script).unwrap();
    let (changes, ends) = reader.told;
    assert_eq!(firsts(&changes), ["2", "1", "3", "4"]);
    let ids: Vec<(u64, u64)> = changes.iter().map(|change| (change.id.commit.get(), change.id.seq)).collect();
    assert_eq!(ids, [(1000, 0), (1000, 1), (2000, 0), (2000, 1), (2000, 2), (2000, 3)], "with the ends");
    assert_eq!(ends, [Lsn::new(1008), Lsn::new(2008)]);
    assert!(
        changes
            .iter()
            .all(|change| change.origin.xid == Some(Xid(if change.id.commit.get() == 1000 { 20 } else { 10 })))
    );
}

/// The number of columns that the last row's table has.
fn width(script: &[Message]) -> usize {
    let mut reader = Reader::new(Streaming::On);
    reader.script(script).unwrap();
    let rows = reader.told.0.iter().filter(|change| matches!(change.op, Op::Insert { .. }));
    rows.last().unwrap().table.columns.len()
}

fn prepare(begins: bool, xid: u32, lsn: u64) -> Message {
    let (prepare_lsn, end_lsn, at, gid) = (Lsn::new(lsn), Lsn::new(lsn + 8), PgTimestamp(7), format!("name {xid}"));
    match begins {
        true => Message::BeginPrepare(BeginPrepare { prepare_lsn, end_lsn, at, xid: Xid(xid), gid }),
        false => Message::Prepare(Prepare { prepare_lsn, end_lsn, at, xid: Xid(xid), gid }),
    }
}

fn commit_prepared(xid: u32, lsn: u64) -> Message {
    Message::CommitPrepared(CommitPrepared { commit: commit(lsn), xid: Xid(xid), gid: format!("name {xid}") })
}

fn rollback_prepared(xid: u32, lsn: u64) -> Message {
    let (prepare_end_lsn, rollback_end_lsn, gid) = (Lsn::new(108), Lsn::new(lsn + 8), format!("name {xid}"));
    let (prepared_at, rolled_back_at) = (PgTimestamp(7), PgTimestamp(8));
    let rollback =
        RollbackPrepared { prepare_end_lsn, rollback_end_lsn, prepared_at, rolled_back_at, xid: Xid(xid), gid };
    Message::RollbackPrepared(rollback)
}

fn whole(xid: u32, lsn: u64, messages: &[Message]) -> Vec<Message> {
    let begin = Message::Begin(Begin { final_lsn: Lsn::new(lsn), at: PgTimestamp(7), xid: Xid(xid) });
    [&[begin], messages, &[Message::Commit(commit(lsn))]].concat()
}

#[test]
fn prepared_transactions_come_when_they_are_committed_with_the_names_of_their_time() {
    let mut reader = Reader::with(Streaming::On, true);
    let script = [
        // It names the relation first, for all that follow.
        &[prepare(true, 10, 100), relation(None, &["id"]), insert(None, &["1"]), prepare(false, 10, 100)][..],
        &[prepare(true, 20, 200), insert(None, &["lost"]), prepare(false, 20, 200)],
        &whole(30, 300, &[insert(None, &["2"])]),
        &[start(40, true), relation(Some(40), &["id"]), insert(Some(40), &["3"]), stop()],
        &[Message::StreamPrepare(match prepare(false, 40, 400) {
            Message::Prepare(prepare) => prepare,
            _ => unreachable!(),
        })],
        &[rollback_prepared(20, 500)],
        &[commit_prepared(10, 600)],
        &whole(50, 700, &[relation(None, &["id", "more"]), insert(None, &["4", "x"])]),
        &[commit_prepared(40, 800)],
        &whole(60, 900, &[insert(None, &["5", "y"])]),
        // The name that a streamed transaction gave counts for one that is prepared later.
        &[start(70, true), relation(Some(70), &["id", "more", "most"]), insert(Some(70), &["6", "x", "y"]), stop()],
        &[ended(70, 1000), prepare(true, 80, 1100), insert(None, &["7", "x", "y"]), prepare(false, 80, 1100)],
        &[commit_prepared(80, 1200)],
    ]
    .concat();
    reader.script(&script).unwrap();
    let (changes, ends) = &reader.told;
    assert_eq!(firsts(changes), ["2", "1", "4", "3", "5", "6", "7"]);
    let widths = changes.iter().filter(|change| matches!(change.op, Op::Insert { .. }));
    assert_eq!(widths.map(|change| change.table.columns.len()).collect::<Vec<_>>(), [1, 1, 2, 1, 2, 3, 3]);
    assert_eq!(ends.iter().map(|end| end.get()).collect::<Vec<_>>(), [308, 608, 708, 808, 908, 1008, 1208]);
    // What the server was told that this process has: all of it.
    assert_eq!(reader.streamed.bound(Lsn::new(2000)), Lsn::new(2000));
}

#[test]
fn nothing_at_or_behind_a_prepared_transaction_is_acknowledged_before_its_end_is_durable() {
    let mut reader = Reader::with(Streaming::On, true);
    let script = [
        &[prepare(true, 10, 100), relation(None, &["id"]), insert(None, &["1"]), prepare(false, 10, 100)][..],
        &[prepare(true, 20, 200), insert(None, &["2"]), prepare(false, 20, 200)],
    ]
    .concat();
    reader.script(&script).unwrap();
    let bound = |reader: &mut Reader, durable: u64| reader.streamed.bound(Lsn::new(durable)).get();
    assert_eq!((bound(&mut reader, 50), bound(&mut reader, 1000)), (50, 100));
    reader.script(&[commit_prepared(10, 600), rollback_prepared(20, 700)]).unwrap();
    assert_eq!(bound(&mut reader, 607), 100, "its end is not durable");
    assert_eq!(bound(&mut reader, 608), 200);
    assert_eq!(bound(&mut reader, 708), 708);
    let error = reader.script(&[commit_prepared(30, 900)]).unwrap_err();
    assert_eq!(error.class(), Class::Blocked);
}

#[test]
fn of_two_names_of_a_relation_the_one_that_came_later_counts() {
    let begin = Message::Begin(Begin { final_lsn: Lsn::new(500), at: PgTimestamp(7), xid: Xid(5) });
    let later = Message::Begin(Begin { final_lsn: Lsn::new(3000), at: PgTimestamp(7), xid: Xid(6) });
    let old = [start(10, true), relation(Some(10), &["id"]), insert(Some(10), &["1"]), stop()];
    let new = [begin, relation(None, &["id", "more"]), insert(None, &["2", "x"]), Message::Commit(commit(500))];
    let end = [ended(10, 1000), later];
    // Named by the open one, then by one that was sent whole.
    let script = [&old[..], &new, &end, &[insert(None, &["3", "y"]), Message::Commit(commit(3000))]].concat();
    assert_eq!(width(&script), 2);
    // The other way round.
    let script = [&new[..], &old, &end, &[insert(None, &["3"]), Message::Commit(commit(3000))]].concat();
    assert_eq!(width(&script), 1);
    // One that was cut off does not count.
    let cut = [
        &old[..2],
        &[relation(Some(11), &["id", "b", "c"]), insert(Some(11), &["1", "2", "3"]), stop(), abort(10, 11)],
    ];
    let script = [&cut.concat()[..], &end, &[insert(None, &["3"]), Message::Commit(commit(3000))]].concat();
    assert_eq!(width(&script), 1);
}

#[test]
fn a_message_that_may_belong_to_what_was_rolled_back_is_asked_for_again() {
    let head = [start(10, true), relation(Some(10), &["id"]), insert(Some(10), &["1"])];
    let run = |rest: &[Message]| {
        let mut reader = Reader::new(Streaming::On);
        let outcome = reader.script(&[&head[..], rest].concat());
        outcome.map(|()| firsts(&reader.told.0)).map_err(|error| error.class())
    };
    let (end, row) = (ended(10, 1000), insert(Some(11), &["2"]));
    // Between the last row before the savepoint and its first one.
    assert_eq!(run(&[logical(10), row.clone(), stop(), abort(10, 11), end.clone()]), Err(Class::Transient));
    // Of a subtransaction of which nothing else came.
    assert_eq!(run(&[logical(10), stop(), abort(10, 11), end.clone()]), Err(Class::Transient));
    // What is rolled back altogether is of no interest.
    assert_eq!(run(&[logical(10), row.clone(), stop(), abort(10, 11), abort(10, 10)]), Ok(vec![]));
    // After the savepoint's first row it goes with it, before the last row of what stays it stays.
    assert_eq!(run(&[row.clone(), logical(10), stop(), abort(10, 11), end.clone()]), Ok(vec!["1".to_owned()]));
    let stays = [logical(10), insert(Some(10), &["3"]), row, stop(), abort(10, 11), end];
    assert_eq!(run(&stays), Ok(vec!["1".to_owned(), "message".to_owned(), "3".to_owned()]));
}

#[test]
fn a_stream_that_contradicts_itself_is_refused() {
    let run = |script: &[Message]| Reader::new(Streaming::On).script(script).map_err(|error| error.class());
    assert_eq!(run(&[start(10, false)]), Err(Class::Corrupt));
    assert_eq!(run(&[start(10, true), stop(), start(10, true)]), Err(Class::Corrupt));
    assert_eq!(run(&[ended(10, 1000)]), Err(Class::Corrupt));
    assert_eq!(run(&[start(10, true), stop(), ended(10, 1000), ended(10, 2000)]), Err(Class::Corrupt));
    assert_eq!(
        run(&[start(10, true), stop(), start(20, true), stop(), ended(10, 1000), ended(20, 500)]),
        Err(Class::Corrupt)
    );
    assert_eq!(run(&[abort(10, 10), abort(10, 11)]), Ok(()), "what never came is not missed");
}
