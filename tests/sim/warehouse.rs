//! A model of a warehouse with transactions, and the words it is spoken to with.
//!
//! The statements about progress are the real ones; the others are names of what a real dialect's SQL does.

use std::collections::{BTreeMap, HashMap};

use tailwater::codecs::dialect::{Dialect, MergeSpec, Target};
use tailwater::logic::merge::{NetOp, NetRow, Stage};
use tailwater::model::{
    Cell, ChangeId, Checkpoint, Column, Error, Lsn, Membership, Phase, Result, Row, SourcePosition, TableName,
};

use super::chance::Chance;

/// The model's dialect: statements are words with `|` between.
#[derive(Clone)]
pub struct Words;

impl Dialect for Words {
    fn target_type(&self, column: &Column) -> String {
        column.pg_type.name()
    }

    fn stage_type(&self, column: &Column) -> String {
        column.pg_type.name()
    }

    fn create(&self, target: &Target) -> Vec<String> {
        let column = |(i, column): (usize, &Column)| {
            let part = if target.table.key.contains(&i) { "key" } else { "value" };
            format!("{},{},{part}", column.name, self.target_type(column))
        };
        let own = target.layout.own_columns().iter().map(|own| format!("{},,", own.name));
        let columns: Vec<String> = target.table.columns.iter().enumerate().map(column).chain(own).collect();
        vec![format!("create|{}|{}", target.name, columns.join("|"))]
    }

    fn add_column(&self, target: &Target, column: &Column) -> String {
        format!("add|{}|{},{},value", target.name, column.name, self.target_type(column))
    }

    fn columns(&self, target: &TableName) -> String {
        format!("columns|{target}")
    }

    fn create_stage(&self, target: &Target) -> Vec<String> {
        vec![self.clear_stage(target)]
    }

    fn clear_stage(&self, target: &Target) -> String {
        format!("clear|{}", target.name)
    }

    fn create_control(&self) -> Vec<String> {
        Vec::new()
    }

    fn add_committed_at(&self) -> String {
        "add".to_owned()
    }

    fn prepare(&self) -> Vec<String> {
        Vec::new()
    }

    fn merge(&self, spec: &MergeSpec<'_>) -> Vec<String> {
        let name = &spec.target.name;
        let horizon = spec.horizon.map(|id| format!("older|{name}|{}|{}", id.commit.get(), id.seq));
        horizon.into_iter().chain(spec.staged.then(|| format!("merge|{name}"))).collect()
    }

    fn orphans(&self, target: &Target) -> String {
        format!("orphans|{}", target.name)
    }

    fn owner(&self, target: &TableName) -> String {
        format!("owner|{target}")
    }

    fn own(&self, pipeline: &str, target: &Target) -> String {
        format!("own|{}|{pipeline}|{}|{}", target.name, target.table.name.schema, target.table.name.name)
    }

    fn offsets(&self, _: &str, checkpoint: &Checkpoint) -> Vec<String> {
        checkpoint.offsets.iter().map(|(topic, part, next)| format!("offset|{topic}|{part}|{next}")).collect()
    }

    fn forget_followed(&self, _: &str) -> String {
        "forget".to_owned()
    }

    fn follow(&self, _: &str, table: &TableName, _: Option<Membership>) -> Vec<String> {
        vec![format!("follow|{table}")]
    }
}

/// A target table.
#[derive(Clone, Default, Debug)]
pub struct Kept {
    /// Name, type, `key` or `value`.
    columns: Vec<[String; 3]>,
    owner: Option<[String; 3]>,
    /// By the key's text.
    pub rows: BTreeMap<String, (Vec<Option<String>>, ChangeId)>,
    /// Of a table without a key.
    pub appended: Vec<(Vec<Option<String>>, ChangeId)>,
}

/// What is committed, or would be.
#[derive(Clone, Default)]
pub struct Content {
    pub tables: HashMap<String, Kept>,
    pub fence: u64,
    pub progress: Option<Checkpoint>,
    pub offsets: BTreeMap<(String, i32), i64>,
}

/// A change that a transaction makes.
#[derive(Clone)]
enum Effect {
    Fence(u64),
    Progress(Box<Checkpoint>),
    Offset(String, i32, i64),
    Create(String, Vec<[String; 3]>),
    Add(String, [String; 3]),
    Own(String, [String; 3]),
    Older(String, ChangeId),
    Merge(String, Vec<NetRow>),
}

impl Content {
    fn make(&mut self, effect: &Effect) {
        match effect {
            Effect::Fence(fence) => self.fence = *fence,
            Effect::Progress(progress) => self.progress = Some(Checkpoint::clone(progress)),
            Effect::Offset(topic, part, next) => drop(self.offsets.insert((topic.clone(), *part), *next)),
            Effect::Create(name, columns) => self.table(name).columns.clone_from(columns),
            Effect::Add(name, column) => self.table(name).columns.push(column.clone()),
            Effect::Own(name, owner) => self.table(name).owner = Some(owner.clone()),
            Effect::Older(name, horizon) => {
                let table = self.table(name);
                table.rows.retain(|_, (_, id)| *id >= *horizon);
                table.appended.retain(|(_, id)| *id >= *horizon);
            }
            Effect::Merge(name, rows) => self.table(name).merge(rows),
        }
    }

    fn table(&mut self, name: &str) -> &mut Kept {
        self.tables.entry(name.to_owned()).or_default()
    }
}

fn texts(row: &Row) -> Vec<Option<String>> {
    let text = |cell| match cell {
        Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    };
    row.cells().map(text).collect()
}

fn key(row: &Row) -> String {
    texts(row)[0].clone().unwrap()
}

impl Kept {
    /// First what is missing is filled from the rows as they are, then rows are replaced by newer versions only.
    fn merge(&mut self, rows: &[NetRow]) {
        let filled: Vec<_> = rows.iter().map(|row| (row, self.filled(row))).collect();
        for (row, cells) in filled {
            match row.op {
                NetOp::Mark | NetOp::Version | NetOp::End => unreachable!("the model mirrors"),
                NetOp::Append(_) => self.appended.push((cells, row.id)),
                NetOp::Upsert | NetOp::Delete => {
                    let key = key(&row.row);
                    if self.rows.get(&key).is_some_and(|(_, id)| *id >= row.id) {
                        continue;
                    }
                    match row.op {
                        NetOp::Delete => drop(self.rows.remove(&key)),
                        _ => drop(self.rows.insert(key, (cells, row.id))),
                    }
                }
            }
        }
    }

    fn filled(&self, row: &NetRow) -> Vec<Option<String>> {
        let mut cells = texts(&row.row);
        if row.op == NetOp::Upsert && row.row.has_unchanged() {
            let base = self.rows.get(&key(row.base.as_ref().unwrap_or(&row.row)));
            for (i, cell) in row.row.cells().enumerate() {
                if cell == Cell::Unchanged {
                    cells[i] = base.and_then(|(base, _)| base.get(i).cloned().flatten());
                }
            }
        }
        cells
    }

    fn lacks(&self, rows: &[NetRow]) -> Vec<ChangeId> {
        let newer = |row: &NetRow| self.rows.get(&key(&row.row)).is_some_and(|(_, id)| *id >= row.id);
        let lacks = |row: &&NetRow| {
            let base = self.rows.get(&key(row.base.as_ref().unwrap_or(&row.row)));
            row.lacks() && (row.lost || base.is_none_or(|(_, id)| *id >= row.id)) && !newer(row)
        };
        rows.iter().filter(lacks).map(|row| row.id).collect()
    }
}

fn version(id: ChangeId) -> Vec<Option<String>> {
    vec![Some(id.commit.get().to_string()), Some(id.seq.to_string())]
}

/// A connection.
#[derive(Default)]
struct Session {
    /// Inside a transaction: what it sees and what it has done.
    open: Option<(Content, Vec<Effect>)>,
    staged: HashMap<String, Vec<NetRow>>,
    /// Whether its COMMIT is on its way though nobody waits for it any more.
    in_doubt: bool,
}

/// What became of a statement.
pub enum Outcome {
    Done(u64),
    /// Another transaction holds the progress row.
    Locked,
    Failed(Error),
}

/// See the module.
#[derive(Default)]
pub struct Warehouse {
    pub committed: Content,
    sessions: HashMap<u64, Session>,
    /// The connections whose process is gone or stands still, in the order they were left.
    left: Vec<u64>,
    holder: Option<u64>,
    next: u64,
    /// Commits so far.
    pub commits: u64,
    /// The connection that took the fence last.
    pub fenced_by: u64,
}

impl Warehouse {
    pub fn connect(&mut self) -> u64 {
        self.next += 1;
        self.sessions.insert(self.next, Session::default());
        self.next
    }

    /// The connection's process is gone or does not answer: the server finds out some time later.
    pub fn leave(&mut self, session: u64) {
        if self.sessions.contains_key(&session) && !self.left.contains(&session) {
            self.left.push(session);
        }
    }

    /// The server finds out about the connections that were left; a COMMIT that had arrived is carried out.
    pub fn settle(&mut self, chance: &mut Chance) {
        for session in std::mem::take(&mut self.left) {
            if self.sessions.get(&session).is_some_and(|session| session.in_doubt) && chance.one_in(2) {
                self.commit(session);
            }
            self.drop_session(session);
        }
    }

    /// All connections are cut: the warehouse was restarted.
    pub fn restart(&mut self) {
        let all: Vec<u64> = self.sessions.keys().copied().collect();
        all.into_iter().for_each(|session| self.drop_session(session));
        self.left.clear();
    }

    fn drop_session(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.holder.take_if(|holder| *holder == session);
    }

    fn commit(&mut self, session: u64) {
        if let Some((_, effects)) = self.sessions.get_mut(&session).and_then(|session| session.open.take()) {
            effects.iter().for_each(|effect| self.committed.make(effect));
            if effects.iter().any(|effect| matches!(effect, Effect::Fence(_))) {
                self.fenced_by = session;
            }
            self.commits += 1;
        }
        self.holder.take_if(|holder| *holder == session);
    }

    /// COMMIT, whose outcome its sender may not learn.
    fn end(&mut self, session: u64, faults: bool, chance: &mut Chance) -> Outcome {
        let lost = || Outcome::Failed(Error::transient("the warehouse did not answer a COMMIT"));
        match if faults { chance.below(24) } else { 24 } {
            0 => {
                self.commit(session);
                self.drop_session(session);
                lost()
            }
            1 => {
                self.drop_session(session);
                lost()
            }
            2 => {
                // It has been sent and will be carried out, or not, later.
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.in_doubt = true;
                }
                self.leave(session);
                lost()
            }
            _ => {
                self.commit(session);
                Outcome::Done(0)
            }
        }
    }

    /// Runs a statement.
    pub fn execute(&mut self, session: u64, sql: &str, faults: bool, chance: &mut Chance) -> Outcome {
        let usable = self.sessions.get(&session).is_some_and(|session| !session.in_doubt);
        if !usable || (faults && chance.one_in(300)) {
            self.drop_session(session);
            return Outcome::Failed(Error::transient("the connection to the warehouse is gone"));
        }
        match sql {
            "BEGIN" => {
                let content = self.committed.clone();
                self.session(session).open = Some((content, Vec::new()));
                Outcome::Done(0)
            }
            "COMMIT" => self.end(session, faults, chance),
            "ROLLBACK" => {
                self.session(session).open = None;
                self.holder.take_if(|holder| *holder == session);
                Outcome::Done(0)
            }
            _ if sql.starts_with("UPDATE _tailwater.progress") => self.progress(session, sql),
            _ if sql.starts_with("INSERT INTO _tailwater.progress") => Outcome::Done(1),
            // No table is stopped here, so nothing waits.
            _ if sql.starts_with("DELETE FROM _tailwater.held") => Outcome::Done(0),
            // Every value fits.
            _ if sql.starts_with("DELETE FROM _tailwater.misfits") => Outcome::Done(0),
            // Columns keep their names, so what they hold need not be known.
            _ if sql.contains("INTO _tailwater.columns") || sql.starts_with("DELETE FROM _tailwater.columns") => {
                Outcome::Done(0)
            }
            _ => self.word(session, sql),
        }
    }

    fn session(&mut self, session: u64) -> &mut Session {
        self.sessions.entry(session).or_default()
    }

    /// An update of the progress row: it waits for whoever has it, and then sees what is committed.
    fn progress(&mut self, session: u64, sql: &str) -> Outcome {
        if self.holder.is_some_and(|holder| holder != session) {
            return Outcome::Locked;
        }
        let (fence, stored) = (self.committed.fence, self.committed.progress.clone());
        if let Some((view, _)) = &mut self.session(session).open {
            // Its own changes of the row come after, never before, a look at it.
            (view.fence, view.progress) = (fence, stored.clone());
        }
        if sql.contains("fence = fence + 1") {
            self.make(session, Effect::Fence(fence + 1));
            self.holder = Some(session);
            return Outcome::Done(1);
        }
        if sql.contains("SET fence = fence WHERE") {
            let mine = number(sql, "AND fence = ") == fence;
            self.holder = if mine { Some(session) } else { self.holder };
            return Outcome::Done(u64::from(mine));
        }
        let expected = stored.map_or(ChangeId::ZERO, |stored| stored.change);
        let told = |name| number(sql, name);
        let same =
            told("coalesce(commit_lsn, 0) = ") == expected.commit.get() && told("coalesce(seq, 0) = ") == expected.seq;
        if told("AND fence = ") != fence || !same {
            return Outcome::Done(0);
        }
        let followed = None;
        let position = SourcePosition {
            system_id: told("system_id = '"),
            timeline: told("timeline = ") as u32,
            lsn: Lsn::new(told(" lsn = ")),
        };
        let change = ChangeId { commit: Lsn::new(told(" commit_lsn = ")), seq: told(" seq = ") };
        let phase = if sql.contains("phase = 'stream'") { Phase::Stream } else { Phase::Snapshot };
        let checkpoint = Checkpoint { position, change, phase, offsets: Vec::new(), followed };
        self.make(session, Effect::Progress(Box::new(checkpoint)));
        self.holder = Some(session);
        Outcome::Done(1)
    }

    fn word(&mut self, session: u64, sql: &str) -> Outcome {
        let mut words = sql.split('|');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (verb, name) = (word(), word());
        let id = |commit: String, seq: String| ChangeId {
            commit: Lsn::new(commit.parse().unwrap()),
            seq: seq.parse().unwrap(),
        };
        let effect = match verb.as_str() {
            "create" => Effect::Create(name, words.map(column).collect()),
            "add" => Effect::Add(name, column(word())),
            "own" => Effect::Own(name, [word(), word(), word()]),
            "older" => Effect::Older(name, id(word(), word())),
            "offset" => Effect::Offset(name, word().parse().unwrap(), word().parse().unwrap()),
            "merge" => {
                let rows = self.session(session).staged.get(&name).cloned().unwrap_or_default();
                Effect::Merge(name, rows)
            }
            "clear" => {
                self.session(session).staged.remove(&name);
                return Outcome::Done(0);
            }
            "forget" | "follow" => return Outcome::Done(0),
            other => panic!("the warehouse does not know the word {other:?}"),
        };
        self.make(session, effect);
        Outcome::Done(0)
    }

    /// Inside a transaction, or at once outside of one.
    fn make(&mut self, session: u64, effect: Effect) {
        match &mut self.session(session).open {
            Some((view, effects)) => {
                view.make(&effect);
                effects.push(effect);
            }
            None => self.committed.make(&effect),
        }
    }

    pub fn load(&mut self, session: u64, stage: Stage) -> Result<u64> {
        let Some(session) = self.sessions.get_mut(&session) else {
            return Err(Error::transient("the connection to the warehouse is gone"));
        };
        let count = stage.rows.len() as u64;
        session.staged.entry(stage.target.name.to_string()).or_default().extend(stage.rows.iter().cloned());
        Ok(count)
    }

    pub fn query(&mut self, session: u64, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let Some(of) = self.sessions.get(&session) else {
            return Err(Error::transient("the connection to the warehouse is gone"));
        };
        let view = of.open.as_ref().map_or(&self.committed, |(view, _)| view);
        if sql.starts_with("SELECT fence") {
            return Ok(vec![row_of_progress(view)]);
        }
        if sql.starts_with("SELECT topic") {
            let row = |((topic, part), next): (&(String, i32), &i64)| {
                vec![Some(topic.clone()), Some(part.to_string()), Some(next.to_string())]
            };
            return Ok(view.offsets.iter().map(row).collect());
        }
        // Nothing is followed by name, noted, shared, viewed or marked here.
        let nothing = ["SELECT source_", "SELECT name", "SELECT view_schema", "SELECT DISTINCT target_schema"];
        if nothing.iter().any(|begin| sql.starts_with(begin)) {
            return Ok(Vec::new());
        }
        let (verb, name) = sql.split_once('|').unwrap();
        let table = view.tables.get(name);
        let some = |column: &[String; 3]| column.iter().cloned().map(Some).collect();
        Ok(match verb {
            "columns" => table.map_or_else(Vec::new, |table| table.columns.iter().map(some).collect()),
            "owner" => {
                let owner = table.and_then(|table| table.owner.as_ref()).map(some);
                // As an earlier version left it: without a mode.
                owner.into_iter().map(|row| row.into_iter().chain([None]).collect()).collect()
            }
            "orphans" => {
                let staged = of.staged.get(name).map_or(&[][..], |rows| rows);
                let nothing = Kept::default();
                table.unwrap_or(&nothing).lacks(staged).into_iter().map(version).collect()
            }
            other => panic!("the warehouse does not know the word {other:?}"),
        })
    }
}

fn row_of_progress(view: &Content) -> Vec<Option<String>> {
    let mut row = vec![Some(view.fence.to_string())];
    match &view.progress {
        None => row.resize(7, None),
        Some(stored) => row.extend(
            [
                stored.position.system_id.to_string(),
                stored.position.timeline.to_string(),
                stored.position.lsn.get().to_string(),
                stored.change.commit.get().to_string(),
                stored.change.seq.to_string(),
                if stored.phase == Phase::Stream { "stream" } else { "snapshot" }.to_owned(),
            ]
            .map(Some),
        ),
    }
    row
}

fn column(text: impl AsRef<str>) -> [String; 3] {
    let mut parts = text.as_ref().split(',').map(str::to_owned);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The number that follows `name`.
fn number(sql: &str, name: &str) -> u64 {
    let (_, rest) = sql.split_once(name).unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
