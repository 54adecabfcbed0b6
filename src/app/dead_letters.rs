//! From the config to what the dead-letter actor is started with.

use std::sync::Arc;

use actix_rt::{Arbiter, ArbiterHandle};
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    AlsoTo, DeadLetterLimits, DeadLetterSpec, DurabilityKind, Lifeline, OpenDeadLetters,
    ReplaySpec, start_dead_letters,
};

use super::arbiters::Arbiters;
use super::tree::Tree;
use crate::config::Config;
use crate::dead_letters::{DiskDeadLetters, FOLDER};

/// What dead letters may take in memory, as a part of `service.memory` and beside it: charged to that budget, those of one
/// broken handler would stop all sources for good.
const MEMORY_SHARE_DIVISOR: usize = 4;

/// Whether they are kept on disk: no source's events would outlive the process otherwise.
fn is_durable(config: &Config) -> bool {
    let mut sources = config.sources.iter();
    sources.any(|source| source.durability != DurabilityKind::None)
        || config.service.data_dir.join(FOLDER).exists()
}

fn open(config: &Config) -> OpenDeadLetters {
    if is_durable(config) {
        let folder = config.service.data_dir.join(FOLDER);
        let bytes_max = config.dead_letters.max_on_disk_bytes;
        return Arc::new(move || Ok(Box::new(DiskDeadLetters::open(&folder, bytes_max)?)));
    }
    let limits = DeadLetterLimits {
        count: config.dead_letters.max_in_memory,
        bytes: config.service.memory / MEMORY_SHARE_DIVISOR,
    };
    limits.in_memory()
}

/// The spec of the actor in that tree.
pub(super) fn spec(config: &Config, tree: &Tree) -> DeadLetterSpec {
    let also_to = config.dead_letters.also_to.as_ref().map(|sink| AlsoTo {
        sink: sink.as_str().into(),
        target: tree.sinks[sink].clone(),
        service: config.service.name.as_str().into(),
        types: tree.types.clone(),
        budget: tree.budget.clone(),
    });
    DeadLetterSpec {
        open: open(config),
        replay: Some(ReplaySpec {
            targets: tree.directory.clone(),
            types: tree.types.clone(),
            budget: tree.budget.clone(),
        }),
        also_to,
        desk: tree.desk.clone(),
        registry: tree.registry.clone(),
    }
}

/// Where the actor lives: if it waits for its disk, nobody else shall wait for it.
fn arbiter(config: &Config) -> ArbiterHandle {
    match is_durable(config) {
        true => Arbiter::new().handle(),
        false => Arbiters::core(),
    }
}

/// Starts the actor, and whichever follows it, behind the inlet.
pub(super) fn start(
    config: &Config,
    spec: DeadLetterSpec,
    inlet: Arc<Inlet>,
) -> impl FnMut(Lifeline) + 'static {
    let arbiter = arbiter(config);
    move |lifeline| start_dead_letters(spec.clone(), inlet.clone(), &arbiter, lifeline)
}
