//! Handlers that fail in the real binary: who waits, who does not, and what becomes of a poison event.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::collections::HashMap;

use folder::Folder;
use metrics::Metrics;
use process::{Ended, Process};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

fn line(id: usize, subject: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t","subject":"{subject}","data":{id}}}"#
    )
}

fn config(folder: &Folder, events: &[String], handler: Value) -> String {
    json!({
        "service": { "drain_timeout": "300ms", "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "file", "path": folder.write("in.ndjson", events), "follow": false } },
        "handlers": { "tried": handler },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    })
    .to_string()
}

fn run(folder: &Folder, events: &[String], handler: Value) -> Ended {
    Process::start(&config(folder, events, handler)).wait()
}

fn numbers(folder: &Folder) -> Vec<u64> {
    let number = |event: &Value| event["data"].as_u64().expect("a number");
    folder.events("out").iter().map(number).collect()
}

#[test]
fn a_command_that_dies_of_an_event_loses_that_event_only() {
    let folder = Folder::new();
    let events: Vec<String> = (0..300)
        .map(|id| line(id, if id == 77 { "poison" } else { "s" }))
        .collect();
    let script = "while IFS= read -r line; do case $line in *poison*) exit 3;; esac; printf '%s\\n' \"$line\"; done";
    let handler = json!({
        "on": "t", "type": "exec", "command": ["sh", "-c", script], "key": "source", "to": ["out"],
        "supervision": { "attempts": 3, "backoff": { "min": "1ms", "max": "2ms" } },
    });
    let ended = run(&folder, &events, handler);
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.tried", "error"), 1);
    let expected: Vec<u64> = (0..300).filter(|number| *number != 77).collect();
    assert_eq!(numbers(&folder), expected);
    let summary = ended.records("handler summary")[0];
    assert_eq!(
        (&summary["errors"], &summary["dead_lettered"]),
        (&json!(3), &json!(1))
    );
}

#[test]
fn a_program_that_does_not_exist_makes_dead_letters_and_harms_nobody_else() {
    let folder = Folder::new();
    let events: Vec<String> = (0..50).map(|id| line(id, "s")).collect();
    let mut config: Value = folder::event(&config(
        &folder,
        &events,
        json!({ "on": "t", "type": "pass", "to": ["out"] }),
    ));
    config["handlers"]["missing"] = json!({
        "on": "t", "type": "exec", "command": ["./no-such-program"], "to": ["out"], "supervision": { "attempts": 1 },
    });
    let ended = Process::start(&config.to_string()).wait();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.missing", "error"), 50);
    assert_eq!(numbers(&folder), (0..50).collect::<Vec<u64>>());
}

#[test]
fn what_follows_an_event_that_is_tried_again_waits_for_it() {
    let tries = std::sync::Mutex::new(HashMap::<String, usize>::new());
    let receiver = Receiver::start(move |request, _| {
        let mut tries = tries.lock().expect("no panic inside");
        let tried = tries.entry(request.body.clone()).or_default();
        *tried += 1;
        let event = folder::event(&request.body);
        match event["data"].as_u64().expect("a number") {
            7 => answer("400 Bad Request", "text/plain", "never"),
            number if number % 10 == 3 && *tried < 3 => {
                answer("503 Unavailable", "text/plain", "busy")
            }
            _ => answer("200 OK", "application/cloudevents+json", &request.body),
        }
    });
    let folder = Folder::new();
    let events: Vec<String> = (0..100).map(|id| line(id, "s")).collect();
    let handler = json!({
        "on": "t", "type": "http", "url": receiver.url(), "to": ["out"],
        "supervision": { "attempts": 3, "backoff": { "min": "1ms", "max": "2ms" } },
    });
    let ended = run(&folder, &events, handler);
    ended.assert_drained();
    let expected: Vec<u64> = (0..100).filter(|number| *number != 7).collect();
    assert_eq!(numbers(&folder), expected);
    assert_eq!(receiver.requests().len(), 100 + 2 * 10);
    assert_eq!(ended.dead_letters("handler.tried", "error"), 1);
}

#[test]
fn an_event_that_waits_for_its_next_attempt_holds_up_its_lane_only() {
    let receiver = Receiver::start(|request, _| match request.body.contains("poison") {
        true => answer("503 Unavailable", "text/plain", "busy"),
        false => answer("204 No Content", "text/plain", ""),
    });
    let folder = Folder::new();
    let mut events = vec![line(0, "poison")];
    events.extend((1..400).map(|id| line(id, &format!("k{id}"))));
    let handler = json!({
        "on": "t", "type": "http", "url": receiver.url(), "concurrency": 4, "to": ["out"],
        "supervision": { "attempts": 3, "backoff": { "min": "1h", "max": "1h" } },
    });
    let mut process = Process::start(&config(&folder, &events, handler));
    let admin = process.admin();
    // About three lanes' share of the events.
    process.until("the other lanes' events", || {
        Metrics::of(admin).source("accepted", "in") == 400.0 && receiver.requests().len() > 250
    });
    let asked = receiver.requests();
    let poison = asked.iter().filter(|asked| asked.body.contains("poison"));
    assert_eq!(poison.count(), 2, "the first retry comes at once");
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
    let last = ended.logs.last().expect("a log").to_string();
    assert!(last.contains("events unfinished"), "{last}");
    assert_eq!(ended.summary()["balanced"], true);
}

#[test]
fn a_handler_that_hangs_is_given_up_on_after_its_timeouts() {
    let script = "while IFS= read -r line; do case $line in *'\"id\":\"1\"'*) exec tail -f /dev/null;; esac; printf '%s\\n' \"$line\"; done";
    let backoff = json!({ "min": "1ms", "max": "2ms" });
    let own = json!({
        "on": "t", "type": "exec", "command": ["sh", "-c", script], "timeout": "100ms", "to": ["out"],
        "supervision": { "attempts": 2, "backoff": backoff },
    });
    let of_supervision = json!({
        "on": "t", "type": "exec", "command": ["sh", "-c", script], "to": ["out"],
        "supervision": { "attempts": 2, "deadline": "100ms", "backoff": backoff },
    });
    for handler in [own, of_supervision] {
        let folder = Folder::new();
        let events: Vec<String> = (0..3).map(|id| line(id, "s")).collect();
        let ended = run(&folder, &events, handler);
        ended.assert_drained();
        assert_eq!(ended.dead_letters("handler.tried", "timeout"), 1);
        assert_eq!(numbers(&folder), [0, 2]);
    }
}
