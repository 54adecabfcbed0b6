//! The merged config as it was written, `${...}` not filled in: what may be shown of it.

use std::fmt;

use serde_json::Value;

use super::path::KeyPath;

/// What is shown in the place of a secret.
const MASK: &str = "***";

/// Options that say where a component is, in the order in which they are shown.
const PLACES: [&str; 5] = ["listen", "address", "url", "path", "command"];

/// The merged config before `${...}` is filled in, for those who show a part of it to people.
///
/// What stands in it literally may still be a secret, so nobody gets the whole.
#[derive(Clone, Default)]
pub struct Written {
    tree: Value,
    /// Without what stands literally where a secret belongs.
    shown: Value,
}

impl fmt::Debug for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Written")
    }
}

impl Written {
    /// At `secrets` stands literally what nobody shall see.
    pub(crate) fn new(tree: Value, secrets: &[KeyPath]) -> Self {
        let mut shown = tree.clone();
        if let Some(map) = shown.as_object_mut() {
            // What they give may be anything, and nothing runs by it.
            map.shift_remove("tests");
        }
        for path in secrets {
            if let Some(value) = path.find_mut(&mut shown) {
                *value = MASK.into();
            }
        }
        mask(&mut shown);
        Self { tree, shown }
    }

    /// All of it, secrets masked: at their places, in URLs, and in the arguments of commands.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// Where the component called `name` in `section` is, as `listen 127.0.0.1:8080`, `url http://host/path`, and so on.
    pub fn places(&self, section: &str, name: &str) -> Vec<String> {
        let component = &self.tree[section][name];
        let shown = |key: &&str| {
            let texts = match &component[key] {
                Value::String(text) => vec![text.as_str()],
                // the arguments of a command may be anything, a password too
                Value::Array(items) if *key == "command" => {
                    items.iter().take(1).filter_map(Value::as_str).collect()
                }
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            let text = texts.iter().map(|text| without_secrets(text));
            let text = text.collect::<Vec<_>>().join(" ");
            (!text.is_empty()).then(|| format!("{key} {text}"))
        };
        PLACES.iter().filter_map(shown).collect()
    }

    /// A handler's condition.
    pub fn condition(&self, handler: &str) -> Option<&str> {
        self.tree["handlers"][handler]["when"].as_str()
    }
}

/// Masks what may be secret wherever it stands.
fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(arguments) if key == "command" => {
                        let secret = arguments.iter_mut().skip(1);
                        secret.for_each(|argument| *argument = MASK.into());
                    }
                    value => mask(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) if text.contains("://") => *text = without_secrets(text),
        _ => {}
    }
}

/// A URL without its user and its query, both of which may hold secrets; any other text as it is.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_shown_and_secrets_are_not() {
        let written = Written::new(
            json!({
                "sinks": {
                    "web": { "type": "http", "url": "https://me:word@host:1/p/q?token=word#f", "headers": { "a": "word" } },
                    "file": { "type": "file", "path": ["a/*.x", "b"] },
                    "bare": { "type": "http", "url": "http://word@host" },
                },
                "handlers": { "run": { "command": ["tool", "--password", "word"], "when": "${env:X} > 1" } },
            }),
            &[],
        );
        assert_eq!(written.places("sinks", "web"), ["url https://host:1/p/q"]);
        assert_eq!(written.places("sinks", "file"), ["path a/*.x b"]);
        assert_eq!(written.places("sinks", "bare"), ["url http://host"]);
        assert_eq!(written.places("handlers", "run"), ["command tool"]);
        assert_eq!(written.condition("run"), Some("${env:X} > 1"));
        assert_eq!(written.places("sinks", "none"), Vec::<String>::new());
        assert_eq!(format!("{written:?}"), "Written");
    }
}
