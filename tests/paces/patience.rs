//! How often and how long: what would come in ages has not come when what comes soon is there.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use super::metrics::Metrics;
use super::process::{Process, event_line, ids};
use super::{AGES, config, is_at_rest};

#[test]
fn poll_is_how_often_a_followed_file_is_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in.ndjson");
    std::fs::write(&path, event_line("0") + "\n").expect("written");
    let file =
        |poll: &str| json!({ "type": "file", "path": "in.ndjson", "follow": true, "poll": poll });
    let sources = json!({ "often": file("1ms"), "seldom": file(AGES) });
    let config = config(sources, json!({ "out": { "type": "blackhole" } }));
    let mut process = Process::start_in(folder, &config.to_string(), Stdio::null());
    let admin = process.admin();
    let accepted = |source: &str| Metrics::of(admin).source("accepted", source);
    process.until("the first line", || {
        accepted("often") == 1.0 && accepted("seldom") == 1.0
    });
    // Both have been to the end of the file by then.
    while !is_at_rest(&process) {
        process.pause();
    }
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    for number in 1..10 {
        writeln!(file, "{}", event_line(&number.to_string())).expect("written");
        process.until("the next line", || accepted("often") > f64::from(number));
    }
    assert_eq!(accepted("seldom"), 1.0);
    process.stop().assert_drained();
}

#[test]
fn rate_is_how_often_an_event_is_made() {
    let generate =
        |rate: Value, count: usize| json!({ "type": "generate", "rate": rate, "count": count });
    let sources = json!({
        "often": generate(json!(1000), 50),
        "seldom": generate(json!(1e-6), 1),
    });
    let config = config(sources, json!({ "out": { "type": "blackhole" } }));
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.until("all that come soon", || {
        Metrics::of(admin).source("accepted", "often") == 50.0
    });
    assert_eq!(Metrics::of(admin).source("accepted", "seldom"), 0.0);
    process.stop().assert_drained();
}

/// A tcp sink and more than fits between it and a peer that does not read.
fn to_a_peer(peer: &TcpListener, timeout: &str) -> Process {
    // Those of its connections are as small.
    set_socket_recv_buffer_size(peer, 4096).expect("set");
    let address = peer.local_addr().expect("an address").to_string();
    let load = json!({ "type": "generate", "rate": "max", "count": 30_000 });
    let sink = json!({ "type": "tcp", "address": address, "timeout": timeout });
    let config = config(json!({ "load": load }), json!({ "out": sink }));
    Process::start(&config.to_string())
}

#[test]
fn timeout_is_how_long_a_tcp_peer_may_take_nothing() {
    let peer = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut hasty = to_a_peer(&peer, "20ms");
    let first = peer.accept().expect("a connection");
    let second = peer.accept().expect("another one in its place");
    let told = hasty.log(|record| record["message"] == "cannot deliver, trying again");
    let reason = told["reason"].as_str().expect("a reason");
    assert!(reason.ends_with("took no data for 20ms"), "{reason}");
    drop((first, second, hasty));

    let peer = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut patient = to_a_peer(&peer, AGES);
    let admin = patient.admin();
    let (stream, _) = peer.accept().expect("a connection");
    while !is_at_rest(&patient) {
        patient.pause();
    }
    assert!(Metrics::of(admin).sink("delivered", "out") < 30_000.0);
    let mut stream = stream;
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let expected: Vec<String> = (1..=30_000)
        .map(|number| format!("load-{number}"))
        .collect();
    assert_eq!(ids(&lines), expected);
    patient.wait().assert_drained();
    peer.set_nonblocking(true).expect("set");
    let further = peer.accept().map(|_| ()).expect_err("no other connection");
    assert_eq!(further.kind(), ErrorKind::WouldBlock);
}

#[test]
fn min_and_max_of_retry_are_how_long_a_sink_waits_until_it_tries_again() {
    for sink in [
        json!({ "type": "tcp", "address": "127.0.0.1:1" }),
        json!({ "type": "http", "url": "http://127.0.0.1:1/" }),
    ] {
        let with = |min: &str, max: &str| {
            let mut sink = sink.clone();
            sink["retry"] = json!({ "min": min, "max": max });
            sink
        };
        let sinks = json!({
            "steady": with("1ms", "1ms"),
            "slower": with("1ms", AGES),
            "late": with(AGES, AGES),
        });
        let load = json!({ "type": "generate", "rate": "max", "count": 1 });
        let mut process = Process::start(&config(json!({ "load": load }), sinks).to_string());
        let admin = process.admin();
        let waits = |sink: &str| {
            let series = format!("veltrix_sink_retries_total{{sink=\"{sink}\"}}");
            Metrics::of(admin).get(&series)
        };
        process.until("many tries", || {
            waits("steady") >= 200.0 && waits("slower") >= 5.0 && waits("late") >= 1.0
        });
        // 1, 2, 4 ... ms until a quarter of an hour: less than ten of those in the time of 200 short ones.
        assert!(waits("slower") < 100.0);
        assert_eq!(waits("late"), 1.0);
    }
}
