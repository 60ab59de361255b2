//! Whose each topic is.

use std::collections::HashMap;

use crate::codecs::event::{Topic, progress_topic, tables_topic};
use crate::model::{Error, Result, TableName};

/// The tables by the topics that they are written to; where several share one, the first of them.
pub(super) struct Claims {
    control: [String; 2],
    owners: HashMap<String, (Topic, TableName)>,
}

impl Claims {
    /// Nothing but the control topics of this prefix is taken.
    pub(super) fn new(prefix: &str) -> Claims {
        Claims { control: [progress_topic(prefix), tables_topic(prefix)], owners: HashMap::new() }
    }

    /// Takes a topic for a table, unless it is another's that is not meant to share it.
    pub(super) fn claim(&mut self, topic: &Topic, table: &TableName) -> Result<()> {
        if self.control.contains(&topic.name) {
            return Err(Error::blocked(format!(
                "table {table} would be written to {}, which says how far the others are",
                topic.name
            ))
            .remedy("give it another topic"));
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

    /// Notes whose a topic has been; the first counts.
    pub(super) fn keep(&mut self, topic: &Topic, table: &TableName) {
        self.owners.entry(topic.name.clone()).or_insert_with(|| (topic.clone(), table.clone()));
    }
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
    }
}
