//! The five floors: imports point downward, rooms of one floor do not know each other, drivers stay upstairs.
//!
//! Reads every file of `src/` as tokens, resolves each path that begins with `crate`, `super` or `self` to where it
//! leads, and compares floors. Comments and literals do not count.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the ground up; a floor's number is its place.
const FLOORS: [&str; 5] = ["model", "codecs", "logic", "adapters", "app"];
/// From this floor on, drivers may be used.
const DRIVERS_FROM: usize = 3;
const DRIVERS: [&str; 5] = ["tokio_postgres", "postgres_protocol", "rdkafka", "duckdb", "axum"];

/// A floor's number and the room on it; the floor's own `mod.rs` has no room, and model is one room.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    floor: usize,
    room: Option<String>,
}

/// Where a module path lies; `None` for the crate's root and what is on no floor.
fn place(path: &[String]) -> Option<Place> {
    let floor = FLOORS.iter().position(|name| path.first().is_some_and(|first| first == name))?;
    let single = floor == 0 || floor == FLOORS.len() - 1;
    Some(Place { floor, room: if single { None } else { path.get(1).cloned() } })
}

/// What is wrong with an import from one module path to another.
fn edge(from: &[String], to: &[String]) -> Option<&'static str> {
    let here = place(from)?;
    let Some(there) = place(to) else {
        // Floors only: the root itself would open every one of them.
        return to.is_empty().then_some("reaches for the whole crate");
    };
    if there.floor > here.floor {
        Some("points upward")
    } else if there.floor == here.floor && here.room.is_some() && there.room != here.room {
        Some("points sideways")
    } else {
        None
    }
}

/// Identifiers, `::` and single signs of a source text, without comments and literals.
fn tokens(source: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if c.is_alphabetic() || c == '_' || c.is_ascii_digit() {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            // `r#name` is the identifier `name`.
            let raw = &rest[..length] == "r" && rest[length..].starts_with('#');
            if !raw {
                out.push(rest[..length].to_owned());
            }
            length + usize::from(raw)
        } else if rest.starts_with("::") {
            out.push("::".to_owned());
            2
        } else {
            if !c.is_whitespace() {
                out.push(c.to_string());
            }
            c.len_utf8()
        };
        rest = &rest[taken..];
    }
    out
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string or character literal that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            rest.starts_with('"') || prefix.ends_with('r') && rest.trim_start_matches('#').starts_with('"')
        })
    });
    if let Some(prefix) = prefix {
        let rest = &text[prefix.len()..];
        if prefix.ends_with('r') {
            let hashes = rest.len() - rest.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 1;
            let length = rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len());
            return Some(prefix.len() + length);
        }
        return Some(prefix.len() + quoted(rest, '"'));
    }
    let rest = text.strip_prefix('b').unwrap_or(text);
    let mut chars = rest.chars();
    // A quote begins a character when the next but one ends it, or after a backslash; else it is a lifetime.
    let character = chars.next() == Some('\'')
        && match chars.next() {
            Some('\\') => true,
            Some(_) => chars.next() == Some('\''),
            None => false,
        };
    character.then(|| text.len() - rest.len() + quoted(rest, '\''))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Everything wrong with one file whose module path is `module`.
fn faults(module: &[String], source: &str) -> BTreeSet<String> {
    let tokens = tokens(source);
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let own: BTreeSet<&str> = (1..tokens.len()).filter(|&at| token(at - 1) == "mod").map(token).collect();
    let mut faults = BTreeSet::new();
    // Modules written out in this file, each with the depth of its braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while at < tokens.len() {
        // A leading `::` begins a path, too.
        let begins = at == 0 || token(at - 1) != "::" || at < 2 || !joins(token(at - 2));
        match token(at) {
            "{" => depth += 1,
            "}" => {
                depth = usize::saturating_sub(depth, 1);
                inline.retain(|(_, opened)| *opened <= depth);
            }
            "mod" if token(at + 2) == "{" => inline.push((token(at + 1).to_owned(), depth + 1)),
            "[" if token(at + 1) == "path" && token(at + 2) == "=" => {
                faults.insert("names a file by `#[path]`, which this test can't follow".to_owned());
            }
            "include" if token(at + 1) == "!" => {
                faults.insert("uses `include!`, which this test can't follow".to_owned());
            }
            "crate" | "super" | "self" if begins && token(at + 1) == "::" => {
                let here: Vec<String> =
                    module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                let mut found = Vec::new();
                at = tree(&tokens, at, &mut Vec::new(), &mut found);
                for path in found {
                    let to = resolve(&here, &path);
                    if let Some(fault) = edge(module, &to) {
                        faults.insert(format!("{fault}: {}", path.join("::")));
                    }
                }
                continue;
            }
            "tailwater" if begins && token(at + 1) == "::" => {
                faults.insert("names its own crate from outside".to_owned());
            }
            name if DRIVERS.contains(&name) && begins => {
                let path = token(at + 1) == "::" || matches!(token(at.wrapping_sub(1)), "use" | "crate");
                let outside = !own.contains(name) || at > 0 && token(at - 1) == "::";
                let below = place(module).is_some_and(|place| place.floor < DRIVERS_FROM);
                if path && outside && below {
                    faults.insert(format!("uses a driver below floor {DRIVERS_FROM}: {name}"));
                }
            }
            _ => {}
        }
        at += 1;
    }
    faults
}

/// Whether a `::` after this token goes on with a path rather than beginning one.
fn joins(token: &str) -> bool {
    let keyword = ["use", "as", "dyn", "impl", "in", "mut", "return", "const"].contains(&token);
    !keyword && (token == ">" || token.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Reads the path or use tree that begins at `at`; collects its leaves and returns where it ends.
fn tree(tokens: &[String], mut at: usize, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let before = path.len();
    loop {
        match tokens.get(at).map_or("", String::as_str) {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = tree(tokens, at, path, found);
                    // Over `as name` and the comma.
                    while tokens.get(at).is_some_and(|token| token != "," && token != "}") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                at += 1;
                break;
            }
            name => {
                path.push(name.to_owned());
                at += 1;
                if tokens.get(at).is_none_or(|token| token != "::") {
                    found.push(path.clone());
                    break;
                }
                at += 1;
            }
        }
    }
    path.truncate(before);
    at
}

/// The absolute module path that a path written in module `here` leads to.
fn resolve(here: &[String], path: &[String]) -> Vec<String> {
    let mut to = here.to_vec();
    for segment in path {
        match segment.as_str() {
            "crate" => to.clear(),
            "super" => drop(to.pop()),
            "self" | "*" => {}
            name => to.push(name.to_owned()),
        }
    }
    to
}

/// All source files below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `adapters/kafka/mod.rs` is module `adapters::kafka`.
fn module(file: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

fn split(path: &str) -> Vec<String> {
    path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_import_points_downward() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    assert!(found.len() > 20, "only {} files below {}", found.len(), src.display());
    let mut report = String::new();
    for file in found {
        let name = file.strip_prefix(&src).unwrap();
        // The binary's root stands on top of everything and names the library from outside.
        if name == Path::new("main.rs") {
            continue;
        }
        for fault in faults(&module(name), &std::fs::read_to_string(&file).unwrap()) {
            report += &format!("src/{}: {fault}\n", name.display());
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn a_planted_edge_is_found() {
    for (module, source) in [
        ("model::row", "use crate::codecs::copy::text;"),
        ("codecs::copy", "use crate::codecs::event::Plan;"),
        ("codecs::copy::text", "fn f() -> super::super::event::Plan { todo!() }"),
        ("codecs::copy::text", "use super::super::super::logic::merge::Stage;"),
        ("adapters::postgres", "fn f() { let x: &crate::adapters::kafka::Client; }"),
        ("adapters::postgres", "use crate::{model::Lsn, adapters::{postgres::slot, kafka as k}};"),
        ("adapters::postgres", "mod inner { use super::super::kafka; }"),
        ("adapters::postgres", "mod inner { } use super::kafka;"),
        ("logic::merge", "use crate::logic;"),
        ("logic::merge", "use crate::logic::*;"),
        ("logic::merge", "use crate::{self as root};"),
        ("logic::merge", "use super::{assemble, merge};"),
        ("logic::merge", "use super::*;"),
        ("logic::merge", "pub use tokio_postgres::Client;"),
        ("logic::merge", "fn f(x: ::rdkafka::Message) {}"),
        ("codecs::dialect", "mod duckdb; use ::duckdb::Connection;"),
        ("codecs::event", "use {axum::Router, bytes::Bytes};"),
        ("model", "extern crate postgres_protocol;"),
        ("adapters::kafka", "#[path = \"../postgres/slot.rs\"] mod slot;"),
        ("model", "include!(\"../app/mod.rs\");"),
        ("model", "use tailwater::app::config;"),
        ("model", "const X: &str = r#\" \" \"#; const C: char = '\"'; use crate::app::x; // \""),
        ("model", "fn f<'a>(x: &'a str) {} use r#crate::x; use crate::r#app::x;"),
        ("logic::merge", "/* /* */ */ use crate::app::config;"),
    ] {
        assert!(!faults(&split(module), source).is_empty(), "nothing found in {module}: {source}");
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (module, source) in [
        ("adapters::postgres::slot", "use crate::{model::{Lsn, Oid}, logic::merge, codecs::copy::*};"),
        ("adapters::postgres::slot", "use super::{Endpoint, super::postgres::slot}; use crate::adapters::postgres::x;"),
        ("adapters::postgres::slot", "use tokio_postgres::Client; mod tests { use super::*; use super::super::x; }"),
        ("app::wiring", "use crate::adapters::{kafka, postgres}; use super::config; use crate::app::serve;"),
        ("adapters", "pub mod kafka; pub use self::kafka::Client;"),
        ("codecs::dialect", "mod duckdb; pub use duckdb::Duckdb; pub(crate) fn f() {} pub(super) fn g() {}"),
        ("model", "// use crate::app::x;\n/* crate::app */ const X: &str = \"crate::app::x \\\" super::super::y\";"),
        ("model::row", "use super::Lsn; use crate::model::Oid; use self::inner::X;"),
        ("logic::merge", "fn f() { let duckdb = 1; let s = super::merge::X { axum: duckdb }; }"),
        ("", "pub mod adapters; pub mod app;"),
    ] {
        assert_eq!(faults(&split(module), source), BTreeSet::new(), "{module}: {source}");
    }
}
