//! Says in the config's words what serde says in Rust's.

use super::{
    path::{KeyPath, Step},
    problems::Reporter,
    suggest,
};

/// An error text of serde, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    UnknownKey { key: String, valid: Vec<String> },
    MissingKey(String),
    Other(Wrong),
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// What it must be, and what it is.
    Kind {
        expected: String,
        found: String,
    },
    UnknownChoice {
        found: String,
        valid: Vec<String>,
    },
    /// A text of our own types.
    Told(String),
}

/// Takes serde's text apart; the formats are those of `serde::de::Error`'s default methods.
pub(crate) fn read(text: &str) -> Complaint {
    if let Some(rest) = text.strip_prefix("unknown field ") {
        let mut names = backticked(rest);
        let key = if names.is_empty() {
            String::new()
        } else {
            names.remove(0)
        };
        return Complaint::UnknownKey { key, valid: names };
    }
    if let Some(rest) = text.strip_prefix("missing field ") {
        return Complaint::MissingKey(backticked(rest).into_iter().next().unwrap_or_default());
    }
    Complaint::Other(read_wrong(text))
}

fn read_wrong(text: &str) -> Wrong {
    if let Some(rest) = text.strip_prefix("unknown variant ") {
        // the value itself may contain backticks; the choices never do
        let (found, valid) = rest.rsplit_once("`, expected ").unwrap_or((rest, ""));
        return Wrong::UnknownChoice {
            found: found.trim_start_matches('`').to_owned(),
            valid: backticked(valid),
        };
    }
    let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
    let rest = kinds.iter().find_map(|prefix| text.strip_prefix(prefix));
    match rest.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => Wrong::Kind {
            expected: expected_in_words(expected),
            found: found_in_words(found),
        },
        None => Wrong::Told(text.to_owned()),
    }
}

fn backticked(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn expected_in_words(expected: &str) -> String {
    let range = |low: i128, high: u128| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "unit" => "empty".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other if other.starts_with("nonzero ") || other.starts_with("a nonzero ") => {
            "a whole number greater than 0".to_owned()
        }
        other if other.starts_with("string or map") || other.starts_with("enum ") => {
            "one of its choices".to_owned()
        }
        other => other.to_owned(),
    }
}

fn found_in_words(found: &str) -> String {
    let words = [
        ("string ", "the text "),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
    ];
    for (theirs, ours) in words {
        if let Some(value) = found.strip_prefix(theirs) {
            let value = if theirs == "string " {
                value
            } else {
                value.trim_matches('`')
            };
            return format!("{ours}{value}");
        }
    }
    match found {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" | "Option value" => "empty".to_owned(),
        other => other.to_owned(),
    }
}

/// Reports a key that does not exist in `mapping`.
pub(crate) fn unknown_key(
    reporter: &Reporter,
    mapping: &KeyPath,
    key: &str,
    valid: &[String],
    also: &[&str],
) {
    let place = if mapping.steps().is_empty() {
        String::new()
    } else {
        format!(" in `{mapping}`")
    };
    let choices: Vec<&str> = valid
        .iter()
        .map(String::as_str)
        .chain(also.iter().copied())
        .collect();
    let help = suggest::help(key, "valid keys", &choices);
    reporter.key(
        &mapping.key(key),
        format!("unknown key `{key}`{place}"),
        Some(help),
    );
}

/// Reports a key that `mapping` must have.
pub(crate) fn missing_key(reporter: &Reporter, mapping: &KeyPath, key: &str, help: Option<String>) {
    reporter.key(mapping, format!("`{mapping}` lacks the key `{key}`"), help);
}

/// Reports a value; a secret, or one that came from outside, is not shown.
pub(crate) fn wrong_value(reporter: &Reporter, path: &KeyPath, wrong: &Wrong) {
    let secret = reporter.origins.is_secret(path);
    let (message, help) = match wrong {
        Wrong::Kind { expected, .. } if secret => (
            format!(
                "`{path}` must be {expected}; its value, which is not shown, is something else"
            ),
            None,
        ),
        Wrong::Kind { expected, found } => (
            format!("`{path}` must be {expected}, not {found}"),
            quoted_expression(path, found),
        ),
        Wrong::UnknownChoice { found, valid } => {
            let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
            let found = if secret { "***" } else { found };
            (
                format!("`{path}`: unknown value `{found}`"),
                Some(suggest::help(found, "valid values", &valid)),
            )
        }
        Wrong::Told(text) => (format!("`{path}`: {text}"), None),
    };
    reporter.value(path, message, help);
}

/// The way out for a number or a bool in the place of an expression, where `5` would be a valid one.
fn quoted_expression(path: &KeyPath, found: &str) -> Option<String> {
    let is_key = |step: Option<&Step>, names: &[&str]| match step {
        Some(Step::Key(key)) => names.contains(&key.as_str()),
        _ => false,
    };
    let steps = path.steps();
    let above = steps.len().checked_sub(2).and_then(|at| steps.get(at));
    let is_expression = is_key(steps.last(), &["when"]) || is_key(above, &["set", "envelope"]);
    let value = found.strip_prefix("the number ").unwrap_or(found);
    let is_plain = value != found || matches!(found, "true" | "false");
    (is_expression && is_plain).then(|| format!("an expression is a text: `\"{value}\"`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_texts_are_taken_apart() {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            read("unknown field `lenes`, expected one of `lanes`, `on`"),
            Complaint::UnknownKey {
                key: "lenes".to_owned(),
                valid: owned(&["lanes", "on"])
            }
        );
        assert_eq!(
            read("unknown field `x`, there are no fields"),
            Complaint::UnknownKey {
                key: "x".to_owned(),
                valid: Vec::new()
            }
        );
        assert_eq!(
            read("missing field `url`"),
            Complaint::MissingKey("url".to_owned())
        );
        assert_eq!(
            read("unknown variant `a`b`, expected `x` or `y`"),
            Complaint::Other(Wrong::UnknownChoice {
                found: "a`b".to_owned(),
                valid: owned(&["x", "y"])
            })
        );
        let kind = Wrong::Kind {
            expected: "a list".to_owned(),
            found: "the text \"a, expected b\"".to_owned(),
        };
        assert_eq!(
            read("invalid type: string \"a, expected b\", expected a sequence"),
            Complaint::Other(kind)
        );
    }
}
