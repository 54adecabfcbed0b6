//! Which part of an event orders it: events with one key go through one lane.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::Event;

/// What an event's key is read from. Its absence is a key as well: such events share a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySelector {
    /// `subject`, or `source` where there is none.
    #[default]
    SubjectOrSource,
    /// `source`.
    Source,
    /// `id`: no two events share a lane for a reason.
    Id,
    /// `type`.
    Type,
    /// Another attribute.
    Attribute(String),
    /// A path of member names within `data`.
    Data(Vec<String>),
}

impl KeySelector {
    /// A number that is the same for equal keys.
    pub fn hash(&self, event: &Event<'_>) -> u64 {
        // Hashed as raw text: one source spells one key in one way, and unescaping would cost every event.
        let text = match self {
            Self::SubjectOrSource => event.raw_subject().unwrap_or_else(|| event.raw_source()),
            Self::Source => event.raw_source(),
            Self::Id => event.raw_id(),
            Self::Type => return event.type_id().index().unwrap_or_default() as u64,
            Self::Attribute(name) => event.attribute(name).unwrap_or_default(),
            Self::Data(path) => event
                .data()
                .and_then(|data| member(data, path))
                .unwrap_or_default(),
        };
        let mut hasher = FxHasher::default();
        hasher.write(text.as_bytes());
        // FxHash leaves its entropy in the high bits, which a remainder by the lanes would not see.
        hasher.finish() >> 32
    }
}

/// The raw text at `path` of a JSON object, the last one of duplicates.
fn member<'a>(json: &'a str, path: &[String]) -> Option<&'a str> {
    struct Find<'p>(&'p [String]);

    impl<'de> DeserializeSeed<'de> for Find<'_> {
        type Value = Option<&'de str>;

        fn deserialize<D: Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }

    impl<'de> Visitor<'de> for Find<'_> {
        type Value = Option<&'de str>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                if self.0.first().is_some_and(|first| *first == key) {
                    found = Some(map.next_value::<&RawValue>()?.get());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut value = json;
    for depth in 0..path.len() {
        let mut deserializer = serde_json::Deserializer::from_str(value);
        value = Find(&path[depth..]).deserialize(&mut deserializer).ok()??;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nested_members_and_the_last_of_duplicates() {
        let path = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            member(r#"{"a":{"b":1},"x":2,"a":{"b":{"c":3}}}"#, &path),
            Some(r#"{"c":3}"#)
        );
        assert_eq!(member(r#"{"a":[1]}"#, &path), None);
        assert_eq!(member("7", &path), None);
    }
}
