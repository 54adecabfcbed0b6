//! The `journal` section: how accepted events are kept on disk until they are finished, and beyond.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    path::KeyPath,
    problems::Reporter,
    units::{ByteSize, DurationText},
};

/// Smaller segments would be more trouble than they are worth: each costs a file and two syncs.
const SEGMENT_BYTES_MIN: usize = 1 << 20;

/// How accepted events are kept on disk until they are finished, and beyond.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawJournal {
    /// The size of one file of the journal, at least 1MiB. Its room is taken on the disk before anything is written to it.
    segment: ByteSize,
    /// How much may wait on disk to be handled; beyond it, sources are told to wait.
    backlog: ByteSize,
    /// How much may wait on disk for one slow sink; beyond it, whoever sends to the sink waits.
    overflow: ByteSize,
    /// What is kept of events that are finished.
    retain: RawRetain,
}

/// What is kept of events that are finished, for a replay; whichever limit is reached first.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRetain {
    /// Bytes of the whole journal. What is not finished is kept beyond it.
    size: ByteSize,
    /// Time since the events were accepted.
    age: DurationText,
}

impl Default for RawJournal {
    fn default() -> Self {
        Self {
            segment: ByteSize(64 << 20),
            backlog: ByteSize(1 << 30),
            overflow: ByteSize(8 << 30),
            retain: RawRetain::default(),
        }
    }
}

impl Default for RawRetain {
    fn default() -> Self {
        Self {
            size: ByteSize(1 << 30),
            age: DurationText(Duration::from_secs(24 * 3600)),
        }
    }
}

/// How accepted events are kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The size of one file.
    pub segment_bytes: u64,
    /// What may wait on disk to be handled.
    pub backlog_bytes: u64,
    /// What may wait on disk for one sink.
    pub overflow_bytes: u64,
    /// What the journal may have on disk beyond what is not finished.
    pub retain_bytes: u64,
    /// How long finished events are kept.
    pub retain_age: Duration,
}

impl RawJournal {
    /// Reports a segment that is too small.
    pub(crate) fn validate(self, reporter: &Reporter) -> JournalConfig {
        if self.segment.0 < SEGMENT_BYTES_MIN {
            let path = KeyPath::of(["journal", "segment"]);
            let message = format!("`{path}`: `{}` is less than 1MiB", self.segment);
            reporter.value(&path, message, Some("give 1MiB or more".to_owned()));
        }
        JournalConfig {
            segment_bytes: self.segment.0 as u64,
            backlog_bytes: self.backlog.0 as u64,
            overflow_bytes: self.overflow.0 as u64,
            retain_bytes: self.retain.size.0 as u64,
            retain_age: self.retain.age.0,
        }
    }
}
