//! How the process ends: what a drain keeps, what a second signal cuts short, and what the exit code says.

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

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Ended, Process, connect, event_line, request};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Drains in a row: a few in CI, `VELTRIX_RUNS` for more.
fn runs() -> usize {
    let runs = std::env::var("VELTRIX_RUNS").map(|runs| runs.parse().expect("a number"));
    runs.unwrap_or(3)
}

/// One source through two lanes into a file.
fn config(folder: &Folder, source: Value) -> String {
    json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "load": source },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["out"], "lanes": 2 } },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    })
    .to_string()
}

/// The ids that were delivered; fails if they are not exactly as many as were accepted, each once.
fn delivered(ended: &Ended, folder: &Folder) -> HashSet<String> {
    ended.assert_drained();
    let events = folder.events("out");
    let accepted = ended.summary()["accepted"].as_u64().expect("a count");
    assert_eq!(events.len() as u64, accepted);
    let id = |event: &Value| event["id"].as_str().expect("an id").to_owned();
    let ids: HashSet<String> = events.iter().map(id).collect();
    assert_eq!(ids.len() as u64, accepted, "some came twice");
    ids
}

fn wait_for_accepted(process: &mut Process, events: f64) {
    let admin = process.admin();
    process.until("the load", || {
        Metrics::of(admin).source("accepted", "load") >= events
    });
}

#[test]
fn a_drain_at_full_load_delivers_all_that_was_accepted_once() {
    for run in 0..runs() {
        let folder = Folder::new();
        let source = json!({ "type": "generate", "rate": "max", "seed": run });
        let mut process = Process::start(&config(&folder, source));
        wait_for_accepted(&mut process, 1_000.0 * (run % 5 + 1) as f64);
        let ended = process.stop();
        let ids = delivered(&ended, &folder);
        // The generator numbers its events from 1 on, so none of those in between is missing.
        let expected = (1..=ids.len()).map(|number| format!("load-{number}"));
        assert_eq!(ids, expected.collect());
    }
}

/// Posts events on connections of their own until one is not accepted; returns the ids that were.
fn post(address: SocketAddr, client: usize) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut accepted = Vec::new();
        loop {
            let id = format!("{client}-{}", accepted.len());
            let headers = [("Content-Type", "application/cloudevents+json")];
            let Ok(answer) = std::panic::catch_unwind(|| {
                request(
                    address,
                    "POST",
                    "/events",
                    &headers,
                    event_line(&id).as_bytes(),
                )
            }) else {
                return accepted;
            };
            match answer.status {
                202 => accepted.push(id),
                _ => return accepted,
            }
        }
    })
}

#[test]
fn a_drain_keeps_every_event_that_was_answered_with_202() {
    for _ in 0..runs() {
        let folder = Folder::new();
        let source = json!({ "type": "http", "listen": "127.0.0.1:0" });
        let mut process = Process::start(&config(&folder, source));
        let address = process.address("load");
        let clients: Vec<_> = (0..4).map(|client| post(address, client)).collect();
        wait_for_accepted(&mut process, 200.0);
        let ended = process.stop();
        let ids = delivered(&ended, &folder);
        for client in clients {
            for id in client.join().expect("no panic") {
                assert!(
                    ids.contains(&id),
                    "{id} was accepted and is not there: {:#?}",
                    ended.logs
                );
            }
        }
    }
}

/// Sends lines until the connection ends, and adds up what the answers accept.
fn send_lines(address: SocketAddr, client: usize) -> JoinHandle<u64> {
    let mut writer = connect(address);
    let reader = BufReader::new(writer.try_clone().expect("a second handle"));
    std::thread::spawn(move || {
        for number in 0.. {
            let line = format!("{}\n", event_line(&format!("{client}-{number}")));
            if writer.write_all(line.as_bytes()).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        let answers = reader.lines().map_while(Result::ok);
        let accepted = answers.map(|line| folder::event(&line)["accepted"].as_u64());
        accepted.map(|count| count.expect("a count")).sum()
    })
}

#[test]
fn a_drain_keeps_every_line_that_was_acknowledged() {
    for _ in 0..runs() {
        let folder = Folder::new();
        let source = json!({ "type": "tcp", "listen": "127.0.0.1:0", "ack": true });
        let mut process = Process::start(&config(&folder, source));
        let address = process.address("load");
        let clients: Vec<_> = (0..3).map(|client| send_lines(address, client)).collect();
        wait_for_accepted(&mut process, 5_000.0);
        let ended = process.stop();
        let ids = delivered(&ended, &folder);
        let acknowledged: u64 = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum();
        assert!(
            acknowledged <= ids.len() as u64,
            "{acknowledged} > {}",
            ids.len()
        );
        assert!(acknowledged > 0);
    }
}

/// A source that makes `count` events for a sink that waits for the gate.
fn gated(gate: &Gate, count: usize, drain_timeout: &str) -> String {
    json!({
        "service": { "drain_timeout": drain_timeout, "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "load": { "type": "generate", "rate": "max", "count": count },
            "open": { "type": "tcp", "listen": "127.0.0.1:0" },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow"] } },
        "sinks": { "slow": { "type": "http", "url": gate.url(), "timeout": "60s" } },
    })
    .to_string()
}

fn start_gated(gate: &Gate, drain_timeout: &str) -> Process {
    let mut process = Process::start(&gated(gate, 20, drain_timeout));
    process.running();
    process.until("the first request", || gate.asked() > 0);
    process
}

fn last(ended: &Ended) -> String {
    ended.logs.last().expect("a log").to_string()
}

#[test]
fn signals_that_come_together_are_one() {
    let gate = Gate::closed();
    let mut process = start_gated(&gate, "60s");
    // As timeout(1) does, which signals its child and then their group.
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    process.signal(Signal::TERM);
    process.log(|record| record["message"] == "draining");
    gate.open();
    process.wait().assert_drained();
    assert_eq!(gate.asked(), 20);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let gate = Gate::closed();
    let mut process = start_gated(&gate, "600s");
    process.signal(Signal::INT);
    process.log(|record| record["message"] == "draining");
    // Those within the grace period count as the first one.
    for _ in 0..100 {
        if !process.has_ended() {
            process.signal(Signal::TERM);
        }
        process.pause();
    }
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
    let last = last(&ended);
    assert!(last.contains("second signal"), "{last}");
    assert!(last.contains("20 events unfinished"), "{last}");
}

#[test]
fn a_drain_that_is_not_done_in_time_says_how_much_is_unfinished() {
    let gate = Gate::closed();
    let process = start_gated(&gate, "300ms");
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
    let last = last(&ended);
    assert!(
        last.contains("not done after 300ms: 20 events unfinished"),
        "{last}"
    );
    assert_eq!(ended.source("load")["unfinished"], 20);
    // What is told as unfinished is not told as lost again while the process is taken down.
    let errors = ended.logs.iter().filter(|log| log["level"] == "ERROR");
    assert_eq!(errors.count(), 1, "{:#?}", ended.logs);
    assert_eq!(ended.summary()["balanced"], true);
}

#[test]
fn a_drain_stops_all_sources_at_once_though_one_of_them_cannot_finish() {
    let (gate, folder) = (Gate::closed(), Folder::new());
    let config = json!({
        "service": { "drain_timeout": "60s", "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "a-free": { "type": "generate", "rate": "max", "types": { "free": 1 } },
            "b-held": { "type": "generate", "rate": "max", "count": 20, "types": { "held": 1 } },
            "c-free": { "type": "generate", "rate": "max", "types": { "free": 1 } },
        },
        "handlers": {
            "free": { "on": "free", "type": "pass", "to": ["out"] },
            "held": { "on": "held", "type": "pass", "to": ["slow"] },
        },
        "sinks": {
            "out": { "type": "file", "path": folder.path("out") },
            "slow": { "type": "http", "url": gate.url(), "timeout": "60s" },
        },
    });
    let mut process = Process::start(&config.to_string());
    process.running();
    process.until("the first request", || gate.asked() > 0);
    let admin = process.admin();
    process.signal(Signal::TERM);
    process.log(|record| record["message"] == "draining");
    for source in ["a-free", "c-free"] {
        process.until("a source's end", || {
            let metrics = Metrics::of(admin);
            metrics.get(&format!("veltrix_source_in_flight{{source=\"{source}\"}}")) == 0.0
        });
    }
    let accepted = Metrics::of(admin).source("accepted", "a-free");
    gate.open();
    let ended = process.wait();
    ended.assert_drained();
    assert_eq!(ended.source("a-free")["accepted"], accepted as u64);
}

#[test]
fn finite_sources_end_the_process_by_themselves() {
    let folder = Folder::new();
    let source = json!({ "type": "generate", "rate": "max", "count": 5_000 });
    let ended = Process::start(&config(&folder, source)).wait();
    assert_eq!(delivered(&ended, &folder).len(), 5_000);
}

#[test]
fn an_interrupt_drains_like_a_termination() {
    let folder = Folder::new();
    let source = json!({ "type": "generate", "rate": "max" });
    let mut process = Process::start(&config(&folder, source));
    wait_for_accepted(&mut process, 100.0);
    process.signal(Signal::INT);
    let ended = process.wait();
    assert!(!delivered(&ended, &folder).is_empty());
    assert_eq!(ended.records("draining")[0]["signal"], "SIGINT");
}

#[test]
fn a_source_that_cannot_listen_uses_its_restarts_up_and_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new();
    let mut config: Value = folder::event(&config(
        &folder,
        json!({ "type": "tcp", "listen": address }),
    ));
    config["supervision"] = json!({ "max_restarts": 2, "backoff": { "min": "1ms", "max": "2ms" } });
    let ended = Process::start(&config.to_string()).wait();
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.logs);
    let last = last(&ended);
    for part in ["load", "cannot listen on", &address, "gave up"] {
        assert!(last.contains(part), "`{part}` is not in {last}");
    }
    assert_eq!(ended.records("restarting").len(), 2);
    assert!(ended.records("all sources are done").is_empty());
}

#[test]
fn a_process_that_is_still_starting_can_be_stopped() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new();
    let mut config: Value = folder::event(&config(
        &folder,
        json!({ "type": "tcp", "listen": address }),
    ));
    config["supervision"] =
        json!({ "max_restarts": 1_000, "backoff": { "min": "1s", "max": "1h" } });
    let mut process = Process::start(&config.to_string());
    process.log(|record| record["message"] == "restarting");
    let ended = process.stop();
    ended.assert_drained();
    assert!(ended.records("running").is_empty());
}

fn veltrix(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .current_dir(folder.path("."))
        .env_remove("VELTRIX_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let folder = Folder::new();
    let data = folder.path("data");
    let mut running: Value = folder::event(&config(
        &folder,
        json!({ "type": "tcp", "listen": "127.0.0.1:0" }),
    ));
    running["service"]["data_dir"] = json!(data);
    let mut process = Process::start(&running.to_string());
    process.running();
    let path = folder.write("second.yaml", &[running.to_string()]);
    let output = veltrix(&folder, &["run", "-c", &path]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    let last = log.lines().last().expect("a log");
    assert!(last.contains(&data) && last.contains("in use"), "{log}");
    process.stop().assert_drained();
}

#[test]
fn a_bad_config_ends_the_process_before_anything_is_written() {
    let folder = Folder::new();
    let text = "sources: { s: { type: generate } }\nsinks: { out: { type: nothing } }";
    let path = folder.write("veltrix.yaml", &[text.to_owned()]);
    let output = veltrix(&folder, &["run", "-c", &path]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert!(log.contains("blackhole"), "{log}");
    let left = std::fs::read_dir(folder.path(".")).expect("a folder");
    assert_eq!(left.count(), 1, "only the config");
}

#[test]
fn a_wrong_command_line_is_a_usage_error_and_the_version_is_told() {
    let folder = Folder::new();
    assert_eq!(veltrix(&folder, &["run", "--fast"]).status.code(), Some(2));
    assert_eq!(veltrix(&folder, &[]).status.code(), Some(2));
    let output = veltrix(&folder, &["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let expected = format!("veltrix {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
