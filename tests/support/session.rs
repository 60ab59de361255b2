//! One connection, and rows as text.

use std::sync::Arc;
use std::time::Duration;

use tailwater::adapters::warehouse::Connect;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use super::{patient, runtime};

/// Rows of text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// A connection that a test drives statement by statement.
pub struct Session {
    client: Arc<Client>,
}

impl Session {
    /// Connects without TLS; fails after [`patient`] 5 seconds.
    pub fn connect(url: &str) -> Result<Session, Error> {
        let mut config: tokio_postgres::Config = url.parse()?;
        config.connect_timeout(patient(Duration::from_secs(5))).application_name("test");
        runtime::wait(async move {
            let (client, connection) = config.connect(NoTls).await?;
            runtime::spawn(async move {
                let _ = connection.await;
            });
            Ok(Session { client: Arc::new(client) })
        })
    }

    /// Runs statements; the rows of all of them together, as text.
    pub fn try_sql(&self, sql: &str) -> Result<Rows, Error> {
        let client = Arc::clone(&self.client);
        let sql = sql.to_owned();
        let messages = runtime::wait(async move { client.simple_query(&sql).await })?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Runs statements that have to succeed.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Rows {
        self.try_sql(sql).unwrap_or_else(|error| {
            let reason = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            panic!("{reason}\nin: {}", sql.chars().take(500).collect::<String>())
        })
    }

    /// The first column of the first row; the empty text for NULL.
    #[track_caller]
    pub fn one(&self, sql: &str) -> String {
        let rows = self.sql(sql);
        rows.first()
            .and_then(|row| row.first())
            .unwrap_or_else(|| panic!("no row from: {sql}"))
            .clone()
            .unwrap_or_default()
    }
}

/// A name as an SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// How a warehouse's client connects, and connects again.
pub fn connect(url: String) -> Connect {
    Arc::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let connected = tokio_postgres::connect(&url, NoTls).await;
            let (client, connection) =
                connected.map_err(|error| tailwater::model::Error::transient("no connection").because(error))?;
            tokio::spawn(connection);
            Ok(client)
        })
    })
}
