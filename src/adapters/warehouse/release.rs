//! A stopped table goes on: what waited is merged in its order, and then what comes.
//!
//! It goes portion by portion between flushes, so that the other tables go on meanwhile. A portion's rows, the end of
//! their waiting and the fence are one transaction: whatever is cut off, a change waits or is merged, never both. The
//! progress stays where it is, for it has passed these changes when they were kept.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::client::Client;
use super::worker::Worker;
use crate::codecs::dialect::Dialect;
use crate::codecs::event::{Waiting, decode_piece};
use crate::logic::project::{Projection, Rule};
use crate::model::{Change, ChangeId, Error, Result, Table, TableName};

/// Bytes of texts that are merged at a time.
const PORTION: usize = 4 << 20;
/// And how many of them.
const TEXTS: usize = 2_000;

/// What is merged at a time.
struct Portion {
    changes: Vec<Change>,
    upto: ChangeId,
}

/// Texts as they are kept, each with the id that it is kept under.
type Texts = Vec<(ChangeId, String)>;

impl<C: Client, D: Dialect> Worker<C, D> {
    /// Whether nothing is under way.
    pub(super) fn idle(&self) -> bool {
        !self.open && self.gathered.folds.is_empty() && self.gathered.ready.is_empty() && !self.stops.in_hand()
    }

    /// Merges a portion of what waits of a table whose time has come, if there is one and nothing is under way.
    pub(super) async fn release(&mut self) -> Result<()> {
        if !self.idle() {
            return Ok(());
        }
        let Some(told) = self.stops.ripe() else { return Ok(()) };
        let began = Instant::now();
        let pause = match self.try_portion(&told).await? {
            // The others have as much time as this one.
            true => began.elapsed(),
            false => self.options.retry,
        };
        self.stops.later(&told, pause);
        Ok(())
    }

    /// Tries all of them now, to the end.
    pub(super) async fn release_all(&mut self) -> Result<()> {
        if !self.idle() {
            return Ok(());
        }
        let all: Vec<TableName> = self.stops.tables.keys().cloned().collect();
        for told in all {
            while self.stops.has(&told) && self.try_portion(&told).await? {}
        }
        Ok(())
    }

    /// Merges a portion of what waits of a table; whether that could be done.
    async fn try_portion(&mut self, told: &TableName) -> Result<bool> {
        match self.portion(told).await {
            Err(error) if self.stops.concerns(&error) => {
                self.undo(told).await?;
                self.stops.note(&mut self.client, &self.dialect, self.ledger.fence(), (told, &error)).await?;
                Ok(false)
            }
            done => done,
        }
    }

    async fn waits(&mut self, told: &TableName) -> Result<bool> {
        let Some(stop) = self.stops.tables.get(told) else { return Ok(false) };
        let next = self.dialect.stops(&self.options.pipeline).next(&stop.source, 1);
        Ok(!self.client.query(&next).await?.is_empty())
    }

    /// Ends a transaction that failed, and what is believed of the table.
    async fn undo(&mut self, told: &TableName) -> Result<()> {
        self.gathered.folds.clear();
        self.gathered.merged();
        self.merging = None;
        if std::mem::take(&mut self.open) {
            self.client.execute("ROLLBACK").await?;
        }
        // It may have failed while nobody else could make tables.
        self.together().await?;
        // Its target and its staging table may have been made or altered in what is undone.
        let target = self.options.target_name(told);
        self.fitting.remove(&target);
        self.staging.remove(&target);
        Ok(())
    }

    async fn portion(&mut self, told: &TableName) -> Result<bool> {
        let Some(source) = self.stops.tables.get(told).map(|stop| stop.source.clone()) else { return Ok(false) };
        let Some(checkpoint) = self.ledger.partial(self.ledger.change()) else { return Ok(false) };
        let Some(Portion { changes, upto }) = self.next_portion(&source).await? else { return Ok(false) };
        let count = changes.len() as u64;
        for change in changes {
            self.add(change).await?;
        }
        self.merge().await?;
        self.begin().await?;
        let release = self.dialect.stops(&self.options.pipeline).release(&source, upto);
        self.client.execute(&release).await?;
        let more = self.waits(told).await?;
        if !more {
            let go_on = self.dialect.stops(&self.options.pipeline).go_on(&source);
            self.client.execute(&go_on).await?;
        }
        self.ledger.advance(&mut self.client, &self.dialect, &checkpoint, None).await?;
        self.client.execute("COMMIT").await?;
        self.open = false;
        self.count_marks();
        if let Some(stop) = self.stops.tables.get_mut(told) {
            stop.released += count;
        }
        self.options.meters.table_held(told, -i64::try_from(count).unwrap_or(i64::MAX));
        if !more {
            self.stops.go_on(told);
        }
        Ok(true)
    }

    /// The next changes of one shape.
    async fn next_portion(&mut self, source: &TableName) -> Result<Option<Portion>> {
        let mut portion: Option<Portion> = None;
        let mut shapes: HashMap<Vec<String>, (Arc<Table>, Projection)> = HashMap::new();
        let mut first: Option<Table> = None;
        for (id, text) in self.texts(source).await? {
            let broken = |error| {
                Error::blocked(format!("what waits of {source} can't be read: {error}"))
                    .remedy("a row of _tailwater.held was changed by hand: restore it, or stop, clear the pipeline's progress and let all tables be read again")
            };
            let (shape, waiting) = decode_piece(&text).map_err(broken)?;
            match &first {
                Some(first) if !first.same_shape(&shape) => break,
                Some(_) => {}
                None => first = Some(shape.clone()),
            }
            let portion = portion.get_or_insert_with(|| Portion { changes: Vec::new(), upto: id });
            portion.upto = id;
            for (id, waiting) in waiting {
                portion.changes.push(self.told_now(source, &shape, &mut shapes, id, waiting)?);
            }
        }
        Ok(portion)
    }

    /// A change that waited, under the rules of now: what was left out or masked stays so.
    fn told_now(
        &self,
        source: &TableName,
        shape: &Table,
        shapes: &mut HashMap<Vec<String>, (Arc<Table>, Projection)>,
        id: ChangeId,
        waiting: Waiting,
    ) -> Result<Change> {
        let Waiting { origin, op, masked } = waiting;
        let (table, projection) = shapes.entry(masked).or_insert_with_key(|masked| {
            let table = Arc::new(Table { name: source.clone(), ..shape.clone() });
            let rules = Rule::of(&self.options.rules, source).map(|rule| rule.again(&table, masked));
            (table, Projection::new(rules.into_iter().collect(), self.options.origins.clone()))
        });
        let mut change = Change { id, origin, table: Arc::clone(table), op };
        projection.apply(std::slice::from_mut(&mut change))?;
        Ok(change)
    }

    /// The next texts that wait, as many as are merged at a time.
    async fn texts(&mut self, source: &TableName) -> Result<Texts> {
        let stops = self.dialect.stops(&self.options.pipeline);
        let limit = self.options.flush.bytes.min(PORTION);
        let (mut upto, mut bytes) = (None, 0_usize);
        for row in self.client.query(&stops.next(source, TEXTS)).await? {
            let (id, rest) = read_id(&row)?;
            let size = rest.get(1).and_then(|size| size.as_deref()?.parse::<usize>().ok()).unwrap_or(limit);
            if upto.is_some() && bytes + size > limit {
                break;
            }
            bytes += size;
            upto = Some(id);
        }
        let Some(upto) = upto else { return Ok(Vec::new()) };
        let mut texts: Texts = Vec::new();
        for mut row in self.client.query(&stops.content(source, upto)).await? {
            let part = row.pop().flatten().unwrap_or_default();
            let (id, _) = read_id(&row)?;
            match texts.last_mut().filter(|(last, _)| *last == id) {
                Some((_, text)) => text.push_str(&part),
                None => texts.push((id, part)),
            }
        }
        Ok(texts)
    }
}

/// The id that a row begins with, and the rest of the row.
fn read_id(row: &[Option<String>]) -> Result<(ChangeId, &[Option<String>])> {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    match row {
        [commit, seq, rest @ ..] => number(commit)
            .zip(number(seq))
            .map(|(commit, seq)| (ChangeId { commit: crate::model::Lsn::new(commit), seq }, rest)),
        _ => None,
    }
    .ok_or_else(|| Error::bug("a row of _tailwater.held has no id"))
}
