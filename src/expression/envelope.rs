//! The expressions of a source's `envelope`: the attributes of an event out of a plain JSON line.

use std::sync::Arc;

use veltrix_actors::StartError;

use super::locate::PathTrie;
use super::{Compiler, Expression, Located, Scope, Slots};
use crate::config::Envelope;
use crate::lines::{Attributes, EnvelopeFactory, LineAttributes};

/// A compiled envelope.
pub(crate) struct EnvelopeExpressions {
    slots: Slots,
    event_type: Expression,
    source: Expression,
    id: Option<Expression>,
    subject: Option<Expression>,
    time: Option<Expression>,
    located: Located,
}

impl EnvelopeExpressions {
    /// Makes the evaluator of `envelope` for each start of its source.
    pub(crate) fn factory(envelope: Envelope) -> EnvelopeFactory {
        Arc::new(move || match Self::compile(&envelope) {
            Ok(compiled) => Ok(Box::new(compiled)),
            Err(error) => Err(StartError(format!("envelope: {error}"))),
        })
    }

    fn compile(envelope: &Envelope) -> Result<Self, super::ExpressionError> {
        let mut compiler = Compiler::new(Scope::Line);
        let mut compile =
            |expression: &crate::config::Expression| compiler.compile(&expression.text);
        let event_type = compile(&envelope.event_type)?;
        let source = compile(&envelope.source)?;
        let id = envelope.id.as_ref().map(&mut compile).transpose()?;
        let subject = envelope.subject.as_ref().map(&mut compile).transpose()?;
        let time = envelope.time.as_ref().map(&mut compile).transpose()?;
        Ok(Self {
            slots: compiler.finish(),
            event_type,
            source,
            id,
            subject,
            time,
            located: Located::default(),
        })
    }
}

impl LineAttributes for EnvelopeExpressions {
    fn evaluate(&mut self, line: &str) -> Result<Attributes, String> {
        let start = super::skip_whitespace(line.as_bytes(), 0);
        self.located
            .scan(&self.slots.trie, PathTrie::ROOT, line, start)
            .map_err(|error| error.to_string())?;
        let bindings = self.slots.bind(line, Some(&self.located), |_| None);
        let text = |name: &str, expression: &Expression| {
            let mut json = Vec::new();
            let written = expression
                .write_json(&bindings, &mut json)
                .map_err(|error| error.to_string());
            written
                .and_then(|()| as_text(&json))
                .map_err(|error| format!("envelope.{name}: {error}"))
        };
        let optional = |name, expression: &Option<Expression>| {
            expression
                .as_ref()
                .map(|expression| text(name, expression))
                .transpose()
        };
        Ok(Attributes {
            event_type: text("type", &self.event_type)?,
            source: text("source", &self.source)?,
            id: optional("id", &self.id)?,
            subject: optional("subject", &self.subject)?,
            time: optional("time", &self.time)?,
        })
    }
}

/// Attributes are strings; numbers and booleans make good ids, so they are written out.
fn as_text(json: &[u8]) -> Result<String, String> {
    match serde_json::from_slice(json) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(value.to_string())
        }
        Ok(value) => Err(format!("{value} is no text, number or boolean")),
        Err(error) => Err(error.to_string()),
    }
}
