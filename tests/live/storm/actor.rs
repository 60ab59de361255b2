//! A pipeline's process, started again whenever it ends.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::tailwater::{Running, Tailwater};

/// How long a process may take to move again when nothing is in its way.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Actor {
    pub(super) name: &'static str,
    process: Tailwater,
    /// A second process of the same pipeline.
    twin: Option<Tailwater>,
    running: Option<Running>,
    /// Whether a zombie may have shut it out, which it will find with its next flush.
    haunted: bool,
}

impl Actor {
    pub(super) fn new(name: &'static str, process: Tailwater, twin: Option<Tailwater>) -> Actor {
        Actor { name, process, twin, running: None, haunted: false }
    }

    pub(super) fn start(&mut self) {
        self.running = Some(self.process.run());
        self.haunted = false;
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it was started")
    }

    /// `kill -9`, and at once a new one.
    pub(super) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill9();
        }
        self.start();
    }

    /// A stop in good order, and a new one.
    pub(super) fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            // While a server is away it can't end in the best order, but it has to end.
            let output = running.terminate();
            // One that has only just been started does not listen to signals yet.
            assert!(matches!(output.code, Some(0 | 1 | 143)), "{}: {output:?}", self.name);
        }
        self.start();
    }

    pub(super) fn freeze(&mut self, time: Duration) {
        self.running().signal(Signal::SIGSTOP);
        std::thread::sleep(time);
        self.running().signal(Signal::SIGCONT);
    }

    /// The process is frozen, another takes its place, and the first wakes up. It has to end without harm.
    pub(super) fn haunt(&mut self, time: Duration) {
        let Some(twin) = self.twin.as_ref() else { return self.freeze(time) };
        let mut zombie = self.running.take().expect("it was started");
        zombie.signal(Signal::SIGSTOP);
        let mut successor = twin.run();
        std::thread::sleep(time);
        zombie.signal(Signal::SIGCONT);
        std::thread::sleep(time);
        zombie.kill9();
        // The places are changed only while nobody else is at work.
        if !successor.alive() {
            successor = twin.run();
        }
        self.running = Some(successor);
        self.haunted = true;
        std::mem::swap(&mut self.process, self.twin.as_mut().expect("there is one"));
    }

    /// Starts it again when it gave up; a process that says that a person must act has failed the storm.
    pub(super) fn keep(&mut self) {
        if self.running().alive() {
            return;
        }
        let output = self.running.take().expect("it was started").wait();
        let shut_out = self.haunted && output.code == Some(3) && output.text().contains("another process");
        assert!(output.code == Some(1) || shut_out, "{} ended: {output:?}", self.name);
        self.start();
    }

    /// How long it takes until more changes have become durable.
    pub(super) fn wait_moving(&mut self) -> Duration {
        let begin = Instant::now();
        let first = self.durable();
        loop {
            self.keep();
            let now = self.durable();
            if now.is_some_and(|now| first.is_none_or(|first| now != first) && now > 0) {
                return begin.elapsed();
            }
            if begin.elapsed() > PATIENCE {
                let (name, text) = (self.name, self.running().text());
                panic!("{name} does not move: {text}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many ledger rows this process has made durable.
    fn durable(&mut self) -> Option<u64> {
        let (_, page) = self.running().http("/metrics")?;
        let line = page.lines().find(|line| {
            line.starts_with("tailwater_events_total{") && line.contains("ledger_plain\"") && line.contains("op=\"c\"")
        })?;
        line.rsplit(' ').next()?.parse::<f64>().ok().map(|events| events as u64)
    }

    /// Stops it in good order and lets it finish what there is.
    pub(super) fn finish(&mut self) {
        self.keep();
        let output = self.running.take().expect("it was started").terminate();
        assert!(matches!(output.code, Some(0 | 1)), "{}: {output:?}", self.name);
        self.process.run_until_current().success();
    }
}
