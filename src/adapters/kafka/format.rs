//! Where changes become records and records become changes again.

use std::sync::Arc;

use rdkafka::message::{Header, Headers, OwnedHeaders};
use serde_json::{Value, json};

use super::SinkOptions;
use crate::model::{
    Cell, Change, ChangeId, Column, Error, Lsn, Oid, OldRow, Op, Origin, PgTimestamp, PgType, ReplicaIdentity, Result,
    Row, Table, TableName, Xid,
};

/// The topic of a table's events.
pub(super) fn topic(prefix: &str, table: &TableName) -> String {
    format!("{prefix}.{table}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect()
}

/// The name of a table version in headers and as a key.
pub(super) fn version_name(table: &Table) -> String {
    format!("{}@{}", table.name, table.version)
}

/// A record without its topic.
pub(super) struct Encoded {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
}

/// Writes the events of one table version.
pub(super) struct Writer {
    table: Arc<Table>,
    version: String,
    tombstones: bool,
    truncates: bool,
}

impl Writer {
    pub(super) fn new(options: &SinkOptions, table: Arc<Table>) -> Writer {
        let version = version_name(&table);
        Writer { table, version, tombstones: options.tombstones, truncates: options.truncates }
    }

    fn headers(&self, id: ChangeId) -> OwnedHeaders {
        OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "tw.commit_lsn", value: Some(id.commit.to_string().as_str()) })
            .insert(Header { key: "tw.seq", value: Some(id.seq.to_string().as_str()) })
            .insert(Header { key: "tw.table", value: Some(self.version.as_str()) })
    }

    fn key(&self, row: &Row) -> Option<Vec<u8>> {
        let cells: Vec<_> = row.cells().collect();
        self.table.has_key().then(|| {
            let key: Vec<Value> = self.table.key.iter().filter_map(|&i| cells.get(i).copied()).map(cell).collect();
            serde_json::to_vec(&key).unwrap_or_default()
        })
    }

    /// The records of a change, in their order.
    pub(super) fn encode(&mut self, change: &Change, out: &mut Vec<Encoded>) -> Result<()> {
        let (op, old, new) = match &change.op {
            Op::Read { new } => ("r", None, Some(new)),
            Op::Insert { new } => ("c", None, Some(new)),
            Op::Update { old, new } => ("u", old.as_ref(), Some(new)),
            Op::Delete { old } => ("d", Some(old), None),
            Op::Truncate if !self.truncates => return Ok(()),
            Op::Truncate => ("t", None, None),
        };
        let value = json!({
            "op": op, "full": matches!(old, Some(OldRow::Full(_))),
            "old": old.map(|o| o.row().cells().map(cell).collect::<Vec<_>>()),
            "new": new.map(|n| n.cells().map(cell).collect::<Vec<_>>()),
            "at": change.origin.at.0, "xid": change.origin.xid.map(|x| x.0), "lsn": change.origin.lsn.get(),
        });
        let key = new.or(old.map(OldRow::row)).and_then(|row| self.key(row));
        let value = serde_json::to_vec(&value).unwrap_or_default();
        out.push(Encoded { key: key.clone(), value: Some(value), headers: self.headers(change.id) });
        if op == "d" && self.tombstones && key.is_some() {
            out.push(Encoded { key, value: None, headers: self.headers(change.id) });
        }
        Ok(())
    }
}

fn cell(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Unchanged => json!({"u": 1}),
        Cell::Text(t) | Cell::Binary(t) => Value::String(String::from_utf8_lossy(t).into_owned()),
    }
}

/// The record of a table version: key and value.
pub(super) fn encode_table(table: &Table) -> (Vec<u8>, Vec<u8>) {
    let columns: Vec<_> =
        table.columns.iter().map(|c| json!([c.name, pg_type(&c.pg_type), c.oid.0, c.modifier, c.optional])).collect();
    let value = json!({"oid": table.oid.0, "schema": table.name.schema, "name": table.name.name,
    "version": table.version, "columns": columns, "key": table.key,
    "identity": match table.identity {
        ReplicaIdentity::Default => "default",
        ReplicaIdentity::Index => "index",
        ReplicaIdentity::Full => "full",
        ReplicaIdentity::Nothing => "nothing",
    }});
    (version_name(table).into_bytes(), serde_json::to_vec(&value).unwrap_or_default())
}

/// A type by its name; an enumeration with its labels too.
fn pg_type(pg_type: &PgType) -> Value {
    match pg_type {
        PgType::Enum { name, labels } => json!({"enum": name, "labels": labels}),
        PgType::Array(element) => json!({"array": self::pg_type(element)}),
        plain => Value::String(plain.name()),
    }
}

fn read_type(value: &Value) -> Option<PgType> {
    if let Some(name) = value.as_str() {
        return Some(PgType::named(name).unwrap_or_else(|| PgType::Other { name: name.to_owned() }));
    }
    if let Some(element) = value.get("array") {
        return Some(PgType::Array(Box::new(read_type(element)?)));
    }
    let labels = value.get("labels")?.as_array()?.iter().map(|label| label.as_str().map(str::to_owned));
    Some(PgType::Enum { name: value.get("enum")?.as_str()?.to_owned(), labels: labels.collect::<Option<_>>()? })
}

/// Reads the record of a table version.
pub(super) fn decode_table(value: &[u8]) -> Result<Table> {
    let wrong = || Error::corrupt("a table version can't be read");
    let v: Value = serde_json::from_slice(value).map_err(|_| wrong())?;
    let text = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(wrong);
    let number = |v: &Value| v.as_i64().ok_or_else(wrong);
    let part = |key: &str| v.get(key).ok_or_else(wrong);
    let columns = part("columns")?.as_array().ok_or_else(wrong)?.iter().map(|c| {
        let at = |i: usize| c.get(i).ok_or_else(wrong);
        Ok(Column {
            name: text(at(0)?)?,
            pg_type: read_type(at(1)?).ok_or_else(wrong)?,
            oid: Oid(number(at(2)?)? as u32),
            modifier: number(at(3)?)? as i32,
            optional: at(4)?.as_bool().ok_or_else(wrong)?,
        })
    });
    Ok(Table {
        oid: Oid(number(part("oid")?)? as u32),
        name: TableName::new(text(part("schema")?)?, text(part("name")?)?),
        version: number(part("version")?)? as u32,
        columns: columns.collect::<Result<_>>()?,
        identity: match part("identity")?.as_str() {
            Some("default") => ReplicaIdentity::Default,
            Some("index") => ReplicaIdentity::Index,
            Some("full") => ReplicaIdentity::Full,
            Some("nothing") => ReplicaIdentity::Nothing,
            _ => return Err(wrong()),
        },
        key: serde_json::from_value(part("key")?.clone()).map_err(|_| wrong())?,
    })
}

/// What the headers of an event say.
pub(super) struct Stamp<'a> {
    /// The change.
    pub(super) id: ChangeId,
    /// `schema.table@version`
    pub(super) table: &'a str,
}

/// Reads the headers of an event; `None` when it is not ours.
pub(super) fn stamp<H: Headers>(headers: &H) -> Option<Stamp<'_>> {
    let (mut commit, mut seq, mut table) = (None, None, None);
    for header in headers.iter() {
        let text = || header.value.and_then(|v| std::str::from_utf8(v).ok());
        match header.key {
            "tw.commit_lsn" => commit = text()?.parse::<Lsn>().ok(),
            "tw.seq" => seq = text()?.parse::<u64>().ok(),
            "tw.table" => table = text(),
            _ => {}
        }
    }
    Some(Stamp { id: ChangeId { commit: commit?, seq: seq? }, table: table? })
}

/// Reads events back.
pub(super) struct Reader {}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {}
    }

    /// The change of an event; `None` for one that is only a part of another's.
    pub(super) fn decode(&mut self, table: &Arc<Table>, id: ChangeId, value: &[u8]) -> Result<Option<Change>> {
        let wrong = || Error::corrupt("an event can't be read");
        let v: Value = serde_json::from_slice(value).map_err(|_| wrong())?;
        let part = |key: &str| v.get(key).unwrap_or(&Value::Null);
        let row = |key: &str| -> Option<Row> {
            let cells = v.get(key)?.as_array()?;
            Some(
                cells
                    .iter()
                    .map(|c| match c {
                        Value::String(s) => Cell::Text(s.as_bytes()),
                        Value::Null => Cell::Null,
                        _ => Cell::Unchanged,
                    })
                    .collect(),
            )
        };
        let old = || {
            let row = row("old")?;
            Some(if part("full").as_bool() == Some(true) { OldRow::Full(row) } else { OldRow::Key(row) })
        };
        let op = match part("op").as_str() {
            Some("r") => Op::Read { new: row("new").ok_or_else(wrong)? },
            Some("c") => Op::Insert { new: row("new").ok_or_else(wrong)? },
            Some("u") => Op::Update { old: old(), new: row("new").ok_or_else(wrong)? },
            Some("d") => Op::Delete { old: old().ok_or_else(wrong)? },
            Some("t") => Op::Truncate,
            _ => return Err(wrong()),
        };
        let origin = Origin {
            at: PgTimestamp(part("at").as_i64().unwrap_or_default()),
            xid: part("xid").as_u64().map(|x| Xid(x as u32)),
            lsn: Lsn::new(part("lsn").as_u64().unwrap_or_default()),
            last_commit: None,
            snapshot: None,
        };
        Ok(Some(Change { id, origin, table: Arc::clone(table), op }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_version_comes_back_as_it_was() {
        let mood = PgType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok".into()] };
        let types = [PgType::Int4, PgType::Array(Box::new(mood)), PgType::Other { name: "tsvector".into() }];
        let column = |pg_type| Column { name: "c".into(), pg_type, oid: Oid(u32::MAX), modifier: -1, optional: true };
        let table = Table {
            oid: Oid(16_384),
            name: TableName::new("a b", "c.d"),
            version: 3,
            columns: types.into_iter().map(column).collect(),
            identity: ReplicaIdentity::Full,
            key: vec![2, 0],
        };
        assert_eq!(decode_table(&encode_table(&table).1).unwrap(), table);
    }
}
