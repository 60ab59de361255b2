//! SQL cut into tokens, and put together again.

/// A token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// A word or number, as it is written.
    Word(String),
    /// A quoted name, without quotes.
    Name(String),
    /// A literal, without quotes.
    Text(String),
    /// Any other sign.
    Sign(char),
    /// White space.
    Space,
}

impl Token {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Cuts a statement.
pub fn tokens(sql: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let length;
        let token = match c {
            '"' | '\'' => {
                let (text, end) = quoted(rest, c);
                length = end;
                if c == '"' { Token::Name(text) } else { Token::Text(text) }
            }
            c if c.is_whitespace() => {
                length = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
                Token::Space
            }
            c if c.is_alphanumeric() || c == '_' => {
                length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                Token::Word(rest[..length].to_owned())
            }
            sign => {
                length = sign.len_utf8();
                Token::Sign(sign)
            }
        };
        out.push(token);
        rest = &rest[length..];
    }
    out
}

fn quoted(text: &str, mark: char) -> (String, usize) {
    let mut out = String::new();
    let mut at = 1;
    loop {
        let end = text[at..].find(mark).map_or(text.len(), |found| at + found);
        out.push_str(&text[at..end]);
        at = (end + 1).min(text.len());
        if !text[at..].starts_with(mark) {
            return (out, at);
        }
        out.push(mark);
        at += 1;
    }
}

/// Puts tokens together.
pub fn text(tokens: &[Token]) -> String {
    tokens.iter().fold(String::new(), |mut out, token| {
        match token {
            Token::Word(word) => out.push_str(word),
            Token::Name(name) => out.push_str(&format!("\"{}\"", name.replace('"', "\"\""))),
            Token::Text(text) => out.push_str(&format!("'{}'", text.replace('\'', "''"))),
            Token::Sign(sign) => out.push(*sign),
            Token::Space => out.push(' '),
        }
        out
    })
}
