//! The one place where acknowledgements are made.
//!
//! PostgreSQL does not check them: told a position beyond what it has sent, it skips the difference silently and for
//! ever. So a position leaves this process only through [`Ledger::acknowledge`], which ends the process rather than let
//! one pass that was never received or is not durable.

use bytes::BytesMut;

use crate::codecs::pgoutput::{Frame, StandbyStatus};
use crate::model::{Lsn, PgTimestamp};

/// What has been received, what is durable, and what the server has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ledger {
    received: Lsn,
    durable: Lsn,
    told: Lsn,
}

impl Ledger {
    /// A stream that starts at `start`, up to where everything is durable already.
    pub fn new(start: Lsn) -> Ledger {
        Ledger { received: start, durable: start, told: Lsn::ZERO }
    }

    /// A stream after a snapshot at `start` whose rows are still to be made durable: until then nothing is.
    ///
    /// A process that stood still since it read the sink's position may not know that another one has stored much more:
    /// it learns of that from the sink, with its first rows, and must not have moved the slot before.
    pub fn at_snapshot(start: Lsn) -> Ledger {
        Ledger { received: start, durable: Lsn::ZERO, told: Lsn::ZERO }
    }

    /// A payload has arrived. Row LSNs go back and forth; the largest position counts.
    pub fn hear(&mut self, frame: &Frame) {
        match frame {
            Frame::XLogData(data) => self.receive(data.start.max(data.end)),
            Frame::Keepalive(keepalive) => self.receive(keepalive.end),
        }
    }

    /// Bytes up to `end` have arrived.
    pub fn receive(&mut self, end: Lsn) {
        self.received = self.received.max(end);
    }

    /// Everything up to `end` is durable in the system that the slot protects.
    pub fn confirm(&mut self, end: Lsn) {
        self.durable = self.durable.max(end);
    }

    /// How far the stream has come.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// The position to acknowledge now. What is durable but was received on an earlier connection may lie ahead of
    /// this one.
    pub fn position(&self) -> Lsn {
        self.durable.min(self.received)
    }

    /// Whether the server does not know of the newest durable position yet, as far as it was received.
    pub fn news(&self) -> bool {
        self.position() > self.told
    }

    /// Writes a status update that acknowledges `position`.
    ///
    /// Aborts the process when `position` is beyond what was received or beyond what is durable: no unwinding, no
    /// handler, no byte sent.
    pub fn acknowledge(&mut self, position: Lsn, reply: bool, out: &mut BytesMut) {
        if let Err(refusal) = self.allow(position) {
            tracing::error!(%position, received = %self.received, durable = %self.durable, "{refusal}: aborting");
            std::process::abort();
        }
        self.told = self.told.max(position);
        let received = self.received.max(position);
        let status = StandbyStatus { received, flushed: position, applied: position, at: PgTimestamp::now(), reply };
        status.encode(out);
    }

    /// The two assertions.
    fn allow(&self, position: Lsn) -> Result<(), &'static str> {
        if position > self.received {
            return Err("an acknowledgement beyond what was received");
        }
        if position > self.durable {
            return Err("an acknowledgement beyond what is durable");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_received_and_is_durable_may_be_acknowledged() {
        let mut ledger = Ledger::new(Lsn::new(100));
        assert!(ledger.allow(Lsn::new(100)).is_ok());
        ledger.receive(Lsn::new(200));
        assert_eq!(ledger.allow(Lsn::new(101)), Err("an acknowledgement beyond what is durable"));
        ledger.confirm(Lsn::new(150));
        assert!(ledger.allow(Lsn::new(150)).is_ok());
        assert!(ledger.allow(Lsn::new(151)).is_err());
        ledger.confirm(Lsn::new(300));
        assert_eq!(ledger.allow(Lsn::new(201)), Err("an acknowledgement beyond what was received"));
    }

    #[test]
    fn nothing_is_acknowledged_before_a_snapshot_is_durable() {
        let mut ledger = Ledger::at_snapshot(Lsn::new(100));
        ledger.receive(Lsn::new(200));
        assert_eq!((ledger.position(), ledger.news()), (Lsn::ZERO, false));
        assert!(ledger.allow(Lsn::new(100)).is_err());
        ledger.confirm(Lsn::new(100));
        assert_eq!((ledger.position(), ledger.news()), (Lsn::new(100), true));
    }

    #[test]
    fn positions_never_go_back() {
        let mut ledger = Ledger::new(Lsn::new(100));
        ledger.receive(Lsn::new(500));
        ledger.confirm(Lsn::new(400));
        ledger.confirm(Lsn::new(300));
        ledger.receive(Lsn::new(200));
        assert_eq!((ledger.position(), ledger.received()), (Lsn::new(400), Lsn::new(500)));
        assert!(ledger.news());
        ledger.acknowledge(ledger.position(), false, &mut BytesMut::new());
        assert!(!ledger.news());
        ledger.confirm(Lsn::new(501));
        ledger.acknowledge(ledger.received(), false, &mut BytesMut::new());
        assert!(!ledger.news(), "what was not received is not told");
    }
}
