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

/// Whether the stored position means the same in this cluster.
pub(super) async fn same_cluster(wire: &mut Wire, stored: &Checkpoint, now: SourcePosition) -> Result<()> {
    let then = stored.position;
    if (then.system_id, then.timeline) == (now.system_id, now.timeline) {
        return Ok(());
    }
    let history = match now.timeline {
        // The first one grew out of none.
        1 => String::new(),
        timeline => {
            let rows = wire.query(&format!("TIMELINE_HISTORY {timeline}"), "reading the timeline's history").await?;
            rows.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default()
        }
    };
    continues(stored, now, &history)
}

/// Whether a server goes on from what is stored: the same system, on the same timeline or on one that grew out of it
/// after the stored position and after the last change, which may lie behind that position: a transaction of which a
/// part is in the sink. `history` is the present timeline's, as `TIMELINE_HISTORY` tells it.
pub fn continues(stored: &Checkpoint, now: SourcePosition, history: &str) -> Result<()> {
    let (then, last) = (stored.position, stored.change.commit);
    let refuse = |what: String| {
        let remedy = format!("connect to the right server; if this is what has become of it, {RESNAPSHOT}");
        Err(Error::blocked(what).remedy(remedy))
    };
    if then.system_id != now.system_id {
        return refuse(format!(
            "the sink's progress belongs to the cluster {}, this one is {}",
            then.system_id, now.system_id
        ));
    }
    if now.timeline < then.timeline {
        return refuse(format!(
            "the server is on timeline {}, the sink's progress on the later {}",
            now.timeline, then.timeline
        ));
    }
    if now.timeline == then.timeline {
        return Ok(());
    }
    let left = history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        (timeline == then.timeline).then(|| fields.next()?.parse::<Lsn>().ok()).flatten()
    });
    match left {
        // A commit record that begins where the timeline was left is not of it any more.
        Some(left) if left >= then.lsn && left > last => Ok(()),
        Some(left) => refuse(format!(
            "the server left timeline {} at {left}, the sink has changes up to {}: what lies between was lost in the failover",
            then.timeline,
            then.lsn.max(last)
        )),
        None => refuse(format!("the server's history does not hold timeline {}", then.timeline)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChangeId, Phase};

    fn at(system_id: u64, timeline: u32, lsn: u64) -> SourcePosition {
        SourcePosition { system_id, timeline, lsn: Lsn::new(lsn) }
    }

    fn stored(position: SourcePosition, last: u64) -> Checkpoint {
        let change = ChangeId { commit: Lsn::new(last), seq: 3 };
        Checkpoint { position, change, phase: Phase::Stream, offsets: Vec::new(), followed: None }
    }

    #[test]
    fn a_position_is_followed_where_the_server_has_grown_out_of_it_and_nowhere_else() {
        let history = "1\t0/A0\tno recovery target specified\n2\t0/C0\tbefore 2000-01-01\n";
        let follows = |then: SourcePosition, now| {
            continues(&stored(then, then.lsn.get() - 1), now, history).map_err(|error| error.what().to_owned())
        };
        assert_eq!(follows(at(7, 3, 0xFF), at(7, 3, 0)), Ok(()));
        assert_eq!(follows(at(7, 1, 0xA0), at(7, 3, 0)), Ok(()), "it has all of it");
        assert_eq!(follows(at(7, 2, 0xB0), at(7, 3, 0)), Ok(()));
        assert!(follows(at(7, 1, 0xA1), at(7, 3, 0)).unwrap_err().contains("0/A0"), "what came after was lost");
        assert!(follows(at(7, 4, 0x10), at(7, 3, 0)).unwrap_err().contains("timeline 3"), "it has not got there");
        assert!(follows(at(8, 3, 0x10), at(7, 3, 0)).unwrap_err().contains("cluster 8"));
        assert!(continues(&stored(at(7, 1, 0x10), 0xF), at(7, 3, 0), "").is_err(), "it may be another's");
    }

    #[test]
    fn a_transaction_of_which_a_part_is_there_must_be_in_the_history_too() {
        let follows = |last| continues(&stored(at(7, 1, 0x50), last), at(7, 2, 0), "1\t0/A0\tno reason\n");
        assert!(follows(0x9F).is_ok(), "it was committed before the timeline was left");
        for lost in [0xA0, 0xB0] {
            assert!(follows(lost).unwrap_err().what().contains("0/A0"), "{lost:X} was lost");
        }
    }
}
