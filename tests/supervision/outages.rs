//! What the world takes away and gives back: a port, the room on a disk, a worker thread, a receiver's answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::folder::{self, Folder};
use crate::metrics::Metrics;
use crate::process::{Process, ids, request};
use crate::stub_server::{Receiver, answer};

fn event(kind: &str, id: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{kind}","subject":"s{}","data":{id}}}"#,
        id % 3
    )
}

fn write(input: &mut impl Write, kind: &str, ids: std::ops::Range<usize>) {
    for id in ids {
        writeln!(input, "{}", event(kind, id)).expect("written");
    }
    input.flush().expect("written");
}

/// What `/api/tree` says of the actor at that path.
pub(crate) fn actor(admin: SocketAddr, path: &str) -> Value {
    fn find(actors: &Value, path: &str) -> Option<Value> {
        let mut actors = actors.as_array()?.iter();
        actors.find_map(|actor| match actor["path"] == path {
            true => Some(actor.clone()),
            false => find(&actor["children"], path),
        })
    }
    let tree = folder::event(&request(admin, "GET", "/api/tree", &[], b"").body);
    find(&tree["actors"], path).unwrap_or_else(|| panic!("no {path} in {tree:#}"))
}

fn listening_at(address: SocketAddr, max_restarts: u32) -> String {
    json!({
        "supervision": { "max_restarts": max_restarts, "backoff": { "min": "1ms", "max": "10ms" } },
        "sources": { "feed": { "type": "tcp", "listen": address.to_string() } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
        "sinks": { "out": { "type": "stdout" } },
    })
    .to_string()
}

fn taken_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_source_whose_port_is_taken_takes_it_once_it_is_free() {
    let (taken, address) = taken_port();
    let mut process = Process::start(&listening_at(address, 1_000_000));
    let third =
        process.log(|record| record["message"] == "restarting" && record["generation"] == 3);
    let reason = third["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot listen on"), "{reason}");
    drop(taken);
    assert_eq!(process.address("feed"), address);
    write(
        &mut TcpStream::connect(address).expect("connected"),
        "t",
        0..1,
    );
    assert_eq!(ids(&[process.line()]), ["0"]);
    process.stop().assert_drained();
}

#[test]
fn a_source_whose_port_stays_taken_uses_the_restarts_up_and_the_last_line_says_why() {
    let (_taken, address) = taken_port();
    let ended = Process::start(&listening_at(address, 3)).wait();
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.logs);
    assert_eq!(ended.records("restarting").len(), 3);
    let last = ended.logs.last().expect("a log");
    assert_eq!(last["level"], "ERROR");
    let reason = last["reason"].as_str().expect("a reason");
    let expected = format!("sources: feed: cannot listen on {address}");
    assert!(reason.starts_with(&expected), "{reason}");
}

#[test]
fn a_file_sink_without_room_keeps_its_events_and_writes_them_when_there_is_some() {
    let folder = Folder::new();
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "stdin", "durability": "none" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
        "supervision": { "backoff": { "min": "1ms", "max": "10ms" } },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    });
    let mut process = Process::start_limitable(&config.to_string());
    let (admin, mut input) = (process.admin(), process.input());
    process.running();
    // In the middle of a line: what was written of it must not be written again.
    process.limit_files(Some(1_000));
    write(&mut input, "t", 0..100);
    process.until("two attempts without room", || {
        let metrics = Metrics::of(admin);
        metrics.source("accepted", "in") == 100.0 && metrics.sink("errors", "out") >= 2.0
    });
    let metrics = Metrics::of(admin);
    assert_eq!(
        std::fs::metadata(folder.path("out")).expect("a file").len(),
        1_000
    );
    let delivered = metrics.sink("delivered", "out");
    assert!(delivered < 100.0, "{delivered}");
    process.limit_files(None);
    process.until("the rest", || {
        Metrics::of(admin).sink("delivered", "out") == 100.0
    });
    drop(input);
    process.wait().assert_drained();
    let expected: Vec<String> = (0..100).map(|id| event("t", id)).collect();
    assert_eq!(folder.lines("out"), expected);
}

#[test]
fn a_handler_that_hangs_does_not_keep_the_other_one_of_its_thread_waiting() {
    let config = json!({
        "service": { "workers": 1, "drain_timeout": "100ms", "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "stdin" } },
        "handlers": {
            "stuck": {
                "on": "t", "type": "pass", "to": "out", "isolation": "shared", "supervision": { "deadline": "1h" },
            },
            "beside": { "on": "n", "type": "pass", "to": "out", "isolation": "shared" },
        },
        "sinks": { "out": { "type": "stdout" } },
        "faults": { "inject": [{ "at": "handler.stuck", "hang": "1h" }] },
    });
    let mut process = Process::start_fed(&config.to_string());
    let (admin, mut input) = (process.admin(), process.input());
    process.running();
    write(&mut input, "t", 0..1);
    process.log(|record| record["message"] == "injected fault" || record["action"] == "hang");
    write(&mut input, "n", 0..500);
    let lines: Vec<String> = (0..500).map(|_| process.line()).collect();
    let expected: Vec<String> = (0..500).map(|id| event("n", id)).collect();
    assert_eq!(lines, expected);
    // The hang is not over.
    let stuck = actor(admin, "handlers/stuck/0");
    assert_eq!(
        (&stuck["backlog"]["events"], &stuck["restarts"]),
        (&json!(1), &json!(0))
    );
    let beside = actor(admin, "handlers/beside/0");
    assert_eq!(beside["generation"], 2, "it was moved once");
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.source("in")["unfinished"], 1);
    assert_eq!(
        ended
            .records("a handler hangs, its lane goes on without it")
            .len(),
        0
    );
}

#[test]
fn results_that_wait_for_a_stalled_sink_outlive_their_lane() {
    let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
    let opened = gate.clone();
    let receiver = Receiver::start(move |_, _| {
        let is_open = opened.0.lock().expect("no panic inside");
        let is_open = opened.1.wait_while(is_open, |is_open| !*is_open);
        drop(is_open.expect("no panic inside"));
        answer("200 OK", "text/plain", "")
    });
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "supervision": { "backoff": { "min": "1ms", "max": "2ms" } },
        "sources": { "in": { "type": "stdin" } },
        "handlers": { "worked": { "on": "t", "type": "pass", "to": "out" } },
        "sinks": { "out": { "type": "http", "url": receiver.url(), "concurrency": 1 } },
        "faults": { "inject": [{ "at": "handler.worked", "abort_actor": true, "only": { "id": "35" } }] },
    });
    let mut process = Process::start_fed(&config.to_string());
    let (admin, mut input) = (process.admin(), process.input());
    // One batch after the other: two take the credits, the third waits in the lane's outlet.
    for (first, results) in [(0, 10), (10, 20), (20, 30)] {
        write(&mut input, "t", first..results);
        process.until("the batch's results", || {
            Metrics::of(admin).handler("results", "worked") == results as f64
        });
    }
    write(&mut input, "t", 30..40);
    process.until("the last results, of the lane's successor", || {
        Metrics::of(admin).handler("results", "worked") == 40.0
    });
    let lane = actor(admin, "handlers/worked/0");
    assert_eq!(
        (&lane["generation"], &lane["restarts"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(Metrics::of(admin).sink("delivered", "out"), 0.0);
    *gate.0.lock().expect("no panic inside") = true;
    gate.1.notify_all();
    drop(input);
    process.wait().assert_drained();
    let delivered: Vec<String> = receiver.requests().into_iter().map(|it| it.body).collect();
    let expected: Vec<String> = (0..40).map(|id| event("t", id)).collect();
    assert_eq!(delivered, expected);
}

#[test]
fn a_handler_whose_restarts_are_used_up_is_started_again_with_its_events_by_the_one_above() {
    let folder = Folder::new();
    let events: Vec<String> = (0..3_000).map(|id| event("t", id)).collect();
    let config = json!({
        "supervision": { "max_restarts": 100, "backoff": { "min": "1ms", "max": "2ms" } },
        "sources": { "in": { "type": "file", "path": folder.write("in", &events), "follow": false } },
        "handlers": { "worked": {
            "on": "t", "type": "pass", "to": "out", "lanes": 3, "supervision": { "max_restarts": 1 },
        } },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
        "faults": { "inject": [{ "at": "handler.worked", "abort_actor": true, "every": 300 }] },
    });
    let ended = Process::start_faulty(&config.to_string()).wait();
    ended.assert_drained();
    let escalated = ended.records("the restart budget is used up, escalating");
    assert!(escalated.len() >= 2, "{}", escalated.len());
    let mut delivered = folder.lines("out");
    assert_eq!(delivered.len(), events.len());
    for subject in 0..3 {
        let is_of = |line: &&String| line.contains(&format!(r#""subject":"s{subject}""#));
        let sent: Vec<&String> = events.iter().filter(is_of).collect();
        assert_eq!(delivered.iter().filter(is_of).collect::<Vec<_>>(), sent);
    }
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered.len(), events.len());
}

#[test]
fn a_drain_waits_for_events_whose_source_has_failed_though_they_go_round_again() {
    let folder = Folder::new();
    let (is_open, opened) = (Mutex::new(false), Condvar::new());
    let gate = Arc::new((is_open, opened));
    let opened = gate.clone();
    let receiver = Receiver::start(move |request, _| {
        let is_open = opened.0.lock().expect("no panic inside");
        let is_open = opened.1.wait_while(is_open, |is_open| !*is_open);
        drop(is_open.expect("no panic inside"));
        let again = request.body.replace("order.created", "order.seen");
        answer("200 OK", "application/cloudevents+json", &again)
    });
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "supervision": { "backoff": { "min": "1h", "max": "1h" } },
        "sources": { "in": { "type": "generate", "rate": "max", "count": 5 } },
        "handlers": {
            "asked": { "on": "order.created", "type": "http", "url": receiver.url(), "to": "router" },
            "again": { "on": "order.seen", "type": "pass", "to": "out" },
        },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
        "faults": { "inject": [{ "at": "source.in", "error": true, "times": 1 }] },
    });
    let mut process = Process::start_fed(&config.to_string());
    let admin = process.admin();
    process.until("the request", || !receiver.requests().is_empty());
    process.until("the failure", || {
        actor(admin, "sources/in")["state"] == "backing_off"
    });
    process.signal(rustix::process::Signal::TERM);
    process.until("the source's end", || {
        actor(admin, "sources/in")["state"] == "stopped"
    });
    *gate.0.lock().expect("no panic inside") = true;
    gate.1.notify_all();
    let ended = process.wait();
    ended.assert_drained();
    let accepted = ended.source("in")["accepted"].as_u64();
    assert_eq!(Some(folder.lines("out").len() as u64), accepted);
}
