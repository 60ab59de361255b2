//! What travels as CopyData while a replication stream is open.
//!
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{DecodeError, ErrorKind};
use super::reader::Reader;
use crate::model::{Lsn, PgTimestamp};

/// A piece of the stream: one message of the plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XLogData {
    /// The LSN that the message belongs to; 0/0 for relations and types.
    pub start: Lsn,
    /// The server's end of log, as the plugin saw it.
    pub end: Lsn,
    /// The server's clock at sending.
    pub at: PgTimestamp,
    /// The message.
    pub body: Bytes,
}

/// A sign of life from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Up to where the server has read the log; everything committed before it has been sent.
    pub end: Lsn,
    /// The server's clock at sending.
    pub at: PgTimestamp,
    /// Whether it waits for an answer.
    pub reply: bool,
}

/// A payload from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// `w`
    XLogData(XLogData),
    /// `k`
    Keepalive(Keepalive),
}

impl Frame {
    /// Reads one CopyData payload; a message's body stays a slice of it.
    pub fn decode(payload: &Bytes) -> Result<Frame, DecodeError> {
        let mut reader = Reader::new(payload);
        match reader.u8("tag")? {
            b'w' => {
                let start = reader.lsn("start of the data")?;
                let end = reader.lsn("end of the log")?;
                let at = reader.timestamp("clock")?;
                Ok(Frame::XLogData(XLogData { start, end, at, body: reader.rest() }))
            }
            b'k' => {
                let end = reader.lsn("end of the log")?;
                let at = reader.timestamp("clock")?;
                let reply = reader.flag("reply wish")?;
                reader.finish()?;
                Ok(Frame::Keepalive(Keepalive { end, at, reply }))
            }
            tag => Err(reader.refuse(ErrorKind::Tag(tag))),
        }
    }

    /// Appends the payload that [`Frame::decode`] reads.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Frame::XLogData(data) => {
                out.put_u8(b'w');
                out.put_u64(data.start.get());
                out.put_u64(data.end.get());
                out.put_i64(data.at.0);
                out.put_slice(&data.body);
            }
            Frame::Keepalive(keepalive) => {
                out.put_u8(b'k');
                out.put_u64(keepalive.end.get());
                out.put_i64(keepalive.at.0);
                out.put_u8(u8::from(keepalive.reply));
            }
        }
    }
}

/// What we tell the server; only `flushed` moves the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandbyStatus {
    /// The end of what has arrived.
    pub received: Lsn,
    /// The end of what is durable where the slot's data goes.
    pub flushed: Lsn,
    /// The end of what is visible there.
    pub applied: Lsn,
    /// Our clock.
    pub at: PgTimestamp,
    /// Whether we wait for an answer.
    pub reply: bool,
}

impl StandbyStatus {
    /// Appends the `r` payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'r');
        out.put_u64(self.received.get());
        out.put_u64(self.flushed.get());
        out.put_u64(self.applied.get());
        out.put_i64(self.at.0);
        out.put_u8(u8::from(self.reply));
    }

    /// Reads an `r` payload.
    pub fn decode(payload: &Bytes) -> Result<StandbyStatus, DecodeError> {
        let mut reader = Reader::new(payload);
        match reader.u8("tag")? {
            b'r' => {}
            tag => return Err(reader.refuse(ErrorKind::Tag(tag))),
        }
        let status = StandbyStatus {
            received: reader.lsn("received position")?,
            flushed: reader.lsn("flushed position")?,
            applied: reader.lsn("applied position")?,
            at: reader.timestamp("clock")?,
            reply: reader.flag("reply wish")?,
        };
        reader.finish()?;
        Ok(status)
    }
}
