//! The time as the log sees it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time; simulated in tests.
pub trait Clock {
    /// Milliseconds since the epoch. They may go backwards.
    fn now_ms(&self) -> u64;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or(0)
    }
}
