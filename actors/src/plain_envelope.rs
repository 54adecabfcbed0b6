//! The short way through an event that looks as nearly all do: every attribute a plain string, once, and no escapes.
//!
//! Strings are borrowed in the deserializer's own pass, which costs half of what raw values cost. Whatever is unusual is
//! left to the full parser, which alone tells what is wrong.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::attribute_rules::{check_uri, is_allowed_text, is_media_type};
use crate::envelope::{ATTRIBUTE_BYTES_MAX, Envelope, Span};

/// Parses `line` if it is a valid event of the usual shape.
pub(crate) fn parse(line: &str) -> Option<Envelope<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let plain = Plain::deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    plain.envelope(line)
}

/// Attributes as they were read; absent ones are empty, which no attribute may be.
#[derive(Default)]
struct Plain<'a> {
    spec_version: &'a str,
    id: &'a str,
    source: &'a str,
    event_type: &'a str,
    subject: &'a str,
    time: &'a str,
    content_type: &'a str,
    data: Option<&'a str>,
}

impl<'a> Plain<'a> {
    fn envelope(&self, line: &'a str) -> Option<Envelope<'a>> {
        let is_text = |text: &str| text.len() <= ATTRIBUTE_BYTES_MAX && is_allowed_text(text);
        let required = [self.id, self.source, self.event_type];
        let is_valid = self.spec_version == "1.0"
            && required
                .iter()
                .all(|text| !text.is_empty() && is_text(text))
            && is_text(self.subject)
            && check_uri("source", self.source).is_ok()
            && (self.time.is_empty() || crate::timestamp::is_rfc3339(self.time))
            && (self.content_type.is_empty()
                || is_text(self.content_type) && is_media_type(self.content_type));
        let span = |text: &str| Span {
            start: (text.as_ptr() as usize - line.as_ptr() as usize) as u32,
            len: text.len() as u32,
        };
        is_valid.then(|| Envelope {
            id: span(self.id),
            source: span(self.source),
            subject: (!self.subject.is_empty()).then(|| span(self.subject)),
            event_type: self.event_type,
            data: self.data.map(span),
            escaped: false,
            has_more: !self.time.is_empty() || !self.content_type.is_empty(),
        })
    }
}

/// A member that the short way knows.
enum Member {
    SpecVersion,
    Id,
    Source,
    Type,
    Subject,
    Time,
    ContentType,
    Data,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;
        impl Visitor<'_> for MemberVisitor {
            type Value = Member;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a usual member")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "specversion" => Member::SpecVersion,
                    "id" => Member::Id,
                    "source" => Member::Source,
                    "type" => Member::Type,
                    "subject" => Member::Subject,
                    "time" => Member::Time,
                    "datacontenttype" => Member::ContentType,
                    "data" => Member::Data,
                    _ => return Err(E::custom("unusual")),
                })
            }
        }
        deserializer.deserialize_identifier(MemberVisitor)
    }
}

impl<'de> Deserialize<'de> for Plain<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlainVisitor;
        impl<'de> Visitor<'de> for PlainVisitor {
            type Value = Plain<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain<'de>, A::Error> {
                let mut plain = Plain::default();
                while let Some(member) = map.next_key()? {
                    let place = match member {
                        Member::SpecVersion => &mut plain.spec_version,
                        Member::Id => &mut plain.id,
                        Member::Source => &mut plain.source,
                        Member::Type => &mut plain.event_type,
                        Member::Subject => &mut plain.subject,
                        Member::Time => &mut plain.time,
                        Member::ContentType => &mut plain.content_type,
                        Member::Data => {
                            let data = map.next_value::<&'de RawValue>()?.get();
                            match plain.data.replace(data) {
                                None => continue,
                                Some(_) => return Err(A::Error::custom("unusual")),
                            }
                        }
                    };
                    // Borrowing fails on escapes; empty or repeated attributes are not usual either.
                    let text = map.next_value::<&'de str>()?;
                    if text.is_empty() || !std::mem::replace(place, text).is_empty() {
                        return Err(A::Error::custom("unusual"));
                    }
                }
                Ok(plain)
            }
        }
        deserializer.deserialize_map(PlainVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_full_parser_or_leaves_the_event_to_it() {
        let line = |members: &str| {
            format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#)
        };
        for (members, is_plain) in [
            ("", true),
            (
                r#","subject":"a","time":"2021-07-21T06:00:00Z","datacontenttype":"application/json","data": {"a":"\n"} "#,
                true,
            ),
            (r#","data":null"#, true),
            (r#","ext":"a""#, false),
            (r#","subject":"a\tb""#, false),
            (r#","subject":null"#, false),
            (r#","subject":"""#, false),
            (r#","id":"2""#, false),
            (r#","data":1,"data":2"#, false),
            (r#","time":"yesterday""#, false),
            (r#","data":{"#, false),
        ] {
            let line = line(members);
            let plain = parse(&line);
            assert_eq!(plain.is_some(), is_plain, "{line}");
            if let Some(plain) = plain {
                let full = crate::envelope::parse_fully(&line).expect("valid");
                assert_eq!(format!("{plain:?}"), format!("{full:?}"));
            }
        }
    }
}
