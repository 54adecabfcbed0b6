//! What operators see of handlers that are paused or hang and of sinks that hang: it is ready, and says what is not well.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::net::SocketAddr;
use std::process::Command;

use folder::Folder;
use metrics::Metrics;
use process::{Process, request};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// What `/readyz` answers, which is 200 all the time.
fn readiness(admin: SocketAddr) -> String {
    let answer = request(admin, "GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn top(admin: SocketAddr) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["top", "--once", "--admin", &admin.to_string()])
        .env_remove("VELTRIX_CONFIG")
        .output()
        .expect("the binary");
    String::from_utf8(output.stdout).expect("text")
}

/// Whether the table has a row of that actor in that state.
fn shows(table: &str, name: &str, state: &str) -> bool {
    let is_it = |line: &str| line.split_whitespace().take(2).eq([name, state]);
    table.lines().any(is_it)
}

#[test]
fn a_sink_that_hangs_is_shown_until_it_returns_and_loses_nothing() {
    let folder = Folder::new();
    // Opening it blocks until somebody reads.
    let pipe = folder.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "load": { "type": "generate", "rate": "max", "count": 10 },
            "idle": { "type": "tcp", "listen": "127.0.0.1:0" },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["stuck"] } },
        "sinks": { "stuck": { "type": "file", "path": pipe } },
    });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.running();
    process.until("a word about the sink", || {
        readiness(admin) == "degraded: sinks/stuck hung\n"
    });
    process.log(|record| record["message"] == "a sink hangs, its events wait until it returns");
    assert!(shows(&top(admin), "stuck", "hung"));
    let metrics = Metrics::of(admin);
    assert_eq!(
        metrics.get(r#"veltrix_sink_hangs_total{sink="stuck"}"#),
        1.0
    );
    assert_eq!(metrics.sink("delivered", "stuck"), 0.0);
    // Kept open, so that a second write would go on as well.
    let (read, end) = std::sync::mpsc::sync_channel(0);
    let reader = std::thread::spawn(move || {
        let file = std::fs::File::open(pipe).expect("a pipe");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(file));
        let first: Vec<String> = lines.by_ref().take(10).map_while(Result::ok).collect();
        read.send(()).expect("the test waits");
        first.len() + lines.count()
    });
    end.recv().expect("ten lines");
    process.until("the sink's return", || readiness(admin) == "ready\n");
    assert!(shows(&top(admin), "stuck", "running"));
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(reader.join().expect("it read"), 10);
    assert_eq!(ended.records("sink summary")[0]["hangs"], 1);
}

#[test]
fn a_handler_that_is_paused_is_shown_and_hangs_and_pauses_are_counted() {
    let folder = Folder::new();
    let supervision = json!({
        "attempts": 1, "deadline": "200ms",
        "breaker": { "dead_letter_ratio": 0.5, "window": "1h", "min_events": 5 },
    });
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "200ms" },
        "sources": {
            "load": { "type": "generate", "rate": "max", "count": 100, "types": { "a": 1 } },
            "idle": { "type": "tcp", "listen": "127.0.0.1:0" },
        },
        "handlers": {
            "broken": {
                "on": "a", "type": "map", "set": { "data.x": "data.missing + 1" }, "to": ["out"],
                "supervision": supervision,
            },
            "stuck": {
                "on": "a", "type": "pass", "to": ["out"],
                "supervision": { "attempts": 1, "deadline": "200ms" },
            },
        },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
        "faults": { "inject": [{ "at": "handler.stuck", "hang": "1s", "times": 1 }] },
    });
    let mut process = Process::start_faulty(&config.to_string());
    let admin = process.admin();
    process.running();
    process.until("a word about the handler", || {
        readiness(admin) == "degraded: handlers/broken/0 paused\n"
    });
    process.until("the table", || shows(&top(admin), "0", "paused"));
    let of = |name: &str, handler: &str| {
        let series = format!("veltrix_handler_{name}_total{{handler=\"{handler}\"}}");
        Metrics::of(admin).get(&series)
    };
    process.until("the hang", || of("hangs", "stuck") == 1.0);
    assert!(of("pauses", "broken") >= 1.0);
    assert_eq!((of("hangs", "broken"), of("pauses", "stuck")), (0.0, 0.0));
    let ended = process.stop();
    let summary = |handler: &str| -> Value {
        let all = ended.records("handler summary");
        let mut these = all.into_iter().filter(|one| one["handler"] == handler);
        these.next().expect("a summary").clone()
    };
    let (broken, stuck) = (summary("broken"), summary("stuck"));
    assert!(broken["pauses"].as_u64() >= Some(1), "{broken}");
    assert_eq!(
        (&broken["hangs"], &stuck["pauses"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(stuck["hangs"], 1);
}
