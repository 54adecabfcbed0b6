//! The envelope of one event, borrowed from its line; `data` stays raw.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What the program needs of an event. Every other member is checked to be JSON and passed over.
pub(crate) struct Envelope<'a> {
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) data: &'a RawValue,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut version, mut id, mut source, mut event_type) = (None, None, None, None);
        let mut data = None;
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                Name::SpecVersion => {
                    once(&mut version, "specversion", map.next_value::<Text<'de>>()?)?
                }
                Name::Id => once(&mut id, "id", map.next_value::<Text<'de>>()?)?,
                Name::Source => once(&mut source, "source", map.next_value::<Text<'de>>()?)?,
                Name::Type => once(&mut event_type, "type", map.next_value::<Text<'de>>()?)?,
                Name::Data => once(&mut data, "data", map.next_value::<&'de RawValue>()?)?,
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if required(version, "specversion")? != "1.0" {
            return Err(A::Error::custom("specversion is not 1.0"));
        }
        required(id, "id")?;
        required(source, "source")?;
        Ok(Envelope {
            event_type: required(event_type, "type")?,
            data: data.ok_or_else(|| A::Error::missing_field("data"))?,
        })
    }
}

fn once<T, E: Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() {
        return Err(E::duplicate_field(name));
    }
    Ok(())
}

fn required<'a, E: Error>(value: Option<Text<'a>>, name: &'static str) -> Result<Cow<'a, str>, E> {
    let Text(text) = value.ok_or_else(|| E::missing_field(name))?;
    if text.is_empty() {
        return Err(E::custom(format_args!("{name} is empty")));
    }
    Ok(text)
}

/// The members that are looked at. Read as an enum so that a name needs no allocation, escaped or not.
enum Name {
    SpecVersion,
    Id,
    Source,
    Type,
    Data,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(match name {
            "specversion" => Name::SpecVersion,
            "id" => Name::Id,
            "source" => Name::Source,
            "type" => Name::Type,
            "data" => Name::Data,
            _ => Name::Other,
        })
    }
}

/// A string, borrowed unless it has escapes (a plain `&str` field would refuse those).
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
