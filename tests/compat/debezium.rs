//! Debezium's connector in Kafka Connect.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::contract::run::{self, Form};
use crate::support::contract::script::Script;
use crate::support::dir::Dir;
use crate::support::kafka::Kafka;
use crate::support::postgres::{Database, PASSWORD};
use crate::support::supervised::{Launch, Supervised};
use crate::support::{cache, eventually, port};

const LOGGING: &str = include_str!("../services/kafka/log4j2.properties");

/// A worker with one connector; ends when dropped.
pub struct Debezium {
    process: Supervised,
    dir: Dir,
}

impl Debezium {
    /// Starts it for a script and waits until it follows. Its topics are `<route><prefix>.<schema>.<table>`.
    pub fn start(
        script: &Script,
        form: Form,
        database: &Database<'_>,
        kafka: &Kafka,
        route: &str,
        prefix: &str,
    ) -> Debezium {
        let dir = Dir::new();
        fs::write(dir.join("log4j2.properties"), LOGGING).expect("writable");
        fs::write(dir.join("worker.properties"), worker(dir.path(), form, kafka)).expect("writable");
        let slot = format!("debezium_{prefix}").to_lowercase();
        fs::write(dir.join("connector.properties"), connector(script, database, route, prefix, &slot))
            .expect("writable");
        let mut command: Vec<std::ffi::OsString> =
            ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(Into::into).into();
        command.push(format!("-Dlog4j2.configurationFile={}", dir.join("log4j2.properties").display()).into());
        command.extend([
            "-cp".into(),
            format!("{}/*:{}/*", cache::debezium_jars().display(), cache::converter_jars().display()).into(),
        ]);
        command.push("org.apache.kafka.connect.cli.ConnectStandalone".into());
        command.extend([dir.join("worker.properties").into(), dir.join("connector.properties").into()]);
        let log = dir.join("log");
        let process = Supervised::start(&Launch {
            command,
            env: Vec::new(),
            out: log.clone(),
            err: log,
            last: Signal::SIGKILL,
            remove: Some(dir.path().to_owned()),
            as_server: false,
        });
        let mut debezium = Debezium { process, dir };
        eventually("Debezium follows", Duration::from_secs(120), || {
            debezium.check();
            (database.one(&format!("select count(*) from pg_replication_slots where active and slot_name = '{slot}'"))
                == "1")
                .then_some(())
        });
        debezium
    }

    /// Panics when it has ended or its task has failed.
    pub fn check(&mut self) {
        let log = self.log();
        let failed = self.process.exited().is_some() || log.contains("Task is being killed");
        assert!(!failed, "Debezium stopped:\n{log}");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Ends it, in order unless it hangs, which its web server sometimes does; what it logged.
    pub fn stop(mut self) -> String {
        self.process.signal(Signal::SIGTERM);
        if self.process.wait(Duration::from_secs(20)).is_none() {
            self.process.signal(Signal::SIGKILL);
        }
        self.log()
    }
}

fn worker(dir: &Path, form: Form, kafka: &Kafka) -> String {
    let (converter, registry) = match form {
        Form::Json | Form::Plain => ("org.apache.kafka.connect.json.JsonConverter", String::new()),
        Form::Avro => ("io.confluent.connect.avro.AvroConverter", run::registry().url()),
    };
    let schemas = form != Form::Plain;
    format!(
        "bootstrap.servers={}
offset.storage.file.filename={}
offset.flush.interval.ms=1000
listeners=HTTP://127.0.0.1:{}
plugin.discovery=only_scan
key.converter={converter}
value.converter={converter}
key.converter.schema.registry.url={registry}
value.converter.schema.registry.url={registry}
key.converter.schemas.enable={schemas}
value.converter.schemas.enable={schemas}
",
        kafka.bootstrap(),
        dir.join("offsets").display(),
        port::free()
    )
}

fn connector(script: &Script, database: &Database<'_>, route: &str, prefix: &str, slot: &str) -> String {
    let mut text = format!(
        "name=compat
connector.class=io.debezium.connector.postgresql.PostgresConnector
database.hostname=127.0.0.1
database.port={}
database.user=postgres
database.password={PASSWORD}
database.dbname={}
topic.prefix={prefix}
plugin.name=pgoutput
slot.name={slot}
publication.name=both_sides
publication.autocreate.mode=disabled
poll.interval.ms=50
skipped.operations=none
topic.creation.default.partitions=1
topic.creation.default.replication.factor=1
transforms=route
transforms.route.type=org.apache.kafka.connect.transforms.RegexRouter
transforms.route.regex=(.*)
transforms.route.replacement={route}$1
",
        database.server().port(),
        database.name()
    );
    for (key, value) in &script.debezium {
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}
