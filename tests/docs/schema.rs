//! The options of a component as rows of a table, out of their JSON Schema.

use serde_json::Value;

/// `${env:NAME}` and its like, which may stand for any value.
const REFERENCE: &str = "#/$defs/reference";

/// One option.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) option: String,
    pub(crate) kind: String,
    pub(crate) default: String,
    pub(crate) about: String,
}

/// The rows of a schema; options of options stand behind theirs, with its name in front.
pub(crate) fn rows(schema: &Value) -> Vec<Row> {
    rows_in(schema, schema)
}

/// The rows of a schema that is a part of `root`.
pub(crate) fn rows_in(root: &Value, schema: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    add(root, schema, "", &mut rows);
    rows
}

fn add(root: &Value, schema: &Value, prefix: &str, rows: &mut Vec<Row>) {
    let required: Vec<&Value> = list(&schema["required"]).collect();
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let target = resolve(root, option);
        let default = match &option["default"] {
            Value::Null if required.contains(&&Value::from(name.as_str())) => "required".to_owned(),
            Value::Null => String::new(),
            Value::Array(none) if none.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            default => format!("`{default}`"),
        };
        rows.push(Row {
            option: path.clone(),
            kind: kind(root, target),
            default,
            about: about(option, target),
        });
        let items = resolve(root, &target["items"]);
        if target["properties"].is_object() {
            add(root, target, &format!("{path}."), rows);
        } else if items["properties"].is_object() {
            add(root, items, &format!("{path}[]."), rows);
        }
    }
}

/// What a reference or an optional value stands for.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return resolve(root, &root["$defs"][name]);
    }
    let mut alternatives = list(&schema["anyOf"])
        .filter(|schema| schema["type"] != "null" && schema["$ref"] != REFERENCE);
    match (alternatives.next(), alternatives.next()) {
        (Some(only), None) => resolve(root, only),
        _ => schema,
    }
}

fn kind(root: &Value, schema: &Value) -> String {
    let choices = || list(&schema["oneOf"]).filter_map(|choice| choice["const"].as_str());
    if choices().next().is_some() {
        return choices()
            .map(|choice| format!("`{choice}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match &schema["const"] {
        Value::Null => {}
        Value::String(word) => return format!("`{word}`"),
        other => return format!("`{other}`"),
    }
    if schema["enum"].is_array() {
        let words = list(&schema["enum"]).filter_map(Value::as_str);
        let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if schema["anyOf"].is_array() {
        let kinds: Vec<String> = list(&schema["anyOf"])
            .map(|choice| kind(root, resolve(root, choice)))
            .collect();
        return kinds.join(" or ");
    }
    let format = schema["format"].as_str();
    if let Some(unit) = format.and_then(|format| format.strip_prefix("veltrix-")) {
        return unit.to_owned();
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.first().and_then(Value::as_str),
        name => name.as_str(),
    };
    match name {
        Some("array") => format!("list of {}", kind(root, resolve(root, &schema["items"]))),
        Some("object") => "mapping".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

/// The description, and what each of the choices means.
fn about(option: &Value, target: &Value) -> String {
    let own = option["description"]
        .as_str()
        .or(target["description"].as_str());
    let mut about = one_line(own.unwrap_or_default());
    for choice in list(&target["oneOf"]) {
        if let (Some(word), Some(meaning)) =
            (choice["const"].as_str(), choice["description"].as_str())
        {
            about.push_str(&format!(" `{word}`: {}", one_line(meaning)));
        }
    }
    about
}

/// A text on one line, as a table's cell needs it.
pub(crate) fn one_line(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_choices_and_options_of_options_are_written_out() {
        let schema = json!({
            "properties": {
                "mode": { "$ref": "#/$defs/Mode", "description": "How.", "default": "a" },
                "rotate": { "anyOf": [{ "$ref": "#/$defs/Rotate" }, { "type": "null" }] },
            },
            "$defs": {
                "Mode": { "oneOf": [{ "const": "a", "description": "One\nway." }] },
                "Rotate": {
                    "type": "object",
                    "description": "When.",
                    "required": ["size"],
                    "properties": { "size": { "type": "string", "format": "veltrix-size" } },
                },
            },
        });
        let row = |option: &str, kind: &str, default: &str, about: &str| Row {
            option: option.to_owned(),
            kind: kind.to_owned(),
            default: default.to_owned(),
            about: about.to_owned(),
        };
        let expected = [
            row("mode", "`a`", "`a`", "How. `a`: One way."),
            row("rotate", "mapping", "", "When."),
            row("rotate.size", "size", "required", ""),
        ];
        assert_eq!(rows(&schema), expected);
    }
}
