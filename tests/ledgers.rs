//! The ledgers go on where the process before left them, however it ended.

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

use std::net::SocketAddr;

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Process, event_line, request};
use rustix::process::Signal;
use serde_json::json;

/// A handler that refuses one type and sends the others to two sinks, of which one waits for a gate.
fn config(folder: &Folder, gate: &Gate) -> String {
    json!({
        "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "http", "listen": "127.0.0.1:0", "path": "/" } },
        "handlers": {
            "all": { "on": "t", "type": "pass", "to": ["slow", "out"] },
            "bad": { "on": "bad.>", "type": "map", "set": { "data.x": "int(data.no.such)" }, "to": "out" },
        },
        "sinks": {
            "slow": { "type": "http", "url": gate.url(), "concurrency": 1 },
            "out": { "type": "file", "path": folder.path("out") },
        },
        "routing": { "unmatched": "drop" },
    })
    .to_string()
}

fn post(address: SocketAddr, line: &str) -> u16 {
    let headers = [("content-type", "application/cloudevents+json")];
    request(address, "POST", "/", &headers, line.as_bytes()).status
}

/// Three good events, one that is given up, one that nobody wants, and one that is none.
fn post_all(address: SocketAddr) {
    for id in ["a", "b", "c"] {
        assert_eq!(post(address, &event_line(id)), 202);
    }
    let of_type = |kind: &str| json!({ "specversion": "1.0", "id": kind, "source": "/t", "type": kind, "data": {} });
    assert_eq!(post(address, &of_type("bad.one").to_string()), 202);
    assert_eq!(post(address, &of_type("unknown").to_string()), 202);
    assert_eq!(post(address, "{"), 400);
}

/// The counters that say what became of the events.
fn ledger(admin: SocketAddr) -> serde_json::Value {
    let metrics = Metrics::of(admin);
    json!({
        "received": metrics.source("received", "in"),
        "accepted": metrics.source("accepted", "in"),
        "finished": metrics.source("finished", "in"),
        "in flight": metrics.get(r#"veltrix_source_in_flight{source="in"}"#),
        "offered": [metrics.sink("offered", "slow"), metrics.sink("offered", "out")],
        "delivered": [metrics.sink("delivered", "slow"), metrics.sink("delivered", "out")],
        "waiting": metrics.get(r#"veltrix_sink_waiting{sink="slow"}"#),
    })
}

/// The counts of one branch, class, rule or reason each.
fn ends(admin: SocketAddr) -> [f64; 3] {
    let metrics = Metrics::of(admin);
    [
        metrics.get(r#"veltrix_dead_letters_total{handler="bad",class="error"}"#),
        metrics.get(r#"veltrix_dropped_total{rule="unmatched"}"#),
        metrics.get(r#"veltrix_source_rejected_total{source="in",reason="not_json"}"#),
    ]
}

#[test]
fn the_ledgers_go_on_after_a_drain() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let config = config(&folder, &gate);
    for run in 1..=3 {
        let mut process = Process::start(&config);
        let (source, admin) = (process.address("in"), process.admin());
        post_all(source);
        let finished = 5.0 * f64::from(run);
        process.until("all is finished", || {
            ledger(admin)["finished"] == json!(finished)
        });
        let delivered = 3.0 * f64::from(run);
        let expected = json!({
            "received": 6.0 * f64::from(run), "accepted": finished, "finished": finished, "in flight": 0.0,
            "offered": [delivered, delivered], "delivered": [delivered, delivered], "waiting": 0.0,
        });
        assert_eq!(ledger(admin), expected);
        assert_eq!(ends(admin), [f64::from(run); 3]);
        process.stop().assert_drained();
    }
}

#[test]
fn the_ledgers_balance_after_a_kill() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    post_all(process.address("in"));
    process.stop().assert_drained();

    gate.close();
    let mut process = Process::start(&config);
    let (source, admin) = (process.address("in"), process.admin());
    for id in ["d", "e"] {
        assert_eq!(post(source, &event_line(id)), 202);
    }
    let accepted = |admin| {
        let ledger = ledger(admin);
        [
            ledger["accepted"].clone(),
            ledger["finished"].clone(),
            ledger["in flight"].clone(),
        ]
    };
    assert_eq!(accepted(admin), [7.0, 5.0, 2.0].map(|count| json!(count)));
    process.signal(Signal::KILL);
    process.wait();

    let mut process = Process::start(&config);
    let admin = process.admin();
    process.until("they are back", || {
        accepted(admin) == [7.0, 5.0, 2.0].map(|count| json!(count))
    });
    gate.open();
    process.until("they are delivered", || {
        accepted(admin) == [7.0, 7.0, 0.0].map(|count| json!(count))
    });
    let delivered = Metrics::of(admin).sink("delivered", "slow");
    assert_eq!(delivered, 5.0);
    process.stop().assert_drained();
}

#[test]
fn ledgers_that_cannot_be_read_begin_at_zero_and_refuse_no_start() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    post_all(process.address("in"));
    process.stop().assert_drained();
    for slot in ["0", "1", "2"] {
        std::fs::write(folder.path(&format!("data/ledgers/{slot}")), b"damage").expect("written");
    }
    let mut process = Process::start(&config);
    let (source, admin) = (process.address("in"), process.admin());
    assert_eq!(post(source, &event_line("d")), 202);
    process.until("it is finished", || ledger(admin)["finished"] == json!(1.0));
    let ended = process.stop();
    ended.assert_drained();
    let said = "what is stored here is damaged and ignored: the counts begin at zero";
    assert_eq!(ended.records(said).len(), 1);
}
