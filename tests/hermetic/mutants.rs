//! The mutants: each patch is of the code as it is now, and in the table that is published.

use std::path::Path;

/// What a patch takes for granted: the file, and the lines that each of its hunks begins from.
fn hunks(patch: &str) -> Vec<(&str, String)> {
    let (mut file, mut hunks): (&str, Vec<(&str, String)>) = ("", Vec::new());
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = path;
        } else if line.starts_with("@@") {
            hunks.push((file, String::new()));
        } else if let (Some((_, before)), Some(old)) = (hunks.last_mut(), line.strip_prefix([' ', '-'])) {
            *before += &format!("{old}\n");
        } else if let (Some((_, before)), "") = (hunks.last_mut(), line) {
            *before += "\n";
        }
    }
    hunks
}

#[test]
fn each_mutant_changes_lines_that_are_there_and_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/mutants.md")).unwrap();
    let mut names = Vec::new();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root.join("tests/mutants")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let patch = std::fs::read_to_string(&path).unwrap();
        let hunks = hunks(&patch);
        if hunks.is_empty() {
            wrong.push(format!("{name} changes nothing"));
        }
        for (file, before) in hunks {
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if source.matches(before.trim_end_matches('\n')).count() == 0 {
                wrong.push(format!("{name} does not find its lines in {file}"));
            }
        }
        let field = |key: &str| patch.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        let line = format!("| `{name}` | {} | `{}` |", field("What:"), field("Found by:"));
        if !table.lines().any(|published| published == line) {
            wrong.push(format!("docs/mutants.md has not this line, as tests/mutants/run --table prints it: {line}"));
        }
        names.push(name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(table.lines().filter(|line| line.starts_with("| `")).count(), names.len(), "the table has others, too");
}
