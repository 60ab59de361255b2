//! What every dialect says alike of the modes: statements over the staging table `s` and the target.
//!
//! Why values that are filled in are those that the row had: they come from the row under its base key as it was before
//! the flush, which the source has now (not one marked as deleted, nor an ended version), and which is older than the
//! change. A base that is newer was read again after the change: what it holds may be another row's.

use super::{
    Dialect, Layout, MergeSpec, Target, base_match, key_match, key_match_of, list, moment, of_source, quote, table,
};
use crate::model::{ChangeId, Column, PgTimestamp};

/// `t` is older than the staged row.
pub(super) const OLDER: &str = "(t._tw_lsn < s._tw_lsn OR (t._tw_lsn = s._tw_lsn AND t._tw_seq < s._tw_seq))";

/// The target's columns, and what a staged row has for each.
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// The table's own columns and the version.
    pub(super) fn of<D: Dialect>(dialect: &D, target: &Target) -> Pairs {
        let own = |c: &Column| (quote(&c.name), dialect.staged(c, format!("s.{}", quote(&c.name))));
        let pairs = target.table.columns.iter().map(own);
        Pairs(pairs.chain(["_tw_lsn", "_tw_seq"].map(|n| (n.to_owned(), format!("s.{n}")))).collect())
    }

    /// The same with one more.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Pairs {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// `name, ...`
    pub(super) fn names(&self) -> String {
        list(self.0.iter().map(|(name, _)| name.clone()))
    }

    /// `value, ...`
    pub(super) fn values(&self) -> String {
        list(self.0.iter().map(|(_, value)| value.clone()))
    }

    /// `name = value, ...`
    pub(super) fn set(&self) -> String {
        list(self.0.iter().map(|(name, value)| format!("{name} = {value}")))
    }
}

/// A staged text as a time.
fn time<D: Dialect>(dialect: &D, expression: &str) -> String {
    format!("CAST({expression} AS {})", dialect.own_type(super::OwnType::Time))
}

/// Replaces what staged rows lack by what the target has under their base.
pub(super) fn fill<D: Dialect>(dialect: &D, spec: &MergeSpec<'_>) -> Vec<String> {
    let target = spec.target;
    let (t, s) = (table(&target.name), dialect.stage(target));
    let on = base_match(target, |column, staged| dialect.staged(column, staged));
    let live = and(target.layout.live("t"));
    let one = |&missing: &usize| {
        let column = target.table.columns.get(missing)?;
        let name = quote(&column.name);
        let value = dialect.restaged(column, format!("t.{name}"));
        Some(format!(
            "UPDATE {s} AS s SET {name} = {value} FROM {t} AS t WHERE substr(s._tw_missing, {}, 1) = '1' AND {on}{live} AND {OLDER}",
            missing + 1
        ))
    };
    spec.missing.iter().filter_map(one).collect()
}

/// See [`Dialect::orphans`].
pub(super) fn orphans<D: Dialect>(dialect: &D, target: &Target) -> String {
    let (t, s) = (table(&target.name), dialect.stage(target));
    let staged = |column: &Column, staged| dialect.staged(column, staged);
    let (base, own) = (base_match(target, staged), key_match_of("o", target, staged));
    let live = and(target.layout.live("t"));
    format!(
        "SELECT DISTINCT s._tw_lsn, s._tw_seq, s._tw_op FROM {s} AS s LEFT JOIN {t} AS t ON {base}{live} AND {OLDER} \
         LEFT JOIN {t} AS o ON {own} AND (o._tw_lsn > s._tw_lsn OR (o._tw_lsn = s._tw_lsn AND o._tw_seq >= s._tw_seq)) \
         WHERE s._tw_missing IS NOT NULL AND (t._tw_lsn IS NULL OR s._tw_missing LIKE '%2%') AND o._tw_lsn IS NULL"
    )
}

fn and(condition: Option<String>) -> String {
    condition.map(|condition| format!(" AND {condition}")).unwrap_or_default()
}

/// Removes the rows that a truncate removed.
pub(super) fn clear(target: &Target, horizon: ChangeId) -> String {
    format!("DELETE FROM {} WHERE {}", table(&target.name), before(target, horizon))
}

/// The horizon, where there was a truncate.
fn horizon(spec: &MergeSpec<'_>) -> Option<(ChangeId, PgTimestamp)> {
    spec.horizon.map(|id| (id, spec.at.unwrap_or(PgTimestamp(0))))
}

fn before(target: &Target, id: ChangeId) -> String {
    let (lsn, seq) = (id.commit.get(), id.seq);
    format!("(_tw_lsn < {lsn} OR (_tw_lsn = {lsn} AND _tw_seq < {seq})){}", of_source(target))
}

/// What a row that is kept has beside its values: whether it is gone, and since when.
pub(super) fn marked<D: Dialect>(dialect: &D, target: &Target) -> Pairs {
    let at = time(dialect, "s._tw_at");
    Pairs::of(dialect, target)
        .with("_tw_deleted", "s._tw_op = 'm'")
        .with("_tw_deleted_at", format!("CASE WHEN s._tw_op = 'm' THEN {at} END"))
}

/// Soft deletes around `replace`, which brings the staged rows but the deletes (`d`) into the target.
///
/// A delete becomes the row that it is of, with its last values and the mark (`m`).
pub(super) fn soft_delete<D: Dialect>(
    dialect: &D,
    spec: &MergeSpec<'_>,
    replace: impl FnOnce(Pairs) -> Vec<String>,
) -> Vec<String> {
    let target = spec.target;
    let (t, s) = (table(&target.name), dialect.stage(target));
    let mut all = fill(dialect, spec);
    if spec.staged {
        if spec.deletes {
            let values = target.table.columns.iter().map(|column| {
                let name = quote(&column.name);
                format!("{name} = {}", dialect.restaged(column, format!("t.{name}")))
            });
            let set = list(values.chain(["_tw_op = 'm'".to_owned()]));
            let on = key_match(target, |column, staged| dialect.staged(column, staged));
            all.push(format!(
                "UPDATE {s} AS s SET {set} FROM {t} AS t WHERE s._tw_op = 'd' AND {on} AND NOT t._tw_deleted AND {OLDER}"
            ));
        }
        all.extend(replace(marked(dialect, target)));
    }
    if let Some((id, at)) = horizon(spec) {
        all.push(format!(
            "UPDATE {t} SET _tw_deleted = true, _tw_deleted_at = {}, _tw_lsn = {}, _tw_seq = {} WHERE NOT _tw_deleted AND {}",
            moment(at),
            id.commit.get(),
            id.seq,
            before(target, id)
        ));
    }
    all
}

/// Delete and insert: for warehouses where that is the cheapest way to replace rows.
///
/// What a staged row still meets after the delete is not older than it. So where it is known since when the staged rows
/// are, the second look goes through the parts of the target alone that hold rows as new, or without a version.
///
/// Every staged row has an operation, and is asked for it all the same: only where something is asked of the staged rows
/// does DuckDB 1.5 scan the target through a Bloom filter of their keys (24 ms for ten million rows, and not 41).
pub(super) fn replace<D: Dialect>(dialect: &D, spec: &MergeSpec<'_>, pairs: &Pairs, deletes: bool) -> Vec<String> {
    let target = spec.target;
    let (t, s) = (table(&target.name), dialect.stage(target));
    let on = key_match(target, |column, staged| dialect.staged(column, staged));
    let kept = if deletes { "''" } else { "'d'" };
    let recent = spec.since.map(|since| i64::try_from(since.get()).unwrap_or(i64::MAX));
    let recent = recent.map(|since| format!(" WHERE _tw_lsn >= {since} OR _tw_lsn IS NULL"));
    let keys = list(target.table.key_columns().map(|column| quote(&column.name)));
    vec![
        format!("DELETE FROM {t} AS t USING {s} AS s WHERE s._tw_op <> {kept} AND {on} AND {OLDER}"),
        format!(
            "INSERT INTO {t} ({}) SELECT {} FROM {s} AS s ANTI JOIN (SELECT {keys} FROM {t}{}) AS t ON {on} WHERE s._tw_op <> 'd'",
            pairs.names(),
            pairs.values(),
            recent.unwrap_or_default()
        ),
    ]
}

/// Versions (`v`), and the ends of those that were current before the flush (`x`).
///
/// A version that began in the transaction which ends it was never to be seen, and is taken away.
pub(super) fn history<D: Dialect>(dialect: &D, spec: &MergeSpec<'_>) -> Vec<String> {
    let target = spec.target;
    let (t, s) = (table(&target.name), dialect.stage(target));
    let on = key_match(target, |column, staged| dialect.staged(column, staged));
    let mut all = fill(dialect, spec);
    if spec.staged {
        let ends = format!("s._tw_op = 'x' AND {on} AND t._tw_valid_to IS NULL");
        all.push(format!("DELETE FROM {t} AS t USING {s} AS s WHERE {ends} AND t._tw_lsn = s._tw_lsn AND {OLDER}"));
        all.extend(dialect.end_versions(target, &format!("{ends} AND t._tw_lsn < s._tw_lsn")));
    }
    if let Some((id, at)) = horizon(spec) {
        let lsn = id.commit.get();
        let current = format!("_tw_valid_to IS NULL AND {}", before(target, id));
        all.push(format!("DELETE FROM {t} WHERE _tw_lsn = {lsn} AND {current}"));
        all.push(format!("UPDATE {t} SET _tw_valid_to = {} WHERE {current}", moment(at)));
    }
    if spec.staged {
        let pairs = Pairs::of(dialect, target)
            .with("_tw_valid_from", time(dialect, "s._tw_at"))
            .with("_tw_valid_to", time(dialect, "s._tw_end"));
        all.push(format!(
            "INSERT INTO {t} ({}) SELECT {} FROM {s} AS s WHERE s._tw_op IN ('v', 'e') AND NOT EXISTS (SELECT 1 FROM {t} AS t \
             WHERE {on} AND NOT {OLDER})",
            pairs.names(),
            pairs.values()
        ));
    }
    all
}

/// Ends versions where they are.
pub(super) fn end_in_place<D: Dialect>(dialect: &D, target: &Target, ends: &str) -> Vec<String> {
    let (t, s) = (table(&target.name), dialect.stage(target));
    let at = time(dialect, "s._tw_at");
    vec![format!("UPDATE {t} AS t SET _tw_valid_to = {at} FROM {s} AS s WHERE {ends}")]
}

/// Ends versions by staging them anew (`e`) and taking the old ones away: for warehouses that rewrite what they update.
pub(super) fn end_anew<D: Dialect>(dialect: &D, target: &Target, ends: &str) -> Vec<String> {
    let (t, s) = (table(&target.name), dialect.stage(target));
    let columns = &target.table.columns;
    let names = list(columns.iter().map(|c| quote(&c.name)));
    let values = list(columns.iter().map(|c| dialect.restaged(c, format!("t.{}", quote(&c.name)))));
    let text = dialect.own_type(super::OwnType::Text);
    let on = key_match(target, |column, staged| dialect.staged(column, staged));
    vec![
        format!(
            "INSERT INTO {s} ({names}, _tw_lsn, _tw_seq, _tw_op, _tw_at, _tw_end) SELECT {values}, t._tw_lsn, t._tw_seq, 'e', \
             CAST(t._tw_valid_from AS {text}), s._tw_at FROM {s} AS s, {t} AS t WHERE {ends}"
        ),
        format!(
            "DELETE FROM {t} AS t USING {s} AS s WHERE s._tw_op = 'e' AND {on} AND t._tw_lsn = s._tw_lsn AND t._tw_seq = s._tw_seq"
        ),
    ]
}

/// One row more for each staged row.
pub(super) fn append<D: Dialect>(dialect: &D, spec: &MergeSpec<'_>) -> Vec<String> {
    let target = spec.target;
    let mut all = Vec::new();
    if let Some(horizon) = spec.horizon {
        all.push(clear(target, horizon));
    }
    if !spec.staged {
        return all;
    }
    let mut pairs = Pairs::of(dialect, target).with("_tw_op", "s._tw_op");
    if target.layout == Layout::Append {
        pairs = pairs
            .with("_tw_committed_at", time(dialect, "s._tw_at"))
            .with("_tw_unchanged", "s._tw_unchanged")
            .with("_tw_old", "s._tw_old");
    }
    let taken = if target.layout == Layout::Multiset { " WHERE s._tw_op <> 'd'" } else { "" };
    all.push(format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} AS s{taken}",
        table(&target.name),
        pairs.names(),
        pairs.values(),
        dialect.stage(target)
    ));
    if target.layout == Layout::Multiset && spec.deletes {
        all.extend(dialect.take_copies(target));
    }
    all
}

/// See [`Dialect::take_copies`]. A copy is found by its version, which is its own.
pub(super) fn take_copies<D: Dialect>(dialect: &D, target: &Target) -> Vec<String> {
    let (t, s) = (table(&target.name), dialect.stage(target));
    let columns = &target.table.columns;
    let staged = |c: &Column| dialect.staged(c, format!("s.{}", quote(&c.name)));
    let wanted = list(columns.iter().enumerate().map(|(n, c)| format!("{} AS _tw_{n}", staged(c))));
    let places = list((1..=columns.len()).map(|n| n.to_string()));
    let same = |(n, c): (usize, &Column)| dialect.same(&format!("t.{}", quote(&c.name)), &format!("d._tw_{n}"));
    let same = columns.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND ");
    vec![format!(
        "DELETE FROM {t} AS t USING (SELECT t._tw_lsn, t._tw_seq, d._tw_copies, \
         row_number() OVER (PARTITION BY d._tw_row ORDER BY t._tw_lsn, t._tw_seq) AS _tw_n FROM {t} AS t JOIN \
         (SELECT g.*, row_number() OVER () AS _tw_row FROM \
         (SELECT {wanted}, count(*) AS _tw_copies FROM {s} AS s WHERE s._tw_op = 'd' GROUP BY {places}) AS g) AS d \
         ON {same}) AS c WHERE t._tw_lsn = c._tw_lsn AND t._tw_seq = c._tw_seq AND c._tw_n <= c._tw_copies{own}",
        own = of_source(target)
    )]
}
