//! What senders are told by sources with `durability: journal`: full disks, failing journals, drains, senders that go away.

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
#[path = "support/small_disk.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod small_disk;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Answer, Process, connect, event_line, ids, request, unless_closed};
use serde_json::json;
use small_disk::SmallDisk;

/// An http source and a tcp source with acks; one sink waits for a gate, one writes at once.
fn config(data: &str, folder: &Folder, gate: &Gate) -> String {
    json!({
        "service": { "data_dir": data, "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "5s" },
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

/// Posts a batch of events called `PREFIX-NUMBER`, of about 100 KiB.
fn post(address: SocketAddr, prefix: &str) -> (Answer, Vec<String>) {
    let ids: Vec<_> = (0..100)
        .map(|number| format!("{prefix}-{number}"))
        .collect();
    let padding = "x".repeat(1_000);
    let event = |id: &String| json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": padding });
    let body = json!(ids.iter().map(event).collect::<Vec<_>>()).to_string();
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let answer = request(address, "POST", "/", &headers, body.as_bytes());
    (answer, ids)
}

/// What a source shows of itself now.
fn gauge(admin: SocketAddr, name: &str, source: &str) -> f64 {
    Metrics::of(admin).get(&format!("veltrix_source_{name}{{source=\"{source}\"}}"))
}

/// Sends an event that needs as much room as what [`post`] posts.
fn send_line(feed: &mut TcpStream, id: &str) {
    let data = "x".repeat(100_000);
    let line = json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": data });
    let line = format!("{line}\n");
    feed.write_all(line.as_bytes()).expect("sent");
}

#[test]
fn a_full_disk_refuses_and_holds_back_until_there_is_room_and_loses_nothing() {
    const CYCLES: usize = 5;
    let Some(disk) = SmallDisk::mount("12m") else {
        println!("SKIPPED: no small disk can be mounted here, run it as root");
        return;
    };
    let (folder, gate) = (Folder::new(), Gate::closed());
    let mut process = Process::start(&config(&disk.path("data"), &folder, &gate));
    let (http, tcp, admin) = (
        process.address("in"),
        process.address("feed"),
        process.admin(),
    );
    let mut feed = connect(tcp);
    let mut answers = BufReader::new(feed.try_clone().expect("a connection"));
    let mut accepted = Vec::new();
    for cycle in 0..CYCLES {
        disk.fill();
        let mut posts = 0;
        let refusal = loop {
            posts += 1;
            assert!(posts < 1_000, "the disk is never full");
            let (answer, ids) = post(http, &format!("{cycle}-{posts}"));
            match answer.status {
                202 => accepted.extend(ids),
                _ => break answer,
            }
        };
        assert_eq!(refusal.status, 503, "{refusal:?}");
        assert_eq!(refusal.header("retry-after"), Some("1"));
        assert!(refusal.body.contains("\"journal_full\""), "{refusal:?}");
        let line = format!("line-{cycle}");
        send_line(&mut feed, &line);
        process.until("the line waits", || gauge(admin, "pending", "feed") == 1.0);
        assert_eq!(Metrics::of(admin).get("veltrix_journal_full"), 1.0);
        feed.set_nonblocking(true).expect("set");
        let early = (&feed).read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(early, Err(ErrorKind::WouldBlock), "no answer yet");
        feed.set_nonblocking(false).expect("set");
        disk.free();
        gate.open();
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("an answer");
        assert!(answer.contains("\"accepted\":1"), "{answer}");
        accepted.push(line);
        let (answer, ids) = post(http, &format!("{cycle}-again"));
        assert_eq!(answer.status, 202, "{answer:?}");
        accepted.extend(ids);
        process.until("it has drained", || {
            Metrics::of(admin).get("veltrix_sink_waiting{sink=\"slow\"}") == 0.0
                && gauge(admin, "in_flight", "in") == 0.0
        });
        gate.close();
    }
    gate.open();
    let ended = process.stop();
    ended.assert_drained();
    let mut delivered = ids(&folder.lines("out"));
    delivered.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(delivered, accepted);
}

#[test]
fn a_drain_closes_connections_whose_events_wait_for_a_full_disk_without_an_answer() {
    let Some(disk) = SmallDisk::mount("8m") else {
        println!("SKIPPED: no small disk can be mounted here, run it as root");
        return;
    };
    let (folder, gate) = (Folder::new(), Gate::closed());
    let mut process = Process::start(&config(&disk.path("data"), &folder, &gate));
    let (http, tcp, admin) = (
        process.address("in"),
        process.address("feed"),
        process.admin(),
    );
    disk.fill();
    let mut posts = 0;
    while post(http, &posts.to_string()).0.status == 202 {
        posts += 1;
    }
    let mut feed = connect(tcp);
    send_line(&mut feed, "never-accepted");
    process.until("the line waits", || gauge(admin, "pending", "feed") == 1.0);
    gate.open();
    let ended = process.stop();
    println!("{:?}", ended.status);
    let mut answer = String::new();
    unless_closed(feed.read_to_string(&mut answer).map(|_| ()));
    assert_eq!(answer, "");
    disk.free();
    assert!(!ids(&folder.lines("out")).contains(&"never-accepted".to_owned()));
    ended.assert_drained();
}

#[test]
fn a_journal_that_fails_answers_nobody_with_success_and_what_it_accepted_is_delivered_later() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder.path("data"), &folder, &gate);
    let mut process = Process::start_limitable(&config);
    let (http, tcp) = (process.address("in"), process.address("feed"));
    let (answer, accepted) = post(http, "kept");
    assert_eq!(answer.status, 202);
    let mut feed = connect(tcp);
    process.limit_files(Some(4_096));
    let (answer, _) = post(http, "refused");
    assert!(
        answer.status == 0 || answer.status == 503 && answer.body.contains("\"journal_failed\""),
        "{answer:?}"
    );
    unless_closed(feed.write_all(format!("{}\n", event_line("refused")).as_bytes()));
    let mut told = String::new();
    unless_closed(feed.read_to_string(&mut told).map(|_| ()));
    assert_eq!(told, "");
    // Its end waits for sinks as any other.
    gate.open();
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.logs);

    let mut process = Process::start(&config);
    process.running();
    process.stop().assert_drained();
    let delivered = ids(&folder.lines("out"));
    let missing: Vec<_> = accepted
        .iter()
        .filter(|id| !delivered.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn pipelined_requests_are_answered_and_kept_in_their_order() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let mut process = Process::start(&config(&folder.path("data"), &folder, &gate));
    let mut stream = connect(process.address("in"));
    let sent: Vec<_> = (0..200).map(|id| id.to_string()).collect();
    let mut requests = String::new();
    for id in &sent {
        let (body, last) = (event_line(id), id == "199");
        let close = if last { "Connection: close\r\n" } else { "" };
        requests.push_str(&format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{close}Content-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    stream.write_all(requests.as_bytes()).expect("sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answered");
    assert_eq!(answers.matches("HTTP/1.1 202 ").count(), sent.len());
    process.stop().assert_drained();
    assert_eq!(ids(&folder.lines("out")), sent);
}

#[test]
fn senders_that_do_not_wait_for_their_answers_harm_nobody() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    let mut process = Process::start(&config(&folder.path("data"), &folder, &gate));
    let (http, tcp, admin) = (
        process.address("in"),
        process.address("feed"),
        process.admin(),
    );
    for id in 0..50 {
        let body = event_line(&format!("post-{id}"));
        let mut stream = connect(http);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("sent");
        drop(stream);
        let mut feed = connect(tcp);
        send_line(&mut feed, &format!("line-{id}"));
        // Half of them close their side and the other half everything.
        if id % 2 == 0 {
            feed.shutdown(Shutdown::Write).expect("shut down");
            let mut answer = String::new();
            feed.read_to_string(&mut answer).expect("answered");
            assert!(answer.contains("\"accepted\":1"), "{answer}");
        }
    }
    let (answer, last) = post(http, "last");
    assert_eq!(answer.status, 202);
    process.until("nothing is pending", || {
        gauge(admin, "pending", "in") + gauge(admin, "pending", "feed") == 0.0
    });
    process.stop().assert_drained();
    let delivered = ids(&folder.lines("out"));
    for id in (0..50)
        .step_by(2)
        .map(|id| format!("line-{id}"))
        .chain(last)
    {
        assert_eq!(delivered.iter().filter(|known| **known == id).count(), 1);
    }
    let mut once = delivered.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), delivered.len(), "nothing came twice");
}
