//! A TOML file as a tree that remembers where each value stands and which keys were asked for.

use std::collections::BTreeSet;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key's path; empty for the file as a whole.
    pub path: String,
    /// The line, from 1; 0 for a file that can't be read at all.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let line = if self.line == 0 { String::new() } else { format!("line {}: ", self.line) };
        write!(f, "{line}{path}{}; {}", self.what, self.remedy)
    }
}

/// A table of the file being read: each key asked for once, the rest are unknown.
pub(super) struct Section<'a> {
    text: &'a str,
    path: String,
    start: usize,
    table: Option<&'a DeTable<'a>>,
    known: BTreeSet<&'static str>,
}

/// The problems found so far.
pub(super) type Problems = Vec<Problem>;

impl<'a> Section<'a> {
    pub(super) fn root(text: &'a str, table: &'a DeTable<'a>) -> Section<'a> {
        Section { text, path: String::new(), start: 0, table: Some(table), known: BTreeSet::new() }
    }

    pub(super) fn present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the key is there at all.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Makes a key known that is not read.
    pub(super) fn known(&mut self, key: &'static str) {
        self.known.insert(key);
    }

    fn full(&self, key: &str) -> String {
        if key.is_empty() {
            return self.path.clone();
        }
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn line(&self, at: usize) -> usize {
        self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.table?.get(key)
    }

    /// Notes what is wrong with a key, or with the section where the key is absent.
    pub(super) fn problem(
        &self,
        key: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
        problems: &mut Problems,
    ) {
        let at = self.table.and_then(|table| table.get(key)).map_or(self.start, |value| value.span().start);
        problems.push(Problem { path: self.full(key), line: self.line(at), what: what.into(), remedy: remedy.into() });
    }

    /// A section inside this one.
    pub(super) fn section(&mut self, key: &'static str, problems: &mut Problems) -> Section<'a> {
        let value = self.value(key);
        let table = match value.map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            None => None,
            Some(_) => {
                self.problem(key, "is not a table", format!("write it as [{}]", self.full(key)), problems);
                None
            }
        };
        let start = value.map_or(self.start, |value| value.span().start);
        Section { text: self.text, path: self.full(key), start, table, known: BTreeSet::new() }
    }

    /// The sections of a list, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let (text, path) = (self.text, self.full(key));
        let section = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => {
                let start = item.span().start;
                Some(Section { text, path: path.clone(), start, table: Some(table), known: BTreeSet::new() })
            }
            _ => None,
        };
        let found = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(section).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        found.unwrap_or_else(|| {
            self.problem(key, "is not a list of tables", format!("write each as [[{}]]", self.full(key)), problems);
            Vec::new()
        })
    }

    /// A text, with `${NAME}` replaced from the environment.
    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        self.text_with(key, &[], problems)
    }

    /// A text in which some names keep their `${NAME}`.
    pub(super) fn text_with(&mut self, key: &'static str, kept: &[&str], problems: &mut Problems) -> Option<String> {
        match self.value(key)?.get_ref() {
            DeValue::String(text) => self.substitute(key, text, kept, problems),
            _ => {
                self.problem(key, "is not a text", "put it in quotes", problems);
                None
            }
        }
    }

    fn substitute(&self, key: &str, text: &str, kept: &[&str], problems: &mut Problems) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.problem(key, "has a ${ without its }", "close it, as in ${NAME}", problems);
                return None;
            };
            match std::env::var(name) {
                _ if kept.contains(&name) => out.push_str(&format!("${{{name}}}")),
                Ok(value) => out.push_str(&value),
                Err(_) => {
                    self.problem(
                        key,
                        format!("needs the environment variable {name}, which is not set"),
                        format!("set {name}"),
                        problems,
                    );
                    return None;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }

    /// A text that may be a secret: `file:/path` reads it from there.
    pub(super) fn secret(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        let text = self.text(key, problems)?;
        let Some(path) = text.strip_prefix("file:") else { return Some(text) };
        match std::fs::read_to_string(path) {
            Ok(secret) => Some(secret.trim_end().to_owned()),
            Err(error) => {
                self.problem(
                    key,
                    format!("names a file that can't be read ({})", error.kind()),
                    "check its path and rights",
                    problems,
                );
                None
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Option<Vec<String>> {
        let DeValue::Array(items) = self.value(key)?.get_ref() else {
            self.problem(key, "is not a list", format!("write it as {key} = [\"...\"]"), problems);
            return None;
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push(self.substitute(key, text, &[], problems)?),
                _ => {
                    self.problem(key, "holds something that is not a text", "put each in quotes", problems);
                    return None;
                }
            }
        }
        Some(texts)
    }

    /// A whole number in a range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                self.problem(
                    key,
                    "is not a whole number in its range",
                    format!("use {} to {}", range.start(), range.end()),
                    problems,
                );
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.problem(key, "is neither true nor false", "write true or false, without quotes", problems);
                None
            }
        }
    }

    /// All keys of the section as texts: for properties that are handed on.
    pub(super) fn all_texts(&mut self, problems: &mut Problems) -> Vec<(String, String)> {
        self.all_texts_with(&[], problems)
    }

    /// The same where a text may hold `${name}` for each of these names.
    pub(super) fn all_texts_with(&mut self, names: &[&str], problems: &mut Problems) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, value) in self.table.into_iter().flatten() {
            let key = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::String(text) => {
                    if let Some(text) = self.substitute(key, text, names, problems) {
                        all.push((key.to_owned(), text));
                    }
                }
                DeValue::Integer(number) => all.push((key.to_owned(), number.as_str().to_owned())),
                DeValue::Boolean(flag) => all.push((key.to_owned(), flag.to_string())),
                _ => self.problem(key, "is not a text", "put it in quotes", problems),
            }
        }
        all
    }

    /// Notes every key that nobody asked for, with the nearest known one.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (name, _) in self.table.into_iter().flatten() {
            let name = name.get_ref().as_ref();
            if self.known.contains(name) {
                continue;
            }
            let near = self.known.iter().map(|known| (distance(name, known), known)).min().filter(|(far, _)| *far <= 3);
            let remedy = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None if self.known.is_empty() => "remove it".to_owned(),
                None => format!("known here: {}", self.known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.problem(name, "is not a key that Tailwater knows", remedy, problems);
        }
    }
}

/// Letters to change to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (&y, pair) in b.iter().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            let before = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(x != y)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
