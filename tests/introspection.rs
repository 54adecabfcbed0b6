//! What the real binary tells of its supervision tree: over its API, as a table, in its metrics and in its log.

#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use gate::Gate;
use metrics::Metrics;
use process::{Process, connect, request};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A source that cannot listen while the port is taken, two lanes, and a sink whose receiver lets it wait.
fn config(taken: &TcpListener, gate: &Gate, backoff: &str) -> Value {
    let address = taken.local_addr().expect("an address").to_string();
    json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "supervision": { "max_restarts": 1_000_000, "backoff": { "min": backoff, "max": backoff } },
        "sources": {
            "load": { "type": "generate", "rate": "max", "count": 5 },
            "feed": { "type": "tcp", "listen": address },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "lanes": 2, "to": ["slow"] } },
        "sinks": { "slow": { "type": "http", "url": gate.url() } },
    })
}

fn taken_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

fn tree(admin: SocketAddr) -> Value {
    let answer = request(admin, "GET", "/api/tree", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The actor at that path, if it is known yet.
fn find<'a>(actors: &'a Value, path: &str) -> Option<&'a Value> {
    actors.as_array()?.iter().find_map(|actor| {
        let is_it = actor["path"] == path;
        is_it
            .then_some(actor)
            .or_else(|| find(&actor["children"], path))
    })
}

fn actor(tree: &Value, path: &str) -> Value {
    let found = find(&tree["actors"], path);
    found
        .unwrap_or_else(|| panic!("no {path} in {tree:#}"))
        .clone()
}

fn top(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .arg("top")
        .args(arguments)
        .env_remove("VELTRIX_CONFIG")
        .output()
        .expect("the binary")
}

fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn the_tree_shows_who_runs_who_backs_off_and_why_and_what_waits() {
    let (taken, gate) = (taken_port(), Gate::closed());
    let mut process = Process::start(&config(&taken, &gate, "1h").to_string());
    let admin = process.admin();
    process.until("an event at the sink, and the failed source", || {
        let tree = tree(admin);
        let state = find(&tree["actors"], "sources/feed").map(|feed| feed["state"].clone());
        gate.asked() > 0 && state == Some(json!("backing_off"))
    });
    let tree = tree(admin);
    let names = |actors: &Value| -> Vec<String> {
        let actors = actors.as_array().expect("a list").iter();
        actors.map(|actor| actor["name"].to_string()).collect()
    };
    let roles = [
        r#""dead-letters""#,
        r#""journal""#,
        r#""overflow""#,
        r#""sinks""#,
        r#""handlers""#,
        r#""router""#,
        r#""sources""#,
    ];
    assert_eq!(names(&tree["actors"]), roles);
    let lanes = actor(&tree, "handlers/all")["children"].clone();
    assert_eq!(names(&lanes), [r#""0""#, r#""1""#]);
    for lane in lanes.as_array().expect("a list") {
        assert_eq!(
            (&lane["state"], &lane["generation"]),
            (&json!("running"), &json!(1))
        );
        assert_eq!(lane["last_failure"], Value::Null);
    }
    let feed = actor(&tree, "sources/feed");
    assert_eq!(
        (&feed["generation"], &feed["restarts"]),
        (&json!(1), &json!(1))
    );
    let reason = feed["last_failure"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot listen on"), "{reason}");
    assert_eq!(actor(&tree, "sources/load")["counts"]["accepted"], 5);
    assert_eq!(actor(&tree, "sources")["state"], "starting");
    let sink = actor(&tree, "sinks/slow");
    assert!(sink["backlog"]["events"].as_u64() > Some(0), "{sink}");
    assert!(
        sink["backlog"]["oldest_seconds"].as_f64() > Some(0.0),
        "{sink}"
    );
    assert_eq!(tree["restarts"], 1);
    gate.open();
    process.stop();
}

#[test]
fn top_prints_the_tree_of_the_process_that_the_config_or_the_address_names() {
    let (taken, gate) = (taken_port(), Gate::closed());
    gate.open();
    let mut config = config(&taken, &gate, "1h");
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.log(|record| record["message"] == "restarting");
    let by_address = printed(&top(&["--once", "--admin", &admin.to_string()]));
    let lines: Vec<&str> = by_address.lines().collect();
    let column = lines[0].find("STATE").expect("a column");
    for (name, state) in [
        ("dead-letters", "running"),
        ("  slow", "running"),
        ("    1", "running"),
        ("sources", "starting"),
        ("  feed", "backing_off"),
    ] {
        let begins = |line: &&&str| {
            line.get(..column)
                .is_some_and(|cell| cell.trim_end() == name)
        };
        let line = lines.iter().find(begins);
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{by_address}"));
        assert_eq!(line[column..].split(' ').next(), Some(state), "{line}");
    }
    assert!(by_address.contains("cannot listen on"), "{by_address}");
    config["service"]["admin"]["listen"] = json!(admin);
    let file = process.folder().join("named.yaml");
    std::fs::write(&file, config.to_string()).expect("a config");
    let file = file.to_str().expect("a path");
    let by_config = printed(&top(&["--once", "-c", file, "-o", "json"]));
    let by_config: Value = serde_json::from_str(&by_config).expect("JSON");
    assert_eq!(actor(&by_config, "sources/feed")["state"], "backing_off");
    assert_eq!(top(&["--admin", &admin.to_string()]).status.code(), Some(2));
    process.stop();
    let nobody = top(&["--once", "--admin", &admin.to_string()]);
    assert_eq!(nobody.status.code(), Some(1));
}

#[test]
fn a_sink_whose_receiver_is_down_is_seen_with_the_reason_and_what_waits_on_disk() {
    let closed = taken_port();
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "10ms" },
        "sources": { "in": { "type": "stdin" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["web"] } },
        "sinks": { "web": { "type": "http", "url": format!("http://{address}/") } },
    });
    let mut process = Process::start_fed(&config.to_string());
    let (admin, mut input) = (process.admin(), process.input());
    // More than what all on the way to the sink have room for, whatever the sizes of their batches.
    for id in 0..20_000 {
        let line = process::event_line(&id.to_string());
        writeln!(input, "{line}").expect("written");
    }
    process.until("a failed delivery", || {
        let tree = tree(admin);
        find(&tree["actors"], "sinks/web").is_some_and(|sink| sink["last_failure"].is_object())
    });
    process.until("what waits in the log", || {
        let tree = tree(admin);
        let log = find(&tree["actors"], "overflow/web");
        let stored = Metrics::of(admin).get(r#"veltrix_sink_overflow{sink="web"}"#);
        stored > 0.0 && log.and_then(|log| log["backlog"]["events"].as_f64()) >= Some(stored)
    });
    let sink = actor(&tree(admin), "sinks/web");
    assert_eq!(sink["state"], "running");
    let reason = sink["last_failure"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("refused"), "{reason}");
    let printed = printed(&top(&["--once", "--admin", &admin.to_string()]));
    assert!(printed.contains(reason), "{printed}");
    assert_eq!(
        request(admin, "GET", "/readyz", &[], b"").body,
        "ready\n",
        "its events wait, and new ones are taken in"
    );
    process.stop();
}

#[test]
fn metrics_and_log_tell_of_each_restart_and_each_state() {
    let (taken, gate) = (taken_port(), Gate::closed());
    gate.open();
    let mut process = Process::start(&config(&taken, &gate, "10ms").to_string());
    let admin = process.admin();
    let restarting = process.log(|record| record["message"] == "restarting");
    assert_eq!(restarting["path"], "sources/feed");
    assert_eq!(restarting["generation"], 1);
    let reason = restarting["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot listen on"), "{reason}");
    assert!(
        restarting["wait"]
            .as_str()
            .is_some_and(|wait| wait.ends_with("ms"))
    );
    let again = process.log(|record| record["message"] == "starting again");
    assert_eq!(
        (&again["path"], &again["generation"]),
        (&json!("sources/feed"), &json!(2))
    );
    drop(taken);
    process.running();
    let metrics = Metrics::of(admin);
    assert!(metrics.get(r#"veltrix_restarts_total{actor="sources/feed"}"#) >= 1.0);
    assert_eq!(
        metrics.get(r#"veltrix_restarts_total{actor="sources/load"}"#),
        0.0
    );
    assert_eq!(metrics.get("veltrix_panics_total"), 0.0);
    for actor in [
        "dead-letters",
        "router",
        "handlers/all/1",
        "sources/feed",
        "sinks/slow",
    ] {
        for (state, is_in) in [("running", 1.0), ("backing_off", 0.0), ("hung", 0.0)] {
            let series = format!(r#"veltrix_actor_state{{actor="{actor}",state="{state}"}}"#);
            assert_eq!(metrics.get(&series), is_in, "{series}");
        }
    }
    process.signal(Signal::TERM);
    process.wait().assert_drained();
}

#[test]
fn metrics_tell_how_many_connections_are_open_and_how_many_failed() {
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": {
            "calm": { "type": "tcp", "listen": "127.0.0.1:0" },
            "hasty": { "type": "tcp", "listen": "127.0.0.1:0", "idle_timeout": "1s" },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["none"] } },
        "sinks": { "none": { "type": "blackhole" } },
    });
    let mut process = Process::start(&config.to_string());
    let (calm, hasty, admin) = (
        process.address("calm"),
        process.address("hasty"),
        process.admin(),
    );
    let counts = |source: &str| {
        let metrics = Metrics::of(admin);
        let open = format!(r#"veltrix_source_connections{{source="{source}"}}"#);
        let failed = format!(r#"veltrix_source_connections_failed_total{{source="{source}"}}"#);
        (metrics.get(&open), metrics.get(&failed))
    };
    let mut open = vec![connect(calm), connect(calm), connect(calm)];
    process.until("three are open", || counts("calm") == (3.0, 0.0));
    open.pop();
    process.until("one has ended well", || counts("calm") == (2.0, 0.0));
    open.push(connect(hasty));
    process.until("one was idle for too long", || {
        counts("hasty") == (0.0, 1.0)
    });
    process.stop().assert_drained();
}
