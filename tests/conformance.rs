//! The MUST list of CloudEvents 1.0: core, JSON format, HTTP binding and webhooks, a row a clause, against the real
//! binary. Clauses that bind only those who write specifications, or need TLS in front, have no row.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/receiver.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod receiver;

use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;

use process::{Answer, Process, request};
use receiver::{HttpReceiver, Received};
use serde_json::{Value, json};

const CONFIG: &str = r#"
service: { name: conformance }
sources:
  open: { type: http, listen: "127.0.0.1:0" }
  hook: { type: http, listen: "127.0.0.1:0", path: /hook, auth: { bearer: "to ken" }, allowed_origins: [good.example], rate_limit: 3 }
handlers:
  all: { on: ">", type: pass, to: [out] }
sinks:
  out: { type: stdout }
"#;

type Headers<'a> = &'a [(&'a str, &'a str)];

/// What a receiver has to make of a message.
enum Gives {
    /// Accepted, and forwarded as these events.
    Events(Vec<Value>),
    /// Refused with that status; the answer names this.
    Refused(u16, &'static str),
}

/// One clause.
struct Row {
    clause: &'static str,
    rule: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
    gives: Gives,
}

/// A structured message: the required attributes with `changes` over them; a null takes a member away.
fn structured(
    clause: &'static str,
    rule: &'static str,
    changes: Value,
    refused: &'static str,
) -> Row {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    let mut expected = event.clone();
    for (name, value) in changes.as_object().expect("members") {
        event[name] = value.clone();
        expected[name] = value.clone();
        if value.is_null() {
            event.as_object_mut().expect("an object").remove(name);
            expected.as_object_mut().expect("an object").remove(name);
        }
    }
    Row {
        clause,
        rule,
        headers: vec![("Content-Type", "application/cloudevents+json")],
        body: event.to_string(),
        gives: match refused {
            "" => Gives::Events(vec![expected]),
            told => Gives::Refused(400, told),
        },
    }
}

#[expect(clippy::too_many_lines, reason = "a table, a row a clause")]
fn core_rows() -> Vec<Row> {
    let row = structured;
    let long = "x".repeat(64_000);
    vec![
        row(
            "core 3.1",
            "the four required attributes are enough",
            json!({}),
            "",
        ),
        row(
            "core 3.1",
            "names are lower-case letters and digits",
            json!({"Ext": "x"}),
            "lower-case",
        ),
        row(
            "core 3.1",
            "names have no other characters",
            json!({"my-ext": "x"}),
            "lower-case",
        ),
        row(
            "core 3.1",
            "digits may stand in names",
            json!({"ext2": "x"}),
            "",
        ),
        row(
            "core 3.1.1 id",
            "is required",
            json!({"id": null}),
            "`id` is missing",
        ),
        row(
            "core 3.1.1 id",
            "is not empty",
            json!({"id": ""}),
            "`id` is missing",
        ),
        row(
            "core 3.1.1 id",
            "is a string",
            json!({"id": 1}),
            "`id` must be a string",
        ),
        row(
            "core 3.1.1 source",
            "is required",
            json!({"source": null}),
            "`source` is missing",
        ),
        row(
            "core 3.1.1 source",
            "is not empty",
            json!({"source": ""}),
            "`source` is missing",
        ),
        row(
            "core 3.1.1 source",
            "is a URI-reference",
            json!({"source": "not a uri"}),
            "not a URI",
        ),
        row(
            "core 3.1.1 source",
            "may be any URI-reference",
            json!({"source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"}),
            "",
        ),
        row(
            "core 3.1.1 specversion",
            "is required",
            json!({"specversion": null}),
            "`specversion`",
        ),
        row(
            "core 3.1.1 specversion",
            "is 1.0",
            json!({"specversion": "0.3"}),
            "1.0",
        ),
        row(
            "core 3.1.1 type",
            "is required",
            json!({"type": null}),
            "`type` is missing",
        ),
        row(
            "core 3.1.1 type",
            "is not empty",
            json!({"type": ""}),
            "`type` is missing",
        ),
        row(
            "core 3.1.2 datacontenttype",
            "is a media type",
            json!({"datacontenttype": "json"}),
            "media type",
        ),
        row(
            "core 3.1.2 datacontenttype",
            "may have parameters",
            json!({"datacontenttype": "text/x; a=\"b\"", "data": "x"}),
            "",
        ),
        row(
            "core 3.1.2 dataschema",
            "is not empty",
            json!({"dataschema": ""}),
            "URI",
        ),
        row(
            "core 3.1.2 dataschema",
            "is a URI",
            json!({"dataschema": "http://x/y"}),
            "",
        ),
        row(
            "core 3.1.2 subject",
            "is not empty",
            json!({"subject": ""}),
            "`subject`",
        ),
        row(
            "core 3.1.2 subject",
            "may have any text",
            json!({"subject": "ü \"quoted\" € 😀"}),
            "",
        ),
        row(
            "core 3.1.2 time",
            "is an RFC 3339 timestamp",
            json!({"time": "yesterday"}),
            "RFC 3339",
        ),
        row(
            "core 3.1.2 time",
            "may have fractions and offsets",
            json!({"time": "2018-04-05T17:31:00.123456789+02:00"}),
            "",
        ),
        row(
            "core 3.1.3",
            "unknown extensions are forwarded",
            json!({"comexampleother": "5"}),
            "",
        ),
        row(
            "core 3.3 types",
            "a string has no control characters",
            json!({"subject": "a\u{1}b"}),
            "control",
        ),
        row(
            "core 3.3 types",
            "nor those behind ASCII",
            json!({"subject": "a\u{85}b"}),
            "control",
        ),
        row(
            "core 3.3 types",
            "integers have 32 bits",
            json!({"ext": 2_147_483_648_i64}),
            "32-bit",
        ),
        row(
            "core 3.3 types",
            "integers may be negative",
            json!({"ext": -2_147_483_648_i64}),
            "",
        ),
        row("core 5", "64 KiB are forwarded", json!({"data": long}), ""),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table, a row a clause")]
fn json_rows() -> Vec<Row> {
    let row = structured;
    let raw = |clause, rule, members: &str, gives| Row {
        body: format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#),
        gives,
        ..structured(clause, rule, json!({}), "")
    };
    let event = |changes: Value| {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
        for (name, value) in changes.as_object().expect("members") {
            event[name] = value.clone();
        }
        Gives::Events(vec![event])
    };
    let batch = |rule, body: String, gives| Row {
        clause: "json 4",
        rule,
        headers: vec![("Content-Type", "application/cloudevents-batch+json")],
        body,
        gives,
    };
    let one = process::event_line("1");
    let minimal = || json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    vec![
        row(
            "json 2.2",
            "booleans are JSON booleans",
            json!({"ext": true}),
            "",
        ),
        row(
            "json 2.2",
            "integers have no fraction",
            json!({"ext": 1.5}),
            "32-bit",
        ),
        raw(
            "json 2.2",
            "integers have no exponent",
            r#","ext":1e2"#,
            Gives::Refused(400, "32-bit"),
        ),
        row(
            "json 2.2",
            "no attribute is an object",
            json!({"ext": {}}),
            "must be a string",
        ),
        raw(
            "json 2.2",
            "null is as good as absent",
            r#","subject":null,"ext":null"#,
            event(json!({"subject": null, "ext": null})),
        ),
        raw(
            "json 3",
            "no attribute stands twice, not even as null",
            r#","id":null"#,
            Gives::Refused(400, "more than once"),
        ),
        raw(
            "json 3",
            "no attribute stands twice",
            r#","subject":"a","subject":"b""#,
            Gives::Refused(400, "more than once"),
        ),
        row(
            "json 3.1",
            "data and data_base64 exclude each other",
            json!({"data": 1, "data_base64": "AA=="}),
            "exclude",
        ),
        row(
            "json 3.1.1",
            "binary data is base64",
            json!({"datacontenttype": "a/b", "data_base64": "AP8="}),
            "",
        ),
        row(
            "json 3.1.1",
            "what is not base64 is no binary data",
            json!({"data_base64": "%"}),
            "base64",
        ),
        row(
            "json 3.1.2",
            "JSON data may be any JSON value",
            json!({"data": [1, {"a": null}, "x"]}),
            "",
        ),
        row(
            "json 3.1.2",
            "a string in JSON data is not read as JSON",
            json!({"datacontenttype": "application/json", "data": "{\"a\":1}"}),
            "",
        ),
        row(
            "json 3.1.2",
            "other data is text",
            json!({"datacontenttype": "application/xml", "data": "<much wow=\"xml\"/>"}),
            "",
        ),
        raw(
            "json 3.1.1",
            "data may be null, unlike absent data",
            r#","data":null"#,
            event(json!({"data": null})),
        ),
        raw(
            "json 3",
            "one object and nothing behind it",
            "} {",
            Gives::Refused(400, "not_json"),
        ),
        batch(
            "an array of events",
            format!("[{one} , {one}]"),
            Gives::Events(vec![minimal(), minimal()]),
        ),
        batch(
            "an empty array is valid",
            "[]".to_owned(),
            Gives::Events(vec![]),
        ),
        batch(
            "one bad event refuses all",
            format!("[{one},{{}}]"),
            Gives::Refused(400, "\"index\":1"),
        ),
        batch(
            "not a single event",
            one.clone(),
            Gives::Refused(400, "array"),
        ),
    ]
}

/// A binary message; `expected` is what is added to the required attributes.
fn binary(
    clause: &'static str,
    rule: &'static str,
    headers: Headers<'static>,
    body: &str,
    expected: Value,
) -> Row {
    let mut all = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    all.extend_from_slice(headers);
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    for (name, value) in expected.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    Row {
        clause,
        rule,
        headers: all,
        body: body.to_owned(),
        gives: match expected {
            Value::Array(refusal) => Gives::Refused(400, refusal_of(&refusal)),
            _ => Gives::Events(vec![event]),
        },
    }
}

/// Names what a binary row's refusal says; only these occur.
fn refusal_of(refusal: &[Value]) -> &'static str {
    let told = refusal[0].as_str().expect("a text");
    [
        "not allowed",
        "UTF-8",
        "not_json",
        "more than once",
        "lower-case",
        "not_json",
    ]
    .into_iter()
    .find(|known| *known == told)
    .expect("a known text")
}

#[expect(clippy::too_many_lines, reason = "a table, a row a clause")]
fn binding_rows() -> Vec<Row> {
    let row = binary;
    let mode = |rule, content_type, body: String, gives| Row {
        clause: "http 3",
        rule,
        headers: vec![("Content-Type", content_type)],
        body,
        gives,
    };
    let one = process::event_line("1");
    let minimal = || json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    vec![
        mode(
            "the mode is chosen by the prefix, in any case",
            "Application/CloudEvents+JSON; charset=utf-8",
            one.clone(),
            Gives::Events(vec![minimal()]),
        ),
        mode(
            "batched before structured",
            "application/cloudevents-BATCH+json",
            format!("[{one}]"),
            Gives::Events(vec![minimal()]),
        ),
        mode(
            "a format that is not supported is refused",
            "application/cloudevents+avro",
            one.clone(),
            Gives::Refused(415, "JSON"),
        ),
        mode(
            "what has no attributes at all is no event",
            "application/json",
            one,
            Gives::Refused(415, "no CloudEvent"),
        ),
        row(
            "http 3.1.1",
            "Content-Type is datacontenttype",
            &[("Content-Type", "application/json;charset=utf-8")],
            "{\"a\": 1}",
            json!({"datacontenttype": "application/json;charset=utf-8", "data": {"a": 1}}),
        ),
        row(
            "http 3.1.1",
            "there is no ce-datacontenttype",
            &[("ce-datacontenttype", "text/plain")],
            "",
            json!(["not allowed"]),
        ),
        row(
            "http 3.1.2",
            "the body is the data",
            &[("Content-Type", "text/plain")],
            "a\nb",
            json!({"datacontenttype": "text/plain", "data": "a\nb"}),
        ),
        row(
            "http 3.1.2",
            "the body is the data, whatever its type",
            &[("Content-Type", "application/x")],
            "\u{0}\u{1}",
            json!({"datacontenttype": "application/x", "data_base64": "AAE="}),
        ),
        row(
            "http 3.1.2",
            "JSON is what says to be JSON",
            &[("Content-Type", "application/x+json")],
            "1,\"id\":\"2\"",
            json!(["not_json"]),
        ),
        row("http 3.1.2", "no body is no data", &[], "", json!({})),
        row(
            "http 3.1.3",
            "every attribute has its header",
            &[
                ("ce-subject", "sub"),
                ("ce-time", "2018-04-05T03:56:24Z"),
                ("ce-ext", "7"),
            ],
            "",
            json!({"subject": "sub", "time": "2018-04-05T03:56:24Z", "ext": "7"}),
        ),
        row(
            "http 3.1.3",
            "each is its own header",
            &[("ce-ext", "a"), ("ce-ext", "b")],
            "",
            json!(["more than once"]),
        ),
        row(
            "http 3.1.3.1",
            "names in any case",
            &[("Ce-EXT", "a")],
            "",
            json!({"ext": "a"}),
        ),
        row(
            "http 3.1.3.1",
            "only attribute names behind the prefix",
            &[("ce-my-ext", "a")],
            "",
            json!(["lower-case"]),
        ),
        row(
            "http 3.1.3.1",
            "headers without prefix are no attributes",
            &[("ext", "a")],
            "",
            json!({}),
        ),
        row(
            "http 3.1.3.2",
            "percent-encoding is resolved",
            &[("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80")],
            "",
            json!({"subject": "Euro € 😀"}),
        ),
        row(
            "http 3.1.3.2",
            "lower-case digits, too",
            &[("ce-subject", "%e2%82%ac")],
            "",
            json!({"subject": "€"}),
        ),
        row(
            "http 3.1.3.2",
            "unnecessary encoding, too",
            &[("ce-subject", "%41")],
            "",
            json!({"subject": "A"}),
        ),
        row(
            "http 3.1.3.2",
            "one round only",
            &[("ce-subject", "%2541")],
            "",
            json!({"subject": "%41"}),
        ),
        row(
            "http 3.1.3.2",
            "what is not UTF-8 is refused",
            &[("ce-subject", "%C0%A0")],
            "",
            json!(["UTF-8"]),
        ),
        row(
            "http 3.1.3.2",
            "quotes are resolved first",
            &[("ce-subject", "\"a \\\"b\\\" %41\"")],
            "",
            json!({"subject": "a \"b\" A"}),
        ),
    ]
}

#[test]
fn events_are_taken_as_the_specifications_say() {
    let mut process = Process::start(CONFIG);
    let address = process.address("open");
    let mut failures = Vec::new();
    let rows: Vec<Row> = [core_rows(), json_rows(), binding_rows()]
        .into_iter()
        .flatten()
        .collect();
    for row in &rows {
        let answer = request(
            address,
            "POST",
            "/events",
            &row.headers,
            row.body.as_bytes(),
        );
        let told = format!("{}: {}", row.clause, row.rule);
        match &row.gives {
            Gives::Refused(status, text) => {
                if answer.status == 202 {
                    process.line();
                }
                if answer.status != *status || !answer.body.contains(text) {
                    failures.push(format!("{told}: wanted {status} `{text}`, got {answer:?}"));
                }
            }
            Gives::Events(_) if answer.status != 202 => {
                failures.push(format!("{told}: wanted 202, got {answer:?}"));
            }
            Gives::Events(events) => {
                for expected in events {
                    let line: Value = serde_json::from_str(&process.line()).expect("JSON");
                    if line != *expected {
                        failures.push(format!("{told}: wanted {expected}, got {line}"));
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(
        ended.output,
        Vec::<String>::new(),
        "nothing of a refused message was accepted"
    );
}

/// A webhook clause: a request, and what the answer has to say.
struct Asked {
    clause: &'static str,
    rule: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    says: fn(&Answer) -> bool,
}

const ORIGIN: (&str, &str) = ("WebHook-Request-Origin", "good.example");

#[expect(clippy::too_many_lines, reason = "a table, a row a clause")]
fn webhook_rows() -> Vec<Asked> {
    let json = ("Content-Type", "application/cloudevents+json");
    let token = ("Authorization", "Bearer to ken");
    let origin = ORIGIN;
    let row = |clause, rule, method, path, headers, says| Asked {
        clause,
        rule,
        method,
        path,
        headers,
        says,
    };
    vec![
        row(
            "webhook 2.1",
            "only POST delivers",
            "GET",
            "/hook",
            vec![json, token],
            |a| a.status == 405 && a.header("allow").is_some_and(|v| v.contains("POST")),
        ),
        row(
            "webhook 2.1",
            "PUT does not either",
            "PUT",
            "/hook",
            vec![json, token],
            |a| a.status == 405,
        ),
        row(
            "webhook 2.2",
            "no redirects",
            "POST",
            "/hook/",
            vec![json, token],
            |a| a.status == 404,
        ),
        row(
            "webhook 2.2",
            "202 when accepted and not yet processed, without payload",
            "POST",
            "/hook",
            vec![json, token],
            |a| a.status == 202 && a.body.is_empty(),
        ),
        row(
            "webhook 2.2",
            "415 when the format is not understood",
            "POST",
            "/hook",
            vec![("Content-Type", "text/csv"), token],
            |a| a.status == 415,
        ),
        row(
            "webhook 3.1",
            "a bearer token is wanted",
            "POST",
            "/hook",
            vec![json],
            |a| a.status == 401 && a.header("www-authenticate") == Some("Bearer"),
        ),
        row(
            "webhook 3.1",
            "the right one",
            "POST",
            "/hook",
            vec![json, ("Authorization", "Bearer no")],
            |a| a.status == 401,
        ),
        row(
            "webhook 3.2",
            "the query may carry it",
            "POST",
            "/hook?a=1&access_token=to%20ken",
            vec![json],
            |a| a.status == 202 && a.header("cache-control") == Some("private"),
        ),
        row(
            "webhook 2.2",
            "429 above the rate, with Retry-After",
            "POST",
            "/hook",
            vec![json, token],
            |a| {
                a.status == 429
                    && a.header("retry-after")
                        .is_some_and(|v| v.parse::<u32>().is_ok())
            },
        ),
        row(
            "webhook 4.2",
            "consent names the origin and a rate",
            "OPTIONS",
            "/hook",
            vec![origin, ("WebHook-Request-Rate", "100")],
            |a| {
                a.header("webhook-allowed-origin") == Some("good.example")
                    && a.header("webhook-allowed-rate") == Some("3")
            },
        ),
        row(
            "webhook 4.2",
            "the rate is granted as wanted below the limit",
            "OPTIONS",
            "/hook",
            vec![origin, ("WebHook-Request-Rate", "2")],
            |a| a.header("webhook-allowed-rate") == Some("2"),
        ),
        row(
            "webhook 4.2",
            "the answer names POST",
            "OPTIONS",
            "/hook",
            vec![origin],
            |a| a.header("allow").is_some_and(|v| v.contains("POST")),
        ),
        row(
            "webhook 4.2",
            "no consent, no headers",
            "OPTIONS",
            "/hook",
            vec![("WebHook-Request-Origin", "bad.example")],
            |a| {
                a.header("webhook-allowed-origin").is_none()
                    && a.header("webhook-allowed-rate").is_none()
            },
        ),
        row(
            "webhook 4.1.2",
            "without origin no consent",
            "OPTIONS",
            "/hook",
            vec![],
            |a| a.header("webhook-allowed-origin").is_none(),
        ),
    ]
}

#[test]
fn webhooks_are_answered_as_the_specification_says() {
    let mut process = Process::start(CONFIG);
    let address = process.address("hook");
    let event = process::event_line("1");
    let mut failures = Vec::new();
    for row in webhook_rows() {
        let answer = request(
            address,
            row.method,
            row.path,
            &row.headers,
            event.as_bytes(),
        );
        if !(row.says)(&answer) {
            failures.push(format!("{}: {}: {answer:?}", row.clause, row.rule));
        }
    }
    let open = process.address("open");
    let answer = request(open, "OPTIONS", "/events", &[ORIGIN], b"");
    if answer.status != 405 {
        failures.push(format!(
            "webhook 4.2: 405 where the handshake is not known: {answer:?}"
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.output, [event.as_str(), event.as_str()]);
}

/// What a binary message has to look like: members of the event beyond the required ones, header, body.
struct Sent {
    clause: &'static str,
    rule: &'static str,
    members: &'static str,
    headers: &'static [(&'static str, Option<&'static str>)],
    body: &'static [u8],
}

#[expect(clippy::too_many_lines, reason = "a table, a row a clause")]
fn sender_rows() -> Vec<Sent> {
    let row = |clause, rule, members, headers, body| Sent {
        clause,
        rule,
        members,
        headers,
        body,
    };
    vec![
        row(
            "http 3.1.1",
            "datacontenttype is Content-Type and no other header",
            r#","datacontenttype":"application/x+json;a=b","data":{"a": 1.50}"#,
            &[
                ("content-type", Some("application/x+json;a=b")),
                ("ce-datacontenttype", None),
            ],
            br#"{"a": 1.50}"#,
        ),
        row(
            "json 3.1.2",
            "JSON data without a type says that it is JSON",
            r#","data":"text""#,
            &[("content-type", Some("application/json"))],
            br#""text""#,
        ),
        row(
            "http 3.1.2",
            "text is sent as it is",
            r#","datacontenttype":"text/plain","data":"a\n\"b\"""#,
            &[("content-type", Some("text/plain"))],
            b"a\n\"b\"",
        ),
        row(
            "json 3.1.2",
            "base64 is decoded",
            r#","datacontenttype":"application/x","data_base64":"AP8=""#,
            &[
                ("content-type", Some("application/x")),
                ("ce-data_base64", None),
            ],
            &[0, 255],
        ),
        row(
            "http 3.1.2",
            "no data is no body",
            "",
            &[("content-type", None)],
            b"",
        ),
        row(
            "http 3.1.3",
            "every attribute has its header",
            r#","subject":"s","time":"2018-04-05T03:56:24Z","dataschema":"http://x/y""#,
            &[
                ("ce-specversion", Some("1.0")),
                ("ce-type", Some("t")),
                ("ce-source", Some("/s")),
                ("ce-subject", Some("s")),
                ("ce-time", Some("2018-04-05T03:56:24Z")),
                ("ce-dataschema", Some("http://x/y")),
            ],
            b"",
        ),
        row(
            "http 3.1.3",
            "extensions, too, in their canonical form",
            r#","flag":true,"number":-42,"text":"x""#,
            &[
                ("ce-flag", Some("true")),
                ("ce-number", Some("-42")),
                ("ce-text", Some("x")),
            ],
            b"",
        ),
        row(
            "json 2.2",
            "null is not sent",
            r#","subject":null"#,
            &[("ce-subject", None)],
            b"",
        ),
        row(
            "http 3.1.3.2",
            "what is not printable ASCII is percent-encoded",
            r#","subject":"Euro € 😀""#,
            &[("ce-subject", Some("Euro%20%E2%82%AC%20%F0%9F%98%80"))],
            b"",
        ),
        row(
            "http 3.1.3.2",
            "so are space, quote and percent, and nothing else",
            r#","subject":" \"%~!\u0041""#,
            &[("ce-subject", Some("%20%22%25~!A"))],
            b"",
        ),
    ]
}

fn sender_config(receiver: &HttpReceiver) -> String {
    let sink = |mode: &str| {
        let address = receiver.address;
        format!("  {mode}: {{ type: http, url: \"http://{address}/{mode}\", mode: {mode} }}\n")
    };
    let moved = sink("structured")
        .replace("structured:", "moved:")
        .replace("/structured", "/moved");
    format!(
        "service: {{ name: conformance }}\nsources:\n  lines: {{ type: stdin }}\nhandlers:\n  all: {{ on: t, type: pass, to: [binary, structured, batched] }}\n  lost: {{ on: moved, type: pass, to: [moved] }}\nsinks:\n{}{}{}{moved}",
        sink("binary"),
        sink("structured"),
        sink("batched"),
    )
}

#[test]
fn events_are_sent_as_the_specifications_say() {
    let receiver = HttpReceiver::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start_in(folder, &sender_config(&receiver), Stdio::piped());
    let rows = sender_rows();
    let line = |(id, row): (usize, &Sent)| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"{}}}"#,
            row.members
        )
    };
    let lines: Vec<String> = rows.iter().enumerate().map(line).collect();
    let mut input = process.input();
    for line in &lines {
        writeln!(input, "{line}").expect("written");
    }
    let moved = r#"{"specversion":"1.0","id":"m","source":"/s","type":"moved"}"#;
    writeln!(input, "{moved}").expect("written");
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    let mut requests: HashMap<String, Vec<Received>> = HashMap::new();
    for request in receiver.rest() {
        assert_eq!(request.method, "POST", "webhook 2.1: deliveries are POST");
        requests
            .entry(request.path.clone())
            .or_default()
            .push(request);
    }
    let mut failures = Vec::new();
    for (id, row) in rows.iter().enumerate() {
        let is_it = |request: &&Received| request.header("ce-id") == Some(&id.to_string());
        let request = requests["/binary"].iter().find(is_it).expect("a request");
        let differs = |(name, value): &&(&str, Option<&str>)| request.header(name) != *value;
        if request.body != row.body || row.headers.iter().any(|header| differs(&header)) {
            failures.push(format!("{}: {}: {request:?}", row.clause, row.rule));
        }
    }
    for request in &requests["/structured"] {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let media_type = request.header("content-type").unwrap_or_default();
        if !media_type.starts_with("application/cloudevents+json") || !lines.contains(&body) {
            failures.push(format!(
                "http 3.2, json 3: the event as it came: {request:?}"
            ));
        }
    }
    let mut batched = 0;
    for request in &requests["/batched"] {
        let media_type = request.header("content-type").unwrap_or_default();
        let events: Vec<Value> = serde_json::from_slice(&request.body).unwrap_or_default();
        batched += events.len();
        if !media_type.starts_with("application/cloudevents-batch+json") || events.is_empty() {
            failures.push(format!("http 3.3, json 4: a non-empty array: {request:?}"));
        }
    }
    assert_eq!(batched, rows.len(), "http 3.3: every event once");
    assert!(
        !requests.contains_key("/elsewhere"),
        "webhook 2.2: redirects are not followed"
    );
    assert_eq!(requests["/moved"].len(), 1);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
