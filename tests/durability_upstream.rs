//! Sources with `durability: upstream`: their cursors move over what is finished, so that a kill loses nothing and a drain
//! repeats nothing.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "support/receiver.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod receiver;

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;

use folder::Folder;
use gate::Gate;
use metrics::Metrics;
use process::{Process, event_line, ids, request};
use receiver::HttpReceiver;
use rustix::process::Signal;
use serde_json::json;

/// A file source; one sink waits for an HTTP receiver, one writes at once.
fn config(folder: &Folder, follow: bool, url: &str) -> String {
    json!({
        "service": { "data_dir": folder.path("data"), "admin": { "listen": "127.0.0.1:0" }, "drain_timeout": "30s" },
        "sources": { "in": { "type": "file", "path": folder.path("in/*.ndjson"), "follow": follow, "poll": "5ms" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["slow", "out"] } },
        "sinks": {
            "slow": { "type": "http", "url": url, "concurrency": 1, "mode": "batched" },
            "out": { "type": "file", "path": folder.path("out") },
        },
        "journal": { "segment": "1MiB" },
    })
    .to_string()
}

fn append(folder: &Folder, name: &str, ids: Range<u32>) {
    let path = folder.path("in");
    std::fs::create_dir_all(&path).expect("a folder");
    let path = std::path::Path::new(&path).join(name);
    let file = OpenOptions::new().append(true).create(true).open(path);
    let lines: String = ids
        .map(|id| format!("{}\n", event_line(&id.to_string())))
        .collect();
    file.expect("a file")
        .write_all(lines.as_bytes())
        .expect("written");
}

fn numbers(ids: Range<u32>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// Every event came, whatever came twice before anything newer; how many came twice.
fn assert_complete(ids: impl Iterator<Item = u32>, count: u32) -> u32 {
    let (mut expected, mut repeated) = (0, 0);
    for id in ids {
        assert!(id <= expected, "{id} before {expected}");
        repeated += u32::from(id < expected);
        expected = expected.max(id + 1);
    }
    assert_eq!(expected, count);
    repeated
}

fn delivered(folder: &Folder) -> impl Iterator<Item = u32> {
    let ids = ids(&folder.lines("out"));
    ids.into_iter().map(|id| id.parse().expect("a number"))
}

#[test]
fn what_was_not_finished_before_a_kill_is_read_again_and_what_was_is_not() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    append(&folder, "a.ndjson", 0..30);
    append(&folder, "b.ndjson", 30..50);
    let config = config(&folder, false, &gate.url());
    let mut process = Process::start(&config);
    let admin = process.admin();
    process.until("one sink has everything", || {
        Metrics::of(admin).sink("delivered", "out") == 50.0
    });
    assert_eq!(Metrics::of(admin).source("finished", "in"), 0.0);
    process.signal(Signal::KILL);
    process.wait();

    gate.open();
    let ended = Process::start(&config).wait();
    ended.assert_drained();
    assert_eq!(ended.source("in")["accepted"], 50);
    let twice = [numbers(0..50), numbers(0..50)].concat();
    assert_eq!(ids(&folder.lines("out")), twice);

    let ended = Process::start(&config).wait();
    ended.assert_drained();
    assert_eq!(ended.source("in")["accepted"], 0);
    let said = "an earlier run has read some of the files to their ends, and they have not grown";
    let said = ended.records(said);
    assert_eq!(
        (said[0]["level"].as_str(), said[0]["known_files"].as_u64()),
        (Some("INFO"), Some(2))
    );
    append(&folder, "b.ndjson", 50..55);
    Process::start(&config).wait().assert_drained();
    let last = ids(&folder.lines("out")).split_off(100);
    assert_eq!(last, numbers(50..55));
}

#[test]
fn kills_in_the_middle_lose_nothing_and_keep_the_order() {
    const ROUNDS: u32 = 6;
    const EVENTS: u32 = 4_000;
    let (folder, receiver) = (Folder::new(), HttpReceiver::start());
    let config = config(&folder, true, &format!("http://{}/", receiver.address));
    let seed = std::process::id();
    println!("seed {seed}");
    for round in 0..ROUNDS {
        append(&folder, "a.ndjson", round * EVENTS..(round + 1) * EVENTS);
        let mut process = Process::start(&config);
        let admin = process.admin();
        let some = f64::from(seed.wrapping_mul(round + 1) % EVENTS);
        process.until("some are finished", || {
            Metrics::of(admin).source("finished", "in") >= some
        });
        process.signal(Signal::KILL);
        process.wait();
    }
    // The same source, which this time ends with its files.
    let last = config.replace("\"follow\":true", "\"follow\":false");
    Process::start(&last).wait().assert_drained();
    assert_complete(delivered(&folder), ROUNDS * EVENTS);
    assert_complete(received(&receiver).into_iter(), ROUNDS * EVENTS);
}

/// The ids that the slow sink has sent.
fn received(receiver: &HttpReceiver) -> Vec<u32> {
    let id = |event: &serde_json::Value| event["id"].as_str().expect("an id").parse::<u32>();
    let mut ids = Vec::new();
    for request in receiver.rest() {
        let events: Vec<serde_json::Value> = serde_json::from_slice(&request.body).expect("JSON");
        ids.extend(events.iter().map(|event| id(event).expect("a number")));
    }
    ids
}

#[test]
fn a_drain_in_the_middle_repeats_nothing() {
    const EVENTS: u32 = 60_000;
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    append(&folder, "a.ndjson", 0..EVENTS);
    let config = config(&folder, true, &gate.url());
    let mut drains = 0;
    while ids(&folder.lines("out")).len() < EVENTS as usize {
        let mut process = Process::start(&config);
        let admin = process.admin();
        process.until("some are finished", || {
            let metrics = Metrics::of(admin);
            metrics.source("finished", "in") >= 5_000.0
                || delivered(&folder).last() == Some(EVENTS - 1)
        });
        process.stop().assert_drained();
        drains += 1;
    }
    println!("{drains} drains");
    assert_eq!(assert_complete(delivered(&folder), EVENTS), 0);
}

#[test]
fn a_file_is_read_on_past_a_slow_sink_and_a_kill_meanwhile_keeps_its_order() {
    const EVENTS: u32 = 20_000;
    let (folder, gate) = (Folder::new(), Gate::closed());
    append(&folder, "a.ndjson", 0..EVENTS);
    let mut process = Process::start(&config(&folder, true, &gate.url()));
    let admin = process.admin();
    process.until("most of it waits on disk, finished for the file", || {
        Metrics::of(admin).source("finished", "in") > 15_000.0
    });
    process.signal(Signal::KILL);
    process.wait();

    let receiver = HttpReceiver::start();
    let url = format!("http://{}/", receiver.address);
    Process::start(&config(&folder, false, &url))
        .wait()
        .assert_drained();
    assert_complete(delivered(&folder), EVENTS);
    assert_complete(received(&receiver).into_iter(), EVENTS);
}

#[test]
fn a_sink_that_is_down_does_not_hold_the_cursor_back() {
    for count in [20_000, 3] {
        let folder = Folder::new();
        let gate = Gate::closed();
        append(&folder, "a.ndjson", 0..count);
        let bytes = std::fs::metadata(folder.path("in/a.ndjson")).expect("a file");
        let end = format!("\"offset\":{}", bytes.len());
        let mut process = Process::start(&config(&folder, true, &gate.url()));
        process.until("the cursor is at the end of the file", || {
            let slots = (0..3).map(|slot| folder.path(&format!("data/cursors/in/{slot}")));
            slots
                .filter_map(|slot| std::fs::read(slot).ok())
                .any(|stored| String::from_utf8_lossy(&stored).contains(&end))
        });
        let admin = process.admin();
        assert_eq!(Metrics::of(admin).sink("delivered", "slow"), 0.0);
        process.signal(Signal::KILL);
        process.wait();

        let receiver = HttpReceiver::start();
        let url = format!("http://{}/", receiver.address);
        let ended = Process::start(&config(&folder, false, &url)).wait();
        ended.assert_drained();
        assert_eq!(ended.source("in")["accepted"], 0);
        assert_eq!(assert_complete(delivered(&folder), count), 0);
        let received = received(&receiver).into_iter();
        assert_eq!(assert_complete(received, count), 0);
    }
}

#[test]
fn a_damaged_cursor_is_told_and_everything_is_read_again() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    append(&folder, "a.ndjson", 0..10);
    let config = config(&folder, false, &gate.url());
    Process::start(&config).wait().assert_drained();
    for slot in 0..3 {
        let path = folder.path(&format!("data/cursors/in/{slot}"));
        let mut bytes = std::fs::read(&path).expect("a slot");
        assert_eq!(bytes.len(), 16 * 1024, "its room is reserved");
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).expect("written");
    }
    let ended = Process::start(&config).wait();
    ended.assert_drained();
    let said =
        "what is stored here is damaged and ignored: everything is read again from the start";
    assert_eq!(ended.records(said)[0]["level"], "ERROR");
    assert_eq!(ended.source("in")["accepted"], 10);
    Process::start(&config).wait().assert_drained();
    let twice = [numbers(0..10), numbers(0..10)].concat();
    assert_eq!(ids(&folder.lines("out")), twice);
}

#[test]
fn the_place_of_a_source_that_is_gone_is_told_and_stays() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    append(&folder, "a.ndjson", 0..10);
    let config = config(&folder, false, &gate.url());
    let said = "the place of a source lies here that the config does not have with `durability: upstream`: \
                under another name it begins at the start";
    let ended = Process::start(&config).wait();
    assert!(ended.records(said).is_empty());
    let renamed = config.replace(r#""in":"#, r#""inlet":"#);
    let ended = Process::start(&renamed).wait();
    let place = folder.path("data/cursors/in");
    let told = ended.records(said);
    assert_eq!(told.len(), 1);
    assert!(
        told[0]["folder"]
            .as_str()
            .is_some_and(|told| told.contains(&place)),
        "{told:?}"
    );
    assert_eq!(ended.source("inlet")["accepted"], 10);
    let ended = Process::start(&config).wait();
    assert_eq!(ended.source("in")["accepted"], 0);
}

#[test]
fn a_reload_that_leaves_a_place_behind_tells_of_it() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    gate.open();
    append(&folder, "a.ndjson", 0..10);
    let config = config(&folder, true, &gate.url());
    let mut process = Process::start(&config);
    let admin = process.admin();
    process.until("the first events", || {
        Metrics::of(admin).source("finished", "in") == 10.0
    });
    let reload = |body: &str| {
        let headers = [("content-type", "application/json")];
        let answer = request(admin, "POST", "/api/reload", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["warnings"].as_array().expect("a list").clone()
    };
    let place = folder.path("data/cursors/in");
    let file = process.folder().join("veltrix.yaml");
    let renamed = config.replace(r#""in":"#, r#""inlet":"#);
    std::fs::write(&file, &renamed).expect("written");
    for body in [r#"{"dry_run":true}"#, ""] {
        let warnings = reload(body);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0]["severity"], "warning");
        let message = warnings[0]["message"].as_str().expect("a text");
        let begins = "under another name it begins at the start";
        assert!(
            message.contains(&place) && message.contains(begins),
            "{message}"
        );
    }
    process.until("the same events", || {
        Metrics::of(admin).source("finished", "inlet") == 10.0
    });
    // What the reload does not leave behind was told of before.
    std::fs::write(&file, renamed.replace(r#""5ms""#, r#""6ms""#)).expect("written");
    assert!(reload("").is_empty());
    process.stop().assert_drained();
}
