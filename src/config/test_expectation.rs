//! What shall come of a test: events by attributes, paths and conditions, or just how many.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::{path::KeyPath, suggest, test_case::Named};

/// What shall come, as the schema shows it.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum RawExpected {
    /// `any`: not looked at.
    Any(String),
    /// So many, whatever they are.
    Count(u64),
    /// These, each a mapping or a CEL condition.
    Each(Vec<RawItem>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum RawItem {
    /// A CEL condition that the event meets.
    Condition(String),
    /// Attributes, `data` or paths such as `data.total` with their values; `event` for all of it; `check`: a CEL condition;
    /// `ignore`: paths that are left out. Of dead letters `branch`, `class`, `reason` (a part of it) and `event` with these.
    Fields(Map<String, Value>),
}

/// What shall come somewhere.
#[derive(Clone, Debug)]
pub enum Expected<T> {
    /// Whatever comes.
    Any,
    /// So many, whatever they are.
    Count(usize),
    /// These and no others.
    Each(Vec<T>),
}

/// What one event shall be like.
#[derive(Clone, Debug, Default)]
pub struct ExpectedEvent {
    /// As it was written, to name it.
    pub written: String,
    /// Paths and their values.
    pub fields: Vec<(String, Value)>,
    /// A CEL condition.
    pub check: Option<String>,
    /// Paths that are not compared, step by step; `*` is any step.
    pub ignore: Vec<Vec<String>>,
}

/// What one dead letter shall be like; what is `None` is not looked at.
#[derive(Clone, Debug, Default)]
pub struct ExpectedDeadLetter {
    /// As it was written, to name it.
    pub written: String,
    /// `handler.NAME`, `sink.NAME` or `router`.
    pub branch: Option<String>,
    /// The kind of failure.
    pub class: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
    /// The event.
    pub event: ExpectedEvent,
}

type ValidateItem<T> = fn(&Value, &KeyPath, &Named<'_>) -> Option<T>;

impl<T> Expected<T> {
    pub(crate) fn validate(
        value: &Value,
        path: &KeyPath,
        named: &Named<'_>,
        item: ValidateItem<T>,
    ) -> Option<Self> {
        match value {
            Value::String(word) if word == "any" => Some(Self::Any),
            Value::Number(number) if number.as_u64().is_some() => {
                let count = number
                    .as_u64()
                    .and_then(|count| usize::try_from(count).ok());
                count.map(Self::Count)
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items: Vec<_> = items
                    .map(|(index, value)| item(value, &path.index(index), named))
                    .collect();
                Some(Self::Each(items.into_iter().collect::<Option<_>>()?))
            }
            _ => {
                let message =
                    format!("`{path}` must be a list of events, a number of them, or `any`");
                named.context.reporter.value(path, message, None);
                None
            }
        }
    }
}

impl ExpectedEvent {
    pub(crate) fn validate(value: &Value, path: &KeyPath, named: &Named<'_>) -> Option<Self> {
        let written = value.to_string();
        match value {
            Value::String(check) => named.check_condition(check, path).then(|| Self {
                written,
                check: Some(check.clone()),
                ..Self::default()
            }),
            Value::Object(map) => Self::of_fields(map, written, path, named),
            _ => {
                let message = format!("`{path}` must be a mapping or a CEL condition");
                let help = "write `{ type: order.priced, data.total: 29.97 }` or `data.total > 20`";
                named
                    .context
                    .reporter
                    .value(path, message, Some(help.to_owned()));
                None
            }
        }
    }

    fn of_fields(
        map: &Map<String, Value>,
        written: String,
        path: &KeyPath,
        named: &Named<'_>,
    ) -> Option<Self> {
        let mut expected = Self {
            written,
            ..Self::default()
        };
        let mut is_valid = true;
        for (key, value) in map {
            let at = path.key(key);
            match (key.as_str(), value) {
                ("check", Value::String(check)) => {
                    is_valid &= named.check_condition(check, &at);
                    expected.check = Some(check.clone());
                }
                ("ignore", Value::Array(paths)) if paths.iter().all(Value::is_string) => {
                    let paths = paths.iter().filter_map(Value::as_str);
                    expected.ignore = paths.map(steps).collect();
                }
                ("check", _) => is_valid &= refuse(named, &at, "must be a CEL condition"),
                ("ignore", _) => is_valid &= refuse(named, &at, "must be a list of paths"),
                (name, _) if is_path(name) => {
                    expected.fields.push((name.to_owned(), value.clone()));
                }
                _ => {
                    let why = "is no attribute, no path such as `data.total`, nor `event`, `check` or `ignore`";
                    named
                        .context
                        .reporter
                        .key(&at, format!("`{path}`: `{key}` {why}"), None);
                    is_valid = false;
                }
            }
        }
        is_valid.then_some(expected)
    }
}

impl ExpectedDeadLetter {
    pub(crate) fn validate(value: &Value, path: &KeyPath, named: &Named<'_>) -> Option<Self> {
        const KEYS: [&str; 4] = ["branch", "class", "reason", "event"];
        let Value::Object(map) = value else {
            let help =
                "write `{ branch: handler.NAME, class: error, event: { id: \"1\" } }`".to_owned();
            let message = format!("`{path}` must be a mapping");
            named.context.reporter.value(path, message, Some(help));
            return None;
        };
        let mut expected = Self {
            written: value.to_string(),
            ..Self::default()
        };
        let mut is_valid = true;
        for (key, value) in map {
            let at = path.key(key);
            let text = value.as_str().map(str::to_owned);
            match key.as_str() {
                "event" => match ExpectedEvent::validate(value, &at, named) {
                    Some(event) => expected.event = event,
                    None => is_valid = false,
                },
                "branch" | "class" | "reason" if text.is_none() => {
                    is_valid &= refuse(named, &at, "must be a text");
                }
                "branch" => expected.branch = text,
                "class" => expected.class = text,
                "reason" => expected.reason = text,
                _ => {
                    let help = suggest::help(key, "keys of a dead letter", &KEYS);
                    let message = format!("unknown key `{key}` in `{path}`");
                    named.context.reporter.key(&at, message, Some(help));
                    is_valid = false;
                }
            }
        }
        is_valid.then_some(expected)
    }
}

fn refuse(named: &Named<'_>, path: &KeyPath, why: &str) -> bool {
    named
        .context
        .reporter
        .value(path, format!("`{path}` {why}"), None);
    false
}

/// The steps of `data.items.*.price`.
pub(crate) fn steps(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// An attribute's name, or a way into `data`.
fn is_path(text: &str) -> bool {
    let is_attribute = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    is_attribute(text)
        || text == "data_base64"
        || text
            .strip_prefix("data.")
            .is_some_and(|rest| rest.split('.').all(|step| !step.is_empty()))
}
