//! What a source is: the traits that components implement.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use crate::listening::Listening;
use crate::mailbox::Inlet;
use crate::memory::MemoryBudget;
use crate::source_port::SourcePort;
use crate::stats::Registry;
use crate::supervision::StartError;
use crate::types::TypeTable;
use crate::upstream::Upstream;

/// Where events come from.
pub trait Source: 'static {
    /// Runs the source until it has no more events or [`SourcePort::draining`] resolves, then returns. Dropping the
    /// future must leave nothing behind.
    ///
    /// # Errors
    /// What keeps the source from going on; its supervisor starts it again within the restart budget.
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>>;
}

/// Makes a source for each (re)start of its actor. It runs on the source's thread.
pub trait SourceFactory: Send + Sync {
    /// A fresh source.
    ///
    /// # Errors
    /// What keeps it from starting.
    fn build(&self) -> Result<Box<dyn Source>, StartError>;

    /// Whether it blocks its thread on files or pipes, and so needs one of its own.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Where it listens, if it does: a reload has the next version take the socket over.
    fn listening(&self) -> Option<&Listening> {
        None
    }

    /// What accepted events may have behind them; the first is what they have unless the config says otherwise.
    fn durabilities(&self) -> &'static [DurabilityKind] {
        &[DurabilityKind::Journal, DurabilityKind::None]
    }
}

/// What a source is started with.
#[derive(Clone)]
pub struct SourceSpec {
    /// Makes the source.
    pub factory: Arc<dyn SourceFactory>,
    /// Who it is, and where its events go.
    pub place: SourcePlace,
}

/// A source's name and surroundings, which its connections share.
#[derive(Clone)]
pub struct SourcePlace {
    /// The source's name.
    pub name: Arc<str>,
    /// Where its events go in: at the journal for those that it keeps, else at the router.
    pub next: Arc<Inlet>,
    /// What an accepted event has behind it.
    pub durability: Durability,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with the events' bytes.
    pub budget: Arc<MemoryBudget>,
    /// The counts.
    pub registry: Arc<Registry>,
}

/// What an accepted event may have behind it when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurabilityKind {
    /// The journal.
    Journal,
    /// Where it came from.
    Upstream,
    /// Nothing.
    None,
}

/// What an accepted event has behind it when the process dies.
#[derive(Clone, Debug)]
pub enum Durability {
    /// Nothing.
    None,
    /// The journal: events are accepted once they are on disk.
    Journal,
    /// Where it came from: the source takes in again what was not finished.
    Upstream(Arc<Upstream>),
}

impl Durability {
    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::Upstream(upstream) => Some(upstream),
            Self::None | Self::Journal => None,
        }
    }
}
