//! Reads JSON into values with spans: checked by `serde_json`, then read as the YAML that it is.

use std::{borrow::Cow, sync::Arc};

use super::{
    node::Node,
    origins::{FileLocation, Location, SourceFile, Span},
    problems::Problem,
    yaml,
};

/// Parses a file; every duplicate key is a problem, a syntax error the only one.
pub(crate) fn parse(file: &Arc<SourceFile>) -> (Option<Node>, Vec<Problem>) {
    match serde_json::from_str::<serde::de::IgnoredAny>(&file.text) {
        Ok(_) => yaml::parse_text(file, &without_surrogates(&file.text)),
        Err(error) => {
            let span = Span {
                line: error.line().max(1),
                column: error.column().max(1),
                length: 1,
            };
            let location = Location::File(FileLocation {
                file: Arc::clone(file),
                span,
            });
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or_default();
            let help = match message {
                "key must be a string" | "trailing comma" => {
                    Some("keys stand in double quotes, and no comma follows the last entry")
                }
                "EOF while parsing an object" => Some("a `}` is missing"),
                "EOF while parsing a list" => Some("a `]` is missing"),
                "EOF while parsing a string" => Some("a `\"` is missing"),
                _ => None,
            };
            let message = message.replace("EOF while parsing", "the file ends within");
            let message = format!("not valid JSON: {message}");
            let problem = Problem::at(location, message, help.map(str::to_owned));
            (None, vec![problem])
        }
    }
}

/// The one escape that YAML does not have: `\ud83d\ude00` becomes `\U0001F600`. It is two characters shorter, which
/// moves the columns of errors behind it on its line; hardly any config has one.
fn without_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |from: usize| u16::from_str_radix(rest.get(from..from + 4)?, 16).ok();
        let pair = match (rest.get(..2), rest.get(6..8)) {
            (Some("\\u"), Some("\\u")) => unit(2).zip(unit(8)),
            _ => None,
        };
        let character = pair.and_then(|(high, low)| {
            char::decode_utf16([high, low])
                .next()?
                .ok()
                .filter(|character| character.len_utf16() == 2)
        });
        let length = match character {
            Some(character) => {
                out.push_str(&format!("\\U{:08X}", u32::from(character)));
                12
            }
            // the character after a backslash goes with it, so that `\\u` is not taken for an escape
            None => {
                out.push_str(&rest[..2]);
                2
            }
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_surrogate_pairs_are_rewritten() {
        let cases = [
            (r#""\ud83d\ude00""#, r#""\U0001F600""#),
            (r#""\uD83D\uDE00 \u00e9""#, r#""\U0001F600 \u00e9""#),
            (r#""\\ud83d\\ude00""#, r#""\\ud83d\\ude00""#),
            (r#""\ud83dx""#, r#""\ud83dx""#),
        ];
        for (json, expected) in cases {
            assert_eq!(without_surrogates(json), expected);
        }
    }
}
