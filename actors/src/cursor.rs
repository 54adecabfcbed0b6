//! When it is written down how far a log is finished: often for a process that is killed, now and then for a power cut.

use std::time::{Duration, Instant};

use crate::finished::Finished;
use crate::journal::{Journal, JournalFailure};
use crate::shared_finished::SharedFinished;

/// How often it is written down what is finished: what a killed process repeats at most, beside what is under way.
pub(crate) const CURSOR_INTERVAL: Duration = Duration::from_millis(50);
/// How often that is synced: what a power cut repeats at most.
const DURABLE_CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// What was written down last, and when.
pub(crate) struct Cursor {
    persisted: Finished,
    /// How many events that are: counted once, as the actor asks at each turn.
    count: u64,
    persisted_at: Instant,
    synced_at: Instant,
    /// Something was written since.
    is_unsynced: bool,
}

impl Cursor {
    /// What a process before this one has written down.
    pub(crate) fn new(persisted: Finished) -> Self {
        Self {
            count: count(&persisted),
            persisted,
            persisted_at: Instant::now(),
            synced_at: Instant::now(),
            is_unsynced: false,
        }
    }

    /// How many events are written down as finished.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// To be called at each turn of the actor, and by a timer: under load timers starve. Writes down what is finished if that
    /// is due and news, or if it is the last time.
    pub(crate) fn persist(
        &mut self,
        journal: &mut dyn Journal,
        finished: &SharedFinished,
        is_last: bool,
    ) -> Result<(), JournalFailure> {
        if !is_last && self.persisted_at.elapsed() < CURSOR_INTERVAL {
            return Ok(());
        }
        self.persisted_at = Instant::now();
        let finished = finished.snapshot();
        let is_sync_due = self.synced_at.elapsed() >= DURABLE_CURSOR_INTERVAL;
        let is_news = finished != self.persisted || (is_sync_due && self.is_unsynced);
        if !is_news && !is_last {
            return Ok(());
        }
        let is_durable = is_last || is_sync_due;
        if !journal.persist(&finished, is_durable)? {
            // It stays news, and is tried again when the next time is due.
            return Ok(());
        }
        self.count = count(&finished);
        self.persisted = finished;
        self.is_unsynced = !is_durable;
        if is_durable {
            self.synced_at = Instant::now();
        }
        Ok(())
    }
}

fn count(finished: &Finished) -> u64 {
    let end = finished.end();
    end - finished.missing(0..end)
}
