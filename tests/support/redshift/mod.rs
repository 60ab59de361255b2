//! Redshift, as far as a PostgreSQL can be made to be it: a server in the middle that refuses what Redshift refuses,
//! loads from S3, counts text in bytes, and takes text that differs in trailing blanks for the same.
//!
//! ```text
//! wire   the protocol: simple queries only
//! law    statement by statement: refused in Redshift's words, or said to PostgreSQL
//! copy   COPY from S3, with the credentials of the statement
//! ```

mod copy;
pub mod law;
mod lexer;
mod wire;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::postgres::{Database, PASSWORD, Postgres};
use super::runtime;
use super::s3::Bucket;

/// The role under which the cluster reads.
pub const ROLE: &str = "arn:aws:iam::123456789012:role/redshift-of-the-tests";
/// The region of cluster and bucket.
pub const REGION: &str = "eu-west-1";

/// What every connection knows.
pub struct Cluster {
    backend: String,
    pub(crate) s3: String,
    pub(crate) region: String,
    pub(crate) bucket_region: String,
    pub(crate) role: String,
    state: Mutex<State>,
    /// The domains that are there: whether for text, and of how many bytes. They are made by one at a time.
    made: tokio::sync::Mutex<HashSet<(bool, usize)>>,
}

/// The server behind the clusters: a transaction that is stalled there keeps no slot of a source waiting.
pub fn servers() -> &'static Postgres {
    static SERVER: std::sync::OnceLock<Postgres> = std::sync::OnceLock::new();
    SERVER.get_or_init(|| Postgres::version(17).start())
}

/// What is to go wrong once, at the next statement that begins so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    /// The statement is done, and the connection cut before the answer.
    CutAfter,
    /// The connection is cut instead.
    CutBefore,
    /// Another transaction was in the way.
    Conflict,
    /// The table was made after the transaction's snapshot.
    Unseen,
    /// COPY counts a row more than there was.
    Miscount,
    /// Answered when the mishap is taken back.
    Stall,
}

#[derive(Default)]
struct State {
    mishap: Option<(String, Mishap)>,
    statements: Vec<String>,
    stalled: bool,
    heals: u64,
}

/// A cluster of one database.
pub struct Redshift {
    address: SocketAddr,
    database: String,
    cluster: Arc<Cluster>,
}

impl Redshift {
    /// In front of a database, with a bucket of the same region.
    pub fn start(database: &Database<'_>, bucket: &Bucket) -> Redshift {
        Redshift::with_bucket_in(database, bucket, REGION)
    }

    /// In front of a database, with a bucket of another region.
    pub fn with_bucket_in(database: &Database<'_>, bucket: &Bucket, region: &str) -> Redshift {
        database.sql(SETUP);
        let cluster = Arc::new(Cluster {
            backend: database.server().address(),
            s3: bucket.endpoint(),
            region: REGION.to_owned(),
            bucket_region: region.to_owned(),
            role: ROLE.to_owned(),
            state: Mutex::new(State::default()),
            made: tokio::sync::Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::clone(&cluster);
        runtime::spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((socket, _)) = listener.accept().await {
                // Small answers would wait for an acknowledgement.
                socket.set_nodelay(true).expect("a socket");
                let cluster = Arc::clone(&served);
                tokio::spawn(async move {
                    // A client that is gone ends it.
                    let _ = wire::serve(socket, &cluster).await;
                });
            }
        });
        Redshift { address, database: database.name().to_owned(), cluster }
    }

    /// The URL for the pipeline.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@{}/{}?sslmode=disable", self.address, self.database)
    }

    /// Lets something go wrong at the next statement that begins so; `a>b`: at the next `b` after the next `a`.
    pub fn mishap(&self, statement: &str, what: Mishap) {
        self.cluster.state.lock().unwrap().mishap = Some((statement.to_owned(), what));
    }

    /// Whether the mishap has still to happen.
    pub fn waits(&self) -> bool {
        self.cluster.state.lock().unwrap().mishap.is_some()
    }

    /// Whether a statement waits for the mishap to be taken back.
    pub fn stalls(&self) -> bool {
        self.cluster.state.lock().unwrap().stalled
    }

    /// Takes a mishap back.
    pub fn heal(&self) {
        let mut state = self.cluster.state.lock().unwrap();
        (state.mishap, state.stalled, state.heals) = (None, false, state.heals + 1);
    }

    /// The statements so far, credentials included.
    pub fn statements(&self) -> Vec<String> {
        self.cluster.state.lock().unwrap().statements.clone()
    }
}

impl Cluster {
    /// Notes a statement; says what is to go wrong with it.
    fn seen(&self, sql: &str) -> Option<Mishap> {
        let mut state = self.state.lock().unwrap();
        state.statements.push(sql.to_owned());
        let (begin, mishap) = state.mishap.clone()?;
        match begin.split_once('>') {
            Some((first, then)) if sql.starts_with(first) => {
                state.mishap = Some((then.to_owned(), mishap));
                None
            }
            Some(_) => None,
            None if !sql.starts_with(&begin) => None,
            None => {
                state.stalled = mishap == Mishap::Stall;
                if mishap != Mishap::Stall {
                    state.mishap = None;
                }
                Some(mishap)
            }
        }
    }

    /// How often a mishap was taken back.
    fn heals(&self) -> u64 {
        self.state.lock().unwrap().heals
    }
}

/// Types and functions that PostgreSQL has not.
const SETUP: &str = r"
create schema rs;
create domain rs.super as jsonb;
create function rs.json_parse(text) returns rs.super language sql immutable as 'select $1::jsonb';
create function rs.json_serialize(rs.super) returns text language sql immutable as 'select $1::text';
create function rs.from_hex(text) returns bytea language sql immutable as 'select decode($1, ''hex'')';
create function rs.getdate() returns timestamp language sql stable as 'select pg_catalog.now()::timestamp';
create function rs.format_type(oid, int) returns text language sql stable as $$
  select case when n.nspname = 'rs' and t.typname like 'varchar%' then 'character varying(' || substr(t.typname, 9) || ')'
              when n.nspname = 'rs' and t.typname like 'varbyte%' then 'binary varying(' || substr(t.typname, 9) || ')'
              when n.nspname = 'rs' then t.typname
              else pg_catalog.format_type($1, $2) end
  from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.oid = $1 $$;
create table rs.sys_load_error_detail (file_name text, line_number bigint, column_name text, error_code int,
  start_time timestamptz default pg_catalog.now());
";
