//! What a reload changes: the components of two configs, compared.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::{Config, Fingerprint};

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) sources: Changes,
    pub(crate) handlers: Changes,
    pub(crate) sinks: Changes,
}

/// The components of one role that are not as before, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
}

impl Plan {
    pub(crate) fn between(before: &Config, after: &Config) -> Self {
        Self {
            sources: Changes::between(&sources(before), &sources(after)),
            handlers: Changes::between(&handlers(before), &handlers(after)),
            sinks: Changes::between(&sinks(before), &sinks(after)),
        }
    }

    fn roles(&self) -> [(&'static str, &Changes); 3] {
        [
            ("sources", &self.sources),
            ("handlers", &self.handlers),
            ("sinks", &self.sinks),
        ]
    }

    /// The components that are new or another version, with their roles.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let roles = self.roles().into_iter();
        roles.flat_map(|(role, changes)| changes.new_ones().map(move |name| (role, name)))
    }

    /// Whether nothing that runs is touched.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn to_json(&self) -> Value {
        let roles = self.roles().map(|(role, changes)| {
            let Changes {
                added,
                changed,
                removed,
            } = changes;
            let changes = json!({ "added": added, "changed": changed, "removed": removed });
            (role.to_owned(), changes)
        });
        Value::Object(roles.into_iter().collect())
    }
}

fn sources(config: &Config) -> Known<'_> {
    let sources = config.sources.iter();
    sources
        .map(|source| (source.name.as_str(), source.fingerprint))
        .collect()
}

fn handlers(config: &Config) -> Known<'_> {
    let handlers = config.handlers.iter();
    handlers
        .map(|handler| (handler.name.as_str(), handler.fingerprint))
        .collect()
}

fn sinks(config: &Config) -> Known<'_> {
    let sinks = config.sinks.iter();
    sinks
        .map(|sink| (sink.name.as_str(), sink.fingerprint))
        .collect()
}

/// What is known of the components of one role.
type Known<'a> = BTreeMap<&'a str, Fingerprint>;

impl Changes {
    fn between(before: &Known<'_>, after: &Known<'_>) -> Self {
        let mut changes = Self::default();
        for (name, fingerprint) in after {
            match before.get(name) {
                None => changes.added.push((*name).to_owned()),
                Some(known) if known != fingerprint => changes.changed.push((*name).to_owned()),
                Some(_) => {}
            }
        }
        let removed = before.keys().filter(|name| !after.contains_key(*name));
        changes.removed = removed.map(|name| (*name).to_owned()).collect();
        changes
    }

    /// What was not there before, and what is there in another version.
    pub(crate) fn new_ones(&self) -> impl Iterator<Item = &String> {
        self.added.iter().chain(&self.changed)
    }
}
