//! Whether sources wait for events to be finished: those who could finish some later are told to do so now.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts who waits. Shared, because sources and sinks are on different threads.
#[derive(Debug, Default)]
pub(crate) struct Urgency {
    waiting: AtomicUsize,
    begun: Notify,
}

/// Somebody waits, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the waiting"]
pub(crate) struct WaitsForFinished<'a>(&'a Urgency);

impl Urgency {
    /// Begins to wait.
    pub(crate) fn begin(&self) -> WaitsForFinished<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.begun.notify_waiters();
        WaitsForFinished(self)
    }

    /// Whether anybody waits: to be asked after each piece of work that may be put off.
    pub(crate) fn is_any(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Resolves when somebody begins to wait: for what was put off before.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }
}

impl Drop for WaitsForFinished<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
