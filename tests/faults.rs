//! Faults injected into the real binary: each action at each point does what it says, all events are accounted for, and the
//! same seed does the same.

#[path = "support/config.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod config;
#[path = "faults/diagnostics.rs"]
mod diagnostics;
#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;

use std::collections::{BTreeMap, BTreeSet};

use folder::Folder;
use process::{Ended, Process};
use serde_json::{Value, json};
use stub_server::{Receiver, answer};

const SUBJECTS: usize = 16;

fn line(id: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t","subject":"s{}","data":{{"n":{id}}}}}"#,
        id % SUBJECTS
    )
}

/// A pipeline from a file over four lanes to a file, and what shall go wrong in it.
struct Pipeline {
    folder: Folder,
    config: Value,
    events: usize,
}

impl Pipeline {
    fn new(events: usize, inject: Value) -> Self {
        let folder = Folder::new();
        let lines: Vec<String> = (0..events).map(line).collect();
        let supervision = json!({ "attempts": 3, "backoff": { "min": "1ms", "max": "2ms" }, "max_restarts": 1000 });
        let config = json!({
            "service": { "admin": { "listen": "127.0.0.1:0" } },
            "supervision": supervision,
            "sources": { "in": { "type": "file", "path": folder.write("in.ndjson", &lines), "follow": false } },
            "handlers": { "worked": { "on": "t", "type": "pass", "to": "out", "lanes": 4 } },
            "sinks": { "out": { "type": "file", "path": folder.path("out") } },
            "faults": { "seed": 7, "log": folder.path("faults"), "inject": inject },
        });
        Self {
            folder,
            config,
            events,
        }
    }

    fn with(mut self, pointer: &str, value: Value) -> Self {
        *self.config.pointer_mut(pointer).expect("it is there") = value;
        self
    }

    fn run(&self) -> Ended {
        let ended = Process::start_faulty(&self.config.to_string()).wait();
        ended.assert_drained();
        ended
    }

    /// The faults of the log, sorted.
    fn log(&self) -> Vec<Value> {
        let mut lines = self.folder.lines("faults");
        lines.sort();
        lines.iter().map(|line| folder::event(line)).collect()
    }

    fn delivered(&self) -> Vec<usize> {
        let number = |event: &Value| {
            let id = event["id"].as_str().expect("an id");
            id.parse().expect("a number")
        };
        self.folder.events("out").iter().map(number).collect()
    }

    /// Every event came once, and those of each subject in order.
    fn assert_all_in_order(&self) {
        let mut last = BTreeMap::new();
        for id in self.delivered() {
            let before = last.insert(id % SUBJECTS, id);
            assert!(before < Some(id), "{id} came after {before:?}");
        }
        assert_eq!(self.delivered().len(), self.events);
    }

    /// Every event came at least once.
    fn assert_all(&self) {
        let found: BTreeSet<usize> = self.delivered().into_iter().collect();
        assert_eq!(found, (0..self.events).collect());
    }
}

/// How often the closing summary says that a fault was injected.
fn injected(ended: &Ended, at: &str, action: &str) -> u64 {
    let records = ended.records("injected faults").into_iter();
    let here = records.filter(|record| record["at"] == at && record["action"] == action);
    here.map(|record| record["count"].as_u64().expect("a count"))
        .sum()
}

#[test]
fn panics_of_handlers_cost_nothing_but_attempts() {
    let pipeline = Pipeline::new(2_000, json!([{ "at": "handler.worked", "panic": 0.1 }]));
    let ended = pipeline.run();
    pipeline.assert_all_in_order();
    let panics = injected(&ended, "handler.worked", "panic");
    assert!((120..280).contains(&panics), "{panics}");
    assert_eq!(ended.records("handler summary")[0]["errors"], panics);
    assert_eq!(pipeline.log().len() as u64, panics);
    assert_eq!(ended.summary()["dead_lettered"], 0);
}

#[test]
fn a_poison_event_is_the_only_dead_letter() {
    let inject = json!([{ "at": "handler.worked", "panic": true, "only": { "id": "1234" }, "sticky": true }]);
    let pipeline = Pipeline::new(2_000, inject);
    let ended = pipeline.run();
    assert_eq!(injected(&ended, "handler.worked", "panic"), 3);
    assert_eq!(ended.dead_letters("handler.worked", "panic"), 1);
    let delivered = pipeline.delivered();
    assert_eq!(delivered.len(), 1_999);
    assert!(!delivered.contains(&1_234));
    let letter = ended.records("dead letter")[0];
    assert_eq!(letter["id"], "1234");
    assert_eq!(letter["reason"], "injected panic at handler.worked");
}

#[test]
fn errors_of_handlers_are_tried_again_or_not_as_the_plan_says() {
    let inject = json!([
        { "at": "handler.worked", "error": "retryable", "every": 10 },
        { "at": "handler.worked", "error": "permanent", "probability": 0.05 },
    ]);
    let pipeline = Pipeline::new(1_000, inject);
    let ended = pipeline.run();
    let permanent = pipeline
        .log()
        .iter()
        .filter(|fault| fault["injection"] == 1)
        .count();
    assert!(permanent > 10, "{permanent}");
    assert_eq!(
        ended.dead_letters("handler.worked", "error"),
        permanent as u64
    );
    assert_eq!(pipeline.delivered().len(), 1_000 - permanent);
    let errors = injected(&ended, "handler.worked", "error");
    assert_eq!(errors as usize, pipeline.log().len());
}

#[test]
fn lanes_that_die_lose_and_disorder_nothing() {
    let inject = json!([{ "at": "handler.*", "abort_actor": 0.01 }]);
    let pipeline = Pipeline::new(1_000, inject);
    let ended = pipeline.run();
    let deaths = injected(&ended, "handler.worked", "abort_actor");
    assert!(deaths > 3, "{deaths}");
    pipeline.assert_all();
    let mut last = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for id in pipeline
        .delivered()
        .into_iter()
        .filter(|id| seen.insert(*id))
    {
        assert!(last.insert(id % SUBJECTS, id) < Some(id), "{id}");
    }
}

#[test]
fn a_delayed_hanging_and_slow_pipeline_delivers_all() {
    let inject = json!([
        { "at": "*", "delay": "1ms", "times": 8 },
        { "at": "*.*", "hang": "1ms", "every": 50, "times": 8 },
        { "at": "handler.worked", "slow": 100000 },
        { "at": "router", "hang": "1ms", "times": 1 },
    ]);
    let pipeline = Pipeline::new(500, inject);
    let ended = pipeline.run();
    pipeline.assert_all_in_order();
    let all = |action: &str| -> u64 {
        let points = ["source.in", "router", "handler.worked", "sink.out"];
        points.map(|at| injected(&ended, at, action)).iter().sum()
    };
    assert_eq!((all("delay"), all("hang")), (8, 9));
    assert!(all("slow") > 0);
}

#[test]
fn corruption_changes_one_byte_wherever_it_happens() {
    for at in ["source.in", "handler.worked", "sink.out"] {
        let pipeline = Pipeline::new(500, json!([{ "at": at, "corrupt": 0.1 }]));
        let ended = pipeline.run();
        pipeline.assert_all_in_order();
        let changed: BTreeSet<String> = (0..500)
            .map(line)
            .zip(sorted_lines(&pipeline))
            .filter(|(sent, came)| sent != came)
            .map(|(sent, came)| {
                let different = sent.bytes().zip(came.bytes()).filter(|(a, b)| a != b);
                assert_eq!((different.count(), sent.len()), (1, came.len()), "{came}");
                let event = folder::event(&came);
                event["id"].as_str().expect("an id").to_owned()
            })
            .collect();
        let planned: BTreeSet<String> = pipeline
            .log()
            .iter()
            .map(|fault| fault["id"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!(changed, planned, "{at}");
        assert_eq!(injected(&ended, at, "corrupt") as usize, changed.len());
    }
}

/// What was delivered, in the order of the ids.
fn sorted_lines(pipeline: &Pipeline) -> Vec<String> {
    let mut lines = pipeline.folder.lines("out");
    lines.sort_by_key(|line| {
        let id = folder::event(line)["id"].as_str().map(str::parse::<usize>);
        id.expect("an id").expect("a number")
    });
    lines
}

#[test]
fn a_lane_that_hangs_is_replaced_and_its_event_is_tried_again() {
    let inject = json!([{ "at": "handler.worked", "hang": "2s", "only": { "id": "33" } }]);
    let handler = json!({
        "on": "t", "type": "pass", "to": "out", "lanes": 2,
        "supervision": { "deadline": "200ms" },
    });
    let pipeline = Pipeline::new(100, inject).with("/handlers/worked", handler);
    let ended = pipeline.run();
    assert_eq!(injected(&ended, "handler.worked", "hang"), 1);
    assert_eq!(
        ended
            .records("a handler hangs, its lane goes on without it")
            .len(),
        1
    );
    pipeline.assert_all_in_order();
}

#[test]
fn sinks_that_write_at_once_fail_by_event_or_by_flush() {
    let inject = json!([
        { "at": "sink.out", "error": "retryable", "only": { "id": "10" } },
        { "at": "sink.out", "error": "permanent", "only": { "id": "20" } },
        { "at": "sink.out", "panic": true, "only": { "id": "30" } },
        { "at": "sink.out", "panic": true, "only": { "id": "40" }, "sticky": true },
    ]);
    let pipeline = Pipeline::new(100, inject);
    let ended = pipeline.run();
    assert_eq!(injected(&ended, "sink.out", "error"), 2);
    assert_eq!(injected(&ended, "sink.out", "panic"), 1 + 3);
    assert_eq!(ended.dead_letters("sink.out", "rejected"), 1);
    assert_eq!(ended.dead_letters("sink.out", "panic"), 1);
    let delivered = pipeline.delivered();
    assert_eq!(delivered.len(), 98);
    let is_delivered = [10, 20, 30, 40].map(|number| delivered.contains(&number));
    // The sink is built anew after a panic and gets what it had not written again; one that does so always is poison.
    assert_eq!(is_delivered, [true, false, true, false]);
}

#[test]
fn sinks_that_wait_for_a_receiver_deliver_what_failed_again() {
    let receiver = Receiver::start(|_, _| answer("200 OK", "text/plain", ""));
    let inject = json!([
        { "at": "sink.out", "error": 0.1 },
        { "at": "sink.out", "panic": 0.05 },
        { "at": "sink.out", "panic": true, "only": { "id": "11" }, "sticky": true },
        { "at": "sink.out", "delay": "1ms", "every": 9 },
        { "at": "sink.out", "corrupt": true, "only": { "id": "7" } },
    ]);
    let retry = json!({ "type": "http", "url": receiver.url(), "concurrency": 2 });
    let pipeline = Pipeline::new(60, inject).with("/sinks/out", retry);
    let ended = pipeline.run();
    assert!(injected(&ended, "sink.out", "error") > 0);
    assert!(injected(&ended, "sink.out", "delay") > 0);
    assert!(injected(&ended, "sink.out", "panic") > 3);
    assert_eq!(ended.dead_letters("sink.out", "panic"), 1);
    assert_eq!(ended.summary()["dead_lettered"], 1);
    assert_eq!(ended.summary()["delivered"], 59);
    let changed = receiver.requests().into_iter().filter(|request| {
        request.body.contains(r#""id":"7""#) && !request.body.contains(r#"{"n":7}"#)
    });
    assert_eq!(
        changed.count() as u64,
        injected(&ended, "sink.out", "corrupt")
    );
}

#[test]
fn sinks_that_die_lose_nothing() {
    let receiver = Receiver::start(|_, _| answer("200 OK", "text/plain", ""));
    let inject = json!([{ "at": "sink.out", "abort_actor": 0.01 }]);
    let pipeline = Pipeline::new(1_000, inject.clone());
    let ended = pipeline.run();
    assert!(injected(&ended, "sink.out", "abort_actor") > 3);
    pipeline.assert_all();
    let sink = json!({ "type": "http", "url": receiver.url(), "concurrency": 2 });
    let pipeline = Pipeline::new(1_000, inject).with("/sinks/out", sink);
    let ended = pipeline.run();
    assert!(injected(&ended, "sink.out", "abort_actor") > 3);
    let requests = receiver.requests();
    let ids: BTreeSet<String> = requests
        .iter()
        .map(|request| folder::event(&request.body)["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1_000);
}

#[test]
fn handlers_that_wait_for_others_fail_by_plan_too() {
    let receiver = Receiver::start(|request, _| {
        answer("200 OK", "application/cloudevents+json", &request.body)
    });
    let inject = json!([
        { "at": "handler.worked", "panic": 0.1 },
        { "at": "handler.worked", "error": 0.1 },
        { "at": "handler.worked", "delay": "1ms", "every": 9 },
        { "at": "handler.worked", "abort_actor": true, "only": { "id": "33" } },
    ]);
    let handler =
        json!({ "on": "t", "type": "http", "url": receiver.url(), "lanes": 2, "to": "out" });
    let pipeline = Pipeline::new(60, inject).with("/handlers/worked", handler);
    let ended = pipeline.run();
    pipeline.assert_all();
    assert!(injected(&ended, "handler.worked", "panic") > 0);
    assert!(injected(&ended, "handler.worked", "error") > 0);
    assert_eq!(injected(&ended, "handler.worked", "abort_actor"), 1);
}

#[test]
fn sources_that_fail_are_started_again_and_lose_nothing() {
    for action in ["panic", "error", "abort_actor"] {
        let inject = json!([{ "at": "source.in", action: true, "only": { "id": "in-1500" } }]);
        let source = json!({ "type": "generate", "rate": "max", "count": 5000 });
        let handler = json!({ "on": "order.created", "type": "pass", "to": "out" });
        let pipeline = Pipeline::new(5_000, inject)
            .with("/sources/in", source)
            .with("/handlers/worked", handler);
        let ended = pipeline.run();
        assert_eq!(injected(&ended, "source.in", action), 1, "{action}");
        let ids: BTreeSet<String> = pipeline
            .folder
            .events("out")
            .iter()
            .map(|event| event["id"].to_string())
            .collect();
        assert_eq!(ids.len(), 5_000, "{action}");
        assert_eq!(ended.summary()["delivered"], 5_000, "{action}");
    }
}

#[test]
fn an_event_that_kills_its_actor_is_given_up_after_its_attempts() {
    let inject = json!([{ "at": "handler.worked", "abort_actor": true, "only": { "id": "1234" }, "sticky": true }]);
    let pipeline = Pipeline::new(2_000, inject);
    let ended = pipeline.run();
    assert_eq!(injected(&ended, "handler.worked", "abort_actor"), 3);
    assert_eq!(ended.dead_letters("handler.worked", "panic"), 1);
    assert_eq!(pipeline.delivered().len(), 1_999);
}

#[test]
fn a_router_that_dies_is_replaced_and_loses_nothing() {
    let inject = json!([
        { "at": "router", "abort_actor": true, "times": 1 },
        { "at": "router", "panic": true, "every": 700 },
    ]);
    let supervision = json!({ "max_restarts": 100, "backoff": { "min": "1ms", "max": "2ms" } });
    let pipeline = Pipeline::new(3_000, inject).with("/supervision", supervision);
    let ended = pipeline.run();
    pipeline.assert_all_in_order();
    assert_eq!(injected(&ended, "router", "abort_actor"), 1);
    assert!(injected(&ended, "router", "panic") >= 1);
}

#[test]
fn a_router_that_always_dies_ends_the_process_and_is_named() {
    let inject = json!([{ "at": "router", "panic": true, "sticky": true }]);
    let source = json!({ "type": "generate", "rate": 10 });
    let handler = json!({ "on": "order.created", "type": "pass", "to": "out" });
    let supervision = json!({ "max_restarts": 2, "backoff": { "min": "1ms", "max": "2ms" } });
    let pipeline = Pipeline::new(0, inject)
        .with("/sources/in", source)
        .with("/handlers/worked", handler)
        .with("/supervision", supervision)
        .with("/service", json!({ "drain_timeout": "100ms" }));
    let ended = Process::start_faulty(&pipeline.config.to_string()).wait();
    assert_eq!(ended.status.code(), Some(70));
    assert_eq!(injected(&ended, "router", "panic"), 3);
    let reason = &ended.logs.last().expect("a log")["reason"];
    let reason = reason.as_str().expect("a reason");
    assert!(reason.starts_with("router: 0: "), "{reason}");
}

#[test]
fn a_seed_decides_the_faults_whatever_the_threads_do() {
    let inject = json!([
        { "at": "handler.worked", "panic": 0.05 },
        { "at": "handler.worked", "error": true, "every": 30 },
        { "at": "sink.*", "delay": "10us", "probability": 0.02 },
        { "at": "source.in", "corrupt": 0.01 },
    ]);
    let logs = [7, 7, 8].map(|seed| {
        let pipeline = Pipeline::new(3_000, inject.clone()).with("/faults/seed", json!(seed));
        pipeline.run();
        pipeline.log()
    });
    assert!(logs[0].len() > 200, "{}", logs[0].len());
    assert_eq!(logs[0], logs[1]);
    let struck = |log: &[Value]| -> BTreeSet<(String, String)> {
        let what = |fault: &Value| (fault["at"].to_string(), fault["id"].to_string());
        log.iter().map(what).collect()
    };
    assert_ne!(struck(&logs[0]), struck(&logs[2]));
}

#[test]
fn faults_are_in_the_metrics() {
    let inject = json!([{ "at": "handler.worked", "panic": true, "times": 5 }]);
    let source = json!({ "type": "generate", "rate": 100 });
    let handler = json!({ "on": "order.created", "type": "pass", "to": "out" });
    let pipeline = Pipeline::new(0, inject)
        .with("/sources/in", source)
        .with("/handlers/worked", handler);
    let mut process = Process::start_faulty(&pipeline.config.to_string());
    let admin = process.admin();
    let sample = r#"veltrix_faults_injected_total{at="handler.worked",action="panic"} 5"#;
    process.until("the fifth fault", || {
        process::request(admin, "GET", "/metrics", &[], b"")
            .body
            .contains(sample)
    });
    process.stop().assert_drained();
}

#[test]
fn faults_are_refused_unless_they_are_allowed() {
    let pipeline = Pipeline::new(1, json!([{ "at": "router", "panic": true }]));
    let ended = Process::start(&pipeline.config.to_string()).wait();
    assert_eq!(ended.status.code(), Some(78));
    let said = "faults are configured; pass --allow-faults to run with them";
    let [log] = ended.logs.as_slice() else {
        panic!("{:#?}", ended.logs);
    };
    assert_eq!(
        (&log["level"], &log["message"]),
        (&json!("ERROR"), &json!(said))
    );
    assert!(pipeline.delivered().is_empty() && pipeline.folder.lines("faults").is_empty());
    let nothing = pipeline.with("/faults/inject", json!([]));
    Process::start(&nothing.config.to_string())
        .wait()
        .assert_drained();
    assert_eq!(nothing.delivered(), [0]);
}

#[test]
fn a_fault_log_that_cannot_be_written_ends_the_run() {
    let pipeline = Pipeline::new(1, json!([{ "at": "router", "delay": "1ms" }]));
    // where the folder is, the config cannot tell; how long names may be, it does not ask
    let nowhere = pipeline.folder.path(&"x".repeat(300));
    let pipeline = pipeline.with("/faults/log", json!(nowhere));
    let ended = Process::start_faulty(&pipeline.config.to_string()).wait();
    assert_eq!(ended.status.code(), Some(1));
    let reason = ended.records("failed")[0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(reason.starts_with("faults.log: cannot write "), "{reason}");
}
