//! Names of schemas and fields that Avro takes, made as Debezium makes them.
//!
//! `avro` puts `_` in place of what Avro refuses, and before a first digit; `avro_unicode` writes `_u` and the UTF-16
//! unit's hexadecimal digits, for `_` itself too. A unit of three digits is not padded there: `_u3b1`.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::Table;

/// What is done with names that Avro refuses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NameAdjustment {
    /// Nothing.
    #[default]
    None,
    /// Each character that Avro refuses becomes `_`.
    Avro,
    /// Each becomes `_uXXXX`, and so does `_`.
    AvroUnicode,
}

/// The adjustments by their names in the configuration.
pub const ADJUSTMENTS: [(&str, NameAdjustment); 3] =
    [("none", NameAdjustment::None), ("avro", NameAdjustment::Avro), ("avro_unicode", NameAdjustment::AvroUnicode)];

/// Two columns that would have the same field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the columns {one} and {other} would both be the field {field}")]
pub struct FieldCollision {
    /// The first of the two.
    pub one: String,
    /// The second.
    pub other: String,
    /// What both become.
    pub field: String,
}

impl NameAdjustment {
    /// A schema's full name, whose parts are separated by points.
    pub fn schema(self, name: &str) -> Cow<'_, str> {
        match self {
            NameAdjustment::None => Cow::Borrowed(name),
            _ => Cow::Owned(name.split('.').map(|part| self.adjust(part)).collect::<Vec<_>>().join(".")),
        }
    }

    /// A field's name.
    pub fn field(self, name: &str) -> Cow<'_, str> {
        match self {
            NameAdjustment::None => Cow::Borrowed(name),
            _ => Cow::Owned(self.adjust(name)),
        }
    }

    /// The names of a table's fields, by column.
    pub fn fields(self, table: &Table) -> Result<Vec<String>, FieldCollision> {
        let mut owners: HashMap<String, &str> = HashMap::new();
        let mut fields = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let field = self.field(&column.name).into_owned();
            if let Some(one) = owners.insert(field.clone(), &column.name) {
                return Err(FieldCollision { one: one.to_owned(), other: column.name.clone(), field });
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn adjust(self, name: &str) -> String {
        let unicode = self == NameAdjustment::AvroUnicode;
        let mut out = String::with_capacity(name.len() + 8);
        for (at, unit) in name.encode_utf16().enumerate() {
            let plain = u8::try_from(unit).ok().map(char::from).filter(char::is_ascii);
            match plain {
                Some(letter) if letter.is_ascii_alphabetic() => out.push(letter),
                Some(digit) if digit.is_ascii_digit() && at > 0 => out.push(digit),
                Some('_') if !unicode => out.push('_'),
                _ if unicode && unit < 0x100 => out.push_str(&format!("_u00{unit:x}")),
                _ if unicode => out.push_str(&format!("_u{unit:x}")),
                Some(digit) if digit.is_ascii_digit() => out.extend(['_', digit]),
                _ => out.push('_'),
            }
        }
        out
    }
}

/// Whether Avro takes a field's name, or one part of a schema's, as it is.
pub fn is_avro_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(legal) && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Column, Oid, PgType, ReplicaIdentity, TableName};

    fn table(columns: &[&str]) -> Table {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            pg_type: PgType::Text,
            oid: Oid(25),
            modifier: -1,
            optional: true,
            default: None,
            birth: Default::default(),
        };
        Table {
            oid: Oid(1),
            name: TableName::new("public", "t"),
            version: 1,
            columns: columns.iter().map(column).collect(),
            identity: ReplicaIdentity::Default,
            key: Vec::new(),
        }
    }

    #[test]
    fn names_are_adjusted_as_a_consumer_of_debezium_knows_them() {
        for (name, avro, unicode) in [
            ("plain1", "plain1", "plain1"),
            ("col-1", "col_1", "col_u002d1"),
            ("Name_tbl", "Name_tbl", "Name_u005ftbl"),
            ("1st", "_1st", "_u0031st"),
            ("_a", "_a", "_u005fa"),
            ("a.b", "a_b", "a_u002eb"),
            ("größe", "gr__e", "gr_u00f6_u00dfe"),
            ("α", "_", "_u3b1"),
            ("名", "_", "_u540d"),
            ("😀", "__", "_ud83d_ude00"),
            ("", "", ""),
        ] {
            assert_eq!(NameAdjustment::Avro.field(name), avro);
            assert_eq!(NameAdjustment::AvroUnicode.field(name), unicode);
            assert_eq!(NameAdjustment::None.field(name), name);
        }
        assert_eq!(NameAdjustment::AvroUnicode.schema("srv.inv.Name_tbl.Key"), "srv.inv.Name_u005ftbl.Key");
        assert_eq!(NameAdjustment::Avro.schema("srv-1.2nd.o'x.Envelope"), "srv_1._2nd.o_x.Envelope");
        assert_eq!(NameAdjustment::None.schema("srv-1.2nd"), "srv-1.2nd");
    }

    #[test]
    fn two_columns_that_become_one_field_are_both_named() {
        let table = table(&["id", "a-b", "a b"]);
        assert_eq!(NameAdjustment::None.fields(&table).unwrap(), ["id", "a-b", "a b"]);
        let collision = NameAdjustment::Avro.fields(&table).unwrap_err();
        assert_eq!((collision.one.as_str(), collision.other.as_str(), collision.field.as_str()), ("a-b", "a b", "a_b"));
        assert_eq!(NameAdjustment::AvroUnicode.fields(&table).unwrap(), ["id", "a_u002db", "a_u0020b"]);
    }

    proptest! {
        #[test]
        fn avro_takes_every_adjusted_name(name in "\\PC{1,20}", at in 1usize..3) {
            let (_, adjustment) = ADJUSTMENTS[at];
            prop_assert!(is_avro_name(&adjustment.field(&name)));
            prop_assert!(adjustment.schema(&name).split('.').all(|part| part.is_empty() || is_avro_name(part)));
        }
    }

    #[test]
    fn what_avro_refuses_is_known() {
        for (name, takes) in [("a1_", true), ("_", true), ("1a", false), ("a-b", false), ("", false), ("é", false)] {
            assert_eq!(is_avro_name(name), takes, "{name}");
        }
    }
}
