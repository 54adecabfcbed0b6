//! What is wired to what, for all of the forms: the whole config, or what events of one type may come to.

use std::collections::{BTreeSet, VecDeque};

use veltrix_actors::TypePattern;

use crate::config::{
    Config, DurationText, Emits, EventKey, HandlerConfig, SinkConfig, SourceConfig, Target,
    Unmatched,
};

/// The components that are shown, in the order of the config.
pub(super) struct Wiring<'a> {
    pub(super) config: &'a Config,
    pub(super) handlers: Vec<&'a HandlerConfig>,
    pub(super) sinks: Vec<&'a SinkConfig>,
    /// The types that come along; all without it.
    types: Option<BTreeSet<String>>,
    /// Whether events for which no handler is there may be among those that are shown.
    pub(super) has_unmatched: bool,
}

impl<'a> Wiring<'a> {
    pub(super) fn new(config: &'a Config, event_type: Option<&str>) -> Self {
        let Some(event_type) = event_type else {
            return Self {
                config,
                handlers: config.handlers.iter().collect(),
                sinks: config.sinks.iter().collect(),
                types: None,
                has_unmatched: true,
            };
        };
        let reached = reached(config, event_type);
        let handlers = config.handlers.iter();
        let handlers: Vec<_> = handlers
            .filter(|handler| reached.handlers.contains(handler.name.as_str()))
            .collect();
        let unmatched = match &config.unmatched {
            Unmatched::Sink(name) if reached.has_unmatched => Some(name.as_str()),
            _ => None,
        };
        let targets = handlers.iter().flat_map(|handler| &handler.to);
        let named: BTreeSet<&str> = targets
            .filter_map(|target| match target {
                Target::Sink(name) => Some(name.as_str()),
                Target::Router => None,
            })
            .chain(unmatched)
            .chain(config.dead_letters.also_to.as_deref())
            .collect();
        let sinks = config.sinks.iter();
        Self {
            config,
            handlers,
            sinks: sinks
                .filter(|sink| named.contains(sink.name.as_str()))
                .collect(),
            has_unmatched: reached.has_unmatched,
            types: Some(reached.types),
        }
    }

    /// The handler's patterns, as far as one of the types that are shown fits.
    pub(super) fn patterns(&self, handler: &'a HandlerConfig) -> impl Iterator<Item = &'a str> {
        let is_shown = |pattern: &&TypePattern| match &self.types {
            Some(types) => types.iter().any(|event_type| pattern.matches(event_type)),
            None => true,
        };
        let shown: Vec<_> = handler.on.iter().filter(is_shown).collect();
        shown.into_iter().map(TypePattern::as_str)
    }

    /// The handlers that want the type.
    pub(super) fn wanting(&self, event_type: &str) -> Vec<&'a HandlerConfig> {
        wanting(self.config, event_type)
    }

    /// `http, listen 127.0.0.1:8080`
    pub(super) fn source(&self, source: &SourceConfig) -> String {
        self.component("sources", &source.name, &source.kind)
    }

    /// `file, path out/{type}.ndjson`
    pub(super) fn sink(&self, sink: &SinkConfig) -> String {
        self.component("sinks", &sink.name, &sink.kind)
    }

    fn component(&self, section: &str, name: &str, kind: &str) -> String {
        let mut parts = vec![kind.to_owned()];
        parts.extend(self.config.written.places(section, name));
        parts.join(", ")
    }

    /// `map, 4 lanes by subject`
    pub(super) fn handler(&self, handler: &HandlerConfig) -> String {
        let (lanes, whose) = match handler.lane_count() {
            1 => ("1 lane".to_owned(), "its"),
            count => (format!("{count} lanes by {}", key(&handler.key)), "their"),
        };
        let thread = match handler.is_isolated() {
            true => format!(" on a thread of {whose} own"),
            false => String::new(),
        };
        let kind = self.component("handlers", &handler.name, &handler.kind);
        format!("{kind}, {lanes}{thread}")
    }

    pub(super) fn condition(&self, handler: &HandlerConfig) -> Option<String> {
        let condition = self.config.written.condition(&handler.name)?;
        Some(format!("when {}", one_line(condition)))
    }

    /// What becomes of events that nobody wants.
    pub(super) fn unmatched(&self) -> String {
        match &self.config.unmatched {
            Unmatched::DeadLetter => "dead letters".to_owned(),
            Unmatched::Drop => "dropped".to_owned(),
            Unmatched::Sink(name) => name.clone(),
        }
    }
}

/// `3 attempts, back-off 50ms to 5s, deadline 2s` and so on, in parts.
pub(super) fn supervision(handler: &HandlerConfig) -> Vec<String> {
    let all = &handler.supervision;
    let time = |time| DurationText(time).to_string();
    let attempts = match all.attempts {
        1 => "1 attempt".to_owned(),
        count => format!(
            "{count} attempts, back-off {} to {}",
            time(all.backoff.min),
            time(all.backoff.max)
        ),
    };
    let mut parts = vec![attempts];
    parts.extend(
        all.deadline
            .map(|deadline| format!("deadline {}", time(deadline))),
    );
    parts.push(format!(
        "{} restarts in {}",
        all.max_restarts,
        time(all.within)
    ));
    let breaker = &all.breaker;
    if breaker.dead_letter_ratio < 1.0 {
        parts.push(format!(
            "pauses at {} % dead letters of {} in {}",
            breaker.dead_letter_ratio * 100.0,
            breaker.min_events,
            time(breaker.window)
        ));
    }
    parts
}

/// What a handler's results are.
pub(super) fn results(handler: &HandlerConfig) -> &str {
    match &handler.emits {
        Emits::Type(emitted) => emitted,
        Emits::Same => "the event itself",
        Emits::Unknown => "its answers",
    }
}

/// The sinks that a handler sends to, in its order.
pub(super) fn sinks_of(handler: &HandlerConfig) -> impl Iterator<Item = &str> {
    handler.to.iter().filter_map(|target| match target {
        Target::Sink(name) => Some(name.as_str()),
        Target::Router => None,
    })
}

pub(super) fn sends_round(handler: &HandlerConfig) -> bool {
    handler.to.contains(&Target::Router)
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn key(key: &EventKey) -> String {
    match key {
        EventKey::Subject => "subject".to_owned(),
        EventKey::Source => "source".to_owned(),
        EventKey::Id => "id".to_owned(),
        EventKey::Type => "type".to_owned(),
        EventKey::Extension(name) => name.clone(),
        EventKey::Data(path) => format!("data.{}", path.join(".")),
    }
}

struct Reached<'a> {
    types: BTreeSet<String>,
    handlers: BTreeSet<&'a str>,
    has_unmatched: bool,
}

/// Where events of a type come to, round through the router too.
fn reached<'a>(config: &'a Config, event_type: &str) -> Reached<'a> {
    let mut reached = Reached {
        types: BTreeSet::from([event_type.to_owned()]),
        handlers: BTreeSet::new(),
        has_unmatched: false,
    };
    let mut open = VecDeque::from([event_type.to_owned()]);
    while let Some(event_type) = open.pop_front() {
        let wanting = wanting(config, &event_type);
        reached.has_unmatched |= may_be_unmatched(&wanting);
        for handler in wanting {
            reached.handlers.insert(&handler.name);
            let emitted = match &handler.emits {
                Emits::Type(emitted) if sends_round(handler) => emitted,
                _ => continue,
            };
            if reached.types.insert(emitted.clone()) {
                open.push_back(emitted.clone());
            }
        }
    }
    reached
}

/// Whether a condition of each of them may refuse an event.
pub(super) fn may_be_unmatched(wanting: &[&HandlerConfig]) -> bool {
    wanting
        .iter()
        .all(|handler| handler.factory.is_conditional())
}

fn wanting<'a>(config: &'a Config, event_type: &str) -> Vec<&'a HandlerConfig> {
    let wants =
        |handler: &&HandlerConfig| handler.on.iter().any(|pattern| pattern.matches(event_type));
    config.handlers.iter().filter(wants).collect()
}
