//! The budget of event bytes in memory: arenas are charged whole, and sources wait while it is spent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Buffers that are kept to be used again, at most.
const SPARE_BUFFERS_MAX: usize = 16;
/// Bytes of a buffer that is worth keeping: fresh ones of this size come from the kernel, page fault by page fault.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=1024 * 1024;

/// Counts the bytes of all live arenas against a limit.
///
/// Only intake waits for room. Results of events that were already accepted are always charged, since holding them back
/// could never free anything; what they add is bounded by the credits of their lanes.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    freed: Notify,
    // Shared and locked, because arenas are filled on one thread and freed on another; held for a push or a pop.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            spare: Mutex::default(),
        })
    }

    /// An empty buffer with room for `bytes`, one that was used before if there is any.
    pub fn buffer(&self, bytes: usize) -> Vec<u8> {
        if !SPARE_BYTES.contains(&bytes) {
            return Vec::with_capacity(bytes);
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        match spare.iter().rposition(|buffer| buffer.capacity() >= bytes) {
            Some(index) => spare.swap_remove(index),
            None => Vec::with_capacity(bytes),
        }
    }

    /// Takes a buffer back that nobody needs any more.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        if SPARE_BYTES.contains(&buffer.capacity()) {
            buffer.clear();
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARE_BUFFERS_MAX {
                spare.push(buffer);
            }
        }
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

impl Charge {
    /// The budget that is charged.
    pub(crate) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }
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
    fn large_buffers_are_used_again() {
        let budget = MemoryBudget::new(100);
        let mut buffer = budget.buffer(100_000);
        buffer.push(1);
        let address = buffer.as_ptr();
        budget.recycle(buffer);
        let again = budget.buffer(80_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_ne!(budget.buffer(80_000).as_ptr(), address);
    }

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
