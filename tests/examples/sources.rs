//! One case for each source's example.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::peer::{event, request};
use crate::process::{Example, PATIENCE, each};

pub(crate) fn source_generate(example: Example) {
    let ended = example.run(&[]);
    assert_eq!(ended.events.len(), 1000);
    let types = each(&ended.events, "type");
    let paid = types.iter().filter(|name| **name == "order.paid").count();
    assert!((150..350).contains(&paid), "{paid} of 1000 are payments");
}

pub(crate) fn source_http(example: Example) {
    let example = example.with("SHOP_TOKEN", "secret").with_any_port("shop");
    let mut running = example.start();
    let address = running.address("shop");
    let order = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/me"),
        ("ce-type", "order.created"),
        ("content-type", "application/json"),
    ];
    let refused = request(address, "POST", &order, "{}");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let with_token = [&order[..], &[("authorization", "Bearer secret")]].concat();
    let accepted = request(address, "POST", &with_token, r#"{"price":9.99}"#);
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    let event = running.event();
    assert_eq!(event["type"], "order.created");
    assert_eq!(event["data"]["price"], 9.99);
    assert!(running.stop().events.is_empty());
}

pub(crate) fn source_tcp(example: Example) {
    let mut running = example.with_any_port("feed").start();
    let mut stream = TcpStream::connect(running.address("feed")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let lines = format!("{}\nno event\n", event("1", "order.created", "c", "{}"));
    stream.write_all(lines.as_bytes()).expect("it reads");
    let mut answers = BufReader::new(stream).lines().map_while(Result::ok);
    // It may have read the two lines at once or one by one.
    let (mut accepted, mut rejected) = (0, 0);
    while accepted + rejected < 2 {
        let answer: Value =
            serde_json::from_str(&answers.next().expect("an answer")).expect("JSON");
        accepted += answer["accepted"].as_u64().expect("a number");
        rejected += answer["rejected"].as_u64().expect("a number");
    }
    assert_eq!((accepted, rejected), (1, 1));
    assert_eq!(running.event()["id"], "1");
    assert!(running.stop().events.is_empty());
}

pub(crate) fn source_stdin(example: Example) {
    let lines = ["1", "2"].map(|id| event(id, "t", "s", "{}"));
    let ended = example.run(&[&lines[0], "no event", &lines[1]]);
    assert_eq!(each(&ended.events, "id"), ["1", "2"]);
}

pub(crate) fn source_file(example: Example) {
    let line = |id: &str| event(id, "t", "s", "{}") + "\n";
    let ended = example
        .with_file("in/b.ndjson", &line("2"))
        .with_file("in/a.ndjson", &line("1"))
        .with_file("in/c.log", &line("3"))
        .run(&[]);
    assert_eq!(each(&ended.events, "id"), ["1", "2", "3"]);
}
