//! What Redshift refuses of what PostgreSQL takes, and how the rest is said to PostgreSQL.

use super::lexer::{Token, text, tokens};

/// A refusal in Redshift's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub detail: String,
}

/// Refuses with a code and a message.
pub fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into(), detail: String::new() })
}

/// What is to be done for a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Hand this to PostgreSQL.
    Run(String),
    /// Commit first: the statement does.
    Commits(String),
    /// COPY, with its tokens.
    Copy(Vec<Token>),
    /// Say how many rows the last COPY loaded.
    CopyCount,
    /// Change the length of a text column: table, column, bytes, and the statement.
    Widen(String, String, usize, String),
}

/// Types that tables can't have.
const UNKNOWN_TYPES: [&str; 14] = [
    "uuid",
    "json",
    "jsonb",
    "bytea",
    "interval",
    "inet",
    "cidr",
    "macaddr",
    "xml",
    "money",
    "hstore",
    "serial",
    "bigserial",
    "citext",
];
const SYSTEM_COLUMNS: [&str; 7] = ["oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// Functions that only the leader node has, so that no table can be met with them.
const LEADER_ONLY: [&str; 6] =
    ["now", "generate_series", "string_agg", "array_agg", "pg_advisory_lock", "pg_try_advisory_lock"];

/// Judges one statement; `open` says whether a transaction is.
pub fn judge(sql: &str, open: bool) -> Result<Step, Refusal> {
    if sql.len() > 16 << 20 {
        return refuse(
            "54001",
            "Statement is too large. Statement Size: > 16777216 bytes. Maximum Allowed: 16777216 bytes",
        );
    }
    let all = tokens(sql.trim().trim_end_matches(';'));
    let bare: Vec<&Token> = all.iter().filter(|token| **token != Token::Space).collect();
    if bare.contains(&&Token::Sign(';')) {
        return refuse("42601", "the shim takes one statement at a time");
    }
    let starts = |words: &[&str]| words.iter().enumerate().all(|(i, word)| bare.get(i).is_some_and(|t| t.is(word)));
    refused_anywhere(&bare)?;
    if starts(&["begin"]) {
        return Ok(Step::Run("BEGIN ISOLATION LEVEL REPEATABLE READ".to_owned()));
    }
    if starts(&["copy"]) {
        return Ok(Step::Copy(all));
    }
    if starts(&["truncate"]) || starts(&["vacuum"]) {
        return Ok(Step::Commits(rewritten(&all)?));
    }
    if bare.iter().any(|t| t.is("pg_last_copy_count")) {
        return Ok(Step::CopyCount);
    }
    if starts(&["create", "or", "replace", "view"]) {
        // It depends on nothing there. PostgreSQL's does, which is stricter.
        return match sql.strip_suffix(" WITH NO SCHEMA BINDING") {
            Some(view) => Ok(Step::Run(rewritten(&tokens(view))?)),
            None => refuse("0A000", "the shim knows views without schema binding only"),
        };
    }
    if starts(&["create", "table"]) || starts(&["create", "temp", "table"]) || starts(&["alter", "table"]) {
        refused_of_columns(&bare)?;
    } else if starts(&["create"]) && !starts(&["create", "schema"]) {
        return refuse(
            "0A000",
            format!("this kind of CREATE is not supported: {}", sql.chars().take(40).collect::<String>()),
        );
    }
    if starts(&["alter", "table"]) {
        return alter(&all, &bare, open);
    }
    if starts(&["delete", "from"]) {
        // schema . name, or name
        let after = if bare.get(3) == Some(&&Token::Sign('.')) { 5 } else { 3 };
        if bare.get(after).is_some_and(|token| !token.is("using") && !token.is("where")) {
            return refuse("42601", "syntax error: DELETE does not take an alias");
        }
    }
    Ok(Step::Run(rewritten(&all)?))
}

fn refused_anywhere(bare: &[&Token]) -> Result<(), Refusal> {
    let pairs = |a: &str, b: &str| bare.windows(2).any(|pair| pair[0].is(a) && pair[1].is(b));
    let has = |word: &str| bare.iter().any(|token| token.is(word));
    for (a, b) in [("on", "conflict"), ("distinct", "from"), ("to", "savepoint"), ("if", "exists")] {
        let dropping = bare.first().is_some_and(|token| token.is("drop"));
        if pairs(a, b) && !(dropping && a == "if") {
            return refuse("42601", format!("syntax error at or near \"{a}\""));
        }
    }
    for word in ["savepoint", "returning", "unlogged", "lateral", "do", "merge", "overriding"] {
        if has(word) {
            return refuse("42601", format!("syntax error at or near \"{word}\""));
        }
    }
    if bare.contains(&&Token::Sign('[')) {
        return refuse("0A000", "array types are not supported");
    }
    let calls = |word: &str| bare.windows(2).any(|pair| pair[0].is(word) && *pair[1] == Token::Sign('('));
    if let Some(function) = LEADER_ONLY.iter().find(|function| calls(function)) {
        return refuse(
            "0A000",
            format!("Specified types or functions (one per INFO message) not supported on Redshift tables: {function}"),
        );
    }
    let of_rows = |pair: &[&Token]| *pair[0] == Token::Sign(')') && matches!(pair[1], Token::Sign('<' | '>'));
    if bare.windows(2).any(of_rows) {
        return refuse("0A000", "comparison of rows is not supported");
    }
    Ok(())
}

fn refused_of_columns(bare: &[&Token]) -> Result<(), Refusal> {
    for pair in bare.windows(2) {
        let begins = matches!(pair[0], Token::Sign('(' | ',')) || pair[0].is("column");
        if let Token::Name(name) = pair[1]
            && begins
            && SYSTEM_COLUMNS.contains(&name.to_ascii_lowercase().as_str())
        {
            return refuse("42701", format!("column name \"{name}\" conflicts with a system column name"));
        }
        if let (Token::Name(name), Token::Word(word)) = (pair[0], pair[1])
            && UNKNOWN_TYPES.contains(&word.to_ascii_lowercase().as_str())
        {
            return refuse("0A000", format!("Column \"{name}\" has unsupported type \"{word}\"."));
        }
    }
    for token in bare {
        if let Token::Name(name) = token
            && name.len() > 127
        {
            return refuse("42622", format!("identifier \"{name}\" is longer than 127 bytes"));
        }
    }
    Ok(())
}

fn alter(all: &[Token], bare: &[&Token], open: bool) -> Result<Step, Refusal> {
    let adds = bare.iter().filter(|token| token.is("add")).count();
    if adds > 1 {
        return refuse("42601", "syntax error: one column can be added at a time");
    }
    if bare.windows(2).any(|pair| pair[0].is("column") && pair[1].is("if")) {
        return refuse("42601", "syntax error at or near \"not\"");
    }
    let Some(at) = bare.iter().position(|token| token.is("type")) else {
        let drops = bare.windows(2).any(|pair| pair[0].is("drop") && pair[1].is("not"));
        return if drops { refuse("0A000", "NOT NULL can't be dropped") } else { Ok(Step::Run(rewritten(all)?)) };
    };
    if open {
        return refuse("25001", "ALTER TABLE ALTER COLUMN cannot run inside a transaction block");
    }
    let size = match &bare[at + 1..] {
        [a, b, Token::Sign('('), Token::Word(size), Token::Sign(')')] if a.is("character") && b.is("varying") => size,
        [a, Token::Sign('('), Token::Word(size), Token::Sign(')')] if a.is("varchar") => size,
        _ => return refuse("0A000", "ALTER COLUMN TYPE: only the size of VARCHAR columns can be changed"),
    };
    let (schema, table, column) = match (bare[2], bare[4], bare[at - 1]) {
        (Token::Name(schema), Token::Name(table), Token::Name(column)) => (schema, table, column),
        _ => return refuse("42601", "the shim wants quoted names with their schema"),
    };
    let table = format!("\"{}\".\"{}\"", fold(schema).replace('"', "\"\""), fold(table).replace('"', "\"\""));
    Ok(Step::Widen(table, fold(column), size.parse().unwrap_or(0), rewritten(all)?))
}

fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The statement as PostgreSQL takes it: names folded, types and functions replaced, what only clusters know left out.
pub fn rewritten(all: &[Token]) -> Result<String, Refusal> {
    let mut out: Vec<Token> = Vec::new();
    let mut rest = all.iter().filter(|token| **token != Token::Space).peekable();
    let mut skip_list = false;
    while let Some(token) = rest.next() {
        let word = match token {
            Token::Word(word) => word.to_ascii_lowercase(),
            Token::Name(name) => {
                out.extend([Token::Space, Token::Name(fold(name))]);
                continue;
            }
            other => {
                out.push(other.clone());
                continue;
            }
        };
        out.push(Token::Space);
        match word.as_str() {
            "encode" | "diststyle" => drop(rest.next()),
            "distkey" | "sortkey" => skip_list = true,
            "text" => out.extend(tokens("rs.varchar_256")),
            "json_serialize" => out.extend(tokens("rs.json_serialize")),
            "super" => out.extend(tokens("rs.super")),
            "character" | "binary" if rest.peek().is_some_and(|next| next.is("varying")) => {
                rest.next();
                out.extend(sized(&word, &mut rest)?);
            }
            "varchar" | "varbyte" => out.extend(sized(&word, &mut rest)?),
            "pg_catalog" => out.push(token.clone()),
            "format_type" => {
                // ... pg_catalog . format_type
                out.truncate(out.len() - 3);
                out.extend(tokens("rs.format_type"));
            }
            _ => out.push(token.clone()),
        }
        if std::mem::take(&mut skip_list) {
            for inner in rest.by_ref() {
                if *inner == Token::Sign(')') {
                    break;
                }
            }
        }
    }
    Ok(text(&out))
}

fn sized<'a>(
    word: &str,
    rest: &mut std::iter::Peekable<impl Iterator<Item = &'a Token>>,
) -> Result<Vec<Token>, Refusal> {
    let text = matches!(word, "character" | "varchar");
    let mut size = if text { 256 } else { 64_000 };
    if rest.peek() == Some(&&Token::Sign('(')) {
        rest.next();
        if let Some(Token::Word(given)) = rest.next() {
            size = given.parse().unwrap_or(if text { 65_535 } else { 1_024_000 });
        }
        rest.next();
    }
    let most = if text { 65_535 } else { 1_024_000 };
    if size > most {
        return refuse("22023", format!("length for type character varying cannot exceed {most}"));
    }
    Ok(tokens(&format!("rs.{}_{size}", if text { "varchar" } else { "varbyte" })))
}

/// The sized types that a rewritten statement names: `varchar_256`.
pub fn domains(sql: &str) -> Vec<(bool, usize)> {
    let all = tokens(sql);
    let named = all.windows(3).filter(|three| three[0].is("rs") && three[1] == Token::Sign('.'));
    let domain = |three: &[Token]| match &three[2] {
        Token::Word(word) => {
            let (kind, size) = word.split_once('_')?;
            matches!(kind, "varchar" | "varbyte").then_some((kind == "varchar", size.parse().ok()?))
        }
        _ => None,
    };
    named.filter_map(domain).collect()
}
