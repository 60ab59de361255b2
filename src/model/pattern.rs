//! Patterns for names: `public.*`, `audit_?`.

/// A glob over a whole name: `*` stands for any text, `?` for one character, everything else for itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; every text is one.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern stands for exactly one name.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether the whole of `name` matches. Takes time in the product of the two lengths at most.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        let (mut p, mut n) = (0, 0);
        // Where the last star was, and how much of the name it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while let Some(&c) = name.get(n) {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&want) if want == '?' || want == c => {
                    p += 1;
                    n += 1;
                }
                _ => match &mut star {
                    Some((at, taken)) => {
                        *taken += 1;
                        (p, n) = (*at + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|&c| c == '*')
    }
}

/// Names that some patterns choose and others leave out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Patterns {
    /// One of them must match; none stand for all names.
    pub include: Vec<Pattern>,
    /// None of them may match.
    pub exclude: Vec<Pattern>,
}

impl Patterns {
    /// Whether the name is chosen.
    pub fn choose(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        for (pattern, name, expected) in [
            ("public.*", "public.orders", true),
            ("public.*", "publicity.orders", false),
            ("*", "", true),
            ("*.audit_*", "a.b.audit_c", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("public.o?ders", "public.orders", true),
            ("public.Ünï*", "public.Ünïcode", true),
            ("orders", "orders2", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names_are_chosen_by_what_includes_and_nothing_that_excludes_them() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(*text)).collect::<Vec<_>>();
        let chosen = |include: &[&str], exclude: &[&str], name: &str| {
            Patterns { include: patterns(include), exclude: patterns(exclude) }.choose(name)
        };
        assert!(chosen(&[], &[], "") && chosen(&[], &[], "a") && chosen(&["a*"], &[], "ab"));
        assert!(!chosen(&["a*"], &[], "ba") && !chosen(&[], &["a*"], "ab") && !chosen(&["*"], &["ab"], "ab"));
    }
}
