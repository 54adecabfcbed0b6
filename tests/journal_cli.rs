//! `veltrix journal`: what lies in the journal of a process that does not run.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::process::{Command, Output};

use folder::Folder;
use gate::Gate;
use process::{Process, event_line, request};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Where the one segment of a small journal lies, in the folder.
const SEGMENT: &str = "data/journal/00000000000000000000.seg";

/// Two http sources before a sink that waits.
fn config(folder: &Folder, gate: &Gate) -> String {
    json!({
        "service": { "data_dir": folder.path("data") },
        "sources": {
            "a": { "type": "http", "listen": "127.0.0.1:0", "path": "/" },
            "b": { "type": "http", "listen": "127.0.0.1:0", "path": "/" },
        },
        "handlers": { "all": { "on": ">", "type": "pass", "to": ["out"] } },
        "sinks": { "out": { "type": "http", "url": gate.url() } },
        "journal": { "segment": "1MiB" },
    })
    .to_string()
}

/// Accepts three events of `a` and two of `b`, each a record of its own.
fn accept_five(process: &mut Process) {
    for (source, id) in [("a", 0), ("b", 1), ("a", 2), ("b", 3), ("a", 4)] {
        let headers = [("content-type", "application/cloudevents+json")];
        let body = event_line(&id.to_string());
        let address = process.address(source);
        let answer = request(address, "POST", "/", &headers, body.as_bytes());
        assert_eq!(answer.status, 202);
    }
}

/// A folder in which a process was killed with five events on disk.
fn killed() -> Folder {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let mut process = Process::start(&config(&folder, &gate));
    accept_five(&mut process);
    process.signal(Signal::KILL);
    process.wait();
    folder
}

fn journal(folder: &Folder, command: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["journal", command, "--data-dir", &folder.path("data")])
        .args(arguments)
        .env_remove("VELTRIX_CONFIG")
        .output()
        .expect("the binary")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What it prints as JSON, and its exit code.
fn answer(folder: &Folder, command: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = journal(folder, command, &[arguments, &["-o", "json"]].concat());
    let answer = serde_json::from_str(&text(&output));
    (
        answer.unwrap_or_else(|error| panic!("{error}: {output:?}")),
        output.status.code(),
    )
}

/// Changes the bytes of the segment.
fn edit(folder: &Folder, change: impl FnOnce(&mut Vec<u8>)) {
    let path = folder.path(SEGMENT);
    let mut bytes = std::fs::read(&path).expect("a segment");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn what_a_killed_process_left_is_counted_listed_and_found_whole() {
    let folder = killed();
    let before = std::fs::read(folder.path(SEGMENT)).expect("a segment");

    let (stats, code) = answer(&folder, "stats", &[]);
    assert_eq!(code, Some(0));
    let counts = [
        "segments",
        "records",
        "events",
        "unfinished",
        "finished_below",
    ];
    assert_eq!(
        counts.map(|key| stats[key].as_u64().expect(key)),
        [1, 5, 5, 5, 0]
    );
    assert_eq!(
        (&stats["first_sequence"], &stats["next_sequence"]),
        (&json!(0), &json!(5))
    );
    assert!(
        stats["oldest"].as_str() <= stats["newest"].as_str(),
        "{stats}"
    );
    let backlog = stats["backlog"].as_array().expect("a list");
    let waiting: Vec<_> = backlog
        .iter()
        .map(|entry| (&entry["source"], &entry["events"]))
        .collect();
    assert_eq!(
        waiting,
        [(&json!("a"), &json!(3)), (&json!("b"), &json!(2))]
    );

    let (inspected, _) = answer(
        &folder,
        "inspect",
        &["--records", "--from", "1", "--limit", "3"],
    );
    let records = inspected["records"].as_array().expect("a list");
    let listed: Vec<_> = records
        .iter()
        .map(|record| (&record["sequence"], &record["source"]))
        .collect();
    let expected = [(1, "b"), (2, "a"), (3, "b")].map(|(at, source)| (json!(at), json!(source)));
    assert_eq!(listed, expected.each_ref().map(|(at, source)| (at, source)));
    assert_eq!(
        (&inspected["next_from"], &inspected["segments"][0]["bytes"]),
        (&json!(4), &json!(1 << 20))
    );

    let (verified, code) = answer(&folder, "verify", &[]);
    assert_eq!(
        (&verified["records"], &verified["damaged"], code),
        (&json!(5), &json!([]), Some(0))
    );
    assert_eq!(
        std::fs::read(folder.path(SEGMENT)).expect("a segment"),
        before
    );
}

#[test]
fn a_sinks_overflow_log_is_read_by_its_name() {
    let folder = killed();
    std::fs::create_dir(folder.path("data/overflow")).expect("a folder");
    std::fs::rename(
        folder.path("data/journal"),
        folder.path("data/overflow/out"),
    )
    .expect("a log has one format wherever it lies");
    assert_eq!(journal(&folder, "stats", &[]).status.code(), Some(1));
    let (stats, code) = answer(&folder, "stats", &["--overflow", "out"]);
    assert_eq!((&stats["unfinished"], code), (&json!(5), Some(0)));
}

#[test]
fn an_overflow_log_without_its_sink_is_told_of_only_if_something_waits_in_it() {
    let (folder, gate) = (killed(), Gate::closed());
    gate.open();
    let waits = "events wait here for a sink that the config does not have: give the sink its name back, or remove the folder";
    let damaged = "the overflow log of a sink that the config does not have cannot be read in full, and events may wait in it";
    let start_and_stop = || {
        let mut process = Process::start(&config(&folder, &gate));
        process.running();
        process.stop()
    };
    let gone = folder.path("data/overflow/gone");
    let log_of_out = folder.path("data/overflow/out");
    std::fs::create_dir(folder.path("data/overflow")).expect("a folder");
    std::fs::rename(folder.path("data/journal"), &log_of_out).expect("a log");
    start_and_stop().assert_drained();
    assert_eq!(gate.asked(), 5);
    // Nothing waits there any more.
    std::fs::rename(&log_of_out, &gone).expect("a log");
    let ended = start_and_stop();
    let of_gone = |record: &&Value| record["folder"].as_str().is_some_and(|f| f.contains(&gone));
    assert_eq!(ended.logs.iter().find(of_gone), None);

    std::fs::remove_dir_all(&gone).expect("removed");
    let left = killed();
    std::fs::rename(left.path("data/journal"), &gone).expect("a log");
    let ended = start_and_stop();
    let told = ended.records(waits);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["level"], &told[0]["events"]),
        (&json!("WARN"), &json!(5))
    );
    let shown = told[0]["folder"].as_str();
    assert!(shown.is_some_and(|shown| shown.contains(&gone)), "{told:?}");
    assert!(ended.records(damaged).is_empty());

    for file in std::fs::read_dir(&gone).expect("a folder").flatten() {
        if file.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::write(file.path(), "nothing of ours").expect("written");
        }
    }
    let ended = start_and_stop();
    assert_eq!(ended.records(damaged).len(), 1);
    assert!(ended.records(waits).is_empty());
}

#[test]
fn damage_is_named_with_its_place_and_the_exit_code_says_so() {
    let folder = killed();
    // In the body of the first record.
    edit(&folder, |bytes| bytes[32 + 48 + 10] ^= 1);
    let output = journal(&folder, "verify", &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(
        text.starts_with("damaged: ") && text.contains(" at 32 of "),
        "{text}"
    );
    assert!(
        text.contains("1 events from 0 on\n4 whole records with 4 events, 1 damaged places\n"),
        "{text}"
    );
    let (inspected, code) = answer(&folder, "inspect", &["--records"]);
    assert_eq!(
        (inspected["records"].as_array().map(Vec::len), code),
        (Some(5), Some(0))
    );
    assert_eq!(inspected["segments"][0]["events"], 5);
    assert_eq!(
        (
            &inspected["records"][0]["events"],
            &inspected["records"][1]["sequence"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer(&folder, "stats", &[]).0["unfinished"], 4);
}

#[test]
fn what_was_never_acknowledged_is_not_damage() {
    let folder = killed();
    edit(&folder, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
        bytes[end + 1..end + 20].fill(7);
    });
    let (verified, code) = answer(&folder, "verify", &[]);
    assert_eq!((&verified["damaged"], code), (&json!([]), Some(0)));
    assert_eq!(verified["torn"][0]["events"], 0);
}

#[test]
fn a_lost_cursor_is_damage() {
    let folder = killed();
    std::fs::write(folder.path("data/journal/cursor"), [7; 32_768]).expect("written");
    let (verified, code) = answer(&folder, "verify", &[]);
    assert_eq!((&verified["cursor_lost"], code), (&json!(true), Some(1)));
}

#[test]
fn the_journal_of_a_running_process_is_refused_and_found_by_its_config() {
    let (folder, gate) = (Folder::new(), Gate::closed());
    let config = config(&folder, &gate);
    let mut process = Process::start(&config);
    accept_five(&mut process);
    for command in ["inspect", "verify", "stats"] {
        let output = journal(&folder, command, &[]);
        assert_eq!(
            (output.status.code(), text(&output).as_str()),
            (Some(1), "")
        );
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let lock = format!("holds the lock on {}/LOCK", folder.path("data"));
        assert!(message.contains(&lock), "{message}");
    }
    gate.open();
    process.stop().assert_drained();
    let file = folder.write("veltrix.json", &[config]);
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["journal", "stats", "-c", &file])
        .output()
        .expect("the binary");
    let text = text(&output);
    assert!(text.contains("unfinished      0\n"), "{text} {output:?}");
    assert!(text.contains("finished below  5\n"), "{text}");
}

#[test]
fn a_directory_without_a_journal_is_no_journal() {
    let folder = Folder::new();
    let output = journal(&folder, "stats", &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("cannot open the journal"), "{message}");
    let output = journal(&folder, "inspect", &["--limit", "3"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
