//! The command line with wrong input: what it says, and that it ends with 2.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code and everything that was said.
fn tailwater(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(words)
        .env_remove("TAILWATER_TEST_NOT_SET")
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), said)
}

#[track_caller]
fn refused(words: &[&str], says: &[&str]) {
    let (code, said) = tailwater(words);
    assert_eq!(code, Some(2), "{words:?}: {said}");
    for part in says {
        assert!(said.contains(part), "{words:?} does not say {part:?}: {said}");
    }
    assert!(!said.contains("CANARY"), "{said}");
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn holding(name: &str, bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("tailwater-cli-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Every command that reads a file.
const COMMANDS: [&str; 4] = ["check", "run", "status", "schema"];

#[test]
fn what_is_no_command_or_option_is_named_with_the_nearest() {
    refused(&[], &["Usage", "check", "run", "status"]);
    refused(&["runn"], &["'runn'", "'run'"]);
    refused(&["follow"], &["'follow'", "--help"]);
    refused(&["run", "-c", "x.toml", "--until-curent"], &["'--until-curent'", "'--until-current'"]);
    for command in COMMANDS {
        refused(&[command], &["--config <CONFIG>"]);
        refused(&[command, "-c", "x.toml", "more"], &["'more'"]);
    }
}

#[test]
fn a_file_that_is_not_there_is_a_directory_or_is_not_text_is_named() {
    let directory = std::env::temp_dir();
    let bytes = File::holding("bytes", &[0xff, 0xfe, b'a']);
    let empty = File::holding("empty", b"");
    for command in COMMANDS {
        refused(&[command, "-c", "no/such/file.toml"], &["no/such/file.toml", "No such file", "check the path"]);
        refused(&[command, "-c", directory.to_str().unwrap()], &["Is a directory", "check the path"]);
        refused(&[command, "-c", bytes.path()], &[bytes.path(), "is not UTF-8", "save it as UTF-8"]);
        refused(&[command, "-c", empty.path()], &["3 problems", "pipeline.name", "names no source", "names no sink"]);
    }
}

#[test]
fn a_file_with_every_kind_of_mistake_is_refused_with_each_of_them() {
    let file = File::holding(
        "mistakes",
        br#"[pipeline]
name = "shop"
gracee = 3
[source.postgres]
url = "postgres://u:${TAILWATER_TEST_NOT_SET}@db/shop"
tables = "CANARY"
snapshot = 3
create = "yes"
[sink.kafka]
bootstrap = "http://CANARY:9092"
prefix = "with space"
format = "json"
topic.partitions = "CANARY"
[serve]
listen = 9187
"#,
    );
    for command in COMMANDS {
        let says = [
            "9 problems",
            "line 3: pipeline.gracee: is not a key that Tailwater knows; did you mean `grace`?",
            "line 5: source.postgres.url: needs the environment variable TAILWATER_TEST_NOT_SET, which is not set; set",
            "line 6: source.postgres.tables: is not a list; write it as tables = [",
            "line 7: source.postgres.snapshot: is not a text; put it in quotes",
            "line 8: source.postgres.create: is neither true nor false; write true or false",
            "line 10: sink.kafka.bootstrap: is not a list of brokers; write each as host:port",
            "line 11: sink.kafka.prefix: can't begin a topic's name; use up to 100 letters",
            "line 13: sink.kafka.topic.partitions: is not a whole number in its range; use 1 to 10000",
            "line 15: serve.listen: is not a text; put it in quotes",
        ];
        refused(&[command, "-c", file.path()], &says);
    }
    assert!(!Path::new("shop").exists());
}
