//! How many log lines of one kind a second may have.

use std::time::Instant;

/// Admits lines up to a number a second, and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    lines_per_second: u32,
    second: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// At most that many lines within a second of the first of them.
    pub const fn new(lines_per_second: u32) -> Self {
        Self {
            lines_per_second,
            second: None,
            lines: 0,
            suppressed: 0,
        }
    }

    /// Whether a line at `now` is logged; if so, how many before it were not.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let is_over = |second: Instant| now.saturating_duration_since(second).as_secs() >= 1;
        if self.second.is_none_or(is_over) {
            self.second = Some(now);
            self.lines = 0;
        }
        if self.lines >= self.lines_per_second {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_counted_and_the_next_second_begins_anew() {
        let mut limit = LogLimit::new(50);
        let start = Instant::now();
        let admitted = (0..80).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(admitted, 50);
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(30));
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(0));
    }
}
