//! What is accepted is kept: through kill -9, full disks and drains that are cut short.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/receiver.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod receiver;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Process, connect, event_line, ids, request};
use receiver::HttpReceiver;
use rustix::process::Signal;
use serde_json::json;

/// An http source and a tcp source with acks; one sink waits for a gate, one writes at once.
fn config(folder: &Folder, gate: &Gate) -> String {
    json!({
        "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "1s" },
        "sources": {
            "in": { "type": "http", "listen": "127.0.0.1:0", "path": "/" },
            "feed": { "type": "tcp", "listen": "127.0.0.1:0", "ack": true },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow", "out"] } },
        "sinks": {
            "slow": { "type": "http", "url": gate.url(), "concurrency": 1, "mode": "batched" },
            "out": { "type": "file", "path": folder.path("out") },
        },
        "journal": { "segment": "1MiB" },
    })
    .to_string()
}

/// Posts one event; what it is answered with.
fn post(address: SocketAddr, id: &str) -> u16 {
    let headers = [("content-type", "application/cloudevents+json")];
    request(address, "POST", "/", &headers, event_line(id).as_bytes()).status
}

#[test]
fn what_was_accepted_before_a_kill_is_delivered_by_the_next_process_in_order() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    let (http, tcp, admin) = (
        process.address("in"),
        process.address("feed"),
        process.admin(),
    );
    for id in 0..20 {
        assert_eq!(post(http, &id.to_string()), 202);
    }
    let mut feed = connect(tcp);
    let lines: String = (20..50)
        .map(|id| format!("{}\n", event_line(&id.to_string())))
        .collect();
    feed.write_all(lines.as_bytes()).expect("sent");
    let mut acked = 0;
    for answer in BufReader::new(feed).lines() {
        let answer: serde_json::Value = serde_json::from_str(&answer.expect("read")).expect("JSON");
        acked += answer["accepted"].as_u64().expect("a count");
        if acked == 30 {
            break;
        }
    }
    assert_eq!(Metrics::of(admin).source("finished", "in"), 0.0);
    process.signal(Signal::KILL);
    process.wait();

    gate.open();
    let mut process = Process::start(&config);
    let admin = process.admin();
    process.until("everything is delivered", || {
        let metrics = Metrics::of(admin);
        metrics.source("recovered", "in") + metrics.source("recovered", "feed") == 50.0
            && metrics.source("finished", "in") + metrics.source("finished", "feed") == 50.0
    });
    process.stop().assert_drained();
    let delivered = ids(&folder.lines("out"));
    let last = &delivered[delivered.len() - 50..];
    assert_eq!(last, (0..50).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_is_finished_does_not_come_again() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    let http = process.address("in");
    for id in 0..10 {
        assert_eq!(post(http, &id.to_string()), 202);
    }
    process.stop().assert_drained();
    let mut process = Process::start(&config);
    assert_eq!(post(process.address("in"), "10"), 202);
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.source("in")["accepted"], 1);
    let expected: Vec<String> = (0..11).map(|id| id.to_string()).collect();
    assert_eq!(ids(&folder.lines("out")), expected);
}

#[test]
fn a_drain_that_is_cut_short_says_how_much_is_kept_and_the_next_start_delivers_it() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    let http = process.address("in");
    for id in 0..3 {
        assert_eq!(post(http, &id.to_string()), 202);
    }
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1));
    let last = ended.logs.last().expect("a log");
    let reason = last["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("3 events unfinished, all of them kept for the next start"),
        "{reason}"
    );
    gate.open();
    let mut process = Process::start(&config);
    let admin = process.admin();
    process.until("they are delivered", || {
        Metrics::of(admin).sink("delivered", "slow") == 3.0
    });
    process.stop().assert_drained();
}

#[test]
fn a_journal_of_a_source_that_is_gone_is_emptied_all_the_same() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let mut process = Process::start(&config(&folder, &gate));
    assert_eq!(post(process.address("in"), "a"), 202);
    process.signal(Signal::KILL);
    process.wait();
    let other = json!({
        "service": { "data_dir": folder.path("data") },
        "sources": { "none": { "type": "generate", "count": 1, "types": { "t": 1 } } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
        "sinks": { "out": { "type": "stdout" } },
    });
    let ended = Process::start(&other.to_string()).wait();
    ended.assert_drained();
    assert_eq!(ended.output.len(), 2);
    assert_eq!(ended.source("in")["finished"], 1);
}

/// A sink is down while `count` events are accepted: nothing of the journal waits for it, so that the next process gives them
/// to that sink only.
fn assert_nothing_waits_for_a_sink_that_is_down(count: u32) {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    let (http, admin) = (process.address("in"), process.admin());
    post_all(http, 0..count);
    process.until("all is written down as finished", || {
        Metrics::of(admin).get("veltrix_journal_finished") == f64::from(count)
    });
    assert_eq!(Metrics::of(admin).sink("delivered", "slow"), 0.0);
    process.signal(Signal::KILL);
    process.wait();

    let receiver = HttpReceiver::start();
    let url = format!("http://{}/", receiver.address);
    let mut process = Process::start(&config.replace(&gate.url(), &url));
    let admin = process.admin();
    process.until("the sink has everything", || {
        Metrics::of(admin).sink("delivered", "slow") == f64::from(count)
    });
    process.stop().assert_drained();
    let received = receiver.rest();
    let received: Vec<u32> = received
        .iter()
        .flat_map(|request| ids_of(&request.body))
        .collect();
    assert_eq!(received, (0..count).collect::<Vec<_>>());
    let other = ids(&folder.lines("out"));
    let expected: Vec<String> = (0..count).map(|id| id.to_string()).collect();
    assert_eq!(other, expected);
}

#[test]
fn a_sink_that_is_down_pins_nothing_of_the_journal() {
    assert_nothing_waits_for_a_sink_that_is_down(20_000);
}

#[test]
fn a_sink_that_is_down_pins_nothing_even_if_few_events_come() {
    assert_nothing_waits_for_a_sink_that_is_down(3);
}

/// The ids of a batch.
fn ids_of(body: &[u8]) -> Vec<u32> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).expect("a batch");
    let id = |event: &serde_json::Value| event["id"].as_str().expect("an id").parse();
    events
        .iter()
        .map(|event| id(event).expect("a number"))
        .collect()
}

/// Posts events `ids` in batches, each of which is accepted.
fn post_all(address: SocketAddr, ids: std::ops::Range<u32>) {
    let headers = [("content-type", "application/cloudevents-batch+json")];
    for start in ids.clone().step_by(500) {
        let events: Vec<_> = (start..ids.end.min(start + 500))
            .map(|id| event_line(&id.to_string()))
            .collect();
        let body = format!("[{}]", events.join(","));
        let answer = request(address, "POST", "/", &headers, body.as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
    }
}

#[test]
fn what_waits_for_a_slow_sink_waits_on_disk_and_holds_up_nobody() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    let (http, admin) = (process.address("in"), process.admin());
    post_all(http, 0..20_000);
    // The other sink of the handler has everything, and for the source it is done.
    process.until("the other sink has everything", || {
        let metrics = Metrics::of(admin);
        metrics.sink("delivered", "out") == 20_000.0
            && metrics.get("veltrix_journal_finished") > 15_000.0
    });
    let metrics = Metrics::of(admin);
    assert_eq!(metrics.sink("delivered", "slow"), 0.0);
    assert!(metrics.get("veltrix_sink_overflow{sink=\"slow\"}") > 10_000.0);
    assert_eq!(metrics.get("veltrix_sink_waiting{sink=\"slow\"}"), 20_000.0);
    process.signal(Signal::KILL);
    process.wait();

    let receiver = HttpReceiver::start();
    let url = format!("http://{}/", receiver.address);
    let config = config.replace(&gate.url(), &url);
    let mut process = Process::start(&config);
    let admin = process.admin();
    post_all(process.address("in"), 20_000..20_010);
    process.until("the slow sink has everything", || {
        let metrics = Metrics::of(admin);
        metrics.get("veltrix_sink_waiting{sink=\"slow\"}") == 0.0
            && metrics.sink("delivered", "out") >= 10.0
    });
    process.stop().assert_drained();
    let received = receiver.rest();
    let ids = received.iter().flat_map(|request| ids_of(&request.body));
    // Whatever came twice came before anything newer.
    let mut expected = 0;
    for id in ids {
        assert!(id <= expected, "{id} before {expected}");
        expected = expected.max(id + 1);
    }
    assert_eq!(expected, 20_010);
    let out = folder.lines("out");
    assert!((20_010..25_000).contains(&out.len()), "{} lines", out.len());
}
