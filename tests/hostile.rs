//! Bad input on every source: the documented answer, a counter, the process unharmed, the neighbours' events delivered.
//!
//! `HOSTILE_LINE_BYTES` sets the length of the endless line (64 MiB; `scripts/acceptance` uses 1 GB).

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use process::{Process, connect, event_line, exchange, ids, read_answer, request};

/// What the process may hold at most, whatever comes in: a few chunks, a long line, and the program.
const MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Distinct types, more than the type table takes.
const TYPES: usize = 100_000;

fn config(sources: &str) -> String {
    format!(
        r#"
service: {{ name: hostile, admin: {{ listen: "127.0.0.1:0" }} }}
sources:
{sources}
handlers:
  all: {{ on: ">", type: pass, to: [out] }}
sinks:
  out: {{ type: stdout }}
"#
    )
}

fn line_bytes() -> usize {
    let given = std::env::var("HOSTILE_LINE_BYTES").ok();
    given.map_or(64 << 20, |bytes| bytes.parse().expect("a number"))
}

/// Bad lines and the reason under which they are counted.
fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let with = |members: &str| {
        let line =
            format!(r#"{{"specversion":"1.0","id":"bad","source":"/s","type":"t"{members}}}"#);
        line.into_bytes()
    };
    let attributes: String = (0..100_000).map(|n| format!(r#","e{n}":1"#)).collect();
    let nulls: String = (0..100_000).map(|n| format!(r#","e{n}":null"#)).collect();
    vec![
        (b"nope".to_vec(), "not_json"),
        (b"[]".to_vec(), "not_json"),
        (b"{}{}".to_vec(), "not_json"),
        (b"\0\0\0".to_vec(), "not_json"),
        (
            br#"{"specversion":"1.0","source":"/s","type":"t"}"#.to_vec(),
            "missing_attribute",
        ),
        (
            br#"{"specversion":"1.0","id":"bad","type":"t"}"#.to_vec(),
            "missing_attribute",
        ),
        (
            br#"{"specversion":"1.0","id":"bad","source":"/s"}"#.to_vec(),
            "missing_attribute",
        ),
        (
            br#"{"specversion":"0.3","id":"bad","source":"/s","type":"t"}"#.to_vec(),
            "specversion",
        ),
        (with(r#","id":"again""#), "duplicate"),
        (
            b"{\"specversion\":\"1.0\",\"id\":\"\xff\",\"source\":\"/s\",\"type\":\"t\"}".to_vec(),
            "not_utf8",
        ),
        (
            with(&format!(r#","ext":"{}""#, "x".repeat(1_900_000))),
            "attribute",
        ),
        (
            with(&format!(r#","ext":"{}""#, "x".repeat(10_000_000))),
            "oversize",
        ),
        (with(&attributes), "attribute"),
        (with(&nulls), "attribute"),
        (
            with(&format!(
                r#","data":{}1{}"#,
                "[".repeat(100_000),
                "]".repeat(100_000)
            )),
            "too_deep",
        ),
        (
            with(&format!(r#","data":{}"#, r#"{"a":"#.repeat(100_000))),
            "too_deep",
        ),
        ("[".repeat(1_000_000).into_bytes(), "too_deep"),
        (vec![b'x'; line_bytes()], "oversize"),
    ]
}

/// Each bad line between two good ones; then many types. Returns the good ids and the expected counts.
fn write_hostile(mut out: impl Write) -> (Vec<String>, BTreeMap<String, u64>) {
    let mut good = Vec::new();
    let mut counts = BTreeMap::new();
    for (number, (bad, reason)) in bad_lines().into_iter().enumerate() {
        let id = format!("good-{number}");
        writeln!(out, "{}", event_line(&id)).expect("written");
        out.write_all(&bad).expect("written");
        out.write_all(b"\n").expect("written");
        good.push(id);
        *counts.entry(reason.to_owned()).or_default() += 1;
    }
    for number in 0..TYPES {
        let id = format!("type-{number}");
        let line = event_line(&id).replace(r#""type":"t""#, &format!(r#""type":"t{number}""#));
        writeln!(out, "{line}").expect("written");
        good.push(id);
    }
    writeln!(out, "{}", event_line("last")).expect("written");
    good.push("last".to_owned());
    (good, counts)
}

fn assert_unharmed(
    mut process: Process,
    source: &str,
    good: &[String],
    counts: &BTreeMap<String, u64>,
) {
    let delivered: Vec<String> = good.iter().map(|_| process.line()).collect();
    assert!(ids(&delivered) == good, "every good neighbour, in order");
    assert_eq!(process.rejected(source), *counts);
    let peak = process.peak_memory_bytes();
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
    let ended = process.stop();
    ended.assert_drained();
    assert_eq!(ended.output, Vec::<String>::new());
}

#[test]
fn stdin_survives_hostile_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process =
        Process::start_in(folder, &config("  lines: { type: stdin }"), Stdio::piped());
    let mut input = process.input();
    let writer = std::thread::spawn(move || {
        let expected = write_hostile(&mut input);
        (expected, input)
    });
    let last = |record: &serde_json::Value| record["message"] == "running";
    process.log(last);
    let ((good, counts), open) = writer.join().expect("no panic");
    assert_unharmed(process, "lines", &good, &counts);
    drop(open);
}

#[test]
fn tcp_survives_hostile_lines() {
    let mut process = Process::start(&config("  feed: { type: tcp, listen: \"127.0.0.1:0\" }"));
    let stream = connect(process.address("feed"));
    let (good, counts) = write_hostile(&stream);
    assert_unharmed(process, "feed", &good, &counts);
}

#[test]
fn a_file_survives_hostile_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = std::fs::File::create(folder.path().join("in.ndjson")).expect("a file");
    let (good, counts) = write_hostile(std::io::BufWriter::new(file));
    let source = "  logs: { type: file, path: in.ndjson, follow: true }";
    let process = Process::start_in(folder, &config(source), Stdio::null());
    assert_unharmed(process, "logs", &good, &counts);
}

const STRUCTURED: [(&str, &str); 1] = [("Content-Type", "application/cloudevents+json")];
const BATCHED: [(&str, &str); 1] = [("Content-Type", "application/cloudevents-batch+json")];

fn http() -> (Process, SocketAddr) {
    let source = "  web: { type: http, listen: \"127.0.0.1:0\", head_timeout: 1s, body_timeout: 300ms, idle_timeout: 1s, gzip: true, max_connections: 100 }";
    let mut process = Process::start(&config(source));
    let address = process.address("web");
    (process, address)
}

fn post(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    request(address, "POST", "/events", headers, body).status
}

#[test]
fn http_survives_hostile_events() {
    let (process, address) = http();
    let mut good = Vec::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (number, (bad, reason)) in bad_lines().into_iter().enumerate() {
        let id = format!("good-{number}");
        assert_eq!(post(address, &STRUCTURED, event_line(&id).as_bytes()), 202);
        good.push(id);
        let answer = request(address, "POST", "/events", &STRUCTURED, &bad);
        let (status, told) = match reason {
            "oversize" => (413, "oversize"),
            reason => (400, reason),
        };
        assert_eq!(answer.status, status, "{reason}: {answer:?}");
        assert!(answer.body.contains(told), "{reason}: {answer:?}");
        *counts.entry(reason.to_owned()).or_default() += 1;
    }
    let batch = format!("[{},{{\"id\":1}},{}]", event_line("x"), event_line("y"));
    let answer = request(address, "POST", "/events", &BATCHED, batch.as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(r#""index":1"#), "{answer:?}");
    *counts.entry("attribute".to_owned()).or_default() += 1;
    let many = format!("[{}]", vec!["{}"; 200_000].join(","));
    assert_eq!(post(address, &BATCHED, many.as_bytes()), 413);
    *counts.entry("oversize".to_owned()).or_default() += 1;
    for first in (0..TYPES).step_by(5_000) {
        let event = |number: usize| {
            let id = format!("type-{number}");
            good.push(id.clone());
            event_line(&id).replace(r#""type":"t""#, &format!(r#""type":"t{number}""#))
        };
        let batch: Vec<String> = (first..first + 5_000).map(event).collect();
        let body = format!("[{}]", batch.join(","));
        loop {
            match post(address, &BATCHED, body.as_bytes()) {
                202 => break,
                status => assert_eq!(status, 503),
            }
            *counts.entry("busy".to_owned()).or_default() += 1;
        }
    }
    assert_unharmed(process, "web", &good, &counts);
}

#[test]
fn http_survives_hostile_requests() {
    let (mut process, address) = http();
    let event = event_line("a");
    let length = event.len();
    let head = |headers: &str| {
        format!(
            "POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/cloudevents+json\r\n{headers}\r\n"
        )
    };
    let status = |bytes: &[u8]| exchange(address, bytes).status;
    let smuggled = head(&format!(
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"
    )) + "0\r\n\r\n"
        + &event;
    assert_eq!(status(smuggled.as_bytes()), 400, "two lengths");
    let two = head("Content-Length: 1\r\nContent-Length: 2\r\n") + &event;
    assert_eq!(status(two.as_bytes()), 400, "two lengths");
    assert_eq!(
        status(b"\x16\x03\x01\x02\x00\x01\x00"),
        400,
        "TLS where none is"
    );
    let flood = head(&format!("X: {}\r\n", "x".repeat(1 << 20)));
    assert!(
        [0, 400, 431].contains(&status(flood.as_bytes())),
        "an endless header"
    );
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert!(
        [0, 400, 431].contains(&status(head(&many).as_bytes())),
        "too many headers"
    );
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b' '; 200 << 20]).expect("written");
        encoder.finish().expect("compressed")
    };
    let gzip = [STRUCTURED[0], ("Content-Encoding", "gzip")];
    assert_eq!(post(address, &gzip, &bomb), 413, "a gzip bomb");
    let started = Instant::now();
    let stalled = head(&format!("Content-Length: {length}\r\n")) + &event[..length / 2];
    assert_eq!(status(stalled.as_bytes()), 408, "a body that stalls");
    assert_eq!(
        status(b"POST /events HTTP/1.1\r\nHo"),
        408,
        "a head that stalls"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(post(address, &STRUCTURED, event.as_bytes()), 202);
    assert_eq!(ids(&[process.line()]), ["a"]);
    assert!(process.peak_memory_bytes() < MEMORY_BYTES_MAX);
    process.stop().assert_drained();
}

#[test]
fn idle_and_trickling_connections_keep_nobody_out() {
    let (mut process, address) = http();
    let request = |id: &str, headers: &str| {
        let event = event_line(id);
        format!(
            "POST /events HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: application/cloudevents+json\r\nContent-Length: {}\r\n\r\n{event}",
            event.len()
        )
    };
    let answer_to_another = || {
        exchange(
            address,
            request("other", "Connection: close\r\n").as_bytes(),
        )
    };
    // As many as may be open: half say nothing, half stop in the head of their first request.
    let silent: Vec<_> = (0..50).map(|_| connect(address)).collect();
    let partial: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"POST /events HT").expect("sent");
            stream
        })
        .collect();
    assert_eq!(answer_to_another().status, 202, "they were closed in time");
    process.line();
    for mut stream in partial.into_iter().chain(silent) {
        assert_eq!(read_answer(&mut stream).status, 408);
    }
    // As many again: each had a request answered and stops in the head of its second one.
    let second: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(address);
            let whole = request("first", "");
            stream.write_all(whole.as_bytes()).expect("sent");
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 202 "));
            process.line();
            stream.write_all(b"POST /events HT").expect("sent");
            stream
        })
        .collect();
    assert_eq!(answer_to_another().status, 202, "they were closed in time");
    process.line();
    for mut stream in second {
        assert_eq!(read_answer(&mut stream).status, 408);
    }
    process.stop().assert_drained();
}

/// Reads an answer without a body, and leaves the connection open.
fn read_head(stream: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

#[test]
fn tcp_connections_that_break_or_stall_harm_no_other() {
    let source = "  feed: { type: tcp, listen: \"127.0.0.1:0\", ack: true, max_connections: 20, idle_timeout: 1s }";
    let mut process = Process::start(&config(source));
    let address = process.address("feed");
    for _ in 0..10 {
        let mut stream = connect(address);
        stream
            .write_all(&event_line("broken").as_bytes()[..20])
            .expect("sent");
        stream.shutdown(Shutdown::Both).expect("shut down");
    }
    let mut stalled = connect(address);
    stalled.write_all(b"{").expect("sent");
    let mut good = connect(address);
    good.write_all(format!("{}\n", event_line("a")).as_bytes())
        .expect("sent");
    assert_eq!(ids(&[process.line()]), ["a"]);
    let mut rest = Vec::new();
    stalled.read_to_end(&mut rest).expect("closed when idle");
    assert_eq!(rest, b"");
    let mut answer = String::new();
    good.read_to_string(&mut answer).expect("closed when idle");
    assert!(answer.starts_with(r#"{"accepted":1"#), "{answer}");
    process.stop().assert_drained();
}
