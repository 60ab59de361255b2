//! Records that their topic would refuse for their size, found before any record of their change is sent.

use super::held::Barred;
use super::ledger::Route;
use crate::codecs::event::{Cause, Records};
use crate::model::Error;

/// What a record has around its key, value and headers when it is alone in a batch.
const AROUND: usize = 128;
/// What a header has around it.
const HEADER: usize = 8;

/// Refuses the change when one of its records is beyond the limit before it is compressed.
pub(super) fn fits(records: &Records, route: &Route) -> Result<(), Barred> {
    let Some(limit) = route.limit.and_then(|limit| usize::try_from(limit).ok()) else { return Ok(()) };
    for event in records.iter() {
        let headers: usize = event.headers().map(|(key, value)| key.len() + value.len() + HEADER).sum();
        let size = event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len) + headers + AROUND;
        if size > limit {
            let Route { topic, table, .. } = route;
            let what = format!(
                "a record of {size} bytes of {table} is beyond the limit of {limit} bytes of topic {topic}, before it is compressed"
            );
            let remedy = "raise max.message.bytes of the topic, or leave the column out with columns.exclude of its [[table]]; then start again";
            return Err(Barred::One(Cause::Value, Error::blocked(what).remedy(remedy)));
        }
    }
    Ok(())
}
