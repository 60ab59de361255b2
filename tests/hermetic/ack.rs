//! Acknowledgements: never beyond what was received or is durable, never back.

use std::process::{Command, Stdio};

use bytes::BytesMut;
use proptest::prelude::*;
use tailwater::adapters::postgres::Ledger;
use tailwater::model::Lsn;

/// The flushed position of a status update: tag, then written, flushed, applied.
fn flushed(status: &[u8]) -> u64 {
    u64::from_be_bytes(status[9..17].try_into().unwrap())
}

proptest! {
    #[test]
    fn whatever_happens_what_is_told_is_received_and_durable_and_never_goes_back(
        start in 0u64..100,
        events in prop::collection::vec((0u8..3, 0u64..1000), 1..200),
    ) {
        let mut ledger = Ledger::new(Lsn::new(start));
        let (mut received, mut durable, mut told) = (start, start, 0);
        for (kind, lsn) in events {
            match kind {
                0 => { ledger.receive(Lsn::new(lsn)); received = received.max(lsn); }
                1 => { ledger.confirm(Lsn::new(lsn)); durable = durable.max(lsn); }
                _ => {
                    let mut out = BytesMut::new();
                    ledger.acknowledge(ledger.position(), false, &mut out);
                    let flushed = flushed(&out);
                    prop_assert_eq!(flushed, received.min(durable));
                    prop_assert!(flushed >= told, "from {} back to {}", told, flushed);
                    told = flushed;
                }
            }
        }
    }
}

/// Run in a process of its own by the test below: acknowledges what the environment says.
#[test]
#[ignore = "ends the process"]
fn acknowledge_in_a_process_of_its_own() {
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let mut ledger = Ledger::new(Lsn::new(100));
    ledger.receive(Lsn::new(number("RECEIVED")));
    ledger.confirm(Lsn::new(number("DURABLE")));
    ledger.acknowledge(Lsn::new(number("POSITION")), false, &mut BytesMut::new());
}

/// Whether the process survives such an acknowledgement.
fn survives(received: u64, durable: u64, position: u64) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "ack::acknowledge_in_a_process_of_its_own"])
        .envs([("RECEIVED", received), ("DURABLE", durable), ("POSITION", position)].map(|(k, v)| (k, v.to_string())))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.code().is_none(), "it ended otherwise than by a signal: {status}");
    status.success()
}

#[test]
fn the_process_ends_rather_than_acknowledge_what_it_must_not() {
    assert!(survives(300, 200, 200));
    assert!(!survives(300, 200, 201), "beyond what is durable");
    assert!(!survives(200, 300, 201), "beyond what was received");
    assert!(!survives(200, 200, u64::MAX), "beyond both");
}
