//! What the body of a 2xx answer says: no result, events as they are, or the data of a derived result.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use veltrix_actors::{RESULTS_PER_EVENT_MAX, ReplyResult, check_line};

use crate::cloudevents::media_type;
use crate::http_client::Answer;

/// The results in `answer`; plain JSON becomes one of type `event_type`.
///
/// # Errors
/// What is wrong with the answer, as the end of a sentence that begins with "the answer".
pub(super) fn read(answer: &Answer, event_type: String) -> Result<Vec<ReplyResult>, String> {
    if answer.is_cut {
        return Err(format!("is longer than {} bytes", answer.body.len()));
    }
    if answer.body.is_empty() {
        return Ok(Vec::new());
    }
    let content_type = media_type::essence(answer.content_type()).to_ascii_lowercase();
    let text = || std::str::from_utf8(&answer.body).map_err(|_| "is not valid UTF-8".to_owned());
    match content_type.as_str() {
        "application/cloudevents+json" => Ok(vec![event(text()?)?]),
        "application/cloudevents-batch+json" => batch(text()?),
        json if media_type::is_json(json) && !json.starts_with("application/cloudevents") => {
            let data = one_line(text()?);
            if let Err(error) = serde_json::from_str::<IgnoredAny>(&data) {
                return Err(format!("is not the JSON that it says: {error}"));
            }
            Ok(vec![ReplyResult::Data { event_type, data }])
        }
        other => Err(format!(
            "has the content type `{other}`; use `application/cloudevents+json`, \
             `application/cloudevents-batch+json`, `application/json` or no body"
        )),
    }
}

fn event(text: &str) -> Result<ReplyResult, String> {
    let line = one_line(text);
    match check_line(&line) {
        Ok(()) => Ok(ReplyResult::Event(line)),
        Err(error) => Err(format!("is not a CloudEvent: {error}")),
    }
}

fn batch(text: &str) -> Result<Vec<ReplyResult>, String> {
    let events: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| format!("is not a JSON array of events: {error}"))?;
    if events.len() > RESULTS_PER_EVENT_MAX {
        return Err(format!(
            "has {} events, more than {RESULTS_PER_EVENT_MAX}",
            events.len()
        ));
    }
    events.into_iter().map(|raw| event(raw.get())).collect()
}

/// The same JSON on one line. In valid JSON raw line breaks only stand between tokens, where they mean nothing.
fn one_line(json: &str) -> String {
    json.trim().replace(['\n', '\r'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;

    fn answer(content_type: &'static str, body: &str) -> Answer {
        let content_type = HeaderValue::from_static(content_type);
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
            retry_after: None,
            body: body.as_bytes().to_vec(),
            is_cut: false,
        }
    }

    fn results(content_type: &'static str, body: &str) -> Result<Vec<ReplyResult>, String> {
        read(&answer(content_type, body), "own".to_owned())
    }

    #[test]
    fn events_are_taken_as_they_are_on_one_line() {
        let event = ReplyResult::Event(EVENT.to_owned());
        let spread = EVENT.replace(',', ",\r\n");
        let one = results("Application/CloudEvents+JSON; charset=utf-8", &spread);
        assert_eq!(one, Ok(vec![event.clone()]));
        let body = format!("[{EVENT},\n{spread}]");
        let two = results("application/cloudevents-batch+json", &body);
        assert_eq!(two, Ok(vec![event.clone(), event]));
        assert_eq!(
            results("application/cloudevents-batch+json", "[]"),
            Ok(vec![])
        );
    }

    #[test]
    fn plain_json_is_the_data_of_a_derived_result_and_nothing_is_none() {
        let data = ReplyResult::Data {
            event_type: "own".to_owned(),
            data: r#"{"a":  1}"#.to_owned(),
        };
        assert_eq!(
            results("application/json", "{\"a\":\n  1}\n"),
            Ok(vec![data])
        );
        assert_eq!(results("text/html", ""), Ok(vec![]));
    }

    #[test]
    fn says_what_is_wrong() {
        for (content_type, body, expected) in [
            (
                "application/cloudevents+json",
                "{}",
                "is not a CloudEvent: ",
            ),
            (
                "application/cloudevents+json",
                "[]",
                "is not a CloudEvent: ",
            ),
            (
                "application/cloudevents-batch+json",
                EVENT,
                "is not a JSON array",
            ),
            (
                "application/cloudevents-batch+json",
                "[1]",
                "is not a CloudEvent: ",
            ),
            (
                "application/cloudevents+avro",
                "x",
                "`application/cloudevents+avro`; use",
            ),
            ("application/json", "{", "is not the JSON that it says"),
            (
                "application/json",
                "\"a\nb\u{0}\"",
                "is not the JSON that it says",
            ),
            ("text/html", "<p>", "`text/html`; use"),
            ("", "{}", "``; use"),
        ] {
            let error = results(content_type, body).unwrap_err();
            assert!(error.contains(expected), "{content_type} {body}: {error}");
        }
        let mut long = answer("application/json", "{}");
        long.is_cut = true;
        assert!(
            read(&long, String::new())
                .unwrap_err()
                .contains("longer than 2")
        );
    }
}
