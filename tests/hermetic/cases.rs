//! The lines of `tests/golden/types.txt`: each type, how it is told, and its values.

use tailwater::codecs::event::Modes;
use tailwater::model::PgType;

/// A line of the file.
#[derive(Clone, Debug)]
pub struct Case {
    /// The line's first four fields as they are written.
    pub words: [&'static str; 4],
    pub pg_type: PgType,
    pub modifier: i32,
    pub told: Modes,
    /// What PostgreSQL prints.
    pub text: &'static str,
    pub json: &'static str,
    /// What comes back where it is another text: a declared loss.
    pub loss: Option<&'static str>,
}

impl Case {
    /// What the text is after it has been written and read.
    pub fn back(&self) -> &'static str {
        self.loss.unwrap_or(self.text)
    }
}

/// The type of a name as `format_type` writes it.
pub fn named(name: &str) -> PgType {
    match name.strip_suffix("[]") {
        Some(element) => PgType::Array(Box::new(named(element))),
        None => PgType::named(name).unwrap_or_else(|| PgType::Other { name: name.into() }),
    }
}

/// Modes as in `decimal=string time=connect`.
pub fn modes(text: &str) -> Modes {
    let mut modes = Modes::default();
    for word in text.split_whitespace() {
        let (key, name) = word.split_once('=').unwrap();
        assert!(modes.set(key, name), "{word}");
    }
    modes
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let lines = include_str!("../golden/types.txt").lines();
    let case = |line: &'static str| {
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [name, modifier, told, text, json, ref loss @ ..] = fields[..] else { panic!("{line}") };
        Case {
            words: [name, modifier, told, text],
            pg_type: named(name),
            modifier: modifier.parse().unwrap(),
            told: modes(told),
            text,
            json,
            loss: loss.first().copied(),
        }
    };
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(case).collect()
}
