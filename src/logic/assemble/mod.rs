//! From the plugin's messages to changes.
//!
//! ```text
//!  outside ──Begin──▶ inside ──Insert Update Delete Truncate──▶ inside      each becomes a Change
//!     ▲                  │                                                  (commit LSN, ordinal)
//!     └────── Commit ────┘   = a boundary: everything up to its end LSN has been handed out
//! ```
//!
//! Why nothing is skipped by mistake at a restart: commit records do not overlap and transactions arrive in the order
//! of their commit records, so a transaction whose commit record begins before the stored end is wholly in the sink,
//! and one whose commit record begins exactly there (about one in a hundred does) is new. `commit <= stored end` would
//! lose that one.

mod shape;

use std::collections::HashMap;
use std::sync::Arc;

use crate::codecs::pgoutput::{Message, Relation};
use crate::model::{
    Cell, Change, ChangeId, Error, Lsn, Oid, OldRow, Op, Origin, PgTimestamp, Result, Row, Table, TableName, Xid,
};

pub use shape::{Description, shape};

/// What a message led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to do but go on.
    Going,
    /// A transaction is complete.
    Boundary {
        /// Where its commit record begins.
        commit: Lsn,
        /// Where it ends: what may be acknowledged.
        end: Lsn,
    },
    /// A table's shape is new: describe it from the catalog and [`Assembler::define`] it before the next message.
    Describe(Relation),
}

/// The transaction that is being received.
#[derive(Clone, Copy, Debug)]
struct Open {
    commit: Lsn,
    at: PgTimestamp,
    xid: Xid,
    seq: u64,
    skip: bool,
}

/// Makes changes of one stream's messages.
#[derive(Debug)]
pub struct Assembler {
    stored: Lsn,
    open: Option<Open>,
    last_commit: Option<Lsn>,
    relations: HashMap<Oid, (Relation, Arc<Table>)>,
    latest: HashMap<TableName, Arc<Table>>,
}

impl Assembler {
    /// For a stream whose sink has everything that ends at or before `stored`.
    pub fn new(stored: Lsn) -> Assembler {
        Assembler { stored, open: None, last_commit: None, relations: HashMap::new(), latest: HashMap::new() }
    }

    /// Whether a transaction has begun and not ended.
    pub fn inside(&self) -> bool {
        self.open.is_some()
    }

    /// The id of the last change handed out of the transaction that is open.
    pub fn last_change(&self) -> Option<ChangeId> {
        self.open.and_then(|open| Some(ChangeId { commit: open.commit, seq: open.seq.checked_sub(1)? }))
    }

    /// Takes one message, which the server sent for `lsn`; appends the changes it stands for.
    pub fn feed(&mut self, message: Message, lsn: Lsn, out: &mut Vec<Change>) -> Result<Step> {
        match message {
            Message::Insert(insert) => self.change(insert.relation, lsn, out, |_| Ok(Op::Insert { new: insert.new })),
            Message::Update(update) => self.change(update.relation, lsn, out, |_| {
                let new = complete(update.new, update.old.as_ref());
                Ok(Op::Update { old: update.old, new })
            }),
            Message::Delete(delete) => self.change(delete.relation, lsn, out, |_| Ok(Op::Delete { old: delete.old })),
            Message::Truncate(truncate) => {
                for relation in truncate.relations {
                    self.change(relation, lsn, out, |_| Ok(Op::Truncate))?;
                }
                Ok(Step::Going)
            }
            Message::Begin(begin) => {
                if let Some(open) = self.open {
                    return Err(Error::corrupt(format!(
                        "a transaction begins at {lsn} inside the one that commits at {}",
                        open.commit
                    )));
                }
                let skip = begin.final_lsn < self.stored;
                self.open = Some(Open { commit: begin.final_lsn, at: begin.at, xid: begin.xid, seq: 0, skip });
                Ok(Step::Going)
            }
            Message::Commit(commit) => {
                let open = self.open.take().ok_or_else(|| outside("a commit", lsn))?;
                if open.commit != commit.commit_lsn {
                    return Err(Error::corrupt(format!(
                        "the transaction that commits at {} ends with the commit of {}",
                        open.commit, commit.commit_lsn
                    )));
                }
                self.last_commit = Some(commit.end_lsn);
                Ok(Step::Boundary { commit: commit.commit_lsn, end: commit.end_lsn })
            }
            Message::Relation(relation) => Ok(self.relation(relation)),
            // Names of types come from the catalog; origins and messages are not handed on in this version.
            Message::Type(_) | Message::Origin(_) | Message::Logical(_) => Ok(Step::Going),
            other => Err(Error::blocked(format!("the slot sent {} at {lsn}, which was not asked for", other.name()))
                .remedy("the slot must not be made with two_phase; use a slot of its own for Tailwater")),
        }
    }

    /// A relation whose content is known keeps its table; otherwise it has to be described.
    fn relation(&mut self, relation: Relation) -> Step {
        match self.relations.get(&relation.oid) {
            Some((known, _)) if *known == relation => Step::Going,
            _ => Step::Describe(relation),
        }
    }

    /// Sets the table that rows of `relation` belong to from now on; counts versions by name.
    pub fn define(&mut self, relation: Relation, mut table: Table) -> Arc<Table> {
        let table = match self.latest.get(&table.name) {
            Some(known) if known.same_shape(&table) => Arc::clone(known),
            known => {
                table.version = known.map_or(1, |known| known.version + 1);
                Arc::new(table)
            }
        };
        self.latest.insert(table.name.clone(), Arc::clone(&table));
        self.relations.insert(relation.oid, (relation, Arc::clone(&table)));
        table
    }

    fn change(
        &mut self,
        relation: Oid,
        lsn: Lsn,
        out: &mut Vec<Change>,
        op: impl FnOnce(&Table) -> Result<Op>,
    ) -> Result<Step> {
        let open = self.open.as_mut().ok_or_else(|| outside("a change", lsn))?;
        let (_, table) = self.relations.get(&relation).ok_or_else(|| {
            Error::corrupt(format!("a change at {lsn} names relation {relation}, which was not described"))
        })?;
        let op = op(table)?;
        let seq = open.seq;
        open.seq += 1;
        if open.skip {
            return Ok(Step::Going);
        }
        fits(&op, table, lsn)?;
        out.push(Change {
            id: ChangeId { commit: open.commit, seq },
            origin: Origin { at: open.at, xid: Some(open.xid), lsn, last_commit: self.last_commit, snapshot: None },
            table: Arc::clone(table),
            op,
        });
        Ok(Step::Going)
    }
}

/// Under REPLICA IDENTITY FULL the old row has what the new one leaves out as unchanged.
fn complete(new: Row, old: Option<&OldRow>) -> Row {
    match old {
        Some(OldRow::Full(old)) if new.has_unchanged() => {
            let pick = |(new, old)| if new == Cell::Unchanged { old } else { new };
            new.cells().zip(old.cells()).map(pick).collect()
        }
        _ => new,
    }
}

fn fits(op: &Op, table: &Table, lsn: Lsn) -> Result<()> {
    let width = table.columns.len();
    let wrong = match op {
        Op::Read { new } | Op::Insert { new } | Op::Update { old: None, new } => new.width() != width,
        Op::Update { old: Some(old), new } => new.width() != width || old.row().width() != width,
        Op::Delete { old } => old.row().width() != width,
        Op::Truncate => false,
    };
    if wrong {
        return Err(Error::corrupt(format!(
            "a row of {} at {lsn} does not have the table's {width} columns",
            table.name
        )));
    }
    Ok(())
}

fn outside(what: &str, lsn: Lsn) -> Error {
    Error::corrupt(format!("{what} at {lsn} belongs to no transaction"))
}
