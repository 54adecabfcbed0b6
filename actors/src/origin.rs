//! The *done* ack: what one intake still waits for, counted down by whoever finishes a piece of it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::stats::SourceStats;

/// Counts the unfinished pieces of one intake (of a source, or of results that go round again).
///
/// Each event starts as one piece. Whoever multiplies an event adds the new pieces *before* it hands them on, and whoever
/// finishes one takes it off, so the count reaches zero once and only when everything is done. It is shared like the
/// arenas that it travels with, because the last piece may be finished on any thread.
#[derive(Debug)]
pub struct Origin {
    pieces: AtomicI64,
    events: usize,
    whose: Whose,
    /// Per event how many conditional handlers have not refused it yet; made only for batches that need it.
    undecided: OnceLock<Box<[AtomicU32]>>,
}

#[derive(Debug)]
enum Whose {
    /// A source's intake, of so many bytes.
    Source(Arc<SourceStats>, usize),
    /// Results that came round: when they are done, so are the pieces that they stand for.
    Parents(Vec<(Arc<Origin>, i64)>),
}

/// Set in an event's undecided count once a conditional handler took it.
const TAKEN: u32 = 1 << 31;

impl Origin {
    /// An origin of `events` events of `bytes` together that the source has just accepted.
    pub(crate) fn accepted(events: usize, bytes: usize, source: Arc<SourceStats>) -> Arc<Self> {
        source.accept(events, bytes);
        Self::new(events, Whose::Source(source, bytes))
    }

    /// An origin of results that stand for pieces of other origins.
    pub(crate) fn of_results(events: usize, parents: Vec<(Arc<Origin>, i64)>) -> Arc<Self> {
        Self::new(events, Whose::Parents(parents))
    }

    fn new(events: usize, whose: Whose) -> Arc<Self> {
        Arc::new(Self {
            pieces: AtomicI64::new(i64::try_from(events).expect("batches are small")),
            events,
            whose,
            undecided: OnceLock::new(),
        })
    }

    /// Adds pieces, or takes finished ones off.
    pub(crate) fn add(&self, pieces: i64) {
        if pieces != 0 && self.pieces.fetch_add(pieces, Ordering::AcqRel) + pieces == 0 {
            self.finish();
        }
    }

    fn finish(&self) {
        match &self.whose {
            Whose::Source(source, bytes) => source.finish(self.events, *bytes),
            Whose::Parents(parents) => {
                for (parent, pieces) in parents {
                    parent.add(-pieces);
                }
            }
        }
    }

    /// Expects `handlers` conditional handlers to decide about the event at `index`.
    pub(crate) fn expect_decisions(&self, index: u16, handlers: u32) {
        let undecided = self
            .undecided
            .get_or_init(|| (0..self.events).map(|_| AtomicU32::new(0)).collect());
        undecided[usize::from(index)].store(handlers, Ordering::Release);
    }

    /// A conditional handler took the event.
    pub(crate) fn take(&self, index: u16) {
        if let Some(undecided) = self.undecided.get() {
            undecided[usize::from(index)].fetch_or(TAKEN, Ordering::AcqRel);
            self.refuse(index);
        }
    }

    /// A conditional handler refused the event; true if it was the last one to decide and nobody took it.
    pub(crate) fn refuse(&self, index: u16) -> bool {
        match self.undecided.get() {
            Some(undecided) => undecided[usize::from(index)].fetch_sub(1, Ordering::AcqRel) == 1,
            None => false,
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if *self.pieces.get_mut() == 0 {
            return;
        }
        match &self.whose {
            Whose::Source(source, bytes) => {
                tracing::error!(
                    events = self.events,
                    "a batch vanished unfinished, its events are counted as lost"
                );
                source.lose(self.events, *bytes);
            }
            // The parents keep the pieces and report the loss themselves.
            Whose::Parents(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    #[test]
    fn an_intake_is_finished_when_its_last_piece_is() {
        let registry = Registry::default();
        let source = registry.source("s");
        let origin = Origin::accepted(2, 20, source.clone());
        origin.add(3);
        origin.add(-4);
        assert_eq!((source.finished.get(), registry.in_flight.get()), (0, 2));
        origin.add(-1);
        assert_eq!((source.finished.get(), registry.in_flight.get()), (2, 0));
        drop(origin);
        assert!(registry.is_balanced());
    }

    #[test]
    fn results_that_went_round_finish_what_they_stand_for() {
        let registry = Registry::default();
        let source = registry.source("s");
        let origin = Origin::accepted(1, 10, source.clone());
        let results = Origin::of_results(1, vec![(origin, 1)]);
        results.add(-1);
        assert_eq!(source.finished.get(), 1);
    }

    #[test]
    fn a_vanished_batch_shows_as_an_imbalance() {
        let registry = Registry::default();
        drop(Origin::accepted(3, 30, registry.source("s")));
        assert!(!registry.is_balanced());
        assert_eq!(registry.source("s").lost.get(), 3);
    }

    #[test]
    fn only_the_last_refusal_of_an_untaken_event_reports_it() {
        let registry = Registry::default();
        let origin = Origin::accepted(2, 20, registry.source("s"));
        origin.expect_decisions(0, 2);
        origin.expect_decisions(1, 2);
        assert!(!origin.refuse(0));
        assert!(origin.refuse(0));
        origin.take(1);
        assert!(!origin.refuse(1));
        origin.add(-2);
    }
}
