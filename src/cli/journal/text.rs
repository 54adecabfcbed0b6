//! The answers of `veltrix journal` as text for people.

use serde_json::{Value, json};

use crate::cli::harmless;

pub(super) fn inspected(answer: &Value) -> String {
    let mut text = table(
        &answer["segments"],
        &[
            ("name", 24),
            ("first", 12),
            ("events", 8),
            ("bytes", 12),
            ("created", 0),
        ],
    );
    if let Some(records) = answer["records"].as_array() {
        text.push('\n');
        let (damaged, whole): (Vec<_>, Vec<_>) = records
            .iter()
            .cloned()
            .partition(|record| record["segment"].is_string());
        text.push_str(&table(
            &json!(whole),
            &[
                ("sequence", 12),
                ("events", 8),
                ("source", 20),
                ("bytes", 12),
                ("time", 0),
            ],
        ));
        for finding in damaged {
            text.push_str(&finding_text("cannot be read", &finding));
        }
        if let Some(next) = answer["next_from"].as_u64() {
            text.push_str(&format!("there are more: --from {next}\n"));
        }
    }
    text
}

pub(super) fn verified_text(answer: &Value) -> String {
    let mut text = String::new();
    for (key, what) in [("damaged", "damaged"), ("torn", "torn, never acknowledged")] {
        for finding in answer[key].as_array().into_iter().flatten() {
            text.push_str(&finding_text(what, finding));
        }
    }
    if answer["cursor_lost"] == true {
        text.push_str("the cursor is lost: all events that are kept would be handled again\n");
    }
    let count = answer["damaged"].as_array().map_or(0, Vec::len);
    text.push_str(&format!(
        "{} whole records with {} events, {count} damaged places\n",
        answer["records"], answer["events"]
    ));
    text
}

fn finding_text(what: &str, finding: &Value) -> String {
    format!(
        "{what}: {} bytes at {} of {}, {} events from {} on\n",
        finding["bytes"],
        finding["offset"],
        cell(&finding["segment"]),
        finding["events"],
        finding["first"],
    )
}

pub(super) fn stats_text(answer: &Value) -> String {
    let mut text = String::new();
    for (key, value) in answer.as_object().into_iter().flatten() {
        if key != "backlog" {
            let name = key.replace('_', " ");
            text.push_str(&format!("{name:16}{}\n", cell(value)));
        }
    }
    if answer["unfinished"] != 0 {
        text.push('\n');
        text.push_str(&table(
            &answer["backlog"],
            &[("source", 20), ("events", 12), ("bytes", 0)],
        ));
    }
    text
}

/// Rows with the columns of these names and widths.
fn table(rows: &Value, columns: &[(&str, usize)]) -> String {
    let row = |cell: &dyn Fn(&str) -> String| {
        let cells = columns
            .iter()
            .map(|(name, width)| format!("{:width$}", cell(name)));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = row(&str::to_uppercase);
    for entry in rows.as_array().into_iter().flatten() {
        text.push_str(&row(&|name| cell(&entry[name])));
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text).replace(['\n', '\t'], " "),
        other => other.to_string(),
    }
}
