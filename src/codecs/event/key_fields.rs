//! Constants in keys: what tells the rows of tables apart that share a topic, as a field of the router of Debezium does.

use super::topic::TopicTemplate;
use crate::model::{Pattern, TableName};

/// Names of fields, and what makes their texts.
pub type Templates = Vec<(String, TopicTemplate)>;

/// The fields that are added to keys.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyFields {
    /// Of tables without some of their own.
    pub all: Templates,
    /// Patterns of the source's tables in the order in which they count, and their own fields where they have some.
    pub tables: Vec<(Pattern, Option<Templates>)>,
}

impl KeyFields {
    /// Names and texts of the fields of the table that the source knows as `source` and events as `told`.
    pub fn of(&self, prefix: &str, source: &TableName, told: &TableName) -> Vec<(String, String)> {
        let name = source.to_string();
        let own = self.tables.iter().find(|(pattern, _)| pattern.matches(&name));
        let fields = own.and_then(|(_, fields)| fields.as_ref()).unwrap_or(&self.all);
        fields.iter().map(|(name, template)| (name.clone(), template.text(prefix, told))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Templates {
        vec![("origin".to_owned(), TopicTemplate::parse(text).unwrap())]
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_names_are_those_that_are_told() {
        let keys = KeyFields {
            all: fields("${prefix}.${schema}.${table}"),
            tables: vec![
                (Pattern::new("s.plain"), Some(Vec::new())),
                (Pattern::new("s.none"), None),
                (Pattern::new("s.*"), Some(fields("${table}"))),
            ],
        };
        let of = |table: &str, told: &str| {
            let found = keys.of("srv", &TableName::new("s", table), &TableName::new("s", told));
            found.into_iter().map(|(name, text)| format!("{name}={text}")).collect::<String>()
        };
        assert_eq!(of("plain", "plain"), "");
        assert_eq!(of("none", "none"), "origin=srv.s.none");
        assert_eq!(of("a b", "ä"), "origin=ä");
        let found = keys.of("srv", &TableName::new("t", "x"), &TableName::new("t", "x"));
        assert_eq!(found, [("origin".to_owned(), "srv.t.x".to_owned())]);
    }
}
