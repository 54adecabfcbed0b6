//! `veltrix top`: the supervision tree of a running process as a table.

use std::process::ExitCode;

use serde_json::Value;

use super::{OutputFormat, print_answer};
use crate::admin_client::{AdminArgs, AdminClient, AdminError};
use crate::components::Components;

/// Which process, and how it is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// Print the tree as it is now, and end.
    #[arg(long, required = true)]
    once: bool,

    #[command(flatten)]
    admin: AdminArgs,

    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
}

impl Top {
    /// Asks the process and prints its answer.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        debug_assert!(self.once, "the command line is refused without it");
        print_answer(self.ask(components))
    }

    fn ask(self, components: &Components) -> Result<String, AdminError> {
        let client = AdminClient::locate(&self.admin, components)?;
        let tree = client.get("/api/tree", &[])?;
        Ok(self.output.of(&tree, table))
    }
}

/// The table's columns; the last one is as wide as it has to be, and not filled up.
const COLUMNS: [&str; 10] = [
    "ACTOR",
    "STATE",
    "STARTS",
    "RESTARTS",
    "IN",
    "OUT",
    "DEAD",
    "WAITING",
    "OLDEST",
    "LAST FAILURE",
];

fn table(tree: &Value) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    add_rows(&tree["actors"], 0, &mut rows);
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers stand below each other's last digits.
            let cell = match (2..=8).contains(&column) {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:width$}  "),
            };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn add_rows(actors: &Value, depth: usize, rows: &mut Vec<[String; COLUMNS.len()]>) {
    for actor in actors.as_array().into_iter().flatten() {
        let (counts, backlog) = (&actor["counts"], &actor["backlog"]);
        let either = |names: [&str; 3]| {
            let found = names.iter().find_map(|name| counts[*name].as_u64());
            found.map_or_else(|| "-".to_owned(), |count| count.to_string())
        };
        let waiting = backlog["events"].as_u64().or(counts["in_flight"].as_u64());
        rows.push([
            format!("{:1$}{2}", "", 2 * depth, word(&actor["name"])),
            word(&actor["state"]),
            word(&actor["generation"]),
            word(&actor["restarts"]),
            // What a source accepted, a handler received, a sink was offered.
            either(["accepted", "received", "offered"]),
            either(["finished", "emitted", "delivered"]),
            either(["dead_lettered", "", ""]),
            waiting.map_or_else(|| "-".to_owned(), |events| events.to_string()),
            age(backlog["oldest_seconds"].as_f64()),
            failure(&actor["last_failure"]),
        ]);
        add_rows(&actor["children"], depth + 1, rows);
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn age(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) => format!("{seconds:.1}s"),
        None => "-".to_owned(),
    }
}

fn failure(failure: &Value) -> String {
    match (&failure["reason"], &failure["at"]) {
        (Value::String(reason), Value::String(at)) => {
            let reason: String = reason
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            format!("{at} {reason}")
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn children_are_indented_and_columns_aligned() {
        let failure = json!({ "reason": "it is\nnot there", "at": "2026-01-01T00:00:00.000Z" });
        let tree = json!({ "actors": [
            { "name": "handlers", "state": "running", "generation": 1, "restarts": 0, "last_failure": null, "children": [
                { "name": "price", "state": "running", "generation": 1, "restarts": 0, "last_failure": null,
                  "counts": { "received": 1200, "emitted": 7, "dead_lettered": 3 }, "children": [
                    { "name": "0", "state": "backing_off", "generation": 12, "restarts": 11, "last_failure": failure,
                      "backlog": { "batches": 1, "events": 64, "oldest_seconds": 2.25 } },
                ] },
            ] },
        ] });
        let expected = "\
ACTOR     STATE        STARTS  RESTARTS    IN  OUT  DEAD  WAITING  OLDEST  LAST FAILURE
handlers  running           1         0     -    -     -        -       -  -
  price   running           1         0  1200    7     3        -       -  -
    0     backing_off      12        11     -    -     -       64    2.2s  2026-01-01T00:00:00.000Z it is not there
";
        assert_eq!(table(&tree), expected);
    }
}
