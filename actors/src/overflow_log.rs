//! A sink's overflow log: with what it is started, and what it is while it is open.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::journal::{Journal, JournalFactory, JournalRefusal};
use crate::mailbox::Inlet;
use crate::memory::MemoryBudget;
use crate::read_back::ReadBack;
use crate::spillway::Spillway;
use crate::stats::Registry;
use crate::supervision::StartError;
use crate::types::{TypeCache, TypeTable};

/// What the overflow log of a sink is started with.
#[derive(Clone)]
pub struct OverflowSpec {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Opens the log.
    pub factory: Arc<dyn JournalFactory>,
    /// By which it is told apart whether events come here.
    pub spillway: Arc<Spillway>,
    /// Where the sink takes events in.
    pub target: Arc<Inlet>,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with what is read back.
    pub budget: Arc<MemoryBudget>,
    /// Bytes that may wait for the sink; beyond, its senders wait.
    pub bytes_max: u64,
    /// The counts.
    pub registry: Arc<Registry>,
}

/// A sink's log that is open.
pub(crate) struct OpenLog {
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) read_back: ReadBack,
    pub(crate) cursor: Cursor,
}

impl OpenLog {
    pub(crate) fn open(spec: &OverflowSpec) -> Result<Self, StartError> {
        let (journal, finished) = spec.factory.open()?;
        let types = TypeCache::new(spec.types.clone());
        let budget = spec.budget.clone();
        let read_back = ReadBack::new(finished.clone(), journal.end(), types, budget);
        Ok(Self {
            journal,
            read_back,
            cursor: Cursor::new(finished),
        })
    }

    /// Whether there may be more in it.
    pub(crate) fn check_room(&self, bytes_max: u64) -> Result<(), JournalRefusal> {
        let waiting = self.journal.unread_bytes(self.read_back.finished.prefix());
        if waiting <= bytes_max {
            return Ok(());
        }
        let reason = format!("{waiting} bytes wait, more than `journal.overflow`, {bytes_max}");
        Err(JournalRefusal::Full(reason))
    }
}
