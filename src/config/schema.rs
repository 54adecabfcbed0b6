//! Looks things up in the JSON Schemas of the config's types: which keys exist at a place, which are required.

use schemars::{Schema, schema_for};
use serde_json::Value;

use super::{
    dead_letters::RawDeadLetters, dedupe::RawDedupe, faults::RawFaults, handler::RawHandler,
    journal::RawJournal, path::Step, reload::RawReload, routing::RawRouting, service::RawService,
    sink::RawSink, source::RawSource, supervision::RawSupervision, test_case::RawTest,
};
use crate::components::Components;

/// References and alternatives followed at most from one place.
pub(crate) const MAX_REFERENCES: usize = 64;

/// The top-level sections of the config.
pub(crate) const SECTIONS: [&str; 12] = [
    "service",
    "sources",
    "handlers",
    "sinks",
    "routing",
    "supervision",
    "dead_letters",
    "journal",
    "dedupe",
    "reload",
    "faults",
    "tests",
];

/// The schema of a section that is one mapping; `None` for those that map names to components.
pub(crate) fn of_section(section: &str) -> Option<Schema> {
    match section {
        "service" => Some(schema_for!(RawService)),
        "routing" => Some(schema_for!(RawRouting)),
        "supervision" => Some(schema_for!(RawSupervision)),
        "dead_letters" => Some(schema_for!(RawDeadLetters)),
        "journal" => Some(schema_for!(RawJournal)),
        "dedupe" => Some(schema_for!(RawDedupe)),
        "reload" => Some(schema_for!(RawReload)),
        "faults" => Some(schema_for!(RawFaults)),
        "tests" => Some(schema_for!(Vec<RawTest>)),
        _ => None,
    }
}

/// A place within a schema.
#[derive(Clone, Copy)]
pub(crate) struct SchemaAt<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> SchemaAt<'a> {
    pub(crate) fn root(schema: &'a Schema) -> Self {
        Self {
            root: schema.as_value(),
            here: schema.as_value(),
        }
    }

    /// The alternatives that the schema here stands for, references followed.
    fn variants(self) -> Vec<&'a Value> {
        let mut open = vec![self.here];
        let mut found = Vec::new();
        for _ in 0..MAX_REFERENCES {
            let Some(schema) = open.pop() else { break };
            found.push(schema);
            let target = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|target| target.strip_prefix('#'));
            open.extend(target.and_then(|pointer| self.root.pointer(pointer)));
            for choice in ["anyOf", "oneOf", "allOf"] {
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

    /// The schema of what `step` leads to.
    pub(crate) fn step(self, step: &Step) -> Option<Self> {
        let here = self.variants().into_iter().find_map(|schema| match step {
            Step::Index(_) => schema.get("items"),
            Step::Key(key) => {
                let free = schema
                    .get("additionalProperties")
                    .filter(|schema| schema.is_object());
                schema
                    .get("properties")
                    .and_then(|keys| keys.get(key))
                    .or(free)
            }
        })?;
        Some(Self { here, ..self })
    }

    /// Whether a secret stands here.
    pub(crate) fn is_secret(self) -> bool {
        let marked = |schema: &&Value| schema.get("writeOnly") == Some(&Value::Bool(true));
        self.variants().iter().any(marked)
    }

    /// Whether only a mapping may stand here (or nothing).
    pub(crate) fn is_mapping(self) -> bool {
        let variants = self.variants();
        let any_is = |name: &str| {
            variants.iter().any(|schema| match schema.get("type") {
                Some(Value::String(kind)) => kind == name,
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
                _ => false,
            })
        };
        any_is("object") && !any_is("array")
    }

    /// The keys that may stand here.
    pub(crate) fn keys(self) -> Vec<&'a str> {
        let properties = self
            .variants()
            .into_iter()
            .filter_map(|schema| schema.get("properties")?.as_object());
        properties
            .flat_map(|keys| keys.keys().map(String::as_str))
            .collect()
    }

    /// The keys that must stand here.
    pub(crate) fn required(self) -> Vec<&'a str> {
        let required = self
            .variants()
            .into_iter()
            .filter_map(|schema| schema.get("required")?.as_array());
        required.flatten().filter_map(Value::as_str).collect()
    }

    /// The first sentence of the key's doc comment, to go on after a colon.
    pub(crate) fn description(self, key: &str) -> Option<String> {
        let schema = self.step(&Step::Key(key.to_owned()))?;
        let text = schema.here.get("description")?.as_str()?;
        let sentence = text
            .split("\n\n")
            .next()?
            .split(". ")
            .next()?
            .trim_end_matches('.');
        let mut letters = sentence.chars();
        let first = letters.next()?;
        Some(format!("{}{}", first.to_lowercase(), letters.as_str()))
    }
}

/// The keys known at every place of the config, for the environment's spelling.
pub(crate) struct Schemas<'a> {
    components: &'a Components,
}

impl<'a> Schemas<'a> {
    pub(crate) fn new(components: &'a Components) -> Self {
        Self { components }
    }

    /// The keys that may follow `keys`; `tree` tells the types of the components. Empty where keys are free.
    pub(crate) fn keys_at(&self, keys: &[String], tree: &Value) -> Vec<String> {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        match keys {
            [] => owned(&SECTIONS),
            [section, rest @ ..] => match (of_section(section), rest) {
                (Some(schema), rest) => keys_within(&schema, rest),
                (None, [name, rest @ ..]) => {
                    let component = tree.get(section).and_then(|names| names.get(name));
                    let kind = component.and_then(|component| component.get("type")?.as_str());
                    self.component(section, kind.unwrap_or_default(), rest)
                }
                (None, []) => Vec::new(),
            },
        }
    }

    /// The keys that all components of a section share.
    pub(crate) fn of_role(&self, section: &str) -> Option<Schema> {
        match section {
            "sources" => Some(schema_for!(RawSource)),
            "handlers" => Some(schema_for!(RawHandler)),
            "sinks" => Some(schema_for!(RawSink)),
            _ => None,
        }
    }

    /// The options of one kind of component.
    pub(crate) fn of_kind(&self, section: &str, kind: &str) -> Option<Schema> {
        match section {
            "sources" => self.components.source(kind).map(|kind| (kind.schema)()),
            "handlers" => self.components.handler(kind).map(|kind| (kind.schema)()),
            "sinks" => self.components.sink(kind).map(|kind| (kind.schema)()),
            _ => None,
        }
    }

    fn component(&self, section: &str, kind: &str, rest: &[String]) -> Vec<String> {
        let Some(shared) = self.of_role(section) else {
            return Vec::new();
        };
        let own = self.of_kind(section, kind);
        let mut keys = keys_within(&shared, rest);
        keys.extend(own.iter().flat_map(|own| keys_within(own, rest)));
        keys
    }
}

fn keys_within(schema: &Schema, rest: &[String]) -> Vec<String> {
    let mut steps = rest.iter().map(|key| Step::Key(key.clone()));
    let place = steps.try_fold(SchemaAt::root(schema), |at, step| at.step(&step));
    place
        .map(|at| at.keys().into_iter().map(str::to_owned).collect())
        .unwrap_or_default()
}
