//! The numbers of schemas: from the registry, for the formats that need them.

use std::sync::{Arc, Mutex, PoisonError};

use super::RegistryOptions;
use super::registry::{Denied, Part, Registry};
use super::topics::blocking;
use crate::codecs::event::{Format, NamedSchema};
use crate::model::{Error, Result};

/// Where schemas get their numbers.
pub(super) struct Schemas {
    registry: Option<Arc<Mutex<Registry>>>,
    format: Format,
}

impl Schemas {
    pub(super) fn new(options: Option<RegistryOptions>, format: Format) -> Result<Schemas> {
        let registry = options.map(Registry::new).transpose()?;
        Ok(Schemas { registry: registry.map(|registry| Arc::new(Mutex::new(registry))), format })
    }

    /// The numbers of the schemas of a topic's keys, 0 where it has none, and of its values; `None` where there is no
    /// registry, and none is needed.
    pub(super) async fn numbers(
        &self,
        topic: &str,
        key: Option<NamedSchema>,
        value: NamedSchema,
    ) -> Result<Option<(u32, u32)>, Denied> {
        let registry = match &self.registry {
            Some(registry) => Arc::clone(registry),
            // Whoever has the file reads its events.
            None if self.format == Format::Protobuf => return Ok(None),
            None => return Err(Denied::All(Error::bug("a format without its registry"))),
        };
        let topic = topic.to_owned();
        let asked = blocking(move || {
            let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            let mut number = |part: Part, schema: &NamedSchema| {
                let subject = registry.subject(&topic, part, &schema.name);
                registry.number(&subject, schema)
            };
            let key = key.map_or(Ok(0), |schema| number(Part::Key, &schema));
            Ok(key.and_then(|key| Ok(Some((key, number(Part::Value, &value)?)))))
        });
        asked.await.map_err(Denied::All)?
    }
}
