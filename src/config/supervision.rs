//! How a handler's failures are answered: defaults for all, then each handler's own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bounded::WholeNumber, path::KeyPath, problems::Reporter, units::DurationText};

/// Which ends of an actor lead to its restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Restart {
    /// Whatever the end.
    #[default]
    Permanent,
    /// After a failure only.
    Transient,
    /// Never.
    Temporary,
}

/// What to do when handling fails. Each key left out takes the default of the top-level `supervision`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSupervision {
    /// How often one event is tried before it becomes a dead letter; at least 1.
    #[schemars(extend("default" = 3))]
    attempts: Option<WholeNumber<1, { u32::MAX }>>,
    /// The longest that one attempt may take; beyond, it has failed. If the handler does not return (it hangs), its lane
    /// goes on with another thread. Default: the handler's own timeout, and 30s for what blocks.
    deadline: Option<DurationText>,
    /// The pause between attempts: grows from `min` to `max`.
    backoff: Option<RawBackoff>,
    /// Which ends of a lane's actor lead to its restart.
    #[schemars(extend("default" = "permanent"))]
    restart: Option<Restart>,
    /// Restarts of actors within `within` before the failure escalates.
    #[schemars(extend("default" = 5))]
    max_restarts: Option<u32>,
    /// The time in which `max_restarts` are counted.
    #[schemars(extend("default" = "30s"))]
    within: Option<DurationText>,
    /// Pauses the handler, whose events wait then, when too many of them become dead letters.
    breaker: Option<RawBreaker>,
}

/// When the breaker pauses a handler.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawBreaker {
    /// The share of dead letters among the handled events above which it pauses, from 0 to 1; 1 is never.
    #[schemars(extend("default" = 0.5))]
    dead_letter_ratio: Option<f64>,
    /// The time that is looked at.
    #[schemars(extend("default" = "10s"))]
    window: Option<DurationText>,
    /// Fewer events than this in the window do not count, nor do fewer failed attempts in a row; at least 1.
    #[schemars(extend("default" = 50))]
    min_events: Option<WholeNumber<1, { u32::MAX }>>,
}

/// The pause between attempts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawBackoff {
    /// The pause before the second retry (the first one comes at once).
    #[schemars(extend("default" = "50ms"))]
    min: Option<DurationText>,
    /// The longest pause.
    #[schemars(extend("default" = "5s"))]
    max: Option<DurationText>,
    /// The part of a pause that is random, from 0 to 1.
    #[schemars(extend("default" = 0.2))]
    jitter: Option<f64>,
}

/// How a handler's failures are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervision {
    /// Attempts at one event before it is a dead letter; at least 1.
    pub attempts: u32,
    /// Time for one attempt, more than zero; `None` leaves it to the handler that waits, and is 30 s for one that blocks.
    pub deadline: Option<Duration>,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Which ends lead to a restart.
    pub restart: Restart,
    /// Restarts within `within` before escalation.
    pub max_restarts: u32,
    /// The time in which restarts are counted, more than zero.
    pub within: Duration,
    /// When the handler is paused.
    pub breaker: Breaker,
}

/// When too many dead letters pause a handler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// The share of dead letters above which it is paused, 0 to 1.
    pub dead_letter_ratio: f64,
    /// The time that is looked at, more than zero.
    pub window: Duration,
    /// The least number of events that says anything.
    pub min_events: u32,
}

/// Pauses that double from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub min: Duration,
    /// The longest pause, not less than `min`.
    pub max: Duration,
    /// The random part of a pause, 0 to 1.
    pub jitter: f64,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            attempts: 3,
            deadline: None,
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_secs(5),
                jitter: 0.2,
            },
            restart: Restart::Permanent,
            max_restarts: 5,
            within: Duration::from_secs(30),
            breaker: Breaker {
                dead_letter_ratio: 0.5,
                window: Duration::from_secs(10),
                min_events: 50,
            },
        }
    }
}

impl RawSupervision {
    /// Lays the keys over `defaults` and reports what cannot be, at the section's `path`.
    pub(crate) fn over(
        &self,
        defaults: &Supervision,
        path: &KeyPath,
        reporter: &Reporter,
    ) -> Supervision {
        for (key, duration) in [("deadline", self.deadline), ("within", self.within)] {
            if duration.is_some_and(|duration| duration.0.is_zero()) {
                let at = path.key(key);
                reporter.value(&at, format!("`{at}` must be more than zero"), None);
            }
        }
        if self.restart == Some(Restart::Temporary) {
            let at = path.key("restart");
            let message = format!(
                "`{at}`: `temporary` is not supported by this version: the events of a lane that is never restarted would wait for ever"
            );
            let help = "valid are `permanent` and `transient`".to_owned();
            reporter.value(&at, message, Some(help));
        }
        let backoff = self.backoff.as_ref();
        Supervision {
            attempts: self.attempts.map_or(defaults.attempts, WholeNumber::get),
            deadline: self
                .deadline
                .map(|deadline| deadline.0)
                .or(defaults.deadline),
            backoff: backoff.map_or(defaults.backoff, |raw| {
                raw.over(defaults.backoff, &path.key("backoff"), reporter)
            }),
            restart: self.restart.unwrap_or(defaults.restart),
            max_restarts: self.max_restarts.unwrap_or(defaults.max_restarts),
            within: self.within.map_or(defaults.within, |within| within.0),
            breaker: self.breaker.as_ref().map_or(defaults.breaker, |raw| {
                raw.over(defaults.breaker, &path.key("breaker"), reporter)
            }),
        }
    }
}

impl RawBreaker {
    fn over(&self, defaults: Breaker, path: &KeyPath, reporter: &Reporter) -> Breaker {
        let merged = Breaker {
            dead_letter_ratio: self.dead_letter_ratio.unwrap_or(defaults.dead_letter_ratio),
            window: self.window.map_or(defaults.window, |window| window.0),
            min_events: self
                .min_events
                .map_or(defaults.min_events, WholeNumber::get),
        };
        if !(0.0..=1.0).contains(&merged.dead_letter_ratio) {
            let at = path.key("dead_letter_ratio");
            let ratio = merged.dead_letter_ratio;
            let message = format!("`{at}` must be a number from 0 to 1, not {ratio}");
            reporter.value(&at, message, None);
        }
        if merged.window.is_zero() {
            let at = path.key("window");
            reporter.value(&at, format!("`{at}` must be more than zero"), None);
        }
        merged
    }
}

impl RawBackoff {
    fn over(&self, defaults: Backoff, path: &KeyPath, reporter: &Reporter) -> Backoff {
        let merged = Backoff {
            min: self.min.map_or(defaults.min, |min| min.0),
            max: self.max.map_or(defaults.max, |max| max.0),
            jitter: self.jitter.unwrap_or(defaults.jitter),
        };
        if !(0.0..=1.0).contains(&merged.jitter) {
            let at = path.key("jitter");
            reporter.value(
                &at,
                format!("`{at}` must be a number from 0 to 1, not {}", merged.jitter),
                None,
            );
        }
        if merged.min > merged.max {
            let (min, max) = (DurationText(merged.min), DurationText(merged.max));
            let at = if self.min.is_some() {
                path.key("min")
            } else {
                path.key("max")
            };
            reporter.value(
                &at,
                format!("`{path}`: `min` ({min}) must not be longer than `max` ({max})"),
                None,
            );
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::problems::Reporter;

    /// The defaults that a schema names, as a config would write them.
    fn written(schema: &Value, properties: &Value) -> Value {
        let keys = properties.as_object().into_iter().flatten();
        let value = |(key, option): (&String, &Value)| {
            let target = option["anyOf"][0]["$ref"].as_str();
            let target = target.and_then(|target| schema.pointer(target.strip_prefix('#')?));
            let value = match target.filter(|target| target["properties"].is_object()) {
                Some(target) => written(schema, &target["properties"]),
                None => option["default"].clone(),
            };
            (key.clone(), value)
        };
        keys.map(value)
            .filter(|(_, value)| !value.is_null())
            .collect()
    }

    #[test]
    fn the_defaults_in_the_schema_are_those_of_the_code() {
        let schema = schema_for!(RawSupervision).to_value();
        let written = written(&schema, &schema["properties"]);
        let raw: RawSupervision = serde_json::from_value(written).unwrap();
        let mut other = Supervision {
            attempts: 9,
            max_restarts: 9,
            within: Duration::from_secs(9),
            restart: Restart::Transient,
            ..Supervision::default()
        };
        other.backoff.jitter = 0.9;
        other.backoff.min = Duration::from_millis(9);
        other.backoff.max = Duration::from_secs(99);
        other.breaker.dead_letter_ratio = 0.9;
        other.breaker.window = Duration::from_secs(9);
        other.breaker.min_events = 9;
        let reporter = Reporter::default();
        let laid_over = raw.over(&other, &KeyPath::ROOT, &reporter);
        assert_eq!(laid_over, Supervision::default());
        assert!(reporter.into_problems().is_empty());
        assert_eq!(json!(null), schema["properties"]["deadline"]["default"]);
    }
}
