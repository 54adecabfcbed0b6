//! The budget of event bytes in memory: arenas are charged whole, and sources wait while it is spent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the bytes of all live arenas against a limit.
///
/// Only intake waits for room. Results of events that were already accepted are always charged, since holding them back
/// could never free anything; what they add is bounded by the credits of their lanes.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    freed: Notify,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Charges `bytes` until the returned guard is dropped.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            budget: Arc::clone(self),
            bytes,
        }
    }

    /// Whether intake may go on.
    pub fn has_room(&self) -> bool {
        self.used_bytes() < self.limit_bytes
    }

    /// Waits until intake may go on.
    pub async fn room(&self) {
        loop {
            // Registered before the check, so that a release in between is not missed.
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Bytes charged now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }
}

/// Bytes charged to a [`MemoryBudget`], given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let before = self
            .budget
            .used_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
        if before >= self.budget.limit_bytes {
            self.budget.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn intake_waits_until_a_charge_is_dropped() {
        let budget = MemoryBudget::new(100);
        let first = budget.charge(60);
        assert!(budget.room().now_or_never().is_some());
        let second = budget.charge(60);
        let mut waiting = Box::pin(budget.room());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some());
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }
}
