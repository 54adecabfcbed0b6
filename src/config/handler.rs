//! The `handlers` section: what is done with events.

use std::{cell::Cell, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use veltrix_actors::TypePattern;

use super::{
    bounded::WholeNumber,
    decode::decode_what_is_valid,
    event_key::EventKey,
    expression::{Expression, Purpose},
    live::Fingerprint,
    one_or_many::OneOrMany,
    path::KeyPath,
    problems::Reporter,
    section::{self, Section},
    supervision::{RawSupervision, Supervision},
    validate::Context,
};
use crate::components::HandlerFactory;

/// Lanes of one handler: at least one, and few enough that each is worth an actor.
type Lanes = WholeNumber<1, 1024>;

pub(crate) const SHARED_KEYS: [&str; 8] = [
    "type",
    "on",
    "when",
    "to",
    "key",
    "lanes",
    "isolation",
    "supervision",
];

/// The keys that all handlers share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHandler {
    /// The kind of handler, as `veltrix components` lists them.
    #[serde(rename = "type")]
    kind: String,
    /// The event types it wants, one pattern or a list: `*` stands for one whole segment, `>` for all the rest.
    on: OneOrMany,
    /// A CEL condition that an event must meet.
    when: Option<String>,
    /// Where its results go, one name or a list: sinks, or `router` to send them round again.
    to: OneOrMany,
    /// What keeps events in order: `subject` (where there is none, the source), `source`, `id`, `type`, an extension or `data.<path>`.
    #[schemars(extend("default" = "subject"))]
    key: Option<String>,
    /// How many events are handled at a time: 1 to 1024.
    #[schemars(extend("default" = 1))]
    lanes: Option<Lanes>,
    /// Whether its lanes share threads with others. Default shared; native Rust handlers: thread.
    isolation: Option<Isolation>,
    /// What to do when handling fails; each key left out is taken from the top-level `supervision`.
    supervision: Option<RawSupervision>,
}

/// Whether a handler's lanes share threads with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Lanes run on the worker threads.
    Shared,
    /// The handler has a thread of its own.
    Thread,
}

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Round again.
    Router,
    /// To the sink of this name.
    Sink(String),
}

/// Handler types whose results are the events themselves unless `emit` says otherwise.
pub(crate) const PASSING: [&str; 2] = ["pass", "map"];

/// The type of a handler's results, as far as the config tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emits {
    /// This one (`emit`); a component may still answer with a whole event of another type.
    Type(String),
    /// They are the events themselves.
    Same,
    /// Whatever the component answers.
    Unknown,
}

/// A handler, ready to be started.
#[derive(Clone)]
pub struct HandlerConfig {
    /// Its name in the config.
    pub name: String,
    /// The value of `type`.
    pub kind: String,
    /// What it wants; not empty.
    pub on: Vec<TypePattern>,
    /// The condition on events; a `map` evaluates it itself, after `rename`.
    pub when: Option<Expression>,
    /// Where its results go; not empty, without repeats.
    pub to: Vec<Target>,
    /// The type of its results.
    pub emits: Emits,
    /// What keeps events in order.
    pub key: EventKey,
    /// Lanes, 1 to 1024; `None`: as many as the component wants, else one.
    pub lanes: Option<usize>,
    /// `None`: as the kind has it (native Rust handlers a thread of their own, all others shared).
    pub isolation: Option<Isolation>,
    /// What to do when handling fails.
    pub supervision: Supervision,
    /// Makes the handler of each lane.
    pub factory: Arc<dyn HandlerFactory>,
    /// What a reload knows it by.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for HandlerConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HandlerConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("on", &self.on)
            .field("to", &self.to)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl HandlerConfig {
    /// How many lanes it has.
    pub fn lane_count(&self) -> usize {
        self.lanes.or(self.factory.lanes()).unwrap_or(1)
    }

    /// Whether its lanes have a thread of their own.
    pub fn is_isolated(&self) -> bool {
        match self.isolation {
            Some(isolation) => isolation == Isolation::Thread,
            None => self.factory.is_isolated(),
        }
    }
}

/// Validates one handler; `None` after something was reported.
pub(crate) fn validate(name: &str, value: &Value, context: Context<'_>) -> Option<HandlerConfig> {
    let Context {
        components,
        reporter,
        supervision: defaults,
        ..
    } = context;
    let path = KeyPath::of(["handlers", name]);
    let (shared, options) = section::split(value, &SHARED_KEYS);
    let kind = section::kind(&components.handlers, "handler", value, &path, reporter);
    let (raw, _) = decode_what_is_valid::<RawHandler>(&shared, &path, &[], reporter);
    let when = match &raw {
        Some(raw) => raw.when.clone(),
        // other keys are missing, and it is checked all the same
        None => value.get("when").and_then(Value::as_str).map(str::to_owned),
    };
    let takes_when = Cell::new(false);
    let section = Section {
        name,
        path: &path,
        options,
        shared: &SHARED_KEYS,
        when: when.as_deref(),
        takes_when: &takes_when,
        envelope: None,
        reporter,
    };
    let factory = section::prepare(kind, section);
    let when = when.map(|text| {
        let path = path.key("when");
        match takes_when.get() {
            // the component has compiled it, and has no factory if it is wrong
            true => Some(Expression { text, path }),
            false => {
                let check = components.check_expression;
                Expression::check(text, path, Purpose::Condition, check, reporter)
            }
        }
    });
    let Some(raw) = raw else {
        check_what_is_there(value, &path, context);
        return None;
    };
    let emits = match value.get("emit").and_then(Value::as_str) {
        Some(emitted) => Emits::Type(emitted.to_owned()),
        None if PASSING.contains(&raw.kind.as_str()) => Emits::Same,
        None => Emits::Unknown,
    };
    let supervision_path = path.key("supervision");
    let supervision = raw
        .supervision
        .as_ref()
        .map(|own| own.over(defaults, &supervision_path, reporter));
    let on = patterns(&raw.on, &path.key("on"), reporter);
    let to = targets(&raw.to, &path.key("to"), context);
    let key = event_key(raw.key.as_deref(), &path.key("key"), reporter);
    Some(HandlerConfig {
        name: name.to_owned(),
        kind: raw.kind,
        on: on?,
        when: match when {
            Some(checked) => Some(checked?),
            None => None,
        },
        to: to?,
        emits,
        key: key?,
        lanes: raw.lanes.map(Lanes::count),
        isolation: raw.isolation,
        supervision: supervision.unwrap_or_else(|| defaults.clone()),
        factory: factory?,
        fingerprint: Fingerprint::of(value, context.tree, &["supervision", "routing", "faults"]),
    })
}

/// Reports what is wrong with the keys of a handler that lacks others.
fn check_what_is_there(value: &Value, path: &KeyPath, context: Context<'_>) {
    let reporter = context.reporter;
    let texts = |key: &str| OneOrMany::deserialize(value.get(key)?).ok();
    if let Some(on) = texts("on") {
        patterns(&on, &path.key("on"), reporter);
    }
    if let Some(to) = texts("to") {
        targets(&to, &path.key("to"), context);
    }
    event_key(
        value.get("key").and_then(Value::as_str),
        &path.key("key"),
        reporter,
    );
}

fn patterns(on: &OneOrMany, path: &KeyPath, reporter: &Reporter) -> Option<Vec<TypePattern>> {
    if on.is_empty() {
        reporter.value(
            path,
            format!("`{path}` must name at least one event type"),
            None,
        );
        return None;
    }
    let mut found = Vec::with_capacity(on.len());
    for (text, at) in on.items(path) {
        match TypePattern::parse(text) {
            Ok(pattern) if found.contains(&pattern) => {
                reporter.warn(&at, format!("`{path}` names `{pattern}` twice"), None);
            }
            Ok(pattern) => found.push(pattern),
            Err(error) => {
                let error = error.to_string();
                let (what, forms) = error.split_once("; ").unwrap_or((&error, ""));
                let forms = Some(forms.to_owned()).filter(|forms| !forms.is_empty());
                reporter.value(&at, format!("`{path}`: {what}"), forms);
            }
        }
    }
    warn_of_shadowed(&found, on, path, reporter);
    (!found.is_empty()).then_some(found)
}

/// Warns of patterns that another one stands for as well.
fn warn_of_shadowed(found: &[TypePattern], on: &OneOrMany, path: &KeyPath, reporter: &Reporter) {
    let wide: Vec<&TypePattern> = found
        .iter()
        .filter(|pattern| !pattern.is_one_type())
        .collect();
    for pattern in found {
        let by = wide
            .iter()
            .find(|wide| **wide != pattern && wide.covers(pattern));
        let at = on
            .items(path)
            .into_iter()
            .find(|(text, _)| *text == pattern.as_str());
        if let (Some(by), Some((_, at))) = (by, at) {
            let message =
                format!("`{path}`: `{pattern}` changes nothing, since `{by}` stands for it too");
            reporter.warn_value(&at, message, None);
        }
    }
}

fn targets(to: &OneOrMany, path: &KeyPath, context: Context<'_>) -> Option<Vec<Target>> {
    if to.is_empty() {
        let help = "name sinks, or `router` to send results round again".to_owned();
        context.reporter.value(
            path,
            format!("`{path}` must name at least one target"),
            Some(help),
        );
        return None;
    }
    let mut found = Vec::with_capacity(to.len());
    for (name, at) in to.items(path) {
        let target = if name == "router" {
            Target::Router
        } else {
            Target::Sink(name.to_owned())
        };
        if found.contains(&target) {
            context
                .reporter
                .value(&at, format!("`{path}` names `{name}` twice"), None);
        } else {
            context.check_sink(name, &at, &["router"]);
            found.push(target);
        }
    }
    Some(found)
}

fn event_key(text: Option<&str>, path: &KeyPath, reporter: &Reporter) -> Option<EventKey> {
    let Some(text) = text else {
        return Some(EventKey::default());
    };
    match EventKey::parse(text) {
        Ok(key) => Some(key),
        Err(why) => {
            let help = "valid keys are `subject`, `source`, `id`, `type`, an extension attribute and `data.<path>`";
            reporter.value(path, format!("`{path}`: {why}"), Some(help.to_owned()));
            None
        }
    }
}
