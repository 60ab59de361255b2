//! Bad input: each says what is wrong and what to do, ends with its class, and loses nothing.

use crate::support::cache;
use crate::support::compare::{Copy, assert_all_equal};
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, PASSWORD, Postgres};
use crate::support::tailwater::Tailwater;

pub const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'CANARY-ROW')";

fn pipeline(name: &str, url: &str, target: &Database<'_>) -> Tailwater {
    Tailwater::new(name)
        .toml("start_timeout = 2")
        .source_postgres(url, &["public.*"])
        .sink_postgres(&target.url(), None)
}

pub fn refused(pipeline: &Tailwater, code: i32, texts: &[&str]) {
    pipeline.run_until_current().code(code).says(texts).hides(&[PASSWORD, "CANARY"]);
}

#[test]
fn a_source_that_can_t_be_reached_or_entered_is_named() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_reach_s"), server.database("in_reach_t"));
    source.sql(TABLES);
    let port = server.port();
    for (name, url, code, texts) in [
        ("in_port", format!("postgres://postgres:{PASSWORD}@127.0.0.1:1/x"), 1, ["127.0.0.1:1", "check host and port"]),
        (
            "in_host",
            format!("postgres://postgres:{PASSWORD}@no-such-host.invalid/x"),
            1,
            ["no-such-host.invalid:5432", "check host and port"],
        ),
        (
            "in_password",
            server.url_for("postgres", "CANARY-PASSWORD", source.name()),
            3,
            ["28P01", "check user and password"],
        ),
        ("in_database", server.url_for("postgres", PASSWORD, "nowhere"), 3, ["3D000", "check the database name"]),
        (
            "in_tls",
            format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{}?sslmode=require", source.name()),
            3,
            ["TLS", "to do"],
        ),
    ] {
        refused(&pipeline(name, &url, &target), code, &texts);
        pipeline(name, &url, &target).check().code(2).hides(&[PASSWORD, "CANARY"]);
    }
}

#[test]
fn a_server_that_does_not_decode_is_named() {
    let server = Postgres::version(15).config("wal_level = replica").start();
    let (source, target) = (server.database("s"), server.database("t"));
    source.sql(TABLES);
    refused(&pipeline("in_wal", &source.url(), &target), 3, &["wal_level is replica", "wal_level = logical"]);
}

#[test]
fn rights_that_are_missing_are_named() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_rights_s"), server.database("in_rights_t"));
    source.sql(TABLES);
    source.sql("CREATE ROLE in_plain LOGIN PASSWORD 'pw'; CREATE ROLE in_repl LOGIN REPLICATION PASSWORD 'pw'");
    refused(
        &pipeline("in_norepl", &source.url_for("in_plain", "pw"), &target),
        3,
        &["no REPLICATION right", "ALTER ROLE"],
    );
    source.sql("CREATE PUBLICATION tailwater_in_nosel FOR TABLE t");
    let nosel = pipeline("in_nosel", &source.url_for("in_repl", "pw"), &target);
    refused(&nosel, 3, &["public.t may not be read", "GRANT SELECT"]);
    source.sql("GRANT SELECT ON t TO in_repl");
    nosel.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
    drop((source, target));
    server.sql("DROP ROLE in_plain; DROP ROLE in_repl");
}

#[test]
fn a_publication_that_lacks_a_table_is_named_when_it_may_not_be_changed() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_pub_s"), server.database("in_pub_t"));
    source.sql(TABLES);
    source.sql("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); CREATE PUBLICATION tailwater_in_pub FOR TABLE t");
    let url = source.url();
    let pipeline = Tailwater::new("in_pub")
        .source_postgres(&url, &["public.*"])
        .toml("create = false")
        .sink_postgres(&target.url(), None);
    refused(&pipeline, 3, &["lacks public.u", "ALTER PUBLICATION"]);
    source.sql("ALTER PUBLICATION tailwater_in_pub ADD TABLE u");
    refused(&pipeline, 3, &["slot tailwater_in_pub does not exist", "pg_create_logical_replication_slot"]);
    source.sql("SELECT pg_create_logical_replication_slot('tailwater_in_pub', 'pgoutput')");
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t", "public.u"], Copy::Postgres(&target.session()));
}

#[test]
fn a_table_that_has_no_replica_identity_is_named_and_its_rows_arrive() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("in_identity_s"), server.database("in_identity_t"));
    source.sql("CREATE TABLE plain (v text); INSERT INTO plain VALUES ('CANARY-1')");
    let pipeline = pipeline("in_identity", &source.url(), &target);
    let says = ["public.plain", "has no replica identity", "give it a primary key or REPLICA IDENTITY FULL"];
    pipeline.check().code(0).says(&says);
    pipeline.run_until_current().success().says(&says).hides(&["CANARY"]);
    // PostgreSQL refuses it as long as the table is published so.
    assert!(source.session().try_sql("UPDATE plain SET v = 'CANARY-2'").is_err());
    source.sql("INSERT INTO plain VALUES ('CANARY-3'); ALTER TABLE plain REPLICA IDENTITY FULL");
    source.sql("UPDATE plain SET v = 'CANARY-4' WHERE v = 'CANARY-3'");
    pipeline.run_until_current().success();
    let history = target.sql("SELECT v, _tw_op FROM plain ORDER BY _tw_lsn, _tw_seq");
    let texts: Vec<Option<&str>> = history.iter().map(|row| row[0].as_deref()).collect();
    assert_eq!(texts, [Some("CANARY-1"), Some("CANARY-3"), Some("CANARY-4")]);
}

#[test]
fn a_slot_that_somebody_else_uses_is_refused_with_who_it_is() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_used_s"), server.database("in_used_t"));
    source.sql(TABLES);
    let holder = pipeline("in_used", &source.url(), &target);
    let mut running = holder.run();
    running.wait_ready();
    let pid = source.one("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'tailwater_in_used'");
    let other = Tailwater::new("in_used_other")
        .toml("start_timeout = 2")
        .source_postgres(&source.url(), &["public.*"])
        .toml("slot = \"tailwater_in_used\"")
        .sink_postgres(&target.url(), Some("other"));
    other.check().code(2).says(&["tailwater_in_used", &pid, "to do"]);
    refused(&other, 3, &["tailwater_in_used", &pid, "tailwater:in_used", "to do"]);
    source.sql("INSERT INTO t VALUES (2, 'CANARY')");
    running.terminate().code(0);
    holder.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
}

#[test]
fn a_slot_that_is_not_ours_to_use_is_refused() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_slot_s"), server.database("in_slot_t"));
    source.sql(TABLES);
    source.sql("SELECT pg_create_logical_replication_slot('tailwater_in_plugin', 'test_decoding')");
    refused(&pipeline("in_plugin", &source.url(), &target), 3, &["plugin test_decoding", "another slot"]);
    let other = server.database("in_slot_other");
    other.sql("SELECT pg_create_logical_replication_slot('tailwater_in_other', 'pgoutput')");
    refused(&pipeline("in_other", &source.url(), &target), 3, &["belongs to database", "another slot"]);
}

#[test]
fn a_slot_that_somebody_else_moved_or_dropped_stops_with_the_range() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_moved_s"), server.database("in_moved_t"));
    source.sql(TABLES);
    let pipeline = pipeline("in_moved", &source.url(), &target);
    pipeline.run_until_current().success();
    source.sql("INSERT INTO t VALUES (2, 'CANARY')");
    source.sql("SELECT pg_replication_slot_advance('tailwater_in_moved', pg_current_wal_lsn())");
    refused(&pipeline, 3, &["stands at", "only up to", "--resnapshot"]);
    source.sql("SELECT pg_drop_replication_slot('tailwater_in_moved')");
    refused(&pipeline, 3, &["is gone", "--resnapshot"]);
    assert_eq!(source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'tailwater_in_moved'"), "0");
}

#[test]
fn a_slot_that_lost_its_log_stops_and_is_not_made_again() {
    let server = Postgres::version(cache::postgres_versions()[0])
        .config("max_slot_wal_keep_size = 16MB")
        .config("max_wal_size = 32MB")
        .config("min_wal_size = 32MB")
        .start();
    let (source, target) = (server.database("s"), server.database("t"));
    source.sql(TABLES);
    let pipeline = pipeline("in_lost", &source.url(), &target);
    pipeline.run_until_current().success();
    for _ in 0..6 {
        source.sql("INSERT INTO t SELECT g, 'v' FROM generate_series(10, 10) g ON CONFLICT DO NOTHING");
        source.sql("SELECT pg_switch_wal()");
        source.sql("CHECKPOINT");
    }
    assert_eq!(source.one("SELECT wal_status FROM pg_replication_slots"), "lost");
    refused(&pipeline, 3, &["invalidated", "--resnapshot"]);
    assert_eq!(source.one("SELECT wal_status FROM pg_replication_slots"), "lost");
    pipeline.command(&["run", "--until-current", "--resnapshot"]).success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
    assert_ne!(source.one("SELECT wal_status FROM pg_replication_slots"), "lost");
}

#[test]
fn a_warehouse_that_can_t_be_reached_is_named() {
    let source = Postgres::shared(17).database("in_wh_s");
    source.sql(TABLES);
    let gone = format!("postgres://postgres:{PASSWORD}@127.0.0.1:1/x");
    let pipeline = Tailwater::new("in_wh")
        .toml("start_timeout = 2")
        .source_postgres(&source.url(), &["public.*"])
        .sink_postgres(&gone, None);
    refused(&pipeline, 1, &["the warehouse", "127.0.0.1:1"]);
}

#[cfg(feature = "kafka")]
#[test]
fn brokers_that_can_t_be_reached_are_named() {
    let source = Postgres::shared(17).database("in_kafka_s");
    source.sql(TABLES);
    let pipeline = Tailwater::new("in_kafka")
        .toml("start_timeout = 2")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka("127.0.0.1:1", "x");
    refused(&pipeline, 1, &["127.0.0.1:1"]);
}

#[test]
fn the_finest_log_of_a_run_that_fails_holds_no_row_and_no_secret() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_log_s"), server.database("in_log_t"));
    source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'CANARY-ROW')");
    let pipeline = pipeline("in_log", &source.url(), &target).env("RUST_LOG", "trace");
    pipeline.run_until_current().success().says(&["TRACE"]).hides(&["CANARY", PASSWORD]);
    // A value that the warehouse refuses, and a connection that the source does.
    target.sql("ALTER TABLE t ADD CONSTRAINT short CHECK (length(v) < 12)");
    source.sql("INSERT INTO t VALUES (2, 'CANARY-OF-THE-STREAM'); UPDATE t SET v = 'CANARY-CHANGED' WHERE id = 1");
    pipeline.run_until_current().code(3).says(&["public.t", "23514"]).hides(&["CANARY", PASSWORD]);
    let wrong = server.url_for("postgres", "CANARY-PASSWORD", source.name());
    let pipeline = self::pipeline("in_log_password", &wrong, &target).env("RUST_LOG", "trace");
    pipeline.run_until_current().code(3).hides(&["CANARY", PASSWORD]);
}

#[test]
fn a_wrong_file_is_refused_with_all_its_problems() {
    let pipeline = Tailwater::exactly(
        "[pipeline]\nname = \"x\"\n[source.postgres]\nurl = \"postgres://u:CANARY@h/d?sslmode=no\"\ntable = [\"a\"]\n",
    );
    pipeline.command(&["run"]).code(2).says(&["sslmode", "did you mean `tables`?", "names no sink"]).hides(&["CANARY"]);
}

#[test]
fn a_term_signal_flushes_and_nothing_comes_twice() {
    let server = Postgres::shared(15);
    let (source, target) = (server.database("in_term_s"), server.database("in_term_t"));
    source.sql("CREATE TABLE ledger (n int)");
    let pipeline = pipeline("in_term", &source.url(), &target);
    for round in 0..3 {
        let mut running = pipeline.run();
        running.wait_ready();
        source.sql(&format!("INSERT INTO ledger SELECT {round} * 1000 + g FROM generate_series(1, 1000) g"));
        std::thread::sleep(std::time::Duration::from_millis(300 * round));
        running.terminate().code(0);
    }
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.ledger"], Copy::Postgres(&target.session()));
}

/// What `refused` names as the remedy is one.
#[test]
fn everything_is_read_again_on_request_whatever_became_of_the_slot() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("in_again_s"), server.database("in_again_t"));
    source.sql(TABLES);
    let pipeline = pipeline("in_again", &source.url(), &target);
    pipeline.run_until_current().success();
    let equal = || assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
    let again = || pipeline.command(&["run", "--until-current", "--resnapshot"]).success();

    source.sql("INSERT INTO t VALUES (2, 'CANARY'); DELETE FROM t WHERE id = 1");
    source.sql("SELECT pg_replication_slot_advance('tailwater_in_again', pg_current_wal_lsn())");
    pipeline.run_until_current().code(3);
    again();
    equal();
    source.sql("SELECT pg_drop_replication_slot('tailwater_in_again'); UPDATE t SET v = 'changed'");
    pipeline.run_until_current().code(3);
    again();
    equal();
    source.sql("INSERT INTO t VALUES (3, 'CANARY')");
    pipeline.run_until_current().success();
    equal();
}

#[test]
fn what_a_new_slot_waits_for_is_named() {
    let server = Postgres::version(17).start();
    let (source, target) = (server.database("s"), server.database("t"));
    source.sql(TABLES);
    let holder = source.session();
    holder.sql("BEGIN; INSERT INTO t VALUES (2, 'open')");
    let preparing = source.session();
    preparing.sql("BEGIN; INSERT INTO t VALUES (3, 'prepared'); PREPARE TRANSACTION 'half-done'");
    let pid = holder.one("SELECT pg_backend_pid()");
    let pipeline = pipeline("in_waits", &source.url(), &target);
    pipeline.check().code(0).says(&["may do more than it needs"]);
    let mut running = pipeline.run();
    running.wait_until("waiting for somebody", |running| {
        let text = running.text();
        text.contains(&format!("of processes {pid}")) && text.contains("'half-done'")
    });
    holder.sql("COMMIT");
    preparing.sql("COMMIT PREPARED 'half-done'");
    running.wait_ready();
    running.terminate().code(0);
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
}

#[cfg(feature = "kafka")]
#[test]
fn what_is_read_again_reaches_a_warehouse_behind_kafka() {
    let (server, kafka) = (Postgres::shared(17), Kafka::shared());
    let (source, target) = (server.database("in_topics_s"), server.database("in_topics_t"));
    source.sql(TABLES);
    let prefix = kafka.prefix("in_topics");
    let writer = Tailwater::new("in_topics")
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .toml("[sink.kafka.topic]\nreplication = 1");
    let reader = Tailwater::new("in_topics_reader")
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.*")], "in_topics")
        .sink_postgres(&target.url(), None);
    writer.run_until_current().success();
    reader.run_until_current().success();
    source.sql("INSERT INTO t VALUES (2, 'CANARY'); DELETE FROM t WHERE id = 1");
    source.sql("SELECT pg_replication_slot_advance('tailwater_in_topics', pg_current_wal_lsn())");
    writer.run_until_current().code(3);
    writer.command(&["run", "--until-current", "--resnapshot"]).success();
    source.sql("INSERT INTO t VALUES (3, 'CANARY')");
    writer.run_until_current().success();
    reader.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Postgres(&target.session()));
    let wrong = reader.command(&["run", "--until-current", "--resnapshot"]);
    wrong.code(2).says(&["the pipeline that reads PostgreSQL"]);
}
