//! The short ways: values as nearly all are, of the kinds that nearly all columns have.
//!
//! What is not written here is written by [`value`](super::write::value), with the same bytes.

use super::super::kind::{Kind, Unit};
use super::super::text::instant;
use super::wire;
use super::write::Cast;
use crate::model::value::{self, Finite, Numeric};

/// Which short way a column's values can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quick {
    None,
    Text,
    Int,
    Float,
    Bool,
    /// A numeric of this scale.
    Decimal(usize),
    /// A timestamp in microseconds.
    Micros,
    /// An instant with this many digits of fraction.
    Instant(u8),
}

/// From 1970 to 2000 in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

impl Quick {
    pub(super) fn of(cast: &Cast) -> Quick {
        match &cast.kind {
            Kind::Text(_) => Quick::Text,
            Kind::Int => Quick::Int,
            Kind::Float if !cast.narrow => Quick::Float,
            Kind::Bool => Quick::Bool,
            Kind::Decimal { scale } => usize::try_from(*scale).map_or(Quick::None, Quick::Decimal),
            Kind::Timestamp(Unit::Micros) => Quick::Micros,
            Kind::Timestamptz { digits } => Quick::Instant(*digits),
            _ => Quick::None,
        }
    }

    /// Appends a value behind the number of its branch, where it has one; `false`, and nothing appended, for one that
    /// has to go the long way.
    #[inline]
    pub(super) fn write(self, branch: Option<u8>, text: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Quick::None => return false,
            Quick::Text if text.is_ascii() => wire::branch_bytes(branch, text, out),
            Quick::Text => return false,
            Quick::Int => match value::int(text) {
                Ok(number) => wire::branch_long(branch, number, out),
                Err(_) => return false,
            },
            Quick::Float => match value::float8(text) {
                Ok(number) => {
                    out.extend(branch);
                    out.extend_from_slice(&number.to_le_bytes());
                }
                Err(_) => return false,
            },
            Quick::Bool => match text {
                [letter @ (b't' | b'f')] => {
                    out.extend(branch);
                    out.push(u8::from(*letter == b't'));
                }
                _ => return false,
            },
            Quick::Decimal(scale) => match Numeric::short(text, scale) {
                Some(number) => unscaled(branch, number, out),
                None => return false,
            },
            Quick::Micros => match value::pg_timestamp(text) {
                // Far from where 64 bits and what stands for infinity are.
                Ok(Finite::Value(micros)) if micros.unsigned_abs() < 1 << 60 => {
                    wire::branch_long(branch, micros + EPOCH, out);
                }
                _ => return false,
            },
            Quick::Instant(digits) => match instant(text, digits) {
                Some((text, length)) => match text.get(..length) {
                    Some(text) => wire::branch_bytes(branch, text, out),
                    None => return false,
                },
                None => return false,
            },
        }
        true
    }
}

/// Big-endian two's complement in as few bytes as it needs, behind its length.
#[inline]
fn unscaled(branch: Option<u8>, number: i64, out: &mut Vec<u8>) {
    // All bits that only repeat the sign, but one.
    let spare = (number ^ (number >> 63)).leading_zeros().saturating_sub(1) / 8;
    let length = 8 - spare as usize;
    let shifted = number.cast_unsigned() << (8 * spare);
    let mut bytes = [0; 9];
    let [head, rest @ ..] = &mut bytes;
    *head = (length as u8) << 1;
    *rest = shifted.to_be_bytes();
    out.extend(branch);
    let start = out.len();
    out.extend_from_slice(&bytes);
    out.truncate(start + 1 + length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::kind::Named;
    use super::super::write::{Fit, value};
    use super::*;

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,80}",
            "-?[0-9]{1,19}",
            "-?[0-9]{1,12}\\.[0-9]{1,6}",
            "[0-9]{4}-0[1-9]-[0-2][0-9] [01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(\\+00)?",
            prop::sample::select(vec!["t", "f", "NaN", "infinity", "-infinity", "1e+300", "-0"])
                .prop_map(str::to_owned),
        ]
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Text(Named::Plain)),
            Just(Kind::Int),
            Just(Kind::Float),
            Just(Kind::Bool),
            (0..7).prop_map(|scale| Kind::Decimal { scale }),
            Just(Kind::Timestamp(Unit::Micros)),
            (0_u8..=6).prop_map(|digits| Kind::Timestamptz { digits }),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_the_short_way_has_the_bytes_of_the_long_one(
            text in texts(),
            kind in kinds(),
            branch in prop::option::of(0_u8..3),
        ) {
            let cast = Cast { kind, narrow: false, items: None };
            let mut short = vec![9];
            let written = Quick::of(&cast).write(branch, text.as_bytes(), &mut short);
            let mut long: Vec<u8> = std::iter::once(9).chain(branch).collect();
            let outcome = value(&cast, text.as_bytes(), &mut long, &mut Vec::new());
            if written {
                prop_assert_eq!(outcome, Ok(Fit::Fits));
                prop_assert_eq!(short, long);
            } else {
                prop_assert_eq!(short, [9]);
            }
        }

        #[test]
        fn numbers_of_every_size_have_as_few_bytes_as_they_need(number: i64, shift in 0..64) {
            let number = number >> shift;
            let mut short = Vec::new();
            unscaled(None, number, &mut short);
            let text = number.to_string();
            let mut long = Vec::new();
            Numeric::parse(text.as_bytes()).unwrap().unscaled_be(0, &mut long).unwrap();
            prop_assert_eq!(&short[1..], long.as_slice());
            prop_assert_eq!(usize::from(short[0]), long.len() * 2);
        }
    }

    #[test]
    fn common_values_go_the_short_way() {
        for (kind, text) in [
            (Kind::Text(Named::Plain), "customer.1@example.com"),
            (Kind::Int, "1000000001"),
            (Kind::Float, "70.123"),
            (Kind::Bool, "t"),
            (Kind::Decimal { scale: 2 }, "-977000.01"),
            (Kind::Timestamp(Unit::Micros), "2025-10-12 23:15:07.104729"),
            (Kind::Timestamptz { digits: 6 }, "2025-11-03 08:15:01.5+00"),
        ] {
            let cast = Cast { kind, narrow: false, items: None };
            assert!(Quick::of(&cast).write(Some(2), text.as_bytes(), &mut Vec::new()), "{text}");
        }
    }
}
