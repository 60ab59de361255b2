//! Where a database is and how to reach it safely.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use crate::model::{Error, Result};

/// How much the connection is to be trusted (libpq's `sslmode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS; nothing is verified.
    Require,
    /// TLS; the server's certificate comes from a known authority.
    VerifyCa,
    /// TLS; the certificate also names the host.
    VerifyFull,
}

/// A connection URL, taken apart. Its password never shows.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password, if the URL has one.
    pub password: Option<SecretString>,
    /// Database.
    pub database: String,
    /// How much the connection is to be trusted.
    pub ssl: SslMode,
    /// Authorities to believe; the system's when absent.
    pub root_certificates: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

impl Endpoint {
    /// Takes `postgres://user:password@host:port/database?sslmode=...` apart. Errors name the part and never hold it.
    pub fn parse(text: &str) -> Result<Endpoint> {
        let wrong = |what: &str, remedy: &str| {
            Error::blocked(format!("the database URL {what}"))
                .remedy(format!("{remedy}: postgres://user:password@host:5432/database?sslmode=verify-full"))
        };
        let url = Url::parse(text).map_err(|_| {
            wrong("can't be read", "encode what is special in user and password as %XX, and write it as in")
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("does not begin with postgres://", "write it as in"));
        }
        let decode = |part: &str, name: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| wrong(&format!("has a {name} that is not UTF-8"), "encode it with %XX as in"))
        };
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host", "write it as in"))?;
        let host = decode(host.trim_start_matches('[').trim_end_matches(']'), "host")?;
        let user = decode(url.username(), "user")?;
        if user.is_empty() {
            return Err(wrong("names no user", "write it as in"));
        }
        let database = decode(url.path().trim_start_matches('/'), "database name")?;
        let password = url.password().map(|p| decode(p, "password")).transpose()?.map(SecretString::from);
        let mut endpoint = Endpoint {
            host,
            port: url.port().unwrap_or(5432),
            database: if database.is_empty() { user.clone() } else { database },
            user,
            password,
            ssl: SslMode::Prefer,
            root_certificates: None,
            client_certificate: None,
        };
        endpoint.options(&url)?;
        Ok(endpoint)
    }

    fn options(&mut self, url: &Url) -> Result<()> {
        let (mut certificate, mut key) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" => self.ssl = ssl_mode(&value)?,
                "sslrootcert" => self.root_certificates = Some(PathBuf::from(&*value)),
                "sslcert" => certificate = Some(PathBuf::from(&*value)),
                "sslkey" => key = Some(PathBuf::from(&*value)),
                // Ours are fixed; a URL made for another client may carry its own.
                "application_name" | "connect_timeout" | "channel_binding" => {}
                other => {
                    return Err(Error::blocked(format!("the database URL has the unknown option `{other}`"))
                        .remedy("remove it; known are sslmode, sslrootcert, sslcert, sslkey"));
                }
            }
        }
        self.client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(
                    Error::blocked("the database URL has only one of sslcert and sslkey").remedy("give both or none")
                );
            }
        };
        Ok(())
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn ssl_mode(text: &str) -> Result<SslMode> {
    Ok(match text {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return Err(Error::blocked("the database URL has an unknown sslmode")
                .remedy("use disable, prefer, require, verify-ca or verify-full"));
        }
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let e = Endpoint::parse("postgres://us%40er:p%2Fw@[::1]:5433/my%20db?sslmode=verify-full&sslrootcert=/ca.pem")
            .unwrap();
        assert_eq!((e.host.as_str(), e.port, e.user.as_str(), e.database.as_str()), ("::1", 5433, "us@er", "my db"));
        assert_eq!(e.password.unwrap().expose_secret(), "p/w");
        assert_eq!((e.ssl, e.root_certificates), (SslMode::VerifyFull, Some(PathBuf::from("/ca.pem"))));
        let e = Endpoint::parse("postgresql://u@h").unwrap();
        assert_eq!((e.port, e.database.as_str(), e.ssl), (5432, "u", SslMode::Prefer));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (url, expected) in [
            ("postgres://u:CANARY@", "can't be read"),
            ("mysql://u:CANARY@h/d", "postgres://"),
            ("postgres://u:CANARY@h/d?sslmode=CANARY2", "sslmode"),
            ("postgres://u:CANARY@h/d?sslmod=x", "`sslmod`"),
            ("postgres://u:CANARY@h/d?sslcert=x", "sslkey"),
            ("postgres://u:CANARY@h:notaport/d", "can't be read"),
            ("postgres://:CANARY@h/d", "no user"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("CANARY"), "{url}: {error}");
        }
        let shown = format!("{:?}", Endpoint::parse("postgres://u:CANARY@h/d").unwrap());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
