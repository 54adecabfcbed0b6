//! One cell of the matrix: a pipeline with a fault, its neighbour without one, and what must hold of both.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::{Value, json};

use crate::folder::{self, Folder};
use crate::process::{Ended, PATIENCE, Process};

const EVENTS: usize = 240;
const SUBJECTS: usize = 16;
/// The deadline of the handler that hangs beyond it: longer than any other call takes, however busy the machine is.
const DEADLINE: &str = "1s";
/// The reason why a lane is started again that shared its thread.
const DISPLACED: &str = "lost its thread to a neighbour that hung";

/// Where the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Source,
    Router,
    Handler,
    Sink,
    /// The sink of the dead letters' copies.
    DeadLetters,
}

impl Layer {
    fn point(self) -> &'static str {
        match self {
            Self::Source => "source.in",
            Self::Router => "router",
            Self::Handler => "handler.worked",
            Self::Sink => "sink.out",
            Self::DeadLetters => "sink.graves",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    name: &'static str,
    action: &'static str,
    /// As JSON.
    value: &'static str,
    /// The rest of the injection, as JSON.
    when: &'static str,
}

impl Fault {
    fn is_overdue(&self) -> bool {
        self.name == faults::OVERDUE_NAME
    }
}

pub(crate) mod faults {
    //! The faults, by what a layer knows.

    use super::Fault;

    const fn fault(
        name: &'static str,
        action: &'static str,
        value: &'static str,
        when: &'static str,
    ) -> Fault {
        Fault {
            name,
            action,
            value,
            when,
        }
    }

    const PANIC: Fault = fault("panic", "panic", "0.03", "{}");
    const ERROR: Fault = fault("error retryable", "error", "0.03", "{}");
    const PERMANENT: Fault = fault(
        "error permanent",
        "error",
        r#""permanent""#,
        r#"{ "probability": 0.03 }"#,
    );
    const HANG: Fault = fault("hang", "hang", r#""5ms""#, r#"{ "every": 40, "times": 4 }"#);
    const DELAY: Fault = fault("delay", "delay", r#""1ms""#, r#"{ "every": 20 }"#);
    const ABORT: Fault = fault("abort_actor", "abort_actor", "0.03", "{}");
    // Slower than a handler that asks another process is by itself on a busy machine: then nothing would be slowed down.
    const SLOW: Fault = fault("slow", "slow", "400", "{}");
    const CORRUPT: Fault = fault("corrupt", "corrupt", "0.1", "{}");

    pub(super) const OVERDUE_NAME: &str = "hang beyond the deadline";
    const OVERDUE: Fault = fault(
        OVERDUE_NAME,
        "hang",
        r#""1500ms""#,
        r#"{ "only": { "id": "100" } }"#,
    );

    pub(crate) const OF_HANDLERS: [Fault; 9] = [
        PANIC, ERROR, PERMANENT, HANG, DELAY, ABORT, SLOW, CORRUPT, OVERDUE,
    ];
    pub(crate) const ALL: [Fault; 8] = [PANIC, ERROR, PERMANENT, HANG, DELAY, ABORT, SLOW, CORRUPT];
    /// To a source, an error is an error.
    pub(crate) const OF_SOURCES: [Fault; 7] = [PANIC, ERROR, HANG, DELAY, ABORT, SLOW, CORRUPT];
    /// It handles batches: there is no event to fail or to change.
    pub(crate) const OF_THE_ROUTER: [Fault; 5] = [PANIC, HANG, DELAY, ABORT, SLOW];
}

/// One layer with one fault, behind so many lanes.
pub(crate) struct Cell<'a> {
    layer: Layer,
    fault: Fault,
    lanes: usize,
    is_keyed: bool,
    /// What the sink's receiver got; `None` if it is a file.
    received: Option<&'a dyn Fn() -> Vec<String>>,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(layer: Layer, fault: Fault, lanes: usize, is_keyed: bool) -> Self {
        Self {
            layer,
            fault,
            lanes,
            is_keyed,
            received: None,
        }
    }

    pub(crate) fn delivering_to(mut self, received: &'a dyn Fn() -> Vec<String>) -> Self {
        self.received = Some(received);
        self
    }

    /// What the failure message begins with.
    fn name(&self) -> String {
        let Self { layer, lanes, .. } = self;
        let (fault, is_keyed) = (self.fault.name, self.is_keyed);
        format!("{layer:?} × {fault} × {lanes} lanes × keyed: {is_keyed}")
    }

    fn config(&self, folder: &Folder) -> Value {
        let events = |kind: &str| {
            let lines: Vec<String> = (0..EVENTS).map(|id| line(kind, id)).collect();
            json!({ "type": "file", "path": folder.write(kind, &lines), "follow": false })
        };
        let key = if self.is_keyed { "subject" } else { "id" };
        let mut injection = folder::event(self.fault.when);
        injection["at"] = json!(self.layer.point());
        injection[self.fault.action] = folder::event(self.fault.value);
        json!({
            "supervision": {
                "attempts": 3,
                "backoff": { "min": "1ms", "max": "2ms" },
                "max_restarts": 1000,
                "breaker": { "dead_letter_ratio": 1 },
            },
            "sources": { "in": events("t"), "beside": events("n") },
            "handlers": {
                "worked": { "on": "t", "type": "pass", "to": "out", "lanes": self.lanes, "key": key },
                "beside": { "on": "n", "type": "pass", "to": "beside" },
            },
            "sinks": {
                "out": { "type": "file", "path": folder.path("out") },
                "beside": { "type": "file", "path": folder.path("beside") },
            },
            "faults": { "seed": 11, "log": folder.path("faults"), "inject": [injection] },
        })
    }

    /// Runs it with a part of the config changed, and checks all promises.
    pub(crate) fn run(&self, change: &impl Fn(&mut Value, &Folder)) {
        let folder = Folder::new();
        let mut config = self.config(&folder);
        if self.fault.is_overdue() {
            config["handlers"]["worked"]["supervision"] = json!({ "deadline": DEADLINE });
        }
        change(&mut config, &folder);
        let ended = Process::start_faulty(&config.to_string()).wait();
        let cell = self.name();
        assert_eq!(ended.status.code(), Some(0), "{cell}: {:#?}", ended.logs);
        assert_eq!(ended.summary()["balanced"], true, "{cell}");
        let beside = ids(&folder.lines("beside"));
        let all: Vec<usize> = (0..EVENTS).collect();
        assert_eq!(beside, all, "{cell}: the neighbour's events");
        let received = match self.received {
            Some(received) => received(),
            None => folder.lines("out"),
        };
        self.check_events(&cell, &ended, &ids(&received));
        self.check_counts(&cell, &ended, &folder);
    }

    /// Nothing is lost, repeated or out of order.
    fn check_events(&self, cell: &str, ended: &Ended, delivered: &[usize]) {
        let distinct: BTreeSet<usize> = delivered.iter().copied().collect();
        let given_up: u64 = ["handler.worked", "sink.out"]
            .iter()
            .flat_map(|branch| ["error", "rejected"].map(|class| ended.dead_letters(branch, class)))
            .sum();
        let missing: Vec<usize> = (0..EVENTS).filter(|id| !distinct.contains(id)).collect();
        assert_eq!(missing.len() as u64, given_up, "{cell}: lost {missing:?}");
        if self.may_repeat().is_none() {
            assert_eq!(distinct.len(), delivered.len(), "{cell}: repeated");
        }
        if self.is_keyed || self.lanes == 1 {
            let (mut last, mut seen) = (BTreeMap::new(), BTreeSet::new());
            for id in delivered.iter().filter(|id| seen.insert(**id)) {
                let before = last.insert(id % SUBJECTS, *id);
                assert!(before < Some(*id), "{cell}: {id} came after {before:?}");
            }
        }
    }

    /// What was injected is what was logged, what restarted actors and what was given up.
    fn check_counts(&self, cell: &str, ended: &Ended, folder: &Folder) {
        let (at, action) = (self.layer.point(), self.fault.action);
        let injected = injected(ended, at, action);
        assert!(injected > 0, "{cell}: nothing went wrong");
        let logged = folder.events("faults").into_iter();
        let logged = logged.filter(|fault| fault["at"] == at && fault["action"] == action);
        // What slows down would fill the log: each point has one line of it.
        let expected = if action == "slow" { 1 } else { injected };
        assert_eq!(logged.count() as u64, expected, "{cell}: the fault log");
        let restarts = ended.records("restarting").into_iter();
        // Who only lost its thread to the lane that hangs has done nothing.
        let is_own = |record: &&Value| record["reason"] != DISPLACED;
        let restarts = restarts.filter(is_own).count() as u64;
        match (self.ends_actors(), self.layer) {
            (false, _) => assert_eq!(restarts, 0, "{cell}: restarts"),
            // Several events of one intake, or of several slots, may have their fault at once.
            (true, Layer::Source) => assert!((1..=injected).contains(&restarts), "{cell}"),
            (true, Layer::Sink) if self.received.is_some() => {
                assert!((1..=injected).contains(&restarts), "{cell}");
            }
            (true, _) => assert_eq!(restarts, injected, "{cell}: restarts"),
        }
        let handler = ended.records("handler summary").into_iter();
        let mut handler = handler.filter(|record| record["handler"] == "worked");
        let errors = handler.next().expect("a summary")["errors"].as_u64();
        let fails = matches!(action, "panic" | "error" | "abort_actor");
        let is_attempt = fails || self.fault.is_overdue();
        match self.layer {
            Layer::Handler if is_attempt => assert_eq!(errors, Some(injected), "{cell}"),
            Layer::DeadLetters => {
                let broken = ended.dead_letters("handler.worked", "error");
                let copies: BTreeSet<usize> = self.copied(folder);
                let refused = ended.dead_letters("sink.graves", "rejected");
                let expected = if self.is_final() { injected } else { 0 };
                assert_eq!(refused, expected, "{cell}: refused copies");
                assert_eq!(copies.len() as u64, broken - refused, "{cell}: copies");
            }
            _ => assert_eq!(errors, Some(0), "{cell}"),
        }
        let given_up = match self.layer {
            Layer::Handler => ended.dead_letters("handler.worked", "error"),
            Layer::Sink => ended.dead_letters("sink.out", "rejected"),
            _ => return,
        };
        // Refused together, events are tried one by one, and the one that was meant has had its fault.
        let is_batched = self.received.is_some();
        match self.is_final() {
            true if is_batched => assert!(given_up <= injected, "{cell}: dead letters"),
            true => assert_eq!(given_up, injected, "{cell}: dead letters"),
            false => assert_eq!(given_up, 0, "{cell}: dead letters"),
        }
    }

    /// The events whose copies the dead letters' sink got.
    fn copied(&self, folder: &Folder) -> BTreeSet<usize> {
        let of_copy = |copy: &Value| {
            let id = copy["data"]["event"]["id"].as_str();
            id.unwrap_or_else(|| panic!("{copy:#}"))
                .parse()
                .expect("a number")
        };
        folder.events("graves").iter().map(of_copy).collect()
    }

    /// Why the promise allows that events come twice here; `None` where it does not.
    fn may_repeat(&self) -> Option<&'static str> {
        match (self.layer, self.ends_actors()) {
            (Layer::Sink, true) => Some("what a lost sink delivered and did not report"),
            _ => None,
        }
    }

    /// Whether the fault ends the actor that it strikes.
    fn ends_actors(&self) -> bool {
        let is_unguarded = matches!(self.layer, Layer::Source | Layer::Router);
        self.fault.action == "abort_actor"
            || self.fault.is_overdue()
            || is_unguarded && matches!(self.fault.action, "panic" | "error")
    }

    /// Whether the fault leaves no way for its event but to the dead letters.
    fn is_final(&self) -> bool {
        self.fault.name == "error permanent"
    }
}

fn line(kind: &str, id: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{kind}","subject":"s{}","data":{{"n":{id}}}}}"#,
        id % SUBJECTS
    )
}

fn ids(lines: &[String]) -> Vec<usize> {
    let id = |line: &String| {
        let event = folder::event(line);
        event["id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("a number")
    };
    lines.iter().map(id).collect()
}

/// How often the closing summary says that a fault was injected.
fn injected(ended: &Ended, at: &str, action: &str) -> u64 {
    let records = ended.records("injected faults").into_iter();
    let here = records.filter(|record| record["at"] == at && record["action"] == action);
    here.map(|record| record["count"].as_u64().expect("a count"))
        .sum()
}

/// Reads lines from whoever connects, one connection after the other, so that their order is that of their sending.
pub(crate) struct Peer {
    address: String,
    lines: Receiver<String>,
}

/// Sent by the test itself, over the last connection.
const END: &str = "end";

impl Peer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (sender, lines) = sync_channel(1 << 16);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            }
        });
        Self { address, lines }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// All whole lines, once whoever sent them has ended.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        writeln!(stream, "{END}").expect("sent");
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the end");
            if line == END {
                return lines;
            }
            // A sink that dies may leave a torn one.
            if serde_json::from_str::<Value>(&line).is_ok() {
                lines.push(line);
            }
        }
    }
}
