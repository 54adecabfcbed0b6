//! The `retry` options of sinks that wait for a receiver.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{Backoff, RetryPolicy};

use crate::config::DurationText;

/// When a failed delivery is tried again; everything behind it with the same key waits. Each wait is random, between nothing
/// and the whole of it (full jitter), so that those who failed together do not come back together.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryOptions {
    /// Time after the first attempt at which an event is given up and becomes a dead letter; left out, never.
    pub(crate) max_elapsed: Option<DurationText>,
    /// The longest wait after the first failure; it doubles with each further one.
    pub(crate) min: DurationText,
    /// The longest wait after any; a receiver's `Retry-After` comes on top.
    pub(crate) max: DurationText,
}

impl Default for RetryOptions {
    fn default() -> Self {
        let Backoff { min, max, .. } = RetryPolicy::default().backoff;
        Self {
            max_elapsed: None,
            min: DurationText(min),
            max: DurationText(max),
        }
    }
}

impl RetryOptions {
    /// Checks the options, which stand at the key `retry`.
    pub(crate) fn prepare(&self, problems: &mut Vec<(String, String)>) -> RetryPolicy {
        let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
        if self.min.0 < Duration::from_millis(1) {
            problem("retry.min", format!("`{}` is less than `1ms`", self.min));
        }
        if self.max < self.min {
            let message = format!("`{}` is less than `retry.min`, `{}`", self.max, self.min);
            problem("retry.max", message);
        }
        RetryPolicy {
            backoff: Backoff {
                min: self.min.0,
                max: self.max.0,
                ..RetryPolicy::default().backoff
            },
            max_elapsed: self.max_elapsed.map(|text| text.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_it_never_ends_and_nonsense_is_named() {
        let mut problems = Vec::new();
        let options: RetryOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options.prepare(&mut problems), RetryPolicy::default());
        assert!(problems.is_empty());
        let json = r#"{"min":"0s","max":"0s","max_elapsed":"1h"}"#;
        let policy = serde_json::from_str::<RetryOptions>(json)
            .unwrap()
            .prepare(&mut problems);
        assert_eq!(policy.max_elapsed, Some(Duration::from_secs(3600)));
        assert_eq!(policy.backoff.wait(9, 1.0), Duration::ZERO);
        assert_eq!(problems.len(), 1);
        let json = r#"{"min":"1ms","max":"1ms"}"#;
        let least = serde_json::from_str::<RetryOptions>(json).unwrap();
        let expected = Backoff {
            min: Duration::from_millis(1),
            max: Duration::from_millis(1),
            jitter: 1.0,
        };
        assert_eq!(least.prepare(&mut problems).backoff, expected);
        assert_eq!(problems.len(), 1);
        let options = serde_json::from_str::<RetryOptions>(r#"{"min":"10s"}"#).unwrap();
        options.prepare(&mut problems);
        assert_eq!(problems[1].0, "retry.max");
    }
}
