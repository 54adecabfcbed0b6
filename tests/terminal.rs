//! The real binary on a terminal: its status line, its output, and the terminal's end.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use process::{PATIENCE, event_line, request};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The terminal, and the process that has it as its standard output and error.
fn start(folder: &tempfile::TempDir, config: &str) -> (File, Child) {
    std::fs::write(folder.path().join("veltrix.yaml"), config).expect("a config");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let name = name.to_str().expect("a path");
    let open = || {
        let mut options = File::options();
        OwnedFd::from(options.read(true).write(true).open(name).expect("opened"))
    };
    let child = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["--log-format", "json", "run", "-c", "veltrix.yaml"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(open())
        .stderr(open())
        .spawn()
        .expect("started");
    (File::from(terminal), child)
}

/// Reads from the terminal until `found` finds what it looks for.
fn read_until<T>(terminal: &mut File, found: impl Fn(&str) -> Option<T>) -> T {
    let mut text = Vec::new();
    loop {
        let mut some = [0; 4096];
        let count = terminal.read(&mut some).expect("something is shown");
        text.extend_from_slice(&some[..count]);
        if let Some(found) = found(&String::from_utf8_lossy(&text)) {
            return found;
        }
    }
}

fn wait(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        if begun.elapsed() > PATIENCE {
            child.kill().expect("killed");
            panic!("it does not end");
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_that_is_closed_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"
sources: { in: { type: http, listen: "127.0.0.1:0" } }
handlers: { all: { on: ">", type: pass, to: [out] } }
sinks: { out: { type: file, path: out.ndjson } }
"#;
    let (mut terminal, child) = start(&folder, config);
    let source: SocketAddr = read_until(&mut terminal, |text| {
        let (_, listening) = text.split_once(r#""address":""#)?;
        let (address, _) = listening.split_once('"')?;
        text.contains(r#""running""#)
            .then(|| address.parse().ok())?
    });
    drop(terminal);
    let process = Pid::from_child(&child);
    kill_process(process, Signal::HUP).expect("it runs");
    let headers = [("content-type", "application/cloudevents+json")];
    let answer = request(
        source,
        "POST",
        "/events",
        &headers,
        event_line("a").as_bytes(),
    );
    assert_eq!(answer.status, 202);
    kill_process(process, Signal::TERM).expect("it runs");
    assert_eq!(wait(child), Some(0));
    let written = std::fs::read_to_string(folder.path().join("out.ndjson")).expect("its file");
    assert_eq!(process::ids(&[written]), ["a"]);
}

#[test]
fn events_on_a_terminal_stand_on_lines_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"
sources: { in: { type: generate, rate: 5, count: 6 } }
handlers: { all: { on: ">", type: pass, to: [out] } }
sinks: { out: { type: stdout } }
"#;
    let (mut terminal, child) = start(&folder, config);
    let mut text = Vec::new();
    // The last one to have a terminal open makes reading it an error.
    let end = terminal
        .read_to_end(&mut text)
        .map_err(|e| e.raw_os_error());
    assert_eq!(end, Err(Some(rustix::io::Errno::IO.raw_os_error())));
    assert_eq!(wait(child), Some(0));
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("in flight"),
        "the status line is shown: {text:?}"
    );
    let events: Vec<_> = text
        .split('\n')
        .filter(|line| line.contains(r#"{"specversion""#))
        .map(|line| line.rsplit("\x1b[2K").next().unwrap_or(line))
        .collect();
    assert_eq!(events.len(), 6);
    for event in events {
        assert!(event.trim_start_matches('\r').starts_with('{'), "{event:?}");
    }
}
