//! Panics in a user's own handlers, in a real process: this program is both the tests and, as `panics run`, the process.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;

use std::io::Write;
use std::process::{Command, ExitCode, Output as Ended, Stdio};

use folder::Folder;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use veltrix::{Event, Handler, HandlerError, Output, Veltrix};

const EVENTS: usize = 20_000;

/// Every test by its name.
const TESTS: [(&str, fn()); 3] = [
    (
        "thousands_of_panics_are_a_few_lines_of_json",
        thousands_of_panics_are_a_few_lines_of_json,
    ),
    (
        "thousands_of_panics_are_a_few_lines_of_text",
        thousands_of_panics_are_a_few_lines_of_text,
    ),
    (
        "panics_harm_nothing_when_nobody_reads_the_log",
        panics_harm_nothing_when_nobody_reads_the_log,
    ),
];

/// Panics at every other event, with a message of several lines; at the first one, in a thread of its own as well.
struct Unstable;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

impl Handler for Unstable {
    fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
        let number: usize = event.id().parse().expect("a number");
        if number == 0 {
            let outside = std::thread::Builder::new().name("outsider".to_owned());
            let outside = outside.spawn(|| panic!("unguarded\n\"quoted\""));
            let ended = outside.expect("a thread").join();
            assert!(ended.is_err(), "it panicked");
        }
        assert!(
            number.is_multiple_of(2),
            "at {number}\nin the \"second\" line"
        );
        out.pass()
    }
}

fn run(format: &str, log: Stdio) -> (Folder, Ended) {
    let folder = Folder::new();
    let line = |id| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"t"}}"#);
    let events: Vec<String> = (0..EVENTS).map(line).collect();
    let config = json!({
        "sources": { "in": { "type": "file", "path": folder.write("in.ndjson", &events), "follow": false } },
        "handlers": { "tried": {
            "on": "t", "type": "unstable", "to": ["out"], "supervision": { "attempts": 1 },
        } },
        "sinks": { "out": { "type": "file", "path": folder.path("out") } },
    });
    let config = folder.write("veltrix.json", &[config.to_string()]);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["run", "-c", &config, "--log-format", format])
        .current_dir(folder.path(""))
        .env_remove("VELTRIX_CONFIG")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("this program");
    let ended = child.wait_with_output().expect("it ran");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(folder.lines("out").len(), EVENTS / 2);
    (folder, ended)
}

fn log_lines(ended: &Ended) -> Vec<&str> {
    let log = std::str::from_utf8(&ended.stderr).expect("text");
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() < EVENTS / 20, "{} lines", lines.len());
    lines
}

fn thousands_of_panics_are_a_few_lines_of_json() {
    let (_folder, ended) = run("json", Stdio::piped());
    let parse = |line: &&str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let records: Vec<Value> = log_lines(&ended).iter().map(parse).collect();
    let with = |message: &str| -> Vec<&Value> {
        let is_it = |record: &&Value| record["message"] == message;
        records.iter().filter(is_it).collect()
    };
    let caught = with("a panic was caught");
    assert_eq!(caught[0]["panic"], "at 1\nin the \"second\" line");
    for record in &caught {
        assert_eq!(record["component"], "handler.tried");
        assert_eq!(record["level"], "WARN");
        let location = record["location"].as_str().expect("a place");
        assert!(location.contains("panics.rs:"), "{location}");
    }
    let suppressed = with("more panics were not logged");
    let suppressed = suppressed
        .iter()
        .filter_map(|record| record["suppressed"].as_u64());
    let told = caught.len() + usize::try_from(suppressed.sum::<u64>()).expect("few");
    assert!((1..=EVENTS / 2).contains(&told), "{told}");
    let outside = with("a panic outside of any guard");
    assert_eq!(outside.len(), 1);
    assert_eq!(outside[0]["panic"], "unguarded\n\"quoted\"");
    assert_eq!(outside[0]["thread"], "outsider");
    assert_eq!(outside[0]["level"], "ERROR");
    assert_eq!(with("handler summary")[0]["errors"], EVENTS / 2);
}

fn thousands_of_panics_are_a_few_lines_of_text() {
    let (_folder, ended) = run("text", Stdio::piped());
    for line in log_lines(&ended) {
        let starts_with_time = line.get(10..11) == Some("T") && line.get(26..27) == Some("Z");
        assert!(starts_with_time, "{line}");
    }
}

fn panics_harm_nothing_when_nobody_reads_the_log() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    run("json", writer.into());
}

fn veltrix() -> ExitCode {
    Veltrix::new()
        .handler("unstable", "Panics at odd numbers", |_: &NoOptions| {
            Ok(Unstable)
        })
        .main()
}

/// What `cargo test` and `cargo nextest` ask of a test program.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "run") {
        return veltrix();
    }
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    // `terse` is the format that nextest asks for.
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with('-') && *argument != "terse");
    let is_wanted = |name: &str| {
        wanted.is_none_or(|wanted| match has("--exact") {
            true => wanted == name,
            false => name.contains(wanted.as_str()),
        })
    };
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        if has("--ignored") {
            continue;
        }
        match has("--list") {
            true => writeln!(std::io::stdout(), "{name}: test").expect("written"),
            false => test(),
        }
    }
    ExitCode::SUCCESS
}
