//! JSON with its fields in order and its tokens as they were written.

use std::fmt::Write as _;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json {
    /// A number, a word, or a string with its quotes.
    Token(String),
    /// A list.
    List(Vec<Json>),
    /// Names without quotes, otherwise as written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole text.
    #[track_caller]
    pub fn parse(text: &str) -> Json {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value();
        assert_eq!(reader.rest().trim(), "", "JSON goes on: {text}");
        value
    }

    /// A string.
    pub fn string(text: &str) -> Json {
        Json::Token(serde_json::to_string(text).expect("a text is JSON"))
    }

    /// A token that is no string.
    pub fn word(text: impl ToString) -> Json {
        Json::Token(text.to_string())
    }

    /// The field of an object.
    pub fn field(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn field_mut(&mut self, name: &str) -> Option<&mut Json> {
        match self {
            Json::Object(fields) => fields.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A string without its quotes and escapes.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Json::Token(token) if token.starts_with('"') => serde_json::from_str(token).ok(),
            _ => None,
        }
    }

    /// Keeps of long texts how they begin, how long they are and a sum.
    pub fn shorten(&mut self) {
        match self {
            Json::Token(token) if token.len() > 500 && token.is_ascii() => {
                let sum = token.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
                *token = format!("{}.. {} bytes, {sum:016x}\"", &token[..20], token.len());
            }
            Json::Token(_) => {}
            Json::List(items) => items.iter_mut().for_each(Json::shorten),
            Json::Object(fields) => fields.iter_mut().for_each(|(_, value)| value.shorten()),
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Token(token) if token == "null")
    }

    /// Compact text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Token(token) => out.push_str(token),
            Json::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    let _ = write!(out, "{}\"{name}\":", if at > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Each leaf with its path, in order; items that are named are called by their name.
    pub fn leaves(&self, path: &str, out: &mut Vec<(String, String)>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match self {
            Json::List(items) if !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    let named = item.field("field").or(item.field("name")).and_then(Json::as_text);
                    item.leaves(&below(&named.unwrap_or_else(|| at.to_string())), out);
                }
            }
            Json::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(name, value)| value.leaves(&below(name), out));
            }
            other => out.push((path.to_owned(), other.text())),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a sign when it comes next.
    fn takes(&mut self, sign: char) -> bool {
        self.skip();
        let found = self.rest().starts_with(sign);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Json {
        if self.takes('{') {
            let mut fields = Vec::new();
            while !self.takes('}') {
                assert!(fields.is_empty() || self.takes(','), "no comma in {}", self.text);
                self.skip();
                let name = self.token();
                assert!(self.takes(':') && name.len() > 1, "no name in {}", self.text);
                fields.push((name[1..name.len() - 1].to_owned(), self.value()));
            }
            Json::Object(fields)
        } else if self.takes('[') {
            let mut items = Vec::new();
            while !self.takes(']') {
                assert!(items.is_empty() || self.takes(','), "no comma in {}", self.text);
                items.push(self.value());
            }
            Json::List(items)
        } else {
            Json::Token(self.token())
        }
    }

    fn token(&mut self) -> String {
        let rest = self.rest();
        let end = if rest.starts_with('"') {
            let mut escaped = false;
            let quote = rest.char_indices().skip(1).find(|&(_, sign)| {
                let ends = sign == '"' && !escaped;
                escaped = sign == '\\' && !escaped;
                ends
            });
            quote.map(|(at, _)| at + 1)
        } else {
            rest.find(|sign: char| ",]}:".contains(sign) || sign.is_whitespace()).or(Some(rest.len()))
        };
        let token =
            &rest[..end.filter(|&end| end > 0).unwrap_or_else(|| panic!("no token at {} of {}", self.at, self.text))];
        self.at += token.len();
        token.to_owned()
    }
}
