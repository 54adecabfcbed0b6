//! The batch that a lane works on, and how far it is.

use std::ops::Range;
use std::time::Instant;

use crate::batch::EventBatch;
use crate::mailbox::Deliver;

/// A batch in work. It stays outside the guard, so that a panic cannot take it along; what is not committed when the lane
/// ends goes back to the inlet.
pub(crate) struct Work {
    deliver: Deliver,
    /// The event being handled.
    pub(crate) next: usize,
    /// Events before this one have their results handed on.
    committed: usize,
    /// Failed attempts at the event being handled.
    pub(crate) failures: u32,
}

impl Work {
    pub(crate) fn new(deliver: Deliver) -> Self {
        Self {
            deliver,
            next: 0,
            committed: 0,
            failures: 0,
        }
    }

    pub(crate) fn sent_at(&self) -> Instant {
        self.deliver.sent_at
    }

    pub(crate) fn batch(&self) -> &EventBatch {
        &self.deliver.batch
    }

    /// The events whose results are now to be handed on. They never come again, whatever happens to the lane.
    pub(crate) fn commit(&mut self) -> Range<usize> {
        let handled = self.committed..self.next;
        self.committed = self.next;
        handled
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.deliver.batch.drop_first(self.committed);
    }
}
