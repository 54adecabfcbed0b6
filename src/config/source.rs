//! The `sources` section: where events come in.

use std::{cell::Cell, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use veltrix_actors::DurabilityKind;

use super::{
    decode::decode_what_is_valid,
    expression::{Envelope, RawEnvelope},
    live::Fingerprint,
    path::KeyPath,
    problems::Reporter,
    section::{self, Section},
    validate::Context,
};
use crate::components::{Components, SourceFactory};

const SHARED_KEYS: [&str; 3] = ["type", "durability", "envelope"];

/// The built-in sources whose events come as CloudEvents only.
const WITHOUT_ENVELOPE: [&str; 2] = ["http", "generate"];

/// The keys that all sources share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSource {
    /// The kind of source, as `veltrix components` lists them.
    #[serde(rename = "type")]
    kind: String,
    /// What an accepted event has behind it when the process dies: the `journal` on disk, the place `upstream` that it came
    /// from, or `none`. The default depends on the kind of source.
    durability: Option<Durability>,
    /// How lines that are plain JSON become events (`tcp`, `stdin` and `file`); without it lines are CloudEvents.
    envelope: Option<RawEnvelope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Durability {
    Journal,
    Upstream,
    None,
}

/// A source, ready to be started.
#[derive(Clone)]
pub struct SourceConfig {
    /// Its name in the config.
    pub name: String,
    /// The value of `type`.
    pub kind: String,
    /// How plain JSON lines become events.
    pub envelope: Option<Envelope>,
    /// What accepted events have behind them.
    pub durability: DurabilityKind,
    /// Makes what the source actor needs.
    pub factory: Arc<dyn SourceFactory>,
    /// What a reload knows it by.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = formatter.debug_struct("SourceConfig");
        out.field("name", &self.name)
            .field("kind", &self.kind)
            .field("envelope", &self.envelope)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// Validates one source; `None` after something was reported.
pub(crate) fn validate(name: &str, value: &Value, context: Context<'_>) -> Option<SourceConfig> {
    let Context {
        components,
        reporter,
        ..
    } = context;
    let path = KeyPath::of(["sources", name]);
    let (shared, options) = section::split(value, &SHARED_KEYS);
    let kind = section::kind(&components.sources, "source", value, &path, reporter);
    let (raw, _) = decode_what_is_valid::<RawSource>(&shared, &path, &[], reporter);
    let envelope = raw
        .as_ref()
        .and_then(|raw| raw.validate(&path, components, reporter));
    let section = Section {
        name,
        path: &path,
        options,
        shared: &SHARED_KEYS,
        when: None,
        takes_when: &Cell::new(false),
        envelope: envelope.as_ref(),
        reporter,
    };
    let factory = section::prepare(kind, section)?;
    let raw = raw?;
    let known = factory.durabilities();
    let durability = match raw.durability {
        None => *known.first()?,
        Some(wanted) => {
            let wanted = wanted.kind();
            if !known.contains(&wanted) {
                let names: Vec<_> = known
                    .iter()
                    .map(|kind| format!("`{}`", word(*kind)))
                    .collect();
                let message = format!(
                    "`{path}`: a source of type `{}` has no `durability: {}`",
                    raw.kind,
                    word(wanted)
                );
                let help = match names.as_slice() {
                    [first @ .., last] if !first.is_empty() => {
                        format!("it knows {} and {last}", first.join(", "))
                    }
                    _ => format!("it knows {}", names.concat()),
                };
                reporter.value(&path.key("durability"), message, Some(help));
            }
            wanted
        }
    };
    Some(SourceConfig {
        name: name.to_owned(),
        kind: raw.kind,
        envelope,
        durability,
        factory,
        fingerprint: Fingerprint::of(value, context.tree, &["faults"]),
    })
}

impl Durability {
    fn kind(self) -> DurabilityKind {
        match self {
            Self::Journal => DurabilityKind::Journal,
            Self::Upstream => DurabilityKind::Upstream,
            Self::None => DurabilityKind::None,
        }
    }
}

/// The word for it in a config.
fn word(kind: DurabilityKind) -> &'static str {
    match kind {
        DurabilityKind::Journal => "journal",
        DurabilityKind::Upstream => "upstream",
        DurabilityKind::None => "none",
    }
}

impl RawSource {
    fn validate(
        &self,
        path: &KeyPath,
        components: &Components,
        reporter: &Reporter,
    ) -> Option<Envelope> {
        let raw = self.envelope.clone()?;
        let at = path.key("envelope");
        if WITHOUT_ENVELOPE.contains(&self.kind.as_str()) {
            let message = format!(
                "`{path}`: a source of type `{}` takes no `envelope`",
                self.kind
            );
            let help = "`tcp`, `stdin` and `file` sources take one".to_owned();
            reporter.key(&at, message, Some(help));
        }
        raw.validate(&at, components.check_expression, reporter)
    }
}
