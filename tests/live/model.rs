//! What the simulated server of `tests/sim` takes for granted, on real ones.

use std::time::Duration;

use bytes::Bytes;
use tailwater::codecs::pgoutput::{Commit, Decoder, Message, Streaming};
use tailwater::model::Lsn;

use crate::support::eventually;
use crate::support::postgres::{Database, Postgres, Stop};

const VERSIONS: [u32; 2] = [15, 17];

/// A database with a table, a publication and a slot of the database's name.
fn prepare<'s>(server: &'s Postgres, name: &str) -> Database<'s> {
    let database = server.database(name);
    database.sql("create table t (id bigserial primary key, note text); create publication p for table t");
    let slot = database.name();
    database.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    database
}

/// What the slot would send now, each with the LSN that it is sent for.
fn sent(database: &Database<'_>) -> Vec<(Lsn, Message)> {
    let rows = database.sql(&format!(
        "select lsn::text, encode(data, 'hex') from pg_logical_slot_peek_binary_changes('{}', null, null,
            'proto_version', '1', 'publication_names', 'p')",
        database.name()
    ));
    let mut decoder = Decoder::new(Streaming::Off);
    let mut decode = |row: Vec<Option<String>>| {
        let (lsn, hex) = (row[0].clone().unwrap(), row[1].clone().unwrap());
        let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
        let bytes: Bytes = (0..hex.len()).step_by(2).map(byte).collect();
        (lsn.parse().unwrap(), decoder.decode(&bytes).unwrap())
    };
    rows.into_iter().map(&mut decode).collect()
}

fn commits(sent: &[(Lsn, Message)]) -> Vec<Commit> {
    let commit = |(_, message): &(Lsn, Message)| match message {
        Message::Commit(commit) => Some(*commit),
        _ => None,
    };
    sent.iter().filter_map(commit).collect()
}

fn confirmed(database: &Database<'_>) -> Lsn {
    let query =
        format!("select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '{}'", database.name());
    database.one(&query).parse().unwrap()
}

fn advance(database: &Database<'_>, to: Lsn) {
    database.sql(&format!("select pg_replication_slot_advance('{}', '{to}')", database.name()));
}

#[test]
fn rows_lie_where_they_were_written_and_transactions_come_in_the_order_of_their_ends() {
    for version in VERSIONS {
        let database = prepare(Postgres::shared(version), "ends");
        let (early, late) = (database.session(), database.session());
        early.sql("begin; insert into t (note) values ('early')");
        late.sql("begin; insert into t (note) values ('late'); commit");
        early.sql("commit");
        let messages = sent(&database);
        let inserts: Vec<Lsn> =
            messages.iter().filter(|(_, m)| matches!(m, Message::Insert(_))).map(|(lsn, _)| *lsn).collect();
        assert!(inserts[0] > inserts[1], "the later row comes first: {inserts:?}");
        let ends = commits(&messages);
        assert!(inserts[1] < ends[0].end_lsn, "a row behind an end that was delivered before it");

        // Commit records lie back to back when several are written before anything else is.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let writer = database.session();
                    writer.sql("set synchronous_commit = off");
                    writer.sql(
                        "do $$ begin for i in 1..800 loop insert into t (note) values ('x'); commit; end loop; end $$",
                    );
                });
            }
        });
        // Only what is flushed is sent; this commit flushes all before it.
        database.sql("insert into t (note) values ('last')");
        let ends = commits(&sent(&database));
        assert_eq!(ends.len(), 3203);
        assert!(ends.is_sorted_by(|a, b| a.commit_lsn < b.commit_lsn && a.end_lsn <= b.commit_lsn));
        let adjacent = ends.windows(2).filter(|pair| pair[0].end_lsn == pair[1].commit_lsn).count();
        assert!(adjacent > 0, "PostgreSQL {version}: no commit record begins where the one before ends");
    }
}

#[test]
fn a_slot_goes_on_with_what_begins_where_it_stands() {
    for version in VERSIONS {
        let database = prepare(Postgres::shared(version), "stands");
        for _ in 0..3 {
            database.sql("insert into t (note) values ('x')");
        }
        let ends = commits(&sent(&database));
        assert_eq!(ends.len(), 3);
        advance(&database, ends[0].commit_lsn);
        assert_eq!(commits(&sent(&database))[0], ends[0], "confirmed at its beginning it comes again");
        advance(&database, ends[0].end_lsn);
        assert_eq!(commits(&sent(&database))[0], ends[1], "confirmed at its end it does not");
        let between = Lsn::new(ends[1].commit_lsn.get() + 1);
        advance(&database, between);
        assert_eq!(commits(&sent(&database))[0], ends[2], "nor confirmed within it");
        // Nobody asks whether what lies before has been sent.
        database.sql("insert into t (note) values ('never seen')");
        advance(&database, database.one("select pg_current_wal_lsn()::text").parse().unwrap());
        assert_eq!(commits(&sent(&database)), []);
    }
}

#[test]
fn a_crash_takes_a_slot_back_to_the_last_checkpoint() {
    let server = Postgres::version(17).start();
    let database = prepare(&server, "crash");
    database.sql("insert into t (note) values ('x'); checkpoint");
    let before = confirmed(&database);
    let end = commits(&sent(&database))[0].end_lsn;
    advance(&database, end);
    assert!(confirmed(&database) >= end && before < end);
    server.stop(Stop::Immediate);
    server.restart();
    eventually("the server is back", Duration::from_secs(20), || {
        (database.session().try_sql("select 1").is_ok()).then_some(())
    });
    assert_eq!(confirmed(&database), before, "what was confirmed is forgotten");
    assert_eq!(commits(&sent(&database))[0].end_lsn, end, "and comes again");
}
