//! What a warehouse's driver has to do for the flow in `worker`.

use std::future::Future;

use crate::codecs::dialect::Target;
use crate::logic::merge::{Misfit, NetRow, Stage};
use crate::model::Result;

/// One connection to a warehouse: statements, small results, bulk load. SQL comes from `codecs::dialect`.
pub trait Client: Send + 'static {
    /// Runs one statement; returns how many rows it changed.
    fn execute(&mut self, sql: &str) -> impl Future<Output = Result<u64>> + Send;

    /// Runs a query with a small result (catalog, control tables); values as text.
    fn query(&mut self, sql: &str) -> impl Future<Output = Result<Vec<Vec<Option<String>>>>> + Send;

    /// Begins to bring rows near to the warehouse before [`Client::load`] asks for them, where that need not wait for
    /// the transaction; `open` says whether one is. The rows of several tables may be on their way at once.
    fn ahead(&mut self, target: &Target, rows: &[NetRow], open: bool) -> impl Future<Output = Result<()>> + Send {
        let _ = (target, rows, open);
        async { Ok(()) }
    }

    /// Waits until everything is there that was brought on its way.
    fn arrived(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Appends the rows to the staging table, inside the transaction that is open; returns how many.
    fn load(&mut self, stage: Stage) -> impl Future<Output = Result<u64>> + Send;

    /// Whether [`Client::load_new`] can be tried with this target.
    fn takes_new(&self, target: &Target) -> bool {
        let _ = target;
        false
    }

    /// Appends rows to the target itself, inside the transaction that is open: rows that it should not have. `false`:
    /// it refuses one, and there is nothing of them; then they have to be merged.
    fn load_new(&mut self, target: &Target, rows: &[NetRow]) -> impl Future<Output = Result<bool>> + Send {
        let _ = (target, rows);
        async { Ok(false) }
    }

    /// Which values of the rows have no place in the target's columns. Asked once something has failed, never before.
    fn misfits(&mut self, target: &Target, rows: &[NetRow]) -> impl Future<Output = Result<Vec<Misfit>>> + Send {
        let _ = (target, rows);
        async { Ok(Vec::new()) }
    }

    /// Leaves the warehouse in good order.
    fn close(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
