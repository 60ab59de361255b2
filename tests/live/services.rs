//! The harness itself: what the other tests stand on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::certificates::ServerCertificate;
use crate::support::compare::{self, Copy};
#[cfg(feature = "duckdb")]
use crate::support::duck;
use crate::support::postgres::{PASSWORD, Postgres, Stop};
use crate::support::proxy::{Mode, Proxy};
use crate::support::registry::Registry;
use crate::support::session::Session;
use crate::support::tailwater::Tailwater;
use crate::support::{cache, eventually};

/// Whether a process is there and not only waiting to be reaped.
fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[test]
fn each_postgres_version_runs_and_decodes_logically() {
    for version in cache::postgres_versions() {
        let database = Postgres::shared(version).database("smoke");
        assert!(database.one("show server_version").starts_with(&version.to_string()));
        database.sql("create table t (id int primary key, v text); insert into t values (1, null), (2, 'two')");
        assert_eq!(
            database.sql("select * from t order by id"),
            [vec![Some("1".to_owned()), None], vec![Some("2".to_owned()), Some("two".to_owned())]]
        );
        let lsn = database.one("select lsn from pg_create_logical_replication_slot('smoke', 'pgoutput')");
        assert!(lsn.contains('/'), "{lsn}");
        let server = database.server();
        drop(database);
        assert_eq!(server.sql("select 1 from pg_replication_slots where slot_name = 'smoke'"), Vec::<Vec<_>>::new());
    }
}

#[test]
fn a_server_keeps_its_rows_and_its_port_over_stops_and_kills() {
    let server = Postgres::version(17).config("wal_level = replica").start();
    let port = server.port();
    assert_eq!(server.sql("show wal_level")[0][0].as_deref(), Some("replica"));
    server.sql("create table t (n int)");
    for (n, end) in [(1, Some(Stop::Fast)), (2, Some(Stop::Immediate)), (3, None)] {
        server.sql(&format!("insert into t values ({n})"));
        match end {
            Some(how) => server.stop(how),
            None => server.kill9(),
        }
        assert!(Session::connect(&server.url()).is_err());
        server.restart();
        assert_eq!(server.sql("select count(*) from t")[0][0], Some(n.to_string()));
    }
    assert_eq!(server.port(), port);
}

#[test]
fn a_wrong_password_is_refused_and_special_characters_arrive() {
    let database = Postgres::shared(17).database("pass words");
    assert!(Session::connect(&database.url_for("postgres", "wrong")).is_err());
    let password = "p@ss:/w?o#r%d 'x";
    database.sql("drop role if exists \"odd user\"");
    database.sql(&format!("create role \"odd user\" login password '{}'", password.replace('\'', "''")));
    let session = Session::connect(&database.url_for("odd user", password)).unwrap();
    assert_eq!(session.one("select current_user"), "odd user");
    drop(session);
    database.sql("drop role \"odd user\"");
}

#[test]
fn a_server_with_tls_answers_the_request_for_it() {
    for kind in [ServerCertificate::Valid, ServerCertificate::WrongHost, ServerCertificate::Expired] {
        let server = Postgres::version(17).tls(kind).start();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"S", "{kind:?}");
        assert!(server.ca().exists() && server.other_ca().exists());
    }
}

#[test]
fn a_server_and_its_files_go_when_it_is_dropped() {
    let server = Postgres::version(15).start();
    let (pid, data) = (server.pid().unwrap(), server.data());
    assert!(alive(pid) && data.exists());
    drop(server);
    assert!(!alive(pid) && !data.exists());
}

/// Started by the test below in a process of its own; holds servers until it is killed.
#[test]
#[ignore = "the other half of a_killed_test_leaves_no_process_and_no_file"]
fn hold_servers_until_killed() {
    let path = std::env::var("TAILWATER_HOLD").expect("the file to write to");
    let shared = Postgres::shared(17);
    let own = Postgres::version(15).start();
    let servers = [(shared.pid().unwrap(), shared.data()), (own.pid().unwrap(), own.data())];
    #[cfg(feature = "kafka")]
    let brokers = crate::support::kafka::Kafka::shared().pids();
    #[cfg(not(feature = "kafka"))]
    let brokers: [i32; 0] = [];
    let others = brokers.into_iter().chain([Registry::shared().pid()]);
    let held = servers.into_iter().chain(others.map(|pid| (pid, "/nowhere".into())));
    let text: String = held.map(|(pid, data)| format!("{pid} {}\n", data.display())).collect();
    std::fs::write(format!("{path}.part"), text).unwrap();
    std::fs::rename(format!("{path}.part"), path).unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn a_killed_test_leaves_no_process_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("held");
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--ignored", "--exact", "services::hold_servers_until_killed"]).env("TAILWATER_HOLD", &file);
    let mut holder = holder.stdout(std::process::Stdio::null()).spawn().unwrap();
    let held = eventually("the servers run", Duration::from_secs(120), || std::fs::read_to_string(&file).ok());
    let held: Vec<(i32, &str)> =
        held.lines().map(|line| line.split_once(' ').unwrap()).map(|(pid, dir)| (pid.parse().unwrap(), dir)).collect();
    assert!(held.len() >= 2 && held.iter().all(|&(pid, _)| alive(pid)), "{held:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    for (pid, data) in held {
        eventually("the server ended", Duration::from_secs(10), || (!alive(pid)).then_some(()));
        eventually("its files went", Duration::from_secs(10), || (!Path::new(data).exists()).then_some(()));
    }
}

#[test]
fn the_binary_is_run_and_a_command_it_does_not_know_fails() {
    let output = Tailwater::new("smoke").command(&["no-such-command"]);
    assert!(output.code.is_some());
    assert!(!output.text().contains(PASSWORD));
}

#[test]
fn a_proxy_forwards_delays_stalls_cuts_and_refuses() {
    let server = Postgres::shared(17);
    let proxy = Proxy::to(&server.address());
    let url = server.url().replace(&server.address(), &proxy.address());
    let session = Session::connect(&url).unwrap();
    assert_eq!(session.one("select 1"), "1");

    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let begin = Instant::now();
    session.one("select 1");
    assert!(begin.elapsed() >= Duration::from_millis(100));

    proxy.set(Mode::Blackhole);
    let stalled = std::thread::spawn(move || session.try_sql("select 1").is_ok());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!stalled.is_finished());
    proxy.set(Mode::Forward);
    assert!(stalled.join().unwrap());

    let session = Session::connect(&url).unwrap();
    proxy.cut();
    assert!(session.try_sql("select 1").is_err());

    proxy.set(Mode::Refuse);
    assert!(TcpStream::connect(proxy.address()).is_err());
    proxy.set(Mode::Forward);
    eventually("it listens again", Duration::from_secs(2), || Session::connect(&url).ok());
}

/// Nothing would cut what is joined with the target after that.
#[test]
fn a_proxy_that_refuses_serves_nobody_who_came_before_and_waits() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    target.set_nonblocking(true).unwrap();
    let proxy = Proxy::to(&target.local_addr().unwrap().to_string());
    proxy.set(Mode::Blackhole);
    let mut waits = TcpStream::connect(proxy.address()).unwrap();
    waits.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    proxy.set(Mode::Refuse);
    assert!(matches!(waits.read(&mut [0]), Ok(0)), "it is cut");
    assert!(target.accept().is_err(), "the target was reached");
}

#[test]
fn the_registry_registers_finds_and_refuses_an_incompatible_schema() {
    let registry = Registry::shared();
    let record = |fields: &str| format!(r#"{{"type":"record","name":"A","namespace":"x","fields":[{fields}]}}"#);
    let first = record(r#"{"name":"id","type":"int"}"#);
    let second = record(r#"{"name":"id","type":"int"},{"name":"n","type":["null","string"],"default":null}"#);
    let third = record(r#"{"name":"id","type":"int"},{"name":"without a default","type":"string"}"#);
    let subject = "it's.public.t-value";
    assert_eq!(registry.config(), "BACKWARD");
    assert_eq!(registry.find(subject, &first).unwrap_err().status, 404);
    let id = registry.register(subject, &first).unwrap();
    assert_eq!(registry.register(subject, &first).unwrap(), id);
    assert_eq!(registry.find(subject, &first).unwrap(), id);
    assert_eq!(registry.schema(id), first);
    let newer = registry.register(subject, &second).unwrap();
    let refusal = registry.register(subject, &third.replace("without a default", "n2")).unwrap_err();
    assert!(refusal.status == 409 && refusal.body.contains("incompatible"), "{refusal:?}");
    assert_eq!(registry.register(subject, &third).unwrap_err().status, 422);
    assert_eq!(registry.versions(subject), [id, newer]);
    assert_eq!(registry.subjects("it's"), [subject]);
    registry.delete(subject);
    assert_eq!(registry.subjects("it's"), Vec::<String>::new());
}

const TYPES: &str = "
    create type mood as enum ('sad', 'ok');
    create table \"Odd Table\" (
        id int primary key, \"a b\" text, f real, d double precision, n numeric, m numeric(12,3), b boolean, day date,
        ts timestamp, tz timestamptz, t time, raw bytea, u uuid, j jsonb, tags text[], feeling mood, span interval);
    insert into \"Odd Table\" values
        (1, 'x', 1.5, 1e300, 1.50, 2.000, true, '2024-02-29', '2024-02-29 12:00:00.5', '2024-02-29 12:00:00+02', '12:00',
         '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"b\": 1, \"a\": [null, 2.5]}', '{a,NULL,\"b c\"}', 'ok', '1 day'),
        (2, '', 'NaN', '-Infinity', -0.001, 0, false, 'infinity', 'infinity', '-infinity', '23:59:59.999999', '', null,
         'null', '{}', 'sad', null),
        (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)";

#[test]
fn equal_copies_are_equal_and_each_kind_of_difference_is_found() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("source"), server.database("target"));
    source.sql(TYPES);
    target.sql(TYPES);
    target.sql("alter table \"Odd Table\" alter n type numeric(20,5), add _tw_lsn bigint, alter feeling type text");
    let (left, right) = (source.session(), target.session());
    let name = ("public", "Odd Table");
    let difference = || compare::difference(&left, name, Copy::Postgres(&right), name);
    assert_eq!(difference(), None);
    for (damage, says) in [
        ("update \"Odd Table\" set \"a b\" = 'y' where id = 1", "{\"a b\"}"),
        ("delete from \"Odd Table\" where id = 3", "the source has 3 rows, the copy 2"),
        ("insert into \"Odd Table\" (id) values (4)", "id=4"),
        ("update \"Odd Table\" set j = '{}' where id = 1", "{\"j\"}"),
        ("update \"Odd Table\" set \"a b\" = '' where id = 3", "id=3"),
        ("update \"Odd Table\" set tags = null where id = 2", "{\"tags\"}"),
        ("update \"Odd Table\" set ts = ts - interval '1 us' where id = 1", "{\"ts\"}"),
        ("alter table \"Odd Table\" drop d", "lacks the columns [\"d\"]"),
        ("drop table \"Odd Table\"", "no such table"),
    ] {
        right.sql("begin");
        right.sql(damage);
        let found = difference().unwrap_or_else(|| panic!("nothing found after: {damage}"));
        assert!(found.contains(says), "{damage}: {found}");
        right.sql("rollback");
    }
    assert_eq!(difference(), None);
}

#[cfg(feature = "duckdb")]
#[test]
fn a_duckdb_file_is_read_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.duckdb");
    let connection = duckdb::Connection::open(&file).unwrap();
    connection
        .execute_batch(
            "create table main.\"Odd Table\" (id int, \"a b\" varchar, f real, d double, n varchar, m decimal(12,3), b boolean,
                 day date, ts timestamp, tz timestamptz, t time, raw blob, u uuid, j json, tags varchar[], feeling varchar,
                 span varchar, _tw_lsn ubigint);
             insert into main.\"Odd Table\" values
             (1, 'x', 1.5, 1e300, '1.50', 2, true, '2024-02-29', '2024-02-29 12:00:00.5', '2024-02-29 12:00:00+02', '12:00',
              '\\x00\\xff'::blob, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\":[null,2.5],\"b\":1}', ['a', null, 'b c'], 'ok', '1 day', 1),
             (2, '', 'NaN', '-Infinity', '-0.001', 0, false, 'infinity', 'infinity', '-infinity', '23:59:59.999999', ''::blob,
              null, 'null', [], 'sad', null, 1),
             (3, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, 1)",
        )
        .unwrap();
    drop(connection);
    assert_eq!(
        duck::rows(&file, "select id, \"a b\" from \"Odd Table\" order by id desc limit 1"),
        [vec![Some("3".to_owned()), None]]
    );
    let source = Postgres::shared(17).database("duck");
    source.sql(TYPES);
    let session = source.session();
    let difference =
        || compare::difference(&session, ("public", "Odd Table"), Copy::Duckdb(&file), ("main", "Odd Table"));
    assert_eq!(difference(), None);
    source.sql("update \"Odd Table\" set raw = '\\x00fe' where id = 1");
    assert!(difference().unwrap().contains("{\"raw\"}"));
}

#[cfg(feature = "kafka")]
mod kafka {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use super::*;
    use crate::support::kafka::{Isolation, Kafka};

    fn produce(kafka: &Kafka, topic: &str, count: usize) {
        let producer: BaseProducer = kafka.client().create().unwrap();
        for n in 0..count {
            let (key, value) = (format!("k{n}"), format!("v{n}"));
            let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
            let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn a_broker_keeps_what_it_was_given_over_a_kill() {
        let kafka = Kafka::nodes(1).config("log.flush.interval.messages=1").proxied().start();
        kafka.create_topic("t", 3, &[("cleanup.policy", "compact")]);
        produce(&kafka, "t", 50);
        kafka.kill9(1);
        kafka.restart(1);
        let records = kafka.consume_all("t", Isolation::Committed);
        assert_eq!(records.len(), 50);
        assert_eq!(kafka.end_offsets("t").iter().sum::<i64>(), 50);
        let record = records.iter().find(|record| record.key_text() == "k7").unwrap();
        assert_eq!((record.value_text(), record.header("h")), ("v7", Some("x")));

        let mut through = kafka.client();
        through.set("bootstrap.servers", kafka.proxied());
        let consumer: rdkafka::consumer::BaseConsumer = through.create().unwrap();
        let metadata = rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, Duration::from_secs(10)).unwrap();
        assert_eq!(metadata.brokers()[0].port(), i32::from(kafka.proxy(1).port()));
    }

    #[test]
    fn the_shared_broker_has_topics_only_when_they_are_created() {
        let kafka = Kafka::shared();
        let prefix = kafka.prefix("only");
        assert_eq!(kafka.consume_all(&format!("{prefix}.none"), Isolation::Uncommitted), []);
        assert_eq!(kafka.topics(&prefix), Vec::<String>::new());
        kafka.create_topic(&format!("{prefix}.one"), 1, &[]);
        assert_eq!(kafka.topics(&prefix), [format!("{prefix}.one")]);
        assert_eq!(kafka.end_offsets(&format!("{prefix}.one")), [0]);
    }

    #[test]
    fn three_nodes_go_on_when_one_is_killed() {
        let kafka = Kafka::nodes(3).start();
        kafka.create_topic("t", 3, &[]);
        produce(&kafka, "t", 10);
        kafka.kill9(2);
        produce(&kafka, "t", 10);
        assert_eq!(kafka.consume_all("t", Isolation::Committed).len(), 20);
        kafka.restart(2);
    }
}
