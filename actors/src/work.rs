//! The batch that a lane works on, how far it is, and what is to be counted once its results are handed on.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::EventBatch;
use crate::mailbox::{Custody, Deliver};
use crate::shipment::Shipment;
use crate::stats::HandlerStats;

/// A batch in work. The lane's inlet has it as well, so nothing that happens to the lane can take it along.
pub(crate) struct Work {
    deliver: Deliver,
    /// The event being handled.
    pub(crate) next: usize,
    /// The event that failed last and how often it did, under a lost predecessor or this actor.
    pub(crate) failed: Option<(usize, u32)>,
}

impl Work {
    pub(crate) fn new(deliver: Deliver) -> Self {
        Self {
            next: deliver.shipment().committed(),
            failed: None,
            deliver,
        }
    }

    pub(crate) fn shipment(&self) -> &Arc<Shipment> {
        self.deliver.shipment()
    }

    pub(crate) fn is_resent(&self) -> bool {
        self.deliver.is_resent()
    }

    pub(crate) fn batch(&self) -> &EventBatch {
        &self.deliver.shipment().batch
    }

    /// Failed attempts at the current event.
    pub(crate) fn failures(&self) -> u32 {
        match self.failed {
            Some((index, failures)) if index == self.next => failures,
            _ => 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.batch().len()
    }

    /// The events whose results are now to be handed on. They never come again.
    pub(crate) fn commit(&self) -> Range<usize> {
        self.shipment().commit(self.next)
    }

    /// Has the inlet forget the batch; the custody returns the router's credit.
    pub(crate) fn settle(&self) -> Option<Custody> {
        self.deliver.settle()
    }
}

/// Counts of handled events, added to the handler's once their results are handed on: what is handled again after a lane
/// was lost counts once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) matched: usize,
    pub(crate) filtered: usize,
    pub(crate) missing: usize,
    pub(crate) emitted: usize,
    pub(crate) dead_lettered: usize,
}

impl Tally {
    /// Adds the counts to the handler's, and starts over.
    pub(crate) fn count(&mut self, stats: &HandlerStats) {
        let Self {
            matched,
            filtered,
            missing,
            emitted,
            dead_lettered,
        } = std::mem::take(self);
        for (counter, count) in [
            (&stats.matched, matched),
            (&stats.filtered, filtered),
            (&stats.missing, missing),
            (&stats.emitted, emitted),
            (&stats.dead_lettered, dead_lettered),
        ] {
            if count > 0 {
                counter.add(count);
            }
        }
    }
}
