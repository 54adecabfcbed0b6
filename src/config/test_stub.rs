//! What a handler answers in a test instead of calling its component.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    bounded::WholeNumber, decode::decode, path::KeyPath, test_case::Named, test_given::event_line,
};

/// Stubs by handler, as the schema shows them.
pub(crate) type RawStubs = BTreeMap<String, OneOrSeveral>;

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum OneOrSeveral {
    /// Always the same answer.
    One(Box<RawStub>),
    /// The first one that fits answers.
    Several(Vec<RawStub>),
}

/// One answer. It says one of `data`, `events`, `error`, `refused` and `timeout`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStub {
    /// A CEL condition on the event; left out, it answers to each.
    when: Option<String>,
    /// How often it answers; after that, those below it do.
    times: Option<WholeNumber<1, { u32::MAX }>>,
    /// The data of one result, as a component answers plain JSON.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Value")]
    data: Option<Value>,
    /// Whole events; an empty list is an answer without a result.
    events: Option<Vec<Map<String, Value>>>,
    /// A failure that is worth another attempt.
    error: Option<String>,
    /// A failure for good: the event is a dead letter.
    refused: Option<String>,
    /// No answer in time.
    timeout: Option<bool>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Stub {
    /// A CEL condition on the event.
    pub when: Option<String>,
    /// How often it answers.
    pub times: Option<u32>,
    /// What it answers.
    pub answer: StubAnswer,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum StubAnswer {
    /// JSON, which becomes the data of a result.
    Data(String),
    /// Lines of CloudEvents JSON.
    Events(Vec<String>),
    /// A failure that is worth another attempt.
    Error(String),
    /// A failure for good.
    Refused(String),
    /// No answer in time.
    Timeout,
}

/// `data: null` is an answer too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Stub {
    /// The answers of one handler: a mapping or a list of them.
    pub(crate) fn validate_all(
        value: &Value,
        path: &KeyPath,
        named: &Named<'_>,
    ) -> Option<Vec<Self>> {
        let Value::Array(items) = value else {
            return Some(vec![Self::validate(value, path, named)?]);
        };
        let items = items.iter().enumerate();
        let stubs: Vec<_> = items
            .map(|(index, item)| Self::validate(item, &path.index(index), named))
            .collect();
        stubs.into_iter().collect()
    }

    fn validate(value: &Value, path: &KeyPath, named: &Named<'_>) -> Option<Self> {
        let raw: RawStub = decode(value, path, &[], named.context.reporter)?;
        let when = raw.when.as_deref();
        let is_valid = when.is_none_or(|when| named.check_condition(when, &path.key("when")));
        let events = match &raw.events {
            Some(events) => Some(StubAnswer::Events(lines(events, path, named)?)),
            None => None,
        };
        let timeout = raw.timeout.filter(|is_one| *is_one);
        let answers = [
            raw.data.map(|data| StubAnswer::Data(data.to_string())),
            events,
            raw.error.map(StubAnswer::Error),
            raw.refused.map(StubAnswer::Refused),
            timeout.map(|_| StubAnswer::Timeout),
        ];
        let mut answers = answers.into_iter().flatten();
        match (answers.next(), answers.next()) {
            (Some(answer), None) => is_valid.then_some(Self {
                when: raw.when,
                times: raw.times.map(WholeNumber::get),
                answer,
            }),
            _ => {
                let message = format!(
                    "`{path}` must say one of `data`, `events`, `error`, `refused` and `timeout: true`"
                );
                named.context.reporter.value(path, message, None);
                None
            }
        }
    }
}

fn lines(events: &[Map<String, Value>], path: &KeyPath, named: &Named<'_>) -> Option<Vec<String>> {
    let mut lines = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let line = event_line(event, index, None);
        if let Err(error) = veltrix_actors::check_line(&line) {
            let at = path.key("events").index(index);
            let message = format!("`{at}` is no event: {error}");
            named.context.reporter.value(&at, message, None);
            return None;
        }
        lines.push(line);
    }
    Some(lines)
}
