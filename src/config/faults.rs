//! The `faults` section: what shall go wrong on purpose, where, and when.

use std::{path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use veltrix_actors::{FaultAction, FaultPlan, FaultPoint, Injection, Only, PointPattern, When};

use super::{
    bounded::WholeNumber,
    chance::{Chance, ErrorKind, Probability},
    path::KeyPath,
    problems::Reporter,
    suggest,
    units::DurationText,
};

const ACTIONS: [&str; 7] = [
    "panic",
    "error",
    "hang",
    "delay",
    "abort_actor",
    "slow",
    "corrupt",
];

/// Faults to inject, for tests and drills: `veltrix run` refuses them without `--allow-faults`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawFaults {
    /// The same seed injects the same faults.
    seed: u64,
    /// A file for one line of JSON for each injected fault, written anew by each run. Without it, there is none.
    log: Option<PathBuf>,
    /// The faults, in the order in which they act on an event.
    inject: Vec<RawInjection>,
}

impl Default for RawFaults {
    fn default() -> Self {
        Self {
            seed: 1,
            log: None,
            inject: Vec::new(),
        }
    }
}

/// One action, where and when.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawInjection {
    /// The point: `router`, `source.NAME`, `handler.NAME` or `sink.NAME`; `*` stands for any characters.
    at: String,
    /// The component's code panics.
    panic: Option<Chance>,
    /// The component's code reports an error: one that is worth another attempt, or with `permanent` one that is not.
    error: Option<ErrorKind>,
    /// The component's code blocks its thread for so long.
    hang: Option<DurationText>,
    /// The event takes so much longer.
    delay: Option<DurationText>,
    /// The whole actor dies.
    abort_actor: Option<Chance>,
    /// Events that pass in a second at most.
    slow: Option<f64>,
    /// One letter or digit of the event's `data` becomes another one.
    corrupt: Option<Chance>,
    /// The part of the events that it happens to, from 0 to 1; `panic: 0.001` is short for `panic: true` with it.
    probability: Option<Probability>,
    /// It happens to every so many events; each lane of a handler counts its own.
    every: Option<WholeNumber<1, { u32::MAX }>>,
    /// The time after the start at which it begins.
    from: Option<DurationText>,
    /// The time after the start at which it ends.
    until: Option<DurationText>,
    /// How often it happens at most.
    times: Option<WholeNumber<1, { u32::MAX }>>,
    /// It happens only to events with these attributes.
    only: Option<RawOnly>,
    /// It happens to the same event at each attempt, instead of the first time only.
    #[serde(default)]
    sticky: bool,
}

/// Attributes that an event must have, all of those that are given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawOnly {
    /// The event's `id`.
    id: Option<String>,
    /// The event's `source`.
    source: Option<String>,
    /// The event's `type`.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// The event's `subject`.
    subject: Option<String>,
}

/// Faults to inject; at least one.
#[derive(Clone, Debug)]
pub struct FaultsConfig {
    /// What is injected.
    pub plan: FaultPlan,
    /// Where each injected fault is written down.
    pub log: Option<PathBuf>,
    /// The router's, once the process starts; those of components are in their factories then.
    pub router: Option<Arc<FaultPoint>>,
}

/// The names of all points of a config.
pub(crate) fn points(roles: &[(&str, &[(&str, &Value)])]) -> Vec<String> {
    let named = roles
        .iter()
        .flat_map(|(role, names)| names.iter().map(move |(name, _)| format!("{role}.{name}")));
    std::iter::once("router".to_owned()).chain(named).collect()
}

impl RawFaults {
    /// Reports all that cannot be; `points` are those that there are. None if nothing is to be injected.
    pub(crate) fn validate(self, points: &[String], reporter: &Reporter) -> Option<FaultsConfig> {
        let path = KeyPath::of(["faults"]);
        if self
            .log
            .as_ref()
            .is_some_and(|log| log.as_os_str().is_empty())
        {
            reporter.value(&path.key("log"), "`faults.log` must not be empty", None);
        }
        let path = path.key("inject");
        let injections: Vec<_> = self
            .inject
            .into_iter()
            .enumerate()
            .map(|(index, raw)| raw.validate(points, &path.index(index), reporter))
            .collect();
        let injections: Vec<Injection> = injections.into_iter().collect::<Option<_>>()?;
        let (seed, log) = (self.seed, self.log);
        let plan = FaultPlan { seed, injections };
        (!plan.injections.is_empty()).then_some(FaultsConfig {
            plan,
            log,
            router: None,
        })
    }
}

impl RawInjection {
    fn validate(self, points: &[String], path: &KeyPath, reporter: &Reporter) -> Option<Injection> {
        let at = PointPattern::new(self.at.as_str());
        let action = self.action(path, reporter);
        self.check_point(&at, action, points, path, reporter);
        self.check_times(path, reporter);
        let (action, chance) = action?;
        if chance.is_some() && self.probability.is_some() {
            let name = action.as_str();
            let message = format!("`{path}`: `{name}` has a probability already");
            let help = format!("write `{name}: true` with `probability`, or leave that out");
            reporter.key(&path.key("probability"), message, Some(help));
        }
        let text = |duration: DurationText| duration.0;
        Some(Injection {
            at,
            action,
            when: When {
                probability: chance.or(self.probability.map(Probability::get)),
                every: self.every.map(|every| every.get().into()),
                from: self.from.map(text).unwrap_or_default(),
                until: self.until.map(text),
                times: self.times.map(|times| times.get().into()),
                only: self
                    .only
                    .map(|raw| Only {
                        id: raw.id,
                        source: raw.source,
                        event_type: raw.event_type,
                        subject: raw.subject,
                    })
                    .unwrap_or_default(),
                sticky: self.sticky,
            },
        })
    }

    /// The action, and the probability that is written with it.
    fn action(&self, path: &KeyPath, reporter: &Reporter) -> Option<(FaultAction, Option<f64>)> {
        let always = |action| (action, None);
        let chance = |action, chance: Chance| (action, chance.probability());
        let given: Vec<(FaultAction, Option<f64>)> = [
            self.panic.map(|part| chance(FaultAction::Panic, part)),
            self.error.map(|kind| {
                let (retryable, probability) = kind.parts();
                (FaultAction::Error { retryable }, probability)
            }),
            self.hang.map(|time| always(FaultAction::Hang(time.0))),
            self.delay.map(|time| always(FaultAction::Delay(time.0))),
            self.abort_actor
                .map(|part| chance(FaultAction::AbortActor, part)),
            self.slow.map(|rate| always(FaultAction::Slow(rate))),
            self.corrupt.map(|part| chance(FaultAction::Corrupt, part)),
        ]
        .into_iter()
        .flatten()
        .collect();
        match given[..] {
            [action] => Some(action),
            // the one that there was is wrong
            [] if reporter.has_problem_below(path) => None,
            [] => {
                let help = format!("add one of {}", suggest::list(&ACTIONS));
                reporter.value(path, format!("`{path}` has no action"), Some(help));
                None
            }
            [_, (second, _), ..] => {
                let names: Vec<_> = given.iter().map(|(action, _)| action.as_str()).collect();
                let message = format!(
                    "`{path}` has more than one action: {}",
                    suggest::list(&names)
                );
                let help = "write an item of the list for each".to_owned();
                reporter.key(&path.key(second.as_str()), message, Some(help));
                None
            }
        }
    }

    fn check_point(
        &self,
        at: &PointPattern,
        action: Option<(FaultAction, Option<f64>)>,
        points: &[String],
        path: &KeyPath,
        reporter: &Reporter,
    ) {
        let path = path.key("at");
        let meant: Vec<&String> = points.iter().filter(|point| at.matches(point)).collect();
        if meant.is_empty() {
            let known: Vec<&str> = points.iter().map(String::as_str).collect();
            if self.at.contains('*') {
                let help = format!("the points are {}", suggest::list(&known));
                let message = format!(
                    "`{path}`: `{}` means no point, so nothing is injected",
                    self.at
                );
                reporter.warn(&path, message, Some(help));
            } else {
                let help = suggest::help(&self.at, "known points", &known);
                reporter.value(
                    &path,
                    format!("`{path}`: unknown point `{}`", self.at),
                    Some(help),
                );
            }
        } else if let Some((action, _)) = action
            && meant.iter().all(|point| !action.is_possible_at(point))
        {
            let name = action.as_str();
            let message = format!("`{path}`: the router has no `{name}`");
            let help = "it takes `panic`, `hang`, `delay`, `abort_actor` and `slow`".to_owned();
            reporter.value(&path, message, Some(help));
        }
    }

    fn check_times(&self, path: &KeyPath, reporter: &Reporter) {
        for (key, time) in [("hang", self.hang), ("delay", self.delay)] {
            if time.is_some_and(|time| time.0.is_zero()) {
                let at = path.key(key);
                reporter.value(&at, format!("`{at}` must be more than zero"), None);
            }
        }
        if self.slow.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
            let at = path.key("slow");
            let message =
                format!("`{at}` must be a number of events per second from 0.001 to 1000000000");
            reporter.value(&at, message, None);
        }
        let from = self.from.unwrap_or(DurationText(std::time::Duration::ZERO));
        if let Some(until) = self.until.filter(|until| *until <= from) {
            let at = path.key("until");
            let message = format!("`{at}`: `until` ({until}) must be later than `from` ({from})");
            reporter.value(&at, message, None);
        }
        if let Some(RawOnly {
            id: None,
            source: None,
            event_type: None,
            subject: None,
        }) = self.only
        {
            let at = path.key("only");
            let help = "name at least one of `id`, `source`, `type` and `subject`".to_owned();
            reporter.value(&at, format!("`{at}` names no attribute"), Some(help));
        }
    }
}
