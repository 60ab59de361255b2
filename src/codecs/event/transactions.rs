//! Which transaction is being told, and how many events it has so far.

use super::encode::Orders;
use super::notice::Notices;
use crate::model::{Change, Lsn, PgTimestamp, TableName, Xid};

/// Key and value of a record.
pub type Told = (Vec<u8>, Vec<u8>);

/// Follows changes in their order and tells where transactions begin and end.
#[derive(Debug)]
pub struct Transactions {
    notices: Notices,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    commit: Lsn,
    xid: Xid,
    at: PgTimestamp,
    total: u64,
    /// In the order of their first events.
    tables: Vec<(TableName, u64)>,
}

impl Transactions {
    /// Told by `notices`.
    pub fn new(notices: Notices) -> Transactions {
        Transactions { notices, open: None }
    }

    /// Where the records go, and how.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// The record of the beginning, where this change is the first of its transaction. A snapshot's rows have none.
    pub fn begin(&mut self, change: &Change) -> Option<Told> {
        let xid = change.origin.xid?;
        if self.open.as_ref().is_some_and(|open| open.commit == change.id.commit) {
            return None;
        }
        let at = change.origin.at;
        self.open = Some(Open { commit: change.id.commit, xid, at, total: 0, tables: Vec::new() });
        Some(self.notices.begin(xid, change.origin.lsn, at))
    }

    /// How many events have been told of the transaction, and of this table.
    pub fn orders(&self, table: &TableName) -> Orders {
        let Some(open) = &self.open else { return Orders::default() };
        let of_table = open.tables.iter().find(|(name, _)| name == table).map_or(0, |(_, count)| *count);
        Orders { total: open.total, table: of_table }
    }

    /// Sets what [`Transactions::orders`] tells from now on.
    pub fn count(&mut self, table: &TableName, orders: Orders) {
        let Some(open) = &mut self.open else { return };
        open.total = orders.total;
        match open.tables.iter_mut().find(|(name, _)| name == table) {
            Some((_, count)) => *count = orders.table,
            None => open.tables.push((table.clone(), orders.table)),
        }
    }

    /// The record of the end of the transaction that is being told.
    pub fn end(&mut self, end: Lsn) -> Option<Told> {
        let open = self.open.take()?;
        // Messages are of no table.
        let name = |name: &TableName| if name.name.is_empty() { "message".to_owned() } else { name.to_string() };
        let tables: Vec<_> = open.tables.iter().map(|(table, count)| (name(table), *count)).collect();
        Some(self.notices.end(open.xid, end, open.at, &tables))
    }
}
