//! The `routing` section: what happens to events that nobody wants.

use schemars::JsonSchema;
use serde::Deserialize;

/// What happens to events that nobody wants.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRouting {
    /// For an event that no handler's `on` and `when` want: `dead-letter`, `drop` (counted) or the name of a sink.
    pub(crate) unmatched: String,
}

impl Default for RawRouting {
    fn default() -> Self {
        Self {
            unmatched: "dead-letter".to_owned(),
        }
    }
}

/// What happens to an event that no handler wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// It becomes a dead letter.
    DeadLetter,
    /// It is dropped and counted.
    Drop,
    /// It goes to this sink.
    Sink(String),
}

impl RawRouting {
    pub(crate) fn unmatched(self) -> Unmatched {
        match self.unmatched.as_str() {
            "dead-letter" => Unmatched::DeadLetter,
            "drop" => Unmatched::Drop,
            _ => Unmatched::Sink(self.unmatched),
        }
    }
}
