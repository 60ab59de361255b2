//! Routers of topics: an expression over topics' names becomes a pattern of tables, its replacement a template.
//!
//! Topics are called `<prefix>.<schema>.<table>`. `(.*)orders_(.*)` with `$1orders` is the pattern `*.orders_*` with the
//! template `${prefix}.${schema}.orders`: what stands for whole parts of the name has a word in templates, what stands
//! for a piece of one has none.

use crate::model::Pattern;

/// What an expression comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expression {
    /// The tables whose topics it matches.
    pub(super) tables: String,
    /// Whether the pattern matches more than the expression does, whose characters are of one kind.
    pub(super) wider: bool,
    /// The whole match and its groups as templates; nothing where there is no word for one.
    groups: Vec<Option<String>>,
}

/// What is set for the tables of a router.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) tables: String,
    /// Lines of `[[table]]`.
    pub(super) lines: String,
}

impl Route {
    /// Whether it is for a table, or for the same pattern.
    pub(super) fn is_for(&self, table: &str) -> bool {
        self.tables == table || Pattern::new(&self.tables).matches(table)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Open,
    Close,
    Text(char),
    Prefix,
    Any,
}

impl Expression {
    /// Reads one that has to match all of a name; nothing where no pattern says it.
    pub(super) fn read(expression: &str, prefix: &str) -> Option<Expression> {
        let (mut pieces, wider) = pieces(expression)?;
        fold_prefix(&mut pieces, prefix);
        let flat: Vec<Piece> =
            pieces.iter().copied().filter(|piece| !matches!(piece, Piece::Open | Piece::Close)).collect();
        let said = said(&flat)?;
        let pattern: String = said.iter().map(|(pattern, _)| pattern.as_str()).collect();
        let (first, tables) = pattern.split_once('.')?;
        // What matches everything is written as everybody writes it.
        let tables = if tables == "*.*" { "*" } else { tables };
        (first == PREFIX || Pattern::new(first).matches(prefix)).then_some(())?;
        Some(Expression { tables: tables.to_owned(), wider, groups: groups(&pieces, &said)? })
    }

    /// A replacement as a template.
    pub(super) fn template(&self, replacement: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = replacement.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\\' => out.push(rest.next()?),
                '$' => {
                    let braced = rest.next_if_eq(&'{').is_some();
                    let group = rest.next()?.to_digit(10)?;
                    if braced && rest.next()? != '}' {
                        return None;
                    }
                    out.push_str(self.groups.get(usize::try_from(group).ok()?)?.as_deref()?);
                }
                plain => out.push(plain),
            }
        }
        Some(out)
    }
}

const PREFIX: &str = "${prefix}";

fn pieces(expression: &str) -> Option<(Vec<Piece>, bool)> {
    let (mut pieces, mut wider) = (Vec::new(), false);
    let mut rest = expression.strip_prefix('^').unwrap_or(expression).chars().peekable();
    while let Some(c) = rest.next() {
        let class = match c {
            '(' if rest.peek() == Some(&'?') => return None,
            '(' => {
                pieces.push(Piece::Open);
                continue;
            }
            ')' => {
                pieces.push(Piece::Close);
                continue;
            }
            '$' if rest.peek().is_none() => continue,
            '.' => matches!(rest.peek(), Some('*' | '+')),
            '\\' if matches!(rest.peek(), Some('d' | 'w')) => {
                wider = true;
                rest.next();
                true
            }
            '[' => {
                let inside: String = rest.by_ref().take_while(|c| *c != ']').collect();
                wider |= inside != "^.";
                true
            }
            _ => false,
        };
        match (class, c) {
            (true, _) => {
                rest.next_if(|c| matches!(c, '*' | '+'))?;
                rest.next_if_eq(&'?');
                pieces.push(Piece::Any);
            }
            (_, '\\') => pieces.push(Piece::Text(rest.next().filter(|c| !c.is_ascii_alphanumeric())?)),
            (_, ']' | '{' | '}' | '|' | '+' | '*' | '?' | '^' | '$') => return None,
            (_, plain) => pieces.push(Piece::Text(plain)),
        }
    }
    Some((pieces, wider))
}

/// Makes the prefix, where it is written out, one piece: it may hold points.
fn fold_prefix(pieces: &mut Vec<Piece>, prefix: &str) {
    let start = usize::from(pieces.first() == Some(&Piece::Open));
    let end = start + prefix.chars().count();
    let written = pieces.get(start..end).is_some_and(|found| found.iter().copied().eq(prefix.chars().map(Piece::Text)));
    let bounded = matches!(pieces.get(end), Some(Piece::Text('.') | Piece::Close));
    if written && bounded {
        pieces.splice(start..end, [Piece::Prefix]);
    }
}

/// Each piece as part of a pattern of whole names, and of a template.
fn said(flat: &[Piece]) -> Option<Vec<(String, Option<String>)>> {
    let point = Piece::Text('.');
    let points = flat.iter().filter(|piece| **piece == point).count();
    let any = |pattern: &str, template: &str| (pattern.to_owned(), Some(template.to_owned()));
    let mut part = 0;
    let mut said = Vec::new();
    for (at, piece) in flat.iter().enumerate() {
        let begins = at == 0 || flat.get(at - 1) == Some(&point);
        let next = flat.get(at + 1);
        let ends = next.is_none_or(|next| *next == point);
        said.push(match piece {
            Piece::Text('.') => {
                part += 1;
                any(".", ".")
            }
            Piece::Text(text) => (text.to_string(), Some(text.to_string())),
            Piece::Prefix => any(PREFIX, PREFIX),
            // The first takes what parts the rest does not have.
            Piece::Any if at == 0 && points < 2 => {
                part = 2 - points;
                match (points, next) {
                    (0, None) => any("*.*.*", "${prefix}.${schema}.${table}"),
                    (0, Some(_)) => any("*.*.", "${prefix}.${schema}."),
                    (1, Some(Piece::Text('.'))) => any("*.*", "${prefix}.${schema}"),
                    _ => return None,
                }
            }
            Piece::Any if points == 1 && begins && next.is_none() => {
                part = 2;
                any("*.*", "${schema}.${table}")
            }
            Piece::Any => {
                let whole = (begins && ends).then(|| ["${prefix}", "${schema}", "${table}"].get(part)).flatten();
                ("*".to_owned(), whole.map(ToString::to_string))
            }
            Piece::Open | Piece::Close => return None,
        });
    }
    (part == 2).then_some(said)
}

/// The whole match, and each group by the order in which they open.
fn groups(pieces: &[Piece], said: &[(String, Option<String>)]) -> Option<Vec<Option<String>>> {
    let mut groups = vec![Some(String::new())];
    let mut open = vec![0];
    let mut said = said.iter();
    for piece in pieces {
        match piece {
            Piece::Open => {
                open.push(groups.len());
                groups.push(Some(String::new()));
            }
            Piece::Close => {
                open.pop().filter(|group| *group > 0)?;
            }
            _ => {
                let (_, template) = said.next()?;
                for group in &open {
                    let group = groups.get_mut(*group)?;
                    *group = group.take().zip(template.as_ref()).map(|(before, more)| before + more);
                }
            }
        }
    }
    (open.len() == 1).then_some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_whole_parts_of_a_name_is_said_and_the_rest_is_not() {
        for (expression, replacement, tables, template) in [
            ("(.*)orders_(.*)", "$1orders", "*.orders_*", Some("${prefix}.${schema}.orders")),
            (r"(.*)\.orders_.*", "${1}.orders", "*.orders_*", Some("${prefix}.${schema}.orders")),
            (r"^my\.shop\.(public)\.(.*)$", "all.$1.$2", "public.*", Some("all.public.${table}")),
            (r"(my.shop\.[^.]+)\.o\d+", "$1.o", "*.o*", Some("${prefix}.${schema}.o")),
            (r"my\.shop\.(.*)", "cdc.$1", "*", Some("cdc.${schema}.${table}")),
            ("(.*)", r"cdc_$1\$", "*", Some("cdc_${prefix}.${schema}.${table}$")),
            ("(.*)_shard(.*)", "$1", "*._shard*", Some("${prefix}.${schema}.")),
            (r"my\.shop\.public\.(.*)_(.*)", "$1", "public.*_*", None),
            ("(.*)orders_(.*)", "$2", "*.orders_*", None),
            ("(.*)orders_(.*)", "$3", "*.orders_*", None),
        ] {
            let read = Expression::read(expression, "my.shop").unwrap_or_else(|| panic!("{expression}"));
            assert_eq!(read.tables, tables, "{expression}");
            assert_eq!(read.template(replacement).as_deref(), template, "{expression} {replacement}");
            assert_eq!(read.wider, expression.contains("\\d"), "{expression}");
        }
    }

    #[test]
    fn what_no_pattern_says_is_not_read() {
        for expression in [
            "(.*)(a|b)",
            "(?:.*)orders",
            "orders",
            r"other\.public\.orders",
            "(.*)orders)",
            "((.*)orders",
            "(.*)a?",
            r"a\b.*",
            "(.*)x{2}",
            "a.b.c.d",
        ] {
            assert_eq!(Expression::read(expression, "shop"), None, "{expression}");
        }
    }
}
