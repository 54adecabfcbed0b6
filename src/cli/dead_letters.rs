//! `veltrix dead-letters`: the events that were given up, of a running process or on a data directory that none uses.

mod offline;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use self::offline::Offline;
use super::{OutputFormat, harmless, print_answer};
use crate::admin_client::{AdminArgs, AdminClient, AdminError};
use crate::components::Components;

/// What to read or do.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List them, newest first.
    List {
        #[command(flatten)]
        place: Place,

        #[command(flatten)]
        filters: Filters,

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
        place: Place,

        /// How it is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Send them once more to the handler or the sink that gave them up, marked with the attribute `replayed`. Each is
    /// forgotten once its event is finished.
    Replay {
        #[command(flatten)]
        admin: AdminArgs,

        #[command(flatten)]
        filters: Filters,

        #[command(flatten)]
        consent: Consent,

        /// At most so many in a second.
        #[arg(long, value_name = "NUMBER", value_parser = per_second)]
        rate: Option<u32>,

        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Forget them for good.
    Purge {
        #[command(flatten)]
        place: Place,

        #[command(flatten)]
        filters: Filters,

        #[command(flatten)]
        consent: Consent,

        /// How the answer is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
}

/// Where they are.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    admin: AdminArgs,

    /// Read this data directory itself, which no running process may use.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["admin", "files"])]
    data_dir: Option<PathBuf>,
}

/// Which of them; all that are given must hold.
#[derive(Debug, clap::Args)]
pub(super) struct Filters {
    /// Only those that this handler gave up.
    #[arg(long, value_name = "NAME", conflicts_with = "sink")]
    handler: Option<String>,

    /// Only those that this sink gave up.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Only those of this class: panic, error, timeout, rejected, unroutable, oversize or loop.
    #[arg(long)]
    class: Option<String>,

    /// Only events of these types, such as `order.created` or `order.>`.
    #[arg(long = "type", value_name = "PATTERN")]
    event_type: Option<String>,

    /// Only those given up at this time or later: `2026-01-31T12:00:00Z`, or how long ago, such as `10m`.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Only those given up before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// Only events of this id.
    #[arg(long)]
    id: Option<String>,
}

/// What it takes to change something.
#[derive(Debug, clap::Args)]
pub(super) struct Consent {
    /// Mean all dead letters, and do it without --yes. Not beside a filter.
    #[arg(long)]
    all: bool,

    /// Do it to those that the filters mean. Without it nothing is done: give it, or --dry-run to have them counted.
    #[arg(long)]
    yes: bool,

    /// Print how many there are, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Filters {
    /// Those that are given, by the API's names.
    fn given(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("handler", &self.handler),
            ("sink", &self.sink),
            ("class", &self.class),
            ("type", &self.event_type),
            ("from", &self.from),
            ("to", &self.to),
            ("id", &self.id),
        ];
        let given = all.into_iter().filter_map(|(name, value)| {
            let value = value.clone()?;
            Some((name, value))
        });
        given.collect()
    }

    fn order(&self, consent: &Consent) -> Result<Value, AdminError> {
        let given = self.given();
        if given.is_empty() && !consent.all {
            let why = "say which ones by a filter such as `--handler NAME`, or say `--all`";
            return Err(AdminError::Usage(why.to_owned()));
        }
        if !given.is_empty() && consent.all {
            let why = "nothing was done: `--all` means all dead letters, and a filter only some; give one of the two";
            return Err(AdminError::Usage(why.to_owned()));
        }
        if !consent.all && !consent.yes && !consent.dry_run {
            let why = "nothing was done: `--dry-run` says how many there are, `--yes` does it";
            return Err(AdminError::Usage(why.to_owned()));
        }
        let filter: Map<String, Value> = given
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        Ok(json!({ "filter": filter, "all": consent.all, "dry_run": consent.dry_run }))
    }
}

impl DeadLetters {
    /// Asks the process and prints its answer.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        print_answer(self.ask(components))
    }

    fn ask(self, components: &Components) -> Result<String, AdminError> {
        match self {
            Self::List {
                place,
                filters,
                limit,
                after,
                output,
            } => {
                let mut query = filters.given();
                query.push(("limit", limit.to_string()));
                query.extend(after.map(|after| ("after", after.to_string())));
                let answer = match &place.data_dir {
                    Some(folder) => Offline::open(folder)?.list(&query)?,
                    None => AdminClient::locate(&place.admin, components)?
                        .get("/api/dead-letters", &query)?,
                };
                Ok(output.of(&answer, table))
            }
            Self::Show {
                sequence,
                place,
                output,
            } => {
                let answer = match &place.data_dir {
                    Some(folder) => Offline::open(folder)?.show(sequence)?,
                    None => AdminClient::locate(&place.admin, components)?
                        .get(&format!("/api/dead-letters/{sequence}"), &[])?,
                };
                Ok(output.of(&answer, story))
            }
            Self::Replay {
                admin,
                filters,
                consent,
                rate,
                output,
            } => {
                let mut order = filters.order(&consent)?;
                if let Some(rate) = rate {
                    order["rate"] = rate.into();
                }
                let client = AdminClient::locate(&admin, components)?;
                let answer = client.post("/api/dead-letters/replay", &order)?;
                Ok(output.of(&answer, replayed))
            }
            Self::Purge {
                place,
                filters,
                consent,
                output,
            } => {
                let order = filters.order(&consent)?;
                let answer = match &place.data_dir {
                    Some(folder) => Offline::open(folder)?.purge(&filters.given(), &order)?,
                    None => AdminClient::locate(&place.admin, components)?
                        .post("/api/dead-letters/purge", &order)?,
                };
                Ok(output.of(&answer, purged))
            }
        }
    }
}

/// A number of events in a second, with or without `/s`.
pub(super) fn per_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let number = number.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "give a whole number of events in a second, such as `100/s`".to_owned())
}

fn replayed(answer: &Value) -> String {
    let count = line(&answer["count"]);
    if answer["dry_run"] == true {
        return format!("{count} dead letters would be replayed\n");
    }
    let mut text = format!("{count} dead letters are being replayed\n");
    if answer["homeless"]
        .as_u64()
        .is_some_and(|homeless| homeless > 0)
    {
        let homeless = line(&answer["homeless"]);
        text.push_str(&format!(
            "{homeless} stay: what gave them up is not in the config any more\n"
        ));
    }
    text
}

fn purged(answer: &Value) -> String {
    let count = line(&answer["count"]);
    match answer["dry_run"] == true {
        true => format!("{count} dead letters would be purged\n"),
        false => format!("{count} dead letters purged\n"),
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
    text.push_str(&format!("{} kept", line(&answer["kept"])));
    for (name, what) in [
        ("overflowed", "dropped for newer ones"),
        ("replaying", "being replayed"),
    ] {
        if answer[name].as_u64().is_some_and(|count| count > 0) {
            text.push_str(&format!(", {} {what}", line(&answer[name])));
        }
    }
    text.push('\n');
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
