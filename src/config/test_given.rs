//! What comes in in a test: events and plain lines, written into the config or in a file beside it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{decode::decode, path::KeyPath, suggest, test_case::Named};

/// What given events have that do not say otherwise.
const DEFAULT_SOURCE: &str = "/test";

/// What comes in, as the schema shows it.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum RawGiven {
    /// Events: mappings of attributes and `data`; or lines as they come to a source with an `envelope`.
    ///
    /// An event needs its `type`; `id` is its number, `source` is `/test` and `specversion` is `1.0` unless it says otherwise.
    List(Vec<Map<String, Value>>),
    /// A file with one event or line each.
    File(RawFile),
}

/// A file with one event or line each.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    /// Where it is, from the config file's folder.
    file: PathBuf,
    /// The source through whose `envelope` its lines come; left out, they are events.
    from: Option<String>,
}

/// A line as it comes to a source with an `envelope`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawLine {
    /// Any JSON.
    line: Value,
    /// The source; may be left out if only one has an `envelope`.
    from: Option<String>,
}

/// What comes in, in order.
#[derive(Clone, Debug)]
pub enum Given {
    /// Events and lines.
    Items(Vec<GivenItem>),
    /// What is in a file, each line an event or, with `from`, a line for that source's `envelope`.
    File {
        /// Where it is.
        path: PathBuf,
        /// The source whose `envelope` wraps its lines.
        from: Option<String>,
    },
}

/// One event, or a line that becomes one.
#[derive(Clone, Debug)]
pub enum GivenItem {
    /// A line of CloudEvents JSON.
    Event(String),
    /// A line of plain JSON, and the source whose `envelope` wraps it.
    Line {
        /// The line.
        line: String,
        /// The source.
        from: String,
    },
}

impl Given {
    pub(crate) fn validate(
        value: &Value,
        time: Option<&str>,
        folder: &Path,
        path: &KeyPath,
        named: &Named<'_>,
    ) -> Option<Self> {
        match value {
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items: Vec<_> = items
                    .map(|(index, item)| given_item(item, index, time, &path.index(index), named))
                    .collect();
                Some(Self::Items(items.into_iter().collect::<Option<_>>()?))
            }
            Value::Object(_) => {
                let raw: RawFile = decode(value, path, &[], named.context.reporter)?;
                let full = folder.join(&raw.file);
                if !full.is_file() {
                    let at = path.key("file");
                    let message = format!(
                        "`{at}`: there is no file `{}`, so this test fails",
                        full.display()
                    );
                    // A config runs where its tests' files are not.
                    named.context.reporter.warn_value(&at, message, None);
                }
                let from = match raw.from {
                    Some(from) => Some(envelope(Some(from), &path.key("from"), named)?),
                    None => None,
                };
                Some(Self::File { path: full, from })
            }
            _ => {
                let message = format!("`{path}` must be a list of events, or `{{ file: PATH }}`");
                named.context.reporter.value(path, message, None);
                None
            }
        }
    }
}

fn given_item(
    value: &Value,
    index: usize,
    time: Option<&str>,
    path: &KeyPath,
    named: &Named<'_>,
) -> Option<GivenItem> {
    let reporter = named.context.reporter;
    let Value::Object(map) = value else {
        let help = "write `{ type: order.created, data: { price: 5 } }`".to_owned();
        let message = format!("`{path}` must be a mapping: an event, or `line` with a plain line");
        reporter.value(path, message, Some(help));
        return None;
    };
    if map.contains_key("line") {
        let raw: RawLine = decode(value, path, &[], reporter)?;
        return Some(GivenItem::Line {
            line: raw.line.to_string(),
            from: envelope(raw.from, &path.key("from"), named)?,
        });
    }
    let line = event_line(map, index, time);
    match veltrix_actors::check_line(&line) {
        Ok(()) => Some(GivenItem::Event(line)),
        Err(error) => {
            let help = "an event needs its `type`; `id`, `source` and `specversion` have defaults";
            let message = format!("`{path}` is no event: {error}");
            reporter.value(path, message, Some(help.to_owned()));
            None
        }
    }
}

/// The event in the JSON format, with what it may leave out.
pub(crate) fn event_line(map: &Map<String, Value>, index: usize, time: Option<&str>) -> String {
    let mut event = Map::new();
    event.insert("specversion".to_owned(), json!("1.0"));
    event.insert("id".to_owned(), json!((index + 1).to_string()));
    event.insert("source".to_owned(), json!(DEFAULT_SOURCE));
    event.extend(time.map(|time| ("time".to_owned(), json!(time))));
    event.extend(map.clone());
    // an event's data goes last, as most write it
    if let Some(data) = event.shift_remove("data") {
        event.insert("data".to_owned(), data);
    }
    Value::Object(event).to_string()
}

/// The source whose `envelope` wraps a line.
fn envelope(from: Option<String>, path: &KeyPath, named: &Named<'_>) -> Option<String> {
    let reporter = named.context.reporter;
    match (from, named.envelopes.as_slice()) {
        (Some(from), envelopes) if envelopes.contains(&from.as_str()) => Some(from),
        (None, [only]) => Some((*only).to_owned()),
        (Some(from), envelopes) => {
            let help = suggest::help(&from, "sources with an `envelope`", envelopes);
            let message = format!("`{path}`: `{from}` is no source with an `envelope`");
            reporter.value(path, message, Some(help));
            None
        }
        (None, envelopes) => {
            let help = suggest::help("", "sources with an `envelope`", envelopes);
            let message = format!("`{path}` must say which source the line comes from");
            reporter.value(path, message, Some(help));
            None
        }
    }
}
