//! Files that somebody moves or removes while a `file` sink has them open, as logrotate does.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::fs;
use std::net::SocketAddr;

use folder::Folder;
use process::{Process, event_line, ids, request};
use serde_json::json;

/// A process that writes what is posted to it into `out/{type}.nd`.
struct Writer {
    process: Process,
    address: SocketAddr,
    folder: Folder,
    posted: usize,
}

impl Writer {
    fn start(sync: &str) -> Self {
        let folder = Folder::new();
        let config = json!({
            "sources": { "load": { "type": "http", "listen": "127.0.0.1:0" } },
            "handlers": { "all": { "on": ">", "type": "pass", "to": ["out"] } },
            "sinks": { "out": { "type": "file", "path": folder.path("out/{type}.nd"), "sync": sync } },
        });
        let mut process = Process::start(&config.to_string());
        let address = process.address("load");
        Self {
            process,
            address,
            folder,
            posted: 0,
        }
    }

    /// Posts an event, and waits until it is in the file.
    fn write_one(&mut self) {
        post(self.address, &mut self.posted);
        let Self {
            process, folder, ..
        } = self;
        process.until("the line", || !folder.lines("out/t.nd").is_empty());
    }

    /// Posts events until the file is there again, and one more.
    fn post_until_there(&mut self) {
        let path = self.folder.path("out/t.nd");
        let (address, posted) = (self.address, &mut self.posted);
        self.process.until("a new file", || {
            post(address, posted);
            fs::exists(&path).expect("readable")
        });
        post(address, posted);
    }

    /// Stops the process; gives the folder, and how many events were posted.
    fn stop(self) -> (Folder, usize) {
        self.process.stop().assert_drained();
        (self.folder, self.posted)
    }
}

/// Posts the event after those that were posted.
fn post(address: SocketAddr, posted: &mut usize) {
    let headers = [("Content-Type", "application/cloudevents+json")];
    let line = event_line(&posted.to_string());
    let answer = request(address, "POST", "/events", &headers, line.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.body);
    *posted += 1;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn every_event_is_in_a_moved_file_or_in_the_one_that_takes_its_place() {
    for sync in ["always", "interval", "never"] {
        let mut writer = Writer::start(sync);
        writer.write_one();
        let path = writer.folder.path("out/t.nd");
        fs::rename(&path, writer.folder.path("out/t.nd.1")).expect("moved");
        writer.post_until_there();
        let (folder, posted) = writer.stop();
        let mut found = ids(&folder.lines("out/t.nd.1"));
        assert!(found.len() < posted, "{sync}: all are in the moved file");
        found.extend(ids(&folder.lines("out/t.nd")));
        assert_eq!(found, numbers(0..posted), "{sync}");
    }
}

#[test]
fn a_file_that_was_removed_is_begun_anew_and_so_is_its_folder() {
    let mut writer = Writer::start("interval");
    writer.write_one();
    fs::remove_file(writer.folder.path("out/t.nd")).expect("removed");
    writer.post_until_there();
    fs::remove_dir_all(writer.folder.path("out")).expect("removed");
    writer.post_until_there();
    let (folder, posted) = writer.stop();
    let found = ids(&folder.lines("out/t.nd"));
    let first = posted - found.len();
    assert!(!found.is_empty() && first > 1, "{found:?}");
    assert_eq!(found, numbers(first..posted));
}
