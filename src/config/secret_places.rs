//! Finds what a config says literally where a secret stands, so that no message shows it.

use std::{collections::HashMap, sync::Arc};

use schemars::Schema;
use serde_json::Value;

use super::{
    layers::Layer,
    origins::{
        FileSecrets, MIN_MASKED, Origin, OriginChildren, OriginNode, Origins, SourceFile, Span,
    },
    path::{KeyPath, Step},
    schema::{SchemaAt, Schemas},
};

/// What may stand before a reference without being secret itself (RFC 7235, "auth-scheme").
const SCHEMES: [&str; 4] = ["", "Bearer", "Basic", "Token"];

/// Remembers what stands literally at secret places: in `origins` for messages, in each file for the lines that are shown.
/// Returns these places.
pub(crate) fn hide(
    tree: &Value,
    layers: &[Layer],
    schemas: &Schemas<'_>,
    origins: &mut Origins,
) -> Vec<KeyPath> {
    let mut search = Search {
        found: Vec::new(),
        by_file: HashMap::new(),
    };
    let mut kinds = HashMap::new();
    for section in ["sources", "handlers", "sinks"] {
        let shared = schemas.of_role(section);
        let shared = shared.as_ref().map(SchemaAt::root);
        for (name, component) in tree[section].as_object().into_iter().flatten() {
            let kind = component["type"].as_str().unwrap_or_default();
            let schema = kinds
                .entry((section, kind))
                .or_insert_with(|| schemas.of_kind(section, kind).filter(has_secrets));
            let Some(schema) = schema else { continue };
            let path = KeyPath::of([section, name]);
            let own = Some(SchemaAt::root(schema));
            let at = Place { own, shared };
            search.values(component, at, &path);
            for layer in layers {
                if let Some(origin) = layer.origins.at(&path) {
                    search.spans(origin, at);
                }
            }
        }
    }
    let places = search.found.iter().map(|(path, _)| path.clone());
    let places = places.collect();
    search.finish(origins);
    places
}

fn has_secrets(schema: &Schema) -> bool {
    schema.as_value().to_string().contains("\"writeOnly\"")
}

/// A place of a component, as far as its options and the keys of its role know it.
#[derive(Clone, Copy)]
struct Place<'a> {
    own: Option<SchemaAt<'a>>,
    shared: Option<SchemaAt<'a>>,
}

impl Place<'_> {
    fn step(self, step: &Step) -> Self {
        Self {
            own: self.own.and_then(|at| at.step(step)),
            shared: self.shared.and_then(|at| at.step(step)),
        }
    }

    fn is_known_secret(self) -> bool {
        self.own.is_some_and(SchemaAt::is_secret)
    }

    /// What nobody knows may be a misspelt key with a secret below it.
    fn is_secret(self) -> bool {
        match (self.own, self.shared) {
            (Some(own), _) => own.is_secret(),
            (None, shared) => shared.is_none(),
        }
    }
}

struct Search {
    found: Vec<(KeyPath, String)>,
    /// By the files' ranks.
    by_file: HashMap<usize, (Arc<SourceFile>, FileSecrets)>,
}

impl Search {
    /// The literal values at secret places of the merged tree.
    fn values(&mut self, value: &Value, at: Place<'_>, path: &KeyPath) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let step = Step::Key(key.clone());
                    self.values(value, at.step(&step), &path.step(step));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let step = Step::Index(index);
                    self.values(item, at.step(&step), &path.step(step));
                }
            }
            Value::String(text) if at.is_secret() => self.add(text.clone(), path),
            Value::Number(number) if at.is_secret() => self.add(number.to_string(), path),
            _ => {}
        }
    }

    fn add(&mut self, text: String, path: &KeyPath) {
        if !is_reference(&text) {
            self.found.push((path.clone(), text));
        }
    }

    /// Where a layer writes something at a secret place.
    fn spans(&mut self, node: &OriginNode, at: Place<'_>) {
        match (&node.children, &node.origin) {
            (OriginChildren::Map(map), _) => {
                for (key, node) in map {
                    if let (true, Origin::File { file, key, .. }) =
                        (at.is_known_secret(), &node.origin)
                    {
                        key.iter().for_each(|key| self.hide(file, *key));
                    }
                    self.spans(node, at.step(&Step::Key(key.clone())));
                }
            }
            (OriginChildren::List(items), _) => {
                for (index, node) in items.iter().enumerate() {
                    self.spans(node, at.step(&Step::Index(index)));
                }
            }
            (OriginChildren::None, Origin::File { file, value, .. }) if at.is_secret() => {
                self.hide(file, *value);
            }
            (OriginChildren::None, _) => {}
        }
    }

    fn hide(&mut self, file: &Arc<SourceFile>, span: Span) {
        let entry = self.by_file.entry(file.rank);
        let (_, secrets) = entry.or_insert_with(|| (Arc::clone(file), FileSecrets::default()));
        secrets.spans.push(span);
    }

    fn finish(self, origins: &mut Origins) {
        // what may go on over several lines is found by its words
        let words = self.found.iter().flat_map(|(_, text)| {
            let words = text.split_whitespace();
            words.filter(|word| text.len() > word.len() && !SCHEMES.contains(word))
        });
        let texts: Vec<String> = words
            .filter(|word| word.len() >= MIN_MASKED)
            .map(str::to_owned)
            .collect();
        for (file, mut secrets) in self.by_file.into_values() {
            secrets.texts.clone_from(&texts);
            // a file is read once, and searched once
            file.secrets.get_or_init(|| secrets);
        }
        for (path, text) in self.found {
            origins.add_secret(path, text);
        }
    }
}

/// Whether all that could be secret comes from outside: `Bearer ${env:TOKEN}`.
pub(crate) fn is_reference(text: &str) -> bool {
    let Some((before, rest)) = text.split_once("${") else {
        return false;
    };
    let Some((inner, after)) = rest.split_once('}') else {
        return false;
    };
    let has_default = inner
        .strip_prefix("env:")
        .is_some_and(|name| name.contains(':'));
    !has_default && SCHEMES.contains(&before.trim()) && (after.is_empty() || is_reference(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_no_secrets_and_what_stands_beside_them_is() {
        for text in ["${env:A}", "Bearer ${file:/x}", "${env:A}${env:B}"] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "",
            "word",
            "Bearer word",
            "${env:A:word}",
            "${env:A}word",
            "word ${env:A}",
            "${env:A",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
