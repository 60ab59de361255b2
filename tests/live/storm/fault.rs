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
    Restart(usize),
    Freeze(usize),
    Zombie(usize),
    Cut(Link),
    Silence(Link),
    Delay(Link),
    Refuse(Link),
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
    /// Six in ten are kills of a process.
    pub(super) fn choose(random: &mut StdRng, actors: usize, brokers: u64) -> Fault {
        let brokers = u32::try_from(brokers).expect("a few");
        let actor = random.random_range(0..actors);
        match random.random_range(0..100) {
            0..15 => Fault::Kill(actor),
            15..40 => Fault::KillAtRow(actor),
            40..60 => Fault::KillAtSlot(actor),
            60..63 => Fault::Restart(actor),
            63..67 => Fault::Freeze(actor),
            67..71 => Fault::Zombie(actor),
            71..78 => Fault::Cut(Link::choose(random, brokers)),
            78..81 => Fault::Silence(Link::choose(random, brokers)),
            81..84 => Fault::Delay(Link::choose(random, brokers)),
            84..87 => Fault::Refuse(Link::choose(random, brokers)),
            87..90 => Fault::SourceKilled,
            90..92 => Fault::SourceStopped,
            92..95 => Fault::WarehouseKilled,
            95..97 => Fault::WarehouseStopped,
            97..99 => Fault::BrokerKilled(random.random_range(1..=brokers)),
            _ => Fault::BrokerFrozen(random.random_range(1..=brokers)),
        }
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill -9",
            Fault::KillAtRow(_) => "kill -9 as a row appears",
            Fault::KillAtSlot(_) => "kill -9 as a slot moves",
            Fault::Restart(_) => "restart",
            Fault::Freeze(_) => "freeze",
            Fault::Zombie(_) => "zombie",
            Fault::Cut(_) => "cut",
            Fault::Silence(_) => "silence",
            Fault::Delay(_) => "delay",
            Fault::Refuse(_) => "refuse",
            Fault::SourceKilled => "source killed",
            Fault::SourceStopped => "source stopped",
            Fault::WarehouseKilled => "warehouse killed",
            Fault::WarehouseStopped => "warehouse stopped",
            Fault::BrokerKilled(_) => "broker killed",
            Fault::BrokerFrozen(_) => "broker frozen",
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
            Fault::Restart(actor) => actors[actor].restart(),
            Fault::Freeze(actor) => actors[actor].freeze(long),
            Fault::Zombie(actor) => actors[actor].haunt(long.min(Duration::from_secs(2))),
            Fault::Cut(link) => link.of(stage).cut(),
            Fault::Silence(link) => during(link.of(stage), Mode::Blackhole, long),
            Fault::Delay(link) => during(link.of(stage), Mode::Delay(moment), long),
            Fault::Refuse(link) => during(link.of(stage), Mode::Refuse, long),
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
            Fault::Cut(link) | Fault::Silence(link) | Fault::Delay(link) | Fault::Refuse(link) => link.behind(),
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
