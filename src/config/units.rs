//! Durations and sizes as the config writes them: always with a unit.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

const DURATION_FORMS: &str =
    "write a number with a unit, such as `50ms`, `10s`, `5m`, `1h` or `1h 30m`";
const SIZE_FORMS: &str = "write a whole number with a unit: `512B`, `64KiB`, `256MiB`, `1GiB` (powers of 1024) or `KB`, `MB`, `GB` (powers of 1000)";

/// A span of time with its unit, such as `10s`, `50ms`, `1h` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// A number of bytes with its unit, such as `256MiB`, `64KiB` or `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// Why a text is no duration or size; names the valid forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// Unit, bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The longest duration: sums and multiples of such ones still fit.
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl FromStr for DurationText {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let duration = humantime::parse_duration(text)
            .map_err(|_| UnitError(format!("`{text}` is not a duration; {DURATION_FORMS}")))?;
        match duration <= DURATION_MAX {
            true => Ok(Self(duration)),
            false => Err(UnitError(format!("`{text}` is longer than 100 years"))),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("`{text}` is not a size; {SIZE_FORMS}"));
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start();
        let (_, scale) = SIZE_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let bytes = number
            .checked_mul(*scale)
            .and_then(|bytes| usize::try_from(bytes).ok());
        bytes
            .map(Self)
            .ok_or_else(|| UnitError(format!("`{text}` is larger than this machine can address")))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        let (unit, scale) = SIZE_UNITS
            .iter()
            .filter(|(unit, scale)| {
                bytes >= *scale
                    && bytes.is_multiple_of(*scale)
                    && (unit.contains('i') || *scale == 1)
            })
            .max_by_key(|(_, scale)| *scale)
            .unwrap_or(&SIZE_UNITS[0]);
        write!(formatter, "{}{unit}", bytes / scale)
    }
}

/// Reads a `T` from a string, and tells whoever wrote a bare number that the unit is missing.
struct UnitVisitor<T> {
    forms: &'static str,
    noun: &'static str,
    result: std::marker::PhantomData<T>,
}

impl<T: FromStr<Err = UnitError>> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a {} ({})", self.noun, self.forms)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        Err(E::custom(format_args!(
            "`{number}` has no unit; {}",
            self.forms
        )))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(format_args!(
            "`{number}` is not a {}; {}",
            self.noun, self.forms
        )))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        Err(E::custom(format_args!(
            "`{number}` has no unit; {}",
            self.forms
        )))
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let result = std::marker::PhantomData;
        deserializer.deserialize_any(UnitVisitor {
            forms: DURATION_FORMS,
            noun: "duration",
            result,
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let result = std::marker::PhantomData;
        deserializer.deserialize_any(UnitVisitor {
            forms: SIZE_FORMS,
            noun: "size",
            result,
        })
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // not `duration`, which the specification knows as ISO 8601's
        json_schema!({
            "type": "string", "format": "veltrix-duration", "pattern": "^(0|([0-9]+([.][0-9]+)? *[A-Za-zµ]+ *)+)$",
            "examples": ["50ms", "10s", "1h"]
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "veltrix-size", "pattern": "^[0-9]+ *(B|[KMGT]i?B)$", "examples": ["64KiB", "256MiB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        let cases = [
            ("10s", 10_000),
            ("50ms", 50),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("10m", 600_000),
            ("0s", 0),
            ("1.5s", 1_500),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                text.parse(),
                Ok(DurationText(Duration::from_millis(milliseconds))),
                "{text}"
            );
        }
        for text in ["10", "", "s", "-1s", "10 parsecs", "1.s"] {
            let error = text.parse::<DurationText>().unwrap_err().to_string();
            assert!(error.contains("`50ms`"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_carry_their_unit() {
        let cases = [
            ("256MiB", 256 << 20),
            ("64KiB", 64 << 10),
            ("1GiB", 1 << 30),
            ("10KB", 10_000),
            ("3MB", 3_000_000),
            ("7B", 7),
            ("8 KiB", 8192),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in [
            "256",
            "",
            "MiB",
            "-1MiB",
            "1.5GiB",
            "1mib",
            "99999999999TiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_told_that_it_lacks_a_unit() {
        let error = serde_json::from_str::<DurationText>("10")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`10` has no unit; write a number with a unit"),
            "{error}"
        );
        let error = serde_json::from_str::<ByteSize>("1024")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`64KiB`"), "{error}");
    }

    #[test]
    fn display_reads_back() {
        for bytes in [0, 1, 1023, 1024, 64 << 10, 256 << 20, 1_000_000] {
            let size = ByteSize(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(ByteSize(256 << 20).to_string(), "256MiB");
        assert_eq!(DurationText(Duration::from_secs(90)).to_string(), "1m 30s");
    }
}
