//! A set of finished numbers that many threads add to.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::finished::Finished;

/// A [`Finished`] that many threads add to: whoever finishes the last piece of a batch says so here.
///
/// Shared and locked, because that is any thread, once a batch; read by the one that keeps the set on disk.
#[derive(Debug, Default)]
pub struct SharedFinished(Mutex<Finished>);

impl SharedFinished {
    /// Starts from what is known to be finished.
    pub fn new(finished: Finished) -> Self {
        Self(Mutex::new(finished))
    }

    /// Adds a range.
    pub fn insert(&self, events: Range<u64>) {
        self.lock().insert(events);
    }

    /// The first sequence number that is not finished.
    pub fn prefix(&self) -> u64 {
        self.lock().prefix()
    }

    /// How many numbers of the range are not finished.
    pub fn missing(&self, range: Range<u64>) -> u64 {
        self.lock().missing(range)
    }

    /// The set now.
    pub fn snapshot(&self) -> Finished {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Finished> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
