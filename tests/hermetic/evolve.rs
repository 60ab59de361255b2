//! What a target becomes when its table changes: decided from what it is and from what its columns hold.

use std::sync::Arc;

use tailwater::codecs::dialect::{Dialect, Duckdb, Held, Postgres, Redshift, Shown, Target};
use tailwater::logic::merge::{Evolved, Incompatible, Policy, Renamed, TargetColumn, evolve, shows};
use tailwater::model::{Birth, Column, ColumnDefault, Oid, PgType, ReplicaIdentity, Result, Table, TableName};

/// A column: name, number, type.
type Of<'a> = (&'a str, u16, PgType);

fn target(relation: u32, columns: &[Of<'_>], key: &[usize]) -> Target {
    let column = |(name, number, pg_type): &Of<'_>| Column {
        name: (*name).to_owned(),
        pg_type: pg_type.clone(),
        oid: Oid(0),
        modifier: -1,
        optional: true,
        default: None,
        birth: Birth { number: *number, fill: None },
    };
    let name = TableName::new("public", "t");
    let columns = columns.iter().map(column).collect();
    let identity = ReplicaIdentity::Default;
    let table = Table { oid: Oid(relation), name: name.clone(), version: 1, columns, identity, key: key.to_vec() };
    Target { layout: Default::default(), ..Target::new(name, Arc::new(table)) }
}

/// A warehouse's table that does as it is told, and what is noted of it.
struct Kept {
    columns: Vec<TargetColumn>,
    held: Vec<Held>,
    shown: Vec<Shown>,
}

impl Kept {
    fn new<D: Dialect>(dialect: &D, first: &Target) -> Kept {
        let evolved = evolve(dialect, first, None, &[], Policy::default()).unwrap();
        let key: Vec<&str> = first.table.key_columns().map(|column| column.name.as_str()).collect();
        let column = |column: &Column| TargetColumn {
            name: column.name.clone(),
            type_name: dialect.target_type(column),
            key: key.contains(&column.name.as_str()),
        };
        let mut columns: Vec<TargetColumn> = first.table.columns.iter().map(column).collect();
        for own in ["_tw_lsn", "_tw_seq"] {
            columns.push(TargetColumn { name: own.into(), type_name: "bigint".into(), key: false });
        }
        let shown = shows(dialect, &[], &evolved).columns;
        Kept { columns, held: evolved.held, shown }
    }

    /// The columns that rows land in, and the statements in short.
    fn becomes<D: Dialect>(
        &mut self,
        dialect: &D,
        target: &Target,
        policy: Policy,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let evolved = evolve(dialect, target, Some(&self.columns), &self.held, policy)?;
        self.shown = shows(dialect, &self.shown, &evolved).columns;
        let Evolved { table, statements, held, columns, .. } = evolved;
        let short = |statement: &String| {
            let statement =
                statement.replace("ALTER TABLE \"public\".\"t\" ", "").replace("COLUMN ", "").replace('"', "");
            if statement.contains("$tailwater$") { "another key".to_owned() } else { statement }
        };
        let steps: Vec<String> = statements.iter().map(short).collect();
        steps.iter().for_each(|step| self.apply(step, &table));
        self.held = held;
        let there: Vec<&String> = self.columns.iter().map(|column| &column.name).collect();
        assert_eq!(columns.iter().collect::<Vec<_>>(), there);
        assert!(self.shown.iter().all(|shown| there.contains(&&shown.column)), "{:?}", self.shown);
        let again = evolve(dialect, target, Some(&self.columns), &self.held, policy)?;
        assert_eq!(again.statements, Vec::<String>::new(), "nothing is left to do");
        assert_eq!((again.held, &again.table), (self.held.clone(), &table));
        Ok((table.columns.iter().map(|column| column.name.clone()).collect(), steps))
    }

    fn apply(&mut self, step: &str, table: &Table) {
        let words: Vec<&str> = step.split(' ').collect();
        match words.as_slice() {
            ["RENAME", from, "TO", to] => {
                assert!(self.columns.iter().all(|column| column.name != *to), "{to} is taken");
                self.columns.iter_mut().find(|column| column.name == *from).unwrap().name = (*to).to_owned();
            }
            ["ADD", "IF", "NOT", "EXISTS", name, rest @ ..] => {
                assert!(self.columns.iter().all(|column| column.name != *name), "{name} is taken");
                let type_name = rest.join(" ").split(" DEFAULT").next().unwrap().to_owned();
                self.columns.push(TargetColumn { name: (*name).to_owned(), type_name, key: false });
            }
            ["ALTER", name, "TYPE", rest @ ..] => {
                let type_name = rest.join(" ").split(" USING").next().unwrap().to_owned();
                self.columns.iter_mut().find(|column| column.name == *name).unwrap().type_name = type_name;
            }
            ["another", "key"] => {
                let key: Vec<String> = table.key_columns().map(|column| column.name.clone()).collect();
                self.columns.iter_mut().for_each(|column| column.key = key.contains(&column.name));
            }
            _ => {}
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn columns_are_followed_by_their_numbers_whatever_they_are_called() {
    use PgType::{Int4, Int8, Text};
    let mut kept = Kept::new(&Postgres, &target(9, &[("id", 1, Int4), ("a", 2, Text), ("b", 3, Text)], &[0]));
    let mut step = |columns: &[Of<'_>]| kept.becomes(&Postgres, &target(9, columns, &[0]), Policy::default()).unwrap();
    // One name changes.
    assert_eq!(
        step(&[("id", 1, Int4), ("a2", 2, Text), ("b", 3, Text)]),
        (names(&["id", "a2", "b"]), names(&["RENAME a TO a2"]))
    );
    // Two columns change places.
    let (landed, steps) = step(&[("id", 1, Int4), ("b", 2, Text), ("a2", 3, Text)]);
    assert_eq!((landed, steps.len()), (names(&["id", "b", "a2"]), 4), "each goes by way of another name");
    // One is dropped, another takes its name; the key is renamed and widened.
    assert_eq!(
        step(&[("key", 1, Int8), ("a2", 3, Text)]),
        (names(&["key", "a2"]), names(&["RENAME id TO key", "ALTER key TYPE bigint USING key::bigint"]))
    );
    assert_eq!(
        step(&[("key", 1, Int8), ("b", 3, Text)]),
        (names(&["key", "b"]), names(&["RENAME b TO b__dropped2", "RENAME a2 TO b"]))
    );
    // Dropped and made again under its name.
    assert_eq!(
        step(&[("key", 1, Int8), ("b", 4, Int4)]),
        (names(&["key", "b"]), names(&["RENAME b TO b__dropped3", "ADD IF NOT EXISTS b integer"]))
    );
    // Without numbers names are all there is; those that are known are not forgotten.
    assert_eq!(step(&[("key", 0, Int8), ("b", 0, Int4)]), (names(&["key", "b"]), names(&[])));
    assert_eq!(
        step(&[("key", 1, Int8), ("b", 5, Int4)]),
        (names(&["key", "b"]), names(&["RENAME b TO b__dropped4", "ADD IF NOT EXISTS b integer"]))
    );
}

#[test]
fn a_table_that_was_made_anew_is_matched_by_names() {
    use PgType::{Int4, Text};
    let mut kept = Kept::new(&Postgres, &target(9, &[("id", 1, Int4), ("a", 2, Text), ("b", 3, Text)], &[0]));
    let anew = target(10, &[("id", 1, Int4), ("b", 2, Text), ("a", 3, Text), ("c", 4, Text)], &[0]);
    let became = kept.becomes(&Postgres, &anew, Policy::default()).unwrap();
    assert_eq!(became, (names(&["id", "b", "a", "c"]), names(&["ADD IF NOT EXISTS c text"])));
    assert!(kept.held.iter().all(|held| held.relation == Oid(10)));
}

#[test]
fn a_column_keeps_its_name_for_those_who_ask_for_it() {
    use PgType::{Int4, Text};
    let keep = Policy { renamed: Renamed::Keep, ..Policy::default() };
    let mut kept = Kept::new(&Duckdb, &target(9, &[("id", 1, Int4), ("a", 2, Text)], &[0]));
    for name in ["b", "c"] {
        let became = kept.becomes(&Duckdb, &target(9, &[("id", 1, Int4), (name, 2, Text)], &[0]), keep).unwrap();
        assert_eq!(became, (names(&["id", "a"]), names(&[])));
    }
    // A new column under the name that is kept goes beside it.
    let both = target(9, &[("id", 1, Int4), ("c", 2, Text), ("a", 3, Text)], &[0]);
    let (landed, _) = kept.becomes(&Duckdb, &both, keep).unwrap();
    assert_eq!(landed, names(&["id", "a", "a__v2"]));
}

#[test]
fn a_type_that_does_not_fit_stops_the_table_or_goes_to_a_new_column() {
    use PgType::{Date, Int4, Jsonb, Text};
    let before = || target(9, &[("id", 1, Int4), ("a", 2, Int4)], &[0]);
    let after = target(9, &[("id", 1, Int4), ("a", 2, Date)], &[0]);
    let mut kept = Kept::new(&Postgres, &before());
    let refused = kept.becomes(&Postgres, &after, Policy::default()).unwrap_err().to_string();
    for word in ["column a", "date", "integer", "on_incompatible"] {
        assert!(refused.contains(word), "{refused}");
    }
    let beside = Policy { incompatible: Incompatible::NewColumn, ..Policy::default() };
    let became = kept.becomes(&Postgres, &after, beside).unwrap();
    assert_eq!(became, (names(&["id", "a__v2"]), names(&["ADD IF NOT EXISTS a__v2 date"])));
    // And once more; a new name is not followed by a column that has one of its own.
    let again = target(9, &[("id", 1, Int4), ("b", 2, Jsonb)], &[0]);
    let (landed, _) = kept.becomes(&Postgres, &again, beside).unwrap();
    assert_eq!(landed, names(&["id", "b__v2"]));
    // What holds everything stays.
    let mut text = Kept::new(&Postgres, &target(9, &[("id", 1, Int4), ("a", 2, Text)], &[0]));
    assert_eq!(text.becomes(&Postgres, &after, Policy::default()).unwrap(), (names(&["id", "a"]), names(&[])));
    // A key's column can't be another's.
    let key = target(9, &[("id", 1, Date), ("a", 2, Int4)], &[0]);
    assert!(Kept::new(&Postgres, &before()).becomes(&Postgres, &key, beside).is_err());
}

#[test]
fn another_key_is_taken_over_where_there_is_one_before_and_after() {
    use PgType::Int4;
    let columns = [("a", 1, Int4), ("b", 2, Int4)];
    let mut kept = Kept::new(&Postgres, &target(9, &columns, &[0]));
    let (_, steps) = kept.becomes(&Postgres, &target(9, &columns, &[1, 0]), Policy::default()).unwrap();
    assert_eq!(steps, names(&["another key"]));
    let refused = kept.becomes(&Postgres, &target(9, &columns, &[]), Policy::default()).unwrap_err();
    assert!(refused.to_string().contains("none now"), "{refused}");
    let kept = Kept::new(&Duckdb, &target(9, &columns, &[0]));
    let evolved =
        evolve(&Duckdb, &target(9, &columns, &[1]), Some(&kept.columns), &kept.held, Policy::default()).unwrap();
    assert_eq!(evolved.statements.len(), 2);
}

#[test]
fn a_new_column_has_the_values_that_the_source_gave_the_rows_that_were_there() {
    let mut with = target(9, &[("id", 1, PgType::Int4), ("a", 2, PgType::Text)], &[0]);
    let before = target(9, &[("id", 1, PgType::Int4)], &[0]);
    let kept = Kept::new(&Postgres, &before);
    let mut statements = |optional: bool, fill: Option<&str>, default: Option<ColumnDefault>| {
        let column = &mut Arc::get_mut(&mut with.table).unwrap().columns[1];
        (column.optional, column.default) = (optional, default);
        column.birth.fill = fill.map(str::to_owned);
        let evolved = evolve(&Postgres, &with, Some(&kept.columns), &kept.held, Policy::default()).unwrap();
        (evolved.statements.join("; "), evolved.notes.len())
    };
    let literal = || Some(ColumnDefault::Literal("x".into()));
    assert!(statements(true, Some("it's"), None).0.contains("DEFAULT CAST('it''s' AS text)"));
    assert!(statements(false, None, literal()).0.contains("'x'"), "nobody could add it without a value");
    // It may have been given its default later.
    assert!(!statements(true, None, literal()).0.contains("DEFAULT"));
    assert_eq!(statements(false, None, Some(ColumnDefault::Now)).1, 1, "somebody is told");
}

#[test]
fn redshift_widens_text_alone_and_takes_other_types_by_way_of_another_column() {
    use PgType::{Bool, Int4, Int8, Numeric, Text, Varchar};
    let redshift = Redshift { pipeline: "p".into(), ..Redshift::default() };
    let before = target(9, &[("id", 1, Int4), ("N", 2, Int4), ("t", 3, Varchar), ("b", 4, Bool)], &[0]);
    let kept = Kept::new(&redshift, &before);
    // The catalog's names are folded.
    let folded = |column: &TargetColumn| TargetColumn { name: column.name.to_lowercase(), ..column.clone() };
    let columns: Vec<TargetColumn> = kept.columns.iter().map(folded).collect();
    let becomes = |columns_now: &[Of<'_>]| {
        evolve(&redshift, &target(9, columns_now, &[0]), Some(&columns), &kept.held, Policy::default())
            .map(|evolved| evolved.statements)
    };
    assert_eq!(
        becomes(&[("id", 1, Int4), ("M", 2, Int8), ("t", 3, Text), ("b", 4, Bool)]).unwrap(),
        [
            "ALTER TABLE \"public\".\"t\" RENAME COLUMN \"n\" TO \"m\"",
            "ALTER TABLE \"public\".\"t\" ADD COLUMN \"_tw_cast\" bigint",
            "UPDATE \"public\".\"t\" SET \"_tw_cast\" = CAST(\"m\" AS bigint)",
            "ALTER TABLE \"public\".\"t\" DROP COLUMN \"m\"",
            "ALTER TABLE \"public\".\"t\" RENAME COLUMN \"_tw_cast\" TO \"m\"",
        ]
    );
    // What a cluster casts otherwise than PostgreSQL, and what rows are spread by, is left to a person.
    assert!(becomes(&[("id", 1, Int4), ("N", 2, Int4), ("t", 3, Varchar), ("b", 4, Text)]).is_err());
    assert!(becomes(&[("id", 1, Int8), ("N", 2, Int4), ("t", 3, Varchar), ("b", 4, Bool)]).is_err());
    // Narrower than what is there, or text in which every number has a place.
    assert_eq!(
        becomes(&[("id", 1, Int4), ("N", 2, PgType::Int2), ("t", 3, Numeric), ("b", 4, Bool)]).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn rows_land_in_redshift_under_the_names_that_it_keeps_whether_a_column_was_made_added_renamed_or_found() {
    use PgType::{Int4, Text};
    let redshift = Redshift { pipeline: "p".into(), ..Redshift::default() };
    let (before, after) = (target(9, &[("Nr", 1, Int4), ("Größe", 2, Text)], &[0]), |name: &'static str| {
        target(9, &[("Nr", 1, Int4), (name, 2, Text), ("ÜBER", 3, Text)], &[0])
    });
    let lands = |target: &Target, kept: Option<&Kept>| {
        let present = kept.map(|kept| kept.columns.as_slice());
        let held = kept.map_or(&[][..], |kept| &kept.held);
        let table = evolve(&redshift, target, present, held, Policy::default()).unwrap().table;
        table.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(lands(&before, None), names(&["nr", "größe"]));
    let mut kept = Kept::new(&redshift, &before);
    kept.columns.iter_mut().for_each(|column| column.name = column.name.to_lowercase());
    assert_eq!(lands(&before, Some(&kept)), names(&["nr", "größe"]));
    assert_eq!(lands(&after("Größe"), Some(&kept)), names(&["nr", "größe", "über"]));
    assert_eq!(lands(&after("Maß"), Some(&kept)), names(&["nr", "maß", "über"]));
    // Elsewhere they are kept as they are written.
    let exact = evolve(&Duckdb, &before, None, &[], Policy::default()).unwrap().table;
    assert_eq!(exact, before.table);
}

#[test]
fn a_column_that_comes_inside_an_open_transaction_has_all_the_room_there_is() {
    let redshift = Redshift { pipeline: "p".into(), ..Redshift::default() };
    let after = target(9, &[("id", 1, PgType::Int4), ("t", 2, PgType::Text)], &[0]);
    let kept = Kept::new(&redshift, &target(9, &[("id", 1, PgType::Int4)], &[0]));
    let added = |dialect: &Redshift| {
        evolve(dialect, &after, Some(&kept.columns), &kept.held, Policy::default()).unwrap().statements.concat()
    };
    assert!(added(&redshift).contains("varying(1024)") && added(&redshift.inside()).contains("varying(65535)"));
}

#[test]
fn a_view_shows_every_name_that_a_column_had_unless_another_has_it_now() {
    use PgType::{Date, Int4, Text};
    let mut kept = Kept::new(&Postgres, &target(9, &[("id", 1, Int4), ("a", 2, Text), ("b", 3, Text)], &[0]));
    let mut step = |columns: &[Of<'_>]| {
        kept.becomes(&Postgres, &target(9, columns, &[0]), Policy::default()).unwrap();
        let shown = kept.shown.iter().map(|shown| match shown.name == shown.column {
            true => shown.name.clone(),
            false => format!("{}={}", shown.name, shown.column),
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(step(&[("id", 1, Int4), ("a2", 2, Text), ("b", 3, Text)]), "id a=a2 b a2");
    assert_eq!(step(&[("id", 1, Int4), ("a3", 2, Text), ("b", 3, Text)]), "id a=a3 b a2=a3 a3");
    // They change places; the first name comes back as another column, and one is dropped and made again.
    assert_eq!(step(&[("id", 1, Int4), ("b", 2, Text), ("a3", 3, Text)]), "id a=b b a2=b a3");
    assert_eq!(step(&[("id", 1, Int4), ("b", 2, Text), ("a", 4, Date)]), "id a b a2=b a3");
    assert_eq!(step(&[("id", 1, Int4), ("b", 5, Text), ("a", 4, Date)]), "id a b a2=b__dropped2 a3 b__dropped2");
}
