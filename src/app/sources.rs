//! The sources as a child of the root: each goes to the journal or straight to the router.

use std::sync::Arc;
use std::time::Instant;

use actix_rt::ArbiterHandle;
use veltrix_actors::{
    AutoShutdown, ChildSpec, Durability, DurabilityKind, Restart, SourcePlace, SourceSpec,
    Upstream, start_source, start_supervisor,
};

use super::arbiters::Arbiters;
use super::tree::{self, SHUTDOWN, Tree, significant, supervisor};
use crate::config::{Config, SourceConfig};
use crate::disk_cursor::DiskCursor;

/// All sources below their supervisor, which ends with the last of them.
pub(super) fn child(all: &Tree, config: &Config) -> ChildSpec {
    let sources: Vec<_> = config
        .sources
        .iter()
        .map(|source| {
            let spec = SourceSpec {
                factory: source.factory.clone(),
                place: place(all, config, source),
            };
            (spec, Arbiters::for_io(source.factory.is_blocking()))
        })
        .collect();
    let (registry, supervision) = (all.registry.clone(), config.supervision.clone());
    let shutdown = config.service.drain_timeout + SHUTDOWN;
    let sources = tree::child("sources", Restart::Transient, shutdown, move |lifeline| {
        let start = |(spec, arbiter): &(SourceSpec, ArbiterHandle)| {
            let (spec, arbiter) = (spec.clone(), arbiter.clone());
            // Sources wait for their events to be finished when they stop: the drain's deadline is theirs.
            let source = tree::child(
                &spec.place.name.clone(),
                Restart::Transient,
                shutdown,
                move |lifeline| {
                    start_source(spec.clone(), &arbiter, lifeline);
                },
            );
            significant(source)
        };
        let children = sources.iter().map(start).collect();
        let input = registry.clone();
        let supervisor = supervisor(
            "sources",
            children,
            &supervision,
            registry.clone(),
            lifeline,
        );
        let supervisor = supervisor.on_stop(move || input.end_input(Instant::now() + shutdown));
        start_supervisor(supervisor.auto_shutdown(AutoShutdown::AllSignificant));
    });
    significant(sources)
}

fn place(tree: &Tree, config: &Config, source: &SourceConfig) -> SourcePlace {
    let (next, durability) = match source.durability {
        DurabilityKind::None => (&tree.router, Durability::None),
        DurabilityKind::Journal => (&tree.journal, Durability::Journal),
        DurabilityKind::Upstream => {
            let folder = config.service.data_dir.join("cursors").join(&source.name);
            let cursor = Arc::new(DiskCursor::new(folder));
            (&tree.router, Durability::Upstream(Upstream::new(cursor)))
        }
    };
    SourcePlace {
        name: source.name.as_str().into(),
        next: next.clone(),
        durability,
        types: tree.types.clone(),
        budget: tree.budget.clone(),
        registry: tree.registry.clone(),
    }
}
