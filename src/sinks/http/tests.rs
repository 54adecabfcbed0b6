//! The HTTP sink against receivers that answer as told.

use std::time::Duration;

use veltrix_actors::{AnySink, AsyncSink, DeliveryError, SinkFactory, Trial};

use super::{HttpOptions, prepare};
use crate::http_client::receiver::Receiver;

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;

fn sink(url: &str, rest: &str) -> Box<dyn AsyncSink> {
    let json = format!(r#"{{"url":"{url}"{rest}}}"#);
    let options: HttpOptions = serde_json::from_str(&json).unwrap();
    match prepare(options, "audit").unwrap().build().unwrap() {
        AnySink::Async(sink) => sink,
        AnySink::Sync(_) => panic!("it waits for a receiver"),
    }
}

async fn deliver(sink: &mut dyn AsyncSink, lines: &[&str]) -> Result<(), DeliveryError> {
    let events = Trial::new("s", "h").consignment(lines).unwrap();
    sink.deliver(0, events).await
}

#[actix::test]
async fn structured_events_go_over_one_connection_with_the_headers() {
    let receiver =
        Receiver::start(|_| "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok".into()).await;
    let mut sink = sink(&receiver.url("/in?q=1"), r#","headers":{"X-Key":"s"}"#);
    for _ in 0..3 {
        deliver(&mut *sink, &[EVENT]).await.unwrap();
    }
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.connection, requests[0].connection);
        assert_eq!(request.line, "POST /in?q=1 HTTP/1.1");
        assert_eq!(request.header("x-key"), Some("s"));
        let content_type = request.header("content-type").unwrap();
        assert!(content_type.starts_with("application/cloudevents+json"));
        assert_eq!(request.body, EVENT);
    }
}

#[actix::test]
async fn batches_and_binary_events_look_as_the_binding_says() {
    let receiver = Receiver::start(|_| "HTTP/1.1 204 No Content\r\n\r\n".into()).await;
    let mut batched = sink(
        &receiver.url("/"),
        r#","mode":"batched","batch":{"events":5}"#,
    );
    assert_eq!(batched.events_per_delivery(), 5);
    assert_eq!(batched.bytes_per_delivery(), 1024 * 1024);
    deliver(&mut *batched, &[EVENT, EVENT]).await.unwrap();
    let mut binary = sink(&receiver.url("/"), r#","mode":"binary","concurrency":3"#);
    assert_eq!((binary.events_per_delivery(), binary.slots()), (1, 3));
    deliver(&mut *binary, &[EVENT]).await.unwrap();
    let requests = receiver.requests();
    assert_eq!(requests[0].body, format!("[{EVENT},{EVENT}]"));
    assert_eq!(requests[1].header("ce-type"), Some("t"));
    assert_eq!(requests[1].body, r#"{"a":1}"#);
}

#[actix::test]
async fn each_answer_has_its_consequence() {
    let seconds = |after: Option<u64>| after.map(Duration::from_secs);
    for (head, expected, after) in [
        (
            "429 Too Many Requests\r\nretry-after: 7",
            "later",
            seconds(Some(7)),
        ),
        (
            "503 Service Unavailable\r\nretry-after: soon",
            "later",
            None,
        ),
        ("500 Oops", "later", None),
        ("401 Unauthorized", "blocked", None),
        (
            "403 Forbidden\r\nretry-after: 9",
            "blocked",
            seconds(Some(9)),
        ),
        ("410 Gone\r\nretry-after: 9", "blocked", seconds(Some(300))),
        ("302 Found\r\nlocation: /elsewhere", "never", None),
        ("415 Unsupported Media Type", "never", None),
    ] {
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::start(move |_| answer.clone()).await;
        let mut sink = sink(&receiver.url("/"), "");
        let outcome = match deliver(&mut *sink, &[EVENT]).await.unwrap_err() {
            DeliveryError::Retryable { after, .. } => ("later", after),
            DeliveryError::Blocked { after, .. } => ("blocked", after),
            _ => ("never", None),
        };
        assert_eq!(outcome, (expected, after), "{head}");
        assert_eq!(receiver.requests().len(), 1, "no redirect was followed");
    }
}

#[actix::test]
async fn a_broken_connection_and_a_missing_answer_are_tried_again() {
    let receiver = Receiver::start(|_| String::new()).await;
    let mut hasty = sink(&receiver.url("/?token=s3cret"), r#","timeout":"1ms""#);
    let error = deliver(&mut *hasty, &[EVENT]).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retryable { .. }));
    let gone = receiver.url("/?token=s3cret");
    drop(receiver);
    let error = deliver(&mut *sink(&gone, ""), &[EVENT]).await.unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, DeliveryError::Retryable { .. }));
    assert!(
        message.contains("cannot reach") && !message.contains("s3cret"),
        "{message}"
    );
}

#[actix::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let body = "x".repeat(1 << 20);
    let receiver = Receiver::start(move |_| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{body}")
    })
    .await;
    deliver(&mut *sink(&receiver.url("/"), ""), &[EVENT])
        .await
        .unwrap();
}

#[test]
fn every_problem_is_told_with_its_key() {
    let json = r#"{"url":"x","concurrency":257,"timeout":"0s","batch":{"events":0,"bytes":"1B"},
        "headers":{"host":"x"},"retry":{"min":"0s"}}"#;
    let problems = prepare(serde_json::from_str(json).unwrap(), "audit").unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "retry.min",
        "concurrency",
        "timeout",
        "batch",
        "batch.events",
        "batch.bytes",
        "url",
        "headers.host",
    ];
    assert_eq!(keys, expected);
}
