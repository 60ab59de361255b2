//! The binary under test.
//!
//! ```no_run
//! let tailwater = Tailwater::new("shop").source_postgres(&shop.url(), &["public.*"]).sink_duckdb(&file);
//! tailwater.run_until_current().success();
//!
//! let mut running = tailwater.run();
//! running.wait_ready();
//! running.kill9();
//! let output = tailwater.run().terminate();       // SIGTERM, then its output
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::dir::{Dir, give};
use super::supervised::{Launch, Supervised};
use super::{http, patient, port};

/// A configuration and how to run it. Text added by [`Tailwater::toml`] goes into the section added last.
#[must_use]
pub struct Tailwater {
    config: String,
    env: Vec<(String, String)>,
    limit: Duration,
    port: u16,
    as_server: bool,
    wrapper: Vec<std::ffi::OsString>,
    dir: Dir,
}

impl Tailwater {
    /// A configuration with `[pipeline]` and `[serve]`.
    pub fn new(name: &str) -> Tailwater {
        let dir = Dir::new();
        let port = port::free();
        let state = quoted(&dir.join("state").to_string_lossy());
        let config = format!(
            "[serve]\nlisten = \"127.0.0.1:{port}\"\n\n[pipeline]\nname = {}\nstate_dir = {state}\n",
            quoted(name)
        );
        Tailwater {
            config,
            env: Vec::new(),
            limit: Duration::from_secs(120),
            port,
            as_server: false,
            wrapper: Vec::new(),
            dir,
        }
    }

    /// A configuration that is exactly this text.
    pub fn exactly(config: &str) -> Tailwater {
        Tailwater { config: config.to_owned(), ..Tailwater::new("exactly") }
    }

    /// Adds lines, to the section added last or with a section of their own.
    pub fn toml(mut self, lines: &str) -> Tailwater {
        self.config.push_str(lines.trim_start_matches('\n'));
        self.config.push('\n');
        self
    }

    /// `[source.postgres]`.
    pub fn source_postgres(self, url: &str, tables: &[&str]) -> Tailwater {
        self.toml(&format!("\n\n[source.postgres]\nurl = {}\ntables = {}", quoted(url), list(tables)))
    }

    /// `[source.kafka]`.
    pub fn source_kafka(self, bootstrap: &str, topics: &[&str], group: &str) -> Tailwater {
        let (bootstrap, topics, group) = (quoted(bootstrap), list(topics), quoted(group));
        self.toml(&format!("[source.kafka]\nbootstrap = {bootstrap}\ntopics = {topics}\ngroup = {group}"))
    }

    /// `[sink.kafka]` with JSON, at least once.
    pub fn sink_kafka(self, bootstrap: &str, prefix: &str) -> Tailwater {
        let (bootstrap, prefix) = (quoted(bootstrap), quoted(prefix));
        self.toml(&format!(
            "[sink.kafka]\nbootstrap = {bootstrap}\nprefix = {prefix}\nformat = \"json\"\ndelivery = \"at-least-once\""
        ))
    }

    /// `[sink.kafka]` with Avro, at least once.
    pub fn sink_kafka_avro(self, bootstrap: &str, prefix: &str, registry: &str) -> Tailwater {
        let (bootstrap, prefix, registry) = (quoted(bootstrap), quoted(prefix), quoted(registry));
        self.toml(&format!(
            "[sink.kafka]\nbootstrap = {bootstrap}\nprefix = {prefix}\nformat = \"avro\"\nregistry = {registry}\ndelivery = \"at-least-once\""
        ))
    }

    /// In transactions instead.
    pub fn exactly_once(mut self) -> Tailwater {
        self.config = self.config.replace("delivery = \"at-least-once\"", "delivery = \"exactly-once\"");
        self
    }

    /// The same pipeline for a second process beside it.
    pub fn twin(&self) -> Tailwater {
        let port = port::free();
        let other = self.variant(&format!("127.0.0.1:{}", self.port), &format!("127.0.0.1:{port}"));
        Tailwater { port, ..other }
    }

    /// The same pipeline with a part of its configuration replaced.
    pub fn variant(&self, part: &str, by: &str) -> Tailwater {
        assert!(self.config.contains(part), "{part} is not in the configuration");
        let other = Tailwater::exactly(&self.config.replace(part, by));
        Tailwater { port: self.port, limit: self.limit, ..other }
    }

    /// Events in Protobuf instead of JSON.
    pub fn protobuf(mut self) -> Tailwater {
        self.config = self.config.replace("format = \"json\"", "format = \"protobuf\"");
        self
    }

    /// `[sink.duckdb]`.
    pub fn sink_duckdb(self, path: &Path) -> Tailwater {
        self.toml(&format!("[sink.duckdb]\npath = {}", quoted(&path.to_string_lossy())))
    }

    /// `[sink.postgres]`, with the source's schema names when `schema` is `None`.
    pub fn sink_postgres(self, url: &str, schema: Option<&str>) -> Tailwater {
        let schema = schema.map(|schema| format!("\nschema = {}", quoted(schema))).unwrap_or_default();
        self.toml(&format!("[sink.postgres]\nurl = {}{schema}", quoted(url)))
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Tailwater {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// After how long a command or a wait counts as hung; two minutes unless told.
    pub fn limit(mut self, limit: Duration) -> Tailwater {
        self.limit = limit;
        self
    }

    /// Runs as `nobody` when the test is root, whom no file mode stops.
    pub fn unprivileged(mut self) -> Tailwater {
        self.as_server = true;
        give(self.dir.path());
        self
    }

    /// Runs under another command, which is given the program and its arguments as its last ones.
    pub fn under(mut self, wrapper: &[&str]) -> Tailwater {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    /// The directory of the configuration, removed with it; a place for a test's files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file, written anew for each run.
    pub fn file(&self) -> PathBuf {
        self.dir.join("tailwater.toml")
    }

    /// `tailwater check -c FILE`.
    pub fn check(&self) -> Output {
        self.command(&["check"])
    }

    /// `tailwater status -c FILE`.
    pub fn status(&self) -> Output {
        self.command(&["status"])
    }

    /// `tailwater run -c FILE --until-current`.
    pub fn run_until_current(&self) -> Output {
        self.command(&["run", "--until-current"])
    }

    /// `tailwater run -c FILE`, at work until it is stopped.
    pub fn run(&self) -> Running {
        self.start(&["run"])
    }

    /// Any command with `-c FILE` after its first word, to its end.
    pub fn command(&self, words: &[&str]) -> Output {
        self.start(words).wait()
    }

    /// Seconds until what the source holds now is durable, start and end included, and the most memory it took.
    pub fn drain(&self) -> (f64, u64) {
        let begin = Instant::now();
        let mut running = self.start(&["run", "--until-current"]);
        let mut peak = 0;
        while running.alive() {
            peak = peak.max(running.peak_memory());
            std::thread::sleep(Duration::from_millis(20));
        }
        let seconds = begin.elapsed().as_secs_f64();
        running.wait().success();
        (seconds, peak)
    }

    /// Any command with `-c FILE` after its first word.
    pub fn start(&self, words: &[&str]) -> Running {
        fs::write(self.file(), &self.config).expect("the directory is writable");
        let (first, rest) = words.split_first().expect("a command has a word");
        let mut command = self.wrapper.clone();
        command.extend([env!("CARGO_BIN_EXE_tailwater").into(), first.into(), "-c".into(), self.file().into()]);
        command.extend(rest.iter().map(Into::into));
        let number = rand::random::<u64>();
        let (out, err) = (self.dir.join(format!("out-{number}")), self.dir.join(format!("err-{number}")));
        let process = Supervised::start(&Launch {
            command,
            env: self.env.clone(),
            out: out.clone(),
            err: err.clone(),
            last: Signal::SIGKILL,
            remove: Some(self.dir.path().to_owned()),
            as_server: self.as_server,
        });
        Running { process, out, err, limit: patient(self.limit), port: self.port }
    }
}

/// A process at work; killed when dropped.
pub struct Running {
    process: Supervised,
    out: PathBuf,
    err: PathBuf,
    limit: Duration,
    port: u16,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits until `/readyz` says so.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.wait_until("ready", |running| running.http("/readyz").is_some_and(|(status, _)| status == 200));
    }

    /// Waits until a condition holds; panics with the output when the process ends before or the time is over.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Running) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            let ended = self.process.exited();
            assert!(ended.is_none(), "ended before it was {what}: {:?}", self.output(ended));
            assert!(begin.elapsed() < self.limit, "not {what} within {:?}: {:?}", self.limit, self.output(None));
            super::pause(begin);
        }
    }

    /// Waits for the end; a process that goes on for too long is killed and fails the test.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let ended = self.process.wait(self.limit);
        if ended.is_none() {
            self.process.signal(Signal::SIGKILL);
            panic!("still running after {:?}: {:?}", self.limit, self.output(None));
        }
        self.output(ended)
    }

    /// Kills it with signal 9 and waits for its end.
    pub fn kill9(mut self) -> Output {
        self.process.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Sends SIGTERM and waits for its end.
    #[track_caller]
    pub fn terminate(mut self) -> Output {
        self.process.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has written so far, output and errors together.
    pub fn text(&self) -> String {
        self.output(None).text()
    }

    /// Status and body of a GET on its own pages, when it answers.
    pub fn http(&self, path: &str) -> Option<(u16, String)> {
        http::request("GET", self.port, path, "")
    }

    /// The most memory it has held so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    fn output(&self, code: Option<i32>) -> Output {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Output { code, stdout: read(&self.out), stderr: read(&self.err) }
    }
}

/// What a process has said, and how it ended.
#[derive(Clone)]
pub struct Output {
    /// The exit code, 128 + n after signal n; `None` while it runs.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Panics unless the exit code is 0.
    #[track_caller]
    pub fn success(self) -> Output {
        self.code(0)
    }

    /// Panics unless the exit code is this one.
    #[track_caller]
    pub fn code(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Panics unless output or errors hold each of these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Output {
        for text in texts {
            assert!(self.text().contains(text), "it does not say {text:?}: {self:?}");
        }
        self
    }

    /// Panics when output or errors hold one of these texts.
    #[track_caller]
    pub fn hides(self, texts: &[&str]) -> Output {
        for text in texts {
            assert!(!self.text().contains(text), "it says {text:?}: {self:?}");
        }
        self
    }

    /// Output and errors together.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}--- stderr\n{}---", self.code, self.stdout, self.stderr)
    }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn list(texts: &[&str]) -> String {
    serde_json::to_string(texts).expect("texts are JSON")
}
