//! The answer to whoever handed events to a source: given once all of them are accepted, or refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Whether submitted events were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Veltrix answers for them from now on.
    Accepted,
    /// So many of them have the source and the id of others that came before, and are refused; Veltrix answers for the rest.
    Conflicting(usize),
    /// Too much is waiting; nothing was taken.
    Busy,
    /// The source is stopping; nothing was taken.
    Closing,
    /// The journal's disk is full; not all of them were taken.
    Full,
    /// The journal has failed; not all of them were taken.
    Failed,
}

/// What the parts of one submission share: the last part that is decided answers.
#[derive(Debug)]
pub(crate) struct Receipt {
    // Shared and locked, because parts are decided by the journal's actor, and dropped with what is lost elsewhere.
    answer: Mutex<Option<oneshot::Sender<Admission>>>,
    parts_left: AtomicUsize,
    conflicts: AtomicUsize,
    /// Whether whoever submitted would rather be refused than wait for a full disk.
    pub(crate) is_refusable: bool,
}

impl Receipt {
    pub(crate) fn new(
        answer: oneshot::Sender<Admission>,
        parts: usize,
        is_refusable: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Some(answer)),
            parts_left: AtomicUsize::new(parts),
            conflicts: AtomicUsize::new(0),
            is_refusable,
        })
    }

    /// One part is accepted, but for so many events that contradict others.
    pub(crate) fn accept_part(&self, conflicts: usize) {
        self.conflicts.fetch_add(conflicts, Ordering::AcqRel);
        if self.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.answer(match self.conflicts.load(Ordering::Acquire) {
                0 => Admission::Accepted,
                conflicts => Admission::Conflicting(conflicts),
            });
        }
    }

    /// Answers now, unless that is done.
    pub(crate) fn answer(&self, admission: Admission) {
        let answer = self
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(answer) = answer
            && answer.send(admission).is_err()
        {
            tracing::debug!("nobody waits for an answer any more");
        }
    }
}
