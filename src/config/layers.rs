//! Lays files and environment variables over one another: one tree of values, and the origin of each.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use config::{ConfigError, Source, ValueKind};
use serde_json::Value;

use super::{
    environment, files,
    node::{Node, NodeKind, Scalar},
    origins::{FileLocation, Location, Origin, OriginNode, Origins, SourceFile, Span},
    problems::{Problem, Problems},
    schema::Schemas,
    secret_places, substitute, version,
    written::Written,
};

/// What names the schema of a JSON file to editors; it means nothing here.
pub(crate) const SCHEMA_KEY: &str = "$schema";

/// How the names of top-level keys begin that are passed over: a place for the YAML anchors of what repeats.
pub(crate) const SPARE_PREFIX: &str = "x-";

/// The merged config before it is decoded.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) value: Value,
    pub(crate) origins: Origins,
    pub(crate) version: String,
    /// Before `${...}` was filled in.
    pub(crate) written: Written,
    /// What is wrong with the parts that could be read all the same.
    pub(crate) problems: Problems,
}

/// One layer: values, and where each of them came from.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) values: Values,
    pub(crate) origins: OriginNode,
}

/// A layer's values for the `config` crate, which merges them over those before.
///
/// Our own source, since the crate's file sources keep no positions and its environment source lower-cases names. Shared,
/// because the crate clones its sources, and a config may be large.
#[derive(Clone, Debug)]
pub(crate) struct Values(Arc<config::Map<String, config::Value>>);

impl Values {
    pub(crate) fn new(table: config::Map<String, config::Value>) -> Self {
        Self(Arc::new(table))
    }
}

impl Source for Values {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, config::Value>, ConfigError> {
        Ok((*self.0).clone())
    }
}

/// Reads and merges the files in order, then the environment, and fills in `${...}`.
pub(crate) fn load(
    files: &[PathBuf],
    environment: &BTreeMap<String, String>,
    schemas: &Schemas<'_>,
) -> Result<Tree, Problems> {
    let mut problems = Problems::default();
    let mut layers = Vec::new();
    let mut is_whole = true;
    for (rank, path) in files.iter().enumerate() {
        let (file, node, found) = files::read(path, rank);
        is_whole &= node.is_some() || found.is_empty();
        problems.extend(found);
        if let Some(node) = node {
            let layer = file_layer(node, &file, &mut problems);
            is_whole &= layer.is_some();
            layers.extend(layer);
        }
    }
    if !is_whole {
        // what a file says that cannot be read, others would seem to lack
        return Err(problems);
    }
    let below = merge(&layers)?;
    let overrides = environment::layers(environment, &below, schemas, &mut problems);
    let value = if overrides.is_empty() {
        below
    } else {
        layers.extend(overrides);
        merge(&layers)?
    };
    let mut tree = Tree {
        version: version::of(&value),
        written: Written::default(),
        value,
        origins: Origins::default(),
        problems,
    };
    let secrets = secret_places::hide(&tree.value, &layers, schemas, &mut tree.origins);
    tree.written = Written::new(tree.value.clone(), &secrets);
    layers
        .into_iter()
        .for_each(|layer| tree.origins.overlay(layer.origins));
    substitute::fill_in(&mut tree, environment);
    Ok(tree)
}

/// A file's top level, without what is empty there: `sinks:` with nothing below removes no sink.
fn file_layer(node: Node, file: &Arc<SourceFile>, problems: &mut Problems) -> Option<Layer> {
    let location = |span| {
        Location::File(FileLocation {
            file: Arc::clone(file),
            span,
        })
    };
    let span = node.span;
    let entries = match node.kind {
        NodeKind::Map(entries) => entries,
        NodeKind::Scalar(Scalar::Null) => Vec::new(),
        _ => {
            let message = "a config file must be a mapping of sections such as `sources:`, not a list or a text";
            problems.push(Problem::at(location(span), message, None));
            return None;
        }
    };
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.key == SCHEMA_KEY || entry.key.starts_with(SPARE_PREFIX) {
            continue;
        }
        // `config` reads dots and brackets in a top-level key as a path
        if !entry
            .key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            || entry.key.is_empty()
        {
            let message = format!("unknown key `{}`", entry.key);
            let help = entry.key.split_once('.').map(|(section, rest)| {
                format!("a dot does not reach into a section; write `{section}: {{ {rest}: ... }}`")
            });
            problems.push(Problem::at(location(entry.key_span), message, help));
        } else if !matches!(entry.value.kind, NodeKind::Scalar(Scalar::Null)) {
            kept.push(entry);
        }
    }
    let (value, origins) = Node {
        kind: NodeKind::Map(kept),
        span: Span::START,
    }
    .split(None, &|key, value| Origin::File {
        file: Arc::clone(file),
        key,
        value,
    });
    let table = value.into_table().unwrap_or_default();
    let values = Values::new(table);
    Some(Layer { values, origins })
}

fn merge(layers: &[Layer]) -> Result<Value, Problems> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.values.clone());
    }
    let merged = builder
        .build()
        .map_err(|error| Problem::without_place(error.to_string(), None))?;
    Ok(to_json(merged.cache))
}

/// The plain values of a merged layer.
pub(crate) fn to_json(value: config::Value) -> Value {
    match value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(flag) => flag.into(),
        ValueKind::I64(number) => number.into(),
        ValueKind::U64(number) => number.into(),
        ValueKind::Float(number) => number.into(),
        ValueKind::String(text) => text.into(),
        ValueKind::Array(items) => items.into_iter().map(to_json).collect(),
        ValueKind::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, value)| (key, to_json(value)))
                .collect(),
        ),
        // no layer of ours makes these
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
    }
}
