//! The members of an event whose line is known to be valid.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Visitor};

use crate::json_scan::{MemberStep, ObjectCursor, skip_value, unescape};

/// The members of an event but its payload, in their order: names and raw JSON text.
pub(crate) struct Members<'a> {
    line: &'a str,
    cursor: ObjectCursor<'a>,
    /// Where the payload lies, if that is known: it is most of an event, and not looked at then.
    data: Option<Range<usize>>,
}

/// Walks a line that has been parsed before.
pub(crate) fn members(line: &str, data: Option<Range<usize>>) -> Members<'_> {
    let open = line.find('{').unwrap_or(line.len());
    Members {
        line,
        cursor: ObjectCursor::new(line.as_bytes(), open),
        data,
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The line is valid, so there is no other error than its end.
            let MemberStep::Member {
                key, value_start, ..
            } = self.cursor.step().ok()?
            else {
                return None;
            };
            let data = self.data.as_ref().filter(|data| data.start == value_start);
            let end = match data {
                Some(data) => data.end,
                None => skip_value(self.line.as_bytes(), value_start).ok()?,
            };
            self.cursor.value_ended(end);
            let name = unescape(&self.line[key.start..key.end]).ok()?;
            if name != "data" {
                return Some((name, &self.line[value_start..end]));
            }
        }
    }
}

/// A member's name, borrowed unless it has escapes.
pub(crate) struct Name<'de>(pub(crate) Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_left_out_wherever_it_is() {
        let expected = [("id", r#""1""#), ("time", r#""t""#), ("n", "7")];
        for line in [
            r#"{"id":"1","time":"t","n":7,"data":{"time":[1,"}"]}}"#,
            r#"{"id":"1","time":"t","n":7,"data" : "}" } "#,
            r#"{"id":"1","data":{"id":2},"time":"t","n":7}"#,
            r#"{"data":[{}],"id":"1","time":"t","n":7}"#,
            r#"{"id":"1","time":"t","n":7}"#,
        ] {
            let payload = [r#"{"time":[1,"}"]}"#, r#""}" "#, r#"{"id":2}"#, "[{}]"];
            let found = payload
                .iter()
                .find_map(|data| Some((line.find(data)?, data)));
            let data = found.map(|(start, data)| start..start + data.trim_end().len());
            for data in [None, data] {
                let members = members(line, data);
                let members: Vec<_> = members.collect();
                let members: Vec<_> = members.iter().map(|(name, raw)| (&**name, *raw)).collect();
                assert_eq!(members, expected, "{line}");
            }
        }
    }
}
