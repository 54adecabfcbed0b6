//! One line of CloudEvents JSON → the offsets of what the hot path needs, in one pass and without a tree.
//!
//! Everything is validated here and nowhere later: JSON syntax, nesting, the attributes' presence, names and types
//! (CloudEvents 1.0 core 3.1 and JSON format 2.2–3.1).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::attribute_names::AttributeNames;
use crate::attribute_rules::{
    check_base64, check_depth, check_uri, is_allowed_text, is_boolean_or_integer, is_media_type,
};
use crate::members::Name;
use crate::plain_envelope;

/// Nesting that is accepted in an event; deeper ones are refused, since receivers overflow their stacks on them.
pub const DEPTH_MAX: usize = 128;
/// Bytes of one attribute's value.
pub const ATTRIBUTE_BYTES_MAX: usize = u16::MAX as usize;
/// Attributes of one event beyond the required ones; events carry a handful.
pub const ATTRIBUTES_MAX: usize = 256;

/// Why a line is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The text is not one JSON object.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A required attribute is absent, null or empty.
    #[error("attribute `{0}` is missing or empty")]
    Missing(&'static str),
    /// `specversion` is not `1.0`.
    #[error("attribute `specversion` is {0}, only \"1.0\" is supported")]
    SpecVersion(String),
    /// An attribute has a value that its type does not allow.
    #[error("attribute `{name}` {reason}")]
    Attribute {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The attribute's name has other characters than `a-z` and `0-9`.
    #[error("attribute name `{0}` may only have lower-case letters and digits")]
    Name(String),
    /// A member stands twice.
    #[error("member `{0}` stands more than once")]
    Duplicate(String),
    /// More than [`ATTRIBUTES_MAX`] attributes.
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooMany,
    /// Both `data` and `data_base64`.
    #[error("`data` and `data_base64` exclude each other")]
    TwoPayloads,
    /// The whole event is longer than an arena can hold.
    #[error("the event is longer than {} bytes", u32::MAX)]
    TooLong,
}

impl EnvelopeError {
    /// A short stable word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not_json",
            Self::TooDeep => "too_deep",
            Self::Missing(_) => "missing_attribute",
            Self::SpecVersion(_) => "specversion",
            Self::Attribute { .. } | Self::Name(_) | Self::TooMany => "attribute",
            Self::Duplicate(_) => "duplicate",
            Self::TwoPayloads => "two_payloads",
            Self::TooLong => "oversize",
        }
    }
}

/// A span of the line: for strings without the quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// What one pass over a line found. Spans are relative to the line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: Span,
    pub(crate) source: Span,
    pub(crate) subject: Option<Span>,
    pub(crate) event_type: &'a str,
    pub(crate) data: Option<Span>,
    /// Some of id, source, subject or type has a backslash escape.
    pub(crate) escaped: bool,
    /// There are attributes beyond the four required ones and `subject`.
    pub(crate) has_more: bool,
}

/// Parses and validates one event.
pub(crate) fn parse(line: &str) -> Result<Envelope<'_>, EnvelopeError> {
    if u32::try_from(line.len()).is_err() {
        return Err(EnvelopeError::TooLong);
    }
    match plain_envelope::parse(line) {
        Some(envelope) => Ok(envelope),
        None => parse_fully(line),
    }
}

/// As [`parse`], for an event of any shape.
pub(crate) fn parse_fully(line: &str) -> Result<Envelope<'_>, EnvelopeError> {
    check_depth(line, DEPTH_MAX)?;
    let mut members = Members::new(line);
    members.read()?;
    members.finish()
}

/// Text of a JSON string's content (without quotes) whose escapes are resolved; borrowed when there are none.
pub(crate) fn unescape(content: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', content.as_bytes()).is_none() {
        return Cow::Borrowed(content);
    }
    // Checked when the event was parsed, so the fallback is for callers with text of their own.
    serde_json::from_str::<String>(&format!("\"{content}\""))
        .map_or(Cow::Borrowed(content), Cow::Owned)
}

/// The state of one pass.
struct Members<'a> {
    line: &'a str,
    spec_version: bool,
    id: Option<Span>,
    source: Option<Span>,
    event_type: Option<&'a str>,
    subject: Option<Span>,
    data: Option<Span>,
    data_base64: bool,
    escaped: bool,
    /// Names of the remaining attributes, to find duplicates; events carry a handful.
    more: AttributeNames<'a>,
    /// Names of attributes that are null.
    unset: Vec<Cow<'a, str>>,
    /// serde's error type cannot carry ours, so it waits here while the visitor unwinds.
    error: Option<EnvelopeError>,
}

impl<'a> Members<'a> {
    fn new(line: &'a str) -> Self {
        Self {
            line,
            spec_version: false,
            id: None,
            source: None,
            event_type: None,
            subject: None,
            data: None,
            data_base64: false,
            escaped: false,
            more: AttributeNames::default(),
            unset: Vec::new(),
            error: None,
        }
    }

    fn read(&mut self) -> Result<(), EnvelopeError> {
        let mut deserializer = serde_json::Deserializer::from_str(self.line);
        let read = deserializer
            .deserialize_map(MembersVisitor(self))
            .and_then(|()| deserializer.end());
        match (self.error.take(), read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(EnvelopeError::NotJson(error.to_string())),
            (None, Ok(())) => Ok(()),
        }
    }

    fn finish(self) -> Result<Envelope<'a>, EnvelopeError> {
        if !self.spec_version {
            return Err(EnvelopeError::Missing("specversion"));
        }
        if self.data.is_some() && self.data_base64 {
            return Err(EnvelopeError::TwoPayloads);
        }
        Ok(Envelope {
            id: self.id.ok_or(EnvelopeError::Missing("id"))?,
            source: self.source.ok_or(EnvelopeError::Missing("source"))?,
            event_type: self.event_type.ok_or(EnvelopeError::Missing("type"))?,
            subject: self.subject,
            data: self.data,
            escaped: self.escaped,
            has_more: self.more.len() > 0,
        })
    }

    fn member(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), EnvelopeError> {
        if self.unset.contains(&name) {
            return Err(EnvelopeError::Duplicate(name.into_owned()));
        }
        // JSON format 2.2: null means that the attribute is not set; of data it is a value.
        if value == "null" && name != "data" {
            return self.null(name);
        }
        let duplicate = match &*name {
            "data" => {
                let span = self.span(value);
                self.data.replace(span).is_some()
            }
            "data_base64" => {
                check_base64(value)?;
                std::mem::replace(&mut self.data_base64, value != "null")
            }
            "specversion" => {
                if value != "\"1.0\"" {
                    return Err(EnvelopeError::SpecVersion(value.chars().take(40).collect()));
                }
                std::mem::replace(&mut self.spec_version, true)
            }
            "id" => {
                let span = self.text("id", value)?;
                self.id.replace(span).is_some()
            }
            "source" => {
                let span = self.text("source", value)?;
                check_uri("source", &value[1..value.len() - 1])?;
                self.source.replace(span).is_some()
            }
            "type" => {
                self.text("type", value)?;
                self.event_type
                    .replace(&value[1..value.len() - 1])
                    .is_some()
            }
            "subject" => {
                let span = self.text("subject", value)?;
                self.subject.replace(span).is_some()
            }
            _ => return self.other(name, value),
        };
        match duplicate {
            true => Err(EnvelopeError::Duplicate(name.into_owned())),
            false => Ok(()),
        }
    }

    /// An attribute that is not set. It still must not stand twice, since other readers take the last one.
    fn null(&mut self, name: Cow<'a, str>) -> Result<(), EnvelopeError> {
        let is_set = match &*name {
            "specversion" => self.spec_version,
            "id" => self.id.is_some(),
            "source" => self.source.is_some(),
            "type" => self.event_type.is_some(),
            "subject" => self.subject.is_some(),
            "data_base64" => self.data_base64,
            _ => self.more.contains(&name),
        };
        if is_set {
            return Err(EnvelopeError::Duplicate(name.into_owned()));
        }
        self.unset.push(name);
        self.check_count()
    }

    /// Bounds the search for duplicates, which is quadratic.
    fn check_count(&self) -> Result<(), EnvelopeError> {
        match self.more.len() + self.unset.len() > ATTRIBUTES_MAX {
            true => Err(EnvelopeError::TooMany),
            false => Ok(()),
        }
    }

    /// `time`, `datacontenttype`, `dataschema` and the extensions.
    fn other(&mut self, name: Cow<'a, str>, value: &'a str) -> Result<(), EnvelopeError> {
        let content = match value.strip_prefix('"') {
            Some(content) => {
                self.string(&name, value)?;
                Some(&content[..content.len() - 1])
            }
            None => None,
        };
        let wrong = |reason| {
            Err(EnvelopeError::Attribute {
                name: name.chars().take(64).collect(),
                reason,
            })
        };
        match (&*name, content) {
            ("time", Some(text)) if !crate::timestamp::is_rfc3339(text) => {
                return wrong("is not an RFC 3339 timestamp");
            }
            ("datacontenttype", Some(text)) if !is_media_type(text) => {
                return wrong("is not a media type");
            }
            ("dataschema", Some(text)) => check_uri("dataschema", text)?,
            ("time" | "datacontenttype" | "dataschema", None) => return wrong("must be a string"),
            (_, None) if value.starts_with(['{', '[']) || !is_boolean_or_integer(value) => {
                return wrong("must be a string, a boolean or a 32-bit integer");
            }
            _ => {}
        }
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(EnvelopeError::Name(name.chars().take(64).collect()));
        }
        if self.more.contains(&name) {
            return Err(EnvelopeError::Duplicate(name.into_owned()));
        }
        self.more.push(name);
        self.check_count()
    }

    /// A string attribute that must not be empty.
    fn text(&mut self, name: &'static str, value: &str) -> Result<Span, EnvelopeError> {
        if !value.starts_with('"') {
            return Err(EnvelopeError::Attribute {
                name: name.to_owned(),
                reason: "must be a string",
            });
        }
        if value == "\"\"" {
            return Err(EnvelopeError::Missing(name));
        }
        self.escaped |= self.string(name, value)?;
        let span = self.span(value);
        Ok(Span {
            start: span.start + 1,
            len: span.len - 2,
        })
    }

    /// Checks a JSON string's length and escapes; returns whether it has any.
    fn string(&self, name: &str, value: &str) -> Result<bool, EnvelopeError> {
        let wrong = |reason| EnvelopeError::Attribute {
            name: name.chars().take(64).collect(),
            reason,
        };
        if value.len() - 2 > ATTRIBUTE_BYTES_MAX {
            return Err(wrong("is longer than 65535 bytes"));
        }
        let escaped = memchr::memchr(b'\\', value.as_bytes()).is_some();
        let text = match escaped {
            true => serde_json::from_str(value)
                .map_err(|_| wrong("has an escape that is no character"))?,
            false => Cow::Borrowed(value),
        };
        match is_allowed_text(&text) {
            true => Ok(escaped),
            false => Err(wrong("has a control character or a noncharacter")),
        }
    }

    fn span(&self, value: &str) -> Span {
        // serde_json's raw values borrow from the line, so the addresses tell the offset.
        let start = value.as_ptr() as usize - self.line.as_ptr() as usize;
        let narrow =
            |length: usize| u32::try_from(length).expect("lines longer than u32::MAX were refused");
        Span {
            start: narrow(start),
            len: narrow(value.len()),
        }
    }
}

struct MembersVisitor<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let value: &'a RawValue = map.next_value()?;
            if let Err(error) = self.0.member(name, value.get()) {
                self.0.error = Some(error);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        parse(line).expect_err(line).to_string()
    }

    #[test]
    fn finds_the_attributes_and_the_data_as_they_came() {
        let line = r#" {"specversion":"1.0","id":"a-1","source":"/s","type":"t.u","subject":"x\"y","data": {"a" : 1 } ,"time":"2021-07-21T06:00:00Z"}"#;
        let envelope = parse(line).expect("a valid event");
        let at = |span: Span| &line[span.start as usize..(span.start + span.len) as usize];
        assert_eq!(at(envelope.id), "a-1");
        assert_eq!(at(envelope.source), "/s");
        assert_eq!(envelope.event_type, "t.u");
        assert_eq!(at(envelope.subject.expect("a subject")), r#"x\"y"#);
        assert_eq!(at(envelope.data.expect("data")), r#"{"a" : 1 }"#);
        assert!(envelope.escaped && envelope.has_more);
        assert_eq!(unescape(r"x\ty"), "x\ty");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn names_what_is_wrong() {
        let with = |members: &str| {
            format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
        };
        for (line, expected) in [
            ("nope".to_owned(), "not a JSON object"),
            ("[]".to_owned(), "not a JSON object"),
            (
                r#"{"specversion":"1.0","source":"/s","type":"t"}"#.to_owned(),
                "`id` is missing",
            ),
            (
                r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#.to_owned(),
                "`id` is missing",
            ),
            (
                r#"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#.to_owned(),
                "`id` must be a string",
            ),
            (
                r#"{"specversion":"1.0","id":"1","type":"t"}"#.to_owned(),
                "`source` is missing",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/s","type":null}"#.to_owned(),
                "`type` is missing",
            ),
            (
                r#"{"id":"1","source":"/s","type":"t"}"#.to_owned(),
                "`specversion` is missing",
            ),
            (
                r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#.to_owned(),
                "\"0.3\"",
            ),
            (with(r#","id":"2""#), "`id` stands more than once"),
            (with(r#","id":null"#), "`id` stands more than once"),
            (
                with(r#","ext":null,"ext":1"#),
                "`ext` stands more than once",
            ),
            (with(r#","subject":null,"subject":"a""#), "more than once"),
            (
                with(r#","data_base64":null,"data_base64":"""#),
                "more than once",
            ),
            (with(r#","subject":"a\u0001b""#), "control character"),
            (with(",\"subject\":\"a\u{85}b\""), "control character"),
            (with(",\"subject\":\"a\u{fffe}b\""), "noncharacter"),
            (
                with(&(0..300).map(|n| format!(",\"e{n}\":1")).collect::<String>()),
                "more than 256",
            ),
            (with(r#","ext":1,"ext":2"#), "`ext` stands more than once"),
            (with(r#","Ext":1"#), "lower-case"),
            (with(r#","ext":1.5"#), "32-bit integer"),
            (with(r#","ext":{}"#), "32-bit integer"),
            (with(r#","time":"yesterday""#), "RFC 3339"),
            (with(r#","datacontenttype":"json""#), "media type"),
            (with(r#","dataschema":"a b""#), "URI"),
            (
                with(r#","data":1,"data_base64":"AA==""#),
                "exclude each other",
            ),
            (with(r#","data_base64":"A""#), "base64"),
            (with(r#","subject":"\ud800""#), "no character"),
            (
                with(&format!(
                    r#","data":{}{}"#,
                    "[".repeat(200),
                    "]".repeat(200)
                )),
                "nested deeper",
            ),
            (
                with(&format!(r#","ext":"{}""#, "x".repeat(70_000))),
                "longer than 65535",
            ),
            (format!("{} x", with("")), "not a JSON object"),
        ] {
            let message = error(&line);
            assert!(message.contains(expected), "{line}: {message}");
        }
    }

    #[test]
    fn accepts_nulls_and_many_braces_that_are_not_deep() {
        let wide = format!("[{}]", vec!["{}"; 500].join(","));
        let line = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":null,"time":null,"data":{wide}}}"#
        );
        let envelope = parse(&line).expect("a valid event");
        assert_eq!(envelope.subject, None);
        assert!(!envelope.has_more);
    }
}
