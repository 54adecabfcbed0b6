//! One batch on its way between two actors, and how far the receiver is with it: what a successor has to know.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::batch::EventBatch;
use crate::dead_letter::Failure;
use crate::origin::Mark;

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
    /// Ranges of events that a sink is through with though others of the batch are not.
    ended: Mutex<Vec<Range<usize>>>,
    /// The receiver is through with all events.
    is_settled: AtomicBool,
    /// Where that is to be noted.
    shadow: OnceLock<Mark>,
}

impl Shipment {
    pub(crate) fn new(batch: EventBatch, failures: Vec<Failure>) -> Self {
        Self {
            batch,
            failures,
            sent_at: Instant::now(),
            committed: AtomicUsize::new(0),
            is_received: AtomicBool::new(false),
            ended: Mutex::default(),
            is_settled: AtomicBool::new(false),
            shadow: OnceLock::new(),
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

    /// The events are in an overflow log as well, under the numbers of `mark`, for the order after a crash: they are noted there
    /// once they are settled.
    pub(crate) fn attach(&self, mark: Mark) {
        self.shadow.get_or_init(|| mark);
        // Either sees the other.
        if self.is_settled.load(Ordering::SeqCst) {
            self.note();
        }
    }

    /// Whether the events are in an overflow log as well.
    pub(crate) fn has_shadow(&self) -> bool {
        self.shadow.get().is_some()
    }

    /// The receiver is through with all events.
    pub(crate) fn settle(&self) {
        self.is_settled.store(true, Ordering::SeqCst);
        self.note();
    }

    fn note(&self) {
        if let Some(Mark { finished, first }) = self.shadow.get() {
            finished.insert(*first..first + self.batch.len() as u64);
        }
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

    /// A sink has delivered these events or given them up.
    pub(crate) fn end(&self, events: Range<usize>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.last_mut() {
            Some(last) if last.end == events.start => last.end = events.end,
            _ => ended.push(events),
        }
    }

    /// Which events a sink has ended; what is left is its successor's.
    pub(crate) fn ended(&self) -> Vec<Range<usize>> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
