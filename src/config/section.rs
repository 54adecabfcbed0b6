//! What a component sees of the config: its own options and a way to report what is wrong with them.

use std::{cell::Cell, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{decode::decode, expression::Envelope, path::KeyPath, problems::Reporter, suggest};
use crate::components::Kind;

/// One component's section, from which the keys that all components of its role share are taken out.
pub struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a KeyPath,
    pub(crate) options: Value,
    /// The shared keys, named among the valid ones when one is misspelt.
    pub(crate) shared: &'static [&'static str],
    pub(crate) when: Option<&'a str>,
    /// Whether the component has taken the condition, and so compiles it and says what is wrong with it.
    pub(crate) takes_when: &'a Cell<bool>,
    pub(crate) envelope: Option<&'a Envelope>,
    pub(crate) reporter: &'a Reporter,
}

impl Section<'_> {
    /// The component's name in the config.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Where the section stands: `handlers.price-order`.
    pub fn path(&self) -> &KeyPath {
        self.path
    }

    /// A handler's `when`. Whoever asks for it compiles it, and reports at the key `when` what is wrong with it; nobody else checks
    /// it then.
    pub fn when(&self) -> Option<&str> {
        self.takes_when.set(true);
        self.when
    }

    /// How a source wraps lines that are no CloudEvents; each expression's syntax is checked already.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope
    }

    /// The options as `T`; `None` after every problem with them has been reported.
    pub fn options<T: DeserializeOwned + JsonSchema>(&self) -> Option<T> {
        decode(&self.options, self.path, self.shared, self.reporter)
    }

    /// Reports an error at an option; `key` may lead deeper with dots (`set.data.total`). The message is lowercase,
    /// without full stop, and names the value and the valid choices.
    pub fn problem(&self, key: &str, message: impl std::fmt::Display) {
        let path = self.place(key);
        let spelled = if key.is_empty() {
            self.path.to_string()
        } else {
            format!("{}.{key}", self.path)
        };
        self.reporter
            .value(&path, format!("`{spelled}`: {message}"), None);
    }

    /// Reports something at an option that runs, but hardly as meant.
    pub fn warning(&self, key: &str, message: impl std::fmt::Display) {
        let path = self.place(key);
        let spelled = if key.is_empty() {
            self.path.to_string()
        } else {
            format!("{}.{key}", self.path)
        };
        self.reporter
            .warn(&path, format!("`{spelled}`: {message}"), None);
    }
}

impl Section<'_> {
    /// Where an option or a shared key stands.
    fn place(&self, key: &str) -> KeyPath {
        if self.shared.contains(&key) {
            return self.path.key(key);
        }
        // `remove[2]`, which no key of a mapping is called
        let item = key.strip_suffix(']').and_then(|text| text.rsplit_once('['));
        let item = item.and_then(|(list, index)| Some((list, index.parse::<usize>().ok()?)));
        let place = match item {
            Some((list, index)) if self.options[list].is_array() => {
                KeyPath::of([list]).index(index)
            }
            _ => KeyPath::resolve_dotted(&self.options, key),
        };
        self.path.join(&place)
    }
}

/// Parts a component's mapping into the keys that its role shares and its own.
pub(crate) fn split(value: &Value, shared: &[&str]) -> (Value, Value) {
    let map = value.as_object().cloned().unwrap_or_default();
    let (own, rest): (Map<_, _>, Map<_, _>) = map
        .into_iter()
        .partition(|(key, _)| shared.contains(&key.as_str()));
    (Value::Object(own), Value::Object(rest))
}

/// The kind that a section's `type` names; an unknown one is reported with those that exist. A missing or misshapen
/// `type` is left to the decoding of the shared keys.
pub(crate) fn kind<'a, F: ?Sized>(
    kinds: &'a [Kind<F>],
    noun: &str,
    value: &Value,
    path: &KeyPath,
    reporter: &Reporter,
) -> Option<&'a Kind<F>> {
    let wanted = value.get("type")?.as_str()?;
    let found = kinds.iter().find(|kind| kind.name == wanted);
    if found.is_none() {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        let help = suggest::help(wanted, &format!("{noun} types"), &names);
        reporter.value(
            &path.key("type"),
            format!("`{path}`: unknown {noun} type `{wanted}`"),
            Some(help),
        );
    }
    found
}

/// Lets the kind validate its options.
pub(crate) fn prepare<F: ?Sized>(kind: Option<&Kind<F>>, section: Section<'_>) -> Option<Arc<F>> {
    kind.and_then(|kind| (kind.prepare)(section))
}

#[cfg(test)]
impl Section<'_> {
    /// Lets a component's test see a section with these options, and what is reported of it.
    pub(crate) fn alone<R>(
        options: Value,
        when: Option<&str>,
        look: impl FnOnce(Section<'_>) -> R,
    ) -> (R, super::Problems) {
        let reporter = Reporter::default();
        let section = Section {
            name: "alone",
            path: &KeyPath::of(["alone"]),
            options,
            shared: &[],
            when,
            takes_when: &Cell::new(false),
            envelope: None,
            reporter: &reporter,
        };
        let result = look(section);
        (result, reporter.into_problems())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    struct Options {
        set: BTreeMap<String, String>,
    }

    #[test]
    fn a_component_reports_at_its_own_keys() {
        let (options, problems) = Section::alone(
            json!({ "set": { "data.x": "1 +" } }),
            Some("true"),
            |section| {
                assert_eq!((section.name(), section.when()), ("alone", Some("true")));
                section.problem("set.data.x", "`1 +` ends too early");
                section.warning("set", "is hardly needed");
                section.options::<Options>()
            },
        );
        assert_eq!(options.map(|options| options.set.len()), Some(1));
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.path.to_string(), problem.message.clone()))
            .collect();
        let error = (
            r#"alone.set."data.x""#.to_owned(),
            "`alone.set.data.x`: `1 +` ends too early".to_owned(),
        );
        let warning = (
            "alone.set".to_owned(),
            "`alone.set`: is hardly needed".to_owned(),
        );
        assert_eq!(found, [error, warning]);
    }
}
