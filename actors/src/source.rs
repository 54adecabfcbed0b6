//! What a source is: the traits that components implement.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use crate::mailbox::Inlet;
use crate::memory::MemoryBudget;
use crate::source_port::SourcePort;
use crate::stats::Registry;
use crate::supervision::StartError;
use crate::types::TypeTable;

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
}

/// What a source is started with.
#[derive(Clone)]
pub struct SourceSpec {
    /// The source's name.
    pub name: Arc<str>,
    /// Makes the source.
    pub factory: Arc<dyn SourceFactory>,
    /// Where its events go in.
    pub router: Arc<Inlet>,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with the events' bytes.
    pub budget: Arc<MemoryBudget>,
    /// The counts.
    pub registry: Arc<Registry>,
}
