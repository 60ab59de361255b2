//! The names of topics: a template for the pipeline, and others for single tables.
//!
//! Why no two tables get into one topic by accident: a template that names both schema and table makes a topic for each
//! table, and two that come to the same name only because Kafka refuses characters collide. A template that leaves one of
//! them out asks for the tables that differ in it to share the topic.

use super::key_fields::KeyFields;
use crate::model::{Pattern, TableName};

/// How a topic's name is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicTemplate(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Prefix,
    Schema,
    Table,
}

/// What templates may name, as `${prefix}`.
pub const PLACEHOLDERS: [&str; 3] = ["prefix", "schema", "table"];

/// A text that can't make names of topics: what is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(&'static str);

impl Default for TopicTemplate {
    fn default() -> TopicTemplate {
        let point = || Part::Text(".".to_owned());
        TopicTemplate(vec![Part::Prefix, point(), Part::Schema, point(), Part::Table])
    }
}

impl TopicTemplate {
    /// Reads `${prefix}.${schema}.${table}` and the like.
    pub fn parse(text: &str) -> Result<TopicTemplate, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = rest.split_once("${").map_or((rest, None), |(before, after)| (before, Some(after)));
            if !before.chars().all(legal) {
                return Err(TemplateError("holds characters that Kafka refuses"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or(TemplateError("has a ${ without its }"))?;
            parts.push(match name {
                "prefix" => Part::Prefix,
                "schema" => Part::Schema,
                "table" => Part::Table,
                _ => return Err(TemplateError("names something else than prefix, schema and table")),
            });
            rest = after;
        }
        if parts.is_empty() { Err(TemplateError("is empty")) } else { Ok(TopicTemplate(parts)) }
    }

    /// The text that it makes for a table.
    pub(super) fn text(&self, prefix: &str, table: &TableName) -> String {
        let part = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Prefix => prefix.to_owned(),
            Part::Schema => table.schema.clone(),
            Part::Table => table.name.clone(),
        };
        self.0.iter().map(part).collect()
    }
}

/// The templates in force.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TopicNames {
    /// For tables without one of their own.
    pub template: TopicTemplate,
    /// Patterns of the source's tables in the order in which they count, and the template where one is set.
    pub tables: Vec<(Pattern, Option<TopicTemplate>)>,
    /// What is added to keys, so that tables of one topic have none in common.
    pub keys: KeyFields,
}

/// A table's topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What the template says, before what Kafka refuses is replaced.
    said: String,
    /// Whether other tables may be written to it too.
    shared: bool,
}

impl TopicNames {
    /// The topic of the table that the source knows as `source` and events as `told`.
    pub fn topic(&self, prefix: &str, source: &TableName, told: &TableName) -> Topic {
        let name = source.to_string();
        let of_table = self.tables.iter().find(|(pattern, _)| pattern.matches(&name));
        let template = of_table.and_then(|(_, template)| template.as_ref()).unwrap_or(&self.template);
        let said = template.text(prefix, told);
        // As Java counts characters: one above U+FFFF is two.
        let name = said.chars().map(|c| if legal(c) { c.to_string() } else { "_".repeat(c.len_utf16()) }).collect();
        let shared = !(template.0.contains(&Part::Schema) && template.0.contains(&Part::Table));
        Topic { name, said, shared }
    }

    /// Whether every table's topic follows from its name in events alone.
    pub fn plain(&self) -> bool {
        self.template == TopicTemplate::default() && self.tables.iter().all(|(_, template)| template.is_none())
    }
}

impl Topic {
    /// Whether another table, whose topic this is too, is meant to be in it.
    pub fn shares(&self, other: &Topic) -> bool {
        self.shared && other.shared && self.said == other.said
    }
}

fn legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// `<prefix>.<schema>.<table>`, the topic of a table where no template says otherwise: every character that Kafka
/// refuses becomes `_`, one above U+FFFF two of them.
pub fn topic(prefix: &str, table: &TableName) -> String {
    TopicNames::default().topic(prefix, table, table).name
}

/// The topic of table versions.
pub fn tables_topic(prefix: &str) -> String {
    format!("{prefix}._tailwater.tables")
}

/// The topic where changes of stopped tables wait.
pub fn held_topic(prefix: &str) -> String {
    format!("{prefix}._tailwater.held")
}

impl Topic {
    /// The topic of logical messages.
    pub fn of_messages(prefix: &str) -> Topic {
        let name = format!("{prefix}.message");
        Topic { said: name.clone(), name, shared: false }
    }
}

/// The topic of progress markers.
pub fn progress_topic(prefix: &str) -> String {
    format!("{prefix}._tailwater.progress")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(template: &str, tables: &[(&str, Option<&str>)]) -> TopicNames {
        let parse = |text: &str| TopicTemplate::parse(text).unwrap();
        let tables = tables.iter().map(|(pattern, template)| (Pattern::new(*pattern), template.map(parse)));
        TopicNames { template: parse(template), tables: tables.collect(), keys: KeyFields::default() }
    }

    fn of(names: &TopicNames, schema: &str, table: &str) -> Topic {
        let name = TableName::new(schema, table);
        names.topic("srv", &name, &name)
    }

    #[test]
    fn what_kafka_refuses_becomes_an_underscore() {
        assert_eq!(topic("srv", &TableName::new("inv", "Odd.Name tbl")), "srv.inv.Odd.Name_tbl");
        assert_eq!(topic("srv", &TableName::new("ü", "a-b_c")), "srv._.a-b_c");
        assert_eq!(topic("srv", &TableName::new("s", "😀")), "srv.s.__");
    }

    #[test]
    fn a_template_names_topics_and_the_first_rule_that_matches_counts() {
        let names = names(
            "cdc-${schema}-${table}",
            &[("s.a", None), ("s.*", Some("${prefix}.${table}")), ("s.a", Some("never")), ("t.*", Some("all"))],
        );
        for (schema, table, expected) in
            [("s", "a", "cdc-s-a"), ("s", "b c", "srv.b_c"), ("t", "x", "all"), ("u", "x", "cdc-u-x")]
        {
            assert_eq!(of(&names, schema, table).name, expected);
        }
        let told = names.topic("srv", &TableName::new("s", "b"), &TableName::new("s", "renamed"));
        assert_eq!(told.name, "srv.renamed", "patterns are of the source, names are those that are told");
    }

    #[test]
    fn tables_share_a_topic_where_its_template_leaves_out_what_differs() {
        let by_table = names("${prefix}.${table}", &[]);
        assert!(of(&by_table, "one", "orders").shares(&of(&by_table, "two", "orders")));
        assert!(
            !of(&by_table, "one", "a b").shares(&of(&by_table, "one", "a_b")),
            "only Kafka's rules make them equal"
        );
        let each = names("${prefix}.${schema}.${table}", &[]);
        assert!(!of(&each, "a", "b.c").shares(&of(&each, "a.b", "c")));
        let one = names("${prefix}.${schema}.${table}", &[("s.*", Some("srv.t.x"))]);
        assert!(of(&one, "s", "a").shares(&of(&one, "s", "b")));
        assert!(!of(&one, "s", "a").shares(&of(&one, "t", "x")), "the other table did not ask for it");
    }

    #[test]
    fn a_text_that_makes_no_names_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("a b", "refuses"),
            ("ä.${table}", "refuses"),
            ("${table", "without"),
            ("${tabel}", "something else"),
        ] {
            let error = TopicTemplate::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(names("${prefix}.${schema}.${table}", &[("s.*", None)]).plain());
        assert!(!names("${table}", &[]).plain());
    }
}
