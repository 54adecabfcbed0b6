//! From the merged tree to the validated config.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    arrivals::{self, Arrivals},
    dead_letters::{DeadLettersConfig, RawDeadLetters},
    decode::decode_what_is_valid,
    dedupe::{DedupeConfig, RawDedupe},
    disk,
    faults::{self, FaultsConfig, RawFaults},
    handler::{self, HandlerConfig},
    journal::{JournalConfig, RawJournal},
    layers::Tree,
    live::Fixed,
    message, names,
    path::KeyPath,
    problems::{Problems, Reporter},
    reload::{RawReload, ReloadConfig},
    routing::{RawRouting, Unmatched},
    schema::SECTIONS,
    service::{RawService, ServiceConfig},
    sink::{self, SinkConfig},
    source::{self, SourceConfig},
    suggest,
    supervision::{RawSupervision, Supervision},
    test_case::{self, Named, TestCase},
    unsupported, wiring,
    written::Written,
};
use crate::components::Components;

/// A whole config, valid and ready to be started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The process as a whole.
    pub service: ServiceConfig,
    /// In the order of the files; at least one.
    pub sources: Vec<SourceConfig>,
    /// In the order of the files.
    pub handlers: Vec<HandlerConfig>,
    /// In the order of the files.
    pub sinks: Vec<SinkConfig>,
    /// What happens to events that no handler wants.
    pub unmatched: Unmatched,
    /// The defaults of all handlers, and what holds for sources and sinks.
    pub supervision: Supervision,
    /// Where events that were given up are kept.
    pub dead_letters: DeadLettersConfig,
    /// How events are kept on disk until they are finished.
    pub journal: JournalConfig,
    /// How far back events are known that come again, if they are.
    pub dedupe: Option<DedupeConfig>,
    /// How a changed config is taken over.
    pub reload: ReloadConfig,
    /// What a reload cannot change.
    pub fixed: Fixed,
    /// A short stable hash of the merged config, secrets left out.
    pub version: String,
    /// What may be shown of it.
    pub written: Written,
    /// Faults to inject, if there are any.
    pub faults: Option<FaultsConfig>,
    /// What `veltrix test` runs.
    pub tests: Vec<TestCase>,
}

/// Whose paths are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This machine's, with this user's permissions: the config is to run here, so they must be writable.
    Here,
    /// Another's: the config is only read.
    Elsewhere,
}

/// What the validation of a component may look at beside its own section.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) components: &'a Components,
    pub(crate) reporter: &'a Reporter,
    /// The whole config.
    pub(crate) tree: &'a Value,
    /// The names of all sinks, valid or not.
    pub(crate) sinks: &'a [&'a str],
    /// What handlers' `supervision` is laid over.
    pub(crate) supervision: &'a Supervision,
}

impl Context<'_> {
    /// Reports a sink that does not exist; `also` are the other choices at `path`.
    pub(crate) fn check_sink(&self, name: &str, path: &KeyPath, also: &[&str]) {
        if !self.sinks.contains(&name) && !also.contains(&name) {
            let known: Vec<&str> = self.sinks.iter().chain(also).copied().collect();
            let help = suggest::help(name, "known targets", &known);
            self.reporter
                .value(path, format!("`{path}`: unknown sink `{name}`"), Some(help));
        }
    }
}

/// Validates the tree; with the config come the warnings.
pub(crate) fn validate(
    tree: Tree,
    components: &Components,
    place: Place,
) -> Result<(Config, Problems), Problems> {
    let reporter = Reporter::new(tree.origins, tree.problems);
    let config = build(tree.value, components, place, &reporter).map(|config| Config {
        version: tree.version,
        written: tree.written,
        ..config
    });
    match config {
        Some(config) if !reporter.has_errors() => Ok((config, reporter.into_problems())),
        _ => Err(reporter.into_problems()),
    }
}

fn build(
    mut tree: Value,
    components: &Components,
    place: Place,
    reporter: &Reporter,
) -> Option<Config> {
    unsupported::refuse(&mut tree, reporter);
    unknown_sections(&tree, reporter);
    let service: Option<RawService> = section(&tree, "service", reporter);
    let service = service.map(|raw| raw.validate(reporter));
    let supervision = supervision(&tree, reporter);
    let raw_sources = names::entries(&tree, "sources", reporter);
    let raw_handlers = names::entries(&tree, "handlers", reporter);
    let raw_sinks = names::entries(&tree, "sinks", reporter);
    let sink_names = sink_names(&tree);
    let context = Context {
        components,
        reporter,
        tree: &tree,
        sinks: &sink_names,
        supervision: &supervision,
    };

    // all are validated, so that each one's problems are reported
    let sources: Vec<_> = raw_sources
        .iter()
        .map(|(name, value)| source::validate(name, value, context))
        .collect();
    let handlers: Vec<_> = raw_handlers
        .iter()
        .map(|(name, value)| handler::validate(name, value, context))
        .collect();
    let sinks: Vec<_> = raw_sinks
        .iter()
        .map(|(name, value)| sink::validate(name, value, context))
        .collect();
    let unmatched = unmatched(&tree, context);
    let unmatched_sink = unmatched.as_ref().and_then(Unmatched::sink);
    let dead_letters = dead_letters(&tree, context);
    let journal = journal(&tree, reporter);
    let dedupe = dedupe(&tree, journal.as_ref(), reporter);
    let reload = reload(&tree, reporter);
    let copies_sink = dead_letters
        .as_ref()
        .and_then(|config| config.also_to.as_deref());
    let faults = faults(&tree, [&raw_sources, &raw_handlers, &raw_sinks], reporter);
    needs_sources(&tree, reporter);
    wiring::listeners(&raw_sources, service.as_ref(), reporter);
    wiring::file_paths(&raw_sinks, reporter);
    let tests = tests(&tree, &raw_sources, &raw_handlers, context);
    let valid_handlers = pairs(&handlers, &raw_handlers);
    wiring::loops(&valid_handlers, reporter);
    if place == Place::Here {
        disk::check(service.as_ref(), &raw_sinks, faults.as_ref(), reporter);
    }
    if !reporter.has_errors() {
        // beside errors such warnings mislead: a misspelt name leaves the right one unused
        let elsewhere = [unmatched_sink, copies_sink];
        wiring::unused_sinks(&sink_names, &raw_handlers, &elsewhere, reporter);
        let valid_sources = pairs(&sources, &raw_sources);
        warn_of_arrivals(&valid_sources, &valid_handlers, unmatched_sink, reporter);
    }
    Some(Config {
        service: service?,
        sources: sources.into_iter().collect::<Option<_>>()?,
        handlers: handlers.into_iter().collect::<Option<_>>()?,
        sinks: sinks.into_iter().collect::<Option<_>>()?,
        unmatched: unmatched?,
        supervision,
        dead_letters: dead_letters?,
        journal: journal?,
        dedupe,
        reload: reload?,
        fixed: Fixed::of(&tree),
        version: String::new(),
        written: Written::default(),
        faults,
        tests,
    })
}

/// Valid components, each with its section.
fn pairs<'a, T>(valid: &'a [Option<T>], raw: &[(&str, &'a Value)]) -> Vec<(&'a T, &'a Value)> {
    let all = valid.iter().zip(raw);
    all.filter_map(|(valid, (_, value))| Some((valid.as_ref()?, *value)))
        .collect()
}

/// Warns of handlers, patterns and keys that no event fits.
fn warn_of_arrivals(
    sources: &[(&SourceConfig, &Value)],
    handlers: &[(&HandlerConfig, &Value)],
    unmatched_sink: Option<&str>,
    reporter: &Reporter,
) {
    if handlers.is_empty() && unmatched_sink.is_none() {
        let message = "the config has no handlers, so every event is unmatched";
        reporter.warn(&KeyPath::of(["handlers"]), message, None);
    }
    arrivals::warn_of_never(handlers, reporter);
    arrivals::warn_of_renamed_keys(handlers, reporter);
    if let Some(found) = Arrivals::find(sources, handlers) {
        found.warn_of_unreached(handlers, reporter);
        found.warn_of_missing_keys(handlers, reporter);
    }
}

impl Unmatched {
    fn sink(&self) -> Option<&str> {
        match self {
            Self::Sink(name) => Some(name),
            _ => None,
        }
    }
}

fn dead_letters(tree: &Value, context: Context<'_>) -> Option<DeadLettersConfig> {
    let raw: Option<RawDeadLetters> = section(tree, "dead_letters", context.reporter);
    raw.map(|raw| raw.validate(context))
}

/// Off unless the section is there.
fn dedupe(
    tree: &Value,
    journal: Option<&JournalConfig>,
    reporter: &Reporter,
) -> Option<DedupeConfig> {
    tree.get("dedupe")?;
    let raw: Option<RawDedupe> = section(tree, "dedupe", reporter);
    raw.map(|raw| raw.validate(journal, reporter))
}

fn reload(tree: &Value, reporter: &Reporter) -> Option<ReloadConfig> {
    let raw: Option<RawReload> = section(tree, "reload", reporter);
    raw.map(|raw| raw.validate())
}

fn journal(tree: &Value, reporter: &Reporter) -> Option<JournalConfig> {
    let raw: Option<RawJournal> = section(tree, "journal", reporter);
    raw.map(|raw| raw.validate(reporter))
}

/// The names of all sinks, valid or not.
fn sink_names(tree: &Value) -> Vec<&str> {
    let sinks = tree.get("sinks").and_then(Value::as_object);
    let names = sinks.into_iter().flatten();
    names.map(|(name, _)| name.as_str()).collect()
}

/// What happens to events that no handler wants.
fn unmatched(tree: &Value, context: Context<'_>) -> Option<Unmatched> {
    let routing: RawRouting = section(tree, "routing", context.reporter)?;
    let unmatched = routing.unmatched();
    if let Unmatched::Sink(name) = &unmatched {
        let path = KeyPath::of(["routing", "unmatched"]);
        context.check_sink(name, &path, &["dead-letter", "drop"]);
    }
    Some(unmatched)
}

/// The defaults of all handlers.
fn supervision(tree: &Value, reporter: &Reporter) -> Supervision {
    let raw: Option<RawSupervision> = section(tree, "supervision", reporter);
    let path = KeyPath::of(["supervision"]);
    raw.unwrap_or_default()
        .over(&Supervision::default(), &path, reporter)
}

/// What shall go wrong on purpose, if anything.
fn faults(
    tree: &Value,
    [sources, handlers, sinks]: [&[(&str, &Value)]; 3],
    reporter: &Reporter,
) -> Option<FaultsConfig> {
    let raw: Option<RawFaults> = section(tree, "faults", reporter);
    let named = [("source", sources), ("handler", handlers), ("sink", sinks)];
    raw?.validate(&faults::points(&named), reporter)
}

/// What `veltrix test` runs.
fn tests(
    tree: &Value,
    sources: &[(&str, &Value)],
    handlers: &[(&str, &Value)],
    context: Context<'_>,
) -> Vec<TestCase> {
    let has_envelope = |(_, source): &&(&str, &Value)| source.get("envelope").is_some();
    let calls = |(_, handler): &&(&str, &Value)| {
        let kind = handler.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| !handler::PASSING.contains(&kind))
    };
    let named = Named {
        context,
        envelopes: sources
            .iter()
            .filter(has_envelope)
            .map(|(name, _)| *name)
            .collect(),
        callers: handlers
            .iter()
            .filter(calls)
            .map(|(name, _)| *name)
            .collect(),
    };
    test_case::validate(tree, &named)
}

/// One of the sections that are single mappings, without what was reported; left out, all of its defaults.
fn section<T: DeserializeOwned + schemars::JsonSchema>(
    tree: &Value,
    name: &str,
    reporter: &Reporter,
) -> Option<T> {
    let empty = Value::Object(serde_json::Map::new());
    decode_what_is_valid(
        tree.get(name).unwrap_or(&empty),
        &KeyPath::of([name]),
        &[],
        reporter,
    )
    .0
}

fn unknown_sections(tree: &Value, reporter: &Reporter) {
    let valid = SECTIONS.map(str::to_owned);
    for key in tree.as_object().into_iter().flatten().map(|(key, _)| key) {
        if key == "templates" {
            let help = "YAML has anchors for what repeats: `x-patient: &patient { attempts: 9 }` at the top level, and where it is needed \
                        `supervision: *patient`, or `<<: *patient` among other keys";
            reporter.key(
                &KeyPath::ROOT.key(key),
                "there are no `templates`",
                Some(help.to_owned()),
            );
        } else if !SECTIONS.contains(&key.as_str()) {
            message::unknown_key(reporter, &KeyPath::ROOT, key, &valid, &[]);
        }
    }
}

fn needs_sources(tree: &Value, reporter: &Reporter) {
    let sources = tree.get("sources").and_then(Value::as_object);
    // what is no mapping has been reported
    if tree.get("sources").is_none() || sources.is_some_and(serde_json::Map::is_empty) {
        let help = "add one: `sources: { demo: { type: generate, rate: 1 } }`".to_owned();
        let message = "the config has no sources, so no event can come in";
        reporter.key(&KeyPath::of(["sources"]), message, Some(help));
    }
}
