//! Several processes of one pipeline behind Kafka, as members of one consumer group.

use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::{Running, Tailwater};

/// Who writes the topics, and who reads them as a member of a group.
struct Group {
    prefix: String,
    writer: Tailwater,
    member: Tailwater,
}

fn group(name: &str, source: &Database<'_>, target: &Database<'_>, session: Duration) -> Group {
    let kafka = Kafka::shared();
    let prefix = kafka.prefix(name);
    let writer = Tailwater::new(name)
        .source_postgres(&source.url(), &["public.*"])
        .sink_kafka(&kafka.bootstrap(), &prefix)
        .exactly_once()
        .toml("[sink.kafka.topic]\nreplication = 1\npartitions = 1");
    let member = Tailwater::new(&format!("{name}_reader"))
        .source_kafka(&kafka.bootstrap(), &[&format!("{prefix}.public.*")], &prefix)
        .toml(&format!(
            "members = \"standby\"\n[source.kafka.properties]\n\"session.timeout.ms\" = \"{}\"",
            session.as_millis()
        ))
        .sink_postgres(&target.url(), None);
    Group { prefix, writer, member }
}

fn plays(process: &Running, role: &str) -> bool {
    let page = process.http("/metrics").map(|(_, page)| page).unwrap_or_default();
    page.contains(&format!("tailwater_group_member{{role=\"{role}\"}} 1"))
}

fn until(process: &mut Running, role: &str) {
    process.wait_until(role, |process| plays(process, role));
}

fn until_rows(process: &mut Running, target: &Database<'_>, rows: u64) {
    process.wait_until("at the rows", |_| {
        target.one("select to_regclass('public.t') is not null") == "t"
            && target.one("select count(*) from t") == rows.to_string()
    });
}

#[test]
fn members_stand_by_and_take_over_from_a_leader_that_is_frozen_killed_or_stopped() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("group_s"), server.database("group_t"));
    source.sql("create table t (id int primary key); insert into t select generate_series(1, 10)");
    let group = group("group", &source, &target, Duration::from_secs(6));
    let _writer = group.writer.run();
    let (one, other) = (group.member.twin(), group.member.twin());
    let mut a = one.run();
    until(&mut a, "leader");
    until_rows(&mut a, &target, 10);

    let mut b = other.run();
    until(&mut b, "standby");
    b.wait_ready();
    assert!(b.http("/readyz").unwrap().1.contains("standing by"));
    other.status().success().says(&["standby"]);
    assert!(plays(&a, "leader"));

    a.signal(Signal::SIGSTOP);
    source.sql("insert into t select generate_series(11, 20)");
    until(&mut b, "leader");
    until_rows(&mut b, &target, 20);
    a.signal(Signal::SIGCONT);
    until(&mut a, "standby");
    assert!(plays(&b, "leader"));

    b.kill9();
    source.sql("insert into t select generate_series(21, 30)");
    until(&mut a, "leader");
    until_rows(&mut a, &target, 30);

    let mut b = other.run();
    until(&mut b, "standby");
    a.terminate().success();
    source.sql("insert into t select generate_series(31, 40)");
    until(&mut b, "leader");
    until_rows(&mut b, &target, 40);
    let progress = format!("{}._tailwater.progress", group.prefix);
    b.wait_until("shown in the group", |_| committed(&group.prefix, &progress) == next_offset(&target, &progress));
    b.terminate().success();
    assert_eq!(target.one("select count(*) || ' ' || sum(id) from t"), "40 820");
}

fn next_offset(target: &Database<'_>, topic: &str) -> Option<i64> {
    target.one(&format!("select next_offset from _tailwater.offsets where topic = '{topic}'")).parse().ok()
}

/// What the group has committed of a topic.
fn committed(group: &str, topic: &str) -> Option<i64> {
    let consumer: BaseConsumer = Kafka::shared().client().set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let offsets = consumer.committed_offsets(list, Duration::from_secs(30)).unwrap();
    offsets.elements().first().and_then(|element| element.offset().to_raw())
}

#[test]
fn a_member_with_a_name_keeps_its_place_over_a_restart_and_its_next_process_ends_it() {
    let server = Postgres::shared(17);
    let (source, target) = (server.database("instance_s"), server.database("instance_t"));
    source.sql("create table t (id int primary key); insert into t select generate_series(1, 10)");
    // Longer than any restart here.
    let group = group("instance", &source, &target, Duration::from_secs(240));
    let _writer = group.writer.run();
    let named = |name: &str| {
        let by = format!("members = \"standby\"\ninstance = \"{name}\"");
        group.member.twin().variant("members = \"standby\"", &by)
    };
    let (one, other) = (named("one"), named("other"));
    let mut a = one.run();
    until(&mut a, "leader");
    let mut b = other.run();
    until(&mut b, "standby");
    a.terminate().success();
    let mut a = one.run();
    until(&mut a, "leader");
    source.sql("insert into t values (11)");
    until_rows(&mut a, &target, 11);
    assert!(plays(&b, "standby"));
    assert!(!b.text().contains("leads its consumer group"), "{}", b.text());
    let third = one.twin();
    let mut next = third.run();
    a.wait().code(3).says(&["another process has joined the consumer group under the same name"]);
    until(&mut next, "leader");
    next.terminate().success();
    b.terminate().success();
}
