//! What sinks do when their receiver or their disk does not take what they have, against the real binary.

#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
mod stub_server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::Metrics;
use process::{Process, request};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

/// Events of a generator, and a source that keeps the process up.
fn config(count: usize, sinks: &Value) -> String {
    let names: Vec<&String> = sinks.as_object().expect("sinks").keys().collect();
    json!({
        "service": { "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "10s" },
        "sources": {
            "load": { "type": "generate", "rate": "max", "count": count },
            "idle": { "type": "tcp", "listen": "127.0.0.1:0" },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": names } },
        "sinks": sinks,
    })
    .to_string()
}

fn readiness(admin: SocketAddr) -> String {
    let answer = request(admin, "GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The actor of the sink called `out`, as `/api/tree` shows it.
fn shown(admin: SocketAddr) -> Value {
    let answer = request(admin, "GET", "/api/tree", &[], b"");
    let tree: Value = serde_json::from_str(&answer.body).expect("JSON");
    let below = |nodes: &Value, name: &str| {
        let mut nodes = nodes.as_array().expect("actors").iter();
        let node = nodes.find(|node| node["name"] == name).cloned();
        node.unwrap_or_else(|| panic!("no {name} in {tree}"))
    };
    below(&below(&tree["actors"], "sinks")["children"], "out")
}

fn ids_by_subject(receiver: &Receiver, from: usize) -> BTreeMap<String, Vec<u64>> {
    let mut ids: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in &receiver.requests()[from..] {
        let event: Value = serde_json::from_str(&request.body).expect("an event");
        let text = |name: &str| event[name].as_str().expect("a text").to_owned();
        let id = text("id").rsplit(['-', '.']).next().map(str::parse);
        let id = id.expect("a number").expect("a number");
        ids.entry(text("subject")).or_default().push(id);
    }
    ids
}

#[test]
fn a_receiver_that_knows_us_no_more_pauses_the_sink_until_it_does_and_nothing_is_given_up() {
    for status in ["401 Unauthorized", "403 Forbidden", "407 Proxy"] {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = Arc::clone(&is_mended);
        let receiver = Receiver::start(move |_, _| match mended.load(Ordering::Acquire) {
            false => answer(status, "text/plain", "who are you"),
            true => answer("202 Accepted", "text/plain", ""),
        });
        let sinks = json!({
            "out": { "type": "http", "url": receiver.url(), "retry": { "max_elapsed": "1ms" } },
            "other": { "type": "file", "path": "out.ndjson" },
        });
        let mut process = Process::start(&config(100, &sinks));
        let admin = process.admin();
        process.running();
        let paused = "the receiver takes nothing from the sink, it is paused; its events wait";
        let record = process.log(|record| record["message"] == paused);
        assert_eq!(
            (&record["level"], &record["sink"]),
            (&json!("WARN"), &json!("out"))
        );
        process.until("a word about the sink", || {
            readiness(admin) == "degraded: sinks/out paused\n"
        });
        let sink = shown(admin);
        assert_eq!(sink["state"], "paused");
        let reason = sink["last_failure"]["reason"].as_str().expect("a reason");
        assert!(
            reason.contains(status) && reason.contains("who are you"),
            "{reason}"
        );
        assert_eq!(sink["counts"]["delivered"], 0);
        process.until("the other sink's events", || {
            Metrics::of(admin).sink("delivered", "other") == 100.0
        });
        is_mended.store(true, Ordering::Release);
        process.until("all events", || {
            Metrics::of(admin).sink("delivered", "out") == 100.0
        });
        process.log(|record| record["message"] == "the sink goes on");
        assert_eq!(readiness(admin), "ready\n");
        let ended = process.stop();
        ended.assert_drained();
        assert_eq!(ended.dead_letters("sink.out", "rejected"), 0);
        assert_eq!(ended.dead_letters("sink.out", "error"), 0);
        let turned_away = receiver.requests().len() - 100;
        let ids = ids_by_subject(&receiver, turned_away);
        assert!(ids.values().all(|ids| ids.is_sorted()), "{ids:?}");
    }
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_the_drain_asks_once() {
    let receiver = Receiver::start(|_, _| answer("410 Gone", "text/plain", "moved out"));
    let sink = json!({ "out": { "type": "http", "url": receiver.url(), "concurrency": 1 } });
    let config = config(10, &sink).replace("10s", "300ms");
    let mut process = Process::start(&config);
    let admin = process.admin();
    process.running();
    process.until("a word about the sink", || {
        readiness(admin) == "degraded: sinks/out paused\n"
    });
    assert_eq!(receiver.requests().len(), 1);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
    assert_eq!(receiver.requests().len(), 2);
    assert_eq!(ended.summary()["dead_lettered"], 0);
    assert_eq!(ended.summary()["balanced"], true);
}

#[test]
fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let times = Arc::clone(&asked);
        let receiver = Receiver::start(move |_, number| {
            times.lock().expect("no panic inside").push(Instant::now());
            match number {
                0 => format!("HTTP/1.1 {status}\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
                _ => answer("202 Accepted", "text/plain", ""),
            }
        });
        let sink = json!({ "out": { "type": "http", "url": receiver.url(), "concurrency": 1 } });
        let mut process = Process::start(&config(2, &sink));
        let admin = process.admin();
        process.until("both events", || {
            Metrics::of(admin).sink("delivered", "out") == 2.0
        });
        process.stop().assert_drained();
        let asked = asked.lock().expect("no panic inside");
        assert_eq!(asked.len(), 3);
        // Taken before the answer was sent, so that this cannot be less.
        let waited = asked[1] - asked[0];
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    }
}

#[test]
fn what_is_refused_for_good_is_a_dead_letter_and_what_may_work_later_is_one_after_its_time() {
    for (status, class) in [
        ("400 Bad Request", "rejected"),
        ("404 Not Found", "rejected"),
        ("308 Permanent Redirect", "rejected"),
        ("408 Request Timeout", "error"),
        ("500 Internal Server Error", "error"),
    ] {
        let receiver = Receiver::start(move |request, _| {
            match request.body.contains(r#""id":"3""#) || request.body.contains("-3\"") {
                true => answer(status, "text/plain", "no"),
                false => answer("202 Accepted", "text/plain", ""),
            }
        });
        let retry = json!({ "max_elapsed": "50ms", "min": "5ms", "max": "5ms" });
        let sink = json!({ "out": { "type": "http", "url": receiver.url(), "retry": retry } });
        let mut process = Process::start(&config(10, &sink));
        let admin = process.admin();
        process.until("the end of all events", || {
            let metrics = Metrics::of(admin);
            metrics.sink("delivered", "out") + metrics.sink("dead_lettered", "out") == 10.0
        });
        let ended = process.stop();
        ended.assert_drained();
        assert_eq!(ended.dead_letters("sink.out", class), 1, "{status}");
        let tries = receiver.requests().len() - 9;
        assert_eq!(tries > 1, class == "error", "{status}: {tries} tries");
    }
}

/// Sends lines over a connection that is closed then.
fn feed(process: &mut Process, source: SocketAddr, lines: &[String]) {
    use std::io::Write;
    let mut stream = process::connect(source);
    for line in lines {
        writeln!(stream, "{line}").expect("it reads");
    }
    drop(stream);
    process.pause();
}

#[test]
fn each_way_to_sync_finishes_events_while_the_source_stays_open() {
    for sync in ["always", "interval", "never"] {
        let config = json!({
            "service": { "admin": { "listen": "127.0.0.1:0" } },
            "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0" } },
            "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
            "sinks": { "out": { "type": "file", "path": "out/{type}", "sync": sync } },
        });
        let mut process = Process::start(&config.to_string());
        let (admin, source) = (process.admin(), process.address("in"));
        let lines: Vec<String> = (0..50)
            .map(|id| process::event_line(&id.to_string()))
            .collect();
        feed(&mut process, source, &lines);
        process.until("the end of all events", || {
            let metrics = Metrics::of(admin);
            metrics.source("finished", "in") == 50.0 && metrics.sink("delivered", "out") == 50.0
        });
        assert_eq!(Metrics::of(admin).sink("in_doubt", "out"), 0.0);
        process.stop().assert_drained();
    }
}

#[test]
fn a_line_torn_by_a_kill_is_set_aside_when_its_file_is_next_written_to() {
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        // Without a journal, which the limit below would reach as well.
        "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0", "durability": "none" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
        "sinks": { "out": { "type": "file", "path": "out.ndjson" } },
    });
    let mut process = Process::start_limitable(&config.to_string());
    let (admin, source) = (process.admin(), process.address("in"));
    let lines: Vec<String> = (0..3)
        .map(|id| process::event_line(&id.to_string()))
        .collect();
    feed(&mut process, source, &lines[..1]);
    process.until("the first line", || {
        Metrics::of(admin).sink("delivered", "out") == 1.0
    });
    // The disk is full in the middle of the second line, and then the process is killed.
    let torn_bytes = 20;
    process.limit_files(Some((lines[0].len() + 1 + torn_bytes) as u64));
    feed(&mut process, source, &lines[1..2]);
    process.log(|record| record["message"] == "cannot write, trying again");
    process.until("a word about the sink", || {
        readiness(admin) == "degraded: sinks/out paused\n"
    });
    process.signal(rustix::process::Signal::KILL);
    let files = tempfile::tempdir().expect("a folder");
    let copy = std::fs::read(process.folder().join("out.ndjson")).expect("it is there");
    drop(process.wait());
    assert_eq!(copy.len(), lines[0].len() + 1 + torn_bytes);
    std::fs::write(files.path().join("out.ndjson"), &copy).expect("written");

    let mut process = Process::start_in(files, &config.to_string(), Stdio::null());
    let (admin, source) = (process.admin(), process.address("in"));
    feed(&mut process, source, &lines[1..]);
    process.until("the other lines", || {
        Metrics::of(admin).sink("delivered", "out") == 2.0
    });
    let told = process.log(|record| record["bytes"] == torn_bytes);
    assert_eq!(told["moved_to"], "out.ndjson.torn");
    let read = |name: &str| std::fs::read_to_string(process.folder().join(name)).expect("text");
    let whole: Vec<String> = read("out.ndjson").lines().map(str::to_owned).collect();
    assert_eq!(process::ids(&whole), ["0", "1", "2"]);
    assert_eq!(
        read("out.ndjson.torn"),
        format!("{}\n", &lines[1][..torn_bytes])
    );
    process.stop().assert_drained();
}
