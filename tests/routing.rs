//! The router through the real binary: who gets which event, what results are called, and what becomes of the rest.

#[path = "support/folder.rs"]
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

use std::collections::{HashMap, HashSet};

use folder::{Folder, event};
use metrics::Metrics;
use process::{Ended, Process};
use serde_json::{Value, json};

fn line(id: usize, event_type: &str, subject: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{event_type}","subject":"{subject}","data":{data}}}"#
    )
}

/// Runs a config over a file of events until it has drained.
fn run(folder: &Folder, events: &[String], config: Value) -> Ended {
    Process::start(&with_input(folder, events, false, config)).wait()
}

fn with_input(folder: &Folder, events: &[String], follow: bool, mut config: Value) -> String {
    let path = folder.write("in.ndjson", events);
    config["sources"]["in"] = json!({ "type": "file", "path": path, "follow": follow });
    config.to_string()
}

fn file(folder: &Folder, name: &str) -> Value {
    json!({ "type": "file", "path": folder.path(name) })
}

fn pass(on: &str, to: &str) -> Value {
    json!({ "on": on, "type": "pass", "to": [to] })
}

const GITHUB: [(&str, &str); 5] = [
    ("push", "com.github.push"),
    ("pull-requests", "com.github.pull_request.*"),
    ("issues", "com.github.issues.*"),
    ("comments", "com.github.issue_comment.*"),
    ("all", "com.github.>"),
];

/// What each of the patterns above stands for, told in another way.
fn wants(handler: &str, event_type: &str) -> bool {
    let segments: Vec<&str> = event_type.split('.').collect();
    match (handler, &segments[..]) {
        ("push", ["com", "github", "push"])
        | ("pull-requests", ["com", "github", "pull_request", _])
        | ("issues", ["com", "github", "issues", _])
        | ("comments", ["com", "github", "issue_comment", _]) => true,
        ("all", ["com", "github", rest @ ..]) => !rest.is_empty(),
        _ => false,
    }
}

/// Events like those of a code host, with data that no re-serialisation would leave alone.
fn github_events() -> Vec<String> {
    let types = [
        "com.github.push",
        "com.github.pull_request.opened",
        "com.github.issues.closed",
        "com.github.issue_comment.created",
        "com.github.watch.started",
        "com.github.delete",
        "com.github.issues",
        "com.github.pull_request.review.submitted",
    ];
    (0..800)
        .map(|id| {
            let data = format!(
                r#"{{"n": {id}.50, "e":1E5,"big":123456789012345678901234567890, "u":"\u00e9é\/","dup":1,"dup":2 , "nested":[ [],{{ }} ]}}"#
            );
            line(id, types[id * 7 % types.len()], "repo", &data)
        })
        .collect()
}

fn github_config(folder: &Folder) -> Value {
    let mut config = json!({ "handlers": {}, "sinks": {} });
    for (name, on) in GITHUB {
        config["handlers"][name] = pass(on, name);
        config["sinks"][name] = file(folder, name);
    }
    config
}

#[test]
fn events_reach_every_handler_whose_pattern_matches_byte_for_byte() {
    let events = match std::env::var("VELTRIX_GITHUB_EVENTS") {
        Ok(path) => {
            let text = std::fs::read_to_string(&path).expect(&path);
            text.lines().map(str::to_owned).collect()
        }
        Err(_) => github_events(),
    };
    let folder = Folder::new();
    let ended = run(&folder, &events, github_config(&folder));
    ended.assert_drained();
    let mut delivered = 0;
    for (handler, _) in GITHUB {
        let is_wanted =
            |line: &&String| wants(handler, event(line)["type"].as_str().expect("a type"));
        let expected: Vec<&String> = events.iter().filter(is_wanted).collect();
        let found = folder.lines(handler);
        assert_eq!(found.len(), expected.len(), "{handler}");
        assert!(found.iter().eq(expected), "{handler}: other bytes or order");
        delivered += found.len();
    }
    let summary = ended.summary();
    assert_eq!(
        (&summary["accepted"], &summary["delivered"]),
        (&json!(events.len()), &json!(delivered))
    );
    assert_eq!(ended.source("in")["unfinished"], 0);
}

#[test]
fn a_part_of_a_segment_is_no_pattern() {
    let folder = Folder::new();
    let mut config = github_config(&folder);
    config["handlers"]["issues"]["on"] = json!("com.github.issue*");
    let path = folder.write(
        "veltrix.yaml",
        &[with_input(&folder, &[], false, config.clone())],
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["validate", "-c", &path])
        .output()
        .expect("the binary");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for part in ["com.github.issue*", "`order.*.paid`", "`order.>`"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let ended = run(&folder, &[], config);
    assert_eq!(ended.status.code(), Some(78), "{:#?}", ended.logs);
}

fn numbered(count: usize) -> Vec<String> {
    (0..count)
        .map(|id| line(id, "n", "s", &format!(r#"{{"n":{id}}}"#)))
        .collect()
}

#[test]
fn unmatched_events_become_dead_letters() {
    let folder = Folder::new();
    let config = json!({
        "handlers": { "other": pass("other", "out") },
        "sinks": { "out": file(&folder, "out") },
    });
    let ended = run(&folder, &numbered(2_500), config);
    ended.assert_drained();
    assert_eq!(ended.dead_letters("router", "unroutable"), 2_500);
    assert_eq!(ended.source("in")["finished"], 2_500);
}

#[test]
fn unmatched_events_are_dropped_and_counted_where_the_config_says_so() {
    let folder = Folder::new();
    let config = json!({
        "handlers": { "other": pass("other", "out") },
        "sinks": { "out": file(&folder, "out") },
        "routing": { "unmatched": "drop" },
    });
    let ended = run(&folder, &numbered(2_500), config);
    ended.assert_drained();
    assert_eq!(ended.summary()["dropped"], 2_500);
    assert_eq!(ended.summary()["dead_lettered"], 0);
    assert_eq!(ended.records("dropped by rule")[0]["rule"], "unmatched");
}

#[test]
fn unmatched_events_go_to_the_sink_that_the_config_names() {
    let folder = Folder::new();
    let config = json!({
        "handlers": {
            "other": pass("other", "out"),
            "few": { "on": "n", "when": "data.n < 100", "type": "pass", "to": ["out"] },
        },
        "sinks": { "out": file(&folder, "out"), "rest": file(&folder, "rest") },
        "routing": { "unmatched": "rest" },
    });
    let mut events = numbered(2_500);
    events.push(line(2_500, "nobody.wants", "s", "1"));
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    assert_eq!(folder.lines("out"), events[..100]);
    let rest: HashSet<String> = folder.lines("rest").into_iter().collect();
    assert_eq!(rest, events[100..].iter().cloned().collect());
}

#[test]
fn an_event_that_every_condition_refuses_is_unmatched_and_one_that_any_takes_is_not() {
    let folder = Folder::new();
    let when = |condition: &str, to: &str, lanes: usize| json!({ "on": "n", "when": condition, "type": "pass", "to": [to], "lanes": lanes });
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "handlers": {
            "three": when("data.n % 3 == 0", "three", 4),
            "five": when("data.n % 5 == 0", "five", 1),
            "never": when("data.n < 0", "three", 2),
        },
        "sinks": { "three": file(&folder, "three"), "five": file(&folder, "five"), "rest": file(&folder, "rest") },
        "routing": { "unmatched": "rest" },
    });
    let mut events = numbered(3_000);
    // Neither has what the conditions look at.
    events.push(line(3_000, "n", "s", "{}"));
    events.push(line(3_001, "n", "s", "7"));
    let mut process = Process::start(&with_input(&folder, &events, true, config));
    let admin = process.admin();
    process.until("the last event's end", || {
        Metrics::of(admin).source("finished", "in") == 3_002.0
    });
    let metrics = Metrics::of(admin);
    for handler in ["three", "five", "never"] {
        assert_eq!(metrics.handler("received", handler), 3_002.0);
        assert_eq!(metrics.handler("missing_paths", handler), 2.0);
    }
    assert_eq!(metrics.handler("filtered", "three"), 2_002.0);
    assert_eq!(metrics.get("veltrix_source_in_flight{source=\"in\"}"), 0.0);
    process.stop().assert_drained();
    let rest = folder.events("rest");
    assert_eq!(folder.lines("three").len(), 1_000);
    assert_eq!(folder.lines("five").len(), 600);
    assert_eq!(rest.len(), 3_002 - 1_000 - 600 + 200);
    let is_taken = |n: u64| n.is_multiple_of(3) || n.is_multiple_of(5);
    assert!(
        !rest
            .iter()
            .any(|event| event["data"]["n"].as_u64().is_some_and(is_taken))
    );
}

#[test]
fn events_of_one_key_keep_their_order_over_four_lanes() {
    let folder = Folder::new();
    let events: Vec<String> = (0..6_000)
        .map(|id| line(id, "n", &format!("k{}", id % 37), &id.to_string()))
        .collect();
    let config = json!({
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["out"], "lanes": 4 } },
        "sinks": { "out": file(&folder, "out") },
    });
    run(&folder, &events, config).assert_drained();
    let mut last: HashMap<String, u64> = HashMap::new();
    let found = folder.events("out");
    assert_eq!(found.len(), 6_000);
    for event in found {
        let number = event["data"].as_u64().expect("a number");
        let key = event["subject"].as_str().expect("a subject").to_owned();
        let before = last.insert(key, number);
        assert!(before.is_none_or(|before| before < number), "{event}");
    }
}

#[test]
fn results_go_round_and_name_their_causes() {
    let folder = Folder::new();
    let step = |on: &str, emit: &str, to: Value| json!({ "on": on, "type": "map", "set": { "data.step": format!("'{emit}'") }, "emit": emit, "to": to });
    let config = json!({
        "service": { "name": "chain" },
        "handlers": {
            "first": step("a", "b", json!(["router"])),
            "second": step("b", "c", json!(["seen", "router"])),
            "third": pass("c", "out"),
        },
        "sinks": { "seen": file(&folder, "seen"), "out": file(&folder, "out") },
    });
    let events: Vec<String> = (0..3_000)
        .map(|id| line(id, "a", "s", r#"{"kept": 1.0}"#))
        .collect();
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    let (seen, out) = (folder.lines("seen"), folder.lines("out"));
    assert_eq!(seen.len(), 3_000);
    assert_eq!(seen, out);
    for (id, line) in seen.iter().enumerate() {
        let event = event(line);
        assert_eq!(event["id"], format!("{id}.first.0.second.0"));
        assert_eq!(event["source"], "/veltrix/chain/second");
        assert_eq!(event["type"], "c");
        assert_eq!(event["causationid"], format!("{id}.first.0"));
        assert_eq!(event["correlationid"], id.to_string());
        assert_eq!(event["subject"], "s");
        assert!(line.contains(r#""kept": 1.0"#), "{line}");
    }
    assert_eq!(ended.summary()["accepted"], 3_000);
    assert_eq!(ended.source("in")["finished"], 3_000);
}

#[test]
fn an_edited_event_keeps_its_attributes_wherever_they_stand() {
    let folder = Folder::new();
    let config = json!({
        "handlers": { "edit": { "on": "t", "type": "map", "set": { "data.total": "data.n * 2" }, "to": ["out"] } },
        "sinks": { "out": file(&folder, "{type}-{subject}") },
    });
    let head = r#"{"specversion":"1.0","type":"t","data":{"n":4},"#;
    let tail = r#""subject":"after","id":"1","source":"/s"}"#;
    let mut events = vec![format!("{head}{tail}")];
    events.push(line(2, "t", "before", r#"{"n":4}"#));
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    assert_eq!(ended.summary()["dead_lettered"], 0);
    let expected = |line: &String| [line.replace(r#"{"n":4}"#, r#"{"n":4,"total":8}"#)];
    assert_eq!(folder.lines("t-after"), expected(&events[0]));
    assert_eq!(folder.lines("t-before"), expected(&events[1]));
}

#[test]
fn a_loop_that_only_shows_at_run_time_ends_as_dead_letters() {
    let folder = Folder::new();
    let config = json!({
        "service": { "max_hops": 5 },
        "handlers": { "echo": { "on": "a", "type": "exec", "command": ["cat"], "to": ["router", "out"] } },
        "sinks": { "out": file(&folder, "out") },
    });
    let events: Vec<String> = (0..20).map(|id| line(id, "a", "s", "1")).collect();
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    assert_eq!(ended.dead_letters("router", "loop"), 20);
    assert_eq!(folder.lines("out").len(), 20 * 6);
    assert_eq!(ended.source("in")["finished"], 20);
}

#[test]
fn a_result_is_delivered_to_all_sinks_of_its_handler() {
    let folder = Folder::new();
    let config = json!({
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["a", "b", "c"] }, "again": pass("n", "a") },
        "sinks": { "a": file(&folder, "a"), "b": file(&folder, "b"), "c": file(&folder, "c") },
    });
    let events = numbered(2_000);
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    assert_eq!(folder.lines("b"), events);
    assert_eq!(folder.lines("c"), events);
    assert_eq!(folder.lines("a").len(), 4_000);
    assert_eq!(ended.summary()["delivered"], 8_000);
}

#[test]
fn a_result_has_the_same_id_however_often_its_event_was_tried() {
    let receiver = stub_server::Receiver::start(|_, number| match number % 3 {
        2 => stub_server::answer("200 OK", "application/json", r#"{"ok":true}"#),
        _ => stub_server::answer("503 Unavailable", "text/plain", "not yet"),
    });
    let folder = Folder::new();
    let config = json!({
        "service": { "name": "shop" },
        "handlers": { "ask": {
            "on": "n", "type": "http", "url": receiver.url(), "emit": "answered", "concurrency": 1, "to": ["out"],
            "supervision": { "attempts": 3, "backoff": { "min": "1ms", "max": "2ms" } },
        } },
        "sinks": { "out": file(&folder, "out") },
    });
    run(&folder, &numbered(10), config).assert_drained();
    let found = folder.events("out");
    assert_eq!(found.len(), 10);
    for (id, event) in found.iter().enumerate() {
        assert_eq!(event["id"], format!("{id}.ask.0"));
        assert_eq!(event["source"], "/veltrix/shop/ask");
        assert_eq!(event["causationid"], id.to_string());
    }
    let bodies: HashMap<String, usize> =
        receiver
            .requests()
            .iter()
            .fold(HashMap::new(), |mut counts, request| {
                *counts.entry(request.body.clone()).or_default() += 1;
                counts
            });
    assert!(bodies.values().all(|tries| *tries == 3), "{bodies:?}");
}

#[test]
fn more_types_than_the_table_holds_are_still_routed() {
    let folder = Folder::new();
    let config = json!({
        "handlers": { "even": pass("even.*", "even"), "all": pass(">", "all") },
        "sinks": { "even": file(&folder, "even"), "all": { "type": "blackhole" } },
    });
    let events: Vec<String> = (0..100_100)
        .map(|id| {
            line(
                id,
                &format!("{}.t{id}", if id % 2 == 0 { "even" } else { "odd" }),
                "s",
                "1",
            )
        })
        .collect();
    let ended = run(&folder, &events, config);
    ended.assert_drained();
    assert!(folder.lines("even").iter().eq(events.iter().step_by(2)));
    assert_eq!(ended.summary()["delivered"], 150_150);
}
