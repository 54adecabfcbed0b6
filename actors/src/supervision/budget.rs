//! The restart budget: how often children may be restarted within a period before the failure is their parent's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Erlang/OTP's intensity and period: more than `max_restarts` within `within` is too much.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    max_restarts: usize,
    within: Duration,
    restarts: VecDeque<Instant>,
}

impl RestartBudget {
    /// A full budget.
    pub fn new(max_restarts: usize, within: Duration) -> Self {
        Self {
            max_restarts,
            within,
            restarts: VecDeque::new(),
        }
    }

    /// Spends a restart; false if the budget is used up.
    pub fn spend(&mut self, now: Instant) -> bool {
        while self
            .restarts
            .front()
            .is_some_and(|first| now.duration_since(*first) > self.within)
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.max_restarts {
            return false;
        }
        self.restarts.push_back(now);
        true
    }

    /// The period that restarts are counted in.
    pub(super) fn within(&self) -> Duration {
        self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_used_up_within_the_period_and_refills_after_it() {
        let start = Instant::now();
        let mut budget = RestartBudget::new(2, Duration::from_secs(10));
        assert!(budget.spend(start));
        assert!(budget.spend(start + Duration::from_secs(1)));
        assert!(!budget.spend(start + Duration::from_secs(2)));
        assert!(budget.spend(start + Duration::from_secs(11)));
        assert!(!RestartBudget::new(0, Duration::from_secs(1)).spend(start));
    }
}
