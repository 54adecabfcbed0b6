//! What a source counts: its ledger, and what of it is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::counters::{Counter, Gauge};
use crate::urgency::Urgency;

/// Events accepted and not yet finished, over all sources; the drain waits for zero.
#[derive(Debug, Default)]
pub struct InFlight {
    events: Gauge,
    empty: Notify,
    /// Those that nothing keeps when the process dies.
    in_memory_only: Gauge,
    /// Notified when there are some again.
    some_in_memory_only: Notify,
    pub(crate) urgency: Urgency,
}

impl InFlight {
    pub(crate) fn add(&self, delta: i64) {
        if self.events.add(delta) == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Events in flight now.
    pub fn get(&self) -> i64 {
        self.events.get()
    }

    fn add_in_memory_only(&self, delta: i64) {
        if self.in_memory_only.add(delta) == delta {
            self.some_in_memory_only.notify_waiters();
        }
    }

    pub(crate) fn has_any_in_memory_only(&self) -> bool {
        self.in_memory_only.get() > 0
    }

    /// Resolves while there are events that nothing keeps when the process dies.
    pub(crate) async fn some_in_memory_only(&self) {
        let some = self.some_in_memory_only.notified();
        tokio::pin!(some);
        // Registered before the look, so that the first one in between is not missed.
        some.as_mut().enable();
        if !self.has_any_in_memory_only() {
            some.await;
        }
    }

    /// Waits until nothing is in flight.
    pub async fn drained(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            // Registered before the check, so that the last completion in between is not missed.
            empty.as_mut().enable();
            if self.get() == 0 {
                return;
            }
            empty.await;
        }
    }
}

/// The ledger of one source: `accepted = finished + in flight`, or events were lost.
#[derive(Debug, Default)]
pub struct SourceStats {
    name: Arc<str>,
    /// Events and would-be events that arrived.
    pub received: Counter,
    /// Events that Veltrix answers for.
    pub accepted: Counter,
    /// Events all of whose branches are delivered, dead-lettered or dropped by a named rule.
    pub finished: Counter,
    /// Accepted and not finished.
    pub in_flight: InFlight,
    /// Handed to the journal and not on disk yet: not accepted.
    pub pending: InFlight,
    /// Among the accepted, those that a process before this one accepted and did not finish.
    pub recovered: Counter,
    /// Accepted, but their batch vanished unfinished: a bug, shown as an imbalance.
    pub lost: Counter,
    /// Open connections, of a source that accepts some by itself.
    pub connections: Gauge,
    /// Those that ended by an error, a timeout or a panic.
    pub connections_failed: Counter,
    rejected: DashMap<&'static str, u64>,
    /// Bytes of the intakes in flight.
    held_bytes: AtomicUsize,
    /// Notified when they get fewer.
    freed: Notify,
    /// The count over all sources.
    process: Arc<InFlight>,
    /// It is among those whose end is the end of all input.
    is_expected: AtomicBool,
    /// It takes in no more, for good.
    has_ended: AtomicBool,
}

impl SourceStats {
    pub(crate) fn new(name: &str, process: Arc<InFlight>) -> Self {
        Self {
            name: name.into(),
            process,
            ..Self::default()
        }
    }

    /// True unless it was expected before.
    pub(crate) fn expect(&self) -> bool {
        !self.is_expected.swap(true, Ordering::AcqRel)
    }

    /// True if it was expected before.
    pub(crate) fn forget(&self) -> bool {
        self.is_expected.swap(false, Ordering::AcqRel)
    }

    /// It takes in no more. True if it was so before.
    pub(crate) fn end(&self) -> bool {
        self.has_ended.swap(true, Ordering::AcqRel)
    }

    /// It takes events in. True if it had ended before.
    pub(crate) fn begin(&self) -> bool {
        self.has_ended.swap(false, Ordering::AcqRel)
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Events of `bytes` together are in memory. Until they are accepted nobody answers for them.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// They are not in memory any more.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    /// Takes responsibility for `count` events.
    pub(crate) fn accept(&self, count: usize) {
        self.accepted.add(count);
        self.in_flight.add(signed(count));
        self.process.add(signed(count));
    }

    /// As [`SourceStats::accept`], for events that a process before this one accepted and the count over all sources has
    /// already.
    pub(crate) fn recover(&self, count: usize) {
        self.recovered.add(count);
        self.accepted.add(count);
        self.in_flight.add(signed(count));
    }

    /// So many more of the events, or less, are kept by nothing when the process dies.
    pub(crate) fn add_in_memory_only(&self, delta: i64) {
        self.process.add_in_memory_only(delta);
    }

    pub(crate) fn finish(&self, count: usize) {
        self.finished.add(count);
        self.settle(count);
    }

    pub(crate) fn lose(&self, count: usize) {
        self.lost.add(count);
        self.settle(count);
    }

    fn settle(&self, count: usize) {
        self.in_flight.add(-signed(count));
        self.process.add(-signed(count));
    }

    /// Waits until every event that was submitted is finished, or was not accepted.
    pub(crate) async fn drained(&self) {
        // In this order: what leaves the one may enter the other.
        self.pending.drained().await;
        self.in_flight.drained().await;
    }

    /// Whether the source holds less than `share_bytes`.
    pub(crate) fn is_below(&self, share_bytes: usize) -> bool {
        self.held_bytes.load(Ordering::SeqCst) < share_bytes
    }

    /// Waits until the source holds less than `share_bytes`.
    pub(crate) async fn below(&self, share_bytes: usize) {
        loop {
            // Registered before the check, so that a release in between is not missed.
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.is_below(share_bytes) {
                return;
            }
            let _waits = self.process.urgency.begin();
            freed.await;
        }
    }

    /// Counts `count` refused events under a short stable reason.
    pub fn reject(&self, reason: &'static str, count: usize) {
        *self.rejected.entry(reason).or_default() += count as u64;
    }

    /// Refused events by reason, sorted.
    pub fn rejected(&self) -> Vec<(&'static str, u64)> {
        let mut rejected: Vec<_> = self
            .rejected
            .iter()
            .map(|entry| (*entry.key(), *entry.value()))
            .collect();
        rejected.sort_unstable();
        rejected
    }

    /// Whether every accepted event is accounted for.
    pub fn is_balanced(&self) -> bool {
        // Every way out of `in_flight` is either `finish` or `lose`, so the sums can only differ for good by what was
        // lost; comparing the sums themselves would raise false alarms between two of a running actor's updates.
        self.lost.get() == 0
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("batches are small")
}
