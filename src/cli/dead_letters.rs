//! `veltrix dead-letters`: the events that a running process has given up, as a table or one in full.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::{OutputFormat, harmless, print_answer};
use crate::admin_client::{AdminArgs, AdminClient, AdminError};
use crate::components::Components;

/// What to read.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List them, newest first.
    List {
        #[command(flatten)]
        admin: AdminArgs,

        /// Only those that this handler gave up.
        #[arg(long, value_name = "NAME")]
        handler: Option<String>,

        /// Only those of this class: panic, error, timeout, rejected, unroutable, oversize or loop.
        #[arg(long)]
        class: Option<String>,

        /// Only events of this type.
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,

        /// How many, 1 to 1000.
        #[arg(long, default_value = "100")]
        limit: usize,

        /// Go on behind the dead letter of this number, which was the last one of the list before.
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,

        /// How they are printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Show one with its event, its attempts and its backtrace.
    Show {
        /// Its number in the list.
        sequence: u64,

        #[command(flatten)]
        admin: AdminArgs,

        /// How it is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
}

impl DeadLetters {
    /// Asks the process and prints its answer.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        print_answer(self.ask(components))
    }

    fn ask(self, components: &Components) -> Result<String, AdminError> {
        match self {
            Self::List {
                admin,
                handler,
                class,
                event_type,
                limit,
                after,
                output,
            } => {
                let optional = [
                    ("handler", handler),
                    ("class", class),
                    ("type", event_type),
                    ("after", after.map(|after| after.to_string())),
                ];
                let mut query = vec![("limit", limit.to_string())];
                query.extend(
                    optional
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, value?))),
                );
                let client = AdminClient::locate(&admin, components)?;
                let answer = client.get("/api/dead-letters", &query)?;
                Ok(output.of(&answer, table))
            }
            Self::Show {
                sequence,
                admin,
                output,
            } => {
                let client = AdminClient::locate(&admin, components)?;
                let answer = client.get(&format!("/api/dead-letters/{sequence}"), &[])?;
                Ok(output.of(&answer, story))
            }
        }
    }
}

/// The columns of the list, and the widths of all but the last.
const COLUMNS: [(&str, usize); 7] = [
    ("sequence", 8),
    ("at", 24),
    ("branch", 20),
    ("class", 10),
    ("type", 20),
    ("id", 20),
    ("reason", 0),
];

fn table(answer: &Value) -> String {
    let letters = answer["dead_letters"].as_array();
    let letters = letters.map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    if !letters.is_empty() {
        text.push_str(&row(&|name| name.to_uppercase()));
    }
    for letter in letters {
        text.push_str(&row(&|name| line(&letter[name])));
    }
    if let Some(after) = answer["next_after"].as_u64() {
        text.push_str(&format!("there are older ones: --after {after}\n"));
    }
    let (kept, overflowed) = (line(&answer["kept"]), line(&answer["overflowed"]));
    text.push_str(&format!(
        "{kept} kept in memory, {overflowed} dropped for newer ones\n"
    ));
    text
}

fn row(cell: &dyn Fn(&str) -> String) -> String {
    let cells = COLUMNS.map(|(name, width)| format!("{:width$}", cell(name)));
    format!("{}\n", cells.join("  ").trim_end())
}

fn story(letter: &Value) -> String {
    let mut text = format!(
        "dead letter {} of {} at {}\nclass: {}\nconfig version: {}\nreason: {}\nattempts: {}\n",
        line(&letter["sequence"]),
        line(&letter["branch"]),
        line(&letter["at"]),
        line(&letter["class"]),
        line(&letter["config_version"]),
        plain(&letter["reason"]),
        line(&letter["attempt_count"]),
    );
    for attempt in letter["attempts"].as_array().into_iter().flatten() {
        let (at, class) = (line(&attempt["at"]), line(&attempt["class"]));
        text.push_str(&format!("  {at}  {class}  {}\n", line(&attempt["reason"])));
    }
    if let Some(backtrace) = letter["backtrace"].as_str() {
        text.push_str(&format!("backtrace:\n{}\n", harmless(backtrace).trim_end()));
    }
    let event = &letter["event"];
    let event = serde_json::to_string_pretty(event).unwrap_or_else(|_| event.to_string());
    text.push_str(&format!("event:\n{}\n", harmless(&event)));
    text
}

/// A value on one line.
fn line(value: &Value) -> String {
    plain(value).replace(['\n', '\t'], " ")
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_event_says_cannot_steer_the_terminal() {
        let letter = json!({ "sequence": 1, "id": "a\u{1b}[31m\u{9b}\nb", "reason": "x\ny" });
        let answer =
            json!({ "dead_letters": [letter], "next_after": null, "kept": 1, "overflowed": 0 });
        let text = table(&answer);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("a\\u{1b}[31m\\u{9b} b"), "{text}");
        let event = json!({ "data": "\u{1b}[31m\u{9b}" });
        let shown = story(&json!({ "reason": "r\u{7}\ns", "event": event }));
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{shown}");
        assert!(shown.contains("reason: r\\u{7}\ns\n"), "{shown}");
    }
}
