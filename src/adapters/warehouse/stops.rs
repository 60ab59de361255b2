//! Tables that can't proceed: each is stopped by itself, and its changes are kept in the warehouse as they are.
//!
//! ```text
//!  a table fails ─▶ ROLLBACK ─▶ noted in _tailwater.stopped ─▶ the next attempt, from what is stored
//!  its changes   ─▶ pieces ─▶ _tailwater.held, in the transaction of all other rows and of the progress
//! ```
//!
//! Why nothing is lost: the note is committed before the next attempt begins, so no attempt ever passes the change that
//! failed without keeping it; and what is kept moves with the progress that speaks of it. Why nothing overtakes: while
//! a table is noted as stopped all of its changes are kept; `release` merges them in their order and takes the note
//! away in the transaction that finds nothing left.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::options::Options;
use crate::codecs::dialect::{self, CONTROL_SCHEMA, Dialect};
use crate::codecs::event::Piece;
use crate::logic::project::Rule;
use crate::model::meters::StoppedTable;
use crate::model::{Change, Error, PgTimestamp, Result, TableName};

/// Bytes of changes that are kept as one text.
const PIECE: usize = 1 << 20;

/// A stopped table.
#[derive(Debug)]
pub(super) struct Stop {
    /// The source's name.
    pub(super) source: TableName,
    since: PgTimestamp,
    pub(super) reason: String,
    pub(super) remedy: String,
    /// When it is tried again.
    pub(super) again: Instant,
    /// How many changes have been merged since it is being released.
    pub(super) released: u64,
}

/// The stopped tables of a pipeline, by the names they are told under.
#[derive(Debug)]
pub(super) struct Stops {
    pub(super) tables: BTreeMap<TableName, Stop>,
    pieces: Vec<(TableName, Piece)>,
    pub(super) options: Options,
}

impl Stops {
    /// Those that are noted. `fresh`: nothing is stored of the pipeline, so what waits is of a life before.
    pub(super) async fn open<C: Client>(
        client: &mut C,
        dialect: &impl Dialect,
        options: &Options,
        fresh: bool,
    ) -> Result<Stops> {
        if fresh {
            client.execute(&dialect.stops(&options.pipeline).forget()).await?;
        }
        let (now, before) = (Instant::now(), options.meters.stopped());
        let mut tables = BTreeMap::new();
        for (source, state) in read(client, dialect, &options.pipeline).await? {
            let told = Rule::told_name(&options.rules, &source);
            // One of which nothing waits may not be wanted any more: it is shown with its first change.
            if state.held > 0 || before.iter().any(|(name, _)| *name == told) {
                options.meters.stop_table(&told, state.clone());
            }
            let StoppedTable { since, reason, remedy, .. } = state;
            tables.insert(told, Stop { source, since, reason, remedy, again: now, released: 0 });
        }
        before
            .iter()
            .filter(|(name, _)| !tables.contains_key(name))
            .for_each(|(name, _)| options.meters.table_goes_on(name));
        Ok(Stops { tables, pieces: Vec::new(), options: options.clone() })
    }

    /// Whether any table is stopped.
    pub(super) fn any(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Whether the table is stopped.
    pub(super) fn has(&self, table: &TableName) -> bool {
        !self.tables.is_empty() && self.tables.contains_key(table)
    }

    /// Keeps a change of a stopped table, for now in memory.
    pub(super) fn keep(&mut self, change: &Change) {
        let table = &change.table;
        let Some(stop) = self.tables.get(&table.name) else { return };
        if self.pieces.iter().all(|(source, _)| *source != stop.source) {
            let state = state(stop);
            if !self.options.meters.stopped().iter().any(|(name, _)| *name == table.name) {
                self.options.meters.stop_table(&table.name, state);
            }
        }
        let masked = Rule::of(&self.options.rules, &stop.source).map(|rule| rule.done(table)).unwrap_or_default();
        let last = self.pieces.iter_mut().rfind(|(source, _)| *source == stop.source).map(|(_, piece)| piece);
        let fits = |piece: &&mut Piece| piece.size() < PIECE && piece.table().same_shape(table);
        match last.filter(fits) {
            Some(piece) => drop(piece.push(change, &masked)),
            None => {
                let mut piece = Piece::new(table);
                piece.push(change, &masked);
                self.pieces.push((stop.source.clone(), piece));
            }
        }
    }

    /// Whether changes wait in memory.
    pub(super) fn in_hand(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Brings what is in memory into the warehouse, inside the open transaction.
    pub(super) async fn store<C: Client>(&mut self, client: &mut C, dialect: &impl Dialect) -> Result<()> {
        for (source, piece) in std::mem::take(&mut self.pieces) {
            let stops = dialect.stops(&self.options.pipeline);
            for statement in stops.hold(&source, piece.first(), piece.changes(), &piece.encode()) {
                client.execute(&statement).await.map_err(|error| error.within("keeping changes of a stopped table"))?;
            }
            let more = i64::try_from(piece.changes()).unwrap_or(i64::MAX);
            self.options.meters.table_held(&Rule::told_name(&self.options.rules, &source), more);
        }
        Ok(())
    }

    /// Whether this failure is of one table alone and stops no more than that.
    pub(super) fn concerns(&self, error: &Error) -> bool {
        self.options.stops_alone(error)
    }

    /// Notes that a table is stopped, or why it still is, as long as this fence stands; nothing may be open.
    pub(super) async fn note<C: Client>(
        &mut self,
        client: &mut C,
        dialect: &impl Dialect,
        fence: u64,
        (told, error): (&TableName, &Error),
    ) -> Result<()> {
        let (reason, remedy) = (error.what(), error.advice().unwrap_or("see the log").to_owned());
        let again = Instant::now() + self.options.retry;
        let source = self.options.origins.of(told);
        let fresh = Stop {
            source,
            since: PgTimestamp::now(),
            reason: String::new(),
            remedy: String::new(),
            again,
            released: 0,
        };
        let stop = self.tables.entry(told.clone()).or_insert(fresh);
        stop.again = again;
        if (&stop.reason, &stop.remedy) == (&reason, &remedy) {
            return Ok(());
        }
        let statements = dialect.stops(&self.options.pipeline).stop(&stop.source, stop.since, &reason, &remedy);
        client.execute("BEGIN").await?;
        // Who has been replaced knows nothing of how the table is now.
        if client.execute(&dialect.progress(&self.options.pipeline).guard(fence)).await? != 1 {
            client.execute("ROLLBACK").await?;
            return Err(Error::transient("another process writes this warehouse now"));
        }
        for statement in statements {
            client.execute(&statement).await?;
        }
        client.execute("COMMIT").await?;
        (stop.reason, stop.remedy) = (reason, remedy);
        let meters = &self.options.meters;
        if meters.stopped().iter().any(|(name, _)| name == told) {
            meters.table_because(told, stop.reason.clone(), stop.remedy.clone());
        } else {
            meters.stop_table(told, state(stop));
        }
        tracing::error!(
            table = %told,
            "stopped, the others go on: {}; its changes wait in {CONTROL_SCHEMA}.held; {}", stop.reason, stop.remedy
        );
        Ok(())
    }

    /// When a table is to be tried again.
    pub(super) fn when(&self) -> Option<Instant> {
        self.tables.values().map(|stop| stop.again).min()
    }

    /// A table whose time has come.
    pub(super) fn ripe(&self) -> Option<TableName> {
        let now = Instant::now();
        self.tables.iter().find(|(_, stop)| stop.again <= now).map(|(told, _)| told.clone())
    }

    /// Puts a table off.
    pub(super) fn later(&mut self, told: &TableName, pause: Duration) {
        if let Some(stop) = self.tables.get_mut(told) {
            stop.again = Instant::now() + pause;
        }
    }

    /// The table is as any other from here on.
    pub(super) fn go_on(&mut self, told: &TableName) {
        if let Some(stop) = self.tables.remove(told) {
            self.options.meters.table_goes_on(told);
            tracing::info!(table = %told, changes = stop.released, "goes on: what waited has been merged");
        }
    }
}

fn state(stop: &Stop) -> StoppedTable {
    StoppedTable { since: stop.since, reason: stop.reason.clone(), remedy: stop.remedy.clone(), held: 0 }
}

/// The stopped tables of a pipeline by the source's names, without changing anything.
pub async fn stopped<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
) -> Result<Vec<(TableName, StoppedTable)>> {
    for table in ["stopped", "held"] {
        if client.query(&dialect.columns(&TableName::new(CONTROL_SCHEMA, table))).await?.is_empty() {
            return Ok(Vec::new());
        }
    }
    read(client, dialect, pipeline).await
}

async fn read<C: Client>(
    client: &mut C,
    dialect: &impl Dialect,
    pipeline: &str,
) -> Result<Vec<(TableName, StoppedTable)>> {
    let stops: dialect::Stops<'_> = dialect.stops(pipeline);
    let rows = client.query(&stops.read()).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut counts = BTreeMap::new();
    for row in client.query(&stops.count()).await? {
        if let Ok([Some(schema), Some(name), Some(count)]) = <[Option<String>; 3]>::try_from(row) {
            counts.insert(TableName::new(schema, name), count.parse().unwrap_or(0));
        }
    }
    let stop = |row: Vec<Option<String>>| {
        let [Some(schema), Some(name), Some(since), Some(reason), Some(remedy)] =
            <[Option<String>; 5]>::try_from(row).ok()?
        else {
            return None;
        };
        let table = TableName::new(schema, name);
        let held = counts.get(&table).copied().unwrap_or(0);
        let since = PgTimestamp::from_unix_micros(since.parse().ok()?);
        Some((table, StoppedTable { since, reason, remedy, held }))
    };
    rows.into_iter().map(stop).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::blocked("a row of _tailwater.stopped can't be read")
            .remedy("it was changed by hand: restore or delete it")
            .systemic()
    })
}
