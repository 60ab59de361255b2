//! Progress markers: "everything up to this change lies in these topics below these offsets".

use serde::{Deserialize, Serialize};

use crate::model::{ChangeId, Checkpoint, Error, Lsn, Phase, Result, SourcePosition};

/// The value of one record of the progress topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    /// The last complete position: a writer goes on there. Its offsets are the next offset of each partition written
    /// since the marker before. Which tables are followed is in the tables topic.
    pub checkpoint: Checkpoint,
    /// The last change below the offsets, where that is inside a transaction whose rest follows under a later marker.
    pub inside: Option<ChangeId>,
    /// Who wrote it.
    pub writer: Writer,
}

/// Who writes the topics, and how it reads the source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writer {
    /// Counts the writers of a prefix: the highest is the present one. 0 in markers from before there was a count.
    pub epoch: u64,
    /// Tells processes apart; empty in markers from before there were names.
    pub process: String,
    /// What the ids of changes inside a transaction depend on, beside the log: after another they can't be compared.
    pub reading: String,
}

#[derive(Serialize, Deserialize)]
struct Json<'a> {
    /// As text: many readers of JSON round integers beyond 2^53.
    #[serde(borrow)]
    system_id: std::borrow::Cow<'a, str>,
    timeline: u32,
    #[serde(borrow)]
    end_lsn: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    commit_lsn: std::borrow::Cow<'a, str>,
    seq: u64,
    phase: JsonPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inside: Option<JsonChange>,
    offsets: Vec<(String, i32, i64)>,
    #[serde(default)]
    epoch: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    process: String,
    #[serde(default)]
    reading: String,
}

#[derive(Serialize, Deserialize)]
struct JsonChange {
    commit_lsn: String,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonPhase {
    Snapshot,
    Stream,
}

impl Marker {
    /// The last change below the offsets.
    pub fn last(&self) -> ChangeId {
        self.inside.unwrap_or(self.checkpoint.change)
    }

    /// The record's value.
    pub fn encode(&self) -> Vec<u8> {
        let Checkpoint { position, change, phase, offsets, .. } = &self.checkpoint;
        let json = Json {
            system_id: position.system_id.to_string().into(),
            timeline: position.timeline,
            end_lsn: position.lsn.to_string().into(),
            commit_lsn: change.commit.to_string().into(),
            seq: change.seq,
            phase: match phase {
                Phase::Snapshot => JsonPhase::Snapshot,
                Phase::Stream => JsonPhase::Stream,
            },
            inside: self.inside.map(|id| JsonChange { commit_lsn: id.commit.to_string(), seq: id.seq }),
            offsets: offsets.clone(),
            epoch: self.writer.epoch,
            process: self.writer.process.clone(),
            reading: self.writer.reading.clone(),
        };
        serde_json::to_vec(&json).expect("texts and numbers are always JSON")
    }

    /// Reads a record's value.
    pub fn decode(bytes: &[u8]) -> Result<Marker> {
        let wrong = |why: &str| Error::corrupt(format!("a progress marker can't be read: {why}"));
        // serde's own text could quote the record.
        let json: Json<'_> = serde_json::from_slice(bytes).map_err(|e| wrong(&format!("at byte {}", e.column())))?;
        let lsn = |text: &str| text.parse::<Lsn>().map_err(|_| wrong("a position is not an LSN"));
        Ok(Marker {
            checkpoint: Checkpoint {
                position: SourcePosition {
                    system_id: json.system_id.parse().map_err(|_| wrong("the system identifier is no number"))?,
                    timeline: json.timeline,
                    lsn: lsn(&json.end_lsn)?,
                },
                change: ChangeId { commit: lsn(&json.commit_lsn)?, seq: json.seq },
                phase: match json.phase {
                    JsonPhase::Snapshot => Phase::Snapshot,
                    JsonPhase::Stream => Phase::Stream,
                },
                offsets: json.offsets,
                followed: None,
            },
            inside: match json.inside {
                Some(id) => Some(ChangeId { commit: lsn(&id.commit_lsn)?, seq: id.seq }),
                None => None,
            },
            writer: Writer { epoch: json.epoch, process: json.process, reading: json.reading },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    #[test]
    fn what_is_written_is_read() {
        let marker = Marker {
            checkpoint: Checkpoint {
                position: SourcePosition { system_id: u64::MAX, timeline: 3, lsn: Lsn::new(0x1_0000_0020) },
                change: ChangeId { commit: Lsn::new(0x1_0000_0000), seq: 7 },
                phase: Phase::Snapshot,
                offsets: vec![("shop.public.a".into(), 2, 41)],
                followed: None,
            },
            inside: Some(ChangeId { commit: Lsn::new(0x1_0000_0040), seq: 9 }),
            writer: Writer { epoch: 3, process: "b2".into(), reading: "a1".into() },
        };
        assert_eq!(Marker::decode(&marker.encode()).unwrap(), marker);
    }

    #[test]
    fn what_is_no_marker_is_corrupt() {
        for bytes in [&b""[..], b"{}", b"null", b"{\"system_id\":\"x\"}"] {
            assert_eq!(Marker::decode(bytes).unwrap_err().class(), Class::Corrupt);
        }
    }
}
