//! Where the topics are that a pipeline reads: the prefix under which another has written them.

use super::SourceOptions;
use super::control::Listing;
use crate::codecs::event::progress_topic;
use crate::model::{Error, Pattern, Result};

/// The prefix that is set, or the one that the topics show.
pub(super) fn prefix(listing: &Listing, options: &SourceOptions) -> Result<String> {
    options.prefix.clone().map_or_else(|| detect(listing, &options.topics), Ok)
}

/// The prefix and its progress topic, which is there.
pub(super) fn written(listing: &Listing, options: &SourceOptions) -> Result<(String, String)> {
    let prefix = prefix(listing, options)?;
    let topic = progress_topic(&prefix);
    if !listing.topics.contains_key(&topic) {
        return Err(Error::transient(format!("there is no topic {topic} yet"))
            .remedy("start the pipeline that writes it, or set `prefix` to the one it writes under"));
    }
    Ok((prefix, topic))
}

/// The prefix under which the topics were written: the longest with a progress topic that a pattern begins with.
fn detect(listing: &Listing, patterns: &[Pattern]) -> Result<String> {
    let prefixes = listing.topics.keys().filter_map(|topic| topic.strip_suffix("._tailwater.progress"));
    let begins = |pattern: &Pattern, prefix: &str| {
        pattern.as_str().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
    };
    let longest = |pattern: &Pattern| prefixes.clone().filter(|prefix| begins(pattern, prefix)).max_by_key(|p| p.len());
    let mut found: Vec<Option<&str>> = patterns.iter().map(longest).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [Some(prefix)] => Ok((*prefix).to_owned()),
        // The reader may have been started before the writer.
        [None] => Err(Error::transient("there is no pipeline's progress topic for what `topics` names")
            .remedy("start the pipeline that writes them; or set `prefix`, if `topics` does not begin with it")),
        _ => Err(Error::blocked("the prefix of the topics can't be told from `topics`")
            .remedy("set `prefix` to the one that the pipeline writing them has; one pipeline reads one prefix")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(topics: &[&str]) -> Listing {
        Listing { topics: topics.iter().map(|topic| ((*topic).to_owned(), 1)).collect(), brokers: 1 }
    }

    fn detected(topics: &[&str], patterns: &[&str]) -> Option<String> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| Pattern::new(*pattern)).collect();
        detect(&listing(topics), &patterns).ok()
    }

    #[test]
    fn the_prefix_is_the_longest_that_has_progress_and_begins_every_pattern() {
        let topics = ["a._tailwater.progress", "a.b._tailwater.progress", "c._tailwater.progress", "a.b.public.t"];
        assert_eq!(detected(&topics, &["a.b.public.*"]).as_deref(), Some("a.b"));
        assert_eq!(detected(&topics, &["a.public.*", "a.other.*"]).as_deref(), Some("a"));
        assert_eq!(detected(&topics, &["a.public.*", "c.public.*"]), None);
        assert_eq!(detected(&topics, &["d.public.*"]), None);
        assert_eq!(detected(&topics, &["*"]), None);
    }
}
