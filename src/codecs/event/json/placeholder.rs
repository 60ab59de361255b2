//! What stands in for a large value that an update did not touch.

use md5::{Digest, Md5};

use super::super::kind::{Kind, Named};
use super::super::modes::Binaries;
use super::super::text::bytes;
use super::token;

/// The JSON of a placeholder in a column of this kind.
pub(in super::super) fn placeholder(kind: &Kind, text: &str) -> Vec<u8> {
    let mut string = Vec::new();
    token::string(text.as_bytes(), &mut string).expect("a str is UTF-8");
    let mut base64 = Vec::new();
    token::base64(text.as_bytes(), &mut base64);
    match kind {
        Kind::Text(Named::Uuid) => format!("\"{}\"", name_uuid(text.as_bytes())).into_bytes(),
        Kind::Text(_) | Kind::IsoDate | Kind::IsoTime | Kind::IsoTimestamp | Kind::IsoDuration => string,
        // Digits would be another text: as Debezium has it.
        Kind::DecimalText | Kind::Bytes(Binaries::Hex) => string,
        Kind::Bytes(form) => {
            let mut out = vec![b'"'];
            bytes(*form, text.as_bytes(), &mut out);
            out.push(b'"');
            out
        }
        Kind::Decimal { .. } | Kind::Bits(_) => base64,
        Kind::VariableDecimal => [b"{\"scale\":0,\"value\":", base64.as_slice(), b"}"].concat(),
        Kind::Money(decimal) => placeholder(decimal, text),
        Kind::HstoreText => {
            let object = [b"{", string.as_slice(), b":", string.as_slice(), b"}"].concat();
            let mut out = Vec::new();
            token::string(&object, &mut out).expect("JSON is UTF-8");
            out
        }
        Kind::HstoreMap => [b"{", string.as_slice(), b":", string.as_slice(), b"}"].concat(),
        Kind::Geometry => [b"{\"wkb\":", base64.as_slice(), b",\"srid\":null}"].concat(),
        Kind::Vector => b"[]".into(),
        Kind::SparseVector => kind.fallback().into(),
        Kind::List(element) => match **element {
            Kind::Int | Kind::Float | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::Duration => {
                format!("{:?}", text.as_bytes()).replace(' ', "").into_bytes()
            }
            Kind::Timestamptz { .. } | Kind::TimeTz => [b"[", string.as_slice(), b"]"].concat(),
            ref element => [b"[", placeholder(element, text).as_slice(), b"]"].concat(),
        },
        // Never large: PostgreSQL always sends them.
        Kind::Int | Kind::Float | Kind::DecimalDouble | Kind::Bool | Kind::Bit | Kind::Date | Kind::Point => {
            b"null".into()
        }
        Kind::Time(_) | Kind::TimeTz | Kind::Timestamp(_) | Kind::Timestamptz { .. } | Kind::Duration => b"null".into(),
    }
}

/// The name-based UUID (version 3) of some bytes, without a namespace.
pub(in super::super) fn name_uuid(name: &[u8]) -> String {
    let mut bytes: [u8; 16] = Md5::digest(name).into();
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0F | 0x30;
    *variant = *variant & 0x3F | 0x80;
    let mut out = Vec::new();
    crate::model::value::print::uuid(&bytes, &mut out);
    String::from_utf8(out).expect("digits and dashes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholders_of_uuids_are_javas_name_uuids() {
        assert_eq!(name_uuid(super::super::super::PLACEHOLDER.as_bytes()), "b68a35a7-17ad-35b3-af2a-ae46edb4545a");
    }
}
