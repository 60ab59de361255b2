//! A DuckDB file that can't be written, for each reason, and what happens when it can.

use super::input::{TABLES, refused};
use crate::support::compare::{Copy, assert_all_equal, assert_equal};
use crate::support::dir::Dir;
use crate::support::postgres::{Database, Postgres};
use crate::support::tailwater::Tailwater;

#[test]
fn a_duckdb_file_that_can_t_be_written_is_named() {
    let source = Postgres::shared(17).database("in_duck_s");
    source.sql(TABLES);
    let dir = Dir::new();
    let nowhere = dir.join("no/such/place.duckdb");
    let to = |name: &str, path: &std::path::Path| {
        Tailwater::new(name).source_postgres(&source.url(), &["public.*"]).sink_duckdb(path)
    };
    refused(&to("in_duck1", &nowhere), 3, &["place.duckdb", "to do"]);
    let text = dir.join("text.duckdb");
    std::fs::write(&text, "this is no database, only text that is long enough to be looked at").unwrap();
    refused(&to("in_duck2", &text), 3, &["text.duckdb", "to do"]);
    let held = dir.join("held.duckdb");
    let holder = to("in_duck3", &held);
    let mut first = holder.run();
    first.wait_ready();
    refused(&to("in_duck4", &held), 3, &["another process holds", "stop it"]);
    first.terminate().code(0);
    // Once it is free the other one may use it, but not the same tables.
    refused(&to("in_duck4", &held), 3, &["public.t holds the rows of the pipeline in_duck3", "another `schema`"]);
    let beside = to("in_duck4", &held).toml("schema = \"beside\"");
    beside.run_until_current().success();
    source.sql("INSERT INTO t VALUES (2, 'CANARY')");
    holder.run_until_current().success();
    beside.run_until_current().success();
    for schema in ["public", "beside"] {
        assert_equal(&source.session(), ("public", "t"), Copy::Duckdb(&held), (schema, "t"));
    }
    refused(&to("in_duck5", dir.path()), 3, &["is a directory", "name a file in it"]);
}

#[test]
fn a_directory_that_may_not_be_written_is_named_and_the_rest_is_done_when_it_may() {
    use std::os::unix::fs::PermissionsExt;
    let source = Postgres::shared(17).database("in_ro_s");
    source.sql(TABLES);
    let dir = Dir::for_server();
    let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let file = dir.join("ro.duckdb");
    let pipeline =
        Tailwater::new("in_ro").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file).unprivileged();
    mode(0o555);
    refused(&pipeline, 3, &["ro.duckdb", "rights"]);
    pipeline.check().code(2).says(&["ro.duckdb", "rights"]);
    mode(0o755);
    pipeline.run_until_current().success();
    // The file may be written now, its log beside it not.
    source.sql("INSERT INTO t VALUES (2, 'CANARY')");
    mode(0o555);
    refused(&pipeline, 3, &["ro.duckdb", "rights"]);
    mode(0o755);
    pipeline.run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Duckdb(&file));
}

/// Runs a command with a directory bound read-only, for itself alone.
const READ_ONLY: &str = r#"set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
shift
exec "$@""#;

#[test]
fn a_file_system_that_is_read_only_is_named_and_the_rest_is_done_when_it_is_not() {
    let source = Postgres::shared(17).database("in_rofs_s");
    source.sql(TABLES);
    let dir = Dir::new();
    let (file, place) = (dir.join("rofs.duckdb"), dir.path().to_string_lossy().into_owned());
    let pipeline = || Tailwater::new("in_rofs").source_postgres(&source.url(), &["public.*"]).sink_duckdb(&file);
    let below = pipeline().under(&[NAMESPACE.as_slice(), &["sh", "-c", READ_ONLY, "sh", &place]].concat());
    refused(&below, 3, &["rofs.duckdb", "rights"]);
    pipeline().run_until_current().success();
    source.sql("INSERT INTO t VALUES (2, 'CANARY')");
    refused(&below, 3, &["rofs.duckdb", "rights"]);
    pipeline().run_until_current().success();
    assert_all_equal(&source.session(), &["public.t"], Copy::Duckdb(&file));
}

/// Mounts of its own for a command; root in there, whoever runs the tests.
const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

/// In a file system of its own that is full at 24 MB, until a flag is there; afterwards the files are copied out.
const FULL: &str = r#"set -e
disk=$1 flag=$2 out=$3; shift 3
mount -t tmpfs -o size=24m none "$disk"
(while [ ! -e "$flag" ]; do sleep 0.1; done; mount -o remount,size=1g "$disk") &
watch=$!
code=0; "$@" || code=$?
kill "$watch" 2>/dev/null || true
cp "$disk"/* "$out"
exit $code"#;

/// A source of more than the small disk takes, and a pipeline onto that; `flag` makes room, `out` gets the files.
struct SmallDisk {
    source: Database<'static>,
    disk: Dir,
    out: Dir,
}

impl SmallDisk {
    fn new(name: &str) -> SmallDisk {
        let source = Postgres::shared(15).database(name);
        source.sql(
            "CREATE TABLE t (id int PRIMARY KEY, v text);
             INSERT INTO t SELECT n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) FROM generate_series(1, 600000) n",
        );
        SmallDisk { source, disk: Dir::new(), out: Dir::new() }
    }

    fn to(&self, name: &str, dir: &Dir) -> Tailwater {
        Tailwater::new(name)
            .toml("start_timeout = 3")
            .source_postgres(&self.source.url(), &["public.*"])
            .sink_duckdb(&dir.join("full.duckdb"))
    }

    fn pipeline(&self, name: &str) -> Tailwater {
        let paths = [self.disk.path(), &self.flag(), self.out.path()].map(|path| path.to_string_lossy().into_owned());
        let script = ["sh", "-c", FULL, "sh", &paths[0], &paths[1], &paths[2]];
        self.to(name, &self.disk).under(&[NAMESPACE.as_slice(), &script].concat())
    }

    fn flag(&self) -> std::path::PathBuf {
        self.out.join("flag")
    }

    fn assert_equal(&self) {
        assert_all_equal(&self.source.session(), &["public.t"], Copy::Duckdb(&self.out.join("full.duckdb")));
    }
}

#[test]
fn a_disk_that_is_full_is_named_and_nothing_is_lost_when_there_is_room_again() {
    let small = SmallDisk::new("in_full_s");
    let pipeline = small.pipeline("in_full");
    let mut running = pipeline.start(&["run", "--until-current"]);
    running.wait_until("out of room", |running| running.text().contains("full.duckdb is full"));
    std::fs::write(small.flag(), "").unwrap();
    running.wait().success();
    small.assert_equal();
}

#[test]
fn a_disk_that_stays_full_ends_a_run_that_has_an_end_and_the_next_one_goes_on() {
    let small = SmallDisk::new("in_stays_s");
    refused(&small.pipeline("in_stays"), 1, &["could not go on within 3 s", "full.duckdb is full", "make room"]);
    small.to("in_stays", &small.out).run_until_current().success();
    small.assert_equal();
}
