//! How types are told: Debezium's handling modes, with its names and its defaults.

use super::name::{ADJUSTMENTS, NameAdjustment};

/// Numerics and money.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Decimals {
    /// Unscaled bytes.
    #[default]
    Precise,
    /// Their text.
    Text,
    /// Floating-point numbers: digits beyond the seventeenth are lost.
    Double,
}

/// Dates, times and timestamps without a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Times {
    /// Milliseconds where the column has up to three digits of fraction, else microseconds.
    #[default]
    Adaptive,
    /// As adaptive, times of day always in microseconds.
    AdaptiveMicros,
    /// Milliseconds: the rest is cut off.
    Connect,
    /// ISO 8601 text.
    Iso,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// Intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Intervals {
    /// Microseconds, a month as 30.4375 days.
    #[default]
    Numeric,
    /// ISO 8601 text.
    Text,
}

/// `hstore`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hstores {
    /// A JSON text.
    #[default]
    Json,
    /// A map.
    Map,
}

/// `bytea`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Binaries {
    /// Bytes.
    #[default]
    Bytes,
    /// Base64 text.
    Base64,
    /// Base64 text with `-` and `_`.
    Base64Url,
    /// Hexadecimal text.
    Hex,
}

/// Types outside the table of types.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unknowns {
    /// Their text.
    #[default]
    Text,
    /// Their columns are left out.
    Omit,
}

/// The form of keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// Avro, behind the number that a registry gave its schema.
    Avro,
    /// Protobuf, in the messages of `event.proto`.
    Protobuf,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shapes {
    /// Debezium's envelope.
    #[default]
    Debezium,
    /// The row alone: nobody can make changes of it again.
    Flat,
}

/// How rows and types are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Modes {
    /// The form of keys and values.
    pub format: Format,
    /// What a value is.
    pub kind: Shapes,
    /// Numerics and money.
    pub decimal: Decimals,
    /// Dates, times and timestamps without a zone.
    pub time: Times,
    /// Intervals.
    pub interval: Intervals,
    /// `hstore`.
    pub hstore: Hstores,
    /// `bytea`.
    pub binary: Binaries,
    /// Types outside the table of types.
    pub unknown: Unknowns,
    /// Names of schemas and fields.
    pub name_adjustment: NameAdjustment,
}

/// The names of [`Format`], the default first.
pub const FORMATS: [(&str, Format); 3] =
    [("json", Format::Json), ("avro", Format::Avro), ("protobuf", Format::Protobuf)];
const KIND: [(&str, Shapes); 2] = [("debezium", Shapes::Debezium), ("flat", Shapes::Flat)];
const DECIMAL: [(&str, Decimals); 3] =
    [("precise", Decimals::Precise), ("string", Decimals::Text), ("double", Decimals::Double)];
const TIME: [(&str, Times); 6] = [
    ("adaptive", Times::Adaptive),
    ("adaptive_time_microseconds", Times::AdaptiveMicros),
    ("connect", Times::Connect),
    ("isostring", Times::Iso),
    ("microseconds", Times::Micros),
    ("nanoseconds", Times::Nanos),
];
const INTERVAL: [(&str, Intervals); 2] = [("numeric", Intervals::Numeric), ("string", Intervals::Text)];
const HSTORE: [(&str, Hstores); 2] = [("json", Hstores::Json), ("map", Hstores::Map)];
const BINARY: [(&str, Binaries); 4] = [
    ("bytes", Binaries::Bytes),
    ("base64", Binaries::Base64),
    ("base64-url-safe", Binaries::Base64Url),
    ("hex", Binaries::Hex),
];
const UNKNOWN: [(&str, Unknowns); 2] = [("text", Unknowns::Text), ("omit", Unknowns::Omit)];

fn pick<T: Copy>(names: &[(&str, T)], name: &str, into: &mut T) -> bool {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, mode)| *into = *mode).is_some()
}

fn name<T: Copy + PartialEq>(names: &[(&'static str, T)], mode: T) -> &'static str {
    names.iter().find(|(_, known)| *known == mode).map_or("", |(name, _)| name)
}

impl Format {
    /// As configurations and the tables topic name it.
    pub fn name(self) -> &'static str {
        name(&FORMATS, self)
    }
}

impl Modes {
    /// The keys of the envelope, each with the names it takes, the default first.
    pub fn keys() -> [(&'static str, Vec<&'static str>); 8] {
        fn names<T>(names: &[(&'static str, T)]) -> Vec<&'static str> {
            names.iter().map(|(name, _)| *name).collect()
        }
        [
            ("kind", names(&KIND)),
            ("decimal", names(&DECIMAL)),
            ("time", names(&TIME)),
            ("interval", names(&INTERVAL)),
            ("hstore", names(&HSTORE)),
            ("binary", names(&BINARY)),
            ("unknown", names(&UNKNOWN)),
            ("name_adjustment", names(&ADJUSTMENTS)),
        ]
    }

    /// Sets one by key and name; `false` when there is none such.
    pub fn set(&mut self, key: &str, name: &str) -> bool {
        match key {
            "format" => pick(&FORMATS, name, &mut self.format),
            "kind" => pick(&KIND, name, &mut self.kind),
            "decimal" => pick(&DECIMAL, name, &mut self.decimal),
            "time" => pick(&TIME, name, &mut self.time),
            "interval" => pick(&INTERVAL, name, &mut self.interval),
            "hstore" => pick(&HSTORE, name, &mut self.hstore),
            "binary" => pick(&BINARY, name, &mut self.binary),
            "unknown" => pick(&UNKNOWN, name, &mut self.unknown),
            "name_adjustment" => pick(&ADJUSTMENTS, name, &mut self.name_adjustment),
            _ => false,
        }
    }

    /// All by key and name.
    pub fn names(&self) -> [(&'static str, &'static str); 9] {
        [
            ("format", name(&FORMATS, self.format)),
            ("kind", name(&KIND, self.kind)),
            ("decimal", name(&DECIMAL, self.decimal)),
            ("time", name(&TIME, self.time)),
            ("interval", name(&INTERVAL, self.interval)),
            ("hstore", name(&HSTORE, self.hstore)),
            ("binary", name(&BINARY, self.binary)),
            ("unknown", name(&UNKNOWN, self.unknown)),
            ("name_adjustment", name(&ADJUSTMENTS, self.name_adjustment)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_every_key_sets_its_mode_and_comes_back() {
        for (key, names) in Modes::keys() {
            assert!(Modes::default().names().contains(&(key, names[0])), "{key}");
            for name in names {
                let mut modes = Modes::default();
                assert!(modes.set(key, name), "{key} {name}");
                assert!(modes.names().contains(&(key, name)), "{key} {name}");
            }
            assert!(!Modes::default().set(key, "other"));
        }
        assert!(!Modes::default().set("other", "text"));
    }
}
