//! The task that owns the replication connection.
//!
//! ```text
//!  socket ──frames──▶ [waiting bytes <= limit] ──▶ source      one hand-over per read, not per message
//!    ▲                                               │
//!    └── status, on a timer ◀── durable position ◀───┘
//! ```
//!
//! Why the server never cuts us off and never waits for us in vain: status goes out on a timer that depends on nothing
//! else; while too much is waiting the socket is not read, but the timer goes on. A server that shuts down waits until
//! its senders are gone: it shows by a burst of keepalives, or, while we do not read, by refusing a new connection, and
//! then this task lets go, keeps away for a while, and reports a failure that heals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use postgres_protocol::message::frontend;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ack::Ledger;
use super::endpoint::Endpoint;
use super::options::{Form, Options};
use super::refusal::Notice;
use super::wire::{Wire, lost};
use crate::codecs::pgoutput::Frame;
use crate::model::{Error, Lsn, Meters, Result};

/// How often it looks whether there is something to tell.
const TICK: Duration = Duration::from_millis(100);
/// How often the server hears of us at least.
const STATUS: Duration = Duration::from_secs(10);
/// How long the server may be silent after it was asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(40);
/// How long the socket may stay unread before we look whether the server is shutting down.
const STUCK: Duration = Duration::from_secs(5);
/// How long we keep away from a server that is shutting down.
const AWAY: Duration = Duration::from_secs(10);
/// Keepalives within one second, without progress, that mean a shutdown.
const BURST: u32 = 50;
/// Read at a time.
const CHUNK: usize = 1 << 20;
/// Read in one round at most.
const ROUND: usize = 4 << 20;
/// Behind the server, the socket is left alone this long so that the server sends larger pieces.
const PAUSE: Duration = Duration::from_millis(10);
/// What must arrive in a pause's length to count as being behind.
const BACKLOG: usize = 192 * 1024;

/// Payloads that arrived together.
pub(super) struct Burst {
    pub(super) payloads: Vec<Bytes>,
    pub(super) bytes: usize,
}

/// The source's end of the task.
pub(super) struct Stream {
    arrived: mpsc::UnboundedReceiver<Result<Burst>>,
    durable: watch::Sender<Lsn>,
    room: Arc<Room>,
    task: tokio::task::JoinHandle<()>,
}

/// Bytes handed over and not taken yet.
struct Room {
    waiting: AtomicUsize,
    limit: usize,
    freed: Notify,
}

impl Stream {
    /// Takes over a connection that is in CopyBoth and has been started where the ledger begins.
    pub(super) fn spawn(
        wire: Wire,
        ledger: Ledger,
        status: Duration,
        options: &Options,
        meters: Arc<Meters>,
    ) -> Stream {
        let (hand_over, arrived) = mpsc::unbounded_channel();
        let (durable, told) = watch::channel(ledger.position());
        let room = Arc::new(Room { waiting: AtomicUsize::new(0), limit: options.buffer_bytes, freed: Notify::new() });
        let now = Instant::now();
        meters.received.set(ledger.received());
        let mut owner = Owner {
            wire,
            ledger,
            hand_over,
            durable: told,
            room: Arc::clone(&room),
            endpoint: options.endpoint.clone(),
            form: options.form.clone(),
            meters,
            status: status.min(STATUS),
            last_status: now,
            last_byte: now,
            burst: (Lsn::ZERO, 0, now),
            pace: Pace { since: now, bytes: 0, until: None },
        };
        let task = tokio::spawn(async move {
            let Err(error) = owner.run().await else { return };
            let leaves = error.advice() == Some(KEEP_AWAY);
            if leaves {
                // The connection may be gone already: then what is durable is told at the next start.
                let _ = tokio::time::timeout(Duration::from_secs(1), owner.farewell()).await;
            }
            let Owner { wire, hand_over, .. } = owner;
            drop(wire);
            if leaves {
                tokio::select! {
                    () = tokio::time::sleep(AWAY) => {}
                    () = hand_over.closed() => {}
                }
            }
            // The receiver is gone when the source is: nobody is left to tell.
            let _ = hand_over.send(Err(error));
        });
        Stream { arrived, durable, room, task }
    }

    /// The next payloads. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Burst> {
        let burst =
            self.arrived.recv().await.unwrap_or_else(|| Err(Error::transient("the replication stream has ended")))?;
        self.took(&burst);
        Ok(burst)
    }

    /// Payloads that are here already.
    pub(super) fn ready(&mut self) -> Result<Option<Burst>> {
        match self.arrived.try_recv() {
            Ok(burst) => {
                let burst = burst?;
                self.took(&burst);
                Ok(Some(burst))
            }
            Err(_) => Ok(None),
        }
    }

    fn took(&self, burst: &Burst) {
        self.room.waiting.fetch_sub(burst.bytes, Ordering::Relaxed);
        self.room.freed.notify_one();
    }

    /// Everything up to `lsn` is durable.
    pub(super) fn confirm(&self, lsn: Lsn) {
        self.durable.send_if_modified(|durable| std::mem::replace(durable, lsn.max(*durable)) < lsn);
    }

    /// Tells the server the last durable position and says good-bye.
    pub(super) async fn close(self) {
        let Stream { arrived, durable, room, task } = self;
        drop((arrived, durable));
        room.freed.notify_one();
        if tokio::time::timeout(Duration::from_secs(2), task).await.is_err() {
            tracing::warn!("the replication connection did not close in time");
        }
    }
}

const KEEP_AWAY: &str = "Tailwater lets it, and comes back";

struct Owner {
    wire: Wire,
    ledger: Ledger,
    hand_over: mpsc::UnboundedSender<Result<Burst>>,
    durable: watch::Receiver<Lsn>,
    room: Arc<Room>,
    endpoint: Endpoint,
    form: Form,
    meters: Arc<Meters>,
    status: Duration,
    last_status: Instant,
    last_byte: Instant,
    /// Keepalives that wanted an answer: for which end, how many, since when.
    burst: (Lsn, u32, Instant),
    pace: Pace,
}

/// Whether we are behind the server, by how much arrives in the length of a pause.
struct Pace {
    since: Instant,
    bytes: usize,
    until: Option<Instant>,
}

impl Pace {
    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        let now = Instant::now();
        if now - self.since >= PAUSE {
            self.until = (self.bytes >= BACKLOG).then(|| now + PAUSE);
            (self.since, self.bytes) = (now, 0);
        }
    }
}

impl Owner {
    /// Until the source is gone (`Ok`) or the stream fails.
    async fn run(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck: Option<Instant> = None;
        let mut probe: Option<tokio::task::JoinHandle<bool>> = None;
        loop {
            let full = self.room.waiting.load(Ordering::Relaxed) >= self.room.limit;
            if full {
                stuck.get_or_insert_with(Instant::now);
            } else if stuck.take().is_some() {
                // The server's silence does not count while we did not listen.
                self.last_byte = Instant::now();
            }
            if self.wire.buffer.capacity() - self.wire.buffer.len() < CHUNK / 8 {
                self.wire.buffer.reserve(CHUNK);
            }
            let pause = self.pace.until.take();
            tokio::select! {
                biased;
                _ = tick.tick() => {
                    self.pace.until = pause;
                    self.tick(full).await?;
                    if let Some(running) = probe.take_if(|probe| probe.is_finished())
                        && running.await.unwrap_or(false) {
                        return Err(shutting_down());
                    }
                    if probe.is_none() && stuck.is_some_and(|since| since.elapsed() >= STUCK) {
                        stuck = Some(Instant::now());
                        probe = Some(tokio::spawn(refuses(self.endpoint.clone())));
                    }
                }
                () = self.hand_over.closed() => return self.farewell().await,
                () = self.room.freed.notified(), if full => {}
                read = read(&mut self.wire, pause), if !full => {
                    let bytes = read?;
                    self.last_byte = Instant::now();
                    self.pace.count(bytes);
                    self.take().await?;
                }
            }
        }
    }

    /// Sends a status when there is news or it is time; checks that the server is alive.
    async fn tick(&mut self, full: bool) -> Result<()> {
        self.ledger.confirm(*self.durable.borrow_and_update());
        if self.ledger.news() || self.last_status.elapsed() >= self.status {
            let quiet = self.last_byte.elapsed() >= self.status;
            self.tell(quiet).await?;
        }
        if !full && self.last_byte.elapsed() >= SILENCE {
            return Err(Error::transient("the server has been silent though it was asked for a sign of life"));
        }
        Ok(())
    }

    /// The one way out for acknowledgements.
    async fn tell(&mut self, reply: bool) -> Result<()> {
        let position = self.ledger.position();
        let mut status = BytesMut::with_capacity(34);
        self.ledger.acknowledge(position, reply, &mut status);
        let mut out = BytesMut::with_capacity(48);
        frontend::CopyData::new(status.freeze()).map_err(super::wire::broken)?.write(&mut out);
        self.last_status = Instant::now();
        self.meters.acknowledged.set(position);
        self.wire.send(&out).await
    }

    async fn farewell(&mut self) -> Result<()> {
        self.ledger.confirm(*self.durable.borrow());
        self.tell(false).await?;
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        frontend::terminate(&mut out);
        self.wire.send(&out).await
    }

    /// Hands over every message that has arrived whole.
    async fn take(&mut self) -> Result<()> {
        let mut payloads = Vec::new();
        let mut bytes = 0;
        let mut answer = false;
        while let Some((tag, body)) = self.wire.parse()? {
            match tag {
                b'd' => {
                    self.look(&body, &mut answer)?;
                    bytes += body.len();
                    payloads.push(body);
                }
                b'N' => notice(&Notice::read(&body))?,
                b'S' => {}
                b'E' => return Err(Notice::read(&body).streaming(&self.form)),
                // The end of the stream, or of the command where everything was told and acknowledged.
                b'c' | b'C' => return Err(shutting_down()),
                other => {
                    return Err(Error::corrupt(format!("the server sent message 0x{other:02x} inside the stream")));
                }
            }
        }
        if bytes > 0 {
            self.room.waiting.fetch_add(bytes, Ordering::Relaxed);
            self.meters.received.set(self.ledger.received());
            // Closed only when the source is gone; the loop sees that next.
            let _ = self.hand_over.send(Ok(Burst { payloads, bytes }));
        }
        if answer {
            self.ledger.confirm(*self.durable.borrow());
            self.tell(false).await?;
        }
        Ok(())
    }

    /// Notes positions and keepalives; the payload itself goes to the source.
    fn look(&mut self, payload: &Bytes, answer: &mut bool) -> Result<()> {
        let frame = Frame::decode(payload)?;
        self.ledger.hear(&frame);
        match frame {
            Frame::XLogData(data) => self.meters.server.raise(data.end),
            Frame::Keepalive(keepalive) => {
                self.meters.server.raise(keepalive.end);
                if keepalive.reply {
                    *answer = true;
                    let (end, count, since) = &mut self.burst;
                    if *end != keepalive.end || since.elapsed() > Duration::from_secs(1) {
                        (*end, *count, *since) = (keepalive.end, 0, Instant::now());
                    }
                    *count += 1;
                    if *count >= BURST {
                        return Err(shutting_down());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Waits out the pause, then for bytes; takes what is there, up to a round. Cancel-safe: what was read is in the buffer.
async fn read(wire: &mut Wire, pause: Option<Instant>) -> Result<usize> {
    if let Some(until) = pause {
        tokio::time::sleep_until(until).await;
    }
    let mut total = wire.stream.read_buf(&mut wire.buffer).await.map_err(lost)?;
    if total == 0 {
        return Err(Error::transient("the server closed the replication connection"));
    }
    while total < ROUND {
        if wire.buffer.capacity() == wire.buffer.len() {
            wire.buffer.reserve(CHUNK);
        }
        match wire.stream.read_buf(&mut wire.buffer).now_or_never() {
            Some(Ok(bytes)) if bytes > 0 => total += bytes,
            // The end or an error comes again with the next read.
            _ => break,
        }
    }
    Ok(total)
}

/// PostgreSQL 18 says only so that it skips the changes of a publication that is missing.
fn notice(notice: &Notice) -> Result<()> {
    if notice.message.contains("skipped loading publication") {
        return Err(Error::blocked(format!("the server skips changes: {}", notice.message)).remedy(
            "the publication was dropped or renamed while changes were written; what was skipped needs a new snapshot",
        ));
    }
    tracing::warn!(severity = notice.severity, code = notice.code, "the server says: {}", notice.message);
    Ok(())
}

fn shutting_down() -> Error {
    Error::transient("the server is shutting down").remedy(KEEP_AWAY)
}

/// Whether the server refuses connections because it is shutting down.
async fn refuses(endpoint: Endpoint) -> bool {
    match super::sql::connect(&endpoint, "tailwater probe").await {
        Ok(_) => false,
        Err(error) => error.what().contains("57P03"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    #[test]
    fn a_server_that_says_that_it_skips_changes_is_not_followed_any_further() {
        let said = |code: &str, message: &str| {
            let body = format!("SWARNING\0VWARNING\0C{code}\0M{message}\0\0");
            notice(&Notice::read(&Bytes::from(body)))
        };
        let error = said("55000", "skipped loading publication \"p\"").unwrap_err();
        assert_eq!(error.class(), Class::Blocked);
        assert!(error.to_string().contains("skipped loading publication \"p\""), "{error}");
        assert!(said("01000", "there is something else to say").is_ok());
    }
}
