//! What Redshift's refusals mean.

use tokio_postgres::error::DbError;

use crate::model::{Class, Error};

/// What a failed statement means. Messages about values are not repeated.
pub(super) fn sql(error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::transient("the connection to Redshift failed").because(error);
    };
    let (class, remedy) = meaning(db);
    let code = db.code().code();
    let quiet = code.starts_with("22") || code.starts_with("23");
    let text = if quiet { String::new() } else { format!(": {}", told(db)) };
    let error = Error::new(class, format!("Redshift says (SQLSTATE {code}){text}"));
    let error = if remedy.is_empty() { error } else { error.remedy(remedy) };
    // Of one table are its values, its name, its rights: not the bucket, nor who may log in.
    let of_all = matches!(code.get(..2), Some("28" | "3D"))
        || ["S3", "Spectrum", "IAM Role"].iter().any(|part| text.contains(part));
    if of_all && !of_values(db) { error.systemic() } else { error }
}

/// Whether it is about a value or a file's columns, which are of one table.
fn of_values(db: &DbError) -> bool {
    ["incompatible Parquet schema", "number of columns"].iter().any(|part| told(db).contains(part))
}

/// Its message, and the detail where that is the message: nearly all of Redshift's own errors have the code XX000.
fn told(db: &DbError) -> String {
    match db.detail() {
        Some(detail) if db.code().code() == "XX000" => format!("{} {}", db.message(), detail.replace('\n', " ")),
        _ => db.message().to_owned(),
    }
}

/// Whether a column already has the length that was asked for.
pub(super) fn same_size(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.code().code() == "0A000" && db.message().contains("should be different"))
}

/// Whether COPY met a row that it can't load.
pub(super) fn of_a_row(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.message().contains("load_error"))
}

fn meaning(db: &DbError) -> (Class, &'static str) {
    let (code, text) = (db.code().code(), told(db));
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["1023", "Serializable isolation violation", "1018", "could not complete because of conflict"]) {
        return (Class::Transient, "");
    }
    if has(&["S3ServiceException", "S3 Query", "manifest", "Spectrum", "IAM Role"]) {
        return of_s3(&has);
    }
    match code.get(..2) {
        Some("08" | "40" | "57" | "55" | "53") => (Class::Transient, ""),
        _ if matches!(code, "42P06" | "42P07" | "42710" | "42701") => (Class::Transient, ""),
        Some("22") => (Class::Blocked, "a value does not fit its column: widen the column in the warehouse"),
        Some("23") => (Class::Blocked, "a constraint that Tailwater did not make is in the way: remove it"),
        _ if code == "42501" => (Class::Blocked, "grant the missing right to the sink's user"),
        Some("28" | "3D") => (Class::Blocked, "check user, password and database of the sink's url"),
        _ if has(&["Disk Full", "disk full"]) => (Class::Transient, "make room on the cluster"),
        _ => (Class::Blocked, "see sys_query_history and sys_load_error_detail on the cluster"),
    }
}

/// What the cluster met when it read objects.
fn of_s3(has: &impl Fn(&[&str]) -> bool) -> (Class, &'static str) {
    if has(&["different region", "Status 301", "PermanentRedirect"]) {
        return (Class::Blocked, "stage into a bucket of the cluster's region");
    }
    if has(&["ExpiredToken", "SlowDown", "Status 503", "Status 404", "NoSuchKey"]) {
        // Written anew at the next attempt.
        return (Class::Transient, "");
    }
    if has(&[
        "Access Denied",
        "AccessDenied",
        "Status 403",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "not authorized",
    ]) {
        return (
            Class::Blocked,
            "let the cluster's role, or the process's credentials, read the prefix: s3:GetObject and s3:ListBucket",
        );
    }
    (Class::Transient, "")
}
