//! The control tables of several processes that share the work: `_tailwater.cuts` and `_tailwater.stages`.

use super::{CONTROL_SCHEMA, Target, list, literal, quote};
use crate::model::{ChangeId, PgTimestamp};

/// The words of one pipeline's leader and members.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
}

/// One stage, or the word that a topic of a cut is staged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageRow {
    /// The topic.
    pub topic: String,
    /// Whose it is.
    pub member: String,
    /// Its place among the topic's stages of the cut; they are merged in this order.
    pub part: usize,
    /// The staging table's full name; none where the part has no rows.
    pub stage: Option<String>,
    /// The source table's shape, as a record of the tables topic; none where nothing came of the topic.
    pub shape: Option<String>,
    /// How the target is kept.
    pub layout: Option<String>,
    /// Rows of the target that are older were truncated away.
    pub horizon: Option<ChangeId>,
    /// When they were.
    pub at: Option<PgTimestamp>,
    /// Whether some rows take rows away.
    pub deletes: bool,
    /// Columns that some rows lack.
    pub missing: Vec<usize>,
    /// Rows in the staging table.
    pub rows: u64,
    /// When the last transaction in it committed.
    pub newest: Option<PgTimestamp>,
}

impl Share<'_> {
    /// A staging table that other processes see, as SQL.
    pub fn stage(target: &Target) -> String {
        format!("{}.{}", quote(CONTROL_SCHEMA), quote(&target.stage()))
    }

    /// Gives a column of such a table another name.
    pub fn rename(stage: &str, from: &str, to: &str) -> String {
        format!("ALTER TABLE {stage} RENAME COLUMN {} TO {}", quote(from), quote(to))
    }

    /// Gives columns other names in what the rows of an append table's staging table say of them: `(from, to)` each.
    pub fn respell(stage: &str, names: &[(&str, &str)]) -> String {
        let pairs = list(names.iter().map(|(from, to)| format!("({}, {})", literal(from), literal(to))));
        let named = |alias: &str| format!("LEFT JOIN (VALUES {pairs}) AS n (told, kept) ON n.told = {alias}.name");
        format!(
            "UPDATE {stage} SET _tw_unchanged = (SELECT '[' || string_agg(to_json(coalesce(n.kept, u.name))::text, ',' ORDER BY u.place) || ']' \
             FROM json_array_elements_text(_tw_unchanged::json) WITH ORDINALITY AS u (name, place) {}), \
             _tw_old = (SELECT '{{' || string_agg(to_json(coalesce(n.kept, o.name))::text || ':' || o.value::text, ',' \
             ORDER BY coalesce(n.kept, o.name) COLLATE \"C\") || '}}' FROM json_each(_tw_old::json) AS o (name, value) {}) \
             WHERE _tw_unchanged IS NOT NULL OR _tw_old IS NOT NULL",
            named("u"),
            named("o")
        )
    }

    /// Where the warehouse stands, and the cuts of its leader: fence, next offset of the progress topic, and of each cut
    /// number, since and upto, in one statement, so that they belong together.
    pub fn view(&self, progress_topic: &str) -> String {
        format!(
            "SELECT p.fence, o.next_offset, c.cut, c.since, c.upto FROM _tailwater.progress p \
             LEFT JOIN _tailwater.offsets o ON o.pipeline = p.pipeline AND o.topic = {} AND o.part = 0 \
             LEFT JOIN _tailwater.cuts c ON c.pipeline = p.pipeline AND c.fence = p.fence \
             WHERE p.pipeline = {} ORDER BY c.cut",
            literal(progress_topic),
            literal(self.pipeline)
        )
    }

    /// Says that the work is shared under this fence, as long as it is ours: a cut of the number 0, with nothing in it.
    pub fn begin(&self, fence: u64) -> String {
        self.announce(fence, 0, 0, 0)
    }

    /// Announces a cut, as long as the fence is ours; must change one row.
    pub fn announce(&self, fence: u64, cut: u64, since: i64, upto: i64) -> String {
        let pipeline = literal(self.pipeline);
        format!(
            "INSERT INTO _tailwater.cuts (pipeline, fence, cut, since, upto) SELECT pipeline, fence, {cut}, {since}, {upto} \
             FROM _tailwater.progress WHERE pipeline = {pipeline} AND fence = {fence}"
        )
    }

    /// Which topics of which cut are staged: cut, topic.
    pub fn staged(&self, fence: u64) -> String {
        format!(
            "SELECT DISTINCT cut, topic FROM _tailwater.stages WHERE pipeline = {} AND fence = {fence}",
            literal(self.pipeline)
        )
    }

    /// Says that a stage is there, as long as its cut is not merged; must change one row.
    pub fn report(&self, fence: u64, cut: u64, row: &StageRow) -> String {
        let text = |text: &Option<String>| text.as_deref().map_or("NULL".to_owned(), literal);
        let number = |number: Option<u64>| number.map_or("NULL".to_owned(), |number| number.to_string());
        let time = |at: Option<PgTimestamp>| at.map_or("NULL".to_owned(), |at| at.unix_micros().to_string());
        let missing: Vec<String> = row.missing.iter().map(usize::to_string).collect();
        format!(
            "INSERT INTO _tailwater.stages (pipeline, fence, cut, topic, member, part, stage, shape, layout, \
             horizon_lsn, horizon_seq, horizon_at, deletes, missing, staged, newest) \
             SELECT pipeline, fence, cut, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {} FROM _tailwater.cuts \
             WHERE pipeline = {} AND fence = {fence} AND cut = {cut}",
            literal(&row.topic),
            literal(&row.member),
            row.part,
            text(&row.stage),
            text(&row.shape),
            text(&row.layout),
            number(row.horizon.map(|horizon| horizon.commit.get())),
            number(row.horizon.map(|horizon| horizon.seq)),
            time(row.at),
            u8::from(row.deletes),
            literal(&missing.join(",")),
            row.rows,
            time(row.newest),
            literal(self.pipeline),
        )
    }

    /// The stages of a cut, as [`StageRow`] has them in order.
    pub fn stages(&self, fence: u64, cut: u64) -> String {
        format!(
            "SELECT topic, member, part, stage, shape, layout, horizon_lsn, horizon_seq, horizon_at, deletes, missing, staged, \
             newest FROM _tailwater.stages \
             WHERE pipeline = {} AND fence = {fence} AND cut = {cut} ORDER BY topic, member, part",
            literal(self.pipeline)
        )
    }

    /// The staging tables that are of no use when this cut is merged.
    pub fn useless(&self, fence: u64, cut: u64) -> String {
        format!("SELECT stage FROM _tailwater.stages WHERE {} AND stage IS NOT NULL", self.until(fence, cut))
    }

    /// Forgets the cuts and stages up to this one, and those of other leaders.
    pub fn forget(&self, fence: u64, cut: u64) -> [String; 2] {
        ["cuts", "stages"].map(|name| format!("DELETE FROM _tailwater.{name} WHERE {}", self.until(fence, cut)))
    }

    fn until(&self, fence: u64, cut: u64) -> String {
        // Never those of a later leader: one that was replaced may not know it yet.
        format!(
            "pipeline = {} AND (fence < {fence} OR (fence = {fence} AND cut BETWEEN 1 AND {cut}))",
            literal(self.pipeline)
        )
    }

    /// The same with the fence of now, for the leader: fence, cut, topic, member; without stages once, with NULLs.
    pub fn reports(&self, fence: u64) -> String {
        format!(
            "SELECT DISTINCT p.fence, s.cut, s.topic, s.member FROM _tailwater.progress p LEFT JOIN _tailwater.stages s \
             ON s.pipeline = p.pipeline AND s.fence = {fence} WHERE p.pipeline = {}",
            literal(self.pipeline)
        )
    }

    /// How many rows a staging table has.
    pub fn count(stage: &str) -> String {
        format!("SELECT count(*) FROM {stage}")
    }
}

impl StageRow {
    /// Reads a row of [`Share::stages`].
    pub fn read(row: Vec<Option<String>>) -> Option<StageRow> {
        let [topic, member, part, stage, shape, layout, lsn, seq, at, deletes, missing, rows, newest] =
            <[Option<String>; 13]>::try_from(row).ok()?;
        let number = |text: Option<String>| text.map(|text| text.parse::<u64>().ok());
        let horizon = match (number(lsn), number(seq)) {
            (Some(lsn), Some(seq)) => Some(ChangeId { commit: crate::model::Lsn::new(lsn?), seq: seq? }),
            _ => None,
        };
        let missing = missing?;
        let missing = missing.split(',').filter(|index| !index.is_empty()).map(|index| index.parse().ok());
        let time = |micros: Option<String>| match micros {
            Some(micros) => micros.parse().ok().map(|micros| Some(PgTimestamp::from_unix_micros(micros))),
            None => Some(None),
        };
        Some(StageRow {
            topic: topic?,
            member: member?,
            part: part?.parse().ok()?,
            stage,
            shape,
            layout,
            horizon,
            at: time(at)?,
            deletes: deletes? == "1",
            missing: missing.collect::<Option<Vec<usize>>>()?,
            rows: rows?.parse().ok()?,
            newest: time(newest)?,
        })
    }
}

/// The tables, given the name of the text type.
pub(super) fn tables(text: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS _tailwater.cuts (pipeline {text} NOT NULL, fence bigint NOT NULL, cut bigint NOT NULL, \
             since bigint NOT NULL, upto bigint NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS _tailwater.stages (pipeline {text} NOT NULL, fence bigint NOT NULL, cut bigint NOT NULL, \
             topic {text} NOT NULL, member {text} NOT NULL, part integer NOT NULL, stage {text}, shape {text}, layout {text}, \
             horizon_lsn bigint, horizon_seq bigint, horizon_at bigint, deletes integer NOT NULL, missing {text} NOT NULL, staged bigint NOT NULL, newest bigint)"
        ),
    ]
}
