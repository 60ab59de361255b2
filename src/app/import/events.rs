//! Events: converters, topics, the shape of keys and values, and transformations.

use std::fmt::Write;

use super::keys::{Translation, list, quoted};
use super::routes::{Expression, Route};
use crate::codecs::event::{ADDED, DELETES};

impl<'a> Translation<'a> {
    pub(super) fn sink(&mut self, toml: &mut String) {
        let prefix = self.take("topic.prefix").unwrap_or("imported");
        let converted = self.converters();
        let _ = writeln!(
            toml,
            "[sink.kafka]\nbootstrap = \"localhost:9092\"\nprefix = {}\nformat = {}\ndelivery = \"at-least-once\"",
            quoted(prefix),
            quoted(if converted.avro { "avro" } else { "json" })
        );
        toml.push_str(&converted.registry);
        self.left
            .push(("(bootstrap.servers)".into(), "is in the worker's configuration: set sink.kafka.bootstrap".into()));
        let partitions = self.take("topic.creation.default.partitions");
        let replication = self.take("topic.creation.default.replication.factor").filter(|count| *count != "-1");
        let delimiter = self.take("topic.delimiter").filter(|delimiter| *delimiter != ".");
        if partitions.is_some() || replication.is_some() || delimiter.is_some() {
            toml.push_str("[sink.kafka.topic]\n");
            if let Some(delimiter) = delimiter {
                let _ = writeln!(toml, "name = {}", quoted(&["${prefix}", "${schema}", "${table}"].join(delimiter)));
                self.leave("topic.delimiter", "stands in names of topics; those of schemas keep their points");
            }
            for (key, value) in [("partitions", partitions), ("replication", replication)] {
                if let Some(value) = value {
                    let _ = writeln!(toml, "{key} = {value}");
                }
            }
        }
        toml.push_str("[sink.kafka.envelope]\n");
        for (theirs, ours) in [
            ("decimal.handling.mode", "decimal"),
            ("time.precision.mode", "time"),
            ("interval.handling.mode", "interval"),
            ("hstore.handling.mode", "hstore"),
            ("binary.handling.mode", "binary"),
            ("unavailable.value.placeholder", "placeholder"),
        ] {
            if let Some(value) = self.take(theirs) {
                let _ = writeln!(toml, "{ours} = {}", quoted(value));
            }
        }
        for (theirs, ours) in [
            ("message.prefix.include.list", "message_prefixes"),
            ("message.prefix.exclude.list", "message_prefixes_exclude"),
        ] {
            let prefixes = self.filter(theirs, "");
            if !prefixes.is_empty() {
                let _ = writeln!(toml, "{ours} = {}", list(&prefixes));
            }
        }
        if self.take("tombstones.on.delete") == Some("false") {
            toml.push_str("tombstones = false\n");
        }
        let skipped = self.take("skipped.operations").unwrap_or("t");
        let _ = writeln!(toml, "truncates = {}", !skipped.contains('t'));
        if skipped.split(',').any(|operation| matches!(operation.trim(), "c" | "u" | "d")) {
            self.leave("skipped.operations", "only truncates can be left out");
        }
        match self.take("include.unknown.datatypes") {
            Some("true") => {
                self.leave("include.unknown.datatypes", "types outside the table are told as their text, not as bytes")
            }
            _ => toml.push_str("unknown = \"omit\"\n"),
        }
        if converted.inline {
            toml.push_str("inline_schema = true\n");
        }
        if self.take("provide.transaction.metadata") == Some("true") {
            toml.push_str("transaction_metadata = true\n");
        }
        if self.take("extended.headers.enabled") == Some("false") {
            toml.push_str("context_headers = false\n");
        }
        let beat = self.take("heartbeat.interval.ms").and_then(|millis| millis.parse::<u64>().ok()).unwrap_or(0);
        if beat > 0 {
            let _ = writeln!(toml, "heartbeat_seconds = {}", beat.div_ceil(1000));
        }
        let (schemas, fields) = (self.take("schema.name.adjustment.mode"), self.take("field.name.adjustment.mode"));
        if let Some(adjustment) = fields.or(schemas).filter(|adjustment| *adjustment != "none") {
            let _ = writeln!(toml, "name_adjustment = {}", quoted(adjustment));
        }
        if schemas.unwrap_or("none") != fields.unwrap_or("none") {
            self.leave("field.name.adjustment.mode", "names of schemas and of fields are adjusted alike");
        }
        for (key, fine, why) in [
            ("topic.heartbeat.prefix", "__debezium-heartbeat", "heartbeats go to __debezium-heartbeat.<prefix>"),
            ("topic.transaction", "transaction", "transactions go to <prefix>.transaction"),
        ] {
            if self.take(key).is_some_and(|value| value != fine) {
                self.leave(key, why);
            }
        }
        let outboxes = self.transforms(toml);
        toml.push('\n');
        toml.push_str(&outboxes);
    }

    /// What the converters say: keys and values have one form here.
    fn converters(&mut self) -> Converted {
        let mut converted = Converted::default();
        for (converter, schemas, url, login) in [
            (
                "value.converter",
                "value.converter.schemas.enable",
                "value.converter.schema.registry.url",
                "value.converter.basic.auth.user.info",
            ),
            (
                "key.converter",
                "key.converter.schemas.enable",
                "key.converter.schema.registry.url",
                "key.converter.basic.auth.user.info",
            ),
        ] {
            let (class, of_value) = (self.take(converter), converter.starts_with("value"));
            let (enabled, url) = (self.take(schemas) != Some("false"), self.take(url));
            if self.take(login).is_some() {
                self.leave(login, "not written into a file: set sink.kafka.registry_options.user and password");
            }
            let avro = class.is_some_and(|class| class.ends_with("AvroConverter"));
            match class {
                Some(_) if avro && of_value => {
                    converted.avro = true;
                    let url = url.unwrap_or("http://localhost:8081");
                    let _ = writeln!(converted.registry, "registry = {}", quoted(url));
                }
                Some(_) if avro == converted.avro && avro => {}
                Some(class) if class.ends_with("JsonConverter") && !converted.avro => converted.inline |= enabled,
                Some(_) if !of_value => {
                    self.leave(converter, "keys have the form of the values");
                }
                Some(_) => self.leave(converter, "JSON is used: set sink.kafka.format"),
                None => {}
            }
        }
        converted
    }

    /// The transformations that have a counterpart.
    fn transforms(&mut self, toml: &mut String) -> String {
        let names: Vec<String> = self
            .take("transforms")
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let mut outboxes = String::new();
        for name in names {
            let begin = format!("transforms.{name}.");
            let options: Vec<(&'a str, &'a str, &'a str)> = self
                .keys
                .iter()
                .filter_map(|(key, value)| Some((key.as_str(), key.strip_prefix(&begin)?, value.as_str())))
                .collect();
            let class = options.iter().find(|(_, option, _)| *option == "type").map_or("", |(_, _, class)| *class);
            if class.ends_with("ExtractNewRecordState") {
                toml.push_str("kind = \"flat\"\n");
                self.unwrap(&options, toml);
            } else if class.ends_with("EventRouter") {
                self.outbox(&options, &mut outboxes);
            } else if class.ends_with(".ByLogicalTableRouter")
                || class.ends_with(".ToLogicalTopicRouter")
                || class.ends_with(".RegexRouter")
            {
                self.route(class, &options);
            } else {
                self.leave(
                    "transforms",
                    format!("{name}: only ExtractNewRecordState, EventRouter and routers of topics are carried over"),
                );
            }
        }
        outboxes
    }

    /// Topics by an expression over their names.
    fn route(&mut self, class: &str, options: &[(&'a str, &'a str, &'a str)]) {
        let option = |name: &str| options.iter().find(|(_, option, _)| *option == name).map(|(_, _, value)| *value);
        let known = ["type", "regex", "replacement", "topic.regex", "topic.replacement"];
        let known_keys = ["key.enforce.uniqueness", "key.field.name", "key.field.regex", "key.field.replacement"];
        for (key, option, _) in options {
            self.used.insert(*key);
            if !known.contains(option) && !known_keys.contains(option) {
                self.leave(key, "has no counterpart");
            }
        }
        let Some((begin, _)) = options.iter().find_map(|(key, option, _)| key.rsplit_once(option)) else { return };
        let regex = option("topic.regex").or(option("regex")).unwrap_or_default();
        let replacement = option("topic.replacement").or(option("replacement")).unwrap_or_default();
        let prefix = self.take("topic.prefix").unwrap_or("imported");
        let read = Expression::read(regex, prefix).filter(|_| self.take("topic.delimiter").is_none_or(|it| it == "."));
        let Some((read, topic)) = read.and_then(|read| read.template(replacement).map(|topic| (read, topic))) else {
            let why = format!("{regex} -> {replacement}: set `topic` and `key_fields` of [[table]] for these tables");
            return self.leave(begin.trim_end_matches('.'), why);
        };
        let mut lines = format!("topic = {}\n", quoted(&topic));
        if !class.ends_with("RegexRouter") && option("key.enforce.uniqueness") != Some("false") {
            let usual = if class.ends_with("ByLogicalTableRouter") { "physicalTable" } else { "source" };
            let name = option("key.field.name").map_or(format!("__dbz__{usual}Identifier"), str::to_owned);
            let of_key = option("key.field.regex").zip(option("key.field.replacement"));
            let said = of_key.map(|(regex, replacement)| {
                Expression::read(regex, prefix).filter(|of_key| of_key.tables == read.tables)?.template(replacement)
            });
            if said == Some(None) {
                self.leave(&format!("{begin}key.field.replacement"), "the field holds the whole name of the table");
            }
            let text = said.flatten().unwrap_or_else(|| "${prefix}.${schema}.${table}".to_owned());
            let _ = writeln!(lines, "key_fields = {{ {} = {} }}", quoted(&name), quoted(&text));
        }
        let wider = if read.wider { "`*` stands for any characters, and " } else { "" };
        let why = format!("{wider}schemas keep the names of their tables: with Avro see registry_options.subjects");
        self.leave(begin.trim_end_matches('.'), why);
        self.routes.push(Route { tables: read.tables, lines });
    }

    fn unwrap(&mut self, options: &[(&'a str, &'a str, &'a str)], toml: &mut String) {
        let mut flat = String::new();
        for (key, option, value) in options {
            self.used.insert(*key);
            match *option {
                "type" => {}
                "delete.tombstone.handling.mode" if DELETES.iter().any(|(name, _)| name == value) => {
                    let _ = writeln!(flat, "flat.deletes = {}", quoted(value));
                }
                "add.fields" => {
                    let fields: Vec<String> = value.split(',').map(|field| field.trim().to_owned()).collect();
                    let (told, untold): (Vec<_>, Vec<_>) =
                        fields.into_iter().partition(|field| ADDED.iter().any(|(name, _)| name == field));
                    if !untold.is_empty() {
                        self.leave(key, format!("{}: can't be added", untold.join(", ")));
                    }
                    let _ = writeln!(flat, "flat.fields = {}", list(&told));
                }
                _ => self.leave(key, "has no counterpart"),
            }
        }
        toml.push_str(&flat);
    }

    fn outbox(&mut self, options: &[(&'a str, &'a str, &'a str)], toml: &mut String) {
        toml.push_str("[[outbox]]\nmatch = \"*.outbox\"\n");
        self.left.push(("(outbox)".into(), "which table is the outbox is not known here: set outbox.match".into()));
        for (key, option, value) in options {
            self.used.insert(*key);
            let ours = match *option {
                "type" => continue,
                "table.field.event.id" => "id",
                "table.field.event.key" => "key",
                "table.field.event.payload" => "payload",
                "table.field.event.timestamp" => "timestamp",
                "route.by.field" => "route",
                "route.topic.replacement" => {
                    let _ = writeln!(toml, "topic = {}", quoted(&value.replace("${routedByValue}", "${route}")));
                    continue;
                }
                "table.expand.json.payload" => {
                    if *value == "true" {
                        toml.push_str("form = \"expanded\"\n");
                    }
                    continue;
                }
                "table.fields.additional.placement" => {
                    self.left.push(((*key).to_owned(), "write what becomes a header under [outbox.headers]".into()));
                    continue;
                }
                _ => {
                    self.leave(key, "has no counterpart");
                    continue;
                }
            };
            let _ = writeln!(toml, "{ours} = {}", quoted(value));
        }
        toml.push('\n');
    }
}

/// What the converters come to.
#[derive(Default)]
struct Converted {
    avro: bool,
    inline: bool,
    registry: String,
}
