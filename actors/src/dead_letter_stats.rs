//! What the store of dead letters counts. Written by its actor, read from outside: hence atomics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counters::Counter;

/// The counts of what is kept.
#[derive(Debug, Default)]
pub struct DeadLetterStats {
    kept: AtomicU64,
    bytes: AtomicU64,
    is_full: AtomicBool,
    waiting_for_replay: AtomicU64,
    /// Dead letters that were sent once more.
    pub replayed: Counter,
    /// Dead letters that were purged.
    pub purged: Counter,
}

impl DeadLetterStats {
    /// Dead letters that are kept.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// What they take, in memory or on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether there is no room for more, so that those who have some wait.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Dead letters of a replay that are not finished again.
    pub fn waiting_for_replay(&self) -> u64 {
        self.waiting_for_replay.load(Ordering::Relaxed)
    }

    pub(crate) fn set_kept(&self, kept: usize, bytes: u64) {
        self.kept.store(kept as u64, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// True if that is news.
    pub(crate) fn set_full(&self, is_full: bool) -> bool {
        self.is_full.swap(is_full, Ordering::Relaxed) != is_full
    }

    pub(crate) fn set_waiting_for_replay(&self, letters: usize) {
        self.waiting_for_replay
            .store(letters as u64, Ordering::Relaxed);
    }
}
