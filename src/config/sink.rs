//! The `sinks` section: where results go.

use std::{cell::Cell, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    decode::decode_what_is_valid,
    live::Fingerprint,
    names::RESERVED_SINKS,
    path::KeyPath,
    section::{self, Section},
    suggest,
    validate::Context,
};
use crate::components::SinkFactory;

const SHARED_KEYS: [&str; 1] = ["type"];

/// The keys that all sinks share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSink {
    /// The kind of sink, as `veltrix components` lists them.
    #[serde(rename = "type")]
    kind: String,
}

/// A sink, ready to be started.
#[derive(Clone)]
pub struct SinkConfig {
    /// Its name in the config.
    pub name: String,
    /// The value of `type`.
    pub kind: String,
    /// Makes what the sink actor needs.
    pub factory: Arc<dyn SinkFactory>,
    /// What a reload knows it by.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = formatter.debug_struct("SinkConfig");
        out.field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Validates one sink; `None` after something was reported.
pub(crate) fn validate(name: &str, value: &Value, context: Context<'_>) -> Option<SinkConfig> {
    let Context {
        components,
        reporter,
        ..
    } = context;
    let path = KeyPath::of(["sinks", name]);
    if RESERVED_SINKS.contains(&name) {
        let help = format!(
            "{} have a meaning of their own",
            suggest::list(&RESERVED_SINKS)
        );
        reporter.key(
            &path,
            format!("`{name}` cannot be the name of a sink"),
            Some(help),
        );
    }
    let (shared, options) = section::split(value, &SHARED_KEYS);
    let kind = section::kind(&components.sinks, "sink", value, &path, reporter);
    let (raw, _) = decode_what_is_valid::<RawSink>(&shared, &path, &[], reporter);
    let section = Section {
        name,
        path: &path,
        options,
        shared: &SHARED_KEYS,
        when: None,
        takes_when: &Cell::new(false),
        envelope: None,
        reporter,
    };
    let factory = section::prepare(kind, section);
    Some(SinkConfig {
        name: name.to_owned(),
        kind: raw?.kind,
        factory: factory?,
        fingerprint: Fingerprint::of(value, context.tree, &["faults"]),
    })
}
