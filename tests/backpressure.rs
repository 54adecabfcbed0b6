//! What a slow or silent receiver may hold up, and what operators see meanwhile.

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

use std::net::{SocketAddr, TcpListener};

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Process, connect, event_line, request};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Events that a pipeline may hold between its source and a sink that takes none: two batches on the way and two
/// gathered at each of the three hops, and what the lane works on.
const HELD_EVENTS_MAX: f64 = 16.0 * 1024.0;

fn two_pipelines(gate: &Gate, folder: &Folder, memory: &str, free_events: usize) -> Value {
    json!({
        "service": { "memory": memory, "drain_timeout": "200ms", "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "held": { "type": "generate", "rate": "max", "types": { "held": 1 } },
            "free": { "type": "generate", "rate": "max", "count": free_events, "types": { "free": 1 } },
        },
        "handlers": {
            "held": { "on": "held", "type": "pass", "to": ["slow"] },
            "free": { "on": "free", "type": "pass", "to": ["out"] },
        },
        "sinks": {
            "slow": { "type": "http", "url": gate.url(), "timeout": "600s" },
            "out": { "type": "file", "path": folder.path("out") },
        },
    })
}

#[test]
fn a_receiver_that_never_answers_holds_up_its_own_source_and_nobody_else() {
    let (gate, folder) = (Gate::closed(), Folder::new());
    let mut process = Process::start(&two_pipelines(&gate, &folder, "64MiB", 60_000).to_string());
    let admin = process.admin();
    let mut most_used = 0.0_f64;
    process.until("the other pipeline's end", || {
        let metrics = Metrics::of(admin);
        most_used = most_used.max(metrics.get("veltrix_memory_used_bytes"));
        metrics.sink("delivered", "out") == 60_000.0
    });
    let metrics = Metrics::of(admin);
    assert_eq!(metrics.sink("delivered", "slow"), 0.0);
    assert!(metrics.source("accepted", "held") <= HELD_EVENTS_MAX);
    assert!(metrics.sink("offered", "slow") <= metrics.source("accepted", "held"));
    // The limit, and the last batch that was let in below it from each source.
    let limit = metrics.get("veltrix_memory_limit_bytes");
    assert!(most_used <= limit, "{most_used} of {limit}");
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.summary()["balanced"], true);
    assert_eq!(folder.lines("out").len(), 60_000);
}

#[test]
fn a_receiver_that_answers_again_gets_everything_once() {
    let (gate, folder) = (Gate::closed(), Folder::new());
    let mut config = two_pipelines(&gate, &folder, "64MiB", 100);
    config["sources"]["held"]["count"] = json!(3_000);
    let mut process = Process::start(&config.to_string());
    process.until("the first request", || gate.asked() > 0);
    let admin = process.admin();
    let metrics = Metrics::of(admin);
    assert!(metrics.get("veltrix_credits_in_use") > 0.0);
    gate.open();
    let ended = process.wait();
    ended.assert_drained();
    assert_eq!(gate.asked(), 3_000);
    assert_eq!(ended.summary()["delivered"], 3_100);
}

#[test]
fn the_least_memory_still_makes_progress() {
    let folder = Folder::new();
    let config = json!({
        "service": { "memory": "1MiB" },
        "sources": {
            "a": { "type": "generate", "rate": "max", "count": 20_000, "types": { "a": 1 } },
            "b": { "type": "generate", "rate": "max", "count": 20_000, "types": { "b": 1 } },
        },
        "handlers": {
            "pass": { "on": ">", "type": "pass", "to": ["out"], "lanes": 4 },
            "edit": { "on": "a", "type": "map", "set": { "data.total": "data.price * data.quantity" }, "emit": "c", "to": ["router"] },
        },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    });
    let ended = Process::start(&config.to_string()).wait();
    ended.assert_drained();
    assert_eq!(folder.lines("out").len(), 60_000);
}

#[test]
fn a_full_process_answers_503_and_takes_events_again_later() {
    let gate = Gate::closed();
    let config = json!({
        "service": { "memory": "1MiB", "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "web": { "type": "http", "durability": "none", "listen": "127.0.0.1:0" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow"] } },
        "sinks": { "slow": { "type": "http", "url": gate.url(), "timeout": "600s" } },
    });
    let mut process = Process::start(&config.to_string());
    let address = process.address("web");
    process.running();
    let mut accepted = 0;
    let post = |id: usize| {
        let line = event_line(&id.to_string());
        let body = line.replace("}", &format!(r#","data":"{}"}}"#, "x".repeat(100_000)));
        let headers = [("Content-Type", "application/cloudevents+json")];
        request(address, "POST", "/events", &headers, body.as_bytes())
    };
    let refused = loop {
        let answer = post(accepted);
        match answer.status {
            202 => accepted += 1,
            _ => break answer,
        }
        assert!(accepted < 1_000, "it takes in more than it may hold");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    gate.open();
    process.until("room for another event", || post(accepted).status == 202);
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(gate.asked(), accepted + 1);
}

#[test]
fn a_socket_is_not_read_while_its_events_cannot_go_on() {
    let gate = Gate::closed();
    let config = json!({
        "service": { "drain_timeout": "200ms", "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "feed": { "type": "tcp", "durability": "none", "listen": "127.0.0.1:0" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow"] } },
        "sinks": { "slow": { "type": "http", "url": gate.url(), "timeout": "600s" } },
    });
    let mut process = Process::start(&config.to_string());
    let (address, admin) = (process.address("feed"), process.admin());
    let mut stream = connect(address);
    // The writer stops once every buffer on the way is full, which it tells by its time limit.
    let limit = std::time::Duration::from_millis(500);
    stream.set_write_timeout(Some(limit)).expect("set");
    let block = format!("{}\n", event_line(&"x".repeat(900))).repeat(100);
    let mut written = 0;
    while std::io::Write::write_all(&mut stream, block.as_bytes()).is_ok() {
        written += 1;
        assert!(written < 10_000, "a gigabyte went in");
    }
    let metrics = Metrics::of(admin);
    assert!(metrics.source("accepted", "feed") <= HELD_EVENTS_MAX);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.summary()["balanced"], true);
}

fn status(admin: SocketAddr, path: &str) -> u16 {
    request(admin, "GET", path, &[], b"").status
}

#[test]
fn the_process_is_ready_when_all_is_up_and_until_it_drains() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let gate = Gate::closed();
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "supervision": { "max_restarts": 1_000_000, "backoff": { "min": "10ms", "max": "20ms" } },
        "sources": {
            "feed": { "type": "tcp", "listen": address },
            "load": { "type": "generate", "rate": "max", "count": 5 },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow"] } },
        "sinks": { "slow": { "type": "http", "url": gate.url() } },
    });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.log(|record| record["message"] == "restarting");
    assert_eq!(
        (status(admin, "/livez"), status(admin, "/readyz")),
        (200, 503)
    );
    drop(taken);
    process.running();
    assert_eq!(status(admin, "/readyz"), 200);
    let restarts = r#"veltrix_restarts_total{actor="sources/feed"}"#;
    assert!(Metrics::of(admin).get(restarts) > 0.0);
    process.until("the first request", || gate.asked() > 0);
    process.signal(Signal::TERM);
    process.log(|record| record["message"] == "draining");
    process.until("the end of readiness", || status(admin, "/readyz") == 503);
    assert_eq!(status(admin, "/livez"), 200);
    gate.open();
    process.wait().assert_drained();
}

#[test]
fn an_idle_process_holds_no_credit_no_event_and_no_byte() {
    let folder = Folder::new();
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "feed": { "type": "tcp", "listen": "127.0.0.1:0" },
            "load": { "type": "generate", "rate": "max", "count": 5_000, "types": { "a": 2, "b": 1 } },
        },
        "handlers": {
            "all": { "on": ">", "type": "pass", "to": ["out"], "lanes": 3 },
            "edit": { "on": "a", "type": "map", "set": { "data.n": "1" }, "emit": "c", "to": ["router", "out"] },
        },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.until("the last event's end", || {
        Metrics::of(admin).source("finished", "load") == 5_000.0
    });
    process.until("idleness", || {
        let metrics = Metrics::of(admin);
        metrics.get("veltrix_credits_in_use") == 0.0
            && metrics.get("veltrix_memory_used_bytes") == 0.0
    });
    let metrics = Metrics::of(admin);
    assert_eq!(
        metrics.get("veltrix_source_in_flight{source=\"load\"}"),
        0.0
    );
    assert_eq!(metrics.get("veltrix_sink_waiting{sink=\"out\"}"), 0.0);
    assert_eq!(metrics.get("veltrix_ledger_balanced{source=\"load\"}"), 1.0);
    assert_eq!(metrics.get("veltrix_event_types"), 3.0);
    assert_eq!(
        metrics.sink("offered", "out"),
        metrics.sink("delivered", "out")
    );
    process.stop().assert_drained();
}

#[test]
fn a_flood_of_events_that_nobody_wants_is_held_back_like_any_other() {
    let folder = Folder::new();
    let source =
        |seed: usize| json!({ "type": "generate", "rate": "max", "count": 60_000, "seed": seed });
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "a": source(1), "b": source(2), "c": source(3), "d": source(4), "open": { "type": "tcp", "listen": "127.0.0.1:0" } },
        "handlers": { "other": { "on": "other", "type": "pass", "to": ["out"] } },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.running();
    let mut most = 0.0_f64;
    process.until("the flood's end", || {
        let metrics = Metrics::of(admin);
        let of =
            |name: &str| metrics.get(&format!("veltrix_source_in_flight{{source=\"{name}\"}}"));
        most = most.max(["a", "b", "c", "d"].into_iter().map(of).sum());
        let count = |name: &str| metrics.source("finished", name);
        ["a", "b", "c", "d"].into_iter().map(count).sum::<f64>() == 240_000.0
    });
    // Four sources, each with what it may have on its way.
    assert!(most <= 2.0 * HELD_EVENTS_MAX, "{most} events in flight");
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("router", "unroutable"), 240_000);
}

#[test]
fn results_that_go_round_to_a_silent_receiver_leave_the_others_their_memory() {
    let (gate, folder) = (Gate::closed(), Folder::new());
    let mut config = two_pipelines(&gate, &folder, "8MiB", 60_000);
    config["handlers"]["held"] = json!({
        "on": "held", "type": "map", "set": { "data.n": "1" }, "emit": "round", "to": ["router"],
    });
    config["handlers"]["round"] = json!({ "on": "round", "type": "pass", "to": ["slow"] });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    let mut most_used = 0.0_f64;
    process.until("the other pipeline's end", || {
        let metrics = Metrics::of(admin);
        most_used = most_used.max(metrics.get("veltrix_memory_used_bytes"));
        metrics.sink("delivered", "out") == 60_000.0
    });
    let limit = Metrics::of(admin).get("veltrix_memory_limit_bytes");
    assert!(most_used <= limit, "{most_used} of {limit}");
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.summary()["balanced"], true);
}
