//! The JSON Schema of a whole config file, for editors and the reference pages: made from the types that read it.

use std::collections::BTreeSet;

use schemars::{Schema, schema_for};
use serde_json::{Map, Value, json};

use super::{handler::RawHandler, layers::SCHEMA_KEY, schema, sink::RawSink, source::RawSource};
use crate::components::{Components, Kind};

/// Where `${env:NAME}` and its like are described.
const REFERENCE: &str = "#/$defs/reference";

/// The schema of a config file with these components: JSON Schema 2020-12.
///
/// Files may be laid over one another, so it asks for no section; what stands in a file must be whole, though.
pub fn json_schema(components: &Components) -> Value {
    let mut document = Document::default();
    let mut sections = Map::new();
    for name in schema::SECTIONS {
        let section = match (name, schema::of_section(name)) {
            (_, Some(schema)) => document.define(name, schema),
            ("sources", None) => {
                document.role("source", schema_for!(RawSource), &components.sources)
            }
            ("handlers", None) => {
                document.role("handler", schema_for!(RawHandler), &components.handlers)
            }
            _ => document.role("sink", schema_for!(RawSink), &components.sinks),
        };
        // `sinks:` with nothing below is no error
        let optional = json!({ "anyOf": [section, { "type": "null" }] });
        sections.insert(name.to_owned(), optional);
    }
    sections.insert(SCHEMA_KEY.to_owned(), json!({ "type": "string" }));
    document.finish(sections)
}

/// The schemas that others refer to, by name.
#[derive(Default)]
struct Document {
    definitions: Map<String, Value>,
}

impl Document {
    /// Takes in a type's schema, with the definitions that it brings along, and refers to it.
    fn define(&mut self, name: &str, schema: Schema) -> Value {
        let body = self.take_in(name, schema);
        self.definitions.insert(name.to_owned(), body);
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    /// The schema, with the definitions that it brings along among ours under names of their own.
    fn take_in(&mut self, name: &str, schema: Schema) -> Value {
        let mut body = schema.to_value();
        let Some(object) = body.as_object_mut() else {
            return body;
        };
        object.remove("$schema");
        object.remove("title");
        let definitions = object.remove("$defs");
        prefix_references(&mut body, name);
        if let Some(Value::Object(definitions)) = definitions {
            for (own, mut definition) in definitions {
                prefix_references(&mut definition, name);
                self.definitions.insert(format!("{name}.{own}"), definition);
            }
        }
        body
    }

    /// A mapping from names to components of one role; `type` says which options one has.
    fn role<F: ?Sized>(&mut self, role: &str, shared: Schema, kinds: &[Kind<F>]) -> Value {
        let shared = self.take_in(role, shared);
        let mut choices = Vec::new();
        let mut rules = Vec::new();
        for kind in kinds {
            choices.push(json!({ "const": kind.name, "description": kind.summary }));
            let name = format!("{role}-{}", kind.name);
            let own = self.take_in(&name, (kind.schema)());
            let mut whole = joined(&shared, own);
            whole["properties"]["type"] =
                json!({ "const": kind.name, "description": kind.summary });
            whole["description"] = kind.summary.into();
            self.definitions.insert(name.clone(), whole);
            rules.push(json!({
                "if": { "required": ["type"], "properties": { "type": { "const": kind.name } } },
                "then": { "$ref": format!("#/$defs/{name}") },
            }));
        }
        let about = &shared["properties"]["type"]["description"];
        let component = json!({
            "type": "object",
            "required": ["type"],
            "properties": { "type": { "description": about, "oneOf": choices } },
            "allOf": rules,
        });
        self.definitions.insert(role.to_owned(), component);
        json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "additionalProperties": { "$ref": format!("#/$defs/{role}") },
        })
    }

    fn finish(mut self, sections: Map<String, Value>) -> Value {
        let reference = json!({
            "type": "string",
            "pattern": "\\$\\{(env|file):[^}]+\\}",
            "description": "A value that is filled in: `${env:NAME}`, `${env:NAME:default}` or `${file:/path}`.",
        });
        let plain = self.definitions.clone();
        for definition in self.definitions.values_mut() {
            allow_references(definition, &plain);
        }
        self.definitions.insert("reference".to_owned(), reference);
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Veltrix config",
            "description": format!("The config of veltrix {}.", env!("CARGO_PKG_VERSION")),
            "type": "object",
            "additionalProperties": false,
            "properties": sections,
            // a place for what YAML anchors name
            "patternProperties": { "^x-": {} },
            "$defs": self.definitions,
        })
    }
}

/// The keys that all of a role share and a kind's own, as one mapping.
fn joined(shared: &Value, own: Value) -> Value {
    let mut whole = shared.clone();
    let is_mapping = ["oneOf", "anyOf", "allOf", "$ref"]
        .iter()
        .all(|word| own.get(word).is_none());
    if !is_mapping {
        // the options of a handler of a user's own may be anything that serde reads
        whole["additionalProperties"] = true.into();
        return whole;
    }
    if let (Some(keys), Some(Value::Object(own))) =
        (whole["properties"].as_object_mut(), own.get("properties"))
    {
        keys.extend(own.clone());
    }
    if let (Some(required), Some(Value::Array(own))) =
        (whole["required"].as_array_mut(), own.get("required"))
    {
        required.extend(own.iter().cloned());
    }
    let open = own.get("additionalProperties").cloned();
    whole["additionalProperties"] = open.unwrap_or(true.into());
    whole
}

fn prefix_references(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                let own = value.as_str().and_then(|to| to.strip_prefix("#/$defs/"));
                match own.filter(|_| key == "$ref") {
                    Some(own) => *value = format!("#/$defs/{prefix}.{own}").into(),
                    None => prefix_references(value, prefix),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| prefix_references(item, prefix)),
        _ => {}
    }
}

/// Lets `${env:NAME}` stand where a number, a switch or one of several words must stand otherwise.
fn allow_references(schema: &mut Value, definitions: &Map<String, Value>) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(choices)) = map.get_mut(key) {
            choices
                .iter_mut()
                .for_each(|choice| allow_references(choice, definitions));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = map.get_mut(key) {
            allow_reference(value, definitions);
        }
    }
    if let Some(Value::Object(keys)) = map.get_mut("properties") {
        let values = keys.iter_mut().filter(|(key, _)| *key != "type");
        values.for_each(|(_, value)| allow_reference(value, definitions));
    }
}

fn allow_reference(schema: &mut Value, definitions: &Map<String, Value>) {
    allow_references(schema, definitions);
    let is_limited = variants(schema, definitions).iter().any(is_limited_scalar);
    let Some(map) = schema.as_object_mut().filter(|_| is_limited) else {
        return;
    };
    let mut about = Map::new();
    for key in ["description", "default", "examples"] {
        about.extend(map.remove(key).map(|value| (key.to_owned(), value)));
    }
    let value = std::mem::take(map);
    let choices = vec![Value::Object(value), json!({ "$ref": REFERENCE })];
    about.insert("anyOf".to_owned(), choices.into());
    *map = about;
}

/// The alternatives that a schema stands for, those in lists too.
fn variants(from: &Value, definitions: &Map<String, Value>) -> Vec<Value> {
    let mut open = vec![from];
    let mut found = Vec::new();
    for _ in 0..schema::MAX_REFERENCES {
        let Some(schema) = open.pop() else { break };
        found.push(schema.clone());
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| target.strip_prefix("#/$defs/"));
        open.extend(target.and_then(|name| definitions.get(name)));
        for choice in ["anyOf", "oneOf"] {
            open.extend(
                schema
                    .get(choice)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten(),
            );
        }
    }
    found
}

/// Whether not every text may stand here.
fn is_limited_scalar(schema: &Value) -> bool {
    let types: BTreeSet<&str> = match &schema["type"] {
        Value::String(one) => BTreeSet::from([one.as_str()]),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    };
    let is_number_or_switch = ["integer", "number", "boolean"]
        .iter()
        .any(|name| types.contains(name));
    let has_word = ["const", "enum", "pattern"]
        .iter()
        .any(|word| schema.get(word).is_some());
    is_number_or_switch || has_word
}

#[cfg(test)]
mod tests;
