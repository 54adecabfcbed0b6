//! The `reload` section: how a changed config is taken over by the running process.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::DurationText;

/// How a changed config is taken over (SIGHUP, `--watch` or `POST /api/reload`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawReload {
    /// How long what is new is watched: when it fails in this time, the config before is taken up again. `0s`: not at all.
    probation: DurationText,
}

impl Default for RawReload {
    fn default() -> Self {
        Self {
            probation: DurationText(Duration::from_secs(10)),
        }
    }
}

/// How a changed config is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// How long what is new is watched.
    pub probation: Duration,
}

impl RawReload {
    pub(crate) fn validate(&self) -> ReloadConfig {
        ReloadConfig {
            probation: self.probation.0,
        }
    }
}
