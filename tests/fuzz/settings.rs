//! What people write: configuration, names, positions.

use tailwater::app::config::Config;
use tailwater::model::{Lsn, Pattern};

use super::{Target, same};

pub fn configuration() -> Target {
    let documents = [include_str!("../../README.md"), include_str!("../../docs/schema-changes.md")];
    let blocks = documents.iter().flat_map(|text| text.split("```toml\n").skip(1));
    let mut corpus: Vec<Vec<u8>> =
        blocks.filter_map(|block| block.split("```").next()).map(|block| block.as_bytes().to_vec()).collect();
    corpus.push(include_bytes!("../../docker/tailwater.toml").to_vec());
    Target::new("configuration", corpus, true, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
        // What is wrong is said with its line, which has to be one of the text's.
        let Err(problems) = Config::parse(text) else { return Ok(()) };
        match problems.iter().find(|problem| problem.line > text.lines().count() + 1) {
            Some(problem) => Err(format!("a problem in line {}", problem.line)),
            None => Ok(()),
        }
    })
}

pub fn names() -> Target {
    let corpus = ["16/B374D848", "FFFFFFFF/FFFFFFFF", "public.*", "*.audit_*_?", "shop.or*ders"];
    let corpus = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    Target::new("names", corpus, true, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
        if let Ok(lsn) = text.parse::<Lsn>() {
            same(&Ok(lsn), &lsn.to_string().parse())?;
        }
        let pattern = Pattern::new(text);
        let _ = (pattern.matches(text), pattern.matches("public.orders"));
        Ok(())
    })
}
