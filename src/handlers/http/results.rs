//! What the body of a 2xx answer says: no result, events as they are, or the data of a derived result.

use serde::de::IgnoredAny;
use veltrix_actors::{RESULTS_PER_EVENT_MAX, ReplyResult, check_line};

use crate::cloudevents::compact::one_line;
use crate::cloudevents::decode::{Lines, Mode, mode};
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
    let is_binary_event = answer.headers.contains_key("ce-specversion");
    if answer.body.is_empty() && !is_binary_event {
        return Ok(Vec::new());
    }
    let content_type = answer.content_type();
    let lines = match mode(Some(content_type)) {
        Mode::Structured => Lines::structured(&answer.body),
        Mode::Batched => Lines::batched(&answer.body),
        Mode::Binary if is_binary_event => binary(answer),
        Mode::Binary if media_type::is_json(content_type) => {
            return Ok(vec![data(&answer.body, event_type)?]);
        }
        Mode::Binary | Mode::Unsupported => {
            return Err(format!(
                "has the content type `{content_type}`; use `application/cloudevents+json`, \
                 `application/cloudevents-batch+json`, `application/json`, `ce-*` headers or no body"
            ));
        }
    };
    let lines = lines.map_err(|error| format!("is not a CloudEvent: {}", error.detail))?;
    if lines.len() > RESULTS_PER_EVENT_MAX {
        let count = lines.len();
        return Err(format!(
            "has {count} events, more than {RESULTS_PER_EVENT_MAX}"
        ));
    }
    lines.iter().map(event).collect()
}

fn binary(answer: &Answer) -> Result<Lines, crate::cloudevents::decode::DecodeError> {
    let attributes = answer.headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("ce-")?;
        Some((name, value.as_bytes()))
    });
    let content_type = Some(answer.content_type()).filter(|text| !text.is_empty());
    Lines::binary(attributes, content_type, &answer.body)
}

fn data(body: &[u8], event_type: String) -> Result<ReplyResult, String> {
    let text = std::str::from_utf8(body).map_err(|_| "is not valid UTF-8".to_owned())?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| format!("is not the JSON that it says: {error}"))?;
    let data = one_line(text).trim().to_owned();
    Ok(ReplyResult::Data { event_type, data })
}

fn event(line: &str) -> Result<ReplyResult, String> {
    match check_line(line) {
        Ok(()) => Ok(ReplyResult::Event(line.to_owned())),
        Err(error) => Err(format!("is not a CloudEvent: {error}")),
    }
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
            mask: Default::default(),
            body: body.as_bytes().to_vec(),
            is_cut: false,
            body_error: None,
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
            data: r#"{"a":1}"#.to_owned(),
        };
        assert_eq!(
            results("application/json", "{\"a\":\n  1}\n"),
            Ok(vec![data])
        );
        assert_eq!(results("text/html", ""), Ok(vec![]));
    }

    #[test]
    fn a_binary_event_is_put_together_from_headers_and_body() {
        let mut binary = answer("application/json", "{\"a\":\n1}");
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "a%20b"),
        ] {
            let name: reqwest::header::HeaderName = format!("ce-{name}").parse().unwrap();
            binary.headers.insert(name, HeaderValue::from_static(value));
        }
        let results = read(&binary, "own".to_owned()).unwrap();
        let [ReplyResult::Event(line)] = results.as_slice() else {
            panic!("{results:?}");
        };
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&event["type"], &event["data"]["a"]),
            (&"a b".into(), &1.into())
        );
        binary.headers.remove("ce-id");
        assert!(
            read(&binary, String::new())
                .unwrap_err()
                .contains("`id` is missing")
        );
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
                "not a JSON array",
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
