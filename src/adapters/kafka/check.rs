//! Everything that is wrong with a Kafka configuration, at once and without changing anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::claims::Claims;
use super::client::ANSWER;
use super::control::{Control, Listing, check_pipeline};
use super::prefix::prefix;
use super::registry::Registry;
use super::topics::{Purpose, Topic, blocking, check_name, contradiction};
use super::{SinkOptions, SourceOptions};
use crate::codecs::event::{held_topic, progress_topic, tables_topic};
use crate::model::{Checkpoint, Error, Result, Table, TableName};

/// What would keep a sink with these options from publishing these tables, each under the name that events tell.
pub async fn check_sink(options: &SinkOptions, tables: &[Arc<Table>]) -> Vec<Error> {
    let mut problems = check_names(options, tables);
    let tables: &[TableName] = &tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
    if options.partitions < 1 {
        problems.push(Error::blocked("topics need at least one partition").remedy("set topic.partitions to 1 or more"));
    }
    let cluster = options.cluster.clone();
    let (prefix, pipeline) = (options.events.prefix.clone(), options.pipeline.clone());
    let answer = blocking(move || {
        let control = Control::connect(&cluster, &format!("tailwater-{pipeline}"))?;
        let listing = control.list(ANSWER)?;
        let progress = progress_topic(&prefix);
        let owner = if listing.topics.contains_key(&progress) { control.last_marker(&progress)? } else { None };
        let foreign = owner.and_then(|marked| check_pipeline(&progress, &marked, &pipeline).err());
        Ok((listing, foreign))
    })
    .await;
    match answer {
        Ok((listing, foreign)) => {
            problems.extend(foreign);
            problems.extend(compare(options, tables, &listing));
        }
        Err(error) => problems.push(error),
    }
    problems.extend(check_registry(options).await);
    problems
}

async fn check_registry(options: &SinkOptions) -> Option<Error> {
    let registry = options.registry.clone()?;
    blocking(move || Registry::new(registry)?.check()).await.err()
}

/// How far the topics are written, without changing anything; `None` when nothing has been written.
pub async fn stored(options: &SinkOptions) -> Result<Option<Checkpoint>> {
    let (cluster, prefix, pipeline) =
        (options.cluster.clone(), options.events.prefix.clone(), options.pipeline.clone());
    blocking(move || {
        let control = Control::connect(&cluster, &format!("tailwater-{pipeline}"))?;
        let progress = progress_topic(&prefix);
        let last = match control.list(ANSWER)?.topics.contains_key(&progress) {
            true => control.last_marker(&progress)?,
            false => None,
        };
        // Before the first position a marker has none.
        Ok(last.map(|marked| marked.marker.checkpoint).filter(|checkpoint| checkpoint.position.system_id != 0))
    })
    .await
}

/// What would keep a source with these options from reading.
pub async fn check_source(options: &SourceOptions) -> Vec<Error> {
    let (cluster, group) = (options.cluster.clone(), options.group.clone());
    let answer: Result<Listing> = blocking(move || Control::connect(&cluster, &group)?.list(ANSWER)).await;
    let listing = match answer {
        Ok(listing) => listing,
        Err(error) => return vec![error],
    };
    match prefix(&listing, options) {
        Err(error) => vec![error],
        Ok(prefix) => [progress_topic(&prefix), tables_topic(&prefix)]
            .into_iter()
            .filter(|topic| !listing.topics.contains_key(topic))
            .map(|topic| {
                Error::blocked(format!("there is no topic {topic}")).remedy(
                    "start the pipeline that writes it, or correct `prefix`; if it exists, grant Describe on it",
                )
            })
            .collect(),
    }
}

/// Names that Kafka refuses, tables that would share a topic, and names that would become one.
fn check_names(options: &SinkOptions, tables: &[Arc<Table>]) -> Vec<Error> {
    let mut problems: Vec<Error> = check_name(&progress_topic(&options.events.prefix)).err().into_iter().collect();
    let mut claims = Claims::new(&options.events.prefix);
    for table in tables {
        let topic = options.topic(&table.name);
        problems.extend(check_name(&topic.name).err().map(|error| error.within(format!("table {}", table.name))));
        problems.extend(claims.claim(&topic, &table.name).err());
        problems.extend(claims.claim_names(&options.events.prefix, table, options.events.modes.name_adjustment).err());
    }
    problems
}

/// Where the cluster contradicts the configuration.
fn compare(options: &SinkOptions, tables: &[TableName], listing: &Listing) -> Vec<Error> {
    let mut problems = Vec::new();
    let control = [
        (progress_topic(&options.events.prefix), Purpose::Progress),
        (tables_topic(&options.events.prefix), Purpose::Tables),
    ];
    problems.extend(lookalikes(options, tables, listing));
    let events = tables.iter().map(|table| (options.topic(table).name, Purpose::Events));
    let mut missing = false;
    // It is made when a table is stopped for the first time.
    let held = held_topic(&options.events.prefix);
    let held = listing.topics.contains_key(&held).then_some((held, Purpose::Held));
    for (topic, purpose) in control.into_iter().chain(held).chain(events) {
        match listing.topics.get(&topic) {
            Some(&partitions) => {
                problems.extend(contradiction(&topic, purpose, Topic { partitions }, options.partitions));
            }
            None => missing = true,
        }
    }
    let brokers = listing.brokers;
    if missing && (options.replication < 1 || options.replication > brokers) {
        let what = format!("{} replicas are asked for, and there are {brokers} brokers", options.replication);
        problems.push(Error::blocked(what).remedy(format!("set topic.replication to a number from 1 to {brokers}")));
    }
    problems
}

/// Topics that Kafka would not make, because another one has the same name in its metrics.
fn lookalikes(options: &SinkOptions, tables: &[TableName], listing: &Listing) -> Vec<Error> {
    let metric = |topic: &str| topic.replace('.', "_");
    let mut taken: HashMap<String, String> = listing.topics.keys().map(|t| (metric(t), t.clone())).collect();
    let wanted = tables.iter().map(|table| options.topic(table).name);
    wanted
        .filter_map(|topic| {
            let owner = taken.entry(metric(&topic)).or_insert_with(|| topic.clone());
            (*owner != topic).then(|| {
                Error::blocked(format!("Kafka makes no topic {topic} beside {owner}: they differ only in `.` and `_`"))
                    .remedy("choose another prefix, or leave one of them out, or rename it")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Cluster, Properties};
    use super::*;
    use crate::codecs::event::Settings;
    use crate::model::{Column, Oid, PgType, ReplicaIdentity};

    fn options() -> SinkOptions {
        SinkOptions {
            pipeline: "shop".into(),
            cluster: Cluster { bootstrap: String::new(), properties: Properties::default() },
            events: Settings::new("shop", "shop"),
            topics: Default::default(),
            origins: Default::default(),
            partitions: 4,
            replication: 3,
            messages: None,
            registry: None,
            outboxes: Vec::new(),
            heartbeat_seconds: 0,
            transaction_metadata: false,
            context_headers: true,
            rules: Vec::new(),
            wanted: Default::default(),
            retry_seconds: 30,
            large_records: Default::default(),
            buffer_bytes: 1,
            guarantee: super::super::Guarantee::default(),
            reading: String::new(),
            own: Arc::default(),
        }
    }

    fn table(name: &str, columns: &[&str]) -> Arc<Table> {
        let column = |name: &&str| Column {
            name: (*name).into(),
            pg_type: PgType::Text,
            oid: Oid(25),
            modifier: -1,
            optional: true,
            default: None,
            birth: Default::default(),
        };
        Arc::new(Table {
            oid: Oid(1),
            name: TableName::new("public", name),
            version: 1,
            columns: columns.iter().map(column).collect(),
            identity: ReplicaIdentity::Default,
            key: Vec::new(),
        })
    }

    #[test]
    fn adjusted_names_that_become_one_are_found_together() {
        let tables = [table("a-b", &["x y", "x-y"]), table("a_b", &["x"]), table("c", &["x_y", "x"])];
        assert_eq!(check_names(&options(), &tables).len(), 0);
        let mut options = options();
        assert!(options.events.modes.set("name_adjustment", "avro"));
        let problems: Vec<String> = check_names(&options, &tables).iter().map(Error::to_string).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(["public.a-b", "x y", "x-y"].iter().all(|part| problems[0].contains(part)), "{problems:?}");
        let tables = [table("a-b", &["x"]), table("a_b", &["x"])];
        let problems: Vec<String> = check_names(&options, &tables).iter().map(Error::to_string).collect();
        assert!(["public.a-b", "public.a_b"].iter().all(|part| problems[0].contains(part)), "{problems:?}");
        assert!(options.events.modes.set("name_adjustment", "avro_unicode"));
        assert_eq!(check_names(&options, &tables).len(), 0);
    }

    #[test]
    fn names_and_collisions_are_found_together() {
        let names = [&"n".repeat(249)[..], "a b", "a_b"];
        let tables: Vec<_> = names.into_iter().map(|name| table(name, &[])).collect();
        let problems: Vec<String> = check_names(&options(), &tables).iter().map(Error::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("Kafka allows 249"), "{problems:?}");
        assert!(problems[1].contains("public.a b") && problems[1].contains("public.a_b"), "{problems:?}");
    }

    #[test]
    fn contradictions_of_the_cluster_are_found_together() {
        let topics = [("shop.public.a".to_owned(), 2), ("shop._tailwater.progress".to_owned(), 3)];
        let listing = Listing { topics: topics.into_iter().collect(), brokers: 1 };
        let problems: Vec<String> =
            compare(&options(), &[TableName::new("public", "a")], &listing).iter().map(Error::to_string).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("has 3 partitions, not 1"), "{problems:?}");
        assert!(problems[1].contains("has 2 partitions, not 4"), "{problems:?}");
        assert!(problems[2].contains("3 replicas are asked for, and there are 1 brokers"), "{problems:?}");
    }

    #[test]
    fn topics_that_differ_only_in_dots_are_found_among_tables_and_with_what_is_there() {
        let listing = Listing { topics: [("shop.a_b.u".to_owned(), 4), ("shop.x.v".to_owned(), 4)].into(), brokers: 3 };
        let tables = [("a.b", "t"), ("a_b", "t"), ("a.b", "u"), ("x", "v")].map(|(s, n)| TableName::new(s, n));
        let problems: Vec<String> = compare(&options(), &tables, &listing).iter().map(Error::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("shop.a_b.t beside shop.a.b.t"), "{problems:?}");
        assert!(problems[1].contains("shop.a.b.u beside shop.a_b.u"), "{problems:?}");
    }
}
