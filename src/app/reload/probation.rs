//! Whether what a reload has started fails: what is counted of it now against what was counted then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use veltrix_actors::Registry;

use super::plan::Plan;
use crate::config::Config;

/// Time between two looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The first while of a new config.
pub(super) struct Probation {
    until: Instant,
    /// What is gone back to.
    pub(super) before: Arc<Config>,
    marks: Vec<Mark>,
}

/// One of the new components, with its counts when it began.
struct Mark {
    /// Its path in the tree.
    path: String,
    /// Its name, of a handler.
    handler: Option<String>,
    restarts: u64,
    pauses: u64,
}

impl Mark {
    fn of(role: &str, name: &str, registry: &Registry) -> Self {
        let mark = Self {
            path: format!("{role}/{name}"),
            handler: (role == "handlers").then(|| name.to_owned()),
            restarts: 0,
            pauses: 0,
        };
        let (restarts, pauses) = mark.count(registry);
        Self {
            restarts,
            pauses,
            ..mark
        }
    }

    fn count(&self, registry: &Registry) -> (u64, u64) {
        let handler = self.handler.as_ref().map(|name| registry.handler(name));
        let pauses = handler.map_or(0, |handler| handler.pauses.get());
        (registry.actors.of(&self.path).restarts.get(), pauses)
    }

    fn failure(&self, registry: &Registry) -> Option<String> {
        let (restarts, pauses) = self.count(registry);
        let path = &self.path;
        if pauses > self.pauses {
            return Some(format!("{path}: too many of its events fail"));
        }
        if restarts <= self.restarts {
            return None;
        }
        let status = registry.actors.of(path);
        let why = status.last_failure().map(|failure| failure.reason);
        let why = why.unwrap_or_else(|| "no reason given".to_owned());
        Some(match self.handler {
            Some(_) => format!("{path}: its restart budget is used up: {why}"),
            None => format!("{path}: {why}"),
        })
    }
}

impl Probation {
    /// None if nothing is new.
    pub(super) fn begin(
        plan: &Plan,
        registry: &Registry,
        before: Arc<Config>,
        time: Duration,
    ) -> Option<Self> {
        let roles = [
            ("sources", &plan.sources),
            ("handlers", &plan.handlers),
            ("sinks", &plan.sinks),
        ];
        let marks = roles.into_iter().flat_map(|(role, changes)| {
            let names = changes.new_ones();
            names.map(move |name| Mark::of(role, name, registry))
        });
        let marks: Vec<_> = marks.collect();
        (!marks.is_empty()).then(|| Self {
            until: Instant::now() + time,
            before,
            marks,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// What has failed.
    pub(super) fn failure(&self, registry: &Registry) -> Option<String> {
        self.marks.iter().find_map(|mark| mark.failure(registry))
    }
}
