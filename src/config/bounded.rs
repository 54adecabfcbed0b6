//! Whole numbers with limits that their error text and their schema both name.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WholeNumber<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> WholeNumber<MIN, MAX> {
    /// The number itself; `None` outside of the limits.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= MIN && number <= MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as a count of things in memory.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}

struct WholeNumberVisitor<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for WholeNumberVisitor<MIN, MAX> {
    type Value = WholeNumber<MIN, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MAX {
            u32::MAX => write!(formatter, "a whole number of at least {MIN}"),
            _ => write!(formatter, "a whole number from {MIN} to {MAX}"),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let found = u32::try_from(number).ok().and_then(WholeNumber::new);
        found.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let found = u32::try_from(number).ok().and_then(WholeNumber::new);
        found.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for WholeNumber<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumberVisitor)
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for WholeNumber<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for WholeNumber<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("WholeNumber_{MIN}_{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_included_and_named() {
        type Lanes = WholeNumber<1, 1024>;
        assert_eq!(serde_json::from_str::<Lanes>("1").unwrap().get(), 1);
        assert_eq!(serde_json::from_str::<Lanes>("1024").unwrap().count(), 1024);
        for wrong in ["0", "1025", "-1", "1.5", "\"1\"", "99999999999999"] {
            let error = serde_json::from_str::<Lanes>(wrong)
                .unwrap_err()
                .to_string();
            assert!(error.contains("a whole number from 1 to 1024"), "{error}");
        }
    }
}
