//! Probabilities, and the actions of faults that may be written with one.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Probability(f64);

impl Probability {
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

/// Always, or with a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Chance {
    Always,
    Sometimes(Probability),
}

impl Chance {
    pub(crate) fn probability(self) -> Option<f64> {
        match self {
            Self::Always => None,
            Self::Sometimes(probability) => Some(probability.0),
        }
    }
}

/// An error that may be tried again, with a probability or always, or one that may not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ErrorKind {
    Retryable(Chance),
    Permanent,
}

impl ErrorKind {
    /// Whether it may be tried again, and the probability.
    pub(crate) fn parts(self) -> (bool, Option<f64>) {
        match self {
            Self::Retryable(chance) => (true, chance.probability()),
            Self::Permanent => (false, None),
        }
    }
}

const NUMBER: &str = "a number from 0 to 1";
const CHANCE: &str = "`true` or a number from 0 to 1";
const ERROR: &str = "`true`, `retryable`, `permanent` or a number from 0 to 1";

/// What a value may be, beside a number.
struct ChanceVisitor {
    expected: &'static str,
    is_bare: bool,
    has_words: bool,
}

impl Visitor<'_> for ChanceVisitor {
    type Value = ErrorKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ErrorKind, E> {
        match value && !self.is_bare {
            true => Ok(ErrorKind::Retryable(Chance::Always)),
            false => Err(E::invalid_value(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<ErrorKind, E> {
        match (0.0..=1.0).contains(&number) {
            true => Ok(ErrorKind::Retryable(Chance::Sometimes(Probability(number)))),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ErrorKind, E> {
        match number {
            0 | 1 => self.visit_f64(number as f64),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ErrorKind, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ErrorKind, E> {
        match text {
            "retryable" if self.has_words => Ok(ErrorKind::Retryable(Chance::Always)),
            "permanent" if self.has_words => Ok(ErrorKind::Permanent),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

fn chance<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    is_bare: bool,
) -> Result<Chance, D::Error> {
    let visitor = ChanceVisitor {
        expected,
        is_bare,
        has_words: false,
    };
    match deserializer.deserialize_any(visitor)? {
        ErrorKind::Retryable(chance) => Ok(chance),
        ErrorKind::Permanent => Err(de::Error::custom("no word was accepted")),
    }
}

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match chance(deserializer, NUMBER, true)? {
            Chance::Sometimes(probability) => Ok(probability),
            Chance::Always => Ok(Self(1.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Chance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        chance(deserializer, CHANCE, false)
    }
}

impl<'de> Deserialize<'de> for ErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChanceVisitor {
            expected: ERROR,
            is_bare: false,
            has_words: true,
        })
    }
}

fn number() -> serde_json::Value {
    serde_json::json!({ "type": "number", "minimum": 0, "maximum": 1 })
}

impl JsonSchema for Probability {
    fn schema_name() -> Cow<'static, str> {
        "Probability".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

impl JsonSchema for Chance {
    fn schema_name() -> Cow<'static, str> {
        "Chance".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": true }, number()] })
    }
}

impl JsonSchema for ErrorKind {
    fn schema_name() -> Cow<'static, str> {
        "ErrorKind".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": true }, { "const": "retryable" }, { "const": "permanent" }, number()] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_may_carry_a_probability_or_a_word() {
        let chance = |text| serde_json::from_str::<Chance>(text).map(Chance::probability);
        assert_eq!(chance("true").unwrap(), None);
        assert_eq!(chance("0.001").unwrap(), Some(0.001));
        let error = |text| serde_json::from_str::<ErrorKind>(text).map(ErrorKind::parts);
        assert_eq!(error("0.5").unwrap(), (true, Some(0.5)));
        assert_eq!(error("\"retryable\"").unwrap(), (true, None));
        assert_eq!(error("\"permanent\"").unwrap(), (false, None));
        for wrong in ["false", "2", "-1", "1.5", "\"often\"", "[]"] {
            assert!(chance(wrong).is_err() && error(wrong).is_err(), "{wrong}");
            let probability = serde_json::from_str::<Probability>(wrong).unwrap_err();
            assert!(probability.to_string().contains(NUMBER), "{probability}");
        }
    }
}
