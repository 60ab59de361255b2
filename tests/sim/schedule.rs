//! A schedule: writers, accidents and processes by chance, then quiet, then the reckoning.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tailwater::adapters::warehouse::Flush;
use tailwater::logic::pipeline::Goal;
use tailwater::model::{Class, Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::life::{Life, Mode};
use super::process::{Plan, process};
use super::world::{Shared, World};

/// How many things happen before it becomes quiet.
const ACTS: u64 = 40;
/// How often a process is started in the quiet; each may meet what the one before left behind.
const STARTS: usize = 20;

/// What came of a schedule.
pub struct Told {
    pub violation: Option<String>,
    pub story: Vec<String>,
    /// Transactions that were committed at the source.
    pub transactions: usize,
    /// Processes that were started.
    pub starts: usize,
}

/// Plays the schedule of a seed.
pub fn play(seed: u64, tell: bool) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let shared: Shared = Arc::new(Mutex::new(World::new(seed, tell)));
    let starts = runtime.block_on(Schedule::new(Arc::clone(&shared)).run());
    drop(runtime);
    let mut world = shared.lock().unwrap();
    Told {
        violation: world.violation.take(),
        story: world.story.take().unwrap_or_default(),
        transactions: world.server.log.len(),
        starts,
    }
}

/// A process that was started.
struct Running {
    life: Arc<Life>,
    stop: CancellationToken,
    session: u64,
    task: JoinHandle<Result<()>>,
}

struct Schedule {
    shared: Shared,
    running: Option<Running>,
    /// Processes that stand still while another has taken their place.
    zombies: Vec<Running>,
    starts: usize,
}

impl Schedule {
    fn new(shared: Shared) -> Schedule {
        Schedule { shared, running: None, zombies: Vec::new(), starts: 0 }
    }

    async fn run(mut self) -> usize {
        for _ in 0..ACTS {
            self.act();
            let pause = self.with(|world| if world.chance.one_in(3) { world.chance.below(400) } else { 0 });
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if !self.attend().await || self.with(|world| world.violation.is_some()) {
                return self.starts;
            }
        }
        self.calm().await;
        self.starts
    }

    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.shared.lock().unwrap())
    }

    /// Something happens outside.
    fn act(&mut self) {
        let dice = self.with(|world| world.chance.below(100));
        self.with(|world| {
            let World { server, chance, .. } = world;
            match dice {
                0..=64 => server.write(chance),
                65..=69 => server.noise(chance),
                70..=72 => server.checkpoint(),
                73 => server.truncate(),
                74 => server.widen(),
                75..=77 => {
                    server.crash();
                    world.tell(|| "the server crashes".to_owned());
                }
                78 => world.fail_over(),
                79 if world.chance.one_in(6) => world.advance(),
                80 => {
                    world.warehouse.restart();
                    world.tell(|| "the warehouse restarts".to_owned());
                }
                81..=83 => world.server.cut(),
                84..=86 => world.warehouse.settle(&mut world.chance),
                _ => {}
            }
            world.check();
        });
        match dice {
            87..=90 => self.signal(Mode::Dead),
            91..=93 => self.signal(Mode::Frozen),
            94..=96 => self.wake(),
            97 => self.ask_to_stop(),
            _ => {}
        }
    }

    fn signal(&mut self, mode: Mode) {
        if let Some(running) = &self.running {
            running.life.become_(mode);
        }
    }

    fn wake(&mut self) {
        for zombie in &self.zombies {
            zombie.life.become_(Mode::Running);
        }
    }

    fn ask_to_stop(&mut self) {
        if let Some(running) = &self.running {
            running.stop.cancel();
        }
    }

    /// Looks after the process as its supervisor does; `false` when a person has to act, and rightly so.
    async fn attend(&mut self) -> bool {
        let Some(running) = self.running.take() else {
            self.start(Goal::Endless);
            return true;
        };
        if running.task.is_finished() {
            return self.ended(running).await;
        }
        match running.life.mode() {
            Mode::Running => self.running = Some(running),
            Mode::Dead => self.leave(&running),
            Mode::Frozen => {
                // Perhaps it only stood still for a while.
                if self.with(|world| world.chance.one_in(2)) {
                    running.life.become_(Mode::Running);
                    self.running = Some(running);
                } else {
                    self.leave(&running);
                    self.zombies.push(running);
                }
            }
        }
        true
    }

    fn leave(&mut self, running: &Running) {
        let session = running.session;
        self.with(|world| {
            world.tell(|| format!("process of session {session} is {:?}", running.life.mode()));
            world.warehouse.leave(session);
        });
    }

    fn start(&mut self, goal: Goal) {
        self.starts += 1;
        let (life, session, flush) = self.with(|world| {
            let chance = &mut world.chance;
            let fate = match chance.below(4) {
                0 if world.faults => Some((chance.below(120), Mode::Dead)),
                1 if world.faults => Some((chance.below(120), Mode::Frozen)),
                _ => None,
            };
            let flush = Flush {
                rows: [1, 3, 10, 1000][chance.index(4)],
                bytes: [100, 1 << 20, 8 << 20][chance.index(3)],
                after: Duration::from_millis([0, 10, 300][chance.index(3)]),
            };
            let life = Arc::new(Life::new(chance.next(), fate));
            (life, world.warehouse.connect(), flush)
        });
        let stop = CancellationToken::new();
        let plan = Plan { life: Arc::clone(&life), goal, stop: stop.clone(), session, flush };
        let task = tokio::spawn(process(Arc::clone(&self.shared), plan));
        self.running = Some(Running { life, stop, session, task });
    }

    /// A process has ended by itself.
    async fn ended(&mut self, running: Running) -> bool {
        let stopped = running.stop.is_cancelled();
        let result = match running.task.await {
            Ok(result) => result,
            Err(panic) => Err(Error::bug(format!("a process panics: {panic}"))),
        };
        self.with(|world| {
            world.warehouse.leave(running.session);
            match result {
                Ok(()) if stopped => true,
                Ok(()) => true,
                Err(error) if error.class() == Class::Transient => {
                    world.tell(|| format!("ended: {error}"));
                    true
                }
                // One that was held up took the fence after it: then that one writes.
                Err(error) if error.class() == Class::Blocked && world.warehouse.fenced_by != running.session => true,
                Err(error) if error.class() == Class::Blocked && world.blocks() => false,
                Err(error) => {
                    world.broken(format!("a process ends without reason: {:?}: {error}", error.class()));
                    false
                }
            }
        })
    }

    /// No more accidents: what is there must arrive.
    async fn calm(&mut self) {
        self.with(|world| {
            world.faults = false;
            world.tell(|| "it becomes quiet".to_owned());
        });
        if let Some(running) = self.running.take() {
            running.life.become_(Mode::Dead);
            self.leave(&running);
        }
        for _ in 0..STARTS {
            self.start(Goal::Current);
            self.wake();
            let Some(running) = self.running.take() else { return };
            let session = running.session;
            let result = match tokio::time::timeout(Duration::from_secs(3600), running.task).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(Error::bug(format!("a process panics: {panic}"))),
                Err(_) => Err(Error::bug("it does not come to its goal")),
            };
            match result {
                Ok(()) => return self.with(World::check_end),
                Err(error) if error.class() == Class::Transient => {
                    self.with(|world| world.tell(|| format!("ended: {error}")));
                }
                Err(error) if self.with(|world| world.warehouse.fenced_by != session) => {
                    self.with(|world| world.tell(|| format!("gives way: {error}")));
                }
                Err(error) => {
                    return self.with(|world| {
                        if !world.blocks() {
                            world.broken(format!("a process ends without reason: {error}"));
                        }
                    });
                }
            }
        }
        self.with(|world| world.broken("no process comes to its goal".to_owned()));
    }
}

impl World {
    /// A standby takes over; sometimes it lacks the newest of the log.
    fn fail_over(&mut self) {
        let length = self.server.log.len();
        let lost = if self.chance.one_in(2) { self.chance.index(4) } else { 0 };
        self.server.fail_over(length.saturating_sub(lost));
        self.tell(|| format!("a standby takes over, {lost} transactions are gone"));
    }

    /// Somebody else moves the slot.
    fn advance(&mut self) {
        let end = self.server.end;
        if self.server.confirmed.is_some_and(|confirmed| confirmed < end) {
            (self.server.confirmed, self.advanced) = (Some(end), true);
            self.server.checkpoint();
            self.server.cut();
            self.tell(|| format!("somebody moves the slot to {end:X}"));
        }
    }
}
