//! How other threads submit events to a source, and what the source may hold of the memory budget.

use std::sync::Arc;

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::batch::Intake;
use crate::mailbox::control;
use crate::memory::MemoryBudget;
use crate::receipt::Admission;
use crate::source_stats::SourceStats;
use crate::stats::Registry;

/// What all sources together may hold of the memory budget is one part of so many; the rest is for results of their
/// events. Each source has an equal share of its own, so that one whose events cannot go on leaves the others theirs.
const SHARE_DIVISOR: usize = 2;

/// Events from another thread (a web server's worker), and where the answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    pub(crate) intake: Intake,
    pub(crate) answer: oneshot::Sender<Admission>,
}

/// A handle by which other threads submit events to a source.
#[derive(Clone)]
pub struct Submitter {
    pub(crate) recipient: Recipient<Submit>,
    pub(crate) allowance: Allowance,
}

/// What a source may hold of the memory budget.
#[derive(Clone)]
pub(crate) struct Allowance {
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) stats: Arc<SourceStats>,
    pub(crate) registry: Arc<Registry>,
}

impl Allowance {
    fn share_bytes(&self) -> usize {
        let sources = self.registry.source_count().max(1);
        // At least one batch, whatever the number of sources.
        (self.budget.limit_bytes() / SHARE_DIVISOR / sources).max(1)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.budget.has_room() && self.stats.is_below(self.share_bytes())
    }

    /// Waits until there may be room.
    pub(crate) async fn room(&self) {
        self.budget.room().await;
        self.stats.below(self.share_bytes()).await;
    }
}

impl Submitter {
    /// Submits events and waits for the answer.
    pub async fn submit(&self, intake: Intake) -> Admission {
        if !self.allowance.has_room() {
            return Admission::Busy;
        }
        let (answer, answered) = oneshot::channel();
        control(&self.recipient, Submit { intake, answer });
        // A source that is gone drops the message, and with it the sender of the answer.
        answered.await.unwrap_or(Admission::Closing)
    }
}
