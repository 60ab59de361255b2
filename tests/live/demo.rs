//! The demo, as a newcomer meets it.

use std::process::Command;

use crate::support::cache;
use crate::support::postgres::Postgres;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    command.args(["demo", "--seconds", "6"]).env_remove("DATABASE_URL");
    command
}

#[test]
fn the_demo_shows_both_sides_equal_and_leaves_nothing() {
    let output = demo().env("TAILWATER_POSTGRES_BIN", cache::postgres_bin(17)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(" equal").count(), 6, "{text}");
    assert!(text.contains("a column was added"), "{text}");
}

#[test]
fn the_demo_removes_what_it_made_in_a_database_that_was_given() {
    let database = Postgres::shared(17).database("demo_given");
    let output = demo().env("DATABASE_URL", database.url()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(database.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'tailwater_demo'"), "0");
    assert_eq!(database.one("SELECT count(*) FROM pg_publication"), "0");
    assert_eq!(database.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'tailwater_demo'"), "0");
}
