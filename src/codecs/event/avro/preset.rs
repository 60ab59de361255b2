//! Defaults and texts as Java's libraries write them into a schema.

use std::fmt::{Debug, LowerExp};

use super::super::preset::Preset;

/// A text in quotes: control characters in upper-case escapes, all others as they are.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

/// The default of a type.
pub(super) fn of_type(preset: &Preset) -> String {
    match preset {
        Preset::Float32(value) => floating(*value, f64::from(*value)),
        other => of_field(other),
    }
}

/// The default of a field: a `float` is told as the `double` that it is, too.
pub(super) fn of_field(preset: &Preset) -> String {
    match preset {
        Preset::Boolean(value) => value.to_string(),
        Preset::Int(value) => value.to_string(),
        Preset::Float32(value) => floating(f64::from(*value), f64::from(*value)),
        Preset::Float64(value) => floating(*value, *value),
        Preset::Text(text) => quoted(text),
        // Each byte is the character of its number.
        Preset::Bytes(bytes) => quoted(&bytes.iter().map(|byte| char::from(*byte)).collect::<String>()),
    }
}

/// With an exponent below a thousandth and from ten millions on, always with a fraction.
fn floating<T: Debug + LowerExp>(value: T, size: f64) -> String {
    if size == 0.0 || (1e-3..1e7).contains(&size.abs()) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let fraction = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{fraction}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_java_tells_them() {
        for (value, text) in
            [(0.0, "0.0"), (2.25, "2.25"), (100.0, "100.0"), (1e100, "1.0E100"), (-1.5e-7, "-1.5E-7"), (1e7, "1.0E7")]
        {
            assert_eq!(of_field(&Preset::Float64(value)), text);
        }
        assert_eq!(of_type(&Preset::Float32(0.1)), "0.1");
        assert_eq!(of_field(&Preset::Float32(0.1)), "0.10000000149011612");
        assert_eq!(of_field(&Preset::Bytes(vec![0x04, 0xD2, 0x0F])), "\"\\u0004Ò\\u000F\"");
    }
}
