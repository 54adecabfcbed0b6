//! The `dead_letters` section: where events that were given up are kept.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{bounded::WholeNumber, path::KeyPath, units::ByteSize, validate::Context};

/// How many dead letters may be kept in memory.
type Kept = WholeNumber<0, 1_000_000>;

/// A store that is smaller would be full of a few large ones.
const STORE_BYTES_MIN: usize = 1 << 20;

const DEFAULT_KEPT: Kept = match Kept::new(10_000) {
    Some(kept) => kept,
    None => panic!("within the limits"),
};

/// Where events that were given up are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDeadLetters {
    /// How many are kept in memory for reading, 0 to 1000000; beyond it the oldest is dropped and counted. Only for
    /// processes all of whose sources have `durability: none`.
    max_in_memory: Kept,
    /// How much they may take on disk, at least 1MiB; beyond it whoever gives events up waits. For processes that have a
    /// source with another durability.
    max_on_disk: ByteSize,
    /// A sink that each is also sent to, as an event of type `veltrix.dead-letter`.
    also_to: Option<String>,
}

impl Default for RawDeadLetters {
    fn default() -> Self {
        Self {
            max_in_memory: DEFAULT_KEPT,
            max_on_disk: ByteSize(1 << 30),
            also_to: None,
        }
    }
}

/// Where events that were given up are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLettersConfig {
    /// How many are kept in memory.
    pub max_in_memory: usize,
    /// Bytes that they may take on disk.
    pub max_on_disk_bytes: u64,
    /// The sink that each is also sent to.
    pub also_to: Option<String>,
}

impl RawDeadLetters {
    /// Reports a sink that does not exist, and too small a store.
    pub(crate) fn validate(self, context: Context<'_>) -> DeadLettersConfig {
        if let Some(name) = &self.also_to {
            context.check_sink(name, &KeyPath::of(["dead_letters", "also_to"]), &[]);
        }
        if self.max_on_disk.0 < STORE_BYTES_MIN {
            let path = KeyPath::of(["dead_letters", "max_on_disk"]);
            let message = format!("`{path}`: `{}` is less than 1MiB", self.max_on_disk);
            let help = Some("give 1MiB or more".to_owned());
            context.reporter.value(&path, message, help);
        }
        DeadLettersConfig {
            max_on_disk_bytes: self.max_on_disk.0 as u64,
            max_in_memory: self.max_in_memory.count(),
            also_to: self.also_to,
        }
    }
}
