//! The `dedupe` section: how far back events are known that come again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    bounded::WholeNumber, journal::JournalConfig, path::KeyPath, problems::Reporter,
    units::DurationText,
};

/// How many events may be known.
type Keys = WholeNumber<1, 10_000_000>;

const DEFAULT_KEYS: Keys = match Keys::new(1_000_000) {
    Some(keys) => keys,
    None => panic!("within the limits"),
};

/// Events that come again are taken and not handled again, if their source and id are known. Only for sources with
/// `durability: journal`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDedupe {
    /// How long an event is known, at least 1s and at most `journal.retain.age`.
    window: DurationText,
    /// How many are known, 1 to 10000000, at about 80 bytes each; beyond it the oldest is not known any more.
    max_keys: Keys,
}

impl Default for RawDedupe {
    fn default() -> Self {
        Self {
            window: DurationText(Duration::from_secs(600)),
            max_keys: DEFAULT_KEYS,
        }
    }
}

/// How far back events are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeConfig {
    /// How long.
    pub window: Duration,
    /// Of how many events.
    pub keys_max: usize,
}

impl RawDedupe {
    /// Reports a window that a restart could not fill again.
    pub(crate) fn validate(
        self,
        journal: Option<&JournalConfig>,
        reporter: &Reporter,
    ) -> DedupeConfig {
        let path = KeyPath::of(["dedupe", "window"]);
        if self.window.0 < Duration::from_secs(1) {
            let message = format!("`{path}`: `{}` is less than 1s", self.window);
            reporter.value(&path, message, Some("give 1s or more".to_owned()));
        }
        if journal.is_some_and(|journal| journal.retain_age < self.window.0) {
            let message = format!(
                "`{path}`: `{}` is longer than `journal.retain.age`, from which a restart knows them",
                self.window
            );
            let help = "make it shorter, or have the journal keep events longer".to_owned();
            reporter.value(&path, message, Some(help));
        }
        DedupeConfig {
            window: self.window.0,
            keys_max: self.max_keys.count(),
        }
    }
}
