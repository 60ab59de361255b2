//! A standby takes the primary's place: nothing is lost and nothing comes twice, or what was lost is named.
//!
//! `TAILWATER_FAILOVERS` says how often each way is tried: once in `make test`, twenty times in `make failover`.

use std::time::Duration;

use super::outage::Writer;
use crate::support::compare::{Copy, assert_all_equal};
use crate::support::eventually;
use crate::support::postgres::{Database, PASSWORD, Postgres};
use crate::support::proxy::{Mode, Proxy};
use crate::support::session::Session;
use crate::support::tailwater::Tailwater;

const TABLES: [&str; 2] = ["public.rows", "public.ledger"];

fn rounds() -> u32 {
    std::env::var("TAILWATER_FAILOVERS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// The database of this name behind an address.
fn behind(address: &str, database: &str) -> String {
    format!("postgres://postgres:{PASSWORD}@{address}/{database}")
}

fn pipeline(url: &str, target: &Database<'_>) -> Tailwater {
    Tailwater::new("failover").source_postgres(url, &["public.*"]).sink_postgres(&target.url(), None)
}

/// Waits until the standby could go on with the slot. Its copy counts when the slot has moved on past what the standby
/// keeps, for which the primary must tell now and then which transactions run.
fn synced(primary: &Postgres, standby: &Postgres) {
    let ready =
        "select count(*) from pg_replication_slots where synced and not temporary and invalidation_reason is null";
    let begin = std::time::Instant::now();
    let session = Session::connect(&standby.url()).unwrap();
    eventually("the standby has the slot", Duration::from_secs(60), || {
        primary.sql("select pg_log_standby_snapshot()");
        (session.one(ready) == "1").then_some(())
    });
    println!("the standby has the slot after {:?}", begin.elapsed());
}

/// How many ledger rows the warehouse has.
fn ledger(target: &Database<'_>, condition: &str) -> u32 {
    let rows = target.session().try_sql(&format!("select count(*) from ledger where {condition}"));
    rows.map_or(0, |rows| rows[0][0].as_ref().unwrap().parse().unwrap())
}

#[test]
fn a_standby_that_takes_over_under_load_is_followed_without_loss() {
    for _ in 0..rounds() {
        let primary = Postgres::version(17).config("synchronized_standby_slots = 'standby'").start();
        let (source, target) = (primary.database("s"), Postgres::shared(17).database("failover_t"));
        let standby = primary.standby(&primary.address());
        let front = Proxy::to(&primary.address());
        let writer = Writer::start(&source);
        let pipeline = pipeline(&behind(&front.address(), source.name()), &target);
        pipeline.check().code(0).hides(&["synchronized_standby_slots"]);
        let mut running = pipeline.run();
        running.wait_ready();
        synced(&primary, &standby);
        std::thread::sleep(Duration::from_millis(300));
        primary.kill9();
        let written = writer.stop();
        // What connects before the promotion finds a standby.
        front.target(&standby.address());
        running.wait_until("it waits for the promotion", |running| running.text().contains("the server is a standby"));
        standby.promote();
        let after = Session::connect(&behind(&standby.address(), source.name())).unwrap();
        after.sql("insert into rows values (-1, 'after'); insert into ledger values (-1)");
        running.wait_until("it follows the new primary", |_| ledger(&target, "n = -1") == 1);
        running.terminate().code(0);
        pipeline.run_until_current().success();
        assert_all_equal(&after, &TABLES, Copy::Postgres(&target.session()));
        println!(
            "{written} transactions written, {} kept by the standby",
            after.one("select count(*) - 1 from ledger")
        );
    }
}

#[test]
fn changes_that_a_failover_lost_stop_with_the_range_and_everything_is_read_again_on_request() {
    for _ in 0..rounds() {
        let primary = Postgres::version(17).start();
        let (source, target) = (primary.database("s"), Postgres::shared(17).database("failover_t"));
        let link = Proxy::to(&primary.address());
        let standby = primary.standby(&link.address());
        let front = Proxy::to(&primary.address());
        let writer = Writer::start(&source);
        let pipeline = pipeline(&behind(&front.address(), source.name()), &target);
        pipeline.check().code(0).says(&["synchronized_standby_slots is empty", "= 'standby'"]);
        let mut running = pipeline.run();
        running.wait_ready();
        synced(&primary, &standby);
        link.set(Mode::Refuse);
        // The standby gets nothing of what is written from here on.
        let most = source.one("select count(*) from ledger").parse::<u32>().unwrap();
        running.wait_until("the sink is ahead of the standby", |_| ledger(&target, "true") > most);
        primary.kill9();
        writer.stop();
        standby.promote();
        let after = Session::connect(&behind(&standby.address(), source.name())).unwrap();
        let kept = after.one("select count(*) from ledger").parse::<u32>().unwrap();
        assert!(kept < ledger(&target, "true"), "the standby lost nothing");
        after.sql("insert into rows values (-1, 'after'); insert into ledger values (-1)");
        front.target(&standby.address());
        running.wait().code(3).says(&[
            "left timeline 1 at",
            "what lies between was lost in the failover",
            "--resnapshot",
        ]);
        pipeline.run_until_current().code(3);
        pipeline.command(&["run", "--until-current", "--resnapshot"]).success();
        assert_all_equal(&after, &TABLES, Copy::Postgres(&target.session()));
        after.sql("insert into rows values (-2, 'and on'); insert into ledger values (-2)");
        pipeline.run_until_current().success();
        assert_all_equal(&after, &TABLES, Copy::Postgres(&target.session()));
    }
}

#[test]
fn a_standby_is_followed_and_goes_on_when_it_is_promoted() {
    let primary = Postgres::version(17).start();
    let (source, target) = (primary.database("s"), Postgres::shared(17).database("failover_t"));
    let standby = primary.standby(&primary.address());
    let url = behind(&standby.address(), source.name());
    let pipeline = pipeline(&url, &target);
    source.sql("create table rows (id int primary key, body text); create table ledger (n int)");
    eventually("the standby has the tables", Duration::from_secs(20), || {
        Session::connect(&url).is_ok_and(|there| there.try_sql("table ledger").is_ok()).then_some(())
    });
    pipeline.run_until_current().code(3).says(&["the server is a standby", "CREATE PUBLICATION", "on its primary"]);
    source.sql("create publication tailwater_failover for table rows, ledger");
    source.sql("insert into rows select g, 'before' from generate_series(1, 100) g; insert into ledger values (0)");
    let mut running = pipeline.run();
    // A standby makes a slot when its primary tells which transactions run, which an idle one does seldom.
    running.wait_until("the slot is made", |running| {
        source.sql("select pg_log_standby_snapshot()");
        running.http("/readyz").is_some_and(|(code, _)| code == 200)
    });
    source.sql("insert into rows values (-1, 'streamed'); insert into ledger values (1)");
    running.wait_until("the standby is followed", |_| ledger(&target, "true") == 2);
    primary.kill9();
    standby.promote();
    let after = Session::connect(&url).unwrap();
    after.sql("insert into rows values (-2, 'after'); insert into ledger values (2)");
    running.wait_until("the promoted one is followed", |_| ledger(&target, "true") == 3);
    running.terminate().code(0);
    assert_all_equal(&after, &TABLES, Copy::Postgres(&target.session()));
}
