//! Random histories of two tables, and what the tables hold after each transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use tailwater::logic::pipeline::Batch;
use tailwater::model::{
    Cell, Change, ChangeId, Checkpoint, Column, Lsn, Oid, OldRow, Op, Origin, PgTimestamp, PgType, Phase, Position,
    ReplicaIdentity, Row, SourcePosition, Table, TableName,
};

/// A position that is what a sink stores of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct At(pub Checkpoint);

impl Position for At {
    fn checkpoint(&self) -> Checkpoint {
        self.0.clone()
    }

    fn reaches(&self, goal: &At) -> bool {
        self.0.position.lsn >= goal.0.position.lsn
    }
}

/// The position after `change`.
pub fn at(change: ChangeId) -> At {
    let lsn = Lsn::new(change.commit.get() + 8);
    let position = SourcePosition { system_id: 1 << 62, timeline: 3, lsn };
    let offsets = vec![("a topic".to_owned(), 2, i64::try_from(change.commit.get()).unwrap())];
    At(Checkpoint { position, change, phase: Phase::Stream, offsets, followed: None })
}

/// A table of the given columns; the key by index.
pub fn table(name: TableName, columns: &[(&str, PgType)], key: &[usize]) -> Arc<Table> {
    let column = |(name, pg_type): &(&str, PgType)| Column {
        name: (*name).to_owned(),
        pg_type: pg_type.clone(),
        oid: Oid(0),
        modifier: -1,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    let columns = columns.iter().map(column).collect();
    let identity = ReplicaIdentity::Default;
    Arc::new(Table { oid: Oid(1), name, version: 1, columns, identity, key: key.to_vec() })
}

/// A row of texts; `None` is NULL.
pub fn row(cells: &[Option<&str>]) -> Row {
    cells.iter().map(|cell| cell.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
}

/// A change without a past.
pub fn change(table: &Arc<Table>, commit: u64, seq: u64, op: Op) -> Change {
    let id = ChangeId { commit: Lsn::new(commit), seq };
    let origin = Origin { at: PgTimestamp::now(), xid: None, lsn: id.commit, last_commit: None, snapshot: None };
    Change { id, origin, table: Arc::clone(table), op }
}

/// What both tables hold.
#[derive(Clone, Default)]
pub struct Truth {
    /// Name and number to amount and large text.
    keyed: BTreeMap<(String, i32), (Option<String>, String)>,
    /// Letter and value of each change since the last truncate.
    plain: Vec<(char, String)>,
}

impl Truth {
    /// The keyed table's rows as [`KEYED_SQL`] gives them.
    pub fn keyed(&self) -> Vec<Vec<Option<String>>> {
        let row = |((name, id), (amount, big)): (&(String, i32), &(Option<String>, String))| {
            vec![Some(name.clone()), Some(id.to_string()), amount.clone(), Some(big.clone())]
        };
        self.keyed.iter().map(row).collect()
    }

    /// The other table's rows as [`PLAIN_SQL`] gives them.
    pub fn plain(&self) -> Vec<Vec<Option<String>>> {
        self.plain.iter().map(|(letter, v)| vec![Some(letter.to_string()), Some(v.clone())]).collect()
    }
}

/// Asks for what [`Truth::keyed`] says.
pub const KEYED_SQL: &str = r#"SELECT "select", "id.", "Amount ""x""", "größe" FROM "Sales dep't"."or""der.s""#;
/// Asks for what [`Truth::plain`] says.
pub const PLAIN_SQL: &str = r#"SELECT _tw_op, v FROM public."ledger of all" ORDER BY _tw_lsn, _tw_seq"#;

/// One transaction and what the tables hold after it.
pub struct Transaction {
    pub changes: Vec<Change>,
    pub after: Truth,
}

impl Transaction {
    /// Its last change.
    pub fn last(&self) -> ChangeId {
        self.changes.last().unwrap().id
    }
}

/// Makes up transactions.
pub struct Story {
    keyed: Arc<Table>,
    plain: Arc<Table>,
    truth: Truth,
    random: StdRng,
    commit: u64,
}

impl Story {
    pub fn new(random: StdRng) -> Story {
        let keyed = table(
            TableName::new("Sales dep't", "or\"der.s"),
            &[
                ("id.", PgType::Int4),
                ("Amount \"x\"", PgType::Numeric),
                ("select", PgType::Text),
                ("größe", PgType::Text),
            ],
            &[2, 0],
        );
        let plain = table(TableName::new("public", "ledger of all"), &[("v", PgType::Text)], &[]);
        Story { keyed, plain, truth: Truth::default(), random, commit: 0x1_0000_0000 }
    }

    /// The next transaction, of `size` changes or a few less.
    pub fn transaction(&mut self, size: usize) -> Transaction {
        self.commit += 8 * self.random.random_range(1..100_u64);
        let mut changes = Vec::new();
        for _ in 0..size {
            for (table, op) in self.step() {
                changes.push(change(&table, self.commit, changes.len() as u64, op));
            }
        }
        // A transaction that changes nothing is not told.
        let letter = self.append('c', format!("end of {}", self.commit));
        changes.push(change(&self.plain, self.commit, changes.len() as u64, letter));
        Transaction { changes, after: self.truth.clone() }
    }

    fn append(&mut self, letter: char, v: String) -> Op {
        self.truth.plain.push((letter, v.clone()));
        Op::Insert { new: row(&[Some(&v)]) }
    }

    fn step(&mut self) -> Vec<(Arc<Table>, Op)> {
        let (keyed, plain) = (Arc::clone(&self.keyed), Arc::clone(&self.plain));
        match self.random.random_range(0..200) {
            0 => {
                self.truth.keyed.clear();
                vec![(keyed, Op::Truncate)]
            }
            1 => {
                self.truth.plain.clear();
                vec![(plain, Op::Truncate)]
            }
            2..30 => {
                let v = self.random.random::<u32>().to_string();
                vec![(plain, self.append('c', v))]
            }
            30..90 => self.insert().map(|op| (keyed, op)).into_iter().collect(),
            90..170 => self.update().map(|op| (keyed, op)).into_iter().collect(),
            170..180 => self.swap().into_iter().map(|op| (Arc::clone(&keyed), op)).collect(),
            _ => self.delete().map(|op| (keyed, op)).into_iter().collect(),
        }
    }

    fn some_key(&mut self) -> (String, i32) {
        let names = ["a", "A", "a b", "it's", "ü"];
        (names[self.random.random_range(0..names.len())].to_owned(), self.random.random_range(-3..4))
    }

    fn some_row(&mut self) -> Option<(String, i32)> {
        let count = self.truth.keyed.len();
        (count > 0).then(|| self.random.random_range(0..count)).and_then(|n| self.truth.keyed.keys().nth(n).cloned())
    }

    fn insert(&mut self) -> Option<Op> {
        let key = self.some_key();
        if self.truth.keyed.contains_key(&key) {
            return None;
        }
        let values = (self.amount(), format!("big {}", self.random.random::<u64>()));
        let new = full(&key, &values, false);
        self.truth.keyed.insert(key, values);
        Some(Op::Insert { new })
    }

    fn update(&mut self) -> Option<Op> {
        let old = self.some_row()?;
        let to = Some(self.some_key()).filter(|to| !self.truth.keyed.contains_key(to));
        let to = to.filter(|_| self.random.random_bool(0.3)).unwrap_or_else(|| old.clone());
        let big = self.random.random_bool(0.3).then(|| format!("new {}", self.random.random::<u64>()));
        Some(self.change_to(old, to, big))
    }

    /// Two rows take each other's keys, by way of a third one.
    fn swap(&mut self) -> Vec<Op> {
        let (Some(a), Some(b), free) = (self.some_row(), self.some_row(), ("free".to_owned(), 0)) else {
            return Vec::new();
        };
        if a == b || self.truth.keyed.contains_key(&free) {
            return Vec::new();
        }
        vec![
            self.change_to(a.clone(), free.clone(), None),
            self.change_to(b.clone(), a, None),
            self.change_to(free, b, None),
        ]
    }

    fn change_to(&mut self, old: (String, i32), to: (String, i32), big: Option<String>) -> Op {
        let (_, before) = self.truth.keyed.remove(&old).unwrap();
        let unchanged = big.is_none();
        let values = (self.amount(), big.unwrap_or(before));
        let new = full(&to, &values, unchanged);
        let moved = (old != to).then(|| OldRow::Key(key(&old)));
        self.truth.keyed.insert(to, values);
        Op::Update { old: moved, new }
    }

    fn delete(&mut self) -> Option<Op> {
        let old = self.some_row()?;
        self.truth.keyed.remove(&old);
        Some(Op::Delete { old: OldRow::Key(key(&old)) })
    }

    fn amount(&mut self) -> Option<String> {
        self.random.random_bool(0.8).then(|| format!("{}.50", self.random.random_range(-9..1_000_000)))
    }
}

fn key((name, id): &(String, i32)) -> Row {
    row(&[Some(&id.to_string()), None, Some(name), None])
}

fn full((name, id): &(String, i32), (amount, big): &(Option<String>, String), unchanged: bool) -> Row {
    let id = id.to_string();
    let cells = [
        Cell::Text(id.as_bytes()),
        amount.as_ref().map_or(Cell::Null, |amount| Cell::Text(amount.as_bytes())),
        Cell::Text(name.as_bytes()),
        if unchanged { Cell::Unchanged } else { Cell::Text(big.as_bytes()) },
    ];
    cells.into_iter().collect()
}

/// Cuts transactions into batches: several in one, or one in several pieces.
pub fn batches(transactions: &[Transaction], random: &mut StdRng) -> Vec<Batch<At>> {
    let mut all = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for transaction in transactions {
        let last = transaction.last();
        for change in &transaction.changes {
            changes.push(change.clone());
            if change.id == last {
                if random.random_bool(0.4) {
                    all.push(batch(std::mem::take(&mut changes), Some(at(last))));
                }
            } else if random.random_bool(0.02) {
                all.push(batch(std::mem::take(&mut changes), None));
            }
        }
    }
    if let (false, Some(last)) = (changes.is_empty(), transactions.last()) {
        all.push(batch(changes, Some(at(last.last()))));
    }
    all
}

/// A batch of these changes.
pub fn batch(changes: Vec<Change>, upto: Option<At>) -> Batch<At> {
    let bytes = changes.iter().map(Change::size).sum();
    Batch { changes, bytes, upto }
}
