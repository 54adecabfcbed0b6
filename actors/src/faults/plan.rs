//! What faults are wanted: a seed and a list of injections, as plain data.

use std::time::Duration;

use crate::event::Event;

/// Faults to inject into a running process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Decides every draw; the same seed makes the same faults.
    pub seed: u64,
    /// In the order in which they act on an event.
    pub injections: Vec<Injection>,
}

/// One kind of fault at one point or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// Where.
    pub at: PointPattern,
    /// What.
    pub action: FaultAction,
    /// When; all that is given must hold.
    pub when: When,
}

/// The points of an injection: `router`, `source.NAME`, `handler.NAME` or `sink.NAME`, where `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointPattern(String);

impl PointPattern {
    /// The pattern with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it means the point of that name.
    pub fn matches(&self, point: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = point.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, between)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in between {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultAction {
    /// The code at the point panics.
    Panic,
    /// It reports an error.
    Error {
        /// Whether another attempt may work.
        retryable: bool,
    },
    /// It blocks its thread for so long.
    Hang(Duration),
    /// It takes so much longer.
    Delay(Duration),
    /// The whole actor dies.
    AbortActor,
    /// It takes so many events in a second at most.
    Slow(f64),
    /// One byte of the event's `data` is another; the event stays JSON.
    Corrupt,
}

impl FaultAction {
    /// The word used in the config, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error { .. } => "error",
            Self::Hang(_) => "hang",
            Self::Delay(_) => "delay",
            Self::AbortActor => "abort_actor",
            Self::Slow(_) => "slow",
            Self::Corrupt => "corrupt",
        }
    }

    /// Whether the point can suffer it: the router has no errors of its own and changes no events.
    pub fn is_possible_at(self, point: &str) -> bool {
        point != "router" || !matches!(self, Self::Error { .. } | Self::Corrupt)
    }

    /// Whether it holds its thread up.
    pub(crate) fn takes_time(self) -> bool {
        matches!(self, Self::Hang(_) | Self::Delay(_) | Self::Slow(_))
    }
}

/// When a fault happens. By default, to every event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// The part of the events that it happens to, 0 to 1.
    pub probability: Option<f64>,
    /// It happens to each event whose number is a multiple of this; each lane or slot counts its own.
    pub every: Option<u64>,
    /// Not before this time after the start.
    pub from: Duration,
    /// Not from this time after the start on.
    pub until: Option<Duration>,
    /// How often in all.
    pub times: Option<u64>,
    /// Only to events with these attributes.
    pub only: Only,
    /// It happens to the same event again and again; otherwise once at each point.
    pub sticky: bool,
}

/// Attributes that an event must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// The event's `id`.
    pub id: Option<String>,
    /// The event's `source`.
    pub source: Option<String>,
    /// The event's `type`.
    pub event_type: Option<String>,
    /// The event's `subject`.
    pub subject: Option<String>,
}

impl Only {
    pub(crate) fn holds(&self, event: &Event<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        // Attribute by attribute: unescaping one may allocate.
        (self.id.is_none() || is(&self.id, Some(&event.id())))
            && (self.source.is_none() || is(&self.source, Some(&event.source())))
            && (self.event_type.is_none() || is(&self.event_type, Some(&event.event_type())))
            && (self.subject.is_none() || is(&self.subject, event.subject().as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let cases = [
            ("router", "router", true),
            ("router", "routers", false),
            ("sink.*", "sink.out", true),
            ("sink.*", "source.out", false),
            ("*", "handler.a", true),
            ("handler.*-order", "handler.price-order", true),
            ("handler.*-order", "handler.price-orders", false),
            ("*.a*b", "sink.aab", true),
            ("sink.a*a", "sink.a", false),
        ];
        for (pattern, point, expected) in cases {
            let found = PointPattern::new(pattern).matches(point);
            assert_eq!(found, expected, "{pattern} {point}");
        }
    }
}
