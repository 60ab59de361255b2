//! The envelope's `source` block as Avro.

use super::super::origin;
use super::wire;
use crate::model::{Origin, Table};

/// What is the same in the source block of all events of a table version.
#[derive(Debug)]
pub(super) struct Source {
    head: Vec<u8>,
    database: Vec<u8>,
    table: Vec<u8>,
}

impl Source {
    pub(super) fn new(prefix: &str, database: &str, table: &Table) -> Source {
        let texts = |texts: &[&str]| {
            let mut out = Vec::new();
            texts.iter().for_each(|text| wire::bytes(text.as_bytes(), &mut out));
            out
        };
        Source {
            head: texts(&[env!("CARGO_PKG_VERSION"), "postgresql", prefix]),
            database: texts(&[database]),
            table: texts(&[&table.name.schema, &table.name.name]),
        }
    }

    /// Appends the block.
    pub(super) fn write(&self, origin: &Origin, out: &mut Vec<u8>) {
        let micros = origin.at.unix_micros();
        out.extend_from_slice(&self.head);
        wire::long(origin.at.unix_millis(), out);
        // The first branch: the default is a text.
        out.push(0);
        wire::bytes(origin::mark_name(origin.snapshot).as_bytes(), out);
        out.extend_from_slice(&self.database);
        out.push(2);
        let _: Result<(), ()> = wire::sized(out, |out| {
            origin::sequence(origin, out);
            Ok(())
        });
        for number in [micros, micros.saturating_mul(1000)] {
            out.push(2);
            wire::long(number, out);
        }
        out.extend_from_slice(&self.table);
        for number in [origin.xid.map(|xid| i64::from(xid.0)), i64::try_from(origin.lsn.get()).ok()] {
            match number {
                None => out.push(0),
                Some(number) => {
                    out.push(2);
                    wire::long(number, out);
                }
            }
        }
        // xmin, origin, origin_lsn
        out.extend_from_slice(&[0, 0, 0]);
    }
}
