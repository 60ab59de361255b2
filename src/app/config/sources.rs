//! `[source.*]`

use std::collections::BTreeSet;
use std::time::Duration;

use super::file::{Problems, Section};
use super::sinks::{format, registry};
use super::{Source, kafka, postgres};
use crate::codecs::event::{Format, PLACEHOLDER};
use crate::model::Pattern;

/// Bytes of changes that may wait for the sink: enough to keep both sides busy, little enough for a small machine.
const BUFFER: usize = 16 << 20;

pub(super) fn read(
    source: &mut Section<'_>,
    name: &str,
    spool: postgres::SpoolOptions,
    problems: &mut Problems,
) -> Option<Source> {
    let mut from_postgres = source.section("postgres", problems);
    let mut from_kafka = source.section("kafka", problems);
    match (from_postgres.present(), from_kafka.present()) {
        (true, false) => {
            let options = from_slot(&mut from_postgres, name, spool, problems);
            from_postgres.finish(problems);
            options.map(|options| Source::Postgres(Box::new(options)))
        }
        (false, true) => {
            let options = from_topics(&mut from_kafka, name, problems);
            from_kafka.finish(problems);
            options
        }
        (false, false) => {
            source.problem("", "names no source", "write [source.postgres] or [source.kafka]", problems);
            None
        }
        (true, true) => {
            source.problem("kafka", "is a second source", "keep one of [source.postgres] and [source.kafka]", problems);
            None
        }
    }
}

fn from_slot(
    section: &mut Section<'_>,
    name: &str,
    spool: postgres::SpoolOptions,
    problems: &mut Problems,
) -> Option<postgres::Options> {
    let endpoint = endpoint(section, problems);
    let tables = patterns(section, "tables", problems);
    if tables.as_ref().is_some_and(Vec::is_empty) || !section.has("tables") {
        section.problem("tables", "names no table", "write it as in tables = [\"public.*\"]", problems);
    }
    let exclude = patterns(section, "exclude", problems).unwrap_or_default();
    let default = format!("tailwater_{}", name.to_ascii_lowercase().replace('-', "_"));
    let slot = section.text("slot", problems).unwrap_or_else(|| default.clone());
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if slot.is_empty() || slot.len() > 63 || !slot.chars().all(legal) {
        section.problem("slot", "is not a slot's name", "use up to 63 lower-case letters, digits and `_`", problems);
    }
    let publication = section.text("publication", problems).unwrap_or(default);
    if publication.is_empty() || publication.len() > 63 {
        section.problem("publication", "is not a publication's name", "use 1 to 63 bytes", problems);
    }
    let create = section.flag("create", problems).unwrap_or(true);
    let schema_history = section.flag("schema_history", problems).unwrap_or(false);
    let form = match section.flag("binary", problems) {
        None => postgres::Form::default(),
        Some(true) => postgres::Form::Binary,
        Some(false) => postgres::Form::Text,
    };
    let streaming = section.flag("streaming", problems);
    let two_phase = section.flag("two_phase", problems).unwrap_or(false);
    let snapshot = match section.text("snapshot", problems).as_deref() {
        None | Some("initial") => postgres::SnapshotMode::Initial,
        Some("never") => postgres::SnapshotMode::Never,
        Some("only") => postgres::SnapshotMode::Only,
        Some(_) => {
            section.problem("snapshot", "is none of its values", "use \"initial\", \"never\" or \"only\"", problems);
            return None;
        }
    };
    let partitions = match section.text("partitions", problems).as_deref() {
        None | Some("root") => postgres::Partitioned::Root,
        Some("leaf") => postgres::Partitioned::Leaf,
        Some(_) => {
            section.problem("partitions", "is none of its values", "use \"root\" or \"leaf\"", problems);
            return None;
        }
    };
    Some(postgres::Options {
        pipeline: name.to_owned(),
        endpoint: endpoint?,
        tables: tables?,
        exclude,
        partitions,
        // Read with the rules of single tables.
        portions: Vec::new(),
        slot,
        publication,
        create,
        snapshot,
        // Asked for on the command line.
        resnapshot: false,
        messages: None,
        commits: false,
        schema_history,
        form,
        streaming,
        two_phase,
        spool,
        buffer_bytes: BUFFER,
        connect_timeout: Duration::from_secs(10),
    })
}

fn from_topics(section: &mut Section<'_>, name: &str, problems: &mut Problems) -> Option<Source> {
    let cluster = cluster(section, problems);
    let topics = patterns(section, "topics", problems);
    if topics.as_ref().is_some_and(Vec::is_empty) || !section.has("topics") {
        section.problem("topics", "names no topic", "write it as in topics = [\"shop.public.*\"]", problems);
    }
    let group = section.text("group", problems).unwrap_or_else(|| format!("tailwater_{name}"));
    let membership = membership(section, problems);
    let prefix = section.text("prefix", problems);
    // The topics say themselves how their events are written.
    let format = format(section, problems);
    let origin = match section.text("origin", problems).as_deref() {
        None | Some("tailwater") => None,
        Some("debezium") => Some(kafka::Origin::Debezium),
        Some("rows") => Some(kafka::Origin::Rows),
        Some(_) => {
            section.problem("origin", "is none of its values", "use \"tailwater\", \"debezium\" or \"rows\"", problems);
            return None;
        }
    };
    let told = match origin {
        Some(origin) => Some((origin, foreign(section, origin, format, problems))),
        None => {
            // Those topics need none to be read.
            section.known("registry");
            None
        }
    };
    let skipped = skipped(section, origin.is_some(), problems);
    let pipeline = name.to_owned();
    let (cluster, topics) = (cluster?, topics?);
    if told.is_some() && membership.is_some() {
        let remedy = "remove it: one process at a time reads topics of others";
        section.problem("members", "has no effect on topics of others", remedy, problems);
    }
    let source = kafka::SourceOptions {
        pipeline,
        cluster,
        topics,
        prefix,
        format,
        group,
        membership,
        only: None,
        buffer_bytes: BUFFER,
    };
    Some(match told {
        None => Source::Kafka(source),
        Some((origin, (registry, placeholder))) => {
            let (declared, skipped) = (Vec::new(), skipped.unwrap_or_default());
            let options = kafka::ForeignOptions { source, origin, registry, placeholder, declared, skipped };
            Source::Foreign(Box::new(options))
        }
    })
}

/// `skip_records`
fn skipped(section: &mut Section<'_>, foreign: bool, problems: &mut Problems) -> Option<BTreeSet<kafka::RecordPlace>> {
    let texts = section.texts("skip_records", problems)?;
    if !foreign {
        let remedy = "remove it: a table that can't be merged stops alone, and what it waits for can be mended";
        section.problem("skip_records", "has no effect on topics that Tailwater writes", remedy, problems);
        return None;
    }
    let record = |text: &String| {
        let (topic, rest) = text.split_once('[')?;
        let (partition, offset) = rest.split_once("]@")?;
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (!topic.is_empty() && partition >= 0 && offset >= 0).then(|| (topic.to_owned(), partition, offset))
    };
    let records: Option<BTreeSet<_>> = texts.iter().map(record).collect();
    if records.is_none() {
        let remedy = "write each as topic[partition]@offset, as in skip_records = [\"app.orders[0]@17\"]";
        section.problem("skip_records", "does not name records", remedy, problems);
    }
    records
}

/// What topics of others need to be told beside.
fn foreign(
    section: &mut Section<'_>,
    origin: kafka::Origin,
    format: Option<Format>,
    problems: &mut Problems,
) -> (Option<kafka::RegistryOptions>, String) {
    if section.has("prefix") {
        section.problem("prefix", "has no effect on topics of others", "name the topics with `topics`", problems);
    }
    if origin == kafka::Origin::Rows && !matches!(format, None | Some(Format::Json)) {
        section.problem(
            "format",
            "is not that of rows, which are JSON",
            "set format = \"json\", or remove it",
            problems,
        );
    }
    if format == Some(Format::Protobuf) {
        section.problem("format", "can't be read from Debezium", "use json or avro", problems);
    }
    let registry = registry(section, format.unwrap_or(Format::Json), problems);
    (registry, section.text("placeholder", problems).unwrap_or_else(|| PLACEHOLDER.to_owned()))
}

/// `members` and `instance`
fn membership(section: &mut Section<'_>, problems: &mut Problems) -> Option<kafka::MembershipOptions> {
    let instance = section.text("instance", problems);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if instance.as_ref().is_some_and(|name| name.is_empty() || name.len() > 200 || !name.chars().all(legal)) {
        section.problem("instance", "is not a member's name", "use letters, digits, `.`, `_` and `-`", problems);
    }
    match section.text("members", problems).as_deref() {
        None | Some("one") if instance.is_some() => {
            section.problem("instance", "has no effect with one member", "set members = \"standby\"", problems);
            None
        }
        None | Some("one") => None,
        Some(members @ ("standby" | "share")) => Some(kafka::MembershipOptions { instance, share: members == "share" }),
        Some(_) => {
            section.problem("members", "is none of its values", "use \"one\", \"standby\" or \"share\"", problems);
            None
        }
    }
}

/// `url`
pub(super) fn endpoint(section: &mut Section<'_>, problems: &mut Problems) -> Option<postgres::Endpoint> {
    let Some(url) = section.secret("url", problems) else {
        if !section.has("url") {
            section.problem(
                "url",
                "is missing",
                "write it as in url = \"postgres://user:${PGPASSWORD}@host:5432/database\"",
                problems,
            );
        }
        return None;
    };
    match postgres::Endpoint::parse(&url) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            section.problem("url", error.what(), error.advice().unwrap_or("mend it").to_owned(), problems);
            None
        }
    }
}

/// `bootstrap` and `properties`
pub(super) fn cluster(section: &mut Section<'_>, problems: &mut Problems) -> Option<kafka::Cluster> {
    let bootstrap = section.text("bootstrap", problems);
    if !section.has("bootstrap") {
        section.problem("bootstrap", "is missing", "write it as in bootstrap = \"k1:9092,k2:9092\"", problems);
    }
    if bootstrap.as_deref().is_some_and(|brokers| !brokers.split(',').all(is_broker)) {
        section.problem(
            "bootstrap",
            "is not a list of brokers",
            "write each as host:port, with commas between them, as in k1:9092,k2:9092",
            problems,
        );
    }
    let mut properties = section.section("properties", problems);
    let all = properties.all_texts(problems).into_iter().collect();
    Some(kafka::Cluster { bootstrap: bootstrap?, properties: kafka::Properties(all) })
}

/// Whether librdkafka would take this for a broker: host, host:port, either with a protocol before it.
fn is_broker(text: &str) -> bool {
    let text = text.trim();
    let address = match text.split_once("://") {
        Some(("PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL", address)) => address,
        Some(_) => return false,
        None => text,
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '%');
    !host.is_empty()
        && host.chars().all(legal)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn patterns(section: &mut Section<'_>, key: &'static str, problems: &mut Problems) -> Option<Vec<Pattern>> {
    section.texts(key, problems).map(|texts| texts.into_iter().map(Pattern::new).collect())
}
