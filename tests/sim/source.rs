//! The source of a simulated process: the product's assembler, gathering and acknowledgements on the model's wire.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tailwater::adapters::postgres::{Ledger, behind, continues};
use tailwater::codecs::pgoutput::{Relation, StandbyStatus};
use tailwater::logic::assemble::{Assembler, Description, Gather, PIECE, Portion, Step, shape};
use tailwater::logic::pipeline::{Batch, Source};
use tailwater::model::{
    Change, ChangeId, Checkpoint, Error, Lsn, Op, Origin, PgTimestamp, Phase, Position, Result, Row, SnapshotMark,
    SourcePosition,
};
use tokio::time::Instant;

use super::life::Life;
use super::server::{Item, Rows, diary, keyed, row};
use super::world::{Shared, World};

/// How far a slot was read.
#[derive(Clone, Debug)]
pub struct At(Checkpoint);

impl Position for At {
    fn checkpoint(&self) -> Checkpoint {
        self.0.clone()
    }

    fn reaches(&self, goal: &At) -> bool {
        self.0.phase == Phase::Stream && self.0.position.lsn >= goal.0.position.lsn
    }
}

/// See the module.
pub struct ModelSource {
    shared: Shared,
    life: Arc<Life>,
    session: u64,
    ledger: Ledger,
    assembler: Assembler,
    gather: Gather,
    identity: SourcePosition,
    items: VecDeque<Item>,
    describe: Option<Relation>,
    /// The snapshot's rows that are still to be handed on.
    rows: Option<VecDeque<Change>>,
}

impl ModelSource {
    /// Looks at the server and the slot, takes a snapshot where the warehouse has none, and starts the stream.
    pub async fn start(shared: Shared, life: Arc<Life>, resume: Option<Checkpoint>) -> Result<ModelSource> {
        life.step().await;
        let begun = begin(&mut shared.lock().unwrap(), resume.as_ref())?;
        life.step().await;
        let Begun { session, start, last, identity, assembler, rows } = begun;
        let mut gather = Gather::new(start, last, Instant::now().into_std());
        if resume.is_some_and(|stored| stored.position.timeline != identity.timeline) && rows.is_none() {
            gather.say_first();
        }
        Ok(ModelSource {
            shared,
            life,
            session,
            ledger: if rows.is_some() { Ledger::at_snapshot(start) } else { Ledger::new(start) },
            assembler,
            gather,
            identity,
            items: VecDeque::new(),
            describe: None,
            rows,
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.lock().unwrap()
    }

    fn position(&self, phase: Phase) -> At {
        let position = SourcePosition { lsn: self.gather.at(), ..self.identity };
        At(Checkpoint { position, change: self.gather.last(), phase, offsets: Vec::new(), followed: None })
    }

    /// Some of the snapshot's rows; nothing else is cut off by a crash here.
    fn read(&mut self) -> Option<Batch<At>> {
        let count = self.world().chance.below(4) as usize + 1;
        let rows = self.rows.as_mut()?;
        let changes: Vec<Change> = rows.drain(..count.min(rows.len())).collect();
        let done = rows.is_empty();
        self.rows.take_if(|_| done);
        self.gather.passed(changes.last().map_or(self.gather.last(), |change| change.id));
        let phase = if done { Phase::Stream } else { Phase::Snapshot };
        Some(Batch { changes, bytes: 100, upto: Some(self.position(phase)) })
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Keepalive(end) => self.gather.keepalive(Lsn::new(end), self.assembler.inside()),
            Item::Message { message, lsn, weight } => {
                let step = self.gather.feed(&mut self.assembler, message, Lsn::new(lsn), weight)?;
                let held = self.gather.bytes();
                if held > PIECE + weight {
                    self.world().broken(format!("the source holds {held} bytes of changes"));
                }
                if let Step::Describe(relation) = step {
                    self.describe = Some(relation);
                }
            }
        }
        Ok(())
    }

    fn due(&mut self, idle: bool) -> Option<Batch<At>> {
        let Portion { changes, bytes, whole } =
            self.gather.due(idle, self.assembler.inside(), false, Instant::now().into_std())?;
        Some(Batch { changes, bytes, upto: whole.then(|| self.position(Phase::Stream)) })
    }

    /// Hears the server, as the task that owns the connection does.
    fn hear(&mut self) -> Result<bool> {
        let mut world = self.shared.lock().unwrap();
        let world = &mut *world;
        if world.faults && world.chance.one_in(400) {
            world.server.cut();
        }
        let Some(items) = world.server.receive(self.session, &mut world.chance) else {
            return Err(Error::transient("the server closed the replication connection"));
        };
        let end = Lsn::new(world.server.end);
        for item in &items {
            self.ledger.hear(&item.frame(end));
        }
        self.items.extend(items);
        Ok(!self.items.is_empty())
    }

    /// Tells the server what is durable; nothing leaves that must not.
    pub fn tell(&mut self) {
        if self.life.mode() != super::life::Mode::Running {
            return;
        }
        let position = self.ledger.position();
        let mut status = BytesMut::new();
        self.ledger.acknowledge(position, false, &mut status);
        let told = StandbyStatus::decode(&Bytes::from(status)).unwrap();
        self.world().acknowledge(self.session, told.flushed);
    }

    /// Tells once more and lets go.
    pub async fn close(mut self) {
        self.life.step().await;
        self.tell();
    }
}

/// A connection that streams.
struct Begun {
    session: u64,
    start: Lsn,
    last: ChangeId,
    identity: SourcePosition,
    assembler: Assembler,
    rows: Option<VecDeque<Change>>,
}

fn begin(world: &mut World, resume: Option<&Checkpoint>) -> Result<Begun> {
    if world.faults && world.chance.one_in(40) {
        return Err(Error::transient("the server does not answer"));
    }
    let server = &mut world.server;
    let identity = SourcePosition { system_id: server.system_id, timeline: server.timeline, lsn: Lsn::ZERO };
    if let Some(stored) = resume {
        continues(stored, identity, &server.timeline_history())?;
    }
    let streaming = resume.filter(|stored| stored.phase == Phase::Stream);
    if let (Some(stored), Some(confirmed)) = (streaming, server.confirmed) {
        behind("slot", Lsn::new(confirmed), stored.position.lsn)?;
    }
    let snapshot = streaming.is_none().then(|| server.snapshot());
    let start = match (&snapshot, streaming) {
        (Some((point, _)), _) => Lsn::new(*point),
        (None, stored) => stored.map_or(Lsn::ZERO, |stored| stored.position.lsn),
    };
    let mut assembler = Assembler::new(start);
    let rows = snapshot.map(|(point, rows)| snapshot_rows(&mut assembler, Lsn::new(point), &rows, resume.is_some()));
    let session = server.start(start.get());
    world.tell(|| format!("session {session} starts at {start}, resume {resume:?}"));
    let last = streaming.map_or(ChangeId::snapshot(start, 0), |stored| stored.change);
    Ok(Begun { session, start, last, identity, assembler, rows })
}

impl Source for ModelSource {
    type Position = At;

    async fn next(&mut self) -> Result<Batch<At>> {
        self.life.step().await;
        if let Some(batch) = self.read() {
            return Ok(batch);
        }
        loop {
            if let Some(relation) = self.describe.clone() {
                // The catalog is asked; a call that is dropped asks again.
                self.life.step().await;
                let described = Description { primary_key: primary_key(&relation), ..Description::default() };
                let table = shape(&relation, &described);
                self.assembler.define(relation, table, Lsn::ZERO);
                self.describe = None;
            }
            if let Some(batch) = self.due(false) {
                return Ok(batch);
            }
            while let Some(item) = self.items.pop_front() {
                self.take(item)?;
                if self.describe.is_some() {
                    break;
                }
                if let Some(batch) = self.due(false) {
                    return Ok(batch);
                }
            }
            if self.describe.is_some() || self.hear()? {
                continue;
            }
            if let Some(batch) = self.due(true) {
                return Ok(batch);
            }
            if self.ledger.news() {
                self.tell();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.life.step().await;
        }
    }

    async fn ack(&mut self, upto: At) -> Result<()> {
        self.life.step().await;
        if upto.0.phase == Phase::Stream {
            self.ledger.confirm(upto.0.position.lsn);
        }
        let now = self.world().chance.one_in(2);
        if now {
            self.tell();
        }
        self.life.step().await;
        Ok(())
    }

    async fn current(&mut self) -> Result<At> {
        let end = Lsn::new(self.world().server.end);
        self.gather.await_position(end);
        let At(mut goal) = self.position(Phase::Stream);
        goal.position.lsn = end;
        Ok(At(goal))
    }
}

fn primary_key(relation: &Relation) -> Vec<String> {
    relation.columns.iter().filter(|column| column.key).map(|column| column.name.clone()).collect()
}

/// The rows of a snapshot, each table beginning with a truncate where an interrupted one may have left rows.
fn snapshot_rows(assembler: &mut Assembler, point: Lsn, rows: &Rows, clear: bool) -> VecDeque<Change> {
    let width = rows.keyed.values().map(Vec::len).max().unwrap_or(2);
    let mut define = |relation: Relation| {
        let described = Description { primary_key: primary_key(&relation), ..Description::default() };
        let table = shape(&relation, &described);
        assembler.define(relation, table, Lsn::ZERO)
    };
    let (first, second) = (define(keyed(width)), define(diary()));
    let mut padded = rows.keyed.clone();
    padded.values_mut().for_each(|cells| cells.resize(width, None));
    let keyed = padded.iter().map(|(id, cells)| Op::Read { new: row(id, cells, false) });
    let notes = rows.diary.iter().map(|(writer, number)| {
        let (writer, number) = (writer.to_string(), number.to_string());
        let new: Row =
            [&writer, &number].map(|text| tailwater::model::Cell::Text(text.as_bytes())).into_iter().collect();
        Op::Read { new }
    });
    let clear = || clear.then_some(Op::Truncate).into_iter();
    let of_first = clear().chain(keyed).map(|op| (&first, op));
    let of_second = clear().chain(notes).map(|op| (&second, op));
    let change = |(ordinal, (table, op)): (u64, (&Arc<_>, Op))| Change {
        id: ChangeId::snapshot(point, ordinal),
        origin: Origin {
            at: PgTimestamp(0),
            xid: None,
            lsn: point,
            last_commit: None,
            snapshot: Some(SnapshotMark::Middle),
        },
        table: Arc::clone(table),
        op,
    };
    (0..).zip(of_first.chain(of_second)).map(change).collect()
}
