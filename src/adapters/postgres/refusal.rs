//! What a server's error means to us: one table from SQLSTATE to class and remedy.

use bytes::Bytes;

use super::options::Form;
use crate::model::{Class, Error};

/// An ErrorResponse or NoticeResponse, as far as it matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Notice {
    /// `ERROR`, `WARNING`, ...
    pub(super) severity: String,
    /// The SQLSTATE.
    pub(super) code: String,
    /// The primary message.
    pub(super) message: String,
}

impl Notice {
    /// Reads the body of an `E` or `N` message; what can't be read stays empty.
    pub(super) fn read(body: &Bytes) -> Notice {
        let mut notice = Notice::default();
        for field in body.split(|&b| b == 0) {
            let Some((kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text);
            // A hostile server must not reach the terminal's control codes.
            let text: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
            match kind {
                b'V' => notice.severity = text,
                b'S' if notice.severity.is_empty() => notice.severity = text,
                b'C' => notice.code = text,
                b'M' => notice.message = text,
                _ => {}
            }
        }
        notice
    }

    /// The error it stands for, where a value's form has to do with it: one that is too large in text, one without a
    /// binary form.
    pub(super) fn streaming(&self, form: &Form) -> Error {
        let error = self.error("streaming");
        let too_large = ["invalid memory alloc request size", "out of memory", "string buffer exceeds"];
        let remedy = match self.code.as_str() {
            "XX000" | "54000" if too_large.iter().any(|said| self.message.starts_with(said)) => {
                if form.widen() {
                    return Error::transient(error.what()).remedy(
                        "a row is too large to be sent as text: from the next connection on values come in binary form",
                    );
                }
                match form {
                    Form::Text => {
                        "a row is too large to be sent as text: without binary = false in [source.postgres] it is asked for in binary form"
                    }
                    Form::Binary | Form::Fitting(_) => {
                        "a row is too large to be sent even in binary form: leave its largest column out with columns.pushdown"
                    }
                }
            }
            "42883" if self.message.starts_with("no binary output function") => {
                "a type has no binary form: set binary = false in [source.postgres]"
            }
            _ => return error,
        };
        error.remedy(remedy)
    }

    /// The error it stands for.
    pub(super) fn error(&self, doing: &str) -> Error {
        refusal(&self.code, &self.message, doing)
    }
}

/// The error for a server's refusal while `doing` something.
pub(super) fn refusal(code: &str, message: &str, doing: &str) -> Error {
    let (class, remedy) = meaning(code);
    // What is said of a value can hold the value; what is said of a setting holds the setting.
    let of_value = code.starts_with("22") && code != "22023";
    let said = if of_value { "a value is refused" } else { message };
    let error = Error::new(class, format!("{doing}: the server says: {said} (SQLSTATE {code})"));
    if remedy.is_empty() { error } else { error.remedy(remedy) }
}

/// A tokio-postgres error while `doing` something.
pub(super) fn sql_error(error: tokio_postgres::Error, doing: &str) -> Error {
    match error.as_db_error() {
        Some(db) if vanished(db.code().code(), db.message()) => {
            Error::transient(format!("{doing}: the server says: {} (SQLSTATE {})", db.message(), db.code().code()))
        }
        Some(db) => refusal(db.code().code(), db.message(), doing),
        None => Error::transient(format!("{doing}: the connection to the database failed")).because(error),
    }
}

/// Whether something was dropped while a query of the catalogs looked at it: the next look does not see it any more.
fn vanished(code: &str, message: &str) -> bool {
    code == "XX000"
        && ["could not open relation with OID", "cache lookup failed for"].iter().any(|said| message.starts_with(said))
}

/// Class and remedy of a SQLSTATE. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn meaning(code: &str) -> (Class, &'static str) {
    match code {
        "28P01" => (Class::Blocked, "check user and password in the database URL"),
        "28000" => (Class::Blocked, "check the user, its REPLICATION right, TLS mode and the server's pg_hba.conf"),
        "3D000" => (Class::Blocked, "check the database name in the URL"),
        "22021" => (
            Class::Blocked,
            "a text is not in the database's encoding: mend it, or leave its column out with columns.exclude",
        ),
        "42501" => (Class::Blocked, "grant the missing right to the user of the database URL"),
        "42704" => (Class::Blocked, "it does not exist (any more): check the slot's and the publication's names"),
        "55006" => (Class::Blocked, "another process uses it: stop that one first"),
        "55000" => (Class::Blocked, "see the server's message; `tailwater check` lists what is wrong"),
        "58P01" => (Class::Blocked, "the log that is needed is gone: a new snapshot is needed"),
        "53400" | "53100" => (Class::Blocked, "raise the limit or make room on the server"),
        // On this side we write nothing but catalogs: somebody, or our own predecessor, made the same thing just now.
        "23505" | "42710" => (Class::Transient, ""),
        "53300" => (Class::Transient, "too many connections: raise max_connections or max_wal_senders"),
        _ => match code.get(..2) {
            // Connection, resources, operator intervention (shutdown, cancel), serialization, locks.
            Some("08" | "53" | "57" | "40" | "55") => (Class::Transient, ""),
            Some("XX") => (Class::Blocked, "the server can't go on with this log; see its own log"),
            _ => (Class::Blocked, ""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_a_value_is_not_repeated_and_what_it_says_of_a_setting_is() {
        for code in ["22P02", "22021", "22003", "22007"] {
            let error = refusal(code, "invalid input syntax: \"CANARY\"", "reading table public.t").to_string();
            assert!(error.contains("public.t") && error.contains(code) && !error.contains("CANARY"), "{error}");
        }
        let error = refusal("22023", "invalid value for parameter \"x\"", "connecting").to_string();
        assert!(error.contains("parameter"), "{error}");
        assert!(vanished("XX000", "could not open relation with OID 174765"));
        assert!(vanished("XX000", "cache lookup failed for type 174765"));
        assert!(!vanished("XX000", "invalid memory alloc request size 1258291203"));
        assert!(refusal("22021", "", "reading").advice().is_some_and(|advice| advice.contains("columns.exclude")));
    }

    #[test]
    fn a_row_too_large_for_text_is_asked_for_in_binary_once_and_only_where_nobody_said_otherwise() {
        let streaming = |code: &str, message: &str, form: &Form| {
            let notice = Notice { severity: "ERROR".into(), code: code.into(), message: message.into() };
            let error = notice.streaming(form);
            (error.class(), error.advice().unwrap_or_default().to_owned())
        };
        for (code, message) in [("XX000", "invalid memory alloc request size 1258291203"), ("54000", "out of memory")] {
            let fitting = Form::default();
            assert!(!fitting.in_binary());
            let (class, advice) = streaming(code, message, &fitting);
            assert!(class == Class::Transient && advice.contains("from the next connection on"), "{advice}");
            assert!(fitting.in_binary());
            for (form, advised) in
                [(&fitting, "even in binary"), (&Form::Binary, "even in binary"), (&Form::Text, "binary = false")]
            {
                let (class, advice) = streaming(code, message, form);
                assert!(class == Class::Blocked && advice.contains(advised), "{advice}");
            }
            assert!(!Form::Text.in_binary());
        }
        let (class, advice) = streaming("XX000", "could not open relation", &Form::default());
        assert!(class == Class::Blocked && advice.contains("its own log"), "{advice}");
        let (class, advice) = streaming("42883", "no binary output function available for type isbn", &Form::Binary);
        assert!(class == Class::Blocked && advice.contains("binary = false"), "{advice}");
    }
}
