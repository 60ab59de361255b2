//! Masks: what stands in a value's place.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What stands in a value's place. NULL stays NULL.
#[derive(Clone, Debug)]
pub enum Mask {
    /// The SHA-256 of salt and value, in hexadecimal digits: equal values stay equal.
    Sha256 {
        /// Put before each value.
        salt: SecretString,
    },
    /// The HMAC-SHA-256 of the value, in hexadecimal digits: equal values stay equal, and nobody without the key can
    /// try values.
    Hmac {
        /// The key.
        key: SecretString,
    },
    /// `***`
    Redact,
    /// The first characters only.
    Truncate(usize),
}

impl Mask {
    /// Whether different values stay different.
    pub fn tells_apart(&self) -> bool {
        matches!(self, Mask::Sha256 { .. } | Mask::Hmac { .. })
    }

    /// Appends what stands in the value's place.
    pub fn apply(&self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Mask::Sha256 { salt } => {
                let digest = Sha256::new().chain_update(salt.expose_secret().as_bytes()).chain_update(value).finalize();
                hex(&digest, out);
            }
            Mask::Hmac { key } => {
                let mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes());
                let mac = mac.expect("a key may have any length").chain_update(value).finalize();
                hex(&mac.into_bytes(), out);
            }
            Mask::Redact => out.extend_from_slice(b"***"),
            Mask::Truncate(characters) => {
                // Each character has one byte that is no continuation.
                let starts = value.iter().enumerate().filter(|(_, byte)| **byte & 0xC0 != 0x80);
                let end = starts.map(|(at, _)| at).nth(*characters).unwrap_or(value.len());
                out.extend_from_slice(value.get(..end).unwrap_or(value));
            }
        }
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    bytes.iter().for_each(|byte| out.extend([digit(byte >> 4), digit(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, value: &str) -> String {
        let mut out = Vec::new();
        mask.apply(value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn masks_are_what_their_names_say() {
        // Checked with sha256sum and openssl.
        let sha = Mask::Sha256 { salt: "".into() };
        assert_eq!(masked(&sha, "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(masked(&Mask::Sha256 { salt: "a".into() }, "bc"), masked(&sha, "abc"));
        let hmac = Mask::Hmac { key: "key".into() };
        let expected = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(masked(&hmac, "The quick brown fox jumps over the lazy dog"), expected);
        assert_eq!(masked(&Mask::Redact, "abc"), "***");
        assert_eq!(masked(&Mask::Truncate(2), "äöü"), "äö");
        assert_eq!(masked(&Mask::Truncate(9), "äöü"), "äöü");
        assert!(!format!("{hmac:?}").contains("key\""), "{hmac:?}");
    }
}
