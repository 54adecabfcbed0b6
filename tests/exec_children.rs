//! Children of `exec` handlers, and their own children: replaced when they hang, and gone with the process.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use process::{Ended, PATIENCE, Process, event_line, ids};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Answers each event with itself, and has a child of its own.
const PARENT: &str = "sleep 1000 & exec cat";

fn start(command: &str, timeout: &str, deadline: &str, drain_timeout: &str) -> Process {
    let config = json!({
        "service": { "drain_timeout": drain_timeout },
        "sources": { "in": { "type": "stdin" } },
        "handlers": { "ask": {
            "on": "t", "type": "exec", "command": ["sh", "-c", command], "timeout": timeout, "to": ["out"],
            "supervision": { "attempts": 3, "deadline": deadline, "backoff": { "min": "1ms", "max": "1ms" } },
        } },
        "sinks": { "out": { "type": "stdout" } },
    });
    let folder = tempfile::tempdir().expect("a folder");
    Process::start_in(folder, &config.to_string(), Stdio::piped())
}

fn send(mut input: impl Write, ids: std::ops::Range<usize>) {
    let lines: String = ids
        .map(|id| format!("{}\n", event_line(&id.to_string())))
        .collect();
    input.write_all(lines.as_bytes()).expect("sent");
}

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).expect("a process id");
    Pid::from_raw(number).expect("a process id")
}

/// The state and the parent of a process, while there is one.
fn status(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before them is in parentheses, and may have some.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// The children of a process, zombies included.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("a proc file system");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| status(*id).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// The only child and its only child, once they are there.
fn family(process: &mut Process) -> [u32; 2] {
    let mut family = None;
    let parent = process.id();
    process.until("a child with a child", || {
        if let [child] = children(parent)[..]
            && let [grandchild] = children(child)[..]
        {
            family = Some([child, grandchild]);
        }
        family.is_some()
    });
    family.expect("it was found")
}

/// Waits until these processes are gone, or zombies of somebody else who never waits for them.
fn await_end(ids: &[u32]) {
    let until = Instant::now() + PATIENCE;
    let is_there = |id: &u32| status(*id).is_some_and(|(state, _)| state != 'Z');
    while let Some(id) = ids.iter().find(|id| is_there(id)) {
        assert!(Instant::now() < until, "process {id} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_child_stopped_beyond_its_timeout_is_replaced_with_its_own_children() {
    let (families, ended) = stop_two_children("500ms", "1h");
    let late = ended.logs.iter().filter(|record| {
        let message = record["message"].as_str().unwrap_or_default();
        message.starts_with("the command did not answer in time")
    });
    let late: Vec<u64> = late.filter_map(|record| record["pid"].as_u64()).collect();
    assert_eq!(late, [u64::from(families[0][0]), u64::from(families[1][0])]);
}

#[test]
fn a_child_stopped_beyond_the_deadline_is_replaced_with_its_own_children() {
    stop_two_children("1h", "500ms");
}

/// Stops the child between events, twice, and sends it more: all are answered, once and in order, and nobody is left.
fn stop_two_children(timeout: &str, deadline: &str) -> (Vec<[u32; 2]>, Ended) {
    let mut process = start(PARENT, timeout, deadline, "1h");
    let input = process.input();
    send(&input, 0..1);
    assert_eq!(ids(&[process.line()]), ["0"]);
    let mut families = vec![family(&mut process)];
    let mut expected = 1;
    for _ in 0..2 {
        let [child, _] = *families.last().expect("one more each time");
        kill_process(pid(child), Signal::STOP).expect("stopped");
        process.until("the stop", || {
            status(child).is_some_and(|(state, _)| state == 'T')
        });
        send(&input, expected..expected + 100);
        let lines: Vec<String> = (0..100).map(|_| process.line()).collect();
        let sent: Vec<String> = (expected..expected + 100)
            .map(|id| id.to_string())
            .collect();
        assert_eq!(ids(&lines), sent);
        expected += 100;
        families.push(family(&mut process));
    }
    await_end(families[..2].as_flattened());
    assert_eq!(children(process.id()), [families[2][0]], "and no zombies");
    drop(input);
    let ended = process.wait();
    ended.assert_drained();
    assert_eq!(ended.output, Vec::<String>::new());
    assert_eq!(ended.summary()["dead_lettered"], 0);
    assert_eq!(ended.records("handler summary")[0]["errors"], 2);
    await_end(families.as_flattened());
    (families, ended)
}

#[test]
fn a_drain_that_gives_up_and_a_second_signal_leave_no_children_behind() {
    for drain_timeout in ["300ms", "1h"] {
        let command = "sleep 1000 & read -r line; echo reached >&2; wait";
        let mut process = start(command, "1h", "1h", drain_timeout);
        let input = process.input();
        send(&input, 0..1);
        let family = family(&mut process);
        process.log(|record| record["message"] == "reached");
        process.signal(Signal::TERM);
        while drain_timeout == "1h" && !process.has_ended() {
            process.signal(Signal::INT);
            process.pause();
        }
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.logs);
        await_end(&family);
    }
}

#[test]
fn a_child_that_ends_with_its_input_does_not_outlive_a_killed_process() {
    let mut process = start("exec cat", "1h", "1h", "1h");
    let input = process.input();
    send(&input, 0..1);
    assert_eq!(ids(&[process.line()]), ["0"]);
    let children = children(process.id());
    process.signal(Signal::KILL);
    assert_eq!(process.wait().status.code(), None);
    await_end(&children);
}
