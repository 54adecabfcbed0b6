//! The breaker of a broken handler: who sees it open, what becomes of the events that wait, and what a stop does about it.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::folder::{self, Folder};
use crate::metrics::Metrics;
use crate::outages::actor;
use crate::process::{Ended, Process, request};
use crate::stub_server::{Receiver, answer};

const EVENTS: usize = 60;
const MIN_EVENTS: usize = 5;

/// A component that refuses everything until it is mended.
struct Component {
    receiver: Receiver,
    is_mended: Arc<AtomicBool>,
}

impl Component {
    fn broken() -> Self {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = is_mended.clone();
        let receiver = Receiver::start(move |request, _| match mended.load(Ordering::Acquire) {
            true => answer("200 OK", "application/cloudevents+json", &request.body),
            false => answer("400 Bad Request", "text/plain", "broken"),
        });
        Self {
            receiver,
            is_mended,
        }
    }

    fn mend(&self) {
        self.is_mended.store(true, Ordering::Release);
    }

    /// Events from standard input over two lanes through the component to a file.
    fn config(&self, folder: &Folder) -> Value {
        json!({
            "service": { "admin": { "listen": "127.0.0.1:0" } },
            "sources": { "in": { "type": "stdin" } },
            "handlers": { "asked": {
                "on": "t", "type": "http", "url": self.receiver.url(), "concurrency": 2, "to": "out",
                "supervision": { "breaker": { "min_events": MIN_EVENTS, "window": "1h" } },
            } },
            "sinks": { "out": { "type": "file", "path": folder.path("out") } },
        })
    }
}

fn event(id: usize) -> String {
    let subject = id % 7;
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t","subject":"s{subject}","data":{id}}}"#
    )
}

/// Runs until the events wait for the open breaker.
fn paused(config: &Value) -> (Process, std::process::ChildStdin) {
    let mut process = Process::start_fed(&config.to_string());
    let mut input = process.input();
    let admin = process.admin();
    for id in 0..EVENTS {
        writeln!(input, "{}", event(id)).expect("written");
    }
    process.log(|record| {
        let message = record["message"].as_str();
        message.is_some_and(|message| message.contains("it is paused"))
    });
    process.until("all events, and both lanes to see it", || {
        let is_paused = |lane| actor(admin, lane)["state"] == "paused";
        Metrics::of(admin).source("accepted", "in") == EVENTS as f64
            && ["handlers/asked/0", "handlers/asked/1"]
                .into_iter()
                .all(is_paused)
    });
    (process, input)
}

fn numbers(folder: &Folder) -> Vec<usize> {
    let number = |event: &Value| event["data"].as_u64().expect("a number") as usize;
    folder.events("out").iter().map(number).collect()
}

#[test]
fn a_broken_handler_is_paused_and_goes_on_by_itself_with_its_events_in_order() {
    let (folder, component) = (Folder::new(), Component::broken());
    let (mut process, input) = paused(&component.config(&folder));
    let admin = process.admin();
    let ready = request(admin, "GET", "/readyz", &[], b"");
    assert_eq!(
        ready.status, 200,
        "its sources feel the credit, not a load balancer"
    );
    assert!(ready.body.contains("degraded"), "{}", ready.body);
    assert!(ready.body.contains("handlers/asked/0"), "{}", ready.body);
    component.mend();
    process.log(|record| record["message"] == "the handler goes on");
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    let dead = ended.dead_letters("handler.asked", "error") as usize;
    // Probes that failed before it was mended count as well.
    let pauses =
        ended.records("too many of the handler's events fail, it is paused; its events wait");
    assert!(dead <= MIN_EVENTS + 1 + pauses.len(), "{dead}, {pauses:?}");
    let delivered = numbers(&folder);
    assert_eq!(delivered.len(), EVENTS - dead);
    let mut last = [None; 7];
    for number in delivered {
        let before = last[number % 7].replace(number);
        assert!(before < Some(number), "{number} came after {before:?}");
    }
}

/// The last line of the log: why the process failed.
fn reason(ended: &Ended) -> &str {
    let last = ended.logs.last().expect("a log");
    last["reason"].as_str().expect("a reason")
}

#[test]
fn a_stop_leaves_the_events_of_a_paused_handler_to_the_next_start() {
    let (folder, component) = (Folder::new(), Component::broken());
    let mut config = component.config(&folder);
    config["service"]["data_dir"] = json!(folder.path("data"));
    config["service"]["drain_timeout"] = json!("1s");
    let (process, _input) = paused(&config);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
    let dead = ended.dead_letters("handler.asked", "error") as usize;
    let pauses =
        ended.records("too many of the handler's events fail, it is paused; its events wait");
    assert!(dead <= MIN_EVENTS + 1 + pauses.len(), "{dead}, {pauses:?}");
    // Events are finished with all that were taken in with them, so some dead letters may come again.
    let kept = ended.source("in")["unfinished"].as_u64().expect("a count");
    assert!(kept as usize >= EVENTS - dead, "{kept} and {dead}");
    let expected = format!("{kept} events unfinished, all of them kept for the next start");
    assert!(reason(&ended).contains(&expected), "{}", reason(&ended));

    component.mend();
    let again = Process::start(&config.to_string()).wait();
    again.assert_drained();
    assert_eq!(again.source("in")["accepted"], kept);
    let mut delivered = numbers(&folder);
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered.len() as u64, kept);
}

#[test]
fn a_stop_tries_what_nothing_keeps_though_other_events_would_be_kept() {
    let (folder, component) = (Folder::new(), Component::broken());
    let mut config = component.config(&folder);
    config["service"]["drain_timeout"] = json!("1s");
    config["sources"]["in"]["durability"] = json!("none");
    config["sources"]["kept"] =
        json!({ "type": "tcp", "listen": "127.0.0.1:0", "durability": "journal" });
    let (mut process, _input) = paused(&config);
    let (admin, kept) = (process.admin(), process.address("kept"));
    let mut kept = TcpStream::connect(kept).expect("connected");
    for id in 0..EVENTS {
        writeln!(kept, "{}", event(id)).expect("written");
    }
    process.until("the events of the other source", || {
        Metrics::of(admin).source("accepted", "kept") == EVENTS as f64
    });
    let ended = process.stop();
    assert_eq!(ended.source("in")["unfinished"], 0);
    let dead = ended.dead_letters("handler.asked", "error");
    let unfinished = ended.source("kept")["unfinished"].as_u64();
    assert!(dead + unfinished.expect("a count") >= 2 * EVENTS as u64);
}

#[test]
fn a_drain_tries_everything_that_nothing_keeps_though_the_breaker_is_open() {
    let (folder, component) = (Folder::new(), Component::broken());
    let mut config = component.config(&folder);
    config["sources"]["in"]["durability"] = json!("none");
    let (process, _input) = paused(&config);
    component.mend();
    let ended = process.stop();
    ended.assert_drained();
    let dead = ended.dead_letters("handler.asked", "error") as usize;
    assert_eq!(numbers(&folder).len(), EVENTS - dead);
}

#[test]
fn a_run_whose_input_ends_while_the_handler_is_paused_comes_to_an_end() {
    let (folder, component) = (Folder::new(), Component::broken());
    let (process, input) = paused(&component.config(&folder));
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.asked", "error"), EVENTS as u64);
}

#[test]
fn a_drain_does_not_wait_for_the_breaker_because_another_source_is_not_up() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (folder, component) = (Folder::new(), Component::broken());
    let mut config = component.config(&folder);
    config["sources"]["in"]["durability"] = json!("none");
    config["sources"]["down"] = json!({ "type": "tcp", "listen": address });
    config["supervision"] = json!({ "backoff": { "min": "1h", "max": "1h" } });
    config["handlers"]["asked"]["supervision"]["attempts"] = json!(1);
    // Its probes fail, so that each pause is longer than the one before.
    let (process, _input) = paused(&config);
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.dead_letters("handler.asked", "error"), EVENTS as u64);
    assert_eq!(ended.records("the handler goes on").len(), 0);
    assert_eq!(folder::event(&ended.summary().to_string())["delivered"], 0);
}
