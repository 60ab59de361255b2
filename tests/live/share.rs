//! Several processes that share one warehouse's tables among them, in one consumer group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::compare::{Copy, assert_all_equal};
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::runtime::wait;
use crate::support::session::Session;
use crate::support::tailwater::{Running, Tailwater};
use crate::support::workload::{self, Load};

/// Who writes the topics, and a member of the group that reads them.
fn group(name: &str, source: &Database<'_>, target: &Database<'_>) -> (Tailwater, Tailwater) {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix(name);
    let writer = Tailwater::new(name)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .exactly_once()
        .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 2");
    let member = Tailwater::new(&format!("{name}_reader"))
        .limit(Duration::from_secs(240))
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .toml("members = \"share\"\n[source.kafka.properties]\n\"session.timeout.ms\" = \"6000\"")
        .sink_postgres(&target.url(), None);
    (writer, member)
}

/// Tables that are written to beside the others: which topics are whose goes by their names, and of this many each member
/// gets some.
const BESIDE: [&str; 10] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9"];

fn create_beside(source: &Database<'_>) {
    source.sql(&BESIDE.map(|table| format!("create table {table} (id int primary key);")).concat());
}

/// A row for each of the tables beside the others.
fn beside(n: u64) -> String {
    BESIDE.map(|table| format!("insert into {table} values ({n});")).concat()
}

/// One row in each of two tables, and of those beside them, with every transaction, until it is told to stop; then how many
/// there were.
fn write_pairs(source: &Database<'_>, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    let session = source.session();
    std::thread::spawn(move || {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let beside = beside(n);
            session
                .sql(&format!("begin; insert into here values ({n}); insert into there values ({n}); {beside} commit"));
            std::thread::sleep(Duration::from_millis(10));
        }
        n
    })
}

/// Looks whether both tables always have the same rows, until it is told to stop; then how often it has looked.
fn watch_pairs(target: &Database<'_>, stop: Arc<AtomicBool>, newest: Arc<AtomicU64>) -> JoinHandle<u64> {
    let session: Session = target.session();
    std::thread::spawn(move || {
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            if session.one("select to_regclass('here') is not null and to_regclass('there') is not null") != "t" {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let both = session.one(
                "select (select coalesce(max(id), 0) || '/' || count(*) from here) || ' ' || \
                 (select coalesce(max(id), 0) || '/' || count(*) from there)",
            );
            let (here, there) = both.split_once(' ').unwrap();
            assert_eq!(here, there, "a part of a transaction");
            newest.store(here.split('/').next().unwrap().parse().unwrap(), Ordering::Relaxed);
            looks += 1;
        }
        looks
    })
}

fn plays(process: &Running, role: &str) -> bool {
    let page = process.http("/metrics").map(|(_, page)| page).unwrap_or_default();
    page.contains(&format!("tailwater_group_member{{role=\"{role}\"}} 1"))
}

/// How many changes the process has had a part in.
fn merged(process: &Running) -> u64 {
    let page = process.http("/metrics").map(|(_, page)| page).unwrap_or_default();
    let events = page.lines().filter(|line| line.starts_with("tailwater_events_total{"));
    events.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Waits until the warehouse has got further than it is.
fn further(process: &mut Running, newest: &AtomicU64) {
    let now = newest.load(Ordering::Relaxed);
    process.wait_until("further", |_| newest.load(Ordering::Relaxed) > now + 3);
}

#[test]
fn members_share_the_tables_whoever_joins_dies_or_comes_back_and_readers_see_whole_transactions() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("share_s"), server.database("share_t"));
    source.sql("create table here (id int primary key); create table there (id int primary key)");
    create_beside(&source);
    let url = source.url();
    let setup = url.clone();
    wait(async move { workload::create(&setup).await });
    // What the tables hold at first comes table by table.
    let (writer, member) = group("share", &source, &target);
    writer.run_until_current().success();
    let load = wait(async move { Load::start(&url, 1, 200, 1).await });
    let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let pairs = write_pairs(&source, Arc::clone(&stop));
    let watch = watch_pairs(&target, Arc::clone(&stop), Arc::clone(&newest));
    let publish = writer.run();
    let [one, two, three] = [(); 3].map(|()| member.twin().limit(Duration::from_secs(240)));

    let mut a = one.run();
    further(&mut a, &newest);
    assert!(plays(&a, "leader"));
    let mut b = two.run();
    b.wait_until("at work", |b| merged(b) > 0);
    let mut c = three.run();
    c.wait_until("at work", |c| merged(c) > 0);
    // From here on little is written: what is waited for should not be how quick the machine is.
    wait(load.stop());

    // One that dies: the others take over its tables, and the lead if it was its own.
    b.kill9();
    further(&mut c, &newest);
    // The leader freezes, and comes back as one that has been replaced.
    a.wait_until("led", |a| plays(a, "leader") || plays(&c, "leader"));
    let (mut frozen, mut other) = if plays(&a, "leader") { (a, c) } else { (c, a) };
    frozen.signal(Signal::SIGSTOP);
    other.wait_until("leader", |other| plays(other, "leader"));
    further(&mut other, &newest);
    let (said, before) = (frozen.text().len(), merged(&frozen));
    frozen.signal(Signal::SIGCONT);
    frozen.wait_until("told that it is replaced, or torn from its connections", |frozen| {
        let says = |text| frozen.text().get(said..).is_some_and(|new| new.contains(text));
        says("does not lead any more") || says("going on from what the sink has stored")
    });
    frozen.wait_until("at work again", |frozen| merged(frozen) > before);
    further(&mut other, &newest);

    stop.store(true, Ordering::Relaxed);
    let written = pairs.join().unwrap();
    publish.terminate().success();
    writer.run_until_current().success();
    other.wait_until("at the end", |_| target.one("select count(*) from there") == written.to_string());
    assert!(watch.join().unwrap() > 20);
    for running in [frozen, other] {
        running.terminate().success();
    }
    member.run_until_current().success();
    let mut all = workload::TABLES.to_vec();
    all.extend(["public.here", "public.there"]);
    assert_all_equal(&source.session(), &all, Copy::Postgres(&target.session()));
    assert_eq!(target.one("select count(*) from _tailwater.cuts where cut > 0"), "0");
    assert_eq!(target.one("select count(*) from _tailwater.stages"), "0");
}

#[test]
fn a_log_of_changes_names_columns_as_the_warehouse_has_them_where_members_stage_it() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("share_names_s"), server.database("share_names_t"));
    source.sql("create table t (id int primary key, a text, b text); alter table t alter b set storage external");
    source.sql("insert into t values (1, 'a', repeat('b', 9000))");
    let (writer, member) = group("share_names", &source, &target);
    let member = member.toml("[[table]]\nmatch = \"public.*\"\nmode = \"append\"\non_rename = \"keep\"");
    writer.run_until_current().success();
    member.run_until_current().success();
    // Two change places, and the key has another name: the warehouse keeps theirs.
    source.sql("alter table t rename a to x; alter table t rename b to a; alter table t rename x to b");
    source.sql("alter table t rename id to nr; update t set nr = 2");
    writer.run_until_current().success();
    member.run_until_current().success();
    let rows = target.sql("select id, a, b, _tw_unchanged, _tw_old from t where _tw_op = 'u'");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rows, [[text("2"), text("a"), None, text("[\"b\"]"), text("{\"id\":\"1\"}")]]);
}

/// Whether the page of a process says that a table is stopped.
fn says_stopped(process: &Running, table: &str) -> bool {
    let page = process.http("/metrics").map(|(_, page)| page).unwrap_or_default();
    page.contains(&format!("tailwater_table_stopped{{table=\"{table}\"}} 1"))
}

#[test]
fn a_table_that_can_not_be_merged_stops_alone_while_one_member_does_all_the_work_until_it_goes_on() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("share_stop_s"), server.database("share_stop_t"));
    source.sql("create table here (id int primary key); create table there (id int primary key)");
    source.sql("insert into here values (0); insert into there values (0)");
    create_beside(&source);
    source.sql(&beside(0));
    let (writer, member) = group("share_stop", &source, &target);
    let member = member.toml("retry_stopped_seconds = 1");
    writer.run_until_current().success();
    let (one, two) = (member.twin(), member.twin());
    let [mut a, mut b] = [one.run(), two.run()];
    let publish = writer.run();
    let mut n = 0;
    let mut write = || {
        n += 1;
        source.sql(&format!("insert into here values ({n})"));
        source.sql(&format!("insert into there values ({n})"));
        source.sql(&beside(n));
        n
    };
    let newest = |table: &str| target.one(&format!("select max(id) from {table}")).parse::<u64>().unwrap();
    a.wait_until("the tables are made", |_| target.session().try_sql("table here; table there; table b9").is_ok());
    a.wait_until("at work", |a| (write() > 0) && merged(a) > 0);
    b.wait_until("at work", |b| (write() > 0) && merged(b) > 0);

    target.sql("alter table there add constraint none check (id < 0) not valid");
    let before = write();
    a.wait_until("the others go on", |_| newest("here") == before && newest("b0") == before);
    assert!(newest("there") < before);
    a.wait_until("it is told here", |a| says_stopped(a, "public.there"));
    b.wait_until("and there", |b| says_stopped(b, "public.there"));
    for process in [&mut a, &mut b] {
        assert!(process.alive());
    }
    // Whoever takes over does the same.
    a.wait_until("led", |a| plays(a, "leader") || plays(&b, "leader"));
    let (leader, mut other) = if plays(&a, "leader") { (a, b) } else { (b, a) };
    leader.kill9();
    let later = write();
    other.wait_until("the others go on", |_| newest("here") == later && newest("b0") == later);
    other.wait_until("it is told", |other| says_stopped(other, "public.there"));
    member.run_until_current().code(3).says(&["public.there"]);
    assert!(newest("there") < before);

    let three = two.twin();
    let mut again = three.run();
    again.wait_until("it is told to who comes", |again| says_stopped(again, "public.there"));
    target.sql("alter table there drop constraint none");
    other.wait_until("what waited is merged", |_| newest("there") == later);
    for process in [&mut other, &mut again] {
        process.wait_until("which is told", |process| !says_stopped(process, "public.there"));
    }
    let (had, now) = (merged(&other), merged(&again));
    again.wait_until("the work is shared again", |again| {
        write();
        merged(again) > now && merged(&other) > had
    });
    // A member has found one, and the leader hears of it from the warehouse alone.
    target.sql(
        "insert into _tailwater.stopped (pipeline, source_schema, source_table, since, reason, remedy) \
         values ('share_stop_reader', 'public', 'there', now(), 'it would not go', 'none')",
    );
    let last = write();
    other.wait_until("all goes on", |_| ["here", "there", "b0"].iter().all(|table| newest(table) == last));
    assert_eq!(target.one("select count(*) from _tailwater.stopped"), "0");
    publish.terminate().success();
    writer.run_until_current().success();
    for running in [other, again] {
        running.terminate().success();
    }
    member.run_until_current().success();
    assert_all_equal(
        &source.session(),
        &[["here", "there"].as_slice(), &BESIDE].concat(),
        Copy::Postgres(&target.session()),
    );
    assert_eq!(target.one("select count(*) from _tailwater.held"), "0");
    assert_eq!(target.one("select count(*) from _tailwater.stages"), "0");
}

#[test]
fn values_that_do_not_fit_follow_their_policy_where_members_share_the_work() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("share_fit_s"), server.database("share_fit_t"));
    source.sql("create table t (id int primary key, n numeric); create table u (id int primary key, n numeric)");
    source.sql("insert into t values (1, 1); insert into u values (1, 1)");
    let (writer, member) = group("share_fit", &source, &target);
    let member = member.toml(
        "retry_stopped_seconds = 1\n[[table]]\nmatch = \"public.t\"\non_misfit = \"widen\"\n\
         [[table]]\nmatch = \"public.u\"\non_misfit = \"null\"",
    );
    writer.run_until_current().success();
    member.run_until_current().success();
    target.sql("alter table t alter n type numeric(4, 1); alter table u alter n type numeric(4, 1)");
    source.sql("insert into t values (2, 123456.7); insert into u values (2, 123456.7), (3, 3)");
    writer.run_until_current().success();
    let mut running = member.run();
    running.wait_until("merged", |_| target.one("select count(*) from u") == "3");
    running.wait_until("all of it", |_| target.one("select count(*) from _tailwater.stopped") == "0");
    source.sql("insert into t values (4, 4); insert into u values (4, 4)");
    writer.run_until_current().success();
    running.wait_until("shared again", |_| target.one("select count(*) from u") == "4");
    running.terminate().success();
    assert_eq!(target.one("select string_agg(id || ':' || n, ' ' order by id) from t"), "1:1.0 2:123456.7 4:4");
    let rows = target.one("select string_agg(id || ':' || coalesce(n::text, '-'), ' ' order by id) from u");
    assert_eq!(rows, "1:1.0 2:- 3:3.0 4:4.0");
}
