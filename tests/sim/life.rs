//! A process: it runs, stands still, or is dead, and may become either at every await point.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::chance::Chance;

/// What a process is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Running,
    /// Stopped by a signal; it may go on.
    Frozen,
    /// Nothing of it happens any more.
    Dead,
}

struct State {
    mode: Mode,
    /// After how many steps what happens to it.
    fate: Option<(u64, Mode)>,
    chance: Chance,
}

/// One process.
pub struct Life {
    state: Mutex<State>,
    changed: Notify,
}

impl Life {
    pub fn new(seed: u64, fate: Option<(u64, Mode)>) -> Life {
        Life {
            state: Mutex::new(State { mode: Mode::Running, fate, chance: Chance::new(seed) }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// An await point: time passes, others run; returns only while the process runs.
    pub async fn step(&self) {
        let delay = {
            let mut state = self.state();
            match state.chance.below(8) {
                0 => Some(state.chance.below(40)),
                1 => Some(0),
                _ => None,
            }
        };
        match delay {
            Some(0) => tokio::task::yield_now().await,
            Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            None => {}
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.spend() == Mode::Running {
                return;
            }
            changed.await;
        }
    }

    fn spend(&self) -> Mode {
        let mut state = self.state();
        if let (Mode::Running, Some((steps, mode))) = (state.mode, state.fate) {
            state.fate = Some((steps.saturating_sub(1), mode));
            if steps == 0 {
                (state.mode, state.fate) = (mode, None);
                self.changed.notify_waiters();
            }
        }
        state.mode
    }

    pub fn mode(&self) -> Mode {
        self.state().mode
    }

    /// A signal from outside.
    pub fn become_(&self, mode: Mode) {
        let mut state = self.state();
        if state.mode != Mode::Dead {
            state.mode = mode;
        }
        self.changed.notify_waiters();
    }
}
