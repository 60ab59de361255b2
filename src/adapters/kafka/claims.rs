//! Whose each topic is.

use std::collections::HashMap;

use crate::codecs::event::{NameAdjustment, Topic, held_topic, progress_topic, tables_topic, topic};
use crate::model::{Error, Result, Table, TableName};

/// The tables by the topics that they are written to; where several share one, the first of them.
pub(super) struct Claims {
    control: [String; 3],
    messages: Option<String>,
    owners: HashMap<String, (Topic, TableName)>,
    schemas: HashMap<String, TableName>,
}

impl Claims {
    /// Nothing but the control topics of this prefix is taken.
    pub(super) fn new(prefix: &str) -> Claims {
        Claims {
            control: [progress_topic(prefix), tables_topic(prefix), held_topic(prefix)],
            messages: None,
            owners: HashMap::new(),
            schemas: HashMap::new(),
        }
    }

    /// Takes a topic for a table, unless it is another's that is not meant to share it.
    pub(super) fn claim(&mut self, topic: &Topic, table: &TableName) -> Result<()> {
        if self.control.contains(&topic.name) {
            return Err(Error::blocked(format!(
                "table {table} would be written to {}, which is not for events",
                topic.name
            ))
            .remedy("give it another topic"));
        }
        if self.messages.as_ref() == Some(&topic.name) {
            return Err(with_messages(&topic.name, table));
        }
        match self.owners.get(&topic.name) {
            Some((theirs, owner)) if owner != table && !theirs.shares(topic) => {
                Err(collision(&topic.name, owner, table))
            }
            Some(_) => Ok(()),
            None => {
                self.keep(topic, table);
                Ok(())
            }
        }
    }

    /// Takes the topic of messages, unless a table is written to it; later no table will be.
    pub(super) fn claim_messages(&mut self, topic: &str) -> Result<()> {
        match self.owners.get(topic) {
            Some((_, owner)) => Err(with_messages(topic, owner)),
            None => {
                self.messages = Some(topic.to_owned());
                Ok(())
            }
        }
    }

    /// Takes a table's names of schema and fields, as they are adjusted.
    pub(super) fn claim_names(&mut self, prefix: &str, table: &Table, adjustment: NameAdjustment) -> Result<()> {
        if adjustment == NameAdjustment::None {
            return Ok(());
        }
        let remedy = "set envelope.name_adjustment = \"avro_unicode\", or leave one of them out";
        if let Err(error) = adjustment.fields(table) {
            return Err(Error::blocked(format!("table {}: {error}", table.name)).remedy(remedy));
        }
        let schema = adjustment.schema(&topic(prefix, &table.name)).into_owned();
        let owner = self.schemas.entry(schema.clone()).or_insert_with(|| table.name.clone());
        if *owner == table.name {
            return Ok(());
        }
        let what = format!("the tables {owner} and {} would both have the schema {schema}", table.name);
        Err(Error::blocked(what).remedy(remedy))
    }

    /// Notes whose an adjusted name has been; the first counts.
    pub(super) fn keep_names(&mut self, prefix: &str, table: &TableName, adjustment: NameAdjustment) {
        if adjustment != NameAdjustment::None {
            let schema = adjustment.schema(&topic(prefix, table)).into_owned();
            self.schemas.entry(schema).or_insert_with(|| table.clone());
        }
    }

    /// Notes whose a topic has been; the first counts.
    pub(super) fn keep(&mut self, topic: &Topic, table: &TableName) {
        self.owners.entry(topic.name.clone()).or_insert_with(|| (topic.clone(), table.clone()));
    }
}

fn with_messages(topic: &str, table: &TableName) -> Error {
    Error::blocked(format!("table {table} and logical messages would both be written to topic {topic}"))
        .remedy("give the table another topic, or set messages = false in [sink.kafka.envelope]")
}

fn collision(topic: &str, one: &TableName, other: &TableName) -> Error {
    Error::blocked(format!("the tables {one} and {other} would both be written to topic {topic}")).remedy(
        "leave one of them out, rename it or give it a `topic` of its own; those that are meant to share one need a \
         topic template without ${schema} or ${table}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codecs::event::{TopicNames, TopicTemplate};

    #[test]
    fn a_topic_is_shared_only_by_those_that_ask_for_it_and_control_topics_by_nobody() {
        let names =
            |template: &str| TopicNames { template: TopicTemplate::parse(template).unwrap(), ..Default::default() };
        let claim = |claims: &mut Claims, template: &str, table: &str| {
            let table = TableName::new("public", table);
            claims.claim(&names(template).topic("p", &table, &table), &table)
        };
        let mut claims = Claims::new("p");
        claim(&mut claims, "${prefix}.${schema}.${table}", "a b").unwrap();
        claim(&mut claims, "${prefix}.${schema}.${table}", "a b").unwrap();
        let error = claim(&mut claims, "${prefix}.${schema}.${table}", "a_b").unwrap_err().to_string();
        assert!(["public.a b", "public.a_b", "p.public.a_b"].iter().all(|part| error.contains(part)), "{error}");
        claim(&mut claims, "events", "x").unwrap();
        claim(&mut claims, "events", "y").unwrap();
        assert!(claim(&mut claims, "p.public.a_b", "y").is_err(), "the owner did not ask for it");
        let error = claim(&mut claims, "p._tailwater.tables", "z").unwrap_err().to_string();
        assert!(error.contains("public.z"), "{error}");
        assert!(claims.claim_messages("events").is_err());
        claims.claim_messages("p.message").unwrap();
        let error = claim(&mut claims, "${prefix}.${table}", "message").unwrap_err().to_string();
        assert!(error.contains("logical messages"), "{error}");
    }
}
