//! What the modelled brokers of `adapters/kafka/simulated.rs` take for granted, on real ones.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::Timeout;

use crate::support::kafka::{Isolation, Kafka};
use crate::support::proxy::Mode;

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(30));

/// A writer of transactions, begun.
fn writer(bootstrap: &str, id: &str) -> BaseProducer {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", id);
    let writer: BaseProducer = config.create().unwrap();
    writer.init_transactions(PATIENCE).unwrap();
    writer.begin_transaction().unwrap();
    writer
}

/// Writes a record to each topic and waits until the brokers have them.
fn write(writer: &BaseProducer, topics: &[&str], value: &str) {
    for topic in topics {
        writer.send(BaseRecord::<str, str>::to(topic).partition(0).payload(value)).unwrap();
    }
    writer.flush(PATIENCE).unwrap();
}

fn values(kafka: &Kafka, topic: &str, isolation: Isolation) -> Vec<String> {
    kafka.consume_all(topic, isolation).iter().map(|record| record.value_text().to_owned()).collect()
}

#[test]
fn who_takes_over_aborts_what_is_open_and_shuts_out_the_one_before() {
    let kafka = Kafka::shared();
    let name = kafka.prefix("takes_over");
    kafka.create_topic(&name, 1, &[]);
    let first = writer(&kafka.bootstrap(), &name);
    write(&first, &[&name], "open");
    let second = writer(&kafka.bootstrap(), &name);
    assert!(first.commit_transaction(PATIENCE).is_err(), "the one before still commits");
    write(&second, &[&name], "one");
    write(&second, &[&name], "two");
    assert!(values(kafka, &name, Isolation::Committed).is_empty(), "seen before it is committed");
    second.commit_transaction(PATIENCE).unwrap();
    assert_eq!(values(kafka, &name, Isolation::Committed), ["one", "two"]);
    assert_eq!(values(kafka, &name, Isolation::Uncommitted), ["open", "one", "two"]);
}

#[test]
fn a_commit_whose_answer_stays_out_has_happened_or_has_not_and_the_successor_can_tell() {
    let kafka = Kafka::nodes(1).proxied().start();
    // The request arrives and its answer does not; neither arrives.
    for (name, arrives) in [("answered", true), ("unasked", false)] {
        let topics = [format!("{name}.events"), format!("{name}.markers")];
        topics.iter().for_each(|topic| kafka.create_topic(topic, 1, &[]));
        let topics = [topics[0].as_str(), topics[1].as_str()];
        let first = writer(&kafka.proxied(), name);
        write(&first, &topics, "first");
        match arrives {
            true => kafka.proxy(1).set(Mode::Mute),
            false => kafka.proxy(1).strand(),
        }
        let outcome = first.commit_transaction(Timeout::After(Duration::from_secs(3)));
        assert!(outcome.is_err(), "{name}: an answer came");
        // Gone before the line is good again: it would ask once more.
        drop(first);
        kafka.proxy(1).cut();
        kafka.proxy(1).set(Mode::Forward);
        let second = writer(&kafka.bootstrap(), name);
        write(&second, &topics, "second");
        second.commit_transaction(PATIENCE).unwrap();
        let expected = if arrives { ["first", "second"].as_slice() } else { &["second"] };
        for topic in topics {
            assert_eq!(values(&kafka, topic, Isolation::Committed), expected, "{topic}");
        }
    }
}
