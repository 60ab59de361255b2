//! What the table with a key looks like, and how it changes on the way.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use tailwater::model::{Birth, Column, ColumnDefault, Oid, PgType, ReplicaIdentity, Table, TableName};

/// The numbers of the columns that are always there.
pub const ID: u16 = 1;
pub const NAME: u16 = 2;
pub const V: u16 = 3;
pub const BIG: u16 = 4;
pub const WIDE: u16 = 5;
/// Which row it is, whatever key it has.
pub const UID: u16 = 6;

/// What a column's values are, each kind wider than the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Int,
    Long,
    Number,
    Text,
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    pub number: u16,
    pub name: String,
    pub kind: Kind,
    /// What the rows got that were there when it was added.
    pub fill: Option<String>,
    pub optional: bool,
}

impl Field {
    fn fixed(number: u16, name: &str, kind: Kind) -> Field {
        Field { number, name: name.to_owned(), kind, fill: None, optional: true }
    }

    /// A value of its kind.
    pub fn value(&self, random: &mut StdRng) -> Option<String> {
        if self.optional && random.random_bool(0.3) {
            return None;
        }
        Some(match self.kind {
            Kind::Int => random.random_range(-9..2_000_000_000).to_string(),
            Kind::Long => random.random_range(-9_i64..9_000_000_000_000).to_string(),
            Kind::Number => format!("1{:018}", random.random::<u32>()),
            Kind::Text => format!("text {}", random.random::<u32>()),
        })
    }

    fn column(&self) -> Column {
        let (pg_type, modifier) = match self.kind {
            Kind::Int => (PgType::Int4, -1),
            Kind::Long => (PgType::Int8, -1),
            Kind::Number => (PgType::Numeric, (20 << 16) + 4),
            Kind::Text if self.number == V => (PgType::Varchar, -1),
            Kind::Text => (PgType::Text, -1),
        };
        Column {
            name: self.name.clone(),
            pg_type,
            oid: Oid(0),
            modifier,
            optional: self.optional,
            default: self.fill.clone().map(ColumnDefault::Literal),
            birth: Birth { number: self.number, fill: self.fill.clone() },
        }
    }
}

/// How far a table may change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Reach {
    /// A column comes.
    Grows,
    /// All but the key.
    #[cfg(feature = "redshift")]
    Columns,
    /// The types of the key's columns as well.
    Types,
    /// The key as well: there is another one, once.
    Key,
}

/// The columns in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    pub fields: Vec<Field>,
    /// Whether the key is the row's number; else it is its name and id.
    pub by_uid: bool,
}

impl Shape {
    pub fn new(by_uid: bool) -> Shape {
        let texts = [(NAME, "name"), (V, "v"), (BIG, "big"), (WIDE, "wide")];
        let mut fields = vec![Field::fixed(ID, "id", Kind::Int)];
        fields.extend(texts.map(|(number, name)| Field::fixed(number, name, Kind::Text)));
        fields.push(Field::fixed(UID, "uid", Kind::Int));
        Shape { fields, by_uid }
    }

    /// The column of a number.
    pub fn field(&self, number: u16) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// Those that may go.
    pub fn extras(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.number > UID)
    }

    pub fn name(&self, number: u16) -> &str {
        &self.field(number).expect("a column that stays").name
    }

    /// The table that has it.
    pub fn table(&self, name: &str) -> Arc<Table> {
        let columns = self.fields.iter().map(Field::column).collect();
        let key = if self.by_uid { vec![5] } else { vec![1, 0] };
        let (name, identity) = (TableName::new("public", name), ReplicaIdentity::Default);
        Arc::new(Table { oid: Oid(1), name, version: 1, columns, identity, key })
    }

    /// Another shape, if this change can be made now; `number` is that of the last column that was added.
    pub fn altered(&self, reach: Reach, number: &mut u16, random: &mut StdRng) -> Option<Shape> {
        let mut shape = self.clone();
        let extra = (self.fields.len() > 6).then(|| random.random_range(6..self.fields.len().max(7)));
        match random.random_range(0..10) {
            _ if reach == Reach::Grows => {
                let first = extra.is_none();
                *number += 1;
                shape.fields.push(Field::fixed(*number, "extra", Kind::Text));
                return first.then_some(shape);
            }
            0..3 => shape.add(None, number, random)?,
            3 => drop(shape.fields.remove(extra?)),
            4 => {
                let name = shape.fields.remove(extra?).name;
                shape.add(Some(name), number, random)?;
            }
            5 => shape.rename(random)?,
            6 => shape.swap(random)?,
            7 | 8 => shape.widen(reach, random)?,
            _ if reach == Reach::Key => shape.by_uid = !shape.by_uid,
            _ => return None,
        }
        Some(shape)
    }

    fn free(&self, random: &mut StdRng) -> Option<String> {
        let names = ["extra", "more", "a b", "größe"];
        let name = names[random.random_range(0..names.len())];
        self.fields.iter().all(|field| field.name != name).then(|| name.to_owned())
    }

    fn add(&mut self, name: Option<String>, number: &mut u16, random: &mut StdRng) -> Option<()> {
        let name = name.or_else(|| self.free(random))?;
        *number += 1;
        let kind = [Kind::Int, Kind::Long, Kind::Number, Kind::Text][random.random_range(0..4)];
        let mut field = Field { optional: random.random_bool(0.7), ..Field::fixed(*number, &name, kind) };
        if !field.optional || random.random_bool(0.4) {
            field.fill = Field { optional: false, ..field.clone() }.value(random);
        }
        self.fields.push(field);
        Some(())
    }

    fn rename(&mut self, random: &mut StdRng) -> Option<()> {
        let at = random.random_range(0..self.fields.len());
        let name = match self.fields[at].name.as_str() {
            // JSON sorts the two of the key by length, or as texts.
            "id" => "ix".to_owned(),
            "ix" => "id".to_owned(),
            "name" => "nome".to_owned(),
            "nome" => "name".to_owned(),
            _ => self.free(random)?,
        };
        self.fields[at].name = name;
        Some(())
    }

    /// Two columns take each other's names.
    fn swap(&mut self, random: &mut StdRng) -> Option<()> {
        let at = |random: &mut StdRng| random.random_range(2..self.fields.len());
        let (a, b) = (at(random), at(random));
        let name = std::mem::take(&mut self.fields[a].name);
        let other = if a == b { return None } else { std::mem::replace(&mut self.fields[b].name, name) };
        self.fields[a].name = other;
        Some(())
    }

    fn widen(&mut self, reach: Reach, random: &mut StdRng) -> Option<()> {
        let at = random.random_range(0..self.fields.len());
        let kind = self.fields[at].kind;
        let keyed = (at == 5 && self.by_uid) || (at == 0 && !self.by_uid);
        // A number as text is another key: it is left to the tables that stop.
        let widest = if at == 0 || at == 5 { Kind::Long } else { Kind::Text };
        let wider = [Kind::Long, Kind::Number, Kind::Text][random.random_range(0..3)].min(widest);
        if wider <= kind || (keyed && reach < Reach::Types) {
            return None;
        }
        self.fields[at].kind = wider;
        Some(())
    }
}
