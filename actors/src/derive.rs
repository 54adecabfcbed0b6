//! Derived results: deterministic id, the handler as source, and the chain of causes.

use std::fmt::Write as _;

use crate::batch::record_of;
use crate::envelope::{Envelope, Span};
use crate::event::{Event, EventRecord};
use crate::handler::HandlerError;
use crate::types::TypeId;

/// Attributes of the cause that a result keeps beside `subject`.
const KEPT: [&str; 4] = ["time", "datacontenttype", "traceparent", "tracestate"];

/// Writes the results of one handler.
#[derive(Clone, Debug)]
pub(crate) struct Deriver {
    handler: String,
    /// `/veltrix/<service>/<handler>`, the results' `source`.
    source: String,
}

/// A line that is being written: where it starts, and whether any of its attributes has escapes.
struct Line<'t> {
    text: &'t mut String,
    start: usize,
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

    /// Appends the cause's result number `number`. Without `data` it has the cause's payload; `attributes` (raw JSON, `None`
    /// to leave one out) come before what it would have by itself.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are what a result consists of, and it has one caller"
    )]
    pub(crate) fn write(
        &self,
        text: &mut String,
        cause: &Event<'_>,
        event_type: &str,
        type_id: TypeId,
        number: usize,
        attributes: &[(String, Option<String>)],
        data: Option<&str>,
    ) -> Result<EventRecord, HandlerError> {
        let start = text.len();
        let mut line = Line {
            text,
            start,
            escaped: false,
        };
        line.text.push_str(r#"{"specversion":"1.0","id":""#);
        let id_start = line.text.len();
        line.text.push_str(cause.raw_id());
        write!(line.text, ".{}.{number}", self.handler).expect("writing to a string does not fail");
        let id = line.close(id_start);
        let source = line.string("source", &self.source);
        let event_type = match needs_no_escape(event_type) {
            true => line.string("type", event_type),
            false => {
                let quoted = serde_json::Value::from(event_type).to_string();
                line.string("type", &quoted[1..quoted.len() - 1])
            }
        };
        let subject = match attributes.iter().find(|(name, _)| name == "subject") {
            Some((_, edited)) => edited.as_deref().map(unquoted),
            None => cause.raw_subject(),
        };
        let subject = subject.map(|raw| line.string("subject", raw));
        line.chain(cause, attributes);
        let data = line.payload(cause, data);
        line.text.push('}');
        for span in [id, event_type] {
            if span.len == 0 || span.len as usize > crate::envelope::ATTRIBUTE_BYTES_MAX {
                return Err(HandlerError::permanent(
                    "a result's id or type is empty or longer than 65535 bytes",
                ));
            }
        }
        let (text, escaped) = (&line.text[start..], line.escaped);
        let type_start = event_type.start as usize;
        let envelope = Envelope {
            id,
            source,
            subject,
            event_type: &text[type_start..type_start + event_type.len as usize],
            data,
            escaped,
            has_more: true,
        };
        let mut record = record_of(start, text, &envelope, type_id)
            .map_err(|error| HandlerError::Permanent(format!("the result is no event: {error}")))?;
        record.counts_for(cause.record());
        Ok(record)
    }
}

impl Line<'_> {
    fn string(&mut self, name: &str, escaped_value: &str) -> Span {
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":\"");
        let start = self.text.len();
        self.text.push_str(escaped_value);
        self.close(start)
    }

    /// Ends the string value that starts at `start`.
    fn close(&mut self, start: usize) -> Span {
        self.escaped |= memchr::memchr(b'\\', &self.text.as_bytes()[start..]).is_some();
        let span = self.span(start);
        self.text.push('"');
        span
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(value);
    }

    /// The attributes that tie the result to its causes. Most events have none to keep, and are not scanned.
    fn chain(&mut self, cause: &Event<'_>, attributes: &[(String, Option<String>)]) {
        let own = cause.attribute("id").expect("every event has an id");
        let mut correlation = own;
        if cause.has_more_attributes() {
            for (name, value) in cause.attributes() {
                let is_edited = attributes.iter().any(|(edited, _)| *edited == name);
                if name == "correlationid" {
                    correlation = value;
                } else if KEPT.contains(&&*name) && !is_edited {
                    self.raw(&name, value);
                }
            }
        }
        for (name, value) in attributes {
            if let Some(value) = value
                && !matches!(&**name, "subject" | "causationid" | "correlationid")
            {
                self.raw(name, value);
            }
        }
        self.raw("causationid", own);
        self.raw("correlationid", correlation);
    }

    /// The given data, or the cause's payload.
    fn payload(&mut self, cause: &Event<'_>, data: Option<&str>) -> Option<Span> {
        match data.or_else(|| cause.data()) {
            Some(data) => {
                self.text.push_str(",\"data\":");
                let start = self.text.len();
                self.text.push_str(data);
                Some(self.span(start))
            }
            None => {
                if let Some(base64) = cause.attribute("data_base64") {
                    self.raw("data_base64", base64);
                }
                None
            }
        }
    }

    fn span(&self, start: usize) -> Span {
        let narrow = |length: usize| u32::try_from(length).expect("arenas are smaller than 4 GiB");
        Span {
            start: narrow(start - self.start),
            len: narrow(self.text.len() - start),
        }
    }
}

/// The content of a JSON string.
fn unquoted(raw: &str) -> &str {
    raw.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(raw)
}

/// Nearly every type is plain.
fn needs_no_escape(event_type: &str) -> bool {
    event_type
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}
