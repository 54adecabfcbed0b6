//! What a child's line says: results, no result, or the data of a derived one.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use veltrix_actors::{RESULTS_PER_EVENT_MAX, ReplyResult, check_line};

/// Why a line is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The child does not keep to the protocol, so its next line cannot be trusted either.
    Protocol(String),
    /// The child answered, but with no results that could be passed on.
    Result(String),
}

/// Tells an event from plain data.
#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    specversion: Option<IgnoredAny>,
}

/// The results in `line`; a plain object becomes one of type `event_type`.
pub(super) fn read(line: &[u8], event_type: String) -> Result<Vec<ReplyResult>, Wrong> {
    let text = std::str::from_utf8(line)
        .map_err(|_| Wrong::Protocol("the command's answer is not valid UTF-8".to_owned()))?;
    // A lone carriage return may stand between tokens, but some readers take it for the end of the line.
    let text = text.trim().replace('\r', "");
    let no_json = |error| {
        Wrong::Protocol(format!(
            "the command's answer is not JSON on one line: {error}"
        ))
    };
    match text.as_bytes().first() {
        Some(b'[') => {
            let events: Vec<&RawValue> = serde_json::from_str(&text).map_err(no_json)?;
            if events.len() > RESULTS_PER_EVENT_MAX {
                let count = events.len();
                let message = format!("the command's answer has {count} events, more than {RESULTS_PER_EVENT_MAX}");
                return Err(Wrong::Result(message));
            }
            events
                .into_iter()
                .map(|event| result(event.get().to_owned()))
                .collect()
        }
        Some(b'{') => {
            let probe: Probe = serde_json::from_str(&text).map_err(no_json)?;
            match probe.specversion {
                Some(_) => Ok(vec![result(text)?]),
                None => Ok(vec![ReplyResult::Data {
                    event_type,
                    data: text,
                }]),
            }
        }
        _ => match serde_json::from_str::<Option<IgnoredAny>>(&text).map_err(no_json)? {
            None => Ok(Vec::new()),
            Some(_) => Err(Wrong::Result(
                "the command's answer is neither an event, an array of events, an object with the data of a \
                 result, nor `null`"
                    .to_owned(),
            )),
        },
    }
}

fn result(line: String) -> Result<ReplyResult, Wrong> {
    match check_line(&line) {
        Ok(()) => Ok(ReplyResult::Event(line)),
        Err(error) => Err(Wrong::Result(format!(
            "the command's answer is not a CloudEvent: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;

    fn results(line: &str) -> Result<Vec<ReplyResult>, Wrong> {
        read(line.as_bytes(), "own".to_owned())
    }

    #[test]
    fn events_arrays_null_and_data_are_told_apart() {
        let event = ReplyResult::Event(EVENT.to_owned());
        assert_eq!(results(&format!("{EVENT}\r")), Ok(vec![event.clone()]));
        assert_eq!(
            results(&format!("[{EVENT},{EVENT}]")),
            Ok(vec![event.clone(), event])
        );
        assert_eq!(results("null"), Ok(vec![]));
        assert_eq!(results("[]"), Ok(vec![]));
        let data = ReplyResult::Data {
            event_type: "own".to_owned(),
            data: r#"{"data":{"specversion":"1.0"}}"#.to_owned(),
        };
        assert_eq!(
            results(r#" {"data":{"specversion":"1.0"}}"#),
            Ok(vec![data])
        );
    }

    #[test]
    fn a_bad_result_is_told_from_a_broken_protocol() {
        for line in ["", "oops", "{\"a\":", "[1", "{} {}"] {
            assert!(matches!(results(line), Err(Wrong::Protocol(_))), "{line}");
        }
        assert!(matches!(
            read(b"\"\xff\"", String::new()),
            Err(Wrong::Protocol(_))
        ));
        for line in [
            "1",
            "\"x\"",
            "true",
            "[1]",
            "[{}]",
            r#"{"specversion":"1.0"}"#,
        ] {
            assert!(matches!(results(line), Err(Wrong::Result(_))), "{line}");
        }
    }
}
