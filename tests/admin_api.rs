//! What the real binary's admin server says to those who ask it wrongly, or from a web page.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::{Read, Write};
use std::net::SocketAddr;

use process::{Answer, Process, connect, request};

const CONFIG: &str = r#"
service: { admin: { listen: "127.0.0.1:0" } }
sources: { in: { type: tcp, listen: "127.0.0.1:0" } }
handlers: { all: { on: ">", type: pass, to: [out] } }
sinks: { out: { type: blackhole } }
"#;

fn assert_problem(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let media_type = answer.header("content-type");
    assert_eq!(media_type, Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["detail"], detail);
}

#[test]
fn wrong_methods_and_paths_are_told_what_is_there() {
    let mut process = Process::start(CONFIG);
    let admin = process.admin();
    for path in ["/livez", "/metrics", "/api/tree", "/api/dead-letters/7"] {
        let answer = request(admin, "POST", path, &[], b"");
        assert_problem(&answer, 405, "this takes GET, HEAD only");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let answer = request(admin, "GET", "/api/dead-letters/purge", &[], b"");
    assert_problem(&answer, 405, "this takes POST only");
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = request(admin, "GET", "/healthz", &[], b"");
    assert_problem(&answer, 404, "there is no `/healthz` here");
    process.stop().assert_drained();
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let mut process = Process::start(CONFIG);
    let mut stream = connect(process.admin());
    let asked = "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    process.stop().assert_drained();
}

#[test]
fn a_web_page_from_elsewhere_changes_nothing() {
    let mut process = Process::start(CONFIG);
    process.running();
    let admin = process.admin();
    let purge = |admin: SocketAddr, origin: &str| {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        let path = "/api/dead-letters/purge";
        request(admin, "POST", path, &headers, br#"{"all":true}"#)
    };
    for origin in [
        "http://evil.example",
        "http://127.0.0.1.evil.example",
        "null",
    ] {
        let why = "a page from elsewhere may not do this: its origin is no loopback address";
        assert_problem(&purge(admin, origin), 403, why);
    }
    for origin in [
        "http://localhost:8686",
        "http://127.0.0.1:1",
        "https://[::1]:2",
    ] {
        assert_eq!(purge(admin, origin).status, 200, "{origin}");
    }
    process.stop().assert_drained();
}

#[test]
fn an_order_that_makes_no_sense_is_refused_and_says_why() {
    let mut process = Process::start(CONFIG);
    process.running();
    let admin = process.admin();
    let headers = [("content-type", "application/json")];
    for path in [
        "/api/reload",
        "/api/replay",
        "/api/dead-letters/purge",
        "/api/dead-letters/replay",
    ] {
        let answer = request(admin, "POST", path, &headers, b" []");
        let why = "the body: it must be a JSON object, such as {}";
        assert_problem(&answer, 400, why);
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(300_000));
        let answer = request(admin, "POST", path, &headers, long.as_bytes());
        let why = "the body: payload reached size limit";
        assert_problem(&answer, 413, why);
    }
    for path in ["/api/dead-letters/purge", "/api/dead-letters/replay"] {
        let both = br#"{"all":true,"filter":{"handler":"h"}}"#;
        let answer = request(admin, "POST", path, &headers, both);
        let why =
            "`\"all\": true` means all dead letters, and a `filter` only some: give one of the two";
        assert_problem(&answer, 400, why);
    }
    process.stop().assert_drained();
}
