//! The sinks' overflow logs: what waits on disk for a slow sink.

use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_rt::Arbiter;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    ChildSpec, DurabilityKind, OverflowSpec, Restart, Spillway, start_overflow, start_supervisor,
};

use super::branches::MakeChild;
use super::tree::{self, SHUTDOWN, Tree};
use crate::config::Config;
use crate::journal::DiskJournalFactory;

/// By which the thread of all logs is known.
const THREAD: &str = "overflow";

/// The folder of a sink's log in the data directory.
pub(crate) fn overflow_folder(data_dir: &Path, sink: &str) -> PathBuf {
    data_dir.join("overflow").join(sink)
}

/// The sink's spillway, if there are events that may go through it.
pub(super) fn spillway(config: &Config, sink: &str) -> Option<Arc<Spillway>> {
    let is_there = is_durable(config) || overflow_folder(&config.service.data_dir, sink).exists();
    is_there.then(|| new_spillway(sink))
}

/// Whether there are events that something keeps when the process dies.
pub(super) fn is_durable(config: &Config) -> bool {
    let mut sources = config.sources.iter();
    sources.any(|source| source.durability != DurabilityKind::None)
}

pub(super) fn new_spillway(sink: &str) -> Arc<Spillway> {
    Spillway::new(sink, Inlet::new())
}

/// The logs' actors below a supervisor. The end of one ends the process: what is in doubt then is settled by the next start.
pub(super) fn child(all: &mut Tree, config: &Config) -> Option<ChildSpec> {
    let sinks = config.sinks.iter();
    let mut logs: Vec<MakeChild> = sinks
        .filter_map(|sink| all.overflow_child(config, &sink.name))
        .collect();
    if logs.is_empty() && !is_durable(config) {
        return None;
    }
    let (registry, place) = (all.registry.clone(), all.places.overflow.clone());
    let overflow = tree::child("overflow", Restart::Permanent, SHUTDOWN, move |lifeline| {
        // Once only, as the root restarts nobody: what a reload replaces is not kept.
        let logs = take(&mut logs).into_iter();
        let children = logs.map(|log| log()).collect();
        let registry = registry.clone();
        let supervisor = tree::never_restarting("overflow", children, registry, lifeline);
        start_supervisor(supervisor.found_at(&place));
    });
    Some(overflow)
}

impl Tree {
    /// A sink's log, if it has one.
    pub(super) fn overflow_child(&mut self, config: &Config, sink: &str) -> Option<MakeChild> {
        let target = self.sinks[sink].clone();
        let mut options = config.journal.clone();
        // What is delivered is of no more use.
        options.retain_bytes = 0;
        let spec = OverflowSpec {
            sink: sink.into(),
            factory: Arc::new(DiskJournalFactory::new(
                overflow_folder(&config.service.data_dir, sink),
                &options,
            )),
            spillway: target.spillway?,
            target: target.inlet,
            types: self.types.clone(),
            budget: self.budget.clone(),
            bytes_max: config.journal.overflow_bytes,
            registry: self.registry.clone(),
        };
        // They wait for their disk, which nobody else shall wait for.
        let threads = &mut self.threads;
        let arbiter = threads
            .entry(THREAD.to_owned())
            .or_insert_with(|| Arbiter::new().handle())
            .clone();
        Some(Box::new(move || {
            let name = spec.sink.clone();
            tree::child(&name, Restart::Permanent, SHUTDOWN, move |lifeline| {
                start_overflow(spec.clone(), &arbiter, lifeline);
            })
        }))
    }
}
