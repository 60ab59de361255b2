//! Views beside the targets, which keep the names that columns once had, and `_tailwater.views`, what they were made of.

use super::columns::of;
use super::{list, literal, quote, table};
use crate::model::TableName;

/// A column of a view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its name in the view.
    pub name: String,
    /// The target's column that it shows.
    pub column: String,
}

/// A view as it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Where it is.
    pub name: TableName,
    /// Its columns, in order.
    pub columns: Vec<Shown>,
}

/// A query for a target's view: its schema and name, each column and what it shows, in order.
pub(super) fn read(place: &str, pipeline: &str, target: &TableName) -> String {
    let of = of(pipeline, target);
    format!("SELECT view_schema, view_name, shown_name, target_column FROM {place} WHERE {of} ORDER BY place")
}

/// Notes what a target's view is made of; `None` when it has none any more.
pub(super) fn write(place: &str, pipeline: &str, target: &TableName, view: Option<&View>) -> Vec<String> {
    let mut statements = vec![format!("DELETE FROM {place} WHERE {}", of(pipeline, target))];
    let whose = [pipeline, &target.schema, &target.name].map(literal).join(", ");
    let rows = view.into_iter().flat_map(|view| {
        let of = [&view.name.schema, &view.name.name].map(|name| literal(name)).join(", ");
        let row = |(at, shown): (usize, &Shown)| {
            format!("({whose}, {of}, {at}, {}, {})", literal(&shown.name), literal(&shown.column))
        };
        view.columns.iter().enumerate().map(row).collect::<Vec<_>>()
    });
    let rows = list(rows);
    statements.extend((!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO {place} (pipeline, target_schema, target_table, view_schema, view_name, place, shown_name, target_column) VALUES {rows}"
        )
    }));
    statements
}

/// Creates the table.
pub(super) fn create(place: &str, text: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {place} (pipeline {text} NOT NULL, target_schema {text} NOT NULL, target_table {text} NOT NULL, \
         view_schema {text} NOT NULL, view_name {text} NOT NULL, place integer NOT NULL, shown_name {text} NOT NULL, target_column {text} NOT NULL)"
    )
}

/// Makes the view, or makes it what it is to be; `bound` says how it depends on the target.
pub(super) fn show(view: &View, target: &TableName, bound: &str) -> Vec<String> {
    let columns = view.columns.iter().map(|shown| match shown.name == shown.column {
        true => quote(&shown.name),
        false => format!("{} AS {}", quote(&shown.column), quote(&shown.name)),
    });
    vec![
        format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&view.name.schema)),
        format!(
            "CREATE OR REPLACE VIEW {} AS SELECT {} FROM {}{bound}",
            table(&view.name),
            list(columns),
            table(target)
        ),
    ]
}
