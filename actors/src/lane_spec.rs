//! What the lanes of a handler are started with.

use std::sync::Arc;
use std::time::Duration;

use crate::breaker::Breaker;
use crate::handler::HandlerFactory;
use crate::mailbox::Inlet;
use crate::memory::MemoryBudget;
use crate::router::Unmatched;
use crate::sink_stats::SinkStats;
use crate::spillway::Spillway;
use crate::stats::Registry;
use crate::supervision::Backoff;
use crate::types::TypeTable;

/// One place that a lane's results go to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where they go in.
    pub inlet: Arc<Inlet>,
    /// The sink's ledger; `None` if the target is the router.
    pub sink: Option<Arc<SinkStats>>,
    /// The way through the sink's overflow log, if it has one.
    pub spillway: Option<Arc<Spillway>>,
}

impl Target {
    /// What takes events in at an inlet and is no sink.
    pub fn of(inlet: &Arc<Inlet>) -> Self {
        Self {
            inlet: inlet.clone(),
            sink: None,
            spillway: None,
        }
    }
}

/// What all lanes of a handler share. Cloned for each start of a lane.
#[derive(Clone)]
pub struct LaneSpec {
    /// The service's name, for the results' source.
    pub service: Arc<str>,
    /// The handler's name.
    pub handler: Arc<str>,
    /// Makes the handler.
    pub factory: Arc<dyn HandlerFactory>,
    /// Where results go.
    pub targets: Vec<Target>,
    /// Where dead letters go.
    pub dead_letters: Arc<Inlet>,
    /// What happens to events that no handler wants.
    pub unmatched: Unmatched,
    /// How often an event is tried.
    pub attempts: u32,
    /// Time for one attempt of an asynchronous handler; `None` leaves it to the handler.
    pub deadline: Option<Duration>,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// Pauses the handler when too many of its events fail; shared by its lanes.
    pub breaker: Option<Arc<Breaker>>,
    /// The interned types.
    pub types: Arc<TypeTable>,
    /// Charged with the results' bytes.
    pub budget: Arc<MemoryBudget>,
    /// The counts.
    pub registry: Arc<Registry>,
}
