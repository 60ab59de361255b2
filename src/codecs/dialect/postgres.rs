//! PostgreSQL 15 and later.

use super::{
    CONTROL_SCHEMA, Dialect, MergeSpec, Target, base_match, control, key_match, list, literal, quote, stage_extras,
    table, version,
};
use crate::model::{Column, PgType, TableName};

/// PostgreSQL 15 and later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postgres;

impl Dialect for Postgres {
    fn target_type(&self, column: &Column) -> String {
        pg_type(&column.pg_type)
    }

    /// Arrays are staged as their text: they have no binary form of their own here.
    fn stage_type(&self, column: &Column) -> String {
        match &column.pg_type {
            PgType::Array(_) => "text".to_owned(),
            plain => pg_type(plain),
        }
    }

    fn staged(&self, column: &Column, expression: String) -> String {
        let wanted = self.target_type(column);
        if wanted == self.stage_type(column) { expression } else { format!("({expression})::{wanted}") }
    }

    fn create(&self, target: &Target) -> Vec<String> {
        let t = &target.table;
        let mut columns: Vec<String> = (0..)
            .zip(&t.columns)
            .map(|(i, c)| {
                let key = if t.key.contains(&i) { " NOT NULL" } else { "" };
                format!("{} {}{key}", quote(&c.name), self.target_type(c))
            })
            .collect();
        columns.extend(["_tw_lsn bigint NOT NULL".to_owned(), "_tw_seq bigint NOT NULL".to_owned()]);
        if t.has_key() {
            columns.push(format!("PRIMARY KEY ({})", list(t.key_columns().map(|c| quote(&c.name)))));
        } else {
            columns.push("_tw_op text NOT NULL".to_owned());
        }
        vec![
            format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&target.name.schema)),
            format!("CREATE TABLE IF NOT EXISTS {} ({})", table(&target.name), list(columns)),
        ]
    }

    fn add_column(&self, target: &Target, column: &Column) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}",
            table(&target.name),
            quote(&column.name),
            self.target_type(column)
        )
    }

    fn columns(&self, target: &TableName) -> String {
        format!(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL), CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i \
             WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) THEN 'key' ELSE 'value' END \
             FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            literal(&target.schema),
            literal(&target.name)
        )
    }

    fn create_stage(&self, target: &Target) -> Vec<String> {
        let stage = self.stage(target);
        let columns = target.table.columns.iter().map(|c| format!("{} {}", quote(&c.name), self.stage_type(c)));
        let extras = stage_extras(target, "text", |c| self.stage_type(c));
        vec![
            format!("DROP TABLE IF EXISTS {stage}"),
            format!(
                "CREATE UNLOGGED TABLE {stage} ({}) WITH (autovacuum_enabled = false)",
                list(columns.chain(extras))
            ),
        ]
    }

    fn clear_stage(&self, target: &Target) -> String {
        format!("TRUNCATE {}", self.stage(target))
    }

    fn add_committed_at(&self) -> String {
        control::add_committed_at("timestamptz")
    }

    fn create_control(&self) -> Vec<String> {
        let mut all = control::tables("text", "timestamptz");
        all.push(format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS progress_pipeline ON {}.progress (pipeline)",
            quote(CONTROL_SCHEMA)
        ));
        all
    }

    /// The planner must not read the whole target for a few staged rows: nested loops over the key's index.
    fn prepare(&self) -> Vec<String> {
        ["enable_hashjoin", "enable_mergejoin", "enable_material"]
            .iter()
            .map(|name| format!("SET LOCAL {name} = off"))
            .collect()
    }

    fn merge(&self, spec: &MergeSpec<'_>) -> Vec<String> {
        let target = spec.target;
        let (t, s) = (table(&target.name), self.stage(target));
        let mut all = Vec::new();
        if let Some(horizon) = spec.horizon {
            all.push(format!("DELETE FROM {t} WHERE (_tw_lsn, _tw_seq) < {}", version(horizon)));
        }
        if !spec.staged {
            return all;
        }
        let names: Vec<String> = target.table.columns.iter().map(|c| quote(&c.name)).collect();
        let own = ["_tw_lsn", "_tw_seq"];
        let values: Vec<String> = target
            .table
            .columns
            .iter()
            .map(|c| self.staged(c, format!("s.{}", quote(&c.name))))
            .chain(own.map(|name| format!("s.{name}")))
            .collect();
        if !target.table.has_key() {
            all.push(format!(
                "INSERT INTO {t} ({}, _tw_lsn, _tw_seq, _tw_op) SELECT {}, s._tw_op FROM {s} s",
                list(names),
                list(values)
            ));
            return all;
        }
        for &missing in &spec.missing {
            let Some(column) = target.table.columns.get(missing) else { continue };
            let name = quote(&column.name);
            all.push(format!(
                "UPDATE {s} s SET {name} = t.{name}::{} FROM {t} t WHERE substr(s._tw_missing, {}, 1) = '1' AND {}",
                self.stage_type(column),
                missing + 1,
                base_match(target, |column, staged| self.staged(column, staged))
            ));
        }
        let columns: Vec<String> = names.into_iter().chain(own.map(str::to_owned)).collect();
        all.push(format!(
            "MERGE INTO {t} t USING {s} s ON {on} \
             WHEN MATCHED AND (s._tw_lsn, s._tw_seq) <= (t._tw_lsn, t._tw_seq) THEN DO NOTHING \
             WHEN MATCHED AND s._tw_op = 'd' THEN DELETE \
             WHEN MATCHED THEN UPDATE SET {set} \
             WHEN NOT MATCHED AND s._tw_op <> 'd' THEN INSERT ({columns}) VALUES ({values})",
            on = key_match(target, |column, staged| self.staged(column, staged)),
            set = list(columns.iter().zip(&values).map(|(name, value)| format!("{name} = {value}"))),
            columns = list(columns.iter().cloned()),
            values = list(values.iter().cloned()),
        ));
        all
    }
}

/// Types keep their name but lose lengths and precisions, so that a column widened at the source goes on to fit.
fn pg_type(pg_type: &PgType) -> String {
    match pg_type {
        PgType::Varchar | PgType::Bpchar | PgType::Enum { .. } | PgType::Other { .. } => "text".to_owned(),
        PgType::Array(element) => match &**element {
            // The text of an array of such elements is kept as it is.
            PgType::Other { .. } => "text".to_owned(),
            element => format!("{}[]", self::pg_type(element)),
        },
        plain => plain.name(),
    }
}
