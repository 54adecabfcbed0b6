//! Copies of what a sink has in its window, on their way into its overflow log: for the next process only, which would get it
//! after what the log has, from the journal. Once they are durable nobody else has to keep the events.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::journal::JournalRefusal;
use crate::origin::{Mark, Origin};
use crate::overflow_log::OpenLog;
use crate::shipment::Shipment;
use crate::source_stats::SourceStats;

/// Batches of a sink's window that are to be in its log as well.
pub(crate) struct Shadows {
    waiting: VecDeque<Arc<Shipment>>,
    /// Written and not synced yet, with the events that the log then answers for.
    written: Vec<(Arc<Shipment>, Vec<Range<usize>>)>,
    /// Counts them in flight once their own origins do not.
    stored: Arc<SourceStats>,
}

impl Shadows {
    pub(crate) fn new(stored: Arc<SourceStats>) -> Self {
        Self {
            waiting: VecDeque::new(),
            written: Vec::new(),
            stored,
        }
    }

    /// Takes those of a window that have no copy yet.
    pub(crate) fn add(&mut self, window: Vec<Arc<Shipment>>) {
        for shipment in window {
            let is_known = |known: &Arc<Shipment>| Arc::ptr_eq(known, &shipment);
            if !shipment.has_copy() && !self.waiting.iter().any(is_known) {
                self.waiting.push_back(shipment);
            }
        }
    }

    /// Writes what waits. The log has nothing that is not read.
    pub(crate) fn write(&mut self, sink: &str, log: &mut OpenLog) -> Result<(), JournalRefusal> {
        while let Some(shipment) = self.waiting.front() {
            let batch = &shipment.batch;
            let finished = &log.read_back.finished;
            // Some were read from here, and are not settled since.
            let is_here = |origin: &Arc<Origin>| origin.is_noted_in(finished);
            if !batch.origins().iter().any(is_here) {
                let first = log.journal.append(sink, batch)?;
                debug_assert_eq!(log.read_back.next, first);
                log.read_back.next = first + batch.len() as u64;
                let finished = finished.clone();
                let mark = Mark { finished, first };
                self.stored.accept(batch.len());
                let copy = Origin::read_back(batch.len(), batch.bytes(), self.stored.clone(), mark);
                self.written
                    .push((Arc::clone(shipment), shipment.redirect(copy)));
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether all that was written is durable.
    pub(crate) fn are_synced(&self) -> bool {
        self.written.is_empty()
    }

    /// The log is synced: what is written is done for the inputs that it came from.
    pub(crate) fn complete(&mut self) {
        for (shipment, events) in self.written.drain(..) {
            for events in events {
                shipment.batch.complete_range(events);
            }
        }
    }
}
