//! The `tests` section: events that are given, and what shall become of them. `veltrix test` runs them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    decode::decode,
    expression::Purpose,
    origins::Location,
    path::KeyPath,
    suggest,
    test_expectation::{Expected, ExpectedDeadLetter, ExpectedEvent, RawExpected},
    test_given::{Given, RawGiven},
    test_stub::{RawStubs, Stub},
    validate::Context,
};

/// What is given, and what shall become of it; `veltrix test` runs it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTest {
    /// What it shows, as a sentence; no two have the same.
    name: String,
    /// The events that come in: a list, or `{ file: PATH }` with one a line, beside the config file.
    #[schemars(with = "RawGiven")]
    given: Value,
    /// The `time` of given events that have none, so that results are the same each time.
    time: Option<String>,
    /// Each event comes in once the one before is through, and results must come in the order that is written.
    #[serde(default)]
    in_order: bool,
    /// By handler: what it answers instead of calling its component.
    #[serde(default)]
    #[schemars(with = "RawStubs")]
    stubs: Map<String, Value>,
    /// Handlers of type `http` and `exec` that may call their components in this test.
    #[serde(default)]
    live: Vec<String>,
    /// By sink: what comes to it; nothing may come to those that are left out.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, RawExpected>")]
    expect: Map<String, Value>,
    /// The dead letters; left out, there must be none.
    #[serde(default)]
    #[schemars(with = "Option<RawExpected>")]
    dead_letters: Option<Value>,
    /// The events that no handler wants, wherever `routing.unmatched` sends them; left out, there must be none.
    #[serde(default)]
    #[schemars(with = "Option<RawExpected>")]
    unmatched: Option<Value>,
}

/// One test, ready to be run.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// What it shows.
    pub name: String,
    /// Where it stands: file and line.
    pub place: String,
    /// The folder that files are looked for in.
    pub folder: PathBuf,
    /// What comes in.
    pub given: Given,
    /// The `time` of given events that have none.
    pub time: Option<String>,
    /// Whether events come in one after the other, and the order of results counts.
    pub in_order: bool,
    /// What handlers answer instead of calling their components.
    pub stubs: Vec<(String, Vec<Stub>)>,
    /// Handlers that may call their components.
    pub live: Vec<String>,
    /// What comes to sinks; nothing to the others.
    pub sinks: Vec<(String, Expected<ExpectedEvent>)>,
    /// What is given up.
    pub dead_letters: Expected<ExpectedDeadLetter>,
    /// What no handler wants.
    pub unmatched: Expected<ExpectedEvent>,
}

/// What tests refer to.
pub(crate) struct Named<'a> {
    pub(crate) context: Context<'a>,
    /// The sources with an `envelope`.
    pub(crate) envelopes: Vec<&'a str>,
    /// The handlers that call a component, and those of users' own types.
    pub(crate) callers: Vec<&'a str>,
}

/// Validates all tests.
pub(crate) fn validate(tree: &Value, named: &Named<'_>) -> Vec<TestCase> {
    let path = KeyPath::of(["tests"]);
    let items = match tree.get("tests") {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            let message = "`tests` must be a list of tests";
            named.context.reporter.value(&path, message, None);
            return Vec::new();
        }
    };
    let mut names = std::collections::HashSet::new();
    let mut cases = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        let Some(raw) = decode::<RawTest>(item, &path, &[], named.context.reporter) else {
            continue;
        };
        if !names.insert(raw.name.clone()) {
            let message = format!("two tests are called `{}`", raw.name);
            named
                .context
                .reporter
                .value(&path.key("name"), message, None);
        }
        cases.extend(raw.validate(&path, named));
    }
    cases
}

impl RawTest {
    fn validate(self, path: &KeyPath, named: &Named<'_>) -> Option<TestCase> {
        let reporter = named.context.reporter;
        let (place, folder) = match reporter.origins.key(path) {
            Some(Location::File(at)) => {
                let file = PathBuf::from(at.file());
                let folder = file.parent().map(PathBuf::from).unwrap_or_default();
                (format!("{}:{}", at.file(), at.span().line), folder)
            }
            _ => (path.to_string(), PathBuf::new()),
        };
        let time = self.time.as_deref();
        if time.is_some_and(|time| !veltrix_actors::is_rfc3339(time)) {
            let at = path.key("time");
            let message = format!("`{at}`: not a time such as `2026-01-31T12:00:00Z`");
            reporter.value(&at, message, None);
        }
        // all are looked at before the first `?`, so that each one's problems are reported
        let given = Given::validate(&self.given, time, &folder, &path.key("given"), named);
        let stubs = self.stubs(&path.key("stubs"), named);
        self.check_live(&path.key("live"), named);
        let sinks = self.sinks(&path.key("expect"), named);
        let none = || Some(Expected::Each(Vec::new()));
        let at = path.key("dead_letters");
        let dead_letters = match &self.dead_letters {
            Some(value) => Expected::validate(value, &at, named, ExpectedDeadLetter::validate),
            None => none(),
        };
        let at = path.key("unmatched");
        let unmatched = match &self.unmatched {
            Some(value) => Expected::validate(value, &at, named, ExpectedEvent::validate),
            None => Some(Expected::Each(Vec::new())),
        };
        Some(TestCase {
            given: given?,
            stubs: stubs?,
            sinks: sinks?,
            dead_letters: dead_letters?,
            unmatched: unmatched?,
            name: self.name,
            place,
            folder,
            time: self.time,
            in_order: self.in_order,
            live: self.live,
        })
    }

    fn stubs(&self, path: &KeyPath, named: &Named<'_>) -> Option<Vec<(String, Vec<Stub>)>> {
        let mut stubs = Vec::new();
        let mut is_valid = true;
        for (name, value) in &self.stubs {
            let at = path.key(name);
            named.check_caller(name, &at, true);
            let answers = Stub::validate_all(value, &at, named);
            is_valid &= answers.is_some();
            stubs.extend(answers.map(|answers| (name.clone(), answers)));
        }
        is_valid.then_some(stubs)
    }

    fn check_live(&self, path: &KeyPath, named: &Named<'_>) {
        for (index, name) in self.live.iter().enumerate() {
            let at = path.index(index);
            named.check_caller(name, &at, false);
            if self.stubs.contains_key(name) {
                let message = format!("`{at}`: `{name}` cannot be live and have a stub");
                named.context.reporter.value(&at, message, None);
            }
        }
    }

    fn sinks(
        &self,
        path: &KeyPath,
        named: &Named<'_>,
    ) -> Option<Vec<(String, Expected<ExpectedEvent>)>> {
        let mut sinks = Vec::new();
        let mut is_valid = true;
        for (name, value) in &self.expect {
            let at = path.key(name);
            if !named.context.sinks.contains(&name.as_str()) {
                let help = suggest::help(name, "sinks", named.context.sinks);
                let message = format!("`{path}`: unknown sink `{name}`");
                named.context.reporter.key(&at, message, Some(help));
            }
            let expected = Expected::validate(value, &at, named, ExpectedEvent::validate);
            is_valid &= expected.is_some();
            sinks.extend(expected.map(|expected| (name.clone(), expected)));
        }
        is_valid.then_some(sinks)
    }
}

impl Named<'_> {
    fn check_caller(&self, name: &str, path: &KeyPath, is_key: bool) {
        if self.callers.contains(&name) {
            return;
        }
        let message = format!("`{path}`: `{name}` is no handler that calls a component");
        let help = suggest::help(name, "such handlers", &self.callers);
        match is_key {
            true => self.context.reporter.key(path, message, Some(help)),
            false => self.context.reporter.value(path, message, Some(help)),
        }
    }

    /// Reports what is wrong with a CEL condition.
    pub(crate) fn check_condition(&self, text: &str, path: &KeyPath) -> bool {
        match (self.context.components.check_expression)(text, Purpose::Condition) {
            Ok(()) => true,
            Err(why) => {
                let message = format!("`{path}`: {why}");
                self.context.reporter.value(path, message, None);
                false
            }
        }
    }
}
