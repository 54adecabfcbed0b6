//! `veltrix replay` in the real binary: finished events that the journal keeps are sent once more, where they are told to.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output};

use folder::{Folder, event};
use metrics::Metrics;
use process::{Process, request};
use serde_json::{Value, json};

struct Running {
    process: Process,
    admin: SocketAddr,
    input: SocketAddr,
}

impl Running {
    fn start(folder: &Folder) -> Self {
        Self::start_with(folder, "journal")
    }

    fn start_with(folder: &Folder, durability: &str) -> Self {
        let file = |name: &str| json!({ "type": "file", "path": folder.path(name) });
        let config = json!({
            "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" } },
            "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0", "durability": durability } },
            "handlers": {
                "orders": { "on": "order.>", "type": "pass", "to": "orders", "lanes": 4 },
                "all": { "on": ">", "type": "pass", "to": "all" },
            },
            "sinks": { "orders": file("orders"), "all": file("all") },
        });
        let mut process = Process::start(&config.to_string());
        Self {
            admin: process.admin(),
            input: process.address("in"),
            process,
        }
    }

    fn send(&mut self, range: std::ops::Range<usize>) {
        let mut stream = process::connect(self.input);
        let text: String = range.clone().map(line).collect();
        stream.write_all(text.as_bytes()).expect("sent");
        // The ledger counts those of earlier processes too.
        let (admin, count) = (self.admin, range.end as f64);
        self.process.until("the events' end", || {
            Metrics::of(admin).source("finished", "in") == count
        });
    }

    fn replay(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.to_string();
        Command::new(env!("CARGO_BIN_EXE_veltrix"))
            .arg("replay")
            .args(arguments)
            .args(["-o", "json", "--admin", &admin])
            .env_remove("VELTRIX_CONFIG")
            .output()
            .expect("the binary")
    }

    fn told(&self, arguments: &[&str]) -> Value {
        let output = self.replay(arguments);
        assert!(output.status.success(), "{output:?}");
        event(&String::from_utf8(output.stdout).expect("text"))["count"].clone()
    }

    /// Waits until so many events in all were sent once more and are finished.
    fn replayed(&mut self, count: usize) {
        let admin = self.admin;
        self.process.until("the replay's end", || {
            let metrics = Metrics::of(admin);
            metrics.get("veltrix_journal_replaying") == 0.0
                && metrics.source("finished", "veltrix.replay") == count as f64
        });
    }
}

/// Every third one is an order; they are of five subjects.
fn line(id: usize) -> String {
    let event_type = if id.is_multiple_of(3) {
        "order.new"
    } else {
        "other"
    };
    let subject = id % 5;
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"{event_type}\",\"subject\":\"{subject}\"}}\n"
    )
}

fn again(folder: &Folder, file: &str) -> Vec<usize> {
    let events = folder.events(file).into_iter();
    let again = events.filter(|event| event["replayed"] == 1);
    again
        .map(|event| event["id"].as_str().and_then(|id| id.parse().ok()))
        .map(|id| id.expect("an id"))
        .collect()
}

#[test]
fn finished_events_go_once_more_where_they_are_told_to_in_order_and_audited() {
    let folder = Folder::new();
    let mut running = Running::start(&folder);
    running.send(0..3_000);
    running.process.stop().assert_drained();
    // What a process before this one has finished is kept as well.
    let mut running = Running::start(&folder);
    running.send(3_000..6_000);
    assert_eq!(running.told(&["--from", "1h", "--dry-run"]), 6_000);
    assert_eq!(
        running.told(&["--from", "1h", "--until", "1h", "--dry-run"]),
        0
    );
    assert_eq!(
        running.told(&["--from", "2999-01-01T00:00:00Z", "--dry-run"]),
        0
    );
    assert!(again(&folder, "all").is_empty());

    let orders: Vec<usize> = (0..6_000).step_by(3).collect();
    let to_handler = [
        "--from",
        "1h",
        "--type",
        "order.>",
        "--to-handler",
        "orders",
    ];
    assert_eq!(running.told(&to_handler), 2_000);
    running.replayed(2_000);
    let found = again(&folder, "orders");
    for subject in 0..5 {
        let of = |ids: &[usize]| -> Vec<usize> {
            ids.iter().copied().filter(|id| id % 5 == subject).collect()
        };
        assert_eq!(of(&found), of(&orders), "in order within the key");
    }
    assert!(again(&folder, "all").is_empty(), "to the handler only");

    assert_eq!(
        running.told(&["--from", "1h", "--type", "other", "--to-sink", "all"]),
        4_000
    );
    running.replayed(6_000);
    let others: Vec<usize> = (0..6_000).filter(|id| id % 3 != 0).collect();
    assert_eq!(again(&folder, "all"), others);

    let source = ["--from", "1h", "--source", "in"];
    assert_eq!(running.told(&source), 6_000);
    running.replayed(12_000);
    assert_eq!(again(&folder, "all").len(), 4_000 + 6_000);
    assert_eq!(again(&folder, "orders").len(), 2_000 + 2_000);
    running.process.stop().assert_drained();
    let audit = folder.events("data/audit.ndjson");
    let told: Vec<(&Value, &Value)> = audit
        .iter()
        .map(|line| (&line["action"], &line["count"]))
        .collect();
    let replay = json!("replay");
    assert_eq!(
        told,
        [
            (&replay, &json!(2_000)),
            (&replay, &json!(4_000)),
            (&replay, &json!(6_000))
        ]
    );
    assert_eq!(audit[0]["filter"]["to_handler"], "orders");
}

#[test]
fn a_slow_replay_is_one_at_a_time_and_ends_with_the_drain() {
    let folder = Folder::new();
    let mut running = Running::start(&folder);
    running.send(0..60);
    assert_eq!(running.told(&["--from", "1h", "--rate", "1/s"]), 60);
    let refused = running.replay(&["--from", "1h"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    running
        .process
        .until("the first one", || !again(&folder, "all").is_empty());
    let ended = running.process.stop();
    ended.assert_drained();
    assert!(again(&folder, "all").len() < 60);
}

#[test]
fn a_replay_to_a_handler_that_a_reload_removes_ends_and_the_next_one_begins() {
    let folder = Folder::new();
    let mut running = Running::start(&folder);
    running.send(0..60);
    let slowly = ["--from", "1h", "--to-handler", "orders", "--rate", "1/s"];
    assert_eq!(running.told(&slowly), 60);
    let path = running.process.folder().join("veltrix.yaml");
    let mut config = event(&std::fs::read_to_string(&path).expect("a config"));
    let handlers = config["handlers"].as_object_mut().expect("handlers");
    handlers.remove("orders").expect("it was there");
    std::fs::write(&path, config.to_string()).expect("written");
    let json = [("content-type", "application/json")];
    let answer = process::request(running.admin, "POST", "/api/reload", &json, b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    running.process.log(|record| {
        record["message"] == "the config has the branch no more: the replay ends early"
            && record["branch"] == "handler.orders"
    });
    assert_eq!(running.told(&["--from", "1h", "--to-sink", "all"]), 60);
    let all = || again(&folder, "all").len();
    running.process.until("the second replay", || all() == 60);
    running.process.stop().assert_drained();
}

#[test]
fn what_cannot_be_replayed_is_told_and_not_audited() {
    let folder = Folder::new();
    let running = Running::start(&folder);
    for (arguments, why) in [
        (&["--from", "soon"][..], "`from` must be a time"),
        (&["--from", "1h", "--type", "a*"], "`type`: type pattern"),
        (
            &["--from", "1h", "--to-handler", "x"],
            "the config has no handler `x`",
        ),
        (
            &["--from", "1h", "--to-sink", "x"],
            "the config has no sink `x`",
        ),
        (
            &["--from", "1h", "--source", "x"],
            "the config has no source `x`",
        ),
    ] {
        let output = running.replay(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(why), "{error}");
    }
    assert!(folder.lines("data/audit.ndjson").is_empty());
    running.process.stop().assert_drained();
}

#[test]
fn a_process_without_a_journal_says_that_it_has_none() {
    let folder = Folder::new();
    let mut running = Running::start_with(&folder, "none");
    running.process.running();
    let why = "this process has no journal, so there is nothing to replay";
    for arguments in [&["--from", "1h"][..], &["--from", "1h", "--dry-run"]] {
        let output = running.replay(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let headers = [("content-type", "application/json")];
    let order = br#"{"from":"1h"}"#;
    let answer = request(running.admin, "POST", "/api/replay", &headers, order);
    assert_eq!(answer.status, 409, "{}", answer.body);
    let problem = event(&answer.body);
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with(why), "{detail}");
    assert!(folder.lines("data/audit.ndjson").is_empty());
    running.process.stop().assert_drained();
}
