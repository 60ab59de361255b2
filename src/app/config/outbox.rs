//! `[[outbox]]`

use super::file::{Problems, Section};
use super::kafka;
use crate::adapters::kafka::{OutboxOptions, OutboxSource};
use crate::codecs::event::{OutboxColumns, PAYLOADS, Payload};
use crate::model::Pattern;

/// What stands for the value that chooses the topic.
const ROUTE: &str = "route";

/// Reads all sections; they say something for events on Kafka only.
pub(super) fn read(root: &mut Section<'_>, to: Option<&mut kafka::SinkOptions>, problems: &mut Problems) {
    let sections = root.sections("outbox", problems);
    let Some(to) = to else {
        if !sections.is_empty() {
            root.problem("outbox", "has no effect without [sink.kafka]", "remove it", problems);
        }
        return;
    };
    for mut section in sections {
        if let Some(outbox) = outbox(&mut section, problems) {
            to.outboxes.push(outbox);
        }
        section.finish(problems);
    }
}

fn outbox(section: &mut Section<'_>, problems: &mut Problems) -> Option<OutboxOptions> {
    let (table, message) = (section.text("match", problems), section.text("message", problems));
    let source = match (table, message) {
        (Some(table), None) => OutboxSource::Table(Pattern::new(table)),
        (None, Some(prefix)) => OutboxSource::Messages(Pattern::new(prefix)),
        _ => {
            let remedy = "write match = \"public.outbox\" for a table, or message = \"outbox\" for logical messages";
            section.problem("match", "is to be given, or message, and not both", remedy, problems);
            return None;
        }
    };
    let topic = section.text_with("topic", &[ROUTE], problems).unwrap_or_else(|| "outbox.event.${route}".to_owned());
    let mut columns = OutboxColumns::default();
    for (key, column) in [
        ("id", &mut columns.id),
        ("route", &mut columns.route),
        ("key", &mut columns.key),
        ("payload", &mut columns.payload),
    ] {
        if let Some(given) = section.text(key, problems) {
            *column = given;
        }
    }
    columns.timestamp = section.text("timestamp", problems);
    let mut headers = section.section("headers", problems);
    columns.headers = headers.all_texts(problems);
    if let Some((header, _)) = columns.headers.iter().find(|(_, header)| header == "id" || header.starts_with("tw.")) {
        headers.problem(header, "is a header of Tailwater's own", "give it another name", problems);
    }
    let mut payload = Payload::default();
    if let Some(form) = section.text("form", problems) {
        match PAYLOADS.iter().find(|(name, _)| *name == form) {
            Some((_, known)) => payload = *known,
            None => section.problem("form", "is no form of payloads", "use raw or expanded", problems),
        }
    }
    Some(OutboxOptions { source, topic, columns, payload })
}
