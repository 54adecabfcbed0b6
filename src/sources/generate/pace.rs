//! When generated events are due.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tokio::time::{Instant, sleep_until};

/// Time that a source which was held back makes up for at most; it must not answer a long stall with an endless burst.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The option `rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// Events per second.
    PerSecond(f64),
    /// As many as there is room for.
    Max,
}

impl Default for Rate {
    fn default() -> Self {
        Self::PerSecond(10.0)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of events per second or `max`")
    }

    fn visit_u64<E: Error>(self, rate: u64) -> Result<Rate, E> {
        // Rates are far below the numbers that a double cannot hold.
        Ok(Rate::PerSecond(rate as f64))
    }

    fn visit_f64<E: Error>(self, rate: f64) -> Result<Rate, E> {
        Ok(Rate::PerSecond(rate))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        match text {
            "max" => Ok(Rate::Max),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "const": "max" }] })
    }
}

/// Tells how many events are due.
pub(super) struct Pace {
    rate: Rate,
    start: Instant,
    /// Events made since `start`.
    made: u64,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            start: Instant::now(),
            made: 0,
        }
    }

    /// Waits until an event is due; returns how many are, `most` at most.
    pub(super) async fn due(&mut self, most: u64) -> u64 {
        let Rate::PerSecond(rate) = self.rate else {
            return most;
        };
        let next = self.time_of(self.made + 1, rate);
        sleep_until(next).await;
        let late = next.elapsed();
        if late > CATCH_UP_MAX {
            self.start += late - CATCH_UP_MAX;
        }
        // Truncation is meant: half an event is not due.
        let due = (self.start.elapsed().as_secs_f64() * rate) as u64;
        due.saturating_sub(self.made).clamp(1, most)
    }

    pub(super) fn made(&mut self, events: u64) {
        self.made += events;
    }

    fn time_of(&self, event: u64, rate: f64) -> Instant {
        let after = Duration::try_from_secs_f64(event as f64 / rate);
        self.start + after.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
    }
}
