//! `[sink.*]`

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::file::{Problems, Section};
use super::sources::{cluster, endpoint};
use super::{DuckdbFile, Sink, kafka, redshift, warehouse};
use crate::codecs::event::{
    ADDED, DELETES, FORMATS, Flat, Format, KeyFields, Modes, PLACEHOLDERS, Settings, Shapes, Templates, TopicNames,
    TopicTemplate,
};
use crate::logic::merge::{Incompatible, MISFITS, Policy, Renamed};
use crate::logic::project::Origins;
use crate::model::{Pattern, Patterns};

/// Bytes of records on their way to the brokers.
const BUFFER: usize = 16 << 20;
/// As much as merges well at once; it waits as long as flushes cost, up to ten seconds.
const FLUSH: warehouse::Flush = warehouse::Flush { rows: 100_000, bytes: 16 << 20, after: Duration::from_secs(10) };
/// DuckDB's memory is this process's.
const DUCKDB: warehouse::Flush = warehouse::Flush { bytes: 8 << 20, ..FLUSH };

pub(super) fn read(sink: &mut Section<'_>, name: &str, database: &str, problems: &mut Problems) -> Option<Sink> {
    let mut to_kafka = sink.section("kafka", problems);
    let mut to_postgres = sink.section("postgres", problems);
    let mut to_duckdb = sink.section("duckdb", problems);
    let mut to_redshift = sink.section("redshift", problems);
    let present = [to_kafka.present(), to_postgres.present(), to_duckdb.present(), to_redshift.present()];
    match present.iter().filter(|present| **present).count() {
        0 => {
            sink.problem(
                "",
                "names no sink",
                "write [sink.kafka], [sink.postgres], [sink.duckdb] or [sink.redshift]",
                problems,
            );
            return None;
        }
        1 => {}
        _ => {
            sink.problem("", "names more than one sink", "keep one; run one process for each sink", problems);
            return None;
        }
    }
    if to_kafka.present() {
        let options = to_topics(&mut to_kafka, name, database, problems);
        to_kafka.finish(problems);
        options.map(|options| Sink::Kafka(Box::new(options)))
    } else if to_redshift.present() {
        let sink = redshift::read(&mut to_redshift, name, problems);
        to_redshift.finish(problems);
        sink
    } else if to_postgres.present() {
        let endpoint = endpoint(&mut to_postgres, problems);
        let options = warehouse_options(&mut to_postgres, name, FLUSH, problems);
        to_postgres.finish(problems);
        endpoint.map(|endpoint| Sink::Postgres(options, endpoint))
    } else {
        let path = to_duckdb.text("path", problems);
        if !to_duckdb.has("path") {
            to_duckdb.problem("path", "is missing", "write it as in path = \"warehouse.duckdb\"", problems);
        }
        // DuckDB takes these for a database in memory, which would be gone with the process.
        if path.as_deref().is_some_and(|path| path.trim().is_empty() || path.starts_with(":memory:")) {
            to_duckdb.problem("path", "names no file", "write it as in path = \"warehouse.duckdb\"", problems);
        }
        let options = warehouse_options(&mut to_duckdb, name, DUCKDB, problems);
        to_duckdb.finish(problems);
        path.map(|path| Sink::Duckdb(options, DuckdbFile { path: path.into() }))
    }
}

pub(super) fn warehouse_options(
    section: &mut Section<'_>,
    name: &str,
    usual: warehouse::Flush,
    problems: &mut Problems,
) -> warehouse::Options {
    let schema = section.text("schema", problems);
    let retry = section.number("retry_stopped_seconds", 1..=86_400, problems);
    let stop = match section.text("stop", problems).as_deref() {
        None | Some("table") => warehouse::Reach::Table,
        Some("pipeline") => warehouse::Reach::Pipeline,
        Some(_) => {
            section.problem("stop", "is none of its values", "use \"table\" or \"pipeline\"", problems);
            warehouse::Reach::Table
        }
    };
    let policies = warehouse::Policies {
        all: Policy {
            incompatible: one_of(section, "on_incompatible", &INCOMPATIBLE, problems).unwrap_or_default(),
            renamed: one_of(section, "on_rename", &RENAMED, problems).unwrap_or_default(),
            misfit: one_of(section, "on_misfit", &MISFITS, problems).unwrap_or_default(),
        },
        // Those of single tables are read later.
        tables: Vec::new(),
    };
    let mut flush = section.section("flush", problems);
    let number = |given: Option<i64>, default: usize| given.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let rows = number(flush.number("rows", 1..=100_000_000, problems), usual.rows);
    let bytes = number(flush.number("bytes", 1..=(1 << 34), problems), usual.bytes);
    let seconds = flush.number("seconds", 1..=86_400, problems);
    flush.finish(problems);
    let adaptive = seconds.is_none();
    let after = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(usual.after, Duration::from_secs);
    let flush = warehouse::Flush { rows, bytes, after };
    let retry = Duration::from_secs(retry.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30));
    // What a run adds is known later.
    warehouse::Options { schema, stop, policies, retry, adaptive, ..warehouse::Options::new(name, flush) }
}

/// What becomes of a column whose type does not fit.
pub(super) const INCOMPATIBLE: [(&str, Incompatible); 2] =
    [("stop", Incompatible::Stop), ("new_column", Incompatible::NewColumn)];
/// What becomes of one that was renamed.
pub(super) const RENAMED: [(&str, Renamed); 2] = [("follow", Renamed::Follow), ("keep", Renamed::Keep)];

/// One of several words.
pub(super) fn one_of<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let given = section.text(key, problems)?;
    let found = words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value);
    if found.is_none() {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        section.problem(key, format!("is {given:?}, which is none"), format!("use {}", all.join(" or ")), problems);
    }
    found
}

fn to_topics(
    section: &mut Section<'_>,
    name: &str,
    database: &str,
    problems: &mut Problems,
) -> Option<kafka::SinkOptions> {
    let cluster = cluster(section, problems);
    let prefix = section.text("prefix", problems).unwrap_or_else(|| name.to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(legal) {
        section.problem(
            "prefix",
            "can't begin a topic's name",
            "use up to 100 letters, digits, `.`, `_` and `-`",
            problems,
        );
    }
    let format = format(section, problems).unwrap_or_default();
    if !section.has("format") {
        let remedy = "set format = \"avro\" (with a registry), \"json\" or \"protobuf\"";
        section.problem("format", "is missing", remedy, problems);
    }
    let registry = registry(section, format, problems);
    let guarantee = section.text("delivery", problems).map(|name| {
        let known = kafka::GUARANTEES.iter().find(|(known, _)| *known == name);
        if known.is_none() {
            let remedy = format!("use {}", kafka::GUARANTEES.map(|(name, _)| name).join(" or "));
            section.problem("delivery", format!("is {name:?}, which is none"), remedy, problems);
        }
        known.map(|(_, guarantee)| *guarantee).unwrap_or_default()
    });
    let retry = section.number("retry_stopped_seconds", 1..=86_400, problems);
    let large_records = section.text("large_records", problems).map(|name| {
        let known = kafka::LARGE_RECORDS.iter().find(|(known, _)| *known == name);
        if known.is_none() {
            let remedy = format!("use {}", kafka::LARGE_RECORDS.map(|(name, _)| name).join(" or "));
            section.problem("large_records", format!("is {name:?}, which is none"), remedy, problems);
        }
        known.map(|(_, large)| *large).unwrap_or_default()
    });
    let mut topic = section.section("topic", problems);
    let small = |given: Option<i64>, default: i32| given.and_then(|n| i32::try_from(n).ok()).unwrap_or(default);
    let partitions = small(topic.number("partitions", 1..=10_000, problems), 4);
    let replication = small(topic.number("replication", 1..=100, problems), 3);
    let template = template(&mut topic, "name", problems).unwrap_or_default();
    let keys = KeyFields { all: key_fields(&mut topic, problems).unwrap_or_default(), tables: Vec::new() };
    topic.finish(problems);
    let mut envelope = section.section("envelope", problems);
    let mut events = Settings::new(prefix, database);
    for (key, flag) in [
        ("tombstones", &mut events.tombstones),
        ("truncates", &mut events.truncates),
        ("inline_schema", &mut events.inline_schema),
    ] {
        *flag = envelope.flag(key, problems).unwrap_or(*flag);
    }
    if let Some(placeholder) = envelope.text("placeholder", problems) {
        events.placeholder = placeholder;
    }
    let context_headers = envelope.flag("context_headers", problems).unwrap_or(true);
    let messages = messages(&mut envelope, problems);
    let transaction_metadata = envelope.flag("transaction_metadata", problems).unwrap_or(false);
    let heartbeat = envelope.number("heartbeat_seconds", 0..=86_400, problems);
    events.modes.format = format;
    for (key, names) in Modes::keys() {
        if let Some(name) = envelope.text(key, problems).filter(|name| !events.modes.set(key, name)) {
            envelope.problem(
                key,
                format!("is {name:?}, which is no mode"),
                format!("use {}", names.join(", ")),
                problems,
            );
        }
    }
    events.flat = flat(&mut envelope, &events.modes, problems);
    if format == Format::Protobuf {
        no_modes(&mut envelope, problems);
    }
    envelope.finish(problems);
    Some(kafka::SinkOptions {
        pipeline: name.to_owned(),
        cluster: cluster?,
        events,
        // Those of single tables are read later.
        topics: TopicNames { template, tables: Vec::new(), keys },
        origins: Origins::default(),
        partitions,
        replication,
        messages,
        registry,
        context_headers,
        transaction_metadata,
        heartbeat_seconds: heartbeat.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
        outboxes: Vec::new(),
        // Both are of other sections.
        rules: Vec::new(),
        wanted: Patterns::default(),
        retry_seconds: retry.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30),
        large_records: large_records.unwrap_or_default(),
        buffer_bytes: BUFFER,
        guarantee: guarantee.unwrap_or_default(),
        // What the source is asked for is known later.
        reading: String::new(),
        own: Arc::default(),
    })
}

/// A template for names of topics.
pub(super) fn template(section: &mut Section<'_>, key: &'static str, problems: &mut Problems) -> Option<TopicTemplate> {
    let text = section.text_with(key, &PLACEHOLDERS, problems)?;
    let parsed = TopicTemplate::parse(&text);
    if let Err(error) = &parsed {
        let remedy = "use letters, digits, `.`, `_`, `-` and ${prefix}, ${schema}, ${table}";
        section.problem(key, error.to_string(), remedy, problems);
    }
    parsed.ok()
}

/// What is added to keys: names of fields, and templates of their texts.
pub(super) fn key_fields(section: &mut Section<'_>, problems: &mut Problems) -> Option<Templates> {
    let mut fields = section.section("key_fields", problems);
    if !fields.present() {
        return None;
    }
    let mut templates = Vec::new();
    for (name, text) in fields.all_texts_with(&PLACEHOLDERS, problems) {
        match TopicTemplate::parse(&text) {
            Ok(template) => templates.push((name, template)),
            Err(error) => {
                let remedy = "use letters, digits, `.`, `_`, `-` and ${prefix}, ${schema}, ${table}";
                fields.problem(&name, error.to_string(), remedy, problems);
            }
        }
    }
    Some(templates)
}

/// `format`
pub(super) fn format(section: &mut Section<'_>, problems: &mut Problems) -> Option<Format> {
    let name = section.text("format", problems)?;
    let found = FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
    if found.is_none() {
        let remedy = format!("use {}", FORMATS.map(|(known, _)| known).join(", "));
        section.problem("format", format!("is {name:?}, which is no format"), remedy, problems);
    }
    found
}

/// Refuses what would say how types are told, where there is one way only.
fn no_modes(envelope: &mut Section<'_>, problems: &mut Problems) {
    let modes = Modes::keys().map(|(key, _)| key).into_iter().filter(|key| *key != "unknown");
    for key in modes.chain(["placeholder", "inline_schema", "flat"]) {
        if envelope.has(key) {
            let remedy = "remove it: Protobuf tells every value without loss, in one way; or use another format";
            envelope.problem(key, "has no effect with format = \"protobuf\"", remedy, problems);
        }
    }
}

/// `registry` and `[sink.kafka.registry_options]`
pub(super) fn registry(
    section: &mut Section<'_>,
    format: Format,
    problems: &mut Problems,
) -> Option<kafka::RegistryOptions> {
    let given = section.secret("registry", problems).filter(|urls| !urls.is_empty());
    let mut more = section.section("registry_options", problems);
    let user = more.text("user", problems);
    let password = more.secret("password", problems);
    let token = more.secret("token", problems);
    let authorities = more.text("authorities", problems);
    let register = more.flag("register", problems).unwrap_or(true);
    let mut subjects = kafka::Subjects::default();
    if let Some(name) = more.text("subjects", problems) {
        match kafka::SUBJECTS.iter().find(|(known, _)| *known == name) {
            Some((_, known)) => subjects = *known,
            None => {
                let names: Vec<_> = kafka::SUBJECTS.iter().map(|(name, _)| *name).collect();
                more.problem("subjects", "is no way to name subjects", format!("use {}", names.join(", ")), problems);
            }
        }
    }
    if user.is_some() && token.is_some() {
        more.problem("token", "is a second way to log in", "keep one of user and token", problems);
    }
    more.finish(problems);
    let Some(given) = given else {
        if format == Format::Avro {
            let remedy = "write it as in registry = \"http://registry:8081\"";
            section.problem("registry", "is missing: Avro's schemas are kept there", remedy, problems);
        }
        return None;
    };
    let mut login = match (user, token) {
        (Some(user), _) => kafka::Login::Basic(user, SecretString::from(password.unwrap_or_default())),
        (None, Some(token)) => kafka::Login::Bearer(SecretString::from(token)),
        (None, None) => kafka::Login::None,
    };
    let mut urls = Vec::new();
    for text in given.split(',').map(str::trim) {
        match url::Url::parse(text) {
            Ok(mut url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                if !url.username().is_empty() {
                    let decoded =
                        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
                    let password = SecretString::from(decoded(url.password().unwrap_or_default()));
                    login = kafka::Login::Basic(decoded(url.username()), password);
                }
                // Neither can fail: there is a host.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                urls.push(url.to_string());
            }
            _ => {
                let remedy = "write it as in registry = \"http://registry:8081\", several with commas between them";
                section.problem("registry", "is no address of a registry", remedy, problems);
            }
        }
    }
    let authorities = authorities.map(Into::into);
    Some(kafka::RegistryOptions { urls, login, authorities, subjects, register })
}

/// The logical messages that are told, by their prefixes: all of them unless something else is said.
fn messages(envelope: &mut Section<'_>, problems: &mut Problems) -> Option<Patterns> {
    let told = envelope.flag("messages", problems).unwrap_or(true);
    let mut patterns = |key: &'static str| {
        let given = envelope.texts(key, problems);
        if given.is_some() && !told {
            envelope.problem(key, "has no effect", "set messages = true, or remove it", problems);
        }
        given.unwrap_or_default().into_iter().map(Pattern::new).collect()
    };
    let patterns = Patterns { include: patterns("message_prefixes"), exclude: patterns("message_prefixes_exclude") };
    told.then_some(patterns)
}

/// `[sink.kafka.envelope.flat]`
fn flat(envelope: &mut Section<'_>, modes: &Modes, problems: &mut Problems) -> Flat {
    let mut flat = Flat::default();
    let mut section = envelope.section("flat", problems);
    if section.present() && modes.kind != Shapes::Flat {
        section.problem("", "has no effect", "set envelope.kind = \"flat\", or remove it", problems);
    }
    let names = |names: Vec<&str>| format!("use {}", names.join(", "));
    if let Some(deletes) = section.text("deletes", problems) {
        let all = || names(DELETES.map(|(name, _)| name).into());
        match DELETES.iter().find(|(name, _)| *name == deletes) {
            Some((_, deletes)) => flat.deletes = *deletes,
            None => section.problem("deletes", "is not a way to tell deletes", all(), problems),
        }
    }
    for field in section.texts("fields", problems).unwrap_or_default() {
        let all = || names(ADDED.map(|(name, _)| name).into());
        match ADDED.iter().find(|(name, _)| *name == field) {
            Some((_, added)) => flat.fields.push(*added),
            None => section.problem("fields", format!("names {field:?}, which can't be added"), all(), problems),
        }
    }
    section.finish(problems);
    flat
}
