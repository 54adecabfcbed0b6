//! The sinks' overflow logs: what waits on disk for a slow sink.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_rt::Arbiter;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{
    ChildSpec, DurabilityKind, OverflowSpec, Restart, Spillway, start_overflow, start_supervisor,
};

use super::tree::{self, SHUTDOWN, Tree};
use crate::config::Config;
use crate::journal::DiskJournalFactory;

/// The folder of a sink's log in the data directory.
pub(crate) fn overflow_folder(data_dir: &Path, sink: &str) -> PathBuf {
    data_dir.join("overflow").join(sink)
}

/// The sink's spillway, if there are events that may go through it.
pub(super) fn spillway(config: &Config, sink: &str) -> Option<Arc<Spillway>> {
    let is_durable = config
        .sources
        .iter()
        .any(|source| source.durability != DurabilityKind::None);
    let is_there = is_durable || overflow_folder(&config.service.data_dir, sink).exists();
    is_there.then(|| Spillway::new(sink, Inlet::new()))
}

/// Warns of logs whose sinks the config has no more.
pub(super) fn warn_of_orphans(config: &Config) {
    let Ok(folders) = std::fs::read_dir(config.service.data_dir.join("overflow")) else {
        return;
    };
    for entry in folders.flatten() {
        let name = entry.file_name();
        if !config.sinks.iter().any(|sink| *sink.name == *name) {
            let folder = entry.path();
            tracing::warn!(
                ?folder,
                "events wait here for a sink that the config does not have"
            );
        }
    }
}

/// The logs' actors below a supervisor. The end of one ends the process: what is in doubt then is settled by the next start.
pub(super) fn child(all: &Tree, config: &Config) -> Option<ChildSpec> {
    let logs: Vec<OverflowSpec> = config
        .sinks
        .iter()
        .filter_map(|sink| {
            let target = all.sink(&sink.name);
            let mut options = config.journal.clone();
            // What is delivered is of no more use.
            options.retain_bytes = 0;
            Some(OverflowSpec {
                sink: sink.name.as_str().into(),
                factory: Arc::new(DiskJournalFactory::new(
                    overflow_folder(&config.service.data_dir, &sink.name),
                    &options,
                )),
                spillway: target.spillway?,
                target: target.inlet,
                types: all.types.clone(),
                budget: all.budget.clone(),
                bytes_max: config.journal.overflow_bytes,
                registry: all.registry.clone(),
            })
        })
        .collect();
    if logs.is_empty() {
        return None;
    }
    // They wait for their disk, which nobody else shall wait for.
    let arbiter = Arbiter::new().handle();
    let registry = all.registry.clone();
    let overflow = tree::child("overflow", Restart::Permanent, SHUTDOWN, move |lifeline| {
        let log = |spec: &OverflowSpec| {
            let (spec, arbiter) = (spec.clone(), arbiter.clone());
            let name = spec.sink.clone();
            tree::child(&name, Restart::Permanent, SHUTDOWN, move |lifeline| {
                start_overflow(spec.clone(), &arbiter, lifeline);
            })
        };
        let children = logs.iter().map(log).collect();
        start_supervisor(tree::never_restarting(
            "overflow",
            children,
            registry.clone(),
            lifeline,
        ));
    });
    Some(overflow)
}
