//! The short way through an event that looks as nearly all do: every attribute a plain string, once, and no escapes.
//!
//! The few flat members are walked by hand, which costs a third of what a deserializer's calls cost; the payload is left
//! to serde_json. Whatever is unusual goes to the full parser, which alone tells what is wrong.

use serde_json::value::RawValue;

use crate::attribute_rules::{check_depth, check_uri, is_media_type};
use crate::envelope::{ATTRIBUTE_BYTES_MAX, DEPTH_MAX, Envelope, Span};

/// Parses `line` if it is a valid event of the usual shape.
pub(crate) fn parse(line: &str) -> Option<Envelope<'_>> {
    let mut walk = Walk { line, at: 0 };
    let mut plain = Plain::default();
    walk.expect(b'{')?;
    loop {
        let name = walk.string()?;
        walk.expect(b':')?;
        if name == "data" {
            let data = walk.value()?;
            if plain.data.replace(data).is_some() {
                return None;
            }
        } else {
            let text = walk.string()?;
            let place = plain.place(name)?;
            if text.is_empty() || !std::mem::replace(place, text).is_empty() {
                return None;
            }
        }
        match walk.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    walk.is_at_end().then(|| plain.envelope(line))?
}

/// The bytes at which a plain string ends: its quote, and whatever needs a closer look. Looked up, because four
/// comparisons a byte were a tenth of the pipeline's work.
const ENDS_PLAIN: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = byte < 0x20 || byte >= 0x7f || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    ends
};

/// A place in the line.
struct Walk<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// The next byte that is no white space.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let bytes = self.line.as_bytes();
        loop {
            let byte = *bytes.get(self.at)?;
            self.at += 1;
            if !is_white_space(byte) {
                return Some(byte);
            }
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A string of plain ASCII: without escapes, control characters and whatever else needs a closer look.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = &self.line.as_bytes()[start..];
        let end = rest
            .iter()
            .position(|byte| ENDS_PLAIN[usize::from(*byte)])?;
        if rest[end] != b'"' {
            return None;
        }
        self.at = start + end + 1;
        Some(&self.line[start..start + end])
    }

    /// Any value, checked by serde_json.
    fn value(&mut self) -> Option<&'a str> {
        let rest = &self.line[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&'a RawValue>();
        let value = values.next()?.ok()?.get();
        self.at += values.byte_offset();
        Some(value)
    }

    fn is_at_end(&self) -> bool {
        self.line.as_bytes()[self.at..]
            .iter()
            .copied()
            .all(is_white_space)
    }
}

/// White space of JSON (RFC 8259 section 2).
fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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
    /// Where the attribute is kept; `None` for those that are not usual.
    #[inline]
    fn place(&mut self, name: &str) -> Option<&mut &'a str> {
        Some(match name {
            "specversion" => &mut self.spec_version,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.content_type,
            _ => return None,
        })
    }

    fn envelope(&self, line: &'a str) -> Option<Envelope<'a>> {
        let is_text = |text: &str| text.len() <= ATTRIBUTE_BYTES_MAX;
        let required = [self.id, self.source, self.event_type];
        let is_valid = self.spec_version == "1.0"
            && required
                .iter()
                .all(|text| !text.is_empty() && is_text(text))
            && is_text(self.subject)
            && check_uri("source", self.source).is_ok()
            && self
                .data
                .is_none_or(|data| check_depth(data, DEPTH_MAX - 1).is_ok())
            && (self.time.is_empty() || crate::timestamp::is_rfc3339(self.time))
            && (self.content_type.is_empty()
                || is_text(self.content_type) && is_media_type(self.content_type));
        let narrow = |number: usize| u32::try_from(number).ok();
        let span = |text: &str| {
            Some(Span {
                start: narrow(text.as_ptr() as usize - line.as_ptr() as usize)?,
                len: narrow(text.len())?,
            })
        };
        if !is_valid {
            return None;
        }
        Some(Envelope {
            id: span(self.id)?,
            source: span(self.source)?,
            subject: match self.subject {
                "" => None,
                subject => Some(span(subject)?),
            },
            event_type: self.event_type,
            data: match self.data {
                None => None,
                Some(data) => Some(span(data)?),
            },
            escaped: false,
            has_more: !self.time.is_empty() || !self.content_type.is_empty(),
        })
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
            (r#" , "subject" : "a" "#, true),
            (r#","data":1 2"#, false),
            (r#","data":"#, false),
            (",\"subject\":\"\u{7f}\"", false),
            (r#","subject":"é""#, false),
            (r#",}"#, false),
            (r#","subject":"a"} x"#, false),
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
