//! The differences from Debezium that are meant. `docs/debezium.md` tells each of them.

use super::compare::Difference;
use super::told::Told;

/// A kind of difference.
pub struct Allowed {
    /// What it is called in the page.
    pub name: &'static str,
    /// Whether a difference is of this kind.
    pub covers: fn(&Difference<'_>) -> bool,
}

/// All of them.
pub const ALLOWED: &[Allowed] = &[
    Allowed { name: "headers of our own", covers: |d| d.path.starts_with("header.tw.") && d.they_say.is_none() },
    Allowed { name: "the version", covers: |d| d.path == "value.source.version" },
    Allowed {
        name: "no transaction id for rows that a snapshot read",
        covers: |d| d.path == "value.source.txId" && d.ours.is_some_and(Told::is_read) && says(&d.we_say, "null"),
    },
    Allowed {
        name: "control characters in headers are escaped",
        covers: |d| {
            let raw = |text: &String| text.contains(|sign: char| sign < ' ');
            (d.path == "header.__debezium.newkey" || d.path == "header.__debezium.oldkey")
                && d.they_say.as_ref().is_some_and(raw)
        },
    },
    Allowed {
        name: "a unique index over columns that may be NULL is no key",
        covers: |d| d.topic() == "public.uniq" && d.path.is_empty(),
    },
    Allowed {
        name: "times in lists keep their microseconds",
        covers: |d| {
            d.path.starts_with("value.after.ti.")
                && number(&d.they_say)
                    .zip(number(&d.we_say))
                    .is_some_and(|(theirs, ours)| theirs % 1000.0 == 0.0 && theirs == (ours / 1000.0).trunc() * 1000.0)
        },
    },
    Allowed {
        name: "an interval beyond 64 bits is a text",
        covers: |d| {
            says(&d.they_say, "9223372036854775807") && d.we_say.as_ref().is_some_and(|say| say.starts_with('"'))
        },
    },
    Allowed {
        name: "the smallest reals have as many digits as they need",
        covers: |d| {
            let numbers = number(&d.they_say).zip(number(&d.we_say));
            numbers.is_some_and(|(theirs, ours)| {
                theirs as f32 == ours as f32 && theirs.abs() < f64::from(f32::MIN_POSITIVE)
            })
        },
    },
];

fn says(side: &Option<String>, text: &str) -> bool {
    side.as_deref() == Some(text)
}

fn number(side: &Option<String>) -> Option<f64> {
    side.as_ref()?.parse().ok()
}

/// Those differences that nobody meant.
pub fn unexpected<'a>(found: Vec<Difference<'a>>, used: &mut Vec<&'static str>) -> Vec<Difference<'a>> {
    let covered = |difference: &Difference<'_>| ALLOWED.iter().find(|allowed| (allowed.covers)(difference));
    found
        .into_iter()
        .filter(|difference| {
            let allowed = covered(difference);
            used.extend(allowed.map(|allowed| allowed.name));
            allowed.is_none()
        })
        .collect()
}
