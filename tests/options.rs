//! What single options change in the real binary, where no other test changes them: `docs/tested-options.md` names one for each.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::io::Write;
use std::process::Stdio;

use process::{Ended, Process, ids, request};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

fn event(id: &str, more: &Value) -> String {
    let mut event = json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t" });
    let (Value::Object(event), Value::Object(more)) = (&mut event, more) else {
        panic!("an object");
    };
    event.extend(more.clone());
    Value::Object(event.clone()).to_string()
}

/// A config of these parts: events come in by `source`, pass `handler`, and leave by `sink`.
fn config(source: Value, handler: Value, sink: Value, more: Value) -> String {
    let mut config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": source },
        "handlers": { "work": handler },
        "sinks": { "out": sink },
    });
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config.to_string()
}

fn pass() -> Value {
    json!({ "type": "pass", "on": ">", "to": "out" })
}

/// Runs a config on lines of standard input until they are through.
fn run(config: &str, lines: &[String]) -> Ended {
    let mut process = Process::start_fed(config);
    let mut input = process.input();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    process.wait()
}

/// One event of 1.5 KiB, and a small one.
fn large_and_small() -> [String; 2] {
    let data = json!({ "data": "x".repeat(1500) });
    [event("large", &data), event("small", &json!({}))]
}

#[test]
fn max_event_refuses_what_is_longer() {
    for (source, more) in [
        ("stdin", json!({})),
        ("file", json!({ "path": "in.ndjson" })),
    ] {
        for (max_event, expected) in [("1KiB", &["small"][..]), ("2KiB", &["large", "small"])] {
            let mut options = json!({ "type": source, "max_event": max_event });
            options
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            let config = config(options, pass(), json!({ "type": "stdout" }), json!({}));
            let folder = tempfile::tempdir().expect("a folder");
            let text = large_and_small().join("\n") + "\n";
            let path = folder.path().join("in.ndjson");
            std::fs::write(&path, &text).expect("written");
            let input = Stdio::from(std::fs::File::open(&path).expect("a file"));
            let ended = Process::start_in(folder, &config, input).wait();
            assert_eq!(ids(&ended.output), expected, "{source} {max_event}");
        }
    }
}

#[test]
fn max_event_of_tcp_refuses_what_is_longer() {
    for (max_event, refused) in [("1KiB", 1), ("2KiB", 0)] {
        let source = json!({ "type": "tcp", "listen": "127.0.0.1:0", "max_event": max_event });
        let mut process = Process::start(&config(
            source,
            pass(),
            json!({ "type": "stdout" }),
            json!({}),
        ));
        let mut stream = process::connect(process.address("in"));
        let text = large_and_small().join("\n") + "\n";
        stream.write_all(text.as_bytes()).expect("sent");
        // the small one comes second, so that the large one is through once it is there
        let mut seen = vec![process.line()];
        while !seen[seen.len() - 1].contains("small") {
            seen.push(process.line());
        }
        assert_eq!(seen.len(), 2 - refused, "{max_event}");
        drop(stream);
        process.stop().assert_drained();
    }
}

#[test]
fn path_max_event_and_max_body_of_http_say_where_and_how_much() {
    let source = json!({
        "type": "http", "listen": "127.0.0.1:0", "path": "/in", "max_event": "1KiB", "max_body": "4KiB",
    });
    let mut process = Process::start(&config(
        source,
        pass(),
        json!({ "type": "blackhole" }),
        json!({}),
    ));
    let address = process.address("in");
    let post = |path: &str, body: &str| {
        let headers = [("content-type", "application/cloudevents+json")];
        request(address, "POST", path, &headers, body.as_bytes()).status
    };
    let [large, small] = large_and_small();
    assert_eq!(post("/in", &small), 202);
    assert_eq!(post("/events", &small), 404);
    assert_eq!(post("/in", &large), 413);
    assert_eq!(post("/in", &"x".repeat(5000)), 413);
    process.stop().assert_drained();
}

#[test]
fn only_names_the_events_that_a_fault_happens_to() {
    let lines: Vec<String> = [
        ("a", json!({ "source": "/other" })),
        ("b", json!({ "type": "other" })),
        ("c", json!({ "subject": "other" })),
        ("d", json!({})),
    ]
    .iter()
    .map(|(id, more)| event(id, more))
    .collect();
    for (key, value, left) in [
        ("source", "/other", ["b", "c", "d"]),
        ("type", "other", ["a", "c", "d"]),
        ("subject", "other", ["a", "b", "d"]),
        ("id", "d", ["a", "b", "c"]),
    ] {
        let fault = json!({ "at": "handler.work", "error": "permanent", "only": { key: value } });
        let faults = json!({ "faults": { "inject": [fault] } });
        let source = json!({ "type": "stdin" });
        let ended = run(
            &config(source, pass(), json!({ "type": "stdout" }), faults),
            &lines,
        );
        assert_eq!(ids(&ended.output), left, "{key}");
    }
}

#[test]
fn the_time_of_an_envelope_is_that_of_the_event() {
    let time = "2026-01-02T03:04:05Z";
    let envelope = json!({ "type": "'t'", "source": "'/s'", "time": "line.at" });
    for (envelope, expected) in [
        (envelope, json!(time)),
        (json!({ "type": "'t'", "source": "'/s'" }), Value::Null),
    ] {
        let source = json!({ "type": "stdin", "envelope": envelope });
        let lines = [json!({ "at": time }).to_string()];
        let ended = run(
            &config(source, pass(), json!({ "type": "stdout" }), json!({})),
            &lines,
        );
        let event: Value = serde_json::from_str(&ended.output[0]).expect("JSON");
        assert_eq!(event["time"], expected);
    }
}

#[test]
fn emit_of_exec_names_the_type_of_plain_answers() {
    for (emit, expected) in [(json!("t.scored"), "t.scored"), (Value::Null, "t")] {
        let command = json!([
            "sh",
            "-c",
            "while read -r line; do echo '{\"score\":1}'; done"
        ]);
        let mut handler = json!({ "type": "exec", "on": "t", "to": "out", "command": command });
        if emit.is_string() {
            handler["emit"] = emit;
        }
        let source = json!({ "type": "stdin" });
        let lines = [event("1", &json!({}))];
        let ended = run(
            &config(source, handler, json!({ "type": "stdout" }), json!({})),
            &lines,
        );
        let event: Value = serde_json::from_str(&ended.output[0]).expect("JSON");
        assert_eq!(event["type"], expected);
    }
}

#[test]
fn headers_of_sinks_and_handlers_are_sent() {
    let ok = |_: &stub_server::Request, _: usize| answer("204 No Content", "", "");
    let (sink, component) = (Receiver::start(ok), Receiver::start(ok));
    let out = json!({ "type": "http", "url": sink.url(), "headers": { "x-key": "of-the-sink" } });
    let handler = json!({ "type": "http", "on": "t", "to": "out", "url": component.url(), "headers": { "x-key": "of-the-handler" } });
    let more = json!({ "handlers": { "call": handler, "keep": pass() } });
    run(
        &config(json!({ "type": "stdin" }), pass(), out, more),
        &[event("1", &json!({}))],
    )
    .assert_drained();
    let key = |receiver: &Receiver| {
        let requests = receiver.requests();
        requests[0].header("x-key").map(str::to_owned)
    };
    assert_eq!(key(&sink).as_deref(), Some("of-the-sink"));
    assert_eq!(key(&component).as_deref(), Some("of-the-handler"));
}

#[test]
fn max_elapsed_of_tcp_gives_up_after_its_time() {
    let retry = json!({ "max_elapsed": "20ms", "min": "1ms", "max": "2ms" });
    let sink = json!({ "type": "tcp", "address": "127.0.0.1:1", "retry": retry });
    let ended = run(
        &config(json!({ "type": "stdin" }), pass(), sink, json!({})),
        &[event("1", &json!({}))],
    );
    assert_eq!(ended.source("in")["finished"], 1);
    assert_eq!(ended.status.code(), Some(0), "{:?}", ended.logs);
}

#[test]
fn what_is_wrong_with_a_config_is_in_a_json_log_as_records() {
    let sink = json!({ "type": "blackhole" });
    let wrong = config(
        json!({ "type": "stdinn" }),
        pass(),
        sink,
        json!({ "sevice": {} }),
    );
    let ended = Process::start(&wrong).wait();
    assert_eq!(ended.status.code(), Some(78));
    let told: Vec<[&str; 3]> = ended
        .logs
        .iter()
        .map(|record| ["level", "message", "help"].map(|key| record[key].as_str().expect(key)))
        .collect();
    let expected = [
        [
            "ERROR",
            "`sources.in`: unknown source type `stdinn`",
            "did you mean `stdin`? source types are `http`, `stdin`, `tcp`, `file` and `generate`",
        ],
        [
            "ERROR",
            "unknown key `sevice`",
            "did you mean `service`? valid keys are `service`, `sources`, `handlers`, `sinks`, `routing`, \
             `supervision`, `dead_letters`, `journal`, `dedupe`, `reload`, `faults` and `tests`",
        ],
    ];
    assert_eq!(told, expected);
    for record in &ended.logs {
        let place = record["place"].as_str().expect("a place");
        assert!(place.starts_with("veltrix.yaml:1:"), "{place}");
    }
}
