//! What is done to whom.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;

use super::Stage;
use super::actor::Actor;
use crate::support::postgres::{Postgres, Stop};
use crate::support::proxy::{Mode, Proxy};
use crate::support::session::Session;

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// `kill -9` at any moment.
    Kill(usize),
    /// `kill -9` when a row has just become visible in a warehouse.
    KillAtRow(usize),
    /// `kill -9` when a slot has just moved.
    KillAtSlot(usize),
    /// `kill -9` of every process at once.
    KillAll,
    Restart(usize),
    Freeze(usize),
    Zombie(usize),
    Cut(Link),
    Silence(Link),
    Delay(Link),
    Refuse(Link),
    Lossy(Link),
    Mute(Link),
    Strand(Link),
    DiskFull,
    SourceKilled,
    SourceStopped,
    WarehouseKilled,
    WarehouseStopped,
    BrokerKilled(u32),
    BrokerFrozen(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    Source,
    Warehouse,
    Broker(u32),
}

impl Link {
    fn choose(random: &mut StdRng, brokers: u32) -> Link {
        match random.random_range(0..3) {
            0 => Link::Source,
            1 => Link::Warehouse,
            _ => Link::Broker(random.random_range(1..=brokers)),
        }
    }

    fn of(self, stage: &Stage) -> &Proxy {
        match self {
            Link::Source => &stage.source_link,
            Link::Warehouse => &stage.warehouse_link,
            Link::Broker(node) => stage.kafka.proxy(node),
        }
    }

    /// A process behind it.
    fn behind(self) -> usize {
        match self {
            Link::Source => 2,
            Link::Warehouse | Link::Broker(_) => 1,
        }
    }
}

impl Fault {
    /// Six in ten are kills of processes, a third of those of all at once.
    pub(super) fn choose(random: &mut StdRng, actors: usize, brokers: u64) -> Fault {
        let brokers = u32::try_from(brokers).expect("a few");
        let actor = random.random_range(0..actors);
        match random.random_range(0..100) {
            0..9 => Fault::Kill(actor),
            9..28 => Fault::KillAtRow(actor),
            28..43 => Fault::KillAtSlot(actor),
            43..63 => Fault::KillAll,
            63..65 => Fault::Restart(actor),
            65..68 => Fault::Freeze(actor),
            68..72 => Fault::Zombie(actor),
            72..76 => Fault::Cut(Link::choose(random, brokers)),
            76..78 => Fault::Silence(Link::choose(random, brokers)),
            78..80 => Fault::Delay(Link::choose(random, brokers)),
            80..82 => Fault::Refuse(Link::choose(random, brokers)),
            82..84 => Fault::Lossy(Link::choose(random, brokers)),
            84..86 => Fault::Mute(Link::choose(random, brokers)),
            86..88 => Fault::Strand(Link::choose(random, brokers)),
            88..90 => Fault::DiskFull,
            90..92 => Fault::SourceKilled,
            92..93 => Fault::SourceStopped,
            93..95 => Fault::WarehouseKilled,
            95..96 => Fault::WarehouseStopped,
            96..98 => Fault::BrokerKilled(random.random_range(1..=brokers)),
            _ => Fault::BrokerFrozen(random.random_range(1..=brokers)),
        }
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill -9",
            Fault::KillAtRow(_) => "kill -9 as a row appears",
            Fault::KillAtSlot(_) => "kill -9 as a slot moves",
            Fault::KillAll => "kill -9 of all",
            Fault::Restart(_) => "restart",
            Fault::Freeze(_) => "freeze",
            Fault::Zombie(_) => "zombie",
            Fault::Cut(_) => "cut",
            Fault::Silence(_) => "silence",
            Fault::Delay(_) => "delay",
            Fault::Refuse(_) => "refuse",
            Fault::Lossy(_) => "packet loss",
            Fault::Mute(_) => "one way",
            Fault::Strand(_) => "half-open",
            Fault::DiskFull => "disk full",
            Fault::SourceKilled => "source killed",
            Fault::SourceStopped => "source stopped",
            Fault::WarehouseKilled => "warehouse killed",
            Fault::WarehouseStopped => "warehouse stopped",
            Fault::BrokerKilled(_) => "broker killed",
            Fault::BrokerFrozen(_) => "broker frozen",
        }
    }

    /// How many processes or servers it ends with signal 9.
    pub(super) fn kills(self, actors: usize) -> usize {
        match self {
            Fault::KillAll => actors,
            Fault::Kill(_) | Fault::KillAtRow(_) | Fault::KillAtSlot(_) | Fault::Zombie(_) => 1,
            Fault::SourceKilled | Fault::WarehouseKilled | Fault::BrokerKilled(_) => 1,
            _ => 0,
        }
    }

    /// Does it, and undoes what has an end; returns who has to move again.
    pub(super) fn strike(self, stage: &Stage, actors: &mut [Actor], random: &mut StdRng) -> Option<usize> {
        let moment = Duration::from_millis(random.random_range(20..600));
        let long = Duration::from_millis(random.random_range(500..4000));
        match self {
            Fault::Kill(actor) => {
                std::thread::sleep(moment);
                actors[actor].kill();
            }
            Fault::KillAtRow(actor) => {
                let rows = "select coalesce(max(n), 0) + count(*) from ledger_plain";
                changes(&stage.warehouse_url(if actor == 1 { "applied" } else { "mirrored" }), rows);
                actors[actor].kill();
            }
            Fault::KillAtSlot(actor) => {
                let slot = ["publish", "publish", "mirror", "embed"][actor];
                let told = format!(
                    "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'tailwater_{slot}'"
                );
                changes(&stage.url(), &told);
                actors[actor].kill();
            }
            Fault::KillAll => {
                std::thread::sleep(moment);
                actors.iter_mut().for_each(Actor::kill);
            }
            Fault::Restart(actor) => actors[actor].restart(),
            Fault::Freeze(actor) => actors[actor].freeze(long),
            Fault::Zombie(actor) => actors[actor].haunt(long.min(Duration::from_secs(2))),
            Fault::Cut(link) => link.of(stage).cut(),
            Fault::Silence(link) => during(link.of(stage), Mode::Blackhole, long),
            Fault::Delay(link) => during(link.of(stage), Mode::Delay(moment), long),
            Fault::Refuse(link) => during(link.of(stage), Mode::Refuse, long),
            Fault::Lossy(link) => during(link.of(stage), Mode::Lossy(30), long),
            Fault::Mute(link) => during(link.of(stage), Mode::Mute, long),
            Fault::Strand(link) => {
                link.of(stage).strand();
                // A server that takes its time can't be told from one that is gone: then the network says so in the end.
                if matches!(link, Link::Warehouse) {
                    std::thread::sleep(long);
                    link.of(stage).cut();
                }
            }
            Fault::DiskFull => {
                stage.disk.fill();
                std::thread::sleep(long);
                stage.disk.make_room();
            }
            Fault::SourceKilled => again(&stage.source, Postgres::kill9),
            Fault::SourceStopped => again(&stage.source, |server| server.stop(Stop::Immediate)),
            Fault::WarehouseKilled => again(&stage.warehouse, Postgres::kill9),
            Fault::WarehouseStopped => again(&stage.warehouse, |server| server.stop(Stop::Fast)),
            Fault::BrokerKilled(node) => {
                stage.kafka.kill9(node);
                stage.kafka.restart(node);
            }
            Fault::BrokerFrozen(node) => {
                let pid = Pid::from_raw(stage.kafka.pids()[node as usize - 1]);
                kill(pid, Signal::SIGSTOP).expect("the broker runs");
                std::thread::sleep(long);
                kill(pid, Signal::SIGCONT).expect("the broker runs");
            }
        }
        Some(match self {
            Fault::Kill(actor) | Fault::KillAtRow(actor) | Fault::KillAtSlot(actor) => actor,
            Fault::Restart(actor) | Fault::Freeze(actor) | Fault::Zombie(actor) => actor,
            Fault::KillAll => random.random_range(0..actors.len()),
            Fault::Cut(link) | Fault::Silence(link) | Fault::Delay(link) | Fault::Refuse(link) => link.behind(),
            Fault::Lossy(link) | Fault::Mute(link) | Fault::Strand(link) => link.behind(),
            Fault::DiskFull => 3,
            Fault::SourceKilled | Fault::SourceStopped => 2,
            Fault::WarehouseKilled | Fault::WarehouseStopped => 1,
            Fault::BrokerKilled(_) | Fault::BrokerFrozen(_) => 1,
        })
    }
}

fn during(link: &Proxy, mode: Mode, time: Duration) {
    link.set(mode);
    std::thread::sleep(time);
    link.set(Mode::Forward);
}

fn again(server: &Postgres, end: impl Fn(&Postgres)) {
    end(server);
    server.restart();
}

/// Waits, for a few seconds at most, until a query gives something else.
fn changes(url: &str, query: &str) {
    let Ok(session) = Session::connect(url) else { return };
    let look = || session.try_sql(query).ok();
    let (first, begin) = (look(), Instant::now());
    while begin.elapsed() < Duration::from_secs(3) && look() == first {
        std::thread::sleep(Duration::from_millis(1));
    }
}
