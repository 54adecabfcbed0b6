//! The reference pages are what `veltrix components -o json` and `veltrix schema` say now. `VELTRIX_UPDATE_DOCS=1` writes them anew.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::metrics;
use crate::schema::{Row, one_line, resolve, rows, rows_in};
use crate::{files, read, root};

const FOLDER: &str = "docs/reference";
/// Set to 1, it has the pages written instead of compared.
const UPDATE: &str = "VELTRIX_UPDATE_DOCS";
const AGAIN: &str = "write them anew: VELTRIX_UPDATE_DOCS=1 cargo test --test docs reference";
const GENERATED: &str =
    "<!-- Generated from `veltrix components -o json` by tests/docs/reference.rs; do not edit. -->";
const GENERATED_FROM_SCHEMA: &str =
    "<!-- Generated from `veltrix schema` by tests/docs/reference.rs; do not edit. -->";
const ABOUT_KEYS: &str =
    "What `veltrix schema` says of each key; [Configuration](../configuration.md) explains them.";

#[test]
fn the_reference_pages_are_those_of_the_code() {
    let pages = pages();
    if std::env::var(UPDATE).is_ok_and(|value| value == "1") {
        for (name, text) in &pages {
            let path = root().join(FOLDER).join(name);
            std::fs::write(path, text).expect("a page is written");
        }
    }
    for (name, text) in &pages {
        let path = format!("{FOLDER}/{name}");
        let current = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(current == *text, "{path} is stale; {AGAIN}");
    }
    for file in files(FOLDER, ".md") {
        let name = file.file_name().and_then(|name| name.to_str());
        let is_known = name.is_some_and(|name| pages.contains_key(name));
        assert!(is_known, "{}: there is no such component", file.display());
    }
}

/// What the binary prints, as JSON.
fn printed(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .output()
        .expect("the binary");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// All pages by file name.
fn pages() -> BTreeMap<String, String> {
    let components = printed(&["components", "-o", "json"]);
    let components = components.as_array().expect("a list");
    let mut pages = BTreeMap::new();
    pages.insert("config.md".to_owned(), config_page(&printed(&["schema"])));
    pages.insert("metrics.md".to_owned(), metrics::page());
    let mut index = format!("# Components\n\n{GENERATED}\n");
    for (role, title) in [
        ("source", "Sources"),
        ("handler", "Handlers"),
        ("sink", "Sinks"),
    ] {
        index.push_str(&format!("\n## {title}\n\n| type | |\n|---|---|\n"));
        for component in components.iter().filter(|one| one["role"] == role) {
            let name = component["type"].as_str().expect("a name");
            let file = format!("{role}-{name}.md");
            let summary = one_line(component["summary"].as_str().expect("a summary"));
            index.push_str(&format!("| [`{name}`]({file}) | {summary} |\n"));
            pages.insert(file, page(role, name, component));
        }
    }
    index.push_str(
        "\nThe keys that all sources, handlers and sinks share are on the [page of keys](config.md).\n",
    );
    pages.insert("components.md".to_owned(), index);
    pages
}

fn page(role: &str, name: &str, component: &Value) -> String {
    let summary = component["summary"].as_str().expect("a summary");
    let schema = &component["options"];
    let mut page = format!(
        "# {} `{name}`\n\n{GENERATED}\n\n{summary}.\n",
        capital(role)
    );
    let description = schema["description"].as_str().unwrap_or_default();
    for paragraph in description
        .split("\n\n")
        .filter(|text| says_more(text, summary))
    {
        page.push_str(&format!("\n{paragraph}\n"));
    }
    page.push_str("\n## Options\n\n");
    let rows = rows(schema);
    if rows.is_empty() {
        page.push_str("None of its own.\n");
    } else {
        page.push_str(&table("option", &rows));
    }
    let example = format!("config/examples/{role}-{name}.yaml");
    let text = read(&example);
    page.push_str(&format!(
        "\n## Example\n\n[{example}](../../{example})\n\n```yaml\n{text}```\n"
    ));
    page
}

fn table(head: &str, rows: &[Row]) -> String {
    let mut table = format!("| {head} | is | default | |\n|---|---|---|---|\n");
    for row in rows {
        let (option, kind, default, about) = (&row.option, &row.kind, &row.default, &row.about);
        table.push_str(&format!("| `{option}` | {kind} | {default} | {about} |\n"));
    }
    table
}

/// The keys of all sections; of components those that all of a role share.
fn config_page(schema: &Value) -> String {
    let mut page = format!("# Keys of the config\n\n{GENERATED_FROM_SCHEMA}\n\n{ABOUT_KEYS}\n");
    let sections = schema["properties"].as_object().expect("the sections");
    for name in sections.keys().filter(|name| *name != "$schema") {
        page.push_str(&format!("\n## `{name}`\n\n"));
        let role = name.trim_end_matches('s');
        let definition = &schema["$defs"][name];
        let shown = if definition["type"] == "array" {
            let item = resolve(schema, &definition["items"]);
            let about = item["description"].as_str().expect("a description");
            page.push_str(&format!("A list. {about}\n\n"));
            rows_in(schema, item)
        } else if definition.is_object() {
            let about = definition["description"].as_str().expect("a description");
            page.push_str(&format!("{about}\n\n"));
            rows_in(schema, definition)
        } else {
            page.push_str(&format!(
                "Mappings of a name each, with these keys and those of [its type](components.md#{name}).\n\n"
            ));
            shared(schema, role)
        };
        page.push_str(&table("key", &shown));
    }
    page
}

/// The rows that all types of a role have.
fn shared(schema: &Value, role: &str) -> Vec<Row> {
    let kinds = schema["$defs"].as_object().expect("definitions");
    let of_role = |name: &&String| name.starts_with(&format!("{role}-")) && !name.contains('.');
    let mut tables = kinds
        .keys()
        .filter(of_role)
        .map(|name| rows_in(schema, &kinds[name]));
    let first = tables.next().expect("there is a type");
    let mut shared = tables.fold(first, |shared, table| {
        let is_there = |row: &Row| table.iter().any(|other| other.option == row.option);
        shared.into_iter().filter(is_there).collect()
    });
    for row in shared.iter_mut().filter(|row| row.option == "type") {
        row.kind = "text".to_owned();
        row.about = one_line(
            schema["$defs"][role]["properties"]["type"]["description"]
                .as_str()
                .expect("a text"),
        );
    }
    shared
}

/// Whether a paragraph is more than the summary again.
fn says_more(paragraph: &str, summary: &str) -> bool {
    let is_of_options = paragraph.starts_with("Options of ") || paragraph.ends_with("no options.");
    !is_of_options && paragraph.trim_end_matches('.') != summary
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
