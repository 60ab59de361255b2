//! SQL connections: catalog, administration, snapshots, PostgreSQL warehouses.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio_postgres::Client;
use tokio_postgres::config::SslMode as Wanted;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::endpoint::{Endpoint, SslMode};
use super::refusal::sql_error;
use super::tls;
use super::wire::SETTINGS;
use crate::model::{Error, Result};

/// Connects; a background task carries the connection until the client is dropped.
pub async fn connect(endpoint: &Endpoint, application: &str) -> Result<Client> {
    connect_with(endpoint, application, &SETTINGS).await
}

/// Connects to a server that does not know all of PostgreSQL's settings.
pub async fn connect_plainly(endpoint: &Endpoint, application: &str) -> Result<Client> {
    connect_with(endpoint, application, &[]).await
}

async fn connect_with(endpoint: &Endpoint, application: &str, settings: &[(&str, &str)]) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&endpoint.host)
        .port(endpoint.port)
        .user(&endpoint.user)
        .dbname(&endpoint.database)
        .application_name(application)
        .connect_timeout(Duration::from_secs(10))
        .keepalives_idle(Duration::from_secs(10))
        .tcp_user_timeout(Duration::from_secs(30))
        .ssl_mode(match endpoint.ssl {
            SslMode::Disable => Wanted::Disable,
            SslMode::Prefer => Wanted::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Wanted::Require,
        });
    if !settings.is_empty() {
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        config.options(settings.join(" "));
    }
    if let Some(password) = &endpoint.password {
        config.password(password.expose_secret());
    }
    let doing = format!("connecting to {}", endpoint.address());
    match tls::client(endpoint)? {
        None => open(&config, tokio_postgres::NoTls, &doing).await,
        Some(client) => open(&config, MakeRustlsConnect::new(client), &doing).await,
    }
}

async fn open<T>(config: &tokio_postgres::Config, tls: T, doing: &str) -> Result<Client>
where
    T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket> + Send,
    T::Stream: Send + 'static,
{
    match config.connect(tls).await {
        Ok((client, connection)) => {
            // Its end shows as a failure of whatever the client does next.
            tokio::spawn(connection);
            Ok(client)
        }
        Err(error) if error.as_db_error().is_some() => Err(sql_error(error, doing)),
        Err(error) => Err(unreachable(error, doing)),
    }
}

/// Without a server's word: TLS that was refused is a person's matter, the rest may heal.
fn unreachable(error: tokio_postgres::Error, doing: &str) -> Error {
    let mut source = std::error::Error::source(&error);
    let mut tls_refused = error.to_string().contains("TLS");
    while let Some(inner) = source {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        tls_refused |= inner.downcast_ref::<rustls::Error>().is_some() || io.is_some_and(|e| e.is::<rustls::Error>());
        source = inner.source();
    }
    if tls_refused {
        Error::blocked(format!("{doing}: TLS could not be agreed on"))
            .remedy("check sslmode and sslrootcert, and that the host in the URL is a name in the server's certificate")
            .because(error)
    } else {
        Error::transient(format!("{doing}: the server can't be reached"))
            .remedy("check host and port, and that the server runs")
            .because(error)
    }
}
