//! `[sink.redshift]`, and where tables lie on the cluster.

use std::sync::Arc;
use std::time::Duration;

use super::file::{Problems, Section};
use super::sinks::{one_of, warehouse_options};
use super::sources::endpoint;
use super::{RedshiftSink, Sink, warehouse};
use crate::adapters::warehouse::{OBJECT_FORMATS, RedshiftOptions};
use crate::codecs::dialect::{DIST_STYLES, JSONS, Placement, Redshift, Types};

/// A commit on Redshift takes about half a second of the whole cluster: few large ones.
const FLUSH: warehouse::Flush = warehouse::Flush { rows: 1_000_000, bytes: 64 << 20, after: Duration::from_secs(60) };
/// Redshift's own port.
const PORT: u16 = 5439;

pub(super) fn read(section: &mut Section<'_>, name: &str, problems: &mut Problems) -> Option<Sink> {
    let endpoint = endpoint(section, problems).map(|mut endpoint| {
        let url = section.secret("url", &mut Problems::new()).unwrap_or_default();
        if url::Url::parse(&url).is_ok_and(|url| url.port().is_none()) {
            endpoint.port = PORT;
        }
        endpoint
    });
    let stage = section.text("stage", problems);
    if !section.has("stage") {
        section.problem("stage", "is missing", "write it as in stage = \"s3://bucket/prefix\"", problems);
    }
    let place = stage.and_then(|stage| {
        let place = RedshiftOptions::place(&stage);
        if place.is_none() {
            let remedy = "write it as in s3://bucket/prefix, with letters, digits and . - _ = ! in the prefix";
            section.problem("stage", "is not a place on S3", remedy, problems);
        }
        place
    });
    let region = section.text("region", problems);
    let endpoint_of_s3 = section.text("endpoint", problems);
    if endpoint_of_s3.as_deref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        section.problem("endpoint", "is not a URL", "write it as in https://s3.example.com", problems);
    }
    let iam_role = section.text("iam_role", problems);
    if iam_role.as_deref().is_some_and(|role| role != "default" && !role.starts_with("arn:")) {
        section.problem("iam_role", "is not a role", "write it as in arn:aws:iam::123456789012:role/name", problems);
    }
    let kms_key = section.text("kms_key", problems);
    let format = one_of(section, "format", &OBJECT_FORMATS, problems).unwrap_or_default();
    let files = section.number("files", 1..=1_000, problems).and_then(|n| usize::try_from(n).ok()).unwrap_or(4);
    let json = one_of(section, "json", &JSONS, problems).unwrap_or_default();
    let numeric_scale = section.number("numeric_scale", 0..=37, problems).and_then(|n| u8::try_from(n).ok());
    let options = warehouse_options(section, name, FLUSH, problems);
    let (bucket, prefix) = place?;
    Some(Sink::Redshift(Box::new(RedshiftSink {
        options,
        endpoint: endpoint?,
        dialect: Redshift {
            pipeline: name.to_owned(),
            types: Types { json, numeric_scale, widest: false },
            placements: Arc::default(),
        },
        stage: RedshiftOptions {
            bucket,
            prefix,
            region,
            endpoint: endpoint_of_s3,
            iam_role,
            kms_key,
            keys: None,
            format,
            files,
        },
    })))
}

/// `distkey`, `diststyle` and `sortkey` of a `[[table]]`; `None` when none is there.
pub(super) fn placement(section: &mut Section<'_>, problems: &mut Problems) -> Option<Placement> {
    let distkey = section.text("distkey", problems);
    let diststyle = one_of(section, "diststyle", &DIST_STYLES, problems);
    let sortkey = section.texts("sortkey", problems);
    if distkey.is_some() && diststyle.is_some() {
        section.problem("diststyle", "contradicts distkey", "keep one of the two", problems);
    }
    (distkey.is_some() || diststyle.is_some() || sortkey.is_some()).then_some(Placement { distkey, diststyle, sortkey })
}
