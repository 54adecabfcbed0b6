//! The `dead_letters` section: where events that were given up are kept.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{bounded::WholeNumber, path::KeyPath, validate::Context};

/// How many dead letters may be kept in memory.
type Kept = WholeNumber<0, 1_000_000>;

const DEFAULT_KEPT: Kept = match Kept::new(10_000) {
    Some(kept) => kept,
    None => panic!("within the limits"),
};

/// Where events that were given up are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDeadLetters {
    /// How many are kept in memory for reading, 0 to 1000000; beyond it the oldest is dropped and counted.
    max_in_memory: Kept,
    /// A sink that each is also sent to, as an event of type `veltrix.dead-letter`.
    also_to: Option<String>,
}

impl Default for RawDeadLetters {
    fn default() -> Self {
        Self {
            max_in_memory: DEFAULT_KEPT,
            also_to: None,
        }
    }
}

/// Where events that were given up are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLettersConfig {
    /// How many are kept in memory.
    pub max_in_memory: usize,
    /// The sink that each is also sent to.
    pub also_to: Option<String>,
}

impl RawDeadLetters {
    /// Reports a sink that does not exist.
    pub(crate) fn validate(self, context: Context<'_>) -> DeadLettersConfig {
        if let Some(name) = &self.also_to {
            context.check_sink(name, &KeyPath::of(["dead_letters", "also_to"]), &[]);
        }
        DeadLettersConfig {
            max_in_memory: self.max_in_memory.count(),
            also_to: self.also_to,
        }
    }
}
