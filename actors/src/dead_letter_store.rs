//! Dead letters kept in memory: bounded by number and by bytes, numbered in order, read newest first. No actor, no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::dead_letter::{Failure, FailureClass};
use crate::event::{Event, EventRecord};

/// What a backtrace is counted as: its frames are not accessible, and have no symbols until somebody reads it.
const BACKTRACE_BYTES: usize = 4096;

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLimits {
    /// Dead letters; 0 keeps none.
    pub count: usize,
    /// Bytes of their events and failures. The newest one is kept even if it has more.
    pub bytes: usize,
}

/// One event that was given up, with a copy of it: its arena may hold thousands of others.
#[derive(Debug)]
pub struct DeadLetter {
    /// Its number: the process's first dead letter is 1, and none is given twice.
    pub sequence: u64,
    /// When it was given up.
    pub at: SystemTime,
    /// Why, and by which branch.
    pub failure: Failure,
    /// The version of the config that was applied.
    pub config_version: Arc<str>,
    record: EventRecord,
    line: Box<str>,
}

impl DeadLetter {
    /// The event with its failure; its line is copied.
    pub(crate) fn new(
        sequence: u64,
        at: SystemTime,
        event: &Event<'_>,
        failure: Failure,
        config_version: &Arc<str>,
    ) -> Self {
        Self {
            sequence,
            at,
            failure,
            config_version: Arc::clone(config_version),
            record: event.record().alone(),
            line: event.line().into(),
        }
    }

    /// The event as it came.
    pub fn event(&self) -> Event<'_> {
        Event::new(&self.record, &self.line)
    }

    /// What it takes in memory, roughly.
    fn bytes(&self) -> usize {
        let failure = &self.failure;
        let attempts = failure.attempts.kept();
        let reasons: usize = attempts.iter().map(|attempt| attempt.reason.len()).sum();
        let backtrace = failure.backtrace.as_ref().map_or(0, |_| BACKTRACE_BYTES);
        size_of::<Self>() + self.line.len() + size_of_val(attempts) + reasons + backtrace
    }
}

/// Which dead letters are wanted: all that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// The name of the handler that gave them up.
    pub handler: Option<String>,
    /// The kind of failure.
    pub class: Option<FailureClass>,
    /// The events' type.
    pub event_type: Option<String>,
    /// Only those before this number: the last one of the page before.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl DeadLetterQuery {
    fn matches(&self, letter: &DeadLetter) -> bool {
        let failure = &letter.failure;
        self.handler
            .as_deref()
            .is_none_or(|name| failure.branch.strip_prefix("handler.") == Some(name))
            && self.class.is_none_or(|class| failure.class == class)
            && self
                .event_type
                .as_deref()
                .is_none_or(|wanted| letter.event().event_type() == wanted)
    }
}

/// Some dead letters, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterPage {
    /// Those wanted.
    pub letters: Vec<Arc<DeadLetter>>,
    /// Whether there are older ones that are wanted.
    pub has_more: bool,
    /// All that are kept, wanted or not.
    pub kept: usize,
    /// Those that had to go since the process started.
    pub overflowed: u64,
}

/// The dead letters kept, the oldest first.
#[derive(Debug)]
pub(crate) struct DeadLetterStore {
    limits: DeadLetterLimits,
    // Shared with whoever reads one, so that no page copies events on the actor's thread.
    letters: VecDeque<Arc<DeadLetter>>,
    bytes: usize,
    last: u64,
    overflowed: u64,
}

impl DeadLetterStore {
    pub(crate) fn new(limits: DeadLetterLimits) -> Self {
        Self {
            limits,
            letters: VecDeque::new(),
            bytes: 0,
            last: 0,
            overflowed: 0,
        }
    }

    /// The number of the next dead letter.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Keeps the latest one, and returns how many had to go for it.
    pub(crate) fn add(&mut self, letter: Arc<DeadLetter>) -> usize {
        self.bytes += letter.bytes();
        self.letters.push_back(letter);
        let mut gone = 0;
        while self.letters.len() > self.limits.count
            || self.bytes > self.limits.bytes && self.letters.len() > 1
        {
            let Some(oldest) = self.letters.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            gone += 1;
        }
        self.overflowed += gone as u64;
        gone
    }

    /// The newest that the query wants.
    pub(crate) fn page(&self, query: &DeadLetterQuery) -> DeadLetterPage {
        let end = match query.before {
            Some(before) => self
                .letters
                .partition_point(|letter| letter.sequence < before),
            None => self.letters.len(),
        };
        let mut wanted = self
            .letters
            .range(..end)
            .rev()
            .filter(|letter| query.matches(letter));
        let letters = wanted.by_ref().take(query.limit).cloned().collect();
        DeadLetterPage {
            letters,
            has_more: wanted.next().is_some(),
            kept: self.letters.len(),
            overflowed: self.overflowed,
        }
    }

    /// The one of that number, if it is still kept.
    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<DeadLetter>> {
        let oldest = self.letters.front()?.sequence;
        let index = usize::try_from(sequence.checked_sub(oldest)?).ok()?;
        self.letters.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{detached_types, parse_record};
    use crate::dead_letter::{Attempt, Attempts};

    const LARGE: usize = 1 << 20;

    fn add(store: &mut DeadLetterStore, number: usize, data: &str) -> usize {
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
        let (sequence, at) = (store.next_sequence(), SystemTime::UNIX_EPOCH);
        store.add(Arc::new(DeadLetter::new(
            sequence,
            at,
            &event,
            failure,
            &"v".into(),
        )))
    }

    fn filled(limits: DeadLetterLimits, count: usize) -> (DeadLetterStore, usize) {
        let mut store = DeadLetterStore::new(limits);
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
        let (store, gone) = filled(limits, 10);
        let page = store.page(&all());
        assert_eq!((gone, page.kept, page.overflowed), (7, 3, 7));
        assert_eq!(sequences(&page), [10, 9, 8]);
        assert!(store.get(7).is_none() && store.get(11).is_none() && store.get(0).is_none());
        let letter = store.get(8).unwrap();
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
        assert_eq!(sequences(&store.page(&all())), [11]);
        assert_eq!(add(&mut store, 12, "x"), 1);
        assert_eq!(sequences(&store.page(&all())), [12]);
        let kept = store
            .letters
            .iter()
            .map(|letter| letter.bytes())
            .sum::<usize>();
        assert_eq!(store.bytes, kept);
    }

    #[test]
    fn a_limit_of_none_keeps_none() {
        let (store, gone) = filled(
            DeadLetterLimits {
                count: 0,
                bytes: LARGE,
            },
            5,
        );
        assert_eq!((gone, store.page(&all()).kept, store.bytes), (5, 0, 0));
    }

    #[test]
    fn pages_go_back_in_time_and_miss_nothing_that_the_query_wants() {
        let (store, _) = filled(
            DeadLetterLimits {
                count: 100,
                bytes: LARGE,
            },
            60,
        );
        let mut query = DeadLetterQuery {
            handler: Some("h".to_owned()),
            class: Some(FailureClass::Panic),
            event_type: Some("t1".to_owned()),
            limit: 3,
            before: None,
        };
        let mut found = Vec::new();
        loop {
            let page = store.page(&query);
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
