//! COPY from S3: the manifest, the objects, and their rows as PostgreSQL's COPY takes them.

use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStoreExt, RetryConfig};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use tailwater::model::value::{Finite, print};

use super::Cluster;
use super::law::{Refusal, refuse};
use super::lexer::Token;

/// A COPY statement.
#[derive(Clone, Debug)]
pub struct Copy {
    pub table: String,
    manifest: String,
    credentials: Credentials,
    parquet: bool,
    null: String,
    region: Option<String>,
}

#[derive(Clone, Debug)]
enum Credentials {
    Role(String),
    Keys(String, String, Option<String>),
}

impl Copy {
    /// Reads a statement; refuses what Redshift would.
    pub fn parse(all: &[Token]) -> Result<Copy, Refusal> {
        let bare: Vec<&Token> = all.iter().filter(|token| **token != Token::Space).collect();
        let at = |word: &str| bare.iter().position(|token| token.is(word));
        let after = |word: &str| match at(word).and_then(|at| bare.get(at + 1)) {
            Some(Token::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let (Some(from), Some(manifest)) = (at("from"), after("from").filter(|from| from.starts_with("s3://"))) else {
            return refuse("0A000", "COPY FROM takes S3 only");
        };
        if at("manifest").is_none() {
            return refuse("0A000", "the shim loads what a manifest lists");
        }
        let parquet = at("parquet").is_some();
        if !parquet && at("csv").is_none() {
            return refuse("0A000", "the shim reads Parquet and CSV");
        }
        for word in ["compupdate", "region", "null", "truncatecolumns", "maxerror"] {
            if parquet && at(word).is_some() {
                return refuse(
                    "0A000",
                    format!("{} argument is not supported for PARQUET based COPY", word.to_uppercase()),
                );
            }
        }
        let credentials = match (after("iam_role"), after("access_key_id"), after("secret_access_key")) {
            (Some(role), None, None) => Credentials::Role(role),
            (None, Some(key), Some(secret)) => Credentials::Keys(key, secret, after("session_token")),
            _ => return refuse("XX000", "Must specify credentials"),
        };
        Ok(Copy {
            table: super::lexer::text(&bare[1..from].iter().map(|token| (*token).clone()).collect::<Vec<_>>()),
            manifest,
            credentials,
            parquet,
            null: if at("null").is_some() { null_text(&bare).unwrap_or_default() } else { "\\N".to_owned() },
            region: after("region"),
        })
    }
}

impl Copy {
    /// What the objects' names begin with.
    pub fn manifest_folder(&self) -> String {
        self.manifest.rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/"))
    }
}

fn null_text(bare: &[&Token]) -> Option<String> {
    let at = bare.windows(3).position(|three| three[0].is("null") && three[1].is("as"))?;
    match bare.get(at + 2) {
        Some(Token::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A value that can't be loaded.
pub struct BadValue {
    pub file: String,
    pub line: usize,
    pub column: String,
    pub code: u32,
}

/// What came of reading.
pub enum Failed {
    Refused(Refusal),
    Value(BadValue),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Refused(refusal)
    }
}

fn s3<T>(text: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Refused(Refusal { code: "XX000", message: text.into(), detail: String::new() }))
}

/// The rows that a COPY loads, in PostgreSQL's text format, and how many. `columns` are name and type of the table's.
pub async fn read(copy: &Copy, cluster: &Cluster, columns: &[(String, String)]) -> Result<(Vec<u8>, u64), Failed> {
    let (bucket, key) = split(&copy.manifest);
    let named = copy.region.as_deref().unwrap_or(&cluster.region);
    if named != cluster.bucket_region {
        return s3(if copy.parquet {
            "S3 Query Exception (Fetch). The S3 bucket addressed by the query is in a different region from this cluster.".to_owned()
        } else {
            "S3ServiceException:The bucket you are attempting to access must be addressed using the specified endpoint.,Status 301,Error PermanentRedirect".to_owned()
        });
    }
    let store = open(copy, cluster, &bucket)?;
    let manifest = get(&store, &key).await?.ok_or_else(|| missing(&key))?;
    let manifest: Value = serde_json::from_slice(&manifest).map_err(|_| Refusal {
        code: "XX000",
        message: "Invalid manifest file".into(),
        detail: String::new(),
    })?;
    let (mut out, mut count) = (Vec::new(), 0);
    for entry in manifest["entries"].as_array().into_iter().flatten() {
        let (of, key) = split(entry["url"].as_str().unwrap_or_default());
        assert_eq!(of, bucket, "one bucket for all");
        let Some(object) = get(&store, &key).await? else {
            if entry["mandatory"] == Value::Bool(true) {
                return Err(missing(&key).into());
            }
            continue;
        };
        let Some(length) = entry["meta"]["content_length"].as_u64() else {
            return s3("The manifest has no content_length, which columnar files need");
        };
        if length != object.len() as u64 {
            return s3(format!(
                "S3 Query Exception (Fetch). The file {key} has not the content_length of the manifest"
            ));
        }
        let name = format!("s3://{bucket}/{key}");
        count += if copy.parquet {
            parquet(object, &name, columns, &mut out)?
        } else {
            csv(&object, &name, &copy.null, columns, &mut out)?
        };
    }
    Ok((out, count))
}

fn missing(key: &str) -> Refusal {
    let message = format!("S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Key {key}");
    Refusal { code: "XX000", message, detail: String::new() }
}

fn split(url: &str) -> (String, String) {
    let (bucket, key) = url.trim_start_matches("s3://").split_once('/').unwrap_or_default();
    (bucket.to_owned(), key.to_owned())
}

fn open(copy: &Copy, cluster: &Cluster, bucket: &str) -> Result<Arc<AmazonS3>, Failed> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&cluster.bucket_region)
        .with_endpoint(&cluster.s3)
        .with_allow_http(true)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    builder = match &copy.credentials {
        Credentials::Role(role) if *role == cluster.role => {
            builder.with_access_key_id(crate::support::s3::KEY).with_secret_access_key(crate::support::s3::SECRET)
        }
        Credentials::Role(role) => {
            return s3(format!("User arn:aws:redshift is not authorized to assume IAM Role {role}"));
        }
        Credentials::Keys(key, secret, token) => {
            let builder = builder.with_access_key_id(key).with_secret_access_key(secret);
            token.iter().fold(builder, |builder, token| builder.with_token(token))
        }
    };
    Ok(Arc::new(builder.build().expect("all is given")))
}

async fn get(store: &AmazonS3, key: &str) -> Result<Option<Bytes>, Failed> {
    let read = async { store.get(&Path::from(key)).await?.bytes().await };
    match read.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => {
            let text = error.to_string();
            let status = ["403", "503", "500"].into_iter().find(|status| text.contains(status)).unwrap_or("403");
            let what = if status == "403" { "Access Denied" } else { "SlowDown" };
            s3(format!("S3ServiceException:{what},Status {status},Error {what}"))
        }
    }
}

fn parquet(object: Bytes, file: &str, columns: &[(String, String)], out: &mut Vec<u8>) -> Result<u64, Failed> {
    let Ok(reader) = SerializedFileReader::new(object) else {
        return s3(format!("Spectrum Scan Error. File {file} is not a Parquet file"));
    };
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    if schema.num_columns() != columns.len() {
        return s3(format!(
            "Spectrum Scan Error. The number of columns in file {} does not match that of the table {}",
            schema.num_columns(),
            columns.len()
        ));
    }
    for (index, (name, type_name)) in columns.iter().enumerate() {
        let column = schema.column(index);
        let told = (column.physical_type(), column.converted_type());
        if !carries(told, (column.type_precision(), column.type_scale()), type_name) {
            return s3(format!(
                "Spectrum Scan Error. File {file} has an incompatible Parquet schema for column {name}: {told:?} for {type_name}"
            ));
        }
    }
    let mut count = 0;
    for row in reader.get_row_iter(None).expect("it has rows") {
        count += 1;
        let row = row.expect("a row");
        for (index, ((_, field), (name, type_name))) in row.get_column_iter().zip(columns).enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            let bad = || {
                Failed::Value(BadValue { file: file.into(), line: count as usize, column: name.clone(), code: 1204 })
            };
            let mut value = Vec::new();
            match field {
                Field::Null => {
                    out.extend_from_slice(b"\\N");
                    continue;
                }
                Field::Bool(flag) => print::boolean(*flag, &mut value),
                Field::Short(number) => print::int(i64::from(*number), &mut value),
                Field::Int(number) => print::int(i64::from(*number), &mut value),
                Field::Long(number) => print::int(*number, &mut value),
                Field::Float(number) => print::float4(*number, &mut value),
                Field::Double(number) => print::float8(*number, &mut value),
                Field::Decimal(decimal) => print::decimal(decimal.data(), decimal.scale(), &mut value),
                Field::Date(day) => print::date(Finite::Value(*day), &mut value),
                Field::TimestampMicros(micros) => print::timestamp(Finite::Value(*micros), &mut value),
                Field::Bytes(bytes) => print::bytea(bytes.data(), &mut value),
                Field::Str(text) => {
                    let limit = type_name.trim_start_matches("character varying(").trim_end_matches(')');
                    if text.len() > limit.parse().unwrap_or(0) {
                        return Err(bad());
                    }
                    value.extend_from_slice(text.as_bytes());
                }
                other => panic!("the shim does not know {other:?}"),
            }
            escape(&value, out);
        }
        out.push(b'\n');
    }
    Ok(count)
}

fn carries(told: (parquet::basic::Type, parquet::basic::ConvertedType), digits: (i32, i32), type_name: &str) -> bool {
    use parquet::basic::{ConvertedType as C, Type as P};
    match type_name {
        "smallint" => told == (P::INT32, C::INT_16),
        "integer" => told == (P::INT32, C::NONE),
        "bigint" => told == (P::INT64, C::NONE),
        "real" => told == (P::FLOAT, C::NONE),
        "double precision" => told == (P::DOUBLE, C::NONE),
        "boolean" => told == (P::BOOLEAN, C::NONE),
        "date" => told == (P::INT32, C::DATE),
        "timestamp without time zone" => told == (P::INT64, C::TIMESTAMP_MICROS),
        text if text.starts_with("character varying") => told == (P::BYTE_ARRAY, C::UTF8),
        bytes if bytes.starts_with("binary varying") => told == (P::BYTE_ARRAY, C::NONE),
        number if number.starts_with("numeric") => {
            told.1 == C::DECIMAL && number == format!("numeric({},{})", digits.0, digits.1)
        }
        // timestamptz, time and super among them: Parquet has nothing for COPY to take.
        _ => false,
    }
}

fn csv(object: &[u8], file: &str, null: &str, columns: &[(String, String)], out: &mut Vec<u8>) -> Result<u64, Failed> {
    let mut rest = object;
    let mut count = 0;
    while !rest.is_empty() {
        count += 1;
        for (index, (name, type_name)) in columns.iter().enumerate() {
            let bad = |code| Failed::Value(BadValue { file: file.into(), line: count, column: name.clone(), code });
            let (field, end) = field(rest);
            rest = &rest[end..];
            let last = rest.first() != Some(&b',');
            if last != (index + 1 == columns.len()) {
                return Err(bad(1202));
            }
            rest = rest.get(1..).unwrap_or_default();
            if index > 0 {
                out.push(b'\t');
            }
            if field == null.as_bytes() {
                out.extend_from_slice(b"\\N");
                continue;
            }
            let limit = type_name.trim_start_matches("character varying(").trim_end_matches(')').parse::<usize>();
            if limit.is_ok_and(|limit| field.len() > limit) {
                return Err(bad(1204));
            }
            if type_name.starts_with("binary varying") {
                out.extend_from_slice(b"\\\\x");
            }
            escape(&field, out);
        }
        out.push(b'\n');
    }
    Ok(count as u64)
}

/// A field and where it ends.
fn field(rest: &[u8]) -> (Vec<u8>, usize) {
    if rest.first() != Some(&b'"') {
        let end = rest.iter().position(|b| matches!(b, b',' | b'\n')).unwrap_or(rest.len());
        return (rest[..end].to_vec(), end);
    }
    let (mut out, mut at) = (Vec::new(), 1);
    loop {
        match rest[at] {
            b'"' if rest.get(at + 1) == Some(&b'"') => {
                out.push(b'"');
                at += 2;
            }
            b'"' => return (out, at + 1),
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// As COPY's text format has it.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.push(byte),
        }
    }
}
