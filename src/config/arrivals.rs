//! Which events come to which handler, where the config alone tells: patterns that none fits, keys that none carries.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use veltrix_actors::{RouteTable, Segment, TypePattern, TypeTable};

use super::{
    event_key::EventKey,
    expression::Expression,
    handler::{Emits, HandlerConfig, Target},
    path::KeyPath,
    problems::Reporter,
    source::SourceConfig,
    suggest,
};

/// Kinds of events followed at most, by type and by what they carry; a config with more is not looked at.
const MAX_ARRIVALS: usize = 20_000;

/// Types that a message names at most.
const MAX_NAMED: usize = 12;

/// The members of a generated event's `data`.
const GENERATED: [&str; 5] = ["order", "customer", "sku", "price", "quantity"];

/// What each result carries beside its cause's extensions.
const ADDED: [&str; 2] = ["causationid", "correlationid"];

/// Events of one type that carry the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Arrival {
    event_type: String,
    /// The members of `data`; `None` if anything may be there.
    members: Option<BTreeSet<String>>,
    extensions: BTreeSet<String>,
}

/// What comes to each handler.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Every type that comes in or goes round.
    types: BTreeSet<String>,
    /// By handler and pattern of its `on`.
    by_pattern: Vec<Vec<Vec<Arrival>>>,
}

impl Arrivals {
    /// Follows events from the sources through all that send results round again. `None` where somebody may send anything.
    pub(crate) fn find(
        sources: &[(&SourceConfig, &Value)],
        handlers: &[(&HandlerConfig, &Value)],
    ) -> Option<Self> {
        let mut open = Vec::new();
        for (source, written) in sources {
            open.extend(given_by(source, written)?);
        }
        let mut patterns = Vec::new();
        let mut table = RouteTable::default();
        for (handler, (config, _)) in handlers.iter().enumerate() {
            for (pattern, text) in config.on.iter().enumerate() {
                table.add(text, u32::try_from(patterns.len()).ok()?);
                patterns.push((handler, pattern));
            }
        }
        let names = TypeTable::default();
        let mut found = Self {
            types: BTreeSet::new(),
            by_pattern: handlers
                .iter()
                .map(|(config, _)| vec![Vec::new(); config.on.len()])
                .collect(),
        };
        let mut seen: HashSet<Arrival> = open.iter().cloned().collect();
        while let Some(arrival) = open.pop() {
            let name = &arrival.event_type;
            let wanting = table.handlers(names.intern(name), || name.clone());
            for (handler, pattern) in wanting.iter().map(|at| patterns[*at as usize]) {
                found.by_pattern[handler][pattern].push(arrival.clone());
                let (config, written) = handlers[handler];
                if config.to.contains(&Target::Router) {
                    let result = result(config, written, &arrival)?;
                    if seen.insert(result.clone()) {
                        open.push(result);
                    }
                }
            }
            if seen.len() > MAX_ARRIVALS {
                return None;
            }
            found.types.insert(arrival.event_type);
        }
        Some(found)
    }

    /// Warns of patterns and handlers that no event comes to.
    pub(crate) fn warn_of_unreached(
        &self,
        handlers: &[(&HandlerConfig, &Value)],
        reporter: &Reporter,
    ) {
        for ((config, written), found) in handlers.iter().zip(&self.by_pattern) {
            let on = KeyPath::of(["handlers", &config.name, "on"]);
            if found.iter().all(Vec::is_empty) {
                let message = format!(
                    "`handlers.{}`: no event that comes in has a type that `on` wants",
                    config.name
                );
                reporter.warn(&on, message, Some(self.help(&config.on[0])));
                continue;
            }
            for (pattern, _) in config
                .on
                .iter()
                .zip(found)
                .filter(|(_, found)| found.is_empty())
            {
                let message = format!("`{on}`: no event that comes in is of type `{pattern}`");
                reporter.warn_value(
                    &place_of(pattern, written, &on),
                    message,
                    Some(self.help(pattern)),
                );
            }
        }
    }

    fn help(&self, wanted: &TypePattern) -> String {
        let known: Vec<&str> = self.types.iter().map(String::as_str).collect();
        let more = known.len().saturating_sub(MAX_NAMED);
        let listed = suggest::list(&known[..known.len() - more]);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let what = format!("the types that come in are {listed}{more}");
        let is_literal = wanted
            .segments()
            .all(|part| matches!(part, Segment::Literal(_)));
        match suggest::nearest(wanted.as_str(), known.into_iter().filter(|_| is_literal)) {
            Some(nearest) => format!("did you mean `{nearest}`? {what}"),
            None => what,
        }
    }

    /// Warns of keys that no event which comes to the handler carries: all of its events would share one lane.
    pub(crate) fn warn_of_missing_keys(
        &self,
        handlers: &[(&HandlerConfig, &Value)],
        reporter: &Reporter,
    ) {
        for ((config, _), found) in handlers.iter().zip(&self.by_pattern) {
            let arrivals: Vec<&Arrival> = found.iter().flatten().collect();
            let (text, carried): (String, BTreeSet<&str>) = match &config.key {
                EventKey::Data(steps) if arrivals.iter().all(|one| one.members.is_some()) => {
                    let all = arrivals.iter().flat_map(|one| one.members.iter().flatten());
                    let all: BTreeSet<&str> = all.map(String::as_str).collect();
                    match all.contains(steps[0].as_str()) {
                        true => continue,
                        false => (format!("data.{}", steps.join(".")), all),
                    }
                }
                EventKey::Extension(name) => {
                    let all = arrivals.iter().flat_map(|one| &one.extensions);
                    let all: BTreeSet<&str> = all.map(String::as_str).collect();
                    match all.contains(name.as_str()) {
                        true => continue,
                        false => (name.clone(), all),
                    }
                }
                _ => continue,
            };
            if arrivals.is_empty() {
                continue;
            }
            let path = KeyPath::of(["handlers", &config.name, "key"]);
            let message = format!(
                "`{path}`: no event that comes to the handler has a `{text}`, so all share one lane"
            );
            let prefix = match config.key {
                EventKey::Data(_) => "data.",
                _ => "",
            };
            let carried: Vec<String> = carried
                .into_iter()
                .map(|name| format!("{prefix}{name}"))
                .collect();
            let carried: Vec<&str> = carried.iter().map(String::as_str).collect();
            let help = match carried[..] {
                [] => "they have no extensions".to_owned(),
                _ => suggest::help(&text, "they carry", &carried)
                    .replace("they carry are", "they carry"),
            };
            reporter.warn_value(&path, message, Some(help));
        }
    }
}

/// Warns of keys that only `rename` brings about: the key is taken from the event as it comes.
pub(crate) fn warn_of_renamed_keys(handlers: &[(&HandlerConfig, &Value)], reporter: &Reporter) {
    for (config, written) in handlers {
        let path = KeyPath::of(["handlers", &config.name, "key"]);
        let Some(key) = written.get("key").and_then(Value::as_str) else {
            continue;
        };
        let renames = written.get("rename").and_then(Value::as_object);
        let from = renames
            .into_iter()
            .flatten()
            .find(|(_, to)| to.as_str() == Some(key));
        if let Some((from, _)) = from {
            let message =
                format!("`{path}`: the key is read before `rename` makes `{from}` to `{key}`");
            reporter.warn_value(&path, message, Some(format!("write `key: {from}`")));
        }
    }
}

/// Warns of conditions that are written out as `false`.
pub(crate) fn warn_of_never(handlers: &[(&HandlerConfig, &Value)], reporter: &Reporter) {
    let is_never = |when: &&Expression| when.text.trim() == "false";
    for when in handlers
        .iter()
        .filter_map(|(config, _)| config.when.as_ref())
        .filter(is_never)
    {
        let message = format!(
            "`{}` is never true, so the handler gets no event",
            when.path
        );
        reporter.warn_value(&when.path, message, None);
    }
}

/// Where the pattern stands: a list's item, or the only one.
fn place_of(pattern: &TypePattern, written: &Value, on: &KeyPath) -> KeyPath {
    let items = written.get("on").and_then(Value::as_array);
    let at = items.and_then(|items| {
        items
            .iter()
            .position(|item| item.as_str() == Some(pattern.as_str()))
    });
    at.map_or_else(|| on.clone(), |at| on.index(at))
}

/// What a source gives; `None` if it may give anything.
fn given_by(source: &SourceConfig, written: &Value) -> Option<Vec<Arrival>> {
    if source.kind == "generate" {
        let types = written.get("types").and_then(Value::as_object);
        let types: Vec<&str> = match types {
            Some(types) => types
                .iter()
                .filter(|(_, weight)| weight.as_u64() != Some(0))
                .map(|(name, _)| name.as_str())
                .collect(),
            None => vec!["order.created"],
        };
        let arrival = |name: &str| Arrival {
            event_type: name.to_owned(),
            members: Some(GENERATED.map(str::to_owned).into()),
            extensions: BTreeSet::new(),
        };
        return Some(types.into_iter().map(arrival).collect());
    }
    let event_type = literal(&source.envelope.as_ref()?.event_type.text)?;
    Some(vec![Arrival {
        event_type: event_type.to_owned(),
        members: None,
        extensions: BTreeSet::new(),
    }])
}

/// The text of an expression that is nothing but a text.
fn literal(expression: &str) -> Option<&str> {
    let text = expression.trim();
    let inner = ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))?;
    (!inner.contains(['\'', '"', '\\'])).then_some(inner)
}

/// What a handler makes of an event; `None` if it may be anything.
fn result(config: &HandlerConfig, written: &Value, arrival: &Arrival) -> Option<Arrival> {
    let Emits::Type(emitted) = &config.emits else {
        return None;
    };
    let mut result = Arrival {
        event_type: emitted.clone(),
        ..arrival.clone()
    };
    result.extensions.extend(ADDED.map(str::to_owned));
    if config.kind != "map" {
        return None;
    }
    let texts = |key: &str| {
        written
            .get(key)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    for (from, to) in texts("rename") {
        result.take(from);
        result.put(to.as_str().unwrap_or_default());
    }
    texts("set").for_each(|(target, _)| result.put(target));
    let removed = written.get("remove").and_then(Value::as_array);
    for path in removed.into_iter().flatten().filter_map(Value::as_str) {
        result.take(path);
    }
    Some(result)
}

impl Arrival {
    /// Something stands at `path` now.
    fn put(&mut self, path: &str) {
        match (path.strip_prefix("data"), &mut self.members) {
            (Some(""), members) => *members = None,
            (Some(_), None) => {}
            (Some(rest), members @ Some(_)) => match member(rest) {
                Some((name, _)) => {
                    members.get_or_insert_default().insert(name.to_owned());
                }
                None => *members = None,
            },
            (None, _) => {
                self.extensions.insert(path.to_owned());
            }
        }
    }

    /// Nothing stands at `path` any more.
    fn take(&mut self, path: &str) {
        match (path.strip_prefix("data"), &mut self.members) {
            (Some(_), None) => {}
            (Some(rest), Some(members)) => {
                if let Some((name, true)) = member(rest) {
                    members.remove(name);
                }
            }
            (None, _) => {
                self.extensions.remove(path);
            }
        }
    }
}

/// The first step of what follows `data`, and whether it is the last; `None` for what is not plainly written.
fn member(rest: &str) -> Option<(&str, bool)> {
    let rest = rest.strip_prefix('.')?;
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    Some((&rest[..end], end == rest.len()))
}
