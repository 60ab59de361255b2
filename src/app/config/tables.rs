//! `[[table]]`

use std::time::Duration;

use secrecy::SecretString;

use super::file::{Problems, Section};
use super::redshift::placement;
use super::sinks::{INCOMPATIBLE, RENAMED, key_fields, one_of, template};
use super::types;
use crate::adapters::postgres::Portion;
use crate::adapters::warehouse::{OwnPolicy, Policies, ViewName};
use crate::codecs::dialect::{MODES, Mode, Placement};
use crate::codecs::event::foreign::Declared;
use crate::codecs::event::{TopicNames, TopicTemplate};
use crate::logic::merge::{Limits, MISFITS};
use crate::logic::project::{Cast, Mask, Rule};
use crate::model::{Oid, Pattern, PgType};

/// What rules say to others than the projection.
#[derive(Default)]
pub(super) struct Told<'a> {
    /// Names of topics, where changes go to Kafka.
    pub(super) topics: Option<&'a mut TopicNames>,
    /// What is published, where changes come from a slot.
    pub(super) portions: Option<&'a mut Vec<Portion>>,
    /// How tables are kept, where changes go to a warehouse.
    pub(super) modes: Option<&'a mut Vec<(Pattern, Option<Mode>)>>,
    /// Where tables lie, where changes go to Redshift.
    pub(super) placements: Option<&'a mut Vec<(Pattern, Placement)>>,
    /// The pipeline's name, where a warehouse is filled.
    pub(super) pipeline: Option<&'a str>,
    /// Types of columns, where changes come from topics of others.
    pub(super) declared: Option<&'a mut Vec<Declared>>,
    /// How tables that change are followed, where changes go to a warehouse.
    pub(super) policies: Option<&'a mut Policies>,
    /// The views beside tables, where changes go to a warehouse.
    pub(super) views: Option<&'a mut Vec<(Pattern, Option<ViewName>)>>,
    /// Limits of single tables, where changes go to a warehouse.
    pub(super) limits: Option<&'a mut Vec<(Pattern, Limits)>>,
}

/// Refuses what rules ask for beside the mode, where the tables come out of Kafka.
pub(super) fn behind_kafka(rules: &[Rule], root: &Section<'_>, problems: &mut Problems) {
    let only_mode = |rule: &Rule| {
        let columns = rule.exclude.is_empty() && rule.masks.is_empty() && rule.renames.is_empty();
        columns && rule.casts.is_empty() && rule.key.is_none() && rule.rename.is_none()
    };
    if !rules.iter().all(only_mode) {
        root.problem(
            "table",
            "has no effect behind Kafka but for `mode`, `view`, `flush`, `source_column` and what begins with `on_`",
            "put it into the file of the pipeline that writes the topics",
            problems,
        );
    }
}

/// The rules.
pub(super) fn read(root: &mut Section<'_>, told: Told<'_>, problems: &mut Problems) -> Vec<Rule> {
    let Told { mut topics, mut portions, mut modes, mut placements, .. } = told;
    let Told { pipeline, mut declared, mut policies, mut views, mut limits, .. } = told;
    let mut rules = Vec::new();
    for mut section in root.sections("table", problems) {
        let topic = topic(&mut section, topics.is_some(), problems);
        let keys = key_fields(&mut section, problems);
        if keys.is_some() && topics.is_none() {
            section.problem("key_fields", "has no effect without Kafka", "remove it", problems);
        }
        let mode = mode(&mut section, modes.is_some(), problems);
        let filter = section.text("where", problems);
        if filter.is_some() && portions.is_none() {
            section.problem(
                "where",
                "has no effect behind Kafka",
                "put it into the file of the pipeline that writes the topics",
                problems,
            );
        }
        if filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
            section.problem("where", "is empty", "leave it out for all rows", problems);
        }
        let placed = placement(&mut section, problems);
        if placed.is_some() && placements.is_none() {
            section.problem("", "says distkey, diststyle or sortkey without Redshift", "remove them", problems);
        }
        let source = source(&mut section, pipeline, problems);
        let own = OwnPolicy {
            incompatible: one_of(&mut section, "on_incompatible", &INCOMPATIBLE, problems),
            renamed: one_of(&mut section, "on_rename", &RENAMED, problems),
            misfit: one_of(&mut section, "on_misfit", &MISFITS, problems),
        };
        for key in ["on_incompatible", "on_rename", "on_misfit"] {
            if policies.is_none() && section.has(key) {
                section.problem(key, "has no effect without a warehouse", "remove it", problems);
            }
        }
        let view = view(&mut section, views.is_some(), problems);
        let own_limits = own_limits(&mut section, limits.is_some(), problems);
        if let Some((rule, types)) = rule(&mut section, problems) {
            let rule = Rule { source, ..rule };
            match &mut declared {
                Some(declared) => declared.extend(types),
                None if types.is_empty() => {}
                None => section.problem(
                    "columns",
                    "types has no effect here",
                    "remove it: the source tells its types",
                    problems,
                ),
            }
            if let (Some(placements), Some(placed)) = (&mut placements, placed) {
                placements.extend(names(&rule).map(|name| (name, placed.clone())));
            }
            if policies.is_none() && !rule.casts.is_empty() {
                section.problem("columns", "casts have no effect without a warehouse", "remove columns.cast", problems);
            }
            if let Some(policies) = &mut policies {
                policies.tables.push((rule.tables.clone(), own));
            }
            if let Some(limits) = &mut limits {
                limits.push((rule.tables.clone(), own_limits));
            }
            if let Some(views) = &mut views {
                if view.as_ref().is_some_and(|view| rule.tables.as_str().contains('*') && !view.tells_tables()) {
                    let remedy = "write ${table} into it, as in view = \"reporting.${table}\"";
                    section.problem("view", "is one for several tables", remedy, problems);
                }
                views.push((rule.tables.clone(), view));
            }
            if let Some(portions) = &mut portions {
                let without = if rule.unpublished { rule.exclude.clone() } else { Vec::new() };
                portions.push(Portion { tables: rule.tables.clone(), filter, without });
            }
            if let Some(modes) = &mut modes {
                modes.push((rule.tables.clone(), mode));
            }
            if let Some(topics) = &mut topics {
                topics.tables.push((rule.tables.clone(), topic));
                topics.keys.tables.push((rule.tables.clone(), keys));
            }
            rules.push(rule);
            section.finish(problems);
        }
    }
    rules
}

fn mode(section: &mut Section<'_>, to_warehouse: bool, problems: &mut Problems) -> Option<Mode> {
    let name = section.text("mode", problems)?;
    let known = MODES.iter().find(|(known, _)| *known == name);
    if known.is_none() {
        let remedy = format!("use {}", MODES.map(|(name, _)| name).join(", "));
        section.problem("mode", format!("is {name:?}, which is none"), remedy, problems);
    } else if !to_warehouse && name != "mirror" {
        let remedy = "put it into the file of the pipeline that reads the topics into a warehouse";
        section.problem("mode", "has no effect on the way into Kafka", remedy, problems);
    }
    known.map(|(_, mode)| *mode)
}

/// `flush` of a table.
fn own_limits(section: &mut Section<'_>, to_warehouse: bool, problems: &mut Problems) -> Limits {
    if section.has("flush") && !to_warehouse {
        section.problem("flush", "has no effect without a warehouse", "remove it", problems);
    }
    let mut flush = section.section("flush", problems);
    let mut amount = |key, upto| flush.number(key, 1..=upto, problems).and_then(|n| usize::try_from(n).ok());
    let (rows, bytes) = (amount("rows", 100_000_000), amount("bytes", 1 << 34));
    let seconds = flush.number("seconds", 1..=86_400, problems).and_then(|seconds| u64::try_from(seconds).ok());
    flush.finish(problems);
    Limits { rows, bytes, after: seconds.map(Duration::from_secs) }
}

fn view(section: &mut Section<'_>, to_warehouse: bool, problems: &mut Problems) -> Option<ViewName> {
    let text = section.text_with("view", &["schema", "table"], problems)?;
    if !to_warehouse {
        section.problem("view", "has no effect without a warehouse", "remove it", problems);
    }
    let read = ViewName::parse(&text);
    if let Err(why) = read {
        section.problem("view", why, "write it as in view = \"reporting.${table}\"", problems);
    }
    read.ok()
}

/// The names under which a rule's tables are told.
fn names(rule: &Rule) -> impl Iterator<Item = Pattern> + use<> {
    let schema = rule.tables.as_str().split_once('.').map_or("*", |(schema, _)| schema).to_owned();
    let renamed = rule.rename.as_ref().map(|name| Pattern::new(format!("{schema}.{name}")));
    std::iter::once(rule.tables.clone()).chain(renamed)
}

fn topic(section: &mut Section<'_>, to_kafka: bool, problems: &mut Problems) -> Option<TopicTemplate> {
    let template = template(section, "topic", problems);
    if template.is_some() && !to_kafka {
        section.problem("topic", "has no effect without Kafka", "remove it; `rename` names the table", problems);
    }
    template
}

/// `source_column` and `source_value`
fn source(section: &mut Section<'_>, pipeline: Option<&str>, problems: &mut Problems) -> Option<(String, String)> {
    let column = section.text("source_column", problems);
    let value = section.text("source_value", problems);
    if value.is_some() && column.is_none() {
        section.problem("source_value", "has no effect", "set source_column, or remove it", problems);
    }
    let column = column?;
    if column.is_empty() || column.starts_with("_tw_") {
        section.problem("source_column", "is no name for a column", "name one that no source has", problems);
    }
    let Some(pipeline) = pipeline else {
        let remedy = "remove it here, and set it in the pipelines that fill a warehouse";
        section.problem("source_column", "has no effect without a warehouse", remedy, problems);
        return None;
    };
    Some((column, value.unwrap_or_else(|| pipeline.to_owned())))
}

fn rule(section: &mut Section<'_>, problems: &mut Problems) -> Option<(Rule, Vec<Declared>)> {
    let tables = section.text("match", problems);
    if !section.has("match") {
        section.problem("match", "is missing", "name the tables, as in match = \"public.orders\"", problems);
    }
    let key = section.texts("key", problems);
    if key.as_ref().is_some_and(Vec::is_empty) {
        section.problem("key", "names no column", "leave it out for the table's own key", problems);
    }
    let rename = section.text("rename", problems);
    if rename.as_deref() == Some("") {
        section.problem("rename", "is empty", "leave it out to keep the name", problems);
    }
    let mut columns = section.section("columns", problems);
    let exclude = columns.texts("exclude", problems).unwrap_or_default();
    let unpublished = columns.flag("pushdown", problems).unwrap_or(false);
    if unpublished && exclude.is_empty() {
        columns.problem("pushdown", "has no effect", "name the columns in columns.exclude, or remove it", problems);
    }
    // A salt for sha256, a key for hmac.
    let salt = columns.secret("salt", problems);
    let mut masked = columns.section("mask", problems);
    let mut masks = Vec::new();
    for (column, text) in masked.all_texts(problems) {
        match mask(&text, salt.as_deref()) {
            Ok(mask) => masks.push((column, mask)),
            Err((what, remedy)) => masked.problem(&column, what, remedy, problems),
        }
    }
    if let Some((both, _)) = masks.iter().find(|(column, _)| exclude.contains(column)) {
        masked.problem(both, "is left out as well", "keep one of the two", problems);
    }
    let mut typed = columns.section("types", problems);
    let mut types = Vec::new();
    for (column, text) in typed.all_texts(problems) {
        match types::parse(&text) {
            Some(found) => types.push((column, found)),
            None => typed.problem(
                &column,
                "is no type",
                "use text, bigint, numeric(12,2), timestamptz, json, ...",
                problems,
            ),
        }
    }
    let renames = renames(&mut columns, problems);
    let casts = casts(&mut columns, &masks, problems);
    columns.finish(problems);
    let tables = Pattern::new(tables?);
    let declare = |(column, (pg_type, modifier))| Declared { tables: tables.clone(), column, pg_type, modifier };
    let declared = types.into_iter().map(declare).collect();
    Some((Rule { tables, exclude, unpublished, masks, renames, casts, key, rename, source: None }, declared))
}

/// `columns.rename`
fn renames(columns: &mut Section<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut section = columns.section("rename", problems);
    let all = section.all_texts(problems);
    for (column, name) in &all {
        if name.is_empty() {
            section.problem(column, "is empty", "leave it out to keep the name", problems);
        }
    }
    all
}

/// `columns.cast`
fn casts(columns: &mut Section<'_>, masks: &[(String, Mask)], problems: &mut Problems) -> Vec<(String, Cast)> {
    let mut section = columns.section("cast", problems);
    let mut casts = Vec::new();
    for (column, text) in section.all_texts(problems) {
        match PgType::declared(&text) {
            Some((oid, pg_type, modifier)) => casts.push((column, Cast { oid: Oid(oid), pg_type, modifier })),
            None => {
                let remedy =
                    "write it as PostgreSQL prints it, as in \"double precision\", \"bigint\" or \"numeric(12,2)\"";
                section.problem(&column, format!("is {text:?}, which is no built-in type"), remedy, problems);
            }
        }
    }
    if let Some((both, _)) = casts.iter().find(|(column, _)| masks.iter().any(|(masked, _)| masked == column)) {
        section.problem(both, "is masked as well, so it is a text", "keep one of the two", problems);
    }
    casts
}

fn mask(text: &str, salt: Option<&str>) -> Result<Mask, (&'static str, &'static str)> {
    let secret = || SecretString::from(salt.unwrap_or_default().to_owned());
    match text {
        "sha256" => Ok(Mask::Sha256 { salt: secret() }),
        "hmac" if salt.is_none_or(str::is_empty) => {
            Err(("needs a key", "set columns.salt, best as \"${VARIABLE}\" or \"file:PATH\""))
        }
        "hmac" => Ok(Mask::Hmac { key: secret() }),
        "redact" => Ok(Mask::Redact),
        other => {
            let characters = other.strip_prefix("truncate(").and_then(|rest| rest.strip_suffix(')'));
            let characters = characters.and_then(|number| number.parse().ok());
            characters.map(Mask::Truncate).ok_or(("is no mask", "use sha256, hmac, redact or truncate(N)"))
        }
    }
}
