//! PostgreSQL 15 and later.

use super::modes::{self, Pairs};
use super::rekey::superseded;
use super::widen::{casts, holds, wider};
use super::{
    CONTROL_SCHEMA, Dialect, Layout, MergeSpec, OwnType, Room, Target, control, key_match, list, literal, losses,
    of_source, quote, stage_extras, table,
};
use crate::model::{Column, PgType, TableName};

/// The advisory lock of whoever makes tables.
const TABLES: i64 = 0x7461_696c_7761_7465;

/// Bytes of the longest name.
const LONGEST_NAME: usize = 63;

/// PostgreSQL 15 and later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postgres;

impl Dialect for Postgres {
    fn target_type(&self, column: &Column) -> String {
        pg_type(&column.pg_type)
    }

    /// A longer name would be cut, and with it become another table's.
    fn refusal(&self, target: &Target) -> Option<(String, String)> {
        let columns = target.table.columns.iter().map(|column| &column.name);
        let long = [&target.name.schema, &target.name.name].into_iter().chain(columns).find(|n| n.len() > LONGEST_NAME);
        long.map(|name| {
            (
                format!("{} needs the name {name}, which has more than PostgreSQL's {LONGEST_NAME} bytes", target.name),
                "give the table another name with `rename` in its [[table]], or leave the column out with columns.exclude"
                    .to_owned(),
            )
        })
    }

    fn loss(&self, column: &Column) -> Option<&'static str> {
        losses::postgres(column)
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
                let key = if target.layout.by_key() && t.key.contains(&i) { " NOT NULL" } else { "" };
                format!("{} {}{key}", quote(&c.name), self.target_type(c))
            })
            .collect();
        columns.extend(target.layout.own_columns().iter().map(|own| {
            let optional = if own.optional { "" } else { " NOT NULL" };
            format!("{} {}{optional}", own.name, self.own_type(own.own_type))
        }));
        let key = list(t.key_columns().map(|c| quote(&c.name)));
        match target.layout {
            Layout::Mirror | Layout::SoftDelete => columns.push(format!("PRIMARY KEY ({key})")),
            Layout::History => columns.push(format!("PRIMARY KEY ({key}, _tw_lsn, _tw_seq)")),
            Layout::Log | Layout::Multiset | Layout::Append => {}
        }
        let mut create = format!("CREATE TABLE IF NOT EXISTS {} ({})", table(&target.name), list(columns));
        if target.layout == Layout::History {
            // In one message, which is one transaction: the table is never there without it.
            create.push_str(&format!(
                "; CREATE UNIQUE INDEX IF NOT EXISTS {} ON {} ({key}) WHERE _tw_valid_to IS NULL",
                quote(&target.stage().replace("stage_", "tw_current_")),
                table(&target.name)
            ));
        }
        vec![format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&target.name.schema)), create]
    }

    fn add_column(&self, target: &Target, column: &Column) -> String {
        format!(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}",
            table(&target.name),
            quote(&column.name),
            self.target_type(column)
        )
    }

    /// A default that is taken away again: the rows that are there keep its value, and none of them is written.
    fn add_filled(&self, target: &Target, column: &Column, fill: &str) -> Vec<String> {
        let (name, add) = (quote(&column.name), self.add_column(target, column));
        vec![
            format!("{add} DEFAULT {}", self.constant(column, fill)),
            format!("ALTER TABLE {} ALTER COLUMN {name} DROP DEFAULT", table(&target.name)),
        ]
    }

    fn lands(&self, column: &Column, found: &str) -> Option<Column> {
        if found == self.target_type(column) {
            return Some(column.clone());
        }
        let wider = PgType::named(found).filter(|wider| holds(&column.pg_type, wider))?;
        Some(Column { pg_type: wider, modifier: -1, ..column.clone() })
    }

    fn widens(&self, column: &Column, found: &str, _key: bool) -> bool {
        let wanted = PgType::named(&self.target_type(column));
        PgType::named(found).zip(wanted).is_some_and(|(from, to)| casts(&from, &to))
    }

    fn retype(&self, target: &Target, column: &Column) -> Vec<String> {
        let (name, wanted) = (quote(&column.name), self.target_type(column));
        vec![format!("ALTER TABLE {} ALTER COLUMN {name} TYPE {wanted} USING {name}::{wanted}", table(&target.name))]
    }

    fn rights(&self, view: &TableName) -> Option<String> {
        let name = literal(&table(view));
        Some(format!(
            "SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, {name}, \
             CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, \
             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
             FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee \
             WHERE c.oid = pg_catalog.to_regclass({name}) AND a.grantee <> c.relowner ORDER BY 1"
        ))
    }

    fn wider(&self, column: &Column, found: &str, room: Room) -> Option<Column> {
        let pg_type = wider(&PgType::named(found)?, room)?;
        Some(Column { pg_type, modifier: -1, ..column.clone() })
    }

    /// What casts to text print as everybody's session prints it.
    fn as_text(&self, target: &Target, column: &Column, found: &str) -> Option<Vec<String>> {
        let text = Column { pg_type: PgType::Text, modifier: -1, ..column.clone() };
        PgType::named(found).filter(|found| casts(found, &PgType::Text)).map(|_| self.retype(target, &text))
    }

    fn rekey(&self, target: &Target, before: &[String], after: &[String]) -> Option<Vec<String>> {
        let name = table(&target.name);
        let gone = before.iter().filter(|column| !after.contains(column));
        let loose = gone.map(|column| format!(", ALTER COLUMN {} DROP NOT NULL", quote(column))).collect::<String>();
        let key = format!("{loose}, ADD PRIMARY KEY ({})", list(after.iter().map(|column| quote(column))));
        // The key's constraint may have any name.
        let swap = format!(
            "DO $tailwater$ DECLARE old name; BEGIN \
             SELECT conname INTO STRICT old FROM pg_catalog.pg_constraint WHERE conrelid = {}::regclass AND contype = 'p'; \
             EXECUTE 'ALTER TABLE ' || {} || ' DROP CONSTRAINT ' || quote_ident(old) || {}; END $tailwater$",
            literal(&name),
            literal(&name),
            literal(&key)
        );
        Some(superseded(target, after).into_iter().chain([swap]).collect())
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

    /// Never an unlogged table: the file of one that is rolled back stays until the next checkpoint, and a server that
    /// crashes before it and finds the file does not start ("could not create file: File exists").
    fn create_stage(&self, target: &Target) -> Vec<String> {
        let stage = self.stage(target);
        let columns = target.table.columns.iter().map(|c| format!("{} {}", quote(&c.name), self.stage_type(c)));
        let extras = stage_extras(target, "text", |c| self.stage_type(c));
        vec![
            format!("DROP TABLE IF EXISTS {stage}"),
            format!("CREATE TABLE {stage} ({}) WITH (autovacuum_enabled = false)", list(columns.chain(extras))),
        ]
    }

    /// A temporary table, unless others have to see it.
    fn stage(&self, target: &Target) -> String {
        target.shared_stage.clone().unwrap_or_else(|| format!("pg_temp.{}", quote(&target.stage())))
    }

    fn clear_stage(&self, target: &Target) -> String {
        format!("TRUNCATE {}", self.stage(target))
    }

    fn add_committed_at(&self) -> String {
        control::add_committed_at("timestamptz")
    }

    fn create_control(&self) -> Vec<String> {
        let (text, time) = (self.own_type(OwnType::Text), self.own_type(OwnType::Time));
        let mut all = control::tables(&|name| self.control(name), text, time, text);
        all.push(format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS progress_pipeline ON {}.progress (pipeline)",
            quote(CONTROL_SCHEMA)
        ));
        all
    }

    /// Under a number that nobody else has reason to use.
    fn alone(&self) -> Vec<String> {
        vec![format!("SELECT pg_advisory_lock({TABLES})")]
    }

    fn together(&self) -> Vec<String> {
        // Where it is not held, too: the session has no others.
        vec!["SELECT pg_advisory_unlock_all()".to_owned()]
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
        match target.layout {
            Layout::Log | Layout::Multiset | Layout::Append => return modes::append(self, spec),
            Layout::SoftDelete => {
                return modes::soft_delete(self, spec, |pairs| vec![self.merge_rows(target, &pairs, "DO NOTHING")]);
            }
            Layout::History => return modes::history(self, spec),
            Layout::Mirror => {}
        }
        let mut all: Vec<String> = spec.horizon.map(|horizon| modes::clear(target, horizon)).into_iter().collect();
        if spec.staged {
            all.extend(modes::fill(self, spec));
            all.push(self.merge_rows(target, &Pairs::of(self, target), "DELETE"));
        }
        all
    }

    /// Rows are compared as text, which has no two forms of one value; there is no index for that.
    fn take_copies(&self, target: &Target) -> Vec<String> {
        let (t, s) = (table(&target.name), self.stage(target));
        let columns = &target.table.columns;
        let row = list(columns.iter().map(|c| format!("t.{}", quote(&c.name))));
        let staged = list(columns.iter().map(|c| self.staged(c, format!("s.{}", quote(&c.name)))));
        vec![
            "SET LOCAL enable_hashjoin = on".to_owned(),
            format!(
                "DELETE FROM {t} AS t USING (SELECT t._tw_lsn, t._tw_seq, d._tw_copies, \
                 row_number() OVER (PARTITION BY d._tw_row ORDER BY t._tw_lsn, t._tw_seq) AS _tw_n FROM {t} AS t JOIN \
                 (SELECT ROW({staged})::text AS _tw_row, count(*) AS _tw_copies FROM {s} AS s WHERE s._tw_op = 'd' GROUP BY 1) AS d \
                 ON ROW({row})::text = d._tw_row) AS c WHERE t._tw_lsn = c._tw_lsn AND t._tw_seq = c._tw_seq AND c._tw_n <= c._tw_copies{own}",
                own = of_source(target)
            ),
            "SET LOCAL enable_hashjoin = off".to_owned(),
        ]
    }
}

impl Postgres {
    /// A query for the columns of a target that somebody gave a precision: name, precision, scale.
    pub fn precise(&self, target: &TableName) -> String {
        format!(
            "SELECT attname::text, ((atttypmod - 4) >> 16) & 65535, (((atttypmod - 4) & 2047) # 1024) - 1024 \
             FROM pg_catalog.pg_attribute WHERE attrelid = {}::regclass AND atttypid = 'numeric'::regtype AND atttypmod >= 4 \
             AND attnum > 0 AND NOT attisdropped",
            literal(&table(target))
        )
    }

    /// A query for which of these numbers, by their places, a precision has no room for.
    pub fn too_large(&self, numbers: &[(usize, &str)], precision: i32, scale: i32) -> String {
        let values = list(numbers.iter().map(|(at, number)| format!("({at}, {}::numeric)", literal(number))));
        format!(
            "SELECT at FROM (VALUES {values}) AS v (at, number) WHERE number <> 'NaN' \
             AND abs(round(number, {scale})) >= 10::numeric ^ ({precision} - ({scale}))"
        )
    }

    fn merge_rows(&self, target: &Target, pairs: &Pairs, deleted: &str) -> String {
        format!(
            "MERGE INTO {t} t USING {s} s ON {on} \
             WHEN MATCHED AND (s._tw_lsn, s._tw_seq) <= (t._tw_lsn, t._tw_seq) THEN DO NOTHING \
             WHEN MATCHED AND s._tw_op = 'd' THEN {deleted} \
             WHEN MATCHED THEN UPDATE SET {set} \
             WHEN NOT MATCHED AND s._tw_op <> 'd' THEN INSERT ({columns}) VALUES ({values})",
            t = table(&target.name),
            s = self.stage(target),
            on = key_match(target, |column, staged| self.staged(column, staged)),
            set = pairs.set(),
            columns = pairs.names(),
            values = pairs.values(),
        )
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
