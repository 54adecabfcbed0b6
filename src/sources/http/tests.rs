//! The server over real connections: modes, refusals, limits and its drain.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::testing::{Harness, event_line, ids};
use super::*;

async fn start(options: &str) -> (Harness, SocketAddr) {
    let options = format!(r#"{{"listen":"127.0.0.1:0","threads":1{options}}}"#);
    let options: HttpOptions = serde_json::from_str(&options).expect("options");
    let settings = prepare(options).expect("valid options").settings;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let listener = listener.into_std().expect("a listener");
    let harness = Harness::run(move |port| {
        Box::pin(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let listening = Listening::at(address);
            let held = listening.hold(&listener).expect("a descriptor");
            server::serve((listener, held), settings, port).await
        })
    });
    (harness, address)
}

/// Sends raw bytes on a connection of their own and returns all that comes back until it is closed.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer is a way of closing, too.
    if let Err(error) = stream.read_to_end(&mut answer).await {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(answer).expect("text")
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

const STRUCTURED: &str = "Content-Type: application/cloudevents+json\r\n";
const BATCHED: &str = "Content-Type: application/cloudevents-batch+json; charset=utf-8\r\n";

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[actix::test]
async fn all_three_modes_are_accepted() {
    let (mut harness, address) = start("").await;
    let pretty = event_line("a").replace(',', ",\n  ");
    let answer = exchange(address, &post(STRUCTURED, pretty.as_bytes())).await;
    assert_eq!(status(&answer), "202", "{answer}");
    let batch = format!("[{},\n{}]", event_line("b"), event_line("c"));
    let answer = exchange(address, &post(BATCHED, batch.as_bytes())).await;
    assert_eq!(status(&answer), "202", "{answer}");
    let binary = "ce-specversion: 1.0\r\nce-id: d%20e\r\nce-source: /s\r\nce-type: t\r\nContent-Type: application/json\r\n";
    let answer = exchange(address, &post(binary, b"{\n\"n\": 1}")).await;
    assert_eq!(status(&answer), "202", "{answer}");
    assert_eq!(
        status(&exchange(address, &post(BATCHED, b"[]")).await),
        "202"
    );
    let lines = harness.take(4).await;
    assert_eq!(ids(&lines), ["a", "b", "c", "d e"]);
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert!(
        lines[3].ends_with(r#""datacontenttype":"application/json","data":{"n":1}}"#),
        "{}",
        lines[3]
    );
    harness.stop().await;
    let stats = harness.stats.clone();
    assert_eq!(harness.finish().await.0, Ok(()));
    assert_eq!((stats.received.get(), stats.accepted.get()), (4, 4));
}

#[actix::test]
async fn refusals_name_their_fault_and_accept_nothing() {
    let (harness, address) =
        start(r#","max_body":"4KiB","max_event":"1KiB","body_timeout":"100ms""#).await;
    let bad_batch = format!(r#"[{},{{"id":"x"}}]"#, event_line("a"));
    let long = event_line(&"x".repeat(2_000));
    let gzip = format!("{STRUCTURED}Content-Encoding: gzip\r\n");
    let event = event_line("a");
    for (request, code, told) in [
        (post(STRUCTURED, b"nope"), "400", "not_json"),
        (post(STRUCTURED, b"\xff"), "400", "not_utf8"),
        (post(BATCHED, bad_batch.as_bytes()), "400", r#""index":1"#),
        (post(BATCHED, event.as_bytes()), "400", "not a JSON array"),
        (
            post("ce-id: 1\r\nce-id: 2\r\n", b""),
            "400",
            "more than once",
        ),
        (
            post("ce-id: 1\r\nce-data: 2\r\n", b""),
            "400",
            "not allowed",
        ),
        (post("ce-id: %ff\r\n", b""), "400", "not UTF-8"),
        (
            post(
                "ce-id: 1\r\nContent-Type: application/json\r\n",
                b"1,\"a\":2",
            ),
            "400",
            "not_json",
        ),
        (post(STRUCTURED, long.as_bytes()), "413", "1024 bytes"),
        (post(STRUCTURED, &[b' '; 5_000]), "413", "4096 bytes"),
        (
            post("Content-Type: text/plain\r\n", b"hi"),
            "415",
            "no CloudEvent",
        ),
        (
            post("Content-Type: application/cloudevents+avro\r\n", b"hi"),
            "415",
            "JSON",
        ),
        (post(&gzip, b"hi"), "415", "identity"),
        (
            post(STRUCTURED, b"").replace_line("Content-Length: 0", "Content-Length: 5"),
            "408",
            "100ms",
        ),
        (
            post(STRUCTURED, b"").replace_line("POST /events", "POST /other"),
            "404",
            "/events",
        ),
        (
            post(STRUCTURED, b"").replace_line("POST /events", "GET /events"),
            "405",
            "allow: POST",
        ),
        (
            post(STRUCTURED, b"").replace_line("POST /events", "OPTIONS /events"),
            "405",
            "allow: POST",
        ),
    ] {
        let answer = exchange(address, &request).await;
        let sent = String::from_utf8_lossy(&request);
        assert_eq!(status(&answer), code, "{sent}\n{answer}");
        assert!(answer.contains(told), "{sent}\n{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    harness.stop().await;
    let stats = harness.stats.clone();
    assert_eq!(harness.finish().await, (Ok(()), vec![]));
    assert_eq!(stats.received.get(), 14);
    assert_eq!(stats.accepted.get(), 0);
}

trait ReplaceLine {
    fn replace_line(&self, from: &str, to: &str) -> Vec<u8>;
}

impl ReplaceLine for Vec<u8> {
    fn replace_line(&self, from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8_lossy(self);
        assert!(text.contains(from));
        text.replace(from, to).into_bytes()
    }
}

#[actix::test]
async fn the_token_is_wanted_in_header_or_query() {
    let (harness, address) = start(r#","auth":{"bearer":"s3 cret"}"#).await;
    let event = event_line("a");
    for (headers, path, code) in [
        ("", "/events", "401"),
        ("Authorization: Bearer s3\r\n", "/events", "401"),
        ("Authorization: Basic s3 cret\r\n", "/events", "401"),
        ("Authorization: bearer s3 cret\r\n", "/events", "202"),
        ("", "/events?a=b&access_token=s3%20cret", "202"),
        ("", "/events?access_token=s3", "401"),
    ] {
        let request = post(&format!("{STRUCTURED}{headers}"), event.as_bytes());
        let request = request.replace_line("/events", path);
        let answer = exchange(address, &request).await;
        assert_eq!(status(&answer), code, "{headers}{path}\n{answer}");
        assert_eq!(
            answer.contains("www-authenticate: Bearer"),
            code == "401",
            "{answer}"
        );
        assert_eq!(
            answer.contains("cache-control: private"),
            path.contains("cret"),
            "{answer}"
        );
    }
    harness.stop().await;
    assert_eq!(harness.finish().await.1.len(), 2);
}

#[actix::test]
async fn gzip_is_decoded_up_to_the_limit() {
    let (mut harness, address) = start(r#","gzip":true,"max_body":"1MiB""#).await;
    let gzip = |bytes: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("compressed")
    };
    let headers = format!("{STRUCTURED}Content-Encoding: gzip\r\n");
    let answer = exchange(address, &post(&headers, &gzip(event_line("a").as_bytes()))).await;
    assert_eq!(status(&answer), "202", "{answer}");
    assert_eq!(ids(&harness.take(1).await), ["a"]);
    let bomb = gzip(&vec![b' '; 50 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(
        status(&exchange(address, &post(&headers, &bomb)).await),
        "413"
    );
    let torn = gzip(event_line("b").as_bytes());
    let answer = exchange(address, &post(&headers, &torn[..torn.len() - 9])).await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert_eq!(
        status(&exchange(address, &post(&headers, b"plain")).await),
        "400"
    );
    harness.stop().await;
    assert_eq!(harness.finish().await.1.len(), 0);
}

#[actix::test]
async fn the_handshake_shows_consent_by_headers() {
    let (harness, address) = start(r#","allowed_origins":["good.example"],"rate_limit":2"#).await;
    let ask = |origin: &str| {
        format!(
            "OPTIONS /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nWebHook-Request-Origin: {origin}\r\nWebHook-Request-Rate: 120\r\n\r\n"
        )
    };
    let answer = exchange(address, ask("good.example").as_bytes())
        .await
        .to_lowercase();
    assert!(
        answer.contains("webhook-allowed-origin: good.example"),
        "{answer}"
    );
    assert!(
        answer.contains("webhook-allowed-rate: 2\r\n") && answer.contains("allow: post"),
        "{answer}"
    );
    let answer = exchange(address, ask("bad.example").as_bytes()).await;
    assert!(
        !answer.to_lowercase().contains("webhook-allowed"),
        "{answer}"
    );
    let request = post(STRUCTURED, event_line("a").as_bytes());
    for code in ["202", "202", "429"] {
        let answer = exchange(address, &request).await;
        assert_eq!(status(&answer), code);
        assert_eq!(
            answer.to_lowercase().contains("retry-after: "),
            code == "429"
        );
    }
    harness.stop().await;
    assert_eq!(harness.finish().await.1.len(), 2);
}

#[actix::test]
async fn what_cannot_be_taken_is_refused_until_there_is_room() {
    let (mut harness, address) = start("").await;
    harness.hold(true).await;
    let events: Vec<_> = (0..1_000).map(|id| event_line(&id.to_string())).collect();
    let request = post(BATCHED, format!("[{}]", events.join(",")).as_bytes());
    let mut accepted = 0;
    let refused = loop {
        let answer = exchange(address, &request).await;
        if status(&answer) != "202" {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 20);
    };
    assert_eq!(status(&refused), "503");
    assert!(
        refused.to_lowercase().contains("retry-after: 1"),
        "{refused}"
    );
    harness.hold(false).await;
    harness.take(accepted * 1_000).await;
    assert_eq!(status(&exchange(address, &request).await), "202");
    harness.stop().await;
    assert_eq!(harness.finish().await.1.len(), 1_000);
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).expect("text")
}

#[actix::test]
async fn a_drain_ends_idle_connections_and_finishes_requests() {
    let (harness, address) = start("").await;
    let mut idle = TcpStream::connect(address).await.expect("connected");
    let request =
        post(STRUCTURED, event_line("a").as_bytes()).replace_line("Connection: close\r\n", "");
    idle.write_all(&request).await.expect("sent");
    assert_eq!(status(&read_head(&mut idle).await), "202");
    let late = event_line("b");
    let headers = format!("{STRUCTURED}Expect: 100-continue\r\n");
    let request = post(&headers, late.as_bytes());
    let (head, body) = request.split_at(request.len() - late.len());
    // actix-server counts a connection only after it has handed it to its thread, which ends at once when it is to stop and
    // counts none: the second one shows that the first one is counted.
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(head).await.expect("sent");
        assert_eq!(status(&read_head(&mut stream).await), "100");
        slow.push(stream);
    }
    harness.stop().await;
    for stream in &mut slow {
        stream.write_all(body).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        assert_eq!(status(&answer), "202", "{answer}");
    }
    let started = std::time::Instant::now();
    let (result, lines) = harness.finish().await;
    assert_eq!((result, lines.len()), (Ok(()), 3));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert!(TcpStream::connect(address).await.is_err());
}

#[actix::test]
async fn a_later_head_may_come_in_pieces_but_has_to_end() {
    let (mut harness, address) = start(r#","head_timeout":"1s","idle_timeout":"1s""#).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = |id: &str| {
        post(STRUCTURED, event_line(id).as_bytes()).replace_line("Connection: close\r\n", "")
    };
    stream.write_all(&request("a")).await.expect("sent");
    assert_eq!(status(&read_head(&mut stream).await), "202");
    // Over loopback, what was written before the other connection's request arrives before it.
    let second = request("b");
    let (begun, rest) = second.split_at(14);
    stream.write_all(begun).await.expect("sent");
    let other = post(STRUCTURED, event_line("c").as_bytes());
    assert_eq!(status(&exchange(address, &other).await), "202");
    stream.write_all(rest).await.expect("sent");
    assert_eq!(status(&read_head(&mut stream).await), "202");
    assert_eq!(ids(&harness.take(3).await), ["a", "c", "b"]);
    // What is begun together with the request before it counts as idle until more comes.
    let third = [request("d"), begun.to_vec()].concat();
    stream.write_all(&third).await.expect("sent");
    assert_eq!(status(&read_head(&mut stream).await), "202");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("closed");
    assert!(rest.is_empty() || status(&rest) == "408", "{rest}");
    harness.stop().await;
    assert_eq!(harness.finish().await.1.len(), 1);
}

#[actix::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let options = serde_json::json!({ "listen": address });
    let factory = prepare(serde_json::from_value(options).expect("options"));
    let harness = Harness::start(factory.expect("valid options"));
    let error = harness.finish().await.0.expect_err("taken").to_string();
    assert!(error.contains(&address), "{error}");
}

#[test]
fn wrong_options_are_named() {
    let options = r#"{"listen":"x","path":"events","auth":{"bearer":""},"max_body":"0B","body_timeout":"0s","threads":0,"rate_limit":0,"max_connections":0}"#;
    let problems = prepare(serde_json::from_str(options).expect("options"));
    let problems = problems.err().expect("problems");
    let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "listen",
        "path",
        "auth.bearer",
        "max_body",
        "body_timeout",
        "max_connections",
        "threads",
        "rate_limit",
    ];
    assert_eq!(keys, expected);
}
