//! The HTTP handler against components that answer as told.

use std::time::Duration;

use veltrix_actors::{AsyncHandler, HandlerError, HandlerFactory, LaneHandler, Reply, Trial};

use super::{HttpOptions, prepare};
use crate::http_client::receiver::Receiver;

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;

fn handler(url: &str, rest: &str) -> Box<dyn AsyncHandler> {
    let json = format!(r#"{{"url":"{url}"{rest}}}"#);
    let options: HttpOptions = serde_json::from_str(&json).unwrap();
    let factory = prepare(options, "charge").unwrap();
    assert_eq!(factory.lanes(), Some(8));
    match factory.build(0).unwrap() {
        LaneHandler::Async(handler) => handler,
        LaneHandler::Sync(_) => panic!("it waits for a component"),
    }
}

async fn ask(handler: &mut dyn AsyncHandler) -> Result<Vec<String>, HandlerError> {
    let mut trial = Trial::new("shop", "charge");
    let batch = trial.batch(&[EVENT]).unwrap();
    let answering = handler.handle(&batch.event(0));
    let reply: Reply = answering.await?;
    Ok(trial.reply(EVENT, reply)?.lines)
}

fn ok(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[actix::test]
async fn plain_json_becomes_a_derived_result() {
    let receiver = Receiver::start(|_| ok("application/json", r#"{"paid":true}"#)).await;
    let mut own_type = handler(&receiver.url("/charge"), "");
    let lines = ask(&mut *own_type).await.unwrap();
    assert!(lines[0].contains(r#""id":"1.charge.0","source":"/veltrix/shop/charge","type":"t""#));
    assert!(lines[0].ends_with(r#""data":{"paid":true}}"#));
    let mut emitting = handler(
        &receiver.url("/"),
        r#","emit":"order.charged","mode":"binary""#,
    );
    assert!(ask(&mut *emitting).await.unwrap()[0].contains(r#""type":"order.charged""#));
    let requests = receiver.requests();
    assert_eq!(
        (requests[0].line.as_str(), requests[0].body.as_str()),
        ("POST /charge HTTP/1.1", EVENT)
    );
    assert_eq!(
        (requests[1].header("ce-id"), requests[1].body.as_str()),
        (Some("1"), r#"{"a":1}"#)
    );
}

#[actix::test]
async fn events_come_back_as_they_are_and_204_is_no_result() {
    let event = EVENT.replace("\"t\"", "\"other\"");
    let body = format!("[{event},\n{event}]");
    let receiver = Receiver::start(move |request| match request.line.contains("/none") {
        true => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        false => ok("application/cloudevents-batch+json", &body),
    })
    .await;
    let lines = ask(&mut *handler(&receiver.url("/"), "")).await.unwrap();
    assert_eq!(lines, [event.clone(), event]);
    let lines = ask(&mut *handler(&receiver.url("/none"), ""))
        .await
        .unwrap();
    assert!(lines.is_empty());
}

#[actix::test]
async fn each_failure_is_told_as_what_it_is() {
    let retryable = |after: Option<u64>| Some(after.map(Duration::from_secs));
    for (answer, expected) in [
        (
            "HTTP/1.1 503 Busy\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n".to_owned(),
            retryable(Some(9)),
        ),
        (
            "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned(),
            retryable(None),
        ),
        (
            "HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
            None,
        ),
        (
            "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
            None,
        ),
        (ok("text/html", "<p>"), None),
        ("nonsense\r\n\r\n".to_owned(), retryable(None)),
    ] {
        let shown = answer.clone();
        let receiver = Receiver::start(move |_| answer.clone()).await;
        let outcome = match ask(&mut *handler(&receiver.url("/"), ""))
            .await
            .unwrap_err()
        {
            HandlerError::Retryable { after, .. } => Some(after),
            HandlerError::Permanent(_) => None,
            other => panic!("{shown}: {other}"),
        };
        assert_eq!(outcome, expected, "{shown}");
    }
}

#[actix::test]
async fn a_silent_component_is_a_timeout() {
    let receiver = Receiver::start(|_| String::new()).await;
    let mut handler = handler(&receiver.url("/"), r#","timeout":"30ms""#);
    let error = ask(&mut *handler).await.unwrap_err();
    assert_eq!(error, HandlerError::Timeout(Duration::from_millis(30)));
}

#[test]
fn every_problem_is_told_with_its_key() {
    let json = r#"{"url":"ftp://x","concurrency":0,"timeout":"0s","emit":""}"#;
    let problems = prepare(serde_json::from_str(json).unwrap(), "charge").unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["timeout", "emit", "concurrency", "url"]);
}
