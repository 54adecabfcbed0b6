//! What the tests of reloading share: configs, a sender, and what has come out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::{Value, json};

use crate::process::{Answer, Process, connect, request};

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Asks for a reload.
pub(crate) fn reload(admin: SocketAddr, body: &str) -> Answer {
    request(admin, "POST", "/api/reload", &[JSON], body.as_bytes())
}

pub(crate) fn get(admin: SocketAddr, path: &str) -> Value {
    let answer = request(admin, "GET", path, &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// A process with another config in its file from now on.
pub(crate) fn rewrite(process: &Process, config: &Value) {
    let path = process.folder().join("veltrix.yaml");
    std::fs::write(path, config.to_string()).expect("written");
}

/// The config is in the file, and taken over.
pub(crate) fn apply(process: &Process, admin: SocketAddr, config: &Value) -> Value {
    rewrite(process, config);
    let answer = reload(admin, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// One connection to a `tcp` source that acknowledges.
pub(crate) struct Sender {
    lines: BufReader<TcpStream>,
    pub(crate) sent: usize,
}

impl Sender {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self {
            lines: BufReader::new(connect(address)),
            sent: 0,
        }
    }

    /// Sends events of the type with numbers that go on, over so many keys, and waits until they are accepted.
    pub(crate) fn send(&mut self, event_type: &str, count: usize, keys: usize) {
        let mut text = String::new();
        for number in self.sent..self.sent + count {
            let key = number % keys;
            text.push_str(&format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{number}\",\"source\":\"/s\",\"type\":\"{event_type}\",\
                 \"subject\":\"k{key}\",\"data\":{{\"n\":{number}}}}}\n"
            ));
        }
        self.sent += count;
        let stream = self.lines.get_mut();
        stream.write_all(text.as_bytes()).expect("sent");
        let mut accepted = 0;
        while accepted < count {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("an answer");
            let ack: Value = serde_json::from_str(&line).expect("JSON");
            accepted += usize::try_from(ack["accepted"].as_u64().expect("a count")).expect("few");
        }
    }
}

/// The events of a file.
pub(crate) fn events(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The events of a file once there are so many.
pub(crate) fn await_events(process: &mut Process, file: &str, count: usize) -> Vec<Value> {
    let folder = process.folder().to_owned();
    process.until("the events", || events(&folder, file).len() >= count);
    events(&folder, file)
}

/// All but the empty line.
pub(crate) fn request_head(event: &str) -> String {
    format!(
        "POST /events HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: application/cloudevents+json\r\n",
        event.len()
    )
}

/// A request that an `http` source waits for: it is told to go on once it is under way, and the event is still to be sent.
pub(crate) fn begin_request(address: SocketAddr, event: &str) -> TcpStream {
    let mut stream = connect(address);
    let head = request_head(event);
    write!(stream, "{head}expect: 100-continue\r\n\r\n").expect("sent");
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

pub(crate) fn numbers(events: &[Value]) -> Vec<u64> {
    let number = |event: &Value| event["data"]["n"].as_u64().expect("a number");
    events.iter().map(number).collect()
}

/// No key's events have overtaken one another.
pub(crate) fn assert_in_order(events: &[Value]) {
    let mut last = std::collections::HashMap::new();
    for event in events {
        let (key, number) = (&event["subject"], event["data"]["n"].as_u64());
        let before = last.insert(key.clone(), number);
        assert!(
            before.is_none_or(|before| before < number),
            "{key}: {before:?} then {number:?}"
        );
    }
}

/// What a component answers that is down.
pub(crate) const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A handler whose component is down, and which waits for it longer than any test.
pub(crate) fn stuck(url: &str, on: &str, to: &str) -> Value {
    json!({
        "on": on, "type": "http", "url": url, "to": [to],
        "supervision": { "attempts": 9, "backoff": { "min": "1h", "max": "1h" } },
    })
}

pub(crate) fn base() -> Value {
    json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "tcp", "listen": "127.0.0.1:0", "ack": true } },
        "handlers": {
            "one": { "on": "a", "type": "map", "set": { "data.by": "'one'" }, "to": ["first"] },
        },
        "sinks": { "first": { "type": "file", "path": "first.ndjson" } },
        "reload": { "probation": "0s" },
    })
}

pub(crate) fn start(config: &Value) -> (Process, SocketAddr, Sender) {
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    let address = process.address("in");
    process.running();
    (process, admin, Sender::connect(address))
}

/// An answer that is given only once the sender of the channel is gone.
pub(crate) fn once_released() -> (std::sync::mpsc::SyncSender<()>, impl Fn() + Send + Sync) {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    let wait = move || {
        let released = released.lock().expect("no panic while it was held");
        assert!(released.recv().is_err(), "nothing is ever sent");
    };
    (release, wait)
}

pub(crate) const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The actor of that path.
pub(crate) fn actor(tree: &Value, path: &str) -> Option<Value> {
    match tree {
        Value::Object(map) if map.get("path").is_some_and(|known| known == path) => {
            Some(tree.clone())
        }
        Value::Object(map) => map.values().find_map(|below| actor(below, path)),
        Value::Array(list) => list.iter().find_map(|below| actor(below, path)),
        _ => None,
    }
}
