//! What one sees: a table that is redrawn on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::both::Count;
use crate::app::metrics::lag_seconds;
use crate::model::Meters;

/// The display.
pub(super) struct Screen {
    live: bool,
    seconds: u64,
    drawn: usize,
    applied: u64,
    at: Duration,
    note: String,
}

impl Screen {
    pub(super) fn new(seconds: u64) -> Screen {
        println!("PostgreSQL ──logical replication slot──▶ tailwater ──one transaction per flush──▶ DuckDB\n");
        Screen {
            live: std::io::stdout().is_terminal(),
            seconds,
            drawn: 0,
            applied: 0,
            at: Duration::ZERO,
            note: String::new(),
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        text.clone_into(&mut self.note);
        if !self.live {
            println!("{text}");
        }
    }

    /// Shows the present state.
    pub(super) fn draw(&mut self, at: Duration, counts: &[Count], meters: &Meters) {
        let applied: u64 = meters
            .tables()
            .iter()
            .map(|(_, meter)| {
                let d = meter.durable;
                d.read + d.insert + d.update + d.delete + d.truncate
            })
            .sum();
        let since = (at.saturating_sub(self.at)).as_secs_f64().max(0.1);
        let rate = (applied - self.applied) as f64 / since;
        let lag = lag_seconds(meters);
        if self.live {
            self.redraw(at, counts, &format!("{rate:>8.0} changes/s   lag {lag:.1} s   {applied} changes applied"));
        } else if at.as_secs().is_multiple_of(5) {
            let tables: Vec<String> = counts
                .iter()
                .map(|c| format!("{} {}/{}", c.table, c.source, c.copy.map_or("-".into(), |n| n.to_string())))
                .collect();
            println!(
                "{:>3} s  {rate:>6.0} changes/s  lag {lag:.1} s  PostgreSQL/DuckDB rows: {}",
                at.as_secs(),
                tables.join("  ")
            );
        }
        (self.applied, self.at) = (applied, at);
    }

    fn redraw(&mut self, at: Duration, counts: &[Count], summary: &str) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        let mut line = |content: String| text.push_str(&format!("\x1b[2K{content}\n"));
        line(format!(
            "  {:<14}{:>12}{:>12}      {} s of {} s",
            "table",
            "PostgreSQL",
            "DuckDB",
            at.as_secs(),
            self.seconds
        ));
        for count in counts {
            let copy = count.copy.map_or("-".to_owned(), |copy| copy.to_string());
            line(format!("  {:<14}{:>12}{:>12}", count.table, count.source, copy));
        }
        line(format!("  {summary}"));
        line(format!("  {}", self.note));
        self.drawn = counts.len() + 3;
        // A terminal that went away is no reason to stop.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}
