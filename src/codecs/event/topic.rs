//! The names of topics.

use crate::model::TableName;

/// The topic of a table's events: every character that Kafka refuses becomes `_`.
pub fn topic(prefix: &str, table: &TableName) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    format!("{prefix}.{}.{}", table.schema, table.name).chars().map(legal).collect()
}

/// The topic of table versions.
pub fn tables_topic(prefix: &str) -> String {
    format!("{prefix}._tailwater.tables")
}

/// The topic of progress markers.
pub fn progress_topic(prefix: &str) -> String {
    format!("{prefix}._tailwater.progress")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_refuses_becomes_an_underscore() {
        assert_eq!(topic("srv", &TableName::new("inv", "Odd.Name tbl")), "srv.inv.Odd.Name_tbl");
        assert_eq!(topic("srv", &TableName::new("ü", "a-b_c")), "srv._.a-b_c");
    }
}
