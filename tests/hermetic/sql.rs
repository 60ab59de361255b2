//! Every dialect's SQL for one awkward table, as golden files: `BLESS=1` rewrites them, read the diff.

use std::fmt::Write;
use std::sync::Arc;

use tailwater::codecs::dialect::{
    CopyFormat, Dialect, DistStyle, Duckdb, Held, Layout, MergeSpec, PART, Placement, Postgres, Redshift, Share, Shown,
    StageRow, Target, Types, View,
};
use tailwater::model::{
    ChangeId, Checkpoint, Column, ColumnDefault, Lsn, Membership, Oid, Pattern, PgTimestamp, PgType, Phase,
    ReplicaIdentity, SourcePosition, Table, TableName,
};

fn target(key: Vec<usize>) -> Target {
    let column = |name: &str, pg_type: PgType, modifier: i32| Column {
        name: name.into(),
        pg_type,
        oid: Oid(0),
        modifier,
        optional: true,
        default: None,
        birth: Default::default(),
    };
    let columns = vec![
        column("select", PgType::Int8, -1),
        column("Weird \"quoted\".name", PgType::Varchar, 24),
        column("amount", PgType::Numeric, (12 << 16) + 3 + 4),
        column("any amount", PgType::Numeric, -1),
        column("tags", PgType::Array(Box::new(PgType::Text)), -1),
        column("mood", PgType::Enum { name: "public.mood".into(), labels: vec!["ok".into()] }, -1),
        column("raw", PgType::Bytea, -1),
        column("when", PgType::Timestamptz, 3),
        column("doc", PgType::Jsonb, -1),
        column("ünï", PgType::Other { name: "tsquery".into() }, -1),
    ];
    let name = TableName::new("Sales dep't", "or\"der.s");
    let table = Table { oid: Oid(1), name: name.clone(), version: 1, columns, identity: ReplicaIdentity::Default, key };
    Target::new(name, Arc::new(table))
}

fn script(dialect: &impl Dialect) -> String {
    let mut out = String::new();
    let mut say = |title: &str, statements: Vec<String>| {
        let _ = writeln!(out, "-- {title}");
        for statement in statements {
            let _ = writeln!(out, "{statement};");
        }
    };
    say("control tables", dialect.create_control());
    let progress = dialect.progress("it's");
    let checkpoint = Checkpoint {
        position: SourcePosition { system_id: 7, timeline: 2, lsn: Lsn::new(300) },
        change: ChangeId { commit: Lsn::new(200), seq: 5 },
        phase: Phase::Stream,
        offsets: vec![("a'b".into(), 3, 42)],
        followed: None,
    };
    say(
        "progress",
        vec![
            progress.create(),
            progress.take_fence(),
            progress.read(),
            progress.guard(9),
            progress.read_offsets(),
            progress.read_followed(),
        ],
    );
    let expected = ChangeId { commit: Lsn::new(100), seq: 1 };
    say(
        "advance",
        vec![
            progress.advance(9, expected, &checkpoint, None),
            progress.advance(9, expected, &checkpoint, Some(PgTimestamp(1_500_000))),
        ],
    );
    say("offsets", dialect.offsets("it's", &checkpoint));
    let name = TableName::new("a schema", "it's");
    let membership = Membership { table: Oid(1), publication: Oid(2), entry: Oid(0) };
    let mut followed = vec![dialect.forget_followed("it's")];
    followed.extend(dialect.follow("it's", &name, Some(membership)));
    followed.extend(dialect.follow("it's", &name, None));
    say("followed", followed);
    let stops = dialect.stops("it's");
    let id = ChangeId { commit: Lsn::new(100), seq: 1 };
    let mut stopped = vec![stops.read(), stops.count()];
    stopped.extend(stops.stop(&name, PgTimestamp(1_500_000), "it's so", "do that"));
    stopped.push(stops.go_on(&name));
    say("stopped tables", stopped);
    let long = "A".repeat(PART + 1);
    let shown = |statement: String| statement.replace(&long[1..], "...");
    let mut held: Vec<String> = stops.hold(&name, id, 3, &long).into_iter().map(shown).collect();
    held.extend([stops.next(&name, 5), stops.content(&name, id), stops.release(&name, id), stops.forget()]);
    say("what waits", held);
    let share = Share { pipeline: "it's" };
    let mut shared = dialect.create_share();
    shared.extend([share.view("p's"), share.announce(9, 3, 40, 42), share.staged(9), share.reports(9)]);
    let row = StageRow {
        topic: "a'b".into(),
        member: "m".into(),
        part: 1,
        stage: Some("\"_tailwater\".\"stage_1\"".into()),
        shape: Some("{\"schema\":\"it's\"}".into()),
        layout: Some("mirror".into()),
        horizon: Some(id),
        at: Some(PgTimestamp(1_500_000)),
        deletes: true,
        missing: vec![4, 6],
        rows: 2,
        newest: Some(PgTimestamp(1_500_000)),
    };
    let none = StageRow {
        stage: None,
        shape: None,
        layout: None,
        horizon: None,
        at: None,
        deletes: false,
        missing: Vec::new(),
        newest: None,
        ..row.clone()
    };
    shared.extend([share.report(9, 3, &row), share.report(9, 3, &none), share.stages(9, 3), share.useless(9, 3)]);
    shared.extend(share.forget(9, 3));
    let staged = target(vec![0]);
    let staged = Target { shared_stage: Some(Share::stage(&staged)), ..staged };
    shared.extend(dialect.create_stage(&staged));
    say("shared work", shared);
    let column = Held { relation: Oid(7), number: 3, source: "it's".into(), column: "it's__v2".into() };
    let mut held = vec![dialect.held("it's", &name)];
    held.extend(dialect.hold("it's", &name, &[column.clone(), Held { number: 0, ..column }]));
    say("what columns hold", held);
    let misfits = dialect.misfits("it's");
    let mut marks = misfits.mark(
        &name,
        "it's",
        &[ChangeId { commit: Lsn::new(7), seq: 1 }, ChangeId { commit: Lsn::new(8), seq: 2 }],
    );
    marks.extend([misfits.targets(), misfits.forget()]);
    say("marks of values that did not fit", marks);
    let layouts = [
        ("with a key of two columns", vec![1, 0], Layout::Mirror),
        ("without a key", Vec::new(), Layout::Log),
        ("soft deletes", vec![1, 0], Layout::SoftDelete),
        ("history", vec![1, 0], Layout::History),
        ("appended", vec![1, 0], Layout::Append),
        ("copies", Vec::new(), Layout::Multiset),
    ];
    for (title, key, layout) in layouts {
        let target = Target { layout, ..target(key) };
        if dialect.refusal(&target).is_some() {
            continue;
        }
        let last = target.table.columns.last().unwrap().clone();
        say(&format!("{title}: create"), dialect.create(&target));
        if layout == Layout::Mirror {
            let [amount, raw] = [2, 6].map(|at| target.table.columns[at].clone());
            let mut filled = dialect.add_filled(&target, &amount, "1.50");
            filled.extend(dialect.add_filled(&target, &raw, "\\x00ff"));
            say("add columns that have values in the rows that are there", filled);
            say("alter a column's type", dialect.retype(&target, &amount));
            let types = dialect.columns(&target.name).contains("duckdb_columns");
            let found: &[&str] = match types {
                true => &["DECIMAL(12,3)", "TIMESTAMP", "BLOB"],
                false => {
                    &["numeric(12,3)", "timestamp without time zone", "timestamp with time zone", "super", "bytea"]
                }
            };
            say(
                "make text of columns",
                found.iter().filter_map(|found| dialect.as_text(&target, &amount, found)).flatten().collect(),
            );
            say("rename a column", vec![dialect.rename_column(&target, "it's \"a\"", "b")]);
            let keys = [["select", "it's"], ["select", "new \"key\""]].map(|key| key.map(str::to_owned).to_vec());
            let shown = |name: &str, column: &str| Shown { name: name.into(), column: column.into() };
            let columns = vec![shown("select", "select"), shown("it's \"old\"", "Amount")];
            let view = View { name: TableName::new("of \"us\"", "The v'iew"), columns };
            let mut statements = dialect.show(&view, &target.name);
            statements.extend(dialect.rights(&view.name));
            statements.extend([dialect.drop_view(&view.name), dialect.viewed("it's", &target.name)]);
            statements.extend(dialect.view("it's", &target.name, Some(&view)));
            say("a view", statements);
            say("another key", dialect.rekey(&target, &keys[0], &keys[1]).unwrap_or_default());
        }
        if matches!(layout, Layout::Mirror | Layout::Log) {
            say("add a column", vec![dialect.add_column(&target, &last)]);
            say("look at it", vec![dialect.columns(&target.name)]);
            say("empty it", vec![dialect.clear_stage(&target)]);
        }
        say("staging table", dialect.create_stage(&target));
        let since = Some(Lsn::new(200));
        let (horizon, at, missing) = (None, None, vec![4]);
        let spec = MergeSpec { target: &target, horizon, at, deletes: true, missing, staged: true, since };
        if layout.by_key() {
            say("keep marks", dialect.keep_marks("it's", &spec));
        }
        let missing = if layout.by_key() { vec![4, 6] } else { Vec::new() };
        if layout.by_key() {
            say("orphans", vec![dialect.orphans(&target)]);
        }
        let horizon = Some(ChangeId { commit: Lsn::new(150), seq: 0 });
        let at = Some(PgTimestamp(1_500_000));
        let spec = MergeSpec { horizon, at, missing, ..spec };
        say("merge", dialect.merge(&spec));
    }
    out
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, text, "{path} differs; BLESS=1 rewrites it");
}

#[test]
fn postgres_sql_is_as_reviewed() {
    golden("postgres", &script(&Postgres));
}

#[test]
fn duckdb_sql_is_as_reviewed() {
    let target = target(vec![1, 0]);
    let mut text = script(&Duckdb);
    let _ = writeln!(text, "-- rows as text\n{};", Duckdb.create_raw(&target));
    golden("duckdb", &text);
}

#[test]
fn redshift_sql_is_as_reviewed() {
    let dialect = Redshift { pipeline: "it's".into(), ..Redshift::default() };
    let mut text = script(&dialect);
    let stage = dialect.stage(&target(vec![0]));
    let csv = CopyFormat::Csv { region: "eu-west-1".into(), null: "~".into() };
    let placed = |placement| Redshift {
        placements: Arc::new(vec![(Pattern::new("*"), placement)]),
        types: Types { numeric_scale: Some(10), ..Types::default() },
        ..dialect.clone()
    };
    let by_column = Placement {
        distkey: Some("Amount".into()),
        sortkey: Some(vec!["when".into(), "Select".into()]),
        ..Placement::default()
    };
    let everywhere = Placement { diststyle: Some(DistStyle::All), ..Placement::default() };
    for (title, statements) in [
        ("load", vec![dialect.copy(&stage, "s3://b/it's", &CopyFormat::Parquet, "IAM_ROLE 'arn'")]),
        ("load CSV", vec![dialect.copy(&stage, "s3://b/m", &csv, "IAM_ROLE 'arn'"), dialect.copied().into()]),
        ("widen", vec![dialect.widen(&target(vec![0]).name, "Weird", 2048)]),
        ("what was refused", vec![dialect.refused("s3://b/it's_")]),
        ("placed by a column", placed(by_column).create(&target(vec![0]))),
        (
            "placed everywhere",
            [placed(everywhere.clone()).create(&target(vec![0])), placed(everywhere).create_stage(&target(vec![0]))]
                .concat(),
        ),
    ] {
        let _ = writeln!(text, "-- {title}\n{};", statements.join(";\n"));
    }
    golden("redshift", &text);
}

#[test]
fn a_truncate_takes_away_the_rows_of_its_own_source_alone() {
    let plain = target(vec![0]);
    let mut table = Table::clone(&plain.table);
    let column = table.columns.last_mut().unwrap();
    (column.name, column.default) = ("Region".to_owned(), Some(ColumnDefault::Always("it's".to_owned())));
    let table = Arc::new(table);
    fn horizon<D: Dialect>(dialect: &D, target: &Target) -> Vec<String> {
        let horizon = Some(ChangeId { commit: Lsn::new(150), seq: 0 });
        let at = Some(PgTimestamp(1_500_000));
        let (missing, since) = (Vec::new(), None);
        let spec = MergeSpec { target, horizon, at, deletes: false, missing, staged: false, since };
        dialect.merge(&spec)
    }
    for layout in [Layout::Mirror, Layout::SoftDelete, Layout::History] {
        let target = Target { layout, table: Arc::clone(&table), ..plain.clone() };
        for sql in horizon(&Postgres, &target).into_iter().chain(horizon(&Duckdb, &target)) {
            assert!(sql.ends_with("AND \"Region\" = 'it''s'"), "{sql}");
        }
    }
    let target = Target { table, ..plain };
    for sql in horizon(&Redshift::default(), &target) {
        assert!(sql.contains("WHERE (_tw_lsn <") && sql.ends_with("AND \"region\" = 'it''s'"), "{sql}");
    }
}
