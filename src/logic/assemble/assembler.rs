//! The state machine.

use std::collections::HashMap;
use std::sync::Arc;

use super::fill::fill;
use crate::codecs::pgoutput::{Begin, Commit, Logical, Message, Relation, Truncate};
use crate::model::{
    Change, ChangeId, Emitted, Error, Lsn, Oid, OldRow, Op, Origin, Patterns, PgTimestamp, Result, Row, RowWriter,
    Table, TableName, Xid,
};

/// What a message led to, beside changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to do but go on.
    Going,
    /// A transaction, or a message of none, is complete; its changes have been handed out, or the sink had them already.
    Boundary {
        /// Where its commit record begins.
        commit: Lsn,
        /// Where it ends: what may be acknowledged.
        end: Lsn,
    },
    /// A table's shape may be new: describe it from the catalog and [`Assembler::define`] it before the next message.
    Describe(Relation),
}

/// Makes changes of one connection's messages.
#[derive(Debug)]
pub struct Assembler {
    stored: Lsn,
    open: Option<Open>,
    /// The end of the last transaction, or a message after it, as changes report it.
    last_commit: Option<Lsn>,
    /// The end of the last transaction on this connection: the next may not begin its commit before it.
    passed: Lsn,
    /// Each relation that was named; `None` until it is described.
    relations: HashMap<Oid, Option<Known>>,
    /// Those of all others while a transaction is taken that names its relations for itself.
    aside: Option<HashMap<Oid, Option<Known>>>,
    /// The relation of the last row, which mostly is the next one's.
    recent: Option<(Oid, Known)>,
    /// The newest version of each table.
    latest: HashMap<TableName, Arc<Table>>,
    writer: RowWriter,
    /// The messages that are handed out, by their prefixes; `None`: none of them.
    messages: Option<Patterns>,
    /// Whether the ends of transactions are handed out.
    commits: bool,
    /// Where messages belong.
    of_messages: Arc<Table>,
    /// The server's clock when it sent what came last.
    clock: PgTimestamp,
}

/// A relation's table, and from which commit on its changes are handed out.
#[derive(Clone, Debug)]
struct Known {
    table: Arc<Table>,
    from: Lsn,
}

/// The transaction that is being received.
#[derive(Clone, Copy, Debug)]
struct Open {
    begin: Begin,
    /// The next change's ordinal.
    seq: u64,
    /// Whether the sink has it already.
    stored: bool,
}

impl Assembler {
    /// For a stream whose sink has everything that ends at or before `stored`.
    pub fn new(stored: Lsn) -> Assembler {
        Assembler {
            stored,
            open: None,
            last_commit: Some(stored).filter(|&lsn| lsn != Lsn::ZERO),
            passed: Lsn::ZERO,
            relations: HashMap::new(),
            aside: None,
            recent: None,
            latest: HashMap::new(),
            writer: RowWriter::new(),
            messages: None,
            commits: false,
            of_messages: Arc::new(Table::of_messages()),
            clock: PgTimestamp(0),
        }
    }

    /// Starts at a snapshot: no transaction has been delivered before what follows it.
    pub fn begin_at_snapshot(&mut self) {
        self.last_commit = None;
    }

    /// The same, handing out the messages with these prefixes.
    pub fn with_messages(self, messages: Option<Patterns>) -> Assembler {
        Assembler { messages, ..self }
    }

    /// The same, handing out the ends of transactions.
    pub fn with_commits(self, commits: bool) -> Assembler {
        Assembler { commits, ..self }
    }

    /// Tells the server's clock at the sending of what comes next: a message that stands alone has no other time.
    pub fn sent(&mut self, at: PgTimestamp) {
        self.clock = at;
    }

    /// Whether a transaction has begun and not ended.
    pub fn inside(&self) -> bool {
        self.open.is_some()
    }

    /// Takes one message, which the server sent for `lsn`; appends the changes it stands for.
    ///
    /// # Errors
    ///
    /// Corrupt when the message contradicts those before it; Blocked for two-phase messages, which a slot made with
    /// `two_phase` sends; Bug for streamed ones, which are kept until they have committed, and for a row before its table's definition.
    #[inline]
    pub fn feed(&mut self, message: Message, lsn: Lsn, out: &mut Vec<Change>) -> Result<Step> {
        match message {
            Message::Insert(insert) => {
                if let Some((origin, id, table)) = self.place(lsn, "Insert", insert.relation)? {
                    fits(lsn, &table, &insert.new)?;
                    out.push(Change { id, origin, table, op: Op::Insert { new: insert.new } });
                }
            }
            Message::Update(update) => {
                if let Some((origin, id, table)) = self.place(lsn, "Update", update.relation)? {
                    let op = self.update(lsn, &table, update.old, update.new)?;
                    out.push(Change { id, origin, table, op });
                }
            }
            Message::Delete(delete) => {
                if let Some((origin, id, table)) = self.place(lsn, "Delete", delete.relation)? {
                    fits(lsn, &table, delete.old.row())?;
                    out.push(Change { id, origin, table, op: Op::Delete { old: delete.old } });
                }
            }
            Message::Truncate(truncate) => self.truncate(lsn, &truncate, out)?,
            Message::Begin(begin) => self.begin(lsn, begin)?,
            Message::Commit(commit) => return self.commit(lsn, commit, out),
            Message::Relation(relation) => return self.relation(lsn, relation),
            // Names of types come from the catalog; origins are not handed on in this version.
            Message::Type(_) | Message::Origin(_) => self.demand_open(lsn, message.name())?,
            Message::Logical(logical) if logical.transactional => self.message(lsn, logical, out)?,
            Message::Logical(logical) => return self.lone_message(logical, out),
            refused => return Err(not_asked_for(lsn, &refused)),
        }
        Ok(Step::Going)
    }

    /// Sets the table that rows of `relation` belong to from now on; counts versions by name, from 1.
    ///
    /// The same shape as the newest version's is that version. Changes that commit before `from` are not handed out,
    /// though they are counted: [`Lsn::ZERO`] for a table that is followed, [`Lsn::MAX`] for one that is not.
    pub fn define(&mut self, relation: Relation, mut table: Table, from: Lsn) -> Arc<Table> {
        let table = match self.latest.get(&table.name) {
            Some(known) if known.same_shape(&table) => Arc::clone(known),
            known => {
                table.version = known.map_or(1, |known| known.version + 1);
                Arc::new(table)
            }
        };
        self.latest.insert(table.name.clone(), Arc::clone(&table));
        self.relations.insert(relation.oid, Some(Known { table: Arc::clone(&table), from }));
        self.recent = None;
        table
    }

    /// Hands out a relation's changes from another commit on.
    pub fn follow(&mut self, relation: Oid, from: Lsn) {
        for relations in [Some(&mut self.relations), self.aside.as_mut()].into_iter().flatten() {
            if let Some(Some(known)) = relations.get_mut(&relation) {
                known.from = from;
            }
        }
        self.recent = None;
    }

    /// Begins a transaction that was sent while it was open, now that it has committed: its messages follow.
    ///
    /// It names each relation for itself: what others named does not count for it.
    ///
    /// # Errors
    ///
    /// Corrupt when it has no place here.
    pub fn begin_streamed(&mut self, lsn: Lsn, xid: Xid, commit: Commit) -> Result<()> {
        self.begin(lsn, Begin { final_lsn: commit.commit_lsn, at: commit.at, xid })?;
        self.aside = Some(std::mem::take(&mut self.relations));
        self.recent = None;
        Ok(())
    }

    /// Ends it. `newer`: whether its name of a relation came later than the one that counts for all.
    ///
    /// # Errors
    ///
    /// Corrupt when no such transaction has begun, or another one.
    pub fn commit_streamed(
        &mut self,
        lsn: Lsn,
        commit: Commit,
        newer: impl Fn(Oid) -> bool,
        out: &mut Vec<Change>,
    ) -> Result<Step> {
        let aside = self.aside.take().ok_or_else(|| outside(lsn, "Stream Commit"))?;
        let own = std::mem::replace(&mut self.relations, aside);
        self.relations.extend(own.into_iter().filter(|(oid, _)| newer(*oid)));
        self.recent = None;
        self.commit(lsn, commit, out)
    }

    /// Passes over a streamed transaction of which nothing is left, and which would not have been sent otherwise.
    ///
    /// # Errors
    ///
    /// Corrupt when it has no place here.
    pub fn pass(&mut self, lsn: Lsn, xid: Xid, commit: Commit) -> Result<Step> {
        let last = self.last_commit;
        self.begin(lsn, Begin { final_lsn: commit.commit_lsn, at: commit.at, xid })?;
        // It has no end that is handed out, and nothing is told to come after it.
        let commits = std::mem::replace(&mut self.commits, false);
        let step = self.commit(lsn, commit, &mut Vec::new());
        (self.last_commit, self.commits) = (last, commits);
        step
    }

    fn begin(&mut self, lsn: Lsn, begin: Begin) -> Result<()> {
        if self.inside() {
            return Err(corrupt(lsn, "a transaction begins inside another one"));
        }
        if begin.final_lsn < self.passed {
            return Err(corrupt(lsn, "a transaction comes after one that committed later"));
        }
        self.open = Some(Open { begin, seq: 0, stored: begin.final_lsn < self.stored });
        Ok(())
    }

    fn commit(&mut self, lsn: Lsn, commit: Commit, out: &mut Vec<Change>) -> Result<Step> {
        let open = self.open.take().ok_or_else(|| outside(lsn, "Commit"))?;
        if commit.commit_lsn != open.begin.final_lsn {
            return Err(corrupt(lsn, "a transaction commits elsewhere than its begin said"));
        }
        if commit.end_lsn <= commit.commit_lsn {
            return Err(corrupt(lsn, "a commit record ends before it begins"));
        }
        if open.stored && commit.end_lsn > self.stored {
            return Err(corrupt(lsn, format!("the stored position {} lies inside a commit record", self.stored)));
        }
        if self.commits && !open.stored {
            let Begin { final_lsn, at, xid } = open.begin;
            let id = ChangeId { commit: final_lsn, seq: open.seq };
            let origin = Origin { at, xid: Some(xid), lsn, last_commit: self.last_commit, snapshot: None };
            let op = Op::Commit { end: commit.end_lsn };
            out.push(Change { id, origin, table: Arc::clone(&self.of_messages), op });
        }
        self.last_commit = Some(commit.end_lsn);
        self.passed = commit.end_lsn;
        Ok(Step::Boundary { commit: commit.commit_lsn, end: commit.end_lsn })
    }

    /// A relation is described each time it is named: PostgreSQL repeats it after whatever touched the table's catalog
    /// entry, and a dropped NOT NULL or, under FULL, another primary key is not in it. The same shape keeps its version.
    fn relation(&mut self, lsn: Lsn, relation: Relation) -> Result<Step> {
        self.demand_open(lsn, "Relation")?;
        self.relations.insert(relation.oid, None);
        self.recent = None;
        Ok(Step::Describe(relation))
    }

    fn update(&mut self, lsn: Lsn, table: &Table, old: Option<OldRow>, new: Row) -> Result<Op> {
        fits(lsn, table, &new)?;
        if let Some(old) = &old {
            fits(lsn, table, old.row())?;
        }
        let new = match &old {
            Some(OldRow::Full(old)) => fill(&mut self.writer, old, new),
            Some(OldRow::Key(_)) | None => new,
        };
        Ok(Op::Update { old, new })
    }

    fn truncate(&mut self, lsn: Lsn, truncate: &Truncate, out: &mut Vec<Change>) -> Result<()> {
        self.demand_open(lsn, "Truncate")?;
        for &relation in &truncate.relations {
            if let Some((origin, id, table)) = self.place(lsn, "Truncate", relation)? {
                out.push(Change { id, origin, table, op: Op::Truncate });
            }
        }
        Ok(())
    }

    /// Where messages are wanted, each counts as a change of its transaction, whether its prefix is chosen or not: what
    /// is chosen may be changed between two runs, ids may not.
    fn message(&mut self, lsn: Lsn, logical: Logical, out: &mut Vec<Change>) -> Result<()> {
        if self.messages.is_none() {
            return self.demand_open(lsn, "Message");
        }
        if let Some((origin, id)) = self.next(lsn, "Message")? {
            self.emit(origin, id, logical, out);
        }
        Ok(())
    }

    /// A message of no transaction comes where it stands in the log, between the transactions that committed before
    /// and after it. It is complete by itself: see the module.
    fn lone_message(&mut self, logical: Logical, out: &mut Vec<Change>) -> Result<Step> {
        let lsn = logical.lsn;
        if self.messages.is_none() {
            return Ok(Step::Going);
        }
        if self.inside() {
            return Err(corrupt(lsn, "a message of no transaction comes inside of one"));
        }
        if lsn <= self.passed {
            return Err(corrupt(lsn, "a message of no transaction comes after one that committed later"));
        }
        self.passed = lsn;
        if lsn > self.stored {
            let id = ChangeId::message(lsn);
            let origin = Origin { at: self.clock, xid: None, lsn, last_commit: Some(lsn), snapshot: None };
            self.emit(origin, id, logical, out);
        }
        self.last_commit = Some(lsn);
        Ok(Step::Boundary { commit: lsn, end: lsn })
    }

    fn emit(&self, origin: Origin, id: ChangeId, logical: Logical, out: &mut Vec<Change>) {
        let Logical { transactional, prefix, content, .. } = logical;
        if self.messages.as_ref().is_some_and(|wanted| wanted.choose(&prefix)) {
            let table = Arc::clone(&self.of_messages);
            out.push(Change { id, origin, table, op: Op::Message(Emitted { transactional, prefix, content }) });
        }
    }

    /// Whence, which and where the next change is; `None` where it is not handed out: in a transaction that the sink
    /// has, or of a table that is not followed yet. Its ordinal is taken all the same, so that ids stay what they are
    /// when the transaction comes again.
    #[inline]
    fn place(&mut self, lsn: Lsn, message: &str, relation: Oid) -> Result<Option<(Origin, ChangeId, Arc<Table>)>> {
        let Some((origin, id)) = self.next(lsn, message)? else { return Ok(None) };
        let recent = matches!(&self.recent, Some((oid, _)) if *oid == relation);
        if !recent {
            self.find(lsn, relation)?;
        }
        match &self.recent {
            Some((_, known)) if known.from <= id.commit => Ok(Some((origin, id, Arc::clone(&known.table)))),
            _ => Ok(None),
        }
    }

    /// Whence and which the next change of the transaction is; `None` when the sink has it.
    #[inline]
    fn next(&mut self, lsn: Lsn, message: &str) -> Result<Option<(Origin, ChangeId)>> {
        let Some(open) = &mut self.open else { return Err(outside(lsn, message)) };
        if open.stored {
            return Ok(None);
        }
        let Begin { final_lsn, at, xid } = open.begin;
        let id = ChangeId { commit: final_lsn, seq: open.seq };
        open.seq += 1;
        Ok(Some((Origin { at, xid: Some(xid), lsn, last_commit: self.last_commit, snapshot: None }, id)))
    }

    fn find(&mut self, lsn: Lsn, oid: Oid) -> Result<()> {
        let unnamed = || corrupt(lsn, format!("a row of relation {oid}, which has not been named"));
        let undefined = || Error::bug(format!("relation {oid} has a row at {lsn}, but was not defined"));
        let known = self.relations.get(&oid).ok_or_else(unnamed)?.as_ref().ok_or_else(undefined)?;
        self.recent = Some((oid, known.clone()));
        Ok(())
    }

    fn demand_open(&self, lsn: Lsn, message: &str) -> Result<()> {
        if self.inside() { Ok(()) } else { Err(outside(lsn, message)) }
    }
}

#[inline]
fn fits(lsn: Lsn, table: &Table, row: &Row) -> Result<()> {
    if row.width() == table.columns.len() {
        return Ok(());
    }
    let (found, wanted) = (row.width(), table.columns.len());
    Err(corrupt(lsn, format!("a row of {} has {found} columns, the table has {wanted}", table.name)))
}

#[cold]
fn corrupt(lsn: Lsn, what: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("the replication stream contradicts itself at {lsn}: {what}"))
}

#[cold]
fn outside(lsn: Lsn, message: &str) -> Error {
    corrupt(lsn, format!("{message} outside of a transaction"))
}

#[cold]
fn not_asked_for(lsn: Lsn, message: &Message) -> Error {
    let name = message.name();
    match message {
        Message::BeginPrepare(_) | Message::Prepare(_) | Message::CommitPrepared(_) | Message::RollbackPrepared(_) => {
            Error::blocked(format!("the slot sends two-phase transactions ({name} at {lsn})"))
                .remedy("it was created with two_phase: use a slot of its own for Tailwater")
        }
        _ => Error::bug(format!("{name} at {lsn}, but streamed transactions are kept apart")),
    }
}
