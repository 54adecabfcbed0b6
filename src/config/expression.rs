//! CEL expressions as the config holds them: text and place; whoever evaluates them compiles them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{path::KeyPath, problems::Reporter};

/// What an expression is for, which decides what it can read and what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A bool over an event.
    Condition,
    /// A string, a number or a bool over `line`.
    Attribute,
}

/// Compiles an expression and tells what is wrong with it.
pub type CheckExpression = fn(&str, Purpose) -> Result<(), String>;

/// A CEL expression that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// As it was written.
    pub text: String,
    /// Where it was written.
    pub path: KeyPath,
}

impl Expression {
    /// Checks the text; `None` after a problem has been reported.
    pub(crate) fn check(
        text: String,
        path: KeyPath,
        purpose: Purpose,
        check: CheckExpression,
        reporter: &Reporter,
    ) -> Option<Self> {
        match check(&text, purpose) {
            Ok(()) => Some(Self { text, path }),
            Err(why) => {
                reporter.value(&path, format!("`{path}`: {why}"), None);
                None
            }
        }
    }
}

/// How a plain JSON line becomes an event: CEL expressions over the line, bound as `line`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEnvelope {
    /// The event's type, such as `'log.' + line.level`.
    #[serde(rename = "type")]
    event_type: String,
    /// The event's source, such as `'/app'`.
    source: String,
    /// The event's id, such as `line.id`; without it each line gets a unique one, anew at every reading.
    id: Option<String>,
    /// The event's subject; without it the event has none.
    subject: Option<String>,
    /// The event's time; without it the event has none.
    time: Option<String>,
}

/// How a plain JSON line becomes an event; each expression is over the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The event's type.
    pub event_type: Expression,
    /// The event's source.
    pub source: Expression,
    /// The event's id; unique ones are made up without it.
    pub id: Option<Expression>,
    /// The event's subject, if it shall have one.
    pub subject: Option<Expression>,
    /// The event's time, if it shall have one.
    pub time: Option<Expression>,
}

impl RawEnvelope {
    /// Checks each expression; `None` after all that is wrong has been reported.
    pub(crate) fn validate(
        self,
        path: &KeyPath,
        check: CheckExpression,
        reporter: &Reporter,
    ) -> Option<Envelope> {
        let expression = |key: &str, text: String| {
            Expression::check(text, path.key(key), Purpose::Attribute, check, reporter)
        };
        let optional = |key: &str, text: Option<String>| match text {
            Some(text) => expression(key, text).map(Some),
            None => Some(None),
        };
        // all are checked before the first `?`, so that each is reported
        let event_type = expression("type", self.event_type);
        let source = expression("source", self.source);
        let id = optional("id", self.id);
        let subject = optional("subject", self.subject);
        let time = optional("time", self.time);
        Some(Envelope {
            event_type: event_type?,
            source: source?,
            id: id?,
            subject: subject?,
            time: time?,
        })
    }
}
