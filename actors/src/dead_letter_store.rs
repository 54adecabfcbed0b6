//! What a dead letter is, which of them are wanted, and what keeps them: the trait that memory and the service's disk implement.

use std::sync::Arc;
use std::time::SystemTime;

use crate::batch::parse_record;
use crate::dead_letter::{Failure, FailureClass};
use crate::envelope::EnvelopeError;
use crate::event::{Event, EventRecord};
use crate::journal::{JournalFailure, JournalRefusal};
use crate::pattern::TypePattern;
use crate::supervision::StartError;
use crate::types::TypeCache;

/// What a backtrace is counted as: its frames are not accessible, and have no symbols until somebody reads it.
const BACKTRACE_BYTES: usize = 4096;

/// One event that was given up, with a copy of it: its arena may hold thousands of others.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its number, given by the store that keeps it: they grow, and none is given twice.
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
        at: SystemTime,
        event: &Event<'_>,
        failure: Failure,
        config_version: &Arc<str>,
    ) -> Self {
        Self {
            sequence: 0,
            at,
            failure,
            config_version: Arc::clone(config_version),
            record: event.record().alone(),
            line: event.line().into(),
        }
    }

    /// A dead letter as it was kept.
    ///
    /// # Errors
    /// The line is no event.
    pub fn restored(
        (sequence, at): (u64, SystemTime),
        failure: Failure,
        config_version: Arc<str>,
        line: &str,
        types: &mut TypeCache,
    ) -> Result<Self, EnvelopeError> {
        Ok(Self {
            sequence,
            at,
            failure,
            config_version,
            record: parse_record(line, 0..line.len(), types)?,
            line: line.into(),
        })
    }

    /// The event as it came.
    pub fn event(&self) -> Event<'_> {
        Event::new(&self.record, &self.line)
    }

    /// What it takes in memory, roughly.
    pub fn bytes(&self) -> usize {
        let failure = &self.failure;
        let attempts = failure.attempts.kept();
        let reasons: usize = attempts.iter().map(|attempt| attempt.reason.len()).sum();
        let backtrace = failure.backtrace.as_ref().map_or(0, |_| BACKTRACE_BYTES);
        size_of::<Self>() + self.line.len() + size_of_val(attempts) + reasons + backtrace
    }
}

/// Which dead letters are wanted: all that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// What gave them up: `handler.NAME`, `sink.NAME` or `router`.
    pub branch: Option<String>,
    /// The kind of failure.
    pub class: Option<FailureClass>,
    /// The events' types.
    pub types: Option<TypePattern>,
    /// Given up at this time or later.
    pub from: Option<SystemTime>,
    /// Given up before this time.
    pub until: Option<SystemTime>,
    /// The events' id.
    pub id: Option<String>,
    /// The number of the last one.
    pub last: Option<u64>,
}

impl DeadLetterFilter {
    /// Whether the dead letter is one of them.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let (failure, event) = (&letter.failure, letter.event());
        let is_type = |types: &TypePattern| types.matches(&event.event_type());
        self.branch
            .as_deref()
            .is_none_or(|branch| *failure.branch == *branch)
            && self.class.is_none_or(|class| failure.class == class)
            && self.from.is_none_or(|from| letter.at >= from)
            && self.until.is_none_or(|until| letter.at < until)
            && self.last.is_none_or(|last| letter.sequence <= last)
            && self.id.as_deref().is_none_or(|id| event.id() == id)
            && self.types.as_ref().is_none_or(is_type)
    }
}

/// A page of dead letters, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Those wanted.
    pub filter: DeadLetterFilter,
    /// Only those before this number: the last one of the page before.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
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

/// What keeps dead letters, numbered in order.
///
/// One that keeps them on disk lives on a thread of its own, and may block.
pub trait DeadLetterStore: Send {
    /// Takes dead letters, all or none, and gives them their numbers. They are kept for good after the next
    /// [`DeadLetterStore::sync`].
    ///
    /// # Errors
    /// None was taken: there is no room for them now, or never again.
    fn append(&mut self, letters: Vec<DeadLetter>) -> Result<Vec<Arc<DeadLetter>>, JournalRefusal>;

    /// Keeps for good what was taken; how many older ones had to go for it.
    ///
    /// # Errors
    /// It is unknown what is kept. Nothing is taken any more.
    fn sync(&mut self) -> Result<usize, JournalFailure>;

    /// Goes on with looking through what an earlier process has kept; whether there is more of it. Before there is not,
    /// nothing is asked of the store.
    ///
    /// # Errors
    /// What cannot be read.
    fn prepare(&mut self) -> Result<bool, JournalFailure>;

    /// The newest that the query wants.
    ///
    /// # Errors
    /// What cannot be read.
    fn page(&mut self, query: &DeadLetterQuery) -> Result<DeadLetterPage, JournalFailure>;

    /// The one of that number, if it is still kept.
    ///
    /// # Errors
    /// What cannot be read.
    fn get(&mut self, sequence: u64) -> Result<Option<Arc<DeadLetter>>, JournalFailure>;

    /// The numbers of those wanted, the oldest first.
    ///
    /// # Errors
    /// What cannot be read.
    fn select(&mut self, filter: &DeadLetterFilter) -> Result<Vec<u64>, JournalFailure>;

    /// The branch that gave the one of that number up, if it is still kept.
    fn branch(&mut self, sequence: u64) -> Option<Arc<str>>;

    /// Forgets them for good; how many of them there were.
    ///
    /// # Errors
    /// They are still kept: there is no room to write down that they are not.
    fn remove(&mut self, sequences: &[u64]) -> Result<usize, JournalRefusal>;

    /// Gives the room of what was removed back. Called now and then.
    ///
    /// # Errors
    /// Nothing is taken any more.
    fn tidy(&mut self) -> Result<(), JournalFailure>;

    /// How many there are.
    fn kept(&self) -> usize;

    /// What they take.
    fn bytes_used(&self) -> u64;
}

/// Opens a store, on the thread of its actor.
pub type OpenDeadLetters =
    Arc<dyn Fn() -> Result<Box<dyn DeadLetterStore>, StartError> + Send + Sync>;
