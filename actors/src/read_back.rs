//! Reads stored batches back: what a process before this one left unfinished, and what left memory meanwhile.

use std::sync::Arc;

use crate::batch::{Arena, EventBatch, Intake};
use crate::finished::Finished;
use crate::journal::{Journal, JournalFailure, Stored};
use crate::memory::MemoryBudget;
use crate::origin::{Mark, Origin};
use crate::shared_finished::SharedFinished;
use crate::source_stats::SourceStats;
use crate::types::TypeCache;

/// Batches that are read back before others of an actor's messages have their turn.
pub(crate) const READS_PER_TURN_MAX: usize = 64;

/// The rule by which stored events are passed over that are damaged on the disk, or no events any more.
pub(crate) const UNREADABLE: &str = "journal-unreadable";

/// How far a journal's events are handed on, and which are finished.
pub(crate) struct ReadBack {
    pub(crate) finished: Arc<SharedFinished>,
    /// What was finished when the journal was opened.
    recovered: Finished,
    /// Events before this one were stored by a process before this one.
    recovered_end: u64,
    /// The next event to be handed on.
    pub(crate) next: u64,
    types: TypeCache,
    budget: Arc<MemoryBudget>,
}

/// What one read yielded.
#[derive(Default)]
pub(crate) struct Read {
    /// Events to hand on, in order.
    pub(crate) batches: Vec<EventBatch>,
    /// Their number.
    pub(crate) events: u64,
    /// Events that cannot be handed on; they are finished now.
    pub(crate) unreadable: u64,
}

impl ReadBack {
    /// Begins with what is not `finished` of the events before `end`.
    pub(crate) fn new(
        finished: Finished,
        end: u64,
        types: TypeCache,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        Self {
            finished: Arc::new(SharedFinished::new(finished.clone())),
            next: finished.prefix().min(end),
            recovered: finished,
            recovered_end: end,
            types,
            budget,
        }
    }

    /// Events that a process before this one left unfinished and that were not read yet.
    pub(crate) fn left(&self) -> u64 {
        let end = self.recovered_end.max(self.next);
        self.recovered.missing(self.next..end)
    }

    /// Reads the next stored batch of those before `end`. `stats` has the counts of a source, given how many of the events a
    /// process before this one accepted.
    pub(crate) fn read(
        &mut self,
        journal: &mut dyn Journal,
        end: u64,
        stats: impl FnOnce(&str, usize) -> Arc<SourceStats>,
    ) -> Result<Read, JournalFailure> {
        let mut read = Read::default();
        match journal.read(self.next)? {
            Some(stored) if stored.first < end => {
                read.unreadable = self.skip_to(stored.first);
                self.take(stored, stats, &mut read);
            }
            _ => read.unreadable = self.skip_to(end),
        }
        Ok(read)
    }

    /// Passes over numbers that the journal has nothing for; how many of them were not finished.
    fn skip_to(&mut self, number: u64) -> u64 {
        if number <= self.next {
            return 0;
        }
        let missing = self.finished.missing(self.next..number);
        if missing > 0 {
            let (from, to) = (self.next, number);
            tracing::error!(events = missing, from, to, "stored events are damaged");
        }
        self.finished.insert(self.next..number);
        self.next = number;
        missing
    }

    fn take(
        &mut self,
        stored: Stored,
        stats: impl FnOnce(&str, usize) -> Arc<SourceStats>,
        read: &mut Read,
    ) {
        let end = stored.first + stored.events as u64;
        let from = std::mem::replace(&mut self.next, end);
        let mut intake = Intake::over(stored.lines);
        let mut start = 0;
        // The numbers of the intake's events: what is finished already, and what is no event any more, has none.
        let mut numbers = Vec::with_capacity(stored.events);
        for number in stored.first..end {
            let length = memchr::memchr(b'\n', &intake.text.as_bytes()[start..]);
            let line = start..length.map_or(intake.text.len(), |length| start + length);
            start = (line.end + 1).min(intake.text.len());
            if number < from || self.recovered.contains(number) {
                continue;
            }
            match intake.parse(line, &mut self.types) {
                Ok(()) => numbers.push(number),
                Err(error) => {
                    tracing::error!(number, %error, "a stored line is no event");
                    read.unreadable += 1;
                    self.finished.insert(number..number + 1);
                }
            }
        }
        let is_recovered = stored.first < self.recovered_end;
        let source = stats(&stored.source, if is_recovered { numbers.len() } else { 0 });
        read.events = numbers.len() as u64;
        read.batches = self.batches(intake, &numbers, &source);
    }

    /// A batch with an origin of its own for each run of numbers.
    fn batches(
        &self,
        intake: Intake,
        numbers: &[u64],
        source: &Arc<SourceStats>,
    ) -> Vec<EventBatch> {
        let Intake { text, mut records } = intake;
        if records.is_empty() {
            return Vec::new();
        }
        let event_bytes = text.len().div_ceil(records.len());
        let arena = Arc::new(Arena::new(text, &self.budget));
        let mut rest = records.as_mut_slice();
        let runs = numbers.chunk_by(|a, b| a + 1 == *b);
        let batch = |run: &[u64]| {
            let (records, others) = std::mem::take(&mut rest).split_at_mut(run.len());
            rest = others;
            for (index, record) in (0..).zip(records.iter_mut()) {
                record.index = index;
            }
            let mark = Mark {
                finished: self.finished.clone(),
                first: run[0],
            };
            let bytes = run.len() * event_bytes;
            let origin = Origin::read_back(run.len(), bytes, source.clone(), mark);
            EventBatch::from_parts(records.to_vec(), arena.clone(), origin)
        };
        runs.map(batch).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::journal::JournalRefusal;
    use crate::stats::Registry;
    use crate::types::TypeTable;

    /// A journal that has nothing before its one batch.
    struct OneBatch(Stored);

    impl Journal for OneBatch {
        fn append(&mut self, _: &str, _: &EventBatch) -> Result<u64, JournalRefusal> {
            unreachable!("it is only read")
        }

        fn sync(&mut self) -> Result<(), JournalFailure> {
            unreachable!("it is only read")
        }

        fn read(&mut self, _: u64) -> Result<Option<Stored>, JournalFailure> {
            Ok(Some(self.0.clone()))
        }

        fn persist(&mut self, _: &Finished, _: bool) -> Result<bool, JournalFailure> {
            unreachable!("it is only read")
        }

        fn oldest(&self) -> u64 {
            0
        }

        fn end(&self) -> u64 {
            self.0.first + self.0.events as u64
        }

        fn unread_bytes(&self, _: u64) -> u64 {
            0
        }
    }

    #[test]
    fn what_is_not_durable_yet_is_not_read_though_all_before_it_is_lost() {
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let lines = format!("{line}\n").repeat(5);
        let bytes = lines.len();
        let mut journal = OneBatch(Stored {
            first: 10,
            events: 5,
            at: SystemTime::now(),
            source: "s".into(),
            lines,
        });
        let types = TypeCache::new(Arc::new(TypeTable::default()));
        let mut finished = Finished::below(2);
        finished.insert(4..7);
        finished.insert(12..13);
        let mut read_back = ReadBack::new(finished, 15, types, MemoryBudget::new(1 << 20));
        assert_eq!((read_back.next, read_back.left()), (2, 9));
        let source = Registry::default().source("s");
        let mut read = |end| {
            let stats = |_: &str, _: usize| source.clone();
            read_back.read(&mut journal, end, stats).unwrap()
        };
        let lost = read(10);
        assert_eq!((lost.events, lost.unreadable), (0, 5));
        assert!(lost.batches.is_empty());
        let found = read(15);
        assert_eq!((found.events, found.unreadable), (4, 0));
        // Without the one that is finished they are two runs, each with its numbers.
        let [before, behind] = found.batches.try_into().unwrap();
        assert!(!source.is_below(bytes));
        behind.complete();
        assert_eq!(read_back.finished.prefix(), 10);
        assert_eq!(read_back.finished.missing(10..15), 2);
        before.complete();
        assert!(read_back.finished.prefix() == 15 && source.is_below(1));
    }
}
