//! The sources as children of their supervisor: each goes to the journal or straight to the router.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use veltrix_actors::{
    AutoShutdown, ChildSpec, Durability, DurabilityKind, Restart, SourcePlace, SourceSpec,
    Upstream, start_source, start_supervisor,
};

use super::branches::MakeChild;
use super::tree::{self, SHUTDOWN, Tree, significant, supervisor};
use crate::config::{Config, SourceConfig};
use crate::disk_cursor::DiskCursor;

/// All sources below their supervisor, which ends with the last of them.
pub(super) fn child(all: &mut Tree, config: &Config) -> ChildSpec {
    let sources = config.sources.iter();
    let mut sources: Vec<MakeChild> = sources
        .map(|source| all.source_child(config, source))
        .collect();
    let (registry, supervision) = (all.registry.clone(), config.supervision.clone());
    let (place, shutdown) = (all.places.sources.clone(), shutdown(config));
    let sources = tree::child("sources", Restart::Transient, shutdown, move |lifeline| {
        // Once only, as the root restarts nobody: what a reload replaces is not kept.
        let sources = take(&mut sources).into_iter();
        let children = sources.map(|source| source()).collect();
        let input = registry.clone();
        let supervisor = supervisor(
            "sources",
            children,
            &supervision,
            registry.clone(),
            lifeline,
        );
        let supervisor = supervisor
            .on_stop(move || input.end_input(Instant::now() + shutdown))
            .found_at(&place);
        start_supervisor(supervisor.auto_shutdown(AutoShutdown::AllSignificant));
    });
    significant(sources)
}

/// Sources wait for their events to be finished when they stop: the drain's deadline is theirs.
fn shutdown(config: &Config) -> Duration {
    config.service.drain_timeout + SHUTDOWN
}

impl Tree {
    /// A source under its supervisor. One that blocks gets a thread of its own.
    pub(super) fn source_child(&mut self, config: &Config, source: &SourceConfig) -> MakeChild {
        let spec = SourceSpec {
            factory: source.factory.clone(),
            place: place(self, config, source),
        };
        let arbiter = self.thread("sources", &source.name, source.factory.is_blocking());
        let shutdown = shutdown(config);
        Box::new(move || {
            let name = spec.place.name.clone();
            significant(tree::child(
                &name,
                Restart::Transient,
                shutdown,
                move |lifeline| start_source(spec.clone(), &arbiter, lifeline),
            ))
        })
    }
}

fn place(tree: &Tree, config: &Config, source: &SourceConfig) -> SourcePlace {
    let (next, durability) = match source.durability {
        DurabilityKind::None => (&tree.router, Durability::None),
        DurabilityKind::Journal => (&tree.journal, Durability::Journal),
        DurabilityKind::Upstream => {
            let folder = config.service.data_dir.join("cursors").join(&source.name);
            let cursor = Arc::new(DiskCursor::new(
                folder,
                "everything is read again from the start",
            ));
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
