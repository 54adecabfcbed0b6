//! Events that come again, in the real binary: taken, and not handled again; refused when they contradict.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;

use folder::{Folder, event};
use metrics::Metrics;
use process::{Answer, Process, connect, ids, request};
use rustix::process::Signal;
use serde_json::{Value, json};

struct Running {
    process: Process,
    admin: SocketAddr,
    http: SocketAddr,
    tcp: SocketAddr,
}

impl Running {
    fn start(folder: &Folder) -> Self {
        let config = json!({
            "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" } },
            "sources": {
                "in": { "type": "http", "listen": "127.0.0.1:0", "path": "/" },
                "feed": { "type": "tcp", "listen": "127.0.0.1:0", "ack": true },
            },
            "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
            "sinks": { "out": { "type": "file", "path": folder.path("out") } },
            "dedupe": { "window": "10m", "max_keys": 100_000 },
        });
        let mut process = Process::start(&config.to_string());
        Self {
            admin: process.admin(),
            http: process.address("in"),
            tcp: process.address("feed"),
            process,
        }
    }

    fn post(&self, body: &str) -> Answer {
        post(self.http, body)
    }

    fn duplicates(&self) -> f64 {
        self.count(r#"veltrix_dropped_total{rule="duplicate"}"#)
    }

    fn conflicts(&self) -> f64 {
        self.count(r#"veltrix_source_rejected_total{source="in",reason="id_conflict"}"#)
    }

    /// A counter that is not there before it counts.
    fn count(&self, series: &str) -> f64 {
        let metrics = Metrics::of(self.admin);
        if metrics.has(series) {
            metrics.get(series)
        } else {
            0.0
        }
    }
}

fn post(address: SocketAddr, body: &str) -> Answer {
    let headers = [("content-type", "application/cloudevents+json")];
    request(address, "POST", "/", &headers, body.as_bytes())
}

fn line(id: usize, data: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{data},"time":"2026-01-01T00:00:00Z"}}"#
    )
}

#[test]
fn an_event_that_comes_again_is_accepted_and_not_handled_again_even_after_a_kill() {
    let folder = Folder::new();
    let running = Running::start(&folder);
    assert_eq!(running.post(&line(1, 1)).status, 202);
    assert_eq!(running.post(&line(1, 1)).status, 202);
    let later = line(1, 1).replace("2026", "2027");
    assert_eq!(running.post(&later).status, 202, "its time is no content");
    let refused = running.post(&line(1, 2));
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(event(&refused.body)["reason"], "id_conflict");
    assert_eq!(running.duplicates(), 2.0);
    running.process.signal(Signal::KILL);
    running.process.wait();

    let running = Running::start(&folder);
    // The counts go on from what the killed process last wrote down of them.
    let (duplicates, conflicts) = (running.duplicates(), running.conflicts());
    assert_eq!(running.post(&line(1, 1)).status, 202);
    assert_eq!(running.post(&line(1, 2)).status, 409);
    assert_eq!(running.post(&line(2, 2)).status, 202);
    assert_eq!(running.duplicates(), duplicates + 1.0);
    assert_eq!(running.conflicts(), conflicts + 1.0);
    let ended = running.process.stop();
    ended.assert_drained();
    let accepted = &ended.source("in")["accepted"];
    assert!(*accepted == 2 || *accepted == 3, "{accepted}");
    let mut delivered = ids(&folder.lines("out"));
    // The kill may have come before it was noted that the first one is finished.
    delivered.dedup();
    assert_eq!(delivered, ["1", "2"]);
}

#[test]
fn of_a_tcp_batch_what_came_before_is_accepted_and_what_contradicts_is_refused() {
    let folder = Folder::new();
    let running = Running::start(&folder);
    assert_eq!(running.post(&line(3, 3)).status, 202);
    // Twice within the batch, too.
    let lines = [line(1, 1), line(2, 2), line(1, 1), line(3, 4), line(3, 3)];
    let mut feed = connect(running.tcp);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    feed.write_all(text.as_bytes()).expect("sent");
    let mut answers = BufReader::new(feed.try_clone().expect("a handle")).lines();
    let (mut accepted, mut rejected, mut reasons) = (0, 0, Vec::new());
    while accepted + rejected < 5 {
        let answer = event(&answers.next().expect("an answer").expect("read"));
        accepted += answer["accepted"].as_u64().expect("a count");
        rejected += answer["rejected"].as_u64().expect("a count");
        let errors = answer["errors"].as_array().expect("a list");
        reasons.extend(errors.iter().map(|error| error["reason"].clone()));
    }
    assert_eq!((accepted, rejected), (4, 1));
    assert_eq!(reasons, [json!("id_conflict")]);
    assert_eq!(running.duplicates(), 2.0);
    drop((feed, answers));
    let ended = running.process.stop();
    ended.assert_drained();
    let of = |key: &str| -> Value { ended.source("feed")[key].clone() };
    assert_eq!(
        (of("accepted"), of("finished"), of("rejected")),
        (json!(4), json!(4), json!(1))
    );
    let mut delivered = ids(&folder.lines("out"));
    delivered.sort();
    assert_eq!(delivered, ["1", "2", "3"]);
}

#[test]
fn many_senders_of_one_event_are_all_answered_and_it_is_handled_once() {
    let folder = Folder::new();
    let running = Running::start(&folder);
    let address = running.http;
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for id in 0..50 {
                    assert_eq!(post(address, &line(id, id)).status, 202);
                }
            });
        }
    });
    assert_eq!(running.duplicates(), 15.0 * 50.0);
    let ended = running.process.stop();
    ended.assert_drained();
    assert_eq!(ended.source("in")["accepted"], 800);
    let mut delivered: Vec<usize> = ids(&folder.lines("out"))
        .iter()
        .map(|id| id.parse().expect("a number"))
        .collect();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..50).collect::<Vec<_>>());
}
