//! A connection that speaks the replication protocol: framing, start-up, authentication, simple queries.
//!
//! SQL goes through tokio-postgres; it has no CopyBoth, so this connection is our own.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, SslMode};
use super::refusal::Notice;
use super::tls;
use crate::model::{Error, Result};

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Session settings that fix how values are printed, whatever role or database say.
pub(super) const SETTINGS: [(&str, &str); 5] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
];

/// Before authentication nothing longer is believed.
const SMALL: usize = 64 * 1024;
/// PostgreSQL itself can't make longer messages.
const LARGE: usize = 1 << 30;
/// Our side of the socket; the server coalesces what waits behind it.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// A connection in the simple-query phase.
pub(super) struct Wire {
    pub(super) stream: Box<dyn Stream>,
    pub(super) buffer: BytesMut,
    limit: usize,
}

impl Wire {
    /// Connects, negotiates TLS, authenticates.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        application: &str,
        encoding: &str,
        within: Duration,
    ) -> Result<Wire> {
        let place = format!("connecting to {}", endpoint.address());
        let connecting = async {
            let (stream, binding) = open(endpoint).await?;
            let mut wire = Wire { stream, buffer: BytesMut::with_capacity(16 * 1024), limit: SMALL };
            wire.start(endpoint, application, encoding, binding).await?;
            Ok(wire)
        };
        match tokio::time::timeout(within, connecting).await {
            Ok(result) => result.map_err(|error: Error| error.within(&place)),
            Err(_) => Err(Error::transient(format!("{place}: no answer within {} s", within.as_secs()))
                .remedy("check host, port and firewall")),
        }
    }

    async fn start(&mut self, endpoint: &Endpoint, application: &str, encoding: &str, binding: Binding) -> Result<()> {
        let mut parameters = vec![
            ("user", endpoint.user.as_str()),
            ("database", endpoint.database.as_str()),
            ("replication", "database"),
            ("application_name", application),
            ("client_encoding", encoding),
        ];
        parameters.extend(SETTINGS);
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out).map_err(broken)?;
        self.send(&out).await?;
        self.authenticate(endpoint, binding).await?;
        self.limit = LARGE;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'Z' => return Ok(()),
                b'E' => return Err(Notice::read(&body).error("logging in")),
                // Parameters, the cancel key, notices, and a protocol version older than asked for: all fine.
                b'S' | b'K' | b'N' | b'v' => {}
                other => return Err(unexpected(other, "logging in")),
            }
        }
    }

    async fn authenticate(&mut self, endpoint: &Endpoint, binding: Binding) -> Result<()> {
        let password = || {
            endpoint.password.as_ref().ok_or_else(|| {
                Error::blocked("the server asks for a password and the database URL has none")
                    .remedy("put it into the URL, best as ${VARIABLE}")
            })
        };
        let mut scram: Option<ScramSha256> = None;
        let mut binding = Some(binding);
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'E' => return Err(Notice::read(&body).error("logging in")),
                b'N' | b'v' => continue,
                b'R' => {}
                other => return Err(unexpected(other, "logging in")),
            }
            let (kind, rest) =
                body.split_first_chunk::<4>().ok_or_else(|| Error::corrupt("an authentication request is cut off"))?;
            let mut out = BytesMut::new();
            match u32::from_be_bytes(*kind) {
                0 => return Ok(()),
                3 => frontend::password_message(password()?.expose_secret().as_bytes(), &mut out).map_err(broken)?,
                5 => {
                    let salt = *rest.first_chunk::<4>().ok_or_else(|| Error::corrupt("an MD5 request has no salt"))?;
                    let hash = md5_hash(endpoint.user.as_bytes(), password()?.expose_secret().as_bytes(), salt);
                    frontend::password_message(hash.as_bytes(), &mut out).map_err(broken)?;
                }
                10 => {
                    let (mechanism, binding) = binding.take().unwrap_or(Binding::Plain).choose(rest)?;
                    let exchange = ScramSha256::new(password()?.expose_secret().as_bytes(), binding);
                    frontend::sasl_initial_response(mechanism, exchange.message(), &mut out).map_err(broken)?;
                    scram = Some(exchange);
                }
                11 => {
                    let exchange = scram.as_mut().ok_or_else(|| Error::corrupt("a SASL answer without a question"))?;
                    exchange.update(rest).map_err(distrusted)?;
                    frontend::sasl_response(exchange.message(), &mut out).map_err(broken)?;
                }
                12 => {
                    let exchange = scram.as_mut().ok_or_else(|| Error::corrupt("a SASL end without a beginning"))?;
                    exchange.finish(rest).map_err(distrusted)?;
                    continue;
                }
                other => {
                    return Err(Error::blocked(format!("the server asks for authentication method {other}"))
                        .remedy("Tailwater has scram-sha-256, md5 and password; change pg_hba.conf for this user"));
                }
            }
            self.send(&out).await?;
        }
    }

    /// The next message: its tag and its body, which shares the receive buffer.
    pub(super) async fn message(&mut self) -> Result<(u8, Bytes)> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(message);
            }
            self.buffer.reserve(16 * 1024);
            if self.stream.read_buf(&mut self.buffer).await.map_err(lost)? == 0 {
                return Err(Error::transient("the server closed the connection"));
            }
        }
    }

    /// A message that has arrived whole.
    pub(super) fn parse(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(&[tag, a, b, c, d]) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        if length < 4 || length > self.limit {
            return Err(Error::corrupt(format!("the server announces a message of {length} bytes")));
        }
        if self.buffer.len() < length + 1 {
            // A large message gets its room at once instead of doubling up to it, as far as bytes have come already.
            let missing = length + 1 - self.buffer.len();
            self.buffer.reserve(missing.min(self.buffer.len().max(1 << 20)));
            return Ok(None);
        }
        let mut message = self.buffer.split_to(length + 1).freeze();
        message.advance(5);
        Ok(Some((tag, message)))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    /// Runs a command of the replication protocol; returns its rows as text.
    pub(super) async fn query(&mut self, command: &str, doing: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(broken)?;
        self.send(&out).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'D' => rows.push(data_row(&body)?),
                b'E' => failure = Some(Notice::read(&body).error(doing)),
                b'Z' => return failure.map_or(Ok(rows), Err),
                b'T' | b'C' | b'N' | b'S' | b'I' => {}
                other => return Err(unexpected(other, doing)),
            }
        }
    }

    /// Starts a command that switches to CopyBoth.
    pub(super) async fn copy_both(&mut self, command: &str, doing: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(broken)?;
        self.send(&out).await?;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'W' => return Ok(()),
                b'E' => return Err(Notice::read(&body).error(doing)),
                b'N' | b'S' => {}
                other => return Err(unexpected(other, doing)),
            }
        }
    }
}

/// What the channel offers to bind a password exchange to.
enum Binding {
    Plain,
    Tls(Option<Vec<u8>>),
}

impl Binding {
    /// The mechanism to use out of the server's list: bound to the channel where both sides can.
    fn choose(self, offered: &[u8]) -> Result<(&'static str, ChannelBinding)> {
        let offers = |name: &str| offered.split(|&b| b == 0).any(|offer| offer == name.as_bytes());
        match self {
            Binding::Tls(Some(hash)) if offers(SCRAM_SHA_256_PLUS) => {
                Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash)))
            }
            Binding::Tls(Some(_)) if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
            _ if offers(SCRAM_SHA_256) => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
            _ => {
                Err(Error::blocked("the server offers no SASL mechanism that Tailwater has")
                    .remedy("use scram-sha-256"))
            }
        }
    }
}

/// Opens the socket and, where asked for, TLS on it.
async fn open(endpoint: &Endpoint) -> Result<(Box<dyn Stream>, Binding)> {
    let mut socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(|error| {
        Error::transient("the server can't be reached")
            .remedy("check host and port, and that the server runs")
            .because(error)
    })?;
    watch(&socket).map_err(|error| Error::transient("the socket can't be set up").because(error))?;
    let Some(config) = tls::client(endpoint)? else { return Ok((Box::new(socket), Binding::Plain)) };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    socket.write_all(&out).await.map_err(lost)?;
    match socket.read_u8().await.map_err(lost)? {
        b'S' => {}
        b'N' if endpoint.ssl == SslMode::Prefer => return Ok((Box::new(socket), Binding::Plain)),
        b'N' => {
            return Err(Error::blocked("the server has no TLS and sslmode asks for it")
                .remedy("switch ssl on at the server, or use sslmode=disable where the network is trusted"));
        }
        _ => {
            return Err(
                Error::corrupt("the answer to the TLS request is not PostgreSQL's").remedy("check host and port")
            );
        }
    }
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect(tls::server_name(endpoint)?, socket).await.map_err(|error| {
        let certificate = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        match certificate {
            Some(rustls::Error::InvalidCertificate(_)) => Error::blocked("the server's certificate is not accepted")
                .remedy("check sslrootcert and that the host in the URL is a name in the certificate")
                .because(error),
            Some(_) => Error::blocked("TLS could not be agreed on").because(error),
            None => Error::transient("the connection broke during the TLS handshake").because(error),
        }
    })?;
    let hash = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(tls::end_point);
    Ok((Box::new(stream), Binding::Tls(hash)))
}

/// Makes a dead peer noticed within half a minute instead of two hours, and gives the sender room to coalesce.
fn watch(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(10)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)
}

fn data_row(body: &Bytes) -> Result<Vec<Option<String>>> {
    let short = || Error::corrupt("a row of the server's answer is cut off");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = after;
        let length = i32::from_be_bytes(*length);
        row.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length).ok_or_else(short)?;
                rest = after;
                Some(String::from_utf8_lossy(value).into_owned())
            }
        });
    }
    Ok(row)
}

pub(super) fn lost(error: std::io::Error) -> Error {
    Error::transient("the connection to the database failed").because(error)
}

pub(super) fn broken(error: std::io::Error) -> Error {
    Error::blocked("a message to the server can't be written: a name or password holds a zero byte").because(error)
}

fn distrusted(error: std::io::Error) -> Error {
    Error::blocked("the server did not prove that it knows the password")
        .remedy("check the password and who answers at this address")
        .because(error)
}

fn unexpected(tag: u8, doing: &str) -> Error {
    Error::corrupt(format!("{doing}: the server sent message 0x{tag:02x}, which has no place here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_exchange_is_bound_to_the_channel_where_both_sides_can() {
        let both = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let chosen = |binding: Binding, offered: &[u8]| binding.choose(offered).map(|(mechanism, _)| mechanism).ok();
        assert_eq!(chosen(Binding::Tls(Some(vec![1])), both), Some("SCRAM-SHA-256-PLUS"));
        assert_eq!(chosen(Binding::Tls(Some(vec![1])), b"SCRAM-SHA-256\0\0"), Some("SCRAM-SHA-256"));
        assert_eq!(chosen(Binding::Tls(None), both), Some("SCRAM-SHA-256"));
        assert_eq!(chosen(Binding::Plain, both), Some("SCRAM-SHA-256"));
        assert_eq!(chosen(Binding::Plain, b"SCRAM-SHA-256-PLUS\0\0"), None);
    }
}
