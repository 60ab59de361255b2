//! Sessions that write again and again, a millisecond apart: a reader on a busy machine keeps up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::postgres::Database;

/// Writers that go on until told to stop: inserts, updates, key changes, deletes, one ledger row each transaction.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Writers {
    pub fn start(database: &Database<'_>, table: &'static str) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (1..=3)
            .map(|writer| {
                let (session, stop) = (database.session(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    for n in (writer * 10_000_000..).step_by(10) {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let old = n - 50;
                        session.sql(&format!(
                            "begin; insert into {table} values ({n}, 'new'), ({n} + 1, 'more'), ({n} + 2, 'gone');
                             update {table} set body = 'changed' where id = {old}; update {table} set id = id + 5 where id = {old} + 1;
                             delete from {table} where id in ({old} + 2, {writer} * 10 + {n} % 5000); commit"
                        ));
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        Writers { stop, threads }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
