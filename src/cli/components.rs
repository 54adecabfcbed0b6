//! `veltrix components`: which sources, handlers and sinks there are, with their options.

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{OutputFormat, print};
use crate::components::{Components, Kind};

/// How deep within one another options are shown.
const OPTION_DEPTH_MAX: usize = 4;

/// Prints one kind, or all of them.
pub(super) fn list(components: &Components, kind: Option<&str>, output: OutputFormat) -> ExitCode {
    let mut entries = Vec::new();
    entries.extend(components.sources.iter().map(|kind| entry("source", kind)));
    entries.extend(
        components
            .handlers
            .iter()
            .map(|kind| entry("handler", kind)),
    );
    entries.extend(components.sinks.iter().map(|kind| entry("sink", kind)));
    let known: Vec<String> = entries.iter().map(|entry| entry.name.to_owned()).collect();
    entries.retain(|entry| kind.is_none_or(|kind| kind == entry.name));
    if entries.is_empty() {
        let unknown = kind.unwrap_or_default();
        print(
            &mut io::stderr(),
            &format!(
                "error: no component is called `{unknown}`; known: {}\n",
                known.join(", ")
            ),
        );
        return ExitCode::from(2);
    }
    let text = match output {
        OutputFormat::Json => {
            let entries: Vec<_> = entries.iter().map(Entry::json).collect();
            format!("{}\n", json!(entries))
        }
        OutputFormat::Text => entries.iter().map(Entry::text).collect(),
    };
    print(&mut io::stdout(), &text);
    ExitCode::SUCCESS
}

/// One component as `components` prints it.
struct Entry {
    role: &'static str,
    name: &'static str,
    summary: &'static str,
    schema: Value,
}

fn entry<F: ?Sized>(role: &'static str, kind: &Kind<F>) -> Entry {
    Entry {
        role,
        name: kind.name,
        summary: kind.summary,
        schema: (kind.schema)().to_value(),
    }
}

impl Entry {
    fn json(&self) -> Value {
        json!({ "role": self.role, "type": self.name, "summary": self.summary, "options": self.schema })
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}: {}\n", self.role, self.name, self.summary);
        self.list_options(&self.schema, "", 1, &mut text);
        text.push('\n');
        text
    }

    /// The options of an object, with those of objects in it below them, by their path.
    fn list_options(&self, object: &Value, path: &str, depth: usize, text: &mut String) {
        let required = object["required"].as_array().into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        for (option, schema) in object["properties"].as_object().into_iter().flatten() {
            let about = schema["description"].as_str().unwrap_or_default();
            let about = about.replace('\n', " ");
            let inner = self.object(schema).filter(|_| depth < OPTION_DEPTH_MAX);
            let default = match &schema["default"] {
                Value::Null if required.contains(&option.as_str()) => " (required)".to_owned(),
                Value::Null => String::new(),
                // What stands below says it of each.
                Value::Object(_) if inner.is_some() => String::new(),
                default => format!(" (default {default})"),
            };
            let name = format!("{path}{option}");
            text.push_str(&format!("  {name:16} {about}{default}\n"));
            if let Some(inner) = inner {
                self.list_options(inner, &format!("{name}."), depth + 1, text);
            }
        }
    }

    /// The object that an option is, or may be.
    fn object<'a>(&'a self, schema: &'a Value) -> Option<&'a Value> {
        if schema["properties"].is_object() {
            return Some(schema);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let found = self.schema.pointer(reference.trim_start_matches('#'))?;
            return self.object(found);
        }
        let choices = ["anyOf", "oneOf", "allOf"].into_iter();
        let mut choices = choices.flat_map(|key| schema[key].as_array().into_iter().flatten());
        choices.find_map(|choice| self.object(choice))
    }
}
