//! How each table's changes become records, and which shapes of tables the topics hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rdkafka::Message;

use super::SinkOptions;
use super::claims::Claims;
use super::control::Control;
use super::ledger::Route;
use crate::codecs::event::{Encoder, Hold, Modes, TableRecord, Topic, decode_table};
use crate::model::{Error, Followed, Result, Table, TableName};

/// How the changes of one table, as the source knows it now, become records.
pub(super) struct Plan {
    /// Kept so that its address stays its own.
    pub(super) source: Arc<Table>,
    pub(super) encoder: Encoder,
    pub(super) topic: Topic,
    pub(super) partitions: i32,
    pub(super) route: u32,
    /// The route's topic, table and limit, where the size of records is looked at before they are sent.
    pub(super) limited: Option<Route>,
}

/// Plans by the address of the source's table.
#[derive(Default)]
pub(super) struct Plans {
    pub(super) plans: Vec<Plan>,
    by_address: HashMap<usize, usize>,
}

impl Plans {
    pub(super) fn index(&self, table: &Arc<Table>) -> Option<usize> {
        self.by_address.get(&address(table)).copied()
    }

    pub(super) fn insert(&mut self, plan: Plan) -> usize {
        let address = address(&plan.source);
        let old = self.plans.iter().position(|old| old.source.name == plan.source.name);
        let index = match old.and_then(|index| Some((index, self.plans.get_mut(index)?))) {
            Some((index, old)) => {
                self.by_address.remove(&self::address(&old.source));
                *old = plan;
                index
            }
            None => {
                self.plans.push(plan);
                self.plans.len() - 1
            }
        };
        self.by_address.insert(address, index);
        index
    }
}

fn address(table: &Arc<Table>) -> usize {
    Arc::as_ptr(table).addr()
}

/// The table versions that the tables topic holds.
#[derive(Default)]
pub(super) struct Versions {
    latest: HashMap<TableName, (Arc<Table>, Modes)>,
}

impl Versions {
    pub(super) fn learn(&mut self, table: Arc<Table>, modes: Modes) {
        let newer = self.latest.get(&table.name).is_none_or(|(known, _)| known.version < table.version);
        if newer {
            self.latest.insert(table.name.clone(), (table, modes));
        }
    }

    /// The table under the number its shape has here, and whether that number is new.
    pub(super) fn number(&self, table: &Table, modes: &Modes) -> (Arc<Table>, bool) {
        match self.latest.get(&table.name) {
            Some((known, told)) if known.same_shape(table) && told == modes => (Arc::clone(known), false),
            known => {
                let version = known.map_or(0, |(known, _)| known.version) + 1;
                (Arc::new(Table { version, ..table.clone() }), true)
            }
        }
    }
}

/// What the tables topic holds.
pub(super) struct Known {
    pub(super) versions: Versions,
    pub(super) claims: Claims,
    /// The tables whose rows are in the topics.
    pub(super) followed: Followed,
    /// The tables that are stopped, by the source's names.
    pub(super) held: BTreeMap<TableName, Hold>,
    /// Over how many partitions of each topic keys are spread.
    pub(super) partitions: HashMap<String, i32>,
}

impl Known {
    /// Reads the topic to its end. Blocks.
    pub(super) fn read(control: &Control, name: &str, options: &SinkOptions) -> Result<Known> {
        let (prefix, topics, adjustment) =
            (&options.events.prefix, &options.topics, options.events.modes.name_adjustment);
        let (versions, claims, followed) = (Versions::default(), Claims::new(prefix), Followed::default());
        let (held, partitions) = Default::default();
        let mut known = Known { versions, claims, followed, held, partitions };
        control.read(name, 0, |message| {
            let record = decode_table(message.payload().unwrap_or_default())
                .map_err(|error| Error::corrupt(format!("{name} at offset {}: {error}", message.offset())))?;
            match record {
                TableRecord::Version(table, modes) => {
                    // The topic of a table that may not exist any more is known where it follows from its name.
                    if topics.plain() {
                        known.claims.keep(&topics.topic(prefix, &table.name, &table.name), &table.name);
                    }
                    known.claims.keep_names(prefix, &table.name, adjustment);
                    known.versions.learn(Arc::new(table), modes);
                }
                TableRecord::Held(source, Some(hold)) => drop(known.held.insert(source, *hold)),
                TableRecord::Held(source, None) => drop(known.held.remove(&source)),
                TableRecord::Followed(name, Some(membership)) => drop(known.followed.insert(name, membership)),
                TableRecord::Followed(name, None) => drop(known.followed.remove(&name)),
                TableRecord::Partitions(topic, count) => drop(known.partitions.insert(topic, count)),
            }
            Ok(())
        })?;
        Ok(known)
    }
}
