//! The *done* ack: what one intake still waits for, counted down by whoever finishes a piece of it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use crate::receipt::{Admission, Receipt};
use crate::shared_finished::SharedFinished;
use crate::source_stats::SourceStats;

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
    /// Whether something keeps the events when the process dies.
    is_durable: bool,
}

#[derive(Debug)]
enum Whose {
    Source(SourceIntake),
    /// Results that came round: when they are done, so are the pieces that they stand for.
    Parents(Vec<(Arc<Origin>, i64)>),
}

/// Some events that a source took in at once, or that were read back from the journal.
#[derive(Debug)]
struct SourceIntake {
    source: Arc<SourceStats>,
    bytes: usize,
    /// They are on their way into the journal: neither accepted, so that Veltrix answers for them, nor refused.
    is_pending: AtomicBool,
    /// Whoever waits for that.
    receipt: Option<Arc<Receipt>>,
    /// Where they are noted once they are finished.
    mark: OnceLock<Mark>,
    /// Events that came before, and are not stored again.
    duplicates: AtomicUsize,
    /// Events that contradict one that came before, and are refused.
    conflicts: AtomicUsize,
}

/// The numbers of some events, and the set that gets them once they are finished.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) finished: Arc<SharedFinished>,
    /// The number of the first event.
    pub(crate) first: u64,
}

/// The reason by which an event is refused whose source and id another one has.
pub const ID_CONFLICT: &str = "id_conflict";

/// Set in an event's undecided count once a conditional handler took it.
const TAKEN: u32 = 1 << 31;

impl Origin {
    /// An origin of `events` events of `bytes` together that the source has just accepted.
    pub(crate) fn accepted(
        events: usize,
        bytes: usize,
        source: Arc<SourceStats>,
        mark: Option<Mark>,
    ) -> Arc<Self> {
        let is_durable = mark.is_some();
        if !is_durable {
            source.add_in_memory_only(signed(events));
        }
        source.accept(events);
        let intake = SourceIntake::new(bytes, source, None, mark);
        Self::new(events, Whose::Source(intake), is_durable)
    }

    /// An origin of events that are accepted once the journal has stored them.
    pub(crate) fn submitted(
        events: usize,
        bytes: usize,
        source: Arc<SourceStats>,
        receipt: Option<Arc<Receipt>>,
    ) -> Arc<Self> {
        source.pending.add(signed(events));
        let mut intake = SourceIntake::new(bytes, source, receipt, None);
        *intake.is_pending.get_mut() = true;
        Self::new(events, Whose::Source(intake), true)
    }

    /// An origin of events that were accepted before, and are in memory again.
    pub(crate) fn read_back(
        events: usize,
        bytes: usize,
        source: Arc<SourceStats>,
        mark: Mark,
    ) -> Arc<Self> {
        let intake = SourceIntake::new(bytes, source, None, Some(mark));
        Self::new(events, Whose::Source(intake), true)
    }

    /// An origin of results that stand for pieces of other origins.
    pub(crate) fn of_results(events: usize, parents: Vec<(Arc<Origin>, i64)>) -> Arc<Self> {
        let is_durable = parents.iter().any(|(parent, _)| parent.is_durable);
        Self::new(events, Whose::Parents(parents), is_durable)
    }

    fn new(events: usize, whose: Whose, is_durable: bool) -> Arc<Self> {
        Arc::new(Self {
            pieces: AtomicI64::new(signed(events)),
            events,
            whose,
            undecided: OnceLock::new(),
            is_durable,
        })
    }

    /// Whether the events are noted in that set once they are finished.
    pub(crate) fn is_noted_in(&self, set: &Arc<SharedFinished>) -> bool {
        match &self.whose {
            Whose::Source(intake) => intake
                .mark
                .get()
                .is_some_and(|mark| Arc::ptr_eq(&mark.finished, set)),
            Whose::Parents(_) => false,
        }
    }

    /// Whether something keeps the events when the process dies, or some of what they stand for.
    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// The source that took the events in; none for results.
    pub(crate) fn source(&self) -> Option<&Arc<SourceStats>> {
        match &self.whose {
            Whose::Source(intake) => Some(&intake.source),
            Whose::Parents(_) => None,
        }
    }

    /// Whether whoever submitted the events would rather be refused than wait for a full disk.
    pub(crate) fn is_refusable(&self) -> bool {
        match &self.whose {
            Whose::Source(intake) => intake
                .receipt
                .as_ref()
                .is_some_and(|receipt| receipt.is_refusable),
            Whose::Parents(_) => false,
        }
    }

    /// The journal has stored the events: they are accepted.
    pub(crate) fn store(&self, mark: Mark) {
        if let Whose::Source(intake) = &self.whose
            && intake.is_pending.swap(false, Ordering::AcqRel)
        {
            intake.mark.get_or_init(|| mark);
            intake.accept(self.events);
        }
    }

    /// So many of the events came before, and so many contradict one that did: they are not stored.
    pub(crate) fn leave_out(&self, duplicates: usize, conflicts: usize) {
        if let Whose::Source(intake) = &self.whose {
            intake.duplicates.store(duplicates, Ordering::Release);
            intake.conflicts.store(conflicts, Ordering::Release);
            let left_out = signed(duplicates + conflicts);
            self.pieces.fetch_sub(left_out, Ordering::AcqRel);
        }
    }

    /// The events that are not left out.
    pub(crate) fn kept(&self) -> usize {
        match &self.whose {
            Whose::Source(intake) => self.events - intake.duplicates() - intake.conflicts(),
            Whose::Parents(_) => self.events,
        }
    }

    /// As [`Origin::store`], for an origin of which nothing is stored.
    pub(crate) fn accept_left_out(&self) {
        if let Whose::Source(intake) = &self.whose
            && intake.is_pending.swap(false, Ordering::AcqRel)
        {
            intake.accept(self.events);
            intake.source.let_go(intake.bytes);
        }
    }

    /// The journal cannot store the events: they are not accepted, and nobody waits for them.
    pub(crate) fn reject(&self, admission: Admission) {
        if let Whose::Source(intake) = &self.whose
            && intake.is_pending.swap(false, Ordering::AcqRel)
        {
            self.pieces.store(0, Ordering::Release);
            let reason = match admission {
                Admission::Full => "journal_full",
                _ => "journal_failed",
            };
            intake.source.reject(reason, self.events);
            intake.withdraw(self.events, admission);
        }
    }

    /// The stored events leave memory, to be read back from the journal.
    pub(crate) fn park(&self) {
        if let Whose::Source(intake) = &self.whose {
            self.pieces.store(0, Ordering::Release);
            intake.source.let_go(intake.bytes);
        }
    }

    /// So many pieces are finished.
    pub(crate) fn complete(&self, pieces: usize) {
        self.add(-signed(pieces));
    }

    /// Adds pieces, or takes finished ones off.
    pub(crate) fn add(&self, pieces: i64) {
        if pieces != 0 && self.pieces.fetch_add(pieces, Ordering::AcqRel) + pieces == 0 {
            self.finish();
        }
    }

    fn finish(&self) {
        match &self.whose {
            Whose::Source(intake) => {
                if let Some(Mark { finished, first }) = intake.mark.get() {
                    finished.insert(*first..first + self.kept() as u64);
                }
                intake.source.let_go(intake.bytes);
                intake.source.finish(self.kept());
                self.leave_memory(intake);
            }
            Whose::Parents(parents) => {
                for (parent, pieces) in parents {
                    parent.add(-pieces);
                }
            }
        }
    }

    fn leave_memory(&self, intake: &SourceIntake) {
        if !self.is_durable {
            intake.source.add_in_memory_only(-signed(self.events));
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

impl SourceIntake {
    fn new(
        bytes: usize,
        source: Arc<SourceStats>,
        receipt: Option<Arc<Receipt>>,
        mark: Option<Mark>,
    ) -> Self {
        source.hold(bytes);
        Self {
            source,
            bytes,
            is_pending: AtomicBool::new(false),
            receipt,
            mark: mark.map(OnceLock::from).unwrap_or_default(),
            duplicates: AtomicUsize::new(0),
            conflicts: AtomicUsize::new(0),
        }
    }

    fn duplicates(&self) -> usize {
        self.duplicates.load(Ordering::Acquire)
    }

    fn conflicts(&self) -> usize {
        self.conflicts.load(Ordering::Acquire)
    }

    /// Of `events`, those that are stored and those that came before are accepted; the latter are finished as well.
    fn accept(&self, events: usize) {
        let (duplicates, conflicts) = (self.duplicates(), self.conflicts());
        // In this order: who waits for the end of both must not find both at zero in between.
        self.source.accept(events - conflicts);
        self.source.pending.add(-signed(events));
        if duplicates > 0 {
            self.source.finish(duplicates);
        }
        if conflicts > 0 {
            self.source.reject(ID_CONFLICT, conflicts);
        }
        if let Some(receipt) = &self.receipt {
            receipt.accept_part(conflicts);
        }
    }

    /// The events are nobody's any more: they were never accepted.
    fn withdraw(&self, events: usize, admission: Admission) {
        self.source.let_go(self.bytes);
        self.source.pending.add(-signed(events));
        if let Some(receipt) = &self.receipt {
            receipt.answer(admission);
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("batches are small")
}

impl Drop for Origin {
    fn drop(&mut self) {
        match &self.whose {
            Whose::Source(intake) if intake.is_pending.load(Ordering::Acquire) => {
                intake.withdraw(self.events, Admission::Failed);
            }
            Whose::Source(intake) if *self.pieces.get_mut() != 0 => {
                tracing::error!(
                    events = self.events,
                    "a batch vanished unfinished, its events are counted as lost"
                );
                intake.source.let_go(intake.bytes);
                intake.source.lose(self.events);
                self.leave_memory(intake);
            }
            // Finished; or the parents keep the pieces and report the loss themselves.
            Whose::Source(_) | Whose::Parents(_) => {}
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
        let origin = Origin::accepted(2, 20, source.clone(), None);
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
        let origin = Origin::accepted(1, 10, source.clone(), None);
        let results = Origin::of_results(1, vec![(origin, 1)]);
        results.add(-1);
        assert_eq!(source.finished.get(), 1);
    }

    #[test]
    fn a_vanished_batch_shows_as_an_imbalance() {
        let registry = Registry::default();
        drop(Origin::accepted(3, 30, registry.source("s"), None));
        assert!(!registry.is_balanced() && registry.source("s").is_below(1));
        assert_eq!(registry.source("s").lost.get(), 3);
        assert_eq!(registry.in_flight.get(), 0);
    }

    #[test]
    fn only_the_last_refusal_of_an_untaken_event_reports_it() {
        let registry = Registry::default();
        let origin = Origin::accepted(2, 20, registry.source("s"), None);
        origin.expect_decisions(0, 2);
        origin.expect_decisions(1, 2);
        assert!(!origin.refuse(0));
        assert!(origin.refuse(0));
        origin.take(1);
        assert!(!origin.refuse(1));
        // Nor one that is decided once more, since its handler was started again.
        assert!(!origin.refuse(1));
        origin.add(-2);
    }

    #[test]
    fn what_the_journal_stores_is_accepted_then_and_noted_once_it_is_finished() {
        let registry = Registry::default();
        let source = registry.source("s");
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let receipt = Receipt::new(answer, 1, true);
        let origin = Origin::submitted(2, 20, source.clone(), Some(receipt));
        assert_eq!((source.accepted.get(), source.pending.get()), (0, 2));
        assert!(answered.try_recv().is_err());
        let finished = Arc::new(SharedFinished::default());
        let mark = Mark {
            finished: finished.clone(),
            first: 0,
        };
        origin.store(mark);
        assert_eq!(answered.try_recv(), Ok(Admission::Accepted));
        assert_eq!((source.accepted.get(), source.pending.get()), (2, 0));
        origin.add(-2);
        assert_eq!((finished.prefix(), registry.in_flight.get()), (2, 0));
    }

    #[test]
    fn what_is_left_out_is_finished_or_refused_and_not_noted() {
        let registry = Registry::default();
        let source = registry.source("s");
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let receipt = Receipt::new(answer, 1, true);
        let origin = Origin::submitted(6, 20, source.clone(), Some(receipt));
        origin.leave_out(3, 1);
        assert_eq!(origin.kept(), 2);
        let finished = Arc::new(SharedFinished::default());
        let mark = |first| Mark {
            finished: finished.clone(),
            first,
        };
        origin.store(mark(10));
        // Said again, it is nothing new.
        origin.store(mark(20));
        assert_eq!(answered.try_recv(), Ok(Admission::Conflicting(1)));
        assert_eq!(source.rejected(), [(ID_CONFLICT, 1)]);
        assert_eq!((source.accepted.get(), source.pending.get()), (5, 0));
        assert_eq!((source.finished.get(), source.in_flight.get()), (3, 2));
        assert!(!source.is_below(20));
        origin.complete(2);
        assert_eq!((source.finished.get(), registry.in_flight.get()), (5, 0));
        assert!(source.is_below(1));
        let noted: Vec<_> = finished.snapshot().ranges().collect();
        let [noted] = noted.try_into().unwrap();
        assert_eq!((noted, finished.prefix()), (10..12, 0));
        // Nor is it finished twice.
        origin.add(0);
        drop(origin);
        assert_eq!((source.finished.get(), source.lost.get()), (5, 0));
    }

    #[test]
    fn a_batch_of_which_all_came_before_is_done_once_it_is_answered() {
        let (origin, source, mut answered) = left_out();
        origin.accept_left_out();
        origin.accept_left_out();
        assert_eq!(answered.try_recv(), Ok(Admission::Accepted));
        assert_eq!((source.accepted.get(), source.finished.get()), (2, 2));
        assert!(source.pending.get() == 0 && source.is_below(1));
        drop(origin);
        assert!(source.lost.get() == 0 && source.is_below(1));
        assert!(source.rejected().is_empty());
    }

    #[test]
    fn what_leaves_memory_stays_accepted_and_is_not_lost() {
        let registry = Registry::default();
        let source = registry.source("s");
        let origin = Origin::submitted(2, 20, source.clone(), None);
        let finished = Arc::new(SharedFinished::default());
        origin.store(Mark { finished, first: 0 });
        origin.park();
        assert!(source.is_below(1));
        drop(origin);
        assert_eq!((source.in_flight.get(), source.lost.get()), (2, 0));
        assert!(source.is_below(1));
    }

    #[test]
    fn what_finds_no_room_is_refused_as_such() {
        let source = Registry::default().source("s");
        Origin::submitted(2, 20, source.clone(), None).reject(Admission::Full);
        assert_eq!(source.rejected(), [("journal_full", 2)]);
        assert_eq!((source.pending.get(), source.lost.get()), (0, 0));
    }

    #[test]
    fn an_origin_knows_who_keeps_its_events_and_who_waits_for_them() {
        let source = Registry::default().source("s");
        let finished = Arc::new(SharedFinished::default());
        let mark = || Mark {
            finished: finished.clone(),
            first: 0,
        };
        let fleeting = Origin::accepted(1, 10, source.clone(), None);
        let noted = Origin::accepted(1, 10, source.clone(), Some(mark()));
        let again = Origin::read_back(1, 10, source.clone(), mark());
        let parents = |parents: &[&Arc<Origin>]| {
            let parents = parents.iter().map(|parent| (Arc::clone(parent), 1));
            Origin::of_results(1, parents.collect())
        };
        assert!(noted.is_durable() && again.is_durable() && !fleeting.is_durable());
        assert!(parents(&[&fleeting, &noted]).is_durable());
        assert!(!parents(&[&fleeting]).is_durable());
        assert!(noted.is_noted_in(&finished) && !fleeting.is_noted_in(&finished));
        assert!(!noted.is_noted_in(&Arc::default()) && !parents(&[&noted]).is_noted_in(&finished));
        assert!(Arc::ptr_eq(noted.source().unwrap(), &source));
        assert!(parents(&[&noted]).source().is_none());
        assert_eq!((parents(&[&noted]).kept(), noted.kept()), (1, 1));
        for is_refusable in [false, true] {
            let (answer, _answered) = tokio::sync::oneshot::channel();
            let receipt = Receipt::new(answer, 1, is_refusable);
            let origin = Origin::submitted(1, 10, source.clone(), Some(receipt));
            assert!(origin.is_refusable() == is_refusable && origin.is_durable());
            assert!(!parents(&[&origin]).is_refusable());
        }
        assert!(!noted.is_refusable());
        for origin in [fleeting, noted, again] {
            origin.complete(1);
        }
        assert!(source.is_below(1));
    }

    #[test]
    fn what_is_dropped_before_it_is_stored_was_never_accepted() {
        let registry = Registry::default();
        let source = registry.source("s");
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let receipt = Receipt::new(answer, 1, true);
        drop(Origin::submitted(2, 20, source.clone(), Some(receipt)));
        assert_eq!(answered.try_recv(), Ok(Admission::Failed));
        assert_eq!((source.accepted.get(), source.pending.get()), (0, 0));
        assert!(registry.is_balanced() && source.is_below(1));
    }

    /// A batch of which all came before, and which is not answered yet.
    fn left_out() -> (
        Arc<Origin>,
        Arc<SourceStats>,
        tokio::sync::oneshot::Receiver<Admission>,
    ) {
        let source = Registry::default().source("s");
        let (answer, answered) = tokio::sync::oneshot::channel();
        let receipt = Receipt::new(answer, 1, true);
        let origin = Origin::submitted(2, 20, source.clone(), Some(receipt));
        origin.leave_out(2, 0);
        (origin, source, answered)
    }

    #[test]
    fn what_came_before_is_answered_though_its_group_cannot_be_stored() {
        let (origin, source, mut answered) = left_out();
        origin.reject(Admission::Failed);
        origin.reject(Admission::Full);
        drop(origin);
        assert_eq!(answered.try_recv(), Ok(Admission::Failed));
        assert_eq!(source.rejected(), [("journal_failed", 2)]);
        assert!(source.pending.get() == 0 && source.is_below(1));
    }

    #[test]
    fn what_came_before_is_answered_though_its_group_is_dropped() {
        let (origin, source, mut answered) = left_out();
        drop(origin);
        assert_eq!(answered.try_recv(), Ok(Admission::Failed));
        assert!(source.pending.get() == 0 && source.is_below(1));
    }
}
