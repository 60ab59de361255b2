//! What the meters say, in Prometheus' words.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::role::{ROLES, Role};
use crate::model::{Meters, PgTimestamp};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as text.
pub fn render(meters: &Meters) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let state = State::now(meters);
    registry.register_collector(Box::new(state));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The values at one moment.
#[derive(Debug)]
struct State {
    gauges: Vec<(&'static str, &'static str, Option<f64>)>,
    stages: Vec<(&'static str, f64)>,
    tables: Vec<(String, f64)>,
    events: Vec<(String, &'static str, u64)>,
    /// 1 for a stopped table, 0 for another; and how many of its changes wait.
    stopped: Vec<(String, u8, u64)>,
    misfits: Vec<(String, String, u64)>,
    restarts: u64,
    role: Option<Role>,
}

/// Seconds since the oldest change that is not durable was committed; 0 when nothing is outstanding.
pub(super) fn lag_seconds(meters: &Meters) -> f64 {
    let now = PgTimestamp::now();
    meters.oldest_undurable.get().map_or(0.0, |at| now.seconds_since(PgTimestamp::from_unix_micros(at)))
}

impl State {
    fn now(meters: &Meters) -> State {
        let lag = lag_seconds(meters);
        let now = PgTimestamp::now();
        let number = |value: Option<i64>| value.map(|value| value as f64);
        let bytes = meters.server.get().bytes_since(meters.durable.get());
        let known = meters.durable.get() > crate::model::Lsn::ZERO;
        let tables = meters.tables();
        let mut stopped: BTreeMap<_, _> = tables.iter().map(|(name, _)| (name.to_string(), (0, 0))).collect();
        stopped.extend(meters.stopped().into_iter().map(|(name, state)| (name.to_string(), (1, state.held))));
        State {
            stopped: stopped.into_iter().map(|(name, (stopped, held))| (name, stopped, held)).collect(),
            gauges: vec![
                (
                    "tailwater_up",
                    "1 while source and sink are connected and batches flow.",
                    Some(f64::from(u8::from(meters.flowing.load(Ordering::Relaxed)))),
                ),
                (
                    "tailwater_source_lag_bytes",
                    "Bytes of log between the server's end and what is durable in the sink.",
                    known.then_some(bytes as f64),
                ),
                (
                    "tailwater_source_lag_seconds",
                    "Seconds since the oldest change that is not durable yet was committed; 0 when nothing is outstanding.",
                    Some(lag),
                ),
                (
                    "tailwater_slot_retained_bytes",
                    "Bytes of log that the slot keeps on the server.",
                    number(meters.slot_retained.get()),
                ),
                (
                    "tailwater_slot_safe_bytes",
                    "Bytes of log until max_slot_wal_keep_size takes the slot away; absent without a limit.",
                    number(meters.slot_safe.get()),
                ),
                (
                    "tailwater_slot_seconds_to_limit",
                    "Seconds until then at the present rate; absent without a limit or while the distance grows.",
                    number(meters.slot_seconds_to_limit.get()),
                ),
                (
                    "tailwater_slot_catalog_xmin_age",
                    "Transactions since the oldest catalog row that the slot keeps from VACUUM.",
                    number(meters.slot_catalog_age.get()),
                ),
                (
                    "tailwater_slot_spilled_bytes",
                    "Bytes of large transactions that the server has put on its own disk for the slot, since its statistics began.",
                    number(meters.slot_spilled.get()),
                ),
                (
                    "tailwater_slot_streamed_bytes",
                    "Bytes of large transactions that the server has sent while they were open, since its statistics began.",
                    number(meters.slot_streamed.get()),
                ),
                (
                    "tailwater_spool_bytes",
                    "Bytes that transactions which have not committed yet take on our disk; absent without a spool.",
                    number(meters.spool_bytes.get()),
                ),
                (
                    "tailwater_quarantined_rows",
                    "Rows set aside because they could not be applied.",
                    Some(meters.quarantined.get().unwrap_or(0) as f64),
                ),
            ],
            stages: vec![
                ("received", if meters.oldest_undurable.get().is_some() { lag } else { 0.0 }),
                ("delivered", lag),
                ("applied", lag),
            ],
            tables: tables
                .iter()
                .filter_map(|(name, meter)| {
                    Some((name.to_string(), if lag == 0.0 { 0.0 } else { now.seconds_since(meter.newest?) }))
                })
                .collect(),
            events: tables
                .iter()
                .flat_map(|(name, meter)| {
                    let d = meter.durable;
                    [("r", d.read), ("c", d.insert), ("u", d.update), ("d", d.delete), ("t", d.truncate)]
                        .map(|(op, count)| (name.to_string(), op, count))
                })
                .collect(),
            misfits: meters.misfits().into_iter().map(|((table, column), n)| (table.to_string(), column, n)).collect(),
            restarts: meters.restarts.load(Ordering::Relaxed),
            role: meters.role(),
        }
    }
}

impl prometheus_client::collector::Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let none: Option<&Unit> = None;
        for (name, help, value) in &self.gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(*value);
                gauge.encode(encoder.encode_descriptor(name, help, none, gauge.metric_type())?)?;
            }
        }
        let gauge = ConstGauge::new(0.0_f64);
        let mut family = encoder.encode_descriptor(
            "tailwater_stage_lag_seconds",
            "Seconds that each stage is behind the source's commits.",
            none,
            gauge.metric_type(),
        )?;
        for (stage, value) in &self.stages {
            ConstGauge::new(*value).encode(family.encode_family(&[("stage", *stage)])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "tailwater_table_freshness_seconds",
            "Seconds since the newest change that is durable in the table was committed, 0 when nothing is outstanding.",
            none,
            gauge.metric_type(),
        )?;
        for (table, value) in &self.tables {
            ConstGauge::new(*value).encode(family.encode_family(&[("table", table.as_str())])?)?;
        }
        for (name, help, value) in [
            (
                "tailwater_table_stopped",
                "1 while a table is stopped and the others go on.",
                (|table| table.1.into()) as fn(&(String, u8, u64)) -> f64,
            ),
            ("tailwater_table_held_changes", "Changes of a stopped table that wait.", |table| table.2 as f64),
        ] {
            let mut family = encoder.encode_descriptor(name, help, none, gauge.metric_type())?;
            for table in &self.stopped {
                ConstGauge::new(value(table)).encode(family.encode_family(&[("table", table.0.as_str())])?)?;
            }
        }
        let counter = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "tailwater_events",
            "Changes that are durable in the sink.",
            none,
            counter.metric_type(),
        )?;
        for (table, op, count) in &self.events {
            ConstCounter::new(*count).encode(family.encode_family(&[("table", table.as_str()), ("op", *op)])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "tailwater_misfits",
            "Values that had no place in their column, for which NULL was written.",
            none,
            counter.metric_type(),
        )?;
        for (table, column, count) in &self.misfits {
            let labels = [("table", table.as_str()), ("column", column.as_str())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        if let Some(role) = self.role {
            let mut family = encoder.encode_descriptor(
                "tailwater_group_member",
                "1 for the part that this process has in its consumer group, 0 for the others.",
                none,
                gauge.metric_type(),
            )?;
            for each in ROLES {
                let plays = ConstGauge::new(f64::from(u8::from(each == role)));
                plays.encode(family.encode_family(&[("role", each.name())])?)?;
            }
        }
        let restarts = ConstCounter::new(self.restarts);
        restarts.encode(encoder.encode_descriptor(
            "tailwater_restarts",
            "Times that source and sink were built again after a failure.",
            none,
            restarts.metric_type(),
        )?)
    }
}
