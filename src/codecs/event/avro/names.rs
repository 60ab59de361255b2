//! Names as Avro has them.

use super::super::is_avro_name;
use super::super::schema::{Schema, Shape};

/// Where the converter puts the entries of maps whose keys are no strings.
pub(super) const NAMESPACE_OF_ENTRIES: &str = "io.confluent.connect.avro";

/// Namespace and name of a full name.
pub(super) fn split(full: &str) -> (&str, &str) {
    full.rsplit_once('.').unwrap_or(("", full))
}

/// The first name that Avro does not allow: of a record, or of a field.
pub(super) fn illegal(schema: &Schema) -> Option<&str> {
    let fields = match &schema.shape {
        Shape::Struct(fields) => fields.as_slice(),
        Shape::Array(items) => return illegal(items),
        Shape::Map(_, values) => return illegal(values),
        _ => return None,
    };
    let own = schema.name.as_deref().filter(|name| !name.split('.').all(is_avro_name));
    own.or_else(|| {
        fields.iter().find_map(|(name, schema)| if is_avro_name(name) { illegal(schema) } else { Some(name.as_str()) })
    })
}
