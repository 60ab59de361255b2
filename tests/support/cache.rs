//! Where the fetched servers are; the same rules as in `tests/services/fetch`.

use std::path::PathBuf;

/// The package list the fetch script works from.
const PACKAGES: &str = include_str!("../services/packages");
const KAFKA: &str = "kafka-4.3.1";
const DEBEZIUM: &str = "debezium-3.6.3.Final";

/// The directory with `initdb` and `postgres` of a major version.
pub fn postgres_bin(version: u32) -> PathBuf {
    let name = named(&format!("postgres-{version}."))
        .unwrap_or_else(|| panic!("tests/services/packages lists no PostgreSQL {version}"));
    fetched(name, &format!("make services PG_VERSIONS={version}")).join("bin")
}

/// The jar that runs the schema registry.
pub fn registry_jar() -> PathBuf {
    let name = named("apicurio-").expect("tests/services/packages lists the registry");
    fetched(name, "make services").join(format!("apicurio-registry-app-{}-runner.jar", &name["apicurio-".len()..]))
}

/// The directory that Python finds Protobuf's library in.
pub fn python_protobuf() -> PathBuf {
    fetched(named("python-protobuf-").expect("tests/services/packages lists it"), "make services")
}

/// The directory with Kafka's jars.
pub fn kafka_jars() -> PathBuf {
    fetched(KAFKA, "make services")
}

/// The directory with the jars of Kafka Connect and Debezium.
pub fn debezium_jars() -> PathBuf {
    fetched(DEBEZIUM, "make compat")
}

/// The directory with the jars of Kafka Connect's converter for Avro.
pub fn converter_jars() -> PathBuf {
    fetched(named("avro-converter-").expect("tests/services/packages lists the converter"), "make compat")
}

/// The PostgreSQL versions the tests are asked to run against, `TAILWATER_PG_VERSIONS`; 15 and 17 unless told.
pub fn postgres_versions() -> Vec<u32> {
    let versions = std::env::var("TAILWATER_PG_VERSIONS").unwrap_or_default();
    let versions: Vec<u32> = versions
        .split_whitespace()
        .map(|version| version.parse().expect("TAILWATER_PG_VERSIONS holds numbers"))
        .collect();
    if versions.is_empty() { vec![15, 17] } else { versions }
}

/// The directory of the package whose name begins so.
fn named(begin: &str) -> Option<&'static str> {
    PACKAGES.lines().find(|line| line.starts_with(begin)).and_then(|line| line.split(' ').next())
}

fn fetched(name: &str, remedy: &str) -> PathBuf {
    let dir = root().join(name);
    assert!(dir.join(".complete").exists(), "{} is not there: run `{remedy}` first", dir.display());
    dir
}

fn root() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("TAILWATER_CACHE") {
        dir
    } else if nix::unistd::geteuid().is_root() {
        "/var/cache/tailwater".into()
    } else {
        set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").expect("HOME is set").join(".cache")).join("tailwater")
    }
}
