//! HTTP messages → events in the JSON format, one line each. Whether the lines are valid events is checked where they are
//! parsed; here it is made sure that no part of a message can pass for another.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use veltrix_actors::{EnvelopeError, Intake, TypeCache};

use super::compact::one_line;
use super::{media_type, percent};

/// Events in one message at most.
pub(crate) const MESSAGE_EVENTS_MAX: usize = 8_192;

/// How a message carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One event in the JSON format.
    Structured,
    /// A JSON array of events.
    Batched,
    /// Attributes in headers, data in the body.
    Binary,
    /// A CloudEvents format that is not JSON.
    Unsupported,
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// A short stable word, for counters.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) detail: String,
    /// The event of a batch that is wrong, from 0.
    pub(crate) index: Option<usize>,
}

impl DecodeError {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            index: None,
        }
    }
}

/// The mode that a `Content-Type` announces (HTTP binding 3).
pub(crate) fn mode(content_type: Option<&str>) -> Mode {
    let essence = content_type
        .map_or("", media_type::essence)
        .to_ascii_lowercase();
    let format = match essence.strip_prefix("application/cloudevents") {
        None => return Mode::Binary,
        Some(format) => format,
    };
    match (format.strip_prefix("-batch"), format) {
        (Some("+json" | ""), _) => Mode::Batched,
        (None, "+json" | "") => Mode::Structured,
        _ => Mode::Unsupported,
    }
}

/// The lines of a message's events.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    ranges: Vec<Range<usize>>,
}

impl Lines {
    /// One event in the JSON format.
    pub(crate) fn structured(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::one(one_line(utf8(body)?).into_owned()))
    }

    /// An array of events in the JSON format; it may be empty.
    pub(crate) fn batched(body: &[u8]) -> Result<Self, DecodeError> {
        let body = utf8(body)?;
        let mut lines = Self {
            text: String::with_capacity(body.len()),
            ranges: Vec::new(),
        };
        let mut json = serde_json::Deserializer::from_str(body);
        let read = json.deserialize_seq(BatchVisitor(&mut lines));
        match read.and_then(|()| json.end()) {
            Ok(()) => Ok(lines),
            Err(_) if lines.ranges.len() > MESSAGE_EVENTS_MAX => Err(DecodeError::new(
                "oversize",
                format!("a batch may have {MESSAGE_EVENTS_MAX} events at most"),
            )),
            Err(error) => Err(DecodeError {
                index: (!lines.ranges.is_empty()).then_some(lines.ranges.len()),
                ..DecodeError::new("not_json", format!("not a JSON array of events: {error}"))
            }),
        }
    }

    /// An event whose attributes are `headers`: the names of `ce-*` headers without that prefix, and their values.
    pub(crate) fn binary<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, DecodeError> {
        let mut text = String::with_capacity(body.len() + 256);
        for (name, value) in headers {
            if matches!(name, "data" | "data_base64" | "datacontenttype") {
                let detail = format!(
                    "the header `ce-{name}` is not allowed, data and its type are body and Content-Type"
                );
                return Err(DecodeError::new("attribute", detail));
            }
            let value = percent::decode_header(value).ok_or_else(|| {
                DecodeError::new("not_utf8", format!("the header `ce-{name}` is not UTF-8"))
            })?;
            push_member(name, &value, &mut text);
        }
        if let Some(content_type) = content_type {
            push_member("datacontenttype", content_type, &mut text);
        }
        push_data(content_type, body, &mut text)?;
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        Ok(Self::one(text))
    }

    /// The lines, none of them checked.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(|range| &self.text[range.clone()])
    }

    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    fn one(text: String) -> Self {
        let whole = 0..text.len();
        Self {
            text,
            ranges: std::iter::once(whole).collect(),
        }
    }

    /// Checks every event; all are kept or none is.
    pub(crate) fn parse(
        self,
        event_bytes_max: usize,
        types: &mut TypeCache,
    ) -> Result<Intake, DecodeError> {
        let is_batch = self.ranges.len() > 1;
        let mut intake = Intake::over(self.text);
        for (index, range) in self.ranges.into_iter().enumerate() {
            let parsed = match range.len() <= event_bytes_max {
                true => intake.parse(range, types).map_err(DecodeError::from),
                false => Err(DecodeError::new(
                    "oversize",
                    format!("the event is longer than {event_bytes_max} bytes"),
                )),
            };
            parsed.map_err(|error| DecodeError {
                index: is_batch.then_some(index),
                ..error
            })?;
        }
        Ok(intake)
    }
}

impl From<EnvelopeError> for DecodeError {
    fn from(error: EnvelopeError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

struct BatchVisitor<'l>(&'l mut Lines);

impl<'de> Visitor<'de> for BatchVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Lines { text, ranges } = self.0;
        while let Some(item) = array.next_element::<&RawValue>()? {
            let start = text.len();
            text.push_str(&one_line(item.get()));
            ranges.push(start..text.len());
            if ranges.len() > MESSAGE_EVENTS_MAX {
                return Err(serde::de::Error::custom("too many"));
            }
        }
        Ok(())
    }
}

fn utf8(body: &[u8]) -> Result<&str, DecodeError> {
    str::from_utf8(body)
        .map_err(|error| DecodeError::new("not_utf8", format!("the body is not UTF-8: {error}")))
}

fn push_name(name: &str, text: &mut String) {
    text.push(if text.is_empty() { '{' } else { ',' });
    push_string(name, text);
    text.push(':');
}

fn push_member(name: &str, value: &str, text: &mut String) {
    push_name(name, text);
    push_string(value, text);
}

fn push_string(value: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(value).to_string());
}

/// The body as JSON value, JSON string or base64, whatever its type allows (JSON format 3.1.1).
fn push_data(
    content_type: Option<&str>,
    body: &[u8],
    text: &mut String,
) -> Result<(), DecodeError> {
    if body.is_empty() {
        return Ok(());
    }
    let as_text = str::from_utf8(body);
    // Checked on its own before it becomes part of a larger text, where `1,"id":"x"` would pass for more members.
    let check = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ());
    match (content_type, as_text) {
        (Some(declared), _) if media_type::is_json(declared) => {
            let value = utf8(body)?;
            check(value).map_err(|error| {
                let detail = format!("the body is not JSON as its Content-Type says: {error}");
                DecodeError::new("not_json", detail)
            })?;
            push_name("data", text);
            text.push_str(&one_line(value));
        }
        // Without a type, data in the JSON format is JSON (3.1.2), so bytes that are JSON may be told so.
        (None, Ok(value)) if check(value).is_ok() => {
            push_name("data", text);
            text.push_str(&one_line(value));
        }
        (Some(declared), Ok(value)) if media_type::is_text(declared) => {
            push_member("data", value, text);
        }
        _ => {
            push_name("data_base64", text);
            text.push('"');
            STANDARD.encode_string(body, text);
            text.push('"');
        }
    }
    Ok(())
}
