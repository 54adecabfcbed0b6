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
pub(super) struct Mark {
    /// Its path in the tree.
    path: String,
    /// There if it is a handler.
    handler: Option<NewHandler>,
    before: Counts,
}

#[derive(Clone)]
struct NewHandler {
    name: String,
    /// The share of dead letters above which its breaker opens.
    dead_letter_ratio: f64,
}

/// What has become of a component, and of a handler's events.
#[derive(Clone, Copy, Default)]
struct Counts {
    restarts: u64,
    pauses: u64,
    handled: u64,
    dead_letters: u64,
}

impl NewHandler {
    fn of(name: &str, config: &Config) -> Option<Self> {
        let handler = config.handlers.iter().find(|known| known.name == name)?;
        Some(Self {
            name: name.to_owned(),
            dead_letter_ratio: handler.supervision.breaker.dead_letter_ratio,
        })
    }
}

impl Mark {
    fn of(role: &str, name: &str, config: &Config, registry: &Registry) -> Self {
        let mut mark = Self {
            path: format!("{role}/{name}"),
            handler: match role {
                "handlers" => NewHandler::of(name, config),
                _ => None,
            },
            before: Counts::default(),
        };
        mark.before = mark.count(registry);
        mark
    }

    fn count(&self, registry: &Registry) -> Counts {
        let restarts = registry.actors.of(&self.path).restarts.get();
        let Some(NewHandler { name, .. }) = &self.handler else {
            return Counts {
                restarts,
                ..Counts::default()
            };
        };
        let handler = registry.handler(name);
        Counts {
            restarts,
            pauses: handler.pauses.get(),
            handled: handler.matched.get(),
            dead_letters: handler.dead_lettered.get(),
        }
    }

    fn failure(&self, registry: &Registry) -> Option<String> {
        let Counts {
            restarts, pauses, ..
        } = self.count(registry);
        let path = &self.path;
        if pauses > self.before.pauses {
            return Some(format!("{path}: too many of its events fail"));
        }
        if restarts <= self.before.restarts {
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

    /// Whether too many of a handler's events are dead letters, however few they are: its breaker does not open by so few.
    fn failure_in_all(&self, registry: &Registry) -> Option<String> {
        let ratio = self.handler.as_ref()?.dead_letter_ratio;
        let now = self.count(registry);
        let dead_letters = now.dead_letters - self.before.dead_letters;
        let events = now.handled - self.before.handled + dead_letters;
        (dead_letters as f64 > ratio * events as f64).then(|| {
            format!(
                "{}: {dead_letters} of its {events} events became dead letters, more than its `breaker.dead_letter_ratio` of {ratio}",
                self.path
            )
        })
    }
}

impl Probation {
    /// The counts of the handlers that a reload by `plan` begins, taken before their first event: until the reload is over, which
    /// may wait for a source, much may have failed.
    pub(super) fn marks(plan: &Plan, next: &Config, registry: &Registry) -> Vec<Mark> {
        let begun = plan.handlers.new_ones();
        begun
            .map(|name| Mark::of("handlers", name, next, registry))
            .collect()
    }

    /// That of what is not as in `before`, which a reload by `plan` has just begun, its handlers with these marks; `earlier`
    /// is the one that it was done in. None if nothing is new.
    pub(super) fn begin(
        earlier: Option<Self>,
        before: Arc<Config>,
        now: &Config,
        (plan, handlers): (&Plan, &[Mark]),
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
                let mark = Mark::of(role, name, now, registry);
                let known = match begun.contains(&(role, name)) {
                    true => handlers,
                    false => &earlier,
                };
                let known = known.iter().find(|known| known.path == mark.path);
                known.cloned().unwrap_or(mark)
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

    /// What has failed so far; once it is over, by what has become of all events.
    pub(super) fn failure(&self, registry: &Registry) -> Option<String> {
        let mut marks = self.marks.iter();
        let failure = marks.find_map(|mark| mark.failure(registry));
        failure.or_else(|| {
            let mut marks = self.marks.iter().filter(|_| self.is_over());
            marks.find_map(|mark| mark.failure_in_all(registry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why a handler fails of which so many events were handled and given up before, and so many in its probation.
    fn failure(ratio: f64, before: (usize, usize), since: (usize, usize)) -> Option<String> {
        let registry = Registry::default();
        let mut mark = Mark {
            path: "handlers/new".to_owned(),
            handler: Some(NewHandler {
                name: "new".to_owned(),
                dead_letter_ratio: ratio,
            }),
            before: Counts::default(),
        };
        let count = |(handled, dead_letters)| {
            let handler = registry.handler("new");
            handler.matched.add(handled);
            handler.dead_lettered.add(dead_letters);
        };
        count(before);
        mark.before = mark.count(&registry);
        count(since);
        mark.failure_in_all(&registry)
    }

    #[test]
    fn a_single_dead_letter_is_enough_if_nothing_is_handled() {
        let reason = failure(0.5, (100, 0), (0, 1)).expect("it fails");
        assert_eq!(
            reason,
            "handlers/new: 1 of its 1 events became dead letters, more than its `breaker.dead_letter_ratio` of 0.5"
        );
    }

    #[test]
    fn up_to_the_ratio_a_handler_stands_its_probation_whatever_was_before_it() {
        assert_eq!(failure(0.5, (0, 100), (1, 1)), None);
        assert!(failure(0.5, (100, 0), (1, 2)).is_some());
    }

    #[test]
    fn a_handler_without_events_stands_its_probation_and_a_ratio_of_one_is_never_passed() {
        assert_eq!(failure(0.0, (5, 5), (0, 0)), None);
        assert_eq!(failure(1.0, (5, 5), (0, 3)), None);
        assert!(failure(0.0, (5, 5), (9, 1)).is_some());
    }
}
