//! A table's shape: what the stream says of it, explained by the catalog.

use std::collections::{HashMap, HashSet};

use super::defaults::default;
use crate::codecs::pgoutput::{Relation, RelationColumn};
use crate::model::{Birth, Column, Oid, PgType, ReplicaIdentity, Table, TableName};

/// What the catalog says of a table now. The stream may be behind it, so it only explains the stream's columns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// The types that are not built in, by OID; a domain is the type beneath it.
    pub types: HashMap<Oid, PgType>,
    /// The modifiers that domains give their columns, by the domain's OID.
    pub modifiers: HashMap<Oid, i32>,
    /// The columns declared NOT NULL.
    pub required: HashSet<String>,
    /// The primary key's columns in its order; empty without one.
    pub primary_key: Vec<String>,
    /// The columns of the replica identity's index in its order; empty without one.
    pub identity_index: Vec<String>,
    /// The columns, all NOT NULL, of the first unique index by name in its order; empty without one.
    pub unique_index: Vec<String>,
    /// The expressions of the columns that have a default, as `pg_get_expr` prints them.
    pub defaults: HashMap<String, String>,
    /// The columns' numbers.
    pub numbers: HashMap<String, u16>,
    /// The columns' types of now; none where the numbers are those of then.
    pub type_oids: HashMap<String, Oid>,
    /// Whether the stream has all of the columns with numbers.
    pub whole: bool,
    /// What columns had in the rows that were there when they were added.
    pub fills: HashMap<String, String>,
}

/// The table that rows under `relation` belong to; its version is left at 0.
///
/// Columns, their order, types and modifiers are the relation's. A column that the catalog does not know any more may
/// be NULL for all we know.
pub fn shape(relation: &Relation, catalog: &Description) -> Table {
    let numbers = numbers(relation, catalog);
    let columns = relation.columns.iter().zip(numbers).map(|(column, number)| explained(column, number, catalog));
    let schema = if relation.schema.is_empty() { "pg_catalog" } else { &relation.schema };
    Table {
        oid: relation.oid,
        name: TableName::new(schema, &relation.name),
        version: 0,
        columns: columns.collect(),
        identity: relation.identity,
        key: key(relation, catalog),
    }
}

/// The columns' numbers: those of now, where they are those of then; 0 where that is not sure.
fn numbers(relation: &Relation, catalog: &Description) -> Vec<u16> {
    let all: Vec<u16> =
        relation.columns.iter().map(|column| catalog.numbers.get(&column.name).copied().unwrap_or(0)).collect();
    let possible = |(place, number): (usize, u16)| {
        let column = relation.columns.get(place).filter(|column| possible(column, place, number, catalog));
        column.map_or(0, |_| number)
    };
    between(in_order(all).into_iter().enumerate().map(possible).collect())
}

/// Whether the column at this place may have been the one that has the number now. One of another type is another column,
/// or was altered since: its name finds it. And one that was made after others that the relation has no room for is not
/// the relation's.
fn possible(column: &RelationColumn, place: usize, number: u16, catalog: &Description) -> bool {
    let same_type = catalog.type_oids.get(&column.name).is_none_or(|oid| *oid == column.type_oid);
    let before = catalog.numbers.values().filter(|other| **other < number).count();
    same_type && (!catalog.whole || before <= place)
}

/// The numbers that are in order; 0 in the place of others.
///
/// A relation has its columns by their numbers, so a column whose name is another's by now stands out of the order. Only
/// those count that are in order however many others are taken out.
fn in_order(all: Vec<u16>) -> Vec<u16> {
    if all.is_sorted_by(|a, b| a < b) && all.first() != Some(&0) {
        return all;
    }
    // The longest row of rising numbers that ends at a column, and that begins there.
    let ends = rising(all.iter().copied().map(i32::from));
    let mut begins = rising(all.iter().rev().map(|&number| -i32::from(number)));
    begins.reverse();
    let longest = ends.iter().max().copied().unwrap_or(0);
    let in_one: Vec<bool> = ends.iter().zip(&begins).map(|(e, b)| *e > 0 && *b > 0 && e + b - 1 == longest).collect();
    let alone = |end: usize| ends.iter().zip(&in_one).filter(|(e, of)| **of && **e == end).count() == 1;
    let sure = all.iter().zip(&ends).zip(&in_one);
    sure.map(|((number, end), of)| if *of && alone(*end) { *number } else { 0 }).collect()
}

/// Numbers that lie between two others, where there are as many as columns between.
fn between(mut numbers: Vec<u16>) -> Vec<u16> {
    let (mut last, mut unknown) = (0_u16, 0_u16);
    for at in 0..numbers.len() {
        match numbers.get(at).copied().unwrap_or(0) {
            0 => unknown += 1,
            next => {
                if unknown > 0 && next.checked_sub(last) == Some(unknown + 1) {
                    let gap = numbers.iter_mut().take(at).skip(at - usize::from(unknown));
                    gap.zip(last + 1..).for_each(|(number, between)| *number = between);
                }
                (last, unknown) = (next, 0);
            }
        }
    }
    numbers
}

/// For each number, how long the longest row of rising numbers is that ends with it; 0 for one that is not known.
fn rising(numbers: impl Iterator<Item = i32>) -> Vec<usize> {
    let mut before: Vec<(i32, usize)> = Vec::new();
    for number in numbers {
        let longest = before.iter().filter(|(other, length)| *length > 0 && *other < number).map(|(_, l)| *l).max();
        before.push((number, if number == 0 { 0 } else { longest.unwrap_or(0) + 1 }));
    }
    before.into_iter().map(|(_, length)| length).collect()
}

fn explained(column: &RelationColumn, number: u16, catalog: &Description) -> Column {
    let named = Column {
        name: column.name.clone(),
        pg_type: pg_type(column.type_oid, catalog),
        oid: column.type_oid,
        modifier: match catalog.modifiers.get(&column.type_oid) {
            Some(&modifier) if column.modifier == -1 => modifier,
            _ => column.modifier,
        },
        optional: !catalog.required.contains(&column.name),
        default: None,
        birth: Birth { number, fill: catalog.fills.get(&column.name).filter(|_| number > 0).cloned() },
    };
    let default = catalog.defaults.get(&column.name).and_then(|expression| default(expression, &named));
    Column { default, ..named }
}

fn pg_type(oid: Oid, catalog: &Description) -> PgType {
    PgType::builtin(oid.0)
        .or_else(|| catalog.types.get(&oid).cloned())
        .unwrap_or_else(|| PgType::Other { name: format!("type with OID {oid}") })
}

/// The key's columns.
///
/// Under DEFAULT and INDEX the relation marks them, as they were when its rows were written, and old rows carry
/// nothing else; the catalog gives the order. Under FULL all columns are marked and under NOTHING none, so there the
/// catalog's primary key is all there is. A table without one is told apart by a unique index, as in Debezium.
fn key(relation: &Relation, catalog: &Description) -> Vec<usize> {
    let place = |name: &String| relation.columns.iter().position(|column| column.name == *name);
    let places = |names: &[String]| names.iter().map(place).collect::<Option<Vec<usize>>>();
    let primary = &catalog.primary_key;
    let ordered = places(primary);
    let unique = || places(&catalog.unique_index).filter(|_| primary.is_empty()).unwrap_or_default();
    let marks: Vec<usize> = (0..).zip(&relation.columns).filter(|(_, c)| c.key).map(|(i, _)| i).collect();
    match (relation.identity, ordered) {
        (ReplicaIdentity::Full | ReplicaIdentity::Nothing, Some(ordered)) if !ordered.is_empty() => ordered,
        (ReplicaIdentity::Full | ReplicaIdentity::Nothing, _) => unique(),
        (ReplicaIdentity::Index, _) => {
            places(&catalog.identity_index).filter(|ordered| same_members(ordered, &marks)).unwrap_or(marks)
        }
        (ReplicaIdentity::Default, _) if marks.is_empty() && primary.is_empty() => unique(),
        (ReplicaIdentity::Default, Some(ordered)) if same_members(&ordered, &marks) => ordered,
        (ReplicaIdentity::Default, None) if part_of(relation, &marks, primary) => Vec::new(),
        // The primary key is not any more the one that was in force.
        (ReplicaIdentity::Default, _) => marks,
    }
}

fn same_members(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().all(|i| b.contains(i))
}

/// Whether a publication's column list leaves the marked columns but a part of the key, which tells no rows apart.
fn part_of(relation: &Relation, marks: &[usize], primary: &[String]) -> bool {
    marks.iter().all(|&i| relation.columns.get(i).is_some_and(|column| primary.contains(&column.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_now_counts_where_it_is_in_order() {
        let of = |now: &[(&str, u16)], columns: &[&str]| {
            let numbers = now.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
            let column =
                |name: &&str| RelationColumn { key: false, name: (*name).to_owned(), type_oid: Oid(25), modifier: -1 };
            let relation_columns = columns.iter().map(column).collect();
            let (schema, name) = (String::new(), String::new());
            let relation = Relation {
                xid: None,
                oid: Oid(1),
                schema,
                name,
                identity: ReplicaIdentity::Default,
                columns: relation_columns,
            };
            // Those of a name in capitals have another type by now.
            let type_oids = columns.iter().filter(|name| name.chars().all(char::is_uppercase));
            let type_oids = type_oids.map(|name| ((*name).to_owned(), Oid(23))).collect();
            super::numbers(&relation, &Description { numbers, type_oids, whole: true, ..Description::default() })
        };
        assert_eq!(of(&[("a", 1), ("b", 3)], &["a", "b"]), [1, 3]);
        let again = [("a", 1), ("b", 5), ("c", 3), ("d", 4)];
        assert_eq!(of(&again, &["a", "b", "c", "d"]), [1, 2, 3, 4], "b was made again");
        assert_eq!(of(&again[..3], &["a", "b", "c"]), [1, 0, 0], "b or c was made again");
        assert_eq!(of(&[("a", 1), ("c", 4)], &["a", "b", "c"]), [1, 0, 4], "b is gone, and was second or third");
        assert_eq!(of(&[("a", 1), ("c", 3)], &["a", "b", "c"]), [1, 2, 3], "b is gone, and can only be the second");
        assert_eq!(of(&[("a", 2), ("b", 1)], &["a", "b"]), [0, 0], "either may be the other's name");
        assert_eq!(of(&[("a", 2), ("b", 1), ("c", 3)], &["a", "b", "c"]), [1, 2, 3], "names that changed places");
        assert_eq!(of(&[("a", 2), ("b", 1), ("c", 4)], &["a", "b", "c"]), [0, 0, 4]);
        let later = [("a", 1), ("c", 3), ("b", 4)];
        assert_eq!(of(&later, &["a", "b"]), [1, 0], "b was made after c, which was not there yet");
        assert_eq!(of(&later, &["a", "old", "b"]), [1, 0, 4], "c may have had another name");
        assert_eq!(of(&[("a", 1), ("B", 3)], &["a", "B"]), [1, 0], "B was made again, or altered");
        assert_eq!(of(&[("a", 1), ("B", 2), ("c", 3)], &["a", "B", "c"]), [1, 2, 3], "B was altered");
        assert_eq!(
            of(&[("a", 1), ("B", 5), ("c", 3), ("d", 4)], &["a", "B", "c", "d"]),
            [1, 2, 3, 4],
            "B was made again"
        );
    }
}
