//! A script of SQL that is run through a connector, and how the connectors are set up for it.
//!
//! ```text
//! --- title            what it is about
//! --- tailwater LINE   a line of [sink.kafka.envelope]
//! --- debezium KEY=VALUE
//! --- only FORM        json, avro or plain; the first two without it
//! --- include NAME     the statements of another script
//! --- snapshot         statements from here on come before the connectors start
//! --- step             these come after; before the next step both have told everything so far
//! ```

use std::path::PathBuf;

use super::run::Form;

/// A script.
pub struct Script {
    /// The file's name without its ending.
    pub name: String,
    /// The one form it is for, if it is not for all.
    pub only: Option<String>,
    /// Lines of `[sink.kafka.envelope]`.
    pub tailwater: Vec<String>,
    /// Settings of Debezium's connector.
    pub debezium: Vec<(String, String)>,
    /// Statements before the connectors start.
    pub snapshot: String,
    /// Statements after that.
    pub steps: Vec<String>,
}

/// Where the scripts and what they are to give are kept.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

impl Script {
    /// The scripts that are kept, in the order of their names.
    pub fn all() -> Vec<Script> {
        let files = std::fs::read_dir(folder()).expect("tests/contract is there");
        let mut names: Vec<String> = files
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
            .collect();
        names.sort();
        names.iter().map(|name| Script::named(name)).collect()
    }

    /// One of them.
    pub fn named(name: &str) -> Script {
        let text = std::fs::read_to_string(folder().join(format!("{name}.sql"))).expect("the script is there");
        Script::parse(name, &text)
    }

    /// From its text.
    pub fn parse(name: &str, text: &str) -> Script {
        let mut script = Script {
            name: name.to_owned(),
            only: None,
            tailwater: Vec::new(),
            debezium: Vec::new(),
            snapshot: String::new(),
            steps: Vec::new(),
        };
        script.add(text);
        script
    }

    fn add(&mut self, text: &str) {
        for line in text.lines() {
            let directive = line.strip_prefix("--- ").map(|line| line.split_once(' ').unwrap_or((line, "")));
            match directive {
                Some(("title" | "snapshot", _)) => {}
                Some(("only", form)) => self.only = Some(form.to_owned()),
                Some(("include", name)) => {
                    let other = Script::named(name);
                    (self.snapshot, self.steps) = (other.snapshot, other.steps);
                }
                Some(("tailwater", line)) => self.tailwater.push(line.to_owned()),
                Some(("debezium", setting)) => {
                    let (key, value) = setting.split_once('=').expect("KEY=VALUE");
                    self.debezium.push((key.to_owned(), value.to_owned()));
                }
                Some(("step", _)) => self.steps.push(String::new()),
                Some((other, _)) => panic!("{}: no such directive: {other}", self.name),
                None => {
                    let part = self.steps.last_mut().unwrap_or(&mut self.snapshot);
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
    }

    /// The forms it is for.
    pub fn forms(&self) -> impl Iterator<Item = Form> {
        let wanted = |form: &Form| self.only.as_ref().map_or(*form != Form::Plain, |only| only == form.name());
        Form::ALL.into_iter().filter(wanted)
    }

    /// The file with what it is to give in a form.
    pub fn golden(&self, form: Form) -> PathBuf {
        folder().join(format!("{}.{}", self.name, form.name()))
    }

    /// The statements of a part, each of which is to be a transaction unless the part says otherwise.
    pub fn statements(part: &str) -> Vec<&str> {
        part.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).collect()
    }
}
