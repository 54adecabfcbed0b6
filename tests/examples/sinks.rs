//! One case for each sink's example.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::peer::{Component, answer};
use crate::process::{Example, events_in};

pub(crate) fn sink_stdout(example: Example) {
    assert_eq!(example.run(&[]).events.len(), 100);
}

pub(crate) fn sink_file(example: Example) {
    let ended = example.run(&[]);
    let files = std::fs::read_dir(ended.folder().join("out")).expect("a folder");
    let mut lines = 0;
    let mut rotated = 0;
    for file in files {
        let path = file.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name").to_owned();
        rotated += usize::from(!name.ends_with(".ndjson"));
        let events = events_in(&path);
        lines += events.len();
        let is_own = |event_type: &str| name.starts_with(&format!("{event_type}.ndjson"));
        assert!(
            events
                .iter()
                .all(|event| is_own(event["type"].as_str().expect("a type")))
        );
    }
    assert_eq!(lines, 1000);
    assert!(rotated > 0, "no file was rotated");
}

pub(crate) fn sink_http(example: Example) {
    let receiver = Component::start(|_, number| match number {
        0 => answer("503 Service Unavailable", "text/plain", "not yet"),
        _ => answer("202 Accepted", "text/plain", ""),
    });
    example
        .with("AUDIT_TOKEN", "secret")
        .with("VELTRIX__SINKS__AUDIT__URL", &receiver.url("/audit"))
        .run(&[]);
    let requests = receiver.rest();
    let mut ids = std::collections::BTreeSet::new();
    for request in &requests {
        assert_eq!(request.header("authorization"), "Bearer secret");
        let events = request.json();
        let events = events.as_array().expect("a batch");
        assert!((1..=100).contains(&events.len()));
        ids.extend(events.iter().map(|event| event["id"].to_string()));
    }
    assert_eq!(ids.len(), 1000);
}

pub(crate) fn sink_tcp(example: Example) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let receiving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        BufReader::new(stream).lines().map_while(Result::ok).count()
    });
    example
        .with("VELTRIX__SINKS__FEED__ADDRESS", &address)
        .run(&[]);
    assert_eq!(receiving.join().expect("no panic"), 1000);
}

pub(crate) fn sink_blackhole(example: Example) {
    let ended = example.run(&[]);
    assert_eq!(ended.summary["delivered"], 10_000);
}
