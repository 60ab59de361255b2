//! The server's side of the protocol, simple queries only, and a PostgreSQL behind it for each connection.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::copy::{self, BadValue, Copy, Failed};
use super::law::{Refusal, Step, domains, judge};
use super::{Cluster, Mishap};

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

struct Session<'a> {
    cluster: &'a Cluster,
    backend: Client,
    config: tokio_postgres::Config,
    open: bool,
    copied: u64,
    miscount: bool,
}

/// What a statement gives back.
#[derive(Default)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    changed: u64,
}

type Outcome<T> = std::result::Result<T, Refusal>;

/// Serves one connection until the client leaves.
pub async fn serve(mut socket: TcpStream, cluster: &Cluster) -> Result<()> {
    let _ = socket.set_nodelay(true);
    let parameters = loop {
        let (code, body) = startup(&mut socket).await?;
        match code {
            SSL | GSS => socket.write_all(b"N").await?,
            196_608 => break body,
            _ => return Ok(()),
        }
    };
    let parameter = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if parameter("options").is_some() {
        return fatal(&mut socket, "42704", "unrecognized configuration parameter in options").await;
    }
    socket.write_all(&message(b'R', &3_u32.to_be_bytes())).await?;
    let (_, password) = read(&mut socket).await?;
    let password = password.strip_suffix(&[0]).unwrap_or(&password).to_vec();
    let mut config = tokio_postgres::Config::new();
    let (host, port) = cluster.backend.split_once(':').expect("host and port");
    config.host(host).port(port.parse().expect("a port")).password(password).options("-c timezone=UTC");
    config.user(parameter("user").unwrap_or_default()).dbname(parameter("database").unwrap_or_default());
    let (backend, connection) = match config.connect(NoTls).await {
        Ok(connected) => connected,
        Err(error) => return fatal(&mut socket, "28000", &error.to_string()).await,
    };
    tokio::spawn(async move {
        let _ = connection.await;
    });
    backend.batch_execute("SET search_path = \"$user\", public, rs").await.map_err(Error::other)?;
    let mut hello = message(b'R', &0_u32.to_be_bytes());
    hello.extend(message(b'S', b"server_version\08.0.2\0"));
    hello.extend(message(b'S', b"client_encoding\0UTF8\0"));
    hello.extend(message(b'Z', b"I"));
    socket.write_all(&hello).await?;
    let mut session = Session { cluster, backend, config, open: false, copied: 0, miscount: false };
    loop {
        let (tag, body) = read(&mut socket).await?;
        match tag {
            b'Q' => {
                let sql = String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(&body)).into_owned();
                let Some(answer) = session.statement(&sql).await else { return Ok(()) };
                socket.write_all(&answer).await?;
            }
            b'X' => return Ok(()),
            _ => return fatal(&mut socket, "0A000", "the shim takes simple queries only").await,
        }
    }
}

impl Session<'_> {
    /// The answer's bytes; `None` when the connection is to be cut.
    async fn statement(&mut self, sql: &str) -> Option<Vec<u8>> {
        let mishap = self.cluster.seen(sql);
        let conflict = |code: &str, text: &str| Refusal { code: "XX000", message: code.into(), detail: text.into() };
        let outcome = match mishap {
            Some(Mishap::CutBefore) => return None,
            Some(Mishap::Conflict) => {
                self.abort(conflict("1023", "Serializable isolation violation on table - 100210")).await
            }
            Some(Mishap::Unseen) => self.abort(conflict("1018", "Relation does not exist.")).await,
            Some(Mishap::Stall) => {
                let since = self.cluster.heals();
                while self.cluster.heals() == since {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                self.run(sql).await
            }
            other => {
                self.miscount |= other == Some(Mishap::Miscount);
                self.run(sql).await
            }
        };
        if mishap == Some(Mishap::CutAfter) {
            return None;
        }
        let first = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match (first.as_str(), &outcome) {
            ("BEGIN", Ok(_)) => self.open = true,
            ("COMMIT" | "ROLLBACK" | "END", _) => self.open = false,
            _ => {}
        }
        Some(encode(outcome, &first, self.open))
    }

    async fn run(&mut self, sql: &str) -> Outcome<Answer> {
        let step = match judge(sql, self.open) {
            Ok(step) => step,
            Err(refusal) => return self.abort(refusal).await,
        };
        match step {
            Step::Run(sql) => self.backend(&sql).await,
            Step::Commits(sql) => {
                self.backend("COMMIT").await?;
                self.open = false;
                self.backend(&sql).await
            }
            Step::Copy(tokens) => match Copy::parse(&tokens) {
                Ok(copy) => self.copy(&copy).await,
                Err(refusal) => self.abort(refusal).await,
            },
            Step::CopyCount => {
                let count = self.copied + u64::from(std::mem::take(&mut self.miscount));
                let rows = vec![vec![Some(count.to_string())]];
                Ok(Answer { columns: vec!["pg_last_copy_count".into()], rows, changed: 1 })
            }
            Step::Widen(table, column, bytes, sql) => self.widen(&table, &column, bytes, &sql).await,
        }
    }

    /// A transaction in which something failed takes nothing more.
    async fn abort(&mut self, refusal: Refusal) -> Outcome<Answer> {
        if self.open {
            let _ = self.backend.batch_execute("DO $$ BEGIN RAISE EXCEPTION 'refused'; END $$").await;
        }
        Err(refusal)
    }

    async fn backend(&mut self, sql: &str) -> Outcome<Answer> {
        self.make_domains(sql).await;
        let messages = self.backend.simple_query(sql).await.map_err(|error| in_redshifts_words(&error))?;
        let mut answer = Answer::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    answer.rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(rows) => answer.changed = rows,
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Text of so many bytes, of which blanks at the end don't count; and binary values.
    async fn make_domains(&self, sql: &str) {
        let mut made = self.cluster.made.lock().await;
        let wanted: Vec<_> = domains(sql).into_iter().filter(|domain| !made.contains(domain)).collect();
        if wanted.is_empty() {
            return;
        }
        let (client, connection) = self.config.connect(NoTls).await.expect("the server is there");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        for (text, size) in wanted {
            let (name, base) = if text { ("varchar", "bpchar") } else { ("varbyte", "bytea") };
            let exists = format!("select from pg_type where typname = '{name}_{size}'");
            if client.simple_query(&exists).await.is_ok_and(|rows| rows.len() < 3) {
                let make = format!("create domain rs.{name}_{size} as {base} check (octet_length(value) <= {size})");
                client.batch_execute(&make).await.expect("a new domain");
            }
            made.insert((text, size));
        }
    }

    async fn widen(&mut self, table: &str, column: &str, bytes: usize, sql: &str) -> Outcome<Answer> {
        let look = format!(
            "select rs.format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{}'::regclass and attname = '{}'",
            table.replace('\'', "''"),
            column.replace('\'', "''")
        );
        let found = self.backend(&look).await?;
        let now = found.rows.first().and_then(|row| row.first()).cloned().flatten().unwrap_or_default();
        let now = now.trim_start_matches("character varying(").trim_end_matches(')').parse::<usize>();
        let refusal = |code, message: &str| Refusal { code, message: message.into(), detail: String::new() };
        match now {
            Err(_) => Err(refusal("0A000", "only the size of VARCHAR columns can be changed")),
            Ok(now) if now == bytes => Err(refusal("0A000", "target column size should be different")),
            Ok(now) if now > bytes => Err(refusal("0A000", "the column would become smaller")),
            Ok(_) => self.beneath_views(table, sql).await,
        }
    }

    /// Views without schema binding are not in the way of what they show; those of PostgreSQL are.
    async fn beneath_views(&mut self, table: &str, sql: &str) -> Outcome<Answer> {
        let look = format!(
            "select distinct quote_ident(n.nspname) || '.' || quote_ident(v.relname), pg_get_viewdef(v.oid) from pg_depend d \
             join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass join pg_class v on v.oid = r.ev_class \
             join pg_namespace n on n.oid = v.relnamespace where d.refobjid = '{}'::regclass",
            table.replace('\'', "''")
        );
        let views = self.backend(&look).await?.rows;
        let cell = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
        for view in &views {
            self.backend(&format!("drop view {}", cell(view, 0))).await?;
        }
        let done = self.backend(sql).await;
        for view in &views {
            self.backend(&format!("create view {} as {}", cell(view, 0), cell(view, 1))).await?;
        }
        done
    }

    async fn copy(&mut self, copy: &Copy) -> Outcome<Answer> {
        let look = format!(
            "select attname, rs.format_type(atttypid, atttypmod) from pg_attribute \
             where attrelid = '{}'::regclass and attnum > 0 and not attisdropped order by attnum",
            copy.table
        );
        let columns: Vec<(String, String)> = self
            .backend(&look)
            .await?
            .rows
            .into_iter()
            .map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default()))
            .collect();
        let (text, count) = match copy::read(copy, self.cluster, &columns).await {
            Ok(read) => read,
            Err(Failed::Refused(refusal)) => return self.abort(refusal).await,
            Err(Failed::Value(bad)) => return self.bad_value(copy, &bad).await,
        };
        let sink = self.backend.copy_in::<_, Bytes>(&format!("COPY {} FROM STDIN", copy.table)).await;
        let mut sink = std::pin::pin!(sink.map_err(|error| in_redshifts_words(&error))?);
        let sent = match sink.send(Bytes::from(text)).await {
            Ok(()) => sink.finish().await,
            Err(error) => Err(error),
        };
        let loaded = match sent {
            Ok(loaded) => loaded,
            // A value that is not what the column's type reads, as a cluster tells it.
            Err(error) => match error.as_db_error().filter(|db| db.code().code().starts_with("22")) {
                Some(db) => {
                    let place = db.where_().and_then(|place| place.split("column ").nth(1)).unwrap_or_default();
                    let column = place.split(':').next().unwrap_or_default().to_owned();
                    let bad = BadValue { file: copy.manifest_folder(), line: 1, column, code: 1207 };
                    return self.bad_value(copy, &bad).await;
                }
                None => return Err(in_redshifts_words(&error)),
            },
        };
        assert_eq!(loaded, count, "PostgreSQL loads what the objects hold");
        self.copied = count;
        Ok(Answer::default())
    }

    async fn bad_value(&mut self, copy: &Copy, bad: &BadValue) -> Outcome<Answer> {
        if let Ok((client, connection)) = self.config.connect(NoTls).await {
            tokio::spawn(async move {
                let _ = connection.await;
            });
            let insert = format!(
                "insert into rs.sys_load_error_detail values ('{}', {}, '{}', {})",
                bad.file, bad.line, bad.column, bad.code
            );
            client.batch_execute(&insert).await.expect("the table is there");
        }
        let message = format!(
            "Load into table '{}' failed.  Check 'sys_load_error_detail' system table for details.",
            copy.table
        );
        self.abort(Refusal { code: "XX000", message, detail: String::new() }).await
    }
}

fn in_redshifts_words(error: &tokio_postgres::Error) -> Refusal {
    let Some(db) = error.as_db_error() else {
        return Refusal { code: "57P01", message: "the server behind the shim is gone".into(), detail: String::new() };
    };
    let detail = db.detail().unwrap_or_default().to_owned();
    match db.code().code() {
        "40001" | "40P01" => {
            let detail = "Serializable isolation violation on table - 100210, transactions forming the cycle are: 1, 2";
            Refusal { code: "XX000", message: "1023".into(), detail: detail.into() }
        }
        "23514" => Refusal { code: "22001", message: "Value too long for character type".into(), detail },
        code => Refusal { code: known(code), message: db.message().to_owned(), detail },
    }
}

/// Codes live as long as the program.
fn known(code: &str) -> &'static str {
    const CODES: [&str; 14] = [
        "22P02", "23502", "25P02", "28P01", "3F000", "42501", "42601", "42701", "42703", "42704", "42883", "42P01",
        "42P06", "42P07",
    ];
    CODES.into_iter().find(|known| *known == code).unwrap_or("XX000")
}

fn encode(outcome: Outcome<Answer>, first: &str, open: bool) -> Vec<u8> {
    let mut out = Vec::new();
    match outcome {
        Ok(answer) => {
            if !answer.columns.is_empty() {
                out.extend(description(&answer.columns));
                answer.rows.iter().for_each(|row| out.extend(data(row)));
            }
            out.extend(message(b'C', format!("{first} {}\0", answer.changed).as_bytes()));
        }
        Err(refusal) => out.extend(error("ERROR", &refusal)),
    }
    out.extend(message(b'Z', if open { b"T" } else { b"I" }));
    out
}

fn description(columns: &[String]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u16(columns.len() as u16);
    for name in columns {
        body.put_slice(name.as_bytes());
        body.put_u8(0);
        body.put_u32(0);
        body.put_u16(0);
        // varchar, of any length, as text
        body.put_u32(1043);
        body.put_i16(-1);
        body.put_i32(-1);
        body.put_u16(0);
    }
    message(b'T', &body)
}

fn data(row: &[Option<String>]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u16(row.len() as u16);
    for value in row {
        match value {
            None => body.put_i32(-1),
            Some(text) => {
                body.put_i32(text.len() as i32);
                body.put_slice(text.as_bytes());
            }
        }
    }
    message(b'D', &body)
}

fn error(severity: &str, refusal: &Refusal) -> Vec<u8> {
    let mut body = format!("S{severity}\0C{}\0M{}\0", refusal.code, refusal.message).into_bytes();
    if !refusal.detail.is_empty() {
        body.extend(format!("D{}\0", refusal.detail).into_bytes());
    }
    body.push(0);
    message(b'E', &body)
}

async fn fatal(socket: &mut TcpStream, code: &'static str, text: &str) -> Result<()> {
    let refusal = Refusal { code, message: text.to_owned(), detail: String::new() };
    socket.write_all(&error("FATAL", &refusal)).await
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

async fn read(socket: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let tag = socket.read_u8().await?;
    let length = socket.read_u32().await? as usize;
    let mut body = vec![0; length.checked_sub(4).ok_or(ErrorKind::InvalidData)?];
    socket.read_exact(&mut body).await?;
    Ok((tag, body))
}

async fn startup(socket: &mut TcpStream) -> Result<(u32, Vec<(String, String)>)> {
    let length = socket.read_u32().await? as usize;
    let code = socket.read_u32().await?;
    let mut body = vec![0; length.checked_sub(8).ok_or(ErrorKind::InvalidData)?];
    socket.read_exact(&mut body).await?;
    let texts: Vec<String> = body.split(|&b| b == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let pairs = texts.chunks(2).filter(|pair| pair.len() == 2 && !pair[0].is_empty());
    Ok((code, pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
}
