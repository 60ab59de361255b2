//! The configuration file: what is accepted, and what is said about the rest.

use std::collections::BTreeSet;

use tailwater::adapters::postgres::Form;
use tailwater::app::config::{Config, Problem, Sink, Source};

const GOOD: &str = r#"
[pipeline]
name = "shop"
[source.postgres]
url = "postgres://u:CANARY@db:5432/shop?sslmode=verify-full"
tables = ["public.*"]
exclude = ["public.audit_*"]
[sink.duckdb]
path = "shop.duckdb"
[serve]
listen = "127.0.0.1:9187"
"#;

fn problems(text: &str) -> Vec<Problem> {
    let problems = Config::parse(text).expect_err("the file is wrong");
    for problem in &problems {
        assert!(!problem.to_string().contains("CANARY"), "{problem}");
        assert!(!problem.remedy.is_empty(), "{problem}");
    }
    problems
}

#[test]
fn a_good_file_becomes_options_and_shows_no_secret() {
    let config = Config::parse(GOOD).unwrap();
    assert!(!format!("{config:?}").contains("CANARY"));
    let Source::Postgres(options) = config.source else { panic!("a slot is the source") };
    assert_eq!((options.slot.as_str(), options.publication.as_str()), ("tailwater_shop", "tailwater_shop"));
    assert!(matches!(config.sink, Sink::Duckdb(..)));
    assert!(matches!(options.form, Form::Fitting(_)) && !options.form.in_binary());
    for said in [true, false] {
        let config = Config::parse(&GOOD.replace("[source.postgres]", &format!("[source.postgres]\nbinary = {said}")));
        let Source::Postgres(options) = config.unwrap().source else { panic!("a slot is the source") };
        assert!(options.form.in_binary() == said && !matches!(options.form, Form::Fitting(_)));
    }
}

#[test]
fn all_problems_come_at_once_with_key_line_and_remedy() {
    let found = problems(
        r#"
[pipeline]
name = "sh op"
grcae = 3
[source.postgres]
url = "postgres://u:CANARY@db/shop?sslmode=maybe"
tables = "public.*"
snapshot = "sometimes"
slot = "Not Legal"
[sink.duckdb]
path = 5
[sink.postgres]
url = "postgres://u:CANARY@wh/dw"
[serve]
listen = "9187"
[sevre]
"#,
    );
    let said: Vec<(usize, &str)> = found.iter().map(|p| (p.line, p.path.as_str())).collect();
    for expected in [
        (3, "pipeline.name"),
        (4, "pipeline.grcae"),
        (6, "source.postgres.url"),
        (7, "source.postgres.tables"),
        (8, "source.postgres.snapshot"),
        (9, "source.postgres.slot"),
        (15, "serve.listen"),
        (16, "sevre"),
    ] {
        assert!(said.contains(&expected), "{expected:?} is missing in {said:?}");
    }
    assert!(found.iter().any(|p| p.path == "sink" && p.what.contains("more than one")), "{found:?}");
    let typo = found.iter().find(|p| p.path == "pipeline.grcae").unwrap();
    assert!(typo.remedy.contains("`grace`"), "{typo}");
}

#[test]
fn what_is_not_in_this_version_is_refused_and_not_ignored() {
    let file = |extra: &str| {
        GOOD.replace("[sink.duckdb]\npath = \"shop.duckdb\"", "[sink.kafka]\nbootstrap = \"k:9092\"\nFORMAT")
            .replace("FORMAT", extra)
    };
    assert!(Config::parse(&file("format = \"json\"")).is_ok());
    assert!(Config::parse(&file("format = \"protobuf\"\n[sink.kafka.envelope]\nunknown = \"omit\"")).is_ok());
    for (extra, path) in [
        ("prefix = \"x\"", "sink.kafka.format"),
        ("format = \"avro\"", "sink.kafka.registry"),
        ("format = \"avro\"\nregistry = \"registry:8081\"", "sink.kafka.registry"),
        ("format = \"json\"\ndelivery = \"at-most-once\"", "sink.kafka.delivery"),
        ("format = \"json\"\n[sink.kafka.envelope]\nkind = \"raw\"", "sink.kafka.envelope.kind"),
        ("format = \"json\"\n[[table]]\nmatch = \"public.x\"\nmode = \"history\"", "table.mode"),
        ("format = \"json\"\n[table]\nmatch = \"public.x\"", "table"),
    ] {
        let found = problems(&file(extra));
        assert!(found.iter().any(|p| p.path == path), "{extra}: {found:?}");
    }
}

#[test]
fn what_says_how_types_are_told_is_refused_where_there_is_one_way_only() {
    for (key, value) in [
        ("kind", "\"flat\""),
        ("kind", "\"debezium\""),
        ("decimal", "\"string\""),
        ("time", "\"adaptive\""),
        ("interval", "\"string\""),
        ("hstore", "\"map\""),
        ("binary", "\"hex\""),
        ("name_adjustment", "\"avro\""),
        ("placeholder", "\"-\""),
        ("inline_schema", "true"),
    ] {
        let sink = format!(
            "[sink.kafka]\nbootstrap = \"k:9092\"\nformat = \"protobuf\"\n[sink.kafka.envelope]\n{key} = {value}"
        );
        let found = problems(&GOOD.replace("[sink.duckdb]\npath = \"shop.duckdb\"", &sink));
        let [problem] = found.as_slice() else { panic!("{key}: {found:?}") };
        assert_eq!(problem.path, format!("sink.kafka.envelope.{key}"));
        assert!(problem.what.contains("no effect") && problem.remedy.contains("without loss"), "{problem}");
    }
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let found = problems(&GOOD.replace("u:CANARY", "u:${TAILWATER_TEST_NOT_SET}"));
    assert!(
        found.iter().any(|p| p.path == "source.postgres.url" && p.what.contains("TAILWATER_TEST_NOT_SET")),
        "{found:?}"
    );
}

#[test]
fn a_syntax_error_is_said_without_the_line_it_stands_in() {
    let found = problems("[pipeline]\nname = \"CANARY\n");
    assert_eq!((found.len(), found[0].line), (1, 2));
}

#[test]
fn no_source_and_no_sink_are_both_said() {
    let found = problems("[pipeline]\nname = \"x\"\n");
    assert!(found.iter().any(|p| p.path == "source") && found.iter().any(|p| p.path == "sink"), "{found:?}");
}

/// Every key that the code asks for stands in docs/configuration.md.
#[test]
fn the_documentation_names_every_key() {
    let sources = ["mod.rs", "sources.rs", "sinks.rs"]
        .map(|file| std::fs::read_to_string(format!("{}/src/app/config/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap());
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let mut keys = BTreeSet::new();
    for source in &sources {
        for call in [
            ".text(\"",
            ".texts(\"",
            ".secret(\"",
            ".number(\"",
            ".flag(\"",
            ".later(\"",
            "patterns(section, \"",
            "&mut pipeline, \"",
        ] {
            keys.extend(source.split(call).skip(1).filter_map(|rest| rest.split('"').next()));
        }
    }
    assert!(keys.len() > 20, "the search finds the keys: {keys:?}");
    let missing: Vec<_> = keys
        .into_iter()
        .filter(|key| !docs.contains(&format!("`{key}`")) && !docs.contains(&format!(".{key}`")))
        .collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks {missing:?}");
}

#[test]
fn every_mode_of_types_is_taken_and_another_is_refused_with_those_there_are() {
    use tailwater::codecs::event::Modes;
    let file = |key: &str, name: &str| {
        format!(
            "[pipeline]\nname = \"shop\"\n[source.postgres]\nurl = \"postgres://u@db/shop\"\ntables = [\"*\"]\n\
             [sink.kafka]\nbootstrap = \"k:9092\"\nformat = \"json\"\n[sink.kafka.envelope]\nplaceholder = \"-\"\n{key} = \"{name}\"\n"
        )
    };
    for (key, names) in Modes::keys() {
        for name in &names {
            let config = Config::parse(&file(key, name)).unwrap();
            let Sink::Kafka(options) = config.sink else { panic!("topics are the sink") };
            assert!(options.events.modes.names().contains(&(key, name)), "{key} = {name}");
            assert_eq!(options.events.placeholder, "-");
        }
        let found = problems(&file(key, "another"));
        assert_eq!((found.len(), found[0].path.as_str()), (1, format!("sink.kafka.envelope.{key}").as_str()));
        assert!(names.iter().all(|name| found[0].remedy.contains(name)), "{}", found[0]);
    }
}

#[test]
fn a_duckdb_path_that_names_no_file_is_refused() {
    for path in ["", " ", ":memory:", ":memory:shop"] {
        let found = problems(&GOOD.replace("shop.duckdb", path));
        assert_eq!((found.len(), found[0].path.as_str()), (1, "sink.duckdb.path"), "{path}: {found:?}");
    }
}

#[test]
fn what_is_no_list_of_brokers_is_refused() {
    let file = |bootstrap: &str| {
        GOOD.replace(
            "[sink.duckdb]\npath = \"shop.duckdb\"",
            &format!("[sink.kafka]\nformat = \"json\"\nbootstrap = \"{bootstrap}\""),
        )
    };
    for fine in
        ["k1", "k1:9092", "k1:9092, k2.example.com:9093", "[::1]:9092", "[::1]", "SASL_SSL://k1:9092", "10.0.0.1:1"]
    {
        assert!(Config::parse(&file(fine)).is_ok(), "{fine}");
    }
    for wrong in
        ["", "k1:9092,", "http://k1:9092", "k1:port", "k1:0", "k1:99999", ":9092", "k1 k2:9092", "k1:9092;k2:9092"]
    {
        let found = problems(&file(wrong));
        assert_eq!((found.len(), found[0].path.as_str()), (1, "sink.kafka.bootstrap"), "{wrong}: {found:?}");
    }
}

#[test]
fn topics_are_named_by_templates_of_the_pipeline_and_of_tables() {
    use tailwater::model::TableName;

    let file = |topic: &str, table: &str| {
        let kafka = format!("[sink.kafka]\nbootstrap = \"k:9092\"\nformat = \"json\"\n{topic}\n[[table]]\n{table}");
        GOOD.replace("[sink.duckdb]\npath = \"shop.duckdb\"", &kafka)
    };
    let text = file(
        "topic.name = \"cdc.${schema}.${table}\"",
        "match = \"public.a\"\nrename = \"b\"\n[[table]]\nmatch = \"*\"\ntopic = \"${prefix}-all\"",
    );
    let Sink::Kafka(options) = Config::parse(&text).unwrap().sink else { panic!("topics are the sink") };
    let topic = |source: &str, told: &str| {
        options
            .topics
            .topic(&options.events.prefix, &TableName::new("public", source), &TableName::new("public", told))
            .name
    };
    assert_eq!((topic("a", "b").as_str(), topic("b", "b").as_str()), ("cdc.public.b", "shop-all"));

    for (text, path) in [
        (file("topic.name = \"${tabel}\"", "match = \"x\""), "sink.kafka.topic.name"),
        (file("topic.name = \"\"", "match = \"x\""), "sink.kafka.topic.name"),
        (file("topic.key_fields = { a = \"${tabel}\" }", "match = \"x\""), "sink.kafka.topic.key_fields.a"),
        (file("", "match = \"x\"\nkey_fields = { a = \"b c\" }"), "table.key_fields.a"),
        (file("", "match = \"x\"\ntopic = \"a b\""), "table.topic"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\ntopic = \"a\""), "table.topic"),
        (file("", "match = \"x\"\nview = \"a.b\""), "table.view"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\nview = \"a\""), "table.view"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\nview = \"a.${{tabel}}\""), "table.view"),
        (format!("{GOOD}\n[[table]]\nmatch = \"s.*\"\nview = \"a.b\""), "table.view"),
        (file("", "match = \"x\"\nflush = { rows = 10 }"), "table.flush"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\nflush = {{ seconds = 0 }}"), "table.flush.seconds"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\nflush = {{ bytes = 0 }}"), "table.flush.bytes"),
        (format!("{GOOD}\n[[table]]\nmatch = \"x\"\nflush = {{ megabytes = 10 }}"), "table.flush.megabytes"),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|p| p.path == path), "{path}: {found:?}");
    }
}

#[test]
fn what_members_cannot_do_together_is_refused() {
    let config = |rest: &str| {
        format!(
            "[pipeline]\nname = \"x\"\n[source.kafka]\nbootstrap = \"k:9092\"\ntopics = [\"x.*\"]\nmembers = \"share\"\n{rest}"
        )
    };
    let redshift = "[sink.redshift]\nurl = \"postgres://u@h/d\"\nstage = \"s3://bucket/prefix\"\nregion = \"r\"\niam_role = \"arn:aws:iam::1:role/r\"\n";
    let postgres = "[sink.postgres]\nurl = \"postgres://u@h/d\"\n";
    assert!(Config::parse(&config(postgres)).is_ok());
    for (rest, path, says) in [
        ("[sink.duckdb]\npath = \"x.db\"\n".to_owned(), "source", "one process at a time"),
        (redshift.to_owned(), "source", "not built for Redshift"),
        (format!("{postgres}[[table]]\nmatch = \"x\"\nflush = {{ rows = 9 }}\n"), "table.flush", "share"),
        (format!("{postgres}[[table]]\nmatch = \"x\"\nsource_column = \"of\"\n"), "table.source_column", "share"),
    ] {
        let problems = Config::parse(&config(&rest)).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path], "{}", problems[0]);
        assert!(problems[0].to_string().contains(says), "{}", problems[0]);
    }
}

#[test]
fn several_processes_are_asked_for_and_a_name_is_for_one_of_several() {
    let config = |lines: &str| {
        format!(
            "[pipeline]\nname = \"x\"\n[source.kafka]\nbootstrap = \"k:9092\"\ntopics = [\"x.*\"]\n{lines}\n\
             [sink.postgres]\nurl = \"postgres://u@h/d\"\n"
        )
    };
    let read = |lines: &str| {
        Config::parse(&config(lines)).map(|config| match config.source {
            Source::Kafka(options) => options.membership.map(|membership| (membership.instance, membership.share)),
            Source::Postgres(_) | Source::Foreign(_) => panic!("another source"),
        })
    };
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read("members = \"one\"").unwrap(), None);
    assert_eq!(read("members = \"standby\"").unwrap(), Some((None, false)));
    assert_eq!(read("members = \"share\"").unwrap(), Some((None, true)));
    assert_eq!(read("members = \"standby\"\ninstance = \"a.1\"").unwrap(), Some((Some("a.1".to_owned()), false)));
    for (lines, path) in [
        ("members = \"many\"", "source.kafka.members"),
        ("instance = \"a\"", "source.kafka.instance"),
        ("members = \"standby\"\ninstance = \"a b\"", "source.kafka.instance"),
    ] {
        let problems = read(lines).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path], "{lines}");
    }
}

#[test]
fn topics_of_others_are_read_as_their_origin_says() {
    let read = |lines: &str, tables: &str| {
        Config::parse(&format!(
            "[pipeline]\nname = \"x\"\n[source.kafka]\nbootstrap = \"k:9092\"\ntopics = [\"x.*\"]\n{lines}\n\
             [sink.postgres]\nurl = \"postgres://u@h/d\"\n{tables}"
        ))
        .map(|config| match config.source {
            Source::Foreign(options) => Some((options.registry.is_some(), options.declared.len())),
            Source::Postgres(_) | Source::Kafka(_) => None,
        })
    };
    let types = "[[table]]\nmatch = \"a.*\"\ncolumns.types = { x = \"numeric(9,2)\" }";
    assert_eq!(read("origin = \"tailwater\"", "").unwrap(), None);
    assert_eq!(read("origin = \"rows\"", types).unwrap(), Some((false, 1)));
    let avro = "origin = \"debezium\"\nformat = \"avro\"\nregistry = \"http://r:8081\"";
    assert_eq!(read(avro, "").unwrap(), Some((true, 0)));
    for (lines, tables, path) in [
        ("origin = \"others\"", "", "source.kafka.origin"),
        ("origin = \"debezium\"\nformat = \"avro\"", "", "source.kafka.registry"),
        ("origin = \"debezium\"\nformat = \"protobuf\"", "", "source.kafka.format"),
        ("origin = \"rows\"\nformat = \"avro\"\nregistry = \"http://r:8081\"", "", "source.kafka.format"),
        ("origin = \"rows\"\nprefix = \"x\"", "", "source.kafka.prefix"),
        ("origin = \"rows\"\nskip_records = [\"t[0]@1\", \"t@1\"]", "", "source.kafka.skip_records"),
        ("origin = \"rows\"\nskip_records = [\"t[0]@-1\"]", "", "source.kafka.skip_records"),
        ("skip_records = [\"t[0]@1\"]", "", "source.kafka.skip_records"),
        ("origin = \"rows\"\nmembers = \"standby\"", "", "source.kafka.members"),
        ("origin = \"rows\"", "[[table]]\nmatch = \"a.*\"\ncolumns.types = { x = \"money\" }", "table.columns.types.x"),
    ] {
        let problems = read(lines, tables).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path], "{lines}");
    }
}

#[test]
fn what_becomes_of_values_that_do_not_fit_is_said_for_all_tables_and_for_some() {
    use tailwater::logic::merge::OnMisfit;
    use tailwater::model::TableName;

    let sink = "[sink.duckdb]\n";
    let of = |text: &str, table: &str| {
        let Sink::Duckdb(options, _) = Config::parse(text).unwrap().sink else { panic!("DuckDB is the sink") };
        options.policies.of(&TableName::new("public", table)).misfit
    };
    assert_eq!(of(GOOD, "t"), OnMisfit::Stop);
    let text = GOOD.replace(sink, "[sink.duckdb]\non_misfit = \"text\"\n");
    let text = format!(
        "{text}[[table]]\nmatch = \"public.a\"\non_misfit = \"null\"\n[[table]]\nmatch = \"public.b\"\non_misfit = \"widen\"\n\
         [[table]]\nmatch = \"public.c\"\non_misfit = \"stop\"\n[[table]]\nmatch = \"public.d\"\non_rename = \"keep\"\n"
    );
    let found = ["a", "b", "c", "d", "e"].map(|table| of(&text, table));
    assert_eq!(found, [OnMisfit::Null, OnMisfit::Widen, OnMisfit::Stop, OnMisfit::Text, OnMisfit::Text]);
    let wrong = problems(&GOOD.replace(sink, "[sink.duckdb]\non_misfit = \"truncate\"\n"));
    assert!(
        wrong.iter().any(|problem| problem.to_string().contains("on_misfit") && problem.remedy.contains("\"null\""))
    );
    let kafka = "[sink.kafka]\nbootstrap = \"b:9092\"\nformat = \"json\"\n";
    let useless = format!(
        "{}[[table]]\nmatch = \"public.a\"\non_misfit = \"null\"\n",
        GOOD.replace("[sink.duckdb]\npath = \"shop.duckdb\"\n", kafka)
    );
    assert!(problems(&useless).iter().any(|problem| problem.to_string().contains("on_misfit")));
}

#[test]
fn a_flush_has_limits_of_single_tables() {
    use std::time::Duration;

    use tailwater::logic::merge::Limits;

    let text = format!(
        "{GOOD}\n[[table]]\nmatch = \"public.a\"\nflush = {{ rows = 10, bytes = 4096, seconds = 2 }}\n\
         [[table]]\nmatch = \"public.b\"\nmode = \"append\"\n"
    );
    let Sink::Duckdb(options, _) = Config::parse(&text).unwrap().sink else { panic!("DuckDB is the sink") };
    let limits: Vec<Limits> = options.limits.into_iter().map(|(_, limits)| limits).collect();
    let own = Limits { rows: Some(10), bytes: Some(4096), after: Some(Duration::from_secs(2)) };
    assert_eq!(limits, [own, Limits::default()]);
}
