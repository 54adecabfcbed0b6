//! The reference pages are what `veltrix components -o json` says now. `VELTRIX_UPDATE_DOCS=1` writes them anew.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::schema::{one_line, rows};
use crate::{files, read, root};

const FOLDER: &str = "docs/reference";
/// Set to 1, it has the pages written instead of compared.
const UPDATE: &str = "VELTRIX_UPDATE_DOCS";
const AGAIN: &str = "write them anew: VELTRIX_UPDATE_DOCS=1 cargo test --test docs reference";
const GENERATED: &str =
    "<!-- Generated from `veltrix components -o json` by tests/docs/reference.rs; do not edit. -->";

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

/// All pages by file name.
fn pages() -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["components", "-o", "json"])
        .output()
        .expect("the binary");
    let components: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON list");
    let mut pages = BTreeMap::new();
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
        "\nThe keys that all sources, handlers and sinks share are in the [configuration](../configuration.md).\n",
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
        page.push_str("| option | is | default | |\n|---|---|---|---|\n");
    }
    for row in &rows {
        let (option, kind, default, about) = (&row.option, &row.kind, &row.default, &row.about);
        page.push_str(&format!("| `{option}` | {kind} | {default} | {about} |\n"));
    }
    let example = format!("config/examples/{role}-{name}.yaml");
    let text = read(&example);
    page.push_str(&format!(
        "\n## Example\n\n[{example}](../../{example})\n\n```yaml\n{text}```\n"
    ));
    page
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
