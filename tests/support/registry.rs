//! A throw-away schema registry: Apicurio with its Confluent API, everything in memory.
//!
//! ```no_run
//! let registry = Registry::shared();                     // one for all tests: subjects begin with a prefix of the test
//! let id = registry.register("shop.public.t-value", schema).unwrap();
//! assert_eq!(registry.schema(id), schema);
//! ```
//!
//! A registry that is away: put a `Proxy` before [`Registry::address`]. This version refuses every schema in which the
//! two characters `{}` stand, and its ids have gaps.

use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::dir::Dir;
use super::supervised::{Launch, Supervised};
use super::{cache, eventually, http, port};

const API: &str = "/apis/ccompat/v7";

/// What the registry answers to a request it refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A registry; ends when dropped.
pub struct Registry {
    port: u16,
    // Before the directory: the process ends before its files go.
    process: std::sync::Mutex<Supervised>,
    dir: Dir,
}

impl Registry {
    /// A registry that all tests of this binary share; it refuses schemas that are not backward compatible.
    pub fn shared() -> &'static Registry {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(Registry::start)
    }

    /// Starts a registry of the test's own and waits for it.
    pub fn start() -> Registry {
        let dir = Dir::new();
        let (port, management) = (port::free(), port::free());
        let env = [
            ("APICURIO_STORAGE_KIND", "sql".to_owned()),
            ("APICURIO_STORAGE_SQL_KIND", "h2".to_owned()),
            ("QUARKUS_HTTP_HOST", "127.0.0.1".to_owned()),
            ("QUARKUS_HTTP_PORT", port.to_string()),
            ("QUARKUS_MANAGEMENT_HOST", "127.0.0.1".to_owned()),
            ("QUARKUS_MANAGEMENT_PORT", management.to_string()),
            ("QUARKUS_OTEL_SDK_DISABLED", "true".to_owned()),
        ];
        let options = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"];
        let mut command: Vec<_> = options.iter().map(Into::into).collect();
        command.push(cache::registry_jar().into());
        let log = dir.join("log");
        let process = Supervised::start(&Launch {
            command,
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            out: log.clone(),
            err: log,
            last: Signal::SIGKILL,
            remove: Some(dir.path().to_owned()),
            as_server: false,
        });
        let registry = Registry { port, process: process.into(), dir };
        eventually("the registry answers", Duration::from_secs(120), || {
            let ended = registry.process.lock().unwrap().exited();
            assert!(ended.is_none(), "the registry ended:\n{}", registry.log());
            registry.get("/subjects").ok()
        });
        registry.set_config("BACKWARD");
        registry
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a client is configured with.
    pub fn url(&self) -> String {
        format!("http://{}{API}", self.address())
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.process.lock().unwrap().pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The compatibility that a new schema of any subject must have.
    #[track_caller]
    pub fn config(&self) -> String {
        let answer = self.get("/config").expect("an answer");
        answer["compatibilityLevel"].as_str().expect("a level").to_owned()
    }

    /// Sets what [`Registry::config`] tells.
    #[track_caller]
    pub fn set_config(&self, level: &str) {
        self.ask("PUT", "/config", &json!({ "compatibility": level })).expect("an answer");
    }

    /// The subjects that begin with `prefix`, sorted.
    #[track_caller]
    pub fn subjects(&self, prefix: &str) -> Vec<String> {
        let all = self.get("/subjects").expect("an answer");
        let names = all.as_array().expect("a list").iter().filter_map(Value::as_str);
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The ids of a subject's versions in their order.
    #[track_caller]
    pub fn versions(&self, subject: &str) -> Vec<i64> {
        let path = format!("/subjects/{}/versions", escape(subject));
        let versions = self.get(&path).expect("the subject exists");
        let ids = versions.as_array().expect("a list").iter().map(|version| {
            let one = self.get(&format!("{path}/{version}")).expect("the version exists");
            one["id"].as_i64().expect("an id")
        });
        ids.collect()
    }

    /// The text of a schema.
    #[track_caller]
    pub fn schema(&self, id: i64) -> String {
        let answer = self.get(&format!("/schemas/ids/{id}")).expect("the schema exists");
        answer["schema"].as_str().expect("a text").to_owned()
    }

    /// Adds an Avro schema to a subject; the id.
    pub fn register(&self, subject: &str, schema: &str) -> Result<i64, Refusal> {
        let path = format!("/subjects/{}/versions", escape(subject));
        Ok(self.ask("POST", &path, &json!({ "schema": schema }))?["id"].as_i64().expect("an id"))
    }

    /// The same in another language, `JSON` or `PROTOBUF`.
    pub fn register_as(&self, subject: &str, language: &str, schema: &str) -> Result<i64, Refusal> {
        let path = format!("/subjects/{}/versions", escape(subject));
        let body = json!({ "schema": schema, "schemaType": language });
        Ok(self.ask("POST", &path, &body)?["id"].as_i64().expect("an id"))
    }

    /// The id that a schema has in a subject.
    pub fn find(&self, subject: &str, schema: &str) -> Result<i64, Refusal> {
        let path = format!("/subjects/{}", escape(subject));
        Ok(self.ask("POST", &path, &json!({ "schema": schema }))?["id"].as_i64().expect("an id"))
    }

    /// Deletes a subject with its versions.
    #[track_caller]
    pub fn delete(&self, subject: &str) {
        self.ask("DELETE", &format!("/subjects/{}", escape(subject)), &Value::Null).expect("the subject exists");
    }

    fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask("GET", path, &Value::Null)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refusal> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, body) = http::request(method, self.port, &format!("{API}{path}"), &body)
            .ok_or_else(|| Refusal { status: 0, body: "no answer".to_owned() })?;
        let answer = serde_json::from_str(&body).ok().filter(|_| status == 200);
        answer.ok_or(Refusal { status, body })
    }
}

fn escape(subject: &str) -> String {
    utf8_percent_encode(subject, NON_ALPHANUMERIC).to_string()
}
