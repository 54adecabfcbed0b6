//! Each option has a test that changes it and sees the effect: the table names it, and this holds the table to the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::schema::{resolve, rows_in};
use crate::{read, root};

const PAGE: &str = "docs/tested-options.md";

/// Every option that holds no others, as `sinks.http.url`; what all components of a role share, as `handlers.*.on`.
fn options() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .arg("schema")
        .output()
        .expect("the binary");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut found = BTreeSet::new();
    for (section, about) in schema["properties"].as_object().expect("sections") {
        let target = resolve(&schema, about);
        let (target, prefix) = match target["items"].is_object() {
            true => (resolve(&schema, &target["items"]), format!("{section}[].")),
            false => (target, format!("{section}.")),
        };
        found.extend(leaves(&schema, target, &prefix));
    }
    for role in ["source", "handler", "sink"] {
        let prefix = format!("{role}-");
        let definitions = schema["$defs"].as_object().expect("definitions");
        let kinds = definitions.iter().filter_map(|(name, about)| {
            let kind = name.strip_prefix(&prefix)?;
            (!kind.contains('.')).then(|| (kind, leaves(&schema, about, "")))
        });
        let kinds: BTreeMap<&str, BTreeSet<String>> = kinds.collect();
        for (kind, options) in &kinds {
            for option in options {
                let is_shared = kinds.values().all(|others| others.contains(option));
                let kind = if is_shared { "*" } else { kind };
                found.insert(format!("{role}s.{kind}.{option}"));
            }
        }
    }
    found
}

fn leaves(schema: &Value, target: &Value, prefix: &str) -> BTreeSet<String> {
    let names = rows_in(schema, target).into_iter().map(|row| row.option);
    let names: BTreeSet<String> = names.collect();
    let has_more = |name: &String| {
        let mut others = names.iter();
        others.any(|other| {
            let rest = other.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    };
    let single = names.iter().filter(|name| !has_more(name));
    single.map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn each_option_has_a_test_that_exists() {
    let page = read(PAGE);
    let rows = page.lines().filter_map(|line| {
        let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
        line.split_once("` | ")
    });
    let rows: BTreeMap<&str, &str> = rows.collect();
    let options = options();
    let named: BTreeSet<String> = rows.keys().map(|option| (*option).to_owned()).collect();
    let missing: Vec<_> = options.difference(&named).collect();
    let gone: Vec<_> = named.difference(&options).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "{PAGE} lacks {missing:#?}, and names {gone:#?}, which are no options"
    );
    for (option, test) in &rows {
        let quoted: Vec<&str> = test.split('`').skip(1).step_by(2).collect();
        let [file, name] = quoted[..] else {
            panic!("{option}: {test}");
        };
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(
            text.contains(&format!("fn {name}(")),
            "{option}: no {name} in {file}"
        );
    }
}
