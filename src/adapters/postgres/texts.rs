//! Rows of a stream in binary become rows in text, here and at no other place: all that follows reads text alone.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codecs::pgoutput::Message;
use crate::codecs::send::{Plan, SendError};
use crate::model::{Error, Oid, OldRow, Result, Row, RowWriter, Table};

/// How each relation's rows are printed, where the stream comes in binary.
#[derive(Default)]
pub(super) struct Texts {
    relations: HashMap<Oid, Arc<Printed>>,
    /// Those of all others while a transaction is taken that names its relations for itself.
    aside: HashMap<Oid, Arc<Printed>>,
    /// The last row's relation, which mostly is the next one's.
    recent: Option<(Oid, Arc<Printed>)>,
    writer: RowWriter,
    scratch: Vec<u8>,
}

struct Printed {
    plan: Plan,
    /// For what is wrong.
    table: Table,
}

impl Texts {
    /// Rows of the table follow this plan from now on; `None`: they are not wanted.
    pub(super) fn define(&mut self, table: &Table, plan: Option<Plan>) {
        self.recent = None;
        match plan {
            Some(plan) => self.relations.insert(table.oid, Arc::new(Printed { plan, table: table.clone() })),
            None => self.relations.remove(&table.oid),
        };
    }

    /// A transaction begins that was sent while it was open: what others named does not count for it.
    pub(super) fn begin_streamed(&mut self) {
        self.aside = std::mem::take(&mut self.relations);
        self.recent = None;
    }

    /// It ends. `newer`: whether its name of a relation came later than the one that counts for all.
    pub(super) fn commit_streamed(&mut self, newer: impl Fn(Oid) -> bool) {
        let own = std::mem::replace(&mut self.relations, std::mem::take(&mut self.aside));
        self.relations.retain(|oid, _| !newer(*oid));
        self.relations.extend(own.into_iter().filter(|(oid, _)| newer(*oid)));
        self.recent = None;
    }

    /// Turns the rows of a message into text and tells how long they are; those of a relation that is not wanted stay.
    #[inline]
    pub(super) fn print(&mut self, message: &mut Message) -> Result<usize> {
        match message {
            Message::Insert(insert) => self.row(insert.relation, &mut insert.new),
            Message::Update(update) => {
                let old = match &mut update.old {
                    Some(OldRow::Key(old) | OldRow::Full(old)) => self.row(update.relation, old)?,
                    None => 0,
                };
                Ok(old + self.row(update.relation, &mut update.new)?)
            }
            Message::Delete(delete) => {
                let (OldRow::Key(old) | OldRow::Full(old)) = &mut delete.old;
                self.row(delete.relation, old)
            }
            _ => Ok(0),
        }
    }

    fn row(&mut self, relation: Oid, row: &mut Row) -> Result<usize> {
        if self.recent.as_ref().is_none_or(|(recent, _)| *recent != relation) {
            let Some(printed) = self.relations.get(&relation) else { return Ok(row.size()) };
            self.recent = Some((relation, Arc::clone(printed)));
        }
        let Some((_, printed)) = &self.recent else { return Ok(row.size()) };
        let text = printed.plan.row(row, &mut self.scratch, &mut self.writer);
        *row = text.map_err(|(column, error)| broken(&printed.table, column, error))?;
        Ok(row.size())
    }
}

fn broken(table: &Table, column: usize, error: SendError) -> Error {
    let (name, pg_type) =
        table.columns.get(column).map_or_else(Default::default, |column| (column.name.as_str(), column.pg_type.name()));
    let what = format!("column {name} of table {}, of type {pg_type}, in binary form: {error}", table.name);
    match error {
        SendError::Broken => Error::corrupt(what),
        SendError::Unknown(_) => Error::blocked(what)
            .remedy("its type was altered since: start again, and if that does not help, with binary = false"),
    }
}
