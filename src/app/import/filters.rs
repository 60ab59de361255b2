//! Debezium's lists of regular expressions as patterns.

/// A list of expressions, separated by commas; `Err` holds those that no pattern can say.
pub(super) fn patterns(list: &str) -> (Vec<String>, Vec<String>) {
    let (mut said, mut unsaid) = (Vec::new(), Vec::new());
    for expression in list.split(',').map(str::trim).filter(|expression| !expression.is_empty()) {
        match pattern(expression) {
            Some(pattern) => said.push(pattern),
            None => unsaid.push(expression.to_owned()),
        }
    }
    (said, unsaid)
}

/// An expression that is a name with `.*` for any text; a bare point is meant as one, as everybody writes it.
pub(super) fn pattern(expression: &str) -> Option<String> {
    let mut pattern = String::new();
    let mut characters = expression.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next()? {
                escaped if escaped.is_ascii_alphanumeric() => return None,
                escaped => pattern.push(escaped),
            },
            '.' if characters.peek() == Some(&'*') => {
                characters.next();
                pattern.push('*');
            }
            '[' | ']' | '(' | ')' | '{' | '}' | '|' | '+' | '*' | '?' | '^' | '$' => return None,
            plain => pattern.push(plain),
        }
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_any_text_are_said_and_the_rest_is_not() {
        for (expression, expected) in [
            ("public.orders", Some("public.orders")),
            (r"public\.orders", Some("public.orders")),
            ("public.*", Some("public*")),
            (r"public\..*", Some("public.*")),
            (r"inv\.o.*_v\$1", Some("inv.o*_v$1")),
            ("public.(a|b)", None),
            (r"public\.t\d+", None),
            ("a?", None),
        ] {
            assert_eq!(pattern(expression).as_deref(), expected, "{expression}");
        }
    }
}
