//! Which cluster this is, and whether a stored position means the same in it.

use super::slot::RESNAPSHOT;
use super::wire::Wire;
use crate::model::{Checkpoint, Error, Lsn, Result, SourcePosition};

/// System and timeline; the LSN is not meaningful yet.
pub(super) async fn identify(wire: &mut Wire) -> Result<SourcePosition> {
    let rows = wire.query("IDENTIFY_SYSTEM", "identifying the server").await?;
    let row = rows.first().ok_or_else(|| Error::corrupt("IDENTIFY_SYSTEM gave no row"))?;
    let number = |column: usize| row.get(column).cloned().flatten().and_then(|text| text.parse::<u64>().ok());
    match (number(0), number(1).and_then(|timeline| u32::try_from(timeline).ok())) {
        (Some(system_id), Some(timeline)) => Ok(SourcePosition { system_id, timeline, lsn: Lsn::ZERO }),
        _ => Err(Error::corrupt("IDENTIFY_SYSTEM gave no system identifier and timeline")),
    }
}

/// Whether the stored position means the same in this cluster: the same system, and a timeline that grew out of ours
/// after that position.
pub(super) async fn same_cluster(wire: &mut Wire, stored: &Checkpoint, now: SourcePosition) -> Result<()> {
    let then = stored.position;
    let remedy = format!("connect to the right server; if this is what has become of it, {RESNAPSHOT}");
    if then.system_id != now.system_id {
        return Err(Error::blocked(format!(
            "the sink's progress belongs to the cluster {}, this one is {}",
            then.system_id, now.system_id
        ))
        .remedy(remedy));
    }
    if now.timeline < then.timeline {
        return Err(Error::blocked(format!(
            "the server is on timeline {}, the sink's progress on the later {}",
            now.timeline, then.timeline
        ))
        .remedy(remedy));
    }
    if now.timeline == then.timeline {
        return Ok(());
    }
    let rows = wire.query(&format!("TIMELINE_HISTORY {}", now.timeline), "reading the timeline's history").await?;
    let history = rows.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
    let left = history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        (timeline == then.timeline).then(|| fields.next()?.parse::<Lsn>().ok()).flatten()
    });
    match left {
        Some(left) if left >= then.lsn => Ok(()),
        Some(left) => Err(Error::blocked(format!(
            "the server left timeline {} at {left}, the sink has changes up to {}: what lies between was lost in the failover",
            then.timeline, then.lsn
        ))
        .remedy(remedy)),
        None => Err(Error::blocked(format!("the server's history does not hold timeline {}", then.timeline)).remedy(remedy)),
    }
}
