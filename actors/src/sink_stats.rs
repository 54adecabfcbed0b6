//! What a sink counts: its ledger, and how it went.

use crate::call::CallWord;
use crate::counters::{Counter, Gauge};

/// One sink's ledger: `offered = delivered + dead-lettered + waiting`.
#[derive(Debug, Default)]
pub struct SinkStats {
    /// Events sent to the sink.
    pub offered: Counter,
    /// Events handed over to what is behind the sink.
    pub delivered: Counter,
    /// Events that the receiver refused for good.
    pub dead_lettered: Counter,
    /// Offered and neither delivered nor dead-lettered.
    pub waiting: Gauge,
    /// Those of the waiting that are in the sink's overflow log and were not read back yet.
    pub overflow: Gauge,
    /// Failed attempts.
    pub errors: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// Bytes handed over.
    pub bytes: Counter,
    /// Events written whose sync failed: never done, and still waiting.
    pub in_doubt: Counter,
    /// Calls that took longer than they may.
    pub hangs: Counter,
    /// The call that its actor is in, for the watchdog.
    pub(crate) call: CallWord,
}

impl SinkStats {
    pub(crate) fn offer(&self, count: usize) {
        self.offered.add(count);
        self.waiting
            .add(i64::try_from(count).expect("batches are small"));
    }

    pub(crate) fn deliver(&self, count: usize) {
        self.delivered.add(count);
        self.waiting
            .add(-i64::try_from(count).expect("batches are small"));
    }

    pub(crate) fn refuse(&self, count: usize) {
        self.dead_lettered.add(count);
        self.waiting
            .add(-i64::try_from(count).expect("batches are small"));
    }

    /// Whether no event left the sink that was not offered to it.
    pub fn is_balanced(&self) -> bool {
        // Read in this order, events that pass meanwhile cannot look like an imbalance.
        let accounted = self.delivered.get() + self.dead_lettered.get();
        self.offered.get() >= accounted
    }
}
