//! Throw-away Kafka clusters in KRaft mode, and reading their topics.
//!
//! ```no_run
//! let kafka = Kafka::shared();                       // one broker for all tests: topic names begin with a prefix
//! let prefix = kafka.prefix("shop");
//! let records = kafka.consume_all(&format!("{prefix}.public.orders"), Isolation::Committed);
//!
//! let cluster = Kafka::nodes(3).config("min.insync.replicas=2").start();
//! cluster.kill9(1);
//! cluster.restart(1);
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nix::sys::signal::Signal;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::dir::Dir;
use super::proxy::Proxy;
use super::supervised::{Launch, Supervised};
use super::{cache, eventually, patient, port, runtime};

const LOGGING: &str = include_str!("../services/kafka/log4j2.properties");
const WAIT: Duration = Duration::from_secs(90);

/// What has a JVM start with the least work.
const QUICK: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// How a cluster is to be.
#[must_use]
pub struct Builder {
    nodes: u32,
    config: Vec<String>,
    proxied: bool,
}

impl Builder {
    /// Adds a line to each node's server.properties; the last one about a setting counts.
    pub fn config(mut self, line: impl Into<String>) -> Builder {
        self.config.push(line.into());
        self
    }

    /// Puts a [`Proxy`] before each node; clients of [`Kafka::proxied`] reach the cluster through these alone.
    pub fn proxied(mut self) -> Builder {
        self.proxied = true;
        self
    }

    /// Formats and starts the nodes.
    pub fn start(self) -> Kafka {
        let cluster = uuid();
        let nodes: Vec<Node> = (1..=self.nodes).map(|id| Node::new(id, self.proxied)).collect();
        let kafka = Kafka { nodes };
        for node in &kafka.nodes {
            fs::write(node.dir.join("server.properties"), kafka.properties(node, &self.config)).expect("writable");
            fs::write(node.dir.join("log4j2.properties"), LOGGING).expect("writable");
        }
        let voters: Vec<String> =
            kafka.nodes.iter().map(|node| format!("{}@127.0.0.1:{}:{}", node.id, node.controller, uuid())).collect();
        std::thread::scope(|scope| {
            for node in &kafka.nodes {
                scope.spawn(|| node.format(&cluster, &voters.join(",")));
            }
        });
        kafka.nodes.iter().for_each(Node::launch);
        kafka.wait_ready();
        kafka
    }
}

/// An identifier as Kafka writes them; one that begins with a hyphen would look like an option.
fn uuid() -> String {
    format!("A{}", &BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())[1..])
}

struct Node {
    id: u32,
    broker: u16,
    controller: u16,
    /// The listener behind the proxy.
    behind: u16,
    proxy: Option<Proxy>,
    // Before the directory: the broker ends before its files go.
    process: Mutex<Option<Supervised>>,
    dir: Dir,
}

impl Node {
    fn new(id: u32, proxied: bool) -> Node {
        let behind = port::free();
        let proxy = proxied.then(|| Proxy::to(&format!("127.0.0.1:{behind}")));
        let dir = Dir::new();
        Node { id, broker: port::free(), controller: port::free(), behind, proxy, process: Mutex::new(None), dir }
    }

    fn java(&self, main: &str, arguments: &[&str], options: &[&str]) -> Vec<std::ffi::OsString> {
        let mut command: Vec<std::ffi::OsString> = vec!["java".into()];
        command.extend(options.iter().map(Into::into));
        // What the JVM unpacks goes with the directory.
        command.push(format!("-Djava.io.tmpdir={}", self.dir.path().display()).into());
        command.push(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()).into());
        command.push("-cp".into());
        command.push(cache::kafka_jars().join("*").into());
        command.push(main.into());
        command.extend(arguments.iter().map(Into::into));
        command
    }

    fn file(&self) -> String {
        self.dir.join("server.properties").display().to_string()
    }

    fn format(&self, cluster: &str, voters: &str) {
        let file = self.file();
        let arguments = ["format", "-t", cluster, "-c", &file, "--initial-controllers", voters];
        let command = self.java("kafka.tools.StorageTool", &arguments, &["-Xmx128m", QUICK[0], QUICK[1]]);
        let output = Command::new(&command[0]).args(&command[1..]).output().expect("java starts");
        assert!(
            output.status.success(),
            "Kafka's storage can't be formatted: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn launch(&self) {
        let file = self.file();
        let log = self.dir.join("log");
        // Tests start brokers often and give them little to do; a benchmark measures beside one that compiles all it can.
        let [compiler, collector] =
            if cfg!(debug_assertions) { QUICK } else { ["-XX:+TieredCompilation", "-XX:+UseG1GC"] };
        let process = Supervised::start(&Launch {
            command: self.java("kafka.Kafka", &[&file], &["-Xms256m", "-Xmx1g", compiler, collector]),
            env: Vec::new(),
            out: log.clone(),
            err: log,
            last: Signal::SIGKILL,
            remove: Some(self.dir.path().to_owned()),
            as_server: false,
        });
        *self.process.lock().unwrap() = Some(process);
    }

    fn end(&self, signal: Signal) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.signal(signal);
            if process.wait(Duration::from_secs(30)).is_none() {
                process.signal(Signal::SIGKILL);
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// Which records a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// Those of transactions that committed, and those outside of any.
    Committed,
    /// All.
    Uncommitted,
}

/// A record as it lies in its topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Record {
    /// The key as text.
    pub fn key_text(&self) -> &str {
        text(self.key.as_deref())
    }

    /// The value as text.
    pub fn value_text(&self) -> &str {
        text(self.value.as_deref())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| text(value.as_deref()))
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).expect("UTF-8")
}

/// A cluster; ends when dropped.
pub struct Kafka {
    nodes: Vec<Node>,
}

impl Kafka {
    /// Describes a cluster of one or three nodes.
    pub fn nodes(nodes: u32) -> Builder {
        Builder { nodes, config: Vec::new(), proxied: false }
    }

    /// A broker that all tests of this binary share; each takes a [`Kafka::prefix`] of its own.
    pub fn shared() -> &'static Kafka {
        static KAFKA: OnceLock<Kafka> = OnceLock::new();
        KAFKA.get_or_init(|| Kafka::nodes(1).start())
    }

    /// A name nobody else has, for topics and groups.
    pub fn prefix(&self, name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("{name}{}", NUMBER.fetch_add(1, Ordering::SeqCst))
    }

    /// The brokers' addresses.
    pub fn bootstrap(&self) -> String {
        join(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.broker)))
    }

    /// The brokers' addresses through their proxies.
    pub fn proxied(&self) -> String {
        join(self.nodes.iter().filter_map(|node| node.proxy.as_ref()).map(Proxy::address))
    }

    /// The proxy before a node; the first node is 1.
    pub fn proxy(&self, node: u32) -> &Proxy {
        self.node(node).proxy.as_ref().expect("the cluster was built with `proxied`")
    }

    /// Stops a node in order, at most for 30 seconds.
    pub fn stop(&self, node: u32) {
        self.node(node).end(Signal::SIGTERM);
    }

    /// Kills a node with signal 9.
    pub fn kill9(&self, node: u32) {
        self.node(node).end(Signal::SIGKILL);
    }

    /// Starts a node again, with its data and on its ports, and waits for it.
    pub fn restart(&self, node: u32) {
        self.node(node).end(Signal::SIGTERM);
        self.node(node).launch();
        self.wait_ready();
    }

    /// Adds lines to each node's server.properties and starts it again with them.
    pub fn reconfigure(&self, lines: &str) {
        for node in &self.nodes {
            let file = node.dir.join("server.properties");
            let before = fs::read_to_string(&file).expect("readable");
            fs::write(file, before + lines).expect("writable");
            self.restart(node.id);
        }
    }

    /// What a node has logged.
    pub fn log(&self, node: u32) -> String {
        self.node(node).log()
    }

    /// The process ids of the nodes that run.
    pub fn pids(&self) -> Vec<i32> {
        self.nodes.iter().filter_map(|node| node.process.lock().unwrap().as_ref().map(Supervised::pid)).collect()
    }

    /// Creates a topic and waits until the brokers tell of it; `config` are its settings.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let (known, name) = (name, name.to_owned());
        let config: Vec<(String, String)> = config.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let replication = if self.nodes.len() >= 3 { 3 } else { 1 };
        runtime::wait(async move {
            let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(replication));
            let topic = config.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
            let created = admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
            created.into_iter().for_each(|one| drop(one.expect("a topic that does not exist yet")));
        });
        // The controller's answer comes before the brokers have heard of it.
        eventually("the brokers know the topic", Duration::from_secs(30), || {
            self.topics(known).contains(&known.to_owned()).then_some(())
        });
    }

    /// Gives a topic more partitions.
    #[track_caller]
    pub fn add_partitions(&self, name: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let topic = name.to_owned();
        runtime::wait(async move {
            let more = NewPartitions::new(&topic, partitions);
            let grown = admin.create_partitions([&more], &AdminOptions::new()).await.expect("an answer");
            grown.into_iter().for_each(|one| drop(one.expect("a topic that exists")));
        });
        let known = || self.client().create().ok().map(|consumer: BaseConsumer| self::partitions(&consumer, name));
        eventually("the brokers know the partitions", Duration::from_secs(30), || {
            known().filter(|&n| n as usize == partitions)
        });
    }

    /// Deletes a topic and waits until the brokers tell of it no more.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let topic = name.to_owned();
        runtime::wait(async move {
            let gone = admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("an answer");
            gone.into_iter().for_each(|one| drop(one.expect("a topic that exists")));
        });
        eventually("the topic is gone", Duration::from_secs(30), || {
            (!self.topics(name).contains(&name.to_owned())).then_some(())
        });
    }

    /// The names of the topics that exist and begin with `prefix`, sorted.
    pub fn topics(&self, prefix: &str) -> Vec<String> {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        let metadata = consumer.fetch_metadata(None, patient(WAIT)).expect("the cluster answers");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }

    /// One past the last offset of each partition; nothing when the topic does not exist.
    pub fn end_offsets(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        let partitions = 0..partitions(&consumer, topic);
        partitions
            .map(|p| consumer.fetch_watermarks(topic, p, patient(WAIT)).expect("the partition has a leader").1)
            .collect()
    }

    /// One past the partition's last offset, where it has a leader now.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        consumer.fetch_watermarks(topic, partition, patient(WAIT)).ok().map(|(_, end)| end)
    }

    /// Everything in a topic, partition by partition, each in order; nothing when the topic does not exist.
    #[track_caller]
    pub fn consume_all(&self, topic: &str, isolation: Isolation) -> Vec<Record> {
        let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
        let mut config = self.client();
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", level).set("fetch.message.max.bytes", "100000000");
        // That nothing follows is told at once.
        config.set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().expect("a client");
        let count = partitions(&consumer, topic);
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (mut records, mut ended) = (Vec::new(), 0);
        let begin = Instant::now();
        while ended < count {
            assert!(begin.elapsed() < patient(WAIT), "topic {topic} was not read to its end within {WAIT:?}");
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) if begin.elapsed() > patient(WAIT) / 2 => panic!("topic {topic}: {error}"),
                Some(Err(_)) | None => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// What Kafka's own console consumer prints of the committed records of these topics: partition, headers and value,
    /// a line each. It ends when nothing comes for a while; the offsets it leaves say whether that was the end.
    #[track_caller]
    pub fn console(&self, topics: &[String]) -> String {
        let (bootstrap, group) = (self.bootstrap(), format!("console-{}", topics.first().expect("a topic")));
        let names = topics.iter().map(|topic| topic.replace('.', "\\."));
        let (names, mut printed) = (names.collect::<Vec<_>>().join("|"), String::new());
        for patience in ["2000", "5000", "15000", "45000"] {
            let arguments = [
                ["--bootstrap-server", &bootstrap],
                ["--include", &names],
                ["--group", &group],
                ["--isolation-level", "read_committed"],
                ["--timeout-ms", patience],
                ["--formatter-property", "print.partition=true"],
                ["--formatter-property", "print.headers=true"],
            ];
            let arguments: Vec<&str> = arguments.into_iter().flatten().chain(["--from-beginning"]).collect();
            printed += &self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments);
            if topics.iter().all(|topic| self.is_read_by(&group, topic)) {
                return printed;
            }
        }
        panic!("the console consumer did not come to the end of {names}");
    }

    /// Whether a group has read a topic up to its end.
    fn is_read_by(&self, group: &str, topic: &str) -> bool {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a client");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions(&consumer, topic) - 1);
        let committed = consumer.committed_offsets(list, patient(WAIT)).expect("the group's offsets");
        committed.elements().iter().zip(self.end_offsets(topic)).all(|(of, end)| match of.offset() {
            Offset::Offset(next) => next >= end,
            _ => end == 0,
        })
    }

    /// Changes what is allowed, with Kafka's own tool.
    #[track_caller]
    pub fn acl(&self, arguments: &[&str]) {
        let bootstrap = self.bootstrap();
        let arguments = [&["--bootstrap-server", &bootstrap], arguments].concat();
        self.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    #[track_caller]
    fn tool(&self, main: &str, arguments: &[&str]) -> String {
        let command = self.nodes[0].java(main, arguments, &["-Xmx512m", QUICK[0], QUICK[1]]);
        let output = Command::new(&command[0]).args(&command[1..]).output().expect("java starts");
        assert!(output.status.success(), "{main}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A client's configuration with the bootstrap servers set.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }

    fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    /// Waits until every node that was started is one of the cluster's brokers.
    fn wait_ready(&self) {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        let begin = Instant::now();
        loop {
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500));
            let known: Vec<i32> = metadata
                .map(|metadata| metadata.brokers().iter().map(|broker| broker.id()).collect())
                .unwrap_or_default();
            let mut started = 0;
            let mut all = true;
            for node in &self.nodes {
                let mut process = node.process.lock().unwrap();
                let Some(process) = process.as_mut() else { continue };
                started += 1;
                assert!(process.exited().is_none(), "Kafka node {} ended:\n{}", node.id, node.log());
                all &= known.contains(&(node.id as i32));
            }
            if started > 0 && all {
                return;
            }
            assert!(begin.elapsed() < patient(WAIT), "Kafka is not ready within {WAIT:?}:\n{}", self.nodes[0].log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn properties(&self, node: &Node, extra: &[String]) -> String {
        let (replicas, insync) = if self.nodes.len() >= 3 { (3, 2) } else { (1, 1) };
        let controllers = join(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.controller)));
        let behind =
            |port: u16| node.proxy.as_ref().map(|_| format!(",PROXIED://127.0.0.1:{port}")).unwrap_or_default();
        let (own, shown) = (behind(node.behind), behind(node.proxy.as_ref().map_or(0, Proxy::port)));
        let Node { id, broker, controller, .. } = node;
        let data: PathBuf = node.dir.join("data");
        let mut text = format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.bootstrap.servers={controllers}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{shown}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={insync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync}
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
message.max.bytes=104857600
replica.fetch.max.bytes=104857600
socket.request.max.bytes=209715200
",
            data.display()
        );
        for line in extra {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), patient(WAIT)).expect("the cluster answers");
    metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32)
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp: message.timestamp().to_millis(),
    }
}
