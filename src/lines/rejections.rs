//! The log of refused lines: enough to find the culprit, limited so that a flood of bad input is no flood of logs.

use std::time::{Duration, Instant};

use super::parser::LineError;

/// Refused lines of one source or connection that are logged in a second; the others are counted.
const LOGGED_PER_SECOND_MAX: u32 = 5;

/// One source's or connection's log of refused lines.
#[derive(Debug)]
pub(super) struct RejectionLog {
    second: Instant,
    logged: u32,
    suppressed: u64,
}

impl RejectionLog {
    pub(super) fn new() -> Self {
        Self {
            second: Instant::now(),
            logged: 0,
            suppressed: 0,
        }
    }

    pub(super) fn refused(&mut self, source: &str, place: &str, line: u64, error: &LineError) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report_suppressed(source, place);
            self.second = Instant::now();
            self.logged = 0;
        }
        if self.logged >= LOGGED_PER_SECOND_MAX {
            self.suppressed += 1;
            return;
        }
        self.logged += 1;
        let (reason, message) = (error.reason, &error.message);
        tracing::warn!(source, place, line, reason, message, "a line was refused");
    }

    /// Counts refused lines that nobody looked at one by one.
    pub(super) fn not_logged(&mut self, lines: usize) {
        self.suppressed += lines as u64;
    }

    /// Says how many refused lines were not logged.
    pub(super) fn report_suppressed(&mut self, source: &str, place: &str) {
        let lines = std::mem::take(&mut self.suppressed);
        if lines > 0 {
            tracing::warn!(source, place, lines, "more lines were refused");
        }
    }
}
