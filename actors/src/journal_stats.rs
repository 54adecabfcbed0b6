//! What the journal counts. Written by its actor, read from outside: hence atomics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counters::{Counter, Gauge, TimeHistogram};

/// The journal's counts.
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Whether the process has a journal.
    is_open: AtomicBool,
    /// Events written.
    pub events: Counter,
    /// Bytes of their lines.
    pub bytes: Counter,
    /// How long each group took to be on disk; how many groups there were.
    pub sync_time: TimeHistogram,
    /// Events that were refused because the disk was full.
    pub refused: Counter,
    /// Stored events that are to be read back from disk: those of a process before this one, and what came meanwhile.
    pub backlog: Gauge,
    /// Events that a crash would not have handled again.
    finished: AtomicU64,
    /// Finished events that were sent once more.
    pub replayed: Counter,
    /// Whether a replay is under way.
    is_replaying: AtomicBool,
    /// Whether the last batch found no room on the disk.
    is_full: AtomicBool,
    /// Whether a write or a sync failed, after which nothing is accepted any more.
    is_sealed: AtomicBool,
}

impl JournalStats {
    /// Whether the process has a journal.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Whether the disk has no room for what comes.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Whether nothing is accepted any more.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Relaxed)
    }

    /// Events, of all that were ever stored, that are written down as finished: a crash has the others handled again.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn set_finished(&self, events: u64) {
        self.finished.store(events, Ordering::Relaxed);
    }

    /// Whether a replay is under way.
    pub fn is_replaying(&self) -> bool {
        self.is_replaying.load(Ordering::Relaxed)
    }

    pub(crate) fn set_replaying(&self, is_replaying: bool) {
        self.is_replaying.store(is_replaying, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// True if that is news.
    pub(crate) fn set_full(&self, is_full: bool) -> bool {
        self.is_full.swap(is_full, Ordering::Relaxed) != is_full
    }

    pub(crate) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Relaxed);
    }
}
