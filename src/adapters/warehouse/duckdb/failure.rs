//! What DuckDB's refusals mean.

use std::path::Path;

use crate::model::{Class, Error};

/// What DuckDB's refusal means. Messages about values are not repeated.
pub(super) fn failure(error: duckdb::Error, path: &Path) -> Error {
    let text = error.to_string();
    if let Some(error) = of_the_file(&text, path) {
        return error.systemic();
    }
    if text.contains("has altered this table") {
        return Error::blocked(
            "a table's shape changed inside a source transaction too large for one flush, which DuckDB can't apply",
        )
        .remedy("raise sink.duckdb.flush.bytes above the transaction's size and start again");
    }
    let kind = text.split(':').next().unwrap_or_default();
    let has = |part: &str| kind.contains(part);
    let class = if has("IO Error") || has("TransactionContext") { Class::Transient } else { Class::Blocked };
    let quiet = has("Conversion") || has("Constraint") || has("Invalid Input");
    let single = quiet || ["Catalog", "Binder", "Out of Range", "Not implemented", "Dependency"].into_iter().any(has);
    let detail = if quiet { kind.to_owned() } else { text.clone() };
    let error = Error::new(class, format!("DuckDB ({}) says: {detail}", path.display()));
    if single { error } else { error.systemic() }
}

/// What is amiss with the whole file, or with what DuckDB needs for it.
fn of_the_file(text: &str, path: &Path) -> Option<Error> {
    let file = path.display();
    let has = |part: &str| text.contains(part);
    let error = if has("Conflicting lock") || has("Could not set lock") {
        Error::blocked(format!("another process holds {file}"))
            .remedy("stop it: DuckDB lets one process at a time open a file for writing")
    } else if has("No space left") || has("Disk full") || has("could not write all bytes") {
        Error::transient(format!("the disk of {file} is full"))
            .remedy("make room; nothing is lost, it goes on by itself")
    } else if has("Out of Memory") || has("could not allocate") || has("failed to pin block") {
        // A checkpoint's and a commit's refusal do not say that it is memory but in what was asked for.
        Error::blocked(format!("DuckDB has too little memory for what is to be merged into {file}")).remedy(
            "lower sink.duckdb.flush.bytes and flush.rows, or run where there is more memory (it takes up to 2 GiB)",
        )
    } else if has("Permission denied") || has("Read-only file system") || has("read-only") {
        Error::blocked(format!("{file} can't be written")).remedy("check the rights of the file and its directory")
    } else if path.is_dir() {
        Error::blocked(format!("{file} is a directory")).remedy("name a file in it, as in path = \"warehouse.duckdb\"")
    } else if has("Cannot open file") || has("No such file") {
        Error::blocked(format!("{file} can't be opened")).remedy("check that its directory exists and may be written")
    } else if has("not a valid DuckDB database") || has("different version") || has("newer version") {
        Error::blocked(format!("{file} is not a DuckDB file of this version")).remedy("name another path")
    } else {
        return None;
    };
    Some(error)
}

/// The column whose text the appender could not cast, as it says.
pub(super) fn uncast(text: &str) -> Option<usize> {
    let (_, column) = text.split_once("type mismatch in AppendDataChunk")?.1.split_once("for column ")?;
    column.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_that_could_not_be_cast_is_known() {
        let told = "Invalid Input Error: type mismatch in AppendDataChunk, expected INTEGER, got VARCHAR for column 12";
        assert_eq!(uncast(told), Some(12));
        assert_eq!(uncast("Constraint Error: NOT NULL constraint failed for column 3"), None);
    }

    #[test]
    fn a_lack_of_memory_is_told_as_such_wherever_it_is_met() {
        // As DuckDB 1.5.6 says it in a statement, at a commit, and at a checkpoint.
        for told in [
            "Out of Memory Error: could not allocate block of size 256.0 KiB (63.9 MiB/64.0 MiB used)",
            "TransactionContext Error: Failed to commit: failed to pin block of size 256.0 KiB (63.9 MiB/64.0 MiB used)",
            "FATAL Error: Failed to create checkpoint because of error: failed to pin block of size 256.0 KiB",
        ] {
            let error = of_the_file(told, Path::new("warehouse.duckdb")).expect(told);
            assert_eq!(error.class(), Class::Blocked, "{told}");
            assert!(error.to_string().contains("too little memory"), "{error}");
        }
        assert!(of_the_file("Constraint Error: NOT NULL constraint failed", Path::new("warehouse.duckdb")).is_none());
    }
}
