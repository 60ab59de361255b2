//! Throw-away PostgreSQL servers.
//!
//! ```no_run
//! let shop = Postgres::shared(17).database("shop");          // its own database on a server all tests share
//! shop.sql("create table t (id int primary key)");
//! let url = shop.url();                                       // superuser; `url_for` for others
//!
//! let server = Postgres::version(15).config("wal_level = replica").start();   // a server of the test's own
//! server.kill9();
//! server.restart();
//! ```

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::certificates::{self, ServerCertificate};
use super::dir::{Dir, give, server_user};
use super::session::{Rows, Session, identifier, literal};
use super::supervised::{Launch, Supervised};
use super::{cache, patient, port};

mod standby;

/// The superuser's password: nothing else looks like it, so a log that holds it leaks.
pub const PASSWORD: &str = "pw-7Qz1-of-the-superuser";

const BASE: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_replication_slots = 100
max_wal_senders = 100
max_connections = 250
max_prepared_transactions = 10
timezone = 'UTC'
jit = off
fsync = off
full_page_writes = off
";

/// How a server is to be.
#[must_use]
pub struct Builder {
    version: u32,
    config: Vec<String>,
    hba: Vec<String>,
    certificate: Option<ServerCertificate>,
}

impl Builder {
    /// Adds a line to postgresql.conf; the last one about a setting counts.
    pub fn config(mut self, line: impl Into<String>) -> Builder {
        self.config.push(line.into());
        self
    }

    /// Puts a line before the others in pg_hba.conf, which ask everybody for a SCRAM password.
    pub fn hba(mut self, line: impl Into<String>) -> Builder {
        self.hba.push(line.into());
        self
    }

    /// Offers TLS with a certificate of this kind; [`Postgres::ca`] is the authority's.
    pub fn tls(mut self, certificate: ServerCertificate) -> Builder {
        self.certificate = Some(certificate);
        self
    }

    /// Makes a cluster and starts its server.
    pub fn start(self) -> Postgres {
        let bin = cache::postgres_bin(self.version);
        let dir = Dir::for_server();
        initdb(&bin, &dir);
        let mut text = BASE.to_owned();
        if let Some(kind) = self.certificate {
            certificates::write(dir.path(), kind);
            let _ = writeln!(text, "ssl = on\nssl_cert_file = '../server.crt'\nssl_key_file = '../server.key'");
        }
        for line in &self.config {
            let _ = writeln!(text, "{line}");
        }
        let data = dir.join("data");
        append(&data.join("postgresql.conf"), &text);
        let hba = fs::read_to_string(data.join("pg_hba.conf")).expect("initdb wrote it");
        fs::write(data.join("pg_hba.conf"), format!("{}\n{hba}", self.hba.join("\n"))).expect("the file is ours");
        let server = Postgres { version: self.version, bin, dir, port: AtomicU32::new(0), process: Mutex::new(None) };
        server.first_start();
        server
    }
}

fn initdb(bin: &std::path::Path, dir: &Dir) {
    let password = dir.join("password");
    fs::write(&password, PASSWORD).expect("the directory is writable");
    give(&password);
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
    initdb.arg(dir.join("data")).arg("--pwfile").arg(&password).current_dir("/");
    if let Some((uid, gid)) = server_user() {
        initdb.uid(uid.as_raw()).gid(gid.as_raw());
    }
    let output = initdb.output().expect("initdb starts");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

fn append(path: &std::path::Path, text: &str) {
    let before = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, before + text).expect("the file is ours");
}

/// How to stop a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// A server of its own; ends when dropped.
pub struct Postgres {
    version: u32,
    bin: PathBuf,
    port: AtomicU32,
    // Before the directory: the server ends before its files go.
    process: Mutex<Option<Supervised>>,
    dir: Dir,
}

impl Postgres {
    /// Describes a server of a major version.
    pub fn version(version: u32) -> Builder {
        Builder { version, config: Vec::new(), hba: Vec::new(), certificate: None }
    }

    /// A server that all tests of this binary share, one for each version: each takes a [`Postgres::database`] of
    /// its own and leaves server-wide settings alone.
    pub fn shared(version: u32) -> &'static Postgres {
        static SERVERS: [OnceLock<Postgres>; 32] = [const { OnceLock::new() }; 32];
        SERVERS[version as usize].get_or_init(|| Postgres::version(version).start())
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.version
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::SeqCst) as u16
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The superuser's URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_for("postgres", PASSWORD, "postgres")
    }

    /// A URL for anybody and any database. Parameters go behind it: `format!("{url}?sslmode=require")`.
    pub fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        let (user, password, database) = (escape(user), escape(password), escape(database));
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// The file with the authority's certificate when the server offers TLS.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The file with the certificate of an authority that did not sign the server's.
    pub fn other_ca(&self) -> PathBuf {
        self.dir.join("other-ca.pem")
    }

    /// The server's data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Runs statements as the superuser in the database `postgres`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Rows {
        Session::connect(&self.url()).expect("the server takes connections").sql(sql)
    }

    /// A fresh, empty database whose name begins with `name`; it goes with its slots when dropped.
    #[track_caller]
    pub fn database(&self, name: &str) -> Database<'_> {
        self.database_with(name, "")
    }

    /// A database made with options of `CREATE DATABASE`.
    pub fn database_with(&self, name: &str, options: &str) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        self.sql(&format!("create database {} {options}", identifier(&name)));
        Database { server: self, name }
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The server's process id while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.lock().unwrap().as_ref().map(Supervised::pid)
    }

    /// Stops the server and waits for its end.
    pub fn stop(&self, how: Stop) {
        self.end(match how {
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
        });
    }

    /// Kills the server with signal 9, as the out-of-memory killer does, and waits for its end.
    pub fn kill9(&self) {
        self.end(Signal::SIGKILL);
    }

    /// Starts it again on the same port, stopping it first when it runs.
    pub fn restart(&self) {
        self.stop(Stop::Fast);
        let begin = Instant::now();
        while let Err(reason) = self.launch() {
            // After a kill the server's other processes need a moment to notice.
            let orphans = reason.to_string().contains("pre-existing shared memory block");
            let again = orphans && begin.elapsed() < patient(Duration::from_secs(30));
            assert!(again, "PostgreSQL {} does not start again: {reason}", self.version);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Adds lines to postgresql.conf; they count from the next reload or restart on.
    pub fn configure(&self, lines: &str) {
        append(&self.data().join("postgresql.conf"), &format!("{lines}\n"));
    }

    fn end(&self, signal: Signal) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut process) = process {
            process.signal(signal);
            assert!(
                process.wait(patient(Duration::from_secs(60))).is_some(),
                "PostgreSQL goes on after {signal}\n{}",
                self.log()
            );
        }
    }

    fn first_start(&self) {
        for attempt in 1.. {
            let port = port::free();
            self.port.store(u32::from(port), Ordering::SeqCst);
            self.configure(&format!("port = {port}"));
            match self.launch() {
                Ok(()) => return,
                Err(reason) if attempt < 5 && reason.contains("in use") => {}
                Err(reason) => panic!("PostgreSQL {} does not start: {reason}", self.version),
            }
        }
    }

    /// Starts the process and waits until it takes connections.
    fn launch(&self) -> Result<(), String> {
        let log = self.dir.join("log");
        let mut process = Supervised::start(&Launch {
            command: vec![self.bin.join("postgres").into(), "-D".into(), self.data().into()],
            env: Vec::new(),
            out: log.clone(),
            err: log,
            last: Signal::SIGQUIT,
            remove: Some(self.dir.path().to_owned()),
            as_server: true,
        });
        let begin = Instant::now();
        loop {
            if process.exited().is_some() {
                return Err(self.log());
            }
            match Session::connect(&self.url()) {
                Ok(_) => break,
                Err(error) if begin.elapsed() > patient(Duration::from_secs(60)) => {
                    return Err(format!("no connection in time: {error}\n{}", self.log()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        *self.process.lock().unwrap() = Some(process);
        Ok(())
    }
}

/// One database of a server; dropped with everything in it, its slots included.
pub struct Database<'s> {
    server: &'s Postgres,
    name: String,
}

impl<'s> Database<'s> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &'s Postgres {
        self.server
    }

    /// The superuser's URL.
    pub fn url(&self) -> String {
        self.url_for("postgres", PASSWORD)
    }

    /// Another user's URL.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        self.server.url_for(user, password, &self.name)
    }

    /// A connection as the superuser.
    #[track_caller]
    pub fn session(&self) -> Session {
        Session::connect(&self.url()).expect("the database takes connections")
    }

    /// Runs statements as the superuser on a connection of their own.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Rows {
        self.session().sql(sql)
    }

    /// The first column of the first row; the empty text for NULL.
    #[track_caller]
    pub fn one(&self, sql: &str) -> String {
        self.session().one(sql)
    }

    fn remove(&self) -> Result<(), tokio_postgres::Error> {
        let session = Session::connect(&self.server.url())?;
        let here = literal(&self.name);
        session.try_sql(&format!(
            "select pg_terminate_backend(active_pid) from pg_replication_slots
             where database = {here} and active_pid is not null"
        ))?;
        session.try_sql(&format!(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = {here}"
        ))?;
        session.try_sql(&format!("drop database if exists {} with (force)", identifier(&self.name)))?;
        Ok(())
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A walsender that was just told to end still holds its slot for a moment.
        for _ in 0..100 {
            let runs = self.server.process.lock().is_ok_and(|process| process.is_some());
            if !runs || self.remove().is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Percent-encodes whatever has a meaning in a URL.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
