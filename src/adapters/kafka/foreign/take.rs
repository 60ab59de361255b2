//! Records to changes: in two steps, so that a batch's tables have grown before its first row is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::super::reader::place;
use super::super::registry::Registry;
use super::super::{ForeignOptions, Origin, RecordPlace};
use super::lanes::Place;
use crate::codecs::event::foreign::{AvroSchema, Debezium, Filed, ForeignError, Mark, Raw, Shapes, Verdict, rows};
use crate::model::{Change, ChangeId, Error, Lsn, Note, PgTimestamp, Result, TableName};

/// How long a record waits for the partition that has the rest of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many second halves are remembered.
const JOINED: usize = 10_000;

/// Numbers are this far apart, like the positions of a log.
const STEP: u64 = 8;

/// A record that has been read and not yet made a change.
pub(super) struct Taken {
    pub(super) filed: Filed,
    at: PgTimestamp,
    place: Place,
    offset: i64,
    read: Instant,
    /// Whether the end of its old key lay before it in its own partition.
    pub(super) paired: bool,
}

impl Taken {
    /// Its partition and its offset there.
    pub(super) fn at(&self) -> (Place, i64) {
        (self.place.clone(), self.offset)
    }

    fn record(&self) -> RecordPlace {
        (self.place.0.clone(), self.place.1, self.offset)
    }

    /// Whose turn it is, of records in several partitions: where the log has them; of the two halves of a key change, which
    /// share a place there, first the one that needs the other's row; and without a place there, by their time.
    pub(super) fn turn(&self) -> ((u64, u64), bool, i64) {
        (self.version().unwrap_or_default(), self.filed.parts(), self.at.0)
    }

    /// Where the log has it.
    pub(super) fn version(&self) -> Option<(u64, u64)> {
        self.filed.order.map(|order| order.version)
    }

    /// Whether this is the other half of a key change.
    pub(super) fn is_other_half(&self, of: &Taken) -> bool {
        let halves = self.filed.parts() && of.filed.joins() || self.filed.joins() && of.filed.parts();
        halves && self.version().is_some_and(|version| of.version() == Some(version)) && self.filed.log == of.filed.log
    }

    /// Whether its other half has been waited for long enough.
    pub(super) fn is_overdue(&self) -> bool {
        self.read.elapsed() >= PATIENCE
    }
}

/// A partition's records of one source's log.
type Lane = (Place, String);

/// Knows tables, marks and schemas.
pub(super) struct Taker {
    origin: Origin,
    debezium: Debezium,
    registry: Option<Registry>,
    shapes: Shapes,
    marks: HashMap<Lane, Mark>,
    /// The last truncate of each table, in its source's log.
    horizons: HashMap<TableName, (u64, u64)>,
    moved: BTreeSet<Lane>,
    cut: BTreeSet<TableName>,
    /// The newest change that was taken of each table whose records lie in several partitions.
    newest: HashMap<TableName, (u64, u64)>,
    /// Where the log has rows that came under another key, the last of them.
    joined: BTreeSet<(u64, u64)>,
    /// Whose log each table is of.
    logs: HashMap<TableName, String>,
    /// Tables of which one of these is to be noted.
    advanced: BTreeSet<TableName>,
    /// The number of the last change.
    pub(super) number: u64,
    /// Records that are left out.
    skipped: BTreeSet<RecordPlace>,
}

impl Taker {
    pub(super) fn new(options: &ForeignOptions, notes: &BTreeMap<String, String>, number: u64) -> Result<Taker> {
        let mut shapes = Shapes::new(options.declared.clone(), options.placeholder.clone());
        let (mut marks, mut horizons) = (HashMap::new(), HashMap::new());
        let (mut newest, mut logs) = (HashMap::new(), HashMap::new());
        for (name, value) in notes {
            let read = match name.split_once(' ') {
                Some(("shape", _)) => shapes.recall(value).then_some(()),
                Some(("mark", at)) => mark(at, value).map(|mark| marks.extend([mark])),
                Some(("horizon", table)) => horizon(table, value).map(|horizon| horizons.extend([horizon])),
                Some(("newest", table)) => horizon(table, value).map(|version| newest.extend([version])),
                Some(("log", table)) => table_of(table).map(|table| logs.extend([(table, value.clone())])),
                // Read by whom it concerns.
                Some(("stopped", _)) => Some(()),
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
            newest,
            joined: BTreeSet::new(),
            logs,
            advanced: BTreeSet::new(),
            number,
            skipped: options.skipped.clone(),
        })
    }

    /// Reads a record; `None` for one that says nothing of a row.
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
        let record = || (raw.topic.to_owned(), raw.partition, message.offset());
        if !self.skipped.is_empty() && self.skipped.contains(&record()) {
            tracing::warn!("{} is left out, as skip_records says", at(&record()));
            return Ok(None);
        }
        let filed = match self.origin {
            Origin::Rows => rows(&raw).map(Some),
            Origin::Debezium => {
                while let Some(number) = self.debezium.lacks(&raw) {
                    self.learn(number).map_err(|error| without(error.within(at(&record())), &record()))?;
                }
                self.debezium.read(&raw)
            }
        };
        let Some(filed) = filed.map_err(|error| refusal(error, &record()))? else { return Ok(None) };
        let millis = message.timestamp().to_millis();
        let time = millis.map_or_else(PgTimestamp::now, |ms| PgTimestamp::from_unix_micros(ms.saturating_mul(1000)));
        let place = (raw.topic.to_owned(), raw.partition);
        let taken = Taken { filed, at: time, place, offset: message.offset(), read: Instant::now(), paired: false };
        Ok(Some(taken))
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

    /// Whether the event has not been here before. To be asked once, when it is taken.
    pub(super) fn is_new(&mut self, taken: &Taken) -> Result<bool> {
        let Some(order) = taken.filed.order else { return Ok(true) };
        let lane = (taken.place.clone(), taken.filed.log.clone());
        let verdict = self.marks.entry(lane.clone()).or_default().meet(order);
        self.moved.insert(lane);
        match verdict {
            Verdict::Take => {}
            Verdict::Again => return Ok(false),
            Verdict::Elsewhere => {
                return Err(Error::blocked(format!(
                    "{}: the source's log goes back while its time goes on: the connector reads another database \
                     cluster, or a restored one",
                    at(&taken.record())
                ))
                .remedy("rows of two histories would be mixed: read the topics into empty tables under another pipeline name"));
            }
        }
        // Another partition was emptied before this one came to its part.
        let horizon = self.horizons.get(taken.filed.table());
        // And what empties it has no key: it may come again in any partition.
        let behind =
            |horizon: &(u64, u64)| order.version < *horizon || (taken.filed.truncates() && order.version == *horizon);
        Ok(!horizon.is_some_and(behind))
    }

    /// Whether a partition has been read beyond this record's place in the log.
    pub(super) fn is_past(&self, place: &Place, taken: &Taken) -> bool {
        let mark = self.marks.get(&(place.clone(), taken.filed.log.clone()));
        taken.version().is_none_or(|version| mark.is_some_and(|mark| mark.is_at(version)))
    }

    /// Whether the record waits for the one that has the other half of a key change, if that is to come.
    pub(super) fn needs(&self, taken: &Taken) -> bool {
        let Some(version) = taken.version() else { return false };
        let half = match taken.filed.parts() {
            true => !self.joined.contains(&version),
            false => !taken.paired && self.shapes.keeps(&taken.filed),
        };
        let mark = || self.marks.get(&(taken.place.clone(), taken.filed.log.clone()));
        half && !mark().is_some_and(|mark| mark.is_past(version))
    }

    /// Whether another partition has brought changes of the table from behind this one.
    pub(super) fn is_late(&self, taken: &Taken) -> bool {
        let newest = self.newest.get(taken.filed.table());
        taken.version().is_some_and(|version| newest.is_some_and(|newest| version < *newest))
    }

    /// Tells the second half of a key change from the first one, which another partition has. `beside`: that is next there.
    pub(super) fn part(&mut self, taken: &mut Taken, beside: bool) {
        if taken.paired || !taken.filed.joins() {
            return;
        }
        if let Some(version) = taken.version() {
            self.joined.insert(version);
            if self.joined.len() > JOINED {
                self.joined.pop_first();
            }
        }
        self.shapes.part(&mut taken.filed, !beside);
    }

    /// Makes the tables fit; whether there is anything to be done. `several`: the topic has other partitions.
    pub(super) fn meet(&mut self, taken: &Taken, several: bool) -> Result<bool> {
        let table = taken.filed.table().clone();
        self.of_one_log(&taken.filed, &table).map_err(|error| error.within(at(&taken.record())))?;
        if let Some(order) = taken.filed.order {
            if taken.filed.truncates() {
                self.horizons.insert(table.clone(), order.version);
                self.cut.insert(table.clone());
            } else if several {
                let newest = self.newest.entry(table.clone()).or_default();
                *newest = order.version.max(*newest);
                self.advanced.insert(table.clone());
            }
        }
        if taken.filed.parts() && !several {
            // The other half says it, later in this partition.
            return Ok(false);
        }
        self.shapes.meet(&taken.filed).map_err(|error| refusal(error, &taken.record()))
    }

    /// Refuses a table that another connector's source has, too: their rows and their logs would be mixed.
    fn of_one_log(&mut self, filed: &Filed, table: &TableName) -> Result<()> {
        if filed.log.is_empty() {
            return Ok(());
        }
        match self.logs.get(table) {
            None => {
                self.logs.insert(table.clone(), filed.log.clone());
                self.advanced.insert(table.clone());
                Ok(())
            }
            Some(log) if *log == filed.log => Ok(()),
            Some(log) => Err(Error::blocked(format!(
                "{table} is written by the connector {log}, and by {} too",
                filed.log
            ))
            .remedy(format!(
                "give each its own pipeline, with a `source_column` or a schema of its own; if the connector was only \
                     renamed, delete the row 'log {table}' of _tailwater.notes"
            ))),
        }
    }

    /// The change, with the next number.
    pub(super) fn change(&mut self, taken: &Taken) -> Result<Change> {
        let (table, op) = self.shapes.op(&taken.filed).map_err(|error| refusal(error, &taken.record()))?;
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
        for lane in std::mem::take(&mut self.moved) {
            let ((topic, partition), log) = &lane;
            let name = format!("mark {topic}[{partition}] {log}");
            if let Some(mark) = self.marks.get(&lane) {
                notes.push(Note { name, value: mark.print(), early: false });
            }
        }
        for table in std::mem::take(&mut self.advanced) {
            if let Some((commit, lsn)) = self.newest.get(&table) {
                notes.push(Note { name: format!("newest {table}"), value: format!("{commit} {lsn}"), early: false });
            }
            if let Some(log) = self.logs.get(&table) {
                notes.push(Note { name: format!("log {table}"), value: log.clone(), early: false });
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

fn at((topic, partition, offset): &RecordPlace) -> String {
    place(topic, *partition, *offset)
}

fn refusal(error: ForeignError, record: &RecordPlace) -> Error {
    let error = match error {
        ForeignError::Unreadable(expected) => {
            let remedy = "the record is not what `origin` says: correct `origin` or `topics`, or mend what writes it; \
                          nothing is skipped";
            Error::corrupt(format!("{}: expected {expected}", at(record))).remedy(remedy)
        }
        ForeignError::Refused { what, remedy } => Error::blocked(format!("{}: {what}", at(record))).remedy(remedy),
    };
    without(error, record)
}

/// Tells how to go on without the record.
fn without(error: Error, (topic, partition, offset): &RecordPlace) -> Error {
    let remedy = error.advice().map(|advice| format!("{advice}. ")).unwrap_or_default();
    error.remedy(format!(
        "{remedy}Where it can be done without, name it in [source.kafka]: skip_records = [\"{topic}[{partition}]@{offset}\"]"
    ))
}

fn mark(at: &str, value: &str) -> Option<(Lane, Mark)> {
    // No topic's name has a bracket in it.
    let (topic, rest) = at.split_once('[')?;
    let (partition, log) = rest.split_once("] ")?;
    Some((((topic.to_owned(), partition.parse().ok()?), log.to_owned()), Mark::parse(value)?))
}

fn horizon(table: &str, value: &str) -> Option<(TableName, (u64, u64))> {
    let (commit, lsn) = value.split_once(' ')?;
    Some((table_of(table)?, (commit.parse().ok()?, lsn.parse().ok()?)))
}

fn table_of(name: &str) -> Option<TableName> {
    name.split_once('.').map(|(schema, name)| TableName::new(schema, name))
}
