//! Debezium's configurations become ours, and nothing of them is dropped in silence.

use tailwater::app::config::{Config, Sink, Source};
use tailwater::app::import::{Imported, import};

const CONNECTOR: &str = r#"{"name": "inventory connector", "config": {
  "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput", "tasks.max": "1",
  "database.hostname": "db.internal", "database.port": "5433", "database.user": "dbz", "database.password": "CANARY",
  "database.dbname": "shop", "database.sslmode": "require", "topic.prefix": "shop", "slot.name": "dbz_slot",
  "publication.autocreate.mode": "filtered", "table.include.list": "public.orders,inv\\..*,public.(a|b)",
  "schema.exclude.list": "audit", "snapshot.mode": "no_data", "decimal.handling.mode": "string",
  "time.precision.mode": "isostring", "interval.handling.mode": "string", "tombstones.on.delete": false,
  "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
  "key.converter": "io.confluent.connect.avro.AvroConverter", "key.converter.schema.registry.url": "http://r:8081",
  "column.exclude.list": "public.orders.card", "message.key.columns": "public.orders:tenant,id;public.(x):y",
  "column.mask.hash.SHA-256.with.salt.CANARY": "public.orders.email,public.people.*", "column.truncate.to.5.chars": "public.orders.note",
  "column.mask.with.10.chars": "public.orders.phone", "heartbeat.interval.ms": "5000", "transforms": "unwrap",
  "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState", "provide.transaction.metadata": "true",
  "topic.creation.default.partitions": "6", "topic.creation.default.replication.factor": "-1", "field.name.adjustment.mode": "avro", "topic.delimiter": "-", "my.own.key": "1"
}}"#;

fn left<'a>(imported: &'a Imported, key: &str) -> Option<&'a str> {
    imported.left.iter().find(|(left, _)| left == key).map(|(_, why)| why.as_str())
}

#[test]
fn a_connectors_json_becomes_a_configuration_that_is_accepted_and_the_rest_is_listed() {
    let imported = import(CONNECTOR).unwrap();
    let toml = &imported.toml;
    assert!(!format!("{imported:?}").contains("CANARY"), "{imported:?}");
    let config = Config::parse(&toml.replace("${PGPASSWORD}", "p").replace("${MASK_SALT}", "s"))
        .unwrap_or_else(|p| panic!("{p:?}\n{toml}"));
    assert_eq!(config.name, "inventory-connector");
    let Source::Postgres(source) = &config.source else { panic!("a slot is the source") };
    assert_eq!((source.slot.as_str(), source.publication.as_str()), ("dbz_slot", "dbz_publication"));
    let patterns: Vec<&str> = source.tables.iter().map(|pattern| pattern.as_str()).collect();
    assert_eq!(patterns, ["public.orders", "inv.*"]);
    assert_eq!(source.exclude.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["audit.*"]);
    assert_eq!(source.partitions, tailwater::adapters::postgres::Partitioned::Leaf, "as it is there unless it is said");
    let Sink::Kafka(sink) = &config.sink else { panic!("topics are the sink") };
    let table = tailwater::model::TableName::new("public", "orders");
    assert_eq!(sink.topic(&table).name, "shop-public-orders");
    assert_eq!(
        (sink.events.prefix.as_str(), sink.partitions, sink.events.tombstones, sink.events.truncates),
        ("shop", 6, false, false)
    );
    for mode in [
        ("decimal", "string"),
        ("time", "isostring"),
        ("interval", "string"),
        ("unknown", "omit"),
        ("name_adjustment", "avro"),
    ] {
        assert!(sink.events.modes.names().contains(&mode), "{mode:?}");
    }
    assert!(sink.transaction_metadata && sink.heartbeat_seconds == 5);
    assert!(sink.events.modes.names().contains(&("kind", "flat")));
    let rule = config.rules.iter().find(|rule| rule.tables.as_str() == "public.orders").unwrap();
    assert_eq!((rule.exclude.as_slice(), rule.masks.len()), (&["card".to_owned()][..], 3));
    assert_eq!(rule.key.as_deref(), Some(&["tenant".to_owned(), "id".to_owned()][..]));
    for key in [
        "database.password",
        "table.include.list",
        "key.converter",
        "column.mask.hash.SHA-256.with.salt.***",
        "message.key.columns",
        "field.name.adjustment.mode",
        "topic.delimiter",
        "my.own.key",
        "tasks.max",
        "plugin.name",
        "(offsets)",
        "(bootstrap.servers)",
    ] {
        assert!(left(&imported, key).is_some(), "{key}: {:?}", imported.left);
    }
    assert!(left(&imported, "table.include.list").unwrap().contains("public.(a|b)"));
}

#[test]
fn avro_its_registry_and_the_event_router_are_carried_over() {
    let text = "connector.class=io.debezium.connector.postgresql.PostgresConnector\ntopic.prefix=t\n\
        value.converter=io.confluent.connect.avro.AvroConverter\nvalue.converter.schema.registry.url=http://r:8081\n\
        key.converter=io.confluent.connect.avro.AvroConverter\nkey.converter.schema.registry.url=http://r:8081\n\
        value.converter.basic.auth.user.info=me:CANARY\nextended.headers.enabled=false\n\
        transforms=outbox,other\ntransforms.outbox.type=io.debezium.transforms.outbox.EventRouter\n\
        transforms.outbox.route.topic.replacement=events.${routedByValue}\ntransforms.outbox.table.field.event.key=who\n\
        transforms.outbox.table.expand.json.payload=true\ntransforms.outbox.tracing.span=x\n\
        transforms.other.type=org.example.Other\n";
    let imported = import(text).unwrap();
    assert!(!format!("{imported:?}").contains("CANARY"), "{imported:?}");
    let config = Config::parse(&imported.toml.replace("${PGPASSWORD}", "p"))
        .unwrap_or_else(|p| panic!("{p:?}\n{}", imported.toml));
    let Sink::Kafka(sink) = config.sink else { panic!("topics are the sink") };
    assert!(sink.events.modes.names().contains(&("format", "avro")) && !sink.context_headers);
    assert_eq!(sink.registry.unwrap().urls, ["http://r:8081/"]);
    let [outbox] = &sink.outboxes[..] else { panic!("one outbox") };
    assert_eq!((outbox.topic.as_str(), outbox.columns.key.as_str()), ("events.${route}", "who"));
    for key in [
        "value.converter.basic.auth.user.info",
        "transforms",
        "transforms.outbox.tracing.span",
        "(outbox)",
        "transforms.other.type",
    ] {
        assert!(left(&imported, key).is_some(), "{key}: {:?}", imported.left);
    }
}

/// A connector's transformations as rules.
fn routed(routers: &str, more: &str) -> (Imported, tailwater::adapters::kafka::SinkOptions) {
    let text = format!(
        "connector.class=io.debezium.connector.postgresql.PostgresConnector\ntopic.prefix=shop\n{more}\ntransforms=r\n{routers}"
    );
    let imported = import(&text).unwrap();
    let config = Config::parse(&imported.toml.replace("${PGPASSWORD}", "p"))
        .unwrap_or_else(|p| panic!("{p:?}\n{}", imported.toml));
    let Sink::Kafka(sink) = config.sink else { panic!("topics are the sink") };
    (imported, *sink)
}

#[test]
fn routers_of_topics_become_topics_and_fields_of_keys() {
    let of = |sink: &tailwater::adapters::kafka::SinkOptions, table: &str| {
        let table = tailwater::model::TableName::new("public", table);
        (sink.topic(&table).name, sink.settings(&table).key_fields)
    };
    let router = "transforms.r.type=io.debezium.transforms.ByLogicalTableRouter\n\
        transforms.r.topic.regex=(.*)orders_(.*)\ntransforms.r.topic.replacement=$1orders_all\n";
    let field = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
    let (imported, sink) = routed(router, "column.exclude.list=public.orders_1.card");
    let whole = |table: &str| field("__dbz__physicalTableIdentifier", &format!("shop.public.{table}"));
    for table in ["orders_1", "orders_2"] {
        assert_eq!(of(&sink, table), ("shop.public.orders_all".to_owned(), whole(table)), "{}", imported.toml);
    }
    assert_eq!(of(&sink, "people"), ("shop.public.people".to_owned(), vec![]));
    assert!(left(&imported, "transforms.r").unwrap().contains("schemas keep the names"));

    let keyed = "transforms.r.key.field.name=shard\ntransforms.r.key.field.regex=shop\\\\.(.*)\\\\.orders_.*\n\
        transforms.r.key.field.replacement=$1\ntransforms.r.predicate=p\n";
    let (imported, sink) = routed(&format!("{router}{keyed}"), "");
    assert_eq!(of(&sink, "orders_1").1, field("shard", "public"), "{}", imported.toml);
    assert!(left(&imported, "transforms.r.predicate").is_some());
    // The number of the shard is a piece of the table's name.
    let (imported, sink) = routed(&format!("{router}{}", keyed.replace("=$1", "=$2").replace("_.*", "_(.*)")), "");
    assert_eq!(of(&sink, "orders_1").1, field("shard", "shop.public.orders_1"));
    assert!(left(&imported, "transforms.r.key.field.replacement").is_some());
    let (_, sink) = routed(&format!("{router}transforms.r.key.enforce.uniqueness=false\n"), "");
    assert_eq!(of(&sink, "orders_1"), ("shop.public.orders_all".to_owned(), vec![]));

    let (_, sink) = routed(
        "transforms.r.type=org.apache.kafka.connect.transforms.RegexRouter\n\
         transforms.r.regex=(.*)\ntransforms.r.replacement=cdc.$1\n",
        "",
    );
    assert_eq!(of(&sink, "people"), ("cdc.shop.public.people".to_owned(), vec![]));
    let (imported, sink) = routed(&router.replace("=$1", "=$2"), "");
    assert_eq!(of(&sink, "orders_1"), ("shop.public.orders_1".to_owned(), vec![]));
    assert!(left(&imported, "transforms.r").unwrap().contains("$2orders_all"));
}

#[test]
fn properties_are_read_too() {
    let text = "# a comment\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\ntopic.prefix = t\n\
        database.hostname: h\ntable.include.list=public.a,\\\n  public.b\nskipped.operations=none\n";
    let imported = import(text).unwrap();
    let config = Config::parse(&imported.toml.replace("${PGPASSWORD}", "p")).unwrap();
    let Source::Postgres(source) = config.source else { panic!("a slot is the source") };
    assert_eq!(source.tables.len(), 2);
    let Sink::Kafka(sink) = config.sink else { panic!("topics are the sink") };
    assert!(sink.events.truncates && sink.events.tombstones);
}

#[test]
fn what_is_no_postgresql_connector_is_refused_without_quoting_it() {
    for text in [
        "{\"connector.class\": \"io.debezium.connector.mysql.MySqlConnector\", \"database.password\": \"CANARY\"}",
        "{\"database.password\": \"CANARY\"",
        "[]",
        "CANARY",
        "",
    ] {
        let error = import(text).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("CANARY"), "{error}");
        assert!(error.advice().is_some(), "{error}");
    }
}
