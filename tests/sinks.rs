//! The sinks of the real binary.

#[path = "support/stub_server.rs"]
mod stub_server;
#[path = "support/workspace.rs"]
mod workspace;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use stub_server::{Receiver, answer};
use workspace::{Ended, Workspace, event};

const PASS: &str = "handlers: { all: { on: '>', type: pass, to: [out] } }";

fn with_sink(sink: &str) -> String {
    format!("{PASS}\nsinks: {{ out: {sink} }}\n")
}

fn events(count: usize) -> Vec<String> {
    let types = ["order.created", "order.paid", "order.shipped"];
    (0..count)
        .map(|id| event(id, types[id % 3], &format!("s{}", id % 7)))
        .collect()
}

#[test]
fn files_have_each_types_events_in_order_and_byte_for_byte() {
    let workspace = Workspace::new();
    let events = events(3000);
    let sink = "{ type: file, path: 'out/{type}.ndjson', sync: interval }";
    let ended = workspace.run(&with_sink(sink), &events);
    ended.assert_drained(&["accepted=3000", "delivered=3000"]);
    for (offset, event_type) in ["order.created", "order.paid", "order.shipped"]
        .iter()
        .enumerate()
    {
        let expected: Vec<_> = events.iter().skip(offset).step_by(3).cloned().collect();
        assert_eq!(
            workspace.lines_of(&format!("out/{event_type}.ndjson")),
            expected
        );
    }
}

#[test]
fn values_never_leave_the_directory_and_files_rotate() {
    let workspace = Workspace::new();
    let events: Vec<_> = (0..100).map(|id| event(id, "t", "../../up")).collect();
    let sink = "{ type: file, path: 'out/{subject}/{type}.ndjson', open_files: 1, rotate: { size: 4KiB, keep: 100 } }";
    let ended = workspace.run(&with_sink(sink), &events);
    ended.assert_drained(&["delivered=100"]);
    let dir = workspace.path().join("out/..%2F..%2Fup");
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // The newest last: `t.ndjson.2`, `t.ndjson.1`, `t.ndjson`.
    names.sort_by_key(|name| {
        std::cmp::Reverse(name.len() * 1000 + name.bytes().map(usize::from).sum::<usize>())
    });
    assert!(names.len() > 2, "{names:?}");
    let mut lines = Vec::new();
    for name in names {
        let path = dir.join(name);
        assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
        let text = std::fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(lines, events);
}

#[test]
fn standard_output_has_the_events_as_they_came() {
    let workspace = Workspace::new();
    let events = events(500);
    let ended = workspace.run(&with_sink("{ type: stdout }"), &events);
    ended.assert_drained(&["delivered=500"]);
    assert_eq!(ended.lines, events);
}

#[test]
fn a_reader_of_standard_output_that_has_gone_is_named_and_what_is_left_is_told() {
    let workspace = Workspace::new();
    let mut command = workspace.command(&with_sink("{ type: stdout }"));
    command.env("VELTRIX__SERVICE__DRAIN_TIMEOUT", "24h");
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", event(1, "t", "s")).unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let told = log.find(|line| line.contains("standard output is a broken pipe"));
    assert!(told.is_some());
    // It ends by itself, though its source could go on.
    let rest: Vec<String> = log.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("balanced=true")),
        "{rest:?}"
    );
}

#[test]
fn a_blackhole_delivers_everything_to_nobody() {
    let ended = Workspace::new().run(&with_sink("{ type: blackhole }"), &events(500));
    ended.assert_drained(&["accepted=500", "delivered=500", "dead_lettered=0"]);
}

fn ids_by_subject<'a>(bodies: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<usize>> {
    let mut ids: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for body in bodies {
        let event: serde_json::Value = serde_json::from_str(body).expect("an event");
        let text = |name: &str| event[name].as_str().expect("a string").to_owned();
        let (id, subject) = (text("id").parse().expect("a number"), text("subject"));
        ids.entry(subject).or_default().push(id);
    }
    ids
}

#[test]
fn http_keeps_order_by_key_through_answers_that_ask_to_wait() {
    let receiver = Receiver::start(|_, number| match number % 10 {
        3 => "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => answer("202 Accepted", "text/plain", "ok"),
    });
    let sink = format!(
        "{{ type: http, url: '{}', headers: {{ x-key: s3cret }} }}",
        receiver.url()
    );
    let ended = Workspace::new().run(&with_sink(&sink), &events(200));
    ended.assert_drained(&["delivered=200"]);
    assert!(!ended.log.contains("s3cret"));
    let requests = receiver.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.header("x-key") == Some("s3cret"))
    );
    let accepted = requests
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 10 != 3)
        .map(|(_, request)| request.body.as_str());
    let ids = ids_by_subject(accepted);
    assert_eq!(ids.values().map(Vec::len).sum::<usize>(), 200);
    for (subject, ids) in ids {
        assert!(ids.is_sorted(), "{subject}: {ids:?}");
    }
}

#[test]
fn http_batches_hold_what_waits_and_single_out_what_is_refused() {
    let receiver = Receiver::start(|request, _| match request.body.contains(r#""id":"77""#) {
        true => answer("400 Bad Request", "text/plain", "not 77"),
        false => answer("204 No Content", "text/plain", ""),
    });
    let sink = format!(
        "{{ type: http, url: '{}', mode: batched, batch: {{ events: 50 }}, concurrency: 1 }}",
        receiver.url()
    );
    let ended = Workspace::new().run(&with_sink(&sink), &events(200));
    ended.assert_drained(&["delivered=199", "dead_lettered=1"]);
    let requests = receiver.requests();
    assert!(requests.len() < 100, "{} requests", requests.len());
    let mut ids = Vec::new();
    for request in requests
        .iter()
        .filter(|request| !request.body.contains(r#""id":"77""#))
    {
        let content_type = request.header("content-type").unwrap();
        assert!(content_type.starts_with("application/cloudevents-batch+json"));
        let batch: Vec<serde_json::Value> = serde_json::from_str(&request.body).unwrap();
        assert!((1..=50).contains(&batch.len()));
        ids.extend(
            batch
                .iter()
                .map(|event| event["id"].as_str().unwrap().parse::<usize>().unwrap()),
        );
    }
    let expected: Vec<usize> = (0..200).filter(|id| *id != 77).collect();
    assert_eq!(ids, expected);
}

#[test]
fn tcp_finds_the_peer_again_and_loses_nothing_it_was_not_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let workspace = Workspace::new();
    let mut child = workspace
        .command(&with_sink(&format!(
            "{{ type: tcp, address: '{address}' }}"
        )))
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Each round waits for its event on a connection that is then closed: the next one needs another.
    for id in 0..3 {
        let sent = event(id, "t", "s");
        writeln!(stdin, "{sent}").unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), sent);
    }
    drop(stdin);
    Ended::from(child.wait_with_output().unwrap()).assert_drained(&["delivered=3"]);
}
