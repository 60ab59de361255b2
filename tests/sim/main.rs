//! Delivery, simulated: the product's own assembler, gathering, acknowledgements, loop, fold and warehouse sink, against
//! models of PostgreSQL and of a warehouse, under schedules that a seed decides, with a crash possible at every await point.
//!
//! ```text
//!  schedule ── writes, crashes, cuts, promotions ──▶ server ◀── source ── loop ── warehouse sink ──▶ warehouse
//!     └────── kills, freezes, wakes, starts ───────────────────▶ process                               │
//!  world ◀── at each acknowledgement and each commit: is everything there, once, and nothing before its time? ◀┘
//! ```
//!
//! What must hold: at each commit the warehouse is the source's state at the position that the same commit stores; no
//! acknowledgement names a transaction that is not in the warehouse; neither source nor sink holds more of changes than its
//! bound and one piece; a process waits for a person only where something was lost or taken; and when it becomes quiet, everything is there.
//!
//! A failure prints its seed; `TAILWATER_SEED=n` tells that schedule's story again. `TAILWATER_SEEDS` says how many
//! are played, `TAILWATER_FIRST_SEED` from where on.
//!
//! # The models' rules, and the tests against real servers that show them
//!
//! | rule | shown by (`tests/live`) |
//! |---|---|
//! | a transaction is sent when it has committed, whole, in the order of commit records; rows carry LSNs that go back | `model::rows_lie_where_they_were_written_and_transactions_come_in_the_order_of_their_ends` |
//! | a commit record may begin exactly where the one before ended | the same |
//! | a transaction that begins to commit before what is confirmed is not sent, one that begins there is | `model::a_slot_goes_on_with_what_begins_where_it_stands` |
//! | what a slot has confirmed is lost in a crash unless there was a checkpoint, and comes again | `model::a_crash_takes_a_slot_back_to_the_last_checkpoint` |
//! | a smaller position does not move a slot, a larger one moves it whatever lies between | `postgres::slot::what_the_sink_has_and_what_the_slot_has_must_fit_together`, `model::a_slot_goes_on_..` |
//! | keepalives carry the end of log of others | `postgres::stream::an_idle_database_does_not_keep_the_log_of_a_busy_neighbour` |
//! | a new connection of the same pipeline ends the old one | `postgres::slot::our_own_zombie_is_replaced_and_a_stranger_is_named` |
//! | a relation is named before its first row on a connection, and again with another shape | `history::..`, `postgres::versions::..` |
//! | a snapshot shows what commits before its point | `postgres::stream::a_snapshot_and_the_stream_after_it_leave_no_gap_and_do_not_overlap` |
//! | a promoted standby has another timeline and uses LSNs again | `failover::..` |
//! | the warehouse's progress row makes a second writer wait, then changes nothing for it | `warehouse::the_older_of_two_writers_is_refused_and_leaves_nothing`, `warehouse::writers_that_meet_in_an_empty_warehouse_are_not_stopped` |
//! | a flush whose connection dies is committed whole or not at all | `outage::a_warehouse_that_is_killed_in_the_middle_of_a_flush_gets_everything_once` |
//! | what the merge's words mean | `warehouse::postgres_equals_the_source_after_any_history_and_any_number_of_ends` and the same of DuckDB |

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod chance;
mod life;
mod process;
mod schedule;
mod server;
mod share;
mod source;
mod warehouse;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What `make test` plays.
const SCHEDULES: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn every_change_arrives_once_whatever_dies_and_nothing_is_acknowledged_before() {
    if let Some(seed) = number("TAILWATER_SEED") {
        let told = schedule::play(seed, true);
        told.story.iter().for_each(|line| println!("{line}"));
        assert_eq!(told.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("TAILWATER_SEEDS").unwrap_or(SCHEDULES);
    let first = number("TAILWATER_FIRST_SEED").unwrap_or(0);
    let (next, failed) = (AtomicU64::new(first), Mutex::new(None));
    let (transactions, starts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let told = schedule::play(seed, false);
                    transactions.fetch_add(told.transactions, Ordering::Relaxed);
                    starts.fetch_add(told.starts, Ordering::Relaxed);
                    if let Some(violation) = told.violation {
                        failed.lock().unwrap().get_or_insert((seed, violation));
                    }
                }
            });
        }
    });
    if let Some((seed, violation)) = failed.into_inner().unwrap() {
        panic!("TAILWATER_SEED={seed}: {violation}");
    }
    println!(
        "{seeds} schedules, {transactions:?} transactions, {starts:?} processes, {:.1} s",
        began.elapsed().as_secs_f64()
    );
}
