//! What the cluster holds of the topics that are asked for.

use std::collections::BTreeMap;

use super::super::client::ANSWER;
use super::super::control::Control;
use super::super::partitions::check_range;
use super::super::registry::Registry;
use super::super::topics::blocking;
use super::super::{ForeignOptions, Origin};
use crate::model::{Class, Error, Pattern, Result};

/// The partitions of the topics that match, by topic.
pub(super) fn wanted(control: &Control, patterns: &[Pattern]) -> Result<BTreeMap<String, i32>> {
    let ours = |topic: &str| topic.starts_with("__") || topic.contains("._tailwater.");
    let topics = control.list(ANSWER)?.topics.into_iter();
    Ok(topics.filter(|(topic, _)| !ours(topic) && patterns.iter().any(|pattern| pattern.matches(topic))).collect())
}

/// The offset behind the last record that is committed, of each partition that has one. Where what is read next is not
/// there any more it is one that is never reached: the topic has to stop.
pub(super) fn ends(
    control: &Control,
    patterns: &[Pattern],
    next: &BTreeMap<(String, i32), i64>,
) -> Result<BTreeMap<(String, i32), i64>> {
    let mut ends = BTreeMap::new();
    for (topic, partitions) in wanted(control, patterns)? {
        for partition in 0..partitions {
            let place = (topic.clone(), partition);
            // Once more, for records may have been removed meanwhile.
            let end = match end(control, &topic, partition).or_else(|_| end(control, &topic, partition)) {
                // Its reader finds that, too, and stops.
                Err(error) if error.class() == Class::Blocked => Some(i64::MAX),
                end => end?,
            };
            let gone = match next.get(&place) {
                Some(&next) => {
                    let range = control.range_of(&topic, partition)?;
                    check_range(&topic, partition, next, range).is_err().then_some(next + 1)
                }
                None => None,
            };
            ends.extend(end.max(gone).map(|end| (place, end)));
        }
    }
    Ok(ends)
}

/// The offset behind a partition's last record. Ends of transactions take offsets too, and what was aborted.
pub(super) fn end(control: &Control, topic: &str, partition: i32) -> Result<Option<i64>> {
    let (low, high) = control.range_of(topic, partition)?;
    let mut window = 2;
    loop {
        let from = high.saturating_sub(window).max(low);
        let mut last = None;
        control.read_partition(topic, partition, from, |message| {
            last = Some(rdkafka::Message::offset(message) + 1);
            Ok(())
        })?;
        if last.is_some() || from <= low {
            return Ok(last);
        }
        window = window.saturating_mul(16);
    }
}

/// What would keep a source with these options from reading.
pub async fn check_foreign(options: &ForeignOptions) -> Vec<Error> {
    let source = options.source.clone();
    let found = blocking(move || {
        let control = Control::connect(&source.cluster, &source.group)?;
        wanted(&control, &source.topics)
    })
    .await;
    let mut problems =
        match found {
            Err(error) => vec![error],
            Ok(topics) if topics.is_empty() => vec![Error::blocked("no topic matches `topics`").remedy(
                "correct the patterns, or grant Describe on the topics; topics that appear later are read then",
            )],
            Ok(_) => Vec::new(),
        };
    if let (Origin::Debezium, Some(registry)) = (options.origin, options.registry.clone()) {
        problems.extend(blocking(move || Registry::new(registry)?.check()).await.err());
    }
    problems
}
