//! One batch on its way between two actors, and how far the receiver is with it: what a successor has to know.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::batch::EventBatch;
use crate::dead_letter::Failure;
use crate::origin::Origin;

/// A batch that was sent. Shared by the inlet, which keeps it until it is settled, and the receiver that works on it.
#[derive(Debug)]
pub(crate) struct Shipment {
    /// The events.
    pub(crate) batch: EventBatch,
    /// Why each of them failed; empty unless the receiver is the dead-letter actor.
    pub(crate) failures: Vec<Failure>,
    /// When it was sent, for the queueing delay.
    pub(crate) sent_at: Instant,
    /// Events before this one are handled and their results handed on; written by a lane.
    committed: AtomicUsize,
    /// An actor has had it in its hands.
    is_received: AtomicBool,
    /// How far a sink is with it.
    // Shared and locked: a sink ends events while its overflow log takes a copy of the others.
    ending: Mutex<Ending>,
}

#[derive(Debug, Default)]
struct Ending {
    /// Ranges of events that are delivered or given up; some of them may still be on their way to *done*.
    ended: Vec<Range<usize>>,
    /// Of the copy in an overflow log, if there is one: it stands for all events that are not ended.
    copy: Option<Arc<Origin>>,
}

impl Shipment {
    pub(crate) fn new(batch: EventBatch, failures: Vec<Failure>) -> Self {
        Self {
            batch,
            failures,
            sent_at: Instant::now(),
            committed: AtomicUsize::new(0),
            is_received: AtomicBool::new(false),
            ending: Mutex::default(),
        }
    }

    /// Some of the events of `earlier`, for another receiver.
    pub(crate) fn part_of(earlier: &Self, batch: EventBatch) -> Self {
        let is_received = earlier.is_received.load(Ordering::Relaxed);
        Self {
            sent_at: earlier.sent_at,
            is_received: AtomicBool::new(is_received),
            ..Self::new(batch, Vec::new())
        }
    }

    /// The events that the receiver still has to do with.
    pub(crate) fn left(&self) -> impl Iterator<Item = usize> {
        let ended = self.ended();
        let left = self.committed()..self.batch.len();
        left.filter(move |index| !ended.iter().any(|ended| ended.contains(index)))
    }

    /// The events are in an overflow log as well, where `copy` is told of each that ends from now on, in place of its own origin.
    /// Returns the events that are not ended: it is the caller who tells their own origins, once the copy is durable.
    pub(crate) fn redirect(&self, copy: Arc<Origin>) -> Vec<Range<usize>> {
        let mut ending = self.ending();
        let left = complement(&ending.ended, self.batch.len());
        let count: usize = left.iter().map(ExactSizeIterator::len).sum();
        // Those are not for the next process: it reads them from where they came from, if it has to.
        copy.complete(self.batch.len() - count);
        ending.copy = Some(copy);
        left
    }

    /// Whether the events are in an overflow log as well.
    pub(crate) fn has_copy(&self) -> bool {
        self.ending().copy.is_some()
    }

    /// True the first time only: what is sent again counts once.
    pub(crate) fn receive(&self) -> bool {
        !self.is_received.swap(true, Ordering::Relaxed)
    }

    /// Events whose results are handed on: they never come again, whatever happens to the lane.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Acquire)
    }

    /// The events before `next` have their results handed on. Only the lane in charge may say so.
    pub(crate) fn commit(&self, next: usize) -> Range<usize> {
        self.committed.swap(next, Ordering::AcqRel)..next
    }

    /// Events that the receiver still has to do with.
    pub(crate) fn unfinished(&self) -> usize {
        let ended: usize = self.ended().iter().map(ExactSizeIterator::len).sum();
        self.batch.len().saturating_sub(self.committed() + ended)
    }

    /// A sink has delivered these events or given them up: they do not come again. Returns whom to tell once they are done, if
    /// it is not the events' own origins.
    #[must_use = "somebody waits for the events to be done"]
    pub(crate) fn end(&self, events: Range<usize>) -> Option<Arc<Origin>> {
        let mut ending = self.ending();
        match ending.ended.last_mut() {
            Some(last) if last.end == events.start => last.end = events.end,
            _ => ending.ended.push(events),
        }
        ending.copy.clone()
    }

    /// A sink has delivered these events: they are done.
    pub(crate) fn complete(&self, events: Range<usize>) {
        match self.end(events.clone()) {
            Some(copy) => copy.complete(events.len()),
            None => self.batch.complete_range(events),
        }
    }

    /// A sink has given the event up. Returns whom to tell once it is a dead letter.
    pub(crate) fn give_up(&self, event: usize) -> Arc<Origin> {
        let own = || Arc::clone(self.batch.origin(self.batch.records()[event].origin));
        self.end(event..event + 1).unwrap_or_else(own)
    }

    /// Which events a sink has ended; what is left is its successor's.
    pub(crate) fn ended(&self) -> Vec<Range<usize>> {
        self.ending().ended.clone()
    }

    fn ending(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the ranges leave of so many events, in order.
fn complement(ranges: &[Range<usize>], events: usize) -> Vec<Range<usize>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut left = Vec::new();
    let mut start = 0;
    for range in sorted {
        left.push(start..range.start);
        start = range.end;
    }
    left.push(start..events);
    left.retain(|range| !range.is_empty());
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Arena, Intake, detached_types};
    use crate::memory::MemoryBudget;
    use crate::origin::Mark;
    use crate::shared_finished::SharedFinished;
    use crate::source_stats::SourceStats;
    use crate::stats::Registry;

    struct Sent {
        shipment: Shipment,
        input: Arc<SharedFinished>,
        log: Arc<SharedFinished>,
        registry: Registry,
        stored: Arc<SourceStats>,
    }

    /// Events that are number 0 and following of their input.
    fn sent(events: usize) -> Sent {
        let registry = Registry::default();
        let (mut intake, mut types) = (Intake::over(String::new()), detached_types());
        for id in 0..events {
            let line = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
            intake.push_line(&line, &mut types).unwrap();
        }
        let Intake { text, records } = intake;
        let arena = Arc::new(Arena::new(text, &MemoryBudget::new(usize::MAX)));
        let input = Arc::<SharedFinished>::default();
        let mark = Mark {
            finished: input.clone(),
            first: 0,
        };
        let origin = Origin::accepted(events, 1, registry.source("s"), Some(mark));
        let batch = EventBatch::from_parts(records, arena, origin);
        Sent {
            shipment: Shipment::new(batch, Vec::new()),
            input,
            log: Arc::default(),
            stored: registry.unnamed_source(),
            registry,
        }
    }

    impl Sent {
        /// Makes a copy at number 0 and following of the log.
        fn redirect(&self) -> Vec<Range<usize>> {
            let mark = Mark {
                finished: self.log.clone(),
                first: 0,
            };
            let events = self.shipment.batch.len();
            self.stored.accept(events);
            let copy = Origin::read_back(events, 1, self.stored.clone(), mark);
            self.shipment.redirect(copy)
        }

        /// What is finished of the input, and of the log.
        fn prefixes(&self) -> (u64, u64) {
            (self.input.prefix(), self.log.prefix())
        }
    }

    #[test]
    fn what_ends_after_a_copy_is_done_for_the_copy_only() {
        let sent = sent(6);
        sent.shipment.complete(1..3);
        let left = sent.redirect();
        assert_eq!(left, [0..1, 3..6]);
        sent.shipment.complete(0..1);
        assert_eq!(sent.prefixes(), (0, 0));
        for events in left {
            sent.shipment.batch.complete_range(events);
        }
        assert_eq!(sent.prefixes(), (6, 0));
        assert_eq!(sent.registry.in_flight.get(), 6);
        sent.shipment.complete(3..5);
        assert_eq!(sent.prefixes(), (6, 0));
        let of_dead_letter = sent.shipment.give_up(5);
        assert_eq!(sent.prefixes(), (6, 0));
        of_dead_letter.complete(1);
        assert_eq!(sent.prefixes(), (6, 6));
        assert_eq!(sent.registry.in_flight.get(), 0);
        assert!(sent.registry.is_balanced());
    }

    #[test]
    fn what_ended_before_a_copy_is_done_for_its_input() {
        let sent = sent(2);
        let of_dead_letter = sent.shipment.give_up(0);
        assert_eq!(sent.redirect(), vec![1..2]);
        sent.shipment.complete(1..2);
        // The copy is not wanted any more, though the dead letter is not kept yet.
        assert_eq!(sent.prefixes(), (0, 2));
        sent.shipment.batch.complete_range(1..2);
        assert_eq!(sent.prefixes(), (0, 2));
        of_dead_letter.complete(1);
        assert_eq!(sent.prefixes(), (2, 2));
    }

    #[test]
    fn a_batch_that_has_ended_needs_no_copy() {
        let sent = sent(3);
        sent.shipment.complete(1..3);
        sent.shipment.complete(0..1);
        assert_eq!(sent.redirect(), []);
        assert_eq!(sent.prefixes(), (3, 3));
        assert!(sent.shipment.has_copy());
    }
}
