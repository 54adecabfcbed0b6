//! The envelope of a derived result: deterministic id, the handler as source, and the chain of causes.

use std::fmt::Write as _;

use crate::envelope::{Envelope, Span};
use crate::event::{Event, EventRecord};
use crate::handler::HandlerError;
use crate::types::TypeId;

/// Attributes of the cause that a result keeps beside `subject`.
const KEPT: [&str; 4] = ["time", "datacontenttype", "traceparent", "tracestate"];

/// Writes envelopes for the results of one handler.
#[derive(Clone, Debug)]
pub(crate) struct Deriver {
    handler: String,
    /// `/veltrix/<service>/<handler>`, the results' `source`.
    source: String,
}

/// An envelope that lacks its data and closing brace.
pub(crate) struct Derived {
    id: Span,
    source: Span,
    subject: Option<Span>,
    event_type: Span,
    data_start: usize,
    escaped: bool,
}

impl Deriver {
    /// Names come from the config, where only `A-Za-z0-9_-` is allowed, so they need no escapes.
    pub(crate) fn new(service: &str, handler: &str) -> Self {
        Self {
            handler: handler.to_owned(),
            source: format!("/veltrix/{service}/{handler}"),
        }
    }

    /// Appends everything up to the value of `data` for the cause's result number `number`.
    pub(crate) fn head(
        &self,
        text: &mut String,
        cause: &Event<'_>,
        event_type: &str,
        number: usize,
    ) -> Result<Derived, HandlerError> {
        if event_type.is_empty() || event_type.len() > crate::envelope::ATTRIBUTE_BYTES_MAX {
            return Err(HandlerError::permanent(
                "a result's type is empty or too long",
            ));
        }
        let start = text.len();
        text.push_str(r#"{"specversion":"1.0","id":""#);
        let id_start = text.len();
        text.push_str(cause.raw_id());
        write!(text, ".{}.{number}", self.handler).expect("writing to a string does not fail");
        let id = span(text, start, id_start);
        if id.len as usize > crate::envelope::ATTRIBUTE_BYTES_MAX {
            return Err(HandlerError::permanent("a result's id is too long"));
        }
        text.push('"');
        let source = string_member(text, start, "source", &self.source);
        let event_type = type_member(text, start, event_type);
        let subject = cause
            .raw_subject()
            .map(|raw| string_member(text, start, "subject", raw));
        push_chain(text, cause);
        text.push_str(r#","data":"#);
        Ok(Derived {
            id,
            source,
            subject,
            event_type: event_type.0,
            data_start: text.len() - start,
            escaped: event_type.1
                || cause.raw_id().contains('\\')
                || cause.raw_subject().is_some_and(|s| s.contains('\\')),
        })
    }
}

impl Derived {
    /// Closes the line whose data has been appended, and makes its record.
    pub(crate) fn finish(
        self,
        text: &mut String,
        start: usize,
        cause: &EventRecord,
        type_id: TypeId,
    ) -> EventRecord {
        let narrow = |length: usize| u32::try_from(length).expect("arenas are smaller than 4 GiB");
        let data = Span {
            start: narrow(self.data_start),
            len: narrow(text.len() - start - self.data_start),
        };
        text.push('}');
        let line = &text[start..];
        let from = self.event_type.start as usize;
        let envelope = Envelope {
            id: self.id,
            source: self.source,
            subject: self.subject,
            event_type: &line[from..from + self.event_type.len as usize],
            data: Some(data),
            escaped: self.escaped,
            has_more: true,
        };
        let mut record = EventRecord::new(start, line.len(), &envelope, line, type_id);
        (record.origin, record.index, record.hops) = (cause.origin, cause.index, cause.hops);
        record
    }
}

/// The attributes that tie the result to its causes. Most events have none to keep, and are not scanned.
fn push_chain(text: &mut String, cause: &Event<'_>) {
    let mut correlation = None;
    if cause.has_more_attributes() {
        for (name, value) in cause.attributes() {
            if name == "correlationid" {
                correlation = Some(value);
            } else if KEPT.contains(&&*name) {
                write!(text, r#","{name}":{value}"#).expect("writing to a string does not fail");
            }
        }
    }
    text.push_str(r#","causationid":""#);
    text.push_str(cause.raw_id());
    text.push_str(r#"","correlationid":"#);
    match correlation {
        Some(value) => text.push_str(value),
        None => {
            text.push('"');
            text.push_str(cause.raw_id());
            text.push('"');
        }
    }
}

fn string_member(text: &mut String, line_start: usize, name: &str, escaped_value: &str) -> Span {
    text.push_str(r#",""#);
    text.push_str(name);
    text.push_str(r#"":""#);
    let start = text.len();
    text.push_str(escaped_value);
    let span = span(text, line_start, start);
    text.push('"');
    span
}

/// The type is given unescaped; nearly none needs an escape.
fn type_member(text: &mut String, line_start: usize, event_type: &str) -> (Span, bool) {
    let plain = event_type
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if plain {
        return (string_member(text, line_start, "type", event_type), false);
    }
    let quoted = serde_json::Value::from(event_type).to_string();
    (
        string_member(text, line_start, "type", &quoted[1..quoted.len() - 1]),
        true,
    )
}

fn span(text: &str, line_start: usize, start: usize) -> Span {
    let narrow = |length: usize| u32::try_from(length).expect("arenas are smaller than 4 GiB");
    Span {
        start: narrow(start - line_start),
        len: narrow(text.len() - start),
    }
}
