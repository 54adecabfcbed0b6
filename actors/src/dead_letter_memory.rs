//! Dead letters kept in memory: bounded by number and by bytes, numbered in order, read newest first. No actor, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dead_letter_store::{
    DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterQuery, DeadLetterStore, OpenDeadLetters,
};
use crate::journal::{JournalFailure, JournalRefusal};

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLimits {
    /// Dead letters; 0 keeps none.
    pub count: usize,
    /// Bytes of their events and failures. The newest one is kept even if it has more.
    pub bytes: usize,
}

impl DeadLetterLimits {
    /// Keeps so many in memory.
    pub fn in_memory(self) -> OpenDeadLetters {
        Arc::new(move || Ok(Box::new(MemoryStore::new(self))))
    }
}

/// The dead letters kept, the oldest first.
#[derive(Debug)]
struct MemoryStore {
    limits: DeadLetterLimits,
    // Shared with whoever reads one, so that no page copies events on the actor's thread.
    letters: VecDeque<Arc<DeadLetter>>,
    bytes: usize,
    last: u64,
    overflowed: u64,
    /// Those that went since the last sync.
    gone: usize,
}

impl MemoryStore {
    fn new(limits: DeadLetterLimits) -> Self {
        Self {
            limits,
            letters: VecDeque::new(),
            bytes: 0,
            last: 0,
            overflowed: 0,
            gone: 0,
        }
    }

    fn add(&mut self, letter: Arc<DeadLetter>) {
        self.bytes += letter.bytes();
        self.letters.push_back(letter);
        while self.letters.len() > self.limits.count
            || self.bytes > self.limits.bytes && self.letters.len() > 1
        {
            let Some(oldest) = self.letters.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.gone += 1;
            self.overflowed += 1;
        }
    }

    /// Where the first one is that has this number or a higher one.
    fn place(&self, sequence: u64) -> usize {
        self.letters
            .partition_point(|letter| letter.sequence < sequence)
    }
}

impl DeadLetterStore for MemoryStore {
    fn append(&mut self, letters: Vec<DeadLetter>) -> Result<Vec<Arc<DeadLetter>>, JournalRefusal> {
        let take = |mut letter: DeadLetter| {
            self.last += 1;
            letter.sequence = self.last;
            let letter = Arc::new(letter);
            self.add(Arc::clone(&letter));
            letter
        };
        Ok(letters.into_iter().map(take).collect())
    }

    fn sync(&mut self) -> Result<usize, JournalFailure> {
        Ok(std::mem::take(&mut self.gone))
    }

    fn prepare(&mut self) -> Result<bool, JournalFailure> {
        Ok(false)
    }

    fn page(&mut self, query: &DeadLetterQuery) -> Result<DeadLetterPage, JournalFailure> {
        let end = match query.before {
            Some(before) => self.place(before),
            None => self.letters.len(),
        };
        let mut wanted = self
            .letters
            .range(..end)
            .rev()
            .filter(|letter| query.filter.matches(letter));
        let letters = wanted.by_ref().take(query.limit).cloned().collect();
        Ok(DeadLetterPage {
            letters,
            has_more: wanted.next().is_some(),
            kept: self.letters.len(),
            overflowed: self.overflowed,
        })
    }

    fn get(&mut self, sequence: u64) -> Result<Option<Arc<DeadLetter>>, JournalFailure> {
        let letter = self.letters.get(self.place(sequence));
        Ok(letter.filter(|letter| letter.sequence == sequence).cloned())
    }

    fn select(&mut self, filter: &DeadLetterFilter) -> Result<Vec<u64>, JournalFailure> {
        let wanted = self.letters.iter().filter(|letter| filter.matches(letter));
        Ok(wanted.map(|letter| letter.sequence).collect())
    }

    fn branch(&mut self, sequence: u64) -> Option<Arc<str>> {
        let letter = self.letters.get(self.place(sequence))?;
        (letter.sequence == sequence).then(|| Arc::clone(&letter.failure.branch))
    }

    fn remove(&mut self, sequences: &[u64]) -> Result<usize, JournalRefusal> {
        let before = self.letters.len();
        let gone: rustc_hash::FxHashSet<u64> = sequences.iter().copied().collect();
        self.letters
            .retain(|letter| !gone.contains(&letter.sequence));
        self.bytes = self.letters.iter().map(|letter| letter.bytes()).sum();
        Ok(before - self.letters.len())
    }

    fn tidy(&mut self) -> Result<(), JournalFailure> {
        Ok(())
    }

    fn kept(&self) -> usize {
        self.letters.len()
    }

    fn bytes_used(&self) -> u64 {
        self.bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{detached_types, parse_record};
    use crate::dead_letter::{Attempt, Attempts, Failure, FailureClass};
    use crate::event::Event;
    use crate::pattern::TypePattern;
    use std::time::SystemTime;

    const LARGE: usize = 1 << 20;

    fn add(store: &mut MemoryStore, number: usize, data: &str) -> usize {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{number}","source":"/s","type":"t{}","data":"{data}"}}"#,
            number % 2
        );
        // As in an arena, the event lies behind others.
        let text = format!("{line}{line}");
        let record = parse_record(&text, line.len()..text.len(), &mut detached_types()).unwrap();
        let mut attempts = Attempts::default();
        let class = match number % 3 {
            0 => FailureClass::Panic,
            _ => FailureClass::Error,
        };
        attempts.add(Attempt::failed(class, "broken"));
        let branch = match number % 5 {
            0 => "sink.out",
            _ => "handler.h",
        };
        let failure = Failure::after(&branch.into(), attempts);
        let event = Event::new(&record, &text);
        let at = SystemTime::UNIX_EPOCH;
        let letter = DeadLetter::new(at, &event, failure, &"v".into());
        store.append(vec![letter]).unwrap();
        store.sync().unwrap()
    }

    fn filled(limits: DeadLetterLimits, count: usize) -> (MemoryStore, usize) {
        let mut store = MemoryStore::new(limits);
        let gone = (1..=count).map(|number| add(&mut store, number, "x")).sum();
        (store, gone)
    }

    fn sequences(page: &DeadLetterPage) -> Vec<u64> {
        page.letters.iter().map(|letter| letter.sequence).collect()
    }

    fn all() -> DeadLetterQuery {
        DeadLetterQuery {
            limit: 100,
            ..DeadLetterQuery::default()
        }
    }

    #[test]
    fn past_the_count_the_oldest_goes() {
        let limits = DeadLetterLimits {
            count: 3,
            bytes: LARGE,
        };
        let (mut store, gone) = filled(limits, 10);
        let page = store.page(&all()).unwrap();
        assert_eq!((gone, page.kept, page.overflowed), (7, 3, 7));
        assert_eq!(sequences(&page), [10, 9, 8]);
        assert!([0, 7, 11].map(|sequence| store.get(sequence).unwrap().is_none()) == [true; 3]);
        let letter = store.get(8).unwrap().unwrap();
        assert_eq!(
            (&*letter.event().id(), &*letter.event().event_type()),
            ("8", "t0")
        );
    }

    #[test]
    fn past_the_bytes_the_oldest_goes_and_one_that_is_too_large_stays_alone() {
        let limits = DeadLetterLimits {
            count: 100,
            bytes: 10_000,
        };
        let (mut store, gone) = filled(limits, 10);
        assert_eq!(gone, 0);
        let large = "x".repeat(20_000);
        assert_eq!(add(&mut store, 11, &large), 10);
        assert_eq!(sequences(&store.page(&all()).unwrap()), [11]);
        assert_eq!(add(&mut store, 12, "x"), 1);
        assert_eq!(sequences(&store.page(&all()).unwrap()), [12]);
        let kept = store
            .letters
            .iter()
            .map(|letter| letter.bytes())
            .sum::<usize>();
        assert_eq!(store.bytes, kept);
    }

    #[test]
    fn a_limit_of_none_keeps_none() {
        let (mut store, gone) = filled(
            DeadLetterLimits {
                count: 0,
                bytes: LARGE,
            },
            5,
        );
        assert_eq!(
            (gone, store.page(&all()).unwrap().kept, store.bytes),
            (5, 0, 0)
        );
    }

    #[test]
    fn pages_go_back_in_time_and_miss_nothing_that_the_query_wants() {
        let (mut store, _) = filled(
            DeadLetterLimits {
                count: 100,
                bytes: LARGE,
            },
            60,
        );
        let mut query = DeadLetterQuery {
            filter: DeadLetterFilter {
                branch: Some("handler.h".to_owned()),
                class: Some(FailureClass::Panic),
                types: Some(TypePattern::parse("t1").unwrap()),
                ..DeadLetterFilter::default()
            },
            limit: 3,
            before: None,
        };
        let mut found = Vec::new();
        loop {
            let page = store.page(&query).unwrap();
            found.extend(sequences(&page));
            if !page.has_more {
                break;
            }
            query.before = found.last().copied();
        }
        let wanted =
            |number: &u64| number % 2 == 1 && number.is_multiple_of(3) && !number.is_multiple_of(5);
        let expected: Vec<u64> = (1..=60).rev().filter(wanted).collect();
        assert_eq!(found, expected);
    }
}
