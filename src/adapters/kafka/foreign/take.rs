//! Records to changes: in two steps, so that a batch's tables have grown before its first row is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::super::reader::place;
use super::super::registry::Registry;
use super::super::{ForeignOptions, Origin};
use super::lanes::Place;
use crate::codecs::event::foreign::{AvroSchema, Debezium, Filed, ForeignError, Mark, Raw, Shapes, Verdict, rows};
use crate::model::{Change, ChangeId, Error, Lsn, Note, PgTimestamp, Result, TableName};

/// Numbers are this far apart, like the positions of a log.
const STEP: u64 = 8;

/// A record that has been read and not yet made a change.
pub(super) struct Taken {
    pub(super) filed: Filed,
    at: PgTimestamp,
    place: Place,
    offset: i64,
}

/// Knows tables, marks and schemas.
pub(super) struct Taker {
    origin: Origin,
    debezium: Debezium,
    registry: Option<Registry>,
    shapes: Shapes,
    marks: HashMap<Place, Mark>,
    /// The last truncate of each table, in the source's log.
    horizons: HashMap<TableName, (u64, u64)>,
    moved: BTreeSet<Place>,
    cut: BTreeSet<TableName>,
    /// The number of the last change.
    pub(super) number: u64,
}

impl Taker {
    pub(super) fn new(options: &ForeignOptions, notes: &BTreeMap<String, String>, number: u64) -> Result<Taker> {
        let mut shapes = Shapes::new(options.declared.clone(), options.placeholder.clone());
        let (mut marks, mut horizons) = (HashMap::new(), HashMap::new());
        for (name, value) in notes {
            let read = match name.split_once(' ') {
                Some(("shape", _)) => shapes.recall(value).then_some(()),
                Some(("mark", at)) => mark(at, value).map(|mark| marks.extend([mark])),
                Some(("horizon", table)) => horizon(table, value).map(|horizon| horizons.extend([horizon])),
                _ => None,
            };
            read.ok_or_else(|| {
                Error::blocked(format!("the row {name} of _tailwater.notes can't be read"))
                    .remedy("it was changed by hand, or a later version wrote it: restore it, or run that version")
            })?;
        }
        Ok(Taker {
            origin: options.origin,
            debezium: Debezium::default(),
            registry: options.registry.clone().map(Registry::new).transpose()?,
            shapes,
            marks,
            horizons,
            moved: BTreeSet::new(),
            cut: BTreeSet::new(),
            number,
        })
    }

    /// Reads a record; `None` for one that says nothing new of a row.
    pub(super) fn read(&mut self, message: &BorrowedMessage<'_>) -> Result<Option<Taken>> {
        let headers: Vec<(&str, &[u8])> = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
        });
        let raw = Raw {
            topic: message.topic(),
            partition: message.partition(),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        };
        let at = || place(raw.topic, raw.partition, message.offset());
        let filed = match self.origin {
            Origin::Rows => rows(&raw).map(Some),
            Origin::Debezium => {
                while let Some(number) = self.debezium.lacks(&raw) {
                    self.learn(number).map_err(|error| error.within(at()))?;
                }
                self.debezium.read(&raw)
            }
        };
        let Some(filed) = filed.map_err(|error| refusal(error, &at()))? else { return Ok(None) };
        let millis = message.timestamp().to_millis();
        let time = millis.map_or_else(PgTimestamp::now, |ms| PgTimestamp::from_unix_micros(ms.saturating_mul(1000)));
        let taken = Taken { filed, at: time, place: (raw.topic.to_owned(), raw.partition), offset: message.offset() };
        Ok(if self.is_new(&taken)? { Some(taken) } else { None })
    }

    fn learn(&mut self, number: u32) -> Result<()> {
        let Some(registry) = &mut self.registry else {
            return Err(Error::blocked("the record is Avro, whose schema a registry has")
                .remedy("set source.kafka.registry to its address"));
        };
        let schema = AvroSchema::parse(&registry.schema(number)?);
        let schema = schema.map_err(|error| Error::blocked(format!("schema {number} of the registry: {error}")))?;
        self.debezium.learn(number, schema);
        Ok(())
    }

    /// Whether the event has not been here before.
    fn is_new(&mut self, taken: &Taken) -> Result<bool> {
        let Some(order) = taken.filed.order else { return Ok(true) };
        let mark = self.marks.entry(taken.place.clone()).or_default();
        let verdict = mark.meet(order);
        self.moved.insert(taken.place.clone());
        match verdict {
            Verdict::Take => {}
            Verdict::Again => return Ok(false),
            Verdict::Elsewhere => {
                return Err(Error::blocked(format!(
                    "{}: the source's log goes back while its time goes on: the connector reads another database \
                     cluster, or a restored one",
                    place(&taken.place.0, taken.place.1, taken.offset)
                ))
                .remedy("rows of two histories would be mixed: read the topics into empty tables under another pipeline name"));
            }
        }
        // Another partition was emptied before this one came to its part.
        let behind = self.horizons.get(taken.filed.table()).is_some_and(|horizon| order.version < *horizon);
        Ok(!behind)
    }

    /// Makes the tables fit.
    pub(super) fn meet(&mut self, taken: &Taken) -> Result<()> {
        if let (true, Some(order)) = (taken.filed.truncates(), taken.filed.order) {
            self.horizons.insert(taken.filed.table().clone(), order.version);
            self.cut.insert(taken.filed.table().clone());
        }
        let met = self.shapes.meet(&taken.filed);
        met.map_err(|error| refusal(error, &place(&taken.place.0, taken.place.1, taken.offset)))
    }

    /// The change, with the next number.
    pub(super) fn change(&mut self, taken: &Taken) -> Result<Change> {
        let (table, op) = self
            .shapes
            .op(&taken.filed)
            .map_err(|error| refusal(error, &place(&taken.place.0, taken.place.1, taken.offset)))?;
        self.number += STEP;
        let id = ChangeId { commit: Lsn::new(self.number), seq: 0 };
        let origin =
            crate::model::Origin { at: taken.at, xid: None, lsn: id.commit, last_commit: None, snapshot: None };
        Ok(Change { id, origin, table, op })
    }

    /// What is to be remembered since this was asked.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let shapes = self.shapes.grown().into_iter();
        let mut notes: Vec<Note> =
            shapes.map(|(table, value)| Note { name: format!("shape {table}"), value, early: true }).collect();
        for (topic, partition) in std::mem::take(&mut self.moved) {
            let name = format!("mark {topic}[{partition}]");
            if let Some(mark) = self.marks.get(&(topic, partition)) {
                notes.push(Note { name, value: mark.print(), early: false });
            }
        }
        for table in std::mem::take(&mut self.cut) {
            if let Some((commit, lsn)) = self.horizons.get(&table) {
                notes.push(Note { name: format!("horizon {table}"), value: format!("{commit} {lsn}"), early: false });
            }
        }
        notes
    }
}

fn refusal(error: ForeignError, place: &str) -> Error {
    match error {
        ForeignError::Unreadable(expected) => Error::corrupt(format!("{place}: expected {expected}"))
            .remedy("the record is not what `origin` says: correct `origin` or `topics`, or mend what writes it; nothing is skipped"),
        ForeignError::Refused { what, remedy } => Error::blocked(format!("{place}: {what}")).remedy(remedy),
    }
}

fn mark(at: &str, value: &str) -> Option<(Place, Mark)> {
    let (topic, partition) = at.strip_suffix(']')?.rsplit_once('[')?;
    Some(((topic.to_owned(), partition.parse().ok()?), Mark::parse(value)?))
}

fn horizon(table: &str, value: &str) -> Option<(TableName, (u64, u64))> {
    let ((schema, name), (commit, lsn)) = (table.split_once('.')?, value.split_once(' ')?);
    Some((TableName::new(schema, name), (commit.parse().ok()?, lsn.parse().ok()?)))
}
