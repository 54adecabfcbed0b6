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
#[derive(Clone)]
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
    /// That of what is not as in `before`, which a reload by `plan` has just begun; `earlier` is the one that it was done in.
    /// None if nothing is new.
    pub(super) fn begin(
        earlier: Option<Self>,
        before: Arc<Config>,
        now: &Config,
        plan: &Plan,
        registry: &Registry,
    ) -> Option<Self> {
        // What was good before a probation that is not over is what is gone back to.
        let (before, earlier) = match earlier {
            Some(earlier) => (earlier.before, earlier.marks),
            None => (before, Vec::new()),
        };
        let begun: Vec<_> = plan.new_ones().collect();
        let marks: Vec<_> = Plan::between(&before, now)
            .new_ones()
            .map(|(role, name)| {
                let mark = Mark::of(role, name, registry);
                let mut known = earlier.iter();
                let known = known.find(|known| known.path == mark.path);
                match begun.contains(&(role, name)) {
                    true => mark,
                    false => known.cloned().unwrap_or(mark),
                }
            })
            .collect();
        (!marks.is_empty()).then(|| Self {
            until: Instant::now() + now.reload.probation,
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
