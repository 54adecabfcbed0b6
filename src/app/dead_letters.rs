//! From the config to what the dead-letter actor is started with.

use std::collections::HashMap;
use std::sync::Arc;

use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AlsoTo, DeadLetterLimits, DeadLetterSpec, Lifeline, Target, start_dead_letters,
};

use super::arbiters::Arbiters;
use crate::admin::Observed;
use crate::config::Config;

/// What dead letters may take in memory, as a part of `service.memory` and beside it: charged to that budget, those of one
/// broken handler would stop all sources for good.
const MEMORY_SHARE_DIVISOR: usize = 4;

/// The spec of a tree with these sinks.
pub(super) fn spec(
    config: &Config,
    sinks: &HashMap<String, Target>,
    shared: &Observed,
) -> DeadLetterSpec {
    let also_to = config.dead_letters.also_to.as_ref().map(|sink| AlsoTo {
        sink: sink.as_str().into(),
        target: sinks[sink].clone(),
        service: config.service.name.as_str().into(),
        types: shared.types.clone(),
        budget: shared.budget.clone(),
    });
    DeadLetterSpec {
        limits: DeadLetterLimits {
            count: config.dead_letters.max_in_memory,
            bytes: config.service.memory / MEMORY_SHARE_DIVISOR,
        },
        also_to,
        config_version: config.version.as_str().into(),
        desk: shared.dead_letters.clone(),
        registry: shared.registry.clone(),
    }
}

/// Starts the actor, and whichever follows it, behind the inlet.
pub(super) fn start(spec: DeadLetterSpec, inlet: Arc<Inlet>) -> impl FnMut(Lifeline) + 'static {
    move |lifeline| start_dead_letters(spec.clone(), inlet.clone(), &Arbiters::core(), lifeline)
}
