//! The environment's layers: `VELTRIX__SERVICE__DATA_DIR=...` overrides a single key.
//!
//! Known keys match whatever their case. The names of sources, handlers and sinks, and the keys of free mappings
//! (`headers`), keep theirs: an existing name that is spelt so, else the only one that differs by case or by `_`
//! for `-`, else the name as it is written.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use config::ValueKind;
use serde_json::Value;

use super::{
    layers::{Layer, Values},
    node::{Node, NodeKind, Scalar},
    origins::{Origin, OriginChildren, OriginNode, SourceFile, Span},
    problems::{Problem, Problems},
    schema::Schemas,
    yaml,
};

/// What marks a variable as an override; levels are parted by `__` as well.
const PREFIX: &str = "VELTRIX__";

/// Levels of one override at most.
const MAX_LEVELS: usize = 16;

/// One layer for each variable, in the order of their names. `below` is what the files say.
pub(crate) fn layers(
    environment: &BTreeMap<String, String>,
    below: &Value,
    schemas: &Schemas<'_>,
    problems: &mut Problems,
) -> Vec<Layer> {
    let overrides = environment
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
    let mut overrides: Vec<_> = overrides
        .map(|(name, levels, value)| (name, levels.split("__").collect::<Vec<_>>(), value))
        .collect();
    // types first, since they tell which keys the other variables of a component may name
    overrides.sort_by_key(|(_, levels, _)| {
        !levels
            .last()
            .is_some_and(|last| last.eq_ignore_ascii_case("type"))
    });
    let mut layers = Vec::new();
    if overrides.is_empty() {
        return layers;
    }
    let mut below = below.clone();
    for (name, levels, value) in overrides {
        if levels.len() > MAX_LEVELS || levels.iter().any(|level| level.is_empty()) {
            let message = format!("environment variable {name} names no config key");
            let help =
                "write the keys with `__` between them: VELTRIX__SERVICE__DATA_DIR".to_owned();
            problems.push(Problem::without_place(message, Some(help)));
            continue;
        }
        let keys = resolve(&levels, &below, schemas);
        set(&mut below, &keys, value);
        layers.push(layer(&keys, name, value));
    }
    layers
}

/// Spells each level as the tree or the schema does.
fn resolve(levels: &[&str], below: &Value, schemas: &Schemas<'_>) -> Vec<String> {
    let mut here = Some(below);
    let mut keys: Vec<String> = Vec::with_capacity(levels.len());
    for level in levels {
        let existing = here.and_then(Value::as_object);
        let found = existing.and_then(|map| pick(level, map.keys().map(String::as_str)));
        let known = schemas.keys_at(&keys, below);
        let key = found
            .or_else(|| pick(level, known.iter().map(String::as_str)))
            .unwrap_or(level)
            .to_owned();
        here = existing.and_then(|map| map.get(&key));
        keys.push(key);
    }
    keys
}

/// The name itself, else the only one that differs by case, `_` or `-` alone.
fn pick<'a>(level: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    if let Some(exact) = names.clone().find(|name| *name == level) {
        return Some(exact);
    }
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let wanted = fold(level);
    let mut alike = names.filter(|name| fold(name) == wanted);
    let first = alike.next()?;
    alike.next().is_none().then_some(first)
}

/// Makes a name or type that only the environment gives known to the variables that follow.
fn set(tree: &mut Value, keys: &[String], text: &str) {
    let mut here = tree;
    for key in keys {
        let Some(map) = here.as_object_mut() else {
            return;
        };
        here = map
            .entry(key.clone())
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *here = Scalar::parse(text).to_json();
}

/// A YAML scalar, or a list or mapping in brackets; what is no valid YAML is a text.
fn parse(text: &str) -> Node {
    let scalar = |scalar| Node {
        kind: NodeKind::Scalar(scalar),
        span: Span::START,
    };
    if !text.starts_with(['[', '{']) {
        return scalar(Scalar::parse(text));
    }
    let file = SourceFile::new(String::new(), text.to_owned(), 0);
    match yaml::parse(&Arc::new(file)) {
        (Some(node), problems) if problems.is_empty() => node,
        _ => scalar(Scalar::Text(text.to_owned())),
    }
}

fn layer(keys: &[String], name: &str, text: &str) -> Layer {
    let origin = Origin::Environment(Arc::from(name));
    let (mut value, mut origins) = parse(text).split(None, &|_, _| origin.clone());
    origins.text = Some(text.to_owned());
    for key in keys.iter().skip(1).rev() {
        value = config::Value::new(
            None,
            ValueKind::Table([(key.clone(), value)].into_iter().collect()),
        );
        origins = OriginNode::new(
            origin.clone(),
            OriginChildren::Map(HashMap::from([(key.clone(), origins)])),
        );
    }
    let root = keys.first().cloned().unwrap_or_default();
    let table = [(root.clone(), value)].into_iter().collect();
    let children = OriginChildren::Map(HashMap::from([(root, origins)]));
    Layer {
        values: Values::new(table),
        origins: OriginNode::new(origin, children),
    }
}
