//! The differences from Debezium that are meant. `docs/debezium.md` tells each of them.

use super::compare::Difference;

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
];

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
