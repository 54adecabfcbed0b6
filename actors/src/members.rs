//! The members of an event whose line is known to be valid.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// All members of an event but its payload, with their raw JSON text; the line must have been parsed before. `data` is
/// where its payload lies, if that is known.
pub(crate) fn members(line: &str, data: Option<Range<usize>>) -> Vec<(Cow<'_, str>, &str)> {
    struct Collect<'m, 'de>(&'m mut Vec<(Cow<'de, str>, &'de str)>);
    impl<'de> Visitor<'de> for Collect<'_, 'de> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an event")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(Name(name)) = map.next_key()? {
                if name == "data" {
                    map.next_value::<IgnoredAny>()?;
                } else {
                    self.0.push((name, map.next_value::<&RawValue>()?.get()));
                }
            }
            Ok(())
        }
    }
    // The payload is most of an event, and nearly always its last member: then nothing is read from there on.
    let is_last = |data: &Range<usize>| line[data.end..].trim_ascii() == "}";
    let end = data.filter(is_last).map_or(line.len(), |data| data.start);
    let mut members = Vec::new();
    serde_json::Deserializer::from_str(&line[..end])
        .deserialize_map(Collect(&mut members))
        // The only error in a valid line is that it ends where the payload begins.
        .unwrap_or_default();
    members
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
                let members: Vec<_> = members.iter().map(|(name, raw)| (&**name, *raw)).collect();
                assert_eq!(members, expected, "{line}");
            }
        }
    }
}
