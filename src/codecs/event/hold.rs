//! That a table is stopped: since which change, why, and how far what waited has been told since.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::model::{ChangeId, Lsn, PgTimestamp, TableName};

const ERROR: DecodeError = DecodeError::new("the state of a stopped table");

/// What keeps a table from being told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The registry refuses a schema.
    Registry,
    /// Its topic can't be made.
    Topic,
    /// Its names are no names there, or are another table's.
    Names,
    /// No event can hold a value.
    Value,
    /// The rule that the configuration has for it can't be kept.
    Rule,
}

impl Cause {
    /// Whether it may go away without a new start.
    pub fn may_heal(self) -> bool {
        matches!(self, Cause::Registry | Cause::Topic)
    }

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Registry => "registry",
            Cause::Topic => "topic",
            Cause::Names => "names",
            Cause::Value => "value",
            Cause::Rule => "rule",
        }
    }
}

/// The state of a stopped table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// The name it was told under.
    pub told: TableName,
    /// The first change that waits.
    pub since: ChangeId,
    /// When it was stopped.
    pub at: PgTimestamp,
    /// Where in the topic of what waits its changes begin that have not been told.
    pub from: i64,
    /// The last of its changes that was told after waiting.
    pub released: ChangeId,
    /// What keeps it.
    pub cause: Cause,
    /// The same in words, without values of rows.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct JsonHold {
    pub(super) schema: String,
    pub(super) table: String,
    held: State,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Released,
    Stopped(Stopped),
}

#[derive(Serialize, Deserialize)]
struct Stopped {
    told: (String, String),
    since: Id,
    at: i64,
    from: i64,
    released: Id,
    cause: Cause,
    what: String,
    remedy: String,
}

/// The commit LSN as text, as in progress markers.
#[derive(Serialize, Deserialize)]
struct Id(String, u64);

impl Id {
    fn of(id: ChangeId) -> Id {
        Id(id.commit.to_string(), id.seq)
    }

    fn read(&self) -> Result<ChangeId, DecodeError> {
        Ok(ChangeId { commit: self.0.parse::<Lsn>().map_err(|_| ERROR)?, seq: self.1 })
    }
}

/// Key and value of the record that says whether a table is stopped, under the source's name.
pub fn encode_hold(source: &TableName, hold: Option<&Hold>) -> (Vec<u8>, Vec<u8>) {
    let held = match hold {
        None => State::Released,
        Some(hold) => State::Stopped(Stopped {
            told: (hold.told.schema.clone(), hold.told.name.clone()),
            since: Id::of(hold.since),
            at: hold.at.unix_micros(),
            from: hold.from,
            released: Id::of(hold.released),
            cause: hold.cause,
            what: hold.what.clone(),
            remedy: hold.remedy.clone(),
        }),
    };
    let json = JsonHold { schema: source.schema.clone(), table: source.name.clone(), held };
    let value = serde_json::to_vec(&json).expect("texts and numbers are always JSON");
    (format!("{source}@held").into_bytes(), value)
}

impl JsonHold {
    pub(super) fn read(self) -> Result<Option<Hold>, DecodeError> {
        let State::Stopped(stopped) = self.held else { return Ok(None) };
        Ok(Some(Hold {
            told: TableName::new(stopped.told.0, stopped.told.1),
            since: stopped.since.read()?,
            at: PgTimestamp::from_unix_micros(stopped.at),
            from: stopped.from,
            released: stopped.released.read()?,
            cause: stopped.cause,
            what: stopped.what,
            remedy: stopped.remedy,
        }))
    }
}
