//! The config's words for supervision and keys in those of the actors.

use veltrix_actors::{Backoff, BreakerSpec, KeySelector, Restart};

use crate::config::{self, EventKey, Supervision};

pub(super) fn backoff(supervision: &Supervision) -> Backoff {
    let config::Backoff { min, max, jitter } = supervision.backoff;
    Backoff { min, max, jitter }
}

pub(super) fn breaker(supervision: &Supervision) -> BreakerSpec {
    let config::Breaker {
        dead_letter_ratio,
        window,
        min_events,
    } = supervision.breaker;
    BreakerSpec {
        dead_letter_ratio,
        window,
        min_events: min_events.into(),
    }
}

pub(super) fn restart(supervision: &Supervision) -> Restart {
    match supervision.restart {
        config::Restart::Permanent => Restart::Permanent,
        config::Restart::Transient => Restart::Transient,
        config::Restart::Temporary => Restart::Temporary,
    }
}

pub(super) fn key(key: &EventKey) -> KeySelector {
    match key {
        EventKey::Subject => KeySelector::SubjectOrSource,
        EventKey::Source => KeySelector::Source,
        EventKey::Id => KeySelector::Id,
        EventKey::Type => KeySelector::Type,
        EventKey::Extension(name) => KeySelector::Attribute(name.clone()),
        EventKey::Data(path) => KeySelector::Data(path.clone()),
    }
}
